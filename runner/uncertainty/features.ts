/**
 * Features of a raw sample, by which inputs are held against the reference of the error calibration.
 *
 * Raw, before any step of `pre`: scaling erases intensity, and cleaning hides what it removed. With v the values, p = max(v, 0),
 * c the centroid of p, and log(a) = sign(a) ln(1 + |a|):
 *
 *     log_total       log(sum v)                          log_max      log(max v)
 *     log_least       log(smallest v > 0)                 log_lit      ln(1 + number of v > 0)
 *     concentration   max p / sum p                       border       part of sum p on the outermost ring
 *     width           ln(1 + rms distance from c)         offset       ln(1 + |c - middle|)
 *     log_components  ln(1 + 8-connected parts of v > 0)  roughness    sum |differences of neighbours| / sum p
 *
 * A sample of one axis has one row: its ring is its two ends, its neighbours are left and right.
 *
 * Invariants
 *  F1 All features of a sample that holds a value that is not finite are NaN; of one without a positive value they are finite.
 *  F2 Written once here and once in numpy; shared vectors hold the two equal.
 */
import type { FeatureName, Model } from '#protos/model.ts';
import type { NumberArray } from '../dtype.ts';
import type { SampleShape } from '../pre.ts';

/** Writes the features of the sample at raw[from, from + size) to out[at, at + count). */
export type FeatureWriter = (raw: NumberArray, from: number, out: Float32Array, at: number) => void;

/** What one pass over a sample gives; several features share it. `at[0, lit)` are the values above 0, in order. */
interface Sums {
  total: number;
  max: number;
  least: number;
  lit: number;
  positive: number;
  mx: number;
  my: number;
  /** Second moment about the first pixel. */
  square: number;
  ring: number;
  readonly at: Int32Array;
}

type Compute = (sums: Sums, raw: NumberArray, from: number) => number;

/** The model's features in their declared order; undefined where it declares none. */
export function compileFeatures(model: Model, shape: SampleShape): FeatureWriter | undefined {
  const names = model.uncertainty?.features;
  if (names === undefined) return undefined;
  const compute = names.map((name) => FEATURES[name](shape));
  const add = summing(shape);
  return (raw, from, out, at) => {
    const sums = add(raw, from);
    const finite = Number.isFinite(sums.total);
    for (let i = 0; i < compute.length; i++)
      out[at + i] = finite ? (compute[i] as Compute)(sums, raw, from) : Number.NaN;
  };
}

/**
 * One pass over the sample; the record is reused, since a lane is one thread. Most values of a sample with a threshold are 0,
 * so everything but sum and maximum is left to the lit ones: 1 us a peak of 12 lit pixels, where passes of their own took 5.
 */
function summing(shape: SampleShape): (raw: NumberArray, from: number) => Sums {
  const { size, width } = shape;
  const at = new Int32Array(size);
  const column = Float64Array.from({ length: size }, (_, i) => i % width);
  const row = Float64Array.from({ length: size }, (_, i) => Math.floor(i / width));
  const onRing = ringOf(shape);
  const sums: Sums = { total: 0, max: 0, least: 0, lit: 0, positive: 0, mx: 0, my: 0, square: 0, ring: 0, at };
  return (raw, from) => {
    let total = 0;
    let max = Number.NEGATIVE_INFINITY;
    let lit = 0;
    for (let i = 0; i < size; i++) {
      const v = raw[from + i] as number;
      total += v;
      if (v > max) max = v;
      if (v > 0) at[lit++] = i;
    }
    let least = Number.POSITIVE_INFINITY;
    let [positive, mx, my, square, ring] = [0, 0, 0, 0, 0];
    for (let k = 0; k < lit; k++) {
      const i = at[k] as number;
      const v = raw[from + i] as number;
      const x = column[i] as number;
      const y = row[i] as number;
      positive += v;
      mx += v * x;
      my += v * y;
      square += v * (x * x + y * y);
      if (v < least) least = v;
      if (onRing[i] === 1) ring += v;
    }
    sums.total = total;
    sums.max = max;
    sums.least = lit === 0 ? 0 : least;
    sums.lit = lit;
    sums.positive = positive;
    sums.mx = mx;
    sums.my = my;
    sums.square = square;
    sums.ring = ring;
    return sums;
  };
}

const log = (v: number): number => Math.sign(v) * Math.log1p(Math.abs(v));

const FEATURES: Readonly<Record<FeatureName, (shape: SampleShape) => Compute>> = {
  log_total: () => (s) => log(s.total),
  log_max: () => (s) => log(s.max),
  log_least: () => (s) => log(s.least),
  log_lit: () => (s) => Math.log1p(s.lit),
  concentration: () => (s) => (s.positive > 0 ? s.max / s.positive : 0),
  width: () => spread,
  offset:
    ({ width, height }) =>
    (s) => {
      if (!(s.positive > 0)) return 0;
      return Math.log1p(Math.hypot(s.mx / s.positive - (width - 1) / 2, s.my / s.positive - (height - 1) / 2));
    },
  border: () => (s) => (s.positive > 0 ? s.ring / s.positive : 0),
  log_components: (shape) => {
    const count = componentCounter(shape);
    return (s) => Math.log1p(count(s.at, s.lit));
  },
  roughness: differences,
};

/** About the centroid; in FP64, so that the difference of two large sums keeps ten digits of a narrow peak's width. */
function spread(s: Sums): number {
  if (!(s.positive > 0)) return 0;
  const cx = s.mx / s.positive;
  const cy = s.my / s.positive;
  return Math.log1p(Math.sqrt(Math.max(0, s.square / s.positive - cx * cx - cy * cy)));
}

/** 1 on the outermost ring; of a sample of one axis at its two ends. */
function ringOf({ size, width, height }: SampleShape): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => {
    const column = i % width;
    const row = Math.floor(i / width);
    return column === 0 || column === width - 1 || (height > 1 && (row === 0 || row === height - 1)) ? 1 : 0;
  });
}

function differences({ size, width }: SampleShape): Compute {
  return (s, raw, from) => {
    let sum = 0;
    for (let i = 0; i < size; i++) {
      const v = raw[from + i] as number;
      if ((i + 1) % width !== 0) sum += Math.abs((raw[from + i + 1] as number) - v);
      if (i + width < size) sum += Math.abs((raw[from + i + width] as number) - v);
    }
    return s.positive > 0 ? sum / s.positive : 0;
  };
}

/**
 * Number of 8-connected parts of the lit pixels: each is joined to the lit ones before it, by union and find. A flood fill of a
 * sample whose background was left in would visit every pixel's eight neighbours.
 */
function componentCounter({ size, width }: SampleShape): (at: Int32Array, lit: number) => number {
  const parent = new Int32Array(size).fill(-1);
  const find = (i: number): number => {
    let root = i;
    while (parent[root] !== root) root = parent[root] as number;
    parent[i] = root;
    return root;
  };
  /** 1 if two parts became one. */
  const join = (i: number, j: number): number => {
    if (parent[j] === -1) return 0;
    const a = find(i);
    const b = find(j);
    if (a === b) return 0;
    parent[a] = b;
    return 1;
  };
  return (at, lit) => {
    let parts = lit;
    for (let k = 0; k < lit; k++) {
      const i = at[k] as number;
      const column = i % width;
      const above = i - width;
      parent[i] = i;
      if (column > 0) parts -= join(i, i - 1);
      if (above < 0) continue;
      parts -= join(i, above);
      if (column > 0) parts -= join(i, above - 1);
      if (column < width - 1) parts -= join(i, above + 1);
    }
    for (let k = 0; k < lit; k++) parent[at[k] as number] = -1;
    return parts;
  };
}
