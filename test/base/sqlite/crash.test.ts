/**
 * SIGKILL in the middle of commits. This shows that the log is consistent and that answers follow commits; it
 * proves nothing about power cuts, since the page cache survives a process (disk.test.ts shows the syncs).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { openGroupStore, synchronousGroup } from '#base/sqlite/group.ts';
import * as shelf from './shelf.ts';

const ROUNDS = 10;
const child = new URL('./child.ts', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'farfield-crash-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

interface Killed {
  readonly acked: string[];
  readonly unexpected: string[];
}

/** Starts the child, lets it work for some time after it said that it is ready, and kills it. */
async function workAndDie(file: string, ms: number): Promise<Killed> {
  const process_: ChildProcess = spawn(process.execPath, [child, file, 'endless'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  const ready = new Promise<void>((resolve) => {
    process_.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('ready')) resolve();
    });
  });
  const closed = once(process_, 'close');
  await ready;
  await systemClock.sleep(ms);
  process_.kill('SIGKILL');
  await closed;
  // A last line without its end was being written when the end came.
  const lines = text
    .split('\n')
    .slice(0, -1)
    .filter((line) => line !== 'ready');
  return {
    acked: lines.filter((line) => line.startsWith('ack ')).map((line) => `n${line.slice(4)}`),
    unexpected: lines.filter((line) => !line.startsWith('ack ')),
  };
}

t.test('whatever was acknowledged before a kill is there after it, whole and in order', async (t) => {
  const seed = Number(process.env.FARFIELD_TEST_SEED ?? 20260101);
  t.comment(`seed ${seed}`);
  const random = createSeededRandom(seed);
  const totals = { acked: 0, lost: 0, torn: 0, disordered: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    const file = join(folder, `${round}.db`);
    const { acked, unexpected } = await workAndDie(file, 20 + 200 * random.uniform());
    t.strictSame(unexpected, []);
    await using store = synchronousGroup({ module: shelf, file });
    const order = (await store.query({ kind: 'order' })) as string[];
    const names = (await store.query({ kind: 'names' })) as string[];
    const present = new Set(names);
    totals.acked += acked.length;
    totals.lost += acked.filter((name) => !present.has(name)).length;
    // Each command writes two tables: as many rows in one as in the other, or half a command is there.
    totals.torn += names.length === order.length ? 0 : 1;
    totals.disordered += order.every((name, index) => name === `n${index}`) ? 0 : 1;
  }
  t.comment(totals);
  t.ok(totals.acked > ROUNDS, 'there was something to lose');
  t.strictSame({ ...totals, acked: 0 }, { acked: 0, lost: 0, torn: 0, disordered: 0 });
});

t.test('a writer that dies takes nobody with it in silence', async (t) => {
  const store = await openGroupStore<string, unknown>({
    file: join(folder, 'rotten.db'),
    module: new URL('./rotten.ts', import.meta.url),
    userVersion: 1,
  });
  t.equal(await store.submit('good'), 'good');
  const waiting = [store.submit('rotten'), store.submit('good')].map((one) =>
    one.then(
      () => 'answered',
      () => 'refused',
    ),
  );
  t.strictSame(await Promise.all(waiting), ['refused', 'refused']);
  t.match((await store.ended)?.code, /^E_/);
  await t.rejects(store.submit('good'));
  await store.close();
});
