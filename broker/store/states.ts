/**
 * The state of one item at the broker, as one byte.
 *
 * Invariants
 *  S1 A state above SIGNED comes from a receipt that the endpoint signed, and never changes again.
 *  S2 `lost`, and `expired` and `cancelled` below SIGNED, are the broker's own word: a receipt that arrives later replaces them.
 *  S3 `refused` below SIGNED is a stateless refusal that the endpoint signed over the ticket's hash alone.
 */
import { STATUS_CODES } from '#kernel/leaves.ts';
import type { ItemState } from '#protos/http.ts';

export const STATE = { queued: 0, delivered: 1, admitted: 2, lost: 3, expired: 4, cancelled: 5, refused: 6 } as const;
/** Receipt status codes (1..5) are stored as SIGNED + code. */
export const SIGNED = 16;

const NAMES: Readonly<Record<number, ItemState>> = {
  [STATE.queued]: 'queued',
  [STATE.delivered]: 'delivered',
  [STATE.admitted]: 'admitted',
  [STATE.lost]: 'lost',
  [STATE.expired]: 'expired',
  [STATE.cancelled]: 'cancelled',
  [STATE.refused]: 'refused',
  [SIGNED + STATUS_CODES.succeeded]: 'succeeded',
  [SIGNED + STATUS_CODES.failed]: 'failed',
  [SIGNED + STATUS_CODES.refused]: 'refused',
  [SIGNED + STATUS_CODES.expired]: 'expired',
  [SIGNED + STATUS_CODES.cancelled]: 'cancelled',
};

export function stateName(state: number): ItemState {
  const name = NAMES[state];
  if (name === undefined) throw new RangeError(`no item state ${state}`);
  return name;
}

/** Not yet in the endpoint's ledger: the broker still holds the arguments. */
export const isPending = (state: number): boolean => state <= STATE.delivered;
/** Nothing is known about its end. */
export const isOpen = (state: number): boolean => state <= STATE.admitted;
export const isSigned = (state: number): boolean => state > SIGNED;

export interface Counts {
  readonly pending: number;
  readonly open: number;
}

export function countStates(states: Uint8Array): Counts {
  let pending = 0;
  let open = 0;
  for (const state of states) {
    if (isPending(state)) pending += 1;
    if (isOpen(state)) open += 1;
  }
  return { pending, open };
}

/** Items by the name of their state, as status shows it. */
export function countByName(states: Uint8Array): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const state of states) {
    const name = stateName(state);
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}
