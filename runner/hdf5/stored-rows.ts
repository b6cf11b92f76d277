/**
 * Rows of a data set as they are stored: from the header, from one piece, from chunks.
 *
 * Invariants
 *  T1 Everything that the metadata promise is checked when the rows are opened; a read then fails only for bytes that changed,
 *     or for a chunk that cannot be decoded.
 *  T2 What was never written has the declared fill value, as HDF5 defines it; where the writer declared that there is none, it is an
 *     error.
 *  T3 Memory is three chunks (as stored, as decoded, and the one of which rows are still wanted), whatever the number of rows.
 */
import { FarfieldError } from '#kernel/errors.ts';
import type { StoredBytes } from './bytes.ts';
import type { ChunkTable } from './chunks.ts';
import type { Pipeline } from './pipeline.ts';
import { DecoderFailure } from './plugin.ts';

/** Reads whole rows, in the file's byte order. */
export interface StoredRows {
  /** Fills `target` with rows [from, from + count). */
  read(from: number, count: number, target: Uint8Array): void;
}

/** Bytes that are there already. */
export function compactRows(bytes: StoredBytes, stored: Uint8Array, rowBytes: number, rows: number): StoredRows {
  if (stored.length !== rows * rowBytes) throw bytes.damaged(`holds ${stored.length} bytes for ${rows} rows`);
  return { read: (from, count, target) => target.set(stored.subarray(from * rowBytes, (from + count) * rowBytes)) };
}

/** Rows one after the other in the file. */
export function contiguousRows(bytes: StoredBytes, at: number, rowBytes: number, rows: number): StoredRows {
  bytes.mustHold(at, rows * rowBytes, 'the data');
  return { read: (from, _count, target) => bytes.readInto(target, at + from * rowBytes, `row ${from}`) };
}

/** Rows that were never written (T2). */
export function unwrittenRows(bytes: StoredBytes, fill: Uint8Array | undefined): StoredRows {
  return { read: (_from, _count, target) => fillWith(bytes, target, fill, 'the data') };
}

/** Repeats the fill value over `target`. */
export function fillWith(bytes: StoredBytes, target: Uint8Array, fill: Uint8Array | undefined, what: string): void {
  if (fill === undefined) throw bytes.damaged(`${what} was never written, and no fill value is defined`);
  if (fill.every((byte) => byte === fill[0])) target.fill(fill[0] ?? 0);
  else for (let at = 0; at < target.length; at += fill.length) target.set(fill, at);
}

/** What rows in chunks are read with. */
export interface ChunkParts {
  readonly bytes: StoredBytes;
  readonly table: ChunkTable;
  readonly pipeline: Pipeline;
  readonly shape: readonly number[];
  readonly elementBytes: number;
  readonly fill: Uint8Array | undefined;
}

/** Copying rows out of such a chunk is one move. */
export const hasWholeRows = (shape: readonly number[], chunk: readonly number[]): boolean =>
  shape.every((n, axis) => axis === 0 || n === chunk[axis]);

/** Rows out of chunks. */
export function chunkedRows(parts: ChunkParts): StoredRows {
  const { table, shape, elementBytes } = parts;
  const rowBytes = shape.slice(1).reduce((product, n) => product * n, elementBytes);
  const reader = new ChunkReader(parts);
  const across = table.grid.slice(1);
  const columns = across.reduce((product, n) => product * n, 1);
  const whole = hasWholeRows(shape, table.chunk);
  const chunkRows = table.chunk[0] ?? 1;
  return {
    read(from, count, target) {
      const end = from + count;
      for (let row = Math.floor(from / chunkRows); row * chunkRows < end; row++) {
        const first = Math.max(from, row * chunkRows);
        const last = Math.min(end, (row + 1) * chunkRows);
        const part = target.subarray((first - from) * rowBytes, (last - from) * rowBytes);
        if (whole) {
          const at = (first - row * chunkRows) * rowBytes;
          reader.copy([row, ...across.map(() => 0)], at, part, last === Math.min(shape[0] ?? 0, (row + 1) * chunkRows));
          continue;
        }
        for (let column = 0; column < columns; column++) {
          const scaled = [row, ...unravel(column, across)];
          scatter(parts, reader.chunk(scaled), scaled, first, last, part);
        }
      }
    },
  };
}

/** Place on a grid of the cell with this number in row-major order. */
function unravel(index: number, grid: readonly number[]): number[] {
  const scaled = new Array<number>(grid.length).fill(0);
  for (let axis = grid.length - 1, rest = index; axis >= 0; axis--) {
    const n = grid[axis] ?? 1;
    scaled[axis] = rest % n;
    rest = Math.floor(rest / n);
  }
  return scaled;
}

/** Copies the part of a chunk that lies in rows [first, last), run by run along the last axis. */
function scatter(
  { table, shape, elementBytes }: ChunkParts,
  chunk: Uint8Array,
  scaled: readonly number[],
  first: number,
  last: number,
  target: Uint8Array,
): void {
  const rank = shape.length;
  const start = scaled.map((n, axis) => n * (table.chunk[axis] ?? 1));
  const copy = (axis: number, from: number, to: number): void => {
    const extent = table.chunk[axis] ?? 1;
    const base = start[axis] ?? 0;
    const low = axis === 0 ? first - base : 0;
    const high = Math.min(extent, (axis === 0 ? last : (shape[axis] ?? 0)) - base);
    const skipped = axis === 0 ? first : 0;
    if (axis === rank - 1) {
      const at = (from * extent + low) * elementBytes;
      const where = (to * (axis === 0 ? 1 : (shape[axis] ?? 0)) + base + low - skipped) * elementBytes;
      target.set(chunk.subarray(at, at + (high - low) * elementBytes), where);
      return;
    }
    for (let k = low; k < high; k++) {
      copy(axis + 1, from * extent + k, to * (axis === 0 ? 1 : (shape[axis] ?? 0)) + base + k - skipped);
    }
  };
  copy(0, 0, 0);
}

/** Brings chunks, one at a time. */
class ChunkReader {
  readonly #parts: ChunkParts;
  #stored = new Uint8Array(0);
  /** A chunk of which rows are still wanted: the next block begins inside it. Its memory serves the next one too. */
  #held: { readonly cell: number; readonly bytes: Uint8Array } | undefined;
  #kept = new Uint8Array(0);

  constructor(parts: ChunkParts) {
    this.#parts = parts;
  }

  /** Copies a piece of a chunk of whole rows; `done` says that nobody will come back for the rest. */
  copy(scaled: readonly number[], at: number, target: Uint8Array, done: boolean): void {
    const { bytes, table } = this.#parts;
    const cell = table.cell(scaled);
    if (this.#held?.cell !== cell) {
      this.#held = undefined;
      const found = table.find(cell);
      // Bytes as they are need no room of their own.
      if (found !== undefined && this.#isPlain(scaled)) {
        bytes.readInto(target, found.at + at, table.name(scaled));
        return;
      }
      const chunk = this.chunk(scaled);
      if (done) {
        target.set(chunk.subarray(at, at + target.length));
        return;
      }
      if (this.#kept.length < chunk.length) this.#kept = new Uint8Array(chunk.length);
      this.#kept.set(chunk);
      this.#held = { cell, bytes: this.#kept };
    }
    target.set(this.#held.bytes.subarray(at, at + target.length));
    if (done) this.#held = undefined;
  }

  /** A whole chunk, decoded; valid until the next. */
  chunk(scaled: readonly number[]): Uint8Array {
    const { bytes, table, pipeline, fill } = this.#parts;
    const name = table.name(scaled);
    const found = table.find(table.cell(scaled));
    if (found === undefined) {
      const chunk = this.#room(table.chunkBytes);
      fillWith(bytes, chunk, fill, name);
      return chunk;
    }
    const stored = this.#room(found.bytes);
    bytes.readInto(stored, found.at, name);
    if (this.#isPlain(scaled)) return stored;
    try {
      return pipeline.decode(stored, found.mask);
    } catch (reason) {
      if (!(reason instanceof DecoderFailure)) throw reason;
      throw new FarfieldError(
        'E_HDF5',
        `${bytes.where}: ${name} cannot be read: a chunk is damaged or cut off (${reason.message})`,
        { cause: reason },
      );
    }
  }

  #isPlain(scaled: readonly number[]): boolean {
    const { table } = this.#parts;
    return table.unfiltered || table.isPlain(scaled);
  }

  #room(length: number): Uint8Array {
    if (this.#stored.length < length) this.#stored = new Uint8Array(length);
    return this.#stored.subarray(0, length);
  }
}
