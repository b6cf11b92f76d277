/** What a result says of its uncertainty: to the caller (`rep.uncertainty`, `rep.trust`), and as attributes of the file. */
import type { Model } from '#protos/model.ts';
import type { OpenCalibration } from './calibration.ts';
import { rowsForLevel } from './conformal.ts';
import type { RowJudge } from './judge.ts';
import { judge, type Trust } from './verdict.ts';

/** Radii by group, and what they bound. A radius that is not known is null in JSON, and infinite in the file. */
export interface UncertaintyReport {
  readonly calibration: string;
  /** Data set and rows that it was made of. */
  readonly data: string;
  readonly n: number;
  readonly bounds: string;
  readonly units: string;
  readonly levels: readonly number[];
  readonly groups: readonly {
    readonly from?: number;
    readonly n: number;
    readonly radius: readonly (number | null)[];
  }[];
  /** Named where the calibration is of another variant than the one that ran. */
  readonly calibratedVariant?: string;
  readonly symmetry?: { readonly rows: number; readonly unstable: number };
  /** What was asked for and could not be said; absent where there is none. */
  readonly notes?: readonly string[];
}

/** In words, for people and for the file's attribute. */
export function boundsText({ value }: OpenCalibration): string {
  const { labels, score } = value;
  if (score === 'class_probability') return `1 - p of the true class (${labels.what})`;
  return labels.kind === 'truth'
    ? `distance of the prediction to the true value (${labels.what})`
    : `distance of the prediction to a fitted label, not to the truth (${labels.what})`;
}

/** What a row's group is the index of. */
export const groupsText = ({ groups }: Model): string =>
  groups === undefined ? 'all rows' : `${groups.by} from ${groups.edges.join(', ')}`;

export function reportUncertainty(
  calibration: OpenCalibration,
  rows: RowJudge,
  variantSha256: string,
): UncertaintyReport {
  const { value, digest } = calibration;
  const { symmetry, scores } = rows.statistics();
  const radii = (group: number | undefined): (number | null)[] =>
    rows.levels.map((level) => {
      const radius = calibration.radius(group, level);
      return Number.isFinite(radius) ? Number(radius.toPrecision(7)) : null;
    });
  const bins = value.groups?.bins;
  const notes = tooFew(calibration, rows.levels);
  if (scores?.n === 0) notes.push('no row has both an answer and a label that are numbers: nothing was compared');
  return {
    calibration: digest,
    data: value.data.name,
    n: value.n,
    bounds: boundsText(calibration),
    units: value.units,
    levels: rows.levels,
    groups:
      bins === undefined
        ? [{ n: value.n, radius: radii(undefined) }]
        : bins.map(({ from, scores }, i) => ({ from, n: scores.n, radius: radii(i) })),
    ...(value.variant.sha256 === variantSha256 ? {} : { calibratedVariant: value.variant.name }),
    ...(symmetry === null ? {} : { symmetry: { rows: symmetry.rows, unstable: symmetry.unstable } }),
    ...(notes.length === 0 ? {} : { notes }),
  };
}

/** One sentence a level that some group has too few calibration rows for. */
function tooFew({ value }: OpenCalibration, levels: readonly number[]): string[] {
  const { bins = undefined, by } = value.groups ?? {};
  return levels.flatMap((level) => {
    const needs = rowsForLevel(level);
    const short = (bins ?? [{ from: 0, scores: value.scores }]).filter(({ scores }) => scores.n < needs);
    if (short.length === 0) return [];
    const where =
      bins === undefined
        ? `has ${value.n}`
        : `has ${short.map(({ from, scores }) => `${scores.n} from ${from}`).join(', ')} ${by ?? ''}`.trimEnd();
    return [
      `level ${level} needs ${needs} calibration rows in each group, and the calibration ${where}: the radius there is infinite`,
    ];
  });
}

/** The job's own verdict, with digits enough to read. */
export function reportTrust(calibration: OpenCalibration | undefined, rows: Pick<RowJudge, 'statistics'>): Trust {
  const trust = judge(calibration, rows.statistics());
  return {
    ...trust,
    reasons: trust.reasons.map((reason) => ({ ...reason, value: Number(reason.value.toPrecision(4)) })),
  };
}

/** What `rep.trust` holds. */
export type TrustReport = Trust;
