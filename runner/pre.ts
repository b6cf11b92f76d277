/**
 * The steps of model.json's `pre`, compiled once for a sample's shape.
 *
 * Invariants
 *  P1 A step reads and writes one sample in place, in FP32: what training did in FP32 must not differ here.
 *  P2 Features and baselines are taken after the cleaning steps and before any scaling (scaling erases intensity).
 *  P3 A sample with a value that is not finite is zeroed and flagged before any step sees it.
 */
import type { Model, PreStep } from '#protos/model.ts';
import { FLAGS } from './uncertainty/flags.ts';

/** Changes the sample in x[start, start + size); returns flags. */
export type SampleStep = (x: Float32Array, start: number) => number;

/** Sizes of one sample, without its channel axes. */
export interface SampleShape {
  readonly size: number;
  /** The last two axes; height 1 for a spectrum. */
  readonly height: number;
  readonly width: number;
}

/** Shape of one sample: the input's shape without the batch axis; leading axes of length 1 (channels) are dropped. */
export function sampleShape(model: Model): SampleShape {
  const shape = (model.inputs[0] as Model['inputs'][number]).shape.slice(1);
  const size = shape.reduce((product, n) => product * n, 1);
  const width = shape.at(-1) ?? 1;
  return { size, width, height: shape.length < 2 ? 1 : (shape.at(-2) as number) };
}

/** The steps of P2: those up to the last cleaning step, and those after it. */
export function compilePre(
  model: Model,
  shape: SampleShape,
): { readonly clean: readonly SampleStep[]; readonly scale: readonly SampleStep[] } {
  const cut = model.pre.findLastIndex((step) => step.op === 'keep_component') + 1;
  const compile = (step: PreStep): SampleStep => compileStep(step, shape);
  return { clean: model.pre.slice(0, cut).map(compile), scale: model.pre.slice(cut).map(compile) };
}

/** One step for this shape; whatever can be computed ahead (neighbours, FP32 constants) is. */
function compileStep(step: PreStep, shape: SampleShape): SampleStep {
  switch (step.op) {
    case 'keep_component':
      return keepComponent(shape, step.connectivity, step.above ?? 0);
    case 'minmax_per_sample':
      return minMax(shape.size);
    case 'scale':
      return scale(shape.size, step.factor, step.offset ?? 0);
    case 'cast':
      return () => 0;
  }
}

/** Zeroes the sample and flags it if any value is NaN or infinite (P3). */
export function rejectNonFinite(size: number): SampleStep {
  return (x, start) => {
    let sum = 0;
    // v * 0 is NaN for NaN and infinities, 0 otherwise: one test after the loop instead of one a value.
    for (let i = start; i < start + size; i++) sum += (x[i] as number) * 0;
    if (sum === 0) return 0;
    x.fill(0, start, start + size);
    return FLAGS.non_finite;
  };
}

/**
 * Keeps the connected component of values above `above` that holds the brightest pixel, zeroes the rest. Flood fill from the
 * brightest pixel: it visits the lit pixels of one peak (12-70 of 121), not the sample. The first of equal maxima counts.
 */
function keepComponent(shape: SampleShape, connectivity: 4 | 8, above: number): SampleStep {
  const { size } = shape;
  const neighbours = neighbourLists(shape, connectivity);
  const stack = new Int32Array(size);
  const keep = new Uint8Array(size);
  return (x, start) => {
    let seed = 0;
    for (let i = 1; i < size; i++) if ((x[start + i] as number) > (x[start + seed] as number)) seed = i;
    keep.fill(0);
    let depth = 0;
    if ((x[start + seed] as number) > above) {
      keep[seed] = 1;
      stack[depth++] = seed;
    }
    while (depth > 0) {
      for (const next of neighbours[stack[--depth] as number] as Int32Array) {
        if (keep[next] === 1 || !((x[start + next] as number) > above)) continue;
        keep[next] = 1;
        stack[depth++] = next;
      }
    }
    for (let i = 0; i < size; i++) if (keep[i] === 0) x[start + i] = 0;
    return 0;
  };
}

/**
 * For each pixel the pixels that touch it, inside the sample: 121 short lists instead of eight bounds checks a
 * pixel.
 */
function neighbourLists({ height, width, size }: SampleShape, connectivity: 4 | 8): Int32Array[] {
  if (height * width !== size) throw new TypeError('keep_component needs samples of two axes');
  const steps: readonly (readonly [number, number])[] =
    connectivity === 4
      ? [
          [-1, 0],
          [0, -1],
          [0, 1],
          [1, 0],
        ]
      : [
          [-1, -1],
          [-1, 0],
          [-1, 1],
          [0, -1],
          [0, 1],
          [1, -1],
          [1, 0],
          [1, 1],
        ];
  return Array.from({ length: size }, (_, i) => {
    const row = Math.floor(i / width);
    const column = i % width;
    const inside = steps
      .map(([dy, dx]) => [row + dy, column + dx] as const)
      .filter(([r, c]) => r >= 0 && r < height && c >= 0 && c < width);
    return Int32Array.from(inside, ([r, c]) => r * width + c);
  });
}

/** (x - min) / (max - min); a constant sample passes unscaled, flagged. */
function minMax(size: number): SampleStep {
  return (x, start) => {
    let min = x[start] as number;
    let max = min;
    for (let i = start + 1; i < start + size; i++) {
      const v = x[i] as number;
      if (v < min) min = v;
      else if (v > max) max = v;
    }
    if (min === max) return FLAGS.constant;
    const range = Math.fround(max - min);
    for (let i = start; i < start + size; i++) x[i] = Math.fround((x[i] as number) - min) / range;
    return 0;
  };
}

/** x f + o, each rounded to FP32 as an FP32 graph would. */
function scale(size: number, factor: number, offset: number): SampleStep {
  const f = Math.fround(factor);
  const o = Math.fround(offset);
  return (x, start) => {
    for (let i = start; i < start + size; i++) x[i] = Math.fround((x[i] as number) * f) + o;
    return 0;
  };
}
