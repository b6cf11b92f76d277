/**
 * A model that is unlike the first (spectra instead of images, class probabilities instead of a place), at the same endpoint, by
 * the same verbs. Nothing is told to broker, agent, pilot or runner but the folder of the model.
 */
import '../leaks.ts';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5File, readNumbers } from '../../runner/hdf5/reader.ts';
import { startWorld, VALIDATION } from './world.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const SPECTRA = join(root, 'models', 'spectra');
const LABELLED = join(SPECTRA, 'validation.h5');
const CLASSES = ['Cr', 'Mn', 'Fe', 'Co', 'Ni', 'Cu'];
const ROWS = 1500;
const BAD_INPUT = 7;

interface Called {
  readonly status: string;
  readonly receipt: object;
  readonly rep: {
    readonly summary: { readonly n: number; readonly accuracy: number };
    readonly inputRowsDigest: string;
  };
}

t.test('two unlike models at one endpoint are signed, called and receipted by the same verbs', async (t) => {
  t.setTimeout(280_000);
  await using world = await startWorld({ models: [SPECTRA], readable: [SPECTRA] });
  const manifest = join(world.folder, 'spectra.manifest');
  await world.json('user', 'function', 'sign', SPECTRA, '--out', manifest);
  const out = join(world.folder, 'out.h5');
  const run = (file: string, labels: string) => [
    ...['run', manifest, '--endpoint', 'here', '--arg', `spectra=${file}:/spectra`],
    ...['--arg', `truth=${labels}`, '--out', out],
  ];
  const done: Called[] = [];
  for (const file of [`endpoint:${LABELLED}`, LABELLED]) {
    done.push((await world.json('user', ...run(file, `${file}:/label`))) as unknown as Called);
  }
  for (const { status, receipt, rep } of done) {
    t.equal(status, 'succeeded');
    t.match(receipt, { verified: true, endpoint: world.endpoint });
    t.match(rep.summary, { score: 'class_probability', n: ROWS, classes: CLASSES });
    t.ok(rep.summary.accuracy > 0.88 && rep.summary.accuracy < 0.95, `accuracy ${rep.summary.accuracy}`);
  }
  t.same(done[0]?.rep.summary, done[1]?.rep.summary, 'at the endpoint or uploaded: the same rows, the same answers');
  t.equal(done[0]?.rep.inputRowsDigest, done[1]?.rep.inputRowsDigest);
  await matches(t, out, done[0]?.rep.summary.accuracy ?? 0);

  const wrong = await world.farfield('user', ...run(`endpoint:${LABELLED}`, `endpoint:${LABELLED}:/amounts`), '--json');
  t.equal(wrong.code, BAD_INPUT);
  t.match(
    wrong.stdout,
    /\/amounts has the shape \[1500, 6\]; \[n\] is needed/,
    'whoever called is told what is needed',
  );

  const golden = `endpoint:${VALIDATION.replace('validation.h5', 'golden.h5')}`;
  const args = ['--arg', `patches=${golden}:/patches`, '--arg', `truth=${golden}:/center`, '--out', out];
  const first = (await world.json('user', 'run', world.bragg, '--endpoint', 'here', ...args)) as unknown as Called;
  t.match(
    first.rep.summary,
    { n: 64, units: 'px', bias: { x: Number, y: Number } },
    'the first model is served beside',
  );
});

/** The file that came back holds what the receipt's summary was computed from. */
async function matches(t: Test, path: string, accuracy: number): Promise<void> {
  const library = await createHdf5Loader().acquire();
  const read = (file: string, dataset: string): Float64Array => {
    using opened = Hdf5File.open(library, file, 'x');
    using data = opened.dataset(dataset);
    return readNumbers(data);
  };
  const p = read(path, '/pred');
  const labels = read(LABELLED, '/label');
  const right = labels.filter((label, row) => {
    const of = [...p.subarray(row * CLASSES.length, (row + 1) * CLASSES.length)];
    return of.indexOf(Math.max(...of)) === label;
  });
  t.ok(Math.abs(right.length / ROWS - accuracy) < 1e-6);
}
