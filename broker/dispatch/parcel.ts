/** Slices of tickets as Deliver messages, each small enough for a frame. */
import type { Deliver, DeliveredTicket } from '#protos/generated/link.js';
import { DELIVER_BYTES } from '../limits.ts';
import { itemBytesOf, sliceItems } from '../store/payload.ts';
import type { LaneTicket } from './lane.ts';

export interface Parcel {
  readonly ticket: LaneTicket;
  readonly items: readonly number[];
}

interface Draft {
  readonly tickets: DeliveredTicket[];
  readonly chains: Map<readonly string[], number>;
  readonly manifests: Map<Uint8Array, number>;
  bytes: number;
}

const newDraft = (): Draft => ({ tickets: [], chains: new Map(), manifests: new Map(), bytes: 0 });

function indexOf<K>(map: Map<K, number>, key: K): number {
  const known = map.get(key);
  if (known !== undefined) return known;
  map.set(key, map.size);
  return map.size - 1;
}

/**
 * The messages of a round. A ticket is cut where a message would grow over its bound; token, list, chain and manifest then
 * travel again, because a message that leans on an earlier one would be lost with it.
 */
export function* parcelsToMessages(parcels: readonly Parcel[]): Generator<Deliver> {
  let draft = newDraft();
  for (const { ticket, items } of parcels) {
    let rest = items;
    while (rest.length > 0) {
      const overhead = headerBytes(ticket);
      const count = fitting(ticket, rest, DELIVER_BYTES - draft.bytes - overhead);
      if (count === 0 && draft.tickets.length > 0) {
        yield finish(draft);
        draft = newDraft();
        continue;
      }
      // One item alone always fits a frame: the broker refuses larger ones at submission.
      const now = rest.slice(0, Math.max(1, count));
      draft.bytes += overhead + add(draft, ticket, now);
      rest = rest.slice(now.length);
    }
  }
  if (draft.tickets.length > 0) yield finish(draft);
}

function headerBytes({ facts, payload }: LaneTicket): number {
  return facts.token.length + (payload?.payload.leaves.byteLength ?? 0) + 128;
}

function fitting(ticket: LaneTicket, items: readonly number[], room: number): number {
  if (ticket.payload === undefined) return 0;
  let bytes = 0;
  for (const [k, i] of items.entries()) {
    bytes += itemBytesOf(ticket.payload, i) + 8;
    if (bytes > room) return k;
  }
  return items.length;
}

function add(draft: Draft, ticket: LaneTicket, items: readonly number[]): number {
  const { facts, payload, deliveryEpoch } = ticket;
  if (payload === undefined) throw new RangeError('a ticket without its bytes cannot be delivered');
  const columns = sliceItems(payload, items);
  draft.tickets.push({
    id: facts.id,
    deliveryEpoch,
    ticket: facts.token,
    chain: indexOf(draft.chains, facts.chain),
    manifest: indexOf(draft.manifests, facts.manifest),
    leaves: payload.payload.leaves,
    items: [...items],
    ...columns,
  });
  return columns.itemBytes.byteLength + columns.inline.byteLength + items.length * 8;
}

function finish(draft: Draft): Deliver {
  return {
    tickets: draft.tickets,
    chains: [...draft.chains.keys()].map((links) => ({ links: [...links] })),
    manifests: [...draft.manifests.keys()],
  };
}
