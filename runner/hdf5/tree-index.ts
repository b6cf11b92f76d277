/**
 * Chunk indexes that are trees: the B-tree of old files, which has no checksums, and the second version, which has.
 *
 * Invariants
 *  N1 Depth falls by one at each step and no node is empty, so every path ends in a chunk, and no chunk comes twice: a loop ends
 *     in an error.
 *  N2 Keys of the old tree rise, on the grid and inside the data set: what a flipped bit can do to them is then noticed, save that
 *     a chunk next to a gap moves into the gap.
 */
import { type Cursor, mustAddUp } from './bytes.ts';
import type { IndexParts } from './chunks.ts';

/** Nodes of 2 children at worst, so trees of the largest number of chunks are far below. */
const MAX_DEPTH = 24;
const NODE_HEAD_BYTES = 10;

/**
 * Version 1: 'TREE' nodes of type 1. Keys and children take turns; a key is the chunk's length, its filter mask, and
 * the offsets of its first element, with a zero for the element's own bytes at the end. Siblings are linked too, which
 * nothing here follows.
 */
export function oldTree(parts: IndexParts, root: number): void {
  const { bytes, widths, rank } = parts;
  const keyBytes = 8 + 8 * (rank + 1);
  const headBytes = 8 + 2 * widths.address;
  let last: readonly number[] | undefined;
  const visit = (at: number, level: number | undefined): void => {
    const head = parts.cursor(bytes.read(at, headBytes, 'the chunk index'));
    head.signature('TREE');
    const [type, depth, used] = [head.u8(), head.u8(), head.u16()];
    if (type !== 1 || depth > MAX_DEPTH || (level !== undefined && (depth !== level || used === 0))) {
      throw bytes.damaged('the chunk index is unreadable');
    }
    const body = parts.cursor(bytes.read(at + headBytes, used * (keyBytes + widths.address), 'the chunk index'));
    for (let k = 0; k < used; k++) {
      const [length, mask] = [body.u32(), body.u32()];
      const offsets = Array.from({ length: rank }, () => body.uint(8));
      const rest = body.uint(8);
      const child = body.address();
      if (child === undefined || rest !== 0) throw bytes.damaged('the chunk index is unreadable');
      if (depth > 0) {
        visit(child, depth - 1);
        continue;
      }
      const scaled = offsets.map((n, axis) => n / (parts.layout.chunk[axis] ?? 1));
      if (!scaled.every(Number.isInteger)) throw bytes.damaged(`a chunk is said to begin at (${offsets.join(', ')})`);
      if (last !== undefined && !rises(last, scaled)) throw bytes.damaged('the chunk index is out of order');
      last = scaled;
      parts.add({ scaled, at: child, bytes: length, mask });
    }
  };
  visit(root, undefined);
}

/** Whether the second comes later in row-major order (N2). */
function rises(before: readonly number[], here: readonly number[]): boolean {
  for (let axis = 0; axis < here.length; axis++) {
    const step = (here[axis] ?? 0) - (before[axis] ?? 0);
    if (step !== 0) return step > 0;
  }
  return false;
}

/** Sizes of one level of a version 2 tree, from the leaves up. */
interface Level {
  readonly most: number;
  /** Bytes of the field that counts all records below a child of the level above. */
  readonly totalBytes: number;
  readonly total: number;
}

/** Bytes that a count of up to `limit` is written in. */
const widthOf = (limit: number): number => Math.floor(Math.log2(Math.max(1, limit)) / 8) + 1;

/**
 * Version 2: 'BTHD', 'BTIN', 'BTLF'; records of type 10 (no filters) or 11. Used where several axes are unlimited.
 * Records stand in inner nodes too; a child is its address, its number of records and, above the lowest inner level,
 * the number of all below it.
 */
export function newTree(parts: IndexParts, at: number): void {
  const { bytes, widths } = parts;
  const damaged = (what: string) => bytes.damaged(what);
  const headBytes = 16 + widths.address + 2 + widths.length + 4;
  const headBlock = bytes.read(at, headBytes, 'the chunk index');
  mustAddUp(headBlock, 'the chunk index', damaged);
  const head = parts.cursor(headBlock);
  head.signature('BTHD');
  const [version, type, nodeBytes, recordBytes, depth] = [head.u8(), head.u8(), head.u32(), head.u16(), head.u16()];
  head.skip(2);
  const root = head.address();
  const rootRecords = head.u16();
  const least = widths.address + 8 * parts.rank;
  // A record is address, length and mask where there are filters, and eight bytes an axis: so the width of a length
  // follows.
  const known =
    version === 0 &&
    type === (parts.filtered ? 11 : 10) &&
    depth <= MAX_DEPTH &&
    nodeBytes <= 16 * 1024 * 1024 &&
    (type === 10 ? recordBytes === least : recordBytes > least + 4 && recordBytes <= least + 12);
  if (!known) throw damaged('the chunk index is unreadable');
  if (root === undefined) return;
  const levels = levelsOf(nodeBytes, recordBytes, depth, widths.address);
  const record = (cursor: Cursor): void => {
    const chunkAt = cursor.address();
    const length = parts.filtered ? cursor.uint(recordBytes - least - 4) : undefined;
    const mask = parts.filtered ? cursor.u32() : 0;
    const scaled = Array.from({ length: parts.rank }, () => cursor.uint(8));
    if (chunkAt === undefined) throw damaged('a chunk lies nowhere');
    parts.add({ scaled, at: chunkAt, bytes: length, mask });
  };
  const visit = (nodeAt: number, count: number, level: number): void => {
    if (count > (levels[level]?.most ?? 0) || (count === 0 && depth > 0))
      throw damaged('the chunk index is unreadable');
    const below = levels[level - 1];
    const countBytes = widthOf(levels[0]?.most ?? 0);
    const childBytes = below === undefined ? 0 : widths.address + countBytes + (level > 1 ? below.totalBytes : 0);
    const used = 6 + count * recordBytes + (below === undefined ? 0 : (count + 1) * childBytes) + 4;
    const block = bytes.read(nodeAt, used, 'the chunk index');
    mustAddUp(block, 'the chunk index', damaged);
    const node = parts.cursor(block);
    node.signature(below === undefined ? 'BTLF' : 'BTIN');
    if (node.u8() !== 0 || node.u8() !== type) throw damaged('the chunk index is unreadable');
    for (let k = 0; k < count; k++) record(node);
    for (let k = 0; below !== undefined && k <= count; k++) {
      const child = node.address();
      const childRecords = node.uint(countBytes);
      if (level > 1) node.skip(below.totalBytes);
      if (child === undefined) throw damaged('the chunk index is unreadable');
      visit(child, childRecords, level - 1);
    }
  };
  visit(root, rootRecords, depth);
}

/** How many records a node of each level holds: it decides how wide counts are written. */
function levelsOf(nodeBytes: number, recordBytes: number, depth: number, addressBytes: number): Level[] {
  const most = Math.floor((nodeBytes - NODE_HEAD_BYTES) / recordBytes);
  const countBytes = widthOf(most);
  const levels: Level[] = [{ most, total: most, totalBytes: 0 }];
  for (let level = 1; level <= depth; level++) {
    const below = levels[level - 1] as Level;
    const child = addressBytes + countBytes + below.totalBytes;
    const here = Math.floor((nodeBytes - NODE_HEAD_BYTES - child) / (recordBytes + child));
    const total = (here + 1) * below.total + here;
    levels.push({ most: here, total, totalBytes: widthOf(total) });
  }
  return levels;
}
