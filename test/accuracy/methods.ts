/**
 * The estimates that are scored beside one another on one set.
 *
 *  model              the ONNX file, by the runner's steps
 *  centreOfMass       of the cleaned patch: the baseline that the model declares
 *  centreOfMassAbove  the same after most of the threshold is taken off every lit pixel: it takes away the pull of pixels that are
 *                     lit or not by chance. It needs the threshold, which a patch does not state
 *  fit                a pseudo-Voigt peak by least squares
 */

import type { LabelledSet } from './data.ts';
import type { OpenModel } from './predict.ts';
import { fitPeak } from './pseudo-voigt.ts';
import { byGroup, type Table } from './score.ts';

/** How the fits of one set went; a failed one is answered by the centre of mass, as peak finders do. */
export interface FitCounts {
  readonly rows: number;
  readonly failed: number;
  /** Fits of fewer pixels than parameters. */
  readonly free: number;
}

export interface Estimates {
  readonly model: Float32Array;
  readonly centreOfMass: Float32Array;
  readonly centreOfMassAbove: Float32Array;
  readonly fit: Float32Array;
  readonly lit: Float32Array;
  readonly fits: FitCounts;
}

export const METHODS = ['model', 'centreOfMass', 'centreOfMassAbove', 'fit'] as const;
export type Method = (typeof METHODS)[number];

/** Share of the threshold that is taken off: the best of .5, .9 and .99 on the validation set, and on real peaks made weak. */
const ABOVE = 0.9;

/** Centre of mass of what rises above ABOVE x the dimmest lit value of the whole set, which is its threshold. */
function massAbove(cleaned: Float32Array, size: number): Float32Array {
  const threshold = cleaned.reduce((least, v) => (v > 0 && v < least ? v : least), Number.POSITIVE_INFINITY);
  const area = size * size;
  const out = new Float32Array((2 * cleaned.length) / area);
  for (let row = 0; row < cleaned.length / area; row++) {
    let [mass, x, y] = [0, 0, 0];
    for (let i = 0; i < area; i++) {
      const value = cleaned[row * area + i] as number;
      if (!(value > 0)) continue;
      const above = value - ABOVE * threshold;
      mass += above;
      x += above * (i % size);
      y += above * Math.floor(i / size);
    }
    out.set([x / mass, y / mass], 2 * row);
  }
  return out;
}

export async function estimate(model: OpenModel, patches: Float32Array): Promise<Estimates> {
  const { xy, mass, lit, rows } = await model.answer(patches);
  const cleaned = model.clean(patches);
  const fit = mass.slice();
  let failed = 0;
  let free = 0;
  for (let row = 0; row < rows; row++) {
    const found = fitPeak(cleaned, row * model.size ** 2, model.size);
    if (found?.free === true) free++;
    if (found === undefined || found.failed) failed++;
    else fit.set([found.x, found.y], 2 * row);
  }
  const centreOfMassAbove = massAbove(cleaned, model.size);
  return { model: xy, centreOfMass: mass, centreOfMassAbove, fit, lit, fits: { rows, failed, free } };
}

export type Scores = Readonly<Record<Method, Table>>;

export function scoreSet({ xy, limit }: LabelledSet, estimates: Estimates): Scores {
  const table = (method: Method): Table => byGroup(estimates[method], xy, estimates.lit, limit);
  return {
    model: table('model'),
    centreOfMass: table('centreOfMass'),
    centreOfMassAbove: table('centreOfMassAbove'),
    fit: table('fit'),
  };
}
