/**
 * The reference of the inputs: what the features of calibration rows were, and how unlike it a new row or a new job is.
 *
 *     distance   D^2 = (f - mu)' S^-1 (f - mu)   (Mahalanobis, Proc. Nat. Inst. Sci. India 2, 49, 1936)
 *     shrinkage  S = (1 - l) S0 + l diag(S0), l from the sampling variance of the correlations (Schaefer and Strimmer, Stat.
 *                Appl. Genet. Mol. Biol. 4, 32, 2005)
 *     PSI        sum (b - a) ln(b / a) over bins of equal reference mass, less what chance alone gives: (B - 1)(1/n + 1/m)
 *     W1         area between the two distribution functions, in standard deviations of the reference, less what chance alone
 *                gives: the area under sqrt(2/pi F (1 - F) (1/n + 1/m)), the mean of |Fn - Fm| of one distribution
 *
 * The features are far from normal, so that no chi-square is used anywhere: the distances of calibration rows that entered
 * neither mean nor covariance are the yardstick.
 *
 * Invariants
 *  R1 A feature that never varied in the calibration keeps the spread SD_FLOOR: any later value would else be infinitely far.
 *  R2 Nothing here says that answers are wrong: it says that inputs are unlike the reference.
 */
import type { Calibration, ReferenceFeature } from '#protos/calibration.ts';
import { sketchOf } from './sketch.ts';
import type { DriftCounts } from './statistics.ts';

/** Features are logarithms and ratios: five parts in a hundred. */
const SD_FLOOR = 0.05;
/** Bins of a reference histogram. */
const BINS = 40;
/** Parts that the PSI compares; fewer where values repeat. */
const PSI_PARTS = 10;

export type Reference = NonNullable<Calibration['reference']>;

/** Makes the reference of rows x features values; even rows make mean and covariance, odd ones the distances. */
export function referenceOf(names: readonly string[], values: Float64Array): Reference {
  const d = names.length;
  const rows = values.length / d;
  const column = (i: number): Float64Array =>
    Float64Array.from({ length: rows }, (_, row) => values[row * d + i] as number);
  const half = (odd: number): number[] =>
    Array.from({ length: rows }, (_, row) => row).filter((row) => row % 2 === odd);
  const { mean, covariance, shrinkage } = shrunkCovariance(values, half(0), d);
  const distance = createDistance(mean, covariance);
  return {
    rows,
    features: names.map((name, i) => ({ name, mean: mean[i] as number, ...histogramOf(column(i)) })),
    covariance,
    shrinkage,
    distances: sketchOf(half(1).map((row) => distance(values, row * d))),
  };
}

/** Edges at equal parts of the rows; fewer where values repeat. */
function histogramOf(values: Float64Array): Omit<ReferenceFeature, 'name' | 'mean'> {
  const sorted = values.slice().sort();
  const n = sorted.length;
  const mean = sorted.reduce((sum, v) => sum + v, 0) / n;
  const sd = Math.max(SD_FLOOR, Math.sqrt(sorted.reduce((sum, v) => sum + (v - mean) ** 2, 0) / Math.max(1, n - 1)));
  const quantiles = Array.from({ length: BINS - 1 }, (_, i) => sorted[Math.floor(((i + 1) * n) / BINS)] as number);
  const edges = [...new Set(quantiles)];
  const drift = emptyDrift(edges.length);
  for (const v of sorted) countInto(drift, edges, v);
  return {
    sd,
    edges,
    counts: drift.counts,
    means: drift.counts.map((count, i) => meanOf(count, drift.sums[i] as number, edges, i)),
  };
}

/** The mean of a bin; of an empty one the edge, where it weighs nothing. */
function meanOf(count: number, sum: number, edges: readonly number[], bin: number): number {
  return count > 0 ? sum / count : (edges[Math.min(bin, edges.length - 1)] as number);
}

export interface MutableDrift {
  readonly counts: number[];
  readonly sums: number[];
}

export const emptyDrift = (edges: number): MutableDrift => ({
  counts: new Array<number>(edges + 1).fill(0),
  sums: new Array<number>(edges + 1).fill(0),
});

/** Counts one value into its bin: the first whose edge is at or above it. */
export function countInto({ counts, sums }: MutableDrift, edges: readonly number[], value: number): void {
  let low = 0;
  let high = edges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((edges[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  counts[low] = (counts[low] as number) + 1;
  sums[low] = (sums[low] as number) + value;
}

/** Mean and shrunk covariance of the given rows. */
export function shrunkCovariance(
  values: Float64Array,
  rows: readonly number[],
  d: number,
): { mean: number[]; covariance: number[][]; shrinkage: number } {
  const n = rows.length;
  const at = (row: number, i: number): number => values[row * d + i] as number;
  const mean = Array.from({ length: d }, (_, i) => rows.reduce((sum, row) => sum + at(row, i), 0) / n);
  const cov = (i: number, j: number): number =>
    rows.reduce((sum, row) => sum + (at(row, i) - (mean[i] as number)) * (at(row, j) - (mean[j] as number)), 0) /
    (n - 1);
  const raw = Array.from({ length: d }, (_, i) => Array.from({ length: d }, (_, j) => cov(i, j)));
  const sd = raw.map((row, i) => Math.max(SD_FLOOR, Math.sqrt(row[i] as number)));
  // Of the correlations, so that no feature's unit weighs in.
  let square = 0;
  let variance = 0;
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < i; j++) {
      const scale = (sd[i] as number) * (sd[j] as number);
      const r = ((raw[i] as number[])[j] as number) / scale;
      const product = (row: number): number =>
        ((at(row, i) - (mean[i] as number)) * (at(row, j) - (mean[j] as number))) / scale;
      variance += (rows.reduce((sum, row) => sum + (product(row) - r) ** 2, 0) * n) / (n - 1) ** 3;
      square += r * r;
    }
  }
  const shrinkage = square === 0 ? 1 : Math.min(1, variance / square);
  const covariance = raw.map((row, i) => row.map((c, j) => (i === j ? (sd[i] as number) ** 2 : (1 - shrinkage) * c)));
  return { mean, covariance, shrinkage };
}

/** D^2 of the features at values[start, start + d). */
export type Distance = (values: ArrayLike<number>, start: number) => number;

/** By the Cholesky factor of S; throws a RangeError where S is not positive definite. */
export function createDistance(mean: readonly number[], covariance: readonly (readonly number[])[]): Distance {
  const d = mean.length;
  const l = cholesky(covariance);
  const z = new Float64Array(d);
  return (values, start) => {
    let square = 0;
    for (let i = 0; i < d; i++) {
      let rest = (values[start + i] as number) - (mean[i] as number);
      for (let j = 0; j < i; j++) rest -= (l[i * d + j] as number) * (z[j] as number);
      const v = rest / (l[i * d + i] as number);
      z[i] = v;
      square += v * v;
    }
    return square;
  };
}

/** Lower triangle L of S = L L', row by row. */
function cholesky(s: readonly (readonly number[])[]): Float64Array {
  const d = s.length;
  const l = new Float64Array(d * d);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) {
      let rest = (s[i] as readonly number[])[j] as number;
      for (let k = 0; k < j; k++) rest -= (l[i * d + k] as number) * (l[j * d + k] as number);
      if (i === j && !(rest > 0)) throw new RangeError('the covariance is not positive definite');
      l[i * d + j] = i === j ? Math.sqrt(rest) : rest / (l[j * d + j] as number);
    }
  }
  return l;
}

/**
 * Debiased PSI of one feature: neighbouring bins are joined until each part holds a tenth of the reference. Half a row is
 * added to every part, so that an empty one is far and not infinitely far. Not below 0.
 */
export function psi({ counts: reference }: ReferenceFeature, { counts }: DriftCounts): number {
  const m = reference.reduce((sum, v) => sum + v, 0);
  const n = counts.reduce((sum, v) => sum + v, 0);
  const parts: [number, number][] = [];
  let a = 0;
  let b = 0;
  for (let bin = 0; bin < reference.length; bin++) {
    a += reference[bin] as number;
    b += counts[bin] as number;
    if (a < m / PSI_PARTS && bin < reference.length - 1) continue;
    parts.push([a, b]);
    a = 0;
    b = 0;
  }
  const size = parts.length;
  let sum = 0;
  for (const [was, is] of parts) {
    const p = (was + 0.5) / (m + size / 2);
    const q = (is + 0.5) / (n + size / 2);
    sum += (q - p) * Math.log(q / p);
  }
  return Math.max(0, sum - (size - 1) * (1 / n + 1 / m));
}

/**
 * Debiased W1 / sigma of one feature, each bin standing at the mean of its rows: exact but for spread inside bins. What chance
 * gives is .045 at 1,000 rows of a normal feature, near the limit of .1 once there are eight features. Not below 0.
 */
export function wasserstein({ counts: reference, means, sd }: ReferenceFeature, { counts, sums }: DriftCounts): number {
  const m = reference.reduce((sum, v) => sum + v, 0);
  const n = counts.reduce((sum, v) => sum + v, 0);
  const points: [at: number, was: number, is: number][] = [];
  for (let bin = 0; bin < reference.length; bin++) {
    points.push([means[bin] as number, (reference[bin] as number) / m, 0]);
    const here = counts[bin] as number;
    if (here > 0) points.push([(sums[bin] as number) / here, 0, here / n]);
  }
  points.sort(([a], [b]) => a - b);
  let [area, chance, f, g] = [0, 0, 0, 0];
  for (let i = 0; i + 1 < points.length; i++) {
    const [at, was, is] = points[i] as [number, number, number];
    f += was;
    g += is;
    const step = (points[i + 1] as [number, number, number])[0] - at;
    area += Math.abs(g - f) * step;
    chance += Math.sqrt((2 / Math.PI) * Math.max(0, f * (1 - f)) * (1 / n + 1 / m)) * step;
  }
  return Math.max(0, area - chance) / sd;
}
