/** What a scientist's own calls used: added up from receipts that verify, and from nothing else. */
import '../leaks.ts';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Detail, detailBytes, openPack, sealPack } from '#kernel/receipts.ts';
import type { Measured } from '#kernel/tokens/claims.ts';
import { sumUsed, usedOf } from '../../client/ts/usage.ts';
import { json, many, startTestBroker } from '../broker/setting.ts';
import type { AgentPeer, PeerItem, PeerSession } from '../fakes/agent-peer.ts';
import { MANIFEST } from './parts.ts';
import { openPerson } from './person.ts';

/** An outcome whose receipt says this of how it ran. */
function complete(
  peer: AgentPeer,
  session: PeerSession,
  items: readonly PeerItem[],
  meas: Measured,
  detail: Detail = {},
) {
  const { receipts, ...unsigned } = session.pack(items, detail.err === undefined ? 'succeeded' : 'failed');
  const res = detail.err === undefined ? { res: { type: 'json' as const, at: 'inline' as const } } : {};
  const details = [detailBytes({ ...res, ...detail })];
  const iat = Math.floor(Date.parse('2026-03-02T10:00:00Z') / 1000);
  const pack = sealPack({ ...unsigned, details }, [meas], peer.endpoint, iat, peer.online);
  session.send({ outcome: { packNo: items.length * 1000 + session.acked.length + 1, pack } });
  return pack;
}

const HOUR_MS = 3600_000;

t.test('items, rows, node-hours and GPU-hours, by columns, as table, CSV and JSON', async (t) => {
  const setting = await startTestBroker(t);
  const peer = await setting.peer();
  const session = await setting.connect(peer);
  const bob = await openPerson(t, setting, peer.endpoint);
  writeFileSync(join(bob.home, 'noop.manifest'), MANIFEST);
  const submit = () => bob.farfield('submit', 'noop.manifest', '--endpoint', 'site', '--arg', 'x=json:1');
  t.equal((await submit()).code, 0);
  t.equal((await submit()).code, 0);
  t.equal((await submit()).code, 0);
  const [first, second, third] = await session.received(3);
  if (first === undefined || second === undefined || third === undefined) return t.fail('three items came');
  const rows = { rep: { summary: { rows: 13_799 } } };
  complete(peer, session, [first], { node: 'n1', ms: { run: 1.5 * HOUR_MS } }, rows);
  await session.until(() => session.acked.length === 1);
  complete(
    peer,
    session,
    [second],
    { node: 'n1', ms: { run: HOUR_MS } },
    { err: { code: 'E_FUNCTION', message: 'no' } },
  );
  await session.until(() => session.acked.length === 2);
  complete(peer, session, [third], { node: 'n1' }, { rep: { summary: { rows: -5 } } });
  await session.until(() => session.acked.length === 3);
  const found = await bob.farfield('usage', '--by', 'endpoint,day,status', '--json');
  t.equal(found.code, 0, found.stderr);
  const day = '2026-03-02';
  t.match(JSON.parse(found.stdout), {
    total: { items: 3, rows: 13_799, nodeHours: 2.5, gpuHours: 0, untimed: 1 },
    rows: [
      { endpoint: 'site', day, status: 'succeeded', items: 2, rows: 13_799, nodeHours: 1.5, gpuHours: 0, untimed: 1 },
      { endpoint: 'site', day, status: 'failed', items: 1, rows: 0, nodeHours: 1, gpuHours: 0, untimed: 0 },
    ],
    left: 0,
  });
  const csv = await bob.farfield('usage', '--by', 'status', '--csv');
  t.equal(
    csv.stdout,
    'status,items,rows,node_hours,gpu_hours,untimed\r\nsucceeded,2,13799,1.5,0,1\r\nfailed,1,0,1,0,0\r\n',
  );
  const table = await bob.farfield('usage');
  t.match(table.stdout, /^endpoint +function +model +items +rows/);
  t.match(table.stdout, /total .* 3 +13799 +2\.5000 +0\.0000 +1\nuntimed: /);
  t.equal((await bob.farfield('usage', '--by', 'weather')).code, 2);
  setting.clock.advance(20 * 60_000);
  t.match((await bob.farfield('usage', '--since', '10m')).stdout, /no call of this time/);
});

t.test('another user has nothing of it, and a page of the list is not the end of it', async (t) => {
  const setting = await startTestBroker(t);
  const [peer, alice, bob] = [await setting.peer(), await setting.user(), await setting.user()];
  const session = await setting.connect(peer);
  const tickets = Array.from({ length: 201 }, () => alice.ticket([json(1)], { endpoint: peer.endpoint }));
  await alice.submit(...tickets);
  session.complete(await session.received(201));
  await session.until(() => session.acked.length === 1);
  const page = (path: string) =>
    alice.http.json<{ tickets: { id: string; ticket?: string }[] }>({ method: 'GET', path });
  const first = await page('/v1/invocations?tickets=yes');
  t.equal(first.tickets.length, 200);
  const second = await page(`/v1/invocations?tickets=yes&before=${first.tickets.at(-1)?.id}`);
  const texts = new Map([...first.tickets, ...second.tickets].map(({ id, ticket }) => [id, ticket]));
  t.ok(
    tickets.every(({ id, text }) => texts.get(id) === text),
    'each with the very ticket that was signed',
  );
  t.equal((await page('/v1/invocations')).tickets[0]?.ticket, undefined, 'and without where nobody asks');
  t.same(await bob.http.json({ method: 'GET', path: '/v1/invocations?tickets=yes' }), { tickets: [] });
});

t.test('what was asked for counts only where the receipt names that very ticket', async (t) => {
  const setting = await startTestBroker(t);
  const [peer, user] = [await setting.peer(), await setting.user()];
  const session = await setting.connect(peer);
  const [batch, other] = [
    user.ticket(many(3), { endpoint: peer.endpoint }),
    user.ticket([json(1)], { endpoint: peer.endpoint }),
  ];
  await user.submit(batch, other);
  const items = await session.received(4);
  const pack = complete(peer, session, items, { node: 'n', ms: { run: HOUR_MS } });
  const expect = { endpoint: peer.endpoint, onlineKey: peer.online.jwk, principal: user.principal.kid };
  const opened = openPack(pack, expect);
  const used = (ticket: string | undefined) =>
    sumUsed(usedOf({ id: batch.id, ...(ticket === undefined ? {} : { ticket }) }, opened), ['function']);
  t.match(used(batch.text), { total: { items: 3, nodeHours: 3, untimed: 0 }, rows: [{ of: ['test/noop'] }] });
  const swapped = used(other.text);
  t.match(
    swapped,
    { total: { items: 3, nodeHours: 0, untimed: 3 }, rows: [{ of: [''] }] },
    'another one is not believed',
  );
  t.same(used(undefined), swapped);
  const item = { endpoint: 'e', function: 'f', model: 'm', day: 'd', status: 'succeeded', rows: 2, runS: 1800 };
  const whole = sumUsed([{ ...item, nodes: 2, gpus: 8 }], ['model']).total;
  t.same(whole, { items: 1, rows: 2, nodeHours: 1, gpuHours: 4, untimed: 0 }, 'of all its nodes and their GPUs');
});
