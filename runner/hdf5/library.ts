/**
 * The HDF5 library (h5wasm, WebAssembly) behind a guard.
 *
 * h5wasm's Node build reads and writes host files directly (Emscripten NODERAWFS): neither input nor output is held in
 * memory, but any file that an HDF5 file names (external link, external storage, virtual data set, plug-in) would be opened
 * with the runner's rights. Every open passes the one JavaScript function that is replaced here.
 *
 * Invariants
 *  H1 A path is opened only while it is allowed by a FileLease; any other is refused and remembered (`refusedPath`).
 *  H2 The library loads no filter plug-ins, from nowhere: chunks are decoded outside of it, by those of h5wasm-plugins alone.
 *  H3 What the library prints never reaches the process's stdout: it is kept as `diagnostics` for the error message.
 *  H4 After a WebAssembly trap the instance is never used again; the next acquire makes a new one.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FarfieldError } from '#kernel/errors.ts';

/** A data set or attribute to be made. */
export interface H5WriteMetadata {
  readonly type: number;
  readonly size: number;
  readonly signed: boolean;
  readonly vlen: boolean;
  readonly littleEndian: boolean;
  readonly shape: readonly bigint[];
  readonly maxshape: readonly bigint[] | null;
  readonly chunks: readonly bigint[] | null;
  readonly cset?: number;
}

interface H5Stream {
  readonly fd: number;
}

interface H5FileSystem {
  open(path: string, flags: unknown, mode?: unknown): H5Stream;
  write(stream: H5Stream, buffer: Uint8Array, offset: number, length: number, position?: number): number;
  readonly ErrnoError: new (errno: number) => Error;
}

/** The functions of h5wasm's C module that are used here. Calls return H5 status codes: below zero is a failure. */
export interface H5Module {
  readonly FS: H5FileSystem;
  /** Replaced when the memory grows: read it anew after every call. */
  readonly HEAPU8: Uint8Array;
  readonly H5F_ACC_RDONLY: number;
  readonly H5F_ACC_TRUNC: number;
  readonly H5G_GROUP: number;
  readonly H5G_DATASET: number;
  readonly H5G_LINK: number;
  readonly H5G_UDLINK: number;
  _malloc(bytes: number): number;
  _free(pointer: number): void;
  open(path: string, mode: number, trackOrder: boolean, libverLow: number, libverHigh: number): bigint;
  close_file(file: bigint): number;
  flush(file: bigint): number;
  get_type(file: bigint, path: string): number;
  get_names(file: bigint, path: string, recursive: boolean): string[];
  get_external_link(file: bigint, path: string): { readonly filename?: string; readonly obj_path?: string };
  get_symbolic_link(file: bigint, path: string): string | null;
  /** Eight bytes: the address of the object's header. */
  create_object_reference(file: bigint, path: string): ArrayLike<number>;
  set_dataset_data(
    file: bigint,
    path: string,
    count: readonly bigint[],
    offset: readonly bigint[],
    strides: readonly bigint[],
    pointer: bigint,
  ): number;
  create_group(file: bigint, path: string, trackOrder: boolean): number;
  create_dataset(file: bigint, path: string, pointer: bigint, metadata: H5WriteMetadata): number;
  resize_dataset(file: bigint, path: string, shape: readonly bigint[]): number;
  create_attribute(file: bigint, path: string, name: string, pointer: bigint, metadata: H5WriteMetadata): number;
  create_vlen_str_attribute(
    file: bigint,
    path: string,
    name: string,
    values: readonly string[],
    metadata: H5WriteMetadata,
  ): number;
  get_plugin_search_paths(): string[];
  remove_plugin_search_path(index: number): number;
}

/** A trap leaves 20 MB behind in the module cache; a process that met this many damaged files is better restarted. */
const MAX_INSTANCES = 4;
const MAX_DIAGNOSTICS = 64 * 1024;
const ENOENT = 44; // Emscripten's number (WASI), not the host's

/** One for a process; several would share the library all the same. */
export interface Hdf5Loader {
  /** The current instance, loaded on first use (about 140 ms). */
  acquire(): Promise<Hdf5Library>;
}

/** A module is guarded once: a second guard around the first would refuse what the other allows. */
const guarded = new WeakMap<H5Module, Hdf5Library>();

export function createHdf5Loader(): Hdf5Loader {
  let instance = 0;
  let current: Promise<Hdf5Library> | undefined;
  return {
    async acquire(): Promise<Hdf5Library> {
      for (; instance < MAX_INSTANCES; instance++) {
        current ??= loadLibrary(instance);
        const library = await current;
        if (!library.poisoned) return library;
        current = undefined;
      }
      throw new FarfieldError(
        'E_HDF5',
        'too many damaged HDF5 files in one runner; it takes no more HDF5 until restarted',
      );
    },
  };
}

/** Imports h5wasm's Node build, which compiles 4 MB of WebAssembly. */
async function loadLibrary(instance: number): Promise<Hdf5Library> {
  const url = resolvePackage('h5wasm/node');
  if (url === undefined) {
    throw new FarfieldError('E_IMAGE_INCOMPATIBLE', 'the package h5wasm is not installed here; install it to use HDF5');
  }
  // A query makes a fresh module, hence a fresh WebAssembly instance (H4).
  const loaded = (await import(instance === 0 ? url : `${url}?instance=${instance}`)) as { ready: Promise<H5Module> };
  const module = await loaded.ready;
  const library = guarded.get(module) ?? new Hdf5Library(module, pluginFolder());
  guarded.set(module, library);
  return library;
}

/** Where the package lies, or undefined where it is not installed: it is optional, a login node needs none. */
function resolvePackage(name: string): string | undefined {
  try {
    return import.meta.resolve(name);
  } catch {
    return undefined;
  }
}

/** The folder of filter plug-ins, if that package is installed. */
function pluginFolder(): string | undefined {
  const url = resolvePackage('h5wasm-plugins');
  if (url === undefined) return undefined;
  const folder = join(dirname(fileURLToPath(url)), 'plugins');
  return existsSync(folder) ? folder : undefined;
}

/** One instance of the library, guarded. */
export class Hdf5Library {
  readonly module: H5Module;
  /** The folder of decoders. */
  readonly plugins: string | undefined;
  poisoned = false;
  readonly #allowed = new Map<string, number>();
  #refused: string | undefined;
  #diagnostics = '';

  constructor(module: H5Module, plugins: string | undefined) {
    this.module = module;
    this.plugins = plugins;
    this.#guardFiles();
    // Those it comes with are the build machine's and /usr/local/hdf5, both somebody else's (H2).
    for (let i = module.get_plugin_search_paths().length; i > 0; i--) module.remove_plugin_search_path(0);
  }

  /** Lets the library open exactly this path until the lease is disposed. */
  allow(path: string): Disposable {
    this.#allowed.set(path, (this.#allowed.get(path) ?? 0) + 1);
    return {
      [Symbol.dispose]: () => {
        const left = (this.#allowed.get(path) ?? 1) - 1;
        if (left === 0) this.#allowed.delete(path);
        else this.#allowed.set(path, left);
      },
    };
  }

  /** Runs one call; a trap or a refused file becomes E_HDF5, so that no wasm stack reaches anybody. */
  call<R>(what: string, run: (module: H5Module) => R): R {
    if (this.poisoned)
      throw new FarfieldError('E_HDF5', `${what}: the HDF5 library has stopped; the file may be damaged`);
    this.#refused = undefined;
    this.#diagnostics = '';
    try {
      return run(this.module);
    } catch (reason) {
      if (reason instanceof FarfieldError) throw reason;
      // A plain Error is the binding's own ("name not defined"). A WebAssembly trap or abort names itself RuntimeError; an
      // exhausted stack is a RangeError; what is no Error at all was thrown by C++.
      const trapped = !(reason instanceof Error) || ['RuntimeError', 'RangeError'].includes(reason.name);
      if (trapped) this.poisoned = true;
      throw new FarfieldError(
        'E_HDF5',
        `${what}: ${trapped ? 'damaged so that the HDF5 library stopped' : 'cannot be read'}`,
        {
          cause: reason,
        },
      );
    }
  }

  /** The file that the last call wanted and was not given. */
  get refusedPath(): string | undefined {
    return this.#refused;
  }

  /** Whether the last call met an error, whatever it answered. */
  get complained(): boolean {
    return this.#diagnostics !== '';
  }

  /** The innermost reason that the library printed during the last call, without its file names and line numbers. */
  get reason(): string {
    const lines = this.#diagnostics.match(/^ {2}#\d+: .*$/gm) ?? [];
    const last = lines.at(-1) ?? '';
    // Some reasons repeat the path that was opened: that is the endpoint's business alone.
    return (
      last
        .replace(/^ {2}#\d+: .*? in \w+\(\): /, '')
        .replace(/: name = .*/, '')
        // A failed write tells the time (of a clock that we hold still) and the path before what the system said.
        .replace(/: time = .*/, ` (${/error message = '([^']*)'/.exec(this.#diagnostics)?.[1] ?? 'no reason'})`)
        .slice(0, 200)
    );
  }

  /**
   * H1 and H3. The two functions are looked up by name on this object at every system call of the library
   * (Emscripten's NODERAWFS), so replacing them is enough; a test with links of every kind would show it if a later
   * version bound them early.
   */
  #guardFiles(): void {
    const fs = this.module.FS;
    const open = fs.open;
    const write = fs.write;
    fs.open = (path, flags, mode) => {
      if (this.#allowed.has(path)) return open.call(fs, path, flags, mode);
      this.#refused = path;
      throw new fs.ErrnoError(ENOENT);
    };
    fs.write = (stream, buffer, offset, length, position) => {
      if (stream.fd !== 1 && stream.fd !== 2) return write.call(fs, stream, buffer, offset, length, position);
      if (this.#diagnostics.length < MAX_DIAGNOSTICS) {
        this.#diagnostics += Buffer.from(buffer.buffer, buffer.byteOffset + offset, length).toString('utf8');
      }
      return length;
    };
  }
}
