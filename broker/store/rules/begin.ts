/** A session of an endpoint: its beginning, what a lost ledger means, acknowledged cancels, hot facts. */
import type { EndpointRow, Rows } from '../rows.ts';
import { STATE } from '../states.ts';
import type { Begin, Begun, CancelAcked, Fenced, Refused, StatusUpdate } from '../store.ts';
import { createNotes, FENCED, itemsEvent, ofSession, refused, save } from './common.ts';

/** Why a hello that verified is refused all the same: it tells of an older state than this broker has seen. */
function staleness(c: Begin, row: EndpointRow): Refused | undefined {
  if (c.seq < row.seq || (c.seq === row.seq && c.descriptor !== row.descriptor)) {
    return refused(
      'E_CONFLICT',
      `descriptor ${c.seq} of ${c.endpoint} is not the one seen before (${row.seq}); use the newest that the root signed`,
    );
  }
  if (c.ledger.n < row.ledgerN) {
    return refused(
      'E_CONFLICT',
      `the ledger of ${c.endpoint} is from epoch ${c.ledger.n}, and ${row.ledgerN} was seen: a restored state folder. Nothing is delivered to it`,
    );
  }
  // A copied folder wakes with what it remembered; the live one has moved on. A crash between the commit here and the welcome
  // there looks alike, but leaves no live session behind.
  if (c.live && c.claimedEpoch !== 0 && c.claimedEpoch < row.sessionEpoch) {
    return refused(
      'E_FENCED',
      `another agent of endpoint ${c.endpoint} is connected and newer: this state folder is a copy. Stop one of them`,
    );
  }
  return undefined;
}

/**
 * A session begins: its epoch is one more than any that either side remembers, so that commands of an older one are fenced (B2) even
 * after the broker was restored. A ledger that is newer than the one known means that the old one is lost, with all it had admitted.
 */
export function begin(rows: Rows, c: Begin): Begun {
  const row = rows.endpoint(c.endpoint);
  if (row === undefined) {
    return refused(
      'E_ENDPOINT_UNKNOWN',
      `endpoint ${c.endpoint} is not enrolled at this broker; run \`farfield endpoint join TOKEN\` with an invitation`,
    );
  }
  const stale = staleness(c, row);
  if (stale !== undefined) return stale;
  const sessionEpoch = Math.max(row.sessionEpoch, c.claimedEpoch) + 1;
  const notes = createNotes(rows);
  const lostItems = row.ledgerN !== 0 && c.ledger.n > row.ledgerN ? loseAdmitted(rows, row, notes, c.nowS) : 0;
  rows.saveEndpoint({
    ...row,
    descriptor: c.descriptor,
    seq: c.seq,
    online: c.online,
    onlineKid: c.onlineKid,
    status: c.status,
    ledgerN: c.ledger.n,
    sessionEpoch,
  });
  return { kind: 'begun', sessionEpoch, lostItems, events: notes.write(c.nowS) };
}

/** The endpoint forgot what it had admitted. What it had not is delivered again, and refused there if it is older than the new ledger. */
function loseAdmitted(rows: Rows, row: EndpointRow, notes: ReturnType<typeof createNotes>, nowS: number): number {
  let lost = 0;
  for (const no of rows.openTicketsAt(row.no)) {
    const ticket = rows.hotByNo(no);
    if (ticket === undefined) continue;
    const items = Array.from(ticket.states.keys()).filter((i) => ticket.states[i] === STATE.admitted);
    if (items.length === 0) continue;
    const states = ticket.states.map((state) => (state === STATE.admitted ? STATE.lost : state));
    notes.add(ticket.principal, 'lost', itemsEvent(ticket.id, items, 'lost'));
    notes.closed(ticket.principal, items.length);
    save(rows, ticket, { states }, nowS);
    lost += items.length;
  }
  return lost;
}

/** The endpoint has the cancels in its ledger; they need not be sent after the next connection. */
export function cancelAcked(rows: Rows, c: CancelAcked): { kind: 'done' } | Fenced {
  const endpoint = ofSession(rows, c);
  if (endpoint === undefined) return FENCED;
  for (const no of c.cancelNos) rows.dropCancel(endpoint.no, no);
  return { kind: 'done' };
}

/** Hot facts as the endpoint signed them, passed on as they are. */
export function status(rows: Rows, c: StatusUpdate): { kind: 'done' } | Fenced {
  const endpoint = ofSession(rows, c);
  if (endpoint === undefined) return FENCED;
  rows.saveEndpoint({ ...endpoint, status: c.status });
  return { kind: 'done' };
}
