/**
 * Where rows come from: a data set of an HDF5 file, an .npy file, or .npy bytes that came with the call.
 *
 * Invariants
 *  S1 A source is checked whole when it is opened: its shape, type and length hold for every later read.
 *  S2 A file that changes while it is read is an error: the digest that the pilot checked was of other bytes.
 */
import { closeSync, fstatSync, openSync, readSync, type Stats, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { FarfieldError } from '#kernel/errors.ts';
import type { StoredType } from '#protos/model.ts';
import type { CallArg } from './adapters/adapter.ts';
import { elementsOf, STORED } from './dtype.ts';
import type { Hdf5Library } from './hdf5/library.ts';
import { Hdf5File } from './hdf5/reader.ts';
import { MAX_ROWS } from './limits.ts';
import { type NpyFacts, parseNpy } from './npy.ts';

export interface RowSource extends Disposable {
  /** For messages: the argument's name and data set, never a path. */
  readonly name: string;
  readonly format: 'hdf5' | 'npy';
  readonly shape: readonly number[];
  readonly rows: number;
  readonly stored: StoredType;
  /** Where that is something else than what the file holds. */
  readonly inFile?: string;
  readonly rowBytes: number;
  /** Rows that are best read together. */
  readonly chunkRows: number;
  /** That many rows may be read in parts at no cost: the reader holds a chunk while rows of it are wanted. */
  readonly held?: boolean;
  /** Copies rows [from, from + count) into `target`. */
  readRows(from: number, count: number, target: Uint8Array): void;
  /** S2: whoever read rows asks afterwards, before anything is made of them. Throws E_INPUT. */
  mustBeSame(): void;
}

export interface SourceWish {
  /** Shape of one row without axes of length 1. */
  readonly rowShape: readonly number[];
  readonly stored: readonly StoredType[] | undefined;
  /** Data set where the argument names none. */
  readonly dataset: string | undefined;
  /** For whoever takes a window of the rows; MAX_ROWS otherwise. */
  readonly maxRows?: number;
}

export interface SourceTools {
  /** Loaded on first use. */
  readonly hdf5: () => Promise<Hdf5Library>;
  readonly scratchDir: string;
  /**
   * Folders in which an HDF5 file may name other files (links, external storage, virtual data sets); none where absent. What an
   * argument's own path may be is decided by whoever made the call, this is what a stranger's file may reach.
   */
  readonly linkRoots?: readonly string[];
}

const NPY_HEAD_BYTES = 66 * 1024;

/** Opens an argument and checks that its rows are what is wished. */
export async function openSource(arg: CallArg, wish: SourceWish, tools: SourceTools): Promise<RowSource> {
  const source = await open(arg, wish, tools);
  try {
    check(source, wish);
    return source;
  } catch (reason) {
    source[Symbol.dispose]();
    throw reason;
  }
}

/** Opens by type and place; the shape is checked by the caller. */
async function open({ arg, bytes }: CallArg, wish: SourceWish, tools: SourceTools): Promise<RowSource> {
  if (arg.type !== 'hdf5' && arg.type !== 'npy') {
    throw new FarfieldError('E_INPUT', `argument ${arg.name}: a model takes hdf5 or npy, not ${arg.type}`);
  }
  const at = arg.at === 'file' ? arg.path : undefined;
  const found = at === undefined ? undefined : statOf(at);
  if (at !== undefined && found === undefined) {
    throw new FarfieldError('E_NOT_FOUND', `argument ${arg.name}: the file ${basename(at)} is missing here`);
  }
  // Opening a FIFO would wait for ever.
  if (found?.isFile() === false) throw new FarfieldError('E_INPUT', `argument ${arg.name}: not a regular file`);
  if (arg.type === 'hdf5') {
    const path = at ?? spill(tools.scratchDir, arg.name, bytes as Uint8Array);
    return openHdf5(
      path,
      arg.name,
      (arg.at === 'file' ? arg.sel : undefined) ?? wish.dataset,
      wish,
      tools,
      await tools.hdf5(),
    );
  }
  return at === undefined ? openNpyBytes(arg.name, bytes as Uint8Array) : openNpyFile(arg.name, at);
}

/** Axes of length 1 do not count: [n, 1, 11, 11] and [n, 11, 11] are the same rows. */
function sameRows(shape: readonly number[], { rowShape }: SourceWish): boolean {
  const [row, wished] = [shape.slice(1), rowShape].map((axes) => axes.filter((n) => n !== 1));
  return shape.length > 0 && row?.length === wished?.length && row?.every((n, i) => n === wished?.[i]) === true;
}

/** Shape and type against what is wished. */
function check(source: RowSource, wish: SourceWish): void {
  if (!sameRows(source.shape, wish)) {
    throw new FarfieldError(
      'E_INPUT',
      `${source.name} has the shape [${source.shape.join(', ')}]; [n${wish.rowShape.map((n) => `, ${n}`).join('')}] is needed`,
    );
  }
  if (wish.stored !== undefined && !wish.stored.includes(source.stored)) {
    const { inFile, stored } = source;
    const holds = inFile === undefined || inFile === stored ? stored : `${inFile}, which is read as ${stored}`;
    throw new FarfieldError('E_INPUT', `${source.name} holds ${holds}; this model takes ${wish.stored.join(', ')}`);
  }
  const { maxRows = MAX_ROWS } = wish;
  if (source.rows > maxRows) {
    throw new FarfieldError(
      'E_TOO_LARGE',
      `${source.name} has ${source.rows} rows; at most ${maxRows} are taken in one call`,
    );
  }
  if (source.rows === 0) throw new FarfieldError('E_INPUT', `${source.name} has no rows`);
}

/** HDF5 that came inline is small; the library reads files alone. */
function spill(scratchDir: string, name: string, bytes: Uint8Array): string {
  const path = join(scratchDir, `inline-${name.replace(/[^A-Za-z0-9_-]/g, '_').slice(0, 40)}.h5`);
  writeFileSync(path, bytes);
  return path;
}

/**
 * A data set of a file. The file is opened once for the job: its chunk index is read once, and a rename over it in
 * the meantime does not swap the rows.
 */
function openHdf5(
  path: string,
  name: string,
  sel: string | undefined,
  wish: SourceWish,
  tools: SourceTools,
  library: Hdf5Library,
): RowSource {
  const before = statOf(path);
  const file = Hdf5File.open(library, path, labelOf(name, path), { roots: tools.linkRoots ?? [] });
  try {
    const dataset = file.dataset(sel ?? onlyFitting(file, name, wish));
    return {
      ...dataset.info,
      format: 'hdf5',
      name: `${name}:${dataset.info.path}`,
      readRows: (from, count, target) => dataset.readRows(from, count, target),
      mustBeSame: () => {
        mustBeUnchanged(name, before, statOf(path));
        if (file.changed()) throw changed(name);
      },
      [Symbol.dispose]: () => {
        dataset[Symbol.dispose]();
        file[Symbol.dispose]();
      },
    };
  } catch (reason) {
    file[Symbol.dispose]();
    throw reason;
  }
}

/** The only data set whose rows have the wished shape. */
function onlyFitting(file: Hdf5File, name: string, wish: SourceWish): string {
  const all = file.datasets();
  const fitting = all.filter(({ shape }) => sameRows(shape, wish));
  const [only] = fitting;
  if (fitting.length === 1 && only !== undefined) return only.path;
  const listed = (fitting.length > 0 ? fitting : all)
    .slice(0, 20)
    .map(({ path, shape }) => `${path} [${shape.join(', ')}]`);
  throw new FarfieldError(
    'E_INPUT',
    `${name}: say which data set is meant, ${fitting.length > 1 ? 'several fit' : 'none fits'}: ${listed.join(', ')}`,
  );
}

/** Bytes that came with the call: rows are copied out of them, nothing is converted. */
function openNpyBytes(name: string, bytes: Uint8Array): RowSource {
  const facts = parseNpy(bytes, bytes.byteLength, name);
  return npySource(
    name,
    facts,
    (at, target) => target.set(bytes.subarray(at, at + target.byteLength)),
    () => {},
    () => {},
  );
}

/** A file of any size, read by position; only its header is held. */
function openNpyFile(name: string, path: string): RowSource {
  const fd = openSync(path, 'r');
  try {
    const before = fstatSync(fd);
    const head = new Uint8Array(Math.min(NPY_HEAD_BYTES, before.size));
    readSync(fd, head, 0, head.length, 0);
    const facts = parseNpy(head, before.size, name);
    const read = (at: number, target: Uint8Array): void => {
      if (readSync(fd, target, 0, target.byteLength, at) !== target.byteLength) {
        throw new FarfieldError('E_INPUT', `${name}: the file became shorter while it was read`);
      }
    };
    const mustBeSame = (): void => mustBeUnchanged(name, before, fstatSync(fd));
    return npySource(name, facts, read, mustBeSame, () => closeSync(fd));
  } catch (reason) {
    closeSync(fd);
    throw reason;
  }
}

/** What both forms of .npy have in common: rows at fixed distances. */
function npySource(
  name: string,
  { stored, shape, offset }: NpyFacts,
  read: (at: number, target: Uint8Array) => void,
  mustBeSame: () => void,
  close: () => void,
): RowSource {
  const rowBytes = elementsOf(shape.slice(1)) * STORED[stored].bytes;
  return {
    name,
    format: 'npy',
    shape,
    rows: shape[0] ?? 0,
    stored,
    rowBytes,
    chunkRows: 1,
    readRows: (from, count, target) => read(offset + from * rowBytes, target.subarray(0, count * rowBytes)),
    mustBeSame,
    [Symbol.dispose]: close,
  };
}

function statOf(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false });
}

/**
 * S2, by inode, size and modification time. Not proof against somebody who sets times back, but such a person owns
 * the data anyway; the digest in the result (of the rows that were read) tells.
 */
function mustBeUnchanged(name: string, before: Stats | undefined, after: Stats | undefined): void {
  const same =
    before !== undefined &&
    after !== undefined &&
    before.ino === after.ino &&
    before.size === after.size &&
    before.mtimeMs === after.mtimeMs;
  if (!same) throw changed(name);
}

function changed(name: string): FarfieldError {
  return new FarfieldError('E_INPUT', `${name}: the file changed while it was read; the result is discarded`);
}

/** The argument and the file's own name, which is the caller's word; a blob has none but its digest. */
function labelOf(name: string, path: string): string {
  const file = basename(path);
  return /^[0-9a-f]{32}|^inline-/.test(file) ? name : `${name} (${file})`;
}
