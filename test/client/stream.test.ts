/** The event stream, submissions and blobs over a network that breaks: nothing lost, nothing double, and an end to waiting. */
import '../leaks.ts';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t from 'tap';
import { createSeededRandom } from '#base/random.ts';
import { digestOf } from '#kernel/ids.ts';
import { packToJson } from '#kernel/receipts.ts';
import { uploadBlob } from '../../client/ts/blobs.ts';
import { sendJson } from '../fakes/broker-http.ts';
import { startParts, taken } from './parts.ts';

t.test('a stream that is cut in the middle of an event resumes behind the last whole one', async (t) => {
  const { broker, endpoint, client, submit, notices, until } = await startParts(t);
  const { ticket, of } = await submit(3);
  const seen: string[] = [];
  client.onEvent(({ id }) => seen.push(id ?? ''));
  broker.terminal(endpoint.pack({ ...of, items: [0] }), '1.7');
  await ticket.item(0);
  broker.emit('running', { id: of.id, items: [1], state: 'running', detail: '', done: 0, total: 0, attempt: 1 });
  await until(() => seen.length === 2);
  broker.cut();
  await until(() => broker.cursors.length === 2);
  broker.terminal(endpoint.pack({ ...of, items: [1] }), '1.8');
  broker.terminal(endpoint.pack({ ...of, items: [2] }), '1.9');
  await ticket.finished();
  t.same(broker.cursors, [undefined, '1.7']);
  t.same(seen, ['1.7', '', '1.8', '1.9']);
  t.match(notices.join(), /event stream cut/);
});

t.test('after `reset` open calls are asked for, and the stream goes on from there', async (t) => {
  const { broker, endpoint, submit, until } = await startParts(t);
  const { ticket, of } = await submit(2);
  broker.terminal(endpoint.pack({ ...of, items: [0] }), '1.5');
  await ticket.item(0);
  broker.routes.set(`GET /v1/invocations/${of.id}/packs`, (_, response) =>
    sendJson(response, { packs: [0, 1].map((i) => packToJson(endpoint.pack({ ...of, items: [i] }))) }),
  );
  broker.emit('reset', { reason: 'generation' });
  await ticket.finished();
  broker.cut();
  await until(() => broker.cursors.length === 2);
  t.equal(broker.cursors[1], undefined, 'the old cursor is of a generation that is gone');
  const next = await submit();
  broker.terminal(endpoint.pack(next.of), '2.1');
  await next.ticket.finished();
});

t.test(
  'a submission whose answer was lost is sent again, byte for byte, and what ended meanwhile is fetched',
  async (t) => {
    const { broker, endpoint, principal, client, input, sent, until } = await startParts(t);
    const bodies: string[] = [];
    broker.routes.set('POST /v1/invocations', (request, response, body) => {
      bodies.push(digestOf(body));
      if (bodies.length < 3) request.socket.destroy();
      else sendJson(response, taken(body, sent, 'known'));
    });
    broker.routes.set('GET /v1/invocations/', (_, response) => {
      const [{ id = '', jti = '', hash = '' } = {}] = sent;
      const of = { principal: principal.kid, id, jti, ticketHash: hash };
      sendJson(response, { packs: [packToJson(endpoint.pack(of))] });
    });
    let ended = false;
    const call = client.submit(input()).then(async ({ ticket, outcome }) => {
      t.equal(outcome, 'known');
      await ticket.finished();
      ended = true;
    });
    await until(() => ended);
    await call;
    t.equal(new Set(bodies).size, 1);
    t.equal(bodies.length, 3);
    t.equal(sent.length, 1, 'noted once, before it was first sent');
  },
);

t.test(
  'what the broker ended by its own word is unresolved, said as what it is, and may still end on a receipt',
  async (t) => {
    const { broker, endpoint, submit, until } = await startParts(t);
    const { ticket, of } = await submit(4);
    const words = { lost: /lost at its endpoint/, expired: /never started.*--life/, cancelled: /cancelled before/ };
    for (const [i, [state, says]] of Object.entries(words).entries()) {
      const item = ticket.item(i);
      broker.emit('lost', { id: of.id, runs: [[i, i + 1]], state }, `1.${i + 1}`);
      await t.rejects(item, { code: 'E_UNRESOLVED', message: says, details: { state } });
      await t.rejects(ticket.item(i), { code: 'E_UNRESOLVED', message: says }, 'asked again, the same is said');
    }
    await t.rejects(ticket.finished(), { code: 'E_UNRESOLVED' });
    broker.terminal(endpoint.pack({ ...of, items: [3] }), '1.8');
    await until(() => ticket.remaining === 3);
    t.equal((await ticket.item(3)).status, 'succeeded', 'the other item is none of it');
    broker.terminal(endpoint.pack({ ...of, items: [0, 1, 2], status: 'cancelled' }), '1.9');
    await until(() => ticket.remaining === 0);
    t.same(
      (await ticket.all()).map(({ status }) => status),
      ['cancelled', 'cancelled', 'cancelled', 'succeeded'],
    );
  },
);

t.test('attaching to a call that the broker ended by its word says so at once, and does not wait', async (t) => {
  const { broker, client, submit, sent } = await startParts(t);
  const { of } = await submit(2);
  broker.routes.set(`GET /v1/invocations/${of.id}`, (request, response) => {
    if (request.url?.includes('/packs')) return sendJson(response, { packs: [] });
    const items = request.url?.includes('items=') ? [{ i: 1, state: 'expired' }] : [];
    sendJson(response, { ...sent[0], exp: 0, counts: { admitted: 1, expired: 1 }, items });
  });
  const ticket = await client.attach(of.id);
  await t.rejects(ticket.item(1), { code: 'E_UNRESOLVED', message: /never started/ });
});

t.test(
  'when start, time-out and grace are over without a receipt it is unresolved; attaching waits again',
  async (t) => {
    const { broker, clock, endpoint, client, input, submit } = await startParts(t);
    const { ticket, of } = await submit();
    const [item, all] = [ticket.item(0), ticket.all()];
    // Over: a day of life, ten seconds of time-out, an hour of grace.
    let over = false;
    item.catch(() => {
      over = true;
    });
    await clock.drive((24 * 3600 + 3000) * 1000);
    t.notOk(over, 'not before');
    await clock.drive(700_000);
    await t.rejects(item, { code: 'E_UNRESOLVED', message: /farfield result/, details: { state: 'overdue' } });
    await t.rejects(all, { code: 'E_UNRESOLVED' });
    t.equal(ticket.remaining, 1, 'it is no completion');
    t.ok(broker.asked.includes(`GET /v1/invocations/${of.id}/packs`), 'the broker was asked once more');
    const again = await client.attach(of.id);
    broker.terminal(endpoint.pack(of), '1.1');
    t.equal((await again.item(0)).status, 'succeeded');
    t.equal(input().items.length, 1);
  },
);

t.test(
  'a stream that is refused for good fails what waits and what comes, instead of leaving it waiting',
  async (t) => {
    const { broker, client, submit, input, until } = await startParts(t);
    const { ticket } = await submit();
    const item = ticket.item(0);
    item.catch(() => undefined);
    broker.routes.set('GET /v1/events', (_, response) =>
      sendJson(response, { error: { code: 'E_CHAIN_EXPIRED', message: 'the session is over' } }, 401),
    );
    broker.cut();
    await until(() => broker.asked.filter((each) => each === 'GET /v1/events').length === 2);
    await t.rejects(item, { code: 'E_CHAIN_EXPIRED' });
    await t.rejects(client.submit(input()), { code: 'E_CHAIN_EXPIRED' });
  },
);

t.test('the list of calls is all of its pages, and ends even where a broker repeats itself', async (t) => {
  const { broker, client } = await startParts(t);
  const ids = Array.from({ length: 5 }, (_, k) => String(k).padStart(32, '0'));
  broker.routes.set('GET /v1/invocations', (request, response) => {
    const before = /before=(\w+)/.exec(request.url ?? '')?.[1];
    const from = before === undefined ? 0 : Math.min(ids.indexOf(before) + 1, 3);
    sendJson(response, { tickets: ids.slice(from, from + 2).map((id) => ({ id })) });
  });
  t.same(
    (await client.list()).map(({ id }) => id),
    ids,
  );
});

t.test('an upload that was cut goes on where the broker stands; one that is there is not sent', async (t) => {
  const { broker, client } = await startParts(t);
  const bytes = Buffer.from(createSeededRandom('upload').bytes(100_000));
  const digest = digestOf(bytes);
  let have: Buffer = Buffer.alloc(0);
  broker.routes.set('HEAD /v1/blobs/', (_, response) => {
    if (have.byteLength === 0) return void response.writeHead(404).end();
    const complete = String(have.byteLength === bytes.byteLength);
    response.writeHead(200, { 'farfield-have': String(have.byteLength), 'farfield-complete': complete }).end();
  });
  broker.routes.set('PUT /v1/blobs/', (request, response, body) => {
    if (have.byteLength === 0) {
      have = body.subarray(0, 30_000);
      request.socket.destroy();
      return;
    }
    have = Buffer.concat([have, body]);
    sendJson(response, {});
  });
  const source = { size: bytes.byteLength, open: (start: number) => Readable.from([bytes.subarray(start)]) };
  await t.rejects(uploadBlob(client.http, source), { code: 'E_UNAVAILABLE', message: /Is it running/ });
  t.same(await uploadBlob(client.http, source), { digest, size: bytes.byteLength });
  t.ok(have.equals(bytes));
  t.ok(broker.asked.includes(`PUT /v1/blobs/${digest}?offset=30000&size=100000`));
  const asked = broker.asked.length;
  await uploadBlob(client.http, source);
  t.equal(broker.asked.length, asked + 1, 'only asked for');
});

t.test('a download of other bytes is refused and leaves no file', async (t) => {
  const { broker, client } = await startParts(t);
  const folder = mkdtempSync(join(tmpdir(), 'farfield-download-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'result.h5');
  broker.routes.set('GET /v1/blobs/', (_, response) => void response.end('what was asked for'));
  await t.rejects(client.downloadTo(digestOf('something else'), path), { code: 'E_DIGEST', message: /ask again/ });
  t.notOk(existsSync(path));
  t.same(readdirSync(folder), []);
  await client.downloadTo(digestOf('what was asked for'), path);
  t.equal(readFileSync(path, 'utf8'), 'what was asked for');
});
