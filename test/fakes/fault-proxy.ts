/**
 * A proxy on the byte level that misbehaves on command: latency, slices, a cut after n bytes, a black hole (half-open),
 * reset, refusal. It knows nothing of what it carries.
 */
import { type AddressInfo, connect, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net';

export interface Faults {
  /** Each chunk waits this long, in order. */
  latencyMs: number;
  /** Chunks are cut into pieces of at most this many bytes, each written in a turn of its own; 0 leaves them. */
  sliceBytes: number;
  /** Bytes (both ways together) after which a new connection is reset; 0 never. */
  cutAfterBytes: number;
  /** Swallows everything and answers nothing, while connections stay open. */
  blackHole: boolean;
  /** Swallows what the far side answers, while what goes there still arrives: no window is ever opened again. */
  holdAnswers: boolean;
  /** New connections are reset at once. */
  refuse: boolean;
}

export interface FaultProxy extends AsyncDisposable {
  /** Set these at any time; they hold for connections that are open, too. */
  readonly faults: Faults;
  readonly port: number;
  /** Connections taken since the start. */
  readonly connections: number;
  /** Resets all open connections (the peers see ECONNRESET). */
  reset(): void;
}

type Place = { port: number; host?: string } | { path: string };

function address(place: Place): NetConnectOpts {
  return 'path' in place ? { path: place.path } : { port: place.port, host: place.host ?? '127.0.0.1' };
}

function kill(socket: Socket): void {
  // A Unix socket has no reset; its peer sees the end, and a write that fails.
  if (socket.remoteAddress === undefined) socket.destroy();
  else socket.resetAndDestroy();
}

/** One direction of one connection. */
function pump(from: Socket, to: Socket, faults: Faults, held: () => boolean, spent: (bytes: number) => boolean): void {
  let line: Promise<void> = Promise.resolve();
  const write = async (piece: Buffer): Promise<void> => {
    if (faults.latencyMs > 0) await new Promise((resolve) => setTimeout(resolve, faults.latencyMs));
    if (faults.blackHole || held() || to.destroyed) return;
    if (!to.write(piece)) {
      from.pause();
      to.once('drain', () => from.resume());
    }
    if (faults.sliceBytes > 0) await new Promise((resolve) => setImmediate(resolve));
  };
  from.on('data', (chunk: Buffer) => {
    if (spent(chunk.length)) return;
    const size = faults.sliceBytes || chunk.length;
    for (let at = 0; at < chunk.length; at += size) {
      const piece = chunk.subarray(at, at + size);
      line = line.then(() => write(piece));
    }
  });
  from.on('end', () => {
    line = line.then(() => void (faults.blackHole || to.end()));
  });
}

export async function openFaultProxy(options: {
  listen: Place;
  to: Place;
  faults?: Partial<Faults>;
}): Promise<FaultProxy> {
  const faults: Faults = {
    latencyMs: 0,
    sliceBytes: 0,
    cutAfterBytes: 0,
    blackHole: false,
    holdAnswers: false,
    refuse: false,
    ...options.faults,
  };
  const sockets = new Set<Socket>();
  let connections = 0;

  function onConnection(front: Socket): void {
    connections += 1;
    if (faults.refuse) {
      kill(front);
      return;
    }
    const back = connect(address(options.to));
    let bytes = 0;
    const both = [front, back];
    const spent = (more: number): boolean => {
      bytes += more;
      if (faults.cutAfterBytes === 0 || bytes <= faults.cutAfterBytes) return false;
      for (const socket of both) kill(socket);
      return true;
    };
    for (const socket of both) {
      sockets.add(socket);
      socket.setNoDelay?.(true);
      socket.on('error', () => {});
      socket.on('close', (hadError) => {
        sockets.delete(socket);
        // An orderly end travels as one (see pump), behind the bytes before it; anything else ends both.
        if (hadError && !faults.blackHole) for (const other of both) other.destroy();
      });
    }
    pump(front, back, faults, () => false, spent);
    pump(back, front, faults, () => faults.holdAnswers, spent);
  }

  const server: Server = createServer({ allowHalfOpen: true }, onConnection);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    if ('path' in options.listen) server.listen(options.listen.path, resolve);
    else server.listen(options.listen.port, options.listen.host ?? '127.0.0.1', resolve);
  });
  const listening = server.address();
  return {
    faults,
    port: typeof listening === 'string' || listening === null ? 0 : (listening as AddressInfo).port,
    get connections() {
      return connections;
    },
    reset() {
      for (const socket of sockets) kill(socket);
    },
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
