/**
 * The chunks of a data set: where each lies, how long it is there, and which filters its writer left out.
 *
 * The index is read whole when the data set is opened, because only then can it be held against itself.
 *
 * Invariants
 *  K1 Every chunk lies inside the file, on the grid, and no byte belongs to two: the oldest index (a B-tree without checksums)
 *     is what most files have, and one flipped bit in it makes the library deliver other chunks, or fill values, in
 *     silence.
 *  K2 A chunk without filters has exactly the length of a chunk; one with filters at most twice that and a little.
 *  K3 A filter is left out only where the writer was free to: never shuffle or a checksum, and never an unknown one.
 */
import { FarfieldError } from '#kernel/errors.ts';
import { arrayIndex } from './array-index.ts';
import { Cursor, type StoredBytes, type Widths } from './bytes.ts';
import type { ChunkLayout } from './layout.ts';
import type { StoredFilter, StoredObject } from './object.ts';
import { newTree, oldTree } from './tree-index.ts';

/** More would cost more memory than the rows: 16 bytes each. */
const MAX_CHUNKS = 2_000_000;
/** What cannot be made smaller grows: frame heads, block heads, the 0.1 % of deflate. */
const SLACK_BYTES = 64 * 1024;
/** Shuffle and Fletcher32 never fail, so nobody ever left them out. */
const NEVER_LEFT_OUT: ReadonlySet<number> = new Set([2, 3]);

/** What an index says of one chunk. `scaled` counts chunks, not elements. */
export interface FoundChunk {
  readonly scaled: readonly number[];
  readonly at: number;
  /** undefined where the index does not say: the chunk has no filters. */
  readonly bytes: number | undefined;
  readonly mask: number;
}

/** What a reader of an index needs, and where it puts what it finds. */
export interface IndexParts {
  readonly bytes: StoredBytes;
  readonly widths: Widths;
  readonly layout: ChunkLayout;
  readonly rank: number;
  readonly filtered: boolean;
  /** Chunks on each axis, counting the largest extent where it is limited. */
  readonly mostChunks: readonly (number | undefined)[];
  readonly grid: readonly number[];
  readonly cursor: (bytes: Uint8Array) => Cursor;
  readonly add: (chunk: FoundChunk) => void;
}

/** The chunks by their place on the grid. */
export class ChunkTable {
  /** Chunks on each axis. */
  readonly grid: readonly number[];
  readonly chunk: readonly number[];
  /** Bytes of a decoded chunk. */
  readonly chunkBytes: number;
  readonly #at: Float64Array;
  readonly #bytes: Uint32Array;
  readonly #mask: Uint32Array;
  readonly #layout: ChunkLayout;
  readonly #filters: readonly StoredFilter[];
  readonly #shape: readonly number[];
  readonly #file: StoredBytes;

  constructor(bytes: StoredBytes, widths: Widths, object: StoredObject, layout: ChunkLayout) {
    const shape = object.shape ?? [];
    this.#file = bytes;
    this.#layout = layout;
    this.#filters = object.filters;
    this.#shape = shape;
    this.chunk = layout.chunk;
    this.chunkBytes = layout.chunk.reduce((product, n) => product * n, object.element.bytes);
    this.grid = shape.map((n, axis) => Math.ceil(n / (layout.chunk[axis] ?? 1)));
    const cells = this.grid.reduce((product, n) => product * n, 1);
    if (cells > MAX_CHUNKS) {
      throw new FarfieldError(
        'E_TOO_LARGE',
        `${bytes.where}: has ${cells} chunks, at most ${MAX_CHUNKS} are read; rewrite it with larger ones (h5repack -l CHUNK=...)`,
      );
    }
    this.#at = new Float64Array(cells).fill(Number.NaN);
    const filtered = object.filters.length > 0;
    this.#bytes = new Uint32Array(filtered ? cells : 0);
    this.#mask = new Uint32Array(filtered ? cells : 0);
    if (layout.index !== undefined && cells > 0) this.#read(widths, object, filtered);
    this.#mustNotOverlap();
  }

  /** Where a chunk lies; undefined for one that was never written. */
  find(cell: number): { readonly at: number; readonly bytes: number; readonly mask: number } | undefined {
    const at = this.#at[cell] ?? Number.NaN;
    if (Number.isNaN(at)) return undefined;
    return { at, bytes: this.#bytes[cell] ?? this.chunkBytes, mask: this.#mask[cell] ?? 0 };
  }

  /** Place of a chunk in row-major order over the grid. */
  cell(scaled: readonly number[]): number {
    return scaled.reduce((cell, n, axis) => cell * (this.grid[axis] ?? 1) + n, 0);
  }

  /** For messages: the first element of the chunk. */
  name(scaled: readonly number[]): string {
    return `chunk (${scaled.map((n, axis) => n * (this.chunk[axis] ?? 1)).join(', ')})`;
  }

  get unfiltered(): boolean {
    return this.#filters.length === 0;
  }

  /** Whether this chunk goes without filters, since it reaches beyond the data set. */
  isPlain(scaled: readonly number[]): boolean {
    if (!this.#layout.plainEdges) return false;
    return scaled.some((n, axis) => (n + 1) * (this.chunk[axis] ?? 1) > (this.#shape[axis] ?? 0));
  }

  #read(widths: Widths, object: StoredObject, filtered: boolean): void {
    const bytes = this.#file;
    const parts: IndexParts = {
      bytes,
      widths,
      layout: this.#layout,
      rank: this.grid.length,
      filtered,
      grid: this.grid,
      mostChunks: object.maxShape.map((n, axis) =>
        n === undefined ? undefined : Math.ceil(n / (this.chunk[axis] ?? 1)),
      ),
      cursor: (block) => new Cursor(block, widths, (what) => bytes.damaged(what)),
      add: (chunk) => this.#add(chunk),
    };
    const { indexKind, singleBytes, singleMask } = this.#layout;
    const at = this.#layout.index as number;
    if (indexKind === 'tree') oldTree(parts, at);
    else if (indexKind === 'tree2') newTree(parts, at);
    else if (indexKind === 'single') {
      if (this.#at.length !== 1) throw bytes.damaged('a single chunk is said to be all, and is not');
      this.#add({ scaled: this.grid.map(() => 0), at, bytes: singleBytes, mask: singleMask });
    } else arrayIndex(parts, at, this.chunkBytes);
  }

  /** K1 to K3, for one chunk. */
  #add({ scaled, at, bytes, mask }: FoundChunk): void {
    const file = this.#file;
    const name = this.name(scaled);
    if (scaled.some((n, axis) => n >= (this.grid[axis] ?? 0))) throw file.damaged(`${name} lies outside the data set`);
    const cell = this.cell(scaled);
    if (!Number.isNaN(this.#at[cell])) throw file.damaged(`${name} is there twice`);
    const plain = this.#filters.length === 0 || this.isPlain(scaled);
    const length = bytes ?? this.chunkBytes;
    if (plain && length !== this.chunkBytes) throw file.damaged(`${name} has ${length} bytes for ${this.chunkBytes}`);
    if (length === 0 || length > 2 * this.chunkBytes + SLACK_BYTES) {
      throw file.damaged(`${name} is said to take ${length} bytes for ${this.chunkBytes}`);
    }
    file.mustHold(at, length, name);
    this.#mustBeMask(mask, name);
    this.#at[cell] = at;
    if (this.#bytes.length > 0) {
      this.#bytes[cell] = length;
      this.#mask[cell] = mask;
    }
  }

  #mustBeMask(mask: number, name: string): void {
    if (mask === 0) return;
    for (let k = 0; k < 32; k++) {
      if (((mask >>> k) & 1) === 0) continue;
      const filter = this.#filters[k];
      if (filter === undefined || !filter.optional || NEVER_LEFT_OUT.has(filter.id)) {
        throw this.#file.damaged(`${name} is said to go without filter ${filter?.name || filter?.id || k}`);
      }
    }
  }

  /** The last of K1: in order of their places, each chunk ends before the next begins. */
  #mustNotOverlap(): void {
    const cells = Uint32Array.from(this.#at.keys()).filter((cell) => !Number.isNaN(this.#at[cell]));
    cells.sort((a, b) => (this.#at[a] ?? 0) - (this.#at[b] ?? 0));
    for (let k = 1; k < cells.length; k++) {
      const before = this.find(cells[k - 1] ?? 0);
      const here = this.find(cells[k] ?? 0);
      if (before === undefined || here === undefined || before.at + before.bytes <= here.at) continue;
      throw this.#file.damaged(`two chunks claim the bytes at ${here.at}`);
    }
  }
}
