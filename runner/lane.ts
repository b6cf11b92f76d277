/**
 * A lane: the thread that computes. It takes batches of a posted block until none is left, prepares the samples, asks the
 * adapter, and finishes the rows, all in the block's shared memory.
 *
 * This file is the entry of a worker thread, as main.ts is of the process.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { TensorAdapter } from './adapters/adapter.ts';
import { createOrt } from './adapters/ort.ts';
import { type Block, type BlockLayout, CANCELLED, NEXT, viewBlock } from './blocks.ts';
import type { FromLane, LaneData, ToLane } from './lanes.ts';
import { mustBeDeclared } from './model.ts';
import { compileRows, type RowPlan } from './rows.ts';

/** Tensor adapters by name. Imported here and not in the main thread: their native libraries belong to the lanes. */
const ADAPTERS: Readonly<Record<string, () => TensorAdapter>> = { ort: createOrt };

const port = parentPort as MessagePort;
const data = workerData as LaneData;
const say = (message: FromLane): void => port.postMessage(message);

/** Loads the model, runs one batch, then serves messages until `close`. */
async function start(): Promise<void> {
  const create = ADAPTERS[data.adapter];
  if (create === undefined) throw new FarfieldError('E_MODEL', `no adapter ${data.adapter}`);
  const adapter = create();
  const facts = await adapter.load({ model: data.file, threads: data.threads });
  mustBeDeclared(data.model, facts);
  const plan = compileRows(data.model);
  const batch = new Batch(adapter, plan);
  // The first run allocates its arena: paid before `ready`, at the size that every later run has.
  await batch.warm();
  let layout: BlockLayout | undefined;
  let blocks: Block[] = [];
  // Blocks wait for one another: `infer` yields to the event loop, and the sample buffer belongs to one batch at a time.
  let tail = Promise.resolve();
  port.on('message', (message: ToLane) => {
    switch (message.op) {
      case 'layout':
        layout = message.layout;
        blocks = message.memories.map((memory) => viewBlock(layout as BlockLayout, memory));
        break;
      case 'block':
        tail = tail.then(async () => say(await batch.run(message.slot, blocks[message.slot] as Block, message.rows)));
        break;
      case 'close':
        void tail.then(() => adapter.close()).finally(() => port.close());
        break;
    }
  });
  say({ op: 'ready', facts });
}

/** One batch at a time: a buffer of prepared samples, the adapter that answers it, and the finishing of its rows. */
class Batch {
  readonly #adapter: TensorAdapter;
  readonly #plan: RowPlan;
  readonly #samples: Float32Array;
  readonly #input = data.model.inputs[0] as LaneData['model']['inputs'][number];
  readonly #output = (data.model.outputs[0] as LaneData['model']['outputs'][number]).name;

  constructor(adapter: TensorAdapter, plan: RowPlan) {
    this.#adapter = adapter;
    this.#plan = plan;
    this.#samples = new Float32Array(data.batch * plan.sample.size);
  }

  /** Runs zeros at full batch size; what cannot be run at all is the model's fault and found here. */
  async warm(): Promise<void> {
    try {
      await this.#infer(data.batch);
    } catch (reason) {
      const { message } = FarfieldError.from(reason);
      throw new FarfieldError('E_MODEL', `the model cannot run a batch of ${data.batch}: ${message}`, {
        cause: reason,
      });
    }
  }

  /** Computes this lane's share of the block. Never rejects: a failure is an answer. */
  async run(slot: number, block: Block, rows: number): Promise<FromLane> {
    const spent = { preMs: 0, inferMs: 0, postMs: 0 };
    let at = 0;
    try {
      for (;;) {
        at = Atomics.add(block.control, NEXT, data.batch);
        if (at >= rows || Atomics.load(block.control, CANCELLED) === 1) return { op: 'block', slot, ...spent };
        const n = Math.min(data.batch, rows - at);
        const t0 = systemClock.mono();
        for (let i = 0; i < n; i++) this.#plan.prepare(block.raw, at + i, this.#samples, i, block.results);
        const t1 = systemClock.mono();
        const answer = await this.#infer(n);
        const t2 = systemClock.mono();
        for (let i = 0; i < n; i++) this.#plan.finish(answer, i, at + i, block.results);
        spent.preMs += t1 - t0;
        spent.inferMs += t2 - t1;
        spent.postMs += systemClock.mono() - t2;
      }
    } catch (reason) {
      const text = reason instanceof Error ? reason.message : String(reason);
      return {
        op: 'blockFailed',
        slot,
        message: `rows ${at}:${at + data.batch} of the block: ${text.split('\n', 1)[0]}`,
      };
    }
  }

  /**
   * Asks the adapter for the first `n` samples of the buffer. The answer's size is checked on every batch: a model
   * with a data-dependent output would otherwise shift all later rows.
   */
  async #infer(n: number): Promise<Float32Array> {
    const { size } = this.#plan.sample;
    const shape = [n, ...this.#input.shape.slice(1)];
    const answer = await this.#adapter.infer(
      this.#input.name,
      this.#samples.subarray(0, n * size),
      shape,
      this.#output,
    );
    const expected = n * this.#plan.output.columns;
    if (answer.length !== expected) {
      throw new FarfieldError(
        'E_MODEL',
        `the model answers ${answer.length} values for ${n} samples; ${expected} were declared`,
      );
    }
    return answer;
  }
}

start().catch((reason: unknown) => {
  const { code, message } = FarfieldError.from(reason);
  say({ op: 'failed', code, message });
  port.close();
});
