/** Figures of estimates against truth, by groups of lit pixels. */
import { quantileOfSorted } from '../../runner/uncertainty/quantiles.ts';

/** Lower and upper number of lit pixels; the groups of model.json, whose last has no upper end. */
export const GROUPS = [
  { name: '3-5', low: 3, high: 5 },
  { name: '6-11', low: 6, high: 11 },
  { name: '12-24', low: 12, high: 24 },
  { name: '25+', low: 25, high: Number.POSITIVE_INFINITY },
] as const;
export const ALL = { name: 'all', low: 0, high: Number.POSITIVE_INFINITY } as const;

/** All in px. The bias is the mean of answer - truth per axis; `ratio` is RMS error over RMS limit, where there is one. */
export interface Summary {
  readonly n: number;
  readonly mean: number;
  readonly std: number;
  readonly p50: number;
  readonly p75: number;
  readonly p95: number;
  readonly 'p99.5': number;
  readonly biasX: number;
  readonly biasY: number;
  readonly ratio?: number;
}

const rms = (values: readonly number[]): number => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

/** `xy` and `truth` hold (x, y) pairs; `rows` says which of them count. */
export function summarise(
  xy: ArrayLike<number>,
  truth: ArrayLike<number>,
  rows: readonly number[],
  limit?: ArrayLike<number>,
): Summary {
  const dx = rows.map((row) => (xy[2 * row] as number) - (truth[2 * row] as number));
  const dy = rows.map((row) => (xy[2 * row + 1] as number) - (truth[2 * row + 1] as number));
  const errors = dx.map((d, i) => Math.hypot(d, dy[i] as number));
  const n = errors.length;
  const average = (values: readonly number[]): number => values.reduce((sum, v) => sum + v, 0) / n;
  const mean = average(errors);
  const std = Math.sqrt(errors.reduce((sum, e) => sum + (e - mean) ** 2, 0) / (n - 1));
  const sorted = errors.toSorted((a, b) => a - b);
  const at = (p: number): number => quantileOfSorted(sorted, p);
  const figures = { n, mean, std, p50: at(0.5), p75: at(0.75), p95: at(0.95), 'p99.5': at(0.995) };
  const biased = { ...figures, biasX: average(dx), biasY: average(dy) };
  if (limit === undefined) return biased;
  return { ...biased, ratio: rms(errors) / rms(rows.map((row) => limit[row] as number)) };
}

export type Table = Readonly<Record<string, Summary>>;

/** One summary for all rows and one for each group that has any. */
export function byGroup(
  xy: ArrayLike<number>,
  truth: ArrayLike<number>,
  lit: ArrayLike<number>,
  limit?: ArrayLike<number>,
): Table {
  const table: Record<string, Summary> = {};
  for (const { name, low, high } of [ALL, ...GROUPS]) {
    const rows = rowsOf(lit, low, high);
    if (rows.length > 0) table[name] = summarise(xy, truth, rows, limit);
  }
  return table;
}

export function rowsOf(lit: ArrayLike<number>, low: number, high: number): number[] {
  return Array.from({ length: lit.length }, (_, row) => row).filter((row) => {
    const n = lit[row] as number;
    return n >= low && n <= high;
  });
}
