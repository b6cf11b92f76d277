/** One measurement of the HDF5 bench, in a process of its own: `node hdf5-process.ts '{"what":...}'` prints one JSON object. */
import { createHash, type Hash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { blockRows } from '../../runner/job.ts';
import { openSource } from '../../runner/sources.ts';
import { MODEL_FOLDER } from '../e2e/world.ts';

export type Ask =
  | {
      readonly what: 'write';
      readonly path: string;
      readonly rows: number;
      readonly gzip: boolean;
      readonly from: string;
    }
  | { readonly what: 'read'; readonly path: string }
  | { readonly what: 'read bare'; readonly path: string }
  | { readonly what: 'infer bare'; readonly path: string; readonly rows: number };

export interface Told {
  readonly ms: number;
  readonly peakMb: number;
  readonly digest: string;
}

const SIZE = 121;
const ROW_BYTES = SIZE * 4;
const CHUNK_ROWS = 1024;
const BATCH = 128;
/** Rows that bare inference holds in memory and goes over again. */
const HELD_ROWS = 40_000;

const { default: h5, ready } = await import('h5wasm/node');

/** Real patches over and over, so that gzip has what it has in life. */
async function write(path: string, rows: number, gzip: boolean, from: string): Promise<void> {
  const module = await ready;
  const source = new h5.File(from, 'r');
  const patches = (source.get('/patches') as InstanceType<typeof h5.Dataset>).value as Float32Array;
  source.close();
  // Behind the guard, which keeps what the library prints: creating without data is a failed write of none to it.
  using _lease = (await createHdf5Loader().acquire()).allow(path);
  const id = module.open(path, module.H5F_ACC_TRUNC, false, -1, -1);
  const shape = [BigInt(rows), 11n, 11n];
  module.create_dataset(id, '/patches', 0n, {
    ...{ type: 1, size: 4, signed: true, vlen: false, littleEndian: true, total_size: rows * SIZE, shape },
    ...{ maxshape: shape, chunks: gzip ? [CHUNK_ROWS, 11, 11] : null, track_order: false },
    ...(gzip ? { compression: 1, compression_opts: [4] } : { compression: 0, compression_opts: [] }),
  } as unknown as Parameters<typeof module.create_dataset>[3]);
  const pointer = module._malloc(CHUNK_ROWS * ROW_BYTES);
  const chunk = new Float32Array(CHUNK_ROWS * SIZE);
  for (let row = 0; row < rows; row += CHUNK_ROWS) {
    const count = Math.min(CHUNK_ROWS, rows - row);
    for (let k = 0; k < count * SIZE; k++) chunk[k] = patches[(row * SIZE + k) % patches.length] as number;
    module.HEAPU8.set(new Uint8Array(chunk.buffer, 0, count * ROW_BYTES), pointer);
    const [at, n] = [BigInt(row), BigInt(count)];
    module.set_dataset_data(id, '/patches', [n, 11n, 11n], [at, 0n, 0n], [1n, 1n, 1n], BigInt(pointer));
  }
  module.close_file(id);
}

/** As the job reads: block by block into shared memory. */
async function read(path: string, hash: Hash | undefined): Promise<number> {
  const loader = createHdf5Loader();
  await loader.acquire();
  const start = performance.now();
  using source = await openSource(
    { arg: { name: 'patch', type: 'hdf5', at: 'file', path, sel: '/patches', size: 0 }, bytes: undefined },
    { rowShape: [11, 11], stored: undefined, dataset: undefined },
    { hdf5: () => loader.acquire(), scratchDir: tmpdir() },
  );
  const rows = blockRows(source);
  const block = new Uint8Array(new SharedArrayBuffer(rows * source.rowBytes));
  for (let row = 0; row < source.rows; row += rows) {
    const count = Math.min(rows, source.rows - row);
    source.readRows(row, count, block.subarray(0, count * source.rowBytes));
    hash?.update(block.subarray(0, count * source.rowBytes));
  }
  return performance.now() - start;
}

/** The library alone: one call a chunk, and the copy out of its memory that every use needs. */
async function readBare(path: string, hash: Hash | undefined): Promise<number> {
  const module = await ready;
  const start = performance.now();
  const id = module.open(path, module.H5F_ACC_RDONLY, false, -1, -1);
  const [rows = 0] = module.get_dataset_metadata(id, '/patches').shape ?? [];
  const pointer = module._malloc(CHUNK_ROWS * ROW_BYTES);
  const block = new Uint8Array(new SharedArrayBuffer(CHUNK_ROWS * ROW_BYTES));
  for (let row = 0; row < rows; row += CHUNK_ROWS) {
    const count = Math.min(CHUNK_ROWS, rows - row);
    const [at, n] = [BigInt(row), BigInt(count)];
    module.get_dataset_data(id, '/patches', [n, 11n, 11n], [at, 0n, 0n], [1n, 1n, 1n], BigInt(pointer));
    block.set(module.HEAPU8.subarray(pointer, pointer + count * ROW_BYTES));
    hash?.update(block.subarray(0, count * ROW_BYTES));
  }
  module.close_file(id);
  return performance.now() - start;
}

/** The network alone, on scaled patches that lie ready. */
async function inferBare(path: string, rows: number): Promise<number> {
  await ready;
  const file = new h5.File(path, 'r');
  const held = Math.min(rows, HELD_ROWS);
  const slice = (file.get('/patches') as InstanceType<typeof h5.Dataset>).slice([[0, held], [], []]) as Float32Array;
  file.close();
  const values = Float32Array.from(slice);
  for (let row = 0; row < held; row++) {
    const patch = values.subarray(row * SIZE, (row + 1) * SIZE);
    const [low, high] = [Math.min(...patch), Math.max(...patch)];
    for (let k = 0; k < SIZE; k++) patch[k] = ((patch[k] ?? 0) - low) / (high - low);
  }
  const ort = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(join(MODEL_FOLDER, 'model.onnx'), {
    intraOpNumThreads: 2,
    interOpNumThreads: 1,
  });
  const run = async (from: number, count: number): Promise<void> => {
    const data = values.subarray(from * SIZE, (from + count) * SIZE);
    await session.run({ patch: new ort.Tensor('float32', data, [count, 1, 11, 11]) });
  };
  await run(0, Math.min(BATCH, held));
  const start = performance.now();
  for (let row = 0; row < rows; row += BATCH) {
    const from = row % (held - (held % BATCH) || BATCH);
    await run(from, Math.min(BATCH, held - from));
  }
  return performance.now() - start;
}

async function main(ask: Ask): Promise<void> {
  const hash = createHash('sha256');
  let ms = 0;
  if (ask.what === 'write') await write(ask.path, ask.rows, ask.gzip, ask.from);
  else if (ask.what === 'read') ms = await read(ask.path, undefined);
  else if (ask.what === 'read bare') ms = await readBare(ask.path, undefined);
  else if (ask.what === 'infer bare') ms = await inferBare(ask.path, ask.rows);
  const peakMb = process.resourceUsage().maxRSS / 1024;
  // Values are compared in a second pass, behind what was measured.
  if (ask.what === 'read') await read(ask.path, hash);
  if (ask.what === 'read bare') await readBare(ask.path, hash);
  const told: Told = { ms, peakMb, digest: hash.digest('hex') };
  process.stdout.write(`${JSON.stringify(told)}\n`);
}

await main(JSON.parse(process.argv[2] ?? '') as Ask);
