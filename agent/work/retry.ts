/** Whether an attempt that did not succeed is followed by another one, when, and with which code it ends if not. */
import type { Random } from '#base/random.ts';

export interface RetryFacts {
  /** Charged failures so far, this one included if it is charged. */
  readonly failures: number;
  readonly starts: number;
  readonly maxFailures: number;
  readonly maxStarts: number;
  readonly charged: boolean;
  /** The attempt may have finished without our knowing. */
  readonly unknown: boolean;
  readonly code: string;
}

export type RetryDecision =
  | { readonly kind: 'again'; readonly afterMs: number }
  | { readonly kind: 'end'; readonly code: string; readonly why: string };

/** What the same bytes can only meet again: bad input stays bad. */
const FINAL: ReadonlySet<string> = new Set([
  'E_INPUT',
  'E_HDF5',
  'E_MODEL',
  'E_IMAGE_INCOMPATIBLE',
  'E_VARIANT_INCOMPATIBLE',
  'E_RESULT_TOO_LARGE',
  'E_DIGEST',
  'E_PATH',
  'E_TOO_LARGE',
]);

const FIRST_PAUSE_MS = 500;
const LAST_PAUSE_MS = 60_000;

export function decideRetry(facts: RetryFacts, random: Random): RetryDecision {
  const { failures, starts, maxFailures, maxStarts, charged, unknown, code } = facts;
  if (!unknown && FINAL.has(code)) return { kind: 'end', code, why: 'another start would meet the same' };
  if (charged && failures >= maxFailures) {
    // A function that is allowed one failure ends with its own error, not with a word about retries.
    return {
      kind: 'end',
      code: maxFailures === 1 ? code : 'E_RETRIES_EXHAUSTED',
      why: `failed ${failures} times, the last with ${code}`,
    };
  }
  if (starts >= maxStarts) {
    const end = unknown ? 'E_OUTCOME_UNKNOWN' : 'E_RETRIES_EXHAUSTED';
    return { kind: 'end', code: end, why: `started ${starts} times, as often as it may` };
  }
  // Uncharged restarts are spaced as well, but the first is immediate: the usual cause is one lost pilot.
  const step = charged ? failures : starts;
  if (!charged && step <= 1) return { kind: 'again', afterMs: 0 };
  const pause = Math.min(LAST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.max(0, step - 1));
  return { kind: 'again', afterMs: Math.round(pause * (0.5 + random.uniform())) };
}
