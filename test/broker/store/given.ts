/** Tickets, packs and sessions as a test of a store needs them: no keys, since a store checks no signatures. */
import { ticketId } from '#kernel/ids.ts';
import { packU16, packU32 } from '../../../broker/store/columns.ts';
import { stateName } from '../../../broker/store/states.ts';
import type { BrokerStore, Complete, Payload, Queue, QueueTicket, TicketView } from '../../../broker/store/store.ts';

export const letter = (c: string): string => c.repeat(43);
export const ALICE = letter('A');
export const BOB = letter('B');
export const SITE = letter('S');
export const JWK = { kty: 'OKP', crv: 'Ed25519', x: letter('x') } as const;
export const HASH = (c: string): string => `sha256:${c.repeat(64)}`;

export function payloadOf(n: number, size = 4): Payload {
  return {
    leaves: new Uint8Array(n * 32).fill(7),
    itemSizes: packU16(Array.from({ length: n }, () => 2)),
    itemBytes: new Uint8Array(n * 2).map((_, k) => k % 251),
    inlineCounts: new Uint8Array(n).fill(1),
    inlineSizes: packU32(Array.from({ length: n }, () => size)),
    inline: new Uint8Array(n * size).map((_, k) => (k * 3) % 251),
  };
}

export function ticketOf(name: string, n: number, over: Partial<QueueTicket> = {}): QueueTicket {
  const principal = over.principal ?? ALICE;
  return {
    id: ticketId(principal, name),
    principal,
    endpoint: SITE,
    jti: name,
    hash: HASH('1'),
    fn: 'noop@1',
    token: `token-${name}`,
    chain: HASH('c'),
    manifest: HASH('d'),
    n,
    exp: 10_000,
    payload: payloadOf(n),
    blobs: [],
    ...over,
  };
}

export function queueOf(tickets: readonly QueueTicket[], nowS = 1000, maxOpenItems = 1_000_000): Queue {
  return {
    tickets,
    chains: [{ digest: HASH('c'), links: ['link'] }],
    manifests: [{ digest: HASH('d'), text: 'manifest' }],
    maxOpenItems,
    nowS,
  };
}

export async function prepare(store: BrokerStore): Promise<void> {
  for (const [secretHash, kid] of [
    ['a', ALICE],
    ['b', BOB],
  ] as const) {
    await store.apply('invite', { secretHash, for: 'user', subject: kid, exp: 2000 });
    await store.apply('addUser', { secretHash, kid, jwk: JWK, nowS: 1000 });
  }
  await store.apply('invite', { secretHash: 's', for: 'endpoint', subject: SITE, exp: 2000 });
  await store.apply('enrol', {
    secretHash: 's',
    endpoint: SITE,
    descriptor: 'd1',
    seq: 1,
    online: JWK,
    onlineKid: letter('o'),
    nowS: 1000,
  });
}

export async function beginSession(store: BrokerStore, over: object = {}): Promise<number> {
  const begun = await store.apply('begin', {
    endpoint: SITE,
    descriptor: 'd1',
    seq: 1,
    online: JWK,
    onlineKid: letter('o'),
    status: 'status',
    ledger: { n: 1, since: 0 },
    claimedEpoch: 0,
    live: false,
    nowS: 1000,
    ...over,
  });
  if (begun.kind !== 'begun') throw new Error(`${begun.code}: ${begun.message}`);
  return begun.sessionEpoch;
}

export const all = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

export interface Delivery {
  readonly sessionEpoch: number;
  readonly deliveryEpoch?: number;
}

export async function deliverAll(
  store: BrokerStore,
  ticket: QueueTicket,
  { sessionEpoch, deliveryEpoch = 1 }: Delivery,
): Promise<void> {
  const view = await viewOf(store, ticket);
  await store.apply('deliver', {
    endpoint: SITE,
    sessionEpoch,
    tickets: [{ ticketNo: view.ticketNo, deliveryEpoch, items: packU16(all(ticket.n)) }],
  });
}

export async function admitAll(
  store: BrokerStore,
  ticket: QueueTicket,
  { sessionEpoch, deliveryEpoch = 1 }: Delivery,
  items = all(ticket.n),
) {
  return store.apply('admitted', {
    endpoint: SITE,
    sessionEpoch,
    nowS: 1001,
    tickets: [{ id: ticket.id, deliveryEpoch, items: packU16(items) }],
  });
}

export async function viewOf(store: BrokerStore, ticket: { id: string }): Promise<TicketView> {
  const view = await store.read('ticket', { id: ticket.id });
  if (view === undefined) throw new Error(`${ticket.id} is not stored`);
  return view;
}

export async function statesOf(store: BrokerStore, ticket: { id: string }): Promise<string[]> {
  return [...(await viewOf(store, ticket)).states].map(stateName);
}

export function packOf(
  ticket: QueueTicket,
  sessionEpoch: number,
  agentPackNo: number,
  statuses: Record<number, number>,
  over: Partial<Complete> = {},
): Complete {
  const items = Object.keys(statuses).map(Number);
  return {
    endpoint: SITE,
    sessionEpoch,
    ledgerEpoch: 1,
    agentPackNo,
    principal: ticket.principal,
    digest: HASH(String(agentPackNo % 10)),
    bytes: Uint8Array.from([agentPackNo]),
    tickets: [
      {
        id: ticket.id,
        hash: ticket.hash,
        items: packU16(items),
        statuses: Uint8Array.from(Object.values(statuses)),
        resultDigests: new Uint8Array(items.length * 32).fill(5),
      },
    ],
    nowS: 1002,
    ...over,
  };
}
