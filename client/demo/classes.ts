/** A classifier's report, as the demo reads it, and its rendering for a terminal. */

export interface ReliabilityBin {
  readonly from: number;
  readonly to: number;
  readonly n: number;
  readonly confidence: number;
  readonly accuracy: number;
}

/** Null where no row decides it. */
export type Figure = number | null;

/** `rep.summary` of a classifier's job with truth. */
export interface ClassReport {
  readonly score: 'class_probability';
  readonly n: number;
  readonly classes: readonly string[];
  readonly accuracy: Figure;
  readonly accuracyLimits: readonly [number, number];
  readonly logLoss: Figure;
  readonly brier: Figure;
  readonly ece: Figure;
  readonly commonest: { readonly name: string; readonly accuracy: Figure };
  readonly confusion?: readonly (readonly number[])[];
  readonly reliability: readonly ReliabilityBin[];
  readonly groups?: {
    readonly by: string;
    readonly bins: readonly { from: number; to?: number; n: number; accuracy: Figure; logLoss: Figure }[];
  };
}

export const percent = (value: Figure): string => (value === null ? 'none' : `${(100 * value).toFixed(1)} %`);

/** Four decimals; a word where there is no number. */
export const fixed = (value: Figure): string => value?.toFixed(4) ?? 'none';

/** The table that the demo ends with. */
export function renderClassTable(report: ClassReport, rowsWord: string): string {
  const [low, high] = report.accuracyLimits;
  const rows: [string, string][] = [
    [`${rowsWord} compared`, String(report.n)],
    ['accuracy', `${percent(report.accuracy)}  (${percent(low)} to ${percent(high)}, 95 %)`],
    [`always "${report.commonest.name}"`, percent(report.commonest.accuracy)],
    ['log loss', fixed(report.logLoss)],
    ['Brier score', fixed(report.brier)],
    ['calibration error', fixed(report.ece)],
  ];
  for (const { from, to, n, accuracy } of report.groups?.bins ?? []) {
    rows.push([
      `  ${from}${to === undefined ? ' and more' : ` to ${to}`} (${report.groups?.by.replaceAll('_', ' ')})`,
      `${percent(accuracy).padStart(7)}  (${n})`,
    ]);
  }
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n');
}

/** Rows are true classes, columns what the model found most probable. */
export function renderConfusion({ classes, confusion }: ClassReport): string {
  if (confusion === undefined) return `  (${classes.length} classes: the matrix stays out of the receipt)`;
  const width =
    Math.max(5, ...classes.map((name) => name.length), ...confusion.flat().map((n) => String(n).length)) + 1;
  const line = (head: string, cells: readonly (string | number)[]): string =>
    `  ${head.padEnd(width)}${cells.map((cell) => String(cell).padStart(width)).join('')}`;
  return [
    '  true, by row; found, by column',
    line('', classes),
    ...confusion.map((row, i) => line(classes[i] ?? '', row)),
  ].join('\n');
}

/** How often the model was right, beside how sure it said it was. */
export function renderReliability(bins: readonly ReliabilityBin[], width = 30): string {
  return bins
    .map(({ from, to, n, confidence, accuracy }) => {
      const mark = '#'.repeat(Math.round(width * accuracy)).padEnd(width);
      return `  sure ${from.toFixed(1)}-${to.toFixed(1)}: said ${confidence.toFixed(3)}, right ${accuracy.toFixed(3)} |${mark}| ${n}`;
    })
    .join('\n');
}
