/** Pictures as SVG text: an error histogram, and images with true and predicted places. No library, no script inside. */
import type { Figure } from './classes.ts';
import { bars, type ErrorHistogram } from './summary.ts';

const FONT = 'font-family="sans-serif" fill="#222"';
export const STYLE = `${FONT} font-size="12"`;
export const SMALL_STYLE = `${FONT} font-size="10"`;

/** Names come from model.json, which is anybody's. */
export function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** A whole picture on white. */
export function svg(width: number, height: number, title: string, body: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>${escaped(title)}</title><rect width="100%" height="100%" fill="#fff"/>
${body}
</svg>
`;
}

export interface Marks {
  readonly mean: Figure;
  readonly p95: Figure;
}

/** Errors on a logarithmic axis, with the mean and the 95th percentile marked. */
export function histogramSvg(histogram: ErrorHistogram, units: string, marks: Marks, title: string): string {
  const shown = bars(histogram).filter(({ from }) => from > 0);
  if (shown.length === 0) return svg(320, 40, title, `<text x="10" y="24" ${STYLE}>no rows with truth</text>`);
  const left = 56;
  const top = 34;
  const width = 640;
  const height = 260;
  const low = Math.log10(shown[0]?.from ?? 1);
  const high = Math.log10(shown.at(-1)?.to ?? 10);
  const most = Math.max(...shown.map(({ count }) => count));
  const x = (value: number): number => left + (width * (Math.log10(value) - low)) / (high - low);
  const y = (count: number): number => top + height - (height * count) / most;
  const rects = shown.map(
    ({ from, to, count }) =>
      `<rect x="${x(from).toFixed(1)}" y="${y(count).toFixed(1)}" width="${(x(to) - x(from) - 1).toFixed(1)}" height="${(top + height - y(count)).toFixed(1)}" fill="#4477aa"/>`,
  );
  const ticks = [0.001, 0.01, 0.1, 1, 10]
    .filter((value) => Math.log10(value) >= low && Math.log10(value) <= high)
    .map(
      (value) =>
        `<line x1="${x(value)}" x2="${x(value)}" y1="${top + height}" y2="${top + height + 5}" stroke="#222"/><text x="${x(value)}" y="${top + height + 20}" text-anchor="middle" ${STYLE}>${value}</text>`,
    );
  const counts = [0, 0.5, 1].map(
    (part) =>
      `<text x="${left - 6}" y="${y(part * most) + 4}" text-anchor="end" ${STYLE}>${Math.round(part * most)}</text>`,
  );
  const mark = (value: Figure, name: string, row: number): string =>
    value !== null && value > 0
      ? `<line x1="${x(value).toFixed(1)}" x2="${x(value).toFixed(1)}" y1="${top}" y2="${top + height}" stroke="#cc3311" stroke-dasharray="${row === 0 ? '6 3' : '2 3'}"/><text x="${(x(value) + 4).toFixed(1)}" y="${top + 12 + 15 * row}" ${STYLE}>${name} ${value.toFixed(3)} ${units}</text>`
      : '';
  const body = [
    `<text x="${left}" y="20" ${STYLE} font-weight="bold">${escaped(title)}</text>`,
    ...rects,
    `<line x1="${left}" x2="${left + width}" y1="${top + height}" y2="${top + height}" stroke="#222"/>`,
    ...ticks,
    ...counts,
    mark(marks.mean, 'mean', 0),
    mark(marks.p95, 'P95', 1),
    `<text x="${left + width / 2}" y="${top + height + 38}" text-anchor="middle" ${STYLE}>L2 error (${units}, logarithmic)</text>`,
  ];
  return svg(left + width + 20, top + height + 50, title, body.join('\n'));
}

export interface PatchPicture {
  readonly row: number;
  /** size x size counts, row-major. */
  readonly values: ArrayLike<number>;
  /** A place: x = column, y = row; the centre of pixel k is at coordinate k. */
  readonly predicted: readonly [number, number] | undefined;
  readonly truth: readonly [number, number] | undefined;
  readonly label: string;
}

/** A grid of images; brightness is the square root of counts, + is the truth, x the prediction. */
export function patchesSvg(patches: readonly PatchPicture[], size: number, title: string): string {
  const pixel = 11;
  const side = size * pixel;
  const gap = 22;
  const columns = 6;
  const cells = patches.map((patch, k) => {
    const left = 16 + (k % columns) * (side + gap);
    const top = 58 + Math.floor(k / columns) * (side + gap + 8);
    const at = ([x, y]: readonly [number, number]): [number, number] => [
      left + (x + 0.5) * pixel,
      top + (y + 0.5) * pixel,
    ];
    const cross = ([x, y]: [number, number]): string =>
      `<path d="M${(x - 4).toFixed(1)} ${(y - 4).toFixed(1)}l8 8m0 -8l-8 8" stroke="#ee7733" stroke-width="2" fill="none"/>`;
    const plus = ([x, y]: [number, number]): string =>
      `<path d="M${x.toFixed(1)} ${(y - 6).toFixed(1)}v12m-6 -6h12" stroke="#33bbee" stroke-width="2" fill="none"/>`;
    return [
      ...pixels(patch.values, size, pixel, left, top),
      patch.truth === undefined ? '' : plus(at(patch.truth)),
      patch.predicted === undefined ? '' : cross(at(patch.predicted)),
      `<text x="${left}" y="${top + side + 14}" ${SMALL_STYLE}>${escaped(patch.label)}</text>`,
    ].join('');
  });
  const rows = Math.ceil(patches.length / columns);
  const marked = patches.some(({ predicted }) => predicted !== undefined);
  const marks = marked ? '<tspan fill="#0088bb">+ truth</tspan>   <tspan fill="#cc5511">x prediction</tspan>   ' : '';
  const legend = `<text x="16" y="22" ${STYLE} font-weight="bold">${escaped(title)}</text><text x="16" y="42" ${STYLE}>${marks}(brightness: square root of counts)</text>`;
  return svg(16 + columns * (side + gap), 66 + rows * (side + gap + 8), title, [legend, ...cells].join('\n'));
}

function pixels(values: ArrayLike<number>, size: number, pixel: number, left: number, top: number): string[] {
  let most = 0;
  for (let k = 0; k < size * size; k++) if ((values[k] ?? 0) > most) most = values[k] ?? 0;
  const cells = [`<rect x="${left}" y="${top}" width="${size * pixel}" height="${size * pixel}" fill="#000"/>`];
  for (let k = 0; k < size * size; k++) {
    const value = values[k] ?? 0;
    if (!(value > 0)) continue;
    const grey = Math.round(30 + 225 * Math.sqrt(value / most));
    cells.push(
      `<rect x="${left + (k % size) * pixel}" y="${top + Math.floor(k / size) * pixel}" width="${pixel}" height="${pixel}" fill="rgb(${grey},${grey},${grey})"/>`,
    );
  }
  return cells;
}
