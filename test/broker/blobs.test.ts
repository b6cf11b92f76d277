/** Blobs: resumable, checked, and seen by their owners alone. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t from 'tap';
import { createSeededRandom } from '#base/random.ts';
import type { BlobState } from '#protos/http.ts';
import type { BrokerHttp, BrokerResponse } from '../../client/ts/http.ts';
import { blobDigest, httpOf, startTestBroker } from './setting.ts';

const bytes = (n: number, seed = 'blob'): Buffer => Buffer.from(createSeededRandom(seed).bytes(n));

async function put(http: BrokerHttp, digest: string, body: Buffer, query: string): Promise<BlobState> {
  return http.json<BlobState>({
    method: 'PUT',
    path: `/v1/blobs/${digest}?${query}`,
    body: Readable.from([body]),
    contentType: 'application/octet-stream',
    headers: { 'content-length': String(body.byteLength) },
  });
}
const head = (http: BrokerHttp, digest: string, query = ''): Promise<BrokerResponse> =>
  http.request({ method: 'HEAD', path: `/v1/blobs/${digest}${query}` });
async function get(
  http: BrokerHttp,
  digest: string,
  range?: string,
  query = '',
): Promise<{ status: number; body: Buffer }> {
  const answer = await http.request({
    method: 'GET',
    path: `/v1/blobs/${digest}${query}`,
    ...(range === undefined ? {} : { headers: { range } }),
  });
  return { status: answer.status, body: Buffer.from(await answer.body.arrayBuffer()) };
}

t.test(
  'an upload goes on where it stopped, also after a restart, and is complete when its digest is right',
  async (t) => {
    const setting = await startTestBroker(t);
    const user = await setting.user();
    const data = bytes(300_000);
    const digest = blobDigest(data);
    await t.rejects(head(user.http, digest), { code: 'E_NOT_FOUND' });
    t.match(await put(user.http, digest, data.subarray(0, 100_000), 'offset=0&size=300000'), {
      have: 100_000,
      complete: false,
    });
    await setting.restart();
    t.equal((await head(user.http, digest)).headers['farfield-have'], '100000');
    await t.rejects(put(user.http, digest, data.subarray(0, 10), 'offset=50&size=300000'), {
      code: 'E_CONFLICT',
      message: /go on from 100000/,
    });
    await t.rejects(get(user.http, digest), { code: 'E_NOT_FOUND' });
    t.match(await put(user.http, digest, data.subarray(100_000), 'offset=100000&size=300000'), {
      have: 300_000,
      complete: true,
    });
    t.equal((await head(user.http, digest)).headers['farfield-complete'], 'true');
    t.ok((await get(user.http, digest)).body.equals(data));
    const part = await get(user.http, digest, 'bytes=299990-');
    t.equal(part.status, 206);
    t.ok(part.body.equals(data.subarray(299_990)));
    await t.rejects(get(user.http, digest, 'bytes=300000-'), { code: 'E_BAD_REQUEST' });
  },
);

t.test('bytes that are not those of the digest, or more than announced, are refused and leave nothing', async (t) => {
  const setting = await startTestBroker(t);
  const user = await setting.user();
  const data = bytes(1000);
  const digest = blobDigest(data);
  await t.rejects(put(user.http, digest, bytes(1000, 'other'), 'offset=0&size=1000'), { code: 'E_DIGEST' });
  await t.rejects(head(user.http, digest), { code: 'E_NOT_FOUND' });
  await t.rejects(put(user.http, digest, data, 'offset=0&size=999'), { code: 'E_TOO_LARGE' });
  t.same(readdirSync(join(setting.folder, 'blobs')), ['partial']);
});

t.test('an empty blob is a blob', async (t) => {
  const setting = await startTestBroker(t);
  const user = await setting.user();
  const digest = blobDigest(Buffer.alloc(0));
  t.match(await put(user.http, digest, Buffer.alloc(0), 'offset=0&size=0'), { complete: true });
  t.equal((await get(user.http, digest)).body.byteLength, 0);
});

t.test(
  "a digest is no capability: another's blob is not there, nor its unfinished upload, until uploaded in full",
  async (t) => {
    const setting = await startTestBroker(t);
    const [alice, bob, peer] = [await setting.user(), await setting.user(), await setting.peer()];
    await setting.connect(peer);
    const data = bytes(5000);
    const digest = blobDigest(data);
    await put(alice.http, digest, data.subarray(0, 2000), 'offset=0&size=5000');
    await t.rejects(head(bob.http, digest), { code: 'E_NOT_FOUND' });
    await put(alice.http, digest, data.subarray(2000), 'offset=2000&size=5000');
    await t.rejects(head(bob.http, digest), { code: 'E_NOT_FOUND' });
    await t.rejects(get(bob.http, digest), { code: 'E_NOT_FOUND' });
    const uses = bob.ticket([{ args: [{ name: 'x', type: 'json', blob: { digest, size: 5000 } }] }], {
      endpoint: peer.endpoint,
    });
    t.match(await bob.submit(uses), [{ outcome: 'refused', code: 'E_NOT_FOUND' }]);
    await t.rejects(
      put(bob.http, digest, data.subarray(4000), 'offset=4000&size=5000'),
      { code: 'E_CONFLICT' },
      'he cannot finish what she began',
    );
    t.match(await put(bob.http, digest, data, 'offset=0&size=5000'), { complete: true });
    t.match(await bob.submit(uses), [{ outcome: 'queued' }]);
  },
);

t.test(
  'an endpoint reads blobs of its own open calls only, and uploads results for their principal only',
  async (t) => {
    const setting = await startTestBroker(t);
    const [user, peer, other] = [await setting.user(), await setting.peer(), await setting.peer()];
    const agent = await setting.connect(peer);
    const [mine, theirs] = [httpOf(setting, peer.online, []), httpOf(setting, other.online, [])];
    t.teardown(() => Promise.all([mine, theirs].map((http) => http[Symbol.asyncDispose]())));
    const data = bytes(3000);
    const digest = blobDigest(data);
    await put(user.http, digest, data, 'offset=0&size=3000');
    await t.rejects(get(mine, digest), { code: 'E_NOT_FOUND' }, 'nothing names it yet');
    const ticket = user.ticket([{ args: [{ name: 'x', type: 'json', blob: { digest, size: 3000 } }] }], {
      endpoint: peer.endpoint,
    });
    await user.submit(ticket);
    const items = await agent.received(1);
    t.ok((await get(mine, digest, undefined, `?ticket=${ticket.id}`)).body.equals(data));
    await t.rejects(get(theirs, digest, undefined, `?ticket=${ticket.id}`), { code: 'E_NOT_FOUND' });
    const result = bytes(2000, 'result');
    const resultDigest = blobDigest(result);
    await t.rejects(put(theirs, resultDigest, result, `ticket=${ticket.id}&offset=0&size=2000`), {
      code: 'E_FORBIDDEN',
    });
    await t.rejects(put(mine, resultDigest, result, 'offset=0&size=2000'), { code: 'E_FORBIDDEN' });
    t.match(await put(mine, resultDigest, result, `ticket=${ticket.id}&offset=0&size=2000`), { complete: true });
    t.equal((await head(mine, resultDigest, `?ticket=${ticket.id}`)).headers['farfield-complete'], 'true');
    t.ok((await get(user.http, resultDigest)).body.equals(result));
    agent.complete(items);
    await agent.until(() => agent.acked.length === 1);
    await t.rejects(get(mine, digest), { code: 'E_NOT_FOUND' }, 'the call has ended');
  },
);

t.test('unpinned blobs go after the retention, pinned ones stay', async (t) => {
  const setting = await startTestBroker(t, { retentionS: 3600 });
  const peer = await setting.peer();
  const now = Math.floor(setting.clock.now() / 1000);
  const user = await setting.user({ adm: now + 4 * 86_400, scope: { endpoints: [peer.endpoint] } });
  const [loose, pinned] = [bytes(100, 'loose'), bytes(100, 'pinned')];
  for (const data of [loose, pinned]) await put(user.http, blobDigest(data), data, 'offset=0&size=100');
  await user.submit(
    user.ticket([{ args: [{ name: 'x', type: 'json', blob: { digest: blobDigest(pinned), size: 100 } }] }], {
      endpoint: peer.endpoint,
      lifeS: 86_400,
    }),
  );
  setting.clock.advance(3700_000);
  await setting.broker.sweep();
  const http = httpOf(setting, user.principal, []);
  t.teardown(() => http[Symbol.asyncDispose]());
  await t.rejects(get(http, blobDigest(loose)), { code: 'E_NOT_FOUND' });
  t.ok((await get(http, blobDigest(pinned))).body.equals(pinned));
});
