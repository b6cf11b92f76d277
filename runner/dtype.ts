/** Element types of stored rows, and views on their bytes. All bytes are little-endian: the readers see to that. */
import type { StoredType } from '#protos/model.ts';

export type NumberArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array;

/** What is known of one element type: its width, and the typed array that reads it in place. */
interface StoredFacts {
  readonly bytes: number;
  readonly view: (buffer: ArrayBufferLike, offset: number, length: number) => NumberArray;
}

/**
 * 64-bit integers and halves are left out: the first do not fit an FP32 or FP64 exactly, the second have no typed
 * array in every supported runtime. A caller is told to convert rather than being given rounded counts.
 */
export const STORED: Readonly<Record<StoredType, StoredFacts>> = {
  u1: { bytes: 1, view: (b, o, n) => new Uint8Array(b, o, n) },
  i1: { bytes: 1, view: (b, o, n) => new Int8Array(b, o, n) },
  u2: { bytes: 2, view: (b, o, n) => new Uint16Array(b, o, n) },
  i2: { bytes: 2, view: (b, o, n) => new Int16Array(b, o, n) },
  u4: { bytes: 4, view: (b, o, n) => new Uint32Array(b, o, n) },
  i4: { bytes: 4, view: (b, o, n) => new Int32Array(b, o, n) },
  f4: { bytes: 4, view: (b, o, n) => new Float32Array(b, o, n) },
  f8: { bytes: 8, view: (b, o, n) => new Float64Array(b, o, n) },
};

/** The stored type of an element class, or undefined for one that is not numeric or not handled (half, 64-bit integers). */
export function storedType(kind: 'float' | 'int' | 'other', bytes: number, signed: boolean): StoredType | undefined {
  const name = kind === 'float' ? `f${bytes}` : kind === 'int' ? `${signed ? 'i' : 'u'}${bytes}` : '';
  return Object.hasOwn(STORED, name) ? (name as StoredType) : undefined;
}

/** Number of elements of an array of this shape; 1 for a scalar. */
export function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1);
}
