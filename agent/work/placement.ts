/**
 * Which waiting items go to which pilot, and how many at once. Pure bookkeeping: no clock, no I/O.
 *
 * Invariants
 *  P1 First come, first served within a spec; specs take turns, so a long batch delays nobody else by more than a window.
 *  P2 A slot is given about WINDOW_MS of measured work ahead, at most MAX_WINDOW items; before the first measurement one
 *     item. So a pilot's death costs little, and no-ops do not wait for a round trip each.
 *  P3 An item goes only where it can end in time: learned durations decide, and the time-out that its signer allows before
 *     there are any.
 *  P4 Work that may start only once is never given ahead: a start that did not happen could not be told from one that did.
 */
import type { Work } from './mirror.ts';

export const WINDOW_MS = 20;
export const MAX_WINDOW = 512;
/** Weight of a new measurement: a spec's durations vary, one slow item should not end the batching. */
const SMOOTHING = 0.3;
/** The longest of so many is about their 97th percentile; older ones were of other arguments. */
const RUNS_KEPT = 32;
/** And the next one may be a little longer. */
const RUN_MARGIN = 1.25;
/** A runner's start and a model's load. */
const START_MARGIN_MS = 2000;
/** Below it pilots do not say how long an item ran. */
const SHORT_MS = 50;

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
  /** Whether this work may go there, if an item of it takes `needMs` at most; left out: all may. */
  readonly takes?: (work: Work, needMs: number) => boolean;
  /** Items of this work that may run there at once, where that is not `slots`. */
  readonly places?: (work: Work) => number;
  /** Nothing is given ahead: a slot has what it runs. */
  readonly single?: boolean;
}

/** What waits of one spec. */
export interface Demand {
  readonly work: Work;
  readonly waiting: number;
  /** Milliseconds of one slot for one item; undefined before the first measurement. */
  readonly paceMs: number | undefined;
  /** How long one of them may take. */
  readonly needMs: number;
}

export interface Placement {
  add(specNo: number, item: Runnable): void;
  /** Takes what this place should get now, of one spec; empty when there is nothing or no room. */
  take(place: Place): readonly Runnable[];
  /** `count` items of a spec took `ms` on a pilot of `slots` slots. */
  measure(specNo: number, count: number, ms: number, slots: number): void;
  /** One long item of a spec ran this long. */
  learn(specNo: number, ms: number): void;
  /** How long an item of this spec may take. */
  needMs(specNo: number, work: Work): number;
  /** What waits, by spec. */
  demands(): Demand[];
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
  const runs = new Map<number, number[]>();
  let turn = 0;
  let waiting = 0;

  const window = (specNo: number): number => {
    const ms = itemMs.get(specNo);
    return ms === undefined ? 1 : Math.max(1, Math.min(MAX_WINDOW, Math.floor(WINDOW_MS / Math.max(ms, 0.001))));
  };

  const room = (place: Place, specNo: number, { work }: Runnable): number => {
    const ahead = isSingle(place, work) ? 1 : window(specNo);
    const slots = place.places?.(work) ?? place.slots;
    // One window runs while the next one is on its way, so that a slot never waits for the link; a slow spec has no need.
    return (ahead > 1 ? 2 * ahead : 1) * slots - inFlightOf(place);
  };

  const needMs = (specNo: number, work: Work): number => {
    const allowed = work.token.claims.run.timeoutS * 1000;
    const known = runs.get(specNo);
    const ms = itemMs.get(specNo);
    if (known !== undefined) return Math.min(allowed, Math.max(...known) * RUN_MARGIN + START_MARGIN_MS);
    return ms !== undefined && ms < SHORT_MS ? Math.min(allowed, START_MARGIN_MS) : allowed;
  };

  const pull = (specNo: number, line: Line, limit: number): Runnable[] => {
    const taken: Runnable[] = [];
    while (taken.length < limit && line.head < line.items.length) {
      const item = line.items[line.head] as Runnable;
      if (isRunnable(item)) {
        if (taken.length > 0 && onlyOnce(item)) break;
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
        if (next === undefined) continue;
        const limit = room(place, specNo, next);
        // Asked last: most lines that wait do so for a slot.
        if (limit <= 0 || place.takes?.(next.work, needMs(specNo, next.work)) === false) continue;
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
    learn(specNo, ms) {
      const known = runs.get(specNo) ?? [];
      known.push(ms);
      if (known.length > RUNS_KEPT) known.shift();
      runs.set(specNo, known);
    },
    needMs,
    demands() {
      return [...lines].flatMap(([specNo, line]) => {
        const work = line.items[line.head]?.work;
        if (work === undefined) return [];
        const waitingHere = line.items.length - line.head;
        return [{ work, waiting: waitingHere, paceMs: itemMs.get(specNo), needMs: needMs(specNo, work) }];
      });
    },
    get waiting() {
      return waiting;
    },
  };
}

/** P2 has no place where a start counts, or where a block is one call's. */
function isSingle(place: Place, work: Work): boolean {
  return place.single === true || work.token.claims.run.maxStarts === 1;
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
