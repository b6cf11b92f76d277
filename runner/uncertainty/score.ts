/** The score of a row: how far its prediction lies from its label, in the measure that model.json declares. */
import { FarfieldError } from '#kernel/errors.ts';
import type { Model } from '#protos/model.ts';

/** Score of row `row`; NaN where its label or prediction is not known. */
export type Score = (predictions: Float32Array, truth: ArrayLike<number>, row: number) => number;

/** `l2`: distance to the label. `class_probability`: 1 - p of the label's class; a negative label is not known. */
export function compileScore(model: Model, columns: number): Score {
  if (scoreKind(model) === 'class_probability') return classScore(columns);
  return (predictions, truth, row) => {
    let square = 0;
    for (let i = row * columns; i < (row + 1) * columns; i++)
      square += ((predictions[i] as number) - (truth[i] as number)) ** 2;
    return Math.sqrt(square);
  };
}

/** As declared; of a model that declares nothing, by whether its output names classes. */
export function scoreKind({ uncertainty, outputs }: Model): 'l2' | 'class_probability' {
  return uncertainty?.score ?? (outputs[0]?.classes === undefined ? 'l2' : 'class_probability');
}

function classScore(columns: number): Score {
  return (predictions, truth, row) => {
    const label = truth[row] as number;
    if (!(label >= 0)) return Number.NaN;
    if (!Number.isInteger(label) || label >= columns)
      throw new FarfieldError('E_INPUT', `label ${label} is none of the ${columns} classes, which are counted from 0`);
    return 1 - (predictions[row * columns + label] as number);
  };
}
