/**
 * One job over rows: read a block, let the lanes compute it, collect statistics, write it.
 *
 * While lanes compute, this thread reads the next blocks and writes finished ones; so reading and writing cost wall time only
 * before the first block and after the last.
 *
 * Invariants
 *  J1 Blocks are written in row order, each once.
 *  J2 Memory is a fixed number of blocks, the errors of rows with truth (4 bytes a row), and the readers' chunks.
 *  J3 Cancelling stops between batches; nothing of the result stays.
 */
import type { Clock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Block, BlockLayout } from './blocks.ts';
import { elementsOf, STORED } from './dtype.ts';
import type { Lanes, LaneTimes } from './lanes.ts';
import { BLOCK_BYTES, BLOCKS, MAX_BLOCKS_BYTES, PROGRESS_EVERY_MS } from './limits.ts';
import type { RowResults } from './rows.ts';
import type { RowSource } from './sources.ts';

/** Sizes that decide the layout of blocks. */
export interface JobPlan {
  readonly sampleSize: number;
  readonly columns: number;
  readonly baselines: number;
  /** Features a row that are wanted beside the predictions. */
  readonly signals?: number;
}

export interface JobParts {
  readonly clock: Clock;
  readonly lanes: Lanes;
  readonly plan: JobPlan;
  readonly samples: RowSource;
  readonly truth: RowSource | undefined;
  /** Called in row order with each finished block; `truth` holds `rows` x columns values where there is truth. */
  readonly finished: (from: number, rows: number, results: RowResults, truth: Float64Array | undefined) => void;
  readonly cancelled: () => boolean;
  readonly progress: (done: number, total: number, perSecond: number) => void;
}

/** Milliseconds by phase. Lanes work at once, so their phases are means over lanes; phases overlap and do not add up. */
export interface Phases {
  readMs: number;
  preMs: number;
  inferMs: number;
  postMs: number;
  writeMs: number;
}

/**
 * Rows of one block: about BLOCK_BYTES, and whole chunks where there are chunks. A large one is cut if its reader holds it: with
 * chunks of 29 MB blocks as large took 441 MB of memory, and were heard of every 60,000 rows.
 */
export function blockRows({
  rowBytes,
  chunkRows,
  rows,
  held = false,
}: Pick<RowSource, 'rowBytes' | 'chunkRows' | 'rows' | 'held'>): number {
  const wanted = Math.max(1, Math.floor(BLOCK_BYTES / rowBytes));
  if (held && chunkRows > 2 * wanted) return Math.min(wanted, rows);
  const whole = Math.max(1, Math.round(wanted / chunkRows)) * chunkRows;
  return Math.min(whole, rows);
}

/** Blocks in flight: BLOCKS of the usual size, two of very large ones. */
function blockCount(rowBytes: number, rows: number): number {
  return Math.min(BLOCKS, Math.max(2, Math.floor(MAX_BLOCKS_BYTES / (rowBytes * rows))));
}

/** A block on its way, with what is needed to finish it. */
interface Posted {
  readonly from: number;
  readonly rows: number;
  readonly block: Block;
  readonly slot: number;
  readonly truth: Float64Array | undefined;
  readonly computed: Promise<LaneTimes>;
}

/** Runs the job to its end; answers where the time went. Throws the first failure, after all lanes have let go. */
export async function runJob(parts: JobParts): Promise<Phases> {
  const { samples, lanes } = parts;
  const job = new Job(parts);
  const posted: Posted[] = [];
  try {
    for (let from = 0; from < samples.rows; from += job.rows) {
      if (posted.length === job.blocks.length) await job.finish(posted.shift() as Posted);
      job.mustGoOn();
      posted.push(job.post(from, Math.min(job.rows, samples.rows - from)));
      // One turn, so that cancels and lane answers are heard between two long reads.
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (let next = posted.shift(); next !== undefined; next = posted.shift()) await job.finish(next);
  } finally {
    // After a failure the rest must settle before the blocks are used again.
    if (posted.length > 0) lanes.cancel();
    await Promise.allSettled(posted.map(({ computed }) => computed));
  }
  return job.phases;
}

/** The state of one run: which block is next, how long each phase took, when progress was last told. */
class Job {
  readonly rows: number;
  readonly blocks: readonly Block[];
  readonly phases: Phases = { readMs: 0, preMs: 0, inferMs: 0, postMs: 0, writeMs: 0 };
  readonly #parts: JobParts;
  readonly #started: number;
  readonly #truth: TruthWindow | undefined;
  #told: number;
  #next = 0;

  constructor(parts: JobParts) {
    const { samples, truth, plan, lanes, clock } = parts;
    this.#parts = parts;
    this.#truth = truth === undefined ? undefined : new TruthWindow(truth);
    this.#started = clock.mono();
    this.#told = this.#started;
    this.rows = blockRows(samples);
    const layout: BlockLayout = { rows: this.rows, stored: samples.stored, ...plan };
    this.blocks = lanes.blocks(layout, blockCount(samples.rowBytes, this.rows));
  }

  /** Fills the next block and gives it to the lanes. */
  post(from: number, rows: number): Posted {
    const { clock, samples, lanes } = this.#parts;
    const slot = this.#next++ % this.blocks.length;
    const block = this.blocks[slot] as Block;
    const t0 = clock.mono();
    samples.readRows(from, rows, block.bytes.subarray(0, rows * samples.rowBytes));
    const truth = this.#readTruth(from, rows);
    this.phases.readMs += clock.mono() - t0;
    const computed = lanes.post(slot, rows);
    // Awaited in `finish`; without this an early failure of a later block would count as unhandled.
    computed.catch(() => {});
    return { from, rows, block, slot, truth, computed };
  }

  /** Waits for the lanes, hands the rows on, tells progress when it is due. */
  async finish({ from, rows, block, truth, computed }: Posted): Promise<void> {
    const { clock, lanes, finished, samples, progress } = this.#parts;
    const times = await computed;
    this.mustGoOn();
    for (const phase of ['preMs', 'inferMs', 'postMs'] as const) this.phases[phase] += times[phase] / lanes.count;
    const t0 = clock.mono();
    finished(from, rows, block.results, truth);
    const now = clock.mono();
    this.phases.writeMs += now - t0;
    if (now - this.#told < PROGRESS_EVERY_MS) return;
    this.#told = now;
    progress(from + rows, samples.rows, ((from + rows) / (now - this.#started)) * 1000);
  }

  mustGoOn(): void {
    if (!this.#parts.cancelled()) return;
    throw new FarfieldError('E_CANCELLED', 'cancelled while it ran');
  }

  #readTruth(from: number, rows: number): Float64Array | undefined {
    return this.#truth?.rows(from, rows);
  }
}

/**
 * Truth is read in whole chunks of its own, whatever the blocks of the samples: a data set of labels is often a single chunk,
 * and would be inflated once a block.
 */
class TruthWindow {
  readonly #source: RowSource;
  readonly #columns: number;
  readonly #stride: number;
  #from = 0;
  #values = new Float64Array(0);

  constructor(source: RowSource) {
    this.#source = source;
    this.#columns = elementsOf(source.shape.slice(1));
    this.#stride = blockRows(source);
  }

  rows(from: number, rows: number): Float64Array {
    const wanted = new Float64Array(rows * this.#columns);
    for (let row = from; row < from + rows; ) {
      if (row < this.#from || row >= this.#from + this.#values.length / this.#columns) this.#load(row);
      const end = Math.min(from + rows, this.#from + this.#values.length / this.#columns);
      const part = this.#values.subarray((row - this.#from) * this.#columns, (end - this.#from) * this.#columns);
      wanted.set(part, (row - from) * this.#columns);
      row = end;
    }
    return wanted;
  }

  #load(row: number): void {
    const { stored, rowBytes } = this.#source;
    this.#from = row - (row % this.#stride);
    const n = Math.min(this.#stride, this.#source.rows - this.#from);
    const bytes = new Uint8Array(n * rowBytes);
    this.#source.readRows(this.#from, n, bytes);
    this.#values = Float64Array.from(STORED[stored].view(bytes.buffer, 0, n * this.#columns));
  }
}
