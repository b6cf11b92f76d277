/**
 * Which waiting item goes to which slot.
 *
 * Invariants
 *  P1 A runner serves one pool key only: what one principal's code left in it never meets another's.
 *  P2 Warm first. A further slot is opened for a pool when its items are long, or one has waited MAX_WAIT_MS beside a
 *     free slot; short items stay together, where a frame carries hundreds.
 *  P3 When no slot is empty the one that was idle longest gives way; a busy one never does.
 *  P4 Pools are served in the order of their oldest waiting item. One that has no slot and waited MAX_WAIT_MS makes others
 *     yield: slots that together are enough for it get nothing more until they are empty, so no large one starves behind
 *     small ones.
 *  P5 Runners take of the node what their functions need (kernel/resources.ts), warm or busy: never more than there is.
 */
import type { Clock, Timer } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type Load, NO_LOAD, type NodeSize, plus, roomFor, shareOf, tooBig } from '#kernel/resources.ts';
import { takeGpus } from './gpus.ts';
import type { Lease, StopOrder } from './lease.ts';
import { LONG_ITEM_MS, MAX_WAIT_MS, WAIT_TICK_MS } from './limits.ts';
import { type ItemEnd, Slot, type SlotEvents, type SlotParts } from './slot.ts';
import type { LaunchSpec } from './spec.ts';

/** Waiting items of one pool, oldest first. A moving head: shift() on thousands of items copies them. */
class Pool {
  readonly key: string;
  #waiting: Lease[] = [];
  #head = 0;

  constructor(key: string) {
    this.key = key;
  }

  get length(): number {
    return this.#waiting.length - this.#head;
  }

  get oldest(): Lease | undefined {
    return this.#waiting[this.#head];
  }

  push(lease: Lease): void {
    this.#waiting.push(lease);
  }

  take(count: number, maxBytes: number): Lease[] {
    let end = this.#head;
    for (
      let bytes = 0;
      end < this.#waiting.length && end - this.#head < count && (bytes === 0 || bytes < maxBytes);
      end += 1
    ) {
      bytes += this.#waiting[end]?.bodyBytes ?? 0;
    }
    const taken = this.#waiting.slice(this.#head, end);
    this.#head = end;
    if (this.#head === this.#waiting.length || this.#head > 4096) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    return taken;
  }

  remove(lease: Lease): boolean {
    const at = this.#waiting.indexOf(lease, this.#head);
    if (at < 0) return false;
    this.#waiting.splice(at, 1);
    return true;
  }

  drain(): Lease[] {
    return this.take(this.length, Number.POSITIVE_INFINITY);
  }
}

export interface PoolsParts extends Omit<SlotParts, 'index' | 'events' | 'scratchDir'> {
  readonly clock: Clock;
  readonly slots: number;
  /** Left out: nothing is known of this node but its slots and accelerators. */
  readonly size?: NodeSize | undefined;
  readonly scratchDir: (slot: number) => string;
  onItem(lease: Lease, end: ItemEnd, slot: Slot | undefined): void;
  onProgress: SlotEvents['onProgress'];
  onLog: SlotEvents['onLog'];
  onReady: SlotEvents['onReady'];
}

/** Bytes of inline arguments in one frame to a runner. */
const MAX_RUN_BYTES = 4 * 1024 * 1024;

export class Pools {
  readonly slots: readonly Slot[];
  readonly #parts: PoolsParts;
  readonly #size: NodeSize;
  /** P4: slots that are to become empty, for the pool that waits for them. */
  #yielding: ReadonlySet<Slot> = new Set();
  readonly #pools = new Map<string, Pool>();
  /** P4: who waits for them. */
  #patient: Pool | undefined;
  #tick: Timer | undefined;
  #scheduled = false;
  #closed = false;

  constructor(parts: PoolsParts) {
    this.#parts = parts;
    const { gpus } = parts;
    const known = { cores: 0, memMiB: 0, ...parts.size };
    this.#size = { ...known, slots: parts.slots, gpus: gpus?.names.length ?? 0, accelerator: gpus?.vendor ?? '' };
    const events = (index: number): SlotEvents => ({
      onItem: (lease, end) => parts.onItem(lease, end, this.slots[index]),
      onProgress: (lease, done, total, perSecond) => parts.onProgress(lease, done, total, perSecond),
      onLog: (lease, bytes) => parts.onLog(lease, bytes),
      onReady: (lease) => parts.onReady(lease),
      onChange: () => this.#later(),
      onLoadFailed: (spec, error) => this.#loadFailed(spec.poolKey, error),
    });
    this.slots = Array.from({ length: parts.slots }, (_, index) => {
      return new Slot({ ...parts, index, scratchDir: parts.scratchDir(index), events: events(index) });
    });
  }

  get waiting(): number {
    let count = 0;
    for (const pool of this.#pools.values()) count += pool.length;
    return count;
  }

  get inFlight(): number {
    return this.slots.reduce((sum, slot) => sum + slot.inFlight.size, 0);
  }

  /** What to tell people about a lease. */
  stateOf(lease: Lease): 'waiting' | 'starting' | 'running' {
    const own = this.slots.filter((slot) => slot.spec?.poolKey === lease.spec.poolKey);
    if (own.some((slot) => slot.inFlight.has(lease.id))) return 'running';
    return own.some((slot) => slot.state === 'starting') ? 'starting' : 'waiting';
  }

  add(lease: Lease): void {
    if (this.#closed) {
      this.#fail(lease, new FarfieldError('E_UNAVAILABLE', 'the pilot is ending'), false);
      return;
    }
    const { poolKey } = lease.spec;
    const pool = this.#pools.get(poolKey) ?? new Pool(poolKey);
    this.#pools.set(poolKey, pool);
    pool.push(lease);
    this.#later();
  }

  /** Stops an item wherever it is. */
  stop(lease: Lease, order: StopOrder): void {
    if (this.#pools.get(lease.spec.poolKey)?.remove(lease) === true) {
      this.#parts.onItem(lease, { kind: 'stopped', order, left: [] }, undefined);
      return;
    }
    this.slots.find((slot) => slot.inFlight.has(lease.id))?.stop(lease, order);
  }

  /** Every part of a gang is ready: this one's ranks begin. */
  go(lease: Lease, address: string): void {
    this.slots.find((slot) => slot.inFlight.has(lease.id))?.go(lease, address);
  }

  /** Takes nothing more and gives out nothing more; what waits is answered as not charged. */
  close(why: FarfieldError): void {
    this.#closed = true;
    this.#tick?.cancel();
    for (const pool of this.#pools.values()) for (const lease of pool.drain()) this.#fail(lease, why, false);
  }

  /** Ends every runner. */
  async kill(why: FarfieldError): Promise<void> {
    this.close(why);
    await Promise.all(this.slots.map((slot) => slot.kill(why)));
  }

  #fail(lease: Lease, error: FarfieldError, charged: boolean): void {
    this.#parts.onItem(lease, { kind: 'failed', error, charged }, undefined);
  }

  /** The next runner would fail the same way: everything that waits for one has its answer. */
  #loadFailed(poolKey: string, error: FarfieldError): void {
    for (const lease of this.#pools.get(poolKey)?.drain() ?? []) this.#fail(lease, error, true);
    this.#later();
  }

  #later(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // One pass for all that a frame brings.
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#assign();
    });
  }

  #assign(): void {
    const pools = [...this.#pools.values()].filter((pool) => pool.length > 0);
    if (pools.length > 1) pools.sort((a, b) => (a.oldest?.receivedAt ?? 0) - (b.oldest?.receivedAt ?? 0));
    this.#yielding = this.#yieldersFor(pools);
    for (const pool of pools) {
      this.#feed(pool);
      if (pool.length > 0 && !this.#closed) this.#grow(pool);
    }
    for (const [key, pool] of this.#pools) {
      if (pool.length === 0 && !this.slots.some((slot) => slot.spec?.poolKey === key)) this.#pools.delete(key);
    }
    if (this.waiting === 0 || this.#closed) return;
    this.#tick ??= this.#parts.clock.after(WAIT_TICK_MS, () => {
      this.#tick = undefined;
      this.#assign();
    });
  }

  #feed(pool: Pool): void {
    for (const slot of this.slots) {
      if (slot.spec?.poolKey !== pool.key || this.#yielding.has(slot)) continue;
      for (let { room } = slot; room > 0 && pool.length > 0; { room } = slot) slot.run(pool.take(room, MAX_RUN_BYTES));
    }
  }

  #grow(pool: Pool): void {
    const own = this.slots.filter((slot) => slot.spec?.poolKey === pool.key);
    if (own.length > 0 && !this.#deservesMore(pool, own)) return;
    const slot = this.slots.find((s) => s.state === 'empty');
    const spec = pool.oldest?.spec;
    if (spec === undefined || !this.#canHold(pool.key, spec)) return;
    // What becomes empty is kept for the pool that the others yield to.
    if (this.#patient !== undefined && this.#patient !== pool) return;
    const gpus = takeGpus(this.#parts.gpus, spec.gpus, this.slots);
    if (slot !== undefined && gpus !== undefined && roomFor(this.#size, this.#load(this.slots), spec) >= 1) {
      slot.start(spec, gpus);
      return;
    }
    // P3. A pool that already has a slot takes no other's: it would throw out a warm runner for a little speed.
    if (own.length === 0 && !this.slots.some((s) => s.state === 'stopping')) this.#leastRecent(pool)?.retire();
  }

  /** What this node can never give is an answer, not a wait. */
  #canHold(poolKey: string, spec: LaunchSpec): boolean {
    const why = tooBig(this.#size, spec);
    if (why === undefined) return true;
    this.#loadFailed(poolKey, new FarfieldError('E_VARIANT_INCOMPATIBLE', why));
    return false;
  }

  /** P5: what the runners of these slots take. One that is being ended still has it. */
  #load(slots: readonly Slot[]): Load {
    let load = NO_LOAD;
    for (const { spec } of slots) if (spec !== undefined) load = plus(load, shareOf(this.#size, spec));
    return load;
  }

  /** P4. The first slots in their order: the same ones at every look, until they are empty. */
  #yieldersFor(pools: readonly Pool[]): ReadonlySet<Slot> {
    const now = this.#parts.clock.mono();
    const waits = ({ key, oldest }: Pool): boolean =>
      oldest !== undefined &&
      now - oldest.receivedAt >= MAX_WAIT_MS &&
      tooBig(this.#size, oldest.spec) === undefined &&
      !this.slots.some((slot) => slot.spec?.poolKey === key);
    // The same one until it has its slot: those who yielded to it are older, and would be the next to wait.
    if (this.#patient === undefined || !waits(this.#patient)) this.#patient = pools.find(waits);
    const spec = this.#patient?.oldest?.spec;
    const yielders = new Set<Slot>();
    if (spec === undefined) return yielders;
    const fits = (): boolean => {
      const kept = this.slots.filter((slot) => !yielders.has(slot));
      return roomFor(this.#size, this.#load(kept), spec) >= 1;
    };
    for (const slot of this.slots) {
      if (fits()) return yielders;
      // A runner that was just started for somebody who waited serves him first: else two would throw each other out for ever.
      const isFresh = !slot.served && slot.spec !== undefined && (this.#pools.get(slot.spec.poolKey)?.length ?? 0) > 0;
      if (slot.spec !== undefined && !isFresh) yielders.add(slot);
    }
    return fits() ? yielders : new Set();
  }

  #leastRecent(pool: Pool): Slot | undefined {
    let best: Slot | undefined;
    for (const slot of this.slots) {
      const wanted =
        !this.#yielding.has(slot) && slot.spec !== undefined && (this.#pools.get(slot.spec.poolKey)?.length ?? 0) > 0;
      if (!slot.idle || wanted || slot.spec?.poolKey === pool.key) continue;
      if (best === undefined || slot.lastUsed < best.lastUsed) best = slot;
    }
    return best;
  }

  /** P2. */
  #deservesMore(pool: Pool, own: readonly Slot[]): boolean {
    const starting = own.filter((slot) => slot.state === 'starting').length;
    // A runner that is coming up will take one at least.
    if (pool.length <= starting) return false;
    const now = this.#parts.clock.mono();
    if (now - (pool.oldest?.receivedAt ?? now) >= MAX_WAIT_MS) return true;
    return own.every((slot) => {
      if (slot.state !== 'warm') return false;
      const began = slot.oldestStart;
      return (slot.itemMs ?? 0) >= LONG_ITEM_MS || (began !== undefined && now - began >= LONG_ITEM_MS);
    });
  }
}
