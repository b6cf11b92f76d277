/**
 * How many blocks waiting work is worth: pure. Asked whenever something waits and no pilot has room, so when a task arrives
 * and not on a timer. Only admitted tickets are counted; the broker's hints are not.
 *
 * Invariants
 *  N1 What is on its way counts: blocks that were submitted and have no pilot yet will take what waits.
 *  N2 At most MAX_QUEUED blocks of a group wait at the scheduler at once: the next is submitted when one of them starts. A
 *     site's other users share that queue.
 *  N3 No block for work that those who run are through with sooner than a new one would start.
 */

export interface GroupDemand {
  readonly waiting: number;
  /** Milliseconds of one slot for one item, as measured; undefined before the first. */
  readonly paceMs: number | undefined;
  /** Slots that run now and would take this work. */
  readonly running: number;
  /** Blocks that were asked for and have no pilot yet. */
  readonly coming: number;
  readonly placesPerBlock: number;
  /** One block for each call, as sites that account for every call want it. */
  readonly perCall: boolean;
}

/** HyperQueue's and our experience: two keep a scale-out going while one starts, ten would be a flood after a blip. */
export const MAX_QUEUED = 2;
/** About what a batch job and its pilot need to start on an idle machine; behind a queue it is more. */
const START_MS = 5000;
/** A block is worth it for this much work of each of its slots. */
const WORTH_MS = 30_000;

export function blocksWanted(demand: GroupDemand): number {
  const { waiting, paceMs, running, coming, placesPerBlock, perCall } = demand;
  if (waiting === 0) return 0;
  if (perCall) return Math.max(0, waiting - coming);
  if (running > 0 && paceMs !== undefined && (waiting * paceMs) / running < START_MS) return 0;
  const perSlot = paceMs === undefined ? 1 : Math.max(1, Math.floor(WORTH_MS / Math.max(paceMs, 0.001)));
  const enough = Math.ceil(waiting / (placesPerBlock * perSlot));
  return Math.max(0, Math.min(enough, MAX_QUEUED) - coming);
}
