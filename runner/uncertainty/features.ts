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

/** Sums of one sample that several features share. */
interface Sums {
  total: number;
  max: number;
  least: number;
  lit: number;
  positive: number;
  mx: number;
  my: number;
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

/** One pass over the sample; the record is reused, since a lane is one thread. */
function summing({ size, width }: SampleShape): (raw: NumberArray, from: number) => Sums {
  const sums: Sums = { total: 0, max: 0, least: 0, lit: 0, positive: 0, mx: 0, my: 0 };
  return (raw, from) => {
    let [total, positive, mx, my, lit] = [0, 0, 0, 0, 0];
    let max = Number.NEGATIVE_INFINITY;
    let least = Number.POSITIVE_INFINITY;
    let column = 0;
    let row = 0;
    for (let i = from; i < from + size; i++) {
      const v = raw[i] as number;
      total += v;
      if (v > max) max = v;
      if (v > 0) {
        lit++;
        positive += v;
        mx += v * column;
        my += v * row;
        if (v < least) least = v;
      }
      if (++column === width) {
        column = 0;
        row++;
      }
    }
    return Object.assign(sums, { total, max, lit, positive, mx, my, least: lit === 0 ? 0 : least });
  };
}

const log = (v: number): number => Math.sign(v) * Math.log1p(Math.abs(v));

const FEATURES: Readonly<Record<FeatureName, (shape: SampleShape) => Compute>> = {
  log_total: () => (s) => log(s.total),
  log_max: () => (s) => log(s.max),
  log_least: () => (s) => log(s.least),
  log_lit: () => (s) => Math.log1p(s.lit),
  concentration: () => (s) => (s.positive > 0 ? s.max / s.positive : 0),
  width: spread,
  offset:
    ({ width, height }) =>
    (s) => {
      if (!(s.positive > 0)) return 0;
      return Math.log1p(Math.hypot(s.mx / s.positive - (width - 1) / 2, s.my / s.positive - (height - 1) / 2));
    },
  border: ringPart,
  log_components: (shape) => {
    const count = componentCounter(shape);
    return (_, raw, from) => Math.log1p(count(raw, from));
  },
  roughness: differences,
};

/** About the centroid, in a second pass: the difference of two large sums would lose the width of a narrow peak. */
function spread({ size, width }: SampleShape): Compute {
  return (s, raw, from) => {
    if (!(s.positive > 0)) return 0;
    const cx = s.mx / s.positive;
    const cy = s.my / s.positive;
    let square = 0;
    let column = 0;
    let row = 0;
    for (let i = from; i < from + size; i++) {
      const v = raw[i] as number;
      if (v > 0) square += v * ((column - cx) ** 2 + (row - cy) ** 2);
      if (++column === width) {
        column = 0;
        row++;
      }
    }
    return Math.log1p(Math.sqrt(square / s.positive));
  };
}

/** Of a sample of one axis the two ends. */
function ringPart({ size, width, height }: SampleShape): Compute {
  const ring = Int32Array.from(
    Array.from({ length: size }, (_, i) => i).filter((i) => {
      const column = i % width;
      const row = Math.floor(i / width);
      return column === 0 || column === width - 1 || (height > 1 && (row === 0 || row === height - 1));
    }),
  );
  return (s, raw, from) => {
    let sum = 0;
    for (const i of ring) sum += Math.max(0, raw[from + i] as number);
    return s.positive > 0 ? sum / s.positive : 0;
  };
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
 * Number of 8-connected parts of v > 0: one scan that joins each lit pixel to the lit ones before it, by union and find. A
 * flood fill of a sample whose background was left in would visit every pixel's eight neighbours.
 */
function componentCounter({ size, width }: SampleShape): (raw: NumberArray, from: number) => number {
  const parent = new Int32Array(size);
  const find = (i: number): number => {
    let root = i;
    while (parent[root] !== root) root = parent[root] as number;
    parent[i] = root;
    return root;
  };
  return (raw, from) => {
    let parts = 0;
    for (let i = 0; i < size; i++) {
      if (!((raw[from + i] as number) > 0)) {
        parent[i] = -1;
        continue;
      }
      parent[i] = i;
      parts++;
      const column = i % width;
      const join = (j: number): void => {
        if (j < 0 || parent[j] === -1) return;
        const [a, b] = [find(i), find(j)];
        if (a === b) return;
        parent[a] = b;
        parts--;
      };
      // A pixel above joins the two beside it already: the diagonals matter only where it is dark.
      const above = i - width;
      if (above >= 0 && parent[above] !== -1) {
        join(above);
        if (column > 0) join(i - 1);
        continue;
      }
      if (column > 0) {
        join(i - 1);
        join(above - 1);
      }
      if (column < width - 1 && above >= 0) join(above + 1);
    }
    return parts;
  };
}
