/**
 * Stops the endpoint from starting blocks that die at their start, again and again.
 *
 * Invariants
 *  B1 Only a pilot that said hello proves a start: a submission that was accepted proves nothing.
 *  B2 Failures in a row open it; then nothing is started until an admin resumes, because each try costs a place in somebody's
 *     queue and the reason (a missing library, a wrong account) does not go away by itself.
 *  B3 What it says is the site's own start-up output, never a task's.
 *  B4 A refusal for good opens it at once: the second try is the first one again. One that waiting mends is not counted at all.
 */

/** Three times the same reason is no accident; more would flood a scheduler. */
export const MAX_FAILED_STARTS = 3;
/** The last of it tells; the whole lies in the block's folder. */
const MAX_REASON_CHARS = 1024;

export interface Breaker {
  /** Why nothing may start now; undefined while it is closed. */
  readonly reason: string | undefined;
  readonly failures: number;
  /** A pilot of a block arrived. */
  started(): void;
  /** A block ended before any pilot of it arrived. */
  failed(stderr: string): void;
  /** B4: the scheduler will never take this job. */
  refused(why: string): void;
  /** The scheduler did not take a job, and did not say that it never will. Counted like a start that failed. */
  notTaken(why: string): void;
  /** The admin mended it: `farfield endpoint resume`. */
  reset(): void;
}

export function createBreaker(onOpen: (reason: string) => void): Breaker {
  let failures = 0;
  let reason: string | undefined;
  const open = (why: string): void => {
    if (reason !== undefined) return;
    reason = why;
    onOpen(why);
  };
  const count = (sentence: (times: number, last: string) => string, words: string): void => {
    failures += 1;
    if (failures < MAX_FAILED_STARTS) return;
    open(sentence(failures, words.trim().slice(-MAX_REASON_CHARS) || 'it printed nothing'));
  };
  return {
    get reason() {
      return reason;
    },
    get failures() {
      return failures;
    },
    started() {
      failures = 0;
    },
    failed(stderr) {
      count((times, last) => `${times} blocks died at their start, the last with: ${last}`, stderr);
    },
    notTaken(why) {
      count((times, last) => `${times} blocks in a row did not start, the last because ${last}`, why);
    },
    refused(why) {
      open(why.slice(0, MAX_REASON_CHARS));
    },
    reset() {
      failures = 0;
      reason = undefined;
    },
  };
}
