/**
 * Listens for links over TLS 1.3: pilots on other hosts, without grpc-js. Frames as on a Unix socket (unix.ts).
 *
 * Invariants
 *  L1 Anybody on the network may dial. Before a hello was verified a peer has one frame of `firstBytes`, HANDSHAKE_MS
 *     for TLS and the session's time-out for the hello; of one address at most MAX_HANDSHAKES are in their handshake.
 *  L2 The dialler knows us by the digest of the certificate (tls-dial.ts); who it is, its hello says.
 *  L3 A port of the range that is taken is passed by; the first of them that is free is taken, `prefer` before all.
 */
import type { AddressInfo, Socket } from 'node:net';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { FarfieldError } from '#kernel/errors.ts';
import { createInbox } from './queue.ts';
import type { Acceptor, Link } from './seam.ts';
import { streamLink } from './unix.ts';

export interface TlsListenOptions {
  /** PEM. */
  readonly key: string;
  readonly cert: string;
  /** IP address of an interface; `::` for all, which on a host without IPv6 becomes 0.0.0.0. */
  readonly host: string;
  /** First and last; [0, 0] leaves it to the system. */
  readonly ports: readonly [number, number];
  /** The port of an earlier life: those who dialled it dial it again. */
  readonly prefer?: number;
  readonly maxConnections?: number;
  /** Of the first frame, which is a stranger's. */
  readonly firstBytes?: number;
}

export interface TlsAcceptor extends Acceptor {
  readonly port: number;
}

const HANDSHAKE_MS = 5000;
/** Pilots of one node are few; behind an address translation many nodes share one address, and dial again after a moment. */
const MAX_HANDSHAKES = 32;
/** One a node, and the nodes of a large endpoint; each is a descriptor and some KiB. */
const MAX_PILOT_CONNECTIONS = 4096;

function* candidates({ ports: [first, last], prefer }: TlsListenOptions): Generator<number> {
  if (prefer !== undefined && (first === 0 || (prefer >= first && prefer <= last))) yield prefer;
  for (let port = first; port <= last; port++) yield port;
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function bind(server: Server, options: TlsListenOptions): Promise<void> {
  let { host } = options;
  const tried: string[] = [];
  for (const port of candidates(options)) {
    try {
      await listen(server, host, port);
      return;
    } catch (reason) {
      const { code } = reason as NodeJS.ErrnoException;
      if (host === '::' && (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL' || code === 'EINVAL')) {
        host = '0.0.0.0';
        await bind(server, { ...options, host });
        return;
      }
      tried.push(`${port}: ${code ?? (reason as Error).message}`);
      if (code !== 'EADDRINUSE' && code !== 'EACCES') break;
    }
  }
  const few = tried.slice(0, 8).join(', ');
  throw new FarfieldError(
    'E_CONFLICT',
    `pilots cannot dial: no port of ${host} can be listened on (${few}); change blocks.listen`,
  );
}

/** L1: who is in his handshake, by address; what one address opens beyond its share is closed at once. */
function guardHandshakes(server: Server): { readonly strangers: Iterable<Socket> } {
  const strangers = new Map<string, Socket>();
  const counts = new Map<string, number>();
  const keyOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress}#${remotePort}`;
  const leave = (key: string, from: string): void => {
    if (!strangers.delete(key)) return;
    const rest = (counts.get(from) ?? 1) - 1;
    if (rest > 0) counts.set(from, rest);
    else counts.delete(from);
  };
  server.on('connection', (raw: Socket) => {
    const from = raw.remoteAddress ?? '';
    const now = (counts.get(from) ?? 0) + 1;
    if (now > MAX_HANDSHAKES) {
      raw.destroy();
      return;
    }
    const key = keyOf(raw);
    counts.set(from, now);
    strangers.set(key, raw);
    raw.once('close', () => leave(key, from));
  });
  server.on('secureConnection', (socket: TLSSocket) => leave(keyOf(socket), socket.remoteAddress ?? ''));
  return {
    get strangers() {
      return [...strangers.values()];
    },
  };
}

export async function tlsAcceptor(options: TlsListenOptions): Promise<TlsAcceptor> {
  const { key, cert, firstBytes } = options;
  const inbox = createInbox<Link>();
  const open = new Set<Link>();
  const server = createServer({ key, cert, minVersion: 'TLSv1.3', handshakeTimeout: HANDSHAKE_MS }, (socket) => {
    const { remoteAddress = '', remotePort = 0 } = socket;
    const remote = `tls:${remoteAddress}#${remotePort}`;
    const link = streamLink(socket, {
      remote,
      transport: 'tls',
      origin: remoteAddress,
      ...(firstBytes === undefined ? {} : { firstBytes }),
    });
    open.add(link);
    socket.once('close', () => open.delete(link));
    inbox.push(link, 0);
  });
  server.maxConnections = options.maxConnections ?? MAX_PILOT_CONNECTIONS;
  const guard = guardHandshakes(server);
  await bind(server, options);
  // An accept that failed for want of descriptors: whoever dialled dials again.
  server.on('error', () => undefined);
  const { address, port } = server.address() as AddressInfo;
  return {
    address: address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
    port,
    links: inbox,
    async [Symbol.asyncDispose]() {
      inbox.end(true);
      for (const link of open) link.close('the acceptor closed');
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const stranger of guard.strangers) stranger.destroy();
      await closed;
    },
  };
}
