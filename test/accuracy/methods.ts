/** The estimates that are scored beside one another on one set: the model, the centre of mass, and a fit. */

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
  readonly fit: Float32Array;
  readonly lit: Float32Array;
  readonly fits: FitCounts;
}

export const METHODS = ['model', 'centreOfMass', 'fit'] as const;
export type Method = (typeof METHODS)[number];

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
  return { model: xy, centreOfMass: mass, fit, lit, fits: { rows, failed, free } };
}

export type Scores = Readonly<Record<Method, Table>>;

export function scoreSet({ xy, limit }: LabelledSet, estimates: Estimates): Scores {
  const table = (method: Method): Table => byGroup(estimates[method], xy, estimates.lit, limit);
  return { model: table('model'), centreOfMass: table('centreOfMass'), fit: table('fit') };
}
