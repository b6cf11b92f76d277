import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createManualClock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Calibration } from '#protos/calibration.ts';
import type { StoredType } from '#protos/model.ts';
import { COMMANDS } from '../../runner/commands.ts';
import { EXIT } from '../../runner/exits.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5File, readNumbers } from '../../runner/hdf5/reader.ts';
import { Hdf5Writer } from '../../runner/hdf5/writer.ts';
import { chooseVariant, openModel } from '../../runner/model.ts';
import { calibrate } from '../../runner/uncertainty/calibrate.ts';
import { readCalibration } from '../../runner/uncertainty/calibration.ts';
import { runCalibrate } from '../../runner/uncertainty/command.ts';
import { writePeaks } from '../trust/calibration-set.ts';
import { C3, simulatePeaks } from '../trust/simulate.ts';
import { BRAGG, file, startRunner } from './client.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-calibration-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const library = await createHdf5Loader().acquire();
const ROWS = 600;
const peaks = simulatePeaks(C3, ROWS, createSeededRandom('test/calibration'));
const data = join(folder, 'data.h5');
await writePeaks(data, peaks);

function write(name: string, dataset: string, stored: StoredType, shape: number[], values: ArrayBufferView): string {
  const path = join(folder, name);
  using writer = new Hdf5Writer(library, path, { chunkRows: 64, durable: false });
  writer.createDataset(dataset, stored, shape);
  writer.writeRows(dataset, 0, shape[0] ?? 0, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  writer.commit();
  return `${path}:${dataset}`;
}

const options = (more: object = {}) => ({
  model: BRAGG,
  variant: undefined,
  input: `${data}:/patches`,
  labels: `${data}:/true_xy`,
  out: join(folder, 'calibration.json'),
  labelKind: 'truth' as const,
  labelText: 'where the peak was put',
  dataText: undefined,
  madeText: undefined,
  threads: 1,
  scratchDir: folder,
  clock: createManualClock(),
  ...more,
});

async function refused(t: Test, more: object, expected: { code: string; message?: RegExp }): Promise<void> {
  await t.rejects(calibrate(options(more)), expected);
}

t.test('a calibration is made, opened, and the same rows give the same bytes', async (t) => {
  const report = await calibrate(options());
  t.match(report, { n: ROWS, left: 0, bounds: 'truth: where the peak was put' });
  const bytes = readFileSync(options().out);
  await calibrate(options());
  t.same(readFileSync(options().out), bytes);
  const { model } = openModel(BRAGG);
  const opened = readCalibration(options().out, 'c', model, chooseVariant(model, undefined), false);
  t.ok(opened.radius(1, 0.9) < opened.radius(1, 0.95), 'a higher level has a larger radius');
  t.equal(opened.radius(-1, 0.9), Number.POSITIVE_INFINITY, 'a row in no group has no radius');
  t.equal(opened.radius(3, 0.9999), Number.POSITIVE_INFINITY, 'a level beyond what the rows can tell has none');
});

t.test('labels that do not belong to the rows are refused', async (t) => {
  const xy = peaks.trueXy;
  const one = new Float64Array([...xy, 5, 5]);
  await refused(
    t,
    { labels: write('more.h5', '/xy', 'f8', [ROWS + 1, 2], one) },
    { code: 'E_INPUT', message: /601 rows.*600.*every row needs its own label/ },
  );
  await refused(
    t,
    { labels: write('fewer.h5', '/xy', 'f8', [ROWS - 1, 2], xy.slice(0, -2)) },
    { code: 'E_INPUT', message: /599 rows/ },
  );
  await refused(t, { labels: `${data}:/nothing` }, { code: 'E_INPUT', message: /no such data set/ });
  await refused(t, { labels: join(folder, 'absent.h5') }, { code: 'E_NOT_FOUND' });
  const unknown = write('nan.h5', '/xy', 'f8', [ROWS, 2], new Float64Array(ROWS * 2).fill(Number.NaN));
  await refused(t, { labels: unknown }, { code: 'E_INPUT', message: /no row has both a prediction and a label/ });
});

t.test('samples of another size, and counts that their type cut off, are refused', async (t) => {
  const small = write('small.h5', '/p', 'f4', [ROWS, 9, 9], new Float32Array(ROWS * 81));
  await refused(t, { input: small }, { code: 'E_INPUT', message: /\[600, 9, 9\]; \[n, 11, 11\] is needed/ });
  const bytes = Uint8Array.from(peaks.patches, (v) => Math.min(255, v));
  const cut = write('u1.h5', '/p', 'u1', [ROWS, 11, 11], bytes);
  await refused(t, { input: cut }, { code: 'E_INPUT', message: /reach the largest value of u1; counts were cut off/ });
});

t.test('too few rows for a level are said to be too few, and the radius is infinite', async (t) => {
  const n = 12;
  const input = write('few.h5', '/p', 'f4', [n, 11, 11], peaks.patches.slice(0, n * 121));
  const labels = write('few-xy.h5', '/xy', 'f8', [n, 2], peaks.trueXy.slice(0, n * 2));
  const report = await calibrate(options({ input, labels, out: join(folder, 'few.json') }));
  t.ok(report.radii.every(({ r95 }) => r95 === null));
  t.match(report.notes.join('\n'), /too few for 0.95: the radius is infinite; 19 are needed/);
  t.match(report.notes.join('\n'), /no reference of the inputs/);
});

t.test('the command without labels says what is missing', async (t) => {
  const said: string[] = [];
  const output = {
    clock: createManualClock(),
    threads: 1,
    print: (text: string) => said.push(text),
    complain: (text: string) => said.push(text),
  };
  t.equal(await runCalibrate(['--model', BRAGG, '--input', data, '--out', 'x'], output), 2);
  t.match(said.join(''), /--labels is missing: .*right answer is known/);
  t.equal(await runCalibrate(['--colour', 'red'], output), 2);
  const named = ['--model', BRAGG, '--input', `${data}:/patches`];
  t.equal(await runCalibrate([...named, '--labels', `${data}:/patches`, '--out', 'x'], output), EXIT.input);
  const nowhere = join(folder, 'nowhere/c.json');
  t.equal(await runCalibrate([...named, '--labels', `${data}:/true_xy`, '--out', nowhere], output), EXIT.output);
  t.match(said.at(-1), /E_FORBIDDEN.*nowhere cannot be written \(ENOENT\)/);
});

/** A copy of the model whose calibration was changed. */
function altered(change: (calibration: Calibration, model: { variants: object[] }) => void): string {
  const copy = mkdtempSync(join(folder, 'model-'));
  cpSync(BRAGG, copy, { recursive: true });
  const calibration = JSON.parse(readFileSync(join(copy, 'calibration.json'), 'utf8')) as Calibration;
  const model = JSON.parse(readFileSync(join(copy, 'model.json'), 'utf8'));
  change(calibration, model);
  writeFileSync(join(copy, 'model.json'), JSON.stringify(model));
  writeFileSync(join(copy, 'calibration.json'), JSON.stringify(calibration));
  return copy;
}

t.test(
  'a calibration of another model, of other weights or variant, or that is nonsense, is refused by name',
  async (t) => {
    const open = (root: string, golden: boolean) => {
      const { model } = openModel(root);
      return () =>
        readCalibration(
          join(root, 'calibration.json'),
          'calibration.json',
          model,
          chooseVariant(model, undefined),
          golden,
        );
    };
    const message = (run: () => unknown): string => {
      try {
        run();
      } catch (reason) {
        return FarfieldError.from(reason).message;
      }
      return 'taken';
    };
    const otherModel = altered((c) => Object.assign(c.model, { name: 'other', digest: '0'.repeat(64) }));
    t.match(message(open(otherModel, true)), /was made for other .*, not for this bragg-nn/);
    const retrained = altered((c) => Object.assign(c.variant, { sha256: '1'.repeat(64) }));
    t.match(message(open(retrained, true)), /made for other weights/);
    const second = altered((c, model) => {
      model.variants.push({ name: 'plan', platform: 'tensorrt_plan', file: 'plan', sha256: '2'.repeat(64) });
      Object.assign(c.variant, { name: 'plan', sha256: '2'.repeat(64) });
    });
    t.match(message(open(second, false)), /made for the variant plan .* no golden check/);
    t.equal(message(open(second, true)), 'taken', 'the golden check shows that both answer alike');
    t.match(
      message(
        open(
          altered((c) => void c.scores.values.reverse()),
          true,
        ),
      ),
      /values decrease/,
    );
    t.match(
      message(
        open(
          altered((c) => void Object.assign(c, { mood: 'good' })),
          true,
        ),
      ),
      /unknown key "mood"/,
    );
  },
);

t.test('a runner refuses a calibration that is not the one that model.json names', async (t) => {
  await using runner = startRunner();
  const copy = altered(() => {});
  copyFileSync(join(copy, 'README.md'), join(copy, 'calibration.json'));
  t.match(await runner.load('ort', { modelRoot: copy }), {
    op: 'failed',
    code: 'E_MODEL',
    message: /calibration.json is not the file/,
  });
  let probed = '';
  const print = (text: string): void => {
    probed += text;
  };
  const parts = { model: copy, variant: undefined, threads: 1, clock: createManualClock(), print };
  t.equal(await COMMANDS.probe?.(parts), EXIT.ok);
  t.match(JSON.parse(probed), { variants: [{ runs: false, reason: /calibration.json is not the file/ }] });
});

t.test('a job has radii, groups, p-values and a verdict; bad rows are flagged and have no radius', async (t) => {
  await using runner = startRunner();
  await runner.load('ort', { modelRoot: BRAGG });
  const values = peaks.patches.slice();
  values[3] = Number.NaN;
  values.fill(0, 121, 242);
  values.fill(7, 242, 363);
  values[363 + 60] = 20_000;
  const input = write('bad.h5', '/patches', 'f4', [ROWS, 11, 11], values).split(':')[0] as string;
  const outDir = mkdtempSync(join(folder, 'out-'));
  const { done } = await runner.call({
    id: 'a',
    args: [file('patches', 'hdf5', input, '/patches'), file('truth', 'hdf5', data, '/true_xy')],
    outDir,
    maxInlineBytes: 0,
    uncertainty: { method: 'symmetry', samples: 200, level: 0.9999 },
  });
  t.match(done.rep, {
    trust: { state: String },
    uncertainty: { n: 20_000, bounds: /true value/, levels: [0.9, 0.95, 0.9999] },
  });
  t.match(
    (done.rep as { uncertainty: { notes: string[] } }).uncertainty.notes.join(),
    /level 0.9999 needs 9999 calibration rows in each group.*from 3.*infinite/,
  );
  using opened = Hdf5File.open(library, done.result?.path as string, 'x');
  const read = (name: string): Float64Array => {
    using dataset = opened.dataset(name);
    return readNumbers(dataset);
  };
  const [radius, group, p, flags] = [read('/uq/radius'), read('/uq/group'), read('/uq/ood_p'), read('/flags')];
  t.equal(radius.length, ROWS * 3);
  t.same([...radius.slice(0, 9)], Array(9).fill(Infinity), 'not finite, empty, constant: no radius is known');
  t.same([...group.slice(0, 3)], [255, 255, 255]);
  t.ok(Number.isNaN(p[0]), 'inputs that are not numbers have no p-value');
  t.same([(flags[0] ?? 0) & 4, (flags[1] ?? 0) & 8, (flags[2] ?? 0) & 8, (flags[3] ?? 0) & 64], [4, 8, 8, 64]);
  t.equal((flags[2] ?? 0) & 1, 1, 'a constant patch is unlike the reference');
  t.ok(radius.slice(12).every((r, i) => (i % 3 === 2 ? r === Infinity : r > 0 && r < 2)));
  t.equal(read('/uq/tta_rows').length, 200);
});

t.test('a method that the model lacks the means for is refused', async (t) => {
  await using runner = startRunner();
  const copy = altered((_, model) => Object.assign(model, { uncertainty: { score: 'l2' } }));
  await runner.load('ort', { modelRoot: copy });
  for (const [method, level, message] of [
    ['conformal', 0.95, /has no error calibration/],
    ['magic', 0.95, /is not served here/],
    ['l2', 1.5, /the level is 1.5/],
  ] as const) {
    const { done } = await runner.call({
      id: method,
      args: [file('patches', 'hdf5', data, '/patches')],
      uncertainty: { method, samples: 0, level },
    });
    t.match(done, { status: 'failed', error: { code: 'E_INPUT', message } });
  }
});
