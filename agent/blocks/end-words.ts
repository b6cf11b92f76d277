/**
 * What people read when a job took their work with it: which job, what the scheduler says of its end, and what to do next. One
 * sentence, for the receipt of a call that may not start again and for `farfield endpoint why`.
 *
 * Invariants
 *  X1 The cause is the scheduler's word, never a guess from how the pilot's link went.
 *  X2 A pilot that was warned ahead of the limit ends its job in good order, so the scheduler calls that job completed: there the
 *     warning is the cause.
 */
import type { EndCause, Ended } from '../schedulers/scheduler.ts';
import type { Block } from './block.ts';
import { idOf } from './job-words.ts';

export interface EndFacts {
  readonly cause: EndCause;
  /** In the scheduler's words. */
  readonly why: string;
  /** Who cancelled it, as the scheduler names them. */
  readonly by?: string | undefined;
  readonly scheduler: string;
  readonly job: string;
  readonly node: string;
  /** Of the job. */
  readonly limitS: number;
  readonly memMiB?: number | undefined;
  readonly slots: number;
  /** Its pilot was warned of the limit before it came. */
  readonly warned?: boolean;
}

export function endSentence(facts: EndFacts): string {
  const { scheduler, why, node, limitS, warned } = facts;
  // Its blocks are processes of this machine, which nobody ends by a rule.
  if (scheduler === 'local') return `its pilot ended (${why})`;
  const job = `job ${idOf(facts.job)} of ${scheduler}`;
  switch (facts.cause) {
    case 'walltime': {
      const what = warned === true ? 'came to' : 'was ended at';
      return `${job} ${what} its time limit (walltime) of ${spanOf(limitS)} (${why}); ask for less in one call, or ask the site for longer blocks (blocks.batch.wallS)`;
    }
    case 'memory':
      return `${job} was ended for its memory (${why})${limitOf(facts)}; ${MORE_MEMORY}`;
    case 'nodeLost':
      return `${node}, the node of ${job}, failed (${why}); it is no fault of the call: submit it again`;
    case 'preempted':
      return `${job} had to give way to another job (${why}); submit it again, or ask the site for a queue whose jobs are not preempted`;
    case 'cancelled': {
      const by = facts.by === undefined ? 'somebody' : whoIs(facts.by);
      return `${job} was cancelled by ${by} (${why}); ask the site why before you submit it again`;
    }
    case 'deadline':
      return `${job} passed the deadline that the site set for it (${why}); submit it again`;
    case 'launchFailed':
      return `${job} could not be started on its nodes (${why}); tell the site, then submit it again`;
    case 'revoked':
      return `${job} was taken back by its federation (${why}); submit it again`;
    case 'completed':
    case 'failed':
      return `${job} ended under it on ${node} (${why}); submit it again, and tell the site if it ends so once more`;
    case 'lost':
      return `${job} is gone from ${node}, and the scheduler does not say how it ended (${why}); submit it again`;
  }
}

const MORE_MEMORY =
  'ask for more memory for each slot (fewer `slots`, or more `memMiB`, at the site), or send a smaller batch';

function limitOf({ memMiB, slots }: Pick<EndFacts, 'memMiB' | 'slots'>): string {
  return memMiB === undefined
    ? ''
    : `, which is limited to ${memMiB} MiB on a node for ${slots} slot${slots === 1 ? '' : 's'}`;
}

/** What a pilot says of a runner that the kernel killed (pilot/runner.ts); its last output says nothing of that. */
const KILLED = /\bwas killed \(SIGKILL: out of memory\?\)/;

export const isKilled = (message: string): boolean => KILLED.test(message);

/** One sentence for a runner that was killed inside a job that lives on; undefined for every other failure. */
export function memorySentence(
  message: string,
  facts: Pick<EndFacts, 'scheduler' | 'job' | 'memMiB' | 'slots'>,
): string | undefined {
  if (!isKilled(message) || facts.scheduler === 'local' || facts.memMiB === undefined) return undefined;
  return `it was killed for its memory (SIGKILL) in job ${idOf(facts.job)} of ${facts.scheduler}${limitOf(facts)}; ${MORE_MEMORY}`;
}

function whoIs(by: string): string {
  if (by === '0') return 'root';
  return /^\d+$/.test(by) ? `uid ${by}` : by;
}

function spanOf(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 360) / 10} h`;
}

/** X2, and ends that are this agent's own doing. */
export function whyLost(block: Block, { why, cause, end }: BlockEnd, facts: LostFacts): string {
  if (block.stopped !== undefined && (cause === undefined || cause === 'cancelled'))
    return `the endpoint ended ${block.job === undefined ? 'its block' : `job ${idOf(block.job)} of ${facts.scheduler}`}: ${block.stopped}`;
  if (block.job === undefined) return why;
  // Not over: it waits again under the same id, and its pilots are gone.
  if (cause === undefined) return `job ${idOf(block.job)} of ${facts.scheduler} was put back into the queue (${why})`;
  const { drained } = block;
  const inTime = cause === 'completed' || cause === 'failed';
  const warned =
    inTime && drained !== undefined && (/walltime/.test(drained) || (/^SIG/.test(drained) && end?.atLimit === true));
  return endSentence({
    ...facts,
    cause: warned ? 'walltime' : cause,
    why: end?.why ?? why,
    by: end?.by,
    job: block.job,
    limitS: end?.limitS ?? block.group.shape.wallS,
    warned,
  });
}

export interface BlockEnd {
  readonly why: string;
  readonly cause?: EndCause | undefined;
  readonly end?: Ended | undefined;
}

type LostFacts = Pick<EndFacts, 'scheduler' | 'node' | 'memMiB' | 'slots'>;
