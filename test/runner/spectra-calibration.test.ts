import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createManualClock, systemClock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import type { Calibration } from '#protos/calibration.ts';
import type { RunnerArg } from '#protos/runner.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5File, readNumbers } from '../../runner/hdf5/reader.ts';
import { Hdf5Writer } from '../../runner/hdf5/writer.ts';
import { createModelCalls } from '../../runner/model-calls.ts';
import { runCalibrate } from '../../runner/uncertainty/command.ts';
import { coverageLimits } from '../../runner/uncertainty/conformal.ts';
import type { TrustReport, UncertaintyReport } from '../../runner/uncertainty/report.ts';
import { file, startRunner } from './client.ts';

const SPECTRA = fileURLToPath(new URL('../../models/spectra', import.meta.url));
const VALIDATION = join(SPECTRA, 'validation.h5');
const [ROWS, CHANNELS, CLASSES] = [1500, 512, 6];
const folder = mkdtempSync(join(tmpdir(), 'farfield-spectra-'));
const library = await createHdf5Loader().acquire();

function numbers(path: string, dataset: string): Float64Array {
  using opened = Hdf5File.open(library, path, 'x');
  using data = opened.dataset(dataset);
  return readNumbers(data);
}

/** A file with /spectra and /label. */
function write(name: string, counts: Uint16Array, labels: Int32Array): string {
  const path = join(folder, name);
  using writer = new Hdf5Writer(library, path, { chunkRows: 64, durable: false });
  writer.createDataset('/spectra', 'u2', [counts.length / CHANNELS, CHANNELS]);
  writer.writeRows('/spectra', 0, counts.length / CHANNELS, new Uint8Array(counts.buffer));
  writer.createDataset('/label', 'i4', [labels.length]);
  writer.writeRows('/label', 0, labels.length, new Uint8Array(labels.buffer));
  writer.commit();
  return path;
}

const counts = Uint16Array.from(numbers(VALIDATION, '/spectra'));
const labels = Int32Array.from(numbers(VALIDATION, '/label'));
const calibration = JSON.parse(readFileSync(join(SPECTRA, 'calibration.json'), 'utf8')) as Calibration;

const runner = startRunner();
await runner.load('ort', { modelRoot: SPECTRA });
t.teardown(async () => {
  await runner[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

interface Said {
  readonly path: string;
  readonly trust: TrustReport;
  readonly uncertainty: UncertaintyReport;
}

let jobs = 0;
async function job(path: string, withLabels: boolean): Promise<Said> {
  const args: RunnerArg[] = [file('spectra', 'hdf5', path, '/spectra')];
  if (withLabels) args.push(file('truth', 'hdf5', path, '/label'));
  const outDir = mkdtempSync(join(folder, 'out-'));
  const { done } = await runner.call({ id: `job${jobs++}`, args, outDir, maxInlineBytes: 0 });
  if (done.status !== 'succeeded') throw new Error(done.error?.message);
  return { path: done.result?.path as string, ...(done.rep as unknown as Omit<Said, 'path'>) };
}

t.test('every row has a set of classes that holds the true one as often as it says, in every group', async (t) => {
  const { path, uncertainty, trust } = await job(VALIDATION, true);
  t.match(uncertainty, { levels: [0.9, 0.95], bounds: /^1 - p of the true class/, units: 'probability', n: 6000 });
  t.equal(trust.state, 'TRUSTED');
  const sets = numbers(path, '/uq/set');
  const groups = numbers(path, '/uq/group');
  const p = numbers(path, '/pred');
  t.equal(sets.length, ROWS * 2 * CLASSES);
  const holds = (row: number, level: number): boolean => sets[(row * 2 + level) * CLASSES + (labels[row] ?? 0)] === 1;
  const covered = (rows: readonly number[], level: number): number =>
    rows.filter((row) => holds(row, level)).length / rows.length;
  const all = Array.from({ length: ROWS }, (_, row) => row);
  for (const [l, level] of [0.9, 0.95].entries()) {
    for (const [g, { scores }] of (calibration.groups?.bins ?? []).entries()) {
      const rows = all.filter((row) => groups[row] === g);
      const { low, high } = coverageLimits(scores.n, rows.length, level, 0.001);
      const part = covered(rows, l);
      t.ok(part >= low && part <= high, `group ${g} at ${level}: ${part} of ${rows.length}, ${low} to ${high}`);
    }
    const { low, high } = coverageLimits(calibration.n, ROWS, level, 0.001);
    t.ok(covered(all, l) >= low && covered(all, l) <= high, `all at ${level}: ${covered(all, l)}, ${low} to ${high}`);
  }
  let [nested, asDeclared, size] = [0, 0, 0];
  for (const row of all) {
    for (let c = 0; c < CLASSES; c++) {
      const [at90, at95] = [sets[row * 2 * CLASSES + c] ?? 0, sets[(row * 2 + 1) * CLASSES + c] ?? 0];
      if (at90 <= at95) nested++;
      const radius = uncertainty.groups[groups[row] ?? 0]?.radius[1] ?? 0;
      if (at95 === (1 - (p[row * CLASSES + c] ?? 0) <= radius * (1 + 1e-6) ? 1 : 0)) asDeclared++;
      size += at95;
    }
  }
  t.equal(nested, ROWS * CLASSES, 'what is in the 90 % set is in the 95 % set');
  t.equal(asDeclared, ROWS * CLASSES, 'a class is in the set if its probability lacks no more to 1 than the radius');
  t.ok(size / ROWS > 1 && size / ROWS < 1.5, `${size / ROWS} classes a row: sets say something`);
});

t.test('a background that was never seen is noticed without labels', async (t) => {
  const random = createSeededRandom('background');
  // Whole counts of 30 to 50 in every channel: ten times what most spectra hold.
  const changed = counts.map((count) => count + 30 + Math.floor(20 * random.uniform()));
  const { trust } = await job(write('background.h5', changed, labels), false);
  t.equal(trust.state, 'NOT_TRUSTED');
  t.ok(trust.reasons.some(({ code }) => code === 'ood'));
  t.ok(
    trust.reasons.every(({ code }) => !code.startsWith('label')),
    'inputs unlike the reference: nothing of errors',
  );
});

t.test('an energy axis that is off by one line is found by labels, and by nothing else', async (t) => {
  const shift = 25;
  const changed = new Uint16Array(counts.length);
  for (let i = 0; i < counts.length; i++) {
    const channel = i % CHANNELS;
    if (channel >= shift) changed[i] = counts[i - shift] as number;
  }
  const path = write('shifted.h5', changed, labels);
  const { trust } = await job(path, true);
  t.equal(trust.state, 'NOT_TRUSTED');
  const codes = trust.reasons.map(({ code }) => code);
  t.ok(codes.includes('coverage') && codes.includes('label_mean'), codes.join(', '));
});

interface Made {
  readonly code: number;
  readonly out: string;
  readonly report: {
    readonly ok: boolean;
    readonly error?: { readonly code: string; readonly message: string };
    readonly notes?: readonly string[];
    readonly radii?: readonly { readonly n: number; readonly r90: number | null; readonly r95: number | null }[];
  };
}

async function make(input: string, truth: string, model = SPECTRA): Promise<Made> {
  const out = join(mkdtempSync(join(folder, 'made-')), 'calibration.json');
  let text = '';
  const code = await runCalibrate(['--model', model, '--input', input, '--labels', truth, '--out', out], {
    clock: systemClock,
    threads: 2,
    print: (more) => {
      text += more;
    },
    complain: (more) => {
      text += more;
    },
  });
  return { code, out, report: JSON.parse(text) as Made['report'] };
}

t.test(
  'an error calibration of a classifier is made by the same command, the same bytes from the same rows',
  async (t) => {
    const [a, b] = [
      await make(`${VALIDATION}:/spectra`, `${VALIDATION}:/label`),
      await make(`${VALIDATION}:/spectra`, `${VALIDATION}:/label`),
    ];
    t.equal(a.code, 0);
    t.same(readFileSync(a.out), readFileSync(b.out));
    const made = JSON.parse(readFileSync(a.out, 'utf8')) as Calibration;
    t.match(made, { score: 'class_probability', units: 'probability', n: ROWS, groups: { by: 'total' } });
    t.equal(made.model.digest, calibration.model.digest, 'it is of the same decisions as the one that is shipped');
    const [own, shipped] = [made.summary.mean, calibration.summary.mean];
    t.ok(Math.abs(own - shipped) < 0.02, `mean of 1 - p: ${own} here, ${shipped} in the shipped one`);
  },
);

t.test('too few rows for a level give no radius and say so; labels that do not fit are refused', async (t) => {
  const few = write('few.h5', counts.slice(0, 40 * CHANNELS), labels.slice(0, 40));
  const { code, report } = await make(`${few}:/spectra`, `${few}:/label`);
  t.equal(code, 0);
  const poor = report.radii?.filter(({ n }) => n < 19) ?? [];
  t.ok(poor.length > 0 && poor.every(({ r95 }) => r95 === null), 'infinite, not small');
  t.ok(report.notes?.some((note) => /too few for 0\.95.*infinite; 19 are needed/.test(note)));
  t.ok(report.notes?.some((note) => /no reference of the inputs/.test(note)));
  const wrong = write('wrong.h5', counts.slice(0, 40 * CHANNELS), labels.slice(0, 40).fill(6, 7, 8));
  t.match((await make(`${wrong}:/spectra`, `${wrong}:/label`)).report, {
    ok: false,
    error: { code: 'E_INPUT', message: /label of row 7 is 6; classes are whole numbers from 0 \(Cr\) to 5 \(Cu\)/ },
  });
  t.match((await make(`${few}:/spectra`, `${VALIDATION}:/label`)).report, {
    error: { code: 'E_INPUT', message: /has 1500 rows, .* has 40/ },
  });
  t.match((await make(`${few}:/spectra`, `${VALIDATION}:/amounts`)).report, { error: { message: /\[n\] is needed/ } });
});

t.test('a calibration that was made for other steps is refused at load', async (t) => {
  const path = mkdtempSync(join(folder, 'model-'));
  for (const name of readdirSync(SPECTRA)) cpSync(join(SPECTRA, name), join(path, name));
  const model = JSON.parse(readFileSync(join(SPECTRA, 'model.json'), 'utf8')) as { groups: object };
  writeFileSync(join(path, 'model.json'), JSON.stringify({ ...model, groups: { by: 'total', edges: [0, 500] } }));
  const calls = createModelCalls('ort', createManualClock());
  const request = { modelRoot: path, variant: undefined, entry: {}, threads: 1, scratchDir: folder };
  await t.rejects(calls.load(request), { code: 'E_MODEL', message: /was made for .* other steps, groups or features/ });
  await calls.close();
});
