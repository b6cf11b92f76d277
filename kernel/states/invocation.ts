/**
 * One item at the broker.
 *
 * Invariants
 *  I1 `terminal` is reached by a receipt that the endpoint signed, and is never left. A receipt that says something else
 *     than the stored one changes nothing and raises an alarm.
 *  I2 `lost`, `expired`, `cancelled` and `refused` are what the broker can say without a committed receipt. A receipt that
 *     comes later replaces its word: a future ends on receipts alone.
 *  I3 A delivery may be repeated at will. It cannot cause a second run: the agent's ledger answers it.
 *  I4 Cancel is a flag beside the state, and travels to the endpoint; here it ends only what no agent has seen.
 */
import { type Entry, lookUp, no, type Table, to } from './table.ts';

export const INVOCATION_STATES = [
  'queued',
  'delivered',
  'admitted',
  'lost',
  'expired',
  'cancelled',
  'refused',
  'terminal',
] as const;
export type InvocationState = (typeof INVOCATION_STATES)[number];

export const INVOCATION_EVENTS = [
  /** It left on the live session, under a new delivery epoch. */
  'deliver',
  /** That session ended before an answer. */
  'linkLost',
  /** The agent's ledger holds it, said under the current delivery epoch. */
  'admitted',
  /** The agent gives it back unstarted, tombstoned under this delivery epoch. */
  'handBack',
  /** A stateless refusal, signed over the ticket's hash. */
  'refusal',
  /** A verified receipt; again or first. */
  'receipt',
  /** A verified receipt that differs from the stored one. */
  'otherReceipt',
  /** The ticket's `exp` has passed. */
  'expire',
  /** A signed cancel came. */
  'cancel',
  /** The endpoint began a new ledger epoch. */
  'ledgerLost',
] as const;
export type InvocationEvent = (typeof INVOCATION_EVENTS)[number];

export type InvocationEffect = 'dropPayload' | 'keepPayload' | 'storeReceipt' | 'tellClient' | 'sendCancel' | 'alarm';

const STALE = 'an answer to a delivery that is no longer the current one';
const ENDED = 'it has a receipt';
const NOTHING = 'there is no receipt that this one could differ from';

/** The broker's own word: as long as no receipt says otherwise. */
const word = (state: 'lost' | 'expired' | 'cancelled' | 'refused') =>
  ({
    deliver: no(`it is ${state}, and its arguments are gone`),
    linkLost: no('it is on no link'),
    admitted: no(STALE),
    handBack: no(STALE),
    refusal: no(STALE),
    receipt: to('terminal', 'storeReceipt', 'tellClient'),
    otherReceipt: no(NOTHING),
    expire: no(`it is ${state}`),
    // The endpoint may hold it all the same: the cancel leaves a tombstone there.
    cancel: to(state, 'sendCancel'),
    ledgerLost: no(`it is ${state}`),
  }) as const;

export const INVOCATION: Table<InvocationState, InvocationEvent, InvocationEffect> = {
  queued: {
    deliver: to('delivered'),
    linkLost: no('it is on no link'),
    // After a reconnect the agent may answer a delivery that the broker took back when the link was lost: the ledger holds it.
    admitted: to('admitted', 'dropPayload', 'tellClient'),
    handBack: no('it is not at the endpoint'),
    refusal: to('refused', 'dropPayload', 'tellClient'),
    receipt: to('terminal', 'dropPayload', 'storeReceipt', 'tellClient'),
    otherReceipt: no(NOTHING),
    expire: to('expired', 'dropPayload', 'tellClient'),
    // No agent has it, or an agent whose answer is lost: the broker's word now, the agent's tombstone settles it.
    cancel: to('cancelled', 'dropPayload', 'sendCancel', 'tellClient'),
    ledgerLost: no('the endpoint never held it'),
  },
  delivered: {
    deliver: to('delivered'),
    linkLost: to('queued'),
    admitted: to('admitted', 'dropPayload', 'tellClient'),
    handBack: to('queued', 'keepPayload'),
    refusal: to('refused', 'dropPayload', 'tellClient'),
    receipt: to('terminal', 'dropPayload', 'storeReceipt', 'tellClient'),
    otherReceipt: no(NOTHING),
    // It may be running already: only the endpoint knows, and its receipt says.
    expire: no('the endpoint may hold it'),
    cancel: to('delivered', 'sendCancel'),
    // What was on the link went into a memory that is gone: it is sent again, and the new ledger judges it.
    ledgerLost: to('queued'),
  },
  admitted: {
    deliver: no('the endpoint holds it'),
    linkLost: no('it is on no link'),
    admitted: no('it is known to be admitted'),
    handBack: to('queued', 'keepPayload', 'tellClient'),
    refusal: no('an admitted item is refused by a committed receipt, not by a stateless answer'),
    receipt: to('terminal', 'storeReceipt', 'tellClient'),
    otherReceipt: no(NOTHING),
    expire: no('the endpoint holds it'),
    cancel: to('admitted', 'sendCancel'),
    ledgerLost: to('lost', 'tellClient'),
  },
  lost: word('lost'),
  expired: word('expired'),
  cancelled: word('cancelled'),
  refused: word('refused'),
  terminal: {
    deliver: no(ENDED),
    linkLost: no('it is on no link'),
    admitted: no(ENDED),
    handBack: no(ENDED),
    refusal: no(ENDED),
    receipt: no('it has this receipt'),
    otherReceipt: to('terminal', 'alarm'),
    expire: no(ENDED),
    cancel: no(ENDED),
    ledgerLost: no(ENDED),
  },
};

export function invocationStep(
  state: InvocationState,
  event: InvocationEvent,
): Entry<InvocationState, InvocationEffect> {
  return lookUp(INVOCATION, state, event);
}
