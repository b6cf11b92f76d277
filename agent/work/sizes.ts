/** How large nodes and blocks are here, as configured or seen, and what can therefore never run. */
import { type Refusal, refusal as refusalOf } from '#kernel/refusal.ts';
import { type Need, NO_LOAD, type NodeSize, roomFor, tooBig } from '#kernel/resources.ts';
import { nodesOf } from './gangs.ts';
import type { Work } from './mirror.ts';
import { needOf } from './specs.ts';

type Sized = Pick<Work, 'manifest' | 'token'>;

export interface Sizes {
  /** Nodes of this size come, or came. */
  note(size: Omit<NodeSize, 'slots'>): void;
  /** Work that no block here can ever hold, with numbers. */
  refusal(work: Sized, runtimes: readonly string[]): Refusal | undefined;
  /** Items of this need that a node of the largest size holds at once; 1 at least. */
  places(need: Need, slots: number): number;
}

/** `nodesPerBlock` is left out where nobody says it. */
export function createSizes(nodesPerBlock: number | undefined): Sizes {
  // The largest of each that a node here has; 0: not known.
  let largest: Omit<NodeSize, 'slots'> = { cores: 0, memMiB: 0, gpus: 0, accelerator: '' };
  return {
    note({ cores, memMiB, gpus, accelerator }) {
      largest = {
        cores: Math.max(largest.cores, cores),
        memMiB: Math.max(largest.memMiB, memMiB),
        gpus: Math.max(largest.gpus, gpus),
        // Of several kinds none is known.
        accelerator: largest.accelerator === '' || largest.accelerator === accelerator ? accelerator : '',
      };
    },
    refusal(work, runtimes) {
      const nodes = nodesOf(work);
      const why = tooBig(largest, needOf(work)) ?? tooManyNodes(nodes, nodesPerBlock) ?? noNetwork(nodes, runtimes);
      return why === undefined ? undefined : refusalOf('ceilings', 'E_CEILING', why);
    },
    places: (need, slots) => Math.max(1, Math.min(slots, Math.floor(roomFor({ ...largest, slots }, NO_LOAD, need)))),
  };
}

function tooManyNodes(nodes: number, perBlock: number | undefined): string | undefined {
  if (perBlock === undefined || nodes <= perBlock) return undefined;
  return `it asks for ${nodes} nodes of one block, and a block here has ${perBlock}`;
}

/** Ranks on several nodes speak over the host's network. A container here is given none, and is not given one by asking. */
function noNetwork(nodes: number, runtimes: readonly string[]): string | undefined {
  if (nodes === 1 || runtimes.length === 0 || runtimes.includes('process')) return undefined;
  return `its ${nodes} nodes must reach each other, and ${runtimes.join(', ')} gives no network here: it runs where a rule names the runtime "process"`;
}
