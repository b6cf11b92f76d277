/**
 * `farfield-runner init`: a model.json for an ONNX file, with what the file itself says of its input and output.
 *
 * What a file cannot say (units, steps before and after, what a column means) is left for its author; what is written is a model
 * that runs as it is, on FP32 rows of the shape that the network takes.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { createSeededRandom } from '#base/random.ts';
import { sha256Hex } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Model } from '#protos/model.ts';
import type { TensorFacts } from './adapters/adapter.ts';
import { createOrt } from './adapters/ort.ts';
import { EXIT } from './exits.ts';
import { createHdf5Loader } from './hdf5/library.ts';
import { Hdf5Writer } from './hdf5/writer.ts';
import { openModel, openOnnx } from './model.ts';
import { inspectOnnx } from './onnx.ts';

export const INIT_USAGE = `farfield-runner init FILE.onnx [--name NAME] [--version 0.1.0] [--shape 1,11,11] [--golden] [--force]
Writes model.json beside FILE.onnx. --shape: lengths of one row's axes where the file leaves them free. --golden: some seeded rows
with the answers that this machine gives, as the check that every later start must pass.
`;

const OPTIONS = {
  name: { type: 'string' },
  version: { type: 'string' },
  shape: { type: 'string' },
  golden: { type: 'boolean' },
  force: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** 64 rows a batch were fastest, and smallest, for the networks measured here; `batch.max` is what a caller may ask `serve` for. */
const BATCH = { axis: 0, max: 512, preferred: [64] } as const;
const GOLDEN_ROWS = 16;
/** Of the answers' root mean square: what another build of ONNX Runtime may differ by. */
const GOLDEN_PART = 1e-3;

interface Output {
  readonly print: (text: string) => void;
  readonly complain: (text: string) => void;
}

/** Answers an exit code of exits.ts. */
export async function runInit(args: readonly string[], { print, complain }: Output): Promise<number> {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(args);
  } catch (reason) {
    complain(`${reason instanceof Error ? reason.message : String(reason)}\n${INIT_USAGE}`);
    return EXIT.usage;
  }
  const { values, positionals } = parsed;
  const [file] = positionals;
  if (values.help === true || file === undefined || positionals.length > 1) {
    (values.help === true ? print : complain)(INIT_USAGE);
    return values.help === true ? EXIT.ok : EXIT.usage;
  }
  try {
    const report = await init(file, values);
    print(`${JSON.stringify({ ok: true, ...report })}\n`);
    return EXIT.ok;
  } catch (reason) {
    if (!(reason instanceof FarfieldError)) throw reason;
    print(`${JSON.stringify({ ok: false, error: { code: reason.code, message: reason.message } })}\n`);
    return EXIT.load;
  }
}

const parse = (args: readonly string[]) => parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true });
type Values = ReturnType<typeof parse>['values'];

async function init(file: string, values: Values): Promise<object> {
  const folder = dirname(file);
  const path = join(folder, 'model.json');
  if (existsSync(path) && values.force !== true)
    throw new FarfieldError('E_CONFLICT', `${path} exists; --force replaces it`);
  const model = await describe(file, values);
  writeFileSync(path, `${JSON.stringify(model, undefined, 2)}\n`);
  // Read back as every later start reads it: what is refused then is refused now.
  const open = openModel(folder);
  const adapter = createOrt();
  try {
    const variant = model.variants[0] as Model['variants'][number];
    await adapter.load({ model: (await openOnnx(open, variant)).model, threads: 1 });
    if (values.golden !== true) return { path, model, notes: notesOn(model) };
    const golden = await makeGolden(folder, model, (x, shape) =>
      adapter.infer(model.inputs[0]?.name ?? '', x, shape, model.outputs[0]?.name ?? ''),
    );
    const whole = { ...model, golden };
    writeFileSync(path, `${JSON.stringify(whole, undefined, 2)}\n`);
    return { path, model: whole, notes: notesOn(whole) };
  } finally {
    await adapter.close();
  }
}

/** The file's one input and output, and the digests of everything that it reads. */
async function describe(file: string, { name, version, shape }: Values): Promise<Model> {
  const bytes = readOnnx(file);
  const found = inspectOnnx(bytes);
  if (typeof found === 'string') throw new FarfieldError('E_MODEL', `${file} is not an ONNX model: ${found}`);
  const adapter = createOrt();
  try {
    const facts = await adapter.load({ model: found.external.length === 0 ? bytes : file, threads: 1 });
    const input = onlyOne('input', facts.inputs);
    const output = onlyOne('output', facts.outputs);
    const files = found.external.map((location) => ({
      file: location,
      sha256: sha256Hex(readFileSync(join(dirname(file), location))),
    }));
    return {
      v: 1,
      name: name ?? basename(file, '.onnx').replace(/[^A-Za-z0-9_-]/g, '-'),
      version: version ?? '0.1.0',
      inputs: [{ name: input.name, datatype: 'FP32', shape: rowShape(input, shape) }],
      outputs: [{ name: output.name, datatype: 'FP32', shape: rowShape(output, undefined) }],
      batch: { ...BATCH, preferred: [...BATCH.preferred] },
      pre: [],
      post: [],
      variants: [
        {
          platform: 'onnx_onnxv1',
          file: basename(file),
          sha256: sha256Hex(bytes),
          precision: 'FP32',
          ...(files.length === 0 ? {} : { files }),
        },
      ],
    };
  } finally {
    await adapter.close();
  }
}

function readOnnx(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new FarfieldError('E_NOT_FOUND', `${file} cannot be read`, { cause });
  }
}

type Tensor = TensorFacts['inputs'][number];

function onlyOne(side: string, tensors: readonly Tensor[]): Tensor {
  const [tensor] = tensors;
  const named = tensors.map((one) => `${one.name} ${one.type} [${one.shape.join(', ')}]`).join(', ');
  if (tensor === undefined || tensors.length > 1)
    throw new FarfieldError('E_MODEL', `the file has ${tensors.length} ${side}s (${named}); a model here has one`);
  if (tensor.type !== 'float32')
    throw new FarfieldError('E_MODEL', `the ${side} ${named} is not FP32; export the network with FP32 ${side}s`);
  return tensor;
}

/** [-1, ...row]: the batch must be free in the file, everything else fixed there or by `--shape`. */
function rowShape({ name, shape }: Tensor, given: string | undefined): number[] {
  const [batch, ...row] = shape;
  const told = `${name} [${shape.join(', ')}]`;
  if (row.length === 0)
    throw new FarfieldError('E_MODEL', `${told}: there is no axis beside that of the rows; export it as [n, 1]`);
  if (batch !== -1) {
    throw new FarfieldError(
      'E_MODEL',
      `${told}: the first axis must be free, as the number of rows; export with dynamic_axes={"${name}": {0: "batch"}}`,
    );
  }
  const wanted = given?.split(',').map(Number);
  if (wanted !== undefined && (wanted.length !== row.length || wanted.some((n) => !(Number.isInteger(n) && n > 0))))
    throw new FarfieldError('E_USAGE', `--shape ${given}: ${name} has ${row.length} axes a row, [${row.join(', ')}]`);
  return [
    -1,
    ...row.map((n, axis) => {
      const length = wanted?.[axis] ?? n;
      if (length === -1)
        throw new FarfieldError(
          'E_MODEL',
          `axis ${axis + 1} of ${name} is free in the file; say its length with --shape`,
        );
      if (n !== -1 && n !== length)
        throw new FarfieldError('E_USAGE', `--shape ${given}: axis ${axis + 1} of ${name} has length ${n} in the file`);
      return length;
    }),
  ];
}

/** Seeded rows and this machine's answers: they tell a changed file or runtime, not whether the answers are right. */
async function makeGolden(
  folder: string,
  { inputs, outputs }: Model,
  infer: (x: Float32Array, shape: number[]) => Promise<Float32Array>,
): Promise<NonNullable<Model['golden']>> {
  const row = inputs[0]?.shape.slice(1) ?? [];
  const random = createSeededRandom('farfield-runner init');
  const x = Float32Array.from({ length: GOLDEN_ROWS * row.reduce((a, b) => a * b, 1) }, () => random.uniform());
  const y = await infer(x, [GOLDEN_ROWS, ...row]);
  const rms = Math.sqrt(y.reduce((sum, v) => sum + v * v, 0) / y.length);
  if (!(Number.isFinite(rms) && rms > 0))
    throw new FarfieldError(
      'E_MODEL',
      'the answers to seeded rows are zero or not finite; make a golden file of real rows',
    );
  const file = 'golden.h5';
  {
    using writer = new Hdf5Writer(await createHdf5Loader().acquire(), join(folder, file), {
      chunkRows: GOLDEN_ROWS,
      durable: true,
    });
    writer.createDataset('/in', 'f4', [GOLDEN_ROWS, ...row]);
    writer.writeRows('/in', 0, GOLDEN_ROWS, new Uint8Array(x.buffer));
    const out = [GOLDEN_ROWS, ...(outputs[0]?.shape.slice(1) ?? [])];
    writer.createDataset('/out', 'f4', out);
    writer.writeRows('/out', 0, GOLDEN_ROWS, new Uint8Array(y.buffer, y.byteOffset, y.byteLength));
    writer.commit();
  }
  const sha256 = sha256Hex(readFileSync(join(folder, file)));
  return { file, sha256, in: '/in', out: '/out', maxDistance: Number((GOLDEN_PART * rms).toPrecision(2)) };
}

/** What only the author knows. */
function notesOn({ golden }: Model): string[] {
  return [
    'say in model.json what the file cannot: title, licence, units, steps before (`pre`) and after (`post`), classes or column names',
    ...(golden === undefined
      ? ['there is no golden check: a changed file or runtime would go unnoticed (--golden, or a file of real rows)']
      : []),
  ];
}
