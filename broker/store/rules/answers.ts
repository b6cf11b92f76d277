/**
 * Questions: what a reader may ask of the rows.
 *
 * Invariants
 *  Q1 A question changes nothing, so a reader's connection can answer it while the writer commits.
 *  Q2 What grows without bound comes in pages (`limit`, `maxBytes`), each telling where the next one begins: one asker's history
 *     never fills the memory of a broker.
 *  Q3 Who may see an answer is not decided here; the routes ask with the principal that they authenticated.
 */

import type { Bytes } from '#kernel/bytes.ts';
import { u32At } from '../columns.ts';
import type { EndpointRow, Rows } from '../rows.ts';
import type { EndpointFacts, PendingTicket, Reads, TicketView } from '../store.ts';
import { toldAnswers } from './access.ts';

/** A call as its owner sees it: both rows of it, names instead of row numbers. */
function ticketView(rows: Rows, no: number): TicketView | undefined {
  const state = rows.hotByNo(no);
  if (state === undefined) return undefined;
  const facts = rows.facts(no);
  return {
    ticketNo: no,
    id: facts.id,
    endpoint: rows.endpointId(facts.endpoint),
    principal: rows.principalKid(facts.principal),
    jti: facts.jti,
    hash: facts.hash,
    fn: facts.fn,
    n: facts.n,
    exp: facts.exp,
    queuedAt: facts.queuedAt,
    states: state.states,
    cancelling: state.cancelling,
    refusals: rows.refusals(no).map((refusal) => refusal.receipt),
  };
}

/** Without the row's number and the ledger's epoch, which are the store's own. */
function endpointFacts(row: EndpointRow): EndpointFacts {
  const { id, descriptor, seq, online, onlineKid, status, sessionEpoch } = row;
  return { id, descriptor, seq, online, onlineKid, status, sessionEpoch };
}

/**
 * The packs that hold outcomes of a ticket's items. Their numbers are in its `packs` column (u32le pack number and mark, an item);
 * zero stands for an item that no receipt has ended. At least one pack is returned, however large it is.
 */
function packsOf(rows: Rows, question: Reads['packs']['in']): Reads['packs']['out'] {
  const ticket = rows.hot(question.id);
  const numbers = new Set<number>();
  for (let i = 0; ticket !== undefined && i < ticket.n; i += 1) numbers.add(u32At(ticket.packs, i * 2));
  const wanted = [...numbers].filter((no) => no > question.after).sort((a, b) => a - b);
  const packs: { packNo: number; bytes: Bytes }[] = [];
  let bytes = 0;
  for (const packNo of wanted) {
    const row = rows.pack(packNo);
    if (row === undefined) continue;
    bytes += row.bytes.byteLength;
    if (packs.length > 0 && bytes > question.maxBytes) return { packs, more: true };
    packs.push({ packNo, bytes: row.bytes });
  }
  return { packs, more: false };
}

/** B5: numbers have no gaps, so `first` and `last` tell a reader at once whether its place still exists. */
function eventPage(rows: Rows, question: Reads['events']['in']): Reads['events']['out'] {
  const principal = rows.principal(question.principal);
  if (principal === undefined) return { events: [], packs: new Map(), first: 0, last: 0 };
  const events = rows
    .eventsAfter(principal.no, question.after, question.limit)
    .map((event) => ({ ...event, principal: question.principal }));
  const packs = new Map<number, Bytes>();
  for (const { packNo } of events) {
    const pack = packNo === 0 ? undefined : rows.pack(packNo);
    if (pack !== undefined) packs.set(packNo, pack.bytes);
  }
  return { events, packs, first: rows.firstEvent(principal.no), last: principal.seq };
}

/** Tickets of one principal that wait for an endpoint, oldest first: the queue that the fair share draws from. */
function pendingPage(rows: Rows, question: Reads['pending']['in']): readonly PendingTicket[] {
  const endpoint = rows.endpoint(question.endpoint);
  const principal = rows.principal(question.principal);
  if (endpoint === undefined || principal === undefined) return [];
  return rows.pendingTickets(endpoint.no, principal.no, question.after, question.limit).flatMap((no) => {
    const state = rows.hotByNo(no);
    if (state === undefined) return [];
    const { id, n, token, chain, manifest } = rows.facts(no);
    return [
      {
        ticketNo: no,
        id,
        principal: question.principal,
        n,
        states: state.states,
        token,
        chainNo: chain,
        manifestNo: manifest,
      },
    ];
  });
}

/** One function for each question of the store's interface; the compiler holds the list complete. */
export const answers: { readonly [K in keyof Reads]: (rows: Rows, question: Reads[K]['in']) => Reads[K]['out'] } = {
  generation: (rows) => rows.generation(),
  endpoints: (rows) => rows.endpoints().map(endpointFacts),
  users: (rows) => rows.users().flatMap(({ kid, jwk }) => (jwk === undefined ? [] : [{ kid, jwk }])),
  ticket(rows, { id }) {
    const hot = rows.hot(id);
    return hot === undefined ? undefined : ticketView(rows, hot.no);
  },
  list(rows, { principal, before, limit }) {
    const row = rows.principal(principal);
    if (row === undefined) return [];
    return rows.ticketsOf(row.no, before, limit).flatMap((no) => ticketView(rows, no) ?? []);
  },
  tokens: (rows, { tickets }) => tickets.map((no) => (rows.hotByNo(no) === undefined ? '' : rows.facts(no).token)),
  packs: packsOf,
  events: eventPage,
  backlog(rows, { endpoint }) {
    const row = rows.endpoint(endpoint);
    return row === undefined ? [] : rows.pendingPrincipals(row.no).map((no) => rows.principalKid(no));
  },
  pending: pendingPage,
  payload: (rows, { ticketNo }) => rows.payload(ticketNo),
  texts: (rows, { chains, manifests }) => ({
    chains: chains.map((no) => rows.chain(no)),
    manifests: manifests.map((no) => rows.manifest(no)),
  }),
  cancels(rows, { endpoint }) {
    const row = rows.endpoint(endpoint);
    if (row === undefined) return [];
    return rows.cancels(row.no).map(({ no, token, links }) => ({ cancelNo: no, token, links }));
  },
  blobOf(rows, { principal, digest }) {
    const row = rows.principal(principal);
    return row !== undefined && rows.granted(row.no, digest) ? rows.blobSize(digest) : undefined;
  },
  blobAt(rows, { endpoint, digest }) {
    const row = rows.endpoint(endpoint);
    return row !== undefined && rows.pinnedAt(row.no, digest) ? rows.blobSize(digest) : undefined;
  },
  blobKept: (rows, { digest }) => rows.blobSize(digest) !== undefined,
  accessTold: toldAnswers,
  accessNewest: (rows) => rows.newestTold(),
  alarms: (rows, { limit }) => rows.alarms(limit),
  counts: (rows) => rows.counts(),
};
