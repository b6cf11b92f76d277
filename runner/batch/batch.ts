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
import { readdirSync, renameSync, rmSync, type Stats, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Clock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type HashedSource, hashed } from '../hashed-rows.ts';
import { MAX_ROWS } from '../limits.ts';
import { chooseVariant, type OpenModel, openModel } from '../model.ts';
import { load, ownVersions } from '../model-calls.ts';
import { namedFile } from '../named-file.ts';
import { openOutput, outputError } from '../output.ts';
import { beginPass, chooseMethod, samplesWish, truthWish, type UncertaintyWish } from '../pass.ts';
import { compileRows } from '../rows.ts';
import { createHdf5Sink } from '../sinks.ts';
import { openSource, type RowSource, type SourceTools, type SourceWish } from '../sources.ts';
import { openModelCalibration } from '../uncertainty/calibration.ts';
import type { TrustReport } from '../uncertainty/report.ts';
import { keepModel } from './kept-model.ts';
import { lockShard, type Self } from './lock.ts';
import { type ShardRows, type ShardWish, shardName, shardRows } from './shards.ts';
import {
  differences,
  readSidecar,
  type ShardJob,
  type Sidecar,
  sha256OfFile,
  type WholeRows,
  writeSidecar,
} from './sidecar.ts';
import type { Stopping } from './stopping.ts';
import { digestRows, probeRows, windowOf } from './window.ts';

/** Of the whole input: a row's index is stored in 32 bits. */
const MAX_INDEXED_ROWS = 2 ** 32 - 1;

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
  /** Folders in which the input may name other files (links, virtual data sets). */
  readonly linkRoots: readonly string[];
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
  /** Names this process among all that may write the folder. */
  readonly self: Self;
  readonly hdf5: SourceTools['hdf5'];
  readonly stopping: Stopping;
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
  readonly open: OpenModel;
  readonly shard: ShardRows;
  readonly name: string;
  readonly job: ShardJob;
  readonly samples: RowSource;
  readonly labels: RowSource | undefined;
}

/** One shard, from its options to its sidecar. What the system refuses of the output folder is told as that. */
export async function runShard(options: BatchOptions, parts: BatchParts): Promise<BatchReport> {
  try {
    return await prepareShard(options, parts);
  } catch (reason) {
    throw outputError(reason, options.out);
  }
}

async function prepareShard(options: BatchOptions, parts: BatchParts): Promise<BatchReport> {
  const tools: SourceTools = { hdf5: parts.hdf5, scratchDir: parts.scratchDir, linkRoots: options.linkRoots };
  const { open, describe, wishes } = describeJob(options);
  const input = namedFile('input', options.input);
  const labelled = options.labels === undefined ? undefined : namedFile('labels', options.labels);
  const before = [input, labelled].map((file) => identityOf(file?.path));
  using samples = await openSource(input, { ...wishes.samples, maxRows: MAX_INDEXED_ROWS }, tools);
  using labels =
    labelled === undefined
      ? undefined
      : await openSource(labelled, { ...wishes.labels, maxRows: MAX_INDEXED_ROWS }, tools);
  mustMatchInLength(samples, labels);
  const shard = shardRows(options.shard, samples.rows, samples.chunkRows);
  const rows = shard.to - shard.from;
  if (rows > MAX_ROWS)
    throw new FarfieldError('E_TOO_LARGE', `a shard of ${rows} rows; at most ${MAX_ROWS} are taken, make more shards`);
  const plan: Plan = {
    open,
    shard,
    name: shardName(shard),
    job: describe(samples, labels),
    samples: windowOf(samples, shard.from, rows),
    labels: labels === undefined ? undefined : windowOf(labels, shard.from, rows),
  };
  // First without the lock: to see that a shard is done takes no right to write.
  const done = (await doneBefore(options, parts, plan)) ?? (await doShard(options, parts, plan, mustBeSame));
  return { shard, result: resultPath(options, plan.name), rows, ...done };

  function mustBeSame(): void {
    const after = [input, labelled].map((file) => identityOf(file?.path));
    if (JSON.stringify(before) !== JSON.stringify(after))
      throw new FarfieldError('E_INPUT', 'the input changed while it was read; the result is discarded');
  }
}

/** What one shard's end says beside its name and rows. */
type Done = Pick<BatchReport, 'state' | 'trust' | 'phases'>;

async function doShard(options: BatchOptions, parts: BatchParts, plan: Plan, mustBeSame: () => void): Promise<Done> {
  openOutput(options.out);
  const { name, shard } = plan;
  using lock = lockShard(join(options.out, `${name}.lock`), name, { ...parts.self, clock: parts.clock });
  // Again, since another runner may have finished it between the look and the lock.
  const done = await doneBefore(options, parts, plan);
  if (done !== undefined) return done;
  removeLeftOvers(options.out, name);
  parts.tell({ event: 'started', shard, result: resultPath(options, name) });
  // Awaited here: the lock is let go when this function ends.
  return await compute(options, parts, plan, () => {
    mustBeSame();
    if (!lock.holds())
      throw new FarfieldError(
        'E_BUSY',
        `${name}: this runner stood still, and another took over; its result is discarded`,
      );
  });
}

/** The job's identity, from the model's files alone: a shard that is done loads no model. */
function describeJob(options: BatchOptions): {
  open: OpenModel;
  describe: (samples: RowSource, labels: RowSource | undefined) => ShardJob;
  wishes: { samples: SourceWish; labels: SourceWish };
} {
  const open = openModel(options.model);
  const variant = chooseVariant(open.model, options.variant);
  // Whether the golden rows come out right is seen when the model runs; here only the calibration's name matters.
  const calibration = openModelCalibration(open, variant, true);
  const method = chooseMethod(options.uncertainty, { open, calibration });
  const { name, version } = open.model;
  const { method: asked, level, samples } = options.uncertainty;
  return {
    open,
    describe: (input, labels) => ({
      model: { name, version, digest: `sha256:${open.digest}`, variant: variant.name },
      calibration: method.calibration?.digest ?? null,
      uncertainty: { method: asked, level, samples, seed: options.seed },
      versions: ownVersions(),
      input: wholeRows(input),
      labels: labels === undefined ? null : wholeRows(labels),
    }),
    wishes: { samples: samplesWish({ open }), labels: truthWish({ plan: compileRows(open.model) }) },
  };
}

const wholeRows = (source: RowSource): WholeRows => ({
  name: source.name,
  rows: source.rows,
  stored: source.stored,
  probe: probeRows(source),
});

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
  { name, job, samples, labels }: Plan,
): Promise<Done | undefined> {
  const found = await readSidecar(out, `${name}.json`);
  if (found.kind === 'absent') return undefined;
  if (found.kind === 'bad') {
    tell({ event: 'note', note: `${found.why}; the shard is done again` });
    return undefined;
  }
  const { sidecar } = found;
  const sameRows =
    sidecar.rowsDigest === digestRows(samples) &&
    sidecar.labelsDigest === (labels === undefined ? null : digestRows(labels));
  const differs = differences(sidecar.job, job);
  if (differs === undefined && sameRows) return { state: 'already', trust: sidecar.trust };
  if (force) return undefined;
  throw new FarfieldError(
    'E_CONFLICT',
    `${name} was made of another job: ${differs ?? 'its rows or labels have other values'}; write to another folder, or replace it with --force`,
  );
}

async function compute(options: BatchOptions, parts: BatchParts, plan: Plan, mustBeGood: () => void): Promise<Done> {
  const { clock, stopping, tell } = parts;
  const { model: modelRoot, variant, threads, out, seed } = options;
  const request = { modelRoot, variant, entry: {}, threads, scratchDir: parts.scratchDir };
  mustGoOn(stopping);
  const loaded = await load('ort', request, { hdf5: parts.hdf5, scratchDir: parts.scratchDir }, clock);
  try {
    mustGoOn(stopping);
    stopping.onCancel(() => loaded.lanes.cancel());
    const library = await parts.hdf5();
    const aside = join(out, `${plan.name}.${parts.self.nonce}.h5`);
    const labels = plan.labels === undefined ? undefined : hashed(plan.labels);
    using pass = await beginPass(loaded, {
      samples: plan.samples,
      inputFile: inputName(options),
      truth: labels,
      method: chooseMethod(options.uncertainty, loaded),
      seed,
      partOf: { rows: plan.shard.of, from: plan.shard.from },
      clock,
      cancelled: () => stopping.cancelled,
      progress: (done, total, perSecond) => {
        stopping.progress(done, total, perSecond);
        tell({ event: 'progress', done, total, rowsPerS: Math.round(perSecond) });
      },
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
    for (const note of rep.uncertainty?.notes ?? []) parts.tell({ event: 'note', note });
    try {
      await commitShard(options, plan, { path, rep, statistics, labels }, mustBeGood);
    } catch (reason) {
      rmSync(path, { force: true });
      throw reason;
    }
    return { state: 'done', trust: rep.trust, phases: rep.phases };
  } finally {
    await loaded.lanes[Symbol.asyncDispose]();
  }
}

function mustGoOn(stopping: Stopping): void {
  if (stopping.cancelled) throw new FarfieldError('E_CANCELLED', 'asked to stop before the shard was begun');
}

/** B1: the old sidecar goes, the result takes its name, the sidecar follows. A death in between leaves a shard to be done again. */
async function commitShard(
  options: BatchOptions,
  { open, name, shard, job }: Plan,
  made: {
    path: string;
    rep: { inputRowsDigest: string; trust: TrustReport };
    statistics: Sidecar['statistics'];
    labels: HashedSource | undefined;
  },
  mustBeGood: () => void,
): Promise<void> {
  const sidecarPath = join(options.out, `${name}.json`);
  const result = { file: `${name}.h5`, bytes: statSync(made.path).size, sha256: await sha256OfFile(made.path) };
  keepModel(options.out, open);
  // The last look, since hashing took its time; from here on nothing waits.
  mustBeGood();
  rmSync(sidecarPath, { force: true });
  renameSync(made.path, resultPath(options, name));
  writeSidecar(sidecarPath, {
    v: 1,
    shard,
    job,
    inputFile: inputName(options),
    rowsDigest: made.rep.inputRowsDigest,
    labelsDigest: made.labels?.digest() ?? null,
    result,
    statistics: made.statistics,
    trust: made.rep.trust,
  });
}

/** Provenance says which file it was, not where it lay. */
const inputName = ({ input }: BatchOptions): string => basename(namedFile('input', input).path);

const resultPath = ({ out }: BatchOptions, name: string): string => join(out, `${name}.h5`);

/** Of killed runners on this shard: whoever has the lock is the only one alive. The lock's own files are its own. */
function removeLeftOvers(out: string, name: string): void {
  for (const file of readdirSync(out))
    if (file.startsWith(`${name}.`) && /\.(part|tmp)$|\.[0-9a-f]{8,}\.h5$/.test(file))
      rmSync(join(out, file), { force: true });
}

/** Inode, size and time of a file: enough to see that it was replaced or written to. */
function identityOf(path: string | undefined): object | undefined {
  const facts: Stats | undefined = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false });
  return facts === undefined ? undefined : { ino: facts.ino, size: facts.size, mtimeMs: facts.mtimeMs };
}
