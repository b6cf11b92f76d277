/** `farfield model`, as the owner of a model uses it: the real verbs, the real runner, a copy of the committed model. */
import '../leaks.ts';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type CliContext, EXIT } from '#base/cli.ts';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { runCli } from '../../client/cli/main.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5Writer } from '../../runner/hdf5/writer.ts';
import { node, model as onnx } from '../runner/onnx-bytes.ts';

const MODELS = fileURLToPath(new URL('../../models/', import.meta.url));
const RUNNER = fileURLToPath(new URL('../../runner/main.ts', import.meta.url));
const SPECTRA = join(MODELS, 'spectra/validation.h5');

/** A copy of the second model as its owner has it before any calibration, and the command line beside it. */
function openShop(t: Test) {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-model-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const model = join(folder, 'mine');
  cpSync(join(MODELS, 'spectra'), model, { recursive: true });
  rmSync(join(model, 'calibration.json'));
  const manifest = (): { uncertainty: { calibration?: unknown } } =>
    JSON.parse(readFileSync(join(model, 'model.json'), 'utf8'));
  const { calibration: _, ...uncertainty } = manifest().uncertainty;
  writeFileSync(join(model, 'model.json'), JSON.stringify({ ...manifest(), uncertainty }));
  const farfield = async (...argv: string[]) => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const context: CliContext = {
      env: { ...process.env, FARFIELD_PROGRESS: '0' },
      stdin: new PassThrough(),
      stdout,
      stderr,
      cwd: folder,
      home: join(folder, 'home'),
      clock: systemClock,
      random: systemRandom,
      signal: new AbortController().signal,
      self: [],
    };
    const code = await runCli(argv, context);
    const text = (stream: PassThrough): string => ((stream.read() as Buffer | null) ?? '').toString();
    return { code, stdout: text(stdout), stderr: text(stderr) };
  };
  return { folder, model, manifest, farfield };
}

const CALIBRATE = ['model', 'calibrate', 'mine', '--input', `${SPECTRA}:/spectra`] as const;

t.test(
  'labelled rows become a calibration that the model names and the runner takes',
  { timeout: 120_000 },
  async (t) => {
    const { model, manifest, farfield } = openShop(t);
    t.notOk('calibration' in manifest().uncertainty, 'the copy has none');
    const made = await farfield(
      ...CALIBRATE,
      '--labels',
      `${SPECTRA}:/label`,
      '--label-text',
      'as simulated',
      '--write',
      '--json',
    );
    t.equal(made.code, EXIT.ok, made.stderr);
    const report = JSON.parse(made.stdout) as { n: number; file: { sha256: string } };
    t.equal(report.n, 1500);
    const written = readFileSync(join(model, 'calibration.json'));
    const sha256 = createHash('sha256').update(written).digest('hex');
    t.equal(report.file.sha256, sha256);
    t.match(
      manifest().uncertainty.calibration,
      { file: 'calibration.json', sha256 },
      'model.json names the file by its digest',
    );
    t.match(JSON.parse(written.toString()), { n: 1500, labels: { kind: 'truth', what: 'as simulated' } });
    // A calibration that is not of this model is refused at every start, so this one is.
    const again = await farfield(...CALIBRATE, '--labels', `${SPECTRA}:/label`, '--out', 'second.json');
    t.equal(again.code, EXIT.ok, again.stderr);
    t.match(again.stdout, /90 %/, 'people read the radii');
    const over = await farfield(...CALIBRATE, '--labels', `${SPECTRA}:/label`);
    t.equal(over.code, EXIT.usage, 'the file that model.json names by its digest is not replaced alone');
    t.match(over.stderr, /--out FILE.*--write/);
    t.strictSame(readFileSync(join(model, 'calibration.json')), written);
  },
);

t.test(
  'what is no calibration data is refused in words, and leaves the folder as it was',
  { timeout: 120_000 },
  async (t) => {
    const { model, manifest, farfield } = openShop(t);
    const before = manifest();
    const cases: readonly [string, readonly string[], number, RegExp][] = [
      ['no labels', [], EXIT.usage, /--labels is missing/],
      ['another kind', ['--labels', `${SPECTRA}:/label`, '--label-kind', 'guess'], EXIT.usage, /truth .* or fit/],
      [
        'elsewhere and named',
        ['--labels', `${SPECTRA}:/label`, '--out', 'x.json', '--write'],
        EXIT.usage,
        /leave --out away/,
      ],
      ['no such labels', ['--labels', `${SPECTRA}:/lable`], EXIT.badInput, /lable/],
      [
        'labels of other rows',
        ['--labels', `${join(MODELS, 'braggnn/validation.h5')}:/true_xy`],
        EXIT.badInput,
        /\[13799, 2\]; \[n\] is needed/,
      ],
    ];
    for (const [name, argv, code, words] of cases) {
      const ran = await farfield(...CALIBRATE, ...argv, ...(argv.includes('--out') ? [] : ['--write']));
      t.equal(ran.code, code, name);
      t.match(ran.stderr, words, name);
    }
    t.notOk(existsSync(join(model, 'calibration.json')));
    t.strictSame(manifest(), before);
  },
);

t.test(
  'a model of one column, described from its file alone, is calibrated, named, served and compared',
  { timeout: 120_000 },
  async (t) => {
    const { folder, farfield } = openShop(t);
    const own = join(folder, 'own');
    mkdirSync(own);
    writeFileSync(join(own, 'same.onnx'), onnx([node('Identity')], [], [1]));
    const rows = 400;
    const library = await createHdf5Loader().acquire();
    {
      using writer = new Hdf5Writer(library, join(folder, 'rows.h5'), { chunkRows: 64, durable: false });
      const numbers = (at: (i: number) => number) =>
        new Uint8Array(Float32Array.from({ length: rows }, (_, i) => at(i)).buffer);
      writer.createDataset('/x', 'f4', [rows, 1]);
      writer.writeRows(
        '/x',
        0,
        rows,
        numbers((i) => i),
      );
      writer.createDataset('/flat', 'f4', [rows]);
      writer.writeRows(
        '/flat',
        0,
        rows,
        numbers((i) => i + (i % 7) / 10),
      );
      writer.commit();
    }
    t.equal((await farfield('model', 'init', 'own/same.onnx', '--golden')).code, EXIT.ok);
    const [input, labels] = ['rows.h5:/x', 'rows.h5:/flat'];
    const made = await farfield('model', 'calibrate', 'own', '--input', input, '--labels', labels, '--write');
    t.equal(made.code, EXIT.ok, made.stderr);
    const runner = (...argv: string[]) =>
      spawnSync(process.execPath, [RUNNER, ...argv], { cwd: folder, encoding: 'utf8', timeout: 60_000 });
    const tested = runner('selftest', '--model', 'own');
    t.equal(tested.status, 0, tested.stdout + tested.stderr);
    const ran = runner(
      'batch',
      '--model',
      'own',
      '--input',
      input,
      '--labels',
      'rows.h5:/x',
      '--out',
      'done',
      '--json',
    );
    t.equal(ran.status, 0, ran.stdout + ran.stderr);
    const nowhere = spawnSync(process.execPath, [RUNNER, 'selftest', '--model', 'own'], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, TMPDIR: join(folder, 'nowhere') },
    });
    t.match(nowhere.stdout, /no scratch folder can be made in .*nowhere \(ENOENT\); set TMPDIR/);
    t.equal(nowhere.status, 4);
  },
);
