/**
 * A model that is unlike the first (spectra instead of images, class probabilities instead of a place), at the same endpoint, by
 * the same verbs. Nothing is told to broker, agent, pilot or runner but the folder of the model.
 */
import '../leaks.ts';
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
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

t.test(
  'the demo shows the second model by its own words and pictures, on its rows and on a file of one’s own',
  async (t) => {
    t.setTimeout(280_000);
    const folder = mkdtempSync(join(tmpdir(), 'farfield-second-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const own = join(folder, 'own.h5');
    cpSync(LABELLED, own);
    mkdirSync(join(folder, 'out'));
    const { code, text } = await demo(
      ...['--model', SPECTRA, '--input', `${own}:/spectra`, '--truth', '/label'],
      ...['--out', join(folder, 'out'), '--json'],
    );
    t.equal(code, 0, text);
    const report = JSON.parse(text.trim().split('\n').at(-1) ?? '') as { classes: { confusion: number[][] } };
    t.match(report, { model: 'spectra', n: ROWS, classes: { accuracy: Number }, receipt: { verified: true } });
    t.equal(
      report.classes.confusion.flat().reduce((a, b) => a + b),
      ROWS,
    );
    t.match(text, /spectra compared +1500/);
    t.match(text, /true, by row; found, by column/);
    t.notMatch(text, /\b(peaks?|patch(es)?|centres?)\b/i, 'nothing of the first model is said');
    const pictures = readdirSync(join(folder, 'out')).filter((name) => name.endsWith('.svg'));
    t.same(pictures.sort(), ['confusion.svg', 'reliability.svg', 'spectra.svg']);
    for (const name of pictures) {
      const svg = readFileSync(join(folder, 'out', name), 'utf8');
      t.match(svg, /^<svg [\s\S]*<\/svg>\n$/);
      t.notMatch(svg, /NaN|undefined|Infinity/, `${name} holds numbers alone`);
      const open = svg.match(/<[a-z]+[^>]*[^/]>/g)?.length;
      t.equal(svg.match(/<\/[a-z]+>/g)?.length, open, `${name}: every element is closed`);
    }
    t.match(readFileSync(join(folder, 'out', 'spectra.svg'), 'utf8'), /energy \(keV\)/);
  },
);

async function demo(...args: readonly string[]): Promise<{ code: number | null; text: string }> {
  const env = { PATH: process.env.PATH ?? '', FARFIELD_PROGRESS: '0' };
  const child = spawn(process.execPath, [join(root, 'client', 'demo', 'main.ts'), ...args], { env });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, text };
}
