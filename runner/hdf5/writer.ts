/**
 * Writes one HDF5 file, row block by row block.
 *
 * Invariants
 *  W1 The file is written beside its final name and renamed by `commit`: a reader never sees half a file.
 *  W2 A failed write (disk full) is an error at once, and dispose without commit removes the partial file.
 *  W3 Rows go to disk as they come: memory does not grow with their number.
 *  W4 The same rows give the same bytes, whenever they are written: a result's digest says whether a job was repeated.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import { FarfieldError } from '#kernel/errors.ts';
import type { StoredType } from '#protos/model.ts';
import { elementsOf, STORED } from '../dtype.ts';
import type { H5Module, H5WriteMetadata, Hdf5Library } from './library.ts';

const H5T_INTEGER = 0;
const H5T_FLOAT = 1;
const H5T_STRING = 3;
const UTF8 = 1;

export interface WriterOptions {
  /** Rows of one chunk. */
  readonly chunkRows: number;
  /** fsync before the rename; a pilot copies and syncs results itself, a batch run does not. */
  readonly durable: boolean;
}

/** Dispose it; what was not committed by then is removed. */
export class Hdf5Writer implements Disposable {
  readonly #library: Hdf5Library;
  readonly #path: string;
  readonly #aside: string;
  readonly #options: WriterOptions;
  readonly #lease: Disposable;
  readonly #datasets = new Map<string, { stored: StoredType; shape: readonly number[] }>();
  #id: bigint;

  constructor(library: Hdf5Library, path: string, options: WriterOptions) {
    this.#library = library;
    // The library has a working directory of its own, and it is not this process's.
    this.#path = resolve(path);
    this.#aside = `${this.#path}.part`;
    this.#options = options;
    this.#lease = library.allow(this.#aside);
    this.#id = outOfTime(() => library.call('result', (h5) => h5.open(this.#aside, h5.H5F_ACC_TRUNC, false, -1, -1)));
    if (this.#id < 0n) {
      this.#lease[Symbol.dispose]();
      throw new FarfieldError(
        'E_DISK_FULL',
        `${this.#aside} cannot be created; is its folder writable, and has it space?`,
      );
    }
  }

  /** A group, before anything is declared in it. */
  createGroup(name: string): void {
    this.#must(`create ${name}`, (h5) => h5.create_group(this.#id, name, false));
  }

  /** Declares a data set of `shape`; its rows are written by `writeRows`. */
  createDataset(name: string, stored: StoredType, shape: readonly number[]): void {
    const [rows = 0, ...rest] = shape;
    const metadata: H5WriteMetadata = {
      ...numeric(stored),
      // Made empty, then extended: creating it at full size would write a first value for every row.
      shape: [0n, ...rest.map(BigInt)],
      maxshape: shape.map((n) => BigInt(Math.max(n, 1))),
      chunks: [BigInt(Math.min(this.#options.chunkRows, Math.max(rows, 1))), ...rest.map(BigInt)],
    };
    this.#must(`create ${name}`, (h5) => h5.create_dataset(this.#id, name, 0n, metadata));
    this.#must(`extend ${name}`, (h5) => h5.resize_dataset(this.#id, name, shape.map(BigInt)));
    this.#datasets.set(name, { stored, shape });
  }

  /** Writes `count` rows from `from` on; `bytes` holds them little-endian and row-major. */
  writeRows(name: string, from: number, count: number, bytes: Uint8Array): void {
    const dataset = this.#datasets.get(name);
    if (dataset === undefined) throw new TypeError(`no data set ${name}`);
    const rest = dataset.shape.slice(1);
    const expected = count * elementsOf(rest) * STORED[dataset.stored].bytes;
    if (bytes.byteLength !== expected) throw new TypeError(`${name}: ${bytes.byteLength} bytes for ${expected}`);
    if (count === 0) return;
    this.#withBytes(bytes, (pointer) =>
      this.#must(`write ${name}`, (h5) =>
        h5.set_dataset_data(
          this.#id,
          name,
          [BigInt(count), ...rest.map(BigInt)],
          [BigInt(from), ...rest.map(() => 0n)],
          [1n, ...rest.map(() => 1n)],
          pointer,
        ),
      ),
    );
  }

  /** A text or number attribute on an object (`/` is the file). */
  attribute(object: string, name: string, value: string | number): void {
    const scalar = { shape: [], maxshape: null, chunks: null } as const;
    if (typeof value === 'number') {
      const bytes = new Uint8Array(new Float64Array([value]).buffer);
      this.#withBytes(bytes, (pointer) =>
        this.#must(`attribute ${name}`, (h5) =>
          h5.create_attribute(this.#id, object, name, pointer, { ...numeric('f8'), ...scalar }),
        ),
      );
      return;
    }
    // Variable length: h5py and others hand such an attribute out as text, a fixed-length one as bytes.
    const metadata: H5WriteMetadata = {
      type: H5T_STRING,
      size: 4,
      signed: false,
      vlen: true,
      littleEndian: true,
      cset: UTF8,
      ...scalar,
    };
    this.#must(`attribute ${name}`, (h5) => h5.create_vlen_str_attribute(this.#id, object, name, [value], metadata));
  }

  /** Closes the file and gives it its name. */
  commit(): void {
    const id = this.#id;
    this.#id = -1n;
    this.#must('flush', (h5) => h5.flush(id));
    this.#must('close', (h5) => h5.close_file(id));
    if (this.#options.durable) syncFile(this.#aside);
    renameSync(this.#aside, this.#path);
  }

  [Symbol.dispose](): void {
    if (this.#id >= 0n) {
      const id = this.#id;
      this.#id = -1n;
      if (!this.#library.poisoned) this.#library.call('result', (h5) => h5.close_file(id));
    }
    rmSync(this.#aside, { force: true });
    this.#lease[Symbol.dispose]();
  }

  /** Copies into the library's memory for one call: it can only write what lies there. */
  #withBytes(bytes: Uint8Array, run: (pointer: bigint) => void): void {
    const { module } = this.#library;
    const pointer = module._malloc(bytes.byteLength);
    if (pointer === 0) throw new FarfieldError('E_TOO_LARGE', `no memory for ${bytes.byteLength} bytes of the result`);
    try {
      module.HEAPU8.set(bytes, pointer);
      run(BigInt(pointer));
    } finally {
      if (!this.#library.poisoned) module._free(pointer);
    }
  }

  /** Every status below zero is an error; the library's own word for it is the best guess at why. */
  #must(what: string, run: (h5: H5Module) => number): void {
    if (outOfTime(() => this.#library.call('result', run)) >= 0) return;
    const reason = this.#library.reason;
    throw new FarfieldError(
      'E_DISK_FULL',
      `the result cannot be written (${what}${reason === '' ? '' : `: ${reason}`}); has the output folder space?`,
    );
  }
}

/**
 * W4. HDF5 stamps every object with the time, and this build has no way to turn that off (H5Pset_obj_track_times). The
 * library is synchronous, so nothing else runs while its clock stands still. Rejected: zeroing the stamps afterwards,
 * which means walking object headers and making their checksums anew.
 */
function outOfTime<T>(run: () => T): T {
  const { now } = Date;
  Date.now = () => 0;
  try {
    return run();
  } finally {
    Date.now = now;
  }
}

/** The library's description of a number type; it writes the machine's own order, which is little-endian here. */
function numeric(stored: StoredType): Pick<H5WriteMetadata, 'type' | 'size' | 'signed' | 'vlen' | 'littleEndian'> {
  return {
    type: stored.startsWith('f') ? H5T_FLOAT : H5T_INTEGER,
    size: STORED[stored].bytes,
    signed: stored.startsWith('i'),
    vlen: false,
    littleEndian: true,
  };
}

/**
 * By a descriptor of our own: the library has none to give after closing, and fsync is of the file, not of the
 * descriptor.
 */
function syncFile(path: string): void {
  const fd = openSync(path, 'r+');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
