/**
 * /livez, /readyz and /metrics of a process, for monitoring on the same machine.
 *
 * Invariants
 *  H1 Off unless the configuration asks for it; then a Unix socket in the process's own folder (0600), or a loopback address.
 *     There is no way to open it to others: an exporter or proxy can carry it on with its own rules.
 *  H2 It answers from memory; only /readyz waits, for one probe of the store, and never longer than READY_LIMIT_MS.
 */
import { once } from 'node:events';
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type Static, Type as T, type TObject, type TString } from 'typebox';
import { FarfieldError } from '#kernel/errors.ts';
import type { Clock } from './clock.ts';
import { socketName } from './control.ts';

/** `folder`: where the socket lies, in the words of the configuration that it stands in. */
export function healthShape(folder: string, port: number): TObject<{ listen: TString }> {
  return T.Object(
    {
      listen: T.String({
        pattern: '^(unix|(127\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}|\\[::1\\]|localhost):\\d{1,5})$',
        description: `unix (${folder}), or a loopback address and port such as 127.0.0.1:${port}`,
      }),
    },
    { additionalProperties: false, description: '/livez, /readyz and Prometheus metrics; off unless it is set' },
  );
}
export type HealthConfig = Static<ReturnType<typeof healthShape>>;

export interface HealthOptions {
  readonly config: HealthConfig;
  readonly socket: string;
  /** Whether work that comes is kept, with a line a part that it needs. */
  readonly readiness: () => Promise<Readiness>;
  /** Text of the metrics. */
  readonly metrics: () => string | Promise<string>;
}

export interface Readiness {
  readonly ready: boolean;
  readonly lines: readonly string[];
}

export interface Health extends AsyncDisposable {
  /** Where it listens. */
  readonly at: string;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

const PLAIN = { type: 'text/plain; charset=utf-8' } as const;

export async function openHealth(options: HealthOptions): Promise<Health> {
  const server = createServer((request, response) => void answer(options, request, response));
  const at = await listen(server, options);
  return {
    at,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
      if (options.config.listen === 'unix') rmSync(options.socket, { force: true });
    },
  };
}

async function listen(server: Server, { config, socket }: HealthOptions): Promise<string> {
  try {
    return await (config.listen === 'unix' ? listenUnix(server, socket) : listenTcp(server, config.listen));
  } catch (cause) {
    throw new FarfieldError('E_USAGE', `health.listen ${config.listen}: ${(cause as Error).message}`, { cause });
  }
}

async function listenUnix(server: Server, socket: string): Promise<string> {
  // The folder's lock is held: what lies there is of a process that was killed.
  rmSync(socket, { force: true });
  using name = socketName(socket);
  server.listen(name.path);
  // Rejects with an `error` that comes first.
  await once(server, 'listening');
  chmodSync(socket, 0o600);
  return socket;
}

async function listenTcp(server: Server, at: string): Promise<string> {
  const [, host = '', port = '0'] = /^(.*):(\d+)$/.exec(at) ?? [];
  server.listen(Number(port), host.replace(/^\[|\]$/g, ''));
  await once(server, 'listening');
  const bound = server.address();
  return typeof bound === 'object' && bound !== null ? `${host}:${bound.port}` : at;
}

async function answer(options: HealthOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { status, type, text } = await answerOf(options, request).catch(
    // A store that ended a moment ago: monitoring learns that, not a connection that hangs.
    (reason: unknown): Answer => ({ ...PLAIN, status: 503, text: `${FarfieldError.from(reason).message}\n` }),
  );
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
  response.end(request.method === 'HEAD' ? undefined : text);
}

async function answerOf(options: HealthOptions, request: IncomingMessage): Promise<Answer> {
  const plain = (status: number, text: string): Answer => ({ ...PLAIN, status, text: `${text}\n` });
  if (request.method !== 'GET' && request.method !== 'HEAD') return plain(405, 'GET only');
  switch (new URL(request.url ?? '/', 'http://here').pathname) {
    case '/livez':
      return plain(200, 'alive');
    case '/readyz': {
      const { ready, lines } = await options.readiness();
      return plain(ready ? 200 : 503, lines.join('\n'));
    }
    case '/metrics': {
      return { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', text: await options.metrics() };
    }
    default:
      return plain(404, '/livez, /readyz, /metrics');
  }
}

const READY_LIMIT_MS = 5000;

/** Runs a probe of a store: undefined where it succeeds in time, otherwise what is wrong with it. */
export async function probeProblem(clock: Clock, probe: () => Promise<unknown>): Promise<string | undefined> {
  const done = new AbortController();
  const problem = await Promise.race([
    probe().then(
      () => undefined,
      (error: unknown) => FarfieldError.from(error).message,
    ),
    clock.sleep(READY_LIMIT_MS, done.signal).then(
      () => `no commit within ${READY_LIMIT_MS / 1000} s`,
      () => undefined,
    ),
  ]);
  done.abort();
  return problem;
}
