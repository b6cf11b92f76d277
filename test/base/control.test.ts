import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type ControlHandlers, callControl, followControl, serveControl, socketName } from '#base/control.ts';
import { FarfieldError } from '#kernel/errors.ts';

const root = mkdtempSync(join(tmpdir(), 'farfield-control-'));
t.teardown(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const newSocket = (): string => join(root, String(folders++), 'control.sock');

const handlers: ControlHandlers = {
  echo: async ({ body }) => ({ got: body }),
  nothing: async () => undefined,
  refuse: async () => {
    throw new FarfieldError('E_PAUSED', 'draining until noon', { retryAfterS: 60, details: { blocks: 2 } });
  },
  async *count({ body }) {
    for (let i = 0; i < (body as { to: number }).to; i++) yield { i };
  },
  async *breaks() {
    yield 1;
    throw new FarfieldError('E_DISK_FULL', 'no room');
  },
};

async function all(lines: AsyncIterable<unknown>): Promise<unknown[]> {
  const out: unknown[] = [];
  for await (const line of lines) out.push(line);
  return out;
}

t.test("a call answers with the handler's value", async (t) => {
  const path = newSocket();
  await using _server = await serveControl(path, handlers);
  t.strictSame(await callControl(path, 'echo', { a: 'µ' }), { got: { a: 'µ' } });
  t.strictSame(await callControl(path, 'echo'), { got: {} });
  t.equal(await callControl(path, 'nothing'), null);
});

t.test('a refusal arrives with code, message, delay and details', async (t) => {
  const path = newSocket();
  await using _server = await serveControl(path, handlers);
  const refusal = { code: 'E_PAUSED', message: 'draining until noon', retryAfterS: 60, details: { blocks: 2 } };
  await t.rejects(callControl(path, 'refuse'), refusal);
  await t.rejects(all(followControl(path, 'refuse')), refusal);
  for (const verb of ['no-such', '', 'toString', '__proto__'])
    await t.rejects(callControl(path, verb), { code: 'E_NOT_FOUND' });
});

t.test('a stream arrives line by line and ends, or fails, as the handler does', async (t) => {
  const path = newSocket();
  await using _server = await serveControl(path, handlers);
  t.strictSame(
    await all(followControl(path, 'count', { to: 1000 })),
    Array.from({ length: 1000 }, (_, i) => ({ i })),
  );
  const seen: unknown[] = [];
  await t.rejects(
    (async () => {
      for await (const line of followControl(path, 'breaks')) seen.push(line);
    })(),
    { code: 'E_DISK_FULL', message: 'no room' },
  );
  t.strictSame(seen, [1]);
});

t.test('a reader that leaves ends the handler, and its own signal ends a reader', async (t) => {
  const path = newSocket();
  const ended: string[] = [];
  const over = Promise.withResolvers<void>();
  await using _server = await serveControl(path, {
    async *forever({ signal }) {
      try {
        for (let i = 0; ; i++) {
          yield i;
          await new Promise<void>((resolve) => setImmediate(resolve));
        }
      } finally {
        ended.push(signal.aborted ? 'gone' : 'left');
        over.resolve();
      }
    },
    async *silent({ signal }) {
      yield 'first';
      await once(signal, 'abort');
      ended.push('silent');
    },
  });
  for await (const line of followControl(path, 'forever')) if (line === 3) break;
  await over.promise;
  t.strictSame(ended, ['gone']);
  const abort = new AbortController();
  await t.rejects(
    (async () => {
      for await (const _line of followControl(path, 'silent', {}, abort.signal)) abort.abort(new Error('enough'));
    })(),
    { message: 'enough' },
  );
});

t.test('a stream that is cut off is no stream that ended', async (t) => {
  const path = newSocket();
  const server = await serveControl(path, {
    async *stuck({ signal }) {
      yield 1;
      await once(signal, 'abort');
    },
  });
  const reading = all(followControl(path, 'stuck'));
  reading.catch(() => {});
  await callControl(path, 'none').catch(() => {});
  await server.close();
  await t.rejects(reading, { code: 'E_UNAVAILABLE' });
});

t.test('the socket is closed to others, and a folder that is open to them is refused on both sides', async (t) => {
  const path = newSocket();
  const umask = process.umask();
  const server = await serveControl(path, handlers);
  t.equal(statSync(path).mode & 0o777, 0o600, 'from its first moment: nothing narrows it afterwards');
  t.equal(process.umask(), umask, 'and files that are made later have their own modes');
  t.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
  chmodSync(path, 0o666);
  await t.rejects(callControl(path, 'echo'), { code: 'E_FORBIDDEN' });
  chmodSync(path, 0o600);
  chmodSync(join(path, '..'), 0o777);
  await t.rejects(callControl(path, 'echo'), { code: 'E_FORBIDDEN', message: /nothing was sent/ });
  await server.close();
  t.notOk(existsSync(path));
  await t.rejects(serveControl(path, handlers), { code: 'E_FORBIDDEN' });
});

t.test('nobody there is said so; a socket left by a dead daemon is taken over; a live one is not', async (t) => {
  const path = newSocket();
  await t.rejects(callControl(path, 'echo'), { code: 'E_UNAVAILABLE', message: /not running/ });
  const first = await serveControl(path, handlers);
  await t.rejects(serveControl(path, handlers), { code: 'E_CONFLICT' });
  t.ok(await callControl(path, 'echo'), 'the first one still answers');
  await first.close();
  // What a killed daemon leaves: the file, without anybody behind it.
  const dead = createServer().listen(`${path}.tmp`);
  await once(dead, 'listening');
  const { renameSync } = await import('node:fs');
  renameSync(`${path}.tmp`, path);
  dead.close();
  chmodSync(path, 0o600);
  await t.rejects(callControl(path, 'echo'), { code: 'E_UNAVAILABLE' });
  await using _second = await serveControl(path, handlers);
  t.ok(await callControl(path, 'echo'));
});

t.test(
  'a folder with a long name serves as well',
  { skip: process.platform !== 'linux' && 'needs /proc/self/fd' },
  async (t) => {
    const path = join(root, 'x'.repeat(100), 'y'.repeat(100), 'control.sock');
    await using _server = await serveControl(path, handlers);
    t.strictSame(await callControl(path, 'echo', [1]), { got: [1] });
    using short = socketName('/tmp/x');
    t.equal(short.path, '/tmp/x');
  },
);

t.test('a body that is too large or no JSON is refused, and GET is no verb', async (t) => {
  const path = newSocket();
  await using _server = await serveControl(path, handlers);
  await t.rejects(callControl(path, 'echo', 'x'.repeat(1024 * 1024)), { code: /E_TOO_LARGE|E_UNAVAILABLE/ });
  const raw = async (method: string, body: string): Promise<number | undefined> => {
    const call = request({ socketPath: path, method, path: '/echo' });
    call.end(body);
    const [response] = (await once(call, 'response')) as [{ statusCode?: number; resume(): void }];
    response.resume();
    return response.statusCode;
  };
  t.equal(await raw('POST', '{'), 400);
  t.equal(await raw('GET', ''), 404);
});
