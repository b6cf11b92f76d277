/** A ticket as its owner sees it: the broker's word, plus what the agent last said about running items. */
import { FarfieldError } from '#kernel/errors.ts';
import { parseToken } from '#kernel/jws.ts';
import type { ItemState, RunningEvent, TicketStatus } from '#protos/http.ts';
import { countByName, isOpen, isPending, stateName } from '../store/states.ts';
import type { TicketView } from '../store/store.ts';
import type { ApiContext } from './context.ts';

/** Tickets up to this many items are shown item by item. */
const SHOWN_ITEMS = 64;
const WHOLE = -1;

export function parseItems(text: string, n: number): number[] {
  const items = text.split(',').map(Number);
  const beyond = items.find((i) => i >= n);
  if (beyond !== undefined)
    throw new FarfieldError('E_NOT_FOUND', `this call has ${n} items; there is no item ${beyond}`);
  return items;
}

export function ticketStatus(context: ApiContext, view: TicketView, items?: readonly number[]): TicketStatus {
  const { id, endpoint, principal, jti, fn, n, exp, queuedAt, cancelling, states } = view;
  const shown = items ?? (n <= SHOWN_ITEMS ? Array.from({ length: n }, (_, i) => i) : []);
  const notes = context.running.of(id);
  const reason = reasonOf(context, view);
  return {
    id,
    endpoint,
    principal,
    jti,
    fn,
    n,
    counts: countByName(states),
    cancelling,
    queuedAt,
    exp,
    items: shown.map((i) => itemStatus(i, states[i] ?? 0, notes.get(i) ?? notes.get(WHOLE))),
    ...(reason === undefined ? {} : { reason }),
    ...(view.refusals.length === 0 ? {} : { refusals: [...view.refusals] }),
  };
}

function itemStatus(
  i: number,
  state: number,
  note: RunningEvent | undefined,
): { i: number; state: ItemState; detail?: string; done?: number; total?: number } {
  if (note === undefined || !isOpen(state)) return { i, state: stateName(state) };
  const progress = note.total > 0 ? { done: note.done, total: note.total } : {};
  return { i, state: stateName(state), detail: note.detail === '' ? note.state : note.detail, ...progress };
}

/** In a sentence, why it is not running; undefined when nothing is in its way that the broker knows. */
function reasonOf({ directory }: ApiContext, view: TicketView): string | undefined {
  const [refusal] = view.refusals;
  if (refusal !== undefined) {
    const { err } = parseToken('farfield-receipt+jwt', refusal).claims;
    return err === undefined ? 'the endpoint refused it' : `the endpoint refused it: ${err.message} [${err.code}]`;
  }
  const entry = directory.endpoint(view.endpoint);
  if (!view.states.some(isOpen)) return undefined;
  const presence = entry === undefined ? 'offline' : directory.presence(entry);
  const since = new Date(entry?.sinceMs ?? 0).toISOString();
  if (presence === 'offline') return `endpoint ${view.endpoint} is offline since ${since}`;
  if (presence === 'reconnecting')
    return `endpoint ${view.endpoint} lost its connection at ${since} and is expected back`;
  const claims =
    entry === undefined || entry.status === '' ? undefined : parseToken('farfield-status+jwt', entry.status).claims;
  if (claims !== undefined && claims.state !== 'open' && view.states.some(isPending)) {
    return `the endpoint is ${claims.state}${claims.reason === undefined ? '' : `: ${claims.reason}`}`;
  }
  return undefined;
}
