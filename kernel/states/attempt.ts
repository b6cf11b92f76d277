/**
 * One attempt at the agent: one start of an item, whether or not its failure is charged.
 *
 * Invariants
 *  A1 The agent commits `leased` before a pilot sees the work; nobody else mints attempts or lease epochs.
 *  A2 Every message of an attempt carries (attempt, lease epoch) and is looked at only if `fence` finds it current.
 *  A3 The first outcome that is durable ends the attempt; what comes later is refused and recorded.
 *  A4 Cancel is a flag: it asks for a kill. `killed` is said only when the death is confirmed, and an attempt that
 *     succeeded meanwhile has succeeded.
 *  A5 Progress messages may be lost: an outcome is taken in every state that is not ended, and a state never goes back.
 */
import { type Entry, lookUp, no, type Table, to } from './table.ts';

export const ATTEMPT_STATES = [
  'leased',
  'starting',
  'running',
  'storing',
  'succeeded',
  'failed',
  'interrupted',
  'unknown',
  'killed',
  'returned',
] as const;
export type AttemptState = (typeof ATTEMPT_STATES)[number];

export const ATTEMPT_EVENTS = [
  /** The pilot checks digests, starts or finds a runner. */
  'starting',
  /** The runner has it. */
  'running',
  /** The result is being written. */
  'storing',
  /** The outcome of the runner: charged to the invocation if it failed. */
  'succeeded',
  'failed',
  /** Walltime, preemption, a lost node: the death is known, nobody is charged. */
  'interrupted',
  /** The pilot is gone and nobody can say whether it finished. */
  'lost',
  /** The process tree is gone after a cancel. */
  'killed',
  /** The pilot gives the lease back; nothing was started. */
  'returned',
  /** A cancel, a revocation, or a time-out at the agent. */
  'cancel',
  /** The agent restarted and found it in its ledger, and the pilot alive. */
  'adopted',
] as const;
export type AttemptEvent = (typeof ATTEMPT_EVENTS)[number];

export type AttemptEffect = 'sendLaunch' | 'chargeFailure' | 'endItem' | 'decideRetry' | 'freeSlot' | 'kill';

type Live = 'leased' | 'starting' | 'running' | 'storing';

const outcomes = {
  succeeded: to('succeeded', 'endItem', 'freeSlot'),
  failed: to('failed', 'chargeFailure', 'decideRetry', 'freeSlot'),
  interrupted: to('interrupted', 'decideRetry', 'freeSlot'),
  lost: to('unknown', 'decideRetry', 'freeSlot'),
  killed: to('killed', 'endItem', 'freeSlot'),
} as const;

const BACK = 'it is further already';

const live = (state: Live) => ({ ...outcomes, cancel: to(state, 'kill'), adopted: to(state) }) as const;

const ended = (state: Exclude<AttemptState, Live>) => {
  const over = no(`the attempt has ended: ${state}`);
  return {
    starting: over,
    running: over,
    storing: over,
    succeeded: over,
    failed: over,
    interrupted: over,
    lost: over,
    killed: over,
    returned: over,
    cancel: over,
    adopted: over,
  } as const;
};

export const ATTEMPT: Table<AttemptState, AttemptEvent, AttemptEffect> = {
  leased: {
    ...live('leased'),
    // A pilot that never saw the launch is sent it again: the lease is in the ledger, the message may be lost.
    adopted: to('leased', 'sendLaunch'),
    starting: to('starting'),
    running: to('running'),
    storing: to('storing'),
    returned: to('returned', 'decideRetry', 'freeSlot'),
  },
  starting: {
    ...live('starting'),
    starting: no(BACK),
    running: to('running'),
    storing: to('storing'),
    returned: to('returned', 'decideRetry', 'freeSlot'),
  },
  running: {
    ...live('running'),
    starting: no(BACK),
    running: no(BACK),
    storing: to('storing'),
    returned: no('what runs cannot be given back; it ends or is killed'),
  },
  storing: {
    ...live('storing'),
    starting: no(BACK),
    running: no(BACK),
    storing: no(BACK),
    returned: no('what runs cannot be given back; it ends or is killed'),
  },
  succeeded: ended('succeeded'),
  failed: ended('failed'),
  interrupted: ended('interrupted'),
  unknown: ended('unknown'),
  killed: ended('killed'),
  returned: ended('returned'),
};

export function attemptStep(state: AttemptState, event: AttemptEvent): Entry<AttemptState, AttemptEffect> {
  return lookUp(ATTEMPT, state, event);
}

/** What names one hold on one item. */
export interface Hold {
  readonly attempt: number;
  readonly leaseEpoch: number;
}

/** Whether a message is of the hold that the ledger has now. Without a hold every message is stale. */
export function fence(held: Hold | undefined, message: Hold): 'current' | 'stale' {
  return held !== undefined && held.attempt === message.attempt && held.leaseEpoch === message.leaseEpoch
    ? 'current'
    : 'stale';
}
