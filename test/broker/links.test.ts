/** Sessions of endpoints: who gets one, which of two lives, what a bent message costs. */
import t from 'tap';
import { systemRandom } from '#base/random.ts';
import { openChain } from '#kernel/chain.ts';
import { uuidv7 } from '#kernel/ids.ts';
import type { Pack } from '#kernel/receipts.ts';
import { generateKey, signerFrom, signToken } from '#kernel/sign.ts';
import type { TicketStatus } from '#protos/http.ts';
import { createAgentPeer, type PeerItem } from '../fakes/agent-peer.ts';
import { openReader } from './reader.ts';
import { json, many, startTestBroker, type TestBroker, type TestUser } from './setting.ts';

const countsOf = async (user: TestUser, id: string): Promise<TicketStatus['counts']> =>
  (await user.http.json<TicketStatus>({ method: 'GET', path: `/v1/invocations/${id}` })).counts;

t.test('a hello that is bent, unknown or rolled back is refused with its reason, and no session begins', async (t) => {
  const setting = await startTestBroker(t);
  const [peer, stranger] = [await setting.peer({ descriptor: { seq: 3 } }), signerFrom(generateKey())];
  const dial = (bend: Parameters<typeof peer.dial>[1]): Promise<unknown> => setting.connect(peer, bend);
  const other = await setting.peer();
  await t.rejects(dial({ bend: (hello) => ({ ...hello, descriptor: other.descriptor }) }), { code: 'E_AUDIENCE' });
  await t.rejects(dial({ bend: (hello) => ({ ...hello, status: other.statusToken() }) }), {
    code: 'E_TOKEN_SIGNATURE',
  });
  await t.rejects(dial({ bend: (hello) => ({ ...hello, protocolMax: 9 }) }), { code: 'E_UNAUTHENTICATED' });
  await t.rejects(dial({ bend: (hello) => ({ ...hello, protocolMin: 7, protocolMax: 9 }) }), { code: 'E_VERSION' });
  const facts = { clock: setting.clock, random: systemRandom, brokerId: setting.broker.brokerId };
  const unknown = createAgentPeer({ ...facts, root: stranger });
  await t.rejects(setting.connect(unknown), { code: 'E_ENDPOINT_UNKNOWN', message: /join/ });
  const rolledBack = createAgentPeer({ ...facts, root: peer.root, online: peer.online, descriptor: { seq: 2 } });
  await t.rejects(setting.connect(rolledBack), { code: 'E_CONFLICT' });
  t.match((await setting.broker.status()).endpoints, [{ online: false }, { online: false }]);
  const wrongBroker = createAgentPeer({ ...facts, brokerId: 'B'.repeat(43), root: peer.root, online: peer.online });
  await t.rejects(
    setting.connect(wrongBroker),
    { code: 'E_AUDIENCE' },
    'an agent signs nothing for a broker that it did not mean',
  );
  const renewed = createAgentPeer({ ...facts, root: peer.root, descriptor: { seq: 4 } });
  const agent = await setting.connect(renewed);
  t.equal(agent.session.epoch, 1);
  t.match(await setting.broker.status(), { endpoints: [{ online: true }, { online: false }] });
});

t.test(
  'of two agents with one key the newer session lives; the older one is told, and nothing it says counts',
  async (t) => {
    const setting = await startTestBroker(t);
    const [user, peer] = [await setting.user(), await setting.peer()];
    const first = await setting.connect(peer);
    const ticket = user.ticket([json(1)], { endpoint: peer.endpoint });
    await user.submit(ticket);
    const items = await first.received(1);
    const second = await setting.connect(peer, { transport: 'ws' });
    t.match(await first.ended, { kind: 'bye', by: 'peer', code: 'E_FENCED', message: /copied/ });
    t.equal(second.session.epoch, first.session.epoch + 1);
    const again = await second.received(1);
    t.not(again[0]?.ticket.deliveryEpoch, items[0]?.ticket.deliveryEpoch);
    // An answer to the older delivery, by the agent that lives: ignored.
    second.admit(items);
    second.admit(again);
    await setting.until(async () => (await countsOf(user, ticket.id)).admitted === 1);
  },
);

t.test('a copied state folder that wakes beside the live agent is refused', async (t) => {
  const setting = await startTestBroker(t);
  const peer = await setting.peer();
  const first = await setting.connect(peer);
  first.session.close('E_UNAVAILABLE', 'once');
  await setting.until(async () => (await setting.broker.status()).endpoints.every(({ online }) => !online));
  const live = await setting.connect(peer, { sessionEpoch: 1 });
  await setting.until(async () => (await setting.broker.status()).endpoints.some(({ online }) => online));
  live.send({ credit: { items: 1, bytes: 1 } });
  await setting.until(async () => {
    try {
      await setting.connect(peer, { sessionEpoch: 1 });
      return false;
    } catch (error) {
      t.match(error, { code: 'E_FENCED', message: /copy/ });
      return true;
    }
  });
});

t.test(
  'a lost ledger ends what was admitted as lost, and its reader is told; the rest is delivered again',
  async (t) => {
    const setting = await startTestBroker(t);
    const [user, peer] = [await setting.user(), await setting.peer()];
    const first = await setting.connect(peer);
    await using reader = await openReader(user.http);
    const ticket = user.ticket(many(3), { endpoint: peer.endpoint });
    await user.submit(ticket);
    const items = await first.received(3);
    first.admit(items.slice(0, 2));
    await setting.until(async () => (await countsOf(user, ticket.id)).admitted === 2);
    first.cut();
    const wiped = peer.statusToken({ ledgerEpoch: { n: 2, since: 1 } });
    const second = await setting.connect(peer, { bend: (hello) => ({ ...hello, status: wiped }) });
    const events = await reader.until((all) => all.some(({ type }) => type === 'lost'));
    t.match(events.at(-1), { data: { id: ticket.id, runs: [[0, 2]], state: 'lost' } });
    t.same(
      (await second.received(1)).map(({ i }) => i),
      [2],
    );
    await t.rejects(setting.connect(peer), { code: 'E_CONFLICT' }, 'a ledger from before is a restored folder');
  },
);

t.test('a pack that is not signed by this endpoint, or bent, ends the session and settles nothing', async (t) => {
  const setting = await startTestBroker(t);
  const [user, peer, other] = [await setting.user(), await setting.peer(), await setting.peer()];
  const ticket = user.ticket(many(2), { endpoint: peer.endpoint });
  await setting.connect(peer);
  const [thief] = [await setting.connect(other)];
  await user.submit(ticket);
  const each = (pack: Pack, change: (ticket: Pack['tickets'][number]) => Partial<Pack['tickets'][number]>): Pack => ({
    ...pack,
    tickets: pack.tickets.map((ticket) => ({ ...ticket, ...change(ticket) })),
  });
  const bends: ((pack: Pack) => Pack)[] = [
    (pack) => ({ ...pack, receipts: thief.pack(peerItems).receipts }),
    (pack) => each(pack, ({ items }) => ({ statuses: new Uint8Array(items.length).fill(9) })),
    (pack) => each(pack, ({ items }) => ({ statuses: new Uint8Array(items.length - 1).fill(1) })),
    (pack) => each(pack, ({ items }) => ({ items: items.map(() => 0) })),
    (pack) => ({ ...pack, tickets: [...pack.tickets, ...pack.tickets] }),
    (pack) => ({ ...pack, principal: other.endpoint }),
  ];
  let peerItems: readonly PeerItem[] = [];
  for (const bend of bends) {
    const agent = await setting.connect(peer);
    const items = await agent.received(2);
    peerItems = items;
    agent.send({ outcome: { packNo: 1, pack: bend(agent.pack(items)) } });
    const end = await agent.ended;
    t.equal(end.kind, 'bye');
    t.same(agent.acked, []);
  }
  // Another endpoint's own good signature over a ticket that is not its own: stored nowhere, alarmed.
  const agent = await setting.connect(peer);
  thief.complete(await agent.received(2));
  await thief.until(() => thief.acked.length === 1);
  t.same(await countsOf(user, ticket.id), { delivered: 2 });
  t.match(await setting.broker.store.read('alarms', { limit: 1 }), [{ kind: 'receipt-unknown' }]);
});

t.test(
  'an outcome that comes again is acknowledged again and told once; a differing one is refused and alarmed',
  async (t) => {
    const setting = await startTestBroker(t);
    const [user, peer] = [await setting.user(), await setting.peer()];
    const agent = await setting.connect(peer);
    await using reader = await openReader(user.http);
    const ticket = user.ticket([json(1)], { endpoint: peer.endpoint });
    await user.submit(ticket);
    const items = await agent.received(1);
    const pack = agent.pack(items);
    agent.send({ outcome: { packNo: 7, pack } });
    agent.send({ outcome: { packNo: 7, pack } });
    agent.complete(items, 'failed', 8);
    await agent.until(() => agent.acked.length === 3);
    t.same(agent.acked, [7, 7, 8]);
    t.same(await countsOf(user, ticket.id), { succeeded: 1 });
    await user.submit(user.ticket([json(2)], { endpoint: peer.endpoint }));
    const events = await reader.until((all) => all.filter(({ type }) => type === 'queued').length === 2);
    t.equal(events.filter(({ type }) => type === 'terminal').length, 1);
    t.match(await setting.broker.store.read('alarms', { limit: 1 }), [{ kind: 'receipt-second' }]);
  },
);

t.test('a stateless refusal reaches the reader signed, and status says why', async (t) => {
  const setting = await startTestBroker(t);
  const [user, peer] = [await setting.user(), await setting.peer()];
  const agent = await setting.connect(peer);
  await using reader = await openReader(user.http);
  const ticket = user.ticket([json(1)], { endpoint: peer.endpoint });
  await user.submit(ticket);
  agent.refuse(await agent.received(1), 'E_UNTRUSTED');
  const events = await reader.until((all) => all.some(({ type }) => type === 'refusal'));
  t.match(events.at(-1), { data: { id: ticket.id, items: [0] } });
  t.match(await user.http.json({ method: 'GET', path: `/v1/invocations/${ticket.id}` }), {
    counts: { refused: 1 },
    reason: /E_UNTRUSTED/,
  });
});

async function cancelOf(
  setting: TestBroker,
  user: TestUser,
  ticket: { id: string; jti: string; endpoint: string },
  items: 'all' | number[] = 'all',
): Promise<{ items: number }> {
  const iat = Math.floor(setting.clock.now() / 1000);
  const cancel = signToken(
    'farfield-cancel+jwt',
    {
      v: 1,
      iss: user.session.kid,
      dlg: openChain(user.chain).delegation.hash,
      aud: ticket.endpoint,
      jti: uuidv7(setting.clock.now(), systemRandom.bytes(10)),
      iat,
      exp: iat + 3600,
      target: { principal: user.principal.kid, jti: ticket.jti, items },
    },
    user.session,
  );
  const body = Buffer.from(JSON.stringify({ cancel, chain: user.chain }));
  return user.http.json({
    method: 'POST',
    path: `/v1/invocations/${ticket.id}/cancel`,
    body,
    contentType: 'application/json',
  });
}

t.test(
  'a cancel travels to the endpoint, again in each session, until it is acknowledged; what never left ends here',
  async (t) => {
    const setting = await startTestBroker(t);
    const [user, peer] = [await setting.user(), await setting.peer()];
    const first = await setting.connect(peer, { credit: { items: 1, bytes: 1e9 } });
    await using reader = await openReader(user.http);
    const ticket = user.ticket(many(3), { endpoint: peer.endpoint });
    await user.submit(ticket);
    const items = await first.received(1);
    first.admit(items);
    await setting.until(async () => (await countsOf(user, ticket.id)).admitted === 1);
    t.match(await cancelOf(setting, user, ticket), { items: 3 });
    await first.until(() => first.cancels.length === 1);
    t.same(await countsOf(user, ticket.id), { admitted: 1, cancelled: 2 });
    t.match((await reader.until((all) => all.some(({ type }) => type === 'lost'))).at(-1), {
      data: { runs: [[1, 3]], state: 'cancelled' },
    });
    first.send({ credit: { items: 100, bytes: 1e9 } });
    first.cut();
    const second = await setting.connect(peer);
    await second.until(() => second.cancels.length === 1);
    t.equal(second.cancels[0]?.token, first.cancels[0]?.token);
    second.send({ cancelAck: { cancelNos: [second.cancels[0]?.cancelNo ?? 0] } });
    second.complete(items, 'cancelled');
    await second.until(() => second.acked.length === 1);
    t.same(await countsOf(user, ticket.id), { cancelled: 3 });
    second.cut();
    const third = await setting.connect(peer);
    const next = user.ticket([json(1)], { endpoint: peer.endpoint });
    await user.submit(next);
    t.same(
      (await third.received(1)).map((item) => item.ticket.id),
      [next.id],
    );
    t.same(third.cancels, []);
  },
);

t.test('a cancel for another endpoint, another call, or by a bent hand is refused', async (t) => {
  const setting = await startTestBroker(t);
  const [user, peer] = [await setting.user(), await setting.peer()];
  await setting.connect(peer, { credit: { items: 0, bytes: 0 } });
  const ticket = user.ticket([json(1)], { endpoint: peer.endpoint });
  await user.submit(ticket);
  await t.rejects(cancelOf(setting, user, { ...ticket, endpoint: 'F'.repeat(43) }), { code: 'E_AUDIENCE' });
  await t.rejects(cancelOf(setting, user, { ...ticket, jti: uuidv7(1e12, systemRandom.bytes(10)) }), {
    code: 'E_BAD_REQUEST',
  });
  await t.rejects(cancelOf(setting, user, ticket, [5]), { code: 'E_BAD_REQUEST' });
  t.same(await countsOf(user, ticket.id), { queued: 1 });
});
