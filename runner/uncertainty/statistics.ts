/**
 * What a job knows of its rows beside their predictions: sums that decide its verdict, and that shards' sidecars carry.
 *
 * A job's collector (judge.ts) fills one of these; `mergeStatistics` adds two; `judge` of verdict.ts makes the verdict of the
 * whole from the merged one. Plain JSON: a sidecar holds it as it is, under the key `uncertainty`.
 *
 *     { v, calibration,               digest of the calibration that bins and thresholds are of; null without one
 *       rows,                         all rows
 *       flags: { NAME: n },           rows by flag, those that occur
 *       groups: [n, ..., none],       rows by group; last: rows in no group. [] without groups
 *       outliers: { n, below },       rows with a p-value; those with p < .001
 *       drift: [{ counts, sums }],    by feature: rows and sum of the feature in each bin of the reference
 *       scores: { n, moments: { n, mean, m2 }, beyond, aboveReference, aboveLimit } | null   rows with truth
 *       symmetry: { rows, unstable, counts } | null }                                        sampled rows
 *
 * Invariants
 *  T1 Merging is commutative, and associative but for the rounding of sums: shards may come in any order.
 *  T2 Statistics of different calibrations are never added: their bins mean different things.
 */
import { FarfieldError } from '#kernel/errors.ts';
import { emptyCounts, mergeCounts } from './fine-histogram.ts';
import type { FlagCounts } from './flags.ts';
import { type Moments, mergeMoments, NO_MOMENTS } from './moments.ts';

/** One feature's rows, by the bins of the reference. */
export interface DriftCounts {
  readonly counts: readonly number[];
  readonly sums: readonly number[];
}

/** Rows whose score (distance to truth, or 1 - p of the true class) is known. */
export interface ScoreCounts {
  readonly n: number;
  readonly moments: Moments;
  /** Rows that have a 95 % radius, and those of them beyond it. */
  readonly bounded: number;
  readonly beyond: number;
  /** Rows above the upper limit of the reference's 95th percentile, and above 1.25 times that percentile. */
  readonly aboveReference: number;
  readonly aboveLimit: number;
}

/** Rows that were also predicted under every symmetry of the model. */
export interface SymmetryCounts {
  readonly rows: number;
  readonly unstable: number;
  /** Their spreads, on the bins of fine-histogram.ts. */
  readonly counts: readonly number[];
}

export interface UncertaintyStatistics {
  readonly v: 1;
  readonly calibration: string | null;
  readonly rows: number;
  readonly flags: Partial<FlagCounts>;
  readonly groups: readonly number[];
  readonly outliers: { readonly n: number; readonly below: number };
  readonly drift: readonly DriftCounts[];
  readonly scores: ScoreCounts | null;
  readonly symmetry: SymmetryCounts | null;
}

export const NO_SCORES: ScoreCounts = {
  n: 0,
  moments: NO_MOMENTS,
  bounded: 0,
  beyond: 0,
  aboveReference: 0,
  aboveLimit: 0,
};

/** The statistics of both together. Throws E_CONFLICT where they are of different calibrations (T2). */
export function mergeStatistics(a: UncertaintyStatistics, b: UncertaintyStatistics): UncertaintyStatistics {
  if (a.calibration !== b.calibration || a.drift.length !== b.drift.length || a.groups.length !== b.groups.length) {
    const name = (digest: string | null): string => (digest === null ? 'none' : `${digest.slice(0, 20)}…`);
    throw new FarfieldError(
      'E_CONFLICT',
      `parts were judged by different error calibrations (${name(a.calibration)} and ${name(b.calibration)}); run the rows of one of them again`,
    );
  }
  return {
    v: 1,
    calibration: a.calibration,
    rows: a.rows + b.rows,
    flags: addFlags(a.flags, b.flags),
    groups: addAll(a.groups, b.groups),
    outliers: { n: a.outliers.n + b.outliers.n, below: a.outliers.below + b.outliers.below },
    drift: a.drift.map((feature, i) => {
      const other = b.drift[i] as DriftCounts;
      return { counts: addAll(feature.counts, other.counts), sums: addAll(feature.sums, other.sums) };
    }),
    scores: addScores(a.scores, b.scores),
    symmetry: addSymmetry(a.symmetry, b.symmetry),
  };
}

function addScores(a: ScoreCounts | null, b: ScoreCounts | null): ScoreCounts | null {
  if (a === null || b === null) return a ?? b;
  return {
    n: a.n + b.n,
    moments: mergeMoments(a.moments, b.moments),
    bounded: a.bounded + b.bounded,
    beyond: a.beyond + b.beyond,
    aboveReference: a.aboveReference + b.aboveReference,
    aboveLimit: a.aboveLimit + b.aboveLimit,
  };
}

function addSymmetry(a: SymmetryCounts | null, b: SymmetryCounts | null): SymmetryCounts | null {
  if (a === null || b === null) return a ?? b;
  return { rows: a.rows + b.rows, unstable: a.unstable + b.unstable, counts: mergeCounts(a.counts, b.counts) };
}

/** Sampling that has seen nothing yet. */
export const noSymmetry = (): SymmetryCounts => ({ rows: 0, unstable: 0, counts: emptyCounts() });

function addAll(a: readonly number[], b: readonly number[]): number[] {
  if (a.length !== b.length) throw new FarfieldError('E_CONFLICT', 'parts that count different things are not added');
  return a.map((n, i) => n + (b[i] as number));
}

function addFlags(a: Partial<FlagCounts>, b: Partial<FlagCounts>): Partial<FlagCounts> {
  const sum: Partial<FlagCounts> = { ...a };
  for (const [name, n] of Object.entries(b) as [keyof FlagCounts, number][]) sum[name] = (sum[name] ?? 0) + n;
  return sum;
}
