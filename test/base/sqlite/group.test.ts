/** One suite for both forms of a store: the worker thread with a file, and the in-process form that simulations use. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import t, { type Test } from 'tap';
import { type GroupStore, openGroupStore, synchronousGroup } from '#base/sqlite/group.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { ShelfCommand, ShelfQuery, ShelfResult } from './shelf.ts';
import * as shelf from './shelf.ts';

type Shelf = GroupStore<ShelfCommand, ShelfResult, ShelfQuery, unknown>;

const module = new URL('./shelf.ts', import.meta.url);
const folder = mkdtempSync(join(tmpdir(), 'farfield-group-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
const newFile = (): string => join(folder, `${files++}.db`);

const put = (name: string, body: Uint8Array = Uint8Array.of(1, 2, 3, 4, 5)): ShelfCommand => ({
  kind: 'put',
  name,
  body,
});
const openThreaded = (file: string, maxPageCount = 0): Promise<Shelf> =>
  openGroupStore({ file, module, userVersion: 2, maxPageCount });

const FORMS: Record<string, Open> = {
  'in a worker': openThreaded,
  'in process': async (file, maxPageCount = 0) => synchronousGroup({ module: shelf, file, maxPageCount }),
};

const code = (reason: unknown): string =>
  reason instanceof FarfieldError ? reason.code : `not ours: ${String(reason)}`;
const codes = async (all: Promise<unknown>[]): Promise<string[]> =>
  (await Promise.allSettled(all)).map((one) => (one.status === 'fulfilled' ? 'ok' : code(one.reason)));

type Open = (file: string, maxPageCount?: number) => Promise<Shelf>;

/** What a command and a query may rely on. */
function answersHold(t: Test, openForm: Open): void {
  t.test('a store that was sent to rest answers the next query, and closes', async (t) => {
    await using store = await openForm(newFile());
    await store.submit(put('a'));
    t.strictSame(await store.query({ kind: 'names' }), ['a']);
    for (const name of ['b', 'c']) {
      store.rest();
      await store.submit(put(name));
      t.strictSame(((await store.query({ kind: 'names' })) as string[]).at(-1), name);
    }
    const asked = store.query({ kind: 'names' });
    store.rest();
    t.strictSame(await asked, ['a', 'b', 'c'], 'a query under way is answered');
  });

  t.test('a command answers with its result, bytes included', async (t) => {
    await using store = await openForm(newFile());
    const result = await store.submit(put('a'));
    t.strictSame({ name: result.name, count: result.count }, { name: 'a', count: 1 });
    t.strictSame([...(result.echo ?? [])], [1, 2, 3, 4]);
  });

  t.test('commands take effect, and settle, in the order of submission', async (t) => {
    await using store = await openForm(newFile());
    const names = Array.from({ length: 3000 }, (_, i) => `n${i}`);
    const settled: string[] = [];
    const counts = await Promise.all(
      names.map(async (name) => {
        const { count } = await store.submit(put(name));
        settled.push(name);
        return count;
      }),
    );
    t.strictSame(
      counts,
      names.map((_, i) => i + 1),
    );
    t.strictSame(settled, names);
    t.strictSame(await store.query({ kind: 'order' }), names);
    t.ok(store.stats().commits < 3000, 'many commands shared a commit');
    t.equal(store.stats().commands, 3000);
    t.equal(store.stats().queued, 0);
  });

  t.test('a query sees every command whose submit has resolved', async (t) => {
    await using store = await openForm(newFile());
    for (let i = 0; i < 50; i++) {
      await store.submit(put(`n${i}`));
      const names = (await store.query({ kind: 'names' })) as string[];
      if (names.length !== i + 1) t.fail(`after ${i + 1} commands a query saw ${names.length}`);
    }
    t.pass('fifty times');
  });

  t.test('all statements of one query see the same state', async (t) => {
    await using store = await openForm(newFile());
    const writes = Array.from({ length: 400 }, (_, i) => store.submit(put(`n${i}`)));
    for (let i = 0; i < 40; i++) {
      const [first, second] = (await store.query({ kind: 'twice' })) as [number, number];
      t.equal(first, second);
    }
    await Promise.all(writes);
  });
}

/** What a command that fails does to itself and to its neighbours. */
function refusalsHold(t: Test, openForm: Open): void {
  t.test('a command that throws leaves nothing behind and spares its neighbours', async (t) => {
    await using store = await openForm(newFile());
    const all = codes([
      store.submit(put('a')),
      store.submit({ kind: 'putAndFail', name: 'b', how: 'refusal' }),
      store.submit(put('c')),
      store.submit({ kind: 'putAndFail', name: 'd', how: 'defect' }),
      store.submit({ kind: 'putAndFail', name: 'e', how: 'constraint' }),
      store.submit(put('f')),
    ]);
    t.strictSame(await all, ['ok', 'E_CONFLICT', 'ok', 'E_INTERNAL', 'E_INTERNAL', 'ok']);
    t.strictSame(await store.query({ kind: 'names' }), ['a', 'c', 'f']);
    t.strictSame(await store.query({ kind: 'order' }), ['a', 'c', 'f']);
  });

  t.test('a refusal keeps its code, message and details across the thread', async (t) => {
    await using store = await openForm(newFile());
    const refusal = await store
      .submit({ kind: 'putAndFail', name: 'b', how: 'refusal' })
      .catch((error: unknown) => error);
    t.ok(refusal instanceof FarfieldError);
    t.match(refusal, { code: 'E_CONFLICT', message: 'no such luck', details: { name: 'b' } });
    t.equal(code(await store.query({ kind: 'wrong' }).catch((error: unknown) => error)), 'E_NOT_FOUND');
  });

  t.test('the command is taken as it is now: its owner may use the object and its bytes again', async (t) => {
    await using store = await openForm(newFile());
    await store.submit(put('warm-up'));
    const body = new Uint8Array(64).fill(7);
    const command = put('a', body);
    const stored = store.submit(command);
    // The in-process form and an idle writer take the command within this turn; what happens to the object
    // later is nobody's matter.
    await Promise.resolve();
    body.fill(9);
    await stored;
    t.equal(body.byteLength, 64, 'nothing was taken away from the owner');
    t.strictSame((await store.query({ kind: 'body', name: 'a' })) as Uint8Array, new Uint8Array(64).fill(7));
  });

  t.test('a full store refuses those that need room, and takes the others', async (t) => {
    await using store = await openForm(newFile(), 40);
    const large = (name: string): ShelfCommand => put(name, new Uint8Array(30_000));
    t.strictSame(await codes(['a', 'b', 'c', 'd', 'e'].map((name) => store.submit(large(name)))), [
      'ok',
      'ok',
      'ok',
      'ok',
      'E_DISK_FULL',
    ]);
    const mixed = [
      store.submit(large('e')),
      store.submit(put('small')),
      store.submit({ kind: 'drop', name: 'a' }),
      store.submit(large('f')),
    ];
    t.strictSame(await codes(mixed), ['E_DISK_FULL', 'ok', 'ok', 'ok'], 'room that a neighbour frees is used');
    t.strictSame(await store.query({ kind: 'names' }), ['b', 'c', 'd', 'f', 'small']);
  });
}

/** What holds from one opening of a file to the next. */
function filesHold(t: Test, openForm: Open): void {
  t.test('close commits what was submitted and refuses what comes later', async (t) => {
    const file = newFile();
    const store = await openForm(file);
    const pending = codes(Array.from({ length: 100 }, (_, i) => store.submit(put(`n${i}`))));
    await store.close();
    t.strictSame(await pending, new Array(100).fill('ok'));
    t.strictSame(await codes([store.submit(put('late')), store.query({ kind: 'names' })]), [
      'E_UNAVAILABLE',
      'E_UNAVAILABLE',
    ]);
    t.equal(await store.ended, undefined, 'it ended because it was asked to');
    await store.close();
    await using again = await openForm(file);
    t.equal(((await again.query({ kind: 'names' })) as string[]).length, 100);
  });

  t.test('a file from a newer version is refused and left as it is', async (t) => {
    const file = newFile();
    await (await openForm(file)).close();
    const db = new DatabaseSync(file);
    db.exec('pragma user_version = 9');
    db.close();
    const before = readFileSync(file);
    const refusal = await openForm(file).catch((error: unknown) => error);
    t.match(refusal, { code: 'E_VERSION', message: /store version 9, this one knows 2/ });
    t.ok(readFileSync(file).equals(before), 'byte for byte');
  });

  t.test('a file from an older version is brought up to date', async (t) => {
    const file = newFile();
    const db = new DatabaseSync(file);
    db.exec(`${shelf.schema[0]}; insert into box values ('old', x'01'); pragma user_version = 1`);
    db.close();
    await using store = await openForm(file);
    await store.submit(put('new'));
    t.strictSame(await store.query({ kind: 'names' }), ['new', 'old']);
    t.strictSame(await store.query({ kind: 'order' }), ['new']);
  });
}

for (const [form, openForm] of Object.entries(FORMS)) {
  t.test(form, async (t) => {
    answersHold(t, openForm);
    refusalsHold(t, openForm);
    filesHold(t, openForm);
  });
}

t.test('an unknown option and a schema of another length are refused at the start', async (t) => {
  const file = newFile();
  await t.rejects(openGroupStore({ file, module, userVersion: 2, maxPages: 3 } as never), {
    message: /no option "maxPages"/,
  });
  await t.rejects(openGroupStore({ file, module, userVersion: 3 }), { message: /2 steps cannot lead to version 3/ });
});

t.test('a queue that only grows is refused as busy', async (t) => {
  await using store = await openGroupStore<ShelfCommand, ShelfResult>({
    file: newFile(),
    module,
    userVersion: 2,
    maxQueued: 10,
  });
  const all = await codes(Array.from({ length: 12 }, (_, i) => store.submit(put(`n${i}`))));
  t.strictSame(all, [...new Array(10).fill('ok'), 'E_BUSY', 'E_BUSY']);
});

t.test('a large log is moved into the main file while commits go on, and starts over', async (t) => {
  const file = newFile();
  await using store = await openThreaded(file);
  const body = new Uint8Array(200_000);
  // 60 MB through a log that is settled at 32 MiB.
  for (let i = 0; i < 300; i++)
    await store.submit(put('box', body)).then(() => store.submit({ kind: 'drop', name: 'box' }));
  t.ok(readFileSync(`${file}-wal`).byteLength < 45_000_000, 'the log did not grow with every write');
  t.strictSame(await store.query({ kind: 'names' }), []);
});

t.test('in process, whoever schedules the commit decides what a crash still finds', async (t) => {
  const file = newFile();
  const commits: (() => void)[] = [];
  const first = synchronousGroup({ module: shelf, file, schedule: (commit) => commits.push(commit) });
  const kept = first.submit(put('kept'));
  commits.shift()?.();
  await kept;
  let answered = false;
  first.submit(put('lost')).then(
    () => (answered = true),
    () => {},
  );
  // The crash: the scheduled commit never runs.
  await using second = synchronousGroup({ module: shelf, file });
  t.strictSame(await second.query({ kind: 'names' }), ['kept']);
  t.equal(answered, false, 'nothing was acknowledged');
});
