/** What is refused at the door, with its message, and what is stored afterwards. */
import t from 'tap';
import { concat } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { itemsRoot, leafHash } from '#kernel/items.ts';
import { generateKey, signerFrom, signToken } from '#kernel/sign.ts';
import type { TicketStatus } from '#protos/http.ts';
import { encodeSubmission, type SignedTicket } from '../../client/ts/submission.ts';
import { delegate, httpOf, json, MANIFEST, many, ROOM, startTestBroker, submitBytes } from './setting.ts';

const HOUR_MS = 3600_000;

/** The ticket's bytes changed after signing. */
const bend = (ticket: SignedTicket, change: Partial<SignedTicket>): SignedTicket => ({ ...ticket, ...change });

t.test('each bent ticket is refused by name and alone: its good neighbour is queued', async (t) => {
  const setting = await startTestBroker(t);
  const [user, other, peer] = [await setting.user(), await setting.user(), await setting.peer()];
  await setting.connect(peer);
  const endpoint = peer.endpoint;
  const batch = user.ticket(many(3), { endpoint });
  const single = user.ticket([json(1)], { endpoint });
  const swapped = [batch.items[1], batch.items[0], batch.items[2]] as Uint8Array[];
  const foreign = other.ticket([json(1)], { endpoint });
  const cases: [string, SignedTicket, string][] = [
    [
      'items swapped',
      bend(batch, { items: swapped, inline: [batch.inline[1], batch.inline[0], batch.inline[2]] as Uint8Array[] }),
      'E_ITEMS',
    ],
    ['an item missing', bend(batch, { items: batch.items.slice(0, 2), inline: batch.inline.slice(0, 2) }), 'E_ITEMS'],
    [
      'an item too many',
      bend(batch, {
        items: [...batch.items, batch.items[0] as Uint8Array],
        inline: [...batch.inline, batch.inline[0] as Uint8Array],
      }),
      'E_ITEMS',
    ],
    ['other bytes of an argument', bend(single, { inline: [Buffer.from('2')] }), 'E_DIGEST'],
    ['no bytes of an argument', bend(single, { inline: [] }), 'E_DIGEST'],
    ['bytes that nobody named', bend(single, { inline: [...single.inline, Buffer.from('1')] }), 'E_DIGEST'],
    ['a token that is none', bend(single, { text: 'abc' }), 'E_TOKEN_FORM'],
    [
      'a signature of another ticket',
      bend(single, { text: `${single.text.split('.').slice(0, 2).join('.')}.${batch.text.split('.')[2]}` }),
      'E_TOKEN_SIGNATURE',
    ],
    [
      'another manifest',
      user.ticket([json(1)], { endpoint, manifestDigest: `sha256:${'0'.repeat(64)}` }),
      'E_MANIFEST',
    ],
    ['another delegation', user.ticket([json(1)], { endpoint, delegation: `sha256:${'0'.repeat(64)}` }), 'E_CHAIN'],
    ["another's chain", foreign, 'E_TOKEN_SIGNATURE'],
    ['a life over the limit', user.ticket([json(1)], { endpoint, lifeS: 15 * 86_400 }), 'E_LIFE'],
    [
      'a ticket that is over',
      user.ticket([json(1)], { endpoint, iat: Math.floor(setting.clock.now() / 1000) - 50, lifeS: 10 }),
      'E_EXPIRED',
    ],
    [
      'a ticket of tomorrow',
      user.ticket([json(1)], { endpoint, iat: Math.floor(setting.clock.now() / 1000) + 3000 }),
      'E_NOT_YET',
    ],
    ['an unknown endpoint', user.ticket([json(1)]), 'E_ENDPOINT_UNKNOWN'],
    [
      'a blob that is not there',
      user.ticket([{ args: [{ name: 'x', type: 'json', blob: { digest: `sha256:${'1'.repeat(64)}`, size: 4 } }] }], {
        endpoint,
      }),
      'E_NOT_FOUND',
    ],
    [
      'inline arguments over the limit of an item',
      user.ticket(
        [
          {
            args: Array.from({ length: 9 }, (_, k) => ({
              name: `x${k}`,
              type: 'json' as const,
              bytes: Buffer.alloc(60_000, 49),
            })),
          },
        ],
        { endpoint },
      ),
      'E_TOO_LARGE',
    ],
  ];
  for (const [name, ticket, code] of cases) {
    const good = user.ticket([json(name)], { endpoint });
    const replies = await user.submit(good, ticket);
    t.match(
      replies,
      [
        { outcome: 'queued', id: good.id },
        { outcome: 'refused', code },
      ],
      name,
    );
    const refusal = replies[1];
    if (refusal?.outcome === 'refused' && refusal.message.length < 20)
      t.fail(`the message for ${name} says nothing: ${refusal.message}`);
  }
  t.same(await setting.broker.store.read('ticket', { id: single.id }), undefined);
});

t.test('a batch whose list holds another number than it signs is refused, whichever way it is bent', async (t) => {
  const setting = await startTestBroker(t);
  const [user, peer] = [await setting.user(), await setting.peer()];
  await setting.connect(peer);
  const batch = user.ticket(many(2), { endpoint: peer.endpoint });
  const claims = JSON.parse(Buffer.from(batch.text.split('.')[1] ?? '', 'base64url').toString()) as never;
  const leaves = concat(batch.items.map((bytes, i) => leafHash(i, bytes)));
  const itm = { kind: 'list1', n: 3, sha256: itemsRoot(leaves) };
  const text = signToken('farfield-batch+jwt', { ...(claims as object), itm } as never, user.session);
  t.match(await user.submit(bend(batch, { text })), [{ outcome: 'refused', code: 'E_ITEMS' }]);
});

t.test('the same ticket again is known with its state; another one with its jti is refused and alarmed', async (t) => {
  const setting = await startTestBroker(t);
  const [user, peer] = [await setting.user(), await setting.peer()];
  const agent = await setting.connect(peer, { auto: true });
  const ticket = user.ticket([json(1)], { endpoint: peer.endpoint });
  await user.submit(ticket);
  await agent.until(() => agent.acked.length === 1);
  // Whatever changed since: the delegation is over now, and the endpoint gone.
  agent.session.close('E_UNAVAILABLE', 'bye');
  setting.clock.advance(2 * HOUR_MS);
  t.match(await user.submit(ticket), [{ outcome: 'known', id: ticket.id, n: 1 }]);
  const again = user.ticket([json(2)], { endpoint: peer.endpoint, jti: ticket.jti });
  t.match(await user.submit(again), [{ outcome: 'refused', code: 'E_REPLAY' }]);
  t.match(await setting.broker.store.read('alarms', { limit: 5 }), [{ kind: 'jti-reused' }]);
  t.equal(agent.items.length, 1, 'nothing was delivered twice');
});

t.test('an endpoint that is offline refuses clearly, and queues for three days with --queue-for', async (t) => {
  const setting = await startTestBroker(t);
  const peer = await setting.peer();
  const now = Math.floor(setting.clock.now() / 1000);
  const plain = await setting.user();
  const patient = await setting.user({ adm: now + 4 * 86_400, scope: { endpoints: [peer.endpoint] } });
  const [refused] = await plain.submit(plain.ticket([json(1)], { endpoint: peer.endpoint }));
  t.match(refused, { outcome: 'refused', code: 'E_ENDPOINT_OFFLINE', message: /--queue-for/ });
  const ticket = patient.ticket([json(1)], { endpoint: peer.endpoint, lifeS: 5 * 86_400 });
  const [queued] = await patient.submit(ticket);
  t.match(queued, { outcome: 'queued', endpointOnline: false, note: /offline since .* queued/ });
  const status = (): Promise<TicketStatus> =>
    httpOf(setting, patient.principal, []).json({ method: 'GET', path: `/v1/invocations/${ticket.id}` });
  t.match(await status(), { reason: /offline since/, counts: { queued: 1 } });
  setting.clock.advance(72 * HOUR_MS);
  await setting.broker.sweep();
  const agent = await setting.connect(peer, { auto: true });
  await agent.until(() => agent.acked.length === 1);
  t.match(await status(), { counts: { succeeded: 1 } });
});

t.test(
  'a connection that was lost is expected back: work is queued meanwhile; after a goodbye it is not',
  async (t) => {
    const setting = await startTestBroker(t);
    const [user, peer] = [await setting.user(), await setting.peer()];
    const entryOffline = async (): Promise<boolean> =>
      (await setting.broker.status()).endpoints.every(({ online }) => !online);
    const first = await setting.connect(peer);
    first.cut();
    await setting.until(entryOffline);
    const [queued] = await user.submit(user.ticket([json(1)], { endpoint: peer.endpoint }));
    t.match(queued, { outcome: 'queued', endpointOnline: false, note: /reconnecting/ });
    setting.clock.advance(31_000);
    t.match(await user.submit(user.ticket([json(1)], { endpoint: peer.endpoint })), [{ code: 'E_ENDPOINT_OFFLINE' }]);
    const second = await setting.connect(peer);
    await second.received(1);
    second.session.close('E_UNAVAILABLE', 'the agent stops');
    await setting.until(entryOffline);
    t.match(await user.submit(user.ticket([json(1)], { endpoint: peer.endpoint })), [{ code: 'E_ENDPOINT_OFFLINE' }]);
  },
);

t.test('what is never taken expires by the word of the broker, and its reader is told', async (t) => {
  const setting = await startTestBroker(t);
  const peer = await setting.peer();
  const now = Math.floor(setting.clock.now() / 1000);
  const user = await setting.user({ adm: now + 4 * 86_400, scope: { endpoints: [peer.endpoint] } });
  const ticket = user.ticket(many(3), { endpoint: peer.endpoint, lifeS: 600 });
  await user.submit(ticket);
  setting.clock.advance(601_000);
  await setting.broker.sweep();
  const status = await user.http.json<TicketStatus>({ method: 'GET', path: `/v1/invocations/${ticket.id}` });
  t.same(status.counts, { expired: 3 });
  const agent = await setting.connect(peer);
  const next = user.ticket([json(2)], { endpoint: peer.endpoint });
  await user.submit(next);
  t.same(
    (await agent.received(1)).map((item) => item.ticket.id),
    [next.id],
    'the expired one was not delivered',
  );
});

t.test('someone without an invitation is refused, and so is whoever signs with the wrong key', async (t) => {
  const setting = await startTestBroker(t);
  const [user, peer] = [await setting.user(), await setting.peer()];
  await setting.connect(peer);
  const [principal, session] = [signerFrom(generateKey()), signerFrom(generateKey())];
  const chain = [delegate(setting.clock, principal, session)];
  const ticket = user.ticket([json(1)], { endpoint: peer.endpoint });
  const http = httpOf(setting, session, chain);
  t.teardown(() => http[Symbol.asyncDispose]());
  const stolen = encodeSubmission([{ signed: ticket, chain, manifest: MANIFEST }]);
  t.match(await submitBytes(http, stolen), { tickets: [{ outcome: 'refused', code: 'E_TOKEN_SIGNATURE' }] });
  await t.rejects(http.json({ method: 'GET', path: '/v1/invocations' }), { code: 'E_FORBIDDEN' });
});

t.test('a submission that is cut, padded or malformed is refused whole', async (t) => {
  const setting = await startTestBroker(t);
  const [user, peer] = [await setting.user(), await setting.peer()];
  await setting.connect(peer);
  const good = encodeSubmission([
    { signed: user.ticket([json(1)], { endpoint: peer.endpoint }), chain: user.chain, manifest: MANIFEST },
  ]);
  const bodies = [
    good.subarray(0, 3),
    good.subarray(0, 40),
    good.subarray(0, good.byteLength - 1),
    Buffer.concat([good, Buffer.from('x')]),
    Buffer.from('\xff\xff\xff\xff', 'latin1'),
  ];
  for (const body of bodies) await t.rejects(submitBytes(user.http, body), { code: 'E_BAD_REQUEST' });
  await t.rejects(submitBytes(user.http, Buffer.alloc(17 * 1024 * 1024)), { code: 'E_TOO_LARGE' });
  t.equal((await setting.broker.status()).tickets, 0);
});

t.test(
  'a full disk refuses new work by its name, keeps what it took, and takes work again when there is room',
  async (t) => {
    const setting = await startTestBroker(t, { maxPageCount: 400 });
    const [user, peer] = [await setting.user(), await setting.peer()];
    const agent = await setting.connect(peer, { credit: { items: 0, bytes: 0 } });
    const taken: SignedTicket[] = [];
    let refusal: FarfieldError | undefined;
    while (refusal === undefined) {
      const ticket = user.ticket([{ args: [{ name: 'x', type: 'json', bytes: Buffer.alloc(60_000, 49) }] }], {
        endpoint: peer.endpoint,
      });
      await user.submit(ticket).then(
        () => taken.push(ticket),
        (error: unknown) => {
          refusal = FarfieldError.from(error);
        },
      );
    }
    t.match(refusal, { code: 'E_DISK_FULL', message: /Free room/ });
    t.ok(taken.length > 3);
    const list = await user.http.json<{ tickets: TicketStatus[] }>({ method: 'GET', path: '/v1/invocations' });
    t.same(
      list.tickets.map(({ id }) => id),
      taken.map(({ id }) => id).reverse(),
      'reads go on, and nothing acknowledged is missing',
    );
    agent.send({ credit: ROOM });
    agent.admit(await agent.received(taken.length));
    await setting.until(
      async () => (await setting.broker.store.read('backlog', { endpoint: peer.endpoint })).length === 0,
    );
    t.match(await user.submit(user.ticket([json('later')], { endpoint: peer.endpoint })), [{ outcome: 'queued' }]);
  },
);
