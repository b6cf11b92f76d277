/** What a link says about work: delivered, admitted, completed, refused, handed back. */
import { packU16, setU32, u16At, u32At, unpackU16 } from '../columns.ts';
import { mergePayload } from '../payload.ts';
import type { EndpointRow, HotTicket, Rows } from '../rows.ts';
import { isPending, isSigned, SIGNED, STATE } from '../states.ts';
import type {
  Admitted,
  AdmittedOutcome,
  Complete,
  Completed,
  Deliver,
  Fenced,
  HandBack,
  HandedBack,
  Refuse,
} from '../store.ts';
import { createNotes, FENCED, itemsEvent, type Notes, ofSession, refused, save } from './common.ts';

/** Bytes an item of the `packs` column. */
const MARKED = 8;

/**
 * Handed to a link. The epoch of this hand-over is stored: answers that carry an older one are of a delivery that was given up, and
 * change nothing (B2). Payload stays until the endpoint says that it has it.
 */
export function deliver(rows: Rows, c: Deliver): { kind: 'done' } | Fenced {
  if (ofSession(rows, c) === undefined) return FENCED;
  for (const { ticketNo, deliveryEpoch, items } of c.tickets) {
    const ticket = rows.hotByNo(ticketNo);
    if (ticket === undefined) continue;
    const states = Uint8Array.from(ticket.states);
    for (const i of unpackU16(items)) if (states[i] === STATE.queued) states[i] = STATE.delivered;
    rows.saveState({ ...ticket, states, deliveryEpoch });
  }
  return { kind: 'done' };
}

/** A ticket by the id that the link names, if it is this endpoint's and the answer is to its latest hand-over. */
function answered(rows: Rows, endpoint: EndpointRow, id: string, deliveryEpoch: number): HotTicket | undefined {
  const ticket = rows.hot(id);
  return ticket !== undefined && ticket.endpoint === endpoint.no && ticket.deliveryEpoch === deliveryEpoch
    ? ticket
    : undefined;
}

/** In the endpoint's ledger: the broker's copy of the arguments has done its duty (B6, in `save`). Repeats are counted, not applied. */
export function admitted(rows: Rows, c: Admitted): AdmittedOutcome {
  const endpoint = ofSession(rows, c);
  if (endpoint === undefined) return FENCED;
  const notes = createNotes(rows);
  let done = 0;
  let stale = 0;
  for (const { id, deliveryEpoch, items } of c.tickets) {
    const ticket = answered(rows, endpoint, id, deliveryEpoch);
    if (ticket === undefined) {
      stale += items.byteLength / 2;
      continue;
    }
    const states = Uint8Array.from(ticket.states);
    const fresh = unpackU16(items).filter((i) => i < ticket.n && isPending(states[i] ?? STATE.lost));
    if (fresh.length === 0) continue;
    for (const i of fresh) states[i] = STATE.admitted;
    save(rows, ticket, { states }, c.nowS);
    notes.add(ticket.principal, 'admitted', itemsEvent(id, fresh));
    done += fresh.length;
  }
  return { kind: 'done', items: done, stale, events: notes.write(c.nowS) };
}

/**
 * A signed pack of outcomes. The broker checks whose tickets they are and whether it has an answer already; what the pack says, the
 * client verifies. An endpoint that names other people's tickets or another hash is alarmed, and ends nothing by it.
 */
export function complete(rows: Rows, c: Complete): Completed {
  const endpoint = ofSession(rows, c);
  if (endpoint === undefined) return FENCED;
  const principal = rows.principal(c.principal);
  if (rows.packNo(endpoint.no, c.ledgerEpoch, c.agentPackNo, c.digest) !== undefined) return { kind: 'known' };
  const settled: Settled[] = [];
  let conflicts = 0;
  for (const entry of c.tickets) {
    const ticket = rows.hot(entry.id);
    const owner = ticket !== undefined && principal !== undefined && ticket.principal === principal.no;
    if (!owner || ticket.endpoint !== endpoint.no || ticket.hash !== entry.hash) {
      rows.alarm(
        c.nowS,
        'receipt-unknown',
        `endpoint ${c.endpoint} sent a receipt for ${entry.id}, which is not its ticket of that hash`,
      );
      conflicts += entry.statuses.byteLength;
      continue;
    }
    const result = settle(rows, c, ticket, entry);
    conflicts += result.conflicts;
    if (result.items > 0) settled.push(result);
  }
  if (principal === undefined || settled.length === 0) {
    // Nothing new: the agent may forget the pack, and the alarms keep what was wrong with it.
    return { kind: 'stored', packNo: 0, items: 0, conflicts, events: [] };
  }
  const notes = createNotes(rows);
  const packNo = rows.addPack({
    endpoint: endpoint.no,
    ledgerEpoch: c.ledgerEpoch,
    agentPackNo: c.agentPackNo,
    digest: c.digest,
    principal: principal.no,
    at: c.nowS,
    refs: settled.length,
    bytes: c.bytes,
  });
  let items = 0;
  for (const entry of settled) {
    for (const i of entry.fresh) setU32(entry.packs, i * 2, packNo);
    save(rows, entry.ticket, entry, c.nowS);
    notes.closed(principal.no, entry.closed);
    items += entry.items;
  }
  notes.add(principal.no, 'terminal', undefined);
  return { kind: 'stored', packNo, items, conflicts, events: notes.write(c.nowS, packNo) };
}

/** What one ticket gains by a pack, before anything is written: a pack without news leaves no row. */
interface Settled {
  readonly ticket: HotTicket;
  readonly states: Uint8Array;
  readonly packs: Uint8Array;
  readonly fresh: readonly number[];
  readonly items: number;
  /** Of them, those that were open until now: a word of the broker may have ended others before. */
  readonly closed: number;
  readonly conflicts: number;
}

/** B3, item by item. A broker's own word (`lost`, `expired`, `cancelled`) gives way to the receipt; a receipt never does. */
function settle(rows: Rows, c: Complete, ticket: HotTicket, entry: Complete['tickets'][number]): Settled {
  const states = Uint8Array.from(ticket.states);
  const packs = ticket.packs.byteLength > 0 ? Uint8Array.from(ticket.packs) : new Uint8Array(ticket.n * MARKED);
  const fresh: number[] = [];
  let closed = 0;
  let conflicts = 0;
  for (let k = 0; k < entry.statuses.byteLength; k += 1) {
    const i = u16At(entry.items, k);
    const state = SIGNED + (entry.statuses[k] ?? 0);
    const before = states[i];
    const mark = u32At(entry.resultDigests, k * 8);
    if (before === undefined || isSigned(before)) {
      // An agent that answers a delivery of something ended says the same again: no news, and no contradiction.
      if (before === state && u32At(packs, i * 2 + 1) === mark) continue;
      conflicts += 1;
      // An item named twice in one pack has no pack number yet; it says so as 0.
      if (before !== undefined) alarmSecond(rows, c, ticket, i, before, state, u32At(packs, i * 2));
      continue;
    }
    if (before <= STATE.admitted) closed += 1;
    states[i] = state;
    setU32(packs, i * 2 + 1, mark);
    fresh.push(i);
  }
  return { ticket, states, packs, fresh, items: fresh.length, closed, conflicts };
}

/** B3. The pack that came is kept in the alarm by digest; the one that holds is in the store. */
function alarmSecond(
  rows: Rows,
  c: Complete,
  ticket: HotTicket,
  i: number,
  before: number,
  after: number,
  packNo: number,
): void {
  rows.alarm(
    c.nowS,
    'receipt-second',
    `endpoint ${c.endpoint} sent a second receipt for ${ticket.id}.${i}: status ${after - SIGNED} in pack ${c.digest}, stored status ${before - SIGNED} in pack ${packNo}; the first one holds`,
  );
}

/** The signed answer to a ticket whose chain did not hold: it ends the items here, and the endpoint keeps no row. */
export function refuse(rows: Rows, c: Refuse): AdmittedOutcome {
  const endpoint = ofSession(rows, c);
  if (endpoint === undefined) return FENCED;
  const ticket = answered(rows, endpoint, c.id, c.deliveryEpoch);
  if (ticket === undefined) return { kind: 'done', items: 0, stale: c.items.byteLength / 2, events: [] };
  const states = Uint8Array.from(ticket.states);
  const fresh = unpackU16(c.items).filter((i) => i < ticket.n && isPending(states[i] ?? STATE.lost));
  if (fresh.length === 0) return { kind: 'done', items: 0, stale: 0, events: [] };
  for (const i of fresh) states[i] = STATE.refused;
  save(rows, ticket, { states }, c.nowS);
  rows.addRefusal(ticket.no, c.items, c.receipt);
  const notes: Notes = createNotes(rows);
  notes.closed(ticket.principal, fresh.length);
  notes.add(ticket.principal, 'refusal', { id: c.id, items: fresh, receipt: c.receipt });
  return { kind: 'done', items: fresh.length, stale: 0, events: notes.write(c.nowS) };
}

/** The agent has tombstoned these unstarted: they are the broker's again, with their arguments. */
export function handBack(rows: Rows, c: HandBack): HandedBack {
  const endpoint = ofSession(rows, c);
  if (endpoint === undefined) return FENCED;
  const ticket = answered(rows, endpoint, c.id, c.deliveryEpoch);
  if (ticket === undefined) return refused('E_CONFLICT', `the hand-back of ${c.id} answers an older delivery`);
  const states = Uint8Array.from(ticket.states);
  const items = unpackU16(c.items);
  const back = items.filter((i) => states[i] === STATE.delivered || states[i] === STATE.admitted);
  for (const i of back) states[i] = STATE.queued;
  const merged = mergePayload(ticket.n, rows.payload(ticket.no), c.payload, items);
  rows.dropPayload(ticket.no);
  rows.addPayload(ticket.no, merged);
  save(rows, ticket, { states }, c.nowS);
  return { kind: 'done', ticketNo: ticket.no, principal: rows.principalKid(ticket.principal), items: packU16(back) };
}
