/**
 * The items of a batch ticket: a flat list of hashes, with domain separation.
 *
 *     leaf = SHA-256("farfield/item/v1\0" | u32be i | exact item bytes)
 *     root = SHA-256("farfield/items/v1\0" | u32be n | leaves)
 *
 * A flat list and no Merkle tree: a ticket has one audience, so the list travels once, and there are no inner nodes to
 * take for leaves. Nothing here needs a schema; the shape of an item's bytes is checked by kernel/tokens/item.ts.
 */
import { type Bytes, sha256Hex, sha256Into, utf8 } from './bytes.ts';
import { FarfieldError } from './errors.ts';
import { MAX_ITEM_BYTES, MAX_ITEMS } from './limits.ts';

const ITEM = utf8('farfield/item/v1\0');
const ITEMS = utf8('farfield/items/v1\0');
const LEAF = 32;

/** One buffer for every leaf: hashing is synchronous, so nobody sees it half written. */
const scratch = Buffer.alloc(ITEM.byteLength + 4 + MAX_ITEM_BYTES);
scratch.set(ITEM);

/** Writes the leaf of item `i` into `out` at `at`. */
export function leafInto(i: number, item: Bytes, out: Buffer, at: number): void {
  if (item.byteLength > MAX_ITEM_BYTES) {
    throw new FarfieldError(
      'E_TOO_LARGE',
      `item ${i} is ${item.byteLength} bytes, over ${MAX_ITEM_BYTES}; send large arguments as blobs`,
    );
  }
  scratch.writeUInt32BE(i, ITEM.byteLength);
  scratch.set(item, ITEM.byteLength + 4);
  sha256Into(scratch.subarray(0, ITEM.byteLength + 4 + item.byteLength), out, at);
}

/** The leaf of item `i` with exactly these bytes. */
export function leafHash(i: number, item: Bytes): Bytes {
  const out = Buffer.alloc(LEAF);
  leafInto(i, item, out, 0);
  return out;
}

/** The leaves, back to back, of items that lie back to back in `bytes`, numbered from `first`. */
export function leafList(sizes: readonly number[], bytes: Bytes, first = 0): Bytes {
  const out = Buffer.alloc(sizes.length * LEAF);
  let at = 0;
  for (let k = 0; k < sizes.length; k += 1) {
    const end = at + (sizes[k] ?? 0);
    leafInto(first + k, bytes.subarray(at, end), out, k * LEAF);
    at = end;
  }
  if (at !== bytes.byteLength)
    throw new FarfieldError('E_ITEMS', `the item sizes add up to ${at}, not to ${bytes.byteLength} bytes`);
  return out;
}

/** The root over a list of leaves, as `itm.sha256` states it. */
export function itemsRoot(leaves: Bytes): string {
  const n = leaves.byteLength / LEAF;
  if (!Number.isInteger(n) || n < 1 || n > MAX_ITEMS) {
    throw new FarfieldError('E_ITEMS', `a list of ${leaves.byteLength} bytes is not 1 to ${MAX_ITEMS} hashes`);
  }
  const all = Buffer.alloc(ITEMS.byteLength + 4 + leaves.byteLength);
  all.set(ITEMS);
  all.writeUInt32BE(n, ITEMS.byteLength);
  all.set(leaves, ITEMS.byteLength + 4);
  return `sha256:${sha256Hex(all)}`;
}

/** What a batch ticket says about its items. */
export interface ItemList {
  readonly n: number;
  readonly sha256: string;
}

/** Throws E_ITEMS unless `leaves` is the list that the ticket signs. */
export function checkLeaves(list: ItemList, leaves: Bytes): void {
  if (leaves.byteLength !== list.n * LEAF || itemsRoot(leaves) !== list.sha256) {
    throw new FarfieldError('E_ITEMS', 'the list of item hashes is not the one that the ticket signs');
  }
}

const found = Buffer.alloc(LEAF);

/** Throws E_ITEMS unless `item` is exactly what leaf `i` of a checked list names. */
export function checkItem(leaves: Bytes, i: number, item: Bytes): void {
  leafInto(i, item, found, 0);
  if (i * LEAF + LEAF > leaves.byteLength || found.compare(leaves, i * LEAF, i * LEAF + LEAF) !== 0) {
    throw new FarfieldError('E_ITEMS', `the bytes of item ${i} are not those that the ticket signs`);
  }
}
