/**
 * Answers to requests for access, on their way to who asked.
 *
 * Invariants
 *  G1 An endpoint tells a principal something only where that principal asked it, through this broker: whoever is told has asked.
 *     Without that any endpoint could put lines into any user's events.
 *  G2 The same answer again is no news: an agent says what it has decided at the beginning of every session, and needs no
 *     acknowledgement for that.
 *  G3 What is kept is the endpoint's own token, unread but for whom it is for; the client believes the signature and not this row.
 */
import type { Rows } from '../rows.ts';
import type { AccessAsked, AccessTold, Fenced, StoredEvent, ToldAnswer } from '../store.ts';
import { createNotes, FENCED, ofSession } from './common.ts';

/** Longer than a site takes to decide, and than most grants last. */
export const KEEP_ASKED_S = 366 * 86_400;

export function accessAsked(rows: Rows, { principal, endpoint, nowS }: AccessAsked): { kind: 'done' } {
  const place = rows.endpoint(endpoint);
  if (place === undefined) return { kind: 'done' };
  const { no } = rows.principal(principal) ?? rows.addPrincipal(principal);
  const known = rows.asked(no, place.no);
  rows.saveAsked({ ...(known ?? { principal: no, endpoint: place.no, seq: 0, digest: '', token: '' }), at: nowS });
  return { kind: 'done' };
}

export function accessTold(rows: Rows, c: AccessTold): { kind: 'done'; events: readonly StoredEvent[] } | Fenced {
  const endpoint = ofSession(rows, c);
  if (endpoint === undefined) return FENCED;
  const principal = rows.principal(c.principal);
  const row = principal === undefined ? undefined : rows.asked(principal.no, endpoint.no);
  if (row === undefined || row.digest === c.digest) return { kind: 'done', events: [] };
  const notes = createNotes(rows);
  notes.add(row.principal, 'access', { endpoint: c.endpoint, answer: c.token });
  const events = notes.write(c.nowS);
  rows.saveAsked({ ...row, at: c.nowS, seq: events[0]?.seq ?? 0, digest: c.digest, token: c.token });
  return { kind: 'done', events };
}

/** The last answer of each endpoint that has given one, oldest first. */
export function toldAnswers(rows: Rows, { principal }: { readonly principal: string }): readonly ToldAnswer[] {
  const row = rows.principal(principal);
  if (row === undefined) return [];
  return rows
    .askedBy(row.no)
    .filter(({ seq }) => seq > 0)
    .map(({ endpoint, seq, at, token }) => ({ endpoint: rows.endpointId(endpoint), seq, at, answer: token }));
}
