/**
 * What a function needs of a node, and how many of it fit there: pure, and the same for the agent, which gives work out, and
 * the pilot, which starts it.
 *
 * Invariants
 *  N1 A runner takes a slot, and what its function needs; one that says nothing of cores or memory takes what a slot has: the
 *     node's divided by its slots. So `slots` functions that say nothing fill a node, as they did before any said something.
 *  N2 What is not known of a node (0, or no name) is not counted: refusing work for it would be a guess.
 */
export interface NodeSize {
  readonly slots: number;
  readonly cores: number;
  readonly memMiB: number;
  readonly gpus: number;
  readonly accelerator: string;
}

/** 0, or no name: nothing is said of it. */
export interface Need {
  readonly cores: number;
  readonly memMiB: number;
  readonly gpus: number;
  readonly accelerator: string;
}

/** The sum of what runners take. */
export interface Load {
  readonly slots: number;
  readonly cores: number;
  readonly memMiB: number;
  readonly gpus: number;
}

export const NO_LOAD: Load = { slots: 0, cores: 0, memMiB: 0, gpus: 0 };
const DIMENSIONS = ['slots', 'cores', 'memMiB', 'gpus'] as const;
/** A third of a node, three times, is a node. */
const ROUNDING = 1e-6;

/** N1: what one runner takes here. */
export function shareOf(size: NodeSize, need: Need): Load {
  const slots = Math.max(1, size.slots);
  return {
    slots: 1,
    cores: need.cores > 0 ? need.cores : size.cores / slots,
    memMiB: need.memMiB > 0 ? need.memMiB : size.memMiB / slots,
    gpus: need.gpus,
  };
}

export function plus(load: Load, share: Load, times = 1): Load {
  return {
    slots: load.slots + share.slots * times,
    cores: load.cores + share.cores * times,
    memMiB: load.memMiB + share.memMiB * times,
    gpus: load.gpus + share.gpus * times,
  };
}

/** How many more runners of this need go beside `used`: a fraction where the last one would not fit whole. */
export function roomFor(size: NodeSize, used: Load, need: Need): number {
  if (need.accelerator !== '' && size.accelerator !== '' && need.accelerator !== size.accelerator) return 0;
  const share = shareOf(size, need);
  let room = Number.POSITIVE_INFINITY;
  for (const key of DIMENSIONS) {
    // N2
    if (size[key] > 0 && share[key] > 0) room = Math.min(room, (size[key] - used[key]) / share[key]);
  }
  return Math.max(0, room + ROUNDING);
}

/** Why this fits on no node of that size, with both numbers; undefined where it fits on an empty one. */
export function tooBig(size: Omit<NodeSize, 'slots'>, need: Need): string | undefined {
  const over = (asked: number, there: number, unit: string): string | undefined =>
    there > 0 && asked > there ? `it asks for ${asked} ${unit}, and the largest node here has ${there}` : undefined;
  const found =
    over(need.cores, size.cores, 'cores') ??
    over(need.memMiB, size.memMiB, 'MiB of memory') ??
    over(need.gpus, size.gpus, 'accelerators');
  if (found !== undefined) return found;
  if (need.accelerator === '' || size.accelerator === '' || need.accelerator === size.accelerator) return undefined;
  return `it asks for accelerators of kind ${need.accelerator}, and those here are ${size.accelerator}`;
}

/** What it asks for, in words; undefined where it asks for a slot and nothing else. */
export function needText({ cores, memMiB, gpus, accelerator }: Need): string | undefined {
  const parts = [
    ...(cores > 0 ? [`${cores} core${cores === 1 ? '' : 's'}`] : []),
    ...(memMiB > 0 ? [`${memMiB} MiB of memory`] : []),
    ...(gpus > 0 ? [`${gpus} ${accelerator === '' ? '' : `${accelerator} `}accelerator${gpus === 1 ? '' : 's'}`] : []),
  ];
  return parts.length === 0 ? undefined : parts.join(', ');
}
