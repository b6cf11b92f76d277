/**
 * The main job, submit to verified result, against bare onnxruntime-node on the same patches (batch 128, two threads, array
 * in memory): nine interleaved pairs, so that a slow minute of the machine slows both.
 */
import { appendFileSync, copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemRandom } from '#base/random.ts';
import type { Client } from '../../client/ts/client.ts';
import { outcomeError } from '../../client/ts/outcome.ts';
import type { ArgInput } from '../../client/ts/submission.ts';
import { MODEL_FOLDER, startWorld, VALIDATION, type World } from '../e2e/world.ts';
import { type Figures, median } from './figures.ts';
import { peakRssMb, runnersOf } from './processes.ts';

const PAIRS = 9;
const BATCH = 128;

export async function job(): Promise<Figures> {
  await using world = await startWorld({ slots: 1, built: true });
  await using client = await world.openClient();
  const bare = await openBare();
  const ours = (file: string, uploaded: boolean): Promise<number> => timed(() => runJob(world, client, file, uploaded));
  await ours(VALIDATION, false);
  await bare.run();
  const inPlace: { ours: number; bare: number }[] = [];
  const uploaded: { ours: number; bare: number }[] = [];
  for (let k = 0; k < PAIRS; k++) {
    inPlace.push({ ours: await ours(VALIDATION, false), bare: await timed(bare.run) });
    // Other bytes each time, or the broker would have them already: HDF5 takes no notice of bytes behind its end.
    const file = join(world.folder, `copy-${k}.h5`);
    copyFileSync(VALIDATION, file);
    appendFileSync(file, systemRandom.bytes(16));
    uploaded.push({ ours: await ours(file, true), bare: await timed(bare.run) });
  }
  const ratio = (pairs: readonly { ours: number; bare: number }[]): number =>
    median(pairs.map((pair) => pair.ours / pair.bare));
  return {
    'file at the endpoint': { value: ratio(inPlace), unit: 'x bare', bar: 1.25 },
    'file uploaded': { value: ratio(uploaded), unit: 'x bare', bar: 1.4 },
    'job in place': { value: median(inPlace.map((pair) => pair.ours)), unit: 'ms' },
    'job uploaded': { value: median(uploaded.map((pair) => pair.ours)), unit: 'ms' },
    'bare onnxruntime-node': { value: median([...inPlace, ...uploaded].map((pair) => pair.bare)), unit: 'ms' },
    'peak memory of the runner': { value: Math.max(...runnersOf(world.folder).map(peakRssMb)), unit: 'MB', bar: 250 },
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function runJob(world: World, client: Client, file: string, uploaded: boolean): Promise<void> {
  const blob = uploaded ? await client.uploadFile(file) : undefined;
  const arg = (name: string, sel: string): ArgInput =>
    blob === undefined ? { name, type: 'hdf5', path: file, sel } : { name, type: 'hdf5', blob, sel };
  const { ticket } = await client.submit({
    terms: world.termsOf(client, world.bragg),
    manifest: readFileSync(world.bragg, 'utf8'),
    items: [{ args: [arg('patches', '/patches'), arg('truth', '/true_xy')] }],
  });
  const outcome = await ticket.item(0);
  const failure = outcomeError(outcome);
  if (failure !== undefined) throw failure;
  await client.downloadTo(outcome.resultDigest ?? '', join(world.folder, 'out.h5'));
}

/** The same network over the same patches, as an array that is ready in memory: nothing but inference is timed. */
async function openBare(): Promise<{ run: () => Promise<void> }> {
  const [{ default: h5, ready }, ort] = await Promise.all([import('h5wasm/node'), import('onnxruntime-node')]);
  await ready;
  const file = new h5.File(VALIDATION, 'r');
  const patches = (file.get('/patches') as InstanceType<typeof h5.Dataset>).value as Float32Array;
  file.close();
  const values = Float32Array.from(patches);
  const size = 121;
  const rows = values.length / size;
  for (let row = 0; row < rows; row++) scale(values.subarray(row * size, (row + 1) * size));
  const session = await ort.InferenceSession.create(join(MODEL_FOLDER, 'model.onnx'), {
    intraOpNumThreads: 2,
    interOpNumThreads: 1,
  });
  return {
    async run() {
      for (let row = 0; row < rows; row += BATCH) {
        const count = Math.min(BATCH, rows - row);
        const data = values.subarray(row * size, (row + count) * size);
        await session.run({ patch: new ort.Tensor('float32', data, [count, 1, 11, 11]) });
      }
    },
  };
}

function scale(patch: Float32Array): void {
  const low = Math.min(...patch);
  const high = Math.max(...patch);
  for (let k = 0; k < patch.length; k++) patch[k] = ((patch[k] ?? 0) - low) / (high - low);
}
