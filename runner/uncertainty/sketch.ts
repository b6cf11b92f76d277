/**
 * Order statistics of a calibration's scores: enough of them to answer any level without understating it, in a few kilobytes.
 *
 * Invariants
 *  K1 Kept are the DENSE largest values, every rank that a level of LEVELS asks for, and between them ranks whose distance
 *     from the top grows by STEP each.
 *  K2 A rank that was left out is answered by the next larger one: a radius is never too small, a p-value never too small.
 */
import type { Sketch } from '#protos/calibration.ts';
import { conformalRank } from './conformal.ts';

/** Levels whose radii are exact. */
const LEVELS = [0.5, 0.68, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999];
const DENSE = 64;
const STEP = 1.04;

/** The sketch of finite values, in any order. */
export function sketchOf(values: ArrayLike<number>): Sketch {
  const sorted = Float64Array.from(values).sort();
  const n = sorted.length;
  const kept = new Set<number>();
  for (let fromTop = 0; fromTop < n; fromTop = fromTop < DENSE ? fromTop + 1 : Math.ceil(fromTop * STEP))
    kept.add(n - fromTop);
  for (const level of LEVELS) kept.add(conformalRank(n, level));
  const ranks = [...kept].filter((rank) => rank >= 1 && rank <= n).sort((a, b) => a - b);
  return { n, ranks, values: ranks.map((rank) => sorted[rank - 1] as number) };
}

/** The value of this rank (K2); infinite beyond the last: too few values were seen to say. */
export function valueOfRank({ ranks, values }: Sketch, rank: number): number {
  const at = lowerBound(ranks, rank);
  return at === ranks.length ? Number.POSITIVE_INFINITY : (values[at] as number);
}

/**
 * Conformal p-value of a new value: (1 + number of values at or above it) / (n + 1) (Vovk, Gammerman and Shafer, Algorithmic
 * Learning in a Random World, 2005). NaN for what is not a number.
 */
export function pValue({ n, ranks, values }: Sketch, value: number): number {
  if (Number.isNaN(value)) return Number.NaN;
  const at = lowerBound(values, value);
  // Ranks between the last kept value below and the first kept one at or above count as above (K2).
  const below = at === 0 ? 0 : (ranks[at - 1] as number);
  return (1 + n - below) / (n + 1);
}

/** What makes a sketch nonsense whatever its schema says; undefined where nothing does. */
export function sketchProblem({ n, ranks, values }: Sketch): string | undefined {
  if (ranks.length !== values.length) return 'ranks and values differ in number';
  if (n === 0) return ranks.length === 0 ? undefined : 'there are ranks of no values';
  if (ranks.at(-1) !== n) return 'the largest value is missing';
  const rising = ranks.every((rank, i) => i === 0 || rank > (ranks[i - 1] as number));
  if (!rising) return 'ranks do not increase';
  return values.every((v, i) => i === 0 || v >= (values[i - 1] as number)) ? undefined : 'values decrease';
}

/** Index of the first of the sorted values that is at or above `value`. */
function lowerBound(sorted: readonly number[], value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
