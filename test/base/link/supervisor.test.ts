import t from 'tap';
import '../../leaks.ts';
import { createManualClock, type ManualClock } from '#base/clock.ts';
import { createBackoff } from '#base/link/backoff.ts';
import { type MemoryTransport, memoryPair, memoryTransport } from '#base/link/memory.ts';
import { type LinkMessage, linkCodec } from '#base/link/messages.ts';
import type { Dialler, Link } from '#base/link/seam.ts';
import { acceptSession, dialSession, type Session } from '#base/link/session.ts';
import { chooseDiallers, type LinkOutcome, type LinkState, superviseLink } from '#base/link/supervisor.ts';
import { createSeededRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';

const random = createSeededRandom('supervisor tests');

type Verdict = 'welcome' | FarfieldError;

/** The broker's side: answers handshakes by a script and keeps the sessions. */
interface Peer extends MemoryTransport {
  readonly sessions: Session<LinkMessage>[];
  verdict: () => Verdict;
}

function createPeer(clock: ManualClock, name: string): Peer {
  const transport = memoryTransport(name);
  const peer: Peer = { ...transport, sessions: [], verdict: () => 'welcome' };
  const loop = async (): Promise<void> => {
    for await (const link of transport.acceptor.links) {
      const verify = async () => {
        const verdict = peer.verdict();
        if (verdict !== 'welcome') throw verdict;
        return { welcome: { sessionEpoch: peer.sessions.length + 1 }, peer: undefined };
      };
      const accepted = await acceptSession<LinkMessage, undefined>({
        link,
        codec: linkCodec,
        clock,
        random,
        acceptor: name,
        verify,
      }).catch(() => undefined);
      if (accepted === undefined) continue;
      peer.sessions.push(accepted.session);
      void accepted.session.serve(() => {});
    }
  };
  void loop();
  return peer;
}

const failing = (name: string): Dialler => ({
  name,
  dial: () => Promise.reject(new FarfieldError('E_UNAVAILABLE', `${name} is down`)),
});

interface Running {
  readonly outcomes: LinkOutcome[];
  readonly states: LinkState[];
  readonly result: Promise<unknown>;
  stop(): Promise<void>;
}

function supervise(clock: ManualClock, diallers: Dialler[], options: { isFatal?: () => boolean } = {}): Running {
  const outcomes: LinkOutcome[] = [];
  const states: LinkState[] = [];
  const abort = new AbortController();
  const hello = async () => ({ token: '', descriptor: '', status: '', protocolMin: 1, protocolMax: 1 });
  const result = superviseLink<LinkMessage, { session: Session<LinkMessage> }>(
    {
      diallers,
      connect: (link: Link) => dialSession<LinkMessage>({ link, codec: linkCodec, clock, acceptor: undefined, hello }),
      serve: ({ session }) => session.serve(() => {}),
      clock,
      random,
      onOutcome: (outcome) => outcomes.push(outcome),
      onState: (state) => states.push(state),
      ...options,
    },
    abort.signal,
  );
  return {
    outcomes,
    states,
    result,
    async stop() {
      abort.abort();
      await clock.drive(1);
      await result;
    },
  };
}

const waits = (states: readonly LinkState[]): number[] => states.flatMap((s) => (s.kind === 'waiting' ? [s.ms] : []));

t.test('waits double up to a bound, each drawn from its upper half', async (t) => {
  const backoff = createBackoff(createSeededRandom(1), { firstMs: 100, maxMs: 1000 });
  for (const bound of [100, 200, 400, 800, 1000, 1000]) {
    const ms = backoff.next();
    t.ok(ms >= bound / 2 && ms <= bound, `${ms} for ${bound}`);
  }
  backoff.reset();
  t.ok(backoff.next() <= 100);
});

t.test('a peer that takes a session and drops it at once is dialled ever more slowly', async (t) => {
  const clock = createManualClock();
  const peer = createPeer(clock, 'broker');
  const running = supervise(clock, [peer.dialler]);
  for (let s = 0; s < 120; s += 1) {
    await clock.drive(1000);
    peer.pairs.at(-1)?.cut();
    await clock.drive(1);
  }
  const ms = waits(running.states);
  t.ok(running.outcomes.every((o) => o.kind === 'served'));
  t.ok((ms.at(-1) ?? 0) > 10_000, `the last wait is ${ms.at(-1)} ms`);
  t.ok(peer.sessions.length < 15, `${peer.sessions.length} sessions in two minutes`);
  await running.stop();
});

t.test('a session that was held resets the back-off, so that a restart of the peer costs little', async (t) => {
  const clock = createManualClock();
  const peer = createPeer(clock, 'broker');
  let up = false;
  const dialler: Dialler = {
    name: 'broker',
    dial: (signal) => (up ? peer.dialler.dial(signal) : failing('broker').dial(signal)),
  };
  const running = supervise(clock, [dialler]);
  await clock.drive(120_000);
  t.ok((waits(running.states).at(-1) ?? 0) > 10_000, 'an outage of two minutes');
  up = true;
  await clock.drive(31_000);
  t.equal(peer.sessions.length, 1);
  await clock.drive(10_000);
  peer.pairs.at(-1)?.cut();
  await clock.drive(1);
  t.ok((waits(running.states).at(-1) ?? Infinity) <= 250, 'the first wait again');
  await clock.drive(250);
  t.equal(peer.sessions.length, 2);
  await running.stop();
});

t.test('a refusal that no retry can change ends the supervisor as data', async (t) => {
  const clock = createManualClock();
  const peer = createPeer(clock, 'broker');
  peer.verdict = () => new FarfieldError('E_ENDPOINT_UNKNOWN', 'no endpoint of this id is enrolled');
  const running = supervise(clock, [peer.dialler, failing('ws')]);
  await clock.drive(1);
  t.match(await running.result, { kind: 'fatal', code: 'E_ENDPOINT_UNKNOWN', reason: /enrolled/ });
});

t.test('a session that is fenced ends the supervisor: two of one key must not chase each other', async (t) => {
  const clock = createManualClock();
  const peer = createPeer(clock, 'broker');
  const running = supervise(clock, [peer.dialler]);
  await clock.drive(1);
  peer.sessions[0]?.close('E_FENCED', 'another session of this key took over');
  await clock.drive(1);
  t.match(await running.result, { kind: 'fatal', code: 'E_FENCED' });
});

t.test('an owner that must go on for ever decides itself what is fatal', async (t) => {
  const clock = createManualClock();
  const peer = createPeer(clock, 'agent');
  peer.verdict = () => new FarfieldError('E_FORBIDDEN', 'not yet');
  const running = supervise(clock, [peer.dialler], { isFatal: () => false });
  await clock.drive(5000);
  t.ok(running.outcomes.length > 2);
  t.ok(running.outcomes.every((o) => o.kind === 'retryable' && o.code === 'E_FORBIDDEN'));
  peer.verdict = () => 'welcome';
  await clock.drive(30_000);
  t.equal(peer.sessions.length, 1);
  await running.stop();
});

t.test('a pause that the peer asks for is kept', async (t) => {
  const clock = createManualClock();
  const peer = createPeer(clock, 'broker');
  peer.verdict = () => new FarfieldError('E_BUSY', 'later', { retryAfterS: 20 });
  const running = supervise(clock, [peer.dialler]);
  await clock.drive(1);
  t.ok((waits(running.states)[0] ?? 0) >= 20_000);
  await running.stop();
});

t.test('auto tries gRPC, then WebSocket, and stays with what worked', async (t) => {
  const clock = createManualClock();
  const peer = createPeer(clock, 'ws');
  const diallers = chooseDiallers('auto', { grpc: () => failing('grpc'), ws: () => peer.dialler });
  t.strictSame(
    diallers.map((d) => d.name),
    ['grpc', 'ws'],
  );
  t.strictSame(
    chooseDiallers('ws', { grpc: () => failing('grpc'), ws: () => peer.dialler }).map((d) => d.name),
    ['ws'],
  );
  const running = supervise(clock, diallers);
  await clock.drive(1);
  const tried = (): string[] => running.states.flatMap((s) => (s.kind === 'dialling' ? [s.via] : []));
  t.strictSame(tried(), ['grpc', 'ws']);
  peer.pairs.at(-1)?.cut();
  await clock.drive(300);
  t.strictSame(tried(), ['grpc', 'ws', 'ws']);
  await running.stop();
});

t.test('a dial that hangs is given up, and the next dialler gets its turn', async (t) => {
  const clock = createManualClock();
  const peer = createPeer(clock, 'ws');
  const hanging: Dialler = {
    name: 'grpc',
    dial: (signal) =>
      new Promise((_, reject) =>
        signal.addEventListener('abort', () => reject(new FarfieldError('E_UNAVAILABLE', 'given up'))),
      ),
  };
  const running = supervise(clock, [hanging, peer.dialler]);
  await clock.drive(10_001);
  t.equal(peer.sessions.length, 1);
  await running.stop();
});

t.test('stopping says goodbye and leaves no timer', async (t) => {
  const clock = createManualClock();
  const peer = createPeer(clock, 'broker');
  const running = supervise(clock, [peer.dialler]);
  await clock.drive(1);
  await running.stop();
  t.match(await peer.sessions[0]?.closed, { kind: 'bye', by: 'peer', code: 'E_UNAVAILABLE' });
  t.equal(clock.pending(), 0);
  t.match(memoryPair().dialled.transport, 'memory');
});
