import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { createMemoryDisk } from '../../../broker/store/memory.ts';
import { openSqliteStore } from '../../../broker/store/sqlite.ts';
import { runConformance, type StoreUnderTest } from './conformance.ts';
import { beginSession, payloadOf, prepare, queueOf, ticketOf, viewOf } from './given.ts';

async function sqlite(): Promise<StoreUnderTest> {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-store-'));
  const file = join(folder, 'broker.db');
  const opened = [await openSqliteStore({ file })];
  return {
    store: opened[0] as (typeof opened)[number],
    async reopen() {
      await opened.at(-1)?.close();
      const next = await openSqliteStore({ file });
      opened.push(next);
      return next;
    },
    async close() {
      await opened.at(-1)?.close();
      rmSync(folder, { recursive: true });
    },
  };
}

async function memory(): Promise<StoreUnderTest> {
  const disk = createMemoryDisk();
  const opened = [disk.open()];
  return {
    store: opened[0] as (typeof opened)[number],
    async reopen() {
      opened.at(-1)?.crash();
      const next = disk.open();
      opened.push(next);
      return next;
    },
    close: async () => opened.at(-1)?.close(),
  };
}

t.test('in memory', async (t) => runConformance(t, memory));
t.test('in SQLite', async (t) => runConformance(t, sqlite));

t.test('a crash in memory loses what was not committed, and nothing that was acknowledged', async (t) => {
  const disk = createMemoryDisk();
  let commit = (): void => {};
  const store = disk.open({
    schedule(run) {
      commit = run;
    },
  });
  const prepared = prepare(store);
  for (let k = 0; k < 20; k += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    commit();
  }
  await prepared;
  const first = store.apply('queue', queueOf([ticketOf('a', 1)]));
  commit();
  await first;
  void store.apply('queue', queueOf([ticketOf('b', 1)]));
  store.crash();
  const again = disk.open();
  t.ok(await again.read('ticket', ticketOf('a', 1)));
  t.equal(await again.read('ticket', ticketOf('b', 1)), undefined);
});

t.test(
  'a full disk refuses new work by name, loses nothing acknowledged, and still takes admissions and reads',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'farfield-store-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'broker.db');
    const store = await openSqliteStore({ file, maxPageCount: 120 });
    await prepare(store);
    const kept: ReturnType<typeof ticketOf>[] = [];
    let refusal: unknown;
    for (let k = 0; refusal === undefined && k < 200; k += 1) {
      const ticket = ticketOf(`t${k}`, 4, { payload: payloadOf(4, 4000) });
      await store.apply('queue', queueOf([ticket])).then(
        () => kept.push(ticket),
        (error: unknown) => {
          refusal = error;
        },
      );
    }
    t.match(refusal, { code: 'E_DISK_FULL' });
    t.ok(kept.length > 3);
    for (const ticket of kept) t.equal((await viewOf(store, ticket)).n, 4);
    const sessionEpoch = await beginSession(store);
    for (const ticket of kept) {
      const { ticketNo } = await viewOf(store, ticket);
      const items = Uint8Array.from([0, 0, 1, 0, 2, 0, 3, 0]);
      await store.apply('deliver', {
        endpoint: ticket.endpoint,
        sessionEpoch,
        tickets: [{ ticketNo, deliveryEpoch: 1, items }],
      });
      const done = await store.apply('admitted', {
        endpoint: ticket.endpoint,
        sessionEpoch,
        nowS: 1,
        tickets: [{ id: ticket.id, deliveryEpoch: 1, items }],
      });
      t.match(done, { kind: 'done', items: 4 });
    }
    const again = await store.apply('queue', queueOf([ticketOf('later', 4)]));
    t.match(again.outcomes, [{ kind: 'queued' }], 'the room of forgotten payloads is used again');
    await store.close();
  },
);
