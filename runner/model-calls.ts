/**
 * Serves one model as a call adapter: an item's argument is a set of rows, its result a file of predictions.
 *
 * Invariants
 *  C1 `load` answers only after every lane ran a batch and the golden rows came out as model.json says.
 *  C2 Items run one after another, in order of arrival: the lanes are the parallelism.
 *  C3 Whatever fails, fails its item alone; a partial result is removed.
 */
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { versions as nodeVersions } from 'node:process';
import type { Clock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { RunnerItem } from '#protos/runner.ts';
import type { Call, CallAdapter, CallArg, CallLoad, CallResult } from './adapters/adapter.ts';
import { ortVersion } from './adapters/ort.ts';
import { goldenDistance } from './golden.ts';
import { createHdf5Loader } from './hdf5/library.ts';
import { type Phases, runJob } from './job.ts';
import { Lanes } from './lanes.ts';
import { MAX_SUMMARY_BYTES } from './limits.ts';
import { chooseVariant, type OpenModel, openModel, openOnnx, type VariantChoice } from './model.ts';
import { compileRows, type RowPlan } from './rows.ts';
import { createHdf5Sink, createNpySink, type RowSink } from './sinks.ts';
import { openSource, type RowSource, type SourceTools } from './sources.ts';
import { ClassCollector, type ClassSummary } from './uncertainty/classes.ts';
import { countFlags, type FlagCounts, noFlags } from './uncertainty/flags.ts';
import { L2Collector, type L2Summary } from './uncertainty/l2.ts';

/** What `load` made; it lives until `close`. */
interface Loaded {
  readonly open: OpenModel;
  readonly variant: VariantChoice;
  readonly plan: RowPlan;
  readonly lanes: Lanes;
  readonly tools: SourceTools;
  /** Largest distance of a golden row; undefined where the model has none. */
  readonly golden: number | undefined;
  readonly versions: Record<string, string>;
}

/** What `rep.summary` says; the comparison is there when truth was given. */
export type RowsSummary = { readonly rows: number; readonly flagged: Partial<FlagCounts> } & (
  | { readonly n: 0 }
  | L2Summary
  | ClassSummary
);

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
      ...(loaded?.golden === undefined ? {} : { goldenDistance: loaded.golden }),
    }),
    async close() {
      await tail;
      await loaded?.lanes[Symbol.asyncDispose]();
      loaded = undefined;
    },
  };
}

/** C1. The order matters for time alone: the library and the lanes load at once, on two cores. */
async function load(adapter: string, request: CallLoad, tools: SourceTools, clock: Clock): Promise<Loaded> {
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
    return { open, variant, plan, lanes, tools, golden, versions: ownVersions() };
  } catch (reason) {
    await lanes[Symbol.asyncDispose]();
    throw reason;
  }
}

/** Versions that decide results; they go into `ready`, into every result and into its file. */
function ownVersions(): Record<string, string> {
  return { node: nodeVersions.node, 'onnxruntime-node': ortVersion() };
}

/** One item from its arguments to its result. Everything opened here is closed here, in reverse, whatever happens. */
async function runItem(loaded: Loaded, call: Call, clock: Clock): Promise<CallResult & { rows: number }> {
  const started = clock.mono();
  const { open, plan, lanes, tools } = loaded;
  const { output } = plan;
  mustBeServable(call.item);
  const args = chooseArgs(call.args, open);
  const input = open.model.inputs[0] as OpenModel['model']['inputs'][number];
  const rowShape = input.shape.slice(1).filter((n) => n !== 1);
  using samples = await openSource(args.samples, { rowShape, stored: input.stored, dataset: input.dataset }, tools);
  const truthWish = {
    rowShape: output.classes === undefined ? [output.columns] : [],
    stored: undefined,
    dataset: undefined,
  };
  using truth = args.truth === undefined ? undefined : await openSource(args.truth, truthWish, tools);
  if (truth !== undefined && truth.rows !== samples.rows) {
    throw new FarfieldError(
      'E_INPUT',
      `${truth.name} has ${truth.rows} rows, ${samples.name} has ${samples.rows}; they must be the same`,
    );
  }
  const library = samples.format === 'hdf5' ? await tools.hdf5() : undefined;
  using sink =
    library === undefined
      ? createNpySink(call.item.outDir, samples.rows, output.columns)
      : createHdf5Sink(library, call.item.outDir, samples.rows, output);
  const collected = new Collected(loaded, truth !== undefined);
  call.onCancel = () => lanes.cancel();
  const phases = await runJob({
    clock,
    lanes,
    plan: { sampleSize: plan.sample.size, columns: output.columns, baselines: plan.baselines },
    samples: hashing(samples, collected),
    truth,
    finished: (from, rows, results, labels) => {
      collected.add(rows, results, labels);
      sink.write(from, rows, results);
    },
    cancelled: () => call.cancelled,
    progress: (done, total, perSecond) => call.progress(done, total, perSecond),
  });
  return commit(loaded, call, sink, samples, collected, { phases, started, clock });
}

/** Writes what is known only at the end, and answers. */
function commit(
  { open, variant, lanes, versions }: Loaded,
  call: Call,
  sink: RowSink,
  samples: RowSource,
  collected: Collected,
  timing: { phases: Phases; started: number; clock: Clock },
): CallResult & { rows: number } {
  const { clock, phases, started } = timing;
  const at = clock.mono();
  const summary = collected.summary(samples.rows);
  const inputDigest = collected.inputDigest();
  sink.commit({
    model: open.model.name,
    model_version: open.model.version,
    model_digest: `sha256:${open.digest}`,
    variant: variant.name,
    input: samples.name,
    input_rows_digest: inputDigest,
    versions: JSON.stringify(versions),
    summary: JSON.stringify(summary),
  });
  const value = settle(call.item, sink.path);
  phases.writeMs += clock.mono() - at;
  const rep = {
    model: {
      name: open.model.name,
      version: open.model.version,
      digest: `sha256:${open.digest}`,
      variant: variant.name,
    },
    versions,
    lanes: lanes.count,
    batch: lanes.batch,
    inputRowsDigest: inputDigest,
    phases: { ...rounded(phases), totalMs: Math.round((clock.mono() - started) * 10) / 10 },
    summary,
  };
  return { type: samples.format, value, rep, rows: samples.rows };
}

/** A tenth of a millisecond is finer than what repeats. */
function rounded(phases: Phases): Phases {
  return Object.fromEntries(
    Object.entries(phases).map(([k, v]) => [k, Math.round((v as number) * 10) / 10]),
  ) as unknown as Phases;
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

/**
 * Methods that need an error calibration or sampling are refused, not ignored: a caller who asked for a radius must
 * not take its absence for a small one.
 */
function mustBeServable({ uncertainty }: RunnerItem): void {
  if (uncertainty === undefined || uncertainty.method === 'l2' || uncertainty.method === 'none') return;
  throw new FarfieldError(
    'E_INPUT',
    `uncertainty ${JSON.stringify(uncertainty.method.slice(0, 40))} is not served here; l2 and none are`,
  );
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

/** What a job gathers beside its predictions. */
class Collected {
  readonly #flagged = noFlags();
  readonly #compared: L2Collector | ClassCollector | undefined;
  readonly #columns: number;
  readonly #hash = createHash('sha256');

  constructor({ plan, open }: Loaded, withTruth: boolean) {
    this.#columns = plan.output.columns;
    if (!withTruth) return;
    const { axes, units, classes } = plan.output;
    const { groups, baselines = [] } = open.model;
    this.#compared =
      classes === undefined
        ? new L2Collector({ axes, units, groups, baselines })
        : new ClassCollector({ classes, groups });
  }

  hash(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  inputDigest(): string {
    return `sha256:${this.#hash.digest('hex')}`;
  }

  add(rows: number, results: Parameters<RowSink['write']>[2], truth: Float64Array | undefined): void {
    countFlags(this.#flagged, results.flags.subarray(0, rows));
    if (truth === undefined) return;
    const n = rows * this.#columns;
    this.#compared?.add({
      rows,
      predictions: results.predictions.subarray(0, n),
      truth,
      features: results.features.subarray(0, rows),
      baselines: results.baselines.map((values) => values.subarray(0, n)),
    });
  }

  summary(rows: number): RowsSummary {
    const flagged = Object.fromEntries(Object.entries(this.#flagged).filter(([, n]) => n > 0));
    const summary: RowsSummary = { rows, flagged, ...(this.#compared?.summary() ?? { n: 0 }) };
    const bytes = Buffer.byteLength(JSON.stringify(summary));
    if (bytes > MAX_SUMMARY_BYTES)
      throw new FarfieldError('E_MODEL', `the summary has ${bytes} bytes; declare fewer groups`);
    return summary;
  }
}

/** The rows' own digest (stored type, little-endian), the same however the file compresses or chunks them. */
function hashing(source: RowSource, collected: Collected): RowSource {
  return {
    ...source,
    readRows: (from, count, target) => {
      source.readRows(from, count, target);
      collected.hash(target.subarray(0, count * source.rowBytes));
    },
    [Symbol.dispose]: () => {},
  };
}
