/**
 * One shard of a batch: rows of one input, predicted, written, and described in a sidecar.
 *
 * Invariants
 *  B1 A shard is done when its sidecar is there and holds (sidecar.ts). Until then nothing lies under its result's name that a
 *     merge would take; a runner that is killed leaves files under names of its own, which the next one removes.
 *  B2 Running a shard again changes nothing: its rows and labels are read and compared with what was recorded. Other rows, another
 *     model or other options are refused, unless `force` says to replace.
 *  B3 The same rows, model and options give the same bytes of result, on whatever host and however often.
 */
import { accessSync, constants, mkdirSync, readdirSync, renameSync, rmSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '#base/clock.ts';
import { errno } from '#base/files.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type HashedSource, hashed } from '../hashed-rows.ts';
import { chooseVariant, openModel } from '../model.ts';
import { type Loaded, load } from '../model-calls.ts';
import { namedFile } from '../named-file.ts';
import { beginPass, chooseMethod, samplesWish, truthWish, type UncertaintyWish } from '../pass.ts';
import { compileRows } from '../rows.ts';
import { createHdf5Sink } from '../sinks.ts';
import { openSource, type RowSource, type SourceTools } from '../sources.ts';
import { openModelCalibration } from '../uncertainty/calibration.ts';
import type { TrustReport } from '../uncertainty/report.ts';
import { lockShard } from './lock.ts';
import { type ShardRows, type ShardWish, shardName, shardRows } from './shards.ts';
import { readSidecar, type ShardJob, type Sidecar, sameJob, sha256OfFile, writeSidecar } from './sidecar.ts';
import { digestRows, windowOf } from './window.ts';

export interface BatchOptions {
  readonly model: string;
  readonly variant: string | undefined;
  /** `FILE[:/dataset]` each. */
  readonly input: string;
  readonly labels: string | undefined;
  readonly out: string;
  readonly shard: ShardWish;
  readonly uncertainty: UncertaintyWish;
  readonly seed: number;
  readonly threads: number;
  /** Replaces a result of other rows, model or options. */
  readonly force: boolean;
}

export type BatchEvent =
  | { readonly event: 'started'; readonly shard: ShardRows; readonly result: string }
  | { readonly event: 'note'; readonly note: string }
  | { readonly event: 'progress'; readonly done: number; readonly total: number; readonly rowsPerS: number };

export interface BatchParts {
  readonly clock: Clock;
  readonly scratchDir: string;
  /** Different for every process that may write the folder: `host-pid`. */
  readonly self: string;
  readonly hdf5: SourceTools['hdf5'];
  readonly cancelled: () => boolean;
  readonly tell: (event: BatchEvent) => void;
}

export interface BatchReport {
  /** `already`: it was done before, by these very rows, model and options. */
  readonly state: 'done' | 'already';
  readonly shard: ShardRows;
  readonly result: string;
  readonly rows: number;
  readonly trust: TrustReport;
  /** Milliseconds; absent where nothing was computed. */
  readonly phases?: object;
}

/** Everything that is known before a model is loaded. */
interface Plan {
  readonly shard: ShardRows;
  readonly name: string;
  readonly job: ShardJob;
  readonly samples: RowSource;
  readonly labels: RowSource | undefined;
}

export async function runShard(options: BatchOptions, parts: BatchParts): Promise<BatchReport> {
  openOutput(options.out);
  const tools: SourceTools = { hdf5: parts.hdf5, scratchDir: parts.scratchDir };
  const { job, wishes } = describeJob(options);
  const input = namedFile('input', options.input);
  const labelled = options.labels === undefined ? undefined : namedFile('labels', options.labels);
  const before = [input, labelled].map((file) => identityOf(file?.path));
  using samples = await openSource(input, wishes.samples, tools);
  using labels = labelled === undefined ? undefined : await openSource(labelled, wishes.labels, tools);
  mustMatchInLength(samples, labels);
  const shard = shardRows(options.shard, samples.rows, samples.chunkRows);
  const name = shardName(shard);
  using lock = lockShard(join(options.out, `${name}.lock`), name);
  if (!lock.held)
    parts.tell({
      event: 'note',
      note: 'this file system has no locks: two runners on one shard would both do its work',
    });
  const rows = shard.to - shard.from;
  const plan: Plan = {
    shard,
    name,
    job,
    samples: windowOf(samples, shard.from, rows),
    labels: labels === undefined ? undefined : windowOf(labels, shard.from, rows),
  };
  const done = await doneBefore(options, parts, plan);
  if (done !== undefined)
    return { state: 'already', shard, result: resultPath(options, name), rows, trust: done.trust };
  if (lock.held) removeLeftOvers(options.out, name);
  parts.tell({ event: 'started', shard, result: resultPath(options, name) });
  // Awaited here: what is open closes when this function ends.
  return await compute(options, parts, plan, () => {
    const after = [input, labelled].map((file) => identityOf(file?.path));
    if (JSON.stringify(before) !== JSON.stringify(after))
      throw new FarfieldError('E_INPUT', 'the input changed while it was read; the result is discarded');
  });
}

/** The job's identity, from the model's files alone: a shard that is done loads no model. */
function describeJob(options: BatchOptions): {
  job: ShardJob;
  wishes: { samples: ReturnType<typeof samplesWish>; labels: ReturnType<typeof truthWish> };
} {
  const open = openModel(options.model);
  const variant = chooseVariant(open.model, options.variant);
  // Whether the golden rows come out right is seen when the model runs; here only the calibration's name matters.
  const calibration = openModelCalibration(open, variant, true);
  const method = chooseMethod(options.uncertainty, { open, calibration });
  const { name, version } = open.model;
  const { method: asked, level, samples } = options.uncertainty;
  return {
    job: {
      model: { name, version, digest: `sha256:${open.digest}`, variant: variant.name },
      calibration: method.calibration?.digest ?? null,
      uncertainty: { method: asked, level, samples, seed: options.seed },
      labels: options.labels !== undefined,
    },
    wishes: { samples: samplesWish({ open }), labels: truthWish({ plan: compileRows(open.model) }) },
  };
}

function mustMatchInLength(samples: RowSource, labels: RowSource | undefined): void {
  if (labels === undefined || labels.rows === samples.rows) return;
  throw new FarfieldError(
    'E_INPUT',
    `${labels.name} has ${labels.rows} rows, ${samples.name} has ${samples.rows}; they must be the same`,
  );
}

/** B2: the shard as it was done, if it was, by the same job on the same rows. */
async function doneBefore(
  { out, force }: BatchOptions,
  { tell }: BatchParts,
  { name, job, shard, samples, labels }: Plan,
): Promise<Sidecar | undefined> {
  const found = await readSidecar(out, `${name}.json`);
  if (found.kind === 'absent') return undefined;
  if (found.kind === 'bad') {
    tell({ event: 'note', note: `${found.why}; the shard is done again` });
    return undefined;
  }
  const { sidecar } = found;
  const sameRows =
    sidecar.input.rowsDigest === digestRows(samples) &&
    sidecar.labelsDigest === (labels === undefined ? null : digestRows(labels));
  if (sameJob(sidecar.job, job) && sidecar.shard.of === shard.of && sameRows) return sidecar;
  if (force) return undefined;
  const what = sameRows ? 'another model or other options' : 'other rows';
  throw new FarfieldError(
    'E_CONFLICT',
    `${name} was made of ${what}; write to another folder, or replace it with --force`,
  );
}

async function compute(
  options: BatchOptions,
  parts: BatchParts,
  plan: Plan,
  mustBeUnchanged: () => void,
): Promise<BatchReport> {
  const { clock, cancelled, tell } = parts;
  const { model: modelRoot, variant, threads, out, seed } = options;
  const request = { modelRoot, variant, entry: {}, threads, scratchDir: parts.scratchDir };
  const loaded = await load('ort', request, { hdf5: parts.hdf5, scratchDir: parts.scratchDir }, clock);
  try {
    const library = await parts.hdf5();
    const aside = join(out, `${plan.name}.${parts.self}.h5`);
    const labels = plan.labels === undefined ? undefined : hashed(plan.labels);
    using pass = await beginPass(loaded, {
      samples: plan.samples,
      truth: labels,
      method: chooseMethod(options.uncertainty, loaded),
      seed,
      clock,
      cancelled,
      progress: (done, total, perSecond) => tell({ event: 'progress', done, total, rowsPerS: Math.round(perSecond) }),
      createSink: (output, uncertainty) =>
        createHdf5Sink(library, {
          path: aside,
          rows: plan.samples.rows,
          output,
          uncertainty,
          firstRow: plan.shard.from,
          compared:
            labels === undefined
              ? undefined
              : { truth: output.classes === undefined ? output.columns : 1, baselines: loaded.plan.baselines },
          durable: true,
        }),
    });
    const { path, rep, statistics } = await pass.run();
    try {
      mustBeUnchanged();
      await commitShard(options, plan, loaded, { path, rep, statistics, labels });
    } catch (reason) {
      rmSync(path, { force: true });
      throw reason;
    }
    const { rows } = plan.samples;
    return {
      state: 'done',
      shard: plan.shard,
      result: resultPath(options, plan.name),
      rows,
      trust: rep.trust,
      phases: rep.phases,
    };
  } finally {
    await loaded.lanes[Symbol.asyncDispose]();
  }
}

/** B1: the old sidecar goes, the result takes its name, the sidecar follows. A death in between leaves a shard to be done again. */
async function commitShard(
  options: BatchOptions,
  { name, shard, job, samples }: Plan,
  { versions }: Loaded,
  made: {
    path: string;
    rep: { inputRowsDigest: string; trust: TrustReport };
    statistics: Sidecar['statistics'];
    labels: HashedSource | undefined;
  },
): Promise<void> {
  const sidecarPath = join(options.out, `${name}.json`);
  const result = { file: `${name}.h5`, bytes: statSync(made.path).size, sha256: await sha256OfFile(made.path) };
  rmSync(sidecarPath, { force: true });
  renameSync(made.path, resultPath(options, name));
  writeSidecar(sidecarPath, {
    v: 1,
    shard,
    job,
    input: { name: samples.name, rowsDigest: made.rep.inputRowsDigest },
    labelsDigest: made.labels?.digest() ?? null,
    result,
    versions,
    statistics: made.statistics,
    trust: made.rep.trust,
  });
}

const resultPath = ({ out }: BatchOptions, name: string): string => join(out, `${name}.h5`);

/** Of killed runners on this shard: whoever has the lock is the only one alive. */
function removeLeftOvers(out: string, name: string): void {
  for (const file of readdirSync(out))
    if (file.startsWith(`${name}.`) && /\.h5(\.part)?$/.test(file) && file !== `${name}.h5`)
      rmSync(join(out, file), { force: true });
}

function openOutput(out: string): void {
  try {
    mkdirSync(out, { recursive: true });
    accessSync(out, constants.W_OK | constants.X_OK);
  } catch (reason) {
    throw new FarfieldError(
      'E_FORBIDDEN',
      `the output folder ${out} cannot be written (${errno(reason) ?? 'unknown'}); name one that can`,
      { cause: reason },
    );
  }
}

/** Inode, size and time of a file: enough to see that it was replaced or written to. */
function identityOf(path: string | undefined): object | undefined {
  const facts: Stats | undefined = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
  return facts === undefined ? undefined : { ino: facts.ino, size: facts.size, mtimeMs: facts.mtimeMs };
}
