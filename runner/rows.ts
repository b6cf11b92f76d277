/**
 * What happens to one row of input: cast, clean, look at, scale; and to one row of output. Compiled once from model.json.
 *
 * Pure and single-threaded: a lane calls it on its share of a block, tests call it directly.
 */
import type { Model } from '#protos/model.ts';
import type { NumberArray } from './dtype.ts';
import { compileBaselines, compileFeature } from './features.ts';
import { compilePost, type OutputWords, outputWords } from './post.ts';
import { compilePre, rejectNonFinite, type SampleShape, sampleShape } from './pre.ts';
import { compileFeatures } from './uncertainty/features.ts';
import { FLAGS } from './uncertainty/flags.ts';

/** Where a block's per-row results go. */
export interface RowResults {
  readonly predictions: Float32Array;
  readonly flags: Uint8Array;
  readonly features: Float32Array;
  readonly baselines: readonly Float32Array[];
  /** Features of the raw samples, `plan.signals` a row; absent where nobody asks for them. */
  readonly signals?: Float32Array;
}

export interface RowPlan {
  readonly sample: SampleShape;
  readonly output: OutputWords;
  readonly baselines: number;
  /** Features a row that the reference of an error calibration is made of. */
  readonly signals: number;
  /** Row `row` of `raw` becomes sample `slot` of `x`, ready for the model. */
  prepare(raw: NumberArray, row: number, x: Float32Array, slot: number, results: RowResults): void;
  /** Sample `slot` of the model's answer becomes row `row` of the results. */
  finish(y: Float32Array, slot: number, row: number, results: RowResults): void;
}

/** Compiles `pre`, `post`, features and baselines for the model's shapes; throws a TypeError where they do not fit. */
export function compileRows(model: Model): RowPlan {
  const sample = sampleShape(model);
  const output = outputWords(model);
  const { clean, scale } = compilePre(model, sample);
  const finite = rejectNonFinite(sample.size);
  const feature = compileFeature(model, sample);
  const baselines = compileBaselines(model, sample);
  const signals = compileFeatures(model, sample);
  const signalCount = model.uncertainty?.features?.length ?? 0;
  const saturated = flagSaturated(sample.size, model.uncertainty?.saturation);
  const post = compilePost(model, output.columns);
  const { size } = sample;
  const { columns } = output;
  return {
    sample,
    output,
    baselines: baselines.length,
    signals: signalCount,
    prepare(raw, row, x, slot, results) {
      const start = slot * size;
      const from = row * size;
      for (let i = 0; i < size; i++) x[start + i] = raw[from + i] as number;
      let flags = saturated(raw, from) | finite(x, start);
      if (results.signals !== undefined) signals?.(raw, from, results.signals, row * signalCount);
      for (const step of clean) flags |= step(x, start);
      if (feature !== undefined) results.features[row] = feature(x, start);
      for (let i = 0; i < baselines.length; i++)
        baselines[i]?.(x, start, results.baselines[i] as Float32Array, row * columns);
      for (const step of scale) flags |= step(x, start);
      // A zeroed sample is constant by our own hand; one flag says what it was.
      results.flags[row] = (flags & FLAGS.non_finite) !== 0 ? FLAGS.non_finite : flags;
    },
    finish(y, slot, row, results) {
      const at = row * columns;
      const flags = results.flags[row] as number;
      if ((flags & FLAGS.non_finite) !== 0) {
        results.predictions.fill(Number.NaN, at, at + columns);
        return;
      }
      for (let c = 0; c < columns; c++) results.predictions[at + c] = y[slot * columns + c] as number;
      let added = 0;
      for (const step of post) added |= step(results.predictions, at);
      results.flags[row] = flags | added;
    },
  };
}

/** Largest value of each integer type: a count that was cut off stands there. */
const LARGEST = new Map<unknown, number>([
  [Uint8Array, 2 ** 8 - 1],
  [Int8Array, 2 ** 7 - 1],
  [Uint16Array, 2 ** 16 - 1],
  [Int16Array, 2 ** 15 - 1],
  [Uint32Array, 2 ** 32 - 1],
  [Int32Array, 2 ** 31 - 1],
]);

/** Flags a sample with a value at the declared saturation or at the end of its integer type. */
function flagSaturated(size: number, declared = Number.POSITIVE_INFINITY): (raw: NumberArray, from: number) => number {
  return (raw, from) => {
    const limit = Math.min(declared, LARGEST.get(raw.constructor) ?? Number.POSITIVE_INFINITY);
    if (limit === Number.POSITIVE_INFINITY) return 0;
    for (let i = from; i < from + size; i++) if ((raw[i] as number) >= limit) return FLAGS.saturated;
    return 0;
  };
}
