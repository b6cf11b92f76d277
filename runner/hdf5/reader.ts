/**
 * Reads rows of a data set in an HDF5 file that nobody vouches for.
 *
 * Invariants
 *  R1 Everything that can be known before reading is checked before reading: existence, kind, shape, type, chunk size, filters.
 *  R2 No second file is opened: external links, external storage and virtual data sets over other files are refused.
 *  R3 A read that the library reports as failed, or that left the buffer's pattern in a row, is an error: h5wasm's own
 *     high-level API drops the status and returns whatever the memory held.
 *  R4 Memory is one block of rows plus one chunk, whatever the size of the file.
 */
import { FarfieldError } from '#kernel/errors.ts';
import type { StoredType } from '#protos/model.ts';
import { elementsOf, STORED, storedType } from '../dtype.ts';
import { MAX_CHUNK_BYTES, MAX_LISTED_DATASETS, MAX_ROW_BYTES, MAX_VISITED_LINKS } from '../limits.ts';
import { filterProblem } from './filters.ts';
import type { H5Metadata, Hdf5Library } from './library.ts';

const H5T_INTEGER = 0;
const H5T_FLOAT = 1;
/** Recognisable, and as a float not a number that data hold (-2.87e-16): rows of nothing but this were never written. */
const PATTERN = 0xa5;

export interface DatasetInfo {
  readonly path: string;
  readonly shape: readonly number[];
  readonly stored: StoredType;
  readonly rows: number;
  readonly rowBytes: number;
  /** Rows of one chunk; 1 where the layout is contiguous. */
  readonly chunkRows: number;
}

/** An open file; dispose it. `name` stands for the path in messages: a client must not learn the endpoint's folders. */
export class Hdf5File implements Disposable {
  readonly #library: Hdf5Library;
  readonly #lease: Disposable;
  readonly #id: bigint;
  readonly #name: string;

  private constructor(library: Hdf5Library, lease: Disposable, id: bigint, name: string) {
    this.#library = library;
    this.#lease = lease;
    this.#id = id;
    this.#name = name;
  }

  /**
   * Opens for reading; throws E_HDF5 for what is no HDF5 file, or is cut off (the library compares the length with the
   * superblock).
   */
  static open(library: Hdf5Library, path: string, name: string): Hdf5File {
    const lease = library.allow(path);
    try {
      const id = library.call(name, (h5) => h5.open(path, h5.H5F_ACC_RDONLY, false, -1, -1));
      if (id < 0n)
        throw new FarfieldError('E_HDF5', `${name}: not a readable HDF5 file (${library.reason || 'no signature'})`);
      return new Hdf5File(library, lease, id, name);
    } catch (reason) {
      lease[Symbol.dispose]();
      throw reason;
    }
  }

  [Symbol.dispose](): void {
    if (!this.#library.poisoned) this.#library.call(this.#name, (h5) => h5.close_file(this.#id));
    this.#lease[Symbol.dispose]();
  }

  /** The data set at `path`, after every check of R1 and R2. */
  dataset(path: string): Hdf5Dataset {
    const wanted = path.startsWith('/') ? path : `/${path}`;
    const where = `${this.#name}:${wanted}`;
    this.#mustBeDataset(wanted, where);
    const metadata = this.#library.call(where, (h5) => h5.get_dataset_metadata(this.#id, wanted));
    const info = checkedInfo(wanted, where, metadata);
    for (const filter of this.#library.call(where, (h5) => h5.get_dataset_filters(this.#id, wanted))) {
      const problem = filterProblem(filter.id, filter.name, this.#library.plugins);
      if (problem === undefined) continue;
      throw new FarfieldError('E_HDF5', `${where}: ${problem}; rewrite the data set with gzip, or without compression`);
    }
    return new Hdf5Dataset(this.#library, this.#id, info, where);
  }

  /** The data sets of the file with their shapes, for messages and for choosing the only one that fits. */
  datasets(): { path: string; shape: readonly number[] }[] {
    const found: { path: string; shape: readonly number[] }[] = [];
    const names = this.#library.call(this.#name, (h5) => h5.get_names(this.#id, '/', true)).slice(0, MAX_VISITED_LINKS);
    for (const name of names) {
      const path = `/${name}`;
      const isDataset = this.#library.call(path, (h5) => h5.get_type(this.#id, path) === h5.H5G_DATASET);
      if (!isDataset) continue;
      const { shape } = this.#library.call(path, (h5) => h5.get_dataset_metadata(this.#id, path));
      found.push({ path, shape: shape ?? [] });
    }
    return found;
  }

  /**
   * Existence and kind. A path that leads through a link into another file ends here: the guard refused the second
   * file, and the library then reports the link itself.
   */
  #mustBeDataset(path: string, where: string): void {
    const type = this.#library.call(where, (h5) => h5.get_type(this.#id, path));
    const { H5G_DATASET, H5G_UDLINK, H5G_GROUP } = this.#library.module;
    if (type === H5G_DATASET) return;
    if (type === H5G_UDLINK || this.#library.refusedPath !== undefined) {
      throw new FarfieldError('E_HDF5', `${where}: is a link into another file; copy the data into this file instead`);
    }
    const what = type === H5G_GROUP ? 'is a group, not a data set' : 'there is no such data set';
    throw new FarfieldError('E_INPUT', `${where}: ${what}; ${this.#listing()}`);
  }

  /** The file's data sets, for whoever mistyped one. */
  #listing(): string {
    const all = this.datasets();
    if (all.length === 0) return 'the file holds no data sets';
    const listed = all.slice(0, MAX_LISTED_DATASETS).map(({ path, shape }) => `${path} [${shape.join(', ')}]`);
    return `the file holds ${listed.join(', ')}${all.length > listed.length ? `, and ${all.length - listed.length} more` : ''}`;
  }
}

/** Shape, layout, element type and chunk size, from the metadata alone. */
function checkedInfo(path: string, where: string, metadata: H5Metadata): DatasetInfo {
  const shape = metadata.shape;
  if (shape === null || shape.length === 0) throw new FarfieldError('E_INPUT', `${where}: holds no array`);
  // '.' is HDF5's word for "this file".
  const foreign = metadata.virtual_sources?.some((source) => source.file_name !== '.') ?? false;
  if (foreign) {
    throw new FarfieldError(
      'E_HDF5',
      `${where}: is a virtual data set over other files; copy the data into this file instead`,
    );
  }
  const kind = metadata.type === H5T_FLOAT ? 'float' : metadata.type === H5T_INTEGER ? 'int' : 'other';
  const stored = storedType(kind, metadata.size, metadata.signed);
  if (stored === undefined) {
    const found = kind === 'other' ? 'elements that are not numbers' : `${metadata.size}-byte ${kind} elements`;
    throw new FarfieldError('E_INPUT', `${where}: has ${found}; 1 to 4-byte integers and 4 or 8-byte floats are read`);
  }
  const rowBytes = elementsOf(shape.slice(1)) * metadata.size;
  if (rowBytes > MAX_ROW_BYTES) {
    throw new FarfieldError(
      'E_TOO_LARGE',
      `${where}: one row has ${rowBytes} bytes; at most ${MAX_ROW_BYTES} are read`,
    );
  }
  const chunkBytes = metadata.chunks === null ? 0 : elementsOf(metadata.chunks) * metadata.size;
  if (chunkBytes > MAX_CHUNK_BYTES) {
    throw new FarfieldError(
      'E_TOO_LARGE',
      `${where}: its chunks have ${chunkBytes} bytes, and a chunk is inflated whole; rewrite it with chunks of at most ${MAX_CHUNK_BYTES}`,
    );
  }
  return { path, shape, stored, rows: shape[0] ?? 0, rowBytes, chunkRows: metadata.chunks?.[0] ?? 1 };
}

export class Hdf5Dataset implements Disposable {
  readonly info: DatasetInfo;
  readonly #library: Hdf5Library;
  readonly #file: bigint;
  readonly #where: string;
  #pointer = 0;
  #capacity = 0;

  constructor(library: Hdf5Library, file: bigint, info: DatasetInfo, where: string) {
    this.#library = library;
    this.#file = file;
    this.info = info;
    this.#where = where;
  }

  /** Copies rows [from, from + count) into `target`, little-endian and row-major. */
  readRows(from: number, count: number, target: Uint8Array): void {
    const bytes = count * this.info.rowBytes;
    if (bytes === 0) return;
    const rest = this.info.shape.slice(1);
    const { module } = this.#library;
    const status = this.#library.call(this.#where, (h5) => {
      this.#reserve(bytes);
      h5.HEAPU8.fill(PATTERN, this.#pointer, this.#pointer + bytes);
      return h5.get_dataset_data(
        this.#file,
        this.info.path,
        [BigInt(count), ...rest.map(BigInt)],
        [BigInt(from), ...rest.map(() => 0n)],
        [1n, ...rest.map(() => 1n)],
        BigInt(this.#pointer),
      );
    });
    const rows = `rows ${from}:${from + count}`;
    if (this.#library.refusedPath !== undefined) {
      throw new FarfieldError(
        'E_HDF5',
        `${this.#where}: keeps its data in another file; copy the data into this file instead`,
      );
    }
    if (status < 0) {
      const reason = this.#library.reason;
      throw new FarfieldError(
        'E_HDF5',
        `${this.#where}: ${rows} cannot be read: a chunk is damaged or cut off${reason === '' ? '' : ` (${reason})`}`,
      );
    }
    const heap = module.HEAPU8.subarray(this.#pointer, this.#pointer + bytes);
    const untouched = untouchedRow(heap, this.info.rowBytes);
    if (untouched >= 0) {
      throw new FarfieldError(
        'E_HDF5',
        `${this.#where}: row ${from + untouched} was not delivered; the file is damaged`,
      );
    }
    target.set(heap);
  }

  [Symbol.dispose](): void {
    if (this.#pointer !== 0 && !this.#library.poisoned) this.#library.module._free(this.#pointer);
    this.#pointer = 0;
    this.#capacity = 0;
  }

  /** One buffer in the library's memory, grown when needed, kept between blocks. */
  #reserve(bytes: number): void {
    if (this.#capacity >= bytes) return;
    this[Symbol.dispose]();
    this.#pointer = this.#library.module._malloc(bytes);
    if (this.#pointer === 0)
      throw new FarfieldError('E_TOO_LARGE', `${this.#where}: no memory for a block of ${bytes} bytes`);
    this.#capacity = bytes;
  }
}

/** Index of the first row that still holds nothing but the pattern, or -1. Rows of under 8 bytes could hold it by chance. */
function untouchedRow(bytes: Uint8Array, rowBytes: number): number {
  if (rowBytes < 8) return -1;
  for (let start = 0; start < bytes.length; start += rowBytes) {
    let at = start;
    while (at < start + rowBytes && bytes[at] === PATTERN) at++;
    if (at === start + rowBytes) return (start / rowBytes) | 0;
  }
  return -1;
}

/** Values of a small data set as numbers: golden sets, calibration. */
export function readNumbers(dataset: Hdf5Dataset): Float64Array {
  const { info } = dataset;
  const bytes = new Uint8Array(info.rows * info.rowBytes);
  dataset.readRows(0, info.rows, bytes);
  const facts = STORED[info.stored];
  return Float64Array.from(facts.view(bytes.buffer, 0, bytes.length / facts.bytes));
}
