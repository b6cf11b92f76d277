/** The event stream: in order, without a gap, resumable, and never a burden. */
import { Writable } from 'node:stream';
import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import type { TicketStatus } from '#protos/http.ts';
import { createCommit } from '../../broker/committed.ts';
import { createHub } from '../../broker/events/hub.ts';
import { runStream } from '../../broker/events/stream.ts';
import { createMemoryStore } from '../../broker/store/memory.ts';
import { openReader } from './reader.ts';
import { json, startTestBroker } from './setting.ts';
import { ALICE, prepare, queueOf, ticketOf } from './store/given.ts';

t.test(
  'a reader that comes back gets what it missed, once and in order, also after a restart of the broker',
  async (t) => {
    const setting = await startTestBroker(t);
    const [user, peer] = [await setting.user(), await setting.peer()];
    let agent = await setting.connect(peer, { auto: true });
    const first = await openReader(user.http);
    await user.submit(user.ticket([json(1)], { endpoint: peer.endpoint }));
    const seen = await first.until((events) => events.filter(({ id }) => id !== undefined).length === 3);
    const cursor = seen[0]?.id;
    await first[Symbol.asyncDispose]();
    await user.submit(user.ticket([json(2)], { endpoint: peer.endpoint }));
    await agent.until(() => agent.acked.length === 2);
    await setting.restart();
    agent = await setting.connect(peer, { auto: true });
    await using second = await openReader(user.http, cursor);
    await user.submit(user.ticket([json(3)], { endpoint: peer.endpoint }));
    const rest = await second.until((events) => events.filter(({ type }) => type === 'terminal').length === 3);
    const seqs = rest.flatMap(({ id }) => (id === undefined ? [] : [Number(id.split('.')[1])]));
    t.same(
      seqs,
      Array.from({ length: seqs.length }, (_, k) => k + 2),
    );
    t.ok(cursor?.endsWith('.1'));
  },
);

t.test(
  'a cursor of another generation, of the future, or older than what is kept gets a reset and goes on from now',
  async (t) => {
    const setting = await startTestBroker(t, { retentionS: 3600 });
    const [user, peer] = [
      await setting.user({ exp: Math.floor(Date.now() / 1000) + 40_000, adm: Math.floor(Date.now() / 1000) + 40_000 }),
      await setting.peer(),
    ];
    await setting.connect(peer, { auto: true });
    await user.submit(user.ticket([json(1)], { endpoint: peer.endpoint }));
    const generation = await setting.broker.store.read('generation', null);
    setting.clock.advance(2 * 3600_000);
    await setting.broker.sweep();
    await setting.broker.sweep();
    for (const cursor of ['0123456789abcdef.1', `${generation}.99`, `${generation}.0`, 'nonsense']) {
      await using reader = await openReader(user.http, cursor);
      t.match((await reader.until((events) => events.length > 0))[0], { type: 'reset' }, cursor);
    }
  },
);

t.test('running states and logs reach those who listen, and status shows the last word', async (t) => {
  const setting = await startTestBroker(t);
  const [user, other, peer, stranger] = [
    await setting.user(),
    await setting.user(),
    await setting.peer(),
    await setting.peer(),
  ];
  const [agent, thief] = [await setting.connect(peer), await setting.connect(stranger)];
  await using reader = await openReader(user.http);
  await using foreign = await openReader(other.http);
  const ticket = user.ticket([json(1)], { endpoint: peer.endpoint });
  await user.submit(ticket);
  agent.admit(await agent.received(1));
  thief.running({ id: ticket.id, detail: 'forged' });
  agent.running({ id: ticket.id, detail: '9,100 patches/s\u001b[2J', done: 5, total: 10 });
  agent.log({ id: ticket.id, data: Buffer.from('hello\n') });
  const events = await reader.until((all) => all.some(({ type }) => type === 'log'));
  const running = events.filter(({ type }) => type === 'running');
  t.match(running, [{ id: undefined, data: { detail: '9,100 patches/s', done: 5, total: 10 } }]);
  t.match(events.at(-1), { type: 'log', data: { data: 'hello\n', offset: 0 } });
  const status = (): Promise<TicketStatus> => user.http.json({ method: 'GET', path: `/v1/invocations/${ticket.id}` });
  await setting.until(async () => (await status()).counts.admitted === 1);
  t.match(await status(), {
    items: [{ state: 'admitted', detail: '9,100 patches/s', done: 5, total: 10 }],
  });
  t.same(foreign.events, []);
});

/** A reader whose socket is full until the test drains it. */
class SlowSocket extends Writable {
  text = '';
  #held: (() => void) | undefined;
  stuck = false;

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    if (this.stuck) this.#held = done;
    else done();
  }

  free(): void {
    this.stuck = false;
    this.#held?.();
    this.#held = undefined;
  }
}

t.test(
  'a reader that is too slow costs a bounded buffer, and then gets everything from the store, in order',
  async (t) => {
    const store = createMemoryStore();
    await prepare(store);
    const hub = createHub('00000000');
    const commit = createCommit(store, hub, createManualClock());
    const out = new SlowSocket();
    out.stuck = true;
    const clock = createManualClock();
    const running = runStream({
      hub,
      store,
      clock,
      generation: '00000000',
      principal: ALICE,
      cursor: undefined,
      out,
      head: () => {},
    });
    await new Promise((resolve) => setImmediate(resolve));
    const total = 400;
    // Each event tells of 200 tickets: 10 KiB of text, 4 MiB in all.
    for (let k = 0; k < total; k += 1)
      await commit('queue', queueOf(Array.from({ length: 200 }, (_, j) => ticketOf(`t${k}-${j}`, 1))));
    t.ok(out.writableLength < 3 * 1024 * 1024, `${out.writableLength} bytes wait`);
    out.free();
    while (!out.text.includes(`id: 00000000.${total}\n`)) await new Promise((resolve) => setImmediate(resolve));
    const seqs = [...out.text.matchAll(/id: 00000000\.(\d+)\n/g)].map((match) => Number(match[1]));
    t.same(
      seqs,
      Array.from({ length: total }, (_, k) => k + 1),
    );
    out.destroy();
    await running;
    t.equal(hub.listeners(ALICE), 0);
    t.equal(clock.pending(), 0, 'its heartbeat is gone with it');
    await store.close();
  },
);

t.test('events that are committed while a reader catches up are neither lost nor told twice', async (t) => {
  const store = createMemoryStore();
  await prepare(store);
  const hub = createHub('00000000');
  const commit = createCommit(store, hub, createManualClock());
  for (let k = 0; k < 100; k += 1) await commit('queue', queueOf([ticketOf(`a${k}`, 1)]));
  const out = new SlowSocket();
  const running = runStream({
    hub,
    store,
    clock: createManualClock(),
    generation: '00000000',
    principal: ALICE,
    cursor: '00000000.0',
    out,
    head: () => {},
  });
  for (let k = 0; k < 100; k += 1) await commit('queue', queueOf([ticketOf(`b${k}`, 1)]));
  while (!out.text.includes('id: 00000000.200\n')) await new Promise((resolve) => setImmediate(resolve));
  const seqs = [...out.text.matchAll(/id: 00000000\.(\d+)\n/g)].map((match) => Number(match[1]));
  t.same(
    seqs,
    Array.from({ length: 200 }, (_, k) => k + 1),
  );
  out.destroy();
  await running;
  await store.close();
});
