/**
 * A store behind one writer: commands from anywhere in the process become group commits in a worker thread.
 *
 *   submit ──┐ one message a turn        ┌─ BEGIN IMMEDIATE, all commands, COMMIT (fsync) ─┐
 *   submit ──┼──────────────▶ writer ────┤  meanwhile the next messages queue              ├──▶ promises resolve
 *   submit ──┘                           └─────────────────────────────────────────────────┘
 *   query  ─────────────────▶ reader (own connection; also moves the log into the main file)
 *
 * Invariants
 *  S1 `submit` resolves after the fsync of the commit that holds the command, never before (R1 of every hop).
 *  S2 Commands take effect in the order of `submit`, and their promises settle in that order.
 *  S3 A query asked after a submit resolved sees that command.
 *  S4 When idle nothing waits: a lone command is sent in the same turn, and a group is whatever queued during
 *     the previous commit.
 *  S5 Failure is closed: if the writer dies or its disk fails, everything that waits is rejected and so is
 *     whatever comes later.
 *
 * Checkpoints. SQLite's default moves the log inside some unlucky commit. Here the reader's thread does it once
 * 1,000 pages are behind, while commits go on; the writer only settles the small rest when the log passes 8,000
 * pages (32 MiB), so that it starts over. Measured at full load on a busy 2-core machine, single rows: p99 2.1
 * ms (automatic: 8.2), groups of 50: 17.6 (39.8).
 */
import { Worker } from 'node:worker_threads';
import { FarfieldError } from '#kernel/errors.ts';
import { type EngineOptions, errorOf, openEngine } from './engine.ts';
import type { CommandModule } from './module.ts';
import { pack } from './pack.ts';
import { closedError, Reader, type Waiter } from './reader.ts';
import type { FromWriter, ToWriter, WorkerData } from './worker.ts';

export interface GroupStats {
  /** Transactions committed. */
  readonly commits: number;
  /** Commands answered, failures among them. */
  readonly commands: number;
  /** Groups that ran twice because one of their commands failed. */
  readonly reruns: number;
  /** Commands submitted and not yet answered. */
  readonly queued: number;
}

export interface GroupStore<C, R, Q = never, A = never> extends AsyncDisposable {
  /** Resolves after the commit that contains the command. The command is copied here and now. */
  submit(command: C): Promise<R>;
  /** Answers from a snapshot that holds every command whose submit has resolved. */
  query(query: Q): Promise<A>;
  /** Gives back what queries need (a thread, about 13 MB) if none is under way: for owners who rarely ask. */
  rest(): void;
  /** Commits what was submitted, then ends. Whatever is submitted later is refused. */
  close(): Promise<void>;
  stats(): GroupStats;
  /**
   * Settles when the store has ended: undefined after `close`, the reason if it died. Owners end their process
   * on a reason.
   */
  readonly ended: Promise<FarfieldError | undefined>;
}

export interface GroupStoreOptions {
  /** In a folder that exists. */
  readonly file: string;
  /** The command module: `.ts` when run from source, `.mjs` when bundled. */
  readonly module: URL;
  /** The number of the module's migrations, said again by the owner so that a mix-up is seen at start. */
  readonly userVersion: number;
  /** Pages of 4 KiB; none by default, the disk decides. */
  readonly maxPageCount?: number;
  /** `off` only for tests that show that they notice: an acknowledged command may be lost. */
  readonly synchronous?: 'full' | 'off';
  /** Commands waiting beyond this many are refused as E_BUSY: a stalled disk must not become a full memory. */
  readonly maxQueued?: number;
  /** The thread's file where a bundle has put it elsewhere than beside this one as `store-worker.mjs`. */
  readonly worker?: URL;
}

type ResolvedGroupStoreOptions = Required<GroupStoreOptions>;

const OPTION_KEYS = ['file', 'module', 'userVersion', 'maxPageCount', 'synchronous', 'maxQueued', 'worker'];
/**
 * One commit of this many 1 KiB rows takes about 20 ms; a larger group gains nothing and makes its first
 * command wait.
 */
const MAX_GROUP = 2048;
const CHECKPOINT_BEHIND_PAGES = 1000;
const WAL_SETTLE_PAGES = 8000;

export function resolveGroupStoreOptions(o: GroupStoreOptions): ResolvedGroupStoreOptions {
  for (const key of Object.keys(o)) {
    if (!OPTION_KEYS.includes(key)) throw new FarfieldError('E_BAD_REQUEST', `a group store has no option "${key}"`);
  }
  return {
    maxPageCount: 0,
    synchronous: 'full',
    maxQueued: 200_000,
    worker: new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './store-worker.mjs', import.meta.url),
    ...o,
  };
}

function engineOptions(o: ResolvedGroupStoreOptions): EngineOptions {
  return { file: o.file, userVersion: o.userVersion, maxPageCount: o.maxPageCount, synchronous: o.synchronous };
}

function startWorker(role: 'writer' | 'reader', o: ResolvedGroupStoreOptions, bell: SharedArrayBuffer): Worker {
  const workerData: WorkerData = {
    role,
    module: o.module.href,
    engine: engineOptions(o),
    bell,
    maxGroup: MAX_GROUP,
    walSettlePages: WAL_SETTLE_PAGES,
  };
  // None of the process's own flags: a loader hook or a profiler meant for it would run in each thread as well.
  return new Worker(o.worker, { workerData, name: `store ${role}`, execArgv: [] });
}

class ThreadedStore<C, R, Q, A> implements GroupStore<C, R, Q, A> {
  readonly ended: Promise<FarfieldError | undefined>;
  readonly #writer: Worker;
  readonly #reader: Reader<Q, A>;
  readonly #bell: Int32Array;
  readonly #maxQueued: number;
  /** The writer's thread has ended. */
  readonly #gone: Promise<void>;
  /** Taken in, not yet sent. */
  #outgoing: C[] = [];
  #flushPlanned = false;
  /** In the order of submission; `#answered` counts those at the front that are settled already. */
  #waiting: Waiter<R>[] = [];
  #answered = 0;
  #commits = 0;
  #commands = 0;
  #reruns = 0;
  /** What whoever comes now is told: the store is closing, or failed. */
  #over: FarfieldError | undefined;
  /** Nothing that the writer says counts any more. */
  #dead = false;
  #closing: Promise<void> | undefined;
  #settleEnded: (reason: FarfieldError | undefined) => void;

  constructor(writer: Worker, startReader: () => Worker, bell: SharedArrayBuffer, maxQueued: number) {
    this.#writer = writer;
    this.#reader = new Reader(startReader, (error) => {
      this.#fail(error);
      // A commit that it is in the middle of is acknowledged to nobody.
      void writer.terminate();
    });
    this.#bell = new Int32Array(bell);
    this.#maxQueued = maxQueued;
    const { promise, resolve } = Promise.withResolvers<FarfieldError | undefined>();
    this.ended = promise;
    this.#settleEnded = resolve;
    writer.on('message', (message: FromWriter) => this.#receive(message));
    writer.on('error', (error) => this.#fail(FarfieldError.from(error)));
    this.#gone = new Promise((resolve) => {
      writer.on('exit', () => {
        this.#fail(this.#closing === undefined ? closedError() : undefined);
        resolve();
      });
    });
  }

  submit(command: C): Promise<R> {
    return new Promise((resolve, reject) => {
      const queued = this.#queued();
      if (this.#over !== undefined) return reject(this.#over);
      if (queued >= this.#maxQueued) {
        return reject(new FarfieldError('E_BUSY', `${queued} commands wait for the disk already`, { retryAfterS: 1 }));
      }
      this.#waiting.push({ resolve, reject });
      this.#outgoing.push(command);
      if (this.#flushPlanned) return;
      this.#flushPlanned = true;
      // An idle writer gets the command in this turn. A busy one could not take it yet: gathering until the end
      // of the turn makes one message of many, and costs nobody anything.
      if (queued === 0) queueMicrotask(() => this.#flush());
      else setImmediate(() => this.#flush());
    });
  }

  query(query: Q): Promise<A> {
    return this.#over === undefined ? this.#reader.query(query) : Promise.reject(this.#over);
  }

  rest(): void {
    this.#reader.rest();
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  stats(): GroupStats {
    return { commits: this.#commits, commands: this.#commands, reruns: this.#reruns, queued: this.#queued() };
  }

  #queued(): number {
    return this.#waiting.length - this.#answered;
  }

  #flush(): void {
    this.#flushPlanned = false;
    if (this.#outgoing.length === 0) return;
    const commands = this.#outgoing;
    this.#outgoing = [];
    this.#send({ commands });
  }

  #send(message: ToWriter): void {
    const packed = pack(message);
    this.#writer.postMessage(packed.value, packed.transfer);
    Atomics.add(this.#bell, 0, 1);
    Atomics.notify(this.#bell, 0);
  }

  #receive(message: FromWriter): void {
    if (this.#dead) return;
    if (message.refused !== undefined) this.#fail(errorOf(message.refused));
    const { values = [], failures = [] } = message;
    const failed = new Map(failures);
    for (const [index, value] of values.entries()) {
      const waiter = this.#waiting[this.#answered++];
      const failure = failed.get(index);
      if (failure === undefined) waiter?.resolve(value as R);
      else waiter?.reject(errorOf(failure));
    }
    // Cutting the front off at every answer would copy a long queue again and again.
    if (this.#answered > 4096 || this.#answered === this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#answered);
      this.#answered = 0;
    }
    this.#commands += values.length;
    this.#commits = message.commits ?? this.#commits;
    this.#reruns = message.reruns ?? this.#reruns;
    if ((message.walBehind ?? 0) >= CHECKPOINT_BEHIND_PAGES && this.#closing === undefined) this.#reader.checkpoint();
  }

  async #end(): Promise<void> {
    if (this.#over !== undefined) {
      await this.#gone;
      return;
    }
    this.#flush();
    this.#over = closedError();
    // The reader goes first: the last connection to leave moves the log into the main file and deletes it.
    await this.#reader.end();
    this.#send({ end: true });
    await this.#gone;
  }

  /** The writer is gone: whoever still waits learns why. Without a reason it went because it was asked to. */
  #fail(reason: FarfieldError | undefined): void {
    this.#over ??= reason;
    this.#dead = true;
    const waiting = this.#waiting.slice(this.#answered);
    this.#waiting = [];
    this.#answered = 0;
    this.#outgoing = [];
    for (const waiter of waiting) waiter.reject(reason ?? closedError());
    this.#settleEnded(reason);
    if (reason !== undefined) void this.#reader.end();
  }
}

/**
 * Opens the file, brings its schema up to date and starts the writer. Refuses a file from a newer version
 * (E_VERSION).
 */
export async function openGroupStore<C, R, Q = never, A = never>(
  options: GroupStoreOptions,
): Promise<GroupStore<C, R, Q, A>> {
  const o = resolveGroupStoreOptions(options);
  const bell = new SharedArrayBuffer(4);
  const writer = startWorker('writer', o, bell);
  const first = await new Promise<FromWriter>((resolve, reject) => {
    writer.once('message', resolve);
    writer.once('error', reject);
    writer.once('exit', () =>
      reject(new FarfieldError('E_INTERNAL', `the writer of ${o.file} ended before it opened the file`)),
    );
  });
  if (first.refused !== undefined) throw errorOf(first.refused);
  return new ThreadedStore<C, R, Q, A>(writer, () => startWorker('reader', o, bell), bell, o.maxQueued);
}

export interface SynchronousGroupOptions<C, R, Q, A> {
  readonly module: CommandModule<C, R, Q, A>;
  /** `:memory:` unless a test wants to open the file again. */
  readonly file?: string;
  readonly maxPageCount?: number;
  /**
   * When the queued commands are committed. A simulator passes its own and decides what a crash still finds
   * uncommitted.
   */
  readonly schedule?: (commit: () => void) => void;
}

/** The same module and the same engine in this thread, for simulations and tests: no worker, no disk, no time. */
export function synchronousGroup<C, R, Q = never, A = never>(
  o: SynchronousGroupOptions<C, R, Q, A>,
): GroupStore<C, R, Q, A> {
  const { module, file = ':memory:', maxPageCount = 0, schedule = queueMicrotask } = o;
  const engine = openEngine<C, R>(module, {
    file,
    userVersion: module.schema.length,
    maxPageCount,
    synchronous: 'off',
  });
  const answer = module.openReads?.(engine.db);
  let queue: { command: C; waiter: Waiter<R> }[] = [];
  let commands = 0;
  let closed = false;
  const { promise: ended, resolve: settleEnded } = Promise.withResolvers<FarfieldError | undefined>();
  const commit = (): void => {
    const group = queue;
    queue = [];
    if (group.length === 0 || closed) return;
    for (const [index, outcome] of engine.run(group.map((entry) => entry.command)).entries()) {
      const waiter = group[index]?.waiter;
      if (outcome.ok) waiter?.resolve(outcome.value);
      else waiter?.reject(errorOf(outcome.failure));
    }
    commands += group.length;
  };
  const close = async (): Promise<void> => {
    if (closed) return;
    commit();
    closed = true;
    engine.close();
    settleEnded(undefined);
  };
  return {
    ended,
    submit: (command) =>
      new Promise((resolve, reject) => {
        if (closed) return reject(closedError());
        // The threaded form copies too: a caller that reuses its object must behave alike in both.
        queue.push({ command: structuredClone(command), waiter: { resolve, reject } });
        if (queue.length === 1) schedule(commit);
      }),
    query: async (query) => {
      if (closed) throw closedError();
      if (answer === undefined) throw new FarfieldError('E_INTERNAL', 'the command module exports no openReads');
      return structuredClone(answer(query));
    },
    rest: () => undefined,
    close,
    [Symbol.asyncDispose]: close,
    stats: () => ({ commits: engine.commits(), commands, reruns: engine.reruns(), queued: queue.length }),
  };
}
