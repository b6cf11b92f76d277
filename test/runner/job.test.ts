import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { createManualClock } from '#base/clock.ts';
import type { StoredType } from '#protos/model.ts';
import type { RunnerArg, RunnerItem } from '#protos/runner.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5File, readNumbers } from '../../runner/hdf5/reader.ts';
import { Hdf5Writer } from '../../runner/hdf5/writer.ts';
import { blockRows, runJob } from '../../runner/job.ts';
import { Lanes } from '../../runner/lanes.ts';
import { BLOCK_BYTES, MAX_SUMMARY_BYTES } from '../../runner/limits.ts';
import { chooseVariant, openModel, openOnnx } from '../../runner/model.ts';
import { npyHeader } from '../../runner/npy.ts';
import { compileRows } from '../../runner/rows.ts';
import type { RowSource } from '../../runner/sources.ts';
import { FLAGS } from '../../runner/uncertainty/flags.ts';
import { type Answer, BRAGG, file, inline, startRunner } from './client.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/runner/', import.meta.url));
const VALIDATION = join(BRAGG, 'validation.h5');
const folder = mkdtempSync(join(tmpdir(), 'farfield-job-'));
const library = await createHdf5Loader().acquire();

function write(
  name: string,
  datasets: Readonly<Record<string, readonly [StoredType, readonly number[], Uint8Array]>>,
): string {
  const path = join(folder, name);
  using writer = new Hdf5Writer(library, path, { chunkRows: 64, durable: false });
  for (const [dataset, [stored, shape, bytes]] of Object.entries(datasets)) {
    writer.createDataset(dataset, stored, shape);
    writer.writeRows(dataset, 0, shape[0] ?? 0, bytes);
  }
  writer.commit();
  return path;
}

const raw = (values: ArrayLike<number>): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

function numbers(path: string, dataset: string): Float64Array {
  using opened = Hdf5File.open(library, path, 'x');
  using data = opened.dataset(dataset);
  return readNumbers(data);
}

/** Rows [0, n) of the validation patches. */
function validationPatches(n: number): Float32Array {
  using opened = Hdf5File.open(library, VALIDATION, 'x');
  using data = opened.dataset('/patches');
  const bytes = new Uint8Array(n * data.info.rowBytes);
  data.readRows(0, n, bytes);
  return new Float32Array(bytes.buffer);
}

// One runner for the whole file: loading the model is what takes long.
const runner = startRunner();
await runner.load('ort', { modelRoot: BRAGG });
t.teardown(async () => {
  await runner[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** FP32 patches as rows of a source. */
function memorySource(values: Float32Array): RowSource {
  const bytes = new Uint8Array(values.buffer);
  return {
    name: 'memory',
    format: 'npy',
    shape: [values.length / 121, 11, 11],
    rows: values.length / 121,
    stored: 'f4',
    rowBytes: 484,
    chunkRows: 1,
    readRows: (from, count, target) => target.set(bytes.subarray(from * 484, (from + count) * 484)),
    mustBeSame: () => {},
    [Symbol.dispose]: () => {},
  };
}

let jobs = 0;
async function job(
  args: RunnerArg[],
  more: Partial<RunnerItem> = {},
  body: Uint8Array[] = [],
): Promise<Answer & { outDir: string }> {
  const outDir = mkdtempSync(join(folder, 'out-'));
  const answer = await runner.call({ id: `job${jobs++}`, args, outDir, maxInlineBytes: 0, ...more }, body);
  return { ...answer, outDir };
}

async function refused(
  t: Test,
  args: RunnerArg[],
  more: Partial<RunnerItem> = {},
  body: Uint8Array[] = [],
): Promise<unknown> {
  const { done, outDir } = await job(args, more, body);
  t.same(readdirSync(outDir), [], 'a failed job leaves nothing in its folder');
  return { status: done.status, ...done.error };
}

t.test('the validation job gives predictions, flags, provenance and the L2 summary', async (t) => {
  const { done } = await job([
    file('patches', 'hdf5', VALIDATION, '/patches'),
    file('truth', 'hdf5', VALIDATION, '/true_xy'),
  ]);
  t.match(done, { status: 'succeeded', result: { type: 'hdf5', at: 'file' } });
  const path = done.result?.path as string;
  const predictions = numbers(path, '/pred');
  const truth = numbers(VALIDATION, '/true_xy');
  t.equal(predictions.length, 13_799 * 2);
  t.same([...numbers(path, '/row_index').slice(0, 3)], [0, 1, 2]);
  const flags = numbers(path, '/flags');
  const share = (flag: number): number => flags.filter((bits) => (bits & flag) !== 0).length / flags.length;
  const { out_of_distribution, beyond_radius, saturated } = FLAGS;
  t.equal(share(255 & ~(out_of_distribution | beyond_radius | saturated)), 0);
  t.ok(share(out_of_distribution) < 0.02, 'its own simulation is what the model was calibrated on');
  t.ok(share(saturated) < 0.001);
  t.ok(Math.abs(share(beyond_radius) - 0.05) < 0.01, 'about 5 % are beyond the 95 % radius');
  const errors = Array.from({ length: 13_799 }, (_, i) =>
    Math.hypot(
      (predictions[2 * i] ?? 0) - (truth[2 * i] ?? 0),
      (predictions[2 * i + 1] ?? 0) - (truth[2 * i + 1] ?? 0),
    ),
  );
  const mean = errors.reduce((a, b) => a + b) / errors.length;
  const rep = done.rep as {
    summary: { n: number; mean: number; p95: number; groups: { bins: { n: number }[] } };
    phases: object;
  };
  t.equal(rep.summary.n, 13_799);
  t.ok(Math.abs(rep.summary.mean - mean) < 1e-5, 'the summary is of the predictions in the file');
  t.ok(mean < 0.1, `mean L2 ${mean}: the model located the peaks`);
  t.equal(
    rep.summary.groups.bins.reduce((sum, bin) => sum + bin.n, 0),
    13_799,
  );
  t.match(rep.summary, { baselines: { centreOfMass: { n: 13_799, mean: Number, p95: Number } } });
  t.ok(JSON.stringify(rep.summary).length <= MAX_SUMMARY_BYTES);
  t.match(rep.phases, { readMs: Number, preMs: Number, inferMs: Number, postMs: Number, writeMs: Number });
});

t.test('the same rows give the same bytes of predictions, however often', async (t) => {
  const patches = write('p.h5', { '/patches': ['f4', [3000, 11, 11], raw(validationPatches(3000))] });
  const [a, b] = [await job([file('patches', 'hdf5', patches)]), await job([file('patches', 'hdf5', patches)])];
  t.same(numbers(a.done.result?.path as string, '/pred'), numbers(b.done.result?.path as string, '/pred'));
  t.match(a.done.rep, { summary: { rows: 3000, n: 0 } }, 'without truth there is no L2');
  t.equal(a.done.rep?.inputRowsDigest, b.done.rep?.inputRowsDigest);
});

t.test(
  'rows with NaN are flagged and predicted as NaN, their neighbours untouched; a constant row is flagged',
  async (t) => {
    const values = validationPatches(300);
    const clean = write('clean.h5', { '/patches': ['f4', [300, 11, 11], raw(values)] });
    values[10 * 121 + 60] = Number.NaN;
    values.fill(0, 20 * 121, 21 * 121);
    const dirty = write('dirty.h5', { '/patches': ['f4', [300, 11, 11], raw(values)] });
    const before = numbers((await job([file('patches', 'hdf5', clean)])).done.result?.path as string, '/pred');
    const { done } = await job([file('patches', 'hdf5', dirty)]);
    const path = done.result?.path as string;
    const after = numbers(path, '/pred');
    const flags = numbers(path, '/flags');
    t.ok(Number.isNaN(after[20]) && Number.isNaN(after[21]));
    t.equal(flags[10], 4);
    t.equal((flags[20] ?? 0) & 8, 8);
    t.ok(after.every((v, i) => [10, 20].includes(i >> 1) || v === before[i]));
    t.match(done.rep, { summary: { flagged: { non_finite: 1, constant: 1 } } });
  },
);

t.test('integers of any stored width are taken', async (t) => {
  const counts = Uint16Array.from(validationPatches(64), Math.round);
  const u2 = write('u2.h5', { '/patches': ['u2', [64, 11, 11], new Uint8Array(counts.buffer)] });
  const f4 = write('f4.h5', { '/patches': ['f4', [64, 11, 11], raw(counts)] });
  const [a, b] = [await job([file('patches', 'hdf5', u2)]), await job([file('patches', 'hdf5', f4)])];
  t.same(numbers(a.done.result?.path as string, '/pred'), numbers(b.done.result?.path as string, '/pred'));
});

t.test('an inline array is answered by an inline array', async (t) => {
  const bytes = Buffer.concat([npyHeader('f4', [50, 11, 11]), raw(validationPatches(50))]);
  const { done, bytes: out } = await job([inline('patches', 'npy', bytes)], { maxInlineBytes: 65536 }, [bytes]);
  t.match(done, { status: 'succeeded', result: { type: 'npy', at: 'inline' } });
  t.match(Buffer.from(out).toString('latin1', 10, 80), /'descr': '<f4'.*'shape': \(50, 2\)/);
  t.equal(out.length, 128 + 50 * 8);
  const path = join(folder, 'x.npy');
  writeFileSync(path, bytes);
  const fromFile = await job([file('patches', 'npy', path)]);
  t.same(readFileSync(fromFile.done.result?.path as string), Buffer.from(out), 'and a file of the same by the same');
});

t.test('arguments that do not fit are refused with what is wrong and what would fit', async (t) => {
  const patches = file('patches', 'hdf5', VALIDATION, '/patches');
  const filters = join(FIXTURES, 'filters.h5');
  const cases: readonly (readonly [string, RunnerArg[], object])[] = [
    [
      'no such data set',
      [file('patches', 'hdf5', VALIDATION, '/p')],
      { code: 'E_INPUT', message: /the file holds .*\/patches \[13799, 11, 11\]/ },
    ],
    [
      'a wrong shape',
      [file('patches', 'hdf5', VALIDATION, '/true_xy')],
      { code: 'E_INPUT', message: /has the shape \[13799, 2\]; \[n, 11, 11\] is needed/ },
    ],
    [
      'a wrong type of element',
      [file('patches', 'hdf5', filters, '/text')],
      { code: 'E_INPUT', message: /text of variable length/ },
    ],
    ['an unknown filter', [file('patches', 'hdf5', filters, '/unknown')], { code: 'E_HDF5', message: /filter 32024/ }],
    [
      'a damaged chunk',
      [file('patches', 'hdf5', join(FIXTURES, 'damaged-gzip.h5'), '/patches')],
      { code: 'E_HDF5', message: /cannot be read: a chunk is damaged/ },
    ],
    [
      'a link out of the file',
      [file('patches', 'hdf5', join(FIXTURES, 'links.h5'), '/external_link')],
      { code: 'E_HDF5', message: /another file/ },
    ],
    [
      'truth of other length',
      [patches, file('truth', 'hdf5', write('t.h5', { '/t': ['f4', [5, 2], raw(new Float32Array(10))] }))],
      { code: 'E_INPUT', message: /has 5 rows, .* has 13799/ },
    ],
    ['no argument', [], { code: 'E_INPUT', message: /takes the argument patches.*given: none/ }],
    [
      'two arguments',
      [patches, file('more', 'hdf5', VALIDATION)],
      { code: 'E_INPUT', message: /given: patches, more/ },
    ],
    [
      'a missing file',
      [file('patches', 'hdf5', join(folder, 'gone.h5'))],
      { code: 'E_NOT_FOUND', message: /the file .+ is missing here/ },
    ],
    [
      'another kind of data',
      [file('patches', 'arrow', VALIDATION)],
      { code: 'E_INPUT', message: /hdf5 or npy, not arrow/ },
    ],
    ['several candidates', [file('patches', 'hdf5', filters, '')], { code: 'E_INPUT' }],
  ];
  for (const [what, args, expected] of cases) {
    const found = await refused(t, args);
    t.match(found, { status: 'failed', ...expected }, what);
    t.notMatch((found as { message: string }).message, folder, 'no path of the endpoint in the message');
  }
});

t.test('a truncated file, broken npy bytes and unservable uncertainty are refused', async (t) => {
  const cut = join(folder, 'cut.h5');
  copyFileSync(VALIDATION, cut);
  truncateSync(cut, statSync(cut).size >> 1);
  t.match(await refused(t, [file('patches', 'hdf5', cut)]), { code: 'E_HDF5', message: /truncated file/ });
  const header = npyHeader('f4', [50, 11, 11]);
  for (const bytes of [Buffer.from(header), Buffer.from('nope'), Buffer.concat([header, Buffer.alloc(49 * 484)])]) {
    t.match(await refused(t, [inline('patches', 'npy', bytes)], {}, [bytes]), { code: 'E_INPUT' });
  }
  const pickled = Buffer.from(Buffer.from(header).toString('latin1').replace("'<f4'", "'|O8'"), 'latin1');
  t.match(await refused(t, [inline('patches', 'npy', pickled)], {}, [pickled]), { code: 'E_INPUT', message: /O8/ });
  const guess = { uncertainty: { method: 'guess', samples: 0, level: 0.1 } };
  t.match(await refused(t, [file('patches', 'hdf5', VALIDATION, '/patches')], guess), {
    code: 'E_INPUT',
    message: /"guess": is not served here; none, l2, conformal and symmetry are/,
  });
});

t.test('a result over its limit is kept and named; a small one goes inline and leaves no file', async (t) => {
  const patches = [
    file('patches', 'hdf5', write('s.h5', { '/patches': ['f4', [64, 11, 11], raw(validationPatches(64))] })),
  ];
  const over = await job(patches, { maxBytes: 100 });
  t.match(over.done, {
    status: 'failed',
    error: { code: 'E_RESULT_TOO_LARGE', message: /over the limit of 100; it is kept/ },
  });
  t.same(readdirSync(over.outDir), ['result.h5']);
  const small = await job(patches, { maxInlineBytes: 2 ** 20 });
  t.match(small.done, { status: 'succeeded', result: { at: 'inline', type: 'hdf5' } });
  t.equal(Buffer.from(small.bytes).toString('latin1', 1, 4), 'HDF');
  t.same(readdirSync(small.outDir), []);
});

t.test('an output folder that is not there fails the job, not the runner', async (t) => {
  const { done } = await job([file('patches', 'hdf5', VALIDATION, '/patches')], { outDir: join(folder, 'nowhere') });
  t.match(done, { status: 'failed', error: { code: 'E_DISK_FULL' } });
});

t.test('a cancel ends a running job between batches and removes what was written', async (t) => {
  const outDir = mkdtempSync(join(folder, 'out-'));
  // The second one waits behind the first: both kinds of cancel in one go.
  for (const id of ['running', 'waiting']) {
    const args = [file('patches', 'hdf5', VALIDATION, '/patches')];
    runner.send({ op: 'run', items: [{ id, args, outDir, maxInlineBytes: 0, maxBytes: 2 ** 30 }] });
  }
  while (!existsSync(join(outDir, 'result.h5.part'))) await new Promise((resolve) => setImmediate(resolve));
  runner.send({ op: 'cancel', ids: ['running', 'waiting'] });
  t.match((await runner.answer('running')).done, { status: 'cancelled', error: { code: 'E_CANCELLED' } });
  t.match((await runner.answer('waiting')).done, { status: 'cancelled' });
  t.same(readdirSync(outDir), []);
  const { done } = await job([
    file('patches', 'hdf5', write('after.h5', { '/patches': ['f4', [10, 11, 11], raw(validationPatches(10))] })),
  ]);
  t.equal(done.status, 'succeeded', 'and the runner goes on');
});

t.test('progress is told at most four times a second, and the last block needs none', async (t) => {
  const open = openModel(BRAGG);
  const model = await openOnnx(open, chooseVariant(open.model, undefined).variant);
  await using lanes = await Lanes.open({ adapter: 'ort', model: open.model, file: model, threads: 1 });
  const clock = createManualClock();
  const told: number[] = [];
  const patches = memorySource(validationPatches(5 * 1083));
  let blocks = 0;
  await runJob({
    clock,
    lanes,
    plan: { sampleSize: 121, columns: 2, baselines: compileRows(open.model).baselines },
    samples: patches,
    truth: undefined,
    finished: () => {
      blocks++;
      clock.advance(100);
    },
    cancelled: () => false,
    progress: (done) => told.push(done),
  });
  t.equal(blocks, 5);
  t.same(told, [3 * 1083], 'after 300 ms, and not again before 600');
});

t.test('blocks are whole chunks of about the wished size', async (t) => {
  const of = (chunkRows: number, rows: number, held = false) => blockRows({ rowBytes: 484, chunkRows, rows, held });
  const wished = Math.floor(BLOCK_BYTES / 484);
  t.equal(of(512, 13_799), 1024);
  t.equal(of(1, 13_799), wished);
  t.equal(of(50_000, 1_000_000), 50_000, 'a chunk that would be decoded again for each part of it is not cut');
  t.equal(of(50_000, 1_000_000, true), wished, 'one that its reader holds is');
  t.equal(of(512, 100), 100);
});
