import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import '../../leaks.ts';
import { createManualClock, type ManualClock } from '#base/clock.ts';
import { serveLinks } from '#base/link/accept.ts';
import { signHello } from '#base/link/hello.ts';
import { checkHello } from '#base/link/hello-check.ts';
import { memoryPair, memoryTransport } from '#base/link/memory.ts';
import { type LinkMessage, linkCodec } from '#base/link/messages.ts';
import type { Link } from '#base/link/seam.ts';
import {
  acceptSession,
  dialSession,
  negotiate,
  type ProtocolRange,
  type Session,
  type SessionEnd,
} from '#base/link/session.ts';
import { unixAcceptor, unixDialler } from '#base/link/unix.ts';
import { createSeededRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { generateKey, signerFrom } from '#kernel/sign.ts';
import { openFaultProxy } from '../../fakes/fault-proxy.ts';

const random = createSeededRandom('session tests');
const agentKey = signerFrom(generateKey());
const ENDPOINT = agentKey.kid;
const BROKER = signerFrom(generateKey()).kid;

interface Shaken {
  readonly a: Session<LinkMessage>;
  readonly b: Session<LinkMessage>;
}

interface Setup {
  readonly clock?: ManualClock;
  readonly mine?: ProtocolRange;
  readonly theirs?: ProtocolRange;
  readonly acceptor?: string;
  readonly signer?: typeof agentKey;
  readonly tamper?: (token: string) => string;
}

function dial(link: Link, setup: Setup, clock: ManualClock) {
  const protocol = setup.mine ?? { min: 1, max: 1 };
  return dialSession<LinkMessage>({
    link,
    codec: linkCodec,
    clock,
    protocol,
    acceptor: setup.acceptor ?? BROKER,
    hello: async (challenge) => {
      const facts = { challenge, subject: ENDPOINT, protocol, sessionEpoch: 0, nowMs: clock.now(), random };
      const token = signHello(facts, setup.signer ?? agentKey);
      return {
        token: setup.tamper?.(token) ?? token,
        descriptor: '',
        status: '',
        protocolMin: protocol.min,
        protocolMax: protocol.max,
      };
    },
  });
}

function accept(link: Link, setup: Setup, clock: ManualClock) {
  return acceptSession<LinkMessage, string>({
    link,
    codec: linkCodec,
    clock,
    random,
    protocol: setup.theirs ?? { min: 1, max: 1 },
    acceptor: BROKER,
    verify: async (hello, { nonce }) => {
      const token = await checkHello(hello.token, {
        acceptor: BROKER,
        nonce,
        protocol: { min: hello.protocolMin, max: hello.protocolMax },
        keyOf: (subject) => {
          if (subject !== ENDPOINT) throw new FarfieldError('E_ENDPOINT_UNKNOWN', 'no endpoint of this id is enrolled');
          return agentKey.jwk;
        },
        nowMs: clock.now(),
      });
      return { welcome: { sessionEpoch: token.claims.sessionEpoch + 1 }, peer: token.claims.sub };
    },
  });
}

/** Both sides' outcome: a session, or the refusal that each saw. */
async function shake(setup: Setup = {}): Promise<{ dialled: unknown; accepted: unknown }> {
  const clock = setup.clock ?? createManualClock();
  const pair = memoryPair();
  const [dialled, accepted] = await Promise.all([
    dial(pair.dialled, setup, clock).catch((error: unknown) => error),
    accept(pair.accepted, setup, clock).catch((error: unknown) => error),
  ]);
  pair.cut();
  return { dialled, accepted };
}

async function open(clock: ManualClock, dialled: Link, accepted: Link): Promise<Shaken> {
  const [a, b] = await Promise.all([dial(dialled, {}, clock), accept(accepted, {}, clock)]);
  return { a: a.session, b: b.session };
}

t.test('a hello that answers the challenge opens a session with the epoch that the acceptor gave', async (t) => {
  const { dialled, accepted } = await shake();
  t.match(dialled, { welcome: { protocol: 1, sessionEpoch: 1 }, session: { protocol: 1, epoch: 1 } });
  t.match(accepted, { peer: ENDPOINT, session: { protocol: 1, epoch: 1 } });
});

t.test('versions: the highest common one holds, and N-1 works on both sides', async (t) => {
  t.equal(negotiate({ min: 1, max: 2 }, { min: 1, max: 1 }), 1);
  t.equal(negotiate({ min: 1, max: 2 }, { min: 2, max: 3 }), 2);
  t.equal(negotiate({ min: 1, max: 1 }, { min: 2, max: 3 }), undefined);
  const older = await shake({ mine: { min: 1, max: 1 }, theirs: { min: 1, max: 2 } });
  t.match(older.dialled, { welcome: { protocol: 1 } });
  const newer = await shake({ mine: { min: 1, max: 2 }, theirs: { min: 1, max: 1 } });
  t.match(newer.dialled, { welcome: { protocol: 1 } });
});

t.test('peers without a common version both learn which versions there are and who must upgrade', async (t) => {
  const old = await shake({ mine: { min: 1, max: 1 }, theirs: { min: 2, max: 3 } });
  t.match(old.dialled, { code: 'E_VERSION', message: /speaks 1-1, the other 2-3; upgrade this side/ });
  t.match(old.accepted, { code: 'E_VERSION' }, 'the acceptor was told');
  const young = await shake({ mine: { min: 3, max: 4 }, theirs: { min: 1, max: 2 } });
  t.match(young.dialled, { code: 'E_VERSION', message: /speaks 3-4, the other 1-2; upgrade the other side/ });
  t.match(young.accepted, { code: 'E_VERSION', message: /speaks 3-4/ });
});

t.test('nothing is signed for an acceptor that was not meant', async (t) => {
  const { dialled, accepted } = await shake({ acceptor: agentKey.kid });
  t.match(dialled, { code: 'E_AUDIENCE' });
  t.match(accepted, { code: 'E_AUDIENCE' });
});

t.test(
  'a hello by another key, altered, or for an unknown endpoint is refused, and the dialler is told why',
  async (t) => {
    const other = await shake({ signer: signerFrom(generateKey()) });
    t.match(other.dialled, { code: 'E_TOKEN_SIGNATURE' });
    const altered = await shake({ tamper: (token) => `${token.slice(0, -4)}AAAA` });
    t.match([altered.dialled], [{ code: /E_TOKEN_(SIGNATURE|FORM)/ }]);
    const twice = await shake({ tamper: (token) => `${token}.x` });
    t.match(twice.dialled, { code: 'E_TOKEN_FORM' });
  },
);

t.test('a hello that answers another challenge is refused: it cannot be replayed', async (t) => {
  let recorded = '';
  await shake({ tamper: (token) => (recorded = token) });
  const replay = await shake({ tamper: () => recorded });
  t.match(replay.dialled, { code: 'E_UNAUTHENTICATED' });
});

t.test('a stranger who says nothing is cut off after the handshake time', async (t) => {
  const clock = createManualClock();
  const pair = memoryPair();
  const accepting = accept(pair.accepted, {}, clock);
  const refused = t.rejects(accepting, { code: 'E_TIMEOUT' });
  await clock.drive(10_001);
  await refused;
  t.equal((await pair.dialled.closed).clean, true);
  t.equal(clock.pending(), 0, 'no timer is left');
});

t.test('a stranger who sends garbage, too much, or something before a hello is cut off', async (t) => {
  const ping = linkCodec.encode({ ping: { id: 1 } });
  const long = linkCodec.encode({
    log: { id: '', item: 0, attempt: 0, offset: 0, data: new Uint8Array(600_000), dropped: 0 },
  });
  const cases: [string, Uint8Array, string][] = [
    ['garbage', Buffer.from('GET / HTTP/1.1'), 'E_PROTOCOL'],
    ['a ping', ping, 'E_PROTOCOL'],
    ['a frame over the limit of a hello', long, 'E_TOO_LARGE'],
  ];
  for (const [what, frame, code] of cases) {
    const clock = createManualClock();
    const pair = memoryPair();
    pair.dialled.send(frame);
    await t.rejects(accept(pair.accepted, {}, clock), { code }, what);
    await pair.dialled.closed;
  }
});

t.test('a cap holds on links that are being opened, and one more is told to come back', async (t) => {
  const clock = createManualClock();
  const { acceptor, dialler } = memoryTransport();
  const refused: string[] = [];
  const serving = serveLinks<LinkMessage, string>(acceptor, {
    codec: linkCodec,
    clock,
    random,
    acceptor: BROKER,
    maxOpening: 2,
    verify: async () => ({ welcome: { sessionEpoch: 1 }, peer: 'x' }),
    onSession: (session) => session.serve(() => {}),
    onRefused: (_, code) => refused.push(code),
    onError: (error) => t.fail(String(error)),
  });
  const signal = new AbortController().signal;
  const [silent1, silent2] = [await dialler.dial(signal), await dialler.dial(signal)];
  const third = await dialler.dial(signal);
  await t.rejects(dial(third, {}, clock), { code: 'E_BUSY', retryAfterS: 2 });
  t.strictSame(refused, ['E_BUSY']);
  silent1.close();
  silent2.close();
  await clock.drive(1);
  const { session } = await dial(await dialler.dial(signal), {}, clock);
  t.ok(session, 'room again');
  session.close('E_UNAVAILABLE', 'done');
  await acceptor[Symbol.asyncDispose]();
  await serving;
});

t.test('messages of one turn leave in one frame, in order of their lanes', async (t) => {
  const clock = createManualClock();
  const pair = memoryPair();
  const { a, b } = await open(clock, pair.dialled, pair.accepted);
  const batches: (string | undefined)[][] = [];
  const serving = b.serve((messages) => void batches.push(messages.map((m) => m.body)));
  a.send({ log: { id: 'x', item: 0, attempt: 1, offset: 0, data: new Uint8Array(1), dropped: 0 } }, 'logs');
  a.send({ outcomeAck: { packNos: [1] } });
  a.send({ cancelAck: { cancelNos: [1] } }, 'prompt');
  a.send({ credit: { items: 1, bytes: 1 } }, 'control');
  a.send({ outcomeAck: { packNos: [2] } });
  await clock.drive(1);
  a.close('E_UNAVAILABLE', 'done');
  await Promise.all([serving, a.serve(() => {})]);
  t.strictSame(batches, [['credit', 'cancelAck', 'outcomeAck', 'outcomeAck', 'log']]);
});

t.test('more than a frame holds is split over frames, complete and in order', async (t) => {
  const clock = createManualClock();
  const pair = memoryPair();
  const { a, b } = await open(clock, pair.dialled, pair.accepted);
  const offsets: number[] = [];
  const serving = b.serve((messages) => void offsets.push(...messages.map((m) => m.log?.offset ?? -1)));
  for (let offset = 0; offset < 40; offset += 1) {
    const more = a.send({ log: { id: 'x', item: 0, attempt: 1, offset, data: new Uint8Array(200_000), dropped: 0 } });
    if (!more) await a.writable();
  }
  await clock.drive(1);
  a.close('E_UNAVAILABLE', 'done');
  await Promise.all([serving, a.serve(() => {})]);
  t.strictSame(
    offsets,
    Array.from({ length: 40 }, (_, i) => i),
  );
});

t.test('a message that no frame can hold is a defect of its sender, said at once', async (t) => {
  const clock = createManualClock();
  const pair = memoryPair();
  const { a, b } = await open(clock, pair.dialled, pair.accepted);
  const log = { id: 'x', item: 0, attempt: 1, offset: 0, data: new Uint8Array(2 ** 20), dropped: 0 };
  t.throws(() => a.send({ log }), { code: 'E_TOO_LARGE' });
  a.close('E_UNAVAILABLE', 'done');
  await Promise.all([a.serve(() => {}), b.serve(() => {})]);
});

t.test('64-bit fields are numbers, absent ones and 2^53-1 as well', async (t) => {
  const big = Number.MAX_SAFE_INTEGER;
  const [credit, ping, done] = linkCodec.decode(
    Buffer.concat(
      [{ credit: { items: big, bytes: 0 } }, { ping: { id: 0 } }, { outcomeAck: { packNos: [0, 2 ** 40, big] } }].map(
        (m) => linkCodec.encode(m),
      ),
    ),
  );
  t.strictSame([credit?.credit?.items, credit?.credit?.bytes, ping?.ping?.id], [big, 0, 0]);
  t.strictSame(done?.outcomeAck?.packNos, [0, 2 ** 40, big]);
  t.equal(done?.credit, undefined, 'and what is absent is undefined');
});

t.test('logs that do not fit are dropped and the sender knows; acknowledgements never are', async (t) => {
  const clock = createManualClock();
  const pair = memoryPair();
  const { a, b } = await open(clock, pair.dialled, pair.accepted);
  const log = (): boolean =>
    a.send({ log: { id: 'x', item: 0, attempt: 1, offset: 0, data: new Uint8Array(50_000), dropped: 0 } }, 'logs');
  const kept = Array.from({ length: 2000 }, log).filter((taken) => taken).length;
  for (let i = 0; i < 100; i += 1) a.send({ outcomeAck: { packNos: [i] } });
  const bodies: (string | undefined)[] = [];
  const serving = b.serve((messages) => void bodies.push(...messages.map((m) => m.body)));
  await clock.drive(1);
  a.close('E_UNAVAILABLE', 'done');
  await Promise.all([serving, a.serve(() => {})]);
  t.ok(kept > 0 && kept < 2000, `${kept} of 2,000 fit`);
  t.equal(bodies.filter((body) => body === 'log').length, kept);
  t.equal(bodies.filter((body) => body === 'outcomeAck').length, 100);
});

t.test('a bye reaches the other side as code, message and pause', async (t) => {
  const clock = createManualClock();
  const pair = memoryPair();
  const { a, b } = await open(clock, pair.dialled, pair.accepted);
  const ends = Promise.all([a.serve(() => {}), b.serve(() => {})]);
  b.close('E_FENCED', 'another session of this key took over', 3);
  const [atA, atB] = await ends;
  const bye = { kind: 'bye', code: 'E_FENCED', message: 'another session of this key took over', retryAfterS: 3 };
  t.match(atA, { ...bye, by: 'peer' });
  t.match(atB, { ...bye, by: 'self' });
  t.equal(clock.pending(), 0, 'no heart beats on');
});

t.test('a handler that throws ends the session, and the peer learns the code but not the cause', async (t) => {
  const clock = createManualClock();
  const pair = memoryPair();
  const { a, b } = await open(clock, pair.dialled, pair.accepted);
  const served = a.serve(() => {});
  const defect = t.rejects(
    b.serve(() => Promise.reject(new TypeError('secret path /x'))),
    { message: 'secret path /x' },
  );
  a.send({ outcomeAck: { packNos: [1] } });
  await defect;
  const end = await served;
  t.match(end, { kind: 'bye', by: 'peer', code: 'E_INTERNAL' });
  t.notMatch(JSON.stringify(end), /secret/);
});

t.test('frames that are no protocol end a session with E_PROTOCOL', async (t) => {
  const clock = createManualClock();
  const pair = memoryPair();
  const { a, b } = await open(clock, pair.dialled, pair.accepted);
  const ends = Promise.all([a.serve(() => {}), b.serve(() => {})]);
  pair.dialled.send(Buffer.from([0x0a, 0xff, 0xff, 0xff, 0x7f]));
  const [atA, atB] = await ends;
  t.match(atB, { kind: 'bye', by: 'self', code: 'E_PROTOCOL' });
  t.match(atA, { kind: 'bye', by: 'peer', code: 'E_PROTOCOL' });
});

t.test('heartbeats keep an idle session alive, and measure the round trip', async (t) => {
  const clock = createManualClock();
  const pair = memoryPair();
  const { a, b } = await open(clock, pair.dialled, pair.accepted);
  const ends: SessionEnd[] = [];
  const serving = [a.serve(() => {}), b.serve(() => {})].map((end) => end.then((e) => ends.push(e)));
  for (let s = 0; s < 600; s += 5) await clock.drive(5000);
  t.strictSame(ends, []);
  t.type(b.roundTripMs, 'number');
  a.close('E_UNAVAILABLE', 'done');
  await Promise.all(serving);
});

t.test('of two healthy sides the acceptor pings and the dialler answers, a beat each', async (t) => {
  const clock = createManualClock();
  const pair = memoryPair();
  const sent = { a: 0, b: 0 };
  const counting = (link: Link, side: 'a' | 'b'): Link => ({
    ...link,
    send(frame) {
      sent[side] += 1;
      return link.send(frame);
    },
  });
  const { a, b } = await open(clock, counting(pair.dialled, 'a'), counting(pair.accepted, 'b'));
  const serving = [a.serve(() => {}), b.serve(() => {})];
  await clock.drive(10_000);
  const before = { ...sent };
  await clock.drive(100_000);
  t.equal(sent.a - before.a, 20);
  t.equal(sent.b - before.b, 20);
  t.equal(a.roundTripMs, undefined, 'the dialler never had to ask');
  a.close('E_UNAVAILABLE', 'done');
  await Promise.all(serving);
});

t.test('sessions that began at different moments beat together', async (t) => {
  const clock = createManualClock();
  const beats = new Set<number>();
  const serving: Promise<unknown>[] = [];
  const sessions: { close: (code: 'E_UNAVAILABLE', message: string) => void }[] = [];
  for (let k = 0; k < 50; k += 1) {
    await clock.drive(97);
    const pair = memoryPair();
    let open_ = false;
    const accepted: Link = {
      ...pair.accepted,
      send(frame) {
        if (open_) beats.add(clock.mono());
        return pair.accepted.send(frame);
      },
    };
    const { a, b } = await open(clock, pair.dialled, accepted);
    open_ = true;
    serving.push(
      a.serve(() => {}),
      b.serve(() => {}),
    );
    sessions.push(a);
  }
  await clock.drive(10_000);
  beats.clear();
  await clock.drive(5000);
  t.ok(beats.size <= 10, `${beats.size} moments for 50 sessions`);
  for (const session of sessions) session.close('E_UNAVAILABLE', 'done');
  await Promise.all(serving);
});

t.test('a half-open peer is noticed within 20 s of silence and not before 15 s', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'ff-half-'));
  await chmod(folder, 0o700);
  const path = join(folder, 'behind.sock');
  const acceptor = await unixAcceptor({ path });
  const proxy = await openFaultProxy({ listen: { path: join(folder, 'front.sock') }, to: { path } });
  const clock = createManualClock();
  const links = acceptor.links[Symbol.asyncIterator]();
  const dialled = await unixDialler({ path: join(folder, 'front.sock') }).dial(new AbortController().signal);
  const accepted = await links.next();
  const { a, b } = await open(clock, dialled, accepted.value as Link);
  const ends: SessionEnd[] = [];
  const serving = [a.serve(() => {}), b.serve(() => {})].map((end) => end.then((e) => ends.push(e)));
  proxy.faults.blackHole = true;
  await clock.drive(15_000);
  t.strictSame(ends, [], 'patient at first');
  await clock.drive(5_000);
  await Promise.all(serving);
  t.match(ends, [
    { kind: 'lost', reason: /3 beats/ },
    { kind: 'lost', reason: /3 beats/ },
  ]);
  await proxy[Symbol.asyncDispose]();
  await acceptor[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

t.test('a handler that takes a minute is not mistaken for a dead peer by either side', async (t) => {
  const clock = createManualClock();
  const pair = memoryPair();
  const { a, b } = await open(clock, pair.dialled, pair.accepted);
  const ends: SessionEnd[] = [];
  let release: () => void = () => {};
  const slow = (): Promise<void> =>
    new Promise((resolve) => {
      release = resolve;
    });
  const serving = [a.serve(() => {}), b.serve(slow)].map((end) => end.then((e) => ends.push(e)));
  a.send({ outcomeAck: { packNos: [1] } });
  await clock.drive(60_000);
  t.strictSame(ends, []);
  release();
  await clock.drive(1);
  a.close('E_UNAVAILABLE', 'done');
  await Promise.all(serving);
});

t.test('a process that was stopped for a minute wakes to one missed beat, not to a dead peer', async (t) => {
  const clock = createManualClock();
  const pair = memoryPair();
  const { a, b } = await open(clock, pair.dialled, pair.accepted);
  const ends: SessionEnd[] = [];
  const serving = [a.serve(() => {}), b.serve(() => {})].map((end) => end.then((e) => ends.push(e)));
  clock.jump(60_000);
  await clock.drive(5000);
  t.strictSame(ends, []);
  a.close('E_UNAVAILABLE', 'done');
  await Promise.all(serving);
});

t.test('a Unix socket that another process answers is not taken over, and a stale one is', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'ff-stale-'));
  const path = join(folder, 's.sock');
  await chmod(folder, 0o755);
  await t.rejects(unixAcceptor({ path }), { code: 'E_FORBIDDEN' }, 'nor is a folder that others can enter');
  await chmod(folder, 0o700);
  const holder = createServer().listen(path);
  await new Promise((resolve) => holder.once('listening', resolve));
  await t.rejects(unixAcceptor({ path }), { code: 'E_CONFLICT' });
  await new Promise((resolve) => holder.close(resolve));
  const acceptor = await unixAcceptor({ path });
  await acceptor[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});
