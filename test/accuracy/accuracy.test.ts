import { execFile } from 'node:child_process';
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { createSeededRandom } from '#base/random.ts';
import { type LabelledSet, simulatedSets } from './data.ts';
import { SCENARIOS, simulate } from './detectors.ts';
import { createDraws } from './draws.ts';
import { BARS, scoreAll } from './main.ts';
import { consistency } from './members.ts';
import { openModel } from './predict.ts';
import { fitPeak, MAX_ITERATIONS } from './pseudo-voigt.ts';
import { byGroup, type Summary } from './score.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BRAGG = join(ROOT, 'models/braggnn');
const REAL = join(ROOT, '../shared/data/ruby-ff1-patches.h5');

/** What containers/braggnn/score.py printed for the committed model. */
type Reference = Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, Summary>>>>>>;
const reference = JSON.parse(readFileSync(join(BRAGG, 'scores.json'), 'utf8')) as Reference;
const FIGURES = ['n', 'mean', 'std', 'p50', 'p75', 'p95', 'p99.5', 'biasX', 'biasY'] as const;

t.test('figures are those of the Python script, group by group', async (t) => {
  await using model = await openModel(BRAGG);
  const scored = await scoreAll(model, BRAGG, REAL);
  const there = scored.filter(({ set }) => set.name !== 'real_weakened');
  for (const { set, scores } of there) {
    for (const method of ['model', 'centreOfMass'] as const) {
      for (const [group, summary] of Object.entries(scores[method])) {
        const expected = reference[set.name]?.[method]?.[group];
        for (const k of FIGURES) {
          const apart = Math.abs(summary[k] - (expected?.[k] ?? Number.NaN));
          // The reference is rounded to 1e-4; runtimes of other versions differ by 1e-5 px.
          if (!(apart <= 1e-4)) t.fail(`${set.name} ${method} ${group} ${k}: ${summary[k]}, Python ${expected?.[k]}`);
        }
      }
    }
  }
  t.ok(there.length >= 2, 'the simulated sets were compared');
  const printed = readFileSync(join(BRAGG, 'scores.txt'), 'utf8').split('limit.py')[1] ?? '';
  const [simulated] = scored;
  for (const [group, { ratio }] of Object.entries(simulated?.scores.model ?? {})) {
    const line = printed.split('\n').find((words) => words.startsWith(`${group} `)) ?? '';
    // Rounded twice: to 3 digits, then to 2.
    t.ok(Math.abs((ratio ?? Number.NaN) - Number(line.split(/\s+/)[4])) <= 0.0056, `limit ${group}: ${ratio}`);
  }
  const weakened = scored.find(({ set }) => set.name === 'real_weakened')?.scores.model.all;
  await t.test('other draws of the weakening give the same picture', { skip: skipReason() }, async (t) => {
    const other = reference.real_weakened?.model?.all as Summary;
    const sd = Math.hypot(other.std / Math.sqrt(other.n), (weakened?.std ?? 0) / Math.sqrt(weakened?.n ?? 1));
    t.ok(Math.abs((weakened?.mean ?? Number.NaN) - other.mean) < 4 * sd, `${weakened?.mean} beside ${other.mean}`);
  });
});

function skipReason(): string | false {
  return existsSync(REAL) ? false : 'the real patches are not on this machine';
}

t.test(
  'the second member has other weights of the same recipe, and passes the bars that hold without real data',
  async (t) => {
    const start = (folder: string): Record<string, unknown> =>
      JSON.parse(readFileSync(join(folder, 'training.jsonl'), 'utf8').split('\n')[0] ?? '') as Record<string, unknown>;
    const folders = [BRAGG, join(BRAGG, 'member-2')] as const;
    const [one, two] = folders.map(start) as [Record<string, unknown>, Record<string, unknown>];
    t.not(one.seed, two.seed);
    for (const k of ['batch', 'rate', 'warm', 'c3_share']) t.equal(one[k], two[k], k);
    await using first = await openModel(folders[0]);
    await using second = await openModel(folders[1]);
    t.not(first.sha256, second.sha256);
    const [simulated, noisy] = await simulatedSets(join(BRAGG, 'validation.h5'), join(BRAGG, 'validation-limit.h5'));
    for (const set of [simulated, noisy] as readonly LabelledSet[]) {
      const { xy, lit } = await second.answer(set.patches);
      const all = byGroup(xy, set.xy, lit).all;
      t.ok((all?.mean ?? 1) <= (BARS[set.name]?.mean ?? 0) && (all?.p95 ?? 1) <= (BARS[set.name]?.p95 ?? 0), set.name);
    }
  },
);

const run = promisify(execFile);
interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function accuracy(...args: string[]): Promise<Ended> {
  const command = ['--disable-warning=ExperimentalWarning', join(ROOT, 'test/accuracy/main.ts'), ...args];
  return run(process.execPath, command).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (reason: Ended) => reason,
  );
}

t.test('a set that is absent is named, and the last line is one JSON object', async (t) => {
  const { code, stdout } = await accuracy('--json', '--real', join(t.testdir(), 'absent.h5'));
  t.equal(code, 0);
  const last = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as {
    figures: Record<string, { value: number; unit: string; bar: number | null; ok: boolean }>;
    skipped: string[];
  };
  t.strictSame(last.skipped, ['real_determined', 'real_weakened']);
  t.match(stdout, /skipped, nothing is said of them: real_determined, real_weakened/);
  t.match(last.figures.c3_true_p95, { unit: 'px', bar: 0.188, ok: true });
});

t.test('a model that misses a bar exits with 1 and says which; wrong arguments with 2', async (t) => {
  const folder = t.testdir();
  cpSync(join(BRAGG, 'model.onnx'), join(folder, 'model.onnx'));
  const shifted = readFileSync(join(BRAGG, 'model.json'), 'utf8').replace('"factor": 11', '"factor": 10.9');
  writeFileSync(join(folder, 'model.json'), shifted);
  const missed = await accuracy('--model', folder, '--real', join(folder, 'absent.h5'));
  t.equal(missed.code, 1);
  t.match(missed.stdout, /c3_true_mean .* MISSED/);
  writeFileSync(join(folder, 'model.onnx'), 'another file');
  const other = await accuracy('--model', folder);
  t.equal(other.code, 2);
  t.match(other.stderr, /another digest/);
  t.equal((await accuracy('--no-such-option')).code, 2);
});

/** A noise-free peak on an 11 x 11 patch, cut at 2 % of its height. */
function cleanPeak(x0: number, y0: number, sx: number, sy: number, eta: number): Float32Array {
  const h2 = 2 * Math.log(2);
  return Float32Array.from({ length: 121 }, (_, i) => {
    const [u, v] = [((i % 11) - x0) / sx, (Math.floor(i / 11) - y0) / sy];
    const lorentz = 1 / ((1 + (u * u) / h2) * (1 + (v * v) / h2));
    const value = 1000 * (eta * lorentz + (1 - eta) * Math.exp(-(u * u + v * v) / 2));
    return value < 20 ? 0 : value;
  });
}

t.test('the fit finds the centre of a peak of its own shape', async (t) => {
  const random = createSeededRandom('fit');
  const between = (low: number, high: number): number => low + (high - low) * random.uniform();
  for (let k = 0; k < 200; k++) {
    const [x, y] = [between(4.5, 5.5), between(4.5, 5.5)];
    const [sx, sy, eta] = [between(0.8, 1.6), between(0.8, 1.6), between(0, 1)];
    const fit = fitPeak(cleanPeak(x, y, sx, sy, eta), 0, 11);
    const apart = Math.hypot((fit?.x ?? Number.NaN) - x, (fit?.y ?? Number.NaN) - y);
    if (!(apart < 0.01) || fit?.failed !== false) t.fail(`${[x, y, sx, sy, eta].join(' ')}: ${JSON.stringify(fit)}`);
  }
  t.equal(fitPeak(new Float32Array(121), 0, 11), undefined, 'nothing lit, nothing fitted');
});

t.test('every fit ends, whatever the patch, and a fit without an answer says so', async (t) => {
  const random = createSeededRandom('nasty');
  const patches = Array.from({ length: 300 }, (_, k) =>
    Float32Array.from({ length: 121 }, () => (random.uniform() < k / 300 ? 1e4 * random.uniform() : 0)),
  );
  const single = new Float32Array(121);
  single[60] = 500;
  const edge = new Float32Array(121);
  edge.set([900, 400, 100]);
  for (const patch of [...patches, single, edge, new Float32Array(121).fill(7)]) {
    const fit = fitPeak(patch, 0, 11);
    if (fit === undefined) continue;
    if (fit.iterations > MAX_ITERATIONS) t.fail(`${fit.iterations} iterations`);
    if (!fit.failed && !(Math.abs(fit.x - 5) <= 6.5 && Math.abs(fit.y - 5) <= 6.5)) t.fail(JSON.stringify(fit));
  }
  t.equal(fitPeak(single, 0, 11)?.free, true, 'one pixel cannot fix seven parameters');
});

t.test('drawn counts have the mean and the variance of their distribution', async (t) => {
  const draws = createDraws(createSeededRandom('draws'));
  const n = 20_000;
  for (const mean of [0.3, 4, 29.9, 30, 77, 4000]) {
    const counts = Array.from({ length: n }, () => draws.poisson(mean));
    const average = counts.reduce((sum, c) => sum + c, 0) / n;
    const variance = counts.reduce((sum, c) => sum + (c - average) ** 2, 0) / n;
    t.ok(Math.abs(average - mean) < 5 * Math.sqrt(mean / n), `mean ${average} of ${mean}`);
    t.ok(Math.abs(variance / mean - 1) < 5 * Math.sqrt((2 + 1 / mean) / n), `variance ${variance} of ${mean}`);
  }
  const normal = Array.from({ length: n }, () => draws.normal());
  t.ok(Math.abs(normal.reduce((sum, v) => sum + v * v, 0) / n - 1) < 0.05);
});

t.test('simulated detectors come from their seed alone and put the peak where they say', async (t) => {
  for (const { name, detector } of SCENARIOS) {
    const [one, two] = [1, 2].map(() => simulate(detector, 60, createSeededRandom(name)));
    t.strictSame(one, two, name);
    for (const v of one?.xy ?? []) if (!(v > 3 && v < 7)) t.fail(`${name}: a centre at ${v}`);
  }
});

t.test('two members: same errors correlate to 1, opposite ones to -1, and their mean is then the truth', async (t) => {
  const truth = Float64Array.from({ length: 40 }, (_, i) => 5 + i / 100);
  const lit = new Float32Array(20).fill(8);
  const moved = (by: number): Float32Array => Float32Array.from(truth, (v, i) => v + (i % 2 === 0 ? by : 0));
  const same = consistency(moved(0.1), moved(0.1), truth, lit).all;
  t.ok(Math.abs((same?.correlation ?? 0) - 1) < 1e-6);
  t.equal(same?.apart.mean, 0);
  const opposite = consistency(moved(0.1), moved(-0.1), truth, lit)['6-11'];
  t.ok(Math.abs((opposite?.correlation ?? 0) + 1) < 1e-5);
  t.ok(Math.abs((opposite?.apart.mean ?? 0) - 0.2) < 1e-5);
  t.ok((opposite?.together.mean ?? 1) < 1e-5);
});
