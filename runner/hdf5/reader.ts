/**
 * Reads rows of a data set in an HDF5 file that nobody vouches for.
 *
 * h5wasm opens the file and finds the data set; everything from the object header on is read here, because the library
 * drops the status of failed reads in places, follows links by itself, and shows neither chunk addresses nor filter
 * masks.
 *
 * Invariants
 *  R1 Everything that can be known before reading is checked before reading: existence, kind, shape, type, filters, and every chunk's
 *     place and length.
 *  R2 No second file is opened unless it lies in a folder that the caller names; the library itself never opens one.
 *  R3 A read delivers the stored values or throws; where a format has no checksum, a changed value can look like any other (docs/hdf5.md).
 *  R4 Memory is one block of rows, the chunk index, and two chunks, whatever the size of the file.
 */
import { FarfieldError } from '#kernel/errors.ts';
import type { StoredType } from '#protos/model.ts';
import { elementsOf, STORED } from '../dtype.ts';
import { MAX_LISTED_DATASETS, MAX_ROW_BYTES, MAX_VISITED_LINKS } from '../limits.ts';
import type { StoredBytes, Widths } from './bytes.ts';
import { openStored, type StoredDataset } from './dataset.ts';
import { convertElements, swapBytes } from './elements.ts';
import type { Hdf5Library } from './library.ts';
import { readObject } from './object.ts';
import { fileName, type OpenFile, openFile, openLinked } from './places.ts';
import { readSuperblock } from './superblock.ts';

/** Links and virtual data sets on the way to one data set: a loop ends here. */
const MAX_STEPS = 16;
/** Files that one file may draw in. */
const MAX_LINKED_FILES = 1024;

export interface DatasetInfo {
  readonly path: string;
  readonly shape: readonly number[];
  /** What rows are delivered as. */
  readonly stored: StoredType;
  /** What the file holds, where that is something else: `f2`, `i8`, `u8`. */
  readonly inFile: string;
  readonly rows: number;
  /** Bytes of a row as delivered. */
  readonly rowBytes: number;
  /** Rows of one chunk; 1 where the layout is contiguous. */
  readonly chunkRows: number;
  /** Chunks hold whole rows, and one is held while rows of it are wanted. */
  readonly held: boolean;
}

export interface OpenOptions {
  /** Folders in which other files may be opened that this one names; none unless said. */
  readonly roots?: readonly string[];
}

/** What all files of one opening share. */
interface Family {
  readonly roots: readonly string[];
  readonly files: Map<string, Hdf5File>;
}

/** An open file; dispose it. `name` stands for the path in messages: a client must not learn the endpoint's folders. */
export class Hdf5File implements Disposable {
  readonly library: Hdf5Library;
  readonly id: bigint;
  readonly #lease: Disposable;
  readonly #opened: OpenFile;
  readonly #name: string;
  readonly #bytes: StoredBytes;
  readonly #widths: Widths;
  readonly #family: Family;
  readonly #isFirst: boolean;

  private constructor(library: Hdf5Library, opened: OpenFile, name: string, family: Family, isFirst: boolean) {
    this.library = library;
    this.#opened = opened;
    this.#name = name;
    this.#family = family;
    this.#isFirst = isFirst;
    const path = opened.byDescriptor;
    this.#lease = library.allow(path);
    try {
      this.id = library.call(name, (h5) => h5.open(path, h5.H5F_ACC_RDONLY, false, -1, -1));
      if (this.id < 0n) {
        throw new FarfieldError('E_HDF5', `${name}: not a readable HDF5 file (${library.reason || 'no signature'})`);
      }
    } catch (reason) {
      this.#lease[Symbol.dispose]();
      opened[Symbol.dispose]();
      throw reason;
    }
    try {
      const { bytes, widths } = readSuperblock(opened.fd, name);
      this.#bytes = bytes;
      this.#widths = widths;
    } catch (reason) {
      this.#close();
      throw reason;
    }
  }

  /** Opens for reading; throws E_HDF5 for what is no HDF5 file, or is cut off (the library compares lengths). */
  static open(library: Hdf5Library, path: string, name: string, options: OpenOptions = {}): Hdf5File {
    const family: Family = { roots: options.roots ?? [], files: new Map() };
    return new Hdf5File(library, openFile(path, name), name, family, true);
  }

  [Symbol.dispose](): void {
    if (this.#isFirst) for (const file of this.#family.files.values()) file.#close();
    this.#close();
  }

  /** Whether this file, or one that was opened through it, changed since. */
  changed(): boolean {
    return this.#opened.changed() || [...this.#family.files.values()].some((file) => file.#opened.changed());
  }

  /** The data set at `path`, after every check of R1 and R2. */
  dataset(path: string): Hdf5Dataset {
    const wanted = path.startsWith('/') ? path : `/${path}`;
    const stored = this.stored(wanted, 0);
    return new Hdf5Dataset(checkedInfo(wanted, stored), stored);
  }

  /** The data sets of the file with their shapes, for messages and for choosing the only one that fits. */
  datasets(): { path: string; shape: readonly number[] }[] {
    const found: { path: string; shape: readonly number[] }[] = [];
    const { library } = this;
    const names = library.call(this.#name, (h5) => h5.get_names(this.id, '/', true)).slice(0, MAX_VISITED_LINKS);
    for (const name of names) {
      const path = `/${name}`;
      if (this.#kind(path, this.#where(path)) !== library.module.H5G_DATASET) continue;
      const { shape } = readObject(this.#bytes.named(this.#where(path)), this.#widths, this.#address(path));
      found.push({ path, shape: shape ?? [] });
    }
    return found;
  }

  /** The data set behind `path`, through links; `steps` counts them. */
  stored(path: string, steps: number): StoredDataset {
    const where = this.#where(path);
    if (steps > MAX_STEPS) throw new FarfieldError('E_HDF5', `${where}: leads through more than ${MAX_STEPS} links`);
    const type = this.#kind(path, where);
    if (type !== this.library.module.H5G_DATASET) return this.#throughLink(path, where, type, steps);
    const bytes = this.#bytes.named(where);
    const object = readObject(bytes, this.#widths, this.#address(path));
    return openStored(object, {
      bytes,
      widths: this.#widths,
      library: this.library,
      file: this.id,
      path,
      other: (file, dataset) =>
        (file === '.' ? this : this.#linked(file, where)).stored(
          dataset.startsWith('/') ? dataset : `/${dataset}`,
          steps + 1,
        ),
      otherBytes: (file) => this.#external(file, where),
    });
  }

  /** What lies at a path: a group, a data set, a link that the library could not or must not follow, or -1 for nothing. */
  #kind(path: string, where: string): number {
    const { library } = this;
    const { H5G_GROUP, H5G_LINK, H5G_UDLINK } = library.module;
    if (path === '/') return H5G_GROUP;
    const kind = library.call(where, (h5) => h5.get_type(this.id, path));
    if (library.refusedPath === undefined && !library.complained) return kind;
    // Stopped on its way, the binding answers whatever its stack held, and so it would when asked for a link that is
    // not there.
    const parent = path.slice(0, path.lastIndexOf('/')) || '/';
    if (this.#kind(parent, where) !== H5G_GROUP) return -1;
    const names = library.call(where, (h5) => h5.get_names(this.id, parent, false));
    if (!names.includes(path.slice(path.lastIndexOf('/') + 1))) return -1;
    const soft = library.call(where, (h5) => h5.get_symbolic_link(this.id, path)) !== null;
    return soft ? H5G_LINK : H5G_UDLINK;
  }

  /** The first part of the path that is a link which the library did not follow, and what lies behind it. */
  #throughLink(path: string, where: string, type: number, steps: number): StoredDataset {
    const { library } = this;
    const { H5G_GROUP, H5G_DATASET, H5G_LINK, H5G_UDLINK } = library.module;
    const parts = path.split('/').filter((part) => part !== '');
    for (let k = 1; k <= parts.length; k++) {
      const prefix = `/${parts.slice(0, k).join('/')}`;
      const rest = parts.slice(k);
      const kind = this.#kind(prefix, where);
      if (kind === H5G_GROUP) continue;
      if (kind === H5G_UDLINK) {
        const link = library.call(where, (h5) => h5.get_external_link(this.id, prefix));
        if (link.filename === undefined || link.obj_path === undefined) {
          throw new FarfieldError('E_HDF5', `${where}: is a link of a kind that is not read here`);
        }
        const target = ['', ...link.obj_path.split('/'), ...rest].filter((part, n) => n === 0 || part !== '').join('/');
        return this.#linked(link.filename, where).stored(target === '' ? '/' : target, steps + 1);
      }
      if (kind === H5G_LINK) {
        const target = library.call(where, (h5) => h5.get_symbolic_link(this.id, prefix));
        if (target === null || target === '') break;
        const folder = target.startsWith('/') ? [] : parts.slice(0, k - 1);
        const next = `/${[...folder, ...target.split('/'), ...rest].filter((part) => part !== '' && part !== '.').join('/')}`;
        if (next === path) break;
        return this.stored(next, steps + 1);
      }
      if (kind !== H5G_DATASET) break;
    }
    const what = type === H5G_GROUP ? 'is a group, not a data set' : 'there is no such data set';
    throw new FarfieldError('E_INPUT', `${where}: ${what}; ${this.#listing()}`);
  }

  /** Address of the object header, which is what the library writes into a reference. */
  #address(path: string): number {
    const where = this.#where(path);
    const reference = this.library.call(where, (h5) => h5.create_object_reference(this.id, path));
    return Number(Buffer.from(reference).readBigUInt64LE(0));
  }

  #where(path: string): string {
    return `${this.#name}:${path.replace(/[^\x20-\x7e]/g, '?').slice(0, 200)}`;
  }

  /** Another HDF5 file that this one names, opened once. */
  #linked(file: string, where: string): Hdf5File {
    const { files, roots } = this.#family;
    const opened = openLinked(file, this.#opened.folder, roots, where);
    const key = `${opened.folder}/${fileName(file)}`;
    const known = files.get(key);
    if (known !== undefined || files.size >= MAX_LINKED_FILES) {
      opened[Symbol.dispose]();
      if (known !== undefined) return known;
      throw new FarfieldError('E_TOO_LARGE', `${where}: leads to more than ${MAX_LINKED_FILES} files`);
    }
    const linked = new Hdf5File(this.library, opened, fileName(file), this.#family, false);
    files.set(key, linked);
    return linked;
  }

  /** A file of plain bytes that holds data of this one. The caller closes it: such files are opened once for each data set. */
  #external(file: string, where: string): { readonly fd: number; readonly close: () => void } {
    const opened = openLinked(file, this.#opened.folder, this.#family.roots, where);
    return { fd: opened.fd, close: () => opened[Symbol.dispose]() };
  }

  #close(): void {
    if (!this.library.poisoned) this.library.call(this.#name, (h5) => h5.close_file(this.id));
    this.#lease[Symbol.dispose]();
    this.#opened[Symbol.dispose]();
  }

  /** The file's data sets, for whoever mistyped one. */
  #listing(): string {
    const all = this.datasets();
    if (all.length === 0) return 'the file holds no data sets';
    const listed = all.slice(0, MAX_LISTED_DATASETS).map(({ path, shape }) => `${path} [${shape.join(', ')}]`);
    return `the file holds ${listed.join(', ')}${all.length > listed.length ? `, and ${all.length - listed.length} more` : ''}`;
  }
}

/** Shape and type as delivered. */
function checkedInfo(path: string, { where, shape, element, chunkRows, held }: StoredDataset): DatasetInfo {
  const { stored } = element;
  if (stored === undefined) {
    throw new FarfieldError(
      'E_INPUT',
      `${where}: has ${element.name}; integers of 1, 2, 4 or 8 bytes and IEEE floats of 2, 4 or 8 are read`,
    );
  }
  const rowBytes = elementsOf(shape.slice(1)) * STORED[stored].bytes;
  if (rowBytes > MAX_ROW_BYTES) {
    throw new FarfieldError(
      'E_TOO_LARGE',
      `${where}: one row has ${rowBytes} bytes; at most ${MAX_ROW_BYTES} are read`,
    );
  }
  return { path, shape, stored, inFile: element.name, rows: shape[0] ?? 0, rowBytes, chunkRows, held };
}

/** Rows of one data set, converted. */
export class Hdf5Dataset implements Disposable {
  readonly info: DatasetInfo;
  readonly #stored: StoredDataset;
  #room = new Uint8Array(0);

  constructor(info: DatasetInfo, stored: StoredDataset) {
    this.info = info;
    this.#stored = stored;
  }

  /** Copies rows [from, from + count) into `target`, little-endian and row-major. */
  readRows(from: number, count: number, target: Uint8Array): void {
    const { info } = this;
    const { element } = this.#stored;
    if (from < 0 || count < 0 || from + count > info.rows) throw new RangeError(`rows ${from}:${from + count}`);
    const into = target.subarray(0, count * info.rowBytes);
    if (into.length < count * info.rowBytes) throw new RangeError(`${into.length} bytes for ${count} rows`);
    if (count === 0 || into.length === 0) return;
    if (element.convert === 'none') {
      this.#stored.rows.read(from, count, into);
      if (element.bigEndian) swapBytes(into, element.bytes);
      return;
    }
    const bytes = (into.length / STORED[info.stored].bytes) * element.bytes;
    if (this.#room.length < bytes) this.#room = new Uint8Array(bytes);
    const stored = this.#room.subarray(0, bytes);
    this.#stored.rows.read(from, count, stored);
    if (element.bigEndian) swapBytes(stored, element.bytes);
    const bad = convertElements(element, stored, into);
    if (bad < 0) return;
    throw new FarfieldError('E_INPUT', `${this.#stored.where}: row ${from + rowOf(bad, info)} ${TOO_LARGE}`);
  }

  [Symbol.dispose](): void {
    this.#stored[Symbol.dispose]();
  }
}

const TOO_LARGE = 'holds a 64-bit integer beyond 2^53, which no FP64 holds exactly; convert the data set';

const rowOf = (index: number, { rowBytes, stored }: DatasetInfo): number =>
  Math.floor(index / (rowBytes / STORED[stored].bytes));

/** Values of a small data set as numbers: golden sets, calibration. */
export function readNumbers(dataset: Hdf5Dataset): Float64Array {
  const { info } = dataset;
  const bytes = new Uint8Array(info.rows * info.rowBytes);
  dataset.readRows(0, info.rows, bytes);
  const facts = STORED[info.stored];
  return Float64Array.from(facts.view(bytes.buffer, 0, bytes.length / facts.bytes));
}
