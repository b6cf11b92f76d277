/**
 * Links over WebSocket: for networks that let HTTPS out and nothing else.
 *
 * Invariants
 *  W1 Never deflated: it costs a factor of 20 in messages a second, and compresses one party's secrets beside another's text.
 *  W2 The acceptor lives on somebody's HTTPS server, on its own path. Host must be one of ours (DNS rebinding), and an
 *     Origin is refused unless listed: agents send none, browsers always do.
 *  W3 Text messages, over-long ones and masked nonsense end the link; nothing is allocated beyond the frame limit.
 */
import type { IncomingMessage, Server } from 'node:http';
import { isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as tlsConnect } from 'node:tls';
import { WebSocket, WebSocketServer } from 'ws';
import { type Egress, openTunnel, trusted } from '#base/proxy.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_FRAME_BYTES } from '#kernel/limits.ts';
import { createGauge, createInbox, createOnce } from './queue.ts';
import {
  type Acceptor,
  assertFrame,
  CLOSE_GRACE_MS,
  DIAL_TIMEOUT_MS,
  type Dialler,
  type Ending,
  type Link,
  MAX_CONNECTIONS,
} from './seam.ts';

export const WS_PATH = '/v1/link';
/** Named as a subprotocol, so that a proxy's log shows what it is; versions are negotiated in the hello, not here. */
const PROTOCOL = 'farfield.link';
const NORMAL = 1000;
/** A close frame holds 123 bytes of reason. */
const MAX_REASON = 120;

/** By characters, so that no UTF-8 sequence is cut in two: a close frame with half a character is a protocol error. */
function shorten(reason: string): string {
  let text = reason;
  while (Buffer.byteLength(text) > MAX_REASON) text = text.slice(0, -1);
  return text;
}

function socketLink(ws: WebSocket, remote: string): Link {
  const gauge = createGauge();
  const once = createOnce<Ending>();
  const inbox = createInbox<Uint8Array>({ pause: () => ws.pause(), resume: () => ws.resume() });
  let trouble: string | undefined;

  function finish(end: Ending, drop = false): void {
    if (!once.settle(end)) return;
    gauge.release();
    inbox.end(drop);
  }

  ws.binaryType = 'nodebuffer';
  ws.on('message', (data: Buffer, isBinary) => {
    if (isBinary && data.byteLength > 0) inbox.push(data, data.byteLength);
    else {
      finish({ clean: false, reason: 'not a link: a text message or an empty one' });
      ws.terminate();
    }
  });
  // `close` always follows; the first error says more than the close code that it leads to.
  ws.on('error', (error) => {
    trouble = error.message;
  });
  ws.on('close', (code, reason) => {
    if (code === NORMAL && trouble === undefined) finish({ clean: true, reason: reason.toString() || 'closed' });
    else finish({ clean: false, reason: trouble ?? (reason.toString() || `the connection was lost (${code})`) });
  });

  return {
    transport: 'ws',
    remote,
    frames: inbox,
    closed: once.promise,
    send(frame) {
      assertFrame(frame);
      if (once.settled || ws.readyState !== WebSocket.OPEN) return false;
      ws.send(frame, { binary: true, compress: false }, () => gauge.done(frame.byteLength));
      return gauge.add(frame.byteLength);
    },
    writable: () => gauge.writable(),
    close(reason = 'closed') {
      if (once.settled) return;
      finish({ clean: true, reason }, true);
      ws.resume();
      ws.close(NORMAL, shorten(reason));
      const timer = setTimeout(() => ws.terminate(), CLOSE_GRACE_MS);
      ws.once('close', () => clearTimeout(timer));
    },
  };
}

export interface WsDialOptions {
  /** `wss://host:port/v1/link`, or `ws://` on loopback when `plain` is set. `https://host:port` is understood. */
  readonly url: string;
  readonly ca?: string;
  readonly plain?: boolean;
  /** The site's proxy and CA; by default neither. */
  readonly egress?: Egress;
}

function linkUrl(text: string): URL {
  const url = new URL(text.replace(/^http(s?):/, 'ws$1:'));
  if (url.pathname === '/' || url.pathname === '') url.pathname = WS_PATH;
  return url;
}

/** The token in a hello is bound to its challenge, so even plain text would not give it away; what runs over the link would. */
function assertScheme(url: URL, plain: boolean | undefined): void {
  if (url.protocol === 'wss:') return;
  const loopback = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname);
  if (url.protocol === 'ws:' && plain === true && loopback) return;
  throw new FarfieldError(
    'E_FORBIDDEN',
    `a link to ${url.host} without TLS: plain text is for loopback, and must be configured by name`,
  );
}

/** RFC 6066 has no addresses as names. */
function tlsName({ hostname }: URL): { servername?: string } {
  return isIP(hostname.replace(/^\[|\]$/g, '')) === 0 ? { servername: hostname } : {};
}

/** A proxy's tunnel to the acceptor; undefined where none stands between. */
async function tunnelOf(url: URL, egress: Egress | undefined, signal: AbortSignal): Promise<Socket | undefined> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port || 443);
  const proxy = egress?.proxyFor(host, port);
  if (proxy === undefined) return undefined;
  return await openTunnel(proxy, host, port, signal);
}

export function wsDialler(options: WsDialOptions): Dialler {
  const url = linkUrl(options.url);
  const name = `ws:${url.host}`;
  const ca = options.egress === undefined ? options.ca : trusted(options.egress, options.ca);
  return {
    name,
    async dial(signal) {
      assertScheme(url, options.plain);
      const tunnel = await tunnelOf(url, options.egress, signal);
      return new Promise((resolve, reject) => {
        const refuse = (why: string, cause?: unknown): void =>
          reject(new FarfieldError('E_UNAVAILABLE', `no link to ${url.href}: ${why}`, { cause }));
        if (signal.aborted) {
          tunnel?.destroy();
          return refuse('given up');
        }
        const ws = new WebSocket(url, PROTOCOL, {
          perMessageDeflate: false,
          maxPayload: MAX_FRAME_BYTES,
          handshakeTimeout: DIAL_TIMEOUT_MS,
          // A redirect would let whoever answers choose whom we talk to.
          followRedirects: false,
          minVersion: 'TLSv1.3',
          ...(ca === undefined ? {} : { ca }),
          // Only TLS goes through a tunnel: plain text is for loopback.
          ...(tunnel === undefined
            ? {}
            : { createConnection: (o: object) => tlsConnect({ ...tlsName(url), ...o, socket: tunnel }) }),
        });
        const abort = (): void => {
          ws.terminate();
          refuse('given up');
        };
        const failed = (error: Error): void => {
          signal.removeEventListener('abort', abort);
          refuse(error.message, error);
        };
        signal.addEventListener('abort', abort, { once: true });
        ws.once('error', failed);
        ws.once('open', () => {
          signal.removeEventListener('abort', abort);
          ws.off('error', failed);
          resolve(socketLink(ws, name));
        });
      });
    },
  };
}

export interface WsAcceptOptions {
  /** An HTTPS server (or HTTP on loopback) that its owner listens with and closes. */
  readonly server: Server;
  /** Values of Host that are ours, `name` or `name:port`; a name alone stands for every port. */
  readonly hosts: readonly string[];
  readonly origins?: readonly string[];
  readonly path?: string;
  readonly maxConnections?: number;
}

/** Why an upgrade is refused, as HTTP status; undefined lets it in. */
function refusalOf(request: IncomingMessage, options: WsAcceptOptions, connections: number): string | undefined {
  const host = request.headers.host ?? '';
  const bare = host.replace(/:\d+$/, '');
  if (!options.hosts.includes(host) && !options.hosts.includes(bare)) return '421 Misdirected Request';
  const { origin } = request.headers;
  if (origin !== undefined && !(options.origins ?? []).includes(origin)) return '403 Forbidden';
  if (connections >= (options.maxConnections ?? MAX_CONNECTIONS)) return '503 Service Unavailable';
  return undefined;
}

/** Takes upgrades of its path from a server that it does not own: disposing ends the links and leaves the server alone. */
export function wsAcceptor(options: WsAcceptOptions): Acceptor {
  const path = options.path ?? WS_PATH;
  const inbox = createInbox<Link>();
  const links = new Set<Link>();
  const wss = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
    clientTracking: true,
    handleProtocols: (offered) => (offered.has(PROTOCOL) ? PROTOCOL : false),
  });

  function onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    if ((request.url ?? '').split('?')[0] !== path) {
      // Another path may have another owner; only when we are alone is it nobody's.
      if (options.server.listenerCount('upgrade') === 1) socket.destroy();
      return;
    }
    const refusal = refusalOf(request, options, wss.clients.size);
    if (refusal !== undefined) {
      socket.end(`HTTP/1.1 ${refusal}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    // A frame is a whole turn's messages already: holding it back for more (Nagle) only adds 40 ms.
    (socket as Socket).setNoDelay(true);
    wss.handleUpgrade(request, socket, head, (ws) => {
      const { remoteAddress, remotePort } = request.socket;
      const link = socketLink(ws, `ws:${remoteAddress ?? '?'}:${remotePort ?? 0}`);
      links.add(link);
      void link.closed.then(() => links.delete(link));
      inbox.push(link, 0);
    });
  }
  options.server.on('upgrade', onUpgrade);

  return {
    address: path,
    links: inbox,
    async [Symbol.asyncDispose]() {
      options.server.off('upgrade', onUpgrade);
      inbox.end(true);
      for (const link of links) link.close('the acceptor closed');
      const timer = setTimeout(() => {
        for (const client of wss.clients) client.terminate();
      }, CLOSE_GRACE_MS);
      await Promise.all([...wss.clients].map((client) => new Promise((resolve) => client.once('close', resolve))));
      clearTimeout(timer);
    },
  };
}
