/**
 * One slot: a place where one runner lives, with what is in flight in it.
 *
 *     empty --start--> starting --ready--> warm --(runner ended)--> empty
 *                          |                 |
 *                          +-----------------+--retire--> stopping --> empty
 *
 * Invariants
 *  S1 Every item given to `run` is answered once, through `onItem`: by the runner's word, or by its death.
 *  S2 The window is what the runner does in WINDOW_MS at its measured pace: one item at a time while items are long, so
 *     that their time-outs are exact and no slot hoards work; hundreds while they are short.
 *  S3 A stopped item ends as stopped only when the runner said so, and nothing that it started can still run: adapters
 *     that start no processes are believed, the others' whole tree is killed first.
 *  S4 When a runner dies by an item's doing, the items beside it are charged too (which of them did it is unknown); when
 *     it dies by our doing, they are not.
 *  S5 A runner that started a program serves that one item: its end is told when everything that it started is gone, so nothing
 *     of a gang outlives it. Its ranks begin when the agent says that every part is ready.
 */
import type { Clock, Timer } from '#base/clock.ts';
import { measureDirectory } from '#base/directory-digest.ts';
import type { FileDigests } from '#base/file-digests.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { PROGRAM } from '#kernel/gangs.ts';
import type { RunnerDone } from '#protos/runner.ts';
import { type Gpus, gpuEnv } from './gpus.ts';
import type { Lease, StopOrder } from './lease.ts';
import {
  CANCEL_GRACE_MS,
  MAX_RUN_ITEMS,
  MAX_WINDOW_BYTES,
  MAX_WINDOW_ITEMS,
  TIMEOUT_TICK_MS,
  WINDOW_MS,
} from './limits.ts';
import { threadEnv } from './node.ts';
import { openRunner, type RunnerEnd, type RunnerHandle } from './runner.ts';
import { INSIDE } from './runtimes/container.ts';
import type { Runtime } from './runtimes/runtime.ts';
import type { LaunchSpec } from './spec.ts';
import { isContained } from './stage.ts';

/** How an item ended here. */
export type ItemEnd =
  | { readonly kind: 'done'; readonly done: RunnerDone; readonly inline: Buffer | undefined }
  | { readonly kind: 'failed'; readonly error: FarfieldError; readonly charged: boolean }
  | { readonly kind: 'stopped'; readonly order: StopOrder; readonly left: readonly number[] };

export interface SlotEvents {
  onItem(lease: Lease, end: ItemEnd): void;
  onProgress(lease: Lease, done: number, total: number, perSecond: number): void;
  /** The lease is known when it is the only one in flight. */
  onLog(lease: Lease | undefined, bytes: Buffer): void;
  /** Its runner is there, and it is told nothing before `go`. */
  onReady(lease: Lease): void;
  /** Room appeared, or the runner is gone: the owner gives out work again. */
  onChange(slot: Slot): void;
  /** The runner could not load: every waiting item of its pool would fail the same way. */
  onLoadFailed(spec: LaunchSpec, error: FarfieldError): void;
}

export interface SlotParts {
  readonly index: number;
  readonly clock: Clock;
  readonly digests: FileDigests;
  readonly scratchDir: string;
  readonly runtime: (name: string) => Runtime | undefined;
  readonly gpus?: Gpus | undefined;
  readonly events: SlotEvents;
}

/** Adapters of our own runner that start no processes: their word that an item ended is enough. */
const CHILDLESS: ReadonlySet<string> = new Set(['noop', 'ort']);

export class Slot {
  readonly index: number;
  readonly inFlight = new Map<string, Lease>();
  state: 'empty' | 'starting' | 'warm' | 'stopping' = 'empty';
  spec: LaunchSpec | undefined;
  lastUsed = 0;
  /** Whether its runner was given anything yet. */
  served = false;
  /** Digest of the model that was loaded, as measured. */
  modelDigest: string | undefined;
  /** `sif:` digest of the image that runs, and the network that it was given: measured, for receipts. */
  image: string | undefined;
  network: 'none' | 'host' | undefined;
  /** Accelerators that its runner has. */
  gpus: readonly string[] = [];
  loadMs = 0;
  /** When the runner became warm: who waited for that, waited for the load. */
  warmAt = 0;
  /** Milliseconds an item took lately; undefined before the first. */
  itemMs: number | undefined;
  readonly #parts: SlotParts;
  #runner: RunnerHandle | undefined;
  /** S5: what the runner said of its one item. */
  #last: { readonly id: string; readonly end: ItemEnd } | undefined;
  /** S5: whether its ranks were begun. */
  #gone = false;
  #window = 1;
  #bytes = 0;
  #lastDoneAt = 0;
  #timeoutTimer: Timer | undefined;
  #life = 0;
  #opening: Promise<void> = Promise.resolve();

  constructor(parts: SlotParts) {
    this.#parts = parts;
    this.index = parts.index;
  }

  /** Items that may be given to `run` now. */
  get room(): number {
    if (this.state !== 'warm' || this.#bytes >= MAX_WINDOW_BYTES) return 0;
    return Math.max(0, Math.min(this.#window - this.inFlight.size, MAX_RUN_ITEMS));
  }

  get idle(): boolean {
    return this.state === 'warm' && this.inFlight.size === 0;
  }

  /** When the oldest item in flight began, as far as this side can know. */
  get oldestStart(): number | undefined {
    const oldest = this.inFlight.values().next();
    return oldest.done === true ? undefined : Math.max(oldest.value.startedAt, this.#lastDoneAt);
  }

  /** Starts a runner for this spec; the outcome comes through events. */
  start(spec: LaunchSpec, gpus: readonly string[] = []): void {
    this.state = 'starting';
    this.gpus = gpus;
    this.spec = spec;
    this.itemMs = undefined;
    this.#window = 1;
    this.served = false;
    this.#life += 1;
    this.lastUsed = this.#parts.clock.mono();
    this.#opening = this.#open(spec, this.#life).catch((reason: unknown) => {
      this.#empty();
      this.#parts.events.onLoadFailed(spec, FarfieldError.from(reason));
    });
  }

  async #open(spec: LaunchSpec, life: number): Promise<void> {
    const { scratchDir, events, clock } = this.#parts;
    const runtime = this.#parts.runtime(spec.runtime);
    if (runtime === undefined)
      throw new FarfieldError('E_VARIANT_INCOMPATIBLE', `this pilot has no runtime "${spec.runtime}"`);
    // The process starts while the model is hashed; it learns of the model only when the digest is right.
    const [started, model] = await Promise.allSettled([
      runtime.start({ spec, scratchDir, env: { ...threadEnv(spec.cores), ...gpuEnv(this.#parts.gpus, this.gpus) } }),
      this.#measureModel(spec),
    ]);
    if (started.status === 'rejected') throw started.reason;
    const mine = (): boolean => this.#life === life;
    const runner = openRunner(
      started.value,
      {
        onReady: (_, loadMs) => mine() && this.#ready(spec, loadMs),
        onDone: (items, body) => mine() && this.#done(items, body),
        onProgress: (id, done, total, perSecond) => {
          const lease = this.inFlight.get(id);
          if (mine() && lease !== undefined) events.onProgress(lease, done, total, perSecond);
        },
        onLog: (bytes) => events.onLog(this.#onlyOne(), bytes),
        onEnded: (end) => mine() && this.#ended(end),
      },
      clock,
    );
    this.#runner = runner;
    if (model.status === 'rejected') {
      await runner.kill(FarfieldError.from(model.reason));
      return;
    }
    this.modelDigest = model.value;
    if (this.state !== 'starting') return;
    this.image = started.value.image;
    this.network = started.value.network;
    const { adapter, entry, threads, variant } = spec;
    // A container sees them at fixed paths.
    const contained = isContained(spec);
    const modelRoot = contained && spec.modelRoot !== undefined ? INSIDE.model : spec.modelRoot;
    runner.load({
      adapter,
      threads,
      scratchDir: contained ? INSIDE.scratch : scratchDir,
      ...(entry === undefined ? {} : { entry }),
      ...(modelRoot === undefined ? {} : { modelRoot }),
      ...(variant === '' ? {} : { variant }),
    });
  }

  async #measureModel(spec: LaunchSpec): Promise<string | undefined> {
    if (spec.modelRoot === undefined) return undefined;
    const { digest } = await measureDirectory(spec.modelRoot, this.#parts.digests);
    if (digest === spec.modelDigest) return digest;
    throw new FarfieldError('E_DIGEST', `the model folder has ${digest}, not the ${spec.modelDigest} that was signed`);
  }

  #ready(spec: LaunchSpec, loadMs: number): void {
    // Once more, now that it was read by path: the stored identities make it a matter of some stats.
    this.#measureModel(spec).then(
      () => {
        if (this.state !== 'starting') return;
        this.state = 'warm';
        this.loadMs = loadMs;
        this.warmAt = this.#parts.clock.mono();
        this.#parts.events.onChange(this);
      },
      (reason: unknown) => void this.#runner?.kill(FarfieldError.from(reason)),
    );
  }

  #onlyOne(): Lease | undefined {
    return this.inFlight.size === 1 ? this.inFlight.values().next().value : undefined;
  }

  run(leases: readonly Lease[]): void {
    const now = this.#parts.clock.mono();
    const body: Uint8Array[] = [];
    for (const lease of leases) {
      lease.startedAt = now;
      this.inFlight.set(lease.id, lease);
      this.#bytes += lease.bodyBytes;
      for (const part of lease.body) body.push(part);
    }
    this.lastUsed = now;
    this.served = true;
    const [first] = leases;
    if (first?.gang !== undefined) this.#parts.events.onReady(first);
    else
      this.#runner?.run(
        leases.map((lease) => lease.item),
        body,
      );
    this.#timeoutTimer ??= this.#parts.clock.after(TIMEOUT_TICK_MS, () => this.#checkTimeouts());
  }

  /** S5. Said again, it starts nothing twice. */
  go(lease: Lease, address: string): void {
    if (lease.gang === undefined || this.#gone || lease.stop !== undefined || !this.inFlight.has(lease.id)) return;
    this.#gone = true;
    const { nodeRank, nodes, ranksPerNode } = lease.gang;
    this.#runner?.run([{ ...lease.item, gang: { nodeRank, nodes, ranksPerNode, address } }], lease.body);
  }

  #done(items: readonly RunnerDone[], body: Buffer): void {
    const { clock, events } = this.#parts;
    const now = clock.mono();
    const since = this.oldestStart ?? now;
    let answered = 0;
    let at = 0;
    for (const done of items) {
      const size = done.result?.at === 'inline' ? done.result.size : 0;
      const inline = done.result?.at === 'inline' ? body.subarray(at, at + size) : undefined;
      at += size;
      const lease = this.inFlight.get(done.id);
      if (lease === undefined || (inline !== undefined && inline.length !== size)) {
        void this.#runner?.kill(
          new FarfieldError('E_PROTOCOL', 'the runner answered an item that it does not have, or without its bytes'),
        );
        return;
      }
      if (lease.spec.adapter === PROGRAM && lease.stop === undefined) {
        // It stays in flight: the end of the tree answers it.
        this.#last = { id: lease.id, end: { kind: 'done', done, inline } };
        void this.#runner?.kill(new FarfieldError('E_UNAVAILABLE', 'the program is over'));
        return;
      }
      this.#remove(lease);
      answered += 1;
      if (lease.stop !== undefined && done.status === 'cancelled') this.#stopped(lease, lease.stop);
      else events.onItem(lease, { kind: 'done', done, inline });
    }
    this.#pace(answered, now - since);
    this.#lastDoneAt = now;
    this.lastUsed = now;
    events.onChange(this);
  }

  /** The runner says that a stopped item ended (S3). */
  #stopped(lease: Lease, order: StopOrder): void {
    if (CHILDLESS.has(lease.spec.adapter)) {
      this.#parts.events.onItem(lease, { kind: 'stopped', order, left: [] });
      return;
    }
    // Back among those in flight: the end of the tree answers it.
    this.inFlight.set(lease.id, lease);
    void this.#runner?.kill(
      new FarfieldError('E_UNAVAILABLE', 'the runner was ended because another item in it was stopped'),
    );
  }

  #remove(lease: Lease): void {
    this.inFlight.delete(lease.id);
    this.#bytes -= lease.bodyBytes;
  }

  /** S2. Growth is bounded by doubling, so that two frames read in one turn do not look like infinite speed. */
  #pace(items: number, ms: number): void {
    const each = Math.max(ms, 0.05) / items;
    this.itemMs = this.itemMs === undefined ? each : (this.itemMs + each) / 2;
    const wanted = Math.ceil(WINDOW_MS / this.itemMs);
    this.#window = Math.max(1, Math.min(wanted, 2 * Math.max(this.#window, items), MAX_WINDOW_ITEMS));
  }

  /** Asks the runner to stop an item; kills the runner if it does not. */
  stop(lease: Lease, order: StopOrder): void {
    if (lease.stop !== undefined || !this.inFlight.has(lease.id)) return;
    lease.stop = order;
    this.#runner?.cancel([lease.id]);
    const runner = this.#runner;
    this.#parts.clock.after(CANCEL_GRACE_MS, () => {
      if (runner !== this.#runner || !this.inFlight.has(lease.id)) return;
      void runner?.kill(
        new FarfieldError('E_UNAVAILABLE', 'the runner was ended because another item in it did not stop'),
      );
    });
  }

  #checkTimeouts(): void {
    this.#timeoutTimer = undefined;
    const now = this.#parts.clock.mono();
    for (const lease of this.inFlight.values()) {
      const began = Math.max(lease.startedAt, this.#lastDoneAt);
      if (now - began < lease.spec.timeoutMs) continue;
      this.stop(lease, { kind: 'timeout', reason: `ran longer than its time-out of ${lease.spec.timeoutMs / 1000} s` });
    }
    if (this.inFlight.size > 0)
      this.#timeoutTimer = this.#parts.clock.after(TIMEOUT_TICK_MS, () => this.#checkTimeouts());
  }

  /** Ends an idle runner in good order: another pool needs the slot, or the pilot ends. */
  retire(): void {
    if (this.state !== 'warm') return;
    this.state = 'stopping';
    void this.#runner?.close();
  }

  /** Ends the runner now, whatever it does. Items in flight are answered as not charged. */
  async kill(why: FarfieldError): Promise<void> {
    if (this.state === 'empty') return;
    this.state = 'stopping';
    // A process that is just being started cannot be ended before it is there.
    await this.#opening;
    await this.#runner?.kill(why);
  }

  #ended(end: RunnerEnd): void {
    const lost = [...this.inFlight.values()];
    const { spec } = this;
    const byUs = end.error.code === 'E_UNAVAILABLE';
    const last = end.left.length === 0 ? this.#last : undefined;
    const wasStarting = this.state === 'starting';
    this.#empty();
    for (const lease of lost) {
      if (last?.id === lease.id) this.#parts.events.onItem(lease, last.end);
      else if (lease.stop !== undefined)
        this.#parts.events.onItem(lease, { kind: 'stopped', order: lease.stop, left: end.left });
      else if (end.left.length > 0) this.#parts.events.onItem(lease, leftBehind(end.left));
      else this.#parts.events.onItem(lease, { kind: 'failed', error: end.error, charged: !byUs });
    }
    if (wasStarting && !byUs && spec !== undefined) this.#parts.events.onLoadFailed(spec, end.error);
    else this.#parts.events.onChange(this);
  }

  #empty(): void {
    this.#timeoutTimer?.cancel();
    this.#timeoutTimer = undefined;
    this.#runner = undefined;
    this.#last = undefined;
    this.#gone = false;
    this.#life += 1;
    this.#bytes = 0;
    this.inFlight.clear();
    this.state = 'empty';
    this.spec = undefined;
    this.modelDigest = undefined;
    this.image = undefined;
    this.network = undefined;
    this.gpus = [];
  }
}

function leftBehind(left: readonly number[]): ItemEnd {
  const text = `its runner ended, but ${left.length} of its processes could not be ended (${left.join(', ')})`;
  return { kind: 'failed', error: new FarfieldError('E_OUTCOME_UNKNOWN', text), charged: true };
}
