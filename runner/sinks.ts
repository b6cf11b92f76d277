/**
 * Where predictions go: an HDF5 file, or an .npy file for a caller who sent .npy.
 *
 * HDF5: /pred f4[n, columns], /row_index u4[n], /flags u1[n], attributes of provenance, the summary as JSON text; with an error
 * calibration /uq/radius f4[n, levels] (of a classifier /uq/set u1[n, levels, classes]), /uq/group u1[n], /uq/ood_p f4[n]; of
 * sampled rows /uq/tta_rows u4[k], /uq/tta_spread f4[k], /uq/tta_bias f4[k].
 * A shard whose rows were compared with labels carries what a merged comparison is made of: /compared/truth f8[n, k],
 * /compared/feature f4[n], /compared/baseline f4[n, baselines, columns].
 * .npy: the predictions alone; what the flags say is counted in the summary.
 */
import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { FarfieldError } from '#kernel/errors.ts';
import type { Hdf5Library } from './hdf5/library.ts';
import { Hdf5Writer } from './hdf5/writer.ts';
import { npyHeader } from './npy.ts';
import type { OutputWords } from './post.ts';
import type { RowResults } from './rows.ts';
import { flagLegend } from './uncertainty/flags.ts';
import { NO_GROUP, type RowUncertainty } from './uncertainty/judge.ts';
import type { Sampled } from './uncertainty/sampling.ts';

/** Provenance of a result, as attributes of the file. */
export type Attributes = Readonly<Record<string, string | number>>;

export interface RowSink extends Disposable {
  readonly path: string;
  /** The first `rows` rows of `results`, which are rows [from, from + rows) of the source. */
  write(from: number, rows: number, results: RowResults, said?: RowUncertainty, truth?: Float64Array): void;
  /** Finishes the file; before this it does not exist under its name. */
  commit(attributes: Attributes): void;
}

/** What the error calibration adds to a result file; the vocabulary of every result that has radii. */
export interface UncertaintyColumns {
  readonly levels: readonly number[];
  readonly classes: boolean;
  /** Whether there is a reference of the inputs to have p-values against. */
  readonly reference: boolean;
  /** What a radius bounds, in words. */
  readonly bounds: string;
  readonly units: string;
  readonly groups: string;
  readonly sampled: Sampled | undefined;
}

/** 32 KiB of predictions a chunk: a reader that wants a few rows inflates little, and 13,799 rows make four chunks. */
const CHUNK_ROWS = 4096;

/** Values a row of what a shard's comparison with labels is made of. */
export interface ComparedColumns {
  readonly truth: number;
  readonly baselines: number;
}

export interface Hdf5SinkOptions {
  readonly path: string;
  readonly rows: number;
  readonly output: Pick<OutputWords, 'columns' | 'axes' | 'units'>;
  readonly uncertainty?: UncertaintyColumns | undefined;
  /** Row of the whole input that is the source's first; 0 unless it is a part. */
  readonly firstRow?: number;
  readonly compared?: ComparedColumns | undefined;
  /** fsync before the file gets its name: for whoever does not copy and sync it himself. */
  readonly durable?: boolean;
}

/**
 * A result file with every row's prediction, flags and index. The index is redundant for a whole file and needed for
 * a shard of one; having it always keeps one format.
 */
export function createHdf5Sink(library: Hdf5Library, options: Hdf5SinkOptions): RowSink {
  const { path, rows, output, uncertainty, firstRow = 0, compared, durable = false } = options;
  const writer = new Hdf5Writer(library, path, { chunkRows: CHUNK_ROWS, durable });
  try {
    writer.createDataset('/pred', 'f4', [rows, output.columns]);
    writer.createDataset('/row_index', 'u4', [rows]);
    writer.createDataset('/flags', 'u1', [rows]);
    if (uncertainty !== undefined) declareUncertainty(writer, firstRow, rows, output.columns, uncertainty);
    if (compared !== undefined) declareCompared(writer, rows, output.columns, compared);
  } catch (reason) {
    writer[Symbol.dispose]();
    throw reason;
  }
  return {
    path,
    write(from, n, results, said, truth) {
      const index = Uint32Array.from({ length: n }, (_, i) => firstRow + from + i);
      writer.writeRows('/pred', from, n, bytesOf(results.predictions, n * output.columns));
      writer.writeRows('/row_index', from, n, bytesOf(index, n));
      writer.writeRows('/flags', from, n, results.flags.subarray(0, n));
      if (said !== undefined && uncertainty !== undefined) writeUncertainty(writer, from, n, output.columns, said);
      if (truth !== undefined && compared !== undefined)
        writeCompared(writer, from, n, output.columns, { compared, results, truth });
    },
    commit(attributes) {
      writer.attribute('/pred', 'units', output.units);
      writer.attribute('/pred', 'axes', output.axes.join(','));
      writer.attribute('/flags', 'bits', flagLegend());
      if (uncertainty !== undefined) describeUncertainty(writer, output, uncertainty);
      for (const [name, value] of Object.entries(attributes)) writer.attribute('/', name, value);
      writer.commit();
    },
    [Symbol.dispose]: () => writer[Symbol.dispose](),
  };
}

function declareCompared(writer: Hdf5Writer, rows: number, columns: number, compared: ComparedColumns): void {
  writer.createGroup('/compared');
  writer.createDataset('/compared/truth', 'f8', [rows, compared.truth]);
  writer.createDataset('/compared/feature', 'f4', [rows]);
  if (compared.baselines > 0) writer.createDataset('/compared/baseline', 'f4', [rows, compared.baselines, columns]);
}

function writeCompared(
  writer: Hdf5Writer,
  from: number,
  n: number,
  columns: number,
  { compared, results, truth }: { compared: ComparedColumns; results: RowResults; truth: Float64Array },
): void {
  writer.writeRows('/compared/truth', from, n, bytesOf(truth, n * compared.truth));
  writer.writeRows('/compared/feature', from, n, bytesOf(results.features, n));
  if (compared.baselines === 0) return;
  const rows = new Float32Array(n * compared.baselines * columns);
  for (let row = 0, at = 0; row < n; row++) {
    for (const values of results.baselines) {
      rows.set(values.subarray(row * columns, (row + 1) * columns), at);
      at += columns;
    }
  }
  writer.writeRows('/compared/baseline', from, n, bytesOf(rows, rows.length));
}

function declareUncertainty(
  writer: Hdf5Writer,
  firstRow: number,
  rows: number,
  columns: number,
  u: UncertaintyColumns,
): void {
  const levels = u.levels.length;
  writer.createGroup('/uq');
  if (u.classes) writer.createDataset('/uq/set', 'u1', [rows, levels, columns]);
  else writer.createDataset('/uq/radius', 'f4', [rows, levels]);
  writer.createDataset('/uq/group', 'u1', [rows]);
  if (u.reference) writer.createDataset('/uq/ood_p', 'f4', [rows]);
  if (u.sampled === undefined) return;
  const { rows: at, u: spread, bias } = u.sampled;
  for (const [name, stored, values] of [
    ['/uq/tta_rows', 'u4', Uint32Array.from(at, (row) => firstRow + row)],
    ['/uq/tta_spread', 'f4', spread],
    ['/uq/tta_bias', 'f4', bias],
  ] as const) {
    writer.createDataset(name, stored, [at.length]);
    writer.writeRows(name, 0, at.length, bytesOf(values, at.length));
  }
}

function writeUncertainty(writer: Hdf5Writer, from: number, n: number, columns: number, said: RowUncertainty): void {
  const levels = said.levels.length;
  if (said.sets === undefined) writer.writeRows('/uq/radius', from, n, bytesOf(said.radius, n * levels));
  else writer.writeRows('/uq/set', from, n, said.sets.subarray(0, n * levels * columns));
  writer.writeRows('/uq/group', from, n, said.group.subarray(0, n));
  if (said.p !== undefined) writer.writeRows('/uq/ood_p', from, n, bytesOf(said.p, n));
}

/** A number without what it means is read as what the reader hopes: `bounds` stands beside every radius. */
function describeUncertainty(writer: Hdf5Writer, { axes }: { axes: readonly string[] }, u: UncertaintyColumns): void {
  const main = u.classes ? '/uq/set' : '/uq/radius';
  writer.attribute(main, 'levels', u.levels.join(','));
  writer.attribute(main, 'bounds', u.bounds);
  writer.attribute(main, 'units', u.units);
  if (u.classes) writer.attribute(main, 'axes', axes.join(','));
  writer.attribute('/uq/group', 'groups', u.groups);
  writer.attribute('/uq/group', 'none', NO_GROUP);
  if (u.reference) writer.attribute('/uq/ood_p', 'about', 'conformal p-value of the inputs; NaN where not finite');
  if (u.sampled === undefined) return;
  writer.attribute('/uq/tta_spread', 'about', 'sqrt of the trace of the covariance over 8 symmetries; no interval');
  writer.attribute('/uq/tta_spread', 'units', u.units);
}

/** Predictions alone, appended block by block; nothing but NumPy is needed to read them. */
export function createNpySink(outDir: string, rows: number, columns: number): RowSink {
  const path = join(outDir, 'result.npy');
  const aside = `${path}.part`;
  let fd = openSync(aside, 'w');
  const write = (bytes: Uint8Array): void => {
    try {
      for (let at = 0; at < bytes.byteLength; ) at += writeSync(fd, bytes, at);
    } catch (reason) {
      throw new FarfieldError('E_DISK_FULL', 'the result cannot be written; has the output folder space?', {
        cause: reason,
      });
    }
  };
  const close = (): void => {
    if (fd >= 0) closeSync(fd);
    fd = -1;
  };
  write(npyHeader('f4', [rows, columns]));
  return {
    path,
    // Blocks come in order, so appending is enough.
    write: (_from, n, results) => write(bytesOf(results.predictions, n * columns)),
    commit: () => {
      close();
      renameSync(aside, path);
    },
    [Symbol.dispose]: () => {
      close();
      rmSync(aside, { force: true });
    },
  };
}

/** The bytes of the first `length` values, without a copy. */
function bytesOf(values: Float32Array | Float64Array | Uint32Array, length: number): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, length * values.BYTES_PER_ELEMENT);
}
