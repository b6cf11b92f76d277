/** Fair share as a pure choice, and the pump over a store that knows more than memory holds. */
import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import type { LinkMessage } from '#base/link/messages.ts';
import { createSeededRandom } from '#base/random.ts';
import { createCommit } from '../../broker/committed.ts';
import { choose, type Waiting } from '../../broker/dispatch/choose.ts';
import { createPump, EPOCH_STRIDE, type FreshTicket } from '../../broker/dispatch/pump.ts';
import { createHub } from '../../broker/events/hub.ts';
import { createMemoryStore } from '../../broker/store/memory.ts';
import type { BrokerStore, QueueTicket } from '../../broker/store/store.ts';
import { ALICE, BOB, beginSession, prepare, queueOf, ticketOf } from './store/given.ts';

const SEED = 4_711;
const ticket = (left: number, bytes = 10): Waiting => ({ left, bytesOf: () => bytes });
const lane = (...ready: Waiting[]): { ready: Waiting[] } => ({ ready });

t.test('each principal gets its turn, a quantum at a time, and the next round begins behind the last', async (t) => {
  const lanes = [lane(ticket(1000)), lane(ticket(3), ticket(3)), lane(ticket(1000))];
  const first = choose(lanes, 0, { items: 100, bytes: 1e9 }, 40);
  t.same(
    first.slices.map((slice) => [slice.lane, slice.count]),
    [
      [0, 40],
      [1, 3],
      [1, 3],
      [2, 40],
    ],
  );
  t.same(first.used, { items: 86, bytes: 860 });
  const second = choose(lanes, first.next, { items: 50, bytes: 1e9 }, 40);
  t.equal(second.slices[0]?.lane, 0);
  const tight = choose(lanes, 2, { items: 50, bytes: 1e9 }, 40);
  t.same(
    tight.slices.map((slice) => [slice.lane, slice.count]),
    [
      [2, 40],
      [0, 10],
    ],
  );
  t.equal(tight.next, 1, 'who was cut off is not first again');
});

t.test(`a choice never passes its room, keeps each principal's order, and starves nobody (seed ${SEED})`, async (t) => {
  const random = createSeededRandom(SEED);
  const int = (n: number): number => Math.floor(random.uniform() * n);
  let broken = 0;
  for (let round = 0; round < 500; round += 1) {
    const lanes = Array.from({ length: 1 + int(5) }, () =>
      lane(...Array.from({ length: int(6) }, () => ticket(int(50), 1 + int(300)))),
    );
    const room = { items: int(200), bytes: int(20_000) };
    const quantum = 1 + int(30);
    const { slices, used } = choose(lanes, int(lanes.length), room, quantum, 3000);
    const items = slices.reduce((sum, { count }) => sum + count, 0);
    // The first item of a turn may be larger than what is left: it must not wait for ever.
    if (items !== used.items || items > room.items || used.bytes > room.bytes + 300) broken += 1;
    for (const [k, { ready }] of lanes.entries()) {
      const mine = slices.filter((slice) => slice.lane === k);
      if (mine.reduce((sum, { count }) => sum + count, 0) > quantum) broken += 1;
      const order = mine.map(({ entry }) => ready.indexOf(entry));
      if (order.some((place, j) => j > 0 && place <= (order[j - 1] ?? 0))) broken += 1;
      // Whatever stands before the last one that was chosen has been chosen whole.
      for (const [place, waiting] of ready.slice(0, Math.max(0, order.at(-1) ?? 0)).entries()) {
        const count = mine.find(({ entry }) => entry === waiting)?.count ?? 0;
        if (count !== waiting.left) broken += place >= 0 ? 1 : 0;
      }
    }
  }
  t.equal(broken, 0);
});

t.test('an item that is larger than the room goes when it is the first', async (t) => {
  const { slices } = choose([lane(ticket(2, 5000))], 0, { items: 10, bytes: 100 });
  t.same(
    slices.map(({ count }) => count),
    [1],
  );
});

interface Wire {
  readonly sent: { id: string; deliveryEpoch: number; items: number[] }[];
  readonly session: { send(message: LinkMessage): boolean; writable(): Promise<void> };
  blocked: boolean;
  free(): void;
}

function createWire(): Wire {
  const sent: Wire['sent'] = [];
  let waiting: (() => void)[] = [];
  const wire: Wire = {
    sent,
    blocked: false,
    session: {
      send({ deliver }) {
        for (const each of deliver?.tickets ?? [])
          sent.push({ id: each.id, deliveryEpoch: each.deliveryEpoch, items: each.items });
        return !wire.blocked;
      },
      writable: () => (wire.blocked ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve()),
    },
    free() {
      wire.blocked = false;
      for (const resolve of waiting) resolve();
      waiting = [];
    },
  };
  return wire;
}

const freshOf = (queued: QueueTicket, ticketNo: number): FreshTicket => ({
  ticketNo,
  id: queued.id,
  principal: queued.principal,
  token: queued.token,
  chain: ['link'],
  manifest: 'manifest',
  n: queued.n,
  payload: queued.payload,
});

async function queue(store: BrokerStore, tickets: readonly QueueTicket[]): Promise<FreshTicket[]> {
  const { outcomes } = await store.apply('queue', queueOf(tickets));
  return tickets.map((each, k) => freshOf(each, outcomes[k]?.kind === 'queued' ? outcomes[k].ticketNo : 0));
}

const settle = async (): Promise<void> => {
  for (let k = 0; k < 200; k += 1) await new Promise((resolve) => setImmediate(resolve));
};
const idsOf = (wire: Wire): string[] => wire.sent.flatMap(({ id, items }) => items.map((i) => `${id}.${i}`));

t.test('a backlog longer than memory holds goes out once and in order, with what is queued meanwhile', async (t) => {
  const store = createMemoryStore();
  await prepare(store);
  const commit = createCommit(store, createHub('0'), createManualClock());
  const old = Array.from({ length: 2500 }, (_, k) => ticketOf(`old-${k}`, 1, k % 5 === 0 ? { principal: BOB } : {}));
  await queue(store, old);
  const sessionEpoch = await beginSession(store);
  const wire = createWire();
  const budget = { used: 0 };
  const troubles: unknown[] = [];
  const onTrouble = (reason: unknown): void => void troubles.push(reason);
  const pump = createPump({
    store,
    commit,
    endpoint: old[0]?.endpoint ?? '',
    sessionEpoch,
    session: wire.session,
    budget,
    onTrouble,
  });
  pump.start();
  pump.credit(700, 1e9);
  const later: QueueTicket[] = [];
  for (let round = 0; round < 30; round += 1) {
    const fresh = Array.from({ length: 100 }, (_, k) => ticketOf(`new-${round}-${k}`, 1));
    later.push(...fresh);
    for (const each of await queue(store, fresh)) pump.offer(each);
    pump.credit(700 + round * 150, 1e9);
    await new Promise((resolve) => setImmediate(resolve));
  }
  pump.credit(1e6, 1e9);
  while (wire.sent.length < old.length + later.length && troubles.length === 0)
    await new Promise((resolve) => setImmediate(resolve));
  await settle();
  const sent = idsOf(wire);
  t.equal(new Set(sent).size, sent.length, 'nothing goes twice in one session');
  t.equal(sent.length, old.length + later.length);
  for (const principal of [ALICE, BOB]) {
    const expected = [...old, ...later].filter((each) => each.principal === principal).map(({ id }) => `${id}.0`);
    const mine = new Set(expected);
    t.same(
      sent.filter((id) => mine.has(id)),
      expected,
      'each principal in its order',
    );
  }
  t.same(troubles, []);
  t.equal(budget.used, 0, 'no payload is left in memory');
  await store.close();
});

t.test('a link that is full holds the pump, and the credit is not spent twice', async (t) => {
  const store = createMemoryStore();
  await prepare(store);
  const commit = createCommit(store, createHub('0'), createManualClock());
  const sessionEpoch = await beginSession(store);
  const wire = createWire();
  const [first] = [ticketOf('a', 1)];
  const pump = createPump({
    store,
    commit,
    endpoint: first.endpoint,
    sessionEpoch,
    session: wire.session,
    budget: { used: 0 },
    onTrouble: (reason) => t.fail(String(reason)),
  });
  pump.start();
  pump.credit(10, 1e9);
  await settle();
  wire.blocked = true;
  for (const each of await queue(
    store,
    Array.from({ length: 8 }, (_, k) => ticketOf(`t${k}`, 1)),
  ))
    pump.offer(each);
  await settle();
  const before = wire.sent.length;
  for (const each of await queue(
    store,
    Array.from({ length: 8 }, (_, k) => ticketOf(`u${k}`, 1)),
  ))
    pump.offer(each);
  await settle();
  t.equal(wire.sent.length, before, 'nothing more while it is full');
  wire.free();
  await settle();
  t.equal(wire.sent.length, 10, 'and then as much as the credit holds');
  await store.close();
});

t.test('what ended here before it went out is not sent, and what came back is sent under a new epoch', async (t) => {
  const store = createMemoryStore();
  await prepare(store);
  const commit = createCommit(store, createHub('0'), createManualClock());
  const sessionEpoch = await beginSession(store);
  const wire = createWire();
  const queued = ticketOf('a', 4);
  const pump = createPump({
    store,
    commit,
    endpoint: queued.endpoint,
    sessionEpoch,
    session: wire.session,
    budget: { used: 0 },
    onTrouble: (reason) => t.fail(String(reason)),
  });
  pump.start();
  await settle();
  const [fresh] = await queue(store, [queued]);
  if (fresh === undefined) throw new Error('not queued');
  pump.offer(fresh);
  await settle();
  pump.drop(fresh.ticketNo, [1, 3]);
  pump.credit(10, 1e9);
  await settle();
  t.same(wire.sent, [{ id: queued.id, deliveryEpoch: sessionEpoch * EPOCH_STRIDE, items: [0, 2] }]);
  const { payload } = queued;
  const items = Uint8Array.from([0, 0]);
  const back = await commit('handBack', {
    endpoint: queued.endpoint,
    sessionEpoch,
    id: queued.id,
    deliveryEpoch: sessionEpoch * EPOCH_STRIDE,
    items,
    payload,
    nowS: 1,
  });
  t.match(back, { kind: 'done', principal: ALICE });
  pump.returned(fresh.ticketNo, ALICE, [0]);
  await settle();
  t.match(wire.sent.at(-1), { id: queued.id, deliveryEpoch: sessionEpoch * EPOCH_STRIDE + 1, items: [0] });
  await store.close();
});
