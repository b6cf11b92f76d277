/**
 * Where predictions go: an HDF5 file, or an .npy file for a caller who sent .npy.
 *
 * HDF5: /pred f4[n, columns], /row_index u4[n], /flags u1[n], attributes of provenance, the summary as JSON text.
 * .npy: the predictions alone; what the flags say is counted in the summary.
 */
import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { FarfieldError } from '#kernel/errors.ts';
import type { Hdf5Library } from './hdf5/library.ts';
import { Hdf5Writer } from './hdf5/writer.ts';
import { npyHeader } from './npy.ts';
import type { RowResults } from './rows.ts';
import { flagLegend } from './uncertainty/flags.ts';

/** Provenance of a result, as attributes of the file. */
export type Attributes = Readonly<Record<string, string | number>>;

export interface RowSink extends Disposable {
  readonly path: string;
  /** The first `rows` rows of `results`, which are rows [from, from + rows) of the input. */
  write(from: number, rows: number, results: RowResults): void;
  /** Finishes the file; before this it does not exist under its name. */
  commit(attributes: Attributes): void;
}

/** 32 KiB of predictions a chunk: a reader that wants a few rows inflates little, and 13,799 rows make four chunks. */
const CHUNK_ROWS = 4096;

/**
 * A result file with every row's prediction, flags and index. The index is redundant for a whole file and needed for
 * a shard of one; having it always keeps one format.
 */
export function createHdf5Sink(
  library: Hdf5Library,
  outDir: string,
  rows: number,
  output: { readonly columns: number; readonly axes: readonly string[]; readonly units: string },
): RowSink {
  const path = join(outDir, 'result.h5');
  const writer = new Hdf5Writer(library, path, { chunkRows: CHUNK_ROWS, durable: false });
  try {
    writer.createDataset('/pred', 'f4', [rows, output.columns]);
    writer.createDataset('/row_index', 'u4', [rows]);
    writer.createDataset('/flags', 'u1', [rows]);
  } catch (reason) {
    writer[Symbol.dispose]();
    throw reason;
  }
  return {
    path,
    write(from, n, results) {
      writer.writeRows('/pred', from, n, bytesOf(results.predictions, n * output.columns));
      writer.writeRows(
        '/row_index',
        from,
        n,
        bytesOf(
          Uint32Array.from({ length: n }, (_, i) => from + i),
          n,
        ),
      );
      writer.writeRows('/flags', from, n, results.flags.subarray(0, n));
    },
    commit(attributes) {
      writer.attribute('/pred', 'units', output.units);
      writer.attribute('/pred', 'axes', output.axes.join(','));
      writer.attribute('/flags', 'bits', flagLegend());
      for (const [name, value] of Object.entries(attributes)) writer.attribute('/', name, value);
      writer.commit();
    },
    [Symbol.dispose]: () => writer[Symbol.dispose](),
  };
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
function bytesOf(values: Float32Array | Uint32Array, length: number): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, length * 4);
}
