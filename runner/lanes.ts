/**
 * The lanes of one model: worker threads that share every block.
 *
 * Why threads: inference in Node runs on the thread that asks for it, so it would otherwise stop reading, writing and the
 * pipe. Why several one-thread sessions rather than one session of several threads: batches are independent, and two
 * sessions answer a tenth to a quarter more patches than one with two threads. Models too large to hold twice get one lane.
 *
 * Invariants
 *  L1 A posted block settles only when every lane has answered for it; then no lane touches it.
 *  L2 A lane that dies fails the block and all later ones: the runner is then of no use and says so.
 */
import { Worker } from 'node:worker_threads';
import { type ErrorCode, FarfieldError, isErrorCode } from '#kernel/errors.ts';
import type { Model } from '#protos/model.ts';
import type { TensorFacts } from './adapters/adapter.ts';
import { type Block, type BlockLayout, CANCELLED, createBlock, NEXT } from './blocks.ts';
import { MAX_LANE_BATCH, MAX_REPLICATED_MODEL_BYTES } from './limits.ts';
import type { VariantFile } from './model.ts';

/** What a lane needs to start; copied to its thread. */
export interface LaneData {
  readonly adapter: string;
  readonly model: Model;
  readonly file: Uint8Array | string;
  readonly threads: number;
  readonly batch: number;
}

/** Main thread to lane. */
export type ToLane =
  | { readonly op: 'layout'; readonly layout: BlockLayout; readonly memories: readonly SharedArrayBuffer[] }
  | { readonly op: 'block'; readonly slot: number; readonly rows: number }
  | { readonly op: 'close' };

/** Milliseconds that one lane, or all lanes together, spent on a block. */
export interface LaneTimes {
  readonly preMs: number;
  readonly inferMs: number;
  readonly postMs: number;
}

/** Lane to main thread. `ready` or `failed` comes first and once. */
export type FromLane =
  | { readonly op: 'ready'; readonly facts: TensorFacts }
  | { readonly op: 'failed'; readonly code: ErrorCode; readonly message: string }
  | ({ readonly op: 'block'; readonly slot: number } & LaneTimes)
  | { readonly op: 'blockFailed'; readonly slot: number; readonly message: string };

export interface LanesOptions {
  readonly adapter: string;
  readonly model: Model;
  readonly file: VariantFile;
  /** Threads of all lanes together. */
  readonly threads: number;
}

/** A block that lanes work on: how many have not answered, and what they have said so far. */
interface PostedBlock {
  left: number;
  times: LaneTimes;
  failure: FarfieldError | undefined;
  readonly settled: PromiseWithResolvers<LaneTimes>;
}

export class Lanes implements AsyncDisposable {
  readonly facts: TensorFacts;
  readonly count: number;
  readonly batch: number;
  readonly #workers: readonly Worker[];
  readonly #exits: readonly Promise<void>[];
  readonly #posted = new Map<number, PostedBlock>();
  #layoutKey = '';
  #blocks: Block[] = [];
  #dead: FarfieldError | undefined;
  #closing = false;
  readonly #died = Promise.withResolvers<void>();

  private constructor(workers: readonly Worker[], facts: TensorFacts, batch: number) {
    this.#workers = workers;
    this.facts = facts;
    this.count = workers.length;
    this.batch = batch;
    for (const worker of workers) {
      worker.on('message', (message: FromLane) => this.#answered(message));
      // An error is followed by the exit, which says it to everybody who waits (L2).
      worker.on('error', () => {});
    }
    this.#exits = workers.map((worker) => new Promise((resolve) => worker.once('exit', () => resolve(this.#exited()))));
  }

  /** Starts all lanes and waits until each has run a batch; if one fails, all end and its reason is thrown. */
  static async open(options: LanesOptions): Promise<Lanes> {
    const count = options.file.bytes <= MAX_REPLICATED_MODEL_BYTES ? options.threads : 1;
    const { preferred, max } = options.model.batch;
    const batch = Math.min(preferred[0] as number, max, count > 1 ? MAX_LANE_BATCH : Infinity);
    const data: LaneData = {
      adapter: options.adapter,
      model: options.model,
      file: options.file.model,
      threads: options.threads / count,
      batch,
    };
    // A model that one lane holds alone is handed over, not copied: it may be gigabytes.
    const bytes = options.file.model;
    const handed = count === 1 && typeof bytes !== 'string' && bytes.byteLength === bytes.buffer.byteLength;
    const transfer = handed ? [bytes.buffer as ArrayBuffer] : [];
    const workers = Array.from({ length: count }, () => startWorker(data, transfer));
    const outcomes = await Promise.allSettled(workers.map(firstAnswer));
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) {
      await Promise.all(workers.map((worker) => worker.terminate()));
      throw failed.reason;
    }
    const facts = (outcomes[0] as PromiseFulfilledResult<TensorFacts>).value;
    return new Lanes(workers, facts, batch);
  }

  /** Blocks of this layout; the memory is kept between jobs of one layout. */
  blocks(layout: BlockLayout, count: number): readonly Block[] {
    const key = JSON.stringify([layout, count]);
    if (key !== this.#layoutKey) {
      this.#blocks = Array.from({ length: count }, () => createBlock(layout));
      this.#layoutKey = key;
      this.#send({ op: 'layout', layout, memories: this.#blocks.map((block) => block.memory) });
    }
    return this.#blocks;
  }

  /** Lets the lanes compute the first `rows` rows of a block. */
  post(slot: number, rows: number): Promise<LaneTimes> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    const { control } = this.#blocks[slot] as Block;
    control[NEXT] = 0;
    control[CANCELLED] = 0;
    const posted: PostedBlock = {
      left: this.count,
      times: { preMs: 0, inferMs: 0, postMs: 0 },
      failure: undefined,
      settled: Promise.withResolvers<LaneTimes>(),
    };
    this.#posted.set(slot, posted);
    this.#send({ op: 'block', slot, rows });
    return posted.settled.promise;
  }

  /** Why no block can be computed any more, if a lane has died. */
  get broken(): FarfieldError | undefined {
    return this.#dead;
  }

  /** Resolves when a lane has died; never where none does. */
  get died(): Promise<void> {
    return this.#died.promise;
  }

  /** Makes the lanes leave the rest of all posted blocks; these settle soon. */
  cancel(): void {
    for (const slot of this.#posted.keys()) Atomics.store((this.#blocks[slot] as Block).control, CANCELLED, 1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    this.cancel();
    this.#send({ op: 'close' });
    await Promise.all(this.#exits);
  }

  #send(message: ToLane): void {
    for (const worker of this.#workers) worker.postMessage(message);
  }

  /** One lane is through with its share. The block settles with the last of them (L1), failed if any failed. */
  #answered(message: FromLane): void {
    if (message.op === 'ready' || message.op === 'failed') return;
    const posted = this.#posted.get(message.slot);
    if (posted === undefined) return;
    if (message.op === 'blockFailed') {
      posted.failure ??= new FarfieldError('E_FUNCTION', `the model failed: ${message.message}`);
    } else {
      const { preMs, inferMs, postMs } = posted.times;
      posted.times = {
        preMs: preMs + message.preMs,
        inferMs: inferMs + message.inferMs,
        postMs: postMs + message.postMs,
      };
    }
    if (--posted.left > 0) return;
    this.#posted.delete(message.slot);
    if (posted.failure === undefined) posted.settled.resolve(posted.times);
    else posted.settled.reject(posted.failure);
  }

  /** L2: an exit that nobody asked for. */
  #exited(): void {
    if (this.#closing) return;
    this.#dead ??= new FarfieldError('E_FUNCTION', 'the thread that runs the model died');
    for (const posted of this.#posted.values()) posted.settled.reject(this.#dead);
    this.#posted.clear();
    this.#died.resolve();
  }
}

/** Starts a lane's thread. */
function startWorker(data: LaneData, transferList: ArrayBuffer[]): Worker {
  // Beside this file in both forms: runner/lane.ts as source, lane.mjs in a built runner.
  const file = import.meta.url.endsWith('.ts') ? './lane.ts' : './lane.mjs';
  const worker = new Worker(new URL(file, import.meta.url), {
    workerData: data,
    transferList,
    stdout: true,
    stderr: true,
  });
  // A thread's prints go to the log, never to the frame pipe.
  for (const stream of [worker.stdout, worker.stderr]) stream.on('data', (chunk) => process.stderr.write(chunk));
  return worker;
}

/** The facts of the loaded model, or why the lane could not start. */
function firstAnswer(worker: Worker): Promise<TensorFacts> {
  return new Promise((resolve, reject) => {
    const dead = (reason: unknown): void => {
      reject(new FarfieldError('E_MODEL', 'the thread that loads the model died', { cause: reason }));
    };
    worker.once('error', dead);
    worker.once('exit', dead);
    worker.once('message', (message: FromLane) => {
      worker.off('exit', dead);
      if (message.op === 'ready') resolve(message.facts);
      else if (message.op === 'failed') {
        reject(new FarfieldError(isErrorCode(message.code) ? message.code : 'E_MODEL', message.message));
      }
    });
  });
}
