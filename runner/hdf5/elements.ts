/**
 * Element types as HDF5 files store them, and how they become what the runner computes with.
 *
 * Invariants
 *  E1 Only plain numbers are read: whole bytes, two's complement, IEEE. Anything else is named in the refusal.
 *  E2 No value changes: halves become FP32, 64-bit integers FP64, which hold them exactly; one beyond 2^53 is an error.
 */
import type { StoredType } from '#protos/model.ts';
import type { Cursor, StoredBytes } from './bytes.ts';

/** An element type of a file. */
export interface ElementType {
  /** Bytes of one element in the file. */
  readonly bytes: number;
  /** What messages call it. */
  readonly name: string;
  /** What it is read as; undefined where it is not read. */
  readonly stored: StoredType | undefined;
  readonly bigEndian: boolean;
  /** What reading changes: nothing but byte order, or the type. */
  readonly convert: 'none' | 'half' | 'i8' | 'u8';
}

const CLASSES = [
  'integers',
  'floats',
  'times',
  'text of fixed length',
  'bit fields',
  'opaque elements',
  'compounds',
  'references',
  'enumerations',
  'elements of variable length',
  'arrays as elements',
  'complex numbers',
];
const BIG_ENDIAN = 1;
const SIGNED = 8;
const READ: ReadonlySet<string> = new Set(['u1', 'u2', 'u4', 'i1', 'i2', 'i4', 'f4', 'f8']);
/** Exponent place and size, mantissa size, exponent bias of IEEE 754, by bytes. */
const IEEE: Readonly<Record<number, string>> = { 2: '10 5 10 15', 4: '23 8 23 127', 8: '52 11 52 1023' };

/** Reads a datatype message. */
export function parseElementType(cursor: Cursor, bytes: StoredBytes): ElementType {
  const head = cursor.u8();
  const kind = head & 15;
  const flags = [cursor.u8(), cursor.u8(), cursor.u8()] as const;
  const size = cursor.u32();
  if (size === 0) throw bytes.damaged('elements have no size');
  const refused = (name: string): ElementType => ({
    bytes: size,
    name,
    stored: undefined,
    bigEndian: false,
    convert: 'none',
  });
  const bigEndian = (flags[0] & BIG_ENDIAN) !== 0;
  if (kind === 0)
    return (
      integer(cursor, size, bigEndian, (flags[0] & SIGNED) !== 0) ??
      refused(`${size}-byte integers of which not all bits count, or of a size that is not read`)
    );
  if (kind === 1) {
    // VAX order sets a second bit; the sign stands in the highest bit; an implied leading one is 2 in bits 4 and 5.
    const usual = (flags[0] & 0x40) === 0 && (flags[0] & 0x30) === 0x20 && flags[1] === size * 8 - 1;
    return (usual ? float(cursor, size, bigEndian) : undefined) ?? refused(`${size}-byte floats that are not IEEE`);
  }
  if (kind === 8) return refused(isBoolean(cursor, flags) ? 'booleans (an enumeration)' : 'enumerations');
  if (kind === 6) return refused(compound(cursor, head >> 4, flags) ?? 'compounds');
  if (kind === 9) return refused((flags[0] & 15) === 1 ? 'text of variable length' : 'elements of variable length');
  return refused(CLASSES[kind] ?? `elements of class ${kind}`);
}

/** Bits that do not count, or a size that no typed array has, leave it undefined. */
function integer(cursor: Cursor, size: number, bigEndian: boolean, signed: boolean): ElementType | undefined {
  const offset = cursor.u16();
  const precision = cursor.u16();
  if (offset !== 0 || precision !== size * 8) return undefined;
  const name = `${signed ? 'i' : 'u'}${size}`;
  if (size === 8) return { bytes: 8, name, stored: 'f8', bigEndian, convert: signed ? 'i8' : 'u8' };
  return READ.has(name) ? { bytes: size, name, stored: name as StoredType, bigEndian, convert: 'none' } : undefined;
}

/** A float is what its fields say, not its size: bfloat16 has two bytes as well. */
function float(cursor: Cursor, size: number, bigEndian: boolean): ElementType | undefined {
  const [offset, precision] = [cursor.u16(), cursor.u16()];
  const [exponentAt, exponentBits, mantissaAt, mantissaBits] = [cursor.u8(), cursor.u8(), cursor.u8(), cursor.u8()];
  const shape = `${exponentAt} ${exponentBits} ${mantissaBits} ${cursor.u32()}`;
  if (offset !== 0 || precision !== size * 8 || mantissaAt !== 0 || IEEE[size] !== shape) return undefined;
  if (size === 2) return { bytes: 2, name: 'f2', stored: 'f4', bigEndian, convert: 'half' };
  return { bytes: size, name: `f${size}`, stored: size === 4 ? 'f4' : 'f8', bigEndian, convert: 'none' };
}

/** As h5py writes them: an enumeration of FALSE and TRUE over one byte. */
function isBoolean(cursor: Cursor, flags: readonly [number, number, number]): boolean {
  const members = flags[0] + flags[1] * 256;
  const text = Buffer.from(cursor.bytes).toString('latin1');
  return members === 2 && text.includes('FALSE\0') && text.includes('TRUE\0');
}

/** The name of the first field is enough to find the data set's maker; undefined where it cannot be read. */
function compound(cursor: Cursor, version: number, flags: readonly [number, number, number]): string | undefined {
  const members = flags[0] + flags[1] * 256;
  if (version < 1 || version > 3 || cursor.bytes.indexOf(0, cursor.at) < 0) return undefined;
  const first = cursor
    .text()
    .replace(/[^\x20-\x7e]/g, '?')
    .slice(0, 40);
  return `compounds of ${members} fields, the first "${first}"`;
}

/** Reverses the bytes of every element in place. */
export function swapBytes(bytes: Uint8Array, size: number): void {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (size === 2) view.swap16();
  else if (size === 4) view.swap32();
  else if (size === 8) view.swap64();
}

/** Little-endian stored elements to `target`; answers the index of the first value that has no exact place (E2), or -1. */
export function convertElements(type: ElementType, stored: Uint8Array, target: Uint8Array): number {
  const from = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  const to = new DataView(target.buffer, target.byteOffset, target.byteLength);
  const count = stored.byteLength / type.bytes;
  if (type.convert === 'half') {
    for (let k = 0; k < count; k++) to.setFloat32(4 * k, half(from.getUint16(2 * k, true)), true);
    return -1;
  }
  for (let k = 0; k < count; k++) {
    const low = from.getUint32(8 * k, true);
    const high = type.convert === 'i8' ? from.getInt32(8 * k + 4, true) : from.getUint32(8 * k + 4, true);
    const value = high * 2 ** 32 + low;
    // 2^53 itself is exact, and so is nothing that rounds to it but itself.
    const exact = Math.abs(value) < 2 ** 53 || (Math.abs(value) === 2 ** 53 && low === 0);
    if (!exact) return k;
    to.setFloat64(8 * k, value, true);
  }
  return -1;
}

/** IEEE binary16; every value of it is an FP32. */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}
