/**
 * Many shards as one result: the same data sets and attributes as one pass over the whole input would have written.
 *
 * Invariants
 *  M1 Shards cover the input without gap or overlap, and are of one job; anything else is refused with the files' names.
 *  M2 The merged bytes depend on rows, model, options and the cuts between shards alone: not on the order, hosts or number of tries
 *     in which shards were made. Statistics are added in the order of rows.
 *  M3 Memory is one block, whatever the number of rows (and 4 bytes a row with labels, for exact quantiles).
 */
import { closeSync, existsSync, fsyncSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { sha256Hex } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { Collected } from '../collected.ts';
import type { Hdf5Library } from '../hdf5/library.ts';
import { Hdf5File, readNumbers } from '../hdf5/reader.ts';
import { chooseVariant, openModel } from '../model.ts';
import type { Loaded } from '../model-calls.ts';
import { attributesOf, columnsOf } from '../pass.ts';
import { compileRows, type RowResults } from '../rows.ts';
import { createHdf5Sink, type RowSink, type UncertaintyColumns } from '../sinks.ts';
import { type OpenCalibration, openModelCalibration } from '../uncertainty/calibration.ts';
import type { RowUncertainty } from '../uncertainty/judge.ts';
import { reportTrust, type TrustReport } from '../uncertainty/report.ts';
import { scoreKind } from '../uncertainty/score.ts';
import { mergeStatistics, type UncertaintyStatistics } from '../uncertainty/statistics.ts';
import { keptModel } from './kept-model.ts';
import { outputError } from './output.ts';
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
  /** Never used before: names the file that is written. */
  readonly nonce: string;
}

export interface MergeParts {
  readonly library: Hdf5Library;
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

/** A sidecar without what is read again when it is needed: ten thousand of them are held at once. */
type Shard = Omit<Sidecar, 'statistics' | 'trust'>;

const BLOCK_ROWS = 16_384;

/** Merges; what the system refuses of the output is told as that. */
export async function mergeShards(options: MergeOptions, parts: MergeParts): Promise<MergeReport> {
  try {
    return await merge(options, parts);
  } catch (reason) {
    throw outputError(reason, dirname(options.out));
  }
}

async function merge(options: MergeOptions, { library, tell }: MergeParts): Promise<MergeReport> {
  const shards = await readShards(options.folder);
  const [first] = shards as [Shard, ...Shard[]];
  const context = openContext(options.model ?? keptModel(options.folder, first.job.model.digest), first);
  const rows = first.shard.of;
  const { plan, calibration } = context;
  const collected = new Collected(context, first.job.labels !== null);
  const uncertainty = calibration === undefined ? undefined : columnsOfWhole(options, library, context, shards);
  const path = `${options.out}.${options.nonce}`;
  using sink = createHdf5Sink(library, { path, rows, output: plan.output, uncertainty, durable: true });
  let statistics: UncertaintyStatistics | undefined;
  for (const shard of shards) {
    const own = statisticsOf(options.folder, shard);
    statistics = statistics === undefined ? own : mergeStatistics(statistics, own);
    copyShard({ folder: options.folder, library, plan, uncertainty, sink, collected }, shard);
    tell({ event: 'progress', done: shard.shard.to, total: rows });
  }
  const merged = statistics as UncertaintyStatistics;
  const trust = reportTrust(calibration, { statistics: () => merged });
  sink.commit({
    ...attributesOf(context, calibration, { summary: collected.summary(rows), trust }),
    input: first.job.input.name,
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
function statisticsOf(folder: string, { shard, result }: Shard): UncertaintyStatistics {
  const name = `${shardName(shard)}.json`;
  const read = parseSidecar(folder, name);
  if (read.kind === 'good' && read.sidecar.result.sha256 === result.sha256) return read.sidecar.statistics;
  throw new FarfieldError('E_INCOMPLETE', `${name} changed while it was merged; run the merge again`);
}

function listSidecars(folder: string): string[] {
  try {
    return readdirSync(folder).filter(isSidecarName).sort();
  } catch (reason) {
    throw new FarfieldError('E_NOT_FOUND', `the folder ${folder} cannot be read`, { cause: reason });
  }
}

const MAX_TOLD = 12;
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

interface Copying {
  readonly folder: string;
  readonly library: Hdf5Library;
  readonly plan: Context['plan'];
  readonly uncertainty: UncertaintyColumns | undefined;
  readonly sink: RowSink;
  readonly collected: Collected;
}

/** Copies a shard's rows block by block, and shows them to the comparison with labels as a pass would. */
function copyShard(
  { folder, library, plan, uncertainty, sink, collected }: Copying,
  { shard, job, result }: Shard,
): void {
  using file = Hdf5File.open(library, join(folder, result.file), result.file);
  using reader = new BlockReader(file);
  const { columns } = plan.output;
  const rows = shard.to - shard.from;
  for (let from = 0; from < rows; from += BLOCK_ROWS) {
    const n = Math.min(BLOCK_ROWS, rows - from);
    const results: RowResults = {
      predictions: reader.f4('/pred', from, n),
      flags: reader.bytes('/flags', from, n),
      features: job.labels !== null ? reader.f4('/compared/feature', from, n) : new Float32Array(n),
      baselines:
        job.labels !== null && plan.baselines > 0
          ? splitBaselines(reader.f4('/compared/baseline', from, n), n, plan.baselines, columns)
          : [],
    };
    const truth = job.labels !== null ? new Float64Array(reader.bytes('/compared/truth', from, n).buffer) : undefined;
    collected.add(n, results, truth);
    sink.write(shard.from + from, n, results, uncertainty && said(reader, from, n, uncertainty));
  }
}

/** What the shard's judge said of its rows. */
function said(reader: BlockReader, from: number, n: number, columns: UncertaintyColumns): RowUncertainty {
  const { levels, classes, reference } = columns;
  return {
    levels,
    radius: classes ? new Float32Array(0) : reader.f4('/uq/radius', from, n),
    sets: classes ? reader.bytes('/uq/set', from, n) : undefined,
    group: reader.bytes('/uq/group', from, n),
    p: reference ? reader.f4('/uq/ood_p', from, n) : undefined,
  };
}

/** Rows of any data set of a file; each is opened once. */
class BlockReader implements Disposable {
  readonly #file: Hdf5File;
  readonly #opened = new Map<string, ReturnType<Hdf5File['dataset']>>();

  constructor(file: Hdf5File) {
    this.#file = file;
  }

  bytes(name: string, from: number, n: number): Uint8Array<ArrayBuffer> {
    const dataset = this.#opened.get(name) ?? this.#file.dataset(name);
    this.#opened.set(name, dataset);
    const bytes = new Uint8Array(n * dataset.info.rowBytes);
    dataset.readRows(from, n, bytes);
    return bytes;
  }

  f4(name: string, from: number, n: number): Float32Array {
    return new Float32Array(this.bytes(name, from, n).buffer);
  }

  [Symbol.dispose](): void {
    for (const dataset of this.#opened.values()) dataset[Symbol.dispose]();
  }
}

function splitBaselines(values: Float32Array, n: number, baselines: number, columns: number): Float32Array[] {
  return Array.from({ length: baselines }, (_, k) => {
    const one = new Float32Array(n * columns);
    for (let row = 0; row < n; row++) {
      const at = (row * baselines + k) * columns;
      one.set(values.subarray(at, at + columns), row * columns);
    }
    return one;
  });
}
