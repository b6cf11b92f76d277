/**
 * `ort`: ONNX Runtime on the CPU, by onnxruntime-node. The reference that other adapters are compared with.
 *
 * `run` of onnxruntime-node computes on the thread that calls it (its promise settles from a setImmediate), so this adapter
 * belongs into a worker thread; sequential mode, because a batch is the only parallelism that these models have.
 */
import { createRequire } from 'node:module';
import { FarfieldError } from '#kernel/errors.ts';
import type { TensorAdapter, TensorFacts } from './adapter.ts';

type Ort = typeof import('onnxruntime-node');
type Session = Awaited<ReturnType<Ort['InferenceSession']['create']>>;
type ValueMetadata = Session['inputMetadata'][number];

/** One session; `load` once, then `infer` one batch after another. */
export function createOrt(): TensorAdapter {
  let ort: Ort | undefined;
  let session: Session | undefined;
  let batches = 0;
  let rows = 0;
  return {
    async probe() {
      ort ??= await loadOrt();
      return { adapter: 'ort', devices: ['cpu'], versions: { 'onnxruntime-node': ortVersion() } };
    },
    async load({ model, threads }): Promise<TensorFacts> {
      ort ??= await loadOrt();
      const options = {
        executionProviders: ['cpu'],
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        graphOptimizationLevel: 'all',
        // 3: errors alone; warnings about the machine's cores are no news to anybody.
        logSeverityLevel: 3,
      } as const;
      try {
        const { InferenceSession } = ort;
        session = await (typeof model === 'string'
          ? InferenceSession.create(model, options)
          : InferenceSession.create(model, options));
      } catch (reason) {
        throw new FarfieldError('E_MODEL', `ONNX Runtime refuses the model: ${firstLine(reason)}`, { cause: reason });
      }
      return { inputs: session.inputMetadata.map(facts), outputs: session.outputMetadata.map(facts) };
    },
    async infer(input, data, shape, output): Promise<Float32Array> {
      if (ort === undefined || session === undefined) throw new TypeError('infer before load');
      batches++;
      rows += shape[0] ?? 0;
      const answers = await session.run({ [input]: new ort.Tensor('float32', data, shape) }, [output]);
      return answers[output]?.data as Float32Array;
    },
    stats: () => ({ batches, rows }),
    async close() {
      await session?.release();
      session = undefined;
    },
  };
}

/** Loaded when first needed: it costs 45 ms and 45 MB, which a runner of functions never pays. */
async function loadOrt(): Promise<Ort> {
  try {
    const loaded = (await import('onnxruntime-node')) as Ort & { readonly default?: Ort };
    return loaded.default ?? loaded;
  } catch (reason) {
    throw new FarfieldError(
      'E_IMAGE_INCOMPATIBLE',
      'the package onnxruntime-node cannot be loaded here; it needs glibc on x86-64 or arm64',
      { cause: reason },
    );
  }
}

/** The package's version; read from its package.json, so that asking does not load 45 MB. */
export function ortVersion(): string {
  const require = createRequire(import.meta.url);
  return (require('onnxruntime-node/package.json') as { readonly version: string }).version;
}

/** Names and shape of an input or output; a free axis has a name in the file and is -1 here. */
function facts(value: ValueMetadata): TensorFacts['inputs'][number] {
  if (!value.isTensor) return { name: value.name, type: 'none', shape: [] };
  return { name: value.name, type: value.type, shape: value.shape.map((n) => (typeof n === 'number' ? n : -1)) };
}

/** The part of a native error that says something; the rest is the source location. */
function firstLine(reason: unknown): string {
  const text = reason instanceof Error ? reason.message : String(reason);
  return text.split('\n', 1)[0]?.slice(0, 300) ?? '';
}
