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
import { FLAGS } from './uncertainty/flags.ts';

/** Where a block's per-row results go. */
export interface RowResults {
  readonly predictions: Float32Array;
  readonly flags: Uint8Array;
  readonly features: Float32Array;
  readonly baselines: readonly Float32Array[];
}

export interface RowPlan {
  readonly sample: SampleShape;
  readonly output: OutputWords;
  readonly baselines: number;
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
  const post = compilePost(model, output.columns);
  const { size } = sample;
  const { columns } = output;
  return {
    sample,
    output,
    baselines: baselines.length,
    prepare(raw, row, x, slot, results) {
      const start = slot * size;
      const from = row * size;
      for (let i = 0; i < size; i++) x[start + i] = raw[from + i] as number;
      let flags = finite(x, start);
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
