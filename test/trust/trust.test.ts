import { fileURLToPath } from 'node:url';
import t from 'tap';
import { systemClock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { readSets } from '../accuracy/data.ts';
import { coverageOf } from './coverage.ts';
import { openTrustModel } from './predict.ts';
import { judgeData, refuseSteps } from './scenarios.ts';
import { AREA, C3, simulatePeaks } from './simulate.ts';

const BRAGG = fileURLToPath(new URL('../../models/braggnn', import.meta.url));
const SEED = 'test/trust';
const fresh = simulatePeaks(C3, 4000, createSeededRandom(SEED));
const model = await openTrustModel(BRAGG);
t.teardown(() => model[Symbol.asyncDispose]());

function quantiles(values: readonly number[]): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  return [0.05, 0.25, 0.5, 0.75, 0.95].map((p) => sorted[Math.floor(p * sorted.length)] as number);
}

t.test('peaks simulated here are those of the validation set: lit pixels, counts, labels', async (t) => {
  const set = await readSets(`${BRAGG}/validation.h5`, ['patches', 'true_xy', 'peak_xy']);
  const measures = (patches: ArrayLike<number>, xy: ArrayLike<number>, label: ArrayLike<number>): number[][] => {
    const [lit, top, off]: [number[], number[], number[]] = [[], [], []];
    for (let row = 0; row < xy.length / 2; row++) {
      let [n, max] = [0, 0];
      for (let i = row * AREA; i < (row + 1) * AREA; i++) {
        if ((patches[i] as number) > 0) n++;
        max = Math.max(max, patches[i] as number);
      }
      lit.push(n);
      top.push(max);
      const [dx, dy] = [0, 1].map((c) => (label[2 * row + c] as number) - (xy[2 * row + c] as number)) as [
        number,
        number,
      ];
      off.push(Math.hypot(dx, dy));
    }
    return [quantiles(lit), quantiles(top), quantiles(off)];
  };
  const committed = measures(set.patches, set.true_xy, set.peak_xy);
  const made = measures(fresh.patches, fresh.trueXy, fresh.labelXy);
  for (const [k, what] of ['lit pixels', 'maximum', 'label against truth'].entries()) {
    made[k]?.forEach((value, i) => {
      const was = committed[k]?.[i] as number;
      t.ok(Math.abs(value / was - 1) < 0.1, `${what}: ${value} beside ${was} (seed ${SEED})`);
    });
  }
});

t.test('radii cover fresh peaks as promised, in every group', async (t) => {
  const judged = await model.judge(fresh.patches, fresh.trueXy);
  t.equal(judged.trust.state, 'TRUSTED');
  const all = coverageOf(model, judged, fresh.trueXy);
  t.equal(all.length, 10);
  for (const { level, group, inside, low, high } of all)
    t.ok(inside >= low && inside <= high, `${level} ${group}: ${inside} in ${low}..${high} (seed ${SEED})`);
});

t.test('every scenario ends NOT_TRUSTED or in a refused golden check', async (t) => {
  for (const { name, end } of await judgeData(model)) t.equal(end, 'NOT_TRUSTED', name);
  for (const { name, end } of await refuseSteps(BRAGG, systemClock)) t.equal(end, 'refused', name);
});
