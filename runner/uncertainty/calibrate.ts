/**
 * Makes a calibration.json: predicts labelled rows the way a job does, and keeps what is known of errors and inputs.
 *
 * Invariants
 *  B1 Labels belong to the rows one by one: one more or fewer is refused, never cut to fit.
 *  B2 The file is written aside and renamed; it holds no clock and no path, so that the same rows give the same bytes.
 *  B3 What cannot be right is refused with what to do: counts cut off by their type, labels that are no labels of these rows.
 */
import { createHash } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Clock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { sha256Hex } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Calibration } from '#protos/calibration.ts';
import { goldenDistance } from '../golden.ts';
import { createHdf5Loader, type Hdf5Library } from '../hdf5/library.ts';
import { runJob } from '../job.ts';
import { Lanes } from '../lanes.ts';
import { chooseVariant, type OpenModel, openModel, openOnnx, type VariantChoice } from '../model.ts';
import { namedFile } from '../named-file.ts';
import { outputError } from '../output.ts';
import { compileRows, type RowPlan } from '../rows.ts';
import { openSource, type RowSource } from '../sources.ts';
import { decisionDigest } from './calibration.ts';
import { mustBeClasses } from './classes.ts';
import { conformalRank, rowsForLevel } from './conformal.ts';
import { FLAGS } from './flags.ts';
import { groupOf } from './l2.ts';
import { momentsOf, standardDeviation } from './moments.ts';
import { quantileOfSorted } from './quantiles.ts';
import { referenceOf } from './reference.ts';
import { sampleSymmetries } from './sampling.ts';
import { compileScore, scoreKind } from './score.ts';
import { sketchOf, valueOfRank } from './sketch.ts';
import { compileSymmetries } from './symmetry.ts';

/** Spreads are of these many rows: p-values of .001 need a thousand. */
const SYMMETRY_ROWS = 2048;
/** A reference of fewer rows could not tell one in a thousand; half of them make the distances. */
const LEAST_REFERENCE_ROWS = 200;
/** More rows than this at the end of an integer type: it cut counts off. */
const MOST_CUT_OFF = 0.1;
const LEVELS = [0.9, 0.95];
const SEED = 1;

export interface CalibrateOptions {
  readonly model: string;
  readonly variant: string | undefined;
  /** FILE[:/dataset] each. */
  readonly input: string;
  readonly labels: string;
  readonly out: string;
  /** Whether labels are the truth, or what a fit said. */
  readonly labelKind: 'truth' | 'fit';
  /** What the labels are, in words; what the data are, and how they were made. */
  readonly labelText: string | undefined;
  readonly dataText: string | undefined;
  readonly madeText: string | undefined;
  readonly threads: number;
  readonly scratchDir: string;
  readonly clock: Clock;
}

/** What the command prints. */
export interface CalibrateReport {
  readonly file: { readonly file: string; readonly sha256: string };
  readonly n: number;
  readonly left: number;
  readonly bounds: string;
  readonly radii: readonly {
    readonly from?: number;
    readonly n: number;
    readonly r90: number | null;
    readonly r95: number | null;
  }[];
  /** What a reader should know: groups with too few rows for a level, say. */
  readonly notes: readonly string[];
}

/** What one pass over the rows gave. */
interface Gathered {
  readonly scores: number[];
  /** Group of each score; -1 for none. */
  readonly groups: number[];
  /** Features of every row whose sample is finite, row by row. */
  readonly signals: number[];
  readonly rowsDigest: string;
  readonly labelsDigest: string;
  rows: number;
  cutOff: number;
}

export async function calibrate(options: CalibrateOptions): Promise<CalibrateReport> {
  const open = openModel(options.model);
  const variant = chooseVariant(open.model, options.variant);
  const library = await createHdf5Loader().acquire();
  const plan = compileRows(open.model);
  const { samples, truth } = await openRows(options, open, plan, library);
  using _samples = samples;
  using _truth = truth;
  const file = await openOnnx(open, variant.variant);
  await using lanes = await Lanes.open({ adapter: 'ort', model: open.model, file, threads: options.threads });
  await goldenDistance({ open, lanes, plan, library, clock: options.clock });
  const gathered = await gather(options.clock, open, plan, lanes, samples, truth);
  mustBeRight(gathered, samples, truth);
  const symmetry = await spreadsOf(options.clock, open, plan, lanes, samples);
  const calibration = assemble(options, open, variant, plan, gathered, symmetry);
  return finish(options.out, calibration, gathered);
}

/** Both data sets, checked against the model and against one another (B1). */
async function openRows(
  { input, labels, scratchDir }: CalibrateOptions,
  { model }: OpenModel,
  plan: RowPlan,
  library: Hdf5Library,
): Promise<{ samples: RowSource; truth: RowSource }> {
  const tools = { hdf5: () => Promise.resolve(library), scratchDir };
  const declared = model.inputs[0] as OpenModel['model']['inputs'][number];
  const rowShape = declared.shape.slice(1).filter((n) => n !== 1);
  const samples = await openSource(
    namedFile('input', input),
    { rowShape, stored: declared.stored, dataset: declared.dataset },
    tools,
  );
  try {
    const shape = plan.output.classes === undefined ? [plan.output.columns] : [];
    const truth = await openSource(
      namedFile('labels', labels),
      { rowShape: shape, stored: undefined, dataset: undefined },
      tools,
    );
    if (truth.rows === samples.rows) return { samples, truth };
    truth[Symbol.dispose]();
    throw new FarfieldError(
      'E_INPUT',
      `${truth.name} has ${truth.rows} rows, ${samples.name} has ${samples.rows}; every row needs its own label`,
    );
  } catch (reason) {
    samples[Symbol.dispose]();
    throw reason;
  }
}

async function gather(
  clock: Clock,
  { model }: OpenModel,
  plan: RowPlan,
  lanes: Lanes,
  samples: RowSource,
  truth: RowSource,
): Promise<Gathered> {
  const [rowsHash, labelsHash] = [createHash('sha256'), createHash('sha256')];
  const score = compileScore(model, plan.output.columns);
  const edges = model.groups?.edges;
  const gathered = { scores: [] as number[], groups: [] as number[], signals: [] as number[], rows: 0, cutOff: 0 };
  await runJob({
    clock,
    lanes,
    plan: {
      sampleSize: plan.sample.size,
      columns: plan.output.columns,
      baselines: plan.baselines,
      signals: plan.signals,
    },
    samples: hashed(samples, rowsHash),
    truth,
    finished: (from, rows, results, labels) => {
      if (labels === undefined) throw new TypeError('labels were given');
      if (plan.output.classes !== undefined) mustBeClasses(from, labels, plan.output.classes);
      labelsHash.update(new Uint8Array(labels.buffer, labels.byteOffset, labels.byteLength));
      gathered.rows += rows;
      for (let row = 0; row < rows; row++) {
        const flags = results.flags[row] as number;
        if ((flags & FLAGS.saturated) !== 0) gathered.cutOff++;
        if ((flags & FLAGS.non_finite) !== 0) continue;
        const at = row * plan.signals;
        if (results.signals !== undefined) gathered.signals.push(...results.signals.subarray(at, at + plan.signals));
        const value = score(results.predictions, labels, row);
        if (!Number.isFinite(value)) continue;
        gathered.scores.push(value);
        gathered.groups.push(edges === undefined ? 0 : groupOf(edges, results.features[row] as number));
      }
    },
    cancelled: () => false,
    progress: () => {},
  });
  for (const read of [samples, truth]) read.mustBeSame();
  return { ...gathered, rowsDigest: rowsHash.digest('hex'), labelsDigest: labelsHash.digest('hex') };
}

function hashed(source: RowSource, hash: ReturnType<typeof createHash>): RowSource {
  return {
    ...source,
    readRows: (from, count, target) => {
      source.readRows(from, count, target);
      hash.update(target.subarray(0, count * source.rowBytes));
    },
    [Symbol.dispose]: () => {},
  };
}

/** B3. */
function mustBeRight({ scores, rows, cutOff }: Gathered, samples: RowSource, truth: RowSource): void {
  const integer = !samples.stored.startsWith('f');
  if (integer && cutOff > MOST_CUT_OFF * rows) {
    throw new FarfieldError(
      'E_INPUT',
      `${samples.name}: ${cutOff} of ${rows} rows reach the largest value of ${samples.stored}; counts were cut off, store them in a wider type`,
    );
  }
  if (scores.length === 0)
    throw new FarfieldError('E_INPUT', `${truth.name}: no row has both a prediction and a label that are numbers`);
}

async function spreadsOf(
  clock: Clock,
  { model }: OpenModel,
  plan: RowPlan,
  lanes: Lanes,
  samples: RowSource,
): Promise<NonNullable<Calibration['symmetry']> | undefined> {
  const symmetries = compileSymmetries(model, plan.sample, plan.output.columns);
  if (symmetries === undefined) return undefined;
  const random = createSeededRandom(SEED);
  const wanted = Math.min(SYMMETRY_ROWS, samples.rows);
  const { u } = await sampleSymmetries({
    clock,
    lanes,
    plan,
    samples,
    symmetries,
    random,
    wanted,
    cancelled: () => false,
  });
  const spreads = u.filter(Number.isFinite);
  if (spreads.length === 0) return undefined;
  return { rows: spreads.length, median: quantileOfSorted(spreads.slice().sort(), 0.5), spreads: sketchOf(spreads) };
}

function assemble(
  options: CalibrateOptions,
  open: OpenModel,
  variant: VariantChoice,
  plan: RowPlan,
  gathered: Gathered,
  symmetry: Calibration['symmetry'],
): Calibration {
  const { model } = open;
  const { scores, groups, signals, rowsDigest, labelsDigest } = gathered;
  const kind = scoreKind(model);
  const names = model.uncertainty?.features ?? [];
  const rows = names.length === 0 ? 0 : signals.length / names.length;
  return {
    v: 1,
    model: { name: model.name, version: model.version, digest: decisionDigest(model) },
    variant: { name: variant.name, sha256: variant.variant.sha256 },
    data: {
      name: options.dataText ?? 'labelled rows',
      rows: gathered.rows,
      rowsDigest,
      labelsDigest,
      ...(options.madeText === undefined ? {} : { made: options.madeText }),
    },
    labels: { kind: options.labelKind, what: options.labelText ?? defaultText(kind, options.labelKind) },
    score: kind,
    units: kind === 'l2' ? plan.output.units : 'probability',
    n: scores.length,
    summary: summaryOf(scores),
    scores: sketchOf(scores),
    ...(model.groups === undefined
      ? {}
      : {
          groups: {
            by: model.groups.by,
            bins: model.groups.edges.map((from, g) => ({
              from,
              scores: sketchOf(scores.filter((_, i) => groups[i] === g)),
            })),
          },
        }),
    ...(rows < LEAST_REFERENCE_ROWS ? {} : { reference: referenceOf(names, Float64Array.from(signals)) }),
    ...(symmetry === undefined ? {} : { symmetry }),
  };
}

function defaultText(score: Calibration['score'], kind: 'truth' | 'fit'): string {
  if (score === 'class_probability') return 'the class that the label names';
  return kind === 'truth' ? 'true values' : 'values that a fit gave';
}

/** With limits of the 95th percentile by order statistics: the ranks between which it lies in 99 of 100 sets. */
function summaryOf(scores: readonly number[]): Calibration['summary'] {
  const moments = momentsOf(scores);
  const n = scores.length;
  const half = 2.575829 * Math.sqrt(n * 0.95 * 0.05);
  const sorted = Float64Array.from(scores).sort();
  const at = (rank: number): number => sorted[Math.min(n, Math.max(1, Math.round(rank))) - 1] as number;
  return {
    mean: moments.mean,
    std: standardDeviation(moments),
    p95: quantileOfSorted(sorted, 0.95),
    p95Limits: [at(0.95 * n - half), at(0.95 * n + half + 1)],
  };
}

/** Writes the file (B2) and says what it holds. */
function finish(out: string, calibration: Calibration, { rows }: Gathered): CalibrateReport {
  const text = `${JSON.stringify(calibration)}\n`;
  const aside = `${out}.part`;
  try {
    writeFileSync(aside, text);
    renameSync(aside, out);
  } catch (reason) {
    rmSync(aside, { force: true });
    throw outputError(reason, dirname(out));
  }
  const bins = calibration.groups?.bins ?? [{ scores: calibration.scores }];
  const notes: string[] = [];
  const radii = bins.map((bin) => {
    const from = 'from' in bin ? bin.from : undefined;
    const [r90, r95] = LEVELS.map((level) => {
      const radius = valueOfRank(bin.scores, conformalRank(bin.scores.n, level));
      if (Number.isFinite(radius)) return Number(radius.toPrecision(6));
      const which = from === undefined ? '' : ` in the group from ${from}`;
      notes.push(
        `${bin.scores.n} rows${which} are too few for ${level}: the radius is infinite; ${rowsForLevel(level)} are needed`,
      );
      return null;
    }) as [number | null, number | null];
    return { ...(from === undefined ? {} : { from }), n: bin.scores.n, r90, r95 };
  });
  if (calibration.reference === undefined)
    notes.push(
      `no reference of the inputs: the model declares no features, or there are fewer than ${LEAST_REFERENCE_ROWS} rows`,
    );
  return {
    file: { file: basename(out), sha256: sha256Hex(text) },
    n: calibration.n,
    left: rows - calibration.n,
    bounds: `${calibration.labels.kind}: ${calibration.labels.what}`,
    radii,
    notes,
  };
}
