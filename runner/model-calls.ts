/**
 * Serves one model as a call adapter: an item's argument is a set of rows, its result a file of predictions.
 *
 * Invariants
 *  C1 `load` answers only after every lane ran a batch and the golden rows came out as model.json says.
 *  C2 Items run one after another, in order of arrival: the lanes are the parallelism.
 *  C3 Whatever fails, fails its item alone; a partial result is removed.
 */
import { readFileSync, rmSync, statSync } from 'node:fs';
import { versions as nodeVersions } from 'node:process';
import type { Clock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { RunnerItem } from '#protos/runner.ts';
import type { Call, CallAdapter, CallArg, CallLoad, CallResult } from './adapters/adapter.ts';
import { ortVersion } from './adapters/ort.ts';
import { Collected } from './collected.ts';
import { goldenDistance } from './golden.ts';
import { createHdf5Loader } from './hdf5/library.ts';
import { type Phases, runJob } from './job.ts';
import { Lanes } from './lanes.ts';
import { chooseVariant, type OpenModel, openModel, openOnnx, type VariantChoice } from './model.ts';
import { compileRows, type RowPlan } from './rows.ts';
import { createHdf5Sink, createNpySink, type RowSink, type UncertaintyColumns } from './sinks.ts';
import { openSource, type RowSource, type SourceTools } from './sources.ts';
import { type OpenCalibration, openModelCalibration } from './uncertainty/calibration.ts';
import { mustBeClasses } from './uncertainty/classes.ts';
import { createRowJudge, type RowJudge } from './uncertainty/judge.ts';
import { boundsText, reportTrust, reportUncertainty } from './uncertainty/report.ts';
import { type Sampled, sampleSymmetries } from './uncertainty/sampling.ts';
import { compileSymmetries } from './uncertainty/symmetry.ts';
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

/** Versions that decide results; they go into `ready`, into every result and into its file. */
function ownVersions(): Record<string, string> {
  return { node: nodeVersions.node, 'onnxruntime-node': ortVersion() };
}

/** One item from its arguments to its result. Everything opened here is closed here, in reverse, whatever happens. */
async function runItem(loaded: Loaded, call: Call, clock: Clock): Promise<CallResult & { rows: number }> {
  const started = clock.mono();
  const { open, plan, lanes, tools } = loaded;
  const { output } = plan;
  const wish = chooseMethod(call.item, loaded);
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
  call.onCancel = () => lanes.cancel();
  const sampled = wish.sampling ? await sampleItem(loaded, call, samples, clock) : undefined;
  const { calibration } = wish;
  const judge = createRowJudge({
    model: open.model,
    columns: output.columns,
    calibration,
    level: wish.level,
    spreads: sampled,
  });
  using sink =
    library === undefined
      ? createNpySink(call.item.outDir, samples.rows, output.columns)
      : createHdf5Sink(
          library,
          call.item.outDir,
          samples.rows,
          output,
          calibration === undefined ? undefined : columnsOf(loaded, calibration, judge, sampled),
        );
  const collected = new Collected(loaded, truth !== undefined);
  const phases = await runJob({
    clock,
    lanes,
    plan: {
      sampleSize: plan.sample.size,
      columns: output.columns,
      baselines: plan.baselines,
      signals: calibration?.value.reference === undefined ? 0 : plan.signals,
    },
    samples: collected.hashing(samples),
    truth,
    finished: (from, rows, results, labels) => {
      if (labels !== undefined && output.classes !== undefined) mustBeClasses(from, labels, output.classes);
      const said = judge.add(from, rows, results, labels);
      collected.add(rows, results, labels);
      sink.write(from, rows, results, said);
    },
    cancelled: () => call.cancelled,
    progress: (done, total, perSecond) => call.progress(done, total, perSecond),
  });
  return commit(loaded, call, sink, samples, { collected, judge, calibration }, { phases, started, clock });
}

/** What a caller asked for, as far as this model has it. */
interface Method {
  readonly calibration: OpenCalibration | undefined;
  readonly sampling: boolean;
  readonly level: number | undefined;
}

/**
 * A method that the model lacks the means for is refused, not ignored: a caller who asked for a radius must not take its
 * absence for a small one. `l2`, which is what clients ask for by default, has radii where there is a calibration.
 */
function chooseMethod({ uncertainty }: RunnerItem, { open, calibration }: Loaded): Method {
  const { method = 'l2', level = 0.95 } = uncertainty ?? {};
  const refuse = (what: string): never => {
    throw new FarfieldError('E_INPUT', `uncertainty ${JSON.stringify(method.slice(0, 40))}: ${what}`);
  };
  if (method === 'none') return { calibration: undefined, sampling: false, level: undefined };
  if (!(level > 0 && level < 1)) refuse(`the level is ${level}; it lies between 0 and 1`);
  if (method === 'l2') return { calibration, sampling: false, level };
  if (method !== 'conformal' && method !== 'symmetry')
    return refuse('is not served here; none, l2, conformal and symmetry are');
  if (calibration === undefined)
    refuse(
      `the model ${open.model.name} has no error calibration; ask for l2, or make one with \`farfield model calibrate\``,
    );
  if (method === 'conformal') return { calibration, sampling: false, level };
  if (open.model.uncertainty?.symmetries === undefined) refuse(`the model ${open.model.name} declares no symmetries`);
  return { calibration, sampling: true, level };
}

/** Predictions of some rows under the model's symmetries. */
function sampleItem(loaded: Loaded, call: Call, samples: RowSource, clock: Clock): Promise<Sampled> {
  const { open, plan, lanes } = loaded;
  const symmetries = compileSymmetries(open.model, plan.sample, plan.output.columns);
  if (symmetries === undefined) throw new TypeError('no symmetries are declared');
  return sampleSymmetries({
    clock,
    lanes,
    plan,
    samples,
    symmetries,
    random: createSeededRandom(call.item.seed ?? 0),
    wanted: call.item.uncertainty?.samples ?? 0,
    cancelled: () => call.cancelled,
  });
}

function columnsOf(
  { open }: Loaded,
  calibration: OpenCalibration,
  judge: RowJudge,
  sampled: Sampled | undefined,
): UncertaintyColumns {
  const { groups } = open.model;
  return {
    levels: judge.levels,
    classes: judge.classes,
    reference: calibration.value.reference !== undefined,
    bounds: boundsText(calibration),
    units: calibration.value.units,
    groups: groups === undefined ? 'all rows' : `${groups.by} from ${groups.edges.join(', ')}`,
    sampled,
  };
}

/** Writes what is known only at the end, and answers. */
function commit(
  loaded: Loaded,
  call: Call,
  sink: RowSink,
  samples: RowSource,
  {
    collected,
    judge,
    calibration,
  }: { collected: Collected; judge: RowJudge; calibration: OpenCalibration | undefined },
  timing: { phases: Phases; started: number; clock: Clock },
): CallResult & { rows: number } {
  const { open, variant, lanes, versions } = loaded;
  const { clock, phases, started } = timing;
  const at = clock.mono();
  const summary = collected.summary(samples.rows);
  const inputDigest = collected.inputDigest();
  const trust = reportTrust(calibration, judge);
  loaded.memory = remember(loaded.memory, trust);
  const uncertainty =
    calibration === undefined ? undefined : reportUncertainty(calibration, judge, variant.variant.sha256);
  sink.commit({
    model: open.model.name,
    model_version: open.model.version,
    model_digest: `sha256:${open.digest}`,
    variant: variant.name,
    input: samples.name,
    input_rows_digest: inputDigest,
    versions: JSON.stringify(versions),
    summary: JSON.stringify(summary),
    trust: JSON.stringify(trust),
    ...(calibration === undefined ? {} : { calibration_digest: calibration.digest }),
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
    trust,
    ...(uncertainty === undefined ? {} : { uncertainty }),
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
