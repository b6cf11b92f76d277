/** The model on simulated detectors unlike the one of the validation set, beside centre of mass and fit. */
import { createSeededRandom } from '#base/random.ts';
import type { LabelledSet } from './data.ts';
import { SCENARIOS, type Scenario, simulate } from './detectors.ts';
import { estimate, type Scores, scoreSet } from './methods.ts';
import type { OpenModel } from './predict.ts';
import { type Summary, summarise } from './score.ts';

export interface BreadthRow {
  readonly scenario: Scenario;
  readonly scores: Scores;
  readonly medianLit: number;
}

/** What people do to counts before they hand them over; the last one leaves the truth as it was. */
const MISUSES: Readonly<Record<string, (patches: Float32Array, size: number) => Float32Array>> = {
  'counts x 0.013': (patches) => patches.map((v) => 0.013 * v),
  'counts in 8 bits': (patches) => {
    const top = patches.reduce((most, v) => Math.max(most, v), 0);
    return patches.map((v) => Math.round((255 * v) / top));
  },
  'square root of counts': (patches) => patches.map(Math.sqrt),
  'logarithm of counts': (patches) => patches.map(Math.log1p),
  'rows and columns swapped': (patches, size) =>
    patches.map((_, i) => {
      const at = i % (size * size);
      return patches[i - at + (at % size) * size + Math.floor(at / size)] as number;
    }),
};

export type Misuse = { readonly name: string; readonly model: Summary; readonly centreOfMass: Summary };

/** The set as it should not be handed over. */
export async function misuses(model: OpenModel, { patches, xy }: LabelledSet): Promise<readonly Misuse[]> {
  const out: Misuse[] = [];
  for (const [name, change] of Object.entries(MISUSES)) {
    const { xy: answers, mass, rows } = await model.answer(change(patches, model.size));
    const all = Array.from({ length: rows }, (_, row) => row);
    out.push({ name, model: summarise(answers, xy, all), centreOfMass: summarise(mass, xy, all) });
  }
  return out;
}

/** Worse than the centre of mass by more than this share is said to be worse: 2,000 rows tell means apart to about 2 %. */
const CLEARLY = 1.05;

export async function breadth(model: OpenModel, rows: number): Promise<readonly BreadthRow[]> {
  const out: BreadthRow[] = [];
  for (const scenario of SCENARIOS) {
    const { patches, xy } = simulate(scenario.detector, rows, createSeededRandom(`breadth ${scenario.name}`));
    const estimates = await estimate(model, patches);
    const scores = scoreSet({ name: scenario.name, patches, xy }, estimates);
    const medianLit = estimates.lit.toSorted()[Math.floor(rows / 2)] as number;
    out.push({ scenario, scores, medianLit });
  }
  return out;
}

/** Where the model is clearly worse than the centre of mass: over all rows, or within a group of at least 50 rows. */
export function worse({ scores }: BreadthRow): readonly string[] {
  return Object.entries(scores.model).flatMap(([group, model]) => {
    const mass = scores.centreOfMass[group];
    if (mass === undefined || model.n < 50) return [];
    const found = (['mean', 'p95'] as const).filter((k) => model[k] > CLEARLY * mass[k]);
    return found.map((k) => `${group} ${k} ${(model[k] / mass[k]).toFixed(2)} x`);
  });
}
