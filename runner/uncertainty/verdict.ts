/**
 * The verdict on a job: TRUSTED, WATCH, NOT_TRUSTED, or UNKNOWN where there is nothing to hold it against.
 *
 *     signal                                              WATCH                         NOT_TRUSTED
 *     labelled mean or 95th percentile                    lower limit > reference's     lower limit > 1.25 x reference
 *     coverage of the 95 % radius, upper limit            < .95                         < .90
 *     audit: rows beyond the radius                       1 % critical value            twice running
 *     rows with p < .001                                  > .5 %                        > 2 %
 *     rows without a radius                               > .5 %                        > 2 %; > 20 % alone
 *     drift: largest W1/sigma or PSI, debiased            >= .1                         >= .25
 *     symmetry: median spread over the reference's        > 1.25                        > 1.5
 *
 * The audit follows Podkopaev and Ramdas, "Tracking the risk of a deployed model" (ICLR 2022): an alarm when the risk is above
 * the reference's beyond what chance explains. Limits of labelled signals are at 99 %.
 *
 * Invariants
 *  V1 Unlabelled signals reach NOT_TRUSTED only if two of them agree; what one says alone is WATCH. But where many rows
 *     have no answer, or none whose error is known, that is no suspicion.
 *  V2 Unlabelled signals say that inputs are unlike the reference, never that answers are wrong; their absence proves nothing.
 *  V3 Too few rows are said to be too few: UNKNOWN, never TRUSTED.
 */
import type { Calibration } from '#protos/calibration.ts';
import { binomialTail, criticalExceedances, rowsForLevel, wilsonLimits } from './conformal.ts';
import { medianOf } from './fine-histogram.ts';
import { standardDeviation } from './moments.ts';
import { psi, wasserstein } from './reference.ts';
import type { DriftCounts, UncertaintyStatistics } from './statistics.ts';

export type TrustState = 'TRUSTED' | 'WATCH' | 'NOT_TRUSTED' | 'UNKNOWN';

/** What each code means; a reason's `value` is held against its `limit`, both about `reference`. */
export const REASON_TEXT = {
  no_calibration: 'the model has no error calibration here',
  no_reference: 'the error calibration has no reference of the inputs',
  too_few_rows: 'too few rows to compare with the reference',
  label_mean: 'mean distance to the given labels, above that of the calibration',
  label_p95: 'part of rows above the 95th percentile of the calibration',
  coverage: 'part of labelled rows inside their 95 % radius',
  audit: 'labelled rows beyond their radius, above what chance explains',
  ood: 'part of rows unlike the reference (p < .001)',
  no_radius:
    'part of rows for which no error is known: without an answer, in no group of the calibration, or in one with too few rows',
  drift_psi: 'inputs are distributed unlike the reference (PSI, debiased)',
  drift_w1: 'inputs are distributed unlike the reference (W1 over sigma, debiased)',
  symmetry: 'predictions under symmetries disagree more than in the calibration (ratio of medians)',
} as const;

export type ReasonCode = keyof typeof REASON_TEXT;

export interface Reason {
  readonly code: ReasonCode;
  readonly value: number;
  readonly limit: number;
  /** What it was in the calibration. */
  readonly reference: number;
  /** The feature, for drift. */
  readonly feature?: string;
}

export interface Trust {
  readonly state: TrustState;
  readonly reasons: readonly Reason[];
  readonly reference_digest: string | null;
}

/** Thresholds; a site or a model's author may override them. */
export const TRUST_LIMITS = {
  ood: [0.005, 0.02],
  noRadius: [0.005, 0.02],
  /** V1 */
  manyRows: 0.2,
  drift: [0.1, 0.25],
  symmetry: [1.25, 1.5],
  coverage: [0.95, 0.9],
  labelled: 1.25,
  /** Below it the scatter of W1 and PSI around their debiased zero comes near the limits. */
  driftRows: 500,
  symmetryRows: 100,
  labelledRows: 100,
  /** Above it the coverage says more than a test on counts, which then finds the calibration's own rounding. */
  auditRows: 2000,
} as const;
export type TrustLimits = typeof TRUST_LIMITS;

/** Normal quantile of two-sided 99 %. */
const Z99 = 2.575829;
/** A share above its limit must also be more than chance gives: one of 50 rows is 2 %. */
const CHANCE = 1e-4;

interface Finding {
  /** Severe, it is NOT_TRUSTED alone (V1). */
  readonly decides: boolean;
  readonly signal: string;
  readonly severe: boolean;
  readonly reason: Reason;
}

/** The verdict of one job, or of all parts of one, on its own: what came before is for trust-memory.ts. */
export function judge(
  calibration: { readonly value: Calibration; readonly digest: string } | undefined,
  statistics: UncertaintyStatistics,
  limits: TrustLimits = TRUST_LIMITS,
): Trust {
  if (calibration === undefined) {
    return { state: 'UNKNOWN', reasons: [note('no_calibration', 0, 0)], reference_digest: null };
  }
  const { value, digest } = calibration;
  const compared = statistics.outliers.n;
  const findings = [
    ...labelledFindings(value, statistics, limits),
    ...shareFindings(value, statistics, limits),
    ...(compared < limits.driftRows ? [] : driftFindings(value, statistics.drift, limits)),
    ...symmetryFindings(value, statistics, limits),
  ];
  const reasons = findings.map(({ reason }) => reason);
  const unlabelled = new Set(findings.filter((f) => !f.decides && f.severe).map(({ signal }) => signal));
  const wrong = findings.some((f) => f.decides && f.severe) || unlabelled.size >= 2;
  if (wrong) return { state: 'NOT_TRUSTED', reasons, reference_digest: digest };
  if (findings.length > 0) return { state: 'WATCH', reasons, reference_digest: digest };
  const labelled = (statistics.scores?.n ?? 0) >= limits.labelledRows;
  if (labelled || (value.reference !== undefined && compared >= limits.driftRows))
    return { state: 'TRUSTED', reasons: [], reference_digest: digest };
  const missing =
    value.reference === undefined
      ? note('no_reference', 0, 0)
      : note('too_few_rows', statistics.outliers.n, limits.driftRows);
  return { state: 'UNKNOWN', reasons: [missing], reference_digest: digest };
}

/** Against labels: means, the 95th percentile by order statistics, coverage and audit. */
function labelledFindings(c: Calibration, { scores }: UncertaintyStatistics, limits: TrustLimits): Finding[] {
  if (scores === null || scores.n < limits.labelledRows || c.n === 0) return [];
  const { n, moments, bounded, beyond, aboveReference, aboveLimit } = scores;
  const found: Finding[] = [];
  const add = (severe: boolean, code: ReasonCode, value: number, limit: number, reference: number): void =>
    void found.push({ decides: true, signal: code, severe, reason: { code, value, limit, reference } });
  const { mean, std, p95Limits } = c.summary;
  const low = moments.mean - (Z99 * standardDeviation(moments)) / Math.sqrt(n);
  const limit = mean + (Z99 * std) / Math.sqrt(c.n);
  const severeMean = low > limits.labelled * mean;
  if (severeMean || low > limit)
    add(severeMean, 'label_mean', moments.mean, severeMean ? limits.labelled * mean : limit, mean);
  // The lower limit of the percentile lies above t if more rows than chance explains do.
  const surely = (above: number): boolean => binomialTail(above, n, 0.05) < 0.005;
  if (surely(aboveLimit)) add(true, 'label_p95', aboveLimit / n, 0.05, limits.labelled * c.summary.p95);
  else if (surely(aboveReference)) add(false, 'label_p95', aboveReference / n, 0.05, p95Limits[1] as number);
  if (bounded < limits.labelledRows) return found;
  const inside = (bounded - beyond) / bounded;
  const [, high] = wilsonLimits(bounded - beyond, bounded, Z99);
  // What the calibration itself may have missed is not the job's fault: Beta(k, n + 1 - k), two-sided 99 %.
  const slack = Z99 * Math.sqrt((0.95 * 0.05) / (c.n + 2));
  const [watch, refuse] = limits.coverage;
  if (high < watch - slack) add(high < refuse, 'coverage', inside, high < refuse ? refuse : watch, 0.95);
  const critical = bounded > limits.auditRows ? Infinity : criticalExceedances(c.n, bounded, 0.95, 0.01);
  if (beyond >= critical) add(false, 'audit', beyond, critical, 0.05 * bounded);
  return found;
}

/** Rows unlike the reference, and rows for which no radius is known. */
function shareFindings(c: Calibration, s: UncertaintyStatistics, limits: TrustLimits): Finding[] {
  const found: Finding[] = [];
  const share = (
    code: 'ood' | 'no_radius',
    n: number,
    of: number,
    [watch, severe]: readonly [number, number],
  ): void => {
    if (of === 0 || n / of <= watch || binomialTail(n, of, 0.001) >= CHANCE) return;
    const bad = n / of > severe;
    const reason = { code, value: n / of, limit: bad ? severe : watch, reference: code === 'ood' ? 0.001 : 0 };
    found.push({ decides: code === 'no_radius' && n / of > limits.manyRows, signal: code, severe: bad, reason });
  };
  if (c.reference !== undefined) share('ood', s.outliers.below, s.outliers.n, limits.ood);
  // A model without groups counts flags alone, of which a row may have two.
  const dead = Math.max((s.flags.non_finite ?? 0) + (s.flags.constant ?? 0), s.flags.out_of_bounds ?? 0);
  // The last are rows in no group, or without an answer; of a group with too few calibration rows every radius is infinite.
  const few = (n = 0): boolean => n < rowsForLevel(0.95);
  const { bins } = c.groups ?? {};
  const unbounded =
    bins === undefined
      ? few(c.scores.n)
        ? s.rows
        : 0
      : s.groups.reduce((sum, n, i) => (few(bins[i]?.scores.n) ? sum + n : sum), 0);
  share('no_radius', Math.max(dead, unbounded), s.rows, limits.noRadius);
  return found;
}

/** The largest of each measure over the features. */
function driftFindings(c: Calibration, drift: readonly DriftCounts[], limits: TrustLimits): Finding[] {
  const [watch, severe] = limits.drift;
  const found: Finding[] = [];
  for (const [code, measure] of [
    ['drift_psi', psi],
    ['drift_w1', wasserstein],
  ] as const) {
    let worst = { value: 0, feature: '' };
    c.reference?.features.forEach((feature, i) => {
      const value = measure(feature, drift[i] as DriftCounts);
      if (value > worst.value) worst = { value, feature: feature.name };
    });
    if (worst.value < watch) continue;
    const bad = worst.value >= severe;
    const reason = { code, value: worst.value, limit: bad ? severe : watch, reference: 0, feature: worst.feature };
    found.push({ decides: false, signal: 'drift', severe: bad, reason });
  }
  return found;
}

function symmetryFindings(c: Calibration, { symmetry }: UncertaintyStatistics, limits: TrustLimits): Finding[] {
  if (symmetry === null || c.symmetry === undefined || symmetry.rows < limits.symmetryRows) return [];
  const reference = c.symmetry.median;
  const value = medianOf(symmetry.counts) / reference;
  const [watch, severe] = limits.symmetry;
  if (!(value > watch)) return [];
  const bad = value > severe;
  const reason = { code: 'symmetry', value, limit: bad ? severe : watch, reference: 1 } as const;
  return [{ decides: false, signal: 'symmetry', severe: bad, reason }];
}

const note = (code: ReasonCode, value: number, limit: number): Reason => ({ code, value, limit, reference: 0 });
