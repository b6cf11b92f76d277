import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createSeededRandom } from '#base/random.ts';
import { EXIT } from '../../runner/exits.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5File, readNumbers } from '../../runner/hdf5/reader.ts';
import { writePeaks } from '../trust/calibration-set.ts';
import { C3, simulatePeaks } from '../trust/simulate.ts';
import { BRAGG_FOLDER, call, sidecar } from './batch-setting.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-merge-test-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
t.setTimeout(250_000);
const library = await createHdf5Loader().acquire();
const ROWS = 900;
const data = join(folder, 'data.h5');
await writePeaks(data, simulatePeaks(C3, ROWS, createSeededRandom('test/merge')));

let folders = 0;
const fresh = (): string => join(folder, `out-${folders++}`);

async function batch(out: string, ...more: string[]): Promise<void> {
  const { code, said } = await call('batch', [
    ...['--model', BRAGG_FOLDER, '--input', `${data}:/patches`, '--truth', `${data}:/true_xy`, '--out', out],
    ...more,
  ]);
  t.equal(code, 0, said?.error?.message ?? 'done');
}

function numbers(path: string, dataset: string): number[] {
  using file = Hdf5File.open(library, path, 'x');
  using opened = file.dataset(dataset);
  return [...readNumbers(opened)];
}

interface Merged {
  readonly state: string;
  readonly statistics: Record<string, unknown>;
  readonly trust: unknown;
}

async function merged(from: string, out: string): Promise<Merged> {
  const { code, stdout } = await call('merge', [from, '--out', out]);
  t.equal(code, 0, stdout);
  return JSON.parse(stdout) as Merged;
}

/** The largest relative difference of numbers, wherever they stand; anything else must be equal. */
function worst(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number')
    return a === b ? 0 : Math.abs(a - b) / Math.max(Math.abs(a), Math.abs(b));
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return Object.is(a, b) ? 0 : Infinity;
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  const at = (value: object, key: string): unknown => (value as Record<string, unknown>)[key];
  return Math.max(0, ...[...keys].map((key) => worst(at(a, key), at(b, key))));
}

t.test(
  'statistics and verdict of the whole are those of one run over all rows; sampled rows are the same rows',
  async (t) => {
    const [parts, whole] = [fresh(), fresh()];
    const options = ['--uncertainty', 'symmetry', '--samples', '60', '--seed', '7'];
    for (const rows of ['500:900', '0:130', '130:131', '131:500']) await batch(parts, '--rows', rows, ...options);
    await batch(whole, ...options);
    const [a, b] = [join(folder, 'parts.h5'), join(folder, 'whole.h5')];
    const [many, one] = [await merged(parts, a), await merged(whole, b)];
    t.same(many.trust, one.trust);
    t.match(one.statistics, { rows: ROWS, scores: { n: ROWS }, symmetry: { rows: 60 } });
    const difference = worst(many.statistics, one.statistics);
    t.ok(difference < 1e-12, `statistics differ by ${difference}, which is the rounding of sums`);
    const counts = (of: Merged) =>
      JSON.parse(JSON.stringify(of.statistics, (key, v) => (['sums', 'moments'].includes(key) ? 0 : v)));
    t.same(counts(many), counts(one), 'counts do not differ at all');
    const sets = ['/pred', '/row_index', '/flags', '/uq/radius', '/uq/group', '/uq/ood_p'];
    for (const name of [...sets, '/uq/tta_rows', '/uq/tta_spread', '/uq/tta_bias'])
      t.same(numbers(a, name), numbers(b, name), name);
    t.equal(numbers(a, '/uq/tta_rows').length, 60);
  },
);

t.test('the merged bytes do not depend on order, on repetition, or on where the folder lies', async (t) => {
  const [first, second] = [fresh(), fresh()];
  for (const shard of ['0/3', '1/3', '2/3']) await batch(first, '--shard', shard);
  for (const shard of ['2/3', '1/3', '0/3', '1/3']) await batch(second, '--shard', shard);
  rmSync(join(second, 'rows-0000000300-0000000600.json'));
  await batch(second, '--shard', '1/3');
  renameSync(second, `${second}-moved`);
  const [a, b] = [join(folder, 'a.h5'), join(folder, 'b.h5')];
  await merged(first, a);
  await merged(`${second}-moved`, b);
  t.ok(readFileSync(a).equals(readFileSync(b)));
  t.match(await merged(first, a), { state: 'already' }, 'and merging again finds them there');
});

t.test('a classifier is merged by the same code: sets of classes, labels by number, the same verdict', async (t) => {
  const spectra = fileURLToPath(new URL('../../models/spectra/', import.meta.url));
  const input = ['--input', `${spectra}validation.h5:/spectra`, '--labels', `${spectra}validation.h5:/label`];
  const [parts, whole] = [fresh(), fresh()];
  for (const [out, shard] of [
    [whole, '0/1'],
    [parts, '1/2'],
    [parts, '0/2'],
  ] as const) {
    const { code, said } = await call('batch', ['--model', spectra, ...input, '--out', out, '--shard', shard]);
    t.equal(code, 0, said?.error?.message ?? 'done');
  }
  const [a, b] = [join(folder, 'spectra-parts.h5'), join(folder, 'spectra-whole.h5')];
  const [many, one] = [await merged(parts, a), await merged(whole, b)];
  for (const name of ['/pred', '/row_index', '/flags', '/uq/set', '/uq/group', '/uq/ood_p'])
    t.same(numbers(a, name), numbers(b, name), name);
  t.same(many.trust, one.trust);
  t.ok(worst(many.statistics, one.statistics) < 1e-12);
});

t.test('another file under the name of the result is not replaced unasked', async (t) => {
  const out = fresh();
  await batch(out, '--rows', '0:900');
  const precious = join(folder, 'precious.h5');
  writeFileSync(precious, 'somebody needs this');
  const { code, said } = await call('merge', [out, '--out', precious]);
  t.equal(code, EXIT.conflict);
  t.match(said, { error: { code: 'E_CONFLICT', message: /exists and is another file.*--force/ } });
  t.equal(readFileSync(precious, 'utf8'), 'somebody needs this');
  t.equal((await call('merge', [out, '--out', precious, '--force'])).code, 0);
  t.same(
    readdirSync(folder).filter((name) => name.startsWith('precious.h5')),
    ['precious.h5'],
  );
});

t.test('shards of another input of the same name and length are strangers', async (t) => {
  const out = fresh();
  await batch(out, '--rows', '0:400');
  const elsewhere = mkdtempSync(join(folder, 'other-'));
  await writePeaks(join(elsewhere, 'data.h5'), simulatePeaks(C3, ROWS, createSeededRandom('test/another day')));
  const other = join(elsewhere, 'data.h5');
  await call('batch', [
    ...['--model', BRAGG_FOLDER, '--input', `${other}:/patches`, '--labels', `${other}:/true_xy`],
    ...['--out', out, '--rows', '400:900'],
  ]);
  const never = join(folder, 'never.h5');
  const { code, said } = await call('merge', [out, '--out', never]);
  t.equal(code, EXIT.conflict);
  t.match(said?.error?.message, /rows-0000000400-0000000900 is of another job than .*: input\.probe .*, labels\.probe/);
  t.notOk(existsSync(never));
});

t.test('a sidecar that tells of other rows than its name is not merged', async (t) => {
  const out = fresh();
  for (const rows of ['0:400', '400:900']) await batch(out, '--rows', rows);
  const [a, b] = ['rows-0000000000-0000000400.json', 'rows-0000000400-0000000900.json'].map((name) => join(out, name));
  writeFileSync(b as string, readFileSync(a as string));
  const copied = await call('merge', [out, '--out', join(folder, 'never.h5')]);
  t.equal(copied.code, EXIT.incomplete);
  t.match(
    copied.said?.error?.message,
    /rows-0000000400-0000000900\.json: names .* of other rows; rows 400:900 are missing/,
  );
  const facts = sidecar(a as string) as { statistics: { rows: number } };
  facts.statistics.rows = 1_000_000;
  writeFileSync(a as string, JSON.stringify(facts));
  const edited = await call('merge', [out, '--out', join(folder, 'never.h5')]);
  t.match(edited.said?.error?.message, /rows-0000000000-0000000400\.json: was changed after it was written/);
});

const H5PY = ((): string | undefined => {
  try {
    execFileSync('python3', ['-c', 'import h5py, numpy'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'python3 with h5py is not installed here';
  }
})();

t.test('h5py opens the merged file, with its data sets and its provenance', { skip: H5PY ?? false }, async (t) => {
  const out = fresh();
  for (const shard of ['0/2', '1/2']) await batch(out, '--shard', shard);
  const path = join(folder, 'for-python.h5');
  await merged(out, path);
  const program = fileURLToPath(new URL('../fixtures/runner/read-merged.py', import.meta.url));
  const text = execFileSync('python3', [program, path], { encoding: 'utf8' });
  t.match(JSON.parse(text), {
    pred: { shape: [ROWS, 2], dtype: 'float32', units: String },
    radius: { shape: [ROWS, 2], levels: '0.9,0.95', bounds: /true value/ },
    row_index: { first: 0, last: ROWS - 1, dtype: 'uint32' },
    flags: { shape: [ROWS], bits: /out_of_distribution=1/ },
    attributes: {
      model: 'bragg-nn',
      model_digest: /^sha256:/,
      calibration_digest: /^sha256:/,
      input: /patches/,
      shards: 2,
    },
  });
});
