/** Who gets through the doors of the network transports, before any hello. */
import { createServer as createHttp, type Server } from 'node:http';
import { createServer as createHttps } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import t from 'tap';
import '../../leaks.ts';
import { WebSocket } from 'ws';
import { grpcAcceptor, grpcDialler } from '#base/link/grpc.ts';
import { wsAcceptor, wsDialler } from '#base/link/ws.ts';
import { testTls } from '../../fakes/tls.ts';

const quiet = new AbortController().signal;
const tls = testTls();

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** The HTTP status that an upgrade gets, or 101. */
function upgrade(port: number, headers: Record<string, string>, path = '/v1/link'): Promise<number> {
  return new Promise((resolve) => {
    const ws = new WebSocket(`ws://127.0.0.1:${port}${path}`, 'farfield.link', { headers, perMessageDeflate: true });
    ws.on('error', () => {});
    ws.on('unexpected-response', (_, response) => {
      ws.terminate();
      resolve(response.statusCode ?? 0);
    });
    ws.on('open', () => {
      ws.close();
      resolve(ws.extensions === '' ? 101 : -1);
    });
  });
}

t.test('a WebSocket is let in by Host and refused by Origin, and is never deflated', async (t) => {
  const server = createHttp();
  const port = await listen(server);
  const acceptor = wsAcceptor({
    server,
    hosts: ['127.0.0.1', 'broker.example:8443'],
    origins: ['https://ui.example'],
    maxConnections: 3,
  });
  t.equal(await upgrade(port, {}), 101);
  t.equal(await upgrade(port, { host: 'broker.example:8443' }), 101);
  t.equal(await upgrade(port, { host: 'evil.example' }), 421, 'a name that rebinds to us');
  t.equal(await upgrade(port, { host: 'broker.example' }), 421, 'a name of ours without its port');
  t.equal(await upgrade(port, { origin: 'https://evil.example' }), 403, 'a page in a browser');
  t.equal(await upgrade(port, { origin: 'https://ui.example' }), 101);
  const open = await Promise.all(
    [1, 2, 3].map(() => wsDialler({ url: `ws://127.0.0.1:${port}`, plain: true }).dial(quiet)),
  );
  t.equal(await upgrade(port, {}), 503, 'one more than the cap');
  for (const link of open) link.close();
  await acceptor[Symbol.asyncDispose]();
  await new Promise((resolve) => server.close(resolve));
});

t.test('an upgrade on another path is left to its owner', async (t) => {
  const server = createHttp();
  const port = await listen(server);
  const acceptor = wsAcceptor({ server, hosts: ['127.0.0.1'] });
  server.on('upgrade', (request, socket) => {
    if (request.url === '/other') socket.end('HTTP/1.1 418 Mine\r\n\r\n');
  });
  t.equal(await upgrade(port, {}, '/other'), 418);
  await acceptor[Symbol.asyncDispose]();
  await new Promise((resolve) => server.close(resolve));
});

t.test(
  'a broker whose certificate is not from the pinned CA is refused with a reason, by both transports',
  async (t) => {
    const other = testTls();
    const acceptor = await grpcAcceptor({ host: '127.0.0.1', port: 0, tls: tls.server });
    const url = acceptor.address;
    await t.rejects(grpcDialler({ url, ca: other.ca }).dial(quiet), {
      code: 'E_UNAVAILABLE',
      message: /signature|certificate/,
    });
    const link = await grpcDialler({ url, ca: tls.ca }).dial(quiet);
    link.close();
    await acceptor[Symbol.asyncDispose]();

    const server = createHttps({ ...tls.server, minVersion: 'TLSv1.3' });
    const port = await listen(server);
    const sockets = wsAcceptor({ server, hosts: ['127.0.0.1'] });
    await t.rejects(wsDialler({ url: `https://127.0.0.1:${port}`, ca: other.ca }).dial(quiet), {
      code: 'E_UNAVAILABLE',
      message: /signature|certificate/,
    });
    await sockets[Symbol.asyncDispose]();
    await new Promise((resolve) => server.close(resolve));
  },
);

t.test('a certificate that names another host is refused, also where the address is an IP', async (t) => {
  const elsewhere = testTls(['broker.example', '127.0.0.2']);
  const acceptor = await grpcAcceptor({ host: '127.0.0.1', port: 0, tls: elsewhere.server });
  const port = new URL(acceptor.address).port;
  await t.rejects(grpcDialler({ url: acceptor.address, ca: elsewhere.ca }).dial(quiet), { message: /IP|altnames/ });
  await t.rejects(grpcDialler({ url: `grpcs://localhost:${port}`, ca: elsewhere.ca }).dial(quiet), {
    message: /altnames/,
  });
  await acceptor[Symbol.asyncDispose]();
});

t.test('gRPC links speak TLS 1.3 and nothing older', async (t) => {
  const acceptor = await grpcAcceptor({ host: '127.0.0.1', port: 0, tls: tls.server });
  const port = Number(new URL(acceptor.address).port);
  const socket = tlsConnect({ host: '127.0.0.1', port, ca: tls.ca, maxVersion: 'TLSv1.2', ALPNProtocols: ['h2'] });
  const [error] = await new Promise<[Error]>((resolve) => socket.once('error', (e) => resolve([e])));
  t.match(error.message, /version/);
  await acceptor[Symbol.asyncDispose]();
});

t.test('plain text is refused off loopback, and on loopback unless it was asked for by name', async (t) => {
  await t.rejects(grpcAcceptor({ host: '0.0.0.0', port: 0, plain: true }), { code: 'E_FORBIDDEN' });
  await t.rejects(grpcAcceptor({ host: '127.0.0.1', port: 0 }), { code: 'E_FORBIDDEN' });
  await t.rejects(grpcDialler({ url: 'grpc://broker.example:1', plain: true }).dial(quiet), { code: 'E_FORBIDDEN' });
  await t.rejects(grpcDialler({ url: 'grpc://127.0.0.1:1' }).dial(quiet), { code: 'E_FORBIDDEN' });
  await t.rejects(wsDialler({ url: 'http://broker.example:1', plain: true }).dial(quiet), { code: 'E_FORBIDDEN' });
  await t.rejects(wsDialler({ url: 'ws://127.0.0.1:1' }).dial(quiet), { code: 'E_FORBIDDEN' });
});

t.test('gRPC takes no more connections than its cap', async (t) => {
  const acceptor = await grpcAcceptor({ host: '127.0.0.1', port: 0, plain: true, maxConnections: 1 });
  const port = Number(new URL(acceptor.address).port);
  const first = connect({ host: '127.0.0.1', port });
  await new Promise((resolve) => first.once('connect', resolve));
  const second = connect({ host: '127.0.0.1', port });
  second.on('error', () => {});
  await new Promise((resolve) => second.once('close', resolve));
  t.equal(first.destroyed, false);
  first.destroy();
  await acceptor[Symbol.asyncDispose]();
});

t.test('a dial to a port where nobody listens fails at once and says so', async (t) => {
  await t.rejects(grpcDialler({ url: 'grpcs://127.0.0.1:1', ca: tls.ca }).dial(quiet), {
    code: 'E_UNAVAILABLE',
    message: /ECONNREFUSED/,
  });
  await t.rejects(wsDialler({ url: 'wss://127.0.0.1:1', ca: tls.ca }).dial(quiet), {
    code: 'E_UNAVAILABLE',
    message: /ECONNREFUSED/,
  });
});
