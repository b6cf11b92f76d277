/**
 * Single peaks on detectors unlike the one that the validation set stands for: one change at a time, so that a row of the
 * table says what the change costs.
 *
 * Invariants
 *  D1 Truth is where the peak was put: the middle of a symmetric profile. Skewed peaks are left out, for want of a truth.
 *  D2 A patch is cut around the brightest of the nine pixels where the peak was put, as a peak finder cuts it; what a scenario
 *     adds afterwards (dead or hot pixels, gaps) does not move the cut.
 *  D3 Pixel k has its centre at coordinate k; x is the column, y the row.
 */
import type { Random } from '#base/random.ts';
import { createDraws, type Draws } from './draws.ts';

type Range = readonly [low: number, high: number];

/** What makes a peak and what a detector makes of it; heights and noise in counts, widths in px. */
export interface Detector {
  /** Peak height: log-uniform. */
  readonly height: Range;
  /** Width along each axis. */
  readonly sigma: Range;
  /** Long over short axis of an ellipse at any angle; both axes are drawn apart where absent. */
  readonly elongation?: Range;
  readonly eta: Range;
  /** Counts of one photon. */
  readonly gain: number;
  readonly readNoise: number;
  readonly saturation: number;
  readonly threshold: number;
  /** Whether the threshold is taken off what is above it. */
  readonly subtracts?: boolean;
  /** Counts under the peak that nobody removed. */
  readonly background: Range;
  /** Change of the background per px, as a normal's width. */
  readonly slope?: number;
  /** Whether a pixel sums what falls on it (3 x 3 points) instead of sampling its middle. */
  readonly integrates?: boolean;
  /** A dark column this far from the brightest pixel: a gap between modules. */
  readonly gapAt?: number;
  /** A pixel at most this far from the brightest one answers 0. */
  readonly dead?: number;
  /** A pixel at most this far from the brightest one answers this many times the peak's maximum. */
  readonly hot?: { readonly within: number; readonly times: number };
  /** A second peak: distance, and height over the first's. */
  readonly second?: { readonly distance: Range; readonly height: Range };
}

/** The simulation of the validation set. */
export const REFERENCE: Detector = {
  height: [90, 14_400],
  sigma: [0.594, 0.903],
  eta: [0, 0.15],
  gain: 5,
  readNoise: 20,
  saturation: 14_400,
  threshold: 80,
  background: [0, 15],
};

export interface Scenario {
  readonly name: string;
  /** Whether a user who reads the card may expect the model to serve this. */
  readonly meant: boolean;
  readonly detector: Detector;
}

const variant = (name: string, change: Partial<Detector>, meant = true): Scenario => ({
  name,
  meant,
  detector: { ...REFERENCE, ...change },
});

const T = REFERENCE.threshold;

export const SCENARIOS: readonly Scenario[] = [
  variant('as the validation set', {}),
  variant('photon counting', {
    height: [4, 2000],
    gain: 1,
    readNoise: 0,
    saturation: 1e6,
    threshold: 3,
    background: [0, 0.3],
  }),
  variant('CCD, low gain', {
    height: [40, 60_000],
    gain: 0.5,
    readNoise: 8,
    saturation: 65_535,
    threshold: 30,
    background: [0, 8],
  }),
  variant('gain x 3', { gain: 15 }),
  variant('read noise x 2', { readNoise: 40 }),
  variant('threshold / 4, low noise', { threshold: T / 4, readNoise: 5, background: [0, 4] }),
  variant('threshold x 3', { threshold: 3 * T, height: [280, 14_400] }),
  variant('threshold subtracted', { subtracts: true }),
  variant('saturated, 1-5 x', { height: [14_400, 72_000] }),
  variant('saturated, 5-20 x', { height: [72_000, 288_000] }, false),
  variant('sigma 0.35-0.5 px', { sigma: [0.35, 0.5] }),
  variant('sigma 0.35-0.5 px, summing pixels', { sigma: [0.35, 0.5], integrates: true }),
  variant('sigma 0.8-1.2 px', { sigma: [0.8, 1.2] }),
  variant('sigma 1.2-1.9 px', { sigma: [1.2, 1.9] }),
  variant('sigma 1.9-2.5 px', { sigma: [1.9, 2.5] }, false),
  variant('sigma 2.5-3 px', { sigma: [2.5, 3] }, false),
  variant('elongated 1.5-2.2', { sigma: [0.7, 1.3], elongation: [1.5, 2.2] }),
  variant('elongated 2.2-3.5', { sigma: [0.7, 1.3], elongation: [2.2, 3.5] }, false),
  variant('Lorentzian tails, eta 0.5-1', { eta: [0.5, 1] }),
  variant('residue 0.5 threshold', { background: [T / 2, T / 2] }),
  variant('residue 0.5 threshold, sloped', { background: [T / 2, T / 2], slope: 0.05 * T }),
  variant('background 1.5 thresholds left in', { background: [1.5 * T, 1.5 * T] }, false),
  variant('gap 3 px from the maximum', { gapAt: 3 }),
  variant('gap 2 px from the maximum', { gapAt: 2 }),
  variant('gap 1 px from the maximum', { gapAt: 1 }, false),
  variant('dead pixel within 2 px', { dead: 2 }),
  variant('hot pixel within 2 px, 0.5 x', { hot: { within: 2, times: 0.5 } }, false),
  variant('hot pixel within 4 px, 3 x', { hot: { within: 4, times: 3 } }, false),
  variant('second peak 3-6 px, 0.1-0.5 x', { second: { distance: [3, 6], height: [0.1, 0.5] } }),
  variant('second peak 2-4 px, 0.5-1 x', { second: { distance: [2, 4], height: [0.5, 1] } }, false),
];

const SIZE = 11;
const HALF = 5;
const WINDOW = 17;
const MIDDLE = 8;
const H2 = 2 * Math.log(2);
const LEAST_LIT = 3;

interface Profile {
  readonly x: number;
  readonly y: number;
  readonly height: number;
  readonly long: number;
  readonly short: number;
  readonly cos: number;
  readonly sin: number;
  readonly eta: number;
}

function drawProfile({ height, sigma, elongation, eta }: Detector, draws: Draws): Profile {
  const first = draws.uniform(...sigma);
  const ratio = elongation === undefined ? undefined : Math.sqrt(draws.logUniform(...elongation));
  const angle = ratio === undefined ? 0 : draws.uniform(0, Math.PI);
  return {
    x: MIDDLE + draws.uniform(-0.5, 0.5),
    y: MIDDLE + draws.uniform(-0.5, 0.5),
    height: draws.logUniform(...height),
    long: ratio === undefined ? first : first * ratio,
    short: ratio === undefined ? draws.uniform(...sigma) : first / ratio,
    cos: Math.cos(angle),
    sin: Math.sin(angle),
    eta: draws.uniform(...eta),
  };
}

function shapeAt({ x, y, long, short, cos, sin, eta }: Profile, px: number, py: number): number {
  const u = (cos * (px - x) + sin * (py - y)) / long;
  const v = (cos * (py - y) - sin * (px - x)) / short;
  const gauss = Math.exp(-0.5 * (u * u + v * v));
  return eta / ((1 + (u * u) / H2) * (1 + (v * v) / H2)) + (1 - eta) * gauss;
}

function addPeak(ideal: Float64Array, peak: Profile, integrates: boolean): void {
  const offsets = integrates ? [-1 / 3, 0, 1 / 3] : [0];
  for (let i = 0; i < ideal.length; i++) {
    let sum = 0;
    for (const dy of offsets)
      for (const dx of offsets) sum += shapeAt(peak, (i % WINDOW) + dx, Math.floor(i / WINDOW) + dy);
    ideal[i] = (ideal[i] as number) + (peak.height * sum) / offsets.length ** 2;
  }
}

function count(ideal: Float64Array, detector: Detector, draws: Draws): Float64Array {
  const { gain, readNoise, saturation, threshold, subtracts = false } = detector;
  return ideal.map((mean) => {
    const counts = Math.min(gain * draws.poisson(mean / gain) + readNoise * draws.normal(), saturation);
    if (counts < threshold) return 0;
    return subtracts ? counts - threshold : counts;
  });
}

/** What is wrong with the detector near the maximum, in counts that are already thresholded. */
function damage(window: Float64Array, at: { x: number; y: number }, detector: Detector, draws: Draws): void {
  const { gapAt, dead, hot } = detector;
  if (gapAt !== undefined) {
    const column = at.x + gapAt * (draws.integer(0, 1) === 0 ? -1 : 1);
    for (let y = 0; y < WINDOW; y++) window[y * WINDOW + column] = 0;
  }
  const near = (within: number): number =>
    (at.y + draws.integer(-within, within)) * WINDOW + at.x + draws.integer(-within, within);
  if (dead !== undefined) window[near(dead)] = 0;
  if (hot !== undefined) {
    const top = window[at.y * WINDOW + at.x] as number;
    window[near(hot.within)] = hot.times * top;
  }
}

function brightestOfNine(window: Float64Array): { x: number; y: number; value: number } {
  let best = { x: MIDDLE, y: MIDDLE, value: -1 };
  for (let y = MIDDLE - 1; y <= MIDDLE + 1; y++) {
    for (let x = MIDDLE - 1; x <= MIDDLE + 1; x++) {
      const value = window[y * WINDOW + x] as number;
      if (value > best.value) best = { x, y, value };
    }
  }
  return best;
}

/** One patch and its true centre in it; undefined where too few pixels are lit. */
function drawPatch(detector: Detector, draws: Draws): { patch: Float32Array; x: number; y: number } | undefined {
  const peak = drawProfile(detector, draws);
  const ideal = new Float64Array(WINDOW * WINDOW);
  addPeak(ideal, peak, detector.integrates ?? false);
  if (detector.second !== undefined) {
    const angle = draws.uniform(0, 2 * Math.PI);
    const distance = draws.uniform(...detector.second.distance);
    const place = { x: peak.x + distance * Math.cos(angle), y: peak.y + distance * Math.sin(angle) };
    const height = peak.height * draws.uniform(...detector.second.height);
    addPeak(ideal, { ...drawProfile(detector, draws), ...place, height }, detector.integrates ?? false);
  }
  const background = draws.uniform(...detector.background);
  const [slopeX, slopeY] = [0, 1].map(() => (detector.slope ?? 0) * draws.normal()) as [number, number];
  for (let i = 0; i < ideal.length; i++) {
    const plane = slopeX * ((i % WINDOW) - MIDDLE) + slopeY * (Math.floor(i / WINDOW) - MIDDLE);
    ideal[i] = Math.max((ideal[i] as number) + background + plane, 0);
  }
  const window = count(ideal, detector, draws);
  const at = brightestOfNine(window);
  if (!(at.value > 0)) return undefined;
  damage(window, at, detector, draws);
  const patch = new Float32Array(SIZE * SIZE);
  let lit = 0;
  for (let i = 0; i < patch.length; i++) {
    const v = window[(at.y - HALF + Math.floor(i / SIZE)) * WINDOW + at.x - HALF + (i % SIZE)] as number;
    patch[i] = v;
    if (v > 0) lit++;
  }
  return lit < LEAST_LIT ? undefined : { patch, x: peak.x - at.x + HALF, y: peak.y - at.y + HALF };
}

/** `rows` patches of one detector, from the seed alone. */
export function simulate(
  detector: Detector,
  rows: number,
  random: Random,
): { patches: Float32Array; xy: Float64Array } {
  const draws = createDraws(random);
  const patches = new Float32Array(rows * SIZE * SIZE);
  const xy = new Float64Array(2 * rows);
  for (let row = 0; row < rows; ) {
    const drawn = drawPatch(detector, draws);
    if (drawn === undefined) continue;
    patches.set(drawn.patch, row * SIZE * SIZE);
    xy.set([drawn.x, drawn.y], 2 * row);
    row++;
  }
  return { patches, xy };
}
