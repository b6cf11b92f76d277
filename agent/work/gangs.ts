/**
 * Gangs: items that run on several pilots of one block at once (kernel/gangs.ts). Which pilots get one, and what becomes of its
 * one attempt when parts of it end. Bookkeeping alone: leases, commits and retries are the engine's and the attempts'.
 *
 * Invariants
 *  G1 All or nothing: a gang has all its nodes in one step or none, so two gangs never hold half of what each needs.
 *  G2 It has its nodes whole: a pilot that runs a part has nothing else. Ranks wait for one another, so one that shared its
 *     node with others' work would slow down all.
 *  G3 The gang that waits longest keeps the nodes of one block that it will have: they are given nothing else, so a stream of
 *     single calls does not starve it. After a gang began, single calls that wait have their turn before the next one keeps any.
 *  G4 One attempt, one lease, one outcome: the lease is the pilot's of node rank 0; the outcome is that one's result, or the
 *     first end of a part that was none. Then the other parts are told to end, and it is told when all of them have.
 *  G5 Memory alone knows a gang's parts. A new life of the agent has every part dropped, and the item starts again: half of a
 *     gang never goes on.
 */
import { gangOf } from '#kernel/gangs.ts';
import { NO_LOAD, roomFor } from '#kernel/resources.ts';
import type { HeldItem } from '../admission/ledger.ts';
import { itemKey, splitKey, type Work } from './mirror.ts';
import { type Demand, inFlightOf, type Runnable } from './placement.ts';
import type { AttemptEnd, Loss, PilotPort } from './ports.ts';
import { needOf } from './specs.ts';

interface Part {
  readonly no: number;
  readonly node: string;
  /** Undefined until its runner is there. */
  port: number | undefined;
  ended: boolean;
}

interface Live {
  readonly work: Work;
  readonly i: number;
  /** By node rank. */
  readonly parts: readonly Part[];
  /** Undefined until its lease is committed. */
  held: HeldItem | undefined;
  /** Where the ranks meet; undefined until all parts are ready. */
  address: string | undefined;
  /** G4: its first end without success. */
  cause: Settled | undefined;
  /** Of node rank 0. */
  result: AttemptEnd | undefined;
  /** Why its parts were told to end. */
  stopping: string | undefined;
}

/** What became of a gang's attempt; `no` is the pilot whose end it was. */
export type Settled =
  | { readonly kind: 'end'; readonly end: AttemptEnd }
  | { readonly kind: 'lost'; readonly no: number; readonly held: HeldItem; readonly loss: Loss };

export interface GangsOptions {
  readonly pilots: ReadonlyMap<number, PilotPort>;
  readonly isRunnable: (item: Runnable) => boolean;
  readonly specNo: (work: Work) => number;
  readonly needMs: (work: Work) => number;
  /** Commits the lease, then calls `launch`; or `abandon`. */
  readonly lease: (item: Runnable, ports: readonly PilotPort[]) => void;
}

export class Gangs {
  readonly #o: GangsOptions;
  readonly #lines = new Map<number, Runnable[]>();
  readonly #live = new Map<number, Live>();
  /** Pilot -> the item whose part it runs. */
  readonly #busy = new Map<number, number>();
  /** G3: pilots that take nothing else, and for whom. */
  readonly #kept = new Set<number>();

  constructor(options: GangsOptions) {
    this.#o = options;
  }

  get waiting(): number {
    let count = 0;
    for (const line of this.#lines.values()) count += line.length;
    return count;
  }

  add(item: Runnable): void {
    const specNo = this.#o.specNo(item.work);
    const line = this.#lines.get(specNo);
    if (line === undefined) this.#lines.set(specNo, [item]);
    else line.push(item);
  }

  /** Whether a pilot takes nothing else now. */
  reserves(no: number): boolean {
    return this.#busy.has(no) || this.#kept.has(no);
  }

  /** Whether it runs a part. */
  isPart(no: number): boolean {
    return this.#busy.has(no);
  }

  /** Begins what has its nodes; `mayKeep` is G3's turn. Answers whether one began. */
  place(mayKeep: boolean): boolean {
    this.#kept.clear();
    let began = false;
    for (const [specNo, line] of [...this.#lines]) {
      while (line.length > 0) {
        const item = line[0] as Runnable;
        if (this.#o.isRunnable(item)) {
          const nodes = this.#nodesFor(item.work);
          if (nodes === undefined) {
            if (mayKeep && this.#kept.size === 0) this.#keep(item.work);
            break;
          }
          this.#begin(item, nodes);
          began = true;
        }
        line.shift();
      }
      // A spec that still waits keeps its turn; one that is through comes anew.
      if (line.length === 0) this.#lines.delete(specNo);
    }
    return began;
  }

  /** Pilots that could have a part of this work, by block; also those that are busy. */
  #usable(work: Work): PilotPort[][] {
    const blocks = new Map<string, PilotPort[]>();
    const needMs = this.#o.needMs(work);
    const need = needOf(work);
    for (const pilot of this.#o.pilots.values()) {
      if (pilot.gang === undefined || pilot.takes?.(work, needMs) === false) continue;
      if (pilot.size !== undefined && roomFor(pilot.size, NO_LOAD, need) < 1) continue;
      const own = blocks.get(pilot.block);
      if (own === undefined) blocks.set(pilot.block, [pilot]);
      else own.push(pilot);
    }
    return [...blocks.values()];
  }

  #isFree(pilot: PilotPort): boolean {
    return inFlightOf(pilot) === 0 && !this.reserves(pilot.no);
  }

  /** G1 */
  #nodesFor(work: Work): PilotPort[] | undefined {
    const wanted = nodesOf(work);
    for (const pilots of this.#usable(work)) {
      const free = pilots.filter((pilot) => this.#isFree(pilot));
      if (free.length >= wanted) return free.slice(0, wanted);
    }
    return undefined;
  }

  /** G3: of the block that is nearest to having them. */
  #keep(work: Work): void {
    const wanted = nodesOf(work);
    const load = (pilot: PilotPort): number => (this.#busy.has(pilot.no) ? 1e6 : inFlightOf(pilot));
    const choices = this.#usable(work)
      .filter((pilots) => pilots.length >= wanted)
      .map((pilots) => pilots.sort((a, b) => load(a) - load(b)).slice(0, wanted))
      .map((pilots) => ({ pilots, load: pilots.reduce((sum, pilot) => sum + load(pilot), 0) }))
      .sort((a, b) => a.load - b.load);
    for (const { no } of choices[0]?.pilots ?? []) this.#kept.add(no);
  }

  #begin(item: Runnable, ports: readonly PilotPort[]): void {
    const key = itemKey(item.work.no, item.i);
    const parts = ports.map(({ no, node }): Part => ({ no, node, port: undefined, ended: false }));
    const fresh = { held: undefined, address: undefined, cause: undefined, result: undefined, stopping: undefined };
    this.#live.set(key, { ...item, parts, ...fresh });
    for (const { no } of parts) this.#busy.set(no, key);
    this.#o.lease(item, ports);
  }

  /** Its lease is committed, and all its pilots are here: tells every part. */
  launch(held: HeldItem, ports: readonly PilotPort[]): void {
    const key = itemKey(held.ticketNo, held.i);
    const live = this.#live.get(key);
    if (live === undefined) return;
    live.held = held;
    const nodes = live.parts.map(({ node }) => node);
    const { ranksPerNode } = gangOf(live.work.manifest.claims) ?? { ranksPerNode: 1 };
    for (const [nodeRank, port] of ports.entries()) {
      const item = { i: held.i, key, attempt: held.attempt };
      port.gang?.launch(live.work, held.leaseEpoch, item, { nodeRank, nodes, ranksPerNode });
    }
  }

  /** It was not begun, or is over: its nodes are free. */
  remove(ticketNo: number, i: number): void {
    const key = itemKey(ticketNo, i);
    for (const { no } of this.#live.get(key)?.parts ?? []) if (this.#busy.get(no) === key) this.#busy.delete(no);
    this.#live.delete(key);
  }

  /** Whether its parts are known here, so that its end is theirs to tell. */
  isLive({ ticketNo, i }: HeldItem): boolean {
    return this.#live.has(itemKey(ticketNo, i));
  }

  /** Whether this pilot holds a part of it that goes on. */
  holds(no: number, item: HeldItem): boolean {
    const live = this.#live.get(itemKey(item.ticketNo, item.i));
    return live !== undefined && isOf(live, item) && live.parts.some((part) => part.no === no && !part.ended);
  }

  /** A part's runner is there. The ranks begin when all are, and a part that says it again is told again. */
  ready(no: number, item: HeldItem, port: number): void {
    const live = this.#live.get(itemKey(item.ticketNo, item.i));
    const part = live?.parts.find((each) => each.no === no);
    if (live?.held === undefined || part === undefined || !isOf(live, item) || live.stopping !== undefined) return;
    part.port ??= port;
    if (live.address !== undefined) {
      this.#o.pilots.get(no)?.gang?.go(live.held, live.address);
      return;
    }
    if (live.parts.some((each) => each.port === undefined)) return;
    const [first] = live.parts;
    // Alone, it needs no network: in a container that has none, this works.
    const host = live.parts.length === 1 ? '127.0.0.1' : first?.node;
    live.address = `${host}:${first?.port}`;
    for (const each of live.parts) this.#o.pilots.get(each.no)?.gang?.go(live.held, live.address);
  }

  /** Tells all parts that have not ended to end; undefined where it is no gang. */
  stop(item: HeldItem, reason: string): boolean {
    const live = this.#live.get(itemKey(item.ticketNo, item.i));
    if (live === undefined) return false;
    this.#stop(live, reason);
    return true;
  }

  #stop(live: Live, reason: string): void {
    const { held } = live;
    if (held === undefined || live.stopping !== undefined) return;
    live.stopping = reason;
    for (const part of live.parts) if (!part.ended) this.#o.pilots.get(part.no)?.cancel([held], reason);
  }

  /** What is over by these ends: of gangs, only what their last part's end settles. An end of no part that is held is stale. */
  gather(
    no: number,
    ends: readonly AttemptEnd[],
    leaving: boolean,
    works: ReadonlyMap<number, Work>,
  ): { readonly ends: readonly AttemptEnd[]; readonly lost: readonly Settled[] } {
    const isPart = ({ key }: AttemptEnd): boolean => {
      const work = works.get(splitKey(key).ticketNo);
      return work !== undefined && gangOf(work.manifest.claims) !== undefined;
    };
    if (!ends.some(isPart)) return { ends, lost: [] };
    const lost: Settled[] = [];
    const over = ends.flatMap((end) => {
      const result = isPart(end) ? this.#ended(no, end, leaving) : ({ kind: 'end', end } as const);
      if (result?.kind === 'end') return [result.end];
      if (result !== undefined) lost.push(result);
      return [];
    });
    return { ends: over, lost };
  }

  /** An end of a part; the gang's, once it is the last one. */
  #ended(no: number, end: AttemptEnd, leaving: boolean): Settled | undefined {
    const live = this.#live.get(end.key);
    const part = live?.parts.find((each) => each.no === no);
    if (live === undefined || part === undefined || part.ended || !isOf(live, end)) return undefined;
    part.ended = true;
    const rank = live.parts.indexOf(part);
    if (end.status === 'succeeded') {
      if (rank === 0) live.result ??= end;
    } else if (end.status === 'cancelled') {
      // Some ranks were killed: whatever rank 0 said, the program did not end well.
      live.result = end;
      this.#stop(live, `node ${part.node} of its gang was cancelled`);
    } else if (live.cause === undefined) {
      const { message } = named(end, part, rank).detail.err ?? { message: 'its pilot ends' };
      // A pilot that hands back because it ends knows less of the reason than its job's scheduler.
      live.cause =
        leaving && !end.charged && live.held !== undefined
          ? { kind: 'lost', no, held: live.held, loss: { why: message, cause: 'unsaid' } }
          : { kind: 'end', end: named(end, part, rank) };
      this.#stop(live, `another node of its gang, ${part.node}, ended without success`);
    }
    return settled(live);
  }

  /** A pilot is gone with what it ran. */
  lost(no: number, loss: Loss): Settled | undefined {
    this.#kept.delete(no);
    const key = this.#busy.get(no);
    const live = key === undefined ? undefined : this.#live.get(key);
    const part = live?.parts.find((each) => each.no === no);
    if (live?.held === undefined || part === undefined) return undefined;
    const again = live.cause?.kind === 'lost' && live.cause.no === no;
    if (part.ended && !again) return undefined;
    part.ended = true;
    const why = `${loss.why} (node ${live.parts.indexOf(part)} of a gang of ${live.parts.length})`;
    // Said again, it knows more than the first time.
    if (live.cause === undefined || again)
      live.cause = { kind: 'lost', no, held: live.held, loss: live.parts.length === 1 ? loss : { ...loss, why } };
    this.#stop(live, `another node of its gang, ${part.node}, was lost`);
    return settled(live);
  }

  /** A pilot came back with what it has: what it should have and has not is lost, and what is being ended is told again. */
  attach(no: number, kept: ReadonlySet<number>): Settled | undefined {
    const key = this.#busy.get(no);
    const live = key === undefined ? undefined : this.#live.get(key);
    const part = live?.parts.find((each) => each.no === no);
    if (key === undefined || live?.held === undefined || part === undefined || part.ended) return undefined;
    if (!kept.has(key)) return this.lost(no, { why: 'its pilot did not have it after a reconnect', cause: 'said' });
    if (live.stopping !== undefined) this.#o.pilots.get(no)?.cancel([live.held], live.stopping);
    return undefined;
  }

  demands(): Demand[] {
    return [...this.#lines.values()].flatMap((line) => {
      const open = line.filter((item) => this.#o.isRunnable(item));
      const work = open[0]?.work;
      if (work === undefined) return [];
      return [{ work, waiting: open.length, paceMs: undefined, needMs: this.#o.needMs(work), nodes: nodesOf(work) }];
    });
  }

  /** For `why`, after "it waits for a place". */
  waitsFor(work: Work): string | undefined {
    const wanted = nodesOf(work);
    const best = Math.max(
      0,
      ...this.#usable(work).map(
        (pilots) => pilots.filter((each) => !this.#busy.has(each.no) && inFlightOf(each) === 0).length,
      ),
    );
    if (wanted === 1) return 'for a whole node';
    return `for ${wanted} nodes of one block together, ${best} ${best === 1 ? 'is' : 'are'} free`;
  }
}

export function nodesOf(work: Pick<Work, 'manifest'>): number {
  return gangOf(work.manifest.claims)?.nodes ?? 1;
}

function isOf({ held }: Live, { attempt, leaseEpoch }: Pick<HeldItem, 'attempt' | 'leaseEpoch'>): boolean {
  return held !== undefined && held.attempt === attempt && held.leaseEpoch === leaseEpoch;
}

/** G4: all parts have ended. */
function settled(live: Live): Settled | undefined {
  if (live.parts.some((part) => !part.ended)) return undefined;
  if (live.cause !== undefined) return live.cause;
  return live.result === undefined ? undefined : { kind: 'end', end: live.result };
}

/** The words of a failure say where. */
function named(end: AttemptEnd, part: Part, rank: number): AttemptEnd {
  const { err } = end.detail;
  if (err === undefined || err.message.includes(`on node ${part.node}`)) return end;
  return { ...end, detail: { ...end.detail, err: { ...err, message: `node ${rank}, ${part.node}: ${err.message}` } } };
}
