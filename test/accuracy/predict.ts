/**
 * A model's answers in this process, by the runner's own steps: cleaning, scaling, ONNX Runtime, post-processing.
 *
 * No lanes and no blocks: 14,000 rows are answered in 1.5 s by one thread, and a figure must not depend on how many there are.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Value } from 'typebox/value';
import { Model } from '#protos/model.ts';
import { createOrt } from '../../runner/adapters/ort.ts';
import { compilePre, sampleShape } from '../../runner/pre.ts';
import { compileRows, type RowResults } from '../../runner/rows.ts';

/** What is known of each row after a model has answered it; xy pairs are (x, y) px. */
export interface Answers {
  readonly rows: number;
  readonly xy: Float32Array;
  readonly mass: Float32Array;
  readonly lit: Float32Array;
  readonly flags: Uint8Array;
}

export interface OpenModel extends AsyncDisposable {
  readonly name: string;
  readonly sha256: string;
  /** Width of a square patch. */
  readonly size: number;
  answer(patches: Float32Array): Promise<Answers>;
  /** The patches as cleaning leaves them, in counts: what a fit is given. */
  clean(patches: Float32Array): Float32Array;
}

const BATCH = 128;

/** Loads models/FOLDER: its model.json and the file of its first variant, whose digest must be the stated one. */
export async function openModel(folder: string): Promise<OpenModel> {
  const model = Value.Parse(Model, JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')));
  const [variant] = model.variants;
  if (variant === undefined) throw new TypeError(`${folder}: no variant`);
  const bytes = readFileSync(join(folder, variant.file));
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (sha256 !== variant.sha256) throw new Error(`${folder}: ${variant.file} has another digest than model.json says`);
  const plan = compileRows(model);
  const { clean } = compilePre(model, sampleShape(model));
  const adapter = createOrt();
  await adapter.load({ model: bytes, threads: 1 });
  const { size } = plan.sample;
  const input = model.inputs[0] as Model['inputs'][number];
  const output = model.outputs[0] as Model['outputs'][number];
  return {
    name: `${model.name} ${model.version}`,
    sha256,
    size: plan.sample.width,
    async answer(patches) {
      const rows = patches.length / size;
      const results: RowResults = {
        predictions: new Float32Array(rows * plan.output.columns),
        flags: new Uint8Array(rows),
        features: new Float32Array(rows),
        baselines: Array.from({ length: plan.baselines }, () => new Float32Array(rows * plan.output.columns)),
      };
      const samples = new Float32Array(BATCH * size);
      for (let at = 0; at < rows; at += BATCH) {
        const n = Math.min(BATCH, rows - at);
        for (let i = 0; i < n; i++) plan.prepare(patches, at + i, samples, i, results);
        const shape = [n, ...input.shape.slice(1)];
        const answer = await adapter.infer(input.name, samples.subarray(0, n * size), shape, output.name);
        for (let i = 0; i < n; i++) plan.finish(answer, i, at + i, results);
      }
      const { predictions: xy, baselines, features: lit, flags } = results;
      const [mass] = baselines;
      if (mass === undefined) throw new TypeError(`${folder}: declares no centre of mass to compare with`);
      return { rows, xy, mass, lit, flags };
    },
    clean(patches) {
      const cleaned = patches.slice();
      for (let start = 0; start < cleaned.length; start += size) for (const step of clean) step(cleaned, start);
      return cleaned;
    },
    [Symbol.asyncDispose]: () => adapter.close(),
  };
}
