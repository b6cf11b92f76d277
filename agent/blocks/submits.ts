/**
 * What follows a submit that made no job: who is told, whether it counts, and when the next one may be tried.
 *
 * Invariants
 *  U1 Everyone who waits reads the scheduler's own words at the first refusal, not after the last.
 *  U2 For good: a pause at once. For now: a back-off that grows, and no count, since nothing of the endpoint's is wrong. Not
 *     known: counted, and spaced from the second on.
 */
import { FarfieldError } from '#kernel/errors.ts';
import type { Breaker } from './breaker.ts';

export type NoJob = 'forGood' | 'forNow' | 'unsaid';

/** Between tries that waiting may mend: a controller that restarts, then a queue that is full for long. */
const FOR_NOW_MS = [5000, 15_000, 30_000, 60_000, 120_000, 300_000];

export interface SubmitTroubleOptions {
  readonly breaker: Breaker;
  /** Pause after a second failure that counts. */
  readonly retryMs: number;
  /** After this the next one may be tried. */
  readonly onPause: (ms: number) => void;
}

export interface SubmitTrouble {
  /** What to tell those who wait; undefined where the breaker has told everybody. */
  noJob(kind: NoJob, why: string): string | undefined;
  /** A block died before a pilot came. */
  died(lastWords: string): void;
  /** A pilot came. */
  started(): void;
  /** In words, while no job could be made; undefined where the last submit made one. */
  readonly words: string | undefined;
  submitted(): void;
}

/** S4 of scheduler.ts. */
export function kindOf(reason: unknown): NoJob {
  if (!(reason instanceof FarfieldError)) return 'unsaid';
  if (reason.code === 'E_FORBIDDEN') return 'forGood';
  return reason.code === 'E_BUSY' || reason.code === 'E_TIMEOUT' ? 'forNow' : 'unsaid';
}

export function createSubmitTrouble({ breaker, retryMs, onPause }: SubmitTroubleOptions): SubmitTrouble {
  let counted = 0;
  let forNow = 0;
  let words: string | undefined;
  const pause = (ms: number, text: string): void => {
    const seconds = Math.round(ms / 1000);
    words = seconds === 0 ? text : `${text}; it is tried again in ${seconds} s`;
    if (ms > 0) onPause(ms);
  };
  const count = (): number => {
    counted += 1;
    return counted < 2 ? 0 : retryMs;
  };
  return {
    get words() {
      return words;
    },
    noJob(kind, why) {
      switch (kind) {
        case 'forGood':
          words = why;
          breaker.refused(why);
          return undefined;
        case 'forNow':
          pause(FOR_NOW_MS[Math.min(forNow, FOR_NOW_MS.length - 1)] ?? 0, why);
          forNow += 1;
          return words;
        case 'unsaid':
          breaker.notTaken(why);
          if (breaker.reason !== undefined) return undefined;
          pause(count(), why);
          return words;
      }
    },
    died(lastWords) {
      breaker.failed(lastWords);
      const ms = count();
      if (ms > 0) onPause(ms);
    },
    started() {
      counted = 0;
    },
    submitted() {
      forNow = 0;
      words = undefined;
    },
  };
}
