/** Waiting between dials: exponential with jitter, so that a thousand agents do not come back in the same second. */
import type { Random } from '#base/random.ts';

/** The bound of the first wait, and of every later one. */
export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** A broker's restart takes about 2 s, so agents are back within 5 s; after an hour's outage they ask every half minute. */
export const BACKOFF: BackoffOptions = { firstMs: 250, maxMs: 30_000 };

export interface Backoff {
  /** The next wait; each is drawn from [half, whole] of a bound that doubles. */
  next(): number;
  reset(): void;
  readonly failures: number;
}

export function createBackoff(random: Random, options: BackoffOptions = BACKOFF): Backoff {
  let failures = 0;
  return {
    next() {
      const bound = Math.min(options.maxMs, options.firstMs * 2 ** Math.min(failures, 30));
      failures += 1;
      // Not from zero: a peer that is down would be asked at once by some, and those at once again.
      return bound / 2 + random.uniform() * (bound / 2);
    },
    reset() {
      failures = 0;
    },
    get failures() {
      return failures;
    },
  };
}
