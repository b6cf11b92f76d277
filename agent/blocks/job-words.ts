/** The scheduler's words about a job, as an event of its block and as a sentence for those who wait. */
import type { BlockEvent } from '#kernel/states/block.ts';
import type { JobState } from '../schedulers/scheduler.ts';

/** Absence is no event: who knows the pilots' links decides (blocks.ts). */
const EVENTS: Readonly<Record<JobState['kind'], BlockEvent | undefined>> = {
  queued: 'sawPending',
  held: 'sawHeld',
  starting: 'sawRunning',
  running: 'sawRunning',
  suspended: 'sawSuspended',
  ending: 'sawCompleting',
  ended: 'sawEnded',
  unknown: 'sawNothing',
  absent: undefined,
};

export function eventOf({ kind }: JobState): BlockEvent | undefined {
  return EVENTS[kind];
}

/** What to tell those who wait; undefined where there is nothing to wait for. */
export function waitingText(scheduler: string, job: string, state: JobState): string | undefined {
  const name = `job ${idOf(job)} of ${scheduler}`;
  switch (state.kind) {
    case 'queued': {
      const at = state.startsAtMs === undefined ? '' : `, expected ${new Date(state.startsAtMs).toISOString()}`;
      return `waiting for nodes: ${name}, ${state.reason}${at}`;
    }
    case 'held':
      return `${name} is held: ${state.reason}`;
    case 'starting':
      return `${name} has its nodes, which are being prepared`;
    case 'suspended':
      return `${name} is suspended: ${state.reason}`;
    default:
      return undefined;
  }
}

/** The scheduler's own id. */
export function idOf(job: string): string {
  try {
    const { id } = JSON.parse(job) as { id?: unknown };
    if (typeof id === 'string') return id;
  } catch {
    // Another scheduler's text.
  }
  return job;
}

const short = (name: string): string => (name.split('.')[0] ?? name).toLowerCase();

/** Names of nodes come with and without their domain. */
export function hasNode(nodes: readonly string[], node: string): boolean {
  return nodes.some((name) => short(name) === short(node));
}
