/** What a merge and a second batch make of shards that are not what they say, and of an --out that is no file. */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import t from 'tap';
import { createSeededRandom } from '#base/random.ts';
import { sha256Hex } from '#kernel/bytes.ts';
import { canonical } from '../../runner/canonical.ts';
import { EXIT } from '../../runner/exits.ts';
import { writePeaks } from '../trust/calibration-set.ts';
import { C3, simulatePeaks } from '../trust/simulate.ts';
import { BRAGG_FOLDER, call, sidecar } from './batch-setting.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-sidecar-test-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
t.setTimeout(200_000);
const data = join(folder, 'data.h5');
await writePeaks(data, simulatePeaks(C3, 400, createSeededRandom('test/sidecar')));
const [first, second] = ['rows-0000000000-0000000200', 'rows-0000000200-0000000400'];

let folders = 0;
/** A folder with both shards, done. */
async function shards(): Promise<string> {
  const out = join(folder, `out-${folders++}`);
  for (const rows of ['0:200', '200:400']) t.equal((await batch(out, rows)).code, 0);
  return out;
}

const batch = (out: string, rows: string) =>
  call('batch', [
    ...['--model', BRAGG_FOLDER, '--input', `${data}:/patches`, '--labels', `${data}:/true_xy`],
    ...['--out', out, '--rows', rows],
  ]);

// biome-ignore lint/suspicious/noExplicitAny: a liar writes what no type allows.
type Lie = (facts: any) => void;

/** A sidecar that was changed, and names its digest anew. */
function lie(out: string, name: string, change: Lie): void {
  const { digest: _, ...facts } = sidecar(join(out, `${name}.json`));
  change(facts);
  writeFileSync(join(out, `${name}.json`), canonical({ ...facts, digest: sha256Hex(canonical(facts)) }));
}

const LIES: Readonly<Record<string, Lie>> = {
  'no statistics': (facts) => Object.assign(facts, { statistics: {} }),
  'a level that is no number': (facts) => Object.assign(facts.job.uncertainty, { level: 'x' }),
  'a count beyond all rows': (facts) => Object.assign(facts.statistics, { rows: 1e12 }),
  'bins that the calibration lacks': (facts) => void facts.statistics.drift[0].counts.push(1),
  'no labels, where rows were compared': (facts) => Object.assign(facts.job, { labels: null }),
};

t.test('a sidecar that lies under a right digest is a damaged file, never a defect', async (t) => {
  for (const [what, change] of Object.entries(LIES)) {
    const out = await shards();
    // The last lie is one that both must tell: two jobs would be noticed by themselves.
    for (const name of [first, second]) lie(out, name, change);
    const { code, said } = await call('merge', [out, '--out', join(folder, 'never.h5')]);
    t.equal(code, EXIT.incomplete, what);
    t.match(said, { error: { code: 'E_INCOMPLETE', message: /rows-0000000000-0000000200/ } }, what);
    t.notOk(existsSync(join(folder, 'never.h5')));
  }
  const out = await shards();
  lie(out, first, LIES['no statistics'] as Lie);
  t.match(await batch(out, '0:200'), { code: 0, said: { state: 'done' }, stderr: /no sidecar of this version/ });
  t.equal((await call('merge', [out, '--out', join(folder, 'whole.h5')])).code, 0);
});

t.test('another shard’s result under this one’s name is noticed by its rows', async (t) => {
  const out = await shards();
  copyFileSync(join(out, `${first}.h5`), join(out, `${second}.h5`));
  const bytes = readFileSync(join(out, `${second}.h5`));
  lie(out, second, (facts) => Object.assign(facts.result, { bytes: bytes.length, sha256: sha256Hex(bytes) }));
  const { code, said } = await call('merge', [out, '--out', join(folder, 'never.h5')]);
  t.equal(code, EXIT.incomplete);
  t.match(said, { error: { message: /0400\.h5 is not what its sidecar says: it was made of other rows or labels/ } });
});

t.test('what is no file is never waited for', async (t) => {
  const out = await shards();
  for (const make of [(path: string) => execFileSync('mkfifo', [path]), (path: string) => mkdirSync(path)]) {
    const path = join(out, `${first}.json`);
    rmSync(path, { recursive: true });
    make(path);
    for (const ended of [await batch(out, '0:200'), await call('merge', [out, '--out', join(folder, 'never.h5')])])
      t.match(ended, { code: EXIT.conflict, said: { error: { message: /0200\.json is no file.*remove it/ } } });
  }
});

t.test('shards of two processings, and of two files under one name, are told apart or told', async (t) => {
  const out = await shards();
  lie(out, second, (facts) => Object.assign(facts.job.versions, { 'farfield-processing': '1' }));
  t.match(await call('merge', [out, '--out', join(folder, 'never.h5')]), {
    code: EXIT.conflict,
    said: { error: { message: /versions\.farfield-processing/ } },
  });
  t.match(await batch(out, '200:400'), { code: EXIT.conflict, said: { error: { code: 'E_CONFLICT' } } });
  t.equal(sidecar(join(out, `${first}.json`)).inputFile, basename(data), 'the name alone');
});

t.test('a merge that ends early leaves nothing, and clears away what a killed one left', async (t) => {
  const out = await shards();
  const whole = join(out, 'whole.h5');
  const before = readdirSync(out).sort();
  for (const dead of ['whole.h5.0011223344556677', 'whole.h5.0011223344556677.part'])
    writeFileSync(join(out, dead), 'left');
  writeFileSync(join(out, 'whole.h5.notes'), 'mine');
  const stopped = await call('merge', [out, '--out', whole], { stop: (stop) => stop() });
  t.match(stopped, { code: EXIT.stopped, said: { error: { message: /asked to stop; nothing was merged/ } } });
  t.strictSame(readdirSync(out).sort(), [...before, 'whole.h5.notes'].sort());
  t.equal((await call('merge', [out, '--out', whole])).code, 0);
});

t.test('an --out that cannot be is refused in words before anything is read', async (t) => {
  const out = await shards();
  for (const [path, code, message] of [
    [join(folder, 'nowhere/m.h5'), EXIT.output, /the folder .*nowhere is not there; make it/],
    [out, EXIT.conflict, /is there and is no file/],
    ['/dev/null', EXIT.conflict, /is there and is no file/],
    ['/proc/m.h5', EXIT.output, /\/proc/],
  ] as const)
    t.match(await call('merge', [out, '--out', path]), { code, said: { error: { message } } }, path);
  const kept = readdirSync(out).find((name) => name.startsWith('model-')) as string;
  renameSync(join(out, kept), join(folder, 'moved'));
  t.match(await call('merge', [out, '--out', join(folder, 'm.h5')]), {
    code: EXIT.input,
    said: { error: { message: /model-[0-9a-f]+ is missing.*name the folder of bragg-nn .* with --model/ } },
  });
});
