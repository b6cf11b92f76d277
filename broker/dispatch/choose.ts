/**
 * Who goes next: a fair share of an endpoint's room among the principals that wait for it. Pure.
 *
 * Deficit round robin in its simplest form: each principal in turn gets up to a quantum of items and bytes. Items and not
 * tickets are counted, so a thousand single tickets and one batch of a thousand get the same share; a quantum and not one
 * item, because a ticket cut into many deliveries costs a header each.
 */
import { FAIR_QUANTUM } from '../limits.ts';

/** A ticket that waits, as the choice needs it. */
export interface Waiting {
  /** Items not yet chosen. */
  readonly left: number;
  /** Bytes of the k-th of them. */
  bytesOf(k: number): number;
}

export interface WaitingLane<W extends Waiting> {
  /** In order; the lane stops where a ticket's bytes are not at hand. */
  readonly ready: readonly W[];
}

export interface Room {
  readonly items: number;
  readonly bytes: number;
}

export interface Slice<W> {
  readonly lane: number;
  readonly entry: W;
  readonly count: number;
}

export interface Choice<W> {
  readonly slices: readonly Slice<W>[];
  /** The lane that is next after these. */
  readonly next: number;
  readonly used: Room;
}

/** One round over the lanes from `first`: what to send now. Nothing is changed. */
export function choose<W extends Waiting>(
  lanes: readonly WaitingLane<W>[],
  first: number,
  room: Room,
  quantumItems: number = FAIR_QUANTUM,
  quantumBytes: number = 1024 * 1024,
): Choice<W> {
  const slices: Slice<W>[] = [];
  let { items, bytes } = room;
  let next = first;
  for (let turn = 0; turn < lanes.length && items > 0 && bytes > 0; turn += 1) {
    const lane = (first + turn) % lanes.length;
    const taken = takeTurn(lanes[lane]?.ready ?? [], {
      items: Math.min(items, quantumItems),
      bytes: Math.min(bytes, quantumBytes),
    });
    for (const { entry, count } of taken.slices) slices.push({ lane, entry, count });
    items -= taken.used.items;
    bytes -= taken.used.bytes;
    next = (lane + 1) % lanes.length;
  }
  return { slices, next, used: { items: room.items - items, bytes: room.bytes - bytes } };
}

function takeTurn<W extends Waiting>(
  ready: readonly W[],
  room: Room,
): { slices: { entry: W; count: number }[]; used: Room } {
  const slices: { entry: W; count: number }[] = [];
  let items = 0;
  let bytes = 0;
  for (const entry of ready) {
    let count = 0;
    while (count < entry.left && items < room.items) {
      const size = entry.bytesOf(count);
      // The first item of a turn goes in any case: one that is larger than a quantum must not wait for ever.
      if (bytes + size > room.bytes && items > 0) break;
      bytes += size;
      items += 1;
      count += 1;
    }
    if (count > 0) slices.push({ entry, count });
    if (count < entry.left) break;
  }
  return { slices, used: { items, bytes } };
}
