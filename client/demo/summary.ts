/** The runner's report on a job, as the demo reads it, and its rendering for a terminal. */
import {
  type ClassReport,
  type Figure,
  fixed,
  renderClassTable,
  renderConfusion,
  renderReliability,
} from './classes.ts';

export interface ErrorHistogram {
  readonly lowest: number;
  readonly perDecade: number;
  readonly counts: readonly number[];
}

/** `rep.summary` of a model job with truth: distances in `units`. */
export interface L2Report {
  readonly score?: 'l2';
  readonly n: number;
  readonly units: string;
  readonly mean: Figure;
  readonly std: Figure;
  readonly p50: Figure;
  readonly p75: Figure;
  readonly p95: Figure;
  readonly p995: Figure;
  readonly bias: Readonly<Record<string, Figure>>;
  readonly histogram: ErrorHistogram;
  readonly groups?: {
    readonly by: string;
    readonly bins: readonly { from: number; to?: number; n: number; mean: Figure; p95: Figure }[];
  };
  readonly baselines?: Readonly<Record<string, { readonly mean: Figure; readonly p95: Figure }>>;
}

/** What the runner compared by: the model's declaration decides. */
export type Report = L2Report | ClassReport;

/** Everything that the terminal shows of a job with truth. */
export function renderReport(report: Report, rowsWord: string): string {
  if (report.n === 0) return '  no row has both an answer and a truth that are numbers: nothing was compared';
  return report.score === 'class_probability'
    ? [renderClassTable(report, rowsWord), renderConfusion(report), renderReliability(report.reliability)].join('\n\n')
    : `${renderTable(report, rowsWord)}\n\n${renderHistogram(report.histogram, report.units)}`;
}

function renderTable(report: L2Report, rowsWord: string): string {
  const rows: [string, string][] = [
    [`${rowsWord} compared`, String(report.n)],
    [`mean (${report.units})`, fixed(report.mean)],
    ['std', fixed(report.std)],
    ['P50', fixed(report.p50)],
    ['P75', fixed(report.p75)],
    ['P95', fixed(report.p95)],
    ['P99.5', fixed(report.p995)],
    ...Object.entries(report.bias).map(([axis, value]): [string, string] => [`bias ${axis}`, fixed(value)]),
    ...Object.entries(report.baselines ?? {}).map(([name, { mean, p95 }]): [string, string] => [
      `${words(name)}: mean / P95`,
      `${fixed(mean)} / ${fixed(p95)}`,
    ]),
  ];
  const groups = (report.groups?.bins ?? []).map(({ from, to, n, mean, p95 }): [string, string] => [
    `  ${from}${to === undefined ? '+' : `-${to - 1}`} ${words(report.groups?.by ?? '')}`,
    `${fixed(mean)} / ${fixed(p95)}  (${n})`,
  ]);
  if (groups.length > 0) rows.push(['mean / P95 (rows) by group', ''], ...groups);
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n');
}

function words(name: string): string {
  return name.replaceAll('_', ' ').replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

/** Errors below this are told in one bar. */
const SMALL = 0.001;

export interface HistogramBar {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/** The bins that hold anything, with their edges; the open ends take the nearest closed width. */
export function bars(histogram: ErrorHistogram): readonly HistogramBar[] {
  const edge = (bin: number): number => histogram.lowest * 10 ** ((bin - 1) / histogram.perDecade);
  const all = histogram.counts.map((count, bin) => ({ from: bin === 0 ? 0 : edge(bin), to: edge(bin + 1), count }));
  const first = all.findIndex(({ count }) => count > 0);
  const last = all.findLastIndex(({ count }) => count > 0);
  if (first < 0) return [];
  // The few below a thousandth of the unit are one bar: nobody reads ten lines of single rows.
  const small = all.findIndex(({ from }) => from >= SMALL);
  const cut = Math.max(first, small < 0 ? first : small);
  const below = all.slice(0, cut).reduce((sum, { count }) => sum + count, 0);
  const head = below > 0 ? [{ from: 0, to: all[cut]?.from ?? SMALL, count: below }] : [];
  return [...head, ...all.slice(cut, last + 1)];
}

const edgeText = (value: number): string => value.toFixed(4).padStart(7);

function renderHistogram(histogram: ErrorHistogram, units: string, width = 48): string {
  const shown = bars(histogram);
  const most = Math.max(1, ...shown.map(({ count }) => count));
  return shown
    .map(({ from, to, count }) => {
      const length = Math.round((width * count) / most);
      const mark = length === 0 && count > 0 ? '.' : '#'.repeat(length);
      return `  ${edgeText(from)} - ${edgeText(to)} ${units} |${mark.padEnd(width)}| ${count}`;
    })
    .join('\n');
}

/** Time split of the whole job. `transfer` is what is left of the wall time: uploads, links, commits, downloads. */
export function renderPhases(phasesMs: Readonly<Record<string, number>>): string {
  const total = Object.values(phasesMs).reduce((sum, ms) => sum + ms, 0);
  return Object.entries(phasesMs)
    .map(
      ([name, ms]) =>
        `  ${name.padEnd(12)} ${ms.toFixed(1).padStart(9)} ms  ${((100 * ms) / total).toFixed(0).padStart(3)} %`,
    )
    .join('\n');
}
