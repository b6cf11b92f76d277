/**
 * Links over a Unix socket: agent and pilots on one machine, without TLS and without grpc-js.
 *
 *     u32be length | frame            an ordinary frame, 1 .. MAX_FRAME_BYTES
 *     u32be 0 | u32be length | text   the end, and why
 *
 * Invariants
 *  U1 The socket lies in a folder that only its owner can enter (0700): the file system is the authentication of the
 *     account, the hello that of the peer.
 *  U2 A length over the limit is garbage: the link ends, nothing is allocated for it.
 */
import { chmodSync, lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { fromUtf8, utf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_FRAME_BYTES } from '#kernel/limits.ts';
import { createGauge, createInbox, createOnce } from './queue.ts';
import {
  type Acceptor,
  assertFrame,
  CLOSE_GRACE_MS,
  type Dialler,
  type Ending,
  type Link,
  MAX_CONNECTIONS,
} from './seam.ts';

/** The reason of an end: a sentence, no more. */
const MAX_REASON_BYTES = 1024;

type Parsed = { kind: 'frame'; frame: Uint8Array } | { kind: 'end'; reason: string };

/**
 * Cuts a byte stream into frames. Returns what is wrong with it, if anything: after that it is not to be fed again.
 * `firstBytes`: what the first frame may have at most, from a peer whom nobody knows yet.
 */
export function createParser(
  onParsed: (parsed: Parsed) => void,
  firstBytes = MAX_FRAME_BYTES,
): {
  feed(chunk: Buffer): string | undefined;
  readonly partial: boolean;
} {
  let maxBytes = firstBytes;
  let chunks: Buffer[] = [];
  let total = 0;
  let ending = false;
  // Bytes that must be there before another look is worth it: joining the chunks of a large frame once, not at each chunk.
  let need = 4;

  function step(data: Buffer, at: number): { at: number; wrong?: string } | undefined {
    if (data.length - at < 4) {
      need = data.length - at === 0 ? 4 : 4 - (data.length - at);
      return undefined;
    }
    const length = data.readUInt32BE(at);
    if (length > (ending ? MAX_REASON_BYTES : maxBytes)) return { at, wrong: `a frame claims ${length} bytes` };
    if (length === 0 && !ending) {
      ending = true;
      return { at: at + 4 };
    }
    if (data.length - at - 4 < length) return undefined;
    const frame = data.subarray(at + 4, at + 4 + length);
    maxBytes = MAX_FRAME_BYTES;
    if (!ending) onParsed({ kind: 'frame', frame });
    else onParsed({ kind: 'end', reason: printable(frame) });
    return { at: at + 4 + length };
  }

  return {
    get partial() {
      return total > 0;
    },
    feed(chunk) {
      chunks.push(chunk);
      total += chunk.length;
      if (total < need) return undefined;
      const data = chunks.length === 1 ? chunk : Buffer.concat(chunks, total);
      let at = 0;
      for (;;) {
        const next = step(data, at);
        if (next === undefined) break;
        if (next.wrong !== undefined) return next.wrong;
        at = next.at;
      }
      const rest = data.subarray(at);
      chunks = rest.length === 0 ? [] : [rest];
      total = rest.length;
      need = total < 4 ? 4 : 4 + rest.readUInt32BE(0);
      return undefined;
    },
  };
}

/** A peer's reason may be anything; it is shown to people. */
function printable(bytes: Uint8Array): string {
  try {
    return fromUtf8(bytes);
  } catch {
    return 'closed';
  }
}

function header(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(length, 0);
  return bytes;
}

export interface StreamOptions {
  readonly remote: string;
  readonly transport: 'unix' | 'tls';
  /** Link.origin. */
  readonly origin?: string;
  readonly firstBytes?: number;
}

/** A link over a connected stream socket. */
export function streamLink(socket: Socket, { remote, transport, origin, firstBytes }: StreamOptions): Link {
  const gauge = createGauge();
  const once = createOnce<Ending>();
  const inbox = createInbox<Uint8Array>({ pause: () => void socket.pause(), resume: () => void socket.resume() });

  function finish(ending: Ending, drop = false): void {
    if (!once.settle(ending)) return;
    gauge.release();
    inbox.end(drop);
  }

  const parser = createParser((parsed) => {
    if (parsed.kind === 'frame') inbox.push(parsed.frame, parsed.frame.byteLength);
    else {
      finish({ clean: true, reason: parsed.reason });
      socket.end();
    }
  }, firstBytes);

  // Of no effect on a Unix socket; any stream socket may carry this link.
  socket.setNoDelay(true);
  socket.on('data', (chunk: Buffer) => {
    const wrong = parser.feed(chunk);
    if (wrong === undefined) return;
    finish({ clean: false, reason: `not a link: ${wrong}` });
    socket.destroy();
  });
  socket.on('error', (error) => finish({ clean: false, reason: error.message }));
  // A peer that closed its half without the words of an end has died, or is no peer: `close` follows and says so.
  socket.on('end', () => socket.end());
  socket.on('close', () => {
    finish({
      clean: false,
      reason: parser.partial ? 'the connection ended within a frame' : 'the connection was lost',
    });
  });

  return {
    transport,
    remote,
    ...(origin === undefined ? {} : { origin }),
    frames: inbox,
    closed: once.promise,
    send(frame) {
      assertFrame(frame);
      if (once.settled) return false;
      // Corked: length and frame leave in one writev, and the frame is not copied.
      socket.cork();
      socket.write(header(frame.byteLength));
      socket.write(frame, () => gauge.done(frame.byteLength));
      socket.uncork();
      return gauge.add(frame.byteLength);
    },
    writable: () => gauge.writable(),
    close(reason = 'closed') {
      if (once.settled) return;
      const text = utf8(reason).subarray(0, MAX_REASON_BYTES);
      socket.cork();
      socket.write(header(0));
      socket.write(header(text.byteLength));
      socket.write(text);
      socket.uncork();
      finish({ clean: true, reason }, true);
      socket.resume();
      socket.end();
      // The socket's own idle timer: a peer that does not read the end within the grace is cut off.
      socket.setTimeout(CLOSE_GRACE_MS, () => socket.destroy());
    },
  };
}

/** Dials once; trying again is the supervisor's. */
export function unixDialler(options: { path: string }): Dialler {
  return {
    name: `unix:${options.path}`,
    dial(signal) {
      return new Promise((resolve, reject) => {
        const refuse = (why: string, cause?: unknown): void => {
          reject(new FarfieldError('E_UNAVAILABLE', `no connection to ${options.path}: ${why}`, { cause }));
        };
        if (signal.aborted) return refuse('given up');
        const socket = connect({ path: options.path });
        const abort = (): void => {
          socket.destroy();
          refuse('given up');
        };
        const failed = (error: Error): void => {
          signal.removeEventListener('abort', abort);
          refuse(error.message, error);
        };
        signal.addEventListener('abort', abort, { once: true });
        socket.once('error', failed);
        socket.once('connect', () => {
          signal.removeEventListener('abort', abort);
          socket.off('error', failed);
          resolve(streamLink(socket, { remote: `unix:${options.path}`, transport: 'unix' }));
        });
      });
    },
  };
}

/** U1. Checked at the start and not kept under watch: who can widen the folder later is the account itself. */
export function assertPrivate(folder: string): void {
  const stat = lstatSync(folder);
  const mine = process.getuid === undefined || stat.uid === process.getuid();
  if (stat.isDirectory() && (stat.mode & 0o077) === 0 && mine) return;
  throw new FarfieldError(
    'E_FORBIDDEN',
    `${folder} must be a folder that only this account can enter (chmod 700): links listen there`,
  );
}

/** True if somebody answers at the socket now. */
function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

/** A socket outlives the process that made it: after a crash it is in the way, and only a dial tells it from a live one. */
export async function removeStale(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket()) throw new FarfieldError('E_CONFLICT', `${path} is there and is no socket; remove it`);
  if (await isAnswered(path))
    throw new FarfieldError('E_CONFLICT', `another process listens at ${path}; stop it first`);
  unlinkSync(path);
}

/** Listens until disposed. Node removes the socket's file at the close. */
export async function unixAcceptor(options: { path: string; maxConnections?: number }): Promise<Acceptor> {
  const { path } = options;
  assertPrivate(dirname(path));
  await removeStale(path);
  const inbox = createInbox<Link>();
  const open = new Set<Link>();
  let count = 0;
  const server: Server = createServer({ pauseOnConnect: false }, (socket) => {
    count += 1;
    const link = streamLink(socket, { remote: `unix:${path}#${count}`, transport: 'unix' });
    open.add(link);
    socket.once('close', () => open.delete(link));
    inbox.push(link, 0);
  });
  server.maxConnections = options.maxConnections ?? MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
  // The folder keeps others out already; this is for whoever makes the folder wider by mistake.
  chmodSync(path, 0o600);
  return {
    address: path,
    links: inbox,
    async [Symbol.asyncDispose]() {
      inbox.end(true);
      for (const link of open) link.close('the acceptor closed');
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
