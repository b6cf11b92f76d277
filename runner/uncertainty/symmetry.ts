/**
 * Predictions under the model's symmetries (test-time augmentation): z_g = g^-1 f(g x) for the 8 symmetries g of a square,
 * u = sqrt(trace of the covariance of z), bias = |z_identity - mean z|.
 *
 * u is a weak signal of a row's error (rank correlation .4 to .5) and no interval; a job's median u against the reference's
 * says whether the model behaves as it did when it was calibrated.
 *
 * Invariants
 *  Y1 A point moves with the sample as model.json says: `index` c -> size - 1 - c, `edge` c -> size - c. The wrong one of the
 *     two gives a spread of .77 px where the right one gives .04.
 *  Y2 Sampled rows are drawn from the seed alone, in runs, so that a compressed file is not inflated whole for them.
 */
import type { Random } from '#base/random.ts';
import type { Model } from '#protos/model.ts';
import type { NumberArray } from '../dtype.ts';
import type { SampleShape } from '../pre.ts';

export const SYMMETRIES = 8;
/** Runs of neighbouring rows that a sample is drawn in. */
const RUNS = 32;

export interface Symmetries {
  /** Writes the `SYMMETRIES` images of the sample at raw[from ...] one after another to out[at ...]; the identity first. */
  expand(raw: NumberArray, from: number, out: NumberArray, at: number): void;
  /** Spread and bias of one row from the predictions of its images, `columns` values each, at y[at ...]. */
  spread(y: Float32Array, at: number): { readonly u: number; readonly bias: number };
}

/** Undefined where the model declares no symmetries. The declaration was checked when the model was opened. */
export function compileSymmetries(model: Model, shape: SampleShape, columns: number): Symmetries | undefined {
  const declared = model.uncertainty?.symmetries;
  if (declared === undefined) return undefined;
  const { width, size } = shape;
  const maps = Array.from({ length: SYMMETRIES }, (_, g) => sourceOf(g, width));
  const far = width - (reflectOf(model) === 'edge' ? 0 : 1);
  const moved = declared.answer === 'point';
  const z = new Float64Array(SYMMETRIES * columns);
  return {
    expand(raw, from, out, at) {
      maps.forEach((map, g) => {
        for (let i = 0; i < size; i++) out[at + g * size + i] = raw[from + (map[i] as number)] as number;
      });
    },
    spread(y, at) {
      for (let g = 0; g < SYMMETRIES; g++) {
        const from = at + g * columns;
        if (moved) undo(g, far, y, from, z, g * columns);
        else for (let c = 0; c < columns; c++) z[g * columns + c] = y[from + c] as number;
      }
      return spreadOf(z, columns);
    },
  };
}

/** How the last step that says so mirrors a coordinate. */
function reflectOf(model: Model): 'index' | 'edge' {
  for (const step of model.post.toReversed())
    if (step.op === 'scale' && step.reflect !== undefined) return step.reflect;
  return 'index';
}

/** Bits of g: 1 mirrors x, 2 mirrors y, 4 swaps x and y before that. Pixel i of the image is pixel map[i] of the sample. */
function sourceOf(g: number, width: number): Int32Array {
  return Int32Array.from({ length: width * width }, (_, i) => {
    let x = i % width;
    let y = Math.floor(i / width);
    if ((g & 1) !== 0) x = width - 1 - x;
    if ((g & 2) !== 0) y = width - 1 - y;
    if ((g & 4) !== 0) [x, y] = [y, x];
    return y * width + x;
  });
}

/** The point (x, y) of the image, in the coordinates of the sample. */
function undo(g: number, far: number, from: Float32Array, at: number, to: Float64Array, start: number): void {
  let x = from[at] as number;
  let y = from[at + 1] as number;
  if ((g & 1) !== 0) x = far - x;
  if ((g & 2) !== 0) y = far - y;
  if ((g & 4) !== 0) [x, y] = [y, x];
  to[start] = x;
  to[start + 1] = y;
}

/** With ddof 1, as numpy.cov has it. */
function spreadOf(z: Float64Array, columns: number): { u: number; bias: number } {
  let trace = 0;
  let bias = 0;
  for (let c = 0; c < columns; c++) {
    let mean = 0;
    for (let g = 0; g < SYMMETRIES; g++) mean += (z[g * columns + c] as number) / SYMMETRIES;
    for (let g = 0; g < SYMMETRIES; g++) trace += ((z[g * columns + c] as number) - mean) ** 2 / (SYMMETRIES - 1);
    bias += ((z[c] as number) - mean) ** 2;
  }
  return { u: Math.sqrt(trace), bias: Math.sqrt(bias) };
}

/** `wanted` of the rows, increasing, in at most RUNS runs with equal parts of the file each (Y2); all where there are fewer. */
export function sampleRows(rows: number, wanted: number, random: Random): number[] {
  if (rows <= wanted) return Array.from({ length: rows }, (_, i) => i);
  const runs = Math.min(RUNS, wanted);
  const chosen: number[] = [];
  for (let run = 0; run < runs; run++) {
    const [from, to] = [Math.floor((run * rows) / runs), Math.floor(((run + 1) * rows) / runs)];
    const length = Math.floor(((run + 1) * wanted) / runs) - Math.floor((run * wanted) / runs);
    const start = from + Math.floor(random.uniform() * (to - from - length + 1));
    for (let i = 0; i < length; i++) chosen.push(start + i);
  }
  return chosen;
}
