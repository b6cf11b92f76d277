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
 *  P5 Items take of a place what their functions need (kernel/resources.ts), all specs together: what does not fit waits here,
 *     where another place may take it, and not on the pilot.
 *  P6 A spec that fits on an empty place and was passed over PATIENCE times for each slot, with nothing given to it meanwhile,
 *     has a place kept for it: that one gives to nobody else until it fits. So a large one does not starve behind small ones, nor one
 *     item behind thousands.
 */
import { type Load, type Need, NO_LOAD, type NodeSize, needText, plus, roomFor, shareOf } from '#kernel/resources.ts';
import { ITEM } from '../admission/item-state.ts';
import type { Work } from './mirror.ts';
import { createPaces, MAX_WINDOW, type Paces } from './paces.ts';
import { needOf } from './specs.ts';

/** Times that each slot of a place may be given to others first: two generations of what runs there. */
const PATIENCE = 2;

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
  /** What its node has for the block; left out: nothing is known of it but the slots. */
  readonly size?: NodeSize;
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
  /** Of one block, that each of them takes whole; left out: a slot, or what it needs. */
  readonly nodes?: number;
}

export interface Placement extends Pick<Paces, 'measure' | 'learn' | 'needMs'> {
  add(specNo: number, item: Runnable): void;
  /** Takes what this place should get now, of one spec; empty when there is nothing or no room. */
  take(place: Place): readonly Runnable[];
  /** What waits, by spec. */
  demands(): Demand[];
  readonly waiting: number;
  /** Items of this spec that this place has room for now; below 1: none. */
  room(place: Place, specNo: number, work: Work): number;
  /** What a spec's items need: said before its items are counted as in flight anywhere. */
  know(specNo: number, work: Work): void;
  /** A place that takes nothing more keeps itself for nobody. */
  forget(placeNo: number): void;
  /** What this spec waits for, in words; undefined where it waits for any slot. */
  waitsFor(specNo: number, work: Work): string | undefined;
}

/** FIFO without the cost of shift() on a long array. */
interface Line {
  readonly items: Runnable[];
  head: number;
  /** P6: how often others were given something since it was. */
  passed: number;
  keptAt: number | undefined;
}

export function createPlacement(isRunnable: (item: Runnable) => boolean): Placement {
  const lines = new Map<number, Line>();
  const paces = createPaces();
  const { needMs } = paces;
  const { know, room, fitsAlone } = createRooms(paces);
  const keeping = createKeeping(lines);
  let turn = 0;
  let waiting = 0;

  const pull = (specNo: number, line: Line, limit: number): Runnable[] => {
    const before = line.head;
    const taken = advance(line, limit, isRunnable);
    waiting -= line.head - before;
    keeping.served(line);
    if (line.head === line.items.length) lines.delete(specNo);
    else if (line.head > 4096) {
      line.items.splice(0, line.head);
      line.head = 0;
    }
    return taken;
  };

  /** The first that may run. What was cancelled or refused before it is passed, so that it is no demand for a block. */
  const first = (specNo: number, line: Line): Runnable | undefined => {
    while (line.head < line.items.length && !isRunnable(line.items[line.head] as Runnable)) {
      line.head += 1;
      waiting -= 1;
    }
    if (line.head < line.items.length) return line.items[line.head];
    keeping.served(line);
    lines.delete(specNo);
    return undefined;
  };

  const mayGo = (place: Place, specNo: number, { work }: Runnable): boolean =>
    place.takes?.(work, needMs(specNo, work)) !== false;

  /** P6: only the line that this place is kept for; undefined where it is kept for none, or for one that may not come here. */
  const takeKept = (place: Place): readonly Runnable[] | undefined => {
    const specNo = keeping.of(place.no);
    const line = specNo === undefined ? undefined : lines.get(specNo);
    const next = specNo === undefined || line === undefined ? undefined : first(specNo, line);
    if (specNo === undefined || line === undefined || next === undefined || !mayGo(place, specNo, next)) {
      keeping.forget(place.no);
      return undefined;
    }
    const limit = room(place, specNo, next.work);
    return limit <= 0 ? [] : pull(specNo, line, Math.min(limit, MAX_WINDOW));
  };

  return {
    ...paces,
    room,
    know,
    forget: keeping.forget,
    waitsFor: (specNo, work) => waitText(work, lines.get(specNo)?.keptAt),
    add(specNo, item) {
      const line = lines.get(specNo);
      if (line === undefined) lines.set(specNo, { items: [item], head: 0, passed: 0, keptAt: undefined });
      else line.items.push(item);
      waiting += 1;
    },
    take(place) {
      const kept = takeKept(place);
      if (kept !== undefined) return kept;
      const specs = [...lines.keys()];
      const passed: { readonly specNo: number; readonly line: Line; readonly next: Runnable }[] = [];
      for (let k = 0; k < specs.length; k++) {
        const specNo = specs[(turn + k) % specs.length] as number;
        const line = lines.get(specNo) as Line;
        const next = first(specNo, line);
        if (next === undefined) continue;
        const limit = room(place, specNo, next.work);
        if (limit <= 0) passed.push({ specNo, line, next });
        // Asked last: most lines that wait do so for a slot.
        if (limit <= 0 || !mayGo(place, specNo, next)) continue;
        const items = pull(specNo, line, Math.min(limit, MAX_WINDOW));
        turn += 1;
        for (const behind of passed) {
          // It has nothing here, and would fit if nobody else had.
          const starves = (place.inFlight.get(behind.specNo) ?? 0) === 0 && fitsAlone(place, behind.specNo);
          if (starves && mayGo(place, behind.specNo, behind.next)) keeping.passOver(place, behind.specNo, behind.line);
        }
        return items;
      }
      return [];
    },
    demands() {
      return [...lines].flatMap(([specNo, line]) => {
        const work = first(specNo, line)?.work;
        if (work === undefined) return [];
        const waitingHere = line.items.length - line.head;
        return [{ work, waiting: waitingHere, paceMs: paces.paceMs(specNo), needMs: needMs(specNo, work) }];
      });
    },
    get waiting() {
      return waiting;
    },
  };
}

/** Takes from the head of a line; what may not run any more is passed over. */
function advance(line: Line, limit: number, isRunnable: (item: Runnable) => boolean): Runnable[] {
  const taken: Runnable[] = [];
  while (taken.length < limit && line.head < line.items.length) {
    const item = line.items[line.head] as Runnable;
    if (isRunnable(item)) {
      if (taken.length > 0 && onlyOnce(item)) break;
      taken.push(item);
    }
    line.head += 1;
    if (taken.length > 0 && onlyOnce(item)) break;
  }
  return taken;
}

/** P6: which place is kept for which spec. */
function createKeeping(lines: ReadonlyMap<number, Line>) {
  const kept = new Map<number, number>();
  const forget = (placeNo: number): void => {
    const line = lines.get(kept.get(placeNo) ?? -1);
    kept.delete(placeNo);
    if (line?.keptAt === placeNo) Object.assign(line, { keptAt: undefined, passed: 0 });
  };
  return {
    of: (placeNo: number): number | undefined => kept.get(placeNo),
    forget,
    /** It got something, or waits no more. */
    served(line: Line): void {
      if (line.keptAt !== undefined) forget(line.keptAt);
      line.passed = 0;
    },
    passOver(place: Place, specNo: number, line: Line): void {
      line.passed += 1;
      if (line.keptAt !== undefined || kept.has(place.no) || line.passed < PATIENCE * place.slots) return;
      line.keptAt = place.no;
      kept.set(place.no, specNo);
    },
  };
}

/** P2 and P5. */
function createRooms({ window }: Paces) {
  const needs = new Map<number, Need>();
  // One window runs while the next one is on its way, so that a slot never waits for the link; a slow spec has no need.
  const depth = (ahead: number): number => (ahead > 1 ? 2 * ahead : 1);
  const needBy = (specNo: number): Need => needs.get(specNo) ?? NO_NEED;
  const know = (specNo: number, work: Work): void => {
    if (!needs.has(specNo)) needs.set(specNo, needOf(work));
  };

  /** What the other specs' items take, as parts of a runner where a runner is given many ahead. */
  const loadOf = (place: Place, size: NodeSize, but: number): Load => {
    let load = NO_LOAD;
    for (const [specNo, count] of place.inFlight) {
      if (count > 0 && specNo !== but) load = plus(load, shareOf(size, needBy(specNo)), count / depth(window(specNo)));
    }
    return load;
  };

  return {
    know,
    fitsAlone: (place: Place, specNo: number): boolean => roomFor(sizeOf(place), NO_LOAD, needBy(specNo)) >= 1,
    room(place: Place, specNo: number, work: Work): number {
      know(specNo, work);
      const need = needBy(specNo);
      const size = sizeOf(place);
      // A call has its block for itself.
      if (place.single === true) return roomFor(size, NO_LOAD, need) < 1 ? 0 : 1 - inFlightOf(place);
      const fits = roomFor(size, loadOf(place, size, specNo), need);
      const ahead = isSingle(place, work) ? 1 : window(specNo);
      // Who asks for a slot alone shares runners' time with others of his kind; who asks for more needs it whole.
      return Math.floor(depth(ahead) * (isPlain(need) ? fits : Math.floor(fits))) - (place.inFlight.get(specNo) ?? 0);
    },
  };
}

function waitText(work: Work, keptAt: number | undefined): string | undefined {
  const text = needText(needOf(work));
  if (text === undefined) return undefined;
  return keptAt === undefined ? `for ${text}` : `for ${text}; pilot ${keptAt} is kept free for it`;
}

const NO_NEED: Need = { cores: 0, memMiB: 0, gpus: 0, accelerator: '' };

function isPlain({ cores, memMiB, gpus }: Need): boolean {
  return cores === 0 && memMiB === 0 && gpus === 0;
}

function sizeOf({ slots, size }: Place): NodeSize {
  return size ?? { slots, cores: 0, memMiB: 0, gpus: 0, accelerator: '' };
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

/** It waits, and nothing ends it. */
export function isRunnable({ work, i }: Runnable): boolean {
  return work.states[i] === ITEM.waiting && work.ending[i] === 0 && work.cancels[i] === 0;
}
