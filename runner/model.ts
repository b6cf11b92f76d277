/**
 * Opens a model's folder: model.json, and the files of the chosen variant, each checked against its digest.
 *
 * Invariants
 *  M1 The bytes that were hashed are the bytes that are loaded; only a file with external data is opened again by path.
 *  M2 No file outside the folder is read, whatever model.json, a symbolic link or the ONNX file says.
 *  M3 What cannot be served is refused here, with E_MODEL or E_VARIANT_INCOMPATIBLE, before any work is accepted.
 */

import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, realpathSync, statSync } from 'node:fs';
import { isAbsolute, join, normalize, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fromUtf8, sha256Hex } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Model, ModelVariant } from '#protos/model.ts';
import type { TensorFacts } from './adapters/adapter.ts';
import { MAX_MODEL_JSON_BYTES, MAX_ONNX_BYTES } from './limits.ts';
import { inspectOnnx } from './onnx.ts';
import { outputWords } from './post.ts';
import { type SampleShape, sampleShape } from './pre.ts';
import { type Check, compileSchema, type JsonSchema } from './schema.ts';
import schemas from './schemas.json' with { type: 'json' };

/** Operators that ONNX Runtime has built in. */
const BUILT_IN_DOMAINS = ['', 'ai.onnx', 'ai.onnx.ml', 'com.microsoft'];
/** Adapter of each platform; undefined where none is built for it yet, which `probe` says by name. */
const PLATFORMS: Readonly<Record<ModelVariant['platform'], string | undefined>> = {
  onnx_onnxv1: 'ort',
  tensorrt_plan: undefined,
  sambanova_pef: undefined,
};

let checkModel: Check | undefined;

export interface OpenModel {
  readonly model: Model;
  /** sha256 of model.json's bytes: names model, steps and, through the digests in it, every file. */
  readonly digest: string;
  readonly root: string;
}

/** Reads and checks model.json. */
export function openModel(folder: string): OpenModel {
  const root = realFolder(folder);
  const bytes = readInside(root, 'model.json', MAX_MODEL_JSON_BYTES);
  let value: unknown;
  try {
    value = JSON.parse(fromUtf8(bytes));
  } catch (reason) {
    throw new FarfieldError('E_MODEL', 'model.json is not JSON in UTF-8', { cause: reason });
  }
  checkModel ??= compileSchema(schemas.model as JsonSchema);
  const problem = checkModel(value);
  if (problem !== undefined) throw new FarfieldError('E_MODEL', `model.json: model${problem}`);
  const model = value as Model;
  checkSense(model);
  return { model, digest: sha256Hex(bytes), root };
}

/** What the schema cannot say. */
function checkSense(model: Model): void {
  const refuse = (what: string): never => {
    throw new FarfieldError('E_MODEL', `model.json: ${what}`);
  };
  const [input] = model.inputs;
  const [output] = model.outputs;
  for (const [what, tensor] of [
    ['input', input],
    ['output', output],
  ] as const) {
    if (tensor?.shape[0] !== -1) refuse(`the first axis of the ${what} is the batch and must be -1`);
    if (tensor?.shape.slice(1).some((n) => n < 1)) refuse(`only the first axis of the ${what} may be free`);
  }
  const sample = sampleShape(model);
  const words = outputWords(model);
  checkClasses(model, words.columns, refuse);
  if (words.axes.length !== words.columns)
    refuse(`order names ${words.axes.length} columns, the output has ${words.columns}`);
  if (output?.bounds !== undefined && output.bounds.length !== words.columns) refuse('bounds must name every column');
  for (const step of model.post) {
    if (step.op !== 'order') continue;
    const fits = step.index.length === words.columns && step.index.every((i) => i < words.columns);
    if (!fits) refuse('post order must name every column of the output');
  }
  if (model.golden !== undefined && !(goldenLimit(model.golden) > 0))
    refuse('golden states maxPx or maxDistance, one of the two');
  const planar = sample.width * sample.height === sample.size;
  if (!planar && (model.pre.some((s) => s.op === 'keep_component') || model.baselines !== undefined)) {
    refuse('keep_component and centre_of_mass need samples of two axes');
  }
  if (model.baselines !== undefined && words.columns !== 2) refuse('centre_of_mass needs an output of two columns');
  checkUncertainty(model, sample, words.columns, refuse);
  const edges = model.groups?.edges ?? [];
  if (edges.some((e, i) => i > 0 && e <= (edges[i - 1] as number))) refuse('the edges of groups must increase');
}

/** A classifier's columns are its classes, and nothing renames or mixes them. */
function checkClasses(model: Model, columns: number, refuse: (what: string) => never): void {
  const classes = model.outputs[0]?.classes;
  if (classes === undefined) return;
  if (classes.length !== columns) refuse(`${classes.length} classes are named, the output has ${columns} columns`);
  if (model.post.some((step) => step.op === 'scale')) refuse('probabilities of classes are not scaled');
  if (model.baselines !== undefined) refuse('centre_of_mass is no answer in classes');
}

/** Scores must fit the output, and symmetries the sample and the answer. */
function checkUncertainty(model: Model, sample: SampleShape, columns: number, refuse: (what: string) => never): void {
  const { uncertainty, outputs, post } = model;
  if (uncertainty === undefined) return;
  const classes = outputs[0]?.classes !== undefined;
  if (classes !== (uncertainty.score === 'class_probability'))
    refuse(`the score ${uncertainty.score} does not fit an output ${classes ? 'of' : 'without'} classes`);
  const { symmetries } = uncertainty;
  if (symmetries === undefined) return;
  if (sample.width !== sample.height || sample.width ** 2 !== sample.size)
    refuse('the symmetries of a square need square samples');
  if (symmetries.answer === 'same') return;
  const reflects = post.some((step) => step.op === 'scale' && step.reflect !== undefined);
  if (columns !== 2 || !reflects)
    refuse(
      'a point that moves with the sample has two columns, and a step of post says how it is mirrored (`reflect`)',
    );
}

/** The largest distance of a golden row; NaN where model.json states none or two. */
export function goldenLimit({ maxPx, maxDistance }: NonNullable<Model['golden']>): number {
  return maxPx === undefined || maxDistance === undefined ? (maxPx ?? maxDistance ?? Number.NaN) : Number.NaN;
}

export interface VariantChoice {
  readonly variant: ModelVariant;
  readonly name: string;
  readonly adapter: string;
}

/** A variant's own name, or its platform where it has none. */
export function variantName(variant: ModelVariant): string {
  return variant.name ?? variant.platform;
}

/** Which variants could run here, and why the others cannot. */
export function probeVariants(model: Model): { variant: string; runs: boolean; reason?: string }[] {
  return model.variants.map((v) =>
    PLATFORMS[v.platform] === undefined
      ? { variant: variantName(v), runs: false, reason: `no adapter here serves the platform ${v.platform}` }
      : { variant: variantName(v), runs: true },
  );
}

/** The variant of this name, or the first that can run here. */
export function chooseVariant(model: Model, wanted: string | undefined): VariantChoice {
  for (const variant of model.variants) {
    const adapter = PLATFORMS[variant.platform];
    const name = variantName(variant);
    if (wanted !== undefined && name !== wanted) continue;
    if (adapter !== undefined) return { variant, name, adapter };
    if (wanted !== undefined) {
      throw new FarfieldError(
        'E_VARIANT_INCOMPATIBLE',
        `no adapter here serves the platform ${variant.platform} of variant ${name}`,
      );
    }
  }
  const names = model.variants.map(variantName).join(', ');
  throw new FarfieldError(
    'E_VARIANT_INCOMPATIBLE',
    `no variant ${wanted ?? ''} that runs here; the model has ${names}`,
  );
}

/** The file's own inputs and outputs must be what model.json says; a free axis of the file takes any declared length. */
export function mustBeDeclared(model: Model, facts: TensorFacts): void {
  const sides = [
    ['input', model.inputs, facts.inputs],
    ['output', model.outputs, facts.outputs],
  ] as const;
  for (const [side, declared, found] of sides) {
    for (const tensor of declared) {
      const real = found.find(({ name }) => name === tensor.name);
      const shape = `[${tensor.shape.join(', ')}]`;
      const names = found.map(({ name, shape: s }) => `${name} [${s.join(', ')}]`).join(', ');
      const fits =
        real?.type === 'float32' &&
        real.shape.length === tensor.shape.length &&
        real.shape.every((n, i) => n === -1 || n === tensor.shape[i]);
      if (!fits)
        throw new FarfieldError(
          'E_MODEL',
          `the model file has no FP32 ${side} ${tensor.name} ${shape}; it has ${names}`,
        );
    }
  }
  if (facts.inputs.length !== 1)
    throw new FarfieldError('E_MODEL', `the model file takes ${facts.inputs.length} inputs; one is served`);
}

export interface VariantFile {
  /** Bytes (M1), or a path where external data lie beside it. */
  readonly model: Uint8Array | string;
  readonly bytes: number;
}

/** Checks the variant's files against their digests and looks into the ONNX. */
export async function openOnnx({ root }: OpenModel, variant: ModelVariant): Promise<VariantFile> {
  const bytes = readInside(root, variant.file, MAX_ONNX_BYTES);
  mustMatch(variant.file, sha256Hex(bytes), variant.sha256);
  const facts = inspectOnnx(bytes);
  if (typeof facts === 'string') throw new FarfieldError('E_MODEL', `${variant.file} is not an ONNX model: ${facts}`);
  const custom = facts.domains.filter((domain) => !BUILT_IN_DOMAINS.includes(domain));
  if (custom.length > 0) {
    throw new FarfieldError(
      'E_MODEL',
      `${variant.file} needs operators of ${custom.map(printable).join(', ')}, which no runtime here has`,
    );
  }
  if (facts.external.length === 0) return { model: bytes, bytes: bytes.byteLength };
  let total = bytes.byteLength;
  for (const location of facts.external) total += await checkExternal(root, variant, location);
  return { model: join(root, variant.file), bytes: total };
}

/** External data must be a listed file inside the folder with the listed digest; answers its size. */
async function checkExternal(root: string, variant: ModelVariant, location: string): Promise<number> {
  const escapes =
    location === '' || isAbsolute(location) || normalize(location).startsWith('..') || location.includes('\\');
  if (escapes) {
    throw new FarfieldError(
      'E_MODEL',
      `${variant.file} keeps data in ${printable(location)}, outside the model's folder`,
    );
  }
  // ONNX Runtime resolves a location against the folder of the ONNX file.
  const file = join(normalize(join(variant.file, '..')), location);
  const listed = variant.files?.find((f) => normalize(f.file) === file);
  if (listed === undefined) {
    throw new FarfieldError(
      'E_MODEL',
      `${variant.file} keeps data in ${printable(location)}, which model.json does not list`,
    );
  }
  const path = insidePath(root, file);
  const digest = createHash('sha256');
  await pipeline(createReadStream(path), digest);
  mustMatch(file, digest.digest('hex'), listed.sha256);
  return statSync(path).size;
}

/** A file of the folder whose digest model.json states (golden set, calibration): its checked path. */
export function listedFile({ root }: OpenModel, file: string, sha256: string, maxBytes: number): string {
  mustMatch(file, sha256Hex(readInside(root, file, maxBytes)), sha256);
  return insidePath(root, file);
}

/** M1: the sizes of digests in the message are enough to tell versions apart, and fit a line. */
function mustMatch(file: string, found: string, stated: string): void {
  if (found !== stated) {
    throw new FarfieldError(
      'E_MODEL',
      `${file} is not the file that model.json names: sha256 ${found.slice(0, 16)}…, stated ${stated.slice(0, 16)}…`,
    );
  }
}

/** The folder without symbolic links, so that M2 compares real paths with a real path. */
function realFolder(folder: string): string {
  try {
    const root = realpathSync(folder);
    if (statSync(root).isDirectory()) return root;
  } catch {
    // Said below: missing and not a folder are one mistake to whoever gave the path.
  }
  throw new FarfieldError('E_MODEL', 'the model folder does not exist or is no folder');
}

/** The real path of a file that must lie inside the folder (M2). */
function insidePath(root: string, file: string): string {
  let real: string;
  try {
    real = realpathSync(join(root, file));
  } catch (reason) {
    throw new FarfieldError('E_MODEL', `${file} is missing in the model's folder`, { cause: reason });
  }
  if (!real.startsWith(root + sep)) throw new FarfieldError('E_MODEL', `${file} leads outside the model's folder`);
  return real;
}

/** A whole file of the folder, after its place, kind and size were checked. */
function readInside(root: string, file: string, maxBytes: number): Uint8Array {
  const path = insidePath(root, file);
  const facts = statSync(path);
  if (!facts.isFile()) throw new FarfieldError('E_MODEL', `${file} is not a file`);
  if (facts.size > maxBytes)
    throw new FarfieldError('E_MODEL', `${file} has ${facts.size} bytes; at most ${maxBytes} are read`);
  return readFileSync(path);
}

/** Text of a file that nobody vouches for, made harmless in a message. */
function printable(value: string): string {
  return JSON.stringify(value.slice(0, 100));
}
