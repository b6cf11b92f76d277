/** Tables for people. */
import { type BreadthRow, type Misuse, worse } from './breadth.ts';
import type { LabelledSet } from './data.ts';
import type { Consistency } from './members.ts';
import { type FitCounts, METHODS, type Scores } from './methods.ts';
import type { Summary } from './score.ts';

const COLUMNS = ['mean', 'p50', 'p75', 'p95', 'p99.5', 'biasX', 'biasY'] as const;
const WORDS: Readonly<Record<string, string>> = {
  c3_true: 'simulated validation set, against true centres',
  c3_noisy: 'simulated validation set, against noisy labels',
  real_determined: 'real peaks with at least 12 lit pixels, against their fits',
  real_weakened: 'bright real peaks made weak, against the fit of the bright peak',
};

const px = (value: number): string => value.toFixed(4).padStart(9);

export function setTable({ name }: LabelledSet, scores: Scores, fits: FitCounts): string {
  const line = (method: string, group: string, s: Summary): string =>
    `  ${method.padEnd(18)}${group.padEnd(7)}${String(s.n).padStart(7)}${COLUMNS.map((c) => px(s[c])).join('')}${
      s.ratio === undefined ? '' : s.ratio.toFixed(2).padStart(9)
    }`;
  const limited = scores.model.all?.ratio !== undefined;
  return [
    `\n${name}: ${WORDS[name] ?? ''} (px)`,
    `  ${'method'.padEnd(18)}${'lit'.padEnd(7)}${'n'.padStart(7)}${COLUMNS.map((c) => c.padStart(9)).join('')}${limited ? '   /limit' : ''}`,
    ...METHODS.flatMap((method) => Object.entries(scores[method]).map(([group, s]) => line(method, group, s))),
    `  fits: ${fits.failed} of ${fits.rows} failed and were answered by the centre of mass; ${fits.free} had fewer lit pixels than parameters`,
  ].join('\n');
}

export function consistencyTable(set: string, second: string, table: Readonly<Record<string, Consistency>>): string {
  const heads = ['first', 'second', 'both', 'apart', 'P95', 'correl.'];
  return [
    `\nmembers on ${set}: this model and ${second} (mean px; both: error of the mean of their answers; apart: distance between them)`,
    `  ${'lit'.padEnd(7)}${'n'.padStart(7)}${heads.map((h) => h.padStart(9)).join('')}`,
    ...Object.entries(table).map(([group, c]) => {
      const figures = [c.first.mean, c.second.mean, c.together.mean, c.apart.mean, c.apart.p95, c.correlation];
      return `  ${group.padEnd(7)}${String(c.n).padStart(7)}${figures.map(px).join('')}`;
    }),
  ].join('\n');
}

export function breadthTable(rows: readonly BreadthRow[]): string {
  const width = Math.max(...rows.map(({ scenario }) => scenario.name.length)) + 2;
  const pair = (s: Summary | undefined): string => (s === undefined ? '' : `${px(s.mean)}${px(s.p95)}`);
  return [
    '\nother detectors, simulated (mean and P95, px; * lies outside what the model is meant for)',
    `  ${''.padEnd(width)}${'lit'.padStart(5)}${'model'.padStart(18)}${'centre of mass'.padStart(18)}${'above threshold'.padStart(18)}${'fit'.padStart(18)}  clearly worse than the centre of mass`,
    ...rows.map((row) => {
      const { scenario, scores, medianLit } = row;
      const name = `${scenario.name}${scenario.meant ? '' : ' *'}`.padEnd(width);
      const figures = METHODS.map((method) => pair(scores[method].all)).join('');
      return `  ${name}${String(medianLit).padStart(5)}${figures}  ${worse(row).join(', ')}`.trimEnd();
    }),
  ].join('\n');
}

export function misuseTable(rows: readonly Misuse[]): string {
  return [
    '\nthe simulated validation set handed over otherwise (mean and P95, px)',
    `  ${''.padEnd(26)}${'model'.padStart(18)}${'centre of mass'.padStart(18)}`,
    ...rows.map(
      ({ name, model, centreOfMass }) =>
        `  ${name.padEnd(26)}${px(model.mean)}${px(model.p95)}${px(centreOfMass.mean)}${px(centreOfMass.p95)}`,
    ),
  ].join('\n');
}
