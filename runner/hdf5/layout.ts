/**
 * Where a data set's bytes lie: inside the header, in one piece, in chunks, in other files, or in other data sets.
 *
 * Invariant
 *  A1 Sizes that the file states twice must agree; a layout that does not fit shape and element is damage.
 */
import { Cursor, type StoredBytes, type Widths } from './bytes.ts';

/** Data in chunks of one size, found through an index. */
export interface ChunkLayout {
  readonly kind: 'chunked';
  /** Extent of a chunk on each axis. */
  readonly chunk: readonly number[];
  /** undefined: no chunk was ever written. */
  readonly index: number | undefined;
  readonly indexKind: 'tree' | 'single' | 'implicit' | 'fixed' | 'extensible' | 'tree2';
  /** Of a single chunk that is filtered. */
  readonly singleBytes: number | undefined;
  readonly singleMask: number;
  /** Chunks at the end of an axis that reach beyond it are stored without filters. */
  readonly plainEdges: boolean;
}

/** A stretch of another file. */
export interface ExternalPiece {
  readonly file: string;
  readonly offset: number;
  /** undefined: to the end of the data. */
  readonly bytes: number | undefined;
}

export type Layout =
  | { readonly kind: 'compact'; readonly bytes: Uint8Array }
  /** `bytes` undefined where the layout does not say. */
  | { readonly kind: 'contiguous'; readonly at: number | undefined; readonly bytes: number | undefined }
  | { readonly kind: 'external'; readonly pieces: readonly ExternalPiece[] }
  | { readonly kind: 'virtual'; readonly heap: number; readonly entry: number }
  | ChunkLayout;

const INDEX_KINDS = [undefined, 'single', 'implicit', 'fixed', 'extensible', 'tree2'] as const;
const MAX_EXTERNAL_PIECES = 1000;

/** Reads a layout message. `rank` and `elementBytes` are what shape and type say, which chunks must fit (A1). */
export function parseLayout(cursor: Cursor, rank: number, elementBytes: number, bytes: StoredBytes): Layout {
  const version = cursor.u8();
  if (version === 1 || version === 2) return oldest(cursor, rank, elementBytes, bytes);
  if (version < 3 || version > 5) throw bytes.damaged('the layout has an unknown version');
  const kind = cursor.u8();
  if (kind === 0) return { kind: 'compact', bytes: cursor.take(cursor.u16()) };
  if (kind === 1) return { kind: 'contiguous', at: cursor.address(), bytes: cursor.lengthNumber() };
  if (kind === 2) {
    return version === 3
      ? chunkedByTree(cursor, rank, elementBytes, bytes)
      : chunked(cursor, rank, elementBytes, bytes);
  }
  if (kind === 3 && version > 3) {
    const heap = cursor.address();
    if (heap === undefined) throw bytes.damaged('a virtual data set names no sources');
    return { kind: 'virtual', heap, entry: cursor.u32() };
  }
  throw bytes.damaged('the layout is of an unknown kind');
}

/** Libraries before 1.6.3. */
function oldest(cursor: Cursor, rank: number, elementBytes: number, bytes: StoredBytes): Layout {
  const axes = cursor.u8();
  const kind = cursor.u8();
  cursor.skip(5);
  const at = kind === 0 ? undefined : cursor.address();
  const extents = Array.from({ length: axes }, () => cursor.u32());
  if (kind === 1) return { kind: 'contiguous', at, bytes: undefined };
  if (kind === 0) return { kind: 'compact', bytes: cursor.take(cursor.u32()) };
  if (kind !== 2) throw bytes.damaged('the layout is of an unknown kind');
  return treeLayout(extents.slice(0, -1), extents.at(-1) === elementBytes, at, rank, bytes);
}

/** Version 3: always a B-tree. */
function chunkedByTree(cursor: Cursor, rank: number, elementBytes: number, bytes: StoredBytes): ChunkLayout {
  const axes = cursor.u8();
  const index = cursor.address();
  const chunk = Array.from({ length: axes - 1 }, () => cursor.u32());
  return treeLayout(chunk, cursor.u32() === elementBytes, index, rank, bytes);
}

/** What versions 1 to 3 have in common. */
function treeLayout(
  chunk: readonly number[],
  sized: boolean,
  index: number | undefined,
  rank: number,
  bytes: StoredBytes,
): ChunkLayout {
  mustBeChunk(chunk, rank, bytes);
  if (!sized) throw bytes.damaged('chunks and elements differ in size');
  return {
    kind: 'chunked',
    chunk,
    index,
    indexKind: 'tree',
    singleBytes: undefined,
    singleMask: 0,
    plainEdges: false,
  };
}

/** Version 4: one of five indexes. Version 5 (HDF5 2.0) differs in the width of lengths inside these, which each states. */
function chunked(cursor: Cursor, rank: number, elementBytes: number, bytes: StoredBytes): ChunkLayout {
  const flags = cursor.u8();
  const axes = cursor.u8();
  const width = cursor.u8();
  if (axes < 1 || width < 1 || width > 8) throw bytes.damaged('the layout of chunks is unreadable');
  const chunk = Array.from({ length: axes - 1 }, () => cursor.uint(width));
  if (cursor.uint(width) !== elementBytes) throw bytes.damaged('chunks and elements differ in size');
  mustBeChunk(chunk, rank, bytes);
  const indexKind = INDEX_KINDS[cursor.u8()];
  if (indexKind === undefined) throw bytes.damaged('the chunk index is of an unknown kind');
  const filtered = indexKind === 'single' && (flags & 2) !== 0;
  const singleBytes = filtered ? cursor.lengthNumber() : undefined;
  const singleMask = filtered ? cursor.u32() : 0;
  // What the index was made with is repeated in its own header.
  cursor.skip({ single: 0, implicit: 0, fixed: 1, extensible: 5, tree2: 6 }[indexKind]);
  const index = cursor.address();
  return { kind: 'chunked', chunk, index, indexKind, singleBytes, singleMask, plainEdges: (flags & 1) !== 0 };
}

/** A1. A chunk may reach beyond the data set, which the library allows too. */
function mustBeChunk(chunk: readonly number[], rank: number, bytes: StoredBytes): void {
  if (chunk.length !== rank) throw bytes.damaged('chunks and data set differ in their number of axes');
  if (chunk.some((n) => n === 0)) throw bytes.damaged('a chunk has no extent');
}

/** The list of other files that hold a contiguous data set (A1). */
export function parseExternal(
  cursor: Cursor,
  bytes: StoredBytes,
  widths: Widths,
  layout: { readonly at: number | undefined },
): Layout {
  if (layout.at !== undefined) throw bytes.damaged('the data lie both in this file and in others');
  if (cursor.u8() !== 1) throw bytes.damaged('the list of external files has an unknown version');
  cursor.skip(3);
  cursor.u16();
  const used = cursor.u16();
  const heap = cursor.address();
  if (heap === undefined || used > MAX_EXTERNAL_PIECES) throw bytes.damaged('the list of external files is unreadable');
  const names = localHeap(bytes, widths, heap);
  const pieces = Array.from({ length: used }, () => {
    const name = cursor.lengthNumber();
    const offset = cursor.lengthNumber();
    const size = cursor.orNone(widths.length);
    const file = new Cursor(names, widths, (what) => bytes.damaged(what), Math.min(name, names.length)).text();
    return { file, offset, bytes: size };
  });
  return { kind: 'external', pieces };
}

/** A heap of zero-terminated names: its head says where the names themselves lie. */
function localHeap(bytes: StoredBytes, widths: Widths, at: number): Uint8Array {
  const headBytes = 8 + 2 * widths.length + widths.address;
  const head = new Cursor(bytes.read(at, headBytes, 'a heap of names'), widths, (what) => bytes.damaged(what));
  head.signature('HEAP');
  head.skip(4);
  const size = head.lengthNumber();
  head.skip(widths.length);
  const segment = head.address();
  if (segment === undefined || size > 1024 * 1024) throw bytes.damaged('a heap of names is unreadable');
  return bytes.read(segment, size, 'a heap of names');
}
