/** Pilots' links over TLS: who is known by its certificate's digest, at which of several addresses, and what strangers may hold. */
import { X509Certificate } from 'node:crypto';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as tlsConnect } from 'node:tls';
import t from 'tap';
import '../../leaks.ts';
import { systemClock } from '#base/clock.ts';
import { MAX_OPENING_PER_ORIGIN, serveLinks } from '#base/link/accept.ts';
import { grpcAcceptor, grpcDialler } from '#base/link/grpc.ts';
import { type PilotMessage, pilotCodec } from '#base/link/messages.ts';
import type { Link } from '#base/link/seam.ts';
import { tlsAcceptor } from '#base/link/tls.ts';
import { certificatePin, splitAddress, tlsDialler } from '#base/link/tls-dial.ts';
import { systemRandom } from '#base/random.ts';
import { testTls } from '../../fakes/tls.ts';

const quiet = new AbortController().signal;
const mine = testTls().server;
const pin = certificatePin(new X509Certificate(mine.cert).raw);
const open = (server = mine) => tlsAcceptor({ ...server, host: '127.0.0.1', ports: [0, 0] });

/** Takes connections and says nothing: as a firewall that swallows packets, but sooner. */
async function silent(): Promise<{ port: number; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as { port: number }).port,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

/** A port where nobody listens now. */
async function free(): Promise<number> {
  const server = await silent();
  await server.close();
  return server.port;
}

t.test('of several addresses the one that answers with the right certificate is taken, and remembered', async (t) => {
  const [agent, stranger, hole] = [await open(), await open(testTls().server), await silent()];
  let addresses = [
    `127.0.0.1:${await free()}`,
    `127.0.0.1:${hole.port}`,
    `127.0.0.1:${stranger.port}`,
    `no-such-host.invalid:1`,
    `127.0.0.1:${agent.port}`,
  ];
  const dialler = tlsDialler({ where: () => ({ addresses, pin }), clock: systemClock });
  const links = agent.links[Symbol.asyncIterator]();
  const link = await dialler.dial(quiet);
  t.equal(link.remote, `tls:127.0.0.1:${agent.port}`);
  const { value: accepted } = (await links.next()) as { value: Link };
  t.equal(accepted.origin, '127.0.0.1');
  link.close();
  // Remembered: it is first now, although an address that would have answered stands before it.
  const second = await tlsAcceptor({ ...mine, host: '127.0.0.1', ports: [0, 0] });
  addresses = [`127.0.0.1:${second.port}`, `127.0.0.1:${agent.port}`];
  const again = await dialler.dial(quiet);
  t.equal(again.remote, `tls:127.0.0.1:${agent.port}`);
  again.close();
  // And left when it is gone.
  await agent[Symbol.asyncDispose]();
  const moved = await dialler.dial(quiet);
  t.equal(moved.remote, `tls:127.0.0.1:${second.port}`);
  moved.close();
  for (const each of [second, stranger]) await each[Symbol.asyncDispose]();
  await hole.close();
});

t.test('when nobody answers the error names every address with its own reason', async (t) => {
  const [stranger, gone] = [await open(testTls().server), await free()];
  const addresses = [`127.0.0.1:${stranger.port}`, `127.0.0.1:${gone}`, 'no-such-host.invalid:1'];
  const dialler = tlsDialler({ where: () => ({ addresses, pin }), clock: systemClock });
  const error = (await dialler.dial(quiet).catch((reason: unknown) => reason)) as { code: string; message: string };
  t.equal(error.code, 'E_UNAVAILABLE');
  t.match(error.message, `127.0.0.1:${stranger.port}: another certificate answers there`);
  t.match(error.message, `127.0.0.1:${gone}: ECONNREFUSED`);
  t.match(error.message, /no-such-host\.invalid:1: (ENOTFOUND|EAI_AGAIN)/);
  await stranger[Symbol.asyncDispose]();
});

t.test('an address is a host and a port, IPv6 in brackets', async (t) => {
  t.strictSame(splitAddress('[fe80::1]:80'), { host: 'fe80::1', port: 80 });
  t.strictSame(splitAddress('login1.site.example:54000'), { host: 'login1.site.example', port: 54_000 });
  for (const bad of ['', 'host', 'host:0', 'host:70000', '::1:80', 'a b:1', 'host:1:2'])
    t.throws(() => splitAddress(bad), { code: 'E_BAD_REQUEST' }, bad);
});

t.test(
  'a port that is taken is passed by, the earlier one comes first, and a range that is full is said',
  async (t) => {
    const first = await open();
    const next = await tlsAcceptor({ ...mine, host: '127.0.0.1', ports: [first.port, first.port + 20] });
    t.ok(next.port > first.port);
    await first[Symbol.asyncDispose]();
    const again = await tlsAcceptor({ ...mine, host: '127.0.0.1', ports: [0, 0], prefer: first.port });
    t.equal(again.port, first.port);
    await t.rejects(tlsAcceptor({ ...mine, host: '127.0.0.1', ports: [again.port, again.port] }), {
      code: 'E_CONFLICT',
      message: /EADDRINUSE.*blocks\.listen/,
    });
    for (const each of [next, again]) await each[Symbol.asyncDispose]();
  },
);

t.test('TLS 1.2 is refused', async (t) => {
  const agent = await open();
  const socket = tlsConnect({ host: '127.0.0.1', port: agent.port, rejectUnauthorized: false, maxVersion: 'TLSv1.2' });
  const error = await new Promise<Error>((resolve) => {
    socket.once('error', resolve);
    socket.once('secureConnect', () => resolve(new Error('it was let in')));
  });
  t.match(error.message, /version|handshake/i);
  socket.destroy();
  await agent[Symbol.asyncDispose]();
});

t.test(
  'strangers who open connections and say nothing hold a bounded number, and their end lets others in',
  async (t) => {
    const agent = await open();
    const tried = Array.from({ length: 40 }, () => connect({ host: '127.0.0.1', port: agent.port }));
    let over = 0;
    await new Promise<void>((resolve) => {
      for (const socket of tried) {
        socket.on('error', () => undefined);
        socket.once('close', () => {
          over += 1;
          if (over === 8) resolve();
        });
        socket.resume();
      }
    });
    t.equal(over, 8, 'above 32 in their handshake the door is closed for this address');
    const closed = Promise.all(
      tried.map((socket) => new Promise((resolve) => (socket.closed ? resolve(0) : socket.once('close', resolve)))),
    );
    for (const socket of tried) socket.destroy();
    await closed;
    const dialler = tlsDialler({ where: () => ({ addresses: [`127.0.0.1:${agent.port}`], pin }), clock: systemClock });
    let link: Link | undefined;
    // The other side may not have seen the ends yet.
    for (let tries = 0; link === undefined && tries < 50; tries++)
      link = await dialler.dial(quiet).catch(() => undefined);
    t.ok(link);
    link?.close();
    await agent[Symbol.asyncDispose]();
  },
);

t.test('one address holds a share of the turns for a hello, not all of them', async (t) => {
  const agent = await open();
  const serving = serveLinks<PilotMessage, undefined>(agent, {
    codec: pilotCodec,
    clock: systemClock,
    random: systemRandom,
    acceptor: 'endpoint',
    times: { handshakeMs: 60_000 },
    verify: () => Promise.reject(new Error('nobody says hello here')),
    onSession: () => Promise.resolve(),
    onError: () => undefined,
  });
  const dialler = tlsDialler({ where: () => ({ addresses: [`127.0.0.1:${agent.port}`], pin }), clock: systemClock });
  const links: Link[] = [];
  for (let k = 0; k < MAX_OPENING_PER_ORIGIN + 4; k += 1) links.push(await dialler.dial(quiet));
  const first = await Promise.all(
    links.map(async (link) => {
      for await (const frame of link.frames) {
        const [message] = pilotCodec.decode(frame);
        return message?.bye?.code ?? message?.body;
      }
      return undefined;
    }),
  );
  t.equal(first.filter((word) => word === 'challenge').length, MAX_OPENING_PER_ORIGIN);
  t.equal(first.filter((word) => word === 'E_BUSY').length, 4, 'the rest is told to come again');
  for (const link of links) link.close();
  await agent[Symbol.asyncDispose]();
  await serving;
});

t.test('a gRPC dial that is given up leaves no socket, whatever the peer does with it', async (t) => {
  const tls = testTls();
  const acceptor = await grpcAcceptor({ host: '127.0.0.1', port: 0, tls: tls.server });
  const behind = Number(new URL(acceptor.address).port);
  const held: Socket[] = [];
  let taken = 0;
  // The first connection is answered, which is the dialler's look at the certificate; the ones after it meet silence.
  const server = createServer((socket) => {
    taken += 1;
    socket.on('error', () => undefined);
    if (taken > 1) return void held.push(socket.resume());
    pipeline(socket, connect(behind, '127.0.0.1'), socket, () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const end = new AbortController();
  const dialled = grpcDialler({ url: `grpcs://127.0.0.1:${port}`, ca: tls.ca }).dial(end.signal);
  while (held.length === 0) await sleep(5);
  const ended = Promise.all(held.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
  end.abort();
  await t.rejects(dialled, { code: 'E_UNAVAILABLE', message: /HTTP\/2 did not start/ });
  await ended;
  await acceptor[Symbol.asyncDispose]();
  await new Promise((resolve) => server.close(resolve));
});
