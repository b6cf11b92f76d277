/**
 * Decoders of h5wasm-plugins, each in a WebAssembly memory of its own.
 *
 * The library could load them itself, but then a decoder that a crafted chunk leads astray writes over the library's
 * memory, and a chunk that inflates without end takes all of it. Here a decoder sees its input, its output and nothing
 * else; it has no files, no clock, no threads.
 *
 * Invariants
 *  G1 Memory is bounded by what the chunk may need; a decoder that asks for more, writes beyond what it asked for, or traps, fails,
 *     and its instance is never used again.
 *  G2 Every call starts from the same memory: variables restored, the heap freed by rewinding, every piece of it guarded at both ends.
 *  G3 Output is what the decoder returned, from a piece of memory that it had asked for; never its input, never leftovers.
 */
import { readFileSync } from 'node:fs';
import { constants, inflateSync } from 'node:zlib';
import {
  type WasmExports,
  type WasmGlobal,
  type WasmImports,
  type WasmMemory,
  type WasmModule,
  type WasmTable,
  wasm,
} from './wasm.ts';

const PAGE = 65536;
const STACK_BYTES = 1024 * 1024;
/** Decoders' own tables: zstd's context takes 160 KB, its workspace up to 1.5 MB. */
const WORK_BYTES = 16 * 1024 * 1024;
const GUARD = 0xc5;
const GUARD_BYTES = 16;
/** Fresh output holds this: what a decoder claims to have written and did not is not silently the chunk before. */
const FRESH = 0xa5;
const REVERSE = 0x100;

/** Thrown through WebAssembly frames when a decoder does what it must not. */
export class DecoderFailure extends Error {
  override readonly name = 'DecoderFailure';
}

/** One decoder, ready for calls. */
export interface PluginDecoder {
  /** Decodes one chunk into at most `mostBytes` bytes; the result is valid until the next call. Throws DecoderFailure. */
  decode(input: Uint8Array, values: readonly number[], mostBytes: number): Uint8Array;
}

/** Compiles the plug-in once; the instance is made anew after each failure (G1). A test sets what fresh memory holds, for G3. */
export function createPluginDecoder(path: string, fresh: number = FRESH): PluginDecoder {
  const module = new wasm.Module(readFileSync(path));
  let instance: Sandbox | undefined;
  return {
    decode(input, values, mostBytes) {
      const sandbox = instance ?? new Sandbox(module, fresh);
      instance = sandbox;
      try {
        return sandbox.decode(input, values, mostBytes);
      } catch (reason) {
        instance = undefined;
        if (reason instanceof DecoderFailure) throw reason;
        throw new DecoderFailure(reason instanceof Error ? reason.message : 'trapped');
      }
    },
  };
}

type Fn = (...args: number[]) => number;

/** What a plug-in exports that is called from here. */
interface Entries {
  readonly __wasm_apply_data_relocs?: Fn;
  readonly __wasm_call_ctors?: Fn;
  readonly H5PLget_plugin_info: Fn;
}

/** What a side module needs, from its `dylink.0` section. */
function needs(module: WasmModule): { memoryBytes: number; tableSize: number } {
  const [section] = wasm.Module.customSections(module, 'dylink.0');
  const bytes = new Uint8Array(section ?? new ArrayBuffer(0));
  let at = 0;
  const number = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] ?? 0;
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const kind = bytes[at++];
    const end = number() + at;
    if (kind === 1) {
      const memoryBytes = number();
      number();
      return { memoryBytes, tableSize: number() };
    }
    at = end;
  }
  throw new DecoderFailure('the plug-in is no side module');
}

/** One instance: a page that nothing owns, the module's variables, its stack, and the heap that grows with the chunk. */
class Sandbox {
  readonly #memory: WasmMemory;
  readonly #table: WasmTable;
  readonly #filter: Fn;
  readonly #heapStart: number;
  readonly #pieces = new Map<number, number>();
  /** The module's variables as they were before the first call. */
  readonly #fresh: Uint8Array;
  readonly #base: number;
  readonly #fill: number;
  #free: number;
  #limit = 0;

  constructor(module: WasmModule, fresh: number) {
    this.#fill = fresh;
    const { memoryBytes, tableSize } = needs(module);
    const base = PAGE;
    this.#base = base;
    const stackTop = base + Math.ceil(memoryBytes / 16) * 16 + STACK_BYTES;
    this.#heapStart = stackTop;
    this.#free = stackTop;
    this.#limit = stackTop + PAGE;
    this.#memory = new wasm.Memory({ initial: Math.ceil(stackTop / PAGE) + 1 });
    this.#table = new wasm.Table({ initial: tableSize + 1, element: 'anyfunc' });
    const got = new Map<string, WasmGlobal>();
    const imports = this.#imports(module, base, stackTop, got);
    const { exports } = new wasm.Instance(module, imports);
    this.#link(module, exports, base, got);
    const {
      __wasm_apply_data_relocs: relocate,
      __wasm_call_ctors: construct,
      H5PLget_plugin_info,
    } = exports as unknown as Entries;
    relocate?.();
    construct?.();
    const info = H5PLget_plugin_info();
    // H5Z_class2_t: version, id, two flags, name, two hooks for writers, the filter function.
    this.#filter = this.#table.get(this.#u32(info + 28)) as Fn;
    // What initialisation asked for stays.
    this.#heapStart = this.#free;
    this.#fresh = new Uint8Array(this.#memory.buffer).slice(base, base + memoryBytes);
  }

  /** Calls the filter as HDF5 would: it may free the input, must set size and pointer of the output, and answers the bytes made. */
  decode(input: Uint8Array, values: readonly number[], mostBytes: number): Uint8Array {
    this.#pieces.clear();
    this.#free = this.#heapStart;
    // Blosc keeps a pointer to its tables, which the rewinding frees.
    new Uint8Array(this.#memory.buffer).set(this.#fresh, this.#base);
    this.#limit = this.#heapStart + input.length + 3 * mostBytes + WORK_BYTES;
    const valuesAt = this.#take(4 * Math.max(1, values.length));
    const sizeAt = this.#take(4);
    const pointerAt = this.#take(4);
    const inputAt = this.#take(input.length);
    const view = new DataView(this.#memory.buffer);
    values.forEach((value, k) => {
      view.setUint32(valuesAt + 4 * k, value, true);
    });
    view.setUint32(sizeAt, input.length, true);
    view.setUint32(pointerAt, inputAt, true);
    new Uint8Array(this.#memory.buffer).set(input, inputAt);
    const made = this.#filter(REVERSE, values.length, valuesAt, input.length, sizeAt, pointerAt) >>> 0;
    if (made === 0) throw new DecoderFailure('the decoder refused it');
    const outputAt = this.#u32(pointerAt);
    const room = this.#pieces.get(outputAt);
    // G3; some decoders work in place, which is as good as a piece of their own.
    if (room === undefined || made > room || made > mostBytes) throw new DecoderFailure(`${made} bytes came out`);
    this.#mustBeGuarded();
    return new Uint8Array(this.#memory.buffer, outputAt, made);
  }

  /** Read through a view of its own each time: growing the memory detaches the one before. */
  #u32(at: number): number {
    return new DataView(this.#memory.buffer).getUint32(at, true);
  }

  /** A piece of memory with guards around it. Nothing is reused within a call, so freeing is nothing. */
  #take(bytes: number): number {
    const at = Math.ceil((this.#free + GUARD_BYTES) / 16) * 16;
    const end = at + bytes + GUARD_BYTES;
    if (bytes < 0 || end > this.#limit) throw new DecoderFailure(`the decoder asked for ${bytes} bytes`);
    const missing = end - this.#memory.buffer.byteLength;
    if (missing > 0) this.#memory.grow(Math.ceil(missing / PAGE));
    const memory = new Uint8Array(this.#memory.buffer);
    memory.fill(GUARD, this.#free, at);
    memory.fill(this.#fill, at, at + bytes);
    memory.fill(GUARD, at + bytes, end);
    this.#free = end;
    this.#pieces.set(at, bytes);
    return at;
  }

  /** G1, behind the call: a decoder that wrote past its pieces may have written anything. */
  #mustBeGuarded(): void {
    const memory = new Uint8Array(this.#memory.buffer);
    for (const [at, bytes] of this.#pieces) {
      for (let k = 1; k <= GUARD_BYTES; k++) {
        const whole = memory[at - k] === GUARD && memory[at + bytes + k - 1] === GUARD;
        if (!whole) throw new DecoderFailure('the decoder wrote where it must not');
      }
    }
  }

  /** Everything that the module imports: a little of the C library, and refusal of all else. */
  #imports(module: WasmModule, base: number, stackTop: number, got: Map<string, WasmGlobal>): WasmImports {
    const env: Record<string, unknown> = {
      memory: this.#memory,
      __indirect_function_table: this.#table,
      __stack_pointer: new wasm.Global({ value: 'i32', mutable: true }, stackTop),
      __memory_base: new wasm.Global({ value: 'i32', mutable: false }, base),
      __table_base: new wasm.Global({ value: 'i32', mutable: false }, 1),
    };
    const library: Readonly<Record<string, Fn>> = this.#library();
    const mem: Record<string, unknown> = {};
    const func: Record<string, unknown> = {};
    for (const { module: from, name, kind } of wasm.Module.imports(module)) {
      if (from.startsWith('GOT.')) {
        // Variables of other libraries (HDF5's error classes, stderr) point at the unused first page.
        const cell = new wasm.Global({ value: 'i32', mutable: true }, 16);
        got.set(`${from}.${name}`, cell);
        (from === 'GOT.mem' ? mem : func)[name] = cell;
      } else if (kind === 'function') {
        env[name] =
          library[name] ??
          (() => {
            throw new DecoderFailure(`the decoder wanted ${name}`);
          });
      }
    }
    return { env, 'GOT.mem': mem, 'GOT.func': func };
  }

  /** Emscripten's dynamic linking: the cells of the global offset table get the module's own functions and variables. */
  #link(module: WasmModule, exports: WasmExports, base: number, got: ReadonlyMap<string, WasmGlobal>): void {
    const own = new Set(wasm.Module.exports(module).map(({ name }) => name));
    for (const [key, cell] of got) {
      const name = key.slice(key.indexOf('.', 4) + 1);
      if (!own.has(name)) continue;
      const found = exports[name];
      if (typeof found === 'function') {
        cell.value = this.#table.grow(1);
        this.#table.set(cell.value, found);
      } else if (found instanceof wasm.Global) cell.value = base + Number(found.value);
    }
  }

  /** Reporting is silenced: the caller words the error. */
  #library(): Record<string, Fn> {
    const bytes = () => new Uint8Array(this.#memory.buffer);
    const nothing = (): number => 0;
    const copy: Fn = (to = 0, from = 0, n = 0) => {
      bytes().copyWithin(to >>> 0, from >>> 0, (from >>> 0) + (n >>> 0));
      return to;
    };
    const big: Fn = (n = 0) => (n >>> 24) | ((n >>> 8) & 0xff00) | ((n << 8) & 0xff0000) | (n << 24) | 0;
    const malloc: Fn = (n = 0) => this.#take(n >>> 0);
    const fill: Fn = (at = 0, value = 0, n = 0) => {
      bytes().fill(value & 255, at >>> 0, (at >>> 0) + (n >>> 0));
      return at;
    };
    const silent = [
      ...['H5open', 'H5Epush2', 'siprintf', 'iprintf', 'fiprintf', '__small_fprintf', 'snprintf', 'puts', 'fputc'],
      ...['fwrite', 'fflush', 'getenv', 'clock', 'free', 'strerror'],
      ...['pthread_mutex_init', 'pthread_mutex_lock', 'pthread_mutex_unlock', 'pthread_mutex_destroy'],
      ...['pthread_atfork', 'pthread_once'],
    ];
    return {
      ...Object.fromEntries(silent.map((name) => [name, nothing])),
      malloc,
      memcpy: copy,
      memmove: copy,
      memset: fill,
      htonl: big,
      ntohl: big,
      // A little of the unused first page, for a number that nobody reads.
      __errno_location: () => 32,
      calloc: (n = 0, size = 0) => {
        const at = this.#take((n >>> 0) * (size >>> 0));
        return fill(at, 0, (n >>> 0) * (size >>> 0));
      },
      realloc: (from = 0, n = 0) => {
        const at = this.#take(n >>> 0);
        const old = Math.min(this.#pieces.get(from >>> 0) ?? 0, n >>> 0);
        return copy(at, from, old);
      },
      posix_memalign: (to = 0, align = 0, n = 0) => {
        const at = Math.ceil(this.#take((n >>> 0) + (align >>> 0)) / Math.max(1, align)) * Math.max(1, align);
        new DataView(this.#memory.buffer).setUint32(to >>> 0, at, true);
        return 0;
      },
      memcmp: (a = 0, b = 0, n = 0) =>
        Buffer.compare(bytes().subarray(a, a + (n >>> 0)), bytes().subarray(b, b + (n >>> 0))),
      strlen: (at = 0) => bytes().indexOf(0, at) - at,
      strcmp: (a = 0, b = 0) => {
        const text = (at: number) => bytes().subarray(at, bytes().indexOf(0, at));
        return Buffer.compare(text(a), text(b));
      },
      uncompress: (to = 0, sizeAt = 0, from = 0, n = 0) =>
        this.#uncompress(to >>> 0, sizeAt >>> 0, from >>> 0, n >>> 0),
    };
  }

  /** zlib's, for Blosc: 0, or Z_DATA_ERROR. */
  #uncompress(to: number, sizeAt: number, from: number, n: number): number {
    const memory = new Uint8Array(this.#memory.buffer);
    try {
      const room = this.#u32(sizeAt);
      const out = inflateSync(memory.subarray(from, from + n), {
        maxOutputLength: Math.max(1, room),
        finishFlush: constants.Z_FINISH,
      });
      memory.set(out, to);
      new DataView(this.#memory.buffer).setUint32(sizeAt, out.length, true);
      return 0;
    } catch {
      return -3;
    }
  }
}
