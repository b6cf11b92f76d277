/** One call and many, left to right, over both transports, with an agent double that has real keys. */
import t from 'tap';
import { openPack, type PackJson, packFromJson } from '#kernel/receipts.ts';
import type { TicketStatus } from '#protos/http.ts';
import { openReader } from './reader.ts';
import { json, many, startTestBroker } from './setting.ts';

const kinds = (events: readonly { type: string }[]): string[] => events.map(({ type }) => type);

for (const transport of ['grpc', 'ws'] as const) {
  t.test(`a call goes to its endpoint and its signed outcome comes back, over ${transport}`, async (t) => {
    const setting = await startTestBroker(t);
    const [user, peer] = [await setting.user(), await setting.peer()];
    const agent = await setting.connect(peer, { transport });
    await using reader = await openReader(user.http);
    const ticket = user.ticket([json({ hello: 'world' })], { endpoint: peer.endpoint });
    const [reply] = await user.submit(ticket);
    t.match(reply, { outcome: 'queued', id: ticket.id, n: 1, endpointOnline: true });
    const items = await agent.received(1);
    t.equal(Buffer.from(items[0]?.ticket.inline ?? []).toString(), '{"hello":"world"}');
    t.equal(items[0]?.ticket.ticket, ticket.text);
    agent.admit(items);
    agent.complete(items);
    const events = await reader.until((all) => all.some(({ type }) => type === 'terminal'));
    t.same(kinds(events), ['queued', 'admitted', 'terminal']);
    const pack = packFromJson(events[2]?.data as PackJson);
    const [outcome] = openPack(pack, {
      endpoint: peer.endpoint,
      onlineKey: peer.online.jwk,
      principal: user.principal.kid,
    });
    t.match(outcome, { ticketId: ticket.id, ticketHash: ticket.hash, status: 'succeeded' });
    await agent.until(() => agent.acked.length === 1);
    const status = await user.http.json<TicketStatus>({ method: 'GET', path: `/v1/invocations/${ticket.id}` });
    t.match(status, { counts: { succeeded: 1 }, items: [{ i: 0, state: 'succeeded' }] });
    const { packs } = await user.http.json<{ packs: PackJson[] }>({
      method: 'GET',
      path: `/v1/invocations/${ticket.id}/packs`,
    });
    t.same(packs, [events[2]?.data]);
  });
}

t.test('a batch larger than a frame arrives whole, in parts, each item with its own bytes', async (t) => {
  const setting = await startTestBroker(t);
  const [user, peer] = [await setting.user(), await setting.peer()];
  const agent = await setting.connect(peer);
  const items = Array.from({ length: 700 }, (_, i) => json({ i, fill: 'x'.repeat(4000) }));
  const ticket = user.ticket(items, { endpoint: peer.endpoint });
  await user.submit(ticket);
  const came = await agent.received(700);
  const parts = new Map(came.map(({ ticket: part }) => [part, part]));
  t.ok(parts.size > 2);
  t.same(
    came.map(({ i }) => i).sort((a, b) => a - b),
    Array.from({ length: 700 }, (_, i) => i),
  );
  for (const part of parts.values()) {
    let at = 0;
    for (const [k, i] of part.items.entries()) {
      const bytes = Buffer.from(part.inline).subarray(at, at + (part.inlineSizes[k] ?? 0));
      at += bytes.byteLength;
      if ((JSON.parse(bytes.toString()) as { i: number }).i !== i) t.fail(`item ${i} has other bytes`);
    }
  }
});

t.test('nothing goes out beyond the credit, and what waits goes when there is room', async (t) => {
  const setting = await startTestBroker(t);
  const [user, peer] = [await setting.user(), await setting.peer()];
  const agent = await setting.connect(peer, { credit: { items: 3, bytes: 1e9 } });
  const ticket = user.ticket(many(10), { endpoint: peer.endpoint });
  await user.submit(ticket);
  t.equal((await agent.received(3)).length, 3);
  agent.send({ credit: { items: 7, bytes: 1e9 } });
  t.equal((await agent.received(7)).length, 7);
  agent.send({ credit: { items: 5, bytes: 1e9 } });
  agent.send({ credit: { items: 100, bytes: 1e9 } });
  t.equal((await agent.received(10)).length, 10);
});

t.test('a broker that restarts loses nothing: what was delivered and not admitted is delivered again', async (t) => {
  const setting = await startTestBroker(t);
  const [user, peer] = [await setting.user(), await setting.peer()];
  const first = await setting.connect(peer);
  const ticket = user.ticket(many(4), { endpoint: peer.endpoint });
  await user.submit(ticket);
  const came = await first.received(4);
  first.admit(came.slice(0, 2));
  const states = async (): Promise<TicketStatus['counts']> =>
    (await user.http.json<TicketStatus>({ method: 'GET', path: `/v1/invocations/${ticket.id}` })).counts;
  await setting.until(async () => (await states()).admitted === 2);
  await setting.restart();
  t.match(await first.ended, { kind: 'bye', code: 'E_UNAVAILABLE' }, 'the agent is told that the broker will be back');
  t.same(await states(), { admitted: 2, delivered: 2 });
  const second = await setting.connect(peer);
  const again = await second.received(2);
  t.same(
    again.map(({ i }) => i),
    [2, 3],
  );
  t.ok((again[0]?.ticket.deliveryEpoch ?? 0) > (came[0]?.ticket.deliveryEpoch ?? 0));
  second.admit(again);
  second.complete(again);
  second.complete(came.slice(0, 2));
  await setting.until(async () => (await states()).succeeded === 4);
});

t.test('an endpoint sees tickets of many principals in turn', async (t) => {
  const setting = await startTestBroker(t);
  const peer = await setting.peer();
  const users = await Promise.all([1, 2, 3].map(() => setting.user()));
  const agent = await setting.connect(peer, { credit: { items: 0, bytes: 0 } });
  // The first one floods; the others come later with a little.
  for (const [k, user] of users.entries())
    await user.submit(user.ticket(many(k === 0 ? 3000 : 10), { endpoint: peer.endpoint }));
  agent.send({ credit: { items: 500, bytes: 1e9 } });
  const came = await agent.received(500);
  const of = (k: number): number => came.filter(({ principal }) => principal === users[k]?.principal.kid).length;
  t.equal(of(1), 10);
  t.equal(of(2), 10);
  t.equal(of(0), 480);
});
