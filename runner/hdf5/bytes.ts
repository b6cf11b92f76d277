/**
 * Bytes of an open file, read by position, and numbers in them.
 *
 * Invariants
 *  Y1 Nothing is read before or behind the file: a place or length that leads out of it is an error of the file, found before
 *     memory is asked for.
 *  Y2 Numbers above 2^53 are refused where they stand: no address or length is ever rounded.
 */
import { readSync } from 'node:fs';
import { FarfieldError } from '#kernel/errors.ts';

/** One file, and how messages call the place that is looked at in it. Addresses count from the superblock. */
export class StoredBytes {
  readonly fd: number;
  /** Where address 0 lies: behind a user block. */
  readonly base: number;
  /** Bytes from address 0 to the end of the file. */
  readonly length: number;
  readonly where: string;

  constructor(fd: number, base: number, length: number, where: string) {
    this.fd = fd;
    this.base = base;
    this.length = length;
    this.where = where;
  }

  /** The same bytes under another name. */
  named(where: string): StoredBytes {
    return new StoredBytes(this.fd, this.base, this.length, where);
  }

  damaged(what: string): FarfieldError {
    return new FarfieldError('E_HDF5', `${this.where}: ${what}; the file is damaged or was cut off`);
  }

  /** Throws unless [at, at + length) lies in the file (Y1). */
  mustHold(at: number, length: number, what: string): void {
    const fits = at >= 0 && length >= 0 && at + length <= this.length;
    if (!fits) throw this.damaged(`${what} would lie at bytes ${at}:${at + length} of ${this.length}`);
  }

  /** Reads straight into `target`; a file that became shorter meanwhile is an error. */
  readInto(target: Uint8Array, at: number, what: string): void {
    this.mustHold(at, target.byteLength, what);
    for (let done = 0; done < target.byteLength; ) {
      const n = readSync(this.fd, target, done, target.byteLength - done, this.base + at + done);
      if (n === 0) throw this.damaged(`${what} ends early`);
      done += n;
    }
  }

  read(at: number, length: number, what: string): Uint8Array {
    this.mustHold(at, length, what);
    const target = new Uint8Array(length);
    this.readInto(target, at, what);
    return target;
  }
}

/** Sizes of addresses and lengths in this file, from its superblock. */
export interface Widths {
  readonly address: number;
  readonly length: number;
}

/** Little-endian numbers, one after the other. */
export class Cursor {
  readonly bytes: Uint8Array;
  readonly #widths: Widths;
  readonly #damaged: (what: string) => FarfieldError;
  at: number;

  constructor(bytes: Uint8Array, widths: Widths, damaged: (what: string) => FarfieldError, at = 0) {
    this.bytes = bytes;
    this.#widths = widths;
    this.#damaged = damaged;
    this.at = at;
  }

  get left(): number {
    return this.bytes.length - this.at;
  }

  /** An unsigned number of `size` bytes. */
  uint(size: number): number {
    if (size > this.left || size < 0) throw this.#damaged('a structure ends early');
    let value = 0;
    for (let k = size - 1; k >= 0; k--) value = value * 256 + (this.bytes[this.at + k] ?? 0);
    if (value > Number.MAX_SAFE_INTEGER) throw this.#damaged('a number is impossibly large');
    this.at += size;
    return value;
  }

  u8(): number {
    return this.uint(1);
  }

  u16(): number {
    return this.uint(2);
  }

  u32(): number {
    return this.uint(4);
  }

  lengthNumber(): number {
    return this.uint(this.#widths.length);
  }

  /** A number of `size` bytes, or undefined where all bits are set: HDF5's word for "none" and "unlimited". */
  orNone(size: number): number | undefined {
    if (size > this.left) throw this.#damaged('a structure ends early');
    const none = this.bytes.subarray(this.at, this.at + size).every((byte) => byte === 0xff);
    if (!none) return this.uint(size);
    this.at += size;
    return undefined;
  }

  address(): number | undefined {
    return this.orNone(this.#widths.address);
  }

  take(length: number): Uint8Array {
    if (length > this.left || length < 0) throw this.#damaged('a structure ends early');
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  skip(length: number): void {
    this.take(length);
  }

  /** Text up to a zero byte. */
  text(): string {
    const end = this.bytes.indexOf(0, this.at);
    if (end < 0) throw this.#damaged('a name does not end');
    return Buffer.from(this.take(end + 1 - this.at).subarray(0, -1)).toString('utf8');
  }

  signature(wanted: string): void {
    if (Buffer.from(this.take(4)).toString('latin1') !== wanted) throw this.#damaged(`no ${wanted} where one is due`);
  }
}

/** Bob Jenkins' lookup3, which HDF5 keeps behind its newer structures. */
export function lookup3(bytes: Uint8Array): number {
  let left = bytes.length;
  let at = 0;
  let a = (0xdeadbeef + left) | 0;
  let b = a;
  let c = a;
  const word = (k: number): number =>
    (bytes[k] ?? 0) | ((bytes[k + 1] ?? 0) << 8) | ((bytes[k + 2] ?? 0) << 16) | ((bytes[k + 3] ?? 0) << 24);
  const rot = (x: number, k: number): number => (x << k) | (x >>> (32 - k));
  for (; left > 12; left -= 12, at += 12) {
    a = (a + word(at)) | 0;
    b = (b + word(at + 4)) | 0;
    c = (c + word(at + 8)) | 0;
    a = ((a - c) | 0) ^ rot(c, 4);
    c = (c + b) | 0;
    b = ((b - a) | 0) ^ rot(a, 6);
    a = (a + c) | 0;
    c = ((c - b) | 0) ^ rot(b, 8);
    b = (b + a) | 0;
    a = ((a - c) | 0) ^ rot(c, 16);
    c = (c + b) | 0;
    b = ((b - a) | 0) ^ rot(a, 19);
    a = (a + c) | 0;
    c = ((c - b) | 0) ^ rot(b, 4);
    b = (b + a) | 0;
  }
  if (left === 0) return c >>> 0;
  const tail = new Uint8Array(12);
  tail.set(bytes.subarray(at));
  const end = new DataView(tail.buffer);
  a = (a + end.getInt32(0, true)) | 0;
  b = (b + end.getInt32(4, true)) | 0;
  c = (c + end.getInt32(8, true)) | 0;
  c = ((c ^ b) - rot(b, 14)) | 0;
  a = ((a ^ c) - rot(c, 11)) | 0;
  b = ((b ^ a) - rot(a, 25)) | 0;
  c = ((c ^ b) - rot(b, 16)) | 0;
  a = ((a ^ c) - rot(c, 4)) | 0;
  b = ((b ^ a) - rot(a, 14)) | 0;
  c = ((c ^ b) - rot(b, 24)) | 0;
  return c >>> 0;
}

/** Throws unless the last four bytes are the checksum of those before. */
export function mustAddUp(bytes: Uint8Array, what: string, damaged: (what: string) => FarfieldError): void {
  const end = bytes.length - 4;
  const stored = end < 0 ? Number.NaN : new DataView(bytes.buffer, bytes.byteOffset + end, 4).getUint32(0, true);
  if (stored !== lookup3(bytes.subarray(0, Math.max(0, end)))) throw damaged(`${what} does not match its checksum`);
}
