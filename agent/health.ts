/**
 * /livez, /readyz and /metrics of the agent, for monitoring on the same machine.
 *
 * Invariants
 *  H1 Off unless the configuration asks for it; then a Unix socket in the endpoint's folder, or a loopback address. There is no
 *     way to open it to others: what it says names people's work, and an exporter or proxy can carry it on with its own rules.
 *  H2 It answers from memory; only /readyz waits, for one probe of the ledger, and never longer than READY_LIMIT_MS.
 *  H3 Ready means that work which comes is kept: the ledger takes a row, and the link is up or would be dialled again. An
 *     endpoint that is paused or drains lives, and says so here.
 */
import { once } from 'node:events';
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type Static, Type as T } from 'typebox';
import type { Clock } from '#base/clock.ts';
import { socketName } from '#base/control.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { AgentStatus } from './control.ts';
import { type AgentMetrics, gaugeText, type ProcessFacts, statusGauges } from './metrics.ts';

export const HealthShape = T.Object(
  {
    listen: T.String({
      pattern: '^(unix|(127\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}|\\[::1\\]|localhost):\\d{1,5})$',
      description:
        'unix (run/health.sock in the endpoint folder), or a loopback address and port such as 127.0.0.1:9464',
    }),
  },
  { additionalProperties: false, description: '/livez, /readyz and Prometheus metrics; off unless it is set' },
);
export type HealthConfig = Static<typeof HealthShape>;

const READY_LIMIT_MS = 5000;

export interface HealthOptions {
  readonly config: HealthConfig;
  readonly socket: string;
  readonly status: () => AgentStatus;
  /** Whether the ledger takes a row now. */
  readonly probe: () => Promise<void>;
  readonly metrics: AgentMetrics;
  readonly facts: () => ProcessFacts;
  readonly clock: Clock;
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
  // The folder's lock is held: what lies there is of an agent that was killed.
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
  const { status, type, text } = await answerOf(options, request);
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
  response.end(request.method === 'HEAD' ? undefined : text);
}

async function answerOf(options: HealthOptions, request: IncomingMessage): Promise<Answer> {
  const plain = (status: number, text: string): Answer => ({
    status,
    type: 'text/plain; charset=utf-8',
    text: `${text}\n`,
  });
  if (request.method !== 'GET' && request.method !== 'HEAD') return plain(405, 'GET only');
  switch (new URL(request.url ?? '/', 'http://agent').pathname) {
    case '/livez':
      return plain(200, 'alive');
    case '/readyz': {
      const { ready, lines } = await readiness(options);
      return plain(ready ? 200 : 503, lines.join('\n'));
    }
    case '/metrics': {
      const gauges = gaugeText(statusGauges(options.status(), options.facts()));
      return { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', text: options.metrics.text() + gauges };
    }
    default:
      return plain(404, '/livez, /readyz, /metrics');
  }
}

async function readiness({ status, probe, clock }: HealthOptions): Promise<{ ready: boolean; lines: string[] }> {
  const { link, state, reason } = status();
  const done = new AbortController();
  const ledger = await Promise.race([
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
  // A broker that is away keeps its queue, and the agent what it has: the link is no reason to restart it.
  const linkGood = link.state !== 'stopped';
  return {
    ready: ledger === undefined && linkGood,
    lines: [
      `ledger: ${ledger ?? 'writable'}`,
      `link: ${link.state}${link.detail === '' ? '' : ` (${link.detail})`}`,
      `state: ${state}${reason === undefined ? '' : `: ${reason}`}`,
    ],
  };
}
