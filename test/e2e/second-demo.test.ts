/** The demo with another model than its own: by the words and pictures of that model's folder. */
import '../leaks.ts';
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../..', import.meta.url));
const SPECTRA = join(root, 'models', 'spectra');
const ROWS = 1500;

t.test('the demo shows the second model by its own words and pictures, on a file of one’s own', async (t) => {
  t.setTimeout(280_000);
  const folder = mkdtempSync(join(tmpdir(), 'farfield-second-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const own = join(folder, 'own.h5');
  cpSync(join(SPECTRA, 'validation.h5'), own);
  mkdirSync(join(folder, 'out'));
  const { code, text } = await demo(
    ...['--model', SPECTRA, '--input', `${own}:/spectra`, '--truth', '/label'],
    ...['--out', join(folder, 'out'), '--json'],
  );
  t.equal(code, 0, text);
  const report = JSON.parse(text.trim().split('\n').at(-1) ?? '') as { classes: { confusion: number[][] } };
  t.match(report, {
    model: 'spectra',
    n: ROWS,
    classes: { accuracy: Number },
    receipt: { verified: true },
    trust: 'TRUSTED',
  });
  t.equal(
    report.classes.confusion.flat().reduce((a, b) => a + b),
    ROWS,
  );
  t.match(text, /spectra compared +1500/);
  t.match(text, /classes that hold the true one +in 90 % +in 95 %/);
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
});

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
