/**
 * Links over gRPC: one bidirectional method that carries frames as raw bytes.
 *
 * Invariants
 *  G1 An empty message announces the end and the next one says why; a stream that ends without them is an unclean end
 *     (gRPC's own status cannot carry a reason from the client).
 *  G2 TLS 1.3 against the pinned CA. Plain text is for loopback only, and only when asked for by name.
 *  G3 The listening socket is ours and @grpc/grpc-js gets its connections handed: only so are TLS version, handshake
 *     time and the number of connections in our hands.
 *
 * Raw bytes and not a service definition: 171,000 against 99,000 batched messages a second (docs/benchmarks).
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import {
  type AddressInfo,
  createServer,
  isIP,
  type Server as NetServer,
  connect as netConnect,
  type Socket,
} from 'node:net';
import {
  createSecureContext,
  createServer as createTlsServer,
  type PeerCertificate,
  type SecureContext,
  Server as TlsServer,
  checkServerIdentity as tlsCheckServerIdentity,
  connect as tlsConnect,
} from 'node:tls';
import {
  ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { type Egress, type SiteProxy, trusted, tunnelTls } from '#base/proxy.ts';
import { fromUtf8, utf8 } from '#kernel/bytes.ts';
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

const PATH = '/farfield.Link/Open';
const MIN_TLS = 'TLSv1.3';
const asBuffer = (frame: Uint8Array): Buffer => Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
const asIs = (bytes: Buffer): Buffer => bytes;

const SERVICE: ServiceDefinition = {
  Open: {
    path: PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: asBuffer,
    requestDeserialize: asIs,
    responseSerialize: asBuffer,
    responseDeserialize: asIs,
  },
};

/** HTTP/2's default of 64 KiB would cap a link with a round trip of 100 ms at 640 KB/s. */
const WINDOW_BYTES = 4 * MAX_FRAME_BYTES;

const CHANNEL: ChannelOptions = {
  // A little over the frame: the refusal of an over-long frame is ours, not a status of gRPC.
  'grpc.max_receive_message_length': MAX_FRAME_BYTES + 1024,
  'grpc.max_send_message_length': MAX_FRAME_BYTES + 1024,
  'grpc-node.flow_control_window': WINDOW_BYTES,
  // For middle boxes that forget idle connections; noticing a dead peer is the session's heartbeat.
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 20_000,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.enable_channelz': 0,
};

const CLIENT: ChannelOptions = {
  ...CHANNEL,
  // One connection a link, dialled once: the supervisor decides about retries.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.enable_http_proxy': 0,
};

/** What both stream types share. */
type Call = Pick<
  ClientDuplexStream<Uint8Array, Buffer> & ServerDuplexStream<Buffer, Uint8Array>,
  'write' | 'end' | 'pause' | 'resume'
> & {
  on(event: 'data', listener: (bytes: Buffer) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'end' | 'close' | 'cancelled', listener: () => void): unknown;
};

function readable(bytes: Uint8Array): string {
  try {
    return fromUtf8(bytes);
  } catch {
    return 'closed';
  }
}

/** A link over one call. `cut` ends the call at once; it is called when the peer misbehaves or does not finish a close. */
function callLink(call: Call, remote: string, cut: () => void): Link {
  const gauge = createGauge();
  const once = createOnce<Ending>();
  const inbox = createInbox<Uint8Array>({ pause: () => void call.pause(), resume: () => void call.resume() });
  let ending = false;

  function finish(end: Ending, drop = false): void {
    if (!once.settle(end)) return;
    gauge.release();
    inbox.end(drop);
  }

  call.on('data', (bytes) => {
    if (once.settled) return;
    if (ending) {
      finish({ clean: true, reason: readable(bytes) });
      call.end();
      return;
    }
    if (bytes.byteLength === 0) ending = true;
    else if (bytes.byteLength <= MAX_FRAME_BYTES) inbox.push(bytes, bytes.byteLength);
    else {
      finish({ clean: false, reason: `not a link: a frame of ${bytes.byteLength} bytes` });
      cut();
    }
  });
  call.on('error', (error) => finish({ clean: false, reason: error.message }));
  call.on('cancelled', () => finish({ clean: false, reason: 'the stream was cut off' }));
  call.on('end', () => finish({ clean: false, reason: 'the stream ended without a word' }));
  call.on('close', () => finish({ clean: false, reason: 'the stream was closed' }));

  return {
    transport: 'grpc',
    remote,
    frames: inbox,
    closed: once.promise,
    send(frame) {
      assertFrame(frame);
      if (once.settled) return false;
      call.write(frame, () => gauge.done(frame.byteLength));
      return gauge.add(frame.byteLength);
    },
    writable: () => gauge.writable(),
    close(reason = 'closed') {
      if (once.settled) return;
      call.write(new Uint8Array(0));
      // Never empty: an empty message is the announcement, and some peers would drop it.
      call.write(utf8(reason || 'closed'));
      call.end();
      finish({ clean: true, reason }, true);
      // What arrives now is dropped, but must be read for the peer's end to be seen.
      call.resume();
      const timer = setTimeout(cut, CLOSE_GRACE_MS);
      call.on('close', () => clearTimeout(timer));
      call.on('end', () => clearTimeout(timer));
    },
  };
}

export interface GrpcDialOptions {
  /** `grpcs://host:port`, or `grpc://` on loopback when `plain` is set. */
  readonly url: string;
  /** PEM of the CA that is pinned; absent where the site's certificates come from the system's store. */
  readonly ca?: string;
  readonly plain?: boolean;
  /** The site's proxy and CA; by default neither. */
  readonly egress?: Egress;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

function assertPlain(host: string, plain: boolean | undefined): void {
  if (plain === true && isLoopback(host)) return;
  throw new FarfieldError(
    'E_FORBIDDEN',
    `a link to ${host} without TLS: plain text is for loopback, and must be configured by name`,
  );
}

interface Target {
  readonly host: string;
  readonly port: number;
  /** Undefined: plain text. */
  readonly context: SecureContext | undefined;
  /** What stands between, if anything does. */
  readonly proxy: SiteProxy | undefined;
}

function targetOf(options: GrpcDialOptions): Target {
  const url = new URL(options.url);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port);
  const target = { host, port, proxy: options.egress?.proxyFor(host, port) };
  if (url.protocol === 'grpc:') {
    assertPlain(target.host, options.plain);
    return { ...target, context: undefined };
  }
  if (url.protocol !== 'grpcs:')
    throw new FarfieldError('E_BAD_REQUEST', `${options.url} is no gRPC address: write grpcs://host:port`);
  const ca = options.egress === undefined ? options.ca : trusted(options.egress, options.ca);
  return {
    ...target,
    context: createSecureContext({ minVersion: MIN_TLS, ...(ca === undefined ? {} : { ca }) }),
  };
}

export function grpcDialler(options: GrpcDialOptions): Dialler {
  const name = `grpc:${new URL(options.url).host}`;
  return {
    name,
    async dial(signal) {
      const refuse = (why: string, cause?: unknown): never => {
        throw new FarfieldError('E_UNAVAILABLE', `no link to ${options.url}: ${why}`, { cause });
      };
      const target = targetOf(options);
      // grpc-js tries for ever inside waitForReady and never says why it fails. A handshake of our own first tells at
      // once that nobody listens or that the CA is another one, which the next dialler should not wait ten seconds for.
      await probe(target, signal).catch((error: Error) => refuse(error.message, error));
      const client = clientOf(new URL(options.url).host, target);
      const sockets = createSockets();
      const end = (): void => {
        client.close();
        sockets[Symbol.dispose]();
      };
      try {
        await sockets.within(() => ready(client, signal));
      } catch (error) {
        end();
        refuse('HTTP/2 did not start', error);
      }
      return sockets.within(() => openCall(client, name, end));
    },
  };
}

/**
 * grpc-js would read the environment for a proxy, with rules of its own; told the target by these options, it only does what
 * was decided here. It cannot speak TLS to the proxy itself.
 */
function throughProxy(address: string, { proxy }: Target): { address: string; options: ChannelOptions } {
  if (proxy === undefined) return { address, options: CLIENT };
  if (proxy.secure)
    throw new FarfieldError(
      'E_UNAVAILABLE',
      `gRPC cannot go through ${proxy.shown}, a proxy that is spoken to in TLS; WebSocket can (link: ws, or auto)`,
    );
  const credentials = proxy.credentials();
  const options = {
    ...CLIENT,
    'grpc.http_connect_target': `dns:${address}`,
    'grpc.default_authority': address,
    ...(credentials === undefined ? {} : { 'grpc.http_connect_creds': credentials }),
  };
  return { address: `${isIP(proxy.host) === 6 ? `[${proxy.host}]` : proxy.host}:${proxy.port}`, options };
}

function clientOf(direct: string, target: Target): Client {
  const { host, context } = target;
  const { address, options } = throughProxy(direct, target);
  if (context === undefined) return new Client(address, ChannelCredentials.createInsecure(), options);
  if (isIP(host) === 0) return new Client(address, ChannelCredentials.createFromSecureContext(context), options);
  // grpc-js would send an address as SNI, which RFC 6066 forbids; the certificate is still checked for the address.
  const checkServerIdentity = (_: string, cert: PeerCertificate): Error | undefined =>
    tlsCheckServerIdentity(host, cert);
  const credentials = ChannelCredentials.createFromSecureContext(context, { checkServerIdentity });
  return new Client(address, credentials, { ...options, 'grpc.ssl_target_name_override': 'address.invalid' });
}

function ready(client: Client, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(new Error('given up'));
    if (signal.aborted) return abort();
    signal.addEventListener('abort', abort, { once: true });
    // No deadline of its own: the signal has one (supervisor.ts).
    client.waitForReady(Number.POSITIVE_INFINITY, (error) => {
      signal.removeEventListener('abort', abort);
      if (error === undefined || error === null) resolve();
      else reject(error);
    });
  });
}

interface Sockets extends Disposable {
  within<T>(work: () => T): T;
  add(socket: Socket): void;
}

const whose = new AsyncLocalStorage<Sockets>();
// Node announces every socket of this process on a public channel.
subscribe('net.client.socket', (message) => whose.getStore()?.add((message as { socket: Socket }).socket));

/**
 * The sockets that a piece of work opens, which end with it. A channel that is closed before HTTP/2 has started forgets its
 * socket, and so does one whose peer reset it at a bad moment: it would stay open for ever, and no object of grpc-js leads to
 * it. It may even dial once more after its end.
 */
function createSockets(): Sockets {
  const open = new Set<Socket>();
  let ended = false;
  const self: Sockets = {
    within: (work) => whose.run(self, work),
    add(socket) {
      open.add(socket);
      socket.once('close', () => open.delete(socket));
      // Announced before it connects, and a socket that connects is no longer destroyed.
      if (ended) process.nextTick(() => socket.destroy());
    },
    [Symbol.dispose]() {
      ended = true;
      for (const socket of open) socket.destroy();
    },
  };
  return self;
}

async function probe({ host, port, context, proxy }: Target, signal: AbortSignal): Promise<void> {
  if (proxy !== undefined && context !== undefined) {
    const through = await tunnelTls(proxy, host, port, { secureContext: context, ALPNProtocols: ['h2'] }, signal);
    through.destroy();
    return;
  }
  return await new Promise((resolve, reject) => {
    if (signal.aborted) return reject(new Error('given up'));
    const servername = isIP(host) === 0 ? { servername: host } : {};
    const socket =
      context === undefined
        ? netConnect({ host, port })
        : tlsConnect({ host, port, secureContext: context, ALPNProtocols: ['h2'], ...servername });
    const done = (settle: () => void): void => {
      signal.removeEventListener('abort', abort);
      socket.destroy();
      settle();
    };
    const abort = (): void => done(() => reject(new Error('given up')));
    signal.addEventListener('abort', abort, { once: true });
    socket.once(context === undefined ? 'connect' : 'secureConnect', () => done(resolve));
    socket.once('error', (error) => done(() => reject(error)));
  });
}

/** `end`: the channel lives as long as its one call. */
function openCall(client: Client, name: string, end: () => void): Link {
  const call = client.makeBidiStreamRequest<Uint8Array, Buffer>(PATH, asBuffer, asIs, new Metadata(), {});
  const link = callLink(call as unknown as Call, name, () => call.cancel());
  call.on('status', end);
  return link;
}

/**
 * Gives each connection the window that our diallers give it. grpc-js has no option for it on servers and keeps its HTTP/2
 * sessions to itself, but Node announces every stream on a public channel. All of this process's HTTP/2 servers are ours.
 */
function widenWindows(): Disposable {
  const seen = new WeakSet<ServerHttp2Session>();
  const onStream = (message: unknown): void => {
    const { session } = (message as { stream: ServerHttp2Stream }).stream;
    if (session === undefined || seen.has(session as ServerHttp2Session)) return;
    seen.add(session as ServerHttp2Session);
    session.setLocalWindowSize(WINDOW_BYTES);
    session.settings({ initialWindowSize: WINDOW_BYTES });
  };
  subscribe('http2.server.stream.created', onStream);
  return { [Symbol.dispose]: () => void unsubscribe('http2.server.stream.created', onStream) };
}

export interface GrpcAcceptOptions {
  readonly host: string;
  /** 0 picks a free one; `address` says which. */
  readonly port: number;
  readonly tls?: { readonly key: string; readonly cert: string };
  readonly plain?: boolean;
  readonly maxConnections?: number;
}

export interface GrpcAcceptor extends Acceptor {
  /** From now on for new connections. */
  useTls(tls: { readonly key: string; readonly cert: string }): void;
}

export async function grpcAcceptor(options: GrpcAcceptOptions): Promise<GrpcAcceptor> {
  const inbox = createInbox<Link>();
  const links = new Set<Link>();
  const sockets = new Set<Socket>();
  const windows = widenWindows();
  // A connection is a link; a second stream is room for the moment in which the first one ends.
  const server = new Server({ ...CHANNEL, 'grpc.max_concurrent_streams': 2 });
  server.addService(SERVICE, {
    Open(call: ServerDuplexStream<Buffer, Uint8Array>) {
      const link = callLink(call as unknown as Call, `grpc:${call.getPeer()}`, () => call.destroy());
      links.add(link);
      void link.closed.then(() => links.delete(link));
      inbox.push(link, 0);
    },
  });
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = createListener(options, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    injector.injectConnection(socket);
  });
  listener.maxConnections = options.maxConnections ?? MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(options.port, options.host, () => {
      listener.off('error', reject);
      resolve();
    });
  });
  const { port } = listener.address() as AddressInfo;
  return {
    address: `${options.tls === undefined ? 'grpc' : 'grpcs'}://${isIP(options.host) === 6 ? `[${options.host}]` : options.host}:${port}`,
    links: inbox,
    useTls({ key, cert }) {
      if (listener instanceof TlsServer) listener.setSecureContext({ key, cert, minVersion: MIN_TLS });
    },
    async [Symbol.asyncDispose]() {
      inbox.end(true);
      for (const link of links) link.close('the acceptor closed');
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      injector.drain(CLOSE_GRACE_MS);
      injector.destroy();
      await endSockets(sockets);
      server.forceShutdown();
      windows[Symbol.dispose]();
      await closed;
    },
  };
}

/** Lets peers close their side; whoever does not is cut off. */
async function endSockets(sockets: ReadonlySet<Socket>): Promise<void> {
  const timer = setTimeout(() => {
    for (const socket of sockets) socket.destroy();
  }, CLOSE_GRACE_MS);
  await Promise.all(
    [...sockets].map(
      (socket) => new Promise((resolve) => (socket.destroyed ? resolve(undefined) : socket.once('close', resolve))),
    ),
  );
  clearTimeout(timer);
}

function createListener(options: GrpcAcceptOptions, onSocket: (socket: Socket) => void): NetServer {
  if (options.tls === undefined) {
    assertPlain(options.host, options.plain);
    return createServer({ noDelay: true }, onSocket);
  }
  const { key, cert } = options.tls;
  const tls = {
    key,
    cert,
    minVersion: MIN_TLS,
    ALPNProtocols: ['h2'],
    handshakeTimeout: DIAL_TIMEOUT_MS,
    noDelay: true,
  } as const;
  // A connection that fails its TLS handshake is destroyed by node; there is nothing to say to it.
  return createTlsServer(tls, onSocket).on('tlsClientError', () => {});
}
