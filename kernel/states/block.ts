/**
 * One block: a batch job of N nodes, as the agent knows it from its scheduler and its pilots.
 *
 * Invariants
 *  B1 Only the scheduler's own word ends a block: a state that we do not know, a job missing from one listing, or a poll
 *     that failed is `unknown`, never finished. Taking silence for an end would start the work a second time.
 *  B2 A submit whose reply was lost is `unclear` until the job is found by its name or known not to exist: it is never
 *     submitted again before that.
 *  B3 Only a pilot's hello proves a start: a job that ran and ended without one is a start that failed, whatever its exit.
 *  B4 A job that runs, was seen to wait again, is a new life of the block: its leases went with the old one.
 *  B5 Whatever may hold nodes counts against the site's limits (`countsAgainstLimits`): unknown, held and completing too.
 */
import { type Entry, lookUp, no, type Table, to } from './table.ts';

export const BLOCK_STATES = [
  'requested',
  'unclear',
  'pending',
  'held',
  'starting',
  'running',
  'suspended',
  'draining',
  'completing',
  'unknown',
  'ended',
  'refused',
] as const;
export type BlockState = (typeof BLOCK_STATES)[number];

export const BLOCK_EVENTS = [
  /** The scheduler gave a job id. */
  'submitted',
  /** It said no. */
  'submitRefused',
  /** Its answer was lost, or makes no sense. */
  'submitUnclear',
  /** A listing by name shows the job that an unclear submit made / shows for certain that there is none. */
  'found',
  'absent',
  /** What the last poll said of the job. */
  'sawPending',
  'sawHeld',
  'sawRunning',
  'sawSuspended',
  'sawCompleting',
  'sawEnded',
  /** A word that we do not know, a job missing from the listing, a poll that failed for long. */
  'sawNothing',
  /** A pilot of this block said hello. */
  'pilotCame',
  /** The agent wants it to end when its work is done; or at once. */
  'drain',
  'stop',
] as const;
export type BlockEvent = (typeof BLOCK_EVENTS)[number];

export type BlockEffect =
  | 'lookForJob'
  | 'cancelJob'
  | 'stopLeasing'
  | 'returnLeases'
  /** The site started the job again: pilots of before are gone, and each node may redeem the block's token once more. */
  | 'newLife'
  | 'countStartFailure'
  | 'startLeasing';

const NO_JOB = 'it has no job yet';
const HAS_JOB = 'its job is known';

/** What every poll of a job that is known can say. */
const polls = {
  submitted: no(HAS_JOB),
  submitRefused: no(HAS_JOB),
  submitUnclear: no(HAS_JOB),
  found: no(HAS_JOB),
  absent: no('a job that was seen is ended by the scheduler, not by its absence'),
  sawEnded: to('ended', 'returnLeases'),
  sawNothing: to('unknown'),
  sawSuspended: to('suspended', 'stopLeasing'),
  sawCompleting: to('completing', 'stopLeasing'),
} as const;

/** It waits at the scheduler after it ran. */
const again = {
  sawPending: to('pending', 'stopLeasing', 'returnLeases', 'newLife'),
  sawHeld: to('held', 'stopLeasing', 'returnLeases', 'newLife'),
} as const;

const gone = (state: 'ended' | 'refused') => {
  const over = no(`the block is ${state}`);
  return Object.fromEntries(BLOCK_EVENTS.map((event) => [event, over])) as Record<BlockEvent, typeof over>;
};

export const BLOCK: Table<BlockState, BlockEvent, BlockEffect> = {
  requested: {
    submitted: to('pending'),
    submitRefused: to('refused', 'countStartFailure'),
    submitUnclear: to('unclear', 'lookForJob'),
    found: to('pending'),
    absent: no('the submit is under way'),
    sawPending: no(NO_JOB),
    sawHeld: no(NO_JOB),
    sawRunning: no(NO_JOB),
    sawSuspended: no(NO_JOB),
    sawCompleting: no(NO_JOB),
    sawEnded: no(NO_JOB),
    sawNothing: no(NO_JOB),
    // A fast scheduler starts the job before its answer to the submit is here.
    pilotCame: to('running', 'startLeasing'),
    drain: no('the submit is under way; drain it when its job is known'),
    stop: no('the submit is under way; stop it when its job is known'),
  },
  unclear: {
    submitted: to('pending'),
    submitRefused: to('refused', 'countStartFailure'),
    submitUnclear: to('unclear', 'lookForJob'),
    found: to('pending'),
    absent: to('refused', 'countStartFailure'),
    sawPending: to('pending'),
    sawHeld: to('held'),
    sawRunning: to('starting'),
    sawSuspended: to('suspended'),
    sawCompleting: to('completing', 'stopLeasing'),
    sawEnded: to('ended', 'countStartFailure'),
    sawNothing: to('unclear', 'lookForJob'),
    pilotCame: to('running', 'startLeasing'),
    drain: no('it is not known whether there is a job'),
    stop: no('it is not known whether there is a job'),
  },
  pending: {
    ...polls,
    sawPending: to('pending'),
    sawHeld: to('held'),
    sawRunning: to('starting'),
    // It ended before a pilot came: that is how a bad script or image looks, and what the breaker counts.
    sawEnded: to('ended', 'countStartFailure'),
    sawCompleting: to('completing', 'countStartFailure'),
    pilotCame: to('running', 'startLeasing'),
    drain: to('draining', 'cancelJob'),
    stop: to('draining', 'cancelJob'),
  },
  held: {
    ...polls,
    sawPending: to('pending'),
    sawHeld: to('held'),
    sawRunning: to('starting'),
    pilotCame: to('running', 'startLeasing'),
    drain: to('draining', 'cancelJob'),
    stop: to('draining', 'cancelJob'),
  },
  starting: {
    ...polls,
    sawPending: to('pending', 'newLife'),
    sawHeld: to('held', 'newLife'),
    sawRunning: to('starting'),
    sawEnded: to('ended', 'countStartFailure'),
    sawCompleting: to('completing', 'countStartFailure'),
    pilotCame: to('running', 'startLeasing'),
    drain: to('draining', 'cancelJob'),
    stop: to('draining', 'cancelJob'),
  },
  running: {
    ...polls,
    ...again,
    sawRunning: to('running'),
    pilotCame: to('running', 'startLeasing'),
    drain: to('draining', 'stopLeasing'),
    stop: to('draining', 'stopLeasing', 'cancelJob'),
  },
  // It keeps its nodes, and its pilots are silent, not dead: leases stay where they are.
  suspended: {
    ...polls,
    ...again,
    sawRunning: to('running', 'startLeasing'),
    pilotCame: to('running', 'startLeasing'),
    drain: to('draining'),
    stop: to('draining', 'cancelJob'),
  },
  draining: {
    ...polls,
    sawPending: to('draining', 'cancelJob'),
    sawHeld: to('draining', 'cancelJob'),
    sawRunning: to('draining'),
    sawSuspended: to('draining'),
    pilotCame: to('draining'),
    drain: to('draining'),
    stop: to('draining', 'cancelJob'),
    // It stays known that nothing may be leased to it.
    sawNothing: to('draining'),
  },
  completing: {
    ...polls,
    ...again,
    sawRunning: to('completing'),
    sawSuspended: to('completing'),
    sawCompleting: to('completing'),
    sawNothing: to('completing'),
    pilotCame: no('its job is ending'),
    drain: to('completing'),
    stop: to('completing'),
  },
  unknown: {
    ...polls,
    ...again,
    sawRunning: to('running', 'startLeasing'),
    pilotCame: to('running', 'startLeasing'),
    drain: to('draining', 'stopLeasing'),
    stop: to('draining', 'stopLeasing', 'cancelJob'),
  },
  ended: gone('ended'),
  refused: gone('refused'),
};

export function blockStep(state: BlockState, event: BlockEvent): Entry<BlockState, BlockEffect> {
  return lookUp(BLOCK, state, event);
}

/** Whether the block may hold nodes, or a place in the scheduler's queue. */
export function countsAgainstLimits(state: BlockState): boolean {
  return state !== 'ended' && state !== 'refused';
}
