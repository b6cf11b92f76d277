/**
 * Nodes that lost a pilot recently: the retry goes elsewhere where the scheduler has another one free and lets it be said.
 *
 * Invariants
 *  A1 A wish, never a demand: few nodes, for a short time, and only where others are free (schedulers/batch.ts), so that a site of
 *     two nodes does not run out of them.
 *  A2 A pilot that its job's end took with it says nothing of its node: walltime, preemption, a cancel, memory are pardoned.
 */
import type { Clock } from '#base/clock.ts';
import type { EndCause } from '../schedulers/scheduler.ts';

/** A node that is sick for longer is found and drained by its site; one that was unlucky once is needed again. */
const AVOID_MS = 15 * 60_000;
/** Of the latest: a rack that lost its power is the scheduler's to know. */
const MAX_AVOIDED = 3;

const NODES_FAULT: ReadonlySet<EndCause> = new Set(['nodeLost', 'failed', 'completed', 'launchFailed', 'lost']);

export interface Avoided {
  /** A pilot of this block died on it. */
  failed(node: string, block: string): void;
  /** Its block ended so. */
  ended(block: string, cause: EndCause | undefined, ours: boolean): void;
  /** The latest first. */
  nodes(): readonly string[];
}

export function createAvoided(clock: Pick<Clock, 'mono'>): Avoided {
  const until = new Map<string, { readonly atMs: number; readonly block: string }>();
  return {
    failed(node, block) {
      until.delete(node);
      until.set(node, { atMs: clock.mono() + AVOID_MS, block });
    },
    ended(block, cause, ours) {
      if (!ours && cause !== undefined && NODES_FAULT.has(cause)) return;
      for (const [node, entry] of until) if (entry.block === block) until.delete(node);
    },
    nodes() {
      for (const [node, { atMs }] of until) if (atMs <= clock.mono()) until.delete(node);
      return [...until.keys()].reverse().slice(0, MAX_AVOIDED);
    },
  };
}
