/** What can be said of a cleaned sample without a model: features that group rows, and cheap baseline answers. */
import type { Model } from '#protos/model.ts';
import type { SampleShape } from './pre.ts';

/** One number of a cleaned sample; rows are grouped by it. */
export type Feature = (x: Float32Array, start: number) => number;
/** Writes one answer to out[at, at + columns). */
export type Baseline = (x: Float32Array, start: number, out: Float32Array, at: number) => void;

/** The feature that the model groups its rows by; undefined where it declares no groups. */
export function compileFeature(model: Model, shape: SampleShape): Feature | undefined {
  if (model.groups === undefined) return undefined;
  return FEATURES[model.groups.by](model, shape);
}

const FEATURES: Readonly<Record<NonNullable<Model['groups']>['by'], (m: Model, s: SampleShape) => Feature>> = {
  lit_pixels: litPixels,
  total,
};

/** What decides how well a peak can be located: fewer pixels, larger errors, whatever the model. */
function litPixels(model: Model, shape: SampleShape): Feature {
  // The pixels that cleaning left: those above its threshold.
  const above = model.pre.findLast((step) => step.op === 'keep_component')?.above ?? 0;
  return (x, start) => {
    let lit = 0;
    for (let i = start; i < start + shape.size; i++) if ((x[i] as number) > above) lit++;
    return lit;
  };
}

/** All counts together: what decides how much a spectrum can tell, whatever the model. */
function total(_model: Model, shape: SampleShape): Feature {
  return (x, start) => {
    let sum = 0;
    for (let i = start; i < start + shape.size; i++) sum += x[i] as number;
    return sum;
  };
}

type BaselineName = NonNullable<Model['baselines']>[number];

const BASELINES: Readonly<Record<BaselineName, (shape: SampleShape) => Baseline>> = { centre_of_mass: centreOfMass };

/**
 * The declared baselines, in the order in which their columns stand in a block. A model that does not beat its
 * baselines should not be used, so they are computed on every row with truth and printed beside it.
 */
export function compileBaselines(model: Model, shape: SampleShape): readonly Baseline[] {
  return (model.baselines ?? []).map((name) => BASELINES[name](shape));
}

/** (x = column, y = row), index convention: pixel k has its centre at coordinate k. NaN where nothing is lit. */
function centreOfMass({ height, width }: SampleShape): Baseline {
  return (x, start, out, at) => {
    let mass = 0;
    let mx = 0;
    let my = 0;
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const v = x[start + row * width + column] as number;
        mass += v;
        mx += v * column;
        my += v * row;
      }
    }
    out[at] = mx / mass;
    out[at + 1] = my / mass;
  };
}
