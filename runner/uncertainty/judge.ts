/**
 * What the error calibration says of each row, and the statistics of all of them: used by every job, whoever runs it.
 *
 *     const judge = createRowJudge({ model, columns, calibration, level });
 *     each block, in any order:  const said = judge.add(rows, results, truth);   sets flags in results.flags
 *     at the end:                const trust = verdict.judge(calibration, judge.statistics());
 *
 * Invariants
 *  R1 A row without a radius (no answer, in no group, too few calibration rows) has an infinite one, never a small one. No
 *     answer is what comes of a sample that is constant or not finite, and an answer outside its bounds or not a number.
 *  R2 Flags are added, never cleared; nothing removes a row.
 */
import type { Model } from '#protos/model.ts';
import type { RowResults } from '../rows.ts';
import type { OpenCalibration } from './calibration.ts';
import { binOf } from './fine-histogram.ts';
import { countFlags, FLAGS, type FlagCounts, noFlags } from './flags.ts';
import { groupOf } from './l2.ts';
import { type Moments, mergeMoments, momentsOf } from './moments.ts';
import { countInto, emptyDrift, type MutableDrift } from './reference.ts';
import { compileScore, scoreKind } from './score.ts';
import { pValue } from './sketch.ts';
import { NO_SCORES, noSymmetry, type ScoreCounts, type UncertaintyStatistics } from './statistics.ts';

/** Levels that every result has. */
const LEVELS = [0.9, 0.95];
/** The level of `beyond_radius`, of coverage and audit. */
const AUDITED = 0.95;
/** A p-value below it flags the row. */
const OUTLIER = 0.001;
/** R1 */
const NO_ANSWER = FLAGS.non_finite | FLAGS.constant | FLAGS.out_of_bounds;
/** Group of a row that is in none. */
export const NO_GROUP = 255;

/** Of one block of rows; views that are good until the next block. */
export interface RowUncertainty {
  readonly levels: readonly number[];
  /** `levels` values a row; of a classifier the least probability that a class of the set may lack to 1. */
  readonly radius: Float32Array;
  /** Index of the group; NO_GROUP for none. */
  readonly group: Uint8Array;
  /** Conformal p-value of the row's inputs; absent without a reference. */
  readonly p: Float32Array | undefined;
  /** Of a classifier: levels x classes bytes a row, 1 where the class is in the set. */
  readonly sets: Uint8Array | undefined;
}

/** Spreads of sampled rows, `rows` increasing. */
export interface SampledSpreads {
  readonly rows: readonly number[];
  readonly u: Float32Array;
}

export interface RowJudgeOptions {
  readonly model: Model;
  readonly columns: number;
  readonly calibration: OpenCalibration | undefined;
  /** A further level beside .9 and .95. */
  readonly level?: number | undefined;
  readonly spreads?: SampledSpreads | undefined;
}

export interface RowJudge {
  readonly levels: readonly number[];
  /** Whether `RowUncertainty.sets` is there. */
  readonly classes: boolean;
  /** `from` is the job's row of the block's first; undefined without a calibration. */
  add(from: number, rows: number, results: RowResults, truth: Float64Array | undefined): RowUncertainty | undefined;
  statistics(): UncertaintyStatistics;
}

export function createRowJudge(options: RowJudgeOptions): RowJudge {
  return new Judge(options);
}

class Judge implements RowJudge {
  readonly levels: readonly number[];
  readonly classes: boolean;
  readonly #options: RowJudgeOptions;
  readonly #radii: Float64Array;
  readonly #audited: number;
  readonly #edges: readonly number[] | undefined;
  readonly #flags: FlagCounts = noFlags();
  readonly #groups: number[];
  readonly #drift: MutableDrift[];
  readonly #score: ReturnType<typeof compileScore>;
  readonly #symmetry = noSymmetry();
  #views: RowUncertainty | undefined;
  #room = 0;
  #rows = 0;
  #compared = 0;
  #outliers = 0;
  #scores: ScoreCounts | null = null;
  #unstable = 0;
  #sampled = 0;

  constructor(options: RowJudgeOptions) {
    const { model, columns, calibration, level, spreads } = options;
    this.#options = options;
    this.levels = [...new Set([...LEVELS, ...(level === undefined ? [] : [level])])].sort((a, b) => a - b);
    this.classes = scoreKind(model) === 'class_probability';
    this.#audited = this.levels.indexOf(AUDITED);
    this.#edges = model.groups?.edges;
    this.#score = compileScore(model, columns);
    const groups = this.#edges?.length ?? 0;
    this.#groups = groups === 0 ? [] : new Array<number>(groups + 1).fill(0);
    this.#drift = calibration?.value.reference?.features.map(({ edges }) => emptyDrift(edges.length)) ?? [];
    // Radii of every group, and last of rows in none.
    this.#radii = Float64Array.from(
      Array.from({ length: groups + 1 }, (_, g) =>
        this.levels.map((l) => calibration?.radius(groups === 0 ? undefined : g === groups ? -1 : g, l) ?? Infinity),
      ).flat(),
    );
    if (spreads !== undefined) this.#takeSpreads(spreads);
  }

  add(from: number, rows: number, results: RowResults, truth: Float64Array | undefined): RowUncertainty | undefined {
    const { calibration } = this.#options;
    this.#rows += rows;
    const said = calibration === undefined ? undefined : this.#viewsFor(rows);
    if (calibration !== undefined && said !== undefined) {
      this.#assignGroups(rows, results, said);
      this.#compareInputs(rows, results, calibration, said);
      this.#flagUnstable(from, rows, results, calibration);
      if (truth !== undefined) this.#scoreRows(rows, results, truth, calibration, said);
    }
    countFlags(this.#flags, results.flags.subarray(0, rows));
    return said;
  }

  statistics(): UncertaintyStatistics {
    const { calibration, spreads } = this.#options;
    const flags = Object.fromEntries(Object.entries(this.#flags).filter(([, n]) => n > 0));
    const symmetry = { ...this.#symmetry, rows: this.#sampled, unstable: this.#unstable };
    return {
      v: 1,
      calibration: calibration?.digest ?? null,
      rows: this.#rows,
      flags,
      groups: this.#groups,
      outliers: { n: this.#compared, below: this.#outliers },
      drift: this.#drift,
      scores: this.#scores,
      symmetry: spreads === undefined ? null : symmetry,
    };
  }

  /** Group, radius and set of each row. */
  #assignGroups(rows: number, { features, flags, predictions }: RowResults, said: RowUncertainty): void {
    const { radius, group, sets } = said;
    const none = (this.#edges?.length ?? 0) as number;
    const { length } = this.levels;
    for (let row = 0; row < rows; row++) {
      const found = this.#edges === undefined ? 0 : groupOf(this.#edges, features[row] as number);
      const dead = ((flags[row] as number) & NO_ANSWER) !== 0;
      const index = dead || found < 0 ? none : found;
      if (this.#groups.length > 0) this.#groups[index] = (this.#groups[index] as number) + 1;
      group[row] = index === none && (none > 0 || dead) ? NO_GROUP : index;
      for (let l = 0; l < length; l++)
        radius[row * length + l] = dead ? Infinity : (this.#radii[index * length + l] as number);
    }
    if (sets !== undefined) fillSets(rows, predictions, this.#options.columns, said);
  }

  #compareInputs(rows: number, results: RowResults, { value, distance }: OpenCalibration, { p }: RowUncertainty): void {
    const { reference } = value;
    const { signals, flags } = results;
    if (reference === undefined || distance === undefined || signals === undefined || p === undefined) return;
    const d = reference.features.length;
    for (let row = 0; row < rows; row++) {
      const pRow = pValue(reference.distances, distance(signals, row * d));
      p[row] = pRow;
      // Not a number: a sample that is not finite, which has its own flag.
      if (Number.isNaN(pRow)) continue;
      this.#compared++;
      for (let i = 0; i < d; i++)
        countInto(
          this.#drift[i] as MutableDrift,
          (reference.features[i] as { edges: number[] }).edges,
          signals[row * d + i] as number,
        );
      if (pRow >= OUTLIER) continue;
      this.#outliers++;
      flags[row] = (flags[row] as number) | FLAGS.out_of_distribution;
    }
  }

  #scoreRows(
    rows: number,
    results: RowResults,
    truth: Float64Array,
    { value }: OpenCalibration,
    said: RowUncertainty,
  ): void {
    const { p95, p95Limits } = value.summary;
    const scores: number[] = [];
    let [bounded, beyond, aboveReference, aboveLimit] = [0, 0, 0, 0];
    for (let row = 0; row < rows; row++) {
      const score = this.#score(results.predictions, truth, row);
      if (!Number.isFinite(score)) continue;
      scores.push(score);
      if (score > (p95Limits[1] as number)) aboveReference++;
      if (score > 1.25 * p95) aboveLimit++;
      const radius = said.radius[row * this.levels.length + this.#audited] as number;
      if (radius === Infinity) continue;
      bounded++;
      // The radius is stored in FP32; a score that equals it must not be beyond its rounding.
      if (!(score > radius * (1 + 1e-6))) continue;
      beyond++;
      results.flags[row] = (results.flags[row] as number) | FLAGS.beyond_radius;
    }
    const was = this.#scores ?? NO_SCORES;
    const moments: Moments = mergeMoments(was.moments, momentsOf(scores));
    this.#scores = {
      n: was.n + scores.length,
      moments,
      bounded: was.bounded + bounded,
      beyond: was.beyond + beyond,
      aboveReference: was.aboveReference + aboveReference,
      aboveLimit: was.aboveLimit + aboveLimit,
    };
  }

  /** Sampled rows come before the job: their flags must be known when a block is written. */
  #takeSpreads({ u }: SampledSpreads): void {
    const counts = this.#symmetry.counts as number[];
    for (const spread of u) {
      if (!Number.isFinite(spread)) continue;
      this.#sampled++;
      const bin = binOf(spread);
      counts[bin] = (counts[bin] as number) + 1;
    }
  }

  #flagUnstable(from: number, rows: number, { flags }: RowResults, { value }: OpenCalibration): void {
    const { spreads } = this.#options;
    if (spreads === undefined || value.symmetry === undefined) return;
    for (let i = 0; i < spreads.rows.length; i++) {
      const row = (spreads.rows[i] as number) - from;
      if (row < 0 || row >= rows) continue;
      if (!(pValue(value.symmetry.spreads, spreads.u[i] as number) < OUTLIER)) continue;
      this.#unstable++;
      flags[row] = (flags[row] as number) | FLAGS.unstable;
    }
  }

  /** Buffers for the largest block so far; blocks are written before the next is added. */
  #viewsFor(rows: number): RowUncertainty {
    const { columns, calibration } = this.#options;
    if (this.#views === undefined || rows > this.#room) {
      this.#room = rows;
      this.#views = {
        levels: this.levels,
        radius: new Float32Array(rows * this.levels.length),
        group: new Uint8Array(rows),
        p: calibration?.value.reference === undefined ? undefined : new Float32Array(rows),
        sets: this.classes ? new Uint8Array(rows * this.levels.length * columns) : undefined,
      };
    }
    return this.#views;
  }
}

/** A class is in the set if its probability lacks no more to 1 than the radius allows. */
function fillSets(
  rows: number,
  predictions: Float32Array,
  columns: number,
  { levels, radius, sets }: RowUncertainty,
): void {
  const { length } = levels;
  for (let row = 0; row < rows; row++) {
    for (let l = 0; l < length; l++) {
      const q = radius[row * length + l] as number;
      for (let c = 0; c < columns; c++) {
        const inside = !(1 - (predictions[row * columns + c] as number) > q);
        (sets as Uint8Array)[(row * length + l) * columns + c] = inside ? 1 : 0;
      }
    }
  }
}
