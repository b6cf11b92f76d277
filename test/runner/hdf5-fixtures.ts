/** What the tests of the HDF5 reader share: fixtures, their values, whole data sets as arrays. */
import { fileURLToPath } from 'node:url';
import { FarfieldError } from '#kernel/errors.ts';
import { type NumberArray, STORED } from '../../runner/dtype.ts';
import { createHdf5Loader, type Hdf5Library } from '../../runner/hdf5/library.ts';
import { Hdf5File } from '../../runner/hdf5/reader.ts';

/** Made by make.py in the same folder. */
export const FIXTURES = fileURLToPath(new URL('../fixtures/hdf5/', import.meta.url));
export const ROWS = 40;

export const library: Hdf5Library = await createHdf5Loader().acquire();

/** The patches that make.py writes: row + 10 y + x, zeros in the odd columns; `less` is taken off. */
export function patches(less = 0): number[] {
  return Array.from({ length: ROWS * 121 }, (_, i) => {
    const [row, y, x] = [Math.floor(i / 121), Math.floor((i % 121) / 11), i % 11];
    return (x % 2 === 0 ? row + 10 * y + x : 0) - less;
  });
}

/** Rows of a data set, read in blocks of `step` rows. */
export function readAll(
  path: string,
  dataset: string,
  { step = 7, roots = [] as readonly string[], from = library } = {},
): NumberArray {
  using file = Hdf5File.open(from, path, 'x.h5', { roots });
  using data = file.dataset(dataset);
  const { rows, rowBytes, stored } = data.info;
  const bytes = new Uint8Array(rows * rowBytes);
  for (let at = 0; at < rows; at += step) {
    const n = Math.min(step, rows - at);
    data.readRows(at, n, bytes.subarray(at * rowBytes, (at + n) * rowBytes));
  }
  return STORED[stored].view(bytes.buffer, 0, bytes.length / STORED[stored].bytes);
}

/** The error that `run` ends with; anything but a FarfieldError fails the test. */
export function failure(run: () => unknown): { readonly code: string; readonly message: string } {
  try {
    run();
  } catch (reason) {
    if (reason instanceof FarfieldError) return reason;
    throw reason;
  }
  return { code: 'none', message: 'nothing was thrown' };
}
