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
    const serves = (block: Block): boolean =>
      block.group.key === group.key &&
      demands.some((each) => each.nodes !== undefined && gangPlaces(options, block, each, each.nodes, takes) > 0);
    // A gang waits for the last of a block's pilots: those that came before have nothing to do, and it is no reason.
    const idle = blocks.find((block) => isIdle(options, block) && !serves(block));
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

/** How many gangs of so many nodes a block can begin now, or when its other pilots have come. */
function gangPlaces(
  options: BlocksOptions,
  block: Block,
  { work, needMs }: Demand,
  nodes: number,
  takes: Takes,
): number {
  const { id, state, group, pilots } = block;
  if (COMING.has(state)) return Math.floor(group.shape.nodes / nodes);
  if (state !== 'running') return 0;
  const { rows, isConnected } = options.pilots();
  const free = [...rows.values()].filter(
    (row) => row.block === id && isConnected(row.no) && options.engine.heldBy(row.no) === 0 && takes(row, work, needMs),
  );
  // One whose pilots all came, and died since, stays too small.
  return Math.floor((free.length + Math.max(0, group.shape.nodes - pilots.size)) / nodes);
}

/** Whether more gangs of one kind wait than blocks can begin. */
function wantsGangs(options: BlocksOptions, demand: Demand, own: readonly Block[], takes: Takes): boolean {
  const { nodes } = demand;
  if (nodes === undefined) return false;
  return demand.waiting > own.reduce((sum, block) => sum + gangPlaces(options, block, demand, nodes, takes), 0);
}

function wanted(options: BlocksOptions, all: readonly Demand[], own: readonly Block[], takes: Takes): number {
  if (all.some((demand) => wantsGangs(options, demand, own, takes))) return 1;
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
