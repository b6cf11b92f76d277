/**
 * The control socket of a daemon: its own user's commands, as JSON over HTTP on a Unix socket.
 *
 *   POST /VERB, JSON body  ->  200 JSON | 200 NDJSON, a line each (follow verbs) | error {code, message}
 *
 * Invariants
 *  N1 The file system is the authentication: the socket is 0600 in a 0700 folder of this user, and a client
 *     checks the same before it speaks, so that nobody can put another daemon in its place. There is no TCP
 *     form.
 *  N2 A stream ends with a line `{"end":true}` or `{"error":...}`: one that stops without either was cut off.
 *  N3 A follow verb's generator is closed when its reader goes away.
 *  N4 A server that closes answers first what it was asked: `stop` is asked over this very socket. Streams are cut.
 */

import { once } from 'node:events';
import { closeSync, lstatSync, openSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createConnection } from 'node:net';
import { basename, dirname, join, resolve } from 'node:path';
import { finished } from 'node:stream/promises';
import { ERROR_CODES, FarfieldError, isErrorCode } from '#kernel/errors.ts';
import { openPrivateFolder } from './files.ts';

/** A command and its options; anything larger is a file that the command names. */
const MAX_BODY_BYTES = 1024 * 1024;
/** sockaddr_un has 108 bytes with its final zero. */
const MAX_SOCKET_PATH = 107;

export interface ControlCall {
  readonly body: unknown;
  /** Aborted when the asker goes away. */
  readonly signal: AbortSignal;
}

/** A value answers once; an async iterable answers line by line. */
export type ControlHandler = (call: ControlCall) => Promise<unknown> | AsyncIterable<unknown>;
export type ControlHandlers = Readonly<Record<string, ControlHandler>>;

export interface SocketName extends Disposable {
  /** What to hand to listen or connect, until disposed. */
  readonly path: string;
}

/** A name for the socket that fits the kernel's limit: a long path is reached through a descriptor of its folder. */
export function socketName(path: string): SocketName {
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH) return { path, [Symbol.dispose]: () => {} };
  if (process.platform !== 'linux') {
    throw new FarfieldError(
      'E_BAD_REQUEST',
      `${path} is longer than the ${MAX_SOCKET_PATH} bytes that a socket's name may have. Use a shorter folder`,
    );
  }
  const folder = openSync(dirname(path), 'r');
  return { path: join(`/proc/self/fd/${folder}`, basename(path)), [Symbol.dispose]: () => closeSync(folder) };
}

function isStream(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

function errorBody(reason: unknown): { status: number; error: Record<string, unknown> } {
  const error = FarfieldError.from(reason);
  const { code, message, details, retryAfterS } = error;
  return {
    status: ERROR_CODES[code].http,
    error: { code, message, details, ...(retryAfterS === undefined ? {} : { retryAfterS }) },
  };
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES)
      throw new FarfieldError('E_TOO_LARGE', `a control command is limited to ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  if (size === 0) return {};
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new FarfieldError('E_BAD_REQUEST', 'the body of a control command is JSON');
  }
}

async function sendStream(response: ServerResponse, lines: AsyncIterable<unknown>, gone: AbortSignal): Promise<void> {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  // The reader must see that it is connected before the first line comes, which may take hours.
  response.flushHeaders();
  const write = async (line: unknown): Promise<void> => {
    if (!response.write(`${JSON.stringify(line)}\n`)) await once(response, 'drain', { signal: gone });
  };
  try {
    for await (const line of lines) {
      if (gone.aborted) return;
      await write({ line });
    }
    await write({ end: true });
  } catch (error) {
    if (!gone.aborted) await write({ error: errorBody(error).error });
  } finally {
    response.end();
  }
}

/** `streams` is told where the answer is one that ends with its reader alone. */
async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  handlers: ControlHandlers,
  streams: () => void,
): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  try {
    const verb = request.url?.slice(1) ?? '';
    const handler = Object.hasOwn(handlers, verb) ? handlers[verb] : undefined;
    if (request.method !== 'POST' || handler === undefined) {
      throw new FarfieldError(
        'E_NOT_FOUND',
        `this daemon has no control command "${verb}". Is it of the same version?`,
      );
    }
    const result = handler({ body: await readBody(request), signal: gone.signal });
    if (isStream(result)) {
      streams();
      return await sendStream(response, result, gone.signal);
    }
    const text = JSON.stringify((await result) ?? null);
    response.writeHead(200, { 'content-type': 'application/json' }).end(text);
  } catch (reason) {
    const { status, error } = errorBody(reason);
    if (!response.headersSent) response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error }));
  }
  // A reader that hung up has no more to wait for.
  await finished(response).catch(() => {});
}

/** Removes a socket that nobody answers on; refuses to take over one that somebody does. */
async function clearStale(path: string, name: string): Promise<void> {
  const answered = await new Promise<boolean>((done) => {
    const probe = createConnection(name);
    probe.once('connect', () => {
      probe.destroy();
      done(true);
    });
    probe.once('error', () => done(false));
  });
  if (answered) throw new FarfieldError('E_CONFLICT', `another process answers on ${path}. Stop that one first`);
  rmSync(path, { force: true });
}

async function listen(server: Server, path: string): Promise<void> {
  // Closed to others from its first moment: a client that looks between `bind` and a chmod would refuse it (N1). Node binds
  // within this call.
  const before = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(before);
  }
  // A failure arrives as `error`, which `once` turns into a rejection.
  await once(server, 'listening');
}

export interface ControlServer extends AsyncDisposable {
  close(): Promise<void>;
}

/** Serves the handlers until closed. Creates the folder if it is missing. */
export async function serveControl(socketPath: string, handlers: ControlHandlers): Promise<ControlServer> {
  const path = resolve(socketPath);
  openPrivateFolder(dirname(path));
  const name = socketName(path);
  const owned = new Set<Promise<void>>();
  const answers = new Set<Promise<void>>();
  const server = createServer((request, response) => {
    const work = answer(request, response, handlers, () => answers.delete(work)).finally(() => {
      owned.delete(work);
      answers.delete(work);
    });
    owned.add(work);
    answers.add(work);
  });
  try {
    await clearStale(path, name.path);
    await listen(server, name.path);
  } catch (error) {
    server.close();
    name[Symbol.dispose]();
    throw error;
  }
  let closing: Promise<void> | undefined;
  const end = async (): Promise<void> => {
    const closed = once(server, 'close');
    server.close();
    await Promise.allSettled(answers);
    server.closeAllConnections();
    await closed;
    await Promise.allSettled(owned);
    name[Symbol.dispose]();
  };
  const close = (): Promise<void> => {
    closing ??= end();
    return closing;
  };
  return { close, [Symbol.asyncDispose]: close };
}

/** N1 from the client's side: the socket and its folder are ours (or root's) and nobody else can write there. */
function assertOwnSocket(path: string): void {
  const uid = process.getuid?.();
  for (const [place, forbidden] of [
    [dirname(path), 0o022],
    [path, 0o077],
  ] as const) {
    const stat = lstatSync(place, { throwIfNoEntry: false });
    if (stat === undefined)
      throw new FarfieldError('E_UNAVAILABLE', `nothing listens at ${path}: the daemon is not running`);
    if ((uid !== undefined && stat.uid !== uid && stat.uid !== 0) || (stat.mode & forbidden) !== 0) {
      throw new FarfieldError('E_FORBIDDEN', `${place} can be replaced by another user; nothing was sent to it`);
    }
  }
}

function errorFrom(value: unknown): FarfieldError {
  const fields = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const { code, message, retryAfterS, details } = fields;
  const known = typeof code === 'string' && isErrorCode(code) ? code : 'E_INTERNAL';
  return new FarfieldError(known, typeof message === 'string' ? message : 'the daemon failed without a reason', {
    ...(typeof retryAfterS === 'number' ? { retryAfterS } : {}),
    ...(typeof details === 'object' && details !== null ? { details: details as Record<string, string> } : {}),
  });
}

interface Exchange extends AsyncDisposable {
  readonly status: number;
  readonly body: AsyncIterable<Buffer>;
}

async function exchange(
  socketPath: string,
  verb: string,
  body: unknown,
  signal: AbortSignal | undefined,
): Promise<Exchange> {
  const path = resolve(socketPath);
  assertOwnSocket(path);
  const name = socketName(path);
  // Loaded by the side that asks: a daemon only answers, and an HTTP client would cost it 10 MB.
  const { Client } = await import('undici');
  // No time-out on headers or body: a follow verb is silent for as long as nothing happens. The caller's signal
  // is the limit.
  const client = new Client('http://control', { socketPath: name.path, headersTimeout: 0, bodyTimeout: 0 });
  const dispose = async (): Promise<void> => {
    await client.destroy();
    name[Symbol.dispose]();
  };
  try {
    const { statusCode, body: stream } = await client.request({
      method: 'POST',
      path: `/${verb}`,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body ?? {}),
      ...(signal === undefined ? {} : { signal }),
    });
    return { status: statusCode, body: stream as AsyncIterable<Buffer>, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    if (signal?.aborted) throw signal.reason;
    // Whatever the transport calls it: refused, no such socket, reset, closed before an answer.
    throw new FarfieldError('E_UNAVAILABLE', `nothing answers at ${path}: the daemon is not running`, { cause: error });
  }
}

const WENT_AWAY = 'the daemon went away in the middle of its answer';

async function textOf(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of body) chunks.push(chunk);
  } catch (cause) {
    throw new FarfieldError('E_UNAVAILABLE', WENT_AWAY, { cause });
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Asks once. The daemon's own errors arrive as FarfieldError; a daemon that is not there is E_UNAVAILABLE. */
export async function callControl(
  socketPath: string,
  verb: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<unknown> {
  await using call = await exchange(socketPath, verb, body, signal);
  const value: unknown = JSON.parse(await textOf(call.body));
  if (call.status === 200) return value;
  throw errorFrom((value as { error?: unknown }).error);
}

/** Asks for a stream; ends when the daemon ends it, throws if it fails or breaks off. Leaving the loop hangs up. */
export async function* followControl(
  socketPath: string,
  verb: string,
  body?: unknown,
  signal?: AbortSignal,
): AsyncGenerator<unknown, void> {
  await using call = await exchange(socketPath, verb, body, signal);
  if (call.status !== 200) throw errorFrom((JSON.parse(await textOf(call.body)) as { error?: unknown }).error);
  let rest = '';
  const decoder = new TextDecoder();
  try {
    for await (const chunk of call.body) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const text of lines) {
        const message = JSON.parse(text) as { line?: unknown; end?: boolean; error?: unknown };
        if (message.end === true) return;
        if (message.error !== undefined) throw errorFrom(message.error);
        yield message.line;
      }
    }
  } catch (error) {
    if (error instanceof FarfieldError) throw error;
    if (signal?.aborted) throw signal.reason;
    throw new FarfieldError('E_UNAVAILABLE', WENT_AWAY, { cause: error });
  }
  throw new FarfieldError('E_UNAVAILABLE', WENT_AWAY);
}
