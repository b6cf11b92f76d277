/**
 * Which waiting items go to which pilot, and how many at once. Pure bookkeeping: no clock, no I/O.
 *
 * Invariants
 *  P1 First come, first served within a spec; specs take turns, so a long batch delays nobody else by more than a window.
 *  P2 A slot is given about WINDOW_MS of measured work ahead, at most MAX_WINDOW items; before the first measurement one
 *     item. So a pilot's death costs little, and no-ops do not wait for a round trip each.
 *  P3 Work that may start only once is never given ahead: a start that did not happen could not be told from one that did.
 */
import type { Work } from './mirror.ts';

export const WINDOW_MS = 20;
export const MAX_WINDOW = 512;
/** Weight of a new measurement: a spec's durations vary, one slow item should not end the batching. */
const SMOOTHING = 0.3;

export interface Runnable {
  readonly work: Work;
  readonly i: number;
}

/** A pilot as placement sees it. */
export interface Place {
  readonly no: number;
  readonly slots: number;
  /** Items leased to it and not ended, by spec. */
  readonly inFlight: Map<number, number>;
}

export interface Placement {
  add(specNo: number, item: Runnable): void;
  /** Takes what this place should get now, of one spec; empty when there is nothing or no room. */
  take(place: Place): readonly Runnable[];
  /** `count` items of a spec took `ms` on a pilot of `slots` slots. */
  measure(specNo: number, count: number, ms: number, slots: number): void;
  readonly waiting: number;
}

/** FIFO without the cost of shift() on a long array. */
interface Line {
  readonly items: Runnable[];
  head: number;
}

export function createPlacement(isRunnable: (item: Runnable) => boolean): Placement {
  const lines = new Map<number, Line>();
  const itemMs = new Map<number, number>();
  let turn = 0;
  let waiting = 0;

  const window = (specNo: number): number => {
    const ms = itemMs.get(specNo);
    return ms === undefined ? 1 : Math.max(1, Math.min(MAX_WINDOW, Math.floor(WINDOW_MS / Math.max(ms, 0.001))));
  };

  const room = (place: Place, specNo: number): number => {
    const ahead = window(specNo);
    // One window runs while the next one is on its way, so that a slot never waits for the link; a slow spec has no need.
    return (ahead > 1 ? 2 * ahead : 1) * place.slots - inFlightOf(place);
  };

  const pull = (specNo: number, line: Line, limit: number): Runnable[] => {
    const taken: Runnable[] = [];
    while (taken.length < limit && line.head < line.items.length) {
      const item = line.items[line.head] as Runnable;
      if (isRunnable(item)) {
        if (onlyOnce(item) && taken.length > 0) break;
        taken.push(item);
      }
      line.head += 1;
      waiting -= 1;
      if (taken.length > 0 && onlyOnce(item)) break;
    }
    if (line.head === line.items.length) lines.delete(specNo);
    else if (line.head > 4096) {
      line.items.splice(0, line.head);
      line.head = 0;
    }
    return taken;
  };

  return {
    add(specNo, item) {
      const line = lines.get(specNo);
      if (line === undefined) lines.set(specNo, { items: [item], head: 0 });
      else line.items.push(item);
      waiting += 1;
    },
    take(place) {
      const specs = [...lines.keys()];
      for (let k = 0; k < specs.length; k++) {
        const specNo = specs[(turn + k) % specs.length] as number;
        const line = lines.get(specNo) as Line;
        const next = line.items[line.head];
        const free = room(place, specNo);
        const limit = next !== undefined && onlyOnce(next) ? place.slots - inFlightOf(place) : free;
        if (limit <= 0) continue;
        const items = pull(specNo, line, Math.min(limit, MAX_WINDOW));
        if (items.length === 0) continue;
        turn += 1;
        return items;
      }
      return [];
    },
    measure(specNo, count, ms, slots) {
      if (count === 0) return;
      const now = (ms * slots) / count;
      const before = itemMs.get(specNo);
      itemMs.set(specNo, before === undefined ? now : before + SMOOTHING * (now - before));
    },
    get waiting() {
      return waiting;
    },
  };
}

function onlyOnce({ work }: Runnable): boolean {
  return work.token.claims.run.maxStarts === 1;
}

/** Items that a pilot holds, of all specs. */
export function inFlightOf(place: Place): number {
  let used = 0;
  for (const count of place.inFlight.values()) used += count;
  return used;
}
