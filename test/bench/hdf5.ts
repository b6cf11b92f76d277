/**
 * One million 11 x 11 FP32 patches (484 MB), in one piece and in gzip chunks: read through the runner's source, beside h5wasm
 * alone reading the same chunks without any check; then the whole job over the file, beside bare onnxruntime-node on an array in
 * memory. Every measurement is a process of its own, so that its peak of memory is its own too.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VALIDATION } from '../e2e/world.ts';
import { type Figures, median } from './figures.ts';
import type { Ask, Told } from './hdf5-process.ts';
import { peakRssMb } from './processes.ts';

const ROWS = 1_000_000;
const PAIRS = 3;
/** Rows of each of the two bare runs around the job. */
const BARE_SHARE = 0.2;

/** Fewer seconds, fewer rows of the job: from 30 on it is the whole million. */
export async function hdf5(seconds: number): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-bench-hdf5-'));
  try {
    const rows = Math.min(ROWS, Math.max(20_000, Math.round((ROWS * seconds) / 30)));
    const reading: Figures = {
      ...(await readPairs(folder, 'contiguous')),
      ...(await readPairs(folder, 'gzip')),
    };
    return { ...reading, ...(await inference(folder, rows)) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Interleaved pairs, so that a slow minute of the machine slows both. */
async function readPairs(folder: string, variant: 'contiguous' | 'gzip'): Promise<Figures> {
  const path = join(folder, `${variant}.h5`);
  await inProcess({ what: 'write', path, rows: ROWS, gzip: variant === 'gzip', from: VALIDATION });
  const pairs: { ours: Told; bare: Told }[] = [];
  for (let k = 0; k < PAIRS; k++) {
    pairs.push({
      ours: await inProcess({ what: 'read', path }),
      bare: await inProcess({ what: 'read bare', path }),
    });
  }
  if (pairs.some(({ ours, bare }) => ours.digest !== bare.digest)) throw new Error('the two readers differ');
  rmSync(path);
  const rate = (told: readonly Told[]): number => ROWS / median(told.map(({ ms }) => ms)) / 1000;
  const ours = pairs.map((pair) => pair.ours);
  const bare = pairs.map((pair) => pair.bare);
  return {
    [`${variant}: reading, of bare h5wasm`]: {
      value: median(pairs.map((pair) => (100 * pair.bare.ms) / pair.ours.ms)),
      unit: '%',
      bar: 90,
      more: true,
    },
    [`${variant}: peak memory of the reading process`]: {
      value: Math.max(...ours.map(({ peakMb }) => peakMb)),
      unit: 'MB',
      bar: 300,
    },
    [`${variant}: reading`]: { value: rate(ours), unit: 'M rows/s' },
    [`${variant}: bare h5wasm`]: { value: rate(bare), unit: 'M rows/s' },
  };
}

/** The job by the built runner over its pipe, between two halves of the bare run. */
async function inference(folder: string, rows: number): Promise<Figures> {
  const path = join(folder, 'job.h5');
  await inProcess({ what: 'write', path, rows, gzip: false, from: VALIDATION });
  const bareRows = Math.round(rows * BARE_SHARE);
  const before = await inProcess({ what: 'infer bare', path, rows: bareRows });
  // Its programs are found when the module is loaded.
  process.env.RUNNER_MAIN = fileURLToPath(new URL('../../dist/runner.mjs', import.meta.url));
  const { BRAGG, file, item, startRunner } = await import('../runner/client.ts');
  await using client = startRunner();
  await client.load('ort', { modelRoot: BRAGG });
  const start = performance.now();
  const { done } = await client.call(
    item({ id: 'a', args: [file('patches', 'hdf5', path, '/patches')], outDir: folder }),
  );
  const ms = performance.now() - start;
  if (done.status !== 'succeeded') throw new Error(`the job failed: ${JSON.stringify(done.error)}`);
  const peak = peakRssMb(client.child.pid ?? 0);
  const after = await inProcess({ what: 'infer bare', path, rows: bareRows });
  const bareMs = ((before.ms + after.ms) / 2 / bareRows) * rows;
  return {
    'job over the file, of bare onnxruntime-node': { value: (100 * bareMs) / ms, unit: '%', bar: 90, more: true },
    'job: peak memory of the runner': { value: peak, unit: 'MB', bar: 300 },
    'job: rows': { value: rows, unit: 'rows' },
    'job: rate': { value: (1000 * rows) / ms, unit: 'rows/s' },
    'bare onnxruntime-node': { value: (1000 * rows) / bareMs, unit: 'rows/s' },
  };
}

async function inProcess(ask: Ask): Promise<Told> {
  const main = fileURLToPath(new URL('./hdf5-process.ts', import.meta.url));
  const child = spawn(process.execPath, [main, JSON.stringify(ask)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${ask.what} ended with ${code}`);
  return JSON.parse(text) as Told;
}
