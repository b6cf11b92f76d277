/**
 * Virtual data sets: rows that are rows of other data sets, in this file or in others.
 *
 * The library fills in silence what it cannot open, so the list of sources is read here and each source is opened like
 * any other data set: every promise about a data set holds for each of its parts.
 *
 * Invariants
 *  V1 Sources must be of the same element type and row shape, and be mapped row by row; a mapping that cuts rows is refused.
 *  V2 A source that is missing or may not be opened is an error. Rows that no source is named for have the fill value.
 *  V3 The list carries a checksum, which holds; it is bounded in length.
 */
import { FarfieldError } from '#kernel/errors.ts';
import { type Cursor, mustAddUp, type StoredBytes, type Widths } from './bytes.ts';
import { fillWith, type StoredRows } from './stored-rows.ts';

const MAX_SOURCES = 1024;
/** Runs of consecutive rows: a stride of two over the largest job. */
const MAX_RUNS = 5_000_000;
const MAX_LIST_BYTES = 4 * 1024 * 1024;
const SHARED_FILE = 1;
const SHARED_DATASET = 2;
const SAME_FILE = 4;

/** A source's rows, opened. */
export interface VirtualSource {
  readonly rows: number;
  readonly stored: StoredRows;
}

export interface VirtualParts {
  readonly bytes: StoredBytes;
  readonly shape: readonly number[];
  readonly rowBytes: number;
  readonly fill: Uint8Array | undefined;
  /** Opens a source, or throws; `.` is this file. Checks V1's type and shape. */
  readonly open: (file: string, dataset: string) => VirtualSource;
}

/** Rows of a source, and the rows of the virtual data set that they are. */
interface Mapping {
  readonly file: string;
  readonly dataset: string;
  readonly from: RowRuns | 'all';
  readonly to: RowRuns | 'all';
}

/** Rows first, first + stride, ...: `count` times `block` consecutive ones. */
interface RowRuns {
  readonly start: number;
  readonly stride: number;
  readonly count: number;
  readonly block: number;
}

/** The list in the global heap at `heap`. */
export function readMappings(
  bytes: StoredBytes,
  widths: Widths,
  heap: number,
  entry: number,
  cursorOf: (bytes: Uint8Array) => Cursor,
  shape: readonly number[],
): Mapping[] {
  const list = heapObject(bytes, widths, heap, entry, cursorOf);
  mustAddUp(list, 'the list of sources', (what) => bytes.damaged(what));
  const cursor = cursorOf(list.subarray(0, -4));
  const version = cursor.u8();
  if (version > 1) throw bytes.damaged('the list of sources has an unknown version');
  const count = cursor.lengthNumber();
  if (count > MAX_SOURCES) {
    throw new FarfieldError(
      'E_TOO_LARGE',
      `${bytes.where}: is made of ${count} sources; at most ${MAX_SOURCES} are read`,
    );
  }
  const found: Mapping[] = [];
  for (let k = 0; k < count; k++) {
    // Since HDF5 2.0 a name that came before is given by the number of its entry, and this file's own has none.
    const flags = version === 0 ? 0 : cursor.u8();
    const before = (): Mapping => {
      const mapping = found[cursor.lengthNumber()];
      if (mapping === undefined || flags > 7) throw bytes.damaged('the list of sources is unreadable');
      return mapping;
    };
    const file = (flags & SAME_FILE) !== 0 ? '.' : (flags & SHARED_FILE) !== 0 ? before().file : cursor.text();
    const dataset = (flags & SHARED_DATASET) !== 0 ? before().dataset : cursor.text();
    found.push({ file, dataset, from: selection(cursor, bytes, undefined), to: selection(cursor, bytes, shape) });
  }
  return found;
}

/** An object of a global heap collection 'GCOL', by its number; objects stand one after the other, in eights of bytes. */
function heapObject(
  bytes: StoredBytes,
  widths: Widths,
  heap: number,
  entry: number,
  cursorOf: (bytes: Uint8Array) => Cursor,
): Uint8Array {
  const head = cursorOf(bytes.read(heap, 8 + widths.length, 'the list of sources'));
  head.signature('GCOL');
  head.skip(4);
  const size = head.lengthNumber();
  if (size > MAX_LIST_BYTES) throw bytes.damaged('the list of sources is too long');
  const cursor = cursorOf(bytes.read(heap, size, 'the list of sources'));
  cursor.skip(8 + widths.length);
  while (cursor.left >= 8 + widths.length) {
    const index = cursor.u16();
    cursor.skip(6);
    const length = cursor.lengthNumber();
    if (index === 0) break;
    const object = cursor.take(length);
    if (index === entry) return object;
    cursor.skip(Math.min(cursor.left, (8 - (length % 8)) % 8));
  }
  throw bytes.damaged('the list of sources is not there');
}

/** A selection as HDF5 writes it; only whole rows are taken, all columns of the rows that are named (V1). */
function selection(cursor: Cursor, bytes: StoredBytes, shape: readonly number[] | undefined): RowRuns | 'all' {
  const kind = cursor.u32();
  const version = cursor.u32();
  if (kind === 3) {
    cursor.skip(8);
    return 'all';
  }
  if (kind !== 2) throw refusal(bytes, 'by single points');
  const axes = version === 1 ? oldSlab(cursor, bytes) : slab(cursor, bytes, version);
  const [rows, ...columns] = axes;
  if (rows === undefined) throw bytes.damaged('a selection has no axes');
  const whole = columns.every(({ start, count, block, stride }, k) => {
    const extent = shape?.[k + 1];
    const joined = count === 1 || stride === block;
    return start === 0 && joined && (extent === undefined || count * block === extent);
  });
  if (!whole) throw refusal(bytes, 'by parts of rows');
  return rows;
}

/** What the format allows and nobody was seen to write: cheaper to copy once than to read wrong. */
function refusal(bytes: StoredBytes, how: string): FarfieldError {
  return new FarfieldError(
    'E_HDF5',
    `${bytes.where}: is a virtual data set that maps its sources ${how}, which is not read here; copy it into a plain data set`,
  );
}

/** Version 1: a list of blocks, each by its corners. One block is what everybody writes; more are joined where they are rows. */
function oldSlab(cursor: Cursor, bytes: StoredBytes): RowRuns[] {
  cursor.skip(8);
  const rank = cursor.u32();
  const blocks = cursor.u32();
  if (rank > 32) throw bytes.damaged('a selection has more than 32 axes');
  const first = corners(cursor, rank);
  if (blocks === 1) return first;
  const rest = Array.from({ length: Math.min(blocks - 1, MAX_RUNS) }, () => corners(cursor, rank));
  const stride = (rest[0]?.[0]?.start ?? 0) - (first[0]?.start ?? 0);
  const regular = rest.every((axes, k) =>
    axes.every((axis, n) => {
      const one = first[n];
      return (
        one !== undefined && axis.block === one.block && axis.start === one.start + (n === 0 ? (k + 1) * stride : 0)
      );
    }),
  );
  if (!regular || stride <= 0) throw refusal(bytes, 'by irregular pieces');
  return first.map((axis, n) => (n === 0 ? { ...axis, stride, count: blocks } : axis));
}

/** First and last element of a block on every axis. */
function corners(cursor: Cursor, rank: number): RowRuns[] {
  const start = Array.from({ length: rank }, () => cursor.u32());
  const end = Array.from({ length: rank }, () => cursor.u32());
  return start.map((n, axis) => {
    const block = (end[axis] ?? 0) - n + 1;
    return { start: n, stride: block, count: 1, block };
  });
}

/** Versions 2 and 3: start, stride, count and block of every axis. */
function slab(cursor: Cursor, bytes: StoredBytes, version: number): RowRuns[] {
  if (version !== 2 && version !== 3) throw bytes.damaged('a selection has an unknown version');
  const regular = (cursor.u8() & 1) !== 0;
  const width = version === 2 ? 8 : cursor.u8();
  if (version === 2) cursor.skip(4);
  const rank = cursor.u32();
  if (rank > 32 || ![2, 4, 8].includes(width)) throw bytes.damaged('a selection is unreadable');
  if (!regular) throw refusal(bytes, 'by irregular pieces');
  return Array.from({ length: rank }, () => {
    const start = cursor.uint(width);
    const stride = cursor.uint(width);
    const [count, block] = [cursor.orNone(width), cursor.orNone(width)];
    if (count === undefined || block === undefined) throw refusal(bytes, 'without an end');
    return { start, stride, count, block };
  });
}

/** Rows [to, to + rows) are rows [from, ...) of a source. */
interface Run {
  readonly to: number;
  readonly from: number;
  readonly rows: number;
  readonly source: VirtualSource;
}

/** Opens every source and orders the runs of rows. */
export function virtualRows(parts: VirtualParts, mappings: readonly Mapping[]): StoredRows {
  const { bytes, shape, rowBytes, fill } = parts;
  const rows = shape[0] ?? 0;
  const runs: Run[] = [];
  for (const mapping of mappings) {
    if (/%b/.test(mapping.file) || /%b/.test(mapping.dataset)) throw refusal(bytes, 'without an end');
    const source = parts.open(mapping.file, mapping.dataset);
    addRuns(runs, mapping, source, rows, bytes);
  }
  runs.sort((a, b) => a.to - b.to);
  for (let k = 1; k < runs.length; k++) {
    const [before, here] = [runs[k - 1] as Run, runs[k] as Run];
    if (before.to + before.rows > here.to) throw bytes.damaged(`two sources claim row ${here.to}`);
  }
  return {
    read(from, count, target) {
      let row = from;
      const part = (rows: number): Uint8Array =>
        target.subarray((row - from) * rowBytes, (row - from + rows) * rowBytes);
      let k = firstBehind(runs, from);
      while (row < from + count) {
        const run = runs[k];
        const gap = Math.min(run?.to ?? Number.POSITIVE_INFINITY, from + count) - row;
        if (gap > 0) {
          fillWith(bytes, part(gap), fill, `row ${row}`);
          row += gap;
          continue;
        }
        const here = run as Run;
        const n = Math.min(here.to + here.rows, from + count) - row;
        here.source.stored.read(here.from + row - here.to, n, part(n));
        row += n;
        k++;
      }
    },
  };
}

/** Index of the first run that ends behind `row`. */
function firstBehind(runs: readonly Run[], row: number): number {
  let [low, high] = [0, runs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const run = runs[middle] as Run;
    if (run.to + run.rows > row) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Walks both selections at once, run by run. */
function addRuns(runs: Run[], mapping: Mapping, source: VirtualSource, rows: number, bytes: StoredBytes): void {
  const all = (n: number): RowRuns => ({ start: 0, stride: n, count: 1, block: n });
  const from = joined(mapping.from === 'all' ? all(source.rows) : mapping.from);
  const to = joined(mapping.to === 'all' ? all(rows) : mapping.to);
  const wanted = to.count * to.block;
  const fits = wanted === from.count * from.block && last(to) <= rows && last(from) <= source.rows;
  if (!fits) throw bytes.damaged(`a source has ${source.rows} rows, other than the list of sources says`);
  for (let row = 0; row < wanted; ) {
    const n = Math.min(to.block - (row % to.block), from.block - (row % from.block));
    runs.push({ to: place(to, row), from: place(from, row), rows: n, source });
    row += n;
    if (runs.length > MAX_RUNS) throw refusal(bytes, 'in too many pieces');
  }
}

/** Number of the row that stands at position `row` of a selection. */
const place = ({ start, stride, block }: RowRuns, row: number): number =>
  start + Math.floor(row / block) * stride + (row % block);

/** One behind the last row of a selection. */
const last = (runs: RowRuns): number =>
  runs.count === 0 || runs.block === 0 ? 0 : place(runs, runs.count * runs.block - 1) + 1;

/** Blocks that touch are one. */
function joined({ start, stride, count, block }: RowRuns): RowRuns {
  if (count > 1 && stride !== block) return { start, stride, count, block };
  return { start, stride: count * block, count: 1, block: count * block };
}
