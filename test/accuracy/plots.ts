/** The pictures of the model card, as SVG; as PNG too where rsvg-convert is installed. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type PatchPicture, patchesSvg } from '../../client/demo/svg.ts';
import type { BreadthRow } from './breadth.ts';
import type { Scored } from './main.ts';
import { METHODS, type Method } from './methods.ts';
import { rowsOf } from './score.ts';

const STYLE = {
  model: '#0077bb',
  centreOfMass: '#ee7733',
  centreOfMassAbove: '#aa3377',
  fit: '#228833',
  limit: '#222222',
} as const;
const WORDS: Readonly<Record<keyof typeof STYLE, string>> = {
  model: 'model',
  centreOfMass: 'centre of mass',
  centreOfMassAbove: 'centre of mass above threshold',
  fit: 'pseudo-Voigt fit',
  limit: 'Cramér-Rao limit',
};
const TEXT = 'font-family="sans-serif" font-size="12" fill="#222"';

/** Writes all pictures into the folder. */
export function drawPlots(folder: string, scored: readonly Scored[], wide: readonly BreadthRow[]): void {
  mkdirSync(folder, { recursive: true });
  const [simulated] = scored.filter(({ set }) => set.name === 'c3_true');
  if (simulated === undefined) throw new TypeError('the simulated set is always there');
  const pictures: Record<string, string> = {
    'error-by-lit-pixels': errorByLit(simulated),
    'error-distribution': distributions(scored.filter(({ set }) => set.name !== 'c3_noisy')),
    'patches-simulated': patches(simulated, 'Simulated validation set: patches by rank of error'),
    'other-detectors': dumbbells(wide),
  };
  const real = scored.find(({ set }) => set.name === 'real_determined');
  if (real !== undefined)
    pictures['patches-real'] = patches(
      real,
      'Real peaks with at least 12 lit pixels, by rank of distance to their fit',
    );
  for (const [name, svg] of Object.entries(pictures)) {
    const path = join(folder, `${name}.svg`);
    writeFileSync(path, svg);
    toPng(path);
  }
}

function toPng(path: string): void {
  try {
    execFileSync('rsvg-convert', ['-z', '1.25', '-o', path.replace(/\.svg$/, '.png'), path]);
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code !== 'ENOENT') throw reason;
    console.log(`${path}: no PNG, rsvg-convert is not installed`);
  }
}

function page(width: number, height: number, title: string, body: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>${title}</title><rect width="100%" height="100%" fill="#fff"/>
${body.join('\n')}
</svg>
`;
}

type At = (value: number) => number;
const logAxis =
  (low: number, high: number, from: number, to: number): At =>
  (value) =>
    from + ((to - from) * Math.log(value / low)) / Math.log(high / low);
const f = (value: number): string => value.toFixed(1);
const text = (x: number, y: number, words: string, extra = ''): string =>
  `<text x="${f(x)}" y="${f(y)}" ${TEXT} ${extra}>${words}</text>`;
const line = (x1: number, y1: number, x2: number, y2: number, stroke: string, extra = ''): string =>
  `<line x1="${f(x1)}" y1="${f(y1)}" x2="${f(x2)}" y2="${f(y2)}" stroke="${stroke}" ${extra}/>`;

interface Frame {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** Axes with grid lines at the ticks, and what the axes mean. */
function axes(
  { left, top, width, height }: Frame,
  [x, xTicks, xWords]: readonly [At, readonly number[], string],
  [y, yTicks, yWords]: readonly [At, readonly number[], string],
): string[] {
  return [
    ...xTicks.flatMap((v) => [
      line(x(v), top, x(v), top + height, '#ddd'),
      text(x(v), top + height + 18, String(v), 'text-anchor="middle"'),
    ]),
    ...yTicks.flatMap((v) => [
      line(left, y(v), left + width, y(v), '#ddd'),
      text(left - 7, y(v) + 4, String(v), 'text-anchor="end"'),
    ]),
    `<rect x="${left}" y="${top}" width="${width}" height="${height}" fill="none" stroke="#222"/>`,
    text(left + width / 2, top + height + 38, xWords, 'text-anchor="middle"'),
    `<text transform="translate(${left - 46} ${top + height / 2}) rotate(-90)" text-anchor="middle" ${TEXT}>${yWords}</text>`,
  ];
}

function legend(keys: readonly (keyof typeof STYLE)[], x: number, y: number): string[] {
  return keys.flatMap((key, i) => [
    line(x, y + 17 * i, x + 24, y + 17 * i, STYLE[key], `stroke-width="2.5" ${dashes(key)}`),
    text(x + 31, y + 4 + 17 * i, WORDS[key]),
  ]);
}

/** Colour is never the only cue. */
function dashes(key: keyof typeof STYLE): string {
  const pattern = { model: '', centreOfMass: '7 3', centreOfMassAbove: '4 4', fit: '2 3', limit: '10 3 2 3' }[key];
  return pattern === '' ? '' : `stroke-dasharray="${pattern}"`;
}

function curve(points: readonly (readonly [number, number])[], key: keyof typeof STYLE): string {
  const path = points.map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${f(x)} ${f(y)}`).join('');
  return `<path d="${path}" fill="none" stroke="${STYLE[key]}" stroke-width="2.5" ${dashes(key)}/>`;
}

const LIT_BINS = [3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 23, 26, 30, 45];

/** RMS, because the limit is one of the RMS; each bin at its rows' mean number of lit pixels. */
function errorByLit({ set, estimates }: Scored): string {
  const frame = { left: 70, top: 44, width: 600, height: 320 };
  const x = logAxis(3.5, 36, frame.left, frame.left + frame.width);
  const y = logAxis(0.01, 0.4, frame.top + frame.height, frame.top);
  const bins = LIT_BINS.slice(0, -1).map((low, i) => rowsOf(estimates.lit, low, (LIT_BINS[i + 1] as number) - 1));
  const rms = (rows: readonly number[], square: (row: number) => number): number =>
    Math.sqrt(rows.reduce((sum, row) => sum + square(row), 0) / rows.length);
  const at = (rows: readonly number[]): number =>
    rows.reduce((sum, row) => sum + (estimates.lit[row] as number), 0) / rows.length;
  const filled = bins.filter((rows) => rows.length >= 20);
  const squares = (method: Method) => (row: number) =>
    [2 * row, 2 * row + 1].reduce((s, i) => s + ((estimates[method][i] as number) - (set.xy[i] as number)) ** 2, 0);
  const curves = METHODS.map((method) =>
    curve(
      filled.map((rows) => [x(at(rows)), y(rms(rows, squares(method)))]),
      method,
    ),
  );
  const limit = curve(
    filled.map((rows) => [x(at(rows)), y(rms(rows, (row) => (set.limit?.[row] ?? Number.NaN) ** 2))]),
    'limit',
  );
  return page(700, 430, 'Error by lit pixels', [
    text(frame.left, 26, 'RMS error by lit pixels, simulated validation set, true centres', 'font-weight="bold"'),
    ...axes(
      frame,
      [x, [4, 5, 6, 8, 10, 15, 20, 30], 'lit pixels (logarithmic)'],
      [y, [0.01, 0.02, 0.05, 0.1, 0.2, 0.4], 'RMS error (px, logarithmic)'],
    ),
    ...curves,
    limit,
    ...legend([...METHODS, 'limit'], 430, 66),
  ]);
}

const ERROR_BINS = 45;

/** One panel a set: share of rows by error, on a logarithmic axis, with the 95th percentiles marked. */
function distributions(scored: readonly Scored[]): string {
  const titles: Readonly<Record<string, string>> = {
    c3_true: 'simulated, true centres',
    real_determined: 'real, at least 12 lit pixels',
    real_weakened: 'real, weakened',
  };
  const panels = scored.flatMap(({ set, estimates, scores }, i) => {
    const frame = { left: 70 + i * 330, top: 64, width: 290, height: 250 };
    const [low, high] = [0.002, 1];
    const x = logAxis(low, high, frame.left, frame.left + frame.width);
    const top = 0.12;
    const y: At = (share) => frame.top + frame.height * (1 - share / top);
    const shares = (method: Method): number[] => {
      const counts = new Array<number>(ERROR_BINS).fill(0);
      const rows = estimates.lit.length;
      for (let row = 0; row < rows; row++) {
        const [dx, dy] = [0, 1].map(
          (k) => (estimates[method][2 * row + k] as number) - (set.xy[2 * row + k] as number),
        );
        const error = Math.min(Math.max(Math.hypot(dx ?? 0, dy ?? 0), low), high * 0.999);
        const bin = Math.floor((ERROR_BINS * Math.log(error / low)) / Math.log(high / low));
        counts[bin] = (counts[bin] ?? 0) + 1 / rows;
      }
      return counts;
    };
    const middle = (bin: number): number => low * (high / low) ** ((bin + 0.5) / ERROR_BINS);
    return [
      text(frame.left, 54, `${titles[set.name] ?? set.name}, ${estimates.lit.length.toLocaleString('en')} rows`),
      ...axes(
        frame,
        [x, [0.01, 0.1, 1], 'L2 error (px, logarithmic)'],
        [y, i === 0 ? [0, 0.04, 0.08, 0.12] : [], i === 0 ? 'share of rows' : ''],
      ),
      ...METHODS.map((method) =>
        curve(
          shares(method).map((share, bin) => [x(middle(bin)), y(Math.min(share, top))]),
          method,
        ),
      ),
      ...METHODS.map((method) => {
        const p95 = x(scores[method].all?.p95 ?? Number.NaN);
        return `<path d="M${f(p95)} ${f(frame.top + frame.height)}l-5 -11h10z" fill="${STYLE[method]}"/>`;
      }),
    ];
  });
  const width = 70 + scored.length * 330;
  const title = 'Distribution of errors; triangles: 95th percentiles';
  return page(width, 410, title, [
    text(70, 24, title, 'font-weight="bold"'),
    ...panels,
    ...METHODS.flatMap((key, i) => legend([key], 70 + 240 * i, 390)),
  ]);
}

const RANKS = [0, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95, 0.99, 0.995, 1];

function patches({ set, estimates }: Scored, title: string): string {
  const pair = (values: ArrayLike<number>, row: number): [number, number] => [
    values[2 * row] as number,
    values[2 * row + 1] as number,
  ];
  const rows = estimates.lit.length;
  const area = set.patches.length / rows;
  const order = Array.from({ length: rows }, (_, row) => {
    const [[x, y], [tx, ty]] = [pair(estimates.model, row), pair(set.xy, row)];
    return { row, error: Math.hypot(x - tx, y - ty) };
  }).sort((a, b) => a.error - b.error);
  const pictures = RANKS.map((rank): PatchPicture => {
    const { row, error } = order[Math.round(rank * (rows - 1))] as { row: number; error: number };
    return {
      row,
      values: set.patches.subarray(row * area, (row + 1) * area),
      predicted: pair(estimates.model, row),
      truth: pair(set.xy, row),
      label: `${100 * rank} %: ${error.toFixed(3)} px`,
    };
  });
  return patchesSvg(pictures, Math.sqrt(area), title);
}

/** Mean errors of model and centre of mass, one line a detector: the arrow says which way the model moves the error. */
function dumbbells(rows: readonly BreadthRow[]): string {
  const frame = { left: 260, top: 70, width: 480, height: 22 * rows.length };
  const x = logAxis(0.015, 4, frame.left, frame.left + frame.width);
  const marks = rows.flatMap(({ scenario, scores }, i) => {
    const y = frame.top + 22 * i + 12;
    const [model, mass, above, fit] = METHODS.map((method) => x(scores[method].all?.mean ?? Number.NaN)) as [
      number,
      number,
      number,
      number,
    ];
    return [
      text(frame.left - 8, y + 4, `${scenario.name}${scenario.meant ? '' : ' *'}`, 'text-anchor="end"'),
      line(mass, y, model, y, '#999', 'stroke-width="2"'),
      `<circle cx="${f(model)}" cy="${y}" r="5" fill="${STYLE.model}"/>`,
      `<rect x="${f(mass - 4)}" y="${y - 4}" width="8" height="8" fill="#fff" stroke="${STYLE.centreOfMass}" stroke-width="2"/>`,
      `<path d="M${f(above)} ${y - 5}l5 9h-10z" fill="none" stroke="${STYLE.centreOfMassAbove}" stroke-width="1.5"/>`,
      `<path d="M${f(fit)} ${y - 4}v8m-4 -4h8" stroke="${STYLE.fit}" stroke-width="2"/>`,
    ];
  });
  const none: At = () => 0;
  return page(770, frame.top + frame.height + 56, 'Other detectors', [
    text(
      12,
      24,
      'Mean error on simulated detectors, 2,000 rows each; * outside what the model is meant for',
      'font-weight="bold"',
    ),
    `<text x="12" y="46" ${TEXT}><tspan fill="${STYLE.model}">● model</tspan>  <tspan fill="${STYLE.centreOfMass}">□ centre of mass</tspan>  <tspan fill="${STYLE.centreOfMassAbove}">△ centre of mass above threshold</tspan>  <tspan fill="${STYLE.fit}">+ pseudo-Voigt fit</tspan></text>`,
    ...axes(frame, [x, [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2], 'mean error (px, logarithmic)'], [none, [], '']),
    ...marks,
  ]);
}
