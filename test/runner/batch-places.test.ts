import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
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
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createManualClock, systemClock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { runShard } from '../../runner/batch/batch.ts';
import { lockShard, type ShardLock } from '../../runner/batch/lock.ts';
import { Stopping } from '../../runner/batch/stopping.ts';
import { EXIT } from '../../runner/exits.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { writePeaks } from '../trust/calibration-set.ts';
import { C3, simulatePeaks } from '../trust/simulate.ts';
import { BRAGG_FOLDER, call, endOf, nonce, startRunnerProcess } from './batch-setting.ts';

const MAIN = fileURLToPath(new URL('../../runner/main.ts', import.meta.url));
const FIXTURES = fileURLToPath(new URL('../fixtures/runner/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'farfield-places-test-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
t.setTimeout(250_000);
const ROWS = 4000;
const data = join(folder, 'data.h5');
await writePeaks(data, simulatePeaks(C3, ROWS, createSeededRandom('test/places')));

let folders = 0;
const fresh = (): string => join(folder, `out-${folders++}`);
const job = (out: string, ...more: string[]): string[] => [
  ...['--model', BRAGG_FOLDER, '--input', `${data}:/patches`, '--out', out],
  ...more,
];

t.test(
  'a disk that is full is said to be full, and nothing half-done is left; what was done before stays',
  async (t) => {
    const out = fresh();
    t.equal((await call('batch', job(out, '--rows', '0:10'))).code, 0);
    const before = readdirSync(out);
    // A limit on the size of files is the full disk that everybody may make: 16 KiB, where the result has some 60.
    const script = 'trap "" XFSZ; ulimit -f 16; unset NODE_OPTIONS; exec "$@"';
    const args = [script, 'sh', process.execPath, MAIN, 'batch', ...job(out, '--rows', '10:4000'), '--json'];
    // NODE_OPTIONS: a test runner loads code into all that it starts, which ends them by that signal.
    const child = spawn('bash', ['-c', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const { code, signal, stdout, stderr } = await endOf(child);
    t.equal(code, EXIT.output, `${signal} ${stderr}`);
    t.match(JSON.parse(stdout), { ok: false, error: { code: 'E_DISK_FULL', message: /space|no room/ } });
    t.same(readdirSync(out), before);
    t.equal((await call('batch', job(out, '--rows', '10:4000'))).code, 0, 'with room it is done');
  },
);

t.test('a folder that may not be written is said to be so, unless nothing needs to be written', async (t) => {
  const out = fresh();
  t.equal((await call('batch', job(out, '--rows', '0:10'))).code, 0);
  if (process.getuid?.() === 0) {
    // Root may write everywhere but in a folder that is no place for files.
    const { code, said } = await call('batch', job('/proc/self', '--rows', '0:10'));
    t.equal(code, EXIT.output);
    t.match(said, { error: { code: 'E_FORBIDDEN', message: /\/proc\/self cannot be written/ } });
    return;
  }
  execFileSync('chmod', ['500', out]);
  t.match((await call('batch', job(out, '--rows', '0:10'))).said, { state: 'already' });
  const { code, said } = await call('batch', job(out, '--rows', '10:20'));
  t.equal(code, EXIT.output);
  t.match(said, { error: { code: 'E_FORBIDDEN', message: /cannot be written \(EACCES\)/ } });
  execFileSync('chmod', ['700', out]);
});

t.test('a calibration of another model, or of other weights, is refused before anything is computed', async (t) => {
  const model = join(folder, 'model');
  cpSync(BRAGG_FOLDER, model, { recursive: true });
  const path = join(model, 'model.json');
  const text = readFileSync(path, 'utf8');
  writeFileSync(
    path,
    text.replace(/"edges":\s*\[\s*(\d+)/, (whole, edge: string) => whole.replace(edge, `${Number(edge) + 1}`)),
  );
  t.not(readFileSync(path, 'utf8'), text);
  const out = fresh();
  const { code, said } = await call('batch', ['--model', model, '--input', `${data}:/patches`, '--out', out]);
  t.equal(code, EXIT.load);
  t.match(said, { error: { code: 'E_MODEL', message: /calibration\.json: was made for .* not for this/ } });
  t.notOk(existsSync(out));
});

t.test('labels and rows that do not fit are named', async (t) => {
  const cases: readonly [string, string[], RegExp][] = [
    [
      'labels that are not there',
      ['--labels', `${data}:/labels`],
      /there is no such data set; the file holds .*\/true_xy/,
    ],
    [
      'a file of labels that is not there',
      ['--labels', join(folder, 'none.h5')],
      /labels: the file none\.h5 is missing/,
    ],
    [
      'labels of another shape',
      ['--labels', `${data}:/patches`],
      /labels:\/patches has the shape \[4000, 11, 11\]; \[n, 2\] is needed/,
    ],
    ['text for patches', ['--input', `${FIXTURES}filters.h5:/text`], /text/],
  ];
  for (const [what, args, message] of cases) {
    const out = fresh();
    const { code, said } = await call('batch', job(out, ...args));
    t.equal(code, EXIT.input, what);
    t.match(said?.error?.message, message, what);
    t.notOk(existsSync(out), `${what}: nothing was begun`);
  }
  t.match((await call('batch', job(fresh(), '--labels', data, '--truth', data))).said, {
    error: { code: 'E_USAGE', message: /--labels and --truth are the same/ },
  });
});

t.test('--shard auto takes the whole array from Slurm, and refuses one that was submitted in part', async (t) => {
  const array = (id: number, min: number, max: number, count: number): Record<string, string> => ({
    SLURM_ARRAY_TASK_ID: `${id}`,
    SLURM_ARRAY_TASK_MIN: `${min}`,
    SLURM_ARRAY_TASK_MAX: `${max}`,
    SLURM_ARRAY_TASK_COUNT: `${count}`,
  });
  for (const env of [array(7, 0, 399, 400), array(8, 1, 400, 400)])
    t.match((await call('batch', job(fresh(), '--shard', 'auto'), { env })).said, {
      result: /rows-0000000070-0000000080\.h5$/,
    });
  for (const [env, message] of [
    [array(7, 7, 13, 2), /is not 0-K or 1-K; say auto\/N/],
    [{ PBS_ARRAY_INDEX: '3' }, /only Slurm tells.*say auto\/N/],
  ] as const) {
    const { code, said } = await call('batch', job(fresh(), '--shard', 'auto'), { env });
    t.equal(code, EXIT.usage);
    t.match(said?.error?.message, message);
  }
});

/** The lines that came on descriptor 3. */
function eventsOf(child: ChildProcess): { event: string }[] {
  const events: { event: string }[] = [];
  let text = '';
  child.stdio[3]?.on('data', (chunk: Buffer) => {
    const lines = (text + chunk.toString()).split('\n');
    text = lines.pop() ?? '';
    events.push(...lines.map((line) => JSON.parse(line) as { event: string }));
  });
  return events;
}

t.test('events come on descriptor 3 where it is open, pipe or file, and nowhere else', async (t) => {
  const piped = spawn(process.execPath, [MAIN, 'batch', ...job(fresh(), '--rows', '0:50')], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  });
  const events = eventsOf(piped);
  const ended = await endOf(piped);
  t.match(events[0], { event: 'started', shard: { from: 0, to: 50, of: ROWS } });
  t.match(events.at(-1), { event: 'done', state: 'done', trust: { state: String } });
  t.equal(ended.stderr, '', 'no progress on a pipe');
  t.match(ended.stdout, /^rows 0:50 of /);
  const path = join(folder, 'events.jsonl');
  const fd = openSync(path, 'w');
  const refused = await endOf(startRunnerProcess(['batch', ...job(fresh(), '--rows', '1:99999')], fd));
  closeSync(fd);
  t.equal(refused.code, EXIT.input);
  t.match(JSON.parse(readFileSync(path, 'utf8')), { event: 'failed', error: { code: 'E_INPUT', message: /has 4000/ } });
  const closed = await endOf(spawn(process.execPath, [MAIN, 'batch', ...job(fresh(), '--rows', '0:50'), '--events']));
  t.equal(closed.code, EXIT.usage);
  t.match(closed.stderr, /descriptor 3 cannot be written/);
});

t.test('SIGTERM while rows are computed: the shard is finished, or is as it was', async (t) => {
  for (const grace of ['0', '600']) {
    const out = fresh();
    const child = spawn(process.execPath, [MAIN, 'batch', ...job(out, '--grace-s', grace), '--json'], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    eventsOf(child);
    const ended = endOf(child);
    await once(child.stdio[3] as NodeJS.ReadableStream, 'data');
    child.kill('SIGTERM');
    const { code, signal } = await ended;
    t.equal(signal, null, 'its own code, not the signal');
    const files = readdirSync(out).filter((name) => !name.startsWith('model-'));
    if (code === EXIT.stopped) t.same(files, [], `grace ${grace}: as it was`);
    else t.same([code, files.length], [EXIT.ok, 2], `grace ${grace}: finished`);
    t.equal((await call('batch', job(out))).code, EXIT.ok);
  }
});

t.test('a runner that stood still while another took its shard throws its own result away', async (t) => {
  const out = fresh();
  const lock = join(out, 'rows-0000000000-0000000100.lock');
  const hdf5 = createHdf5Loader();
  let other: ShardLock | undefined;
  using stopping = new Stopping(systemClock, 0, () => {});
  const shard = runShard(
    {
      ...{ model: BRAGG_FOLDER, variant: undefined, input: `${data}:/patches`, labels: undefined, out },
      ...{ shard: { kind: 'rows', from: 0, to: 100 }, uncertainty: { method: 'l2', level: 0.95, samples: 0 } },
      ...{ seed: 0, threads: 1, linkRoots: [], force: false },
    },
    {
      ...{ clock: systemClock, scratchDir: folder, hdf5: () => hdf5.acquire(), stopping },
      self: { host: 'here', pid: process.pid, nonce: nonce() },
      tell: ({ event }) => {
        if (event !== 'started') return;
        rmSync(lock);
        other = lockShard(lock, 'x', { host: 'here', pid: process.pid, nonce: nonce(), clock: createManualClock() });
      },
    },
  );
  await t.rejects(shard, { code: 'E_BUSY', message: /stood still, and another took over/ });
  t.ok(other?.holds());
  other?.[Symbol.dispose]();
  t.same(
    readdirSync(out).filter((name) => name.startsWith('rows')),
    [],
  );
});

t.test('a file that a virtual data set names is looked at again after the rows of any shard', async (t) => {
  const place = fresh();
  mkdirSync(place);
  for (const name of ['master.h5', 'part-0.h5', 'part-1.h5'])
    cpSync(join(FIXTURES, '../hdf5', name), join(place, name));
  const out = fresh();
  const hdf5 = createHdf5Loader();
  using stopping = new Stopping(systemClock, 0, () => {});
  const shard = runShard(
    {
      ...{ model: BRAGG_FOLDER, variant: undefined, input: `${join(place, 'master.h5')}:/virtual`, labels: undefined },
      ...{ out, shard: { kind: 'rows', from: 0, to: 20 }, uncertainty: { method: 'l2', level: 0.95, samples: 0 } },
      ...{ seed: 0, threads: 1, linkRoots: [place], force: false },
    },
    {
      ...{ clock: systemClock, scratchDir: folder, hdf5: () => hdf5.acquire(), stopping },
      self: { host: 'here', pid: process.pid, nonce: nonce() },
      tell: ({ event }) => void (event === 'started' && appendFileSync(join(place, 'part-1.h5'), 'x')),
    },
  );
  await t.rejects(shard, { code: 'E_INPUT', message: /the file changed while it was read; the result is discarded/ });
  t.strictSame(readdirSync(out), []);
});

t.test('what a killed runner left is removed when its shard is done', async (t) => {
  const out = fresh();
  mkdirSync(out);
  const name = 'rows-0000000000-0000000010';
  for (const file of [`${name}.0123456789abcdef.h5`, `${name}.0123456789abcdef.h5.part`, `${name}.json.17.0.tmp`])
    writeFileSync(join(out, file), 'half');
  writeFileSync(join(out, `${name}.h5`), 'a result without a sidecar');
  writeFileSync(join(out, 'rows-0000000010-0000000020.0123456789abcdef.h5.part'), 'of another shard');
  t.equal((await call('batch', job(out, '--rows', '0:10'))).code, 0);
  t.same(
    readdirSync(out)
      .filter((file) => !file.startsWith('model-'))
      .sort(),
    [`${name}.h5`, `${name}.json`, 'rows-0000000010-0000000020.0123456789abcdef.h5.part'],
  );
  t.ok(statSync(join(out, `${name}.h5`)).size > 1000);
});

t.test('every verb has help, which is no mistake', async (t) => {
  for (const verb of ['batch', 'merge', 'serve', 'calibrate', 'describe', 'probe', 'selftest']) {
    const { code, stdout } = await endOf(spawn(process.execPath, [MAIN, verb, '--help']));
    t.equal(code, EXIT.ok, verb);
    t.match(stdout, verb);
  }
});
