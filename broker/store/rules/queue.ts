/** Into the queue, and out of it by the broker's own word: queue, cancel, expire. */
import { packU16, unpackU16 } from '../columns.ts';
import type { EndpointRow, PrincipalRow, Rows } from '../rows.ts';
import { isOpen, isPending, STATE } from '../states.ts';
import type { Cancel, Cancelled, Expire, Expired, Queue, Queued, QueueOutcome, QueueTicket } from '../store.ts';
import { createNotes, itemsEvent, type Notes, refused, save } from './common.ts';

const NO_BYTES = new Uint8Array(0);

/** What one command has looked up already. */
interface Seen {
  readonly chains: ReadonlyMap<string, number>;
  readonly manifests: ReadonlyMap<string, number>;
  readonly principals: Map<string, PrincipalRow | undefined>;
  readonly endpoints: Map<string, EndpointRow | undefined>;
  /** Items that this command has queued, by principal. */
  readonly added: Map<number, number>;
}

/** Of a thousand tickets in one submission most have one principal and one endpoint. */
function lookUp<T>(cache: Map<string, T>, key: string, find: (key: string) => T): T {
  if (!cache.has(key)) cache.set(key, find(key));
  return cache.get(key) as T;
}

/**
 * B4: the same ticket again is `known`, whatever has become of it since; the same jti with another hash is a refusal, and an alarm:
 * either a client is broken, or somebody else signs with its key. Each ticket is judged alone; one refusal keeps no other out.
 */
export function queue(rows: Rows, c: Queue): Queued {
  const seen: Seen = {
    chains: new Map(c.chains.map(({ digest, links }) => [digest, rows.keepChain(digest, links)])),
    manifests: new Map(c.manifests.map(({ digest, text }) => [digest, rows.keepManifest(digest, text)])),
    principals: new Map(),
    endpoints: new Map(),
    added: new Map(),
  };
  const notes = createNotes(rows);
  const outcomes = c.tickets.map((ticket) => queueOne(rows, c, seen, notes, ticket));
  return { outcomes, events: notes.write(c.nowS) };
}

/** The order matters: what is known is answered before anything that may have changed since is asked (the user, the quota, blobs). */
function queueOne(rows: Rows, c: Queue, seen: Seen, notes: Notes, ticket: QueueTicket): QueueOutcome {
  const known = rows.hot(ticket.id);
  if (known !== undefined) {
    if (known.hash === ticket.hash) return { kind: 'known', n: known.n };
    rows.alarm(
      c.nowS,
      'jti-reused',
      `jti ${ticket.jti} of ${ticket.principal} came with another ticket (${ticket.hash}, stored ${known.hash})`,
    );
    return refused('E_REPLAY', `jti ${ticket.jti} was used for another ticket; sign a new one with a jti of its own`);
  }
  if (ticket.unless !== undefined) return { kind: 'refused', ...ticket.unless };
  const principal = lookUp(seen.principals, ticket.principal, (kid) => rows.principal(kid));
  if (principal?.jwk === undefined) {
    return refused(
      'E_FORBIDDEN',
      `this broker does not know key ${ticket.principal}; ask its operator for an invitation`,
    );
  }
  const endpoint = lookUp(seen.endpoints, ticket.endpoint, (id) => rows.endpoint(id));
  if (endpoint === undefined) {
    return refused(
      'E_ENDPOINT_UNKNOWN',
      `no endpoint ${ticket.endpoint} is enrolled at this broker; compare the id with what the site published`,
    );
  }
  const added = seen.added.get(principal.no) ?? 0;
  if (principal.open + added + ticket.n > c.maxOpenItems) {
    return refused(
      'E_BUSY',
      `${principal.open + added} of your items are open; ${ticket.n} more would pass ${c.maxOpenItems}. Wait until some have ended`,
    );
  }
  const missing = ticket.blobs.find(
    ({ digest, size }) => rows.blobSize(digest) !== size || !rows.granted(principal.no, digest),
  );
  if (missing !== undefined) {
    return refused(
      'E_NOT_FOUND',
      `blob ${missing.digest} of ${missing.size} bytes is not among yours; upload it, then submit again`,
    );
  }
  const ticketNo = insert(rows, c, seen, ticket, principal, endpoint);
  seen.added.set(principal.no, added + ticket.n);
  notes.closed(principal.no, -ticket.n);
  notes.add(principal.no, 'queued', { id: ticket.id, runs: [[0, ticket.n]] });
  return { kind: 'queued', ticketNo };
}

/** Blobs are pinned by the ticket, so that they outlive their uploader's grant while work may still need them. */
function insert(
  rows: Rows,
  c: Queue,
  seen: Seen,
  ticket: QueueTicket,
  principal: PrincipalRow,
  endpoint: EndpointRow,
): number {
  const chain = seen.chains.get(ticket.chain);
  const manifest = seen.manifests.get(ticket.manifest);
  if (chain === undefined || manifest === undefined)
    throw new RangeError('a ticket came without its chain or manifest');
  const { id, jti, hash, fn, token, n, exp } = ticket;
  const no = rows.addTicket(
    {
      id,
      jti,
      hash,
      fn,
      token,
      n,
      exp,
      chain,
      manifest,
      queuedAt: c.nowS,
      principal: principal.no,
      endpoint: endpoint.no,
    },
    { states: new Uint8Array(n), packs: NO_BYTES, pending: n, open: n, deliveryEpoch: 0, cancelling: false, doneAt: 0 },
  );
  rows.addPayload(no, ticket.payload);
  for (const { digest } of ticket.blobs) {
    rows.pin(no, digest);
    rows.grant(principal.no, digest, c.nowS);
  }
  return no;
}

/**
 * The signed cancel goes to the endpoint in every case: it leaves a tombstone there, whose receipt settles what the broker
 * can only say. Items that never left the broker are ended by its word at once.
 */
export function cancel(rows: Rows, c: Cancel): Cancelled {
  const ticket = rows.hot(c.id);
  // The same answer for what is not there and what is another's: ids must not be probed.
  if (ticket === undefined || rows.principalKid(ticket.principal) !== c.principal) {
    return refused('E_NOT_FOUND', `no call ${c.id} of yours is stored here`);
  }
  const states = Uint8Array.from(ticket.states);
  const targets = c.items === 'all' ? Array.from({ length: ticket.n }, (_, i) => i) : unpackU16(c.items);
  if (targets.some((i) => i >= ticket.n))
    return refused('E_BAD_REQUEST', `call ${c.id} has ${ticket.n} items; the cancel names one beyond them`);
  const open = targets.filter((i) => isOpen(states[i] ?? 0));
  const ended = open.filter((i) => states[i] === STATE.queued);
  for (const i of ended) states[i] = STATE.cancelled;
  const notes = createNotes(rows);
  if (ended.length > 0) {
    notes.add(ticket.principal, 'lost', itemsEvent(ticket.id, ended, 'cancelled'));
    notes.closed(ticket.principal, ended.length);
  }
  save(rows, ticket, { states, cancelling: ticket.cancelling || open.length > ended.length }, c.nowS);
  const cancelNo = rows.addCancel(ticket.endpoint, ticket.no, c.token, c.links, c.nowS);
  return {
    kind: 'done',
    cancelNo,
    ticketNo: ticket.no,
    endpoint: rows.endpointId(ticket.endpoint),
    items: open.length,
    ended: packU16(ended),
    events: notes.write(c.nowS),
  };
}

/** Ends what no ledger holds and may not start any more. Delivered items too: only a receipt could say otherwise, and it still can. */
export function expire(rows: Rows, c: Expire): Expired {
  const notes = createNotes(rows);
  const tickets = rows.overdueTickets(c.nowS, c.limit).map((no) => {
    const ticket = rows.hotByNo(no);
    if (ticket === undefined) throw new RangeError(`ticket ${no} is indexed and not there`);
    const items = Array.from(ticket.states.keys()).filter((i) => isPending(ticket.states[i] ?? 0));
    const states = ticket.states.map((state) => (isPending(state) ? STATE.expired : state));
    notes.add(ticket.principal, 'lost', itemsEvent(ticket.id, items, 'expired'));
    notes.closed(ticket.principal, items.length);
    save(rows, ticket, { states }, c.nowS);
    return { ticketNo: no, endpoint: rows.endpointId(ticket.endpoint) };
  });
  return { tickets, events: notes.write(c.nowS) };
}
