/**
 * What a data set's object header says: shape, element type, filters, fill value, and where the bytes lie.
 *
 * h5wasm finds the header (groups, links) and this reads it, because the library keeps to itself what has to be checked
 * before a byte is decoded: chunk addresses, chunk sizes, filter masks.
 *
 * Invariants
 *  O1 What is not understood is refused by name, never guessed: an unknown version, a message that must be understood.
 *  O2 Newer headers carry checksums, which hold or the file is damaged.
 */
import { Cursor, mustAddUp, type StoredBytes, type Widths } from './bytes.ts';
import { type ElementType, parseElementType } from './elements.ts';
import { type Layout, parseExternal, parseLayout } from './layout.ts';

export interface StoredFilter {
  readonly id: number;
  readonly name: string;
  /** The writer left it out where it did not pay; the chunk's mask then says so. */
  readonly optional: boolean;
  readonly values: readonly number[];
}

/** All that the header says of a data set. */
export interface StoredObject {
  /** null: holds no array. */
  readonly shape: readonly number[] | null;
  /** Largest shape; undefined: unlimited. */
  readonly maxShape: readonly (number | undefined)[];
  readonly element: ElementType;
  readonly filters: readonly StoredFilter[];
  readonly layout: Layout;
  /** One element as stored; undefined where the writer declared that there is none. */
  readonly fill: Uint8Array | undefined;
}

const DATASPACE = 1;
const DATATYPE = 3;
const OLD_FILL = 4;
const FILL = 5;
const EXTERNAL_FILES = 7;
const LAYOUT = 8;
const FILTERS = 11;
const CONTINUATION = 16;
const SHARED = 2;
const MAX_HEADER_BYTES = 1024 * 1024;
const MAX_HEADER_PARTS = 256;
const MAX_FILTERS = 32;

/** One statement of a header about its object. */
interface Message {
  readonly flags: number;
  readonly body: Uint8Array;
}

/** Parses the header at `address`. */
export function readObject(bytes: StoredBytes, widths: Widths, address: number): StoredObject {
  const messages = readMessages(bytes, widths, address);
  const damaged = (what: string) => bytes.damaged(what);
  const cursor = (type: number): Cursor | undefined => {
    const message = messages.get(type);
    if (message === undefined) return undefined;
    const body = (message.flags & SHARED) === 0 ? message.body : sharedBody(bytes, widths, type, message);
    return new Cursor(body, widths, damaged);
  };
  const must = (type: number, what: string): Cursor => {
    const found = cursor(type);
    if (found === undefined) throw bytes.damaged(`the data set has no ${what}`);
    return found;
  };
  const { shape, maxShape } = parseDataspace(must(DATASPACE, 'shape'), bytes);
  const element = parseElementType(must(DATATYPE, 'element type'), bytes);
  const filters = cursor(FILTERS);
  const layout = parseLayout(must(LAYOUT, 'layout'), shape?.length ?? 0, element.bytes, bytes);
  const external = cursor(EXTERNAL_FILES);
  return {
    shape,
    maxShape,
    element,
    filters: filters === undefined ? [] : parseFilters(filters, bytes),
    layout:
      external !== undefined && layout.kind === 'contiguous' ? parseExternal(external, bytes, widths, layout) : layout,
    fill: parseFill(cursor(FILL), cursor(OLD_FILL), element.bytes, bytes),
  };
}

/** The first message of each type. */
function readMessages(bytes: StoredBytes, widths: Widths, address: number): Map<number, Message> {
  const start = bytes.read(address, 4, 'an object header');
  return Buffer.from(start).toString('latin1') === 'OHDR'
    ? newMessages(bytes, widths, address)
    : oldMessages(bytes, widths, address);
}

/** Version 1: messages in eights of bytes, no checksum. */
function oldMessages(bytes: StoredBytes, widths: Widths, address: number): Map<number, Message> {
  const damaged = (what: string) => bytes.damaged(what);
  const head = new Cursor(bytes.read(address, 16, 'an object header'), widths, damaged);
  if (head.u8() !== 1) throw bytes.damaged('an object header has an unknown version');
  head.skip(7);
  const found = new Map<number, Message>();
  walk(bytes, address + 16, head.u32(), (at, length, parts) => {
    const block = new Cursor(bytes.read(at, length, 'an object header'), widths, damaged);
    while (block.left >= 8) {
      const type = block.u16();
      const size = block.u16();
      const flags = block.u8();
      block.skip(3);
      take(found, type, { flags, body: block.take(size) }, parts, widths, bytes, 0);
    }
  });
  return found;
}

/** Version 2: packed, each part behind its checksum (O2). */
function newMessages(bytes: StoredBytes, widths: Widths, address: number): Map<number, Message> {
  const damaged = (what: string) => bytes.damaged(what);
  const reach = Math.min(64, bytes.length - address);
  const head = new Cursor(bytes.read(address, reach, 'an object header'), widths, damaged);
  head.signature('OHDR');
  if (head.u8() !== 2) throw bytes.damaged('an object header has an unknown version');
  const flags = head.u8();
  head.skip((flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0));
  const size = head.uint(1 << (flags & 3));
  const ordered = (flags & 4) !== 0;
  const found = new Map<number, Message>();
  const prefix = head.at;
  walk(bytes, address, prefix + size + 4, (at, length, parts) => {
    const part = bytes.read(at, length, 'an object header');
    mustAddUp(part, 'an object header', damaged);
    const block = new Cursor(part.subarray(0, -4), widths, damaged);
    if (at === address) block.skip(prefix);
    else block.signature('OCHK');
    while (block.left >= (ordered ? 6 : 4)) {
      const type = block.u8();
      const length = block.u16();
      const messageFlags = block.u8();
      if (ordered) block.skip(2);
      take(found, type, { flags: messageFlags, body: block.take(length) }, parts, widths, bytes, 8);
    }
  });
  return found;
}

/** Visits a header's parts; each may name more. */
function walk(
  bytes: StoredBytes,
  at: number,
  length: number,
  visit: (at: number, length: number, parts: [number, number][]) => void,
): void {
  const parts: [number, number][] = [[at, length]];
  let total = 0;
  for (let k = 0; k < parts.length; k++) {
    const [from, size] = parts[k] as [number, number];
    total += size;
    if (k >= MAX_HEADER_PARTS || total > MAX_HEADER_BYTES) throw bytes.damaged('an object header does not end');
    visit(from, size, parts);
  }
}

/** Keeps a message, or follows it to the next part of the header. */
function take(
  found: Map<number, Message>,
  type: number,
  message: Message,
  parts: [number, number][],
  widths: Widths,
  bytes: StoredBytes,
  least: number,
): void {
  if (type === CONTINUATION) {
    const where = new Cursor(message.body, widths, (what) => bytes.damaged(what));
    const at = where.address();
    const length = where.lengthNumber();
    if (at === undefined || length < least) throw bytes.damaged('an object header leads nowhere');
    parts.push([at, length]);
    return;
  }
  // O1: bit 7 is "fail if unknown, whatever is wanted".
  if (type > 24 && (message.flags & 0x80) !== 0)
    throw bytes.damaged(`an object header holds a message of type ${type}`);
  if (!found.has(type)) found.set(type, message);
}

/** A type that was committed under a name lies in an object header of its own. */
function sharedBody(bytes: StoredBytes, widths: Widths, type: number, message: Message): Uint8Array {
  const cursor = new Cursor(message.body, widths, (what) => bytes.damaged(what));
  const version = cursor.u8();
  const kind = cursor.u8();
  if (version === 1) cursor.skip(6);
  if (version < 1 || version > 3 || (version === 3 && kind !== 2)) {
    throw bytes.damaged('the data set shares a header message in a way that is not read here');
  }
  const at = cursor.address();
  if (at === undefined) throw bytes.damaged('a shared type leads nowhere');
  const found = readMessages(bytes, widths, at).get(type);
  if (found === undefined || (found.flags & SHARED) !== 0) throw bytes.damaged('a shared type leads nowhere');
  return found.body;
}

/** Version 1 has a reserved word where version 2 says whether the space is scalar, simple or null. Scalars have no axes. */
function parseDataspace(
  cursor: Cursor,
  bytes: StoredBytes,
): { shape: number[] | null; maxShape: (number | undefined)[] } {
  const version = cursor.u8();
  const rank = cursor.u8();
  const flags = cursor.u8();
  if (version !== 1 && version !== 2) throw bytes.damaged('the shape has an unknown version');
  const kind = cursor.u8();
  if (version === 1) cursor.skip(4);
  if (rank > 32) throw bytes.damaged('the shape has more than 32 axes');
  if (version === 2 && kind === 2) return { shape: null, maxShape: [] };
  const shape = Array.from({ length: rank }, () => cursor.lengthNumber());
  const sized = shape.reduce((product, n) => product * n, 1);
  if (sized > Number.MAX_SAFE_INTEGER) throw bytes.damaged('the shape is impossibly large');
  const maxShape = (flags & 1) === 0 ? shape : shape.map(() => cursor.orNone(8));
  return { shape, maxShape };
}

/**
 * In the order in which the writer applied them. Version 2 leaves the name out for the library's own filters, whose
 * numbers are below 256, and does not pad.
 */
function parseFilters(cursor: Cursor, bytes: StoredBytes): StoredFilter[] {
  const version = cursor.u8();
  const count = cursor.u8();
  if ((version !== 1 && version !== 2) || count > MAX_FILTERS) throw bytes.damaged('the list of filters is unreadable');
  if (version === 1) cursor.skip(6);
  return Array.from({ length: count }, () => {
    const id = cursor.u16();
    const nameBytes = version === 1 || id >= 256 ? cursor.u16() : 0;
    const flags = cursor.u16();
    const valueCount = cursor.u16();
    const padded = version === 1 ? Math.ceil(nameBytes / 8) * 8 : nameBytes;
    const name = Buffer.from(cursor.take(padded)).toString('latin1').replace(/\0.*$/s, '');
    const values = Array.from({ length: valueCount }, () => cursor.u32());
    if (version === 1 && valueCount % 2 === 1) cursor.skip(4);
    return { id, name, optional: (flags & 1) !== 0, values };
  });
}

/** Zeros where nothing is said, as HDF5 has it; undefined where the writer said that nothing is defined. */
function parseFill(
  cursor: Cursor | undefined,
  old: Cursor | undefined,
  elementBytes: number,
  bytes: StoredBytes,
): Uint8Array | undefined {
  const zeros = new Uint8Array(elementBytes);
  const sized = (from: Cursor, size: number): Uint8Array => {
    if (size === 0) return zeros;
    if (size !== elementBytes) throw bytes.damaged('the fill value is no element');
    return from.take(size);
  };
  if (cursor === undefined) return old === undefined ? zeros : sized(old, old.u32());
  const version = cursor.u8();
  if (version === 3) {
    const flags = cursor.u8();
    if ((flags & 0x10) !== 0) return undefined;
    return (flags & 0x20) === 0 ? zeros : sized(cursor, cursor.u32());
  }
  if (version !== 1 && version !== 2) throw bytes.damaged('the fill value has an unknown version');
  cursor.skip(2);
  const defined = cursor.u8() !== 0;
  if (!defined) return version === 1 ? zeros : undefined;
  return sized(cursor, cursor.u32());
}
