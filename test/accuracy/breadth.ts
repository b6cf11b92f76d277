/** The model on simulated detectors unlike the one of the validation set, beside centre of mass and fit. */
import { createSeededRandom } from '#base/random.ts';
import { SCENARIOS, type Scenario, simulate } from './detectors.ts';
import { estimate, type Scores, scoreSet } from './methods.ts';
import type { OpenModel } from './predict.ts';

export interface BreadthRow {
  readonly scenario: Scenario;
  readonly scores: Scores;
  readonly medianLit: number;
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
