/**
 * Links over real transports through a proxy that misbehaves: what was acknowledged is there once, whatever was cut.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import '../../leaks.ts';
import { systemClock } from '#base/clock.ts';
import { serveLinks } from '#base/link/accept.ts';
import { grpcAcceptor, grpcDialler } from '#base/link/grpc.ts';
import { type LinkMessage, linkCodec } from '#base/link/messages.ts';
import { createOutbox } from '#base/link/outbox.ts';
import type { Acceptor, Dialler, Link } from '#base/link/seam.ts';
import { dialSession, type Session } from '#base/link/session.ts';
import { type LinkState, superviseLink } from '#base/link/supervisor.ts';
import { unixAcceptor, unixDialler } from '#base/link/unix.ts';
import { createSeededRandom } from '#base/random.ts';
import { MAX_FRAME_BYTES } from '#kernel/limits.ts';
import { type FaultProxy, openFaultProxy } from '../../fakes/fault-proxy.ts';
import { testTls } from '../../fakes/tls.ts';

interface Bench {
  readonly acceptor: Acceptor;
  readonly dialler: Dialler;
  readonly proxy: FaultProxy;
  close(): Promise<void>;
}

async function grpcBench(): Promise<Bench> {
  const tls = testTls();
  const acceptor = await grpcAcceptor({ host: '127.0.0.1', port: 0, tls: tls.server });
  const proxy = await openFaultProxy({ listen: { port: 0 }, to: { port: Number(new URL(acceptor.address).port) } });
  const dialler = grpcDialler({ url: `grpcs://127.0.0.1:${proxy.port}`, ca: tls.ca });
  return { acceptor, dialler, proxy, close: async () => void (await proxy[Symbol.asyncDispose]()) };
}

async function unixBench(): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), 'ff-faults-'));
  await chmod(folder, 0o700);
  const acceptor = await unixAcceptor({ path: join(folder, 'behind.sock') });
  const proxy = await openFaultProxy({
    listen: { path: join(folder, 'front.sock') },
    to: { path: join(folder, 'behind.sock') },
  });
  const dialler = unixDialler({ path: join(folder, 'front.sock') });
  return {
    acceptor,
    dialler,
    proxy,
    async close() {
      await proxy[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
}

const random = createSeededRandom('faults');
const COUNT = 400;

/** A sender with an outbox over a durable map, and a receiver that commits and acknowledges. */
function play(bench: Bench, onReceived: (no: number) => void) {
  const store = new Map<number, LinkMessage>();
  const committed = new Set<number>();
  const states: LinkState[] = [];
  const outbox = createOutbox<LinkMessage>({
    load: async (after, limit) =>
      [...store]
        .filter(([no]) => no > after)
        .slice(0, limit)
        .map(([no, message]) => ({ no, message, bytes: 2000 })),
    onError: (error) => t.fail(String(error)),
  });
  const serving = serveLinks<LinkMessage, undefined>(bench.acceptor, {
    codec: linkCodec,
    clock: systemClock,
    random,
    acceptor: 'broker',
    verify: async () => ({ welcome: { sessionEpoch: 1 }, peer: undefined }),
    onSession: (session) =>
      session.serve((messages) => {
        for (const { outcome } of messages) {
          if (outcome === undefined) continue;
          if (!committed.has(outcome.packNo)) onReceived(outcome.packNo);
          committed.add(outcome.packNo);
          session.send({ outcomeAck: { packNos: [outcome.packNo] } }, 'prompt');
        }
      }),
    onError: (error) => t.fail(String(error)),
  });
  const end = new AbortController();
  const hello = async () => ({ token: '', descriptor: '', status: '', protocolMin: 1, protocolMax: 1 });
  const supervising = superviseLink<LinkMessage, { session: Session<LinkMessage> }>(
    {
      diallers: [bench.dialler],
      connect: (link) =>
        dialSession<LinkMessage>({
          link,
          codec: linkCodec,
          clock: systemClock,
          acceptor: 'broker',
          hello,
          times: { handshakeMs: 1000 },
        }),
      serve: ({ session }) => {
        outbox.attach(session);
        return session.serve((messages) => {
          for (const { outcomeAck } of messages) {
            for (const no of outcomeAck?.packNos ?? []) store.delete(no);
            outbox.acked(outcomeAck?.packNos ?? []);
          }
        });
      },
      clock: systemClock,
      random,
      backoff: { firstMs: 10, maxMs: 40 },
      onState: (state) => states.push(state),
    },
    end.signal,
  );
  const commit = (no: number): void => {
    const pack = { receipts: 'x'.repeat(1900), principal: '', tickets: [], details: [] };
    const message = { outcome: { packNo: no, pack } };
    store.set(no, message);
    outbox.put({ no, message, bytes: 2000 });
  };
  const stop = async (): Promise<void> => {
    end.abort();
    await supervising;
    await bench.acceptor[Symbol.asyncDispose]();
    await serving;
    await bench.close();
  };
  return { store, committed, states, commit, stop };
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 4000; turn += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`never happened: ${what}`);
}

async function everythingArrives(
  t: Test,
  open: () => Promise<Bench>,
  misbehave: (proxy: FaultProxy, step: number) => void,
): Promise<void> {
  const bench = await open();
  const received: number[] = [];
  const played = play(bench, (no) => received.push(no));
  for (let no = 1; no <= COUNT; no += 1) {
    played.commit(no);
    if (no % 20 !== 0) continue;
    misbehave(bench.proxy, no / 20);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  Object.assign(bench.proxy.faults, { cutAfterBytes: 0, blackHole: false, refuse: false, sliceBytes: 0, latencyMs: 0 });
  // Whatever is still half-open is reset at last, as a network that comes back would.
  bench.proxy.reset();
  await until(`all ${COUNT} acknowledged, ${played.store.size} are not`, () => played.store.size === 0);
  t.equal(played.committed.size, COUNT);
  t.equal(received.length, COUNT, 'each committed once');
  t.ok(bench.proxy.connections > 1, `${bench.proxy.connections} connections`);
  await played.stop();
}

const BENCHES = [
  ['a Unix socket', unixBench],
  ['gRPC', grpcBench],
] as const;

for (const [name, open] of BENCHES) {
  t.test(`over ${name}, resets lose nothing that was committed`, (t) =>
    everythingArrives(t, open, (proxy) => proxy.reset()),
  );
  t.test(`over ${name}, a cut inside a frame loses nothing`, (t) =>
    everythingArrives(t, open, (proxy, step) => {
      proxy.faults.cutAfterBytes = 6000 + step * 777;
    }),
  );
  t.test(`over ${name}, bytes that come late and in slices arrive whole`, (t) =>
    everythingArrives(t, open, (proxy, step) => {
      Object.assign(proxy.faults, { sliceBytes: 1 + step * 37, latencyMs: step % 3 });
      if (step % 5 === 0) proxy.reset();
    }),
  );
  t.test(`over ${name}, a refusal for a while is survived`, (t) =>
    everythingArrives(t, open, (proxy, step) => {
      proxy.faults.refuse = step % 4 !== 0;
      proxy.reset();
    }),
  );
}

t.test('a peer that is refused at once is not dialled in a tight loop', async (t) => {
  const bench = await unixBench();
  bench.proxy.faults.refuse = true;
  const played = play(bench, () => {});
  await until('ten dials', () => bench.proxy.connections >= 10);
  const waits = played.states.flatMap((state) => (state.kind === 'waiting' ? [state.ms] : []));
  t.ok(
    waits.slice(3).every((ms) => ms >= 20),
    `waits: ${waits.map(Math.round).join(', ')}`,
  );
  await played.stop();
});

t.test('a whole frame fits into the window of a gRPC link, whatever the round trip', async (t) => {
  const bench = await grpcBench();
  const links = bench.acceptor.links[Symbol.asyncIterator]();
  const sender = await bench.dialler.dial(new AbortController().signal);
  const { value: receiver } = (await links.next()) as { value: Link };
  const frames = receiver.frames[Symbol.asyncIterator]();
  // The first frame makes sure that the settings of both sides are known.
  sender.send(Buffer.alloc(1));
  await frames.next();
  receiver.send(Buffer.alloc(1));
  await sender.frames[Symbol.asyncIterator]().next();
  // From now on the sender hears nothing, as on an endless cable: what arrives is what its window allowed.
  bench.proxy.faults.holdAnswers = true;
  for (let no = 0; no < 3; no += 1) sender.send(Buffer.alloc(MAX_FRAME_BYTES, no));
  for (let no = 0; no < 3; no += 1) {
    const { value } = await frames.next();
    t.equal(value?.byteLength, MAX_FRAME_BYTES);
  }
  bench.proxy.reset();
  await sender.closed;
  await bench.acceptor[Symbol.asyncDispose]();
  await bench.close();
});
