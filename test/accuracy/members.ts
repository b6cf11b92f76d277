/**
 * How alike the answers of two separately trained members are, beside what their errors would let one expect.
 *
 * Members with independent errors are sqrt(a^2 + b^2) apart (RMS), members with one and the same error 0: the correlation says
 * how much of the error comes from the data, which both saw, and how much from the training.
 */
import { ALL, GROUPS, rowsOf, type Summary, summarise } from './score.ts';

export interface Consistency {
  readonly n: number;
  /** Distance between the two answers, px. */
  readonly apart: Summary;
  readonly first: Summary;
  readonly second: Summary;
  /** Of the two errors, both axes pooled; 1 where the members err together. */
  readonly correlation: number;
  /** Error of the mean of both answers. */
  readonly together: Summary;
}

export function consistency(
  first: Float32Array,
  second: Float32Array,
  truth: Float64Array,
  lit: Float32Array,
): Record<string, Consistency> {
  const mean = first.map((v, i) => (v + (second[i] as number)) / 2);
  const table: Record<string, Consistency> = {};
  for (const { name, low, high } of [ALL, ...GROUPS]) {
    const rows = rowsOf(lit, low, high);
    if (rows.length === 0) continue;
    table[name] = {
      n: rows.length,
      apart: summarise(first, second, rows),
      first: summarise(first, truth, rows),
      second: summarise(second, truth, rows),
      correlation: correlate(first, second, truth, rows),
      together: summarise(mean, truth, rows),
    };
  }
  return table;
}

function correlate(first: Float32Array, second: Float32Array, truth: Float64Array, rows: readonly number[]): number {
  let ab = 0;
  let aa = 0;
  let bb = 0;
  for (const i of rows.flatMap((row) => [2 * row, 2 * row + 1])) {
    const a = (first[i] as number) - (truth[i] as number);
    const b = (second[i] as number) - (truth[i] as number);
    ab += a * b;
    aa += a * a;
    bb += b * b;
  }
  return ab / Math.sqrt(aa * bb);
}
