/** What an operator's monitoring reads of a broker: scraped after real calls, number by number. */
import '../leaks.ts';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t from 'tap';
import { systemRandom } from '#base/random.ts';
import { generateKey, signerFrom } from '#kernel/sign.ts';
import { openBrokerHealth } from '../../broker/health.ts';
import { createBrokerMetrics } from '../../broker/metrics.ts';
import { createAgentPeer } from '../fakes/agent-peer.ts';
import { getPage, parseMetrics } from '../prometheus.ts';
import { openReader } from './reader.ts';
import { blobDigest, json, many, startTestBroker, type TestBroker } from './setting.ts';

const PROCESS = { residentBytes: 1000, startedS: 5, version: '0.1 "x"' };

async function openSocket(setting: TestBroker) {
  const socket = join(setting.folder, 'health.sock');
  const { broker, clock } = setting;
  const health = await openBrokerHealth({ config: { listen: 'unix' }, socket, broker, process: () => PROCESS, clock });
  const at = { socketPath: socket };
  return {
    socket,
    page: (path: string) => getPage(at, path),
    scrape: async () => parseMetrics((await getPage(at, '/metrics')).text),
    [Symbol.asyncDispose]: () => health[Symbol.asyncDispose](),
  };
}

t.test('after real calls the numbers are those of the calls', async (t) => {
  const setting = await startTestBroker(t);
  await using health = await openSocket(setting);
  const [alice, bob, peer] = [await setting.user(), await setting.user(), await setting.peer()];
  const agent = await setting.connect(peer, { transport: 'ws' });
  const reader = await openReader(alice.http);

  const batch = alice.ticket(many(5), { endpoint: peer.endpoint });
  const single = bob.ticket([json(1)], { endpoint: peer.endpoint });
  await alice.submit(batch);
  await alice.submit(batch);
  await bob.submit(single, bob.ticket([json(2)], { endpoint: peer.endpoint, delegation: `sha256:${'0'.repeat(64)}` }));
  const items = await agent.received(6);
  const ofAlice = items.filter(({ principal }) => principal === alice.principal.kid);
  const [first, second] = [ofAlice.slice(0, 3), ofAlice.slice(3)];
  agent.admit(ofAlice);
  agent.complete(first);
  agent.complete(second, 'failed');
  agent.refuse(items.filter((item) => !ofAlice.includes(item)));
  await setting.until(async () => {
    const now = await health.scrape();
    return now.get('farfield_broker_items_open') === 0 && now.get('farfield_broker_items_delivered_total') === 6;
  });

  const data = Buffer.from('bytes of a blob');
  const path = `/v1/blobs/${blobDigest(data)}`;
  const headers = { 'content-length': String(data.byteLength) };
  const contentType = 'application/octet-stream';
  await alice.http.json({
    ...{ method: 'PUT', path: `${path}?size=${data.byteLength}`, headers, contentType },
    body: Readable.from([data]),
  });
  await (await alice.http.request({ method: 'GET', path })).body.arrayBuffer();
  await t.rejects(bob.http.request({ method: 'GET', path }), { code: 'E_NOT_FOUND' });
  const ask = (): Promise<unknown> =>
    bob.http.json({
      method: 'POST',
      path: `/v1/endpoints/${'U'.repeat(43)}/access`,
      body: Buffer.from(JSON.stringify({ access: 'x', chain: ['y'] })),
      contentType: 'application/json',
    });
  for (let k = 0; k < 10; k++) await t.rejects(ask(), { code: 'E_ENDPOINT_UNKNOWN' });
  await t.rejects(ask(), { code: 'E_BUSY' });
  await t.rejects(alice.http.json({ method: 'GET', path: '/v1/nothing' }), { code: 'E_NOT_FOUND' });
  const unknown = createAgentPeer({
    ...{ clock: setting.clock, random: systemRandom, brokerId: setting.broker.brokerId },
    root: signerFrom(generateKey()),
  });
  await t.rejects(setting.connect(unknown), { code: 'E_ENDPOINT_UNKNOWN' });

  const samples = await health.scrape();
  const expected: Record<string, number> = {
    'tickets_submitted_total{outcome="queued"}': 2,
    'tickets_submitted_total{outcome="known"}': 1,
    'tickets_submitted_total{outcome="refused"}': 1,
    items_queued_total: 6,
    items_delivered_total: 6,
    'items_completed_total{status="succeeded"}': 3,
    'items_completed_total{status="failed"}': 2,
    'items_completed_total{status="refused"}': 1,
    'items_ended_here_total{state="expired"}': 0,
    items_admitted_total: 5,
    items_handed_back_total: 0,
    items_open: 0,
    tickets: 2,
    users: 2,
    endpoints: 1,
    'sessions{transport="ws"}': 1,
    'sessions{transport="grpc"}': 0,
    'link_sessions_total{transport="ws"}': 1,
    'link_refusals_total{code="E_ENDPOINT_UNKNOWN"}': 1,
    event_streams: 1,
    blobs: 1,
    blob_stored_bytes: data.byteLength,
    'blob_bytes_total{direction="in"}': data.byteLength,
    'blob_bytes_total{direction="out"}': data.byteLength,
    'http_requests_total{route="submit",status="200"}': 3,
    'http_requests_total{route="blobGet",status="404"}': 1,
    'http_requests_total{route="access",status="429"}': 1,
    'http_requests_total{route="other",status="404"}': 1,
    'http_refusals_total{route="access",code="E_BUSY"}': 1,
    'http_refusals_total{route="access",code="E_ENDPOINT_UNKNOWN"}': 10,
    'http_refusals_total{route="other",code="E_NOT_FOUND"}': 1,
    receipt_conflicts_total: 0,
    store_queue: 0,
    resident_memory_bytes: 1000,
    start_time_seconds: 5,
    'info{version="0.1 _x_"}': 1,
  };
  for (const [series, value] of Object.entries(expected))
    t.equal(samples.get(`farfield_broker_${series}`), value, series);
  t.ok((samples.get('farfield_broker_store_commit_seconds_count') ?? 0) >= 8, 'each command was timed');
  const text = (await health.page('/metrics')).text;
  for (const secret of [alice.principal.kid, bob.principal.kid, peer.endpoint, batch.id, single.jti, 'test/noop'])
    t.notMatch(text, secret, 'nobody and nothing is named');

  await reader[Symbol.asyncDispose]();
  await setting.until(async () => (await health.scrape()).get('farfield_broker_event_streams') === 0);
});

t.test("items that end by the broker's own word are counted apart from receipts", async (t) => {
  const setting = await startTestBroker(t);
  await using health = await openSocket(setting);
  const [user, peer] = [await setting.user(), await setting.peer()];
  // No agent: nothing of it leaves the queue. Its delegation waits for an endpoint that is away.
  await (await setting.connect(peer)).session.close('E_UNAVAILABLE', 'a cut', 1);
  await user.submit(user.ticket(many(3), { endpoint: peer.endpoint, lifeS: 60 }));
  t.equal((await health.scrape()).get('farfield_broker_items_open'), 3);
  setting.clock.advance(120_000);
  await setting.broker.sweep();
  const samples = await health.scrape();
  t.equal(samples.get('farfield_broker_items_ended_here_total{state="expired"}'), 3);
  t.equal(samples.get('farfield_broker_items_completed_total{status="expired"}'), 0);
});

t.test('ready means that the store takes a row; the pages are on a private socket', async (t) => {
  const setting = await startTestBroker(t);
  const health = await openSocket(setting);
  t.equal(statSync(health.socket).mode & 0o777, 0o600);
  t.match(await health.page('/livez'), { status: 200 });
  t.match(await health.page('/readyz'), { status: 200, text: /store: writable/ });
  t.match(await health.page('/metrics'), { status: 200, type: /version=0\.0\.4/ });
  await setting.broker.store.close();
  t.match(await health.page('/readyz'), { status: 503, text: /store: / });
  t.match(await health.page('/metrics'), { status: 503 });
  t.match(await health.page('/livez'), { status: 200 }, 'and lives');
  await health[Symbol.asyncDispose]();
  t.throws(() => statSync(health.socket), { code: 'ENOENT' });
});

t.test('a label takes no value from outside its set', async (t) => {
  const metrics = createBrokerMetrics();
  const before = parseMetrics(metrics.text()).size;
  for (let k = 0; k < 100; k++) {
    metrics.requests.add([`/v1/${k}`, '200']);
    metrics.linkRefusals.add([`E_${k}`]);
  }
  const after = parseMetrics(metrics.text());
  t.equal(after.size, before + 2);
  t.equal(after.get('farfield_broker_http_requests_total{route="other",status="200"}'), 100);
});

t.test('the reader of the format refuses what is none', async (t) => {
  const good = '# HELP a_total x\n# TYPE a_total counter\na_total{b="c"} 1\n';
  t.equal(parseMetrics(good).get('a_total{b="c"}'), 1);
  for (const bad of [
    good.trimEnd(),
    `${good}a_total{b="c"} 2\n`,
    `${good}b 1\n`,
    `${good}a_total x\n`,
    `${good}\n\n1\n`,
  ])
    t.throws(() => parseMetrics(bad));
});
