/**
 * Chunk indexes that are arrays, of newer files: none at all (chunks one after the other), fixed, extensible.
 *
 * Entries stand in row-major order over the grid of the largest shape; in an extensible array the unlimited axis comes
 * first. All but the first kind have checksums.
 */
import { mustAddUp } from './bytes.ts';
import type { IndexParts } from './chunks.ts';

/** Reads the index at `at` and adds what it names. */
export function arrayIndex(parts: IndexParts, at: number, chunkBytes: number): void {
  const { indexKind } = parts.layout;
  if (indexKind === 'implicit') {
    if (parts.filtered) throw parts.bytes.damaged('chunks without an index cannot have filters');
    eachEntry(parts, undefined, (entry) => ({ at: at + entry * chunkBytes, bytes: undefined, mask: 0 }));
  } else if (indexKind === 'fixed') fixedArray(parts, at);
  else extensibleArray(parts, at);
}

/** What an array says of one chunk. `bytes` is undefined where chunks have no filters: all are then of one length. */
interface Entry {
  readonly at: number;
  readonly bytes: number | undefined;
  readonly mask: number;
}

/** Asks for the entry of every chunk of the grid; `first` is the axis that counts slowest. */
function eachEntry(parts: IndexParts, first: number | undefined, entryOf: (entry: number) => Entry | undefined): void {
  const { grid, mostChunks, rank, bytes } = parts;
  const axes = Array.from({ length: rank }, (_, axis) => axis);
  const order = first === undefined ? axes : [first, ...axes.filter((axis) => axis !== first)];
  const steps = new Array<number>(rank).fill(1);
  let step = 1;
  for (const axis of order.toReversed()) {
    steps[axis] = step;
    const most = mostChunks[axis];
    // The slowest axis may be endless: nothing is multiplied by it.
    if (most === undefined && axis !== order[0]) throw bytes.damaged('the chunk index does not fit the shape');
    step *= most ?? 1;
  }
  const cells = grid.reduce((product, n) => product * n, 1);
  const scaled = new Array<number>(rank).fill(0);
  for (let cell = 0; cell < cells; cell++) {
    const entry = entryOf(scaled.reduce((sum, n, axis) => sum + n * (steps[axis] ?? 0), 0));
    if (entry !== undefined) parts.add({ scaled: [...scaled], ...entry });
    for (let axis = rank - 1; axis >= 0; axis--) {
      scaled[axis] = (scaled[axis] ?? 0) + 1;
      if ((scaled[axis] ?? 0) < (grid[axis] ?? 0)) break;
      scaled[axis] = 0;
    }
  }
}

/** Reads a block with its checksum and checks its head: signature, version 0, kind of client, its array's address. */
function block(parts: IndexParts, at: number, length: number, signature: string, owner: number | undefined) {
  const { bytes } = parts;
  const read = bytes.read(at, length, 'the chunk index');
  mustAddUp(read, 'the chunk index', (what) => bytes.damaged(what));
  const cursor = parts.cursor(read);
  cursor.signature(signature);
  const fits = cursor.u8() === 0 && cursor.u8() === (parts.filtered ? 1 : 0);
  if (!fits || (owner !== undefined && cursor.address() !== owner))
    throw bytes.damaged('the chunk index is unreadable');
  return cursor;
}

/**
 * Entry number `index` of a run: an address, and where there are filters the chunk's length (as wide as what is left)
 * and its mask. An address of all bits set is a chunk that was never written.
 */
function entriesAt(parts: IndexParts, entryBytes: number, stored: Uint8Array, index: number): Entry | undefined {
  const cursor = parts.cursor(stored.subarray(index * entryBytes, (index + 1) * entryBytes));
  const at = cursor.address();
  if (at === undefined) return undefined;
  if (!parts.filtered) return { at, bytes: undefined, mask: 0 };
  return { at, bytes: cursor.uint(entryBytes - parts.widths.address - 4), mask: cursor.u32() };
}

/**
 * The width of an entry is stated in the head of the array, not derived from the chunk's size: HDF5 2.0 changed the
 * derivation, and both forms are met.
 */
function mustBeEntry(parts: IndexParts, entryBytes: number): void {
  const extra = entryBytes - parts.widths.address;
  const fits = parts.filtered ? extra > 4 && extra <= 12 : extra === 0;
  if (!fits) throw parts.bytes.damaged('the chunk index has entries of an impossible size');
}

/** Bits count from the highest of each byte on. */
const bit = (bits: Uint8Array, index: number): boolean => (((bits[index >> 3] ?? 0) << (index & 7)) & 0x80) !== 0;

/** Entries of a page, checked by its checksum, kept until another page is wanted: entries are asked for in order. */
class Pages {
  readonly #parts: IndexParts;
  #at = -1;
  #entries: Uint8Array = new Uint8Array(0);

  constructor(parts: IndexParts) {
    this.#parts = parts;
  }

  read(at: number, length: number): Uint8Array {
    if (this.#at === at) return this.#entries;
    const { bytes } = this.#parts;
    const page = bytes.read(at, length + 4, 'the chunk index');
    mustAddUp(page, 'the chunk index', (what) => bytes.damaged(what));
    this.#at = at;
    this.#entries = page.subarray(0, -4);
    return this.#entries;
  }
}

/** 'FAHD' and its one data block 'FADB', in pages where it is long. */
function fixedArray(parts: IndexParts, at: number): void {
  const { widths, bytes } = parts;
  const head = block(parts, at, 8 + widths.length + widths.address + 4, 'FAHD', undefined);
  const entryBytes = head.u8();
  const pageBits = head.u8();
  const count = head.lengthNumber();
  const dataAt = head.address();
  mustBeEntry(parts, entryBytes);
  if (dataAt === undefined) return;
  const pageEntries = 2 ** pageBits;
  const prefix = 6 + widths.address;
  // Short: entries stand in the block itself, under its one checksum.
  if (count <= pageEntries) {
    const data = block(parts, dataAt, prefix + count * entryBytes + 4, 'FADB', at);
    const stored = data.take(count * entryBytes);
    eachEntry(parts, undefined, (entry) => {
      if (entry >= count) throw bytes.damaged('the chunk index is too short');
      return entriesAt(parts, entryBytes, stored, entry);
    });
    return;
  }
  // Long: the block has a bit for each page that was ever written, and the pages stand behind it, each with a checksum.
  // Pages that were not written have no checksum either, hence the bits.
  const pageCount = Math.ceil(count / pageEntries);
  const bitBytes = Math.ceil(pageCount / 8);
  const filled = block(parts, dataAt, prefix + bitBytes + 4, 'FADB', at).take(bitBytes);
  const pagesAt = dataAt + prefix + bitBytes + 4;
  const pages = new Pages(parts);
  eachEntry(parts, undefined, (entry) => {
    if (entry >= count) throw bytes.damaged('the chunk index is too short');
    const page = Math.floor(entry / pageEntries);
    if (!bit(filled, page)) return undefined;
    const here = Math.min(pageEntries, count - page * pageEntries);
    const stored = pages.read(pagesAt + page * (pageEntries * entryBytes + 4), here * entryBytes);
    return entriesAt(parts, entryBytes, stored, entry % pageEntries);
  });
}

/** What the header of an extensible array says, and what follows from it. */
interface Extensible {
  readonly at: number;
  readonly entryBytes: number;
  readonly inIndex: number;
  /** Data blocks that the index block points to directly, and how many super blocks these stand for. */
  readonly directBlocks: number;
  readonly directSupers: number;
  readonly pageEntries: number;
  readonly offsetBytes: number;
  readonly supers: readonly SuperFacts[];
}

/** Super block number k: 2^(k/2) data blocks of 2^((k+1)/2) times the smallest. */
interface SuperFacts {
  readonly blocks: number;
  readonly blockEntries: number;
  readonly firstEntry: number;
  readonly firstBlock: number;
}

/**
 * Grows without being moved: the first entries stand in the index block, the next in data blocks that it points to, all
 * others in data blocks below super blocks, which grow by powers of two.
 *
 * 'EAHD', index block 'EAIB', super blocks 'EASB', data blocks 'EADB' in pages where they are long.
 */
function extensibleArray(parts: IndexParts, at: number): void {
  const { widths, bytes, mostChunks } = parts;
  const head = block(parts, at, 12 + 6 * widths.length + widths.address + 4, 'EAHD', undefined);
  const [entryBytes, maxBits, inIndex, leastEntries] = [head.u8(), head.u8(), head.u8(), head.u8()];
  const [leastPointers, pageBits] = [head.u8(), head.u8()];
  head.skip(6 * widths.length);
  const indexAt = head.address();
  mustBeEntry(parts, entryBytes);
  const powers = Number.isInteger(Math.log2(leastEntries)) && Number.isInteger(Math.log2(leastPointers));
  if (!powers || leastPointers < 2 || maxBits > 53 || pageBits > 30) {
    throw bytes.damaged('the chunk index is unreadable');
  }
  if (indexAt === undefined) return;
  const supers: SuperFacts[] = [];
  for (let k = 0, entry = 0, first = 0; k <= maxBits - Math.log2(leastEntries); k++) {
    const blocks = 2 ** Math.floor(k / 2);
    const blockEntries = 2 ** Math.floor((k + 1) / 2) * leastEntries;
    supers.push({ blocks, blockEntries, firstEntry: entry, firstBlock: first });
    entry += blocks * blockEntries;
    first += blocks;
  }
  const array: Extensible = {
    at,
    entryBytes,
    inIndex,
    directBlocks: 2 * (leastPointers - 1),
    directSupers: 2 * Math.log2(leastPointers),
    pageEntries: 2 ** pageBits,
    offsetBytes: Math.ceil(maxBits / 8),
    supers,
  };
  const unlimited = mostChunks.indexOf(undefined);
  eachEntry(parts, unlimited < 0 ? 0 : unlimited, entryReader(parts, array, indexAt));
}

/** Finds entries one by one. They are asked for in order, so one open super block and one page are all that is kept. */
function entryReader(parts: IndexParts, array: Extensible, indexAt: number): (entry: number) => Entry | undefined {
  const { widths, bytes } = parts;
  const { entryBytes, inIndex, directBlocks, directSupers, supers } = array;
  const superCount = Math.max(0, supers.length - directSupers);
  const length = 6 + widths.address + inIndex * entryBytes + (directBlocks + superCount) * widths.address + 4;
  const index = block(parts, indexAt, length, 'EAIB', array.at);
  const inline = index.take(inIndex * entryBytes);
  const direct = Array.from({ length: directBlocks }, () => index.address());
  const superAt = Array.from({ length: superCount }, () => index.address());
  const pages = new Pages(parts);
  let open: { readonly at: number; readonly stored: SuperBlock } | undefined;
  const superBlock = (at: number, facts: SuperFacts): SuperBlock => {
    if (open?.at !== at) open = { at, stored: readSuper(parts, array, at, facts) };
    return open.stored;
  };
  return (entry) => {
    if (entry < inIndex) return entriesAt(parts, entryBytes, inline, entry);
    const rest = entry - inIndex;
    const which = supers.findLastIndex(({ firstEntry }) => firstEntry <= rest);
    const facts = supers[which] as SuperFacts;
    const nth = Math.floor((rest - facts.firstEntry) / facts.blockEntries);
    if (nth >= facts.blocks) throw bytes.damaged('the chunk index is too short');
    const inBlock = (rest - facts.firstEntry) % facts.blockEntries;
    if (which < directSupers) {
      const at = direct[facts.firstBlock + nth];
      return at === undefined ? undefined : dataEntry(parts, array, pages, { at, facts, inBlock, filled: undefined });
    }
    const at = superAt[which - directSupers];
    if (at === undefined) return undefined;
    const found = superBlock(at, facts);
    const dataAt = found.blocks[nth];
    if (dataAt === undefined) return undefined;
    const page = nth * found.pages + Math.floor(inBlock / array.pageEntries);
    return dataEntry(parts, array, pages, { at: dataAt, facts, inBlock, filled: bit(found.filled, page) });
  };
}

/** A super block, read: the places of its data blocks. */
interface SuperBlock {
  readonly blocks: readonly (number | undefined)[];
  /** Pages of one data block; 0 where these are not paged. */
  readonly pages: number;
  readonly filled: Uint8Array;
}

/** The bits of all data blocks stand together, in whole bytes for each, but are counted through without gaps. */
function readSuper(parts: IndexParts, array: Extensible, at: number, facts: SuperFacts): SuperBlock {
  const { widths } = parts;
  const paged = facts.blockEntries > array.pageEntries;
  const pages = paged ? facts.blockEntries / array.pageEntries : 0;
  const bitBytes = facts.blocks * Math.ceil(pages / 8);
  const length = 6 + widths.address + array.offsetBytes + bitBytes + facts.blocks * widths.address + 4;
  const cursor = block(parts, at, length, 'EASB', array.at);
  cursor.skip(array.offsetBytes);
  const filled = cursor.take(bitBytes);
  return { blocks: Array.from({ length: facts.blocks }, () => cursor.address()), pages, filled };
}

/** One entry out of a data block, or out of the page of it that the entry stands in. */
function dataEntry(
  parts: IndexParts,
  array: Extensible,
  pages: Pages,
  where: {
    readonly at: number;
    readonly facts: SuperFacts;
    readonly inBlock: number;
    readonly filled: boolean | undefined;
  },
): Entry | undefined {
  const { entryBytes, pageEntries, offsetBytes } = array;
  const { at, facts, inBlock, filled } = where;
  const prefix = 6 + parts.widths.address + offsetBytes;
  if (facts.blockEntries <= pageEntries) {
    // One checksum over head and entries.
    const whole = pages.read(at, prefix + facts.blockEntries * entryBytes);
    if (Buffer.from(whole.subarray(0, 4)).toString('latin1') !== 'EADB') throw parts.bytes.damaged('no EADB where due');
    return entriesAt(parts, entryBytes, whole.subarray(prefix), inBlock);
  }
  if (filled === false) return undefined;
  const page = Math.floor(inBlock / pageEntries);
  const stored = pages.read(at + prefix + 4 + page * (pageEntries * entryBytes + 4), pageEntries * entryBytes);
  return entriesAt(parts, entryBytes, stored, inBlock % pageEntries);
}
