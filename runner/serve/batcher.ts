/**
 * Dynamic batching: rows of several requests share a block of the lanes, and each request gets its own rows back.
 *
 * A block is posted as soon as the lanes are idle, or after `maxDelayMs` where one is set; while they compute, a second is posted
 * only when it is full. So a lone request waits for nobody, and under load batches grow by themselves.
 *
 * Invariants
 *  D1 Requests are computed in the order in which they came, rows in the order in which they lie; a request of more rows than a
 *     block holds is spread over several.
 *  D2 A block holds rows of one stored type: what lanes flag as saturated depends on it, so nothing is converted to fit.
 *  D3 At most `maxQueue` requests wait. One more is refused at once (E_BUSY), never queued to time out later.
 *  D4 Every request settles exactly once: answered, failed, timed out or given up by its caller.
 */
import type { Clock, Timer } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Block, BlockLayout } from '../blocks.ts';
import { STORED } from '../dtype.ts';
import type { Lanes } from '../lanes.ts';
import type { RowJudge } from '../uncertainty/judge.ts';
import { RETRY_AFTER_S } from './limits.ts';
import type { StoredValues } from './tensors.ts';

export interface BatcherOptions {
  readonly maxBatch: number;
  readonly maxDelayMs: number;
  readonly maxQueue: number;
  readonly timeoutMs: number;
}

export interface BatcherParts extends BatcherOptions {
  readonly clock: Clock;
  readonly lanes: Pick<Lanes, 'blocks' | 'post' | 'broken'>;
  /** Everything of a block's layout that the model decides. */
  readonly layout: Omit<BlockLayout, 'rows' | 'stored'>;
  /** Sets flags and says radii; undefined without a calibration. */
  readonly judge: Pick<RowJudge, 'add' | 'levels'>;
  /** Values a row of the classes' sets; 0 where there are none. */
  readonly setsPerRow: number;
}

export interface RowRequest extends StoredValues {
  readonly rows: number;
}

/** Per-row results of one request. */
export interface RowAnswers {
  readonly predictions: Float32Array;
  readonly flags: Uint8Array;
  readonly radius: Float32Array;
  readonly group: Uint8Array;
  readonly p: Float32Array;
  readonly sets: Uint8Array;
}

/** A request on its way. */
interface Entry {
  readonly request: RowRequest;
  readonly answers: RowAnswers;
  posted: number;
  done: number;
  settled: boolean;
  readonly settle: (failure: FarfieldError | undefined) => void;
}

/** Rows of one entry inside a block. */
interface Part {
  readonly entry: Entry;
  readonly from: number;
  readonly at: number;
  readonly rows: number;
}

/** Two: while one is computed, the answers of the other are copied out and the next one is filled. */
const SLOTS = 2;

export class Batcher {
  readonly #parts: BatcherParts;
  readonly #queue: Entry[] = [];
  readonly #free: number[] = [];
  readonly #idle: (() => void)[] = [];
  #stored: BlockLayout['stored'] | undefined;
  #blocks: readonly Block[] = [];
  #open = 0;
  #rowsWaiting = 0;
  #delay: Timer | undefined;
  #draining = false;
  readonly #counts = { requests: 0, rows: 0, blocks: 0 };

  constructor(parts: BatcherParts) {
    this.#parts = parts;
  }

  /** Requests, rows and blocks so far: rows by blocks is the mean batch. */
  get counts(): Readonly<{ requests: number; rows: number; blocks: number }> {
    return { ...this.#counts };
  }

  /** Answers when every row is computed; rejects with E_BUSY, E_TIMEOUT, E_CANCELLED (by the signal) or E_FUNCTION. */
  submit(request: RowRequest, signal: AbortSignal): Promise<RowAnswers> {
    const { maxQueue, timeoutMs, clock, lanes } = this.#parts;
    if (lanes.broken !== undefined) return Promise.reject(lanes.broken);
    if (this.#queue.length >= maxQueue) {
      const text = `${maxQueue} requests wait already; try again later, or ask for more rows at once`;
      return Promise.reject(new FarfieldError('E_BUSY', text, { retryAfterS: RETRY_AFTER_S }));
    }
    return new Promise((resolve, reject) => {
      const abort = (): void => this.#drop(entry, new FarfieldError('E_CANCELLED', 'the caller went away'));
      const entry: Entry = {
        request,
        answers: this.#room(request.rows),
        posted: 0,
        done: 0,
        settled: false,
        settle: (failure) => {
          entry.settled = true;
          timer.cancel();
          signal.removeEventListener('abort', abort);
          this.#open--;
          if (failure === undefined) resolve(entry.answers);
          else reject(failure);
          this.#tellIdle();
        },
      };
      const timer = clock.after(timeoutMs, () => {
        const text = `no answer within ${timeoutMs} ms; the queue is longer than the time-out allows`;
        this.#drop(entry, new FarfieldError('E_TIMEOUT', text));
      });
      this.#open++;
      this.#queue.push(entry);
      this.#rowsWaiting += request.rows;
      if (signal.aborted) abort();
      else signal.addEventListener('abort', abort, { once: true });
      this.#pump(false);
    });
  }

  /** Resolves when everything that was submitted has settled; no batch waits for company any more. */
  async drain(): Promise<void> {
    this.#draining = true;
    this.#pump(true);
    if (this.#open > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
    this.#delay?.cancel();
  }

  #tellIdle(): void {
    if (this.#open === 0) for (const wake of this.#idle.splice(0)) wake();
  }

  #room(rows: number): RowAnswers {
    const { layout, judge, setsPerRow } = this.#parts;
    return {
      predictions: new Float32Array(rows * layout.columns),
      flags: new Uint8Array(rows),
      radius: new Float32Array(rows * judge.levels.length),
      group: new Uint8Array(rows),
      p: new Float32Array(rows),
      sets: new Uint8Array(rows * setsPerRow),
    };
  }

  /** Ends an entry early. Rows of it that are being computed are computed for nobody. */
  #drop(entry: Entry, failure: FarfieldError): void {
    if (entry.settled) return;
    const at = this.#queue.indexOf(entry);
    if (at >= 0) this.#queue.splice(at, 1);
    this.#rowsWaiting -= entry.request.rows - entry.posted;
    entry.posted = entry.request.rows;
    entry.settle(failure);
  }

  /** Posts what may be posted now. `late`: the delay has passed, or nobody should wait. */
  #pump(late: boolean): void {
    const { maxBatch, maxDelayMs, clock } = this.#parts;
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      if (this.#stored === undefined || next.request.stored !== this.#stored) {
        if (!this.#lanesIdle()) return;
        this.#layOut(next.request.stored);
      }
      const full = this.#rowsWaiting >= maxBatch;
      if (this.#free.length === 0 || (!full && !this.#lanesIdle())) return;
      if (!full && maxDelayMs > 0 && !late && !this.#draining) {
        this.#delay ??= clock.after(maxDelayMs, () => {
          this.#delay = undefined;
          this.#pump(true);
        });
        return;
      }
      this.#delay?.cancel();
      this.#delay = undefined;
      this.#post();
    }
  }

  #lanesIdle(): boolean {
    return this.#free.length === this.#blocks.length;
  }

  /** D2: blocks for another stored type; only between blocks, since lanes share their memory. */
  #layOut(stored: BlockLayout['stored']): void {
    const { lanes, layout, maxBatch } = this.#parts;
    this.#blocks = lanes.blocks({ ...layout, rows: maxBatch, stored }, SLOTS);
    this.#stored = stored;
    this.#free.splice(0, this.#free.length, ...this.#blocks.keys());
  }

  /** Fills a block from the head of the queue and posts it. */
  #post(): void {
    const { maxBatch, layout, lanes } = this.#parts;
    const slot = this.#free.shift() as number;
    const block = this.#blocks[slot] as Block;
    const rowBytes = layout.sampleSize * STORED[this.#stored as BlockLayout['stored']].bytes;
    const parts: Part[] = [];
    let at = 0;
    for (let entry = this.#queue[0]; entry !== undefined && at < maxBatch; entry = this.#queue[0]) {
      const { bytes, rows, stored } = entry.request;
      if (stored !== this.#stored) break;
      const from = entry.posted;
      const n = Math.min(rows - from, maxBatch - at);
      block.bytes.set(bytes.subarray(from * rowBytes, (from + n) * rowBytes), at * rowBytes);
      parts.push({ entry, from, at, rows: n });
      entry.posted += n;
      at += n;
      if (entry.posted === rows) this.#queue.shift();
    }
    this.#rowsWaiting -= at;
    this.#counts.blocks++;
    // Both ways out are taken here: the promise is owned by them.
    lanes.post(slot, at).then(
      () => this.#finish(slot, parts, at),
      (reason: unknown) => this.#fail(slot, parts, FarfieldError.from(reason)),
    );
  }

  /** Copies a block's results to their requests. A defect here fails the block's requests, never the process. */
  #finish(slot: number, parts: readonly Part[], rows: number): void {
    try {
      const { judge, layout, setsPerRow } = this.#parts;
      const { results } = this.#blocks[slot] as Block;
      const said = judge.add(0, rows, results, undefined);
      const levels = judge.levels.length;
      for (const { entry, from, at, rows: n } of parts) {
        const { answers } = entry;
        copyRows(answers.predictions, results.predictions, from, at, n, layout.columns);
        copyRows(answers.flags, results.flags, from, at, n, 1);
        if (said !== undefined) {
          copyRows(answers.radius, said.radius, from, at, n, levels);
          copyRows(answers.group, said.group, from, at, n, 1);
        }
        if (said?.p !== undefined) copyRows(answers.p, said.p, from, at, n, 1);
        if (said?.sets !== undefined) copyRows(answers.sets, said.sets, from, at, n, setsPerRow);
        entry.done += n;
      }
    } catch (reason) {
      this.#fail(slot, parts, FarfieldError.from(reason));
      return;
    }
    this.#free.push(slot);
    for (const { entry } of parts) {
      if (entry.settled || entry.done < entry.request.rows) continue;
      this.#counts.requests++;
      this.#counts.rows += entry.request.rows;
      entry.settle(undefined);
    }
    this.#pump(false);
  }

  /** The block's requests fail; those behind them go on, unless no lane is left. */
  #fail(slot: number, parts: readonly Part[], failure: FarfieldError): void {
    this.#free.push(slot);
    for (const { entry } of parts) this.#drop(entry, failure);
    const { broken } = this.#parts.lanes;
    if (broken !== undefined) for (const entry of [...this.#queue]) this.#drop(entry, broken);
    this.#pump(false);
  }
}

function copyRows<A extends Float32Array | Uint8Array>(
  to: A,
  source: A,
  from: number,
  at: number,
  n: number,
  width: number,
): void {
  to.set(source.subarray(at * width, (at + n) * width), from * width);
}
