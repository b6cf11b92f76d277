/**
 * A site's HTTP proxy: takes CONNECT, nothing else, and counts what passes. It resolves names itself, as such proxies do: the
 * tests' names exist nowhere else.
 */
import { createServer, type IncomingMessage } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';

export interface ConnectProxy extends AsyncDisposable {
  readonly port: number;
  /** `host:port` of each tunnel that was asked for, in order. */
  readonly asked: readonly string[];
  /** Bytes that went through tunnels, both ways. */
  readonly bytes: number;
  /** Ends the tunnels that are open. */
  cut(): void;
}

export interface ConnectProxyOptions {
  /** Where a name leads; others are answered 502. */
  readonly hosts: Readonly<Record<string, string>>;
  /** `user:password` that it wants. */
  readonly credentials?: string;
  readonly tls?: { readonly key: string; readonly cert: string };
}

export async function startConnectProxy(options: ConnectProxyOptions): Promise<ConnectProxy> {
  const asked: string[] = [];
  const sockets = new Set<Duplex>();
  let bytes = 0;
  const server = options.tls === undefined ? createServer() : createTlsServer(options.tls);
  server.on('request', (_request, response) => response.writeHead(405).end());
  server.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const target = request.url ?? '';
    asked.push(target);
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => sockets.delete(socket));
    const refuse = (status: string): void => void socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
    const given = /^Basic (.*)$/.exec(request.headers['proxy-authorization'] ?? '')?.[1] ?? '';
    if (options.credentials !== undefined && Buffer.from(given, 'base64').toString() !== options.credentials)
      return refuse('407 Proxy Authentication Required');
    const [, name = '', port = ''] = /^(.*):(\d+)$/.exec(target) ?? [];
    const host = options.hosts[name];
    if (host === undefined) return refuse('502 Bad Gateway');
    const far: Socket = connect({ host, port: Number(port) }, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      if (head.length > 0) far.write(head);
      socket.pipe(far).pipe(socket);
    });
    for (const side of [socket, far]) side.on('data', (chunk: Buffer) => (bytes += chunk.length));
    far.on('error', () => socket.destroy());
    far.on('close', () => socket.destroy());
    socket.on('close', () => far.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    asked,
    get bytes() {
      return bytes;
    },
    cut,
    async [Symbol.asyncDispose]() {
      cut();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
