/** The steps of model.json's `post`, compiled once; and what the columns of the result are called. */
import type { Model } from '#protos/model.ts';
import { FLAGS } from './uncertainty/flags.ts';

/** Changes the row in y[start, start + columns); returns flags. */
export type RowStep = (y: Float32Array, start: number) => number;

/** What one row of the result means, for file attributes and summaries. */
export interface OutputWords {
  readonly columns: number;
  readonly axes: readonly string[];
  readonly units: string;
  /** Names of the classes where the columns are their probabilities. */
  readonly classes: readonly string[] | undefined;
}

/**
 * Columns, their names and unit: the classes of a classifier; else from the last step that states them; `0`, `1`, ... where
 * none does.
 */
export function outputWords(model: Model): OutputWords {
  const columns = (model.outputs[0] as Model['outputs'][number]).shape.slice(1).reduce((product, n) => product * n, 1);
  const classes = model.outputs[0]?.classes;
  if (classes !== undefined) return { columns, axes: classes, units: 'probability', classes };
  const scales = model.post.filter((step) => step.op === 'scale');
  const axes = scales.findLast((step) => step.order !== undefined)?.order;
  const units = scales.findLast((step) => step.units !== undefined)?.units;
  return { columns, axes: axes ?? Array.from({ length: columns }, (_, i) => String(i)), units: units ?? '', classes };
}

/**
 * All steps of `post`, and last of all the check of the declared bounds: whatever a step did, a row that leaves the
 * bounds is flagged.
 */
export function compilePost(model: Model, columns: number): readonly RowStep[] {
  const steps: RowStep[] = model.post.map((step) =>
    step.op === 'scale' ? scaleRow(columns, step.factor, step.offset ?? 0) : reorder(columns, step.index),
  );
  const bounds = (model.outputs[0] as Model['outputs'][number]).bounds;
  steps.push(flagOutside(columns, bounds));
  return steps;
}

/** y f + o. In FP64 and rounded once on storing, as the reference does it. */
function scaleRow(columns: number, factor: number, offset: number): RowStep {
  return (y, start) => {
    for (let i = start; i < start + columns; i++) y[i] = (y[i] as number) * factor + offset;
    return 0;
  };
}

/** Column i of the result is column index[i] of the output; one buffer for all rows, since a lane is one thread. */
function reorder(columns: number, index: readonly number[]): RowStep {
  const before = new Float32Array(columns);
  return (y, start) => {
    before.set(y.subarray(start, start + columns));
    for (let i = 0; i < columns; i++) y[start + i] = before[index[i] as number] as number;
    return 0;
  };
}

/** A model that answers NaN is out of any bounds. */
function flagOutside(columns: number, bounds: readonly (readonly number[])[] | undefined): RowStep {
  return (y, start) => {
    for (let i = 0; i < columns; i++) {
      const v = y[start + i] as number;
      const [low = -Infinity, high = Infinity] = bounds?.[i] ?? [];
      if (!(v >= low && v <= high)) return FLAGS.out_of_bounds;
    }
    return 0;
  };
}
