/** What a bench reports, and how it is judged. */

export interface Figure {
  readonly value: number;
  readonly unit: string;
  /** What it is held against; undefined for a figure that explains another one. */
  readonly bar?: number;
  /** Whether more is better. */
  readonly more?: boolean;
}

export interface JudgedFigure {
  readonly value: number;
  readonly unit: string;
  readonly bar: number | null;
  readonly ok: boolean;
}

export type Figures = Readonly<Record<string, Figure>>;

export function judge(figures: Figures): Record<string, JudgedFigure> {
  return Object.fromEntries(
    Object.entries(figures).map(([name, { value, unit, bar, more }]) => {
      const ok = bar === undefined || (more === true ? value >= bar : value <= bar);
      return [name, { value: Number(value.toPrecision(4)), unit, bar: bar ?? null, ok }];
    }),
  );
}

export function table(figures: Record<string, JudgedFigure>): string {
  const width = Math.max(...Object.keys(figures).map((name) => name.length));
  return Object.entries(figures)
    .map(
      ([name, { value, unit, bar, ok }]) =>
        `  ${name.padEnd(width)}  ${String(value).padStart(9)} ${unit.padEnd(8)}${bar === null ? '' : `  bar ${bar}  ${ok ? 'ok' : 'MISSED'}`}`,
    )
    .join('\n');
}

/** Value at a share of the sorted list (nearest rank). */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}
