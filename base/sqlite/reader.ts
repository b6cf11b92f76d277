/**
 * The reading thread of a group store: queries on a connection of its own, and checkpoints, which would hold up commits in the
 * writer's. The writer goes on whatever happens here; a reader that fails rejects its own callers only, and says so once.
 */
import type { Worker } from 'node:worker_threads';
import { FarfieldError } from '#kernel/errors.ts';
import { errorOf } from './engine.ts';
import { pack } from './pack.ts';
import type { FromReader, ToReader } from './worker.ts';

/** Whoever asked, until its answer is there. */
export interface Waiter<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: FarfieldError) => void;
}

/** What everybody gets who comes after the end, or waited when it came. */
export const closedError = (): FarfieldError =>
  new FarfieldError('E_UNAVAILABLE', 'the store is closed: this process is ending');

/**
 * The second thread: started at the first query or checkpoint, because a quiet process never needs it
 * (measured: 13 MB).
 */
export class Reader<Q, A> {
  readonly #start: () => Worker;
  readonly #onFatal: (error: FarfieldError) => void;
  #worker: Worker | undefined;
  readonly #waiting = new Map<number, Waiter<A>>();
  #nextId = 0;
  #checkpointing = false;
  #broken: FarfieldError | undefined;

  /** `onFatal` learns that the disk failed under the main file. */
  constructor(start: () => Worker, onFatal: (error: FarfieldError) => void) {
    this.#start = start;
    this.#onFatal = onFatal;
  }

  query(query: Q): Promise<A> {
    return new Promise((resolve, reject) => {
      if (this.#broken !== undefined) return reject(this.#broken);
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      this.#send({ id, query });
    });
  }

  checkpoint(): void {
    if (this.#checkpointing || this.#broken !== undefined) return;
    this.#checkpointing = true;
    this.#send({ checkpoint: true });
  }

  /** Ends the thread if nobody waits for it; the next query starts another one. */
  rest(): void {
    if (this.#waiting.size > 0 || this.#checkpointing || this.#broken !== undefined) return;
    this.#worker?.postMessage({ end: true } satisfies ToReader);
    this.#worker = undefined;
  }

  async end(): Promise<void> {
    const worker = this.#worker;
    if (worker === undefined || this.#broken !== undefined) {
      this.#fail(closedError());
      return;
    }
    const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    this.#send({ end: true });
    await gone;
  }

  #send(message: ToReader): void {
    this.#worker ??= this.#open();
    const packed = pack(message);
    this.#worker.postMessage(packed.value, packed.transfer);
  }

  #open(): Worker {
    const worker = this.#start();
    worker.on('message', (message: FromReader) => this.#receive(message));
    worker.on('error', (error) => this.#fail(FarfieldError.from(error)));
    // One that was sent to rest is no longer ours; one that goes by itself is broken.
    worker.on('exit', () => {
      if (this.#worker === worker) this.#fail(closedError());
    });
    return worker;
  }

  #receive(message: FromReader): void {
    if (message.checkpointed === true) this.#checkpointing = false;
    if (message.refused !== undefined) this.#fail(errorOf(message.refused));
    if (message.fatal !== undefined) this.#onFatal(errorOf(message.fatal));
    if (message.id === undefined) return;
    const waiter = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.failure !== undefined) waiter?.reject(errorOf(message.failure));
    else waiter?.resolve(message.answer as A);
  }

  #fail(error: FarfieldError): void {
    this.#broken ??= error;
    for (const waiter of this.#waiting.values()) waiter.reject(error);
    this.#waiting.clear();
  }
}
