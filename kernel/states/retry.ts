/**
 * Whether an attempt that did not succeed is followed by another: counted, spaced, capped.
 *
 * Invariants
 *  R1 Never more than `maxFailures` charged failures, never more than `maxStarts` starts; `maxStarts: 1` is at most once.
 *  R2 What the same bytes can only meet again is not tried again.
 *  R3 A last start whose outcome nobody knows ends as E_OUTCOME_UNKNOWN: it may have had its effect.
 *  R4 A pause grows with each failure up to a minute, and is jittered, so that a thousand items that failed together do
 *     not come back together.
 */
import { ERROR_CODES, type ErrorCode, isErrorCode } from '../errors.ts';

export interface RetryFacts {
  /** Charged failures so far, the present one included if it is charged. */
  readonly failures: number;
  /** Starts so far, the present one included. */
  readonly starts: number;
  readonly maxFailures: number;
  readonly maxStarts: number;
  /** The invocation's own failure, rather than a lost node's or the walltime's. */
  readonly charged: boolean;
  /** Nobody can say whether the attempt finished. */
  readonly unknown: boolean;
  /** The error of the attempt, as the runner or the pilot named it. */
  readonly code: string;
}

export type RetryDecision =
  | { readonly kind: 'again'; readonly afterMs: number }
  | { readonly kind: 'end'; readonly code: ErrorCode; readonly why: string };

/** Failures of the function and of the machine that a second start may escape, though the request itself stays the same. */
const WORTH_A_START: ReadonlySet<ErrorCode> = new Set([
  'E_FUNCTION',
  'E_INTERNAL',
  'E_LOST',
  'E_OUTCOME_UNKNOWN',
  'E_PROTOCOL',
  'E_FENCED',
]);

const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 60_000;

/** `random.uniform()` is in [0, 1). */
export function decideRetry(facts: RetryFacts, random: { uniform(): number }): RetryDecision {
  const { failures, starts, maxFailures, maxStarts, charged, unknown } = facts;
  // A word that is no code came from a runner of another version: its function failed, and that is what is known.
  const code: ErrorCode = isErrorCode(facts.code) ? facts.code : 'E_FUNCTION';
  if (!unknown && charged && !ERROR_CODES[code].retryable && !WORTH_A_START.has(code)) {
    return { kind: 'end', code, why: 'another start would meet the same' };
  }
  if (charged && failures >= maxFailures) {
    // Where one failure is all that was allowed, its own error says more than a word about retries.
    return {
      kind: 'end',
      code: maxFailures === 1 ? code : 'E_RETRIES_EXHAUSTED',
      why: `failed ${failures} times, the last with ${code}`,
    };
  }
  if (starts >= maxStarts) {
    return {
      kind: 'end',
      code: unknown ? 'E_OUTCOME_UNKNOWN' : 'E_RETRIES_EXHAUSTED',
      why: `started ${starts} times, as often as it may`,
    };
  }
  return { kind: 'again', afterMs: pauseMs(charged ? failures : starts - 1, random) };
}

/** 0 for a first loss (the usual cause is one dead pilot); then 0.5 s, 1 s, 2 s ... 60 s, each times 0.5 to 1.5. */
function pauseMs(step: number, random: { uniform(): number }): number {
  if (step <= 0) return 0;
  const pause = Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (step - 1));
  return Math.round(pause * (0.5 + random.uniform()));
}
