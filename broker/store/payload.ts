/**
 * What travels beside a ticket and is forgotten once its items are admitted: item bytes, their hashes, inline arguments.
 *
 * Sizes are columns for all n items, so an item is found by adding up; 0 bytes of item mean "not here" (a hand-back brings
 * back some items of a ticket whose payload was forgotten). A single ticket has one item of 0 bytes: its arguments are claims.
 */
import { type Bytes, concat } from '#kernel/bytes.ts';
import { packU16, packU32, u16At, u32At } from './columns.ts';

export interface Payload {
  /** 32 bytes an item, all n of a batch; empty for a single ticket. */
  readonly leaves: Bytes;
  /** u16 an item. */
  readonly itemSizes: Bytes;
  readonly itemBytes: Bytes;
  /** u8 an item: how many inline arguments it has. */
  readonly inlineCounts: Bytes;
  /** u32 an inline argument, in (item, argument) order. */
  readonly inlineSizes: Bytes;
  readonly inline: Bytes;
}

export function payloadBytes(payload: Payload): number {
  return (
    payload.leaves.byteLength +
    payload.itemBytes.byteLength +
    payload.inline.byteLength +
    payload.itemSizes.byteLength * 4
  );
}

/** Where each item's bytes begin; one walk over the columns. */
export interface PayloadIndex {
  readonly payload: Payload;
  /** n + 1 offsets each. */
  readonly itemAt: Uint32Array;
  readonly argAt: Uint32Array;
  readonly inlineAt: Uint32Array;
}

export function indexPayload(payload: Payload): PayloadIndex {
  const n = payload.inlineCounts.byteLength;
  const itemAt = new Uint32Array(n + 1);
  const argAt = new Uint32Array(n + 1);
  const inlineAt = new Uint32Array(n + 1);
  for (let i = 0; i < n; i += 1) {
    const first = argAt[i] ?? 0;
    const end = first + (payload.inlineCounts[i] ?? 0);
    let bytes = inlineAt[i] ?? 0;
    for (let a = first; a < end; a += 1) bytes += u32At(payload.inlineSizes, a);
    itemAt[i + 1] = (itemAt[i] ?? 0) + u16At(payload.itemSizes, i);
    argAt[i + 1] = end;
    inlineAt[i + 1] = bytes;
  }
  return { payload, itemAt, argAt, inlineAt };
}

/** Bytes of item i with its inline arguments: what credit counts. */
export function itemBytesOf(index: PayloadIndex, i: number): number {
  return span(index.itemAt, i) + span(index.inlineAt, i);
}

const span = (at: Uint32Array, i: number): number => (at[i + 1] ?? 0) - (at[i] ?? 0);

/** The columns of some items, in the order given: the fields of a DeliveredTicket. */
export function sliceItems(
  index: PayloadIndex,
  items: readonly number[],
): { itemSizes: number[]; itemBytes: Bytes; inlineSizes: number[]; inline: Bytes } {
  const { payload, itemAt, argAt, inlineAt } = index;
  const first = items[0] ?? 0;
  const last = items.at(-1) ?? 0;
  const together = last - first + 1 === items.length;
  const inlineSizes: number[] = [];
  for (const i of items)
    for (let a = argAt[i] ?? 0; a < (argAt[i + 1] ?? 0); a += 1) inlineSizes.push(u32At(payload.inlineSizes, a));
  const batch = payload.leaves.byteLength > 0;
  return {
    itemSizes: batch ? items.map((i) => span(itemAt, i)) : [],
    inlineSizes,
    // A contiguous run, the usual case, is one view and no copy.
    itemBytes: together
      ? payload.itemBytes.subarray(itemAt[first], itemAt[last + 1])
      : gather(payload.itemBytes, itemAt, items),
    inline: together
      ? payload.inline.subarray(inlineAt[first], inlineAt[last + 1])
      : gather(payload.inline, inlineAt, items),
  };
}

function gather(bytes: Bytes, at: Uint32Array, items: readonly number[]): Bytes {
  return concat(items.map((i) => bytes.subarray(at[i], at[i + 1])));
}

/** Puts items that came back beside those that are still here. */
export function mergePayload(n: number, kept: Payload | undefined, back: Payload, items: readonly number[]): Payload {
  const returned = indexPayload(back);
  const held = kept === undefined ? undefined : indexPayload(kept);
  const position = new Map(items.map((item, k) => [item, k]));
  const sizes: number[] = [];
  const counts: number[] = [];
  const inlineSizes: number[] = [];
  const itemParts: Bytes[] = [];
  const inlineParts: Bytes[] = [];
  for (let i = 0; i < n; i += 1) {
    const k = position.get(i);
    const source = k === undefined ? held : returned;
    const at = k ?? i;
    if (source === undefined) {
      sizes.push(0);
      counts.push(0);
      continue;
    }
    sizes.push(span(source.itemAt, at));
    counts.push(span(source.argAt, at));
    for (let a = source.argAt[at] ?? 0; a < (source.argAt[at + 1] ?? 0); a += 1)
      inlineSizes.push(u32At(source.payload.inlineSizes, a));
    itemParts.push(source.payload.itemBytes.subarray(source.itemAt[at], source.itemAt[at + 1]));
    inlineParts.push(source.payload.inline.subarray(source.inlineAt[at], source.inlineAt[at + 1]));
  }
  return {
    leaves: back.leaves.byteLength > 0 ? back.leaves : (kept?.leaves ?? back.leaves),
    itemSizes: packU16(sizes),
    itemBytes: concat(itemParts),
    inlineCounts: Uint8Array.from(counts),
    inlineSizes: packU32(inlineSizes),
    inline: concat(inlineParts),
  };
}
