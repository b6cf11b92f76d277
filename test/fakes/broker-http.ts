/**
 * A broker's HTTP side that says whatever a test wants: it decides nothing, checks nothing, and counts what it was asked.
 * The endpoint behind it has real keys, so that its packs are as good or as bad as the test makes them.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';
import type { Clock } from '#base/clock.ts';
import { digestBytes, digestOf } from '#kernel/ids.ts';
import { detailBytes, type Pack, packToJson, STATUS_CODES, sealPack } from '#kernel/receipts.ts';
import { generateKey, type Signer, signerFrom, signToken } from '#kernel/sign.ts';
import type { ReceiptStatus } from '#kernel/tokens/claims.ts';

type Handler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void | Promise<void>;

export interface FakeEndpoint {
  readonly id: string;
  readonly online: Signer;
  readonly descriptor: string;
  pack(of: PackOf): Pack;
}

export interface PackOf {
  readonly principal: string;
  readonly id: string;
  readonly jti: string;
  readonly ticketHash: string;
  readonly items?: readonly number[];
  readonly result?: string;
  readonly status?: ReceiptStatus;
}

export function createFakeEndpoint(clock: Clock): FakeEndpoint {
  const [root, online] = [signerFrom(generateKey()), signerFrom(generateKey())];
  const iat = Math.floor(clock.now() / 1000);
  const descriptor = signToken(
    'farfield-endpoint+jwt',
    { v: 1, iss: root.kid, jwk: root.jwk, name: 'fake', seq: 1, sign: online.jwk, iat, exp: iat + 20 * 86_400 },
    root,
  );
  return {
    id: root.kid,
    online,
    descriptor,
    pack({ principal, id, jti, ticketHash, items = [0], result = '"ok"', status = 'succeeded' }) {
      const good = status === 'succeeded';
      const bytes = Buffer.from(result);
      const detail = good
        ? { res: { type: 'json' as const, at: 'inline' as const } }
        : { err: { code: 'E_FUNCTION', message: 'it \u001b[31mfailed\u001b]0;title\u0007\u202e' } };
      const ticket = {
        id,
        jti,
        ticketHash,
        items: [...items],
        attempts: items.map(() => 1),
        statuses: new Uint8Array(items.length).fill(STATUS_CODES[status]),
        detail: items.map(() => 0),
        meas: items.map(() => 0),
        resultDigests: Buffer.concat(items.map(() => (good ? digestBytes(digestOf(bytes)) : Buffer.alloc(32)))),
        resultSizes: items.map(() => (good ? bytes.byteLength : 0)),
        results: good ? Buffer.concat(items.map(() => bytes)) : Buffer.alloc(0),
      };
      const nowS = Math.floor(clock.now() / 1000);
      return sealPack({ principal, tickets: [ticket], details: [detailBytes(detail)] }, [{}], root.kid, nowS, online);
    },
  };
}

export interface FakeBroker {
  readonly url: string;
  /** `METHOD /path` -> what answers; the longest prefix that fits. */
  readonly routes: Map<string, Handler>;
  /** Every request as `METHOD /path?query`. */
  readonly asked: string[];
  /** Cursors that readers of the event stream brought, in order. */
  readonly cursors: (string | undefined)[];
  /** An event to every open stream. */
  emit(type: string, data: unknown, id?: string): void;
  terminal(pack: Pack, id?: string): void;
  /** Cuts every open stream, half an event into it. */
  cut(): void;
  /** Waits until `n` streams were opened in all. */
  streams(n: number): Promise<void>;
}

export function sendJson(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

export async function startFakeBroker(t: Test, endpoints: readonly FakeEndpoint[] = []): Promise<FakeBroker> {
  const open = new Set<ServerResponse>();
  const asked: string[] = [];
  const cursors: (string | undefined)[] = [];
  const watchers: (() => void)[] = [];
  const routes = new Map<string, Handler>([
    [
      'GET /v1/events',
      (request, response) => {
        cursors.push(request.headers['last-event-id'] as string | undefined);
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(': hello\n\n');
        open.add(response);
        for (const wake of watchers.splice(0)) wake();
      },
    ],
    ...endpoints.map(({ id, descriptor }): [string, Handler] => [
      `GET /v1/endpoints/${id}`,
      (_, response) => sendJson(response, { id, descriptor, online: true, since: 0 }),
    ]),
  ]);
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    const key = `${request.method} ${request.url}`;
    asked.push(key);
    const [, handler] =
      [...routes].filter(([prefix]) => key.startsWith(prefix)).sort(([a], [b]) => b.length - a.length)[0] ?? [];
    request.on('error', () => undefined);
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (handler === undefined)
        return sendJson(response, { error: { code: 'E_NOT_FOUND', message: `nothing at ${key}` } }, 404);
      void handler(request, response, Buffer.concat(chunks));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const write = (text: string): void => {
    for (const stream of open) stream.write(text);
  };
  const emit = (type: string, data: unknown, id?: string): void =>
    write(`${id === undefined ? '' : `id: ${id}\n`}event: ${type}\ndata: ${JSON.stringify(data)}\n\n`);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    routes,
    asked,
    cursors,
    emit,
    terminal: (pack, id) => emit('terminal', packToJson(pack), id),
    cut() {
      write('id: 1.999\nevent: term');
      for (const stream of open) stream.destroy();
      open.clear();
    },
    async streams(n) {
      while (cursors.length < n) await new Promise<void>((resolve) => watchers.push(resolve));
    },
  };
}
