/** Pictures of a classifier's job as SVG text: curves with the probabilities found, the confusion matrix, the reliability. */
import type { ModelView } from '#protos/model.ts';
import { type ClassReport, fixed, percent } from './classes.ts';
import { escaped, SMALL_STYLE, STYLE, svg } from './svg.ts';

/** Found and true, told apart by more than colour: filled bars, and an outlined name. */
const FOUND = '#4477aa';
const TRUE = '#cc3311';

export interface CurvePicture {
  readonly label: string;
  /** One value a channel. */
  readonly values: ArrayLike<number>;
  /** The answer's columns; names beside them where they are classes. */
  readonly answer: readonly number[];
  /** Index of the true class. */
  readonly truth: number | undefined;
}

const WIDE = 300;
const HIGH = 120;
const BARS = 116;
const GAP_X = 30;
const GAP_Y = 52;
const LEFT = 16;
const TOP = 64;

/** Curves in two columns: the square root of counts, so that a weak line and its scatter are both seen. */
export function curvesSvg(
  pictures: readonly CurvePicture[],
  columns: readonly string[],
  axis: ModelView['axis'],
  title: string,
): string {
  const cell = WIDE + BARS + GAP_X;
  const cells = pictures.map((picture, k) => {
    const left = LEFT + (k % 2) * cell;
    const top = TOP + Math.floor(k / 2) * (HIGH + GAP_Y);
    return [
      `<text x="${left}" y="${top - 5}" ${SMALL_STYLE}>${escaped(picture.label)}</text>`,
      `<rect x="${left}" y="${top}" width="${WIDE}" height="${HIGH}" fill="#f6f6f6"/>`,
      curve(picture.values, left, top),
      axisTicks(axis, picture.values.length, left, top + HIGH),
      bars(picture, columns, left + WIDE + 14, top),
    ].join('');
  });
  const known = pictures.some(({ truth }) => truth !== undefined);
  const legend = [
    `<text x="${LEFT}" y="22" ${STYLE} font-weight="bold">${escaped(title)}</text>`,
    `<text x="${LEFT}" y="42" ${STYLE}>height: square root of counts; bars: probability found${known ? '; ' : ''}`,
    known ? `<tspan fill="${TRUE}" font-weight="bold">[name]: the true class</tspan>` : '',
    '</text>',
  ].join('');
  const rows = Math.ceil(pictures.length / 2);
  return svg(LEFT + 2 * cell, TOP + rows * (HIGH + GAP_Y), title, [legend, ...cells].join('\n'));
}

function curve(values: ArrayLike<number>, left: number, top: number): string {
  const n = values.length;
  const heights = Array.from(values, (value) => Math.sqrt(Math.max(0, Number(value))));
  const most = Math.max(1e-12, ...heights);
  const x = (k: number): string => (left + (WIDE * k) / n).toFixed(1);
  // Steps, not slopes: a channel holds what was counted in it.
  const path = heights.map((h, k) => `V${(top + HIGH - (HIGH - 4) * (h / most)).toFixed(1)}H${x(k + 1)}`).join('');
  return `<path d="M${left} ${top + HIGH}${path}V${top + HIGH}" fill="#dde6ee" stroke="${FOUND}" stroke-width="0.7"/>`;
}

/** A handful of marks at round values; channel numbers where the model names no axis. */
function axisTicks(axis: ModelView['axis'], channels: number, left: number, y: number): string {
  const { from, to, name, units } = axis ?? { from: 0, to: channels, name: 'channel', units: '' };
  const step = niceStep((to - from) / 6);
  const marks: string[] = [];
  for (let value = Math.ceil(from / step - 1e-9) * step; value <= to + 1e-9 * step; value += step) {
    const x = (left + (WIDE * (value - from)) / (to - from)).toFixed(1);
    const text = Number(value.toPrecision(6));
    marks.push(
      `<path d="M${x} ${y}v4" stroke="#222"/><text x="${x}" y="${y + 15}" text-anchor="middle" ${SMALL_STYLE}>${text}</text>`,
    );
  }
  const label = `${name}${units === '' ? '' : ` (${units})`}`;
  marks.push(`<text x="${left + WIDE / 2}" y="${y + 28}" text-anchor="middle" ${SMALL_STYLE}>${escaped(label)}</text>`);
  return marks.join('');
}

/** 1, 2 or 5 times a power of ten, not below the wish. */
function niceStep(wish: number): number {
  const power = 10 ** Math.floor(Math.log10(wish));
  return ([1, 2, 5].find((m) => m * power >= wish * 0.999) ?? 10) * power;
}

const MAX_BARS = 8;

/** The most probable columns in their order; all of them where they are few. */
function bars({ answer, truth }: CurvePicture, columns: readonly string[], left: number, top: number): string {
  const all = answer.map((p, i) => ({ p, i }));
  const shown =
    all.length <= MAX_BARS
      ? all
      : [...all]
          .sort((a, b) => b.p - a.p)
          .filter(({ i }, rank) => rank < MAX_BARS - 1 || i === truth)
          .slice(0, MAX_BARS);
  const high = Math.min(18, HIGH / shown.length);
  return shown
    .map(({ p, i }, k) => {
      const y = top + k * high;
      const name = columns[i] ?? String(i);
      const style =
        i === truth ? `font-family="sans-serif" font-size="10" font-weight="bold" fill="${TRUE}"` : SMALL_STYLE;
      const width = Number.isFinite(p) ? Math.max(0, Math.min(1, p)) * 44 : 0;
      return [
        `<text x="${left + 30}" y="${(y + high - 5).toFixed(1)}" text-anchor="end" ${style}>${escaped(i === truth ? `[${name}]` : name)}</text>`,
        `<rect x="${left + 34}" y="${(y + 2).toFixed(1)}" width="${width.toFixed(1)}" height="${(high - 5).toFixed(1)}" fill="${FOUND}"/>`,
        `<text x="${(left + 37 + width).toFixed(1)}" y="${(y + high - 5).toFixed(1)}" ${SMALL_STYLE}>${p.toFixed(2)}</text>`,
      ].join('');
    })
    .join('');
}

/** Rows add up to their true class: a cell's shade is the part of its row. */
export function confusionSvg({ classes, confusion, n, accuracy }: ClassReport, rowsWord: string): string {
  const title = `${n.toLocaleString('en')} ${rowsWord}, ${percent(accuracy)} right`;
  if (confusion === undefined) return svg(320, 40, title, `<text x="10" y="24" ${STYLE}>${escaped(title)}</text>`);
  const cell = 52;
  const left = 84;
  const top = 76;
  const cells = confusion.flatMap((row, i) => {
    const sum = row.reduce((a, b) => a + b, 0);
    return row.map((count, j) => {
      const share = sum === 0 ? 0 : count / sum;
      // Near white for none, so that few and none are told apart.
      const mix = (dark: number): number => Math.round(252 - (252 - dark) * share ** 0.6);
      const ink = share > 0.6 ? '#fff' : '#222';
      const x = left + j * cell;
      const y = top + i * cell;
      return `<rect x="${x}" y="${y}" width="${cell - 2}" height="${cell - 2}" fill="rgb(${mix(25)},${mix(85)},${mix(130)})" stroke="#ccc" stroke-width="0.5"/><text x="${x + cell / 2 - 1}" y="${y + 23}" text-anchor="middle" font-family="sans-serif" font-size="13" fill="${ink}">${count}</text><text x="${x + cell / 2 - 1}" y="${y + 38}" text-anchor="middle" font-family="sans-serif" font-size="9" fill="${ink}">${(100 * share).toFixed(1)} %</text>`;
    });
  });
  const names = classes.flatMap((name, i) => [
    `<text x="${left - 8}" y="${top + i * cell + 30}" text-anchor="end" ${STYLE}>${escaped(name)}</text>`,
    `<text x="${left + i * cell + cell / 2}" y="${top - 8}" text-anchor="middle" ${STYLE}>${escaped(name)}</text>`,
  ]);
  const body = [
    `<text x="16" y="22" ${STYLE} font-weight="bold">${escaped(title)}</text>`,
    `<text x="16" y="42" ${STYLE}>rows: the true class; columns: the class found most probable</text>`,
    ...names,
    ...cells,
  ];
  const side = classes.length * cell;
  return svg(Math.max(420, left + side + 20), top + side + 20, title, body.join('\n'));
}

/** Right as often as said lies on the diagonal; the area of a dot is its number of rows. */
export function reliabilitySvg({ reliability, ece, n }: ClassReport, rowsWord: string): string {
  const title = `How sure, and how often right: ${n.toLocaleString('en')} ${rowsWord}`;
  const side = 320;
  const left = 60;
  const top = 66;
  const x = (value: number): string => (left + side * value).toFixed(1);
  const y = (value: number): string => (top + side * (1 - value)).toFixed(1);
  const most = Math.max(1, ...reliability.map((bin) => bin.n));
  // Beside the dot, on the side where there is room.
  const count = (rows: number, cx: number, cy: number, r: number): string =>
    cx > left + 0.9 * side
      ? `<text x="${(cx - r - 4).toFixed(1)}" y="${cy + 4}" text-anchor="end" ${SMALL_STYLE}>${rows}</text>`
      : `<text x="${(cx + r + 3).toFixed(1)}" y="${(cy + r + 9).toFixed(1)}" ${SMALL_STYLE}>${rows}</text>`;
  const dots = reliability.map((bin) => {
    const r = 3 + 11 * Math.sqrt(bin.n / most);
    const spread = Math.sqrt((bin.accuracy * (1 - bin.accuracy)) / bin.n);
    const low = Math.max(0, bin.accuracy - 2 * spread);
    const high = Math.min(1, bin.accuracy + 2 * spread);
    return `<path d="M${x(bin.confidence)} ${y(low)}V${y(high)}" stroke="#222"/><circle cx="${x(bin.confidence)}" cy="${y(bin.accuracy)}" r="${r.toFixed(1)}" fill="${FOUND}" fill-opacity="0.8"/>${count(bin.n, Number(x(bin.confidence)), Number(y(bin.accuracy)), r)}`;
  });
  const ticks = [0, 0.25, 0.5, 0.75, 1].flatMap((value) => [
    `<text x="${x(value)}" y="${top + side + 18}" text-anchor="middle" ${STYLE}>${value}</text>`,
    `<text x="${left - 8}" y="${Number(y(value)) + 4}" text-anchor="end" ${STYLE}>${value}</text>`,
  ]);
  const body = [
    `<text x="16" y="22" ${STYLE} font-weight="bold">${escaped(title)}</text>`,
    `<text x="16" y="42" ${STYLE}>numbers: rows; bars: two standard errors; calibration error ${fixed(ece)}</text>`,
    `<rect x="${left}" y="${top}" width="${side}" height="${side}" fill="none" stroke="#222"/>`,
    `<path d="M${x(0)} ${y(0)}L${x(1)} ${y(1)}" stroke="${TRUE}" stroke-dasharray="6 3"/>`,
    ...ticks,
    ...dots,
    `<text x="${left + side / 2}" y="${top + side + 38}" text-anchor="middle" ${STYLE}>highest probability, mean of each tenth</text>`,
    `<text transform="translate(18 ${top + side / 2}) rotate(-90)" text-anchor="middle" ${STYLE}>part that is right</text>`,
  ];
  return svg(left + side + 40, top + side + 52, title, body.join('\n'));
}
