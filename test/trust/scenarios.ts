/** Jobs that must not be trusted: data unlike the calibration's, and a model whose steps were left out or swapped. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { createModelCalls } from '../../runner/model-calls.ts';
import type { TrustModel } from './predict.ts';
import { C3, type PeakRecipe, simulatePeaks } from './simulate.ts';

const ROWS = 2000;

/** What a user's data may be without the user knowing. */
export const DATA: Readonly<Record<string, PeakRecipe>> = {
  wide_peaks: { ...C3, sigma: [1.5, 2.5], threshold: 0 },
  background_left_in: { ...C3, background: [100, 200], threshold: 0 },
  hot_pixels: { ...C3, hot: 0.2, cleaned: false },
  other_detector: {
    ...C3,
    height: [30, 60_000],
    sigma: [0.8, 1.3],
    gain: 1,
    readNoise: 3,
    threshold: 12,
    saturation: 65_000,
    background: [0, 3],
  },
};

/** Noise is no feature of a patch: on these the answers are worse than the radii say, and nothing but labels shows it. */
export const UNSEEN: Readonly<Record<string, PeakRecipe>> = {
  gain_doubled: { ...C3, gain: 2 * C3.gain },
  read_noise_third_up: { ...C3, readNoise: (4 / 3) * C3.readNoise },
};

interface ModelJson {
  pre: { op: string }[];
  post: { op: string; order?: string[]; index?: number[] }[];
}

/** What a publisher may get wrong in model.json. */
export const STEPS: Readonly<Record<string, (model: ModelJson) => void>> = {
  normalisation_left_out: (model) => {
    model.pre = model.pre.filter(({ op }) => op !== 'minmax_per_sample');
  },
  rows_and_columns_swapped: (model) => void model.post.push({ op: 'order', index: [1, 0] }),
};

export interface Outcome {
  readonly name: string;
  /** NOT_TRUSTED and the other states, or `refused`. */
  readonly end: string;
  readonly why: string;
}

export async function judgeData(model: TrustModel): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const [name, recipe] of Object.entries(DATA)) {
    const { patches } = simulatePeaks(recipe, ROWS, createSeededRandom(`scenario/${name}`));
    const { trust } = await model.judge(patches);
    const why = trust.reasons
      .map(
        ({ code, value, limit, feature }) =>
          `${code}${feature === undefined ? '' : ` ${feature}`} ${value.toPrecision(3)} > ${limit}`,
      )
      .join(', ');
    outcomes.push({ name, end: trust.state, why });
  }
  return outcomes;
}

/** Loads the model with its steps changed, the way a runner does. */
export async function refuseSteps(folder: string, clock: Clock): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const [name, change] of Object.entries(STEPS)) {
    const copy = mkdtempSync(join(tmpdir(), 'farfield-trust-'));
    try {
      cpSync(folder, copy, { recursive: true });
      const path = join(copy, 'model.json');
      const model = JSON.parse(readFileSync(path, 'utf8')) as ModelJson;
      change(model);
      writeFileSync(path, JSON.stringify(model));
      outcomes.push({ name, ...(await load(copy, clock)) });
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  }
  return outcomes;
}

async function load(modelRoot: string, clock: Clock): Promise<Omit<Outcome, 'name'>> {
  const calls = createModelCalls('ort', clock);
  try {
    await calls.load({ modelRoot, variant: undefined, entry: {}, threads: 1, scratchDir: modelRoot });
    return { end: 'served', why: 'nothing noticed it' };
  } catch (reason) {
    const { message } = FarfieldError.from(reason);
    return { end: message.startsWith('golden check') ? 'refused' : 'failed otherwise', why: message };
  } finally {
    await calls.close();
  }
}
