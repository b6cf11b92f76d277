import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import type { StoredType } from '#protos/model.ts';
import { lockShard } from '../../runner/batch/lock.ts';
import { EXIT } from '../../runner/exits.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5File, readNumbers } from '../../runner/hdf5/reader.ts';
import { Hdf5Writer } from '../../runner/hdf5/writer.ts';
import { writePeaks } from '../trust/calibration-set.ts';
import { C3, simulatePeaks } from '../trust/simulate.ts';
import { BRAGG_FOLDER, call, endOf, nonce, sidecar, startRunnerProcess } from './batch-setting.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-batch-test-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
t.setTimeout(250_000);
const library = await createHdf5Loader().acquire();
const ROWS = 700;
const data = join(folder, 'data.h5');
await writePeaks(data, simulatePeaks(C3, ROWS, createSeededRandom('test/batch')));

let folders = 0;
const fresh = (): string => join(folder, `out-${folders++}`);
const job = (out: string, ...more: string[]): string[] => [
  ...['--model', BRAGG_FOLDER, '--input', `${data}:/patches`, '--out', out],
  ...more,
];
const labelled = (out: string, ...more: string[]): string[] => job(out, '--labels', `${data}:/true_xy`, ...more);
const merge = (from: string, out: string): string[] => [from, '--model', BRAGG_FOLDER, '--out', out];

function write(name: string, dataset: string, stored: StoredType, shape: number[], values: ArrayBufferView): string {
  const path = join(folder, name);
  using writer = new Hdf5Writer(library, path, { chunkRows: 64, durable: false });
  writer.createDataset(dataset, stored, shape);
  writer.writeRows(dataset, 0, shape[0] ?? 0, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  writer.commit();
  return `${path}:${dataset}`;
}

function numbers(path: string, dataset: string): number[] {
  using file = Hdf5File.open(library, path, 'x');
  using opened = file.dataset(dataset);
  return [...readNumbers(opened)];
}

t.test('shards merged are, data set by data set, what one pass over all rows gives', async (t) => {
  const [parts, whole] = [fresh(), fresh()];
  for (const shard of ['2/3', '0/3', '1/3']) t.equal((await call('batch', labelled(parts, '--shard', shard))).code, 0);
  t.equal((await call('batch', labelled(whole))).code, 0);
  const merged = join(folder, 'merged.h5');
  const { code, said } = await call('merge', merge(parts, merged));
  t.equal(code, 0);
  t.match(said, { ok: true, shards: 3, rows: ROWS, trust: { state: String } });
  const [one = ''] = readdirSync(whole).filter((name) => name.endsWith('.h5'));
  for (const dataset of ['/pred', '/row_index', '/flags', '/uq/radius', '/uq/group', '/uq/ood_p'])
    t.same(numbers(merged, dataset), numbers(join(whole, one), dataset), dataset);
  t.same(
    numbers(merged, '/row_index'),
    Array.from({ length: ROWS }, (_, i) => i),
  );
  const [a, b] = [await attributesOf(merged), await attributesOf(join(whole, one))];
  for (const name of ['model_digest', 'variant', 'calibration_digest', 'summary', 'trust', 'versions', 'input'])
    t.equal(a[name], b[name], name);
  t.match(JSON.parse(a.summary ?? ''), { n: ROWS, mean: Number, baselines: { centreOfMass: { n: ROWS } } });
});

/** Text attributes of the file's root, by an instance of the library that nobody guards. */
async function attributesOf(path: string): Promise<Record<string, string>> {
  const { File, ready } = (await import(`${import.meta.resolve('h5wasm/node')}?attributes`)) as {
    ready: Promise<unknown>;
    File: new (path: string, mode: string) => { attrs: Record<string, { value: unknown }>; close(): void };
  };
  await ready;
  const file = new File(path, 'r');
  const attributes = Object.fromEntries(Object.entries(file.attrs).map(([name, { value }]) => [name, String(value)]));
  file.close();
  return attributes;
}

t.test('a shard that is done is left as it is, byte for byte; other rows or options are refused', async (t) => {
  const out = fresh();
  t.match((await call('batch', job(out, '--rows', '0:300'))).said, { ok: true, state: 'done', rows: 300 });
  const path = join(out, 'rows-0000000000-0000000300.h5');
  const [before, { mtimeMs }] = [readFileSync(path), statSync(path)];
  t.match((await call('batch', job(out, '--rows', '0:300'))).said, { state: 'already' });
  t.equal(statSync(path).mtimeMs, mtimeMs);
  const level = await call('batch', job(out, '--rows', '0:300', '--level', '0.8'));
  t.equal(level.code, EXIT.conflict);
  t.match(level.said, {
    ok: false,
    error: { code: 'E_CONFLICT', message: /uncertainty\.level \(0\.95 there, 0\.8 here\).*--force/ },
  });
  const peaks = simulatePeaks(C3, ROWS, createSeededRandom('other rows'));
  const other = join(folder, 'other.h5');
  await writePeaks(other, peaks);
  const rows = await call('batch', [
    '--model',
    BRAGG_FOLDER,
    '--input',
    `${other}:/patches`,
    '--out',
    out,
    '--rows',
    '0:300',
  ]);
  t.match(rows.said, { error: { code: 'E_CONFLICT', message: /another job: input\.probe/ } });
  t.ok(readFileSync(path).equals(before), 'what was refused changed nothing');
  t.match((await call('batch', job(out, '--rows', '0:300', '--level', '0.8', '--force'))).said, { state: 'done' });
});

t.test('a sidecar that lies is noticed, and its shard is done again', async (t) => {
  const out = fresh();
  await call('batch', job(out, '--rows', '0:100'));
  const name = 'rows-0000000000-0000000100';
  const [json, h5] = [join(out, `${name}.json`), join(out, `${name}.h5`)];
  const good = readFileSync(h5);
  const lies: readonly [string, RegExp, () => void][] = [
    [
      'edited',
      /was changed after/,
      () => writeFileSync(json, JSON.stringify({ ...sidecar(json), labelsDigest: 'sha256:0' })),
    ],
    ['cut', /no whole JSON/, () => truncateSync(json, 700)],
    ['of another file', /is not the one/, () => writeFileSync(h5, Buffer.concat([good, Buffer.from([0])]))],
    ['of a file that is gone', /is not there/, () => rmSync(h5)],
    ['of other rows', /which is of other rows/, () => cpSync(json, join(out, 'rows-0000000000-0000000099.json'))],
  ];
  for (const [what, why, lie] of lies) {
    lie();
    const range = what === 'of other rows' ? '0:99' : '0:100';
    const { code, said, stderr } = await call('batch', job(out, '--rows', range));
    t.match({ code, said, stderr }, { code: 0, said: { state: 'done' }, stderr: why }, what);
    if (range === '0:100') t.ok(readFileSync(h5).equals(good), `${what}: the same bytes again`);
  }
});

t.test('two runners on one shard: one works, the other says so and ends with its own code', async (t) => {
  const out = fresh();
  mkdirSync(out);
  const self = { host: 'here', pid: process.pid, nonce: nonce(), clock: createManualClock(0) };
  const held = lockShard(join(out, 'rows-0000000000-0000000100.lock'), 'x', self);
  const { code, stdout } = await endOf(startRunnerProcess(['batch', ...job(out, '--rows', '0:100')]));
  t.equal(code, EXIT.busy);
  t.match(JSON.parse(stdout), {
    error: { code: 'E_BUSY', message: /another runner \(process \d+ on here\) works on rows-0000000000/ },
  });
  held[Symbol.dispose]();
  t.same(readdirSync(out), [], 'and leaves nothing');
  t.equal((await call('batch', job(out, '--rows', '0:100'))).code, 0);
});

t.test('SIGTERM leaves the shard as it was, under a code of its own, and the next run does it', async (t) => {
  const out = fresh();
  const stopped = await call('batch', job(out), { stop: (stop) => stop() });
  t.equal(stopped.code, EXIT.stopped);
  t.match(stopped.said, { error: { code: 'E_CANCELLED' } });
  t.match(stopped.stderr, /left to be done again/);
  t.same(readdirSync(out), []);
  t.equal((await call('batch', job(out))).code, 0);
  const events = join(folder, 'events.jsonl');
  const fd = openSync(events, 'w');
  const child = startRunnerProcess(['batch', ...job(fresh()), '--events'], fd);
  closeSync(fd);
  const ended = endOf(child);
  child.kill('SIGTERM');
  const { code, signal } = await ended;
  // Before the handler stands, a signal ends the process as it ends any other.
  t.ok(code === EXIT.stopped || code === EXIT.ok || signal === 'SIGTERM', `${code} ${signal}`);
});

t.test('events are lines of JSON on descriptor 3', async (t) => {
  const events = join(folder, 'told.jsonl');
  const fd = openSync(events, 'w');
  const { code } = await endOf(startRunnerProcess(['batch', ...job(fresh(), '--shard', '0/2'), '--events'], fd));
  closeSync(fd);
  t.equal(code, 0);
  const lines = readFileSync(events, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { event: string });
  t.match(lines[0], { event: 'started', shard: { from: 0, of: ROWS } });
  t.match(lines.at(-1), { event: 'done', state: 'done' });
});

t.test('every path may be relative to where the runner is started', async (t) => {
  const here = mkdtempSync(join(folder, 'here-'));
  cpSync(data, join(here, 'mine.h5'));
  cpSync(BRAGG_FOLDER, join(here, 'model'), { recursive: true });
  const run = (...args: string[]) => endOf(startRunnerProcess(args, undefined, here));
  const rows = ['--model', 'model', '--input', 'mine.h5:/patches', '--labels', 'mine.h5:/true_xy'];
  for (const shard of ['0/2', '1/2']) {
    const ended = await run('batch', ...rows, '--out', 'out/deep', '--shard', shard);
    t.equal(ended.code, EXIT.ok, ended.stderr);
  }
  const merged = await run('merge', 'out/deep', '--out', 'all.h5');
  t.equal(merged.code, EXIT.ok, merged.stderr);
  t.ok(existsSync(join(here, 'all.h5')));
});

t.test('bad input and bad places are told with the code that a job array can decide by', async (t) => {
  const fewer = write('labels-fewer.h5', '/xy', 'f4', [ROWS - 1, 2], new Float32Array((ROWS - 1) * 2));
  const more = write('labels-more.h5', '/xy', 'f4', [ROWS + 1, 2], new Float32Array((ROWS + 1) * 2));
  const small = write('small.h5', '/patches', 'f4', [10, 9, 9], new Float32Array(810));
  const locked = fresh();
  mkdirSync(locked);
  writeFileSync(join(folder, 'a-file'), '');
  const model = ['--model', BRAGG_FOLDER, '--out', fresh()];
  const cases: readonly [string, string[], number, RegExp][] = [
    ['no input', model, EXIT.usage, /--input is missing/],
    ['an option that does not exist', job(fresh(), '--shards', '1/2'), EXIT.usage, /shards/],
    ['a shard that is none', job(fresh(), '--shard', '5/5'), EXIT.usage, /count from 0 to 4/],
    ['no job array', job(fresh(), '--shard', 'auto/5'), EXIT.usage, /SLURM_ARRAY_TASK_ID/],
    ['two ways to say which rows', job(fresh(), '--shard', '0/5', '--rows', '0:5'), EXIT.usage, /exclude/],
    ['rows beyond the file', job(fresh(), '--rows', `0:${ROWS + 1}`), EXIT.input, /the input has 700/],
    ['more shards than rows', job(fresh(), '--shard', '0/9999'), EXIT.input, /9999 shards/],
    ['labels one short', job(fresh(), '--labels', fewer), EXIT.input, /699 rows.*700/],
    ['labels one too many', job(fresh(), '--labels', more), EXIT.input, /701 rows.*700/],
    ['no file', [...model, '--input', join(folder, 'none.h5')], EXIT.input, /missing|no such/],
    ['another patch size', [...model, '--input', small], EXIT.input, /\[10, 9, 9\]/],
    ['no model', ['--model', folder, '--input', `${data}:/patches`, '--out', fresh()], EXIT.load, /model\.json/],
    ['a folder that is a file', job(join(folder, 'a-file')), EXIT.output, /cannot be written \(ENOTDIR\)/],
    ['a place without folders', job('/proc/self/x/y'), EXIT.output, /cannot be written \(ENOENT\)/],
    ['an uncertainty that is none', job(fresh(), '--uncertainty', 'guess'), EXIT.input, /not served/],
  ];
  for (const [what, args, code, message] of cases) {
    const ended = await call('batch', args);
    t.equal(ended.code, code, `${what}: ${ended.said?.error?.message}`);
    t.match(ended.said?.error?.message, message, what);
  }
  if (process.getuid?.() === 0) {
    t.comment('root may write everywhere: the read-only folder is not tried');
  } else {
    chmodSync(locked, 0o500);
    t.equal((await call('batch', job(locked))).code, EXIT.output);
  }
});

t.test(
  'more threads than a machine can use are refused, and names in a stranger’s file do not reach the terminal raw',
  async (t) => {
    const many = await call('batch', job(fresh(), '--threads', '100000'));
    t.match(many, { code: EXIT.usage, said: { error: { message: /whole number from 1 to \d+ here, 4 a core/ } } });
    const [path = ''] = write('red.h5', '/\u001b[31mred', 'f4', [3], new Float32Array(3)).split(':/');
    const told = await call('batch', ['--model', BRAGG_FOLDER, '--input', `${path}:/no`, '--out', fresh()], {
      json: false,
    });
    t.equal(told.code, EXIT.input);
    t.match(told.stderr, /red/);
    t.notOk(told.stderr.includes('\u001b'));
  },
);

t.test('the index of a job array is read as its scheduler counts', async (t) => {
  for (const [name, value] of [
    ['SLURM_ARRAY_TASK_ID', '1'],
    ['PBS_ARRAY_INDEX', '1'],
    ['SGE_TASK_ID', '2'],
    ['LSB_JOBINDEX', '2'],
  ] as const) {
    const out = fresh();
    const { said } = await call('batch', job(out, '--shard', 'auto/70'), { env: { [name]: value } });
    t.match(said, { ok: true, rows: 10, result: /rows-0000000010-0000000020\.h5$/ }, name);
  }
});

t.test('a merge names what is missing, what overlaps and what is a stranger', async (t) => {
  const out = fresh();
  const refused = async (expected: number = EXIT.incomplete): Promise<string> => {
    const { code, said } = await call('merge', merge(out, join(folder, 'never.h5')));
    t.equal(code, expected);
    t.notOk(existsSync(join(folder, 'never.h5')));
    return said?.error?.message ?? '';
  };
  mkdirSync(out);
  t.match(await refused(), /holds no finished shard/);
  await call('batch', job(out, '--rows', '100:200'));
  await call('batch', job(out, '--rows', '300:700'));
  t.match(await refused(), /rows 0:100 are missing; rows 200:300 are missing/);
  await call('batch', job(out, '--rows', '0:150'));
  await call('batch', job(out, '--rows', '200:300', '--level', '0.8'));
  const told = await refused(EXIT.conflict);
  t.match(told, /rows-0000000100-0000000200 overlaps rows-0000000000-0000000150 in rows 100:150/);
  t.match(told, /rows-0000000200-0000000300 is of another job than .*: uncertainty\.level \(0\.95 there, 0\.8 here\)/);
  truncateSync(join(out, 'rows-0000000300-0000000700.h5'), 500);
  t.match(await refused(EXIT.conflict), /rows-0000000300-0000000700\.json: its result .* is not the one/);
  const whole = fresh();
  await call('batch', job(whole));
  const other = join(folder, 'model');
  cpSync(BRAGG_FOLDER, other, { recursive: true });
  const text = readFileSync(join(other, 'model.json'), 'utf8');
  writeFileSync(join(other, 'model.json'), text.replace(/"version": "[^"]*"/, '"version": "9.9.9"'));
  const strange = await call('merge', [whole, '--model', other, '--out', join(folder, 'never.h5')]);
  t.equal(strange.code, EXIT.conflict);
  t.match(strange.said, { error: { message: /the shards were made by .*0\.2\.\d+.*holds .*9\.9\.9/ } });
});

t.test('people get sentences, and help', async (t) => {
  const out = fresh();
  const { stdout } = await call('batch', job(out, '--rows', '0:50'), { json: false });
  t.match(stdout, /^rows 0:50 of .*:\/patches \(50\) -> .*rows-0000000000-0000000050\.h5; verdict \w+\n$/);
  const missing = await call('merge', [out], { json: false });
  t.match(missing.stderr, /--out is missing \[E_USAGE\]\nfarfield-runner merge/);
  t.match((await call('merge', ['--help'], { json: false })).stdout, /refuses gaps, overlaps/);
});
