/**
 * One pass of a model over rows, from an open source to a committed result: what an item of a pilot, and a shard of a batch, are.
 *
 * Invariants
 *  A1 A method that the model lacks the means for is refused, not ignored: a caller who asked for a radius must not take its
 *     absence for a small one.
 *  A2 Nothing of a result is left where a pass fails or is cancelled; before its end it does not exist under its name.
 */
import type { Clock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { Collected, type RowsSummary } from './collected.ts';
import { hashed } from './hashed-rows.ts';
import { type Phases, runJob } from './job.ts';
import type { Loaded } from './model-calls.ts';
import type { OutputWords } from './post.ts';
import type { Attributes, RowSink, UncertaintyColumns } from './sinks.ts';
import type { RowSource, SourceWish } from './sources.ts';
import type { OpenCalibration } from './uncertainty/calibration.ts';
import { mustBeClasses } from './uncertainty/classes.ts';
import { createRowJudge, type RowJudge } from './uncertainty/judge.ts';
import {
  boundsText,
  groupsText,
  reportTrust,
  reportUncertainty,
  type TrustReport,
  type UncertaintyReport,
} from './uncertainty/report.ts';
import { type Sampled, sampleSymmetries } from './uncertainty/sampling.ts';
import type { UncertaintyStatistics } from './uncertainty/statistics.ts';
import { compileSymmetries } from './uncertainty/symmetry.ts';

/** What a caller may ask for. `l2`, which is what clients ask for by default, has radii where there is a calibration. */
export interface UncertaintyWish {
  readonly method: string;
  /** Rows that are also predicted under the model's symmetries. */
  readonly samples: number;
  /** A further level beside .9 and .95. */
  readonly level: number;
}

/** What a caller asked for, as far as this model has it. */
export interface Method {
  readonly calibration: OpenCalibration | undefined;
  /** Rows to sample, 0 for as many as usual; undefined for no sampling. */
  readonly samples: number | undefined;
  readonly level: number | undefined;
}

/** A1 */
export function chooseMethod(
  wish: Partial<UncertaintyWish> | undefined,
  { open, calibration }: Pick<Loaded, 'open' | 'calibration'>,
): Method {
  const { method = 'l2', level = 0.95, samples = 0 } = wish ?? {};
  const refuse = (what: string): never => {
    throw new FarfieldError('E_INPUT', `uncertainty ${JSON.stringify(method.slice(0, 40))}: ${what}`);
  };
  if (method === 'none') return { calibration: undefined, samples: undefined, level: undefined };
  if (!(level > 0 && level < 1)) refuse(`the level is ${level}; it lies between 0 and 1`);
  if (method === 'l2') return { calibration, samples: undefined, level };
  if (method !== 'conformal' && method !== 'symmetry')
    return refuse('is not served here; none, l2, conformal and symmetry are');
  if (calibration === undefined)
    refuse(
      `the model ${open.model.name} has no error calibration; ask for l2, or make one with \`farfield model calibrate\``,
    );
  if (method === 'conformal') return { calibration, samples: undefined, level };
  if (open.model.uncertainty?.symmetries === undefined) refuse(`the model ${open.model.name} declares no symmetries`);
  return { calibration, samples, level };
}

/** What a source of samples must hold for this model. */
export function samplesWish({ open }: Pick<Loaded, 'open'>): SourceWish {
  const input = open.model.inputs[0] as Loaded['open']['model']['inputs'][number];
  return { rowShape: input.shape.slice(1).filter((n) => n !== 1), stored: input.stored, dataset: input.dataset };
}

/** What a source of labels must hold: a prediction's columns a row, or the number of a class. */
export function truthWish({ plan }: Pick<Loaded, 'plan'>): SourceWish {
  const { classes, columns } = plan.output;
  return { rowShape: classes === undefined ? [columns] : [], stored: undefined, dataset: undefined };
}

export interface PassParts {
  readonly samples: RowSource;
  readonly truth: RowSource | undefined;
  readonly method: Method;
  /** The name of the file that rows are of, where it says something. */
  readonly inputFile?: string;
  /** Decides which rows are sampled. */
  readonly seed: number;
  /** Where the rows are a part of a job's: their place in it. */
  readonly partOf?: { readonly rows: number; readonly from: number };
  readonly clock: Clock;
  readonly cancelled: () => boolean;
  readonly progress: (done: number, total: number, perSecond: number) => void;
  readonly createSink: (output: OutputWords, uncertainty: UncertaintyColumns | undefined) => RowSink;
}

/** What the runner claims of a pass (`rep` of a receipt): versions, timings, the summary, how far to trust it. */
export interface PassReport {
  readonly model: {
    readonly name: string;
    readonly version: string;
    readonly digest: string;
    readonly variant: string;
  };
  readonly versions: Readonly<Record<string, string>>;
  readonly lanes: number;
  readonly batch: number;
  readonly inputRowsDigest: string;
  readonly phases: Phases & { readonly totalMs: number };
  readonly summary: RowsSummary;
  readonly trust: TrustReport;
  readonly uncertainty?: UncertaintyReport;
}

export interface Passed {
  /** The result, under its name. */
  readonly path: string;
  readonly rep: PassReport;
  /** What shards carry for the verdict of the whole. */
  readonly statistics: UncertaintyStatistics;
}

export interface Pass extends Disposable {
  run(): Promise<Passed>;
}

/** Opens the sink and prepares the judge; `run` does the work, once. */
export async function beginPass(loaded: Loaded, parts: PassParts): Promise<Pass> {
  const { samples, truth, method, clock } = parts;
  const started = clock.mono();
  if (truth !== undefined && truth.rows !== samples.rows) {
    throw new FarfieldError(
      'E_INPUT',
      `${truth.name} has ${truth.rows} rows, ${samples.name} has ${samples.rows}; they must be the same`,
    );
  }
  const { output } = loaded.plan;
  const { calibration, level } = method;
  const sampled = method.samples === undefined ? undefined : await sample(loaded, parts, method.samples);
  const judge = createRowJudge({
    model: loaded.open.model,
    columns: output.columns,
    calibration,
    level,
    spreads: sampled,
  });
  const sink = parts.createSink(
    output,
    calibration === undefined ? undefined : columnsOf(loaded, calibration, judge, sampled),
  );
  return {
    run: () => runPass(loaded, parts, judge, sink, started),
    [Symbol.dispose]: () => sink[Symbol.dispose](),
  };
}

async function runPass(
  loaded: Loaded,
  parts: PassParts,
  judge: RowJudge,
  sink: RowSink,
  started: number,
): Promise<Passed> {
  const { plan, lanes } = loaded;
  const { samples, truth, clock, method, inputFile } = parts;
  const { classes, columns } = plan.output;
  const collected = new Collected(loaded, truth !== undefined);
  const source = hashed(samples);
  const phases = await runJob({
    clock,
    lanes,
    plan: {
      sampleSize: plan.sample.size,
      columns,
      baselines: plan.baselines,
      signals: method.calibration?.value.reference === undefined ? 0 : plan.signals,
    },
    samples: source,
    truth,
    finished: (from, rows, results, labels) => {
      if (labels !== undefined && classes !== undefined) mustBeClasses(from, labels, classes);
      const said = judge.add(from, rows, results, labels);
      collected.add(rows, results, labels);
      sink.write(from, rows, results, said, labels);
    },
    cancelled: parts.cancelled,
    progress: parts.progress,
  });
  for (const read of [samples, truth]) read?.mustBeSame();
  const at = clock.mono();
  const facts = {
    summary: collected.summary(samples.rows),
    inputDigest: source.digest(),
    trust: reportTrust(method.calibration, judge),
  };
  sink.commit({
    ...attributesOf(loaded, method.calibration, facts),
    input: samples.name,
    ...(inputFile === undefined ? {} : { input_file: inputFile }),
    input_rows_digest: facts.inputDigest,
  });
  phases.writeMs += clock.mono() - at;
  const rep = reportOf(loaded, method.calibration, judge, facts, { ...phases, totalMs: clock.mono() - started });
  return { path: sink.path, rep, statistics: judge.statistics() };
}

interface Facts {
  readonly summary: RowsSummary;
  readonly trust: TrustReport;
}

/** Provenance, as attributes of a result file; the same for one pass and for many that were merged. */
export function attributesOf(
  { open, variant, versions }: Pick<Loaded, 'open' | 'variant' | 'versions'>,
  calibration: OpenCalibration | undefined,
  { summary, trust }: Facts,
): Attributes {
  return {
    model: open.model.name,
    model_version: open.model.version,
    model_digest: `sha256:${open.digest}`,
    variant: variant.name,
    versions: JSON.stringify(versions),
    summary: JSON.stringify(summary),
    trust: JSON.stringify(trust),
    ...(calibration === undefined ? {} : { calibration_digest: calibration.digest }),
  };
}

function reportOf(
  { open, variant, versions, lanes }: Loaded,
  calibration: OpenCalibration | undefined,
  judge: RowJudge,
  { summary, trust, inputDigest }: Facts & { readonly inputDigest: string },
  times: PassReport['phases'],
): PassReport {
  return {
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
    phases: rounded(times),
    summary,
    trust,
    ...(calibration === undefined
      ? {}
      : { uncertainty: reportUncertainty(calibration, judge, variant.variant.sha256) }),
  };
}

/** Predictions of some rows under the model's symmetries. */
function sample(
  loaded: Loaded,
  { clock, samples, seed, cancelled, partOf }: PassParts,
  wanted: number,
): Promise<Sampled> {
  const { open, plan, lanes } = loaded;
  const symmetries = compileSymmetries(open.model, plan.sample, plan.output.columns);
  if (symmetries === undefined) throw new TypeError('no symmetries are declared');
  const random = createSeededRandom(seed);
  return sampleSymmetries({ clock, lanes, plan, samples, partOf, symmetries, random, wanted, cancelled });
}

/** What the error calibration adds to a result file. */
export function columnsOf(
  { open }: Pick<Loaded, 'open'>,
  calibration: OpenCalibration,
  { levels, classes }: Pick<RowJudge, 'levels' | 'classes'>,
  sampled: Sampled | undefined,
): UncertaintyColumns {
  return {
    levels,
    classes,
    reference: calibration.value.reference !== undefined,
    bounds: boundsText(calibration),
    units: calibration.value.units,
    groups: groupsText(open.model),
    sampled,
  };
}

/** A tenth of a millisecond is finer than what repeats. */
function rounded(phases: PassReport['phases']): PassReport['phases'] {
  const values = Object.entries(phases).map(([name, ms]) => [name, Math.round(ms * 10) / 10]);
  return Object.fromEntries(values) as PassReport['phases'];
}
