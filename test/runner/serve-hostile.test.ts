import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { MAX_JSON_BYTES, MAX_REQUEST_BYTES } from '../../runner/serve/limits.ts';
import { parsePlace } from '../../runner/serve/listen.ts';
import { BRAGG } from './client.ts';
import { binaryBody, type Reply, startServe } from './serve-client.ts';

const INFER = '/v2/models/bragg-nn/infer';
const SIZE = 121;
const folder = mkdtempSync(join(tmpdir(), 'farfield-hostile-'));
const served = startServe(BRAGG, ['--threads', '1']);
t.teardown(async () => {
  await served[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});
await served.event('ready');

const patch = Array.from({ length: SIZE }, (_, i) => (i === 60 ? 900 : i % 7));
const input = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  name: 'patch',
  datatype: 'FP32',
  shape: [1, 1, 11, 11],
  data: patch,
  ...more,
});
const body = (inputs: unknown, more: Record<string, unknown> = {}): string => JSON.stringify({ inputs, ...more });
const error = ({ json }: Reply): string => String(json?.error);

/** Whatever was sent before, an honest request is answered. */
async function stillServes(t: Test): Promise<void> {
  const answer = await served.post(INFER, body([input()]));
  t.equal(answer.status, 200, 'and the next request is served');
}

t.test('every mistake in a request is named, with what is needed', async (t) => {
  const needs = /bragg-nn takes the input "patch" of shape \[n, 1, 11, 11\] as UINT8/;
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['nothing', '', /not JSON/],
    ['no JSON', '{"inputs": [', /not JSON/],
    ['bytes that are no UTF-8', '\u{fffd}\x00', /not JSON/],
    ['a list', '[]', /must be a JSON object/],
    ['no inputs', '{}', needs],
    ['two inputs', body([input(), input()]), needs],
    ['an input that is a number', body([7]), needs],
    ['another name', body([input({ name: 'image' })]), /no input "image"; bragg-nn takes/],
    ['no name', body([input({ name: undefined })]), needs],
    ['text', body([input({ datatype: 'BYTES' })]), /the datatype "BYTES" is not taken; bragg-nn takes/],
    ['wide integers', body([input({ datatype: 'INT64' })]), /"INT64" is not taken/],
    ['a name of every object', body([input({ datatype: 'constructor' })]), /"constructor" is not taken/],
    ['another patch size', body([input({ shape: [1, 1, 15, 15] })]), /\[1, 1, 15, 15\] does not fit; bragg-nn takes/],
    ['no batch axis', body([input({ shape: [11, 11] })]), /\[11, 11\] does not fit/],
    ['no rows', body([input({ shape: [0, 1, 11, 11] })]), /no size from 1 on/],
    ['half a row', body([input({ shape: [0.5, 1, 11, 11] })]), /no size from 1 on/],
    ['axes without end', body([input({ shape: new Array(99).fill(1) })]), /up to 8 sizes/],
    ['a shape that is text', body([input({ shape: '1,11,11' })]), /shape must be a list/],
    ['too few values', body([input({ data: patch.slice(1) })]), /has 120 values, the shape needs 121/],
    ['no data', body([input({ data: undefined })]), /data must be a list/],
    ['a null', body([input({ data: [null, ...patch.slice(1)] })]), /value 0 is null, not a number/],
    ['text as a value', body([input({ data: ['1', ...patch.slice(1)] })]), /value 0 is a string/],
    ['a list as a value', body([input({ data: [0, [1], ...patch.slice(2)] })]), /value 1 is a list/],
    ['ragged rows', body([input({ data: [[[[1, 2], [3]]]] })]), /nested otherwise than \[1, 1, 11, 11\]/],
    [
      'a count that overflows',
      body([input({ datatype: 'UINT8', data: patch })]),
      /value 60 is 900; whole numbers from 0/,
    ],
    ['a broken count', body([input({ datatype: 'INT16', data: patch.map((v) => v + 0.5) })]), /value 0 is 0.5/],
    ['an output that is none', body([input()], { outputs: [{ name: 'centre' }] }), /no output "centre"; it has center/],
    ['an output twice', body([input()], { outputs: [{ name: 'flags' }, { name: 'flags' }] }), /twice/],
    ['many outputs', body([input()], { outputs: new Array(1000).fill({ name: 'flags' }) }), /1000 outputs/],
    [
      'class lists',
      body([input()], { outputs: [{ name: 'center', parameters: { classification: 3 } }] }),
      /not served/,
    ],
    [
      'shared memory',
      body([input({ parameters: { shared_memory_region: 'x' } })]),
      /shared_memory_region is not served/,
    ],
    ['parameters that are none', body([input()], { parameters: 5 }), /parameters must be an object/],
    ['an id of any length', body([input()], { id: 'x'.repeat(1000) }), /id must be a text/],
    ['binary without bytes', body([input({ data: undefined, parameters: { binary_data_size: 484 } })]), /0 bytes came/],
    ['both forms', body([input({ parameters: { binary_data_size: 484 } })]), /exclude each other/],
  ];
  for (const [what, sent, message] of cases) {
    const answer = await served.post(INFER, sent);
    t.equal(answer.status, 400, what);
    t.match(error(answer), message, what);
    t.same(Object.keys(answer.json ?? {}), ['error'], 'and nothing else');
  }
  await stillServes(t);
});

t.test('sizes that lie are refused before anything is made of them', async (t) => {
  const huge = await served.post(INFER, body([input({ shape: [2 ** 50, 1, 11, 11] })]));
  t.match([huge.status, error(huge)], [413, /a request can carry/]);
  const values = new Float32Array(SIZE);
  const head = (size: unknown) => ({ inputs: [input({ data: undefined, parameters: { binary_data_size: size } })] });
  for (const size of [483, -484, 2 ** 40, '484', null, [484]]) {
    const sent = binaryBody(head(size), values);
    const answer = await served.post(INFER, sent.body, sent.headers);
    t.match([answer.status, error(answer)], [400, /has 484 bytes; binary_data_size states/], String(size));
  }
  const extra = binaryBody({ inputs: [input()] }, values);
  t.match(error(await served.post(INFER, extra.body, extra.headers)), /484 bytes follow the JSON/);
  for (const length of ['-1', '1e3', '0x10', '99999999999', 'NaN', '1, 2']) {
    const answer = await served.post(INFER, body([input()]), { 'inference-header-content-length': length });
    t.match([answer.status, error(answer)], [400, /must be the number of bytes/], length);
  }
  const over = await served.post(INFER, body([input()]), { 'inference-header-content-length': '999999' });
  t.match(error(over), /is 999999, the body has/);
  const odd = await served.post(INFER, Buffer.alloc(485), { 'inference-header-content-length': '0' });
  t.match(error(odd), /485 bytes is no whole number of rows of 484 bytes/);
  const none = await served.post(INFER, Buffer.alloc(0), { 'inference-header-content-length': '0' });
  t.match(error(none), /no whole number/);
  const json = await served.post(INFER, Buffer.alloc(MAX_JSON_BYTES + 1, ' '));
  t.match([json.status, error(json)], [413, /Send tensors in binary/]);
  await stillServes(t);
});

t.test('a body over the limit is not read, announced or not', async (t) => {
  const announced = await served.raw(
    `POST ${INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: ${MAX_REQUEST_BYTES + 1}\r\n\r\n`,
  );
  t.match(announced, /^HTTP\/1.1 413 [\s\S]*at most/);
  // Chunked: the size is not known ahead. The answer may come while bytes are still being sent, which breaks the sending.
  const status = await new Promise((resolve) => {
    const options = { socketPath: served.socketPath, method: 'POST', path: INFER, agent: false } as const;
    const asked = request(options, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    asked.on('error', () => resolve('cut off'));
    const chunk = Buffer.alloc(1024 * 1024);
    let left = MAX_REQUEST_BYTES / chunk.length + 2;
    const more = (): void => {
      if (left-- > 0) asked.write(chunk, (failed) => (failed ? undefined : more()));
      else asked.end();
    };
    more();
  });
  t.ok(status === 413 || status === 'cut off', String(status));
  const zipped = await served.post(INFER, Buffer.from('x'), { 'content-encoding': 'gzip' });
  t.match([zipped.status, error(zipped)], [400, /compressed body is not taken/]);
  await stillServes(t);
});

t.test('a text of a million brackets costs no stack', async (t) => {
  const deep = `{"inputs":[{"name":"patch","datatype":"FP32","shape":[1,1,11,11],"data":${'['.repeat(1e6)}${']'.repeat(1e6)}}]}`;
  t.equal((await served.post(INFER, deep)).status, 400);
  await stillServes(t);
});

t.test('addresses and methods that are none say what there is', async (t) => {
  for (const path of ['/', '/v1', '/v2/x', '/v2/health', '/v2/health/x', '/v2/health/live/x', '/v2/models', '//v2']) {
    t.equal((await served.get(path)).status, 404, path);
  }
  t.equal((await served.get('/v2/models/bragg-nn/x')).status, 404);
  t.equal((await served.get('/v2/models/bragg-nn/versions')).status, 404);
  t.equal((await served.get('/v2/models/bragg-nn/versions/9.9')).status, 404);
  const other = await served.get('/v2/models/..%2f..%2fetc');
  t.match([other.status, error(other)], [404, /no model .* here; bragg-nn .* is/]);
  t.equal((await served.get('/v2/models/%ff%')).status, 400);
  const got = await served.get(INFER);
  t.match([got.status, got.headers.allow], [405, 'POST']);
  const posted = await served.post('/v2/health/live', '{}');
  t.match([posted.status, posted.headers.allow], [405, 'GET']);
  const page = await served.get('/v2', { origin: 'http://evil.example' });
  t.equal(page.status, 403, 'a page in a browser is not answered');
  await stillServes(t);
});

t.test('bytes that are no HTTP, and callers who leave, harm nobody', async (t) => {
  t.match(await served.raw('\x16\x03\x01\x02\x00 hello\r\n\r\n'), /400/);
  t.match(await served.raw(`GET /v2 HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(40_000)}\r\n\r\n`), /431/);
  for (let i = 0; i < 20; i++) {
    const asked = request({ socketPath: served.socketPath, method: 'POST', path: INFER, agent: false });
    asked.on('error', () => {});
    asked.setHeader('content-length', 1000);
    await new Promise((resolve) => asked.write('{"inputs"', resolve));
    asked.destroy();
  }
  await stillServes(t);
});

t.test('random bytes in place of a request are refused, each with a reason', async (t) => {
  const bytes = fc.uint8Array({ maxLength: 600 });
  const length = fc.option(fc.nat(700), { nil: undefined });
  await fc.assert(
    fc.asyncProperty(bytes, length, async (sent, head) => {
      const headers: Record<string, string> =
        head === undefined ? {} : { 'inference-header-content-length': `${head}` };
      const { status, json } = await served.post(INFER, sent, headers);
      // A raw body of exactly one row is a request.
      return (status === 400 && typeof json?.error === 'string') || (head === 0 && sent.byteLength === 484);
    }),
    { numRuns: 100 },
  );
  await stillServes(t);
  t.equal(served.stderr(), '', 'no defect was logged');
});

t.test('it listens on loopback or in a folder of one’s own, nowhere else', async (t) => {
  for (const place of ['0.0.0.0:8000', '192.168.1.2:80', '[::]:80', 'example.org:80', ':80', '8000', 'unix:', '']) {
    t.throws(() => parsePlace(place), { code: 'E_USAGE', message: /--listen takes/ }, place);
  }
  t.throws(() => parsePlace('127.0.0.1:65536'), { code: 'E_USAGE' });
  t.throws(() => parsePlace(`unix:/${'x'.repeat(120)}`), { code: 'E_USAGE', message: /at most 107 bytes/ });
  t.same(parsePlace('[::1]:0'), { kind: 'tcp', host: '::1', port: 0 });
  t.equal(statSync(served.socketPath).mode & 0o777, 0o600);
  const wide = join(folder, 'wide');
  mkdirSync(wide);
  chmodSync(wide, 0o755);
  const own = join(folder, 'own');
  mkdirSync(own, { mode: 0o700 });
  writeFileSync(join(own, 'file'), 'precious');
  const cases: readonly (readonly [string, number, RegExp])[] = [
    [`unix:${join(wide, 's.sock')}`, 4, /only this account can enter/],
    [`unix:${join(folder, 'nowhere', 's.sock')}`, 4, /mkdir -m 700/],
    [`unix:${join(own, 'file')}`, 4, /is no socket/],
    [`unix:${served.socketPath}`, 4, /another process listens/],
  ];
  for (const [listen, code, message] of cases) {
    const runner = startServe(BRAGG, [], listen);
    t.match((await runner.event('failed')).error, { message }, listen);
    t.equal(await runner.exit, code);
  }
  t.ok(existsSync(join(own, 'file')), 'and what was there is there');
  await stillServes(t);
});

t.test('a port is a real one, and asks for a local name', async (t) => {
  await using tcp = startServe(BRAGG, ['--threads', '1'], '127.0.0.1:0');
  const { address } = (await tcp.event('listening')) as unknown as { address: string };
  await tcp.event('ready');
  const { port } = new URL(address);
  const ask = (host: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port, path: '/v2', headers: { host }, agent: false } as const;
      const asked = request(options, (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      asked.on('error', reject);
      asked.end();
    });
  t.equal(await ask(`127.0.0.1:${port}`), 200);
  t.equal(await ask('localhost'), 200);
  t.equal(await ask(`evil.example:${port}`), 403, 'a name that leads here from elsewhere is not answered');
});

t.test('options that do not fit end with usage and exit code 2', async (t) => {
  const cases = [
    ['--max-queue', '0'],
    ['--max-batch', '1.5'],
    ['--timeout-ms', ''],
    ['--max-delay-us', '-1'],
    ['--speed', '9'],
  ];
  for (const more of cases) {
    const runner = startServe(BRAGG, more);
    t.equal(await runner.exit, 2, more.join(' '));
    t.match(runner.stderr(), /farfield-runner serve --model DIR/);
  }
});
