import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type Block, type BlockLayout, createBlock } from '../../runner/blocks.ts';
import type { LaneTimes } from '../../runner/lanes.ts';
import { Batcher, type BatcherOptions, type RowAnswers } from '../../runner/serve/batcher.ts';

const TIMES: LaneTimes = { preMs: 0, inferMs: 0, postMs: 0 };

/** Lanes that compute when told: the answer of a sample is twice its value. */
function createHeldLanes() {
  let blocks: Block[] = [];
  const layouts: BlockLayout[] = [];
  const posted: { slot: number; rows: number; values: number[]; settle: (failure?: FarfieldError) => void }[] = [];
  return {
    broken: undefined as FarfieldError | undefined,
    layouts,
    posted,
    blocks(layout: BlockLayout, count: number) {
      layouts.push(layout);
      blocks = Array.from({ length: count }, () => createBlock(layout));
      return blocks;
    },
    post(slot: number, rows: number): Promise<LaneTimes> {
      const block = blocks[slot] as Block;
      return new Promise((resolve, reject) => {
        const settle = (failure?: FarfieldError): void => {
          if (failure !== undefined) reject(failure);
          for (let i = 0; i < rows; i++) block.results.predictions[i] = 2 * (block.raw[i] as number);
          resolve(TIMES);
        };
        posted.push({ slot, rows, values: [...block.raw.subarray(0, rows)], settle });
      });
    },
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function open(more: Partial<BatcherOptions> = {}) {
  const clock = createManualClock();
  const lanes = createHeldLanes();
  const options = { maxBatch: 4, maxDelayMs: 0, maxQueue: 8, timeoutMs: 1000, ...more };
  const layout = { sampleSize: 1, columns: 1, baselines: 0, signals: 0 };
  const judge = { levels: [0.9], add: () => undefined };
  const batcher = new Batcher({ ...options, clock, lanes, layout, judge, setsPerRow: 0 });
  const ask = (values: number[], signal = new AbortController().signal): Promise<RowAnswers> =>
    batcher.submit(
      { rows: values.length, stored: 'f4', bytes: new Uint8Array(Float32Array.from(values).buffer) },
      signal,
    );
  return { clock, lanes, batcher, ask };
}

const failure = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'answered',
    (reason: unknown) => FarfieldError.from(reason).code,
  );

t.test('a lone request is posted at once; what comes meanwhile shares the next block, in order', async (t) => {
  const { lanes, ask, batcher } = open();
  const first = ask([1]);
  t.same(lanes.posted[0]?.values, [1]);
  const second = ask([2, 3]);
  const third = ask([4]);
  t.equal(lanes.posted.length, 1, 'a block that is not full waits for the lanes');
  lanes.posted[0]?.settle();
  t.same([...(await first).predictions], [2]);
  await turn();
  t.same(lanes.posted[1]?.values, [2, 3, 4]);
  lanes.posted[1]?.settle();
  t.same([...(await second).predictions], [4, 6]);
  t.same([...(await third).predictions], [8]);
  t.same(batcher.counts, { requests: 3, rows: 4, blocks: 2 });
});

t.test('a full block is posted while another is computed, and never a third', async (t) => {
  const { lanes, ask } = open();
  const all = [ask([1]), ask([2, 3, 4]), ask([5, 6, 7]), ask([8, 9, 10])];
  t.same(
    lanes.posted.map(({ values }) => values),
    [[1], [2, 3, 4, 5]],
    'a request may lie in two blocks',
  );
  for (let i = 0; i < 4; i++) {
    lanes.posted[i]?.settle();
    await turn();
  }
  t.same(
    (await Promise.all(all)).map(({ predictions }) => [...predictions]),
    [[2], [4, 6, 8], [10, 12, 14], [16, 18, 20]],
  );
});

t.test('rows of another stored type wait until no block is out', async (t) => {
  const { lanes, ask, batcher } = open();
  const first = ask([1]);
  const counts = batcher.submit(
    { rows: 4, stored: 'u1', bytes: Uint8Array.of(5, 6, 7, 8) },
    new AbortController().signal,
  );
  const last = ask([9]);
  t.equal(lanes.posted.length, 1);
  for (let i = 0; i < 3; i++) {
    lanes.posted[i]?.settle();
    await turn();
  }
  t.same(
    lanes.layouts.map(({ stored }) => stored),
    ['f4', 'u1', 'f4'],
  );
  t.same(
    [...(await first).predictions, ...(await counts).predictions, ...(await last).predictions],
    [2, 10, 12, 14, 16, 18],
  );
});

t.test('a delay waits for company, but not longer, and not when the block is full', async (t) => {
  const { lanes, ask, clock } = open({ maxDelayMs: 5 });
  const first = ask([1]);
  clock.advance(4);
  t.equal(lanes.posted.length, 0);
  clock.advance(1);
  t.same(lanes.posted[0]?.values, [1]);
  lanes.posted[0]?.settle();
  await first;
  const rest = [ask([2, 3]), ask([4, 5])];
  t.same(lanes.posted[1]?.values, [2, 3, 4, 5], 'full: at once');
  lanes.posted[1]?.settle();
  await Promise.all(rest);
});

t.test('a full queue refuses at once, and says when to come again', async (t) => {
  const { lanes, ask } = open({ maxQueue: 2 });
  const first = ask([1]);
  const waiting = [ask([2]), ask([3])];
  await t.rejects(ask([4]), { code: 'E_BUSY', retryAfterS: 1 });
  lanes.posted[0]?.settle();
  await first;
  await turn();
  lanes.posted[1]?.settle();
  t.equal((await Promise.all(waiting)).length, 2);
});

t.test('who waits too long or goes away is dropped; those behind are not', async (t) => {
  const { lanes, ask, clock } = open();
  const gone = new AbortController();
  const computing = failure(ask([1]));
  const leaving = failure(ask([2, 3], gone.signal));
  clock.advance(999);
  const behind = ask([4]);
  gone.abort();
  t.equal(await leaving, 'E_CANCELLED');
  clock.advance(1);
  t.equal(await computing, 'E_TIMEOUT');
  lanes.posted[0]?.settle();
  await turn();
  t.same(lanes.posted[1]?.values, [4], 'nothing is computed for who is gone');
  lanes.posted[1]?.settle();
  t.same([...(await behind).predictions], [8]);
  t.equal(clock.pending(), 0, 'no timer is left');
});

t.test('a block that fails fails its requests alone; lanes that died fail all', async (t) => {
  const { lanes, ask } = open();
  const first = failure(ask([1]));
  const second = ask([2]);
  lanes.posted[0]?.settle(new FarfieldError('E_FUNCTION', 'no'));
  t.equal(await first, 'E_FUNCTION');
  await turn();
  lanes.posted[1]?.settle();
  t.same([...(await second).predictions], [4]);
  const third = failure(ask([3]));
  const fourth = failure(ask([4]));
  lanes.broken = new FarfieldError('E_FUNCTION', 'died');
  lanes.posted[2]?.settle(lanes.broken);
  t.same(await Promise.all([third, fourth]), ['E_FUNCTION', 'E_FUNCTION']);
  t.equal(await failure(ask([5])), 'E_FUNCTION');
});

t.test('draining answers everything that waits, without delay, and then ends', async (t) => {
  const { lanes, ask, batcher, clock } = open({ maxDelayMs: 500 });
  const first = ask([1]);
  let over = false;
  const drained = batcher.drain().then(() => {
    over = true;
  });
  t.equal(lanes.posted.length, 1, 'nobody waits for company any more');
  await turn();
  t.notOk(over);
  lanes.posted[0]?.settle();
  t.same([...(await first).predictions], [2]);
  await drained;
  t.equal(clock.pending(), 0);
  await batcher.drain();
});
