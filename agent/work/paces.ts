/** How long items of each spec take, as measured: what is given ahead, and what may still begin before a walltime. */
import type { Work } from './mirror.ts';

export const WINDOW_MS = 20;
export const MAX_WINDOW = 512;
/** Weight of a new measurement: a spec's durations vary, one slow item should not end the batching. */
const SMOOTHING = 0.3;
/** The longest of so many is about their 97th percentile; older ones were of other arguments. */
const RUNS_KEPT = 32;
/** And the next one may be a little longer. */
const RUN_MARGIN = 1.25;
/** A runner's start and a model's load. */
const START_MARGIN_MS = 2000;
/** Below it pilots do not say how long an item ran. */
const SHORT_MS = 50;

export interface Paces {
  /** Items that a slot is given ahead. */
  window(specNo: number): number;
  /** Milliseconds of one slot for one item; undefined before the first measurement. */
  paceMs(specNo: number): number | undefined;
  /** `count` items of a spec took `ms` on a pilot of `slots` slots. */
  measure(specNo: number, count: number, ms: number, slots: number): void;
  /** One long item of a spec ran this long. */
  learn(specNo: number, ms: number): void;
  /** How long an item of this spec may take. */
  needMs(specNo: number, work: Work): number;
}

export function createPaces(): Paces {
  const itemMs = new Map<number, number>();
  const runs = new Map<number, number[]>();
  return {
    window(specNo) {
      const ms = itemMs.get(specNo);
      return ms === undefined ? 1 : Math.max(1, Math.min(MAX_WINDOW, Math.floor(WINDOW_MS / Math.max(ms, 0.001))));
    },
    paceMs: (specNo) => itemMs.get(specNo),
    measure(specNo, count, ms, slots) {
      if (count === 0) return;
      const now = (ms * slots) / count;
      const before = itemMs.get(specNo);
      itemMs.set(specNo, before === undefined ? now : before + SMOOTHING * (now - before));
    },
    learn(specNo, ms) {
      const known = runs.get(specNo) ?? [];
      known.push(ms);
      if (known.length > RUNS_KEPT) known.shift();
      runs.set(specNo, known);
    },
    needMs(specNo, work) {
      const allowed = work.token.claims.run.timeoutS * 1000;
      const known = runs.get(specNo);
      const ms = itemMs.get(specNo);
      if (known !== undefined) return Math.min(allowed, Math.max(...known) * RUN_MARGIN + START_MARGIN_MS);
      return ms !== undefined && ms < SHORT_MS ? Math.min(allowed, START_MARGIN_MS) : allowed;
    },
  };
}
