/**
 * NumPy's .npy format, versions 1 to 3: the header is a Python dict literal that is never evaluated, only matched.
 * Objects (pickles), Fortran order and structured types are refused.
 */
import { FarfieldError } from '#kernel/errors.ts';
import type { StoredType } from '#protos/model.ts';
import { elementsOf, STORED } from './dtype.ts';

/** What the header says, checked against the length. */
export interface NpyFacts {
  readonly stored: StoredType;
  readonly shape: readonly number[];
  /** Where the values start. */
  readonly offset: number;
}

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');
const MAX_HEADER_BYTES = 64 * 1024;
const HEADER =
  /^\{\s*'descr':\s*'([<>|=]?)([a-zA-Z]\d+)',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([\d,\s]*)\),?\s*\}\s*$/;

/** Facts of an .npy file from its first bytes and whole length. */
export function parseNpy(head: Uint8Array, totalBytes: number, name: string): NpyFacts {
  const refuse = (what: string): never => {
    throw new FarfieldError('E_INPUT', `${name}: ${what}`);
  };
  const b = Buffer.from(head.buffer, head.byteOffset, head.byteLength);
  if (b.length < 12 || !b.subarray(0, 6).equals(MAGIC)) refuse('not an .npy array');
  const wide = (b[6] as number) >= 2;
  const headerBytes = wide ? b.readUInt32LE(8) : b.readUInt16LE(8);
  const start = wide ? 12 : 10;
  if (headerBytes > MAX_HEADER_BYTES || start + headerBytes > b.length) refuse('an .npy array with a broken header');
  const match = HEADER.exec(b.toString('latin1', start, start + headerBytes));
  if (match === null) return refuse('an .npy array of a kind that is not read (objects, fields)');
  const [, order = '', type = '', fortran, dims = ''] = match;
  if (fortran === 'True') refuse('an array in Fortran order; save it with numpy.ascontiguousarray');
  const shape = dims
    .split(',')
    .filter((d) => d.trim() !== '')
    .map(Number);
  if (!Object.hasOwn(STORED, type) || order === '>') {
    refuse(`an array of ${order}${type}; little-endian u1 i1 u2 i2 u4 i4 f4 f8 are read`);
  }
  const stored = type as StoredType;
  const offset = start + headerBytes;
  const expected = elementsOf(shape) * STORED[stored].bytes;
  if (totalBytes - offset !== expected)
    refuse(`cut off or too long: ${totalBytes - offset} bytes of values for ${expected}`);
  return { stored, shape, offset };
}

/** A version 1 header for little-endian, C-ordered values, padded to 64 bytes as NumPy does. */
export function npyHeader(stored: StoredType, shape: readonly number[]): Uint8Array {
  const order = STORED[stored].bytes === 1 ? '|' : '<';
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const dict = `{'descr': '${order}${stored}', 'fortran_order': False, 'shape': (${tuple}), }`;
  const length = Math.ceil((MAGIC.length + 4 + dict.length + 1) / 64) * 64 - MAGIC.length - 4;
  const head = Buffer.alloc(MAGIC.length + 4);
  MAGIC.copy(head);
  head.writeUInt8(1, 6);
  head.writeUInt16LE(length, 8);
  return Buffer.concat([head, Buffer.from(`${dict.padEnd(length - 1)}\n`, 'latin1')]);
}
