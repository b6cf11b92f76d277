import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import { chooseVariant, openModel } from '../../runner/model.ts';
import { compileRows } from '../../runner/rows.ts';
import type { Batcher } from '../../runner/serve/batcher.ts';
import { listenAt } from '../../runner/serve/listen.ts';
import { describeServed } from '../../runner/serve/served.ts';
import { OipServer } from '../../runner/serve/server.ts';
import { BRAGG } from './client.ts';
import { type Reply, startServe } from './serve-client.ts';

const INFER = '/v2/models/bragg-nn/infer';
const RAW = { 'inference-header-content-length': '0' };
const ROW_BYTES = 484;
const folder = mkdtempSync(join(tmpdir(), 'farfield-serve-life-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

/** The shipped model in a folder of its own, changed. */
function changed(name: string, change: (model: Record<string, unknown>) => void): string {
  const path = join(folder, name);
  mkdirSync(path);
  for (const file of ['model.json', 'model.onnx', 'golden.h5', 'calibration.json'])
    cpSync(join(BRAGG, file), join(path, file));
  const model = JSON.parse(readFileSync(join(path, 'model.json'), 'utf8')) as Record<string, unknown>;
  change(model);
  writeFileSync(join(path, 'model.json'), JSON.stringify(model));
  return path;
}

t.test(
  'while it loads it lives, is not ready and computes nothing; with the golden check passed it is ready',
  async (t) => {
    await using served = startServe(BRAGG, ['--threads', '1']);
    await served.event('listening');
    // The model takes longer to load than these take to answer, as a rule; where it does not, they are answered as ready.
    const [live, ready, infer] = await Promise.all([
      served.get('/v2/health/live'),
      served.get('/v2/health/ready'),
      served.post(INFER, Buffer.alloc(ROW_BYTES), RAW),
    ]);
    t.equal(live.status, 200);
    const early = (reply: Reply): void => {
      t.ok(
        reply.status === 200 || (reply.status === 503 && reply.headers['retry-after'] === '1'),
        String(reply.status),
      );
    };
    early(ready);
    early(infer);
    t.match(await served.event('ready'), { golden: 'passed', model: { name: 'bragg-nn' } });
    t.equal((await served.get('/v2/health/ready')).status, 200);
    t.equal((await served.post(INFER, Buffer.alloc(ROW_BYTES), RAW)).status, 200);
  },
);

t.test('a model that fails its golden check is never ready: exit code 4, with the reason', async (t) => {
  const swapped = changed('swapped', (m) => {
    m.post = [...(m.post as unknown[]), { op: 'order', index: [1, 0] }];
    // The calibration belongs to the steps as they were.
    m.uncertainty = undefined;
  });
  const served = startServe(swapped);
  const events: string[] = [];
  t.match((await served.event('failed')).error, { code: 'E_MODEL', message: /golden check failed/ });
  await t.rejects(
    served.event('ready').then(({ event }) => events.push(event)),
    /it ended before ready/,
  );
  t.equal(await served.exit, 4);
  t.notOk(existsSync(served.socketPath));
});

t.test('a model without calibration is served without radii, and says so', async (t) => {
  const bare = changed('bare', (m) => {
    m.uncertainty = undefined;
  });
  await using served = startServe(bare, ['--threads', '1']);
  await served.event('ready');
  const { json } = await served.get('/v2/models/bragg-nn');
  t.match(json, { outputs: [{ name: 'center' }, { name: 'flags' }], parameters: { uncertainty: /none/ } });
  t.equal((json?.outputs as unknown[] | undefined)?.length, 2);
  t.equal((await served.post(INFER, Buffer.alloc(ROW_BYTES), RAW)).status, 200);
});

t.test('SIGTERM: what waits is answered at once, and the process ends with 0', async (t) => {
  // One may wait, and it waits ten seconds for company: when the second is refused, the first is in the queue for certain.
  const served = startServe(BRAGG, ['--threads', '1', '--max-queue', '1', '--max-delay-us', '10000000']);
  await served.event('ready');
  const both = [1, 2].map((rows) => served.post(INFER, Buffer.alloc(rows * ROW_BYTES), RAW));
  const first = await Promise.race(both);
  t.equal(first.status, 429);
  t.equal(first.headers['retry-after'], '1');
  t.match(first.json, { error: /1 requests wait already/ });
  served.child.kill('SIGTERM');
  const statuses = (await Promise.all(both)).map(({ status }) => status);
  t.same(statuses.sort(), [200, 429]);
  t.match(await served.event('stopped'), { requests: 1, blocks: 1 });
  t.equal(await served.exit, 0);
  t.notOk(existsSync(served.socketPath), 'the socket is gone');
});

t.test('while draining new work is refused with 503, and readiness says no', async (t) => {
  const clock = createManualClock();
  const held = Promise.withResolvers<void>();
  const path = join(folder, 'own', 's.sock');
  mkdirSync(join(folder, 'own'), { mode: 0o700 });
  const place = { kind: 'unix', path } as const;
  const server = new OipServer({ clock, place, version: '0', log: () => {} });
  await listenAt(server.http, place);
  const ask = (method: string, to: string): Promise<{ status: number | undefined; again: string | undefined }> =>
    new Promise((resolve, reject) => {
      const asked = request({ socketPath: path, method, path: to, agent: false }, (response) => {
        response.resume();
        response.on('end', () => resolve({ status: response.statusCode, again: response.headers['retry-after'] }));
      });
      asked.on('error', reject);
      asked.end();
    });
  t.same(await ask('POST', INFER), { status: 503, again: '1' }, 'not loaded yet');
  const open = openModel(BRAGG);
  const plan = compileRows(open.model);
  const variant = chooseVariant(open.model, undefined);
  // A queue that is not empty until the test says so.
  const batcher = { drain: () => held.promise } as Batcher;
  server.open({
    served: describeServed({ open, plan, variant, calibration: undefined }),
    batcher,
    broken: () => undefined,
  });
  t.equal((await ask('GET', '/v2/health/ready')).status, 200);
  const drained = server.drain();
  t.same(await ask('POST', INFER), { status: 503, again: '1' });
  t.same(await ask('GET', '/v2/health/ready'), { status: 503, again: '1' });
  t.same(await ask('GET', '/v2/models/bragg-nn/ready'), { status: 503, again: '1' });
  t.equal((await ask('GET', '/v2/health/live')).status, 200);
  held.resolve();
  await drained;
  await t.rejects(ask('GET', '/v2/health/live'), 'nobody listens any more');
  t.equal(clock.pending(), 0);
});
