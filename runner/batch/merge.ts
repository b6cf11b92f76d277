/**
 * Many shards as one result: the same data sets and attributes as one pass over the whole input would have written.
 *
 * Invariants
 *  M1 Shards cover the input without gap or overlap, and are of one job; anything else is refused with the files' names.
 *  M2 The merged bytes depend on rows, model, options and the cuts between shards alone: not on the order, hosts or number of tries
 *     in which shards were made. Statistics are added in the order of rows.
 *  M3 Memory is one block, whatever the number of rows (and 4 bytes a row with labels, for exact quantiles).
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '#base/clock.ts';
import { sha256Hex } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { Collected } from '../collected.ts';
import type { Hdf5Library } from '../hdf5/library.ts';
import { Hdf5File, readNumbers } from '../hdf5/reader.ts';
import { chooseVariant, openModel } from '../model.ts';
import type { Loaded } from '../model-calls.ts';
import { outputError } from '../output.ts';
import { attributesOf, columnsOf } from '../pass.ts';
import { compileRows } from '../rows.ts';
import { createHdf5Sink, type UncertaintyColumns } from '../sinks.ts';
import { type OpenCalibration, openModelCalibration } from '../uncertainty/calibration.ts';
import { createRowJudge } from '../uncertainty/judge.ts';
import { reportTrust, type TrustReport } from '../uncertainty/report.ts';
import { scoreKind } from '../uncertainty/score.ts';
import { mergeStatistics, noSymmetry, type UncertaintyStatistics } from '../uncertainty/statistics.ts';
import { copyShard } from './copy.ts';
import { keptModel } from './kept-model.ts';
import { lockShard, type Self } from './lock.ts';
import { isSidecarName, shardName } from './shards.ts';
import { differences, parseSidecar, readSidecar, type Sidecar, sha256OfFile } from './sidecar.ts';

export interface MergeOptions {
  /** Folder of shards. */
  readonly folder: string;
  /** The model's folder; what was kept beside the shards where absent. */
  readonly model: string | undefined;
  readonly out: string;
  /** Replaces another file under that name. */
  readonly force: boolean;
}

export interface MergeParts {
  readonly library: Hdf5Library;
  readonly clock: Clock;
  readonly self: Self;
  /** Asked between shards. */
  readonly stopped: () => boolean;
  readonly tell: (event: { readonly event: 'progress'; readonly done: number; readonly total: number }) => void;
}

export interface MergeReport {
  /** `already`: these very bytes lay there. */
  readonly state: 'done' | 'already';
  readonly result: string;
  readonly shards: number;
  readonly rows: number;
  readonly trust: TrustReport;
  /** Of all rows, as the shards' sidecars have them for theirs. */
  readonly statistics: UncertaintyStatistics;
}

/** Of files and problems, in one message or attribute. */
const MAX_TOLD = 12;

/** A sidecar without what is read again when it is needed: ten thousand of them are held at once. */
type Shard = Omit<Sidecar, 'statistics' | 'trust'>;

/** Merges; what the system refuses of the output is told as that. */
export async function mergeShards(options: MergeOptions, parts: MergeParts): Promise<MergeReport> {
  const { out } = options;
  try {
    mustBeFile(out);
    using _lock = lockShard(`${out}.lock`, basename(out), { ...parts.self, clock: parts.clock });
    removeDead(out);
    return await merge(options, parts);
  } catch (reason) {
    throw outputError(reason, dirname(out));
  }
}

/** To look at a device or a FIFO could take for ever. */
function mustBeFile(out: string): void {
  const folder = statSync(dirname(out), { throwIfNoEntry: false });
  if (folder?.isDirectory() !== true)
    throw new FarfieldError('E_FORBIDDEN', `the folder ${dirname(out)} is not there; make it, or name another --out`);
  accessSync(dirname(out), constants.W_OK | constants.X_OK);
  if (statSync(out, { throwIfNoEntry: false })?.isFile() === false)
    throw new FarfieldError('E_CONFLICT', `${out} is there and is no file; name one with --out`);
}

/** What merges of this result left when they were killed. Under the lock: a live one has none of these. */
function removeDead(out: string): void {
  for (const name of readdirSync(dirname(out)))
    if (name.startsWith(`${basename(out)}.`) && /^\.[0-9a-f]{8,}(\.part)?$/.test(name.slice(basename(out).length)))
      rmSync(join(dirname(out), name), { force: true });
}

async function merge(options: MergeOptions, { library, tell, self, stopped }: MergeParts): Promise<MergeReport> {
  const shards = await readShards(options.folder);
  const [first] = shards as [Shard, ...Shard[]];
  const context = openContext(modelFolder(options, first), first);
  const rows = first.shard.of;
  const { plan, calibration } = context;
  const collected = new Collected(context, first.job.labels !== null);
  const uncertainty = calibration === undefined ? undefined : columnsOfWhole(options, library, context, shards);
  const path = `${options.out}.${self.nonce}`;
  using sink = createHdf5Sink(library, { path, rows, output: plan.output, uncertainty, durable: true });
  let statistics: UncertaintyStatistics | undefined;
  for (const shard of shards) {
    // Everything below is done at once: a signal is heard here.
    await nextTurn();
    if (stopped()) throw new FarfieldError('E_CANCELLED', 'asked to stop; nothing was merged');
    const own = statisticsOf(options.folder, shard, context);
    statistics = statistics === undefined ? own : mergeStatistics(statistics, own);
    copyShard({ folder: options.folder, library, plan, uncertainty, sink, collected }, shard);
    tell({ event: 'progress', done: shard.shard.to, total: rows });
  }
  const merged = statistics as UncertaintyStatistics;
  const trust = reportTrust(calibration, { statistics: () => merged });
  sink.commit({
    ...attributesOf(context, calibration, { summary: collected.summary(rows), trust }),
    input: first.job.input.name,
    input_file: [...new Set(shards.map(({ inputFile }) => inputFile))].slice(0, MAX_TOLD).join(', '),
    input_shards_digest: shardsDigest(shards),
    shards: shards.length,
  });
  const state = await settle(path, options);
  return { state, result: options.out, shards: shards.length, rows, trust, statistics: merged };
}

/** Gives the merged file its name. Another file under that name is not replaced unasked: it may be the input. */
async function settle(path: string, { out, force }: MergeOptions): Promise<MergeReport['state']> {
  try {
    if (existsSync(out) && !force) {
      if ((await sha256OfFile(out)) !== (await sha256OfFile(path)))
        throw new FarfieldError('E_CONFLICT', `${out} exists and is another file; name a new one, or say --force`);
      rmSync(path);
      return 'already';
    }
    renameSync(path, out);
    syncFolder(dirname(out));
    return 'done';
  } catch (reason) {
    rmSync(path, { force: true });
    throw reason;
  }
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Of the shards' rows and digests, in order: the digest of the whole cannot be had from digests of its parts. */
function shardsDigest(shards: readonly Shard[]): string {
  const lines = shards.map(({ shard, rowsDigest }) => `${shard.from} ${shard.to} ${rowsDigest}\n`);
  return `sha256:${sha256Hex(lines.join(''))}`;
}

/** M1 */
async function readShards(folder: string): Promise<readonly Shard[]> {
  const names = listSidecars(folder);
  const shards: Shard[] = [];
  const problems: string[] = [];
  for (const name of names) {
    const read = await readSidecar(folder, name);
    if (read.kind === 'good') {
      const { statistics: _statistics, trust: _trust, ...shard } = read.sidecar;
      shards.push(shard);
    } else if (read.kind === 'bad') problems.push(read.why);
  }
  shards.sort((a, b) => a.shard.from - b.shard.from || a.shard.to - b.shard.to);
  const [first] = shards;
  const others = first === undefined ? [] : strangers(first, shards);
  if (first === undefined) problems.push(`${folder} holds no finished shard`);
  else problems.push(...holes(first.shard.of, shards));
  if (others.length + problems.length === 0) return shards;
  // Of two jobs: to run what is missing would not help.
  throw new FarfieldError(
    others.length > 0 ? 'E_CONFLICT' : 'E_INCOMPLETE',
    `these shards make no whole: ${shorten([...others, ...problems]).join('; ')}`,
  );
}

/** Read again, and held to be the file that was checked. */
function statisticsOf(folder: string, { shard, job, result }: Shard, context: Context): UncertaintyStatistics {
  const name = `${shardName(shard)}.json`;
  const read = parseSidecar(folder, name);
  if (read.kind !== 'good' || read.sidecar.result.sha256 !== result.sha256)
    throw new FarfieldError('E_INCOMPLETE', `${name} changed while it was merged; run the merge again`);
  const { statistics } = read.sidecar;
  const like = createRowJudge({
    model: context.open.model,
    columns: context.plan.output.columns,
    ...context,
  }).statistics();
  const sizes = ({ groups, drift }: UncertaintyStatistics): string =>
    [groups.length, ...drift.map(({ counts, sums }) => `${counts.length}/${sums.length}`)].join(' ');
  const fits =
    statistics.rows === shard.to - shard.from &&
    statistics.calibration === job.calibration &&
    sizes(statistics) === sizes(like) &&
    (statistics.symmetry?.counts.length ?? noSymmetry().counts.length) === noSymmetry().counts.length;
  if (fits) return statistics;
  throw new FarfieldError(
    'E_INCOMPLETE',
    `${name}: its statistics are not of ${shard.to - shard.from} rows under the calibration that it names; remove it and run the shard again`,
  );
}

function listSidecars(folder: string): string[] {
  try {
    return readdirSync(folder).filter(isSidecarName).sort();
  } catch (reason) {
    throw new FarfieldError('E_NOT_FOUND', `the folder ${folder} cannot be read`, { cause: reason });
  }
}

const shorten = (told: readonly string[]): readonly string[] =>
  told.length <= MAX_TOLD ? told : [...told.slice(0, MAX_TOLD), `and ${told.length - MAX_TOLD} more`];

function strangers(first: Shard, shards: readonly Shard[]): string[] {
  return shards.flatMap(({ job, shard }) => {
    const differs = differences(first.job, job);
    if (differs === undefined && shard.of === first.shard.of) return [];
    return [`${shardName(shard)} is of another job than ${shardName(first.shard)}: ${differs ?? 'rows of the input'}`];
  });
}

function holes(of: number, shards: readonly Shard[]): string[] {
  const told: string[] = [];
  let at = 0;
  let before = '';
  for (const { shard } of shards) {
    if (shard.from > at) told.push(`rows ${at}:${shard.from} are missing`);
    if (shard.from < at)
      told.push(`${shardName(shard)} overlaps ${before} in rows ${shard.from}:${Math.min(at, shard.to)}`);
    if (shard.to > at) before = shardName(shard);
    at = Math.max(at, shard.to);
  }
  if (at < of) told.push(`rows ${at}:${of} are missing`);
  return told;
}

function modelFolder({ model, folder }: MergeOptions, { job }: Shard): string {
  const kept = keptModel(folder, job.model.digest);
  if (model === undefined && !existsSync(kept))
    throw new FarfieldError(
      'E_NOT_FOUND',
      `${kept} is missing, which runners leave beside their shards: name the folder of ${job.model.name} ${job.model.version} with --model`,
    );
  return model ?? kept;
}

/** The model and calibration that the shards name, without sessions: a merge computes nothing. */
type Context = Pick<Loaded, 'open' | 'variant' | 'plan' | 'versions'> & {
  readonly calibration: OpenCalibration | undefined;
};

function openContext(model: string, { job }: Shard): Context {
  const open = openModel(model);
  const variant = chooseVariant(open.model, job.model.variant);
  if (`sha256:${open.digest}` !== job.model.digest)
    throw new FarfieldError(
      'E_CONFLICT',
      `the shards were made by ${job.model.name} ${job.model.version} (${job.model.digest.slice(0, 20)}…); ${model} holds ${open.model.name} ${open.model.version} (sha256:${open.digest.slice(0, 13)}…)`,
    );
  const found = job.calibration === null ? undefined : openModelCalibration(open, variant, true);
  if ((found?.digest ?? null) !== job.calibration)
    throw new FarfieldError('E_CONFLICT', `the shards were judged by another error calibration than ${model} names`);
  return { open, variant, plan: compileRows(open.model), versions: job.versions, calibration: found };
}

function columnsOfWhole(
  options: MergeOptions,
  library: Hdf5Library,
  { open, calibration }: Context,
  shards: readonly Shard[],
): UncertaintyColumns {
  const classes = scoreKind(open.model) === 'class_probability';
  const levels = levelsOf(shards[0] as Shard);
  const sampled = gatherSampled(options, library, shards);
  return columnsOf({ open }, calibration as OpenCalibration, { levels, classes }, sampled);
}

/** Every result has .9 and .95; a further one where it was asked for. */
function levelsOf({ job }: Shard): readonly number[] {
  return [...new Set([0.9, 0.95, job.uncertainty.level])].sort((a, b) => a - b);
}

/** Rows that shards sampled, by their number in the whole input; undefined where none was asked for. */
function gatherSampled(
  { folder }: MergeOptions,
  library: Hdf5Library,
  shards: readonly Shard[],
): { rows: number[]; u: Float32Array; bias: Float32Array } | undefined {
  if (shards[0]?.job.uncertainty.method !== 'symmetry') return undefined;
  const parts = shards.map(({ result }) => {
    using file = Hdf5File.open(library, join(folder, result.file), result.file);
    const all = (name: string): number[] => {
      using dataset = file.dataset(name);
      return [...readNumbers(dataset)];
    };
    return { rows: all('/uq/tta_rows'), u: all('/uq/tta_spread'), bias: all('/uq/tta_bias') };
  });
  return {
    rows: parts.flatMap(({ rows }) => rows),
    u: Float32Array.from(parts.flatMap(({ u }) => u)),
    bias: Float32Array.from(parts.flatMap(({ bias }) => bias)),
  };
}
