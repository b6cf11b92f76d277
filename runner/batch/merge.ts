/**
 * Many shards as one result: the same data sets and attributes as one pass over the whole input would have written.
 *
 * Invariants
 *  M1 Shards cover the input without gap or overlap, and are of one job; anything else is refused with the files' names.
 *  M2 The merged bytes depend on rows, model, options and the cuts between shards alone: not on the order, hosts or number of tries
 *     in which shards were made. Statistics are added in the order of rows.
 *  M3 Memory is one block, whatever the number of rows (and 4 bytes a row with labels, for exact quantiles).
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
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
import { mergeStatistics } from '../uncertainty/statistics.ts';
import { isSidecarName, shardName } from './shards.ts';
import { readSidecar, type Sidecar, sameJob } from './sidecar.ts';

export interface MergeOptions {
  /** Folder of shards. */
  readonly folder: string;
  readonly model: string;
  readonly out: string;
}

export interface MergeParts {
  readonly library: Hdf5Library;
  readonly tell: (event: { readonly event: 'progress'; readonly done: number; readonly total: number }) => void;
}

export interface MergeReport {
  readonly result: string;
  readonly shards: number;
  readonly rows: number;
  readonly trust: TrustReport;
}

const BLOCK_ROWS = 16_384;

export async function mergeShards(options: MergeOptions, { library, tell }: MergeParts): Promise<MergeReport> {
  const shards = await readShards(options.folder);
  const first = shards[0] as Sidecar;
  const context = openContext(options.model, first);
  const statistics = shards.map((shard) => shard.statistics).reduce(mergeStatistics);
  const rows = first.shard.of;
  const { plan, calibration } = context;
  const collected = new Collected(context, first.job.labels);
  const uncertainty = calibration === undefined ? undefined : columnsOfWhole(options, library, context, shards);
  using sink = createHdf5Sink(library, { path: options.out, rows, output: plan.output, uncertainty, durable: true });
  for (const shard of shards) {
    copyShard({ folder: options.folder, library, plan, uncertainty, sink, collected }, shard);
    tell({ event: 'progress', done: shard.shard.to, total: rows });
  }
  const trust = reportTrust(calibration, { statistics: () => statistics });
  sink.commit({
    ...attributesOf(context, calibration, { summary: collected.summary(rows), trust }),
    input: first.input.name,
    input_shards_digest: shardsDigest(shards),
    shards: shards.length,
  });
  return { result: options.out, shards: shards.length, rows, trust };
}

/** Of the shards' rows and digests, in order: the digest of the whole cannot be had from digests of its parts. */
function shardsDigest(shards: readonly Sidecar[]): string {
  const lines = shards.map(({ shard, input }) => `${shard.from} ${shard.to} ${input.rowsDigest}\n`);
  return `sha256:${sha256Hex(lines.join(''))}`;
}

/** M1 */
async function readShards(folder: string): Promise<readonly Sidecar[]> {
  const names = listSidecars(folder);
  const shards: Sidecar[] = [];
  const problems: string[] = [];
  for (const name of names) {
    const read = await readSidecar(folder, name);
    if (read.kind === 'good') shards.push(read.sidecar);
    else if (read.kind === 'bad') problems.push(read.why);
  }
  shards.sort((a, b) => a.shard.from - b.shard.from || a.shard.to - b.shard.to);
  const first = shards[0];
  if (first !== undefined) problems.push(...strangers(first, shards), ...holes(first.shard.of, shards));
  if (first === undefined || problems.length > 0) {
    const told = problems.length === 0 ? [`${folder} holds no shard`] : problems;
    throw new FarfieldError('E_UNRESOLVED', `these shards make no whole: ${shorten(told).join('; ')}`);
  }
  return shards;
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

function strangers(first: Sidecar, shards: readonly Sidecar[]): string[] {
  return shards
    .filter(
      ({ job, shard, input }) =>
        !sameJob(job, first.job) || shard.of !== first.shard.of || input.name !== first.input.name,
    )
    .map(
      ({ shard }) =>
        `${shardName(shard)} is of another job than ${shardName(first.shard)} (model, options, labels or input)`,
    );
}

function holes(of: number, shards: readonly Sidecar[]): string[] {
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

function openContext(model: string, { job, versions }: Sidecar): Context {
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
  return { open, variant, plan: compileRows(open.model), versions, calibration: found };
}

function columnsOfWhole(
  options: MergeOptions,
  library: Hdf5Library,
  { open, calibration }: Context,
  shards: readonly Sidecar[],
): UncertaintyColumns {
  const classes = scoreKind(open.model) === 'class_probability';
  const levels = levelsOf(shards[0] as Sidecar);
  const sampled = gatherSampled(options, library, shards);
  return columnsOf({ open }, calibration as OpenCalibration, { levels, classes }, sampled);
}

/** Every result has .9 and .95; a further one where it was asked for. */
function levelsOf({ job }: Sidecar): readonly number[] {
  return [...new Set([0.9, 0.95, job.uncertainty.level])].sort((a, b) => a - b);
}

/** Rows that shards sampled, by their number in the whole input; undefined where none was asked for. */
function gatherSampled(
  { folder }: MergeOptions,
  library: Hdf5Library,
  shards: readonly Sidecar[],
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
  { shard, job, result }: Sidecar,
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
      features: job.labels ? reader.f4('/compared/feature', from, n) : new Float32Array(n),
      baselines:
        job.labels && plan.baselines > 0
          ? splitBaselines(reader.f4('/compared/baseline', from, n), n, plan.baselines, columns)
          : [],
    };
    const truth = job.labels ? new Float64Array(reader.bytes('/compared/truth', from, n).buffer) : undefined;
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
