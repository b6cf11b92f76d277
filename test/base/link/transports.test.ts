import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer as createHttp, type Server as HttpServer } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import '../../leaks.ts';
import { X509Certificate } from 'node:crypto';
import { systemClock } from '#base/clock.ts';
import { grpcAcceptor, grpcDialler } from '#base/link/grpc.ts';
import { memoryTransport } from '#base/link/memory.ts';
import { tlsAcceptor } from '#base/link/tls.ts';
import { certificatePin, tlsDialler } from '#base/link/tls-dial.ts';
import { unixAcceptor, unixDialler } from '#base/link/unix.ts';
import { wsAcceptor, wsDialler } from '#base/link/ws.ts';
import { openFaultProxy } from '../../fakes/fault-proxy.ts';
import { testTls } from '../../fakes/tls.ts';
import { type Bench, conformance } from './conformance.ts';

const noise = Buffer.from('GET / HTTP/1.0\r\n\r\n'.repeat(64));

/** Sends noise and waits for the other side to hang up. */
function makeNoise(open: () => Socket): () => Promise<void> {
  return () =>
    new Promise((resolve) => {
      const socket = open();
      socket.on('error', () => {});
      socket.on('close', () => resolve());
      socket.resume();
      socket.write(noise);
    });
}

async function memoryBench(): Promise<Bench> {
  const { acceptor, dialler, pairs } = memoryTransport();
  return {
    acceptor,
    dialler,
    cut: () => {
      for (const pair of pairs) pair.cut();
    },
    [Symbol.asyncDispose]: () => acceptor[Symbol.asyncDispose](),
  };
}

async function unixBench(): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), 'ff-link-'));
  await chmod(folder, 0o700);
  const path = join(folder, 'behind.sock');
  const acceptor = await unixAcceptor({ path });
  const proxy = await openFaultProxy({ listen: { path: join(folder, 'front.sock') }, to: { path } });
  return {
    acceptor,
    dialler: unixDialler({ path: join(folder, 'front.sock') }),
    cut: () => proxy.reset(),
    garbage: makeNoise(() => connect({ path })),
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
}

async function tlsBench(): Promise<Bench> {
  const { server } = testTls();
  const acceptor = await tlsAcceptor({ ...server, host: '127.0.0.1', ports: [0, 0] });
  const proxy = await openFaultProxy({ listen: { port: 0 }, to: { port: acceptor.port } });
  const pin = certificatePin(new X509Certificate(server.cert).raw);
  return {
    acceptor,
    dialler: tlsDialler({ where: () => ({ addresses: [`127.0.0.1:${proxy.port}`], pin }), clock: systemClock }),
    cut: () => proxy.reset(),
    garbage: makeNoise(() => connect({ host: '127.0.0.1', port: acceptor.port })),
    [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose](),
  };
}

function grpcBench(secure: boolean): () => Promise<Bench> {
  return async () => {
    const tls = testTls();
    const acceptor = await grpcAcceptor({
      host: '127.0.0.1',
      port: 0,
      ...(secure ? { tls: tls.server } : { plain: true }),
    });
    const port = Number(new URL(acceptor.address).port);
    const proxy = await openFaultProxy({ listen: { port: 0 }, to: { port } });
    const scheme = secure ? 'grpcs' : 'grpc';
    return {
      acceptor,
      dialler: grpcDialler({
        url: `${scheme}://127.0.0.1:${proxy.port}`,
        ...(secure ? { ca: tls.ca } : { plain: true }),
      }),
      cut: () => proxy.reset(),
      garbage: makeNoise(() => connect({ host: '127.0.0.1', port })),
      [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose](),
    };
  };
}

function wsBench(secure: boolean): () => Promise<Bench> {
  return async () => {
    const tls = testTls();
    const server: HttpServer = secure ? createHttps({ ...tls.server, minVersion: 'TLSv1.3' }) : createHttp();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const acceptor = wsAcceptor({ server, hosts: ['127.0.0.1'] });
    const proxy = await openFaultProxy({ listen: { port: 0 }, to: { port } });
    return {
      acceptor,
      dialler: wsDialler({
        url: `${secure ? 'wss' : 'ws'}://127.0.0.1:${proxy.port}`,
        ...(secure ? { ca: tls.ca } : { plain: true }),
      }),
      cut: () => proxy.reset(),
      garbage: makeNoise(() => connect({ host: '127.0.0.1', port })),
      async [Symbol.asyncDispose]() {
        await proxy[Symbol.asyncDispose]();
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  };
}

conformance(t, 'links in memory', memoryBench);
conformance(t, 'links over a Unix socket', unixBench);
conformance(t, 'links over TLS', tlsBench);
conformance(t, 'links over gRPC with TLS', grpcBench(true));
conformance(t, 'links over gRPC on loopback without TLS', grpcBench(false));
conformance(t, 'links over WebSocket with TLS', wsBench(true));
conformance(t, 'links over WebSocket on loopback without TLS', wsBench(false));
