/**
 * The fit that peak finders do: a pseudo-Voigt peak with a flat background to the lit pixels of one patch, by
 * Levenberg-Marquardt least squares with an analytic Jacobian.
 *
 *   m = A (eta L + (1 - eta) G) + b,  G = exp(-(u^2 + v^2) / 2),  L = 1 / ((1 + u^2 / h^2)(1 + v^2 / h^2)),
 *   u = (x - x0) / sx,  v = (y - y0) / sy,  h = sqrt(2 ln 2)
 *
 * Invariants
 *  V1 A fit ends: after MAX_ITERATIONS steps at the latest.
 *  V2 A fit that did not settle, or that ran into the bound of its centre, is `failed` and says nothing: whoever asked counts
 *     it and takes something else.
 *
 * Own solver because the library that was looked at (ml-levenberg-marquardt 5.1) ends when the residual falls below an
 * absolute number, which noisy counts never reach, or after all its iterations, and does not say whether it settled.
 */

/** Height, x, y, sigma x, sigma y, eta, background; heights in parts of the brightest pixel. */
const PARAMETERS = 7;
export const MAX_ITERATIONS = 60;
const H2 = 2 * Math.log(2);
/** A centre further than this from the brightest pixel belongs to no peak there. */
const CENTRE_BOUND_PX = 1;
/** Settled: an accepted step moved the centre by less than this, and the sum of squares by less than that share of it. */
const SETTLED_PX = 3e-4;
const SETTLED = 1e-3;
/** Sum of squares (of counts over the brightest) that is as good as none: fewer pixels than parameters come to this. */
const EXACT = 1e-6;
const MAX_DAMPING = 1e9;

export interface FitResult {
  readonly x: number;
  readonly y: number;
  readonly failed: boolean;
  readonly iterations: number;
  /** Fewer lit pixels than parameters: least squares has many answers, and the start decides. */
  readonly free: boolean;
}

/** Lit pixels of one patch, scaled to the brightest. */
interface Lit {
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly value: readonly number[];
  readonly brightestX: number;
  readonly brightestY: number;
}

function litPixels(patch: ArrayLike<number>, start: number, size: number): Lit | undefined {
  let best = start;
  for (let i = start; i < start + size * size; i++) if ((patch[i] as number) > (patch[best] as number)) best = i;
  const top = patch[best] as number;
  if (!(top > 0)) return undefined;
  const x: number[] = [];
  const y: number[] = [];
  const value: number[] = [];
  for (let i = 0; i < size * size; i++) {
    const v = patch[start + i] as number;
    if (!(v > 0)) continue;
    x.push(i % size);
    y.push(Math.floor(i / size));
    value.push(v / top);
  }
  const at = best - start;
  return { x, y, value, brightestX: at % size, brightestY: Math.floor(at / size) };
}

/** Centre of mass and second moments of the lit pixels: what every fit of this kind starts from. */
function startOf({ x, y, value }: Lit): Float64Array {
  let total = 0;
  let mx = 0;
  let my = 0;
  for (let i = 0; i < value.length; i++) {
    const v = value[i] as number;
    total += v;
    mx += v * (x[i] as number);
    my += v * (y[i] as number);
  }
  mx /= total;
  my /= total;
  let sx = 0;
  let sy = 0;
  for (let i = 0; i < value.length; i++) {
    sx += (value[i] as number) * ((x[i] as number) - mx) ** 2;
    sy += (value[i] as number) * ((y[i] as number) - my) ** 2;
  }
  return Float64Array.of(1, mx, my, Math.sqrt(sx / total), Math.sqrt(sy / total), 0.2, 0);
}

interface Bounds {
  readonly low: readonly number[];
  readonly high: readonly number[];
}

function boundsOf({ brightestX, brightestY, value }: Lit): Bounds {
  const r = CENTRE_BOUND_PX;
  const dimmest = Math.min(...value);
  return {
    low: [0.1, brightestX - r, brightestY - r, 0.25, 0.25, 0, 0],
    // The dimmest lit pixel holds the background and some peak: no background is above it.
    high: [10, brightestX + r, brightestY + r, 6, 6, 1, dimmest],
  };
}

function clamp(p: Float64Array, { low, high }: Bounds): void {
  for (let k = 0; k < PARAMETERS; k++) p[k] = Math.min(Math.max(p[k] as number, low[k] as number), high[k] as number);
}

/** The peak at one pixel; with `slope`, also its derivative by each parameter. */
function peakAt(p: Float64Array, x: number, y: number, slope?: Float64Array): number {
  const [a, x0, y0, sx, sy, eta, b] = p as unknown as readonly [number, number, number, number, number, number, number];
  const u = (x - x0) / sx;
  const v = (y - y0) / sy;
  const gauss = Math.exp(-0.5 * (u * u + v * v));
  const lu = 1 + (u * u) / H2;
  const lv = 1 + (v * v) / H2;
  const lorentz = 1 / (lu * lv);
  const shape = eta * lorentz + (1 - eta) * gauss;
  if (slope !== undefined) {
    const du = a * (eta * lorentz * (2 / (H2 * lu)) + (1 - eta) * gauss) * (u / sx);
    const dv = a * (eta * lorentz * (2 / (H2 * lv)) + (1 - eta) * gauss) * (v / sy);
    slope[0] = shape;
    slope[1] = du;
    slope[2] = dv;
    slope[3] = du * u;
    slope[4] = dv * v;
    slope[5] = a * (lorentz - gauss);
    slope[6] = 1;
  }
  return a * shape + b;
}

function sumOfSquares(p: Float64Array, { x, y, value }: Lit): number {
  let sum = 0;
  for (let i = 0; i < value.length; i++) sum += ((value[i] as number) - peakAt(p, x[i] as number, y[i] as number)) ** 2;
  return sum;
}

/** J'J (row-major) and J'r of the residuals at p. */
function normalEquations(p: Float64Array, { x, y, value }: Lit, jtj: Float64Array, jtr: Float64Array): void {
  const slope = new Float64Array(PARAMETERS);
  jtj.fill(0);
  jtr.fill(0);
  for (let i = 0; i < value.length; i++) {
    const residual = (value[i] as number) - peakAt(p, x[i] as number, y[i] as number, slope);
    for (let k = 0; k < PARAMETERS; k++) {
      const s = slope[k] as number;
      jtr[k] = (jtr[k] as number) + s * residual;
      for (let l = 0; l <= k; l++)
        jtj[k * PARAMETERS + l] = (jtj[k * PARAMETERS + l] as number) + s * (slope[l] as number);
    }
  }
}

/**
 * Holds a parameter that lies at a bound and is pushed outwards. Clamping alone lets it spoil the steps of the others: more
 * than half of the fits then never settled.
 */
function hold(p: Float64Array, { low, high }: Bounds, jtj: Float64Array, jtr: Float64Array): void {
  for (let k = 0; k < PARAMETERS; k++) {
    const push = jtr[k] as number;
    const outwards = push > 0 ? (p[k] as number) >= (high[k] as number) : (p[k] as number) <= (low[k] as number);
    if (!outwards) continue;
    jtr[k] = 0;
    for (let l = 0; l < PARAMETERS; l++) {
      const at = l <= k ? k * PARAMETERS + l : l * PARAMETERS + k;
      jtj[at] = l === k ? 1 : 0;
    }
  }
}

/**
 * (J'J + damping D) step = J'r by Cholesky, D the diagonal (Marquardt's scaling) with a floor, so that a parameter
 * without influence stays where it is. Undefined where the matrix is not positive definite.
 */
function dampedStep(jtj: Float64Array, jtr: Float64Array, damping: number): Float64Array | undefined {
  const n = PARAMETERS;
  const l = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = jtj[i * n + j] as number;
      if (i === j) sum += damping * (sum + 1e-6);
      for (let k = 0; k < j; k++) sum -= (l[i * n + k] as number) * (l[j * n + k] as number);
      if (i === j && !(sum > 0)) return undefined;
      l[i * n + j] = i === j ? Math.sqrt(sum) : sum / (l[j * n + j] as number);
    }
  }
  const step = Float64Array.from(jtr);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) step[i] = (step[i] as number) - (l[i * n + k] as number) * (step[k] as number);
    step[i] = (step[i] as number) / (l[i * n + i] as number);
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) step[i] = (step[i] as number) - (l[k * n + i] as number) * (step[k] as number);
    step[i] = (step[i] as number) / (l[i * n + i] as number);
  }
  return step;
}

/** Fits the cleaned patch at patch[start, start + size * size); undefined where nothing is lit. */
export function fitPeak(patch: ArrayLike<number>, start: number, size: number): FitResult | undefined {
  const lit = litPixels(patch, start, size);
  if (lit === undefined) return undefined;
  const bounds = boundsOf(lit);
  let p = startOf(lit);
  clamp(p, bounds);
  const jtj = new Float64Array(PARAMETERS * PARAMETERS);
  const jtr = new Float64Array(PARAMETERS);
  let cost = sumOfSquares(p, lit);
  let damping = 1e-2;
  let settled = false;
  let iterations = 0;
  normalEquations(p, lit, jtj, jtr);
  hold(p, bounds, jtj, jtr);
  for (; iterations < MAX_ITERATIONS && !settled; iterations++) {
    const step = dampedStep(jtj, jtr, damping);
    const next = step === undefined ? p : p.map((value, k) => value + (step[k] as number));
    clamp(next, bounds);
    const nextCost = step === undefined ? Number.POSITIVE_INFINITY : sumOfSquares(next, lit);
    if (nextCost < cost) {
      const moved = Math.hypot((next[1] as number) - (p[1] as number), (next[2] as number) - (p[2] as number));
      settled = (moved <= SETTLED_PX && cost - nextCost <= SETTLED * cost) || nextCost < EXACT;
      p = next;
      cost = nextCost;
      damping = Math.max(damping / 5, 1e-9);
      normalEquations(p, lit, jtj, jtr);
      hold(p, bounds, jtj, jtr);
    } else {
      damping *= 4;
      // No step helps any more, however short: this is a minimum, or as near as the bounds let it come.
      settled = damping > MAX_DAMPING;
    }
  }
  const [, x = Number.NaN, y = Number.NaN] = p;
  const far = CENTRE_BOUND_PX - 1e-6;
  const atBound = Math.abs(x - lit.brightestX) >= far || Math.abs(y - lit.brightestY) >= far;
  const failed = !settled || atBound || !Number.isFinite(x + y);
  return { x, y, failed, iterations, free: lit.value.length < PARAMETERS };
}
