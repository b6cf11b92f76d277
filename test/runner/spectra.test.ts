import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { StoredType } from '#protos/model.ts';
import type { RunnerArg } from '#protos/runner.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5File, readNumbers } from '../../runner/hdf5/reader.ts';
import { Hdf5Writer } from '../../runner/hdf5/writer.ts';
import { openModel } from '../../runner/model.ts';
import { createModelCalls } from '../../runner/model-calls.ts';
import { npyHeader } from '../../runner/npy.ts';
import { ClassCollector, type ClassSummary } from '../../runner/uncertainty/classes.ts';
import { file, inline, startRunner } from './client.ts';

const SPECTRA = fileURLToPath(new URL('../../models/spectra', import.meta.url));
const VALIDATION = join(SPECTRA, 'validation.h5');
const ROWS = 1500;
const CHANNELS = 512;
const CLASSES = ['Cr', 'Mn', 'Fe', 'Co', 'Ni', 'Cu'];
const folder = mkdtempSync(join(tmpdir(), 'farfield-spectra-'));
const library = await createHdf5Loader().acquire();

function write(name: string, stored: StoredType, shape: readonly number[], values: ArrayBufferView): string {
  const path = join(folder, name);
  using writer = new Hdf5Writer(library, path, { chunkRows: 64, durable: false });
  writer.createDataset('/d', stored, shape);
  writer.writeRows('/d', 0, shape[0] ?? 0, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  writer.commit();
  return path;
}

function numbers(path: string, dataset: string): Float64Array {
  using opened = Hdf5File.open(library, path, 'x');
  using data = opened.dataset(dataset);
  return readNumbers(data);
}

// Loading the model is what takes long: one runner for the whole file.
const runner = startRunner();
await runner.load('ort', { modelRoot: SPECTRA });
t.teardown(async () => {
  await runner[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

let jobs = 0;
async function job(args: RunnerArg[], body: Uint8Array[] = [], maxInlineBytes = 0) {
  const outDir = mkdtempSync(join(folder, 'out-'));
  const answer = await runner.call({ id: `job${jobs++}`, args, outDir, maxInlineBytes }, body);
  const summary = (answer.done.rep as { summary?: ClassSummary & { rows: number; flagged: object } } | undefined)
    ?.summary;
  return { ...answer, outDir, path: answer.done.result?.path ?? '', summary };
}

const spectra = file('spectra', 'hdf5', VALIDATION, '/spectra');
const counts = numbers(VALIDATION, '/spectra');
const labels = numbers(VALIDATION, '/label');
const labelled = (values: ArrayLike<number>): RunnerArg =>
  file('truth', 'hdf5', write(`labels-${jobs}.h5`, 'i4', [values.length], Int32Array.from(values)), '/d');

t.test('a classifier gives probabilities under the names of its classes, and says how often it is right', async (t) => {
  const { done, path, summary } = await job([spectra, file('truth', 'hdf5', VALIDATION, '/label')]);
  t.equal(done.status, 'succeeded');
  const p = numbers(path, '/pred');
  t.equal(p.length, ROWS * CLASSES.length);
  let [right, loss, brier, apart] = [0, 0, 0, 0];
  for (let row = 0; row < ROWS; row++) {
    const of = [...p.subarray(row * 6, row * 6 + 6)];
    apart = Math.max(apart, Math.abs(of.reduce((a, b) => a + b) - 1));
    if (of.indexOf(Math.max(...of)) === labels[row]) right++;
    loss -= Math.log(of[labels[row] ?? 0] ?? 0);
    brier += of.reduce((sum, v, c) => sum + (v - (c === labels[row] ? 1 : 0)) ** 2, 0);
  }
  t.ok(apart < 1e-5, 'every row adds up to 1');
  t.match(summary, { score: 'class_probability', n: ROWS, classes: CLASSES });
  t.ok(Math.abs((summary?.accuracy ?? 0) - right / ROWS) < 1e-6, 'the summary is of the predictions in the file');
  t.ok(Math.abs((summary?.logLoss ?? 0) - loss / ROWS) < 1e-5);
  t.ok(Math.abs((summary?.brier ?? 0) - brier / ROWS) < 1e-5);
  t.ok(right / ROWS > 0.88 && right / ROWS < 0.95, `${right / ROWS}: as good as its card says, and not beyond doubt`);
  t.equal(
    summary?.confusion?.flat().reduce((a, b) => a + b),
    ROWS,
  );
  t.same(
    summary?.groups?.bins.map(({ from }) => from),
    [0, 300, 1000, 3000],
  );
  t.equal(
    summary?.groups?.bins.reduce((sum, { n }) => sum + n, 0),
    ROWS,
  );
  using opened = Hdf5File.open(library, path, 'x');
  t.match(opened.datasets(), [{ path: '/flags' }, { path: '/pred', shape: [ROWS, 6] }, { path: '/row_index' }]);
});

t.test(
  'whatever type the counts are stored as, and with a channel axis or without, answers are the same',
  async (t) => {
    const n = 200;
    const head = counts.subarray(0, n * CHANNELS);
    const forms: [StoredType, number[], ArrayBufferView][] = [
      ['u2', [n, CHANNELS], Uint16Array.from(head)],
      ['i4', [n, 1, CHANNELS], Int32Array.from(head)],
      ['f8', [n, CHANNELS, 1], Float64Array.from(head)],
    ];
    const found: Float64Array[] = [];
    for (const [stored, shape, values] of forms) {
      const { path } = await job([file('spectra', 'hdf5', write(`${stored}.h5`, stored, shape, values), '/d')]);
      found.push(numbers(path, '/pred'));
    }
    t.same(found[0], found[1]);
    t.same(found[0], found[2]);
  },
);

t.test('spectra that came inline as .npy are answered inline, probabilities of six classes a row', async (t) => {
  const head = Uint16Array.from(counts.subarray(0, 20 * CHANNELS));
  const rows = Buffer.concat([npyHeader('u2', [20, CHANNELS]), new Uint8Array(head.buffer)]);
  const truth = Buffer.concat([npyHeader('i4', [20]), new Uint8Array(Int32Array.from(labels.subarray(0, 20)).buffer)]);
  const args = [inline('spectra', 'npy', rows), inline('truth', 'npy', truth)];
  const { done, bytes, summary } = await job(args, [rows, truth], 65536);
  t.match(done, { status: 'succeeded', result: { type: 'npy', at: 'inline' } });
  t.match(Buffer.from(bytes).toString('latin1', 10, 90), /'descr': '<f4'.*'shape': \(20, 6\)/);
  t.equal(summary?.n, 20);
});

t.test('a spectrum with NaN and one without any count are flagged; their neighbours do not notice', async (t) => {
  const values = Float32Array.from(counts.subarray(0, 60 * CHANNELS));
  const before = numbers(
    (await job([file('spectra', 'hdf5', write('a.h5', 'f4', [60, CHANNELS], values), '/d')])).path,
    '/pred',
  );
  values[7 * CHANNELS + 100] = Number.NaN;
  values.fill(0, 9 * CHANNELS, 10 * CHANNELS);
  const dirty = file('spectra', 'hdf5', write('b.h5', 'f4', [60, CHANNELS], values), '/d');
  const { path, summary } = await job([dirty, labelled(labels.subarray(0, 60))]);
  const after = numbers(path, '/pred');
  t.ok(after.subarray(7 * 6, 8 * 6).every(Number.isNaN));
  t.ok(after.every((v, i) => [7, 9].includes(Math.floor(i / 6)) || v === before[i]));
  t.match(summary, { flagged: { non_finite: 1, constant: 1 }, n: 59 }, 'a row without an answer is not compared');
});

t.test('labels that are no classes of the model are refused with the row, unknown ones are left out', async (t) => {
  const wrong = async (change: (values: number[]) => void): Promise<unknown> => {
    const values = [...labels];
    change(values);
    const truth = file('truth', 'hdf5', write(`w${jobs}.h5`, 'f8', [values.length], Float64Array.from(values)), '/d');
    const { done, outDir } = await job([spectra, truth]);
    t.same(readdirSync(outDir), [], 'nothing of the result stays');
    return { status: done.status, ...done.error };
  };
  const expected = { status: 'failed', code: 'E_INPUT' };
  t.match(await wrong((v) => v.splice(1234, 1, 6)), {
    ...expected,
    message: 'label of row 1234 is 6; classes are whole numbers from 0 (Cr) to 5 (Cu), negative where not known',
  });
  t.match(await wrong((v) => v.splice(3, 1, 1.5)), { ...expected, message: /row 3 is 1\.5/ });
  t.match(await wrong((v) => v.splice(0, 1, Infinity)), { ...expected, message: /row 0 is Infinity/ });
  t.match(await wrong((v) => v.pop()), { ...expected, message: /has 1499 rows, .* has 1500/ });
  t.match(await wrong((v) => v.push(0)), { ...expected, message: /has 1501 rows, .* has 1500/ });
  const half = Array.from(labels, (label, row) => (row % 2 === 0 ? label : -1));
  const { summary } = await job([spectra, labelled(half)]);
  t.equal(summary?.n, ROWS / 2);
  t.equal(summary?.rows, ROWS);
});

t.test('rows and truth of another model are refused with what is needed', async (t) => {
  const other = fileURLToPath(new URL('../../models/braggnn/golden.h5', import.meta.url));
  const cases: [string, RunnerArg[], RegExp][] = [
    ['patches', [file('spectra', 'hdf5', other, '/patches')], /shape \[64, 11, 11\]; \[n, 512\] is needed/],
    [
      'one channel less',
      [file('spectra', 'hdf5', write('s.h5', 'f4', [2, 511], new Float32Array(1022)), '/d')],
      /\[n, 512\]/,
    ],
    ['centres as truth', [spectra, file('truth', 'hdf5', other, '/center')], /shape \[64, 2\]; \[n\] is needed/],
    ['probabilities as truth', [spectra, file('truth', 'hdf5', VALIDATION, '/amounts')], /\[n\] is needed/],
    ['an argument of another name', [file('patches', 'hdf5', VALIDATION, '/spectra')], /takes the argument spectra/],
  ];
  for (const [what, args, message] of cases) {
    const { done } = await job(args);
    t.match(done, { status: 'failed', error: { code: 'E_INPUT', message } }, what);
  }
});

type Json = Record<string, unknown>;

/** The shipped model with another model.json. */
function changed(change: (model: Json) => void): string {
  const path = mkdtempSync(join(folder, 'model-'));
  for (const name of ['model.onnx', 'golden.h5', 'calibration.json'].filter((n) => readdirSync(SPECTRA).includes(n)))
    cpSync(join(SPECTRA, name), join(path, name));
  const model = JSON.parse(readFileSync(join(SPECTRA, 'model.json'), 'utf8')) as Json;
  change(model);
  writeFileSync(join(path, 'model.json'), JSON.stringify(model));
  return path;
}

async function failure(run: () => unknown): Promise<{ code: string; message: string }> {
  try {
    await run();
  } catch (reason) {
    if (reason instanceof FarfieldError) return reason;
    throw reason;
  }
  return { code: 'none', message: 'nothing was thrown' };
}

t.test('a model.json that contradicts itself on classes is refused before anything is loaded', async (t) => {
  const output = (model: Json): Json => (model.outputs as Json[])[0] as Json;
  const cases: [string, (model: Json) => void, RegExp][] = [
    [
      'a class less',
      (m) => Object.assign(output(m), { classes: CLASSES.slice(1) }),
      /5 (classes are named|columns), the output has 6/,
    ],
    ['a class twice', (m) => Object.assign(output(m), { classes: [...CLASSES.slice(1), 'Cu'] }), /repeat an item/],
    ['scaled', (m) => Object.assign(m, { post: [{ op: 'scale', factor: 2 }] }), /are not scaled/],
    ['a centre of mass', (m) => Object.assign(m, { baselines: ['centre_of_mass'] }), /centre_of_mass/],
    ['two limits', (m) => Object.assign(m.golden as Json, { maxPx: 1 }), /one of the two/],
    ['no limit', (m) => Reflect.deleteProperty(m.golden as Json, 'maxDistance'), /one of the two/],
  ];
  for (const [what, change, message] of cases) {
    t.match(await failure(() => openModel(changed(change))), { code: 'E_MODEL', message }, what);
  }
});

t.test('the golden check finds steps that are left out or added', async (t) => {
  const load = async (path: string): Promise<unknown> => {
    const calls = createModelCalls('ort', createManualClock());
    try {
      return await calls.load({ modelRoot: path, variant: undefined, entry: {}, threads: 1, scratchDir: folder });
    } finally {
      await calls.close();
    }
  };
  t.equal((await failure(() => load(changed(() => {})))).code, 'none', 'unchanged it loads');
  for (const change of [
    (m: Json) => Object.assign(m, { pre: [] }),
    (m: Json) => Object.assign(m, { post: [{ op: 'order', index: [1, 0, 2, 3, 4, 5] }] }),
  ]) {
    t.match(await failure(() => load(changed(change))), { code: 'E_MODEL', message: /golden check failed/ });
  }
});

t.test('the summary of a classifier: what is known in closed form comes out', async (t) => {
  const summaryOf = (rows: readonly (readonly number[])[], truth: readonly number[]): ClassSummary => {
    const collector = new ClassCollector({ classes: ['a', 'b', 'c'], groups: undefined });
    const predictions = Float32Array.from(rows.flat());
    collector.add({
      rows: rows.length,
      predictions,
      truth: Float64Array.from(truth),
      features: new Float32Array(rows.length),
    });
    return collector.summary();
  };
  const sure = summaryOf(
    [
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
    ],
    [0, 1, 2],
  );
  t.match(sure, { n: 3, accuracy: 1, logLoss: 0, brier: 0, ece: 0 });
  const third = 1 / 3;
  const blind = summaryOf(
    [
      [third, third, third],
      [third, third, third],
    ],
    [0, 2],
  );
  t.ok(Math.abs(Number(blind.logLoss) - Math.log(3)) < 1e-6 && Math.abs(Number(blind.brier) - 2 / 3) < 1e-6);
  t.equal(blind.accuracy, 0.5, 'of equal probabilities the first is the answer');
  const wrong = summaryOf([[1, 0, 0]], [1]);
  t.ok(Number(wrong.logLoss) < 17 && wrong.brier === 2 && wrong.ece === 1, 'sure and wrong costs much, not infinitely');
  t.match(summaryOf([], []), { n: 0, accuracy: null, accuracyLimits: [0, 1], logLoss: null });
  t.same(
    summaryOf(
      [
        [0.1, 0.7, 0.2],
        [0.6, 0.3, 0.1],
      ],
      [2, 0],
    ).confusion,
    [
      [1, 0, 0],
      [0, 0, 0],
      [0, 1, 0],
    ],
  );
  // R: binom::binom.confint(2, 3, methods = "wilson")
  const [low, high] = summaryOf(
    [
      [1, 0, 0],
      [1, 0, 0],
      [1, 0, 0],
    ],
    [0, 0, 1],
  ).accuracyLimits;
  t.ok(Math.abs(low - 0.2076597) < 1e-6 && Math.abs(high - 0.9385081) < 1e-6, `${low} ${high}`);
});

t.test('however the rows are cut into blocks, the summary is the same', async () => {
  const row = fc.tuple(fc.integer({ min: -1, max: 2 }), fc.array(fc.nat(1000), { minLength: 3, maxLength: 3 }));
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 60 }), fc.nat(59), (rows, cut) => {
      const shape = { classes: ['a', 'b', 'c'], groups: { by: 'total', edges: [0, 1000] } };
      const add = (collector: ClassCollector, part: typeof rows): void => {
        const p = part.flatMap(([, values]) => {
          const sum = values.reduce((a, b) => a + b, 0);
          return values.map((v) => (sum === 0 ? third : v / sum));
        });
        collector.add({
          rows: part.length,
          predictions: Float32Array.from(p),
          truth: Float64Array.from(part, ([label]) => label),
          features: Float32Array.from(part, ([, values]) => values.reduce((a, b) => a + b, 0)),
        });
      };
      const third = 1 / 3;
      const whole = new ClassCollector(shape);
      add(whole, rows);
      const cutUp = new ClassCollector(shape);
      add(cutUp, rows.slice(0, cut));
      add(cutUp, rows.slice(cut));
      const known = rows.filter(([label]) => label >= 0).length;
      const summary = whole.summary();
      const counted = summary.groups?.bins.reduce((sum, { n }) => sum + n, 0);
      return JSON.stringify(summary) === JSON.stringify(cutUp.summary()) && summary.n === known && counted === known;
    }),
    { numRuns: 200, seed: 4 },
  );
});

t.test('no file of the runner names a model, or what the rows of one are', async (t) => {
  const root = fileURLToPath(new URL('../../runner', import.meta.url));
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  t.ok(files.length > 20);
  const found = files.filter((name) => {
    const code = readFileSync(join(root, name), 'utf8').replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    return /bragg|diffract|\bpatch(es)?\b|\bpeaks?\b|spectr|fluoresc/i.test(code);
  });
  t.same(found, [], 'such words stand in comments at most, as examples');
});
