/**
 * The peaks of the validation set, simulated again without Python: the recipe of containers/braggnn/simulate.py (`c3`), and
 * the same recipe with single parameters changed, for data that the model was not calibrated on.
 *
 * Invariants
 *  S1 Pixel k has its centre at coordinate k; x is the column, y the row.
 *  S2 A patch is cropped on floor(label) - 5, where the label is as noisy as a fit's; rows whose label lies a pixel or more from
 *     the brightest pixel, or with fewer than 4 lit pixels, are drawn again.
 *  S3 Patches are cleaned (the 8-connected part of the brightest pixel is kept) unless the scenario says that nobody did.
 *  S4 Same seed, same patches.
 */
import type { Random } from '#base/random.ts';
import { createDraws, type Draws } from '../accuracy/draws.ts';

export const PATCH = 11;
export const AREA = PATCH * PATCH;
const HALF = 5;
const WINDOW = 19;
const MIDDLE = 9;
const HALF_WIDTH = Math.sqrt(2 * Math.log(2));

export interface PeakRecipe {
  readonly height: readonly [number, number];
  readonly sigma: readonly [number, number];
  readonly etaMax: number;
  readonly background: readonly [number, number];
  readonly gain: number;
  readonly readNoise: number;
  readonly saturation: number;
  /** Values below become 0; none where it is 0. */
  readonly threshold: number;
  /** Whether the part of the brightest pixel alone is kept. */
  readonly cleaned: boolean;
  /** Part of the rows in which one pixel at random stands at the saturation. */
  readonly hot: number;
}

export const C3: PeakRecipe = {
  height: [90, 14_400],
  sigma: [0.594, 0.903],
  etaMax: 0.15,
  background: [0, 15],
  gain: 5,
  readNoise: 20,
  saturation: 14_400,
  threshold: 80,
  cleaned: true,
  hot: 0,
};

/** Rows of patches with where each peak was put, and a label like a fit's. */
export interface Peaks {
  readonly rows: number;
  readonly patches: Float32Array;
  readonly trueXy: Float64Array;
  readonly labelXy: Float64Array;
}

export function simulatePeaks(recipe: PeakRecipe, rows: number, random: Random): Peaks {
  const draws = createDraws(random);
  const patches = new Float32Array(rows * AREA);
  const trueXy = new Float64Array(rows * 2);
  const labelXy = new Float64Array(rows * 2);
  for (let row = 0; row < rows; ) {
    const drawn = drawPeak(recipe, draws);
    if (drawn === undefined) continue;
    patches.set(drawn.patch, row * AREA);
    trueXy.set(drawn.xy, row * 2);
    labelXy.set(drawn.label, row * 2);
    row++;
  }
  return { rows, patches, trueXy, labelXy };
}

interface Drawn {
  readonly patch: Float32Array;
  readonly xy: readonly [number, number];
  readonly label: readonly [number, number];
}

/** One try; undefined where the recipe rejects it. */
function drawPeak(recipe: PeakRecipe, draws: Draws): Drawn | undefined {
  const height = draws.logUniform(...recipe.height);
  const [x, y] = [MIDDLE + draws.uniform(-0.5, 0.5), MIDDLE + draws.uniform(-0.5, 0.5)];
  const window = countsOf(recipe, height, x, y, draws);
  const top = brightestOf(window);
  if (top === undefined) return undefined;
  const label = labelOf(x, y, height, draws);
  if (Math.hypot(label[0] - top.x, label[1] - top.y) >= 1) return undefined;
  const left = Math.floor(label[0]) - HALF;
  const above = Math.floor(label[1]) - HALF;
  const patch = new Float32Array(AREA);
  for (let i = 0; i < AREA; i++)
    patch[i] = window[(above + Math.floor(i / PATCH)) * WINDOW + left + (i % PATCH)] as number;
  if (draws.uniform(0, 1) < recipe.hot) patch[draws.integer(0, AREA - 1)] = recipe.saturation;
  if (recipe.cleaned) keepPart(patch, (top.y - above) * PATCH + top.x - left);
  if (patch.reduce((n, v) => n + (v > 0 ? 1 : 0), 0) < 4) return undefined;
  return { patch, xy: [x - left, y - above], label: [label[0] - left, label[1] - above] };
}

/** Detector counts of a 19 x 19 window. */
function countsOf(recipe: PeakRecipe, height: number, x: number, y: number, draws: Draws): Float64Array {
  const { sigma, etaMax, background, gain, readNoise, saturation, threshold } = recipe;
  const [sx, sy] = [draws.uniform(...sigma), draws.uniform(...sigma)];
  const eta = draws.uniform(0, etaMax);
  const under = draws.uniform(...background);
  const axis = (centre: number, s: number): [Float64Array, Float64Array] => {
    const t = Float64Array.from({ length: WINDOW }, (_, i) => (i - centre) / s);
    return [t.map((v) => Math.exp(-0.5 * v * v)), t.map((v) => 1 / (1 + (v / HALF_WIDTH) ** 2))];
  };
  const [gx, lx] = axis(x, sx);
  const [gy, ly] = axis(y, sy);
  return Float64Array.from({ length: WINDOW * WINDOW }, (_, i) => {
    const [row, column] = [Math.floor(i / WINDOW), i % WINDOW];
    const gauss = (gy[row] as number) * (gx[column] as number);
    const lorentz = (ly[row] as number) * (lx[column] as number);
    const ideal = height * (eta * lorentz + (1 - eta) * gauss) + under;
    const counts = Math.min(gain * draws.poisson(ideal / gain) + readNoise * draws.normal(), saturation);
    return threshold > 0 && counts < threshold ? 0 : Math.round(counts);
  });
}

/** The maximum of the central 3 x 3 pixels, the first of equals; undefined where none is lit. */
function brightestOf(window: Float64Array): { x: number; y: number } | undefined {
  let best = { x: MIDDLE - 1, y: MIDDLE - 1 };
  const at = ({ x, y }: { x: number; y: number }): number => window[y * WINDOW + x] as number;
  for (let y = MIDDLE - 1; y <= MIDDLE + 1; y++)
    for (let x = MIDDLE - 1; x <= MIDDLE + 1; x++) if (at({ x, y }) > at(best)) best = { x, y };
  return at(best) > 0 ? best : undefined;
}

/** The truth and the scatter of a fit: one over the signal to noise, and one in five a bad fit. */
function labelOf(x: number, y: number, height: number, draws: Draws): [number, number] {
  const s = Math.hypot(0.06, (0.295 * 150) / height);
  const width = draws.uniform(0, 1) < 0.2 ? Math.max(s, 0.516) : s;
  return [x + width * draws.normal(), y + width * draws.normal()];
}

/** Zeroes all but the 8-connected part of values > 0 that holds pixel `seed`. */
function keepPart(patch: Float32Array, seed: number): void {
  const keep = new Uint8Array(AREA);
  const stack = (patch[seed] as number) > 0 ? [seed] : [];
  if (stack.length > 0) keep[seed] = 1;
  for (let i = stack.pop(); i !== undefined; i = stack.pop()) {
    const [row, column] = [Math.floor(i / PATCH), i % PATCH];
    for (let y = Math.max(0, row - 1); y <= Math.min(PATCH - 1, row + 1); y++) {
      for (let x = Math.max(0, column - 1); x <= Math.min(PATCH - 1, column + 1); x++) {
        const next = y * PATCH + x;
        if (keep[next] === 1 || !((patch[next] as number) > 0)) continue;
        keep[next] = 1;
        stack.push(next);
      }
    }
  }
  for (let i = 0; i < AREA; i++) if (keep[i] === 0) patch[i] = 0;
}
