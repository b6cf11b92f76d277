import t from 'tap';
import '../../leaks.ts';
import { createOutbox, type Entry, type Outbox, type Sender } from '#base/link/outbox.ts';
import { createSeededRandom } from '#base/random.ts';

type Message = number;

/** A durable store: what is in it stays until the receiver has it. */
interface Store {
  readonly rows: Map<number, Message>;
  loads: number;
  load(after: number, limit: number): Promise<readonly Entry<Message>[]>;
}

function createStore(): Store {
  const rows = new Map<number, Message>();
  return {
    rows,
    loads: 0,
    async load(after, limit) {
      this.loads += 1;
      // Read first, answered later: what is committed in between is not in the answer.
      const all = [...rows.keys()].filter((no) => no > after).sort((a, b) => a - b);
      await new Promise((resolve) => setImmediate(resolve));
      return all.slice(0, limit).map((no) => ({ no, message: no, bytes: 100 }));
    },
  };
}

interface Wire extends Sender<Message> {
  readonly sent: number[];
  end(): void;
  block(): void;
  unblock(): void;
}

function createWire(): Wire {
  const sent: number[] = [];
  const { promise: closed, resolve: end } = Promise.withResolvers<void>();
  let blocked: PromiseWithResolvers<void> | undefined;
  return {
    sent,
    closed,
    end,
    send(message) {
      sent.push(message);
      return blocked === undefined;
    },
    writable: () => blocked?.promise ?? Promise.resolve(),
    block: () => {
      blocked = Promise.withResolvers<void>();
    },
    unblock: () => {
      blocked?.resolve();
      blocked = undefined;
    },
  };
}

const settle = async (): Promise<void> => {
  for (let i = 0; i < 12; i += 1) await new Promise((resolve) => setImmediate(resolve));
};

function open(options: { windowItems?: number; windowBytes?: number } = {}): { store: Store; outbox: Outbox<Message> } {
  const store = createStore();
  const outbox = createOutbox<Message>({
    load: (after, limit) => store.load(after, limit),
    onError: (e) => t.fail(String(e)),
    ...options,
  });
  return { store, outbox };
}

function commit(store: Store, outbox: Outbox<Message>, no: number): void {
  store.rows.set(no, no);
  outbox.put({ no, message: no, bytes: 100 });
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

t.test('what was committed before a session goes out first, then what comes, in order and once', async (t) => {
  const { store, outbox } = open();
  for (const no of range(1, 101)) commit(store, outbox, no);
  const wire = createWire();
  outbox.attach(wire);
  for (const no of range(101, 151)) commit(store, outbox, no);
  await settle();
  for (const no of range(151, 201)) commit(store, outbox, no);
  await settle();
  t.strictSame(wire.sent, range(1, 201));
});

t.test('a message that is committed while the store is being read goes out without another commit', async (t) => {
  const { store, outbox } = open();
  const wire = createWire();
  outbox.attach(wire);
  commit(store, outbox, 1);
  await settle();
  t.strictSame(wire.sent, [1]);
});

t.test('a caught-up outbox sends a new message without reading the store', async (t) => {
  const { store, outbox } = open();
  const wire = createWire();
  outbox.attach(wire);
  await settle();
  const { loads } = store;
  for (const no of range(1, 50)) commit(store, outbox, no);
  await settle();
  t.strictSame(wire.sent, range(1, 50));
  t.equal(store.loads, loads);
});

t.test('a new session gets everything that was not acknowledged again, and nothing that was', async (t) => {
  const { store, outbox } = open();
  const first = createWire();
  outbox.attach(first);
  await settle();
  for (const no of range(1, 11)) commit(store, outbox, no);
  await settle();
  for (const no of [1, 2, 3, 5]) store.rows.delete(no);
  outbox.acked([1, 2, 3, 5]);
  first.end();
  await settle();
  commit(store, outbox, 11);
  t.strictSame(first.sent, range(1, 11), 'nothing goes to a session that ended');
  const second = createWire();
  outbox.attach(second);
  await settle();
  t.strictSame(second.sent, [4, 6, 7, 8, 9, 10, 11]);
});

t.test('at most a window is in flight, and an answer makes room', async (t) => {
  const { store, outbox } = open({ windowItems: 8 });
  const wire = createWire();
  outbox.attach(wire);
  await settle();
  for (const no of range(1, 31)) commit(store, outbox, no);
  await settle();
  t.strictSame(wire.sent, range(1, 9));
  for (const no of range(1, 5)) store.rows.delete(no);
  outbox.acked(range(1, 5));
  await settle();
  t.strictSame(wire.sent, range(1, 13));
  t.equal(outbox.inFlight, 8);
});

t.test('a link that is full is waited for', async (t) => {
  const { store, outbox } = open();
  const wire = createWire();
  outbox.attach(wire);
  await settle();
  wire.block();
  for (const no of range(1, 11)) commit(store, outbox, no);
  await settle();
  t.strictSame(wire.sent, [1]);
  wire.unblock();
  await settle();
  t.strictSame(wire.sent, range(1, 11));
});

t.test('more than fits into memory is left to the store and still goes out once, in order', async (t) => {
  const { store, outbox } = open({ windowBytes: 1000 });
  const wire = createWire();
  outbox.attach(wire);
  await settle();
  for (const no of range(1, 500)) commit(store, outbox, no);
  for (let at = 0; at < 60; at += 1) {
    await settle();
    const waiting = [...store.rows.keys()].filter((no) => wire.sent.includes(no));
    for (const no of waiting) store.rows.delete(no);
    outbox.acked(waiting);
  }
  t.strictSame(wire.sent, range(1, 500));
});

t.test('a store that fails to load is reported, and the next commit tries again', async (t) => {
  const errors: unknown[] = [];
  let fail = true;
  const store = createStore();
  const outbox = createOutbox<Message>({
    load: async (after, limit) => {
      if (fail) throw new Error('disk');
      return store.load(after, limit);
    },
    onError: (error) => errors.push(error),
  });
  const wire = createWire();
  outbox.attach(wire);
  await settle();
  t.equal(errors.length, 1);
  fail = false;
  commit(store, outbox, 1);
  await settle();
  t.strictSame(wire.sent, [1]);
});

t.test(
  'with sessions that come and go at random, every message arrives, and each session sees rising numbers',
  async (t) => {
    const seed = 'outbox 1';
    t.comment(`seed: ${seed}`);
    const random = createSeededRandom(seed);
    const { store, outbox } = open({ windowItems: 16, windowBytes: 1200 });
    const received = new Set<number>();
    let wire = createWire();
    let next = 1;
    for (let step = 0; step < 3000; step += 1) {
      const dice = random.uniform();
      if (dice < 0.45 && next <= 600) commit(store, outbox, next++);
      else if (dice < 0.75) {
        const seen = wire.sent.filter((no) => store.rows.has(no)).slice(0, 1 + Math.floor(random.uniform() * 4));
        for (const no of seen) {
          received.add(no);
          store.rows.delete(no);
        }
        outbox.acked(seen);
      } else if (dice < 0.78) {
        wire.end();
        t.strictSame(
          wire.sent,
          [...new Set(wire.sent)].sort((a, b) => a - b),
        );
        wire = createWire();
        outbox.attach(wire);
      } else await new Promise((resolve) => setImmediate(resolve));
    }
    while (store.rows.size > 0 || next <= 600) {
      if (next <= 600) commit(store, outbox, next++);
      await settle();
      const seen = wire.sent.filter((no) => store.rows.has(no));
      for (const no of seen) {
        received.add(no);
        store.rows.delete(no);
      }
      outbox.acked(seen);
      if (wire.sent.length === 0 && outbox.inFlight === 0) outbox.attach(wire);
    }
    t.equal(received.size, 600);
  },
);
