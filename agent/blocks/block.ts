/** One block in memory, what the agent's blocks are given, and which block should be begun next. */
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/log.ts';
import type { Random } from '#base/random.ts';
import type { Signer } from '#kernel/jws.ts';
import type { BlockState } from '#kernel/states/block.ts';
import type { Ledger, PilotRow } from '../admission/ledger.ts';
import type { Scheduler } from '../schedulers/scheduler.ts';
import type { Engine } from '../work/engine.ts';
import type { Work } from '../work/mirror.ts';
import type { Demand } from '../work/placement.ts';
import type { Breaker } from './breaker.ts';
import { blocksWanted } from './demand.ts';
import type { Group, Groups } from './groups.ts';
import type { Pilots } from './pilots.ts';
import type { BlockFacts } from './records.ts';

export interface BlocksOptions {
  readonly scheduler: Scheduler;
  readonly ledger: Ledger;
  readonly engine: Engine;
  readonly breaker: Breaker;
  readonly pilots: () => Pilots;
  readonly groups: Groups;
  readonly signer: () => Signer;
  /** What every block's file says now. */
  readonly facts: () => BlockFacts;
  /** Folder that holds one folder a block. */
  readonly folder: string;
  readonly slots: number;
  /** Of a job on each node, where the site limits it. */
  readonly memMiB?: number | undefined;
  readonly maxBlocks: number;
  /** Kept while there is no work / begun before there is any. */
  readonly minBlocks: number;
  readonly initBlocks: number;
  readonly perCall: boolean;
  readonly idleMs: number;
  /** How long a silent pilot keeps its leases, and its block its nodes. */
  readonly awayMs: number;
  readonly abandonMs: number;
  /** Pause after a second start that failed; the third opens the breaker. */
  readonly retryMs: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Where a block's pilot writes what it prints. */
  readonly logFile: (block: string) => string;
  /** K6: the broker has not answered yet, or has another agent of this endpoint. */
  readonly held: () => 'asking' | 'fenced' | undefined;
  /** Who waits: for the job's comment. */
  readonly userOf: (work: Work) => string;
  /** Everyone who waits in this group hears what for. */
  readonly onWaiting: (group: Group, text: string) => void;
}

export interface Block {
  readonly id: string;
  readonly group: Group;
  state: BlockState;
  /** The scheduler's text of it; undefined until it answered. */
  job: string | undefined;
  /** Resolves when the submit was answered. */
  answered: Promise<void>;
  /** Resolves when the effects of its steps so far were carried out, well or not. */
  changing: Promise<void>;
  /** Which start of its job this is, as far as we know. */
  life: number;
  /** Starts that the scheduler counts. */
  restarts: number | undefined;
  nodes: readonly string[];
  /** Something may be leased to it. */
  leasing: boolean;
  /** Something was. */
  used: boolean;
  /** A pilot of this life said hello. */
  came: boolean;
  /** When its nodes came, as far as we saw it. */
  startedAt: number | undefined;
  /** What it waits for, in words. */
  detail: string;
  /** Why its pilots take nothing more / why this agent ends it; undefined where they do, and where it does not. */
  drained: string | undefined;
  stopped: string | undefined;
  readonly pilots: Set<number>;
  busyAt: number;
}

export function createBlock(id: string, group: Group, nowMono: number): Block {
  return {
    id,
    group,
    state: 'requested',
    job: undefined,
    answered: Promise.resolve(),
    changing: Promise.resolve(),
    life: 1,
    restarts: undefined,
    nodes: [],
    leasing: false,
    used: false,
    came: false,
    startedAt: undefined,
    detail: '',
    drained: undefined,
    stopped: undefined,
    pilots: new Set(),
    busyAt: nowMono,
  };
}

/** Asked for, and without a pilot yet. */
export const COMING: ReadonlySet<BlockState> = new Set(['requested', 'unclear', 'pending', 'held', 'starting']);
export const GONE: ReadonlySet<BlockState> = new Set(['ended', 'refused']);

interface Waiting {
  readonly group: Group;
  readonly demands: Demand[];
  readonly users: Set<string>;
}

type Takes = (row: PilotRow, work: Work, needMs: number) => boolean;

/** `floor`: blocks that live without any work. The group of the next block and who is to be named in its job; or the idle block that must make room for one. */
export function nextBlock(
  options: BlocksOptions,
  blocks: readonly Block[],
  floor: number,
  takes: Takes,
): { readonly group: Group; readonly users: readonly string[] } | { readonly giveWay: Block } | undefined {
  const { groups, maxBlocks } = options;
  const waiting = new Map<string, Waiting>();
  const full = blocks.length >= maxBlocks;
  for (const demand of options.engine.demands()) {
    const group = groups.of(demand.work);
    const entry = waiting.get(group.key) ?? { group, demands: [], users: new Set<string>() };
    entry.demands.push(demand);
    entry.users.add(options.userOf(demand.work));
    waiting.set(group.key, entry);
  }
  for (const { group, demands, users } of waiting.values()) {
    const own = blocks.filter((block) => block.group.key === group.key);
    if (wanted(options, demands, own, takes) === 0) continue;
    if (!full) return { group, users: [...users] };
    // It has nothing to do and was offered this: it is another group's, or too near its end.
    const idle = blocks.find((block) => isIdle(options, block));
    if (idle !== undefined) return { giveWay: idle };
  }
  return !full && blocks.length < floor ? { group: groups.base, users: [] } : undefined;
}

/** Its pilots are here and have nothing to do; one that just lost them is not idle. */
function isIdle({ engine, pilots: links }: BlocksOptions, { state, pilots }: Block): boolean {
  const { isConnected } = links();
  return (
    state === 'running' && pilots.size > 0 && [...pilots].every((no) => isConnected(no) && engine.heldBy(no) === 0)
  );
}

/** Whether gangs of so many nodes wait that no block will have for them; one that ends serves the next. */
function wantsGangs(
  options: BlocksOptions,
  demand: Demand,
  nodes: number,
  own: readonly Block[],
  takes: Takes,
): boolean {
  const { rows, isConnected } = options.pilots();
  let places = 0;
  for (const { id, state, group, pilots } of own) {
    if (COMING.has(state)) places += Math.floor(group.shape.nodes / nodes);
    const here = [...rows.values()].filter(({ no, block }) => block === id && isConnected(no));
    const usable = here.filter((row) => takes(row, demand.work, demand.needMs));
    // Its other nodes are about to come. One whose pilots all came, and died since, stays too small.
    if (state === 'running' && here.length < nodes && pilots.size < group.shape.nodes) places += 1;
    const free = usable.filter(({ no }) => options.engine.heldBy(no) === 0);
    places += Math.floor(free.length / nodes);
  }
  return demand.waiting > places;
}

function wanted(options: BlocksOptions, all: readonly Demand[], own: readonly Block[], takes: Takes): number {
  if (all.some((demand) => demand.nodes !== undefined && wantsGangs(options, demand, demand.nodes, own, takes)))
    return 1;
  const { slots, perCall } = options;
  const demands = all.filter(({ nodes }) => nodes === undefined);
  const { rows, isConnected } = options.pilots();
  // In slots: an item that fills a node is as much work for a new one as all its slots.
  const weight = ({ work }: Demand): number => (perCall ? 1 : slots / options.engine.placesOf(work, slots));
  const waiting = demands.reduce((sum, each) => sum + each.waiting * weight(each), 0);
  const workMs = demands.reduce((sum, each) => sum + each.waiting * weight(each) * (each.paceMs ?? Number.NaN), 0);
  const [longest] = [...demands].sort((a, b) => b.needMs - a.needMs);
  let running = 0;
  for (const row of rows.values()) {
    const is = longest !== undefined && own.some(({ id }) => id === row.block) && isConnected(row.no);
    if (is && takes(row, longest.work, longest.needMs)) running += row.slots;
  }
  return blocksWanted({
    waiting,
    paceMs: Number.isNaN(workMs) ? undefined : workMs / waiting,
    running,
    coming: own.filter(({ state }) => COMING.has(state)).length,
    placesPerBlock: slots * (own[0]?.group.shape.nodes ?? 1),
    perCall,
  });
}
