/**
 * Tensors of the Open Inference Protocol: bytes or JSON in, rows of a stored type out; and results back.
 *
 * Invariants
 *  T1 A value is stored exactly or refused: an integer that its datatype cannot hold is an error that names the value's place,
 *     never a wrapped count.
 *  T2 Work and memory are in proportion to the bytes that came: a shape that promises more is refused before anything is made.
 */
import { FarfieldError } from '#kernel/errors.ts';
import type { StoredType } from '#protos/model.ts';
import { type NumberArray, STORED } from '../dtype.ts';

/** Where an integer datatype ends, both sides included. */
type IntegerRange = readonly [number, number];

interface DatatypeFacts {
  readonly stored: StoredType;
  /** Bytes of one value on the wire. */
  readonly bytes: number;
  readonly range?: IntegerRange;
}

/**
 * What inputs may be sent as. 64-bit integers, BOOL and BYTES are left out, as they are in files: an FP32 cannot hold the first,
 * and the others are no counts.
 */
const DATATYPES: Readonly<Record<string, DatatypeFacts>> = {
  UINT8: { stored: 'u1', bytes: 1, range: [0, 2 ** 8 - 1] },
  INT8: { stored: 'i1', bytes: 1, range: [-(2 ** 7), 2 ** 7 - 1] },
  UINT16: { stored: 'u2', bytes: 2, range: [0, 2 ** 16 - 1] },
  INT16: { stored: 'i2', bytes: 2, range: [-(2 ** 15), 2 ** 15 - 1] },
  UINT32: { stored: 'u4', bytes: 4, range: [0, 2 ** 32 - 1] },
  INT32: { stored: 'i4', bytes: 4, range: [-(2 ** 31), 2 ** 31 - 1] },
  FP16: { stored: 'f4', bytes: 2 },
  FP32: { stored: 'f4', bytes: 4 },
  FP64: { stored: 'f8', bytes: 8 },
};

/** Names of the datatypes whose values a model takes; `stored` as in model.json, all where absent. */
export function acceptedDatatypes(stored: readonly StoredType[] | undefined): string[] {
  return Object.keys(DATATYPES).filter((name) => stored?.includes((DATATYPES[name] as DatatypeFacts).stored) ?? true);
}

/** Facts of a datatype by its name in a request; undefined where it is not taken. */
export function datatypeFacts(name: string): DatatypeFacts | undefined {
  return Object.hasOwn(DATATYPES, name) ? DATATYPES[name] : undefined;
}

/** Rows of a request as the lanes read them. */
export interface StoredValues {
  readonly stored: StoredType;
  readonly bytes: Uint8Array;
}

/** Values that came as little-endian bytes; the caller has checked their number. */
export function fromBinary(datatype: string, bytes: Uint8Array): StoredValues {
  const { stored } = DATATYPES[datatype] as DatatypeFacts;
  return { stored, bytes: datatype === 'FP16' ? fromHalves(bytes) : bytes };
}

/**
 * Values that came as JSON, flat or nested as `shape` says. Recursion follows the shape (at most eight axes), not the data: a
 * text of a million brackets costs no stack.
 */
export function fromJson(datatype: string, data: unknown, shape: readonly number[], what: string): StoredValues {
  const { stored, range } = DATATYPES[datatype] as DatatypeFacts;
  const refuse = (problem: string): never => {
    throw new FarfieldError('E_INPUT', `${what}: ${problem}`);
  };
  const total = shape.reduce((product, n) => product * n, 1);
  const list = Array.isArray(data) ? data : refuse('data must be a list of numbers, flat or nested as shape says');
  const flat = !Array.isArray(list[0]);
  // T2: nested data cannot be longer than its text, but its shape can; the innermost lists are counted before storing.
  if (flat && list.length !== total) refuse(`data has ${list.length} values, the shape needs ${total}`);
  if (!flat && countNested(list, shape, 0) === false) refuse(`data is nested otherwise than [${shape.join(', ')}]`);
  const { view, bytes: width } = STORED[stored];
  const bytes = new Uint8Array(total * width);
  const values = view(bytes.buffer, 0, total);
  if (flat) storeList(list, values, 0, range, refuse);
  else storeNested(list, shape, 0, { values, at: 0, range, refuse });
  return { stored, bytes };
}

/** Whether lists are nested and long as the shape says. */
function countNested(list: readonly unknown[], shape: readonly number[], axis: number): boolean {
  if (list.length !== shape[axis]) return false;
  if (axis === shape.length - 1) return true;
  return list.every((inner) => Array.isArray(inner) && countNested(inner, shape, axis + 1));
}

interface Storing {
  readonly values: NumberArray;
  at: number;
  readonly range: IntegerRange | undefined;
  readonly refuse: (problem: string) => never;
}

function storeNested(list: readonly unknown[], shape: readonly number[], axis: number, to: Storing): void {
  if (axis === shape.length - 1) {
    storeList(list, to.values, to.at, to.range, to.refuse);
    to.at += list.length;
    return;
  }
  for (const inner of list) storeNested(inner as readonly unknown[], shape, axis + 1, to);
}

/** T1. JSON has no NaN: rows that hold one are sent in binary, and come back flagged. */
function storeList(
  list: readonly unknown[],
  values: NumberArray,
  at: number,
  range: IntegerRange | undefined,
  refuse: (problem: string) => never,
): void {
  for (let i = 0; i < list.length; i++) {
    const v = list[i];
    if (typeof v !== 'number') refuse(`value ${at + i} is ${describe(v)}, not a number`);
    if (range !== undefined && !(Number.isInteger(v) && v >= range[0] && v <= range[1]))
      refuse(`value ${at + i} is ${v}; whole numbers from ${range[0]} to ${range[1]} fit`);
    values[at + i] = v;
  }
}

/** What a JSON value is, in a word. */
function describe(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'a list' : `a ${typeof value}`;
}

/** IEEE halves to FP32, exactly. By hand: Float16Array is not in every runtime that a container may bring. */
function fromHalves(bytes: Uint8Array): Uint8Array {
  const source = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float32Array(bytes.byteLength / 2);
  for (let i = 0; i < values.length; i++) {
    const half = source.getUint16(2 * i, true);
    const sign = (half & 0x8000) === 0 ? 1 : -1;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 31) values[i] = fraction === 0 ? sign * Infinity : Number.NaN;
    else values[i] = sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
  }
  return new Uint8Array(values.buffer);
}
