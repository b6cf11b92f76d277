/**
 * Serves one model as a call adapter: an item's argument is a set of rows, its result a file of predictions.
 *
 * Invariants
 *  C1 `load` answers only after every lane ran a batch and the golden rows came out as model.json says.
 *  C2 Items run one after another, in order of arrival: the lanes are the parallelism.
 *  C3 Whatever fails, fails its item alone; a partial result is removed.
 */
import { readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { versions as nodeVersions } from 'node:process';
import type { Clock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { RunnerItem } from '#protos/runner.ts';
import type { Call, CallAdapter, CallArg, CallLoad, CallResult } from './adapters/adapter.ts';
import { ortVersion } from './adapters/ort.ts';
import { goldenDistance } from './golden.ts';
import { createHdf5Loader } from './hdf5/library.ts';
import { Lanes } from './lanes.ts';
import { chooseVariant, type OpenModel, openModel, openOnnx, type VariantChoice } from './model.ts';
import { beginPass, chooseMethod, samplesWish, truthWish } from './pass.ts';
import { compileRows, type RowPlan } from './rows.ts';
import { createHdf5Sink, createNpySink } from './sinks.ts';
import { openSource, type SourceTools } from './sources.ts';
import { type OpenCalibration, openModelCalibration } from './uncertainty/calibration.ts';
import { NO_MEMORY, remember, type TrustMemory, trustRank } from './uncertainty/trust-memory.ts';

/** What `load` made; it lives until `close`. */
export interface Loaded {
  readonly open: OpenModel;
  readonly variant: VariantChoice;
  readonly plan: RowPlan;
  readonly lanes: Lanes;
  readonly tools: SourceTools;
  /** Largest distance of a golden row; undefined where the model has none. */
  readonly golden: number | undefined;
  /** The model's error calibration, checked against what was loaded; undefined where model.json names none. */
  readonly calibration: OpenCalibration | undefined;
  /** Verdicts of all items so far, for `stats` alone: items may be of several people, who learn nothing of one another. */
  memory: TrustMemory;
  readonly versions: Record<string, string>;
}

export function createModelCalls(adapter: string, clock: Clock): CallAdapter {
  const hdf5 = createHdf5Loader();
  let loaded: Loaded | undefined;
  let tail: Promise<unknown> = Promise.resolve();
  const totals = { calls: 0, rows: 0 };
  return {
    probe: async () => ({ adapter, devices: ['cpu'], versions: ownVersions() }),
    async load(request) {
      loaded = await load(adapter, request, { hdf5: () => hdf5.acquire(), scratchDir: request.scratchDir }, clock);
      return loaded.versions;
    },
    infer(call) {
      const mine = tail.then(async () => {
        if (call.cancelled) throw new FarfieldError('E_CANCELLED', 'cancelled before it started');
        const result = await runItem(loaded as Loaded, call, clock);
        totals.calls++;
        totals.rows += result.rows;
        return result;
      });
      tail = mine.catch(() => {});
      return mine;
    },
    broken: () => loaded?.lanes.broken,
    stats: () => ({
      ...totals,
      lanes: loaded?.lanes.count ?? 0,
      ...(loaded?.calibration === undefined ? {} : { trustState: trustRank(loaded.memory) }),
      ...(loaded?.golden === undefined ? {} : { goldenDistance: loaded.golden }),
    }),
    async close() {
      await tail;
      await loaded?.lanes[Symbol.asyncDispose]();
      loaded = undefined;
    },
  };
}

/** C1, for whoever feeds the lanes. The order matters for time alone: the library and the lanes load at once, on two cores. */
export async function load(adapter: string, request: CallLoad, tools: SourceTools, clock: Clock): Promise<Loaded> {
  if (request.modelRoot === undefined)
    throw new FarfieldError('E_MODEL', `the adapter ${adapter} needs a model folder`);
  // The HDF5 library takes as long to load as the model: both at once.
  const library = tools.hdf5();
  library.catch(() => {});
  const open = openModel(request.modelRoot);
  const variant = chooseVariant(open.model, request.variant);
  if (variant.adapter !== adapter) {
    throw new FarfieldError(
      'E_VARIANT_INCOMPATIBLE',
      `variant ${variant.name} runs on ${variant.adapter}, not on ${adapter}`,
    );
  }
  const file = await openOnnx(open, variant.variant);
  const lanes = await Lanes.open({ adapter, model: open.model, file, threads: request.threads });
  try {
    const plan = compileRows(open.model);
    const golden = await goldenDistance({ open, lanes, plan, library: await library, clock });
    const calibration = openModelCalibration(open, variant, golden !== undefined);
    return { open, variant, plan, lanes, tools, golden, calibration, memory: NO_MEMORY, versions: ownVersions() };
  } catch (reason) {
    await lanes[Symbol.asyncDispose]();
    throw reason;
  }
}

/**
 * Of the code between a raw row and what a result says of it: steps, features, radii, groups, flags, statistics. To be raised by
 * every change after which the same row gives another number: shards of both are then of two jobs, and a shard that is done is
 * not taken for one of today's.
 */
const PROCESSING = '2';

/** Versions that decide results; they go into `ready`, into every result and into its file. */
export function ownVersions(): Record<string, string> {
  return { 'farfield-processing': PROCESSING, node: nodeVersions.node, 'onnxruntime-node': ortVersion() };
}

/** One item from its arguments to its result. Everything opened here is closed here, in reverse, whatever happens. */
async function runItem(loaded: Loaded, call: Call, clock: Clock): Promise<CallResult & { rows: number }> {
  const { lanes, tools } = loaded;
  const { item } = call;
  const method = chooseMethod(item.uncertainty, loaded);
  const args = chooseArgs(call.args, loaded.open);
  using samples = await openSource(args.samples, samplesWish(loaded), tools);
  using truth = args.truth === undefined ? undefined : await openSource(args.truth, truthWish(loaded), tools);
  const library = samples.format === 'hdf5' ? await tools.hdf5() : undefined;
  call.onCancel = () => lanes.cancel();
  using pass = await beginPass(loaded, {
    samples,
    truth,
    method,
    seed: item.seed ?? 0,
    clock,
    cancelled: () => call.cancelled,
    progress: (done, total, perSecond) => call.progress(done, total, perSecond),
    createSink: (output, uncertainty) =>
      library === undefined
        ? createNpySink(item.outDir, samples.rows, output.columns)
        : createHdf5Sink(library, { path: join(item.outDir, 'result.h5'), rows: samples.rows, output, uncertainty }),
  });
  const { path, rep } = await pass.run();
  loaded.memory = remember(loaded.memory, rep.trust);
  return { type: samples.format, value: settle(item, path), rep: { ...rep }, rows: samples.rows };
}

/** A small result goes back inline; one over the item's limit stays where it is, and is named. */
function settle(item: RunnerItem, path: string): CallResult['value'] {
  const { size } = statSync(path);
  if (size > item.maxBytes) {
    throw new FarfieldError(
      'E_RESULT_TOO_LARGE',
      `the result has ${size} bytes, over the limit of ${item.maxBytes}; it is kept at the endpoint`,
    );
  }
  if (size > item.maxInlineBytes) return { at: 'file', path, size };
  const bytes = readFileSync(path);
  rmSync(path);
  return { at: 'inline', bytes };
}

/** `truth` is the labels; the other argument, whatever model.json calls it, the rows. */
function chooseArgs(args: readonly CallArg[], { model }: OpenModel): { samples: CallArg; truth: CallArg | undefined } {
  const truth = args.find(({ arg }) => arg.name === 'truth');
  const rest = args.filter((arg) => arg !== truth);
  const wanted = model.inputs[0]?.arg;
  const [samples] = rest;
  if (rest.length !== 1 || samples === undefined || (wanted !== undefined && samples.arg.name !== wanted)) {
    const given = args.map(({ arg }) => arg.name).join(', ') || 'none';
    throw new FarfieldError(
      'E_INPUT',
      `the model ${model.name} takes the argument ${wanted ?? model.inputs[0]?.name}, and truth if there is one; given: ${given}`,
    );
  }
  return { samples, truth };
}
