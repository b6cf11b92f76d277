/**
 * Tickets that are not what was signed, or not for here, or not for now: what is said of them at the broker and at the endpoint,
 * and that they leave nothing behind, while the honest ticket beside them goes its way.
 */
import t from 'tap';
import { concat } from '#kernel/bytes.ts';
import { parseToken } from '#kernel/jws.ts';
import type { TicketStatus } from '#protos/http.ts';
import type { SignedTicket } from '../../client/ts/submission.ts';
import {
  type Delivery,
  NOW,
  newHarness,
  noopBatch,
  receipts,
  settle,
  single,
  testParty,
  testPilot,
} from '../agent/parts.ts';
import { json, many, startTestBroker } from '../broker/setting.ts';

const HOUR_S = 3600;

/** The claims changed, the signature kept. */
function rewritten(text: string, change: Record<string, unknown>): string {
  const [header = '', payload = '', signature = ''] = text.split('.');
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as object;
  const bytes = Buffer.from(JSON.stringify({ ...claims, ...change }));
  return [header, bytes.toString('base64url'), signature].join('.');
}

t.test('at the broker each is refused alone, with what is wrong, and is nowhere afterwards', async (t) => {
  const setting = await startTestBroker(t);
  const [user, peer, other] = [await setting.user(), await setting.peer(), await setting.peer()];
  const agent = await setting.connect(peer);
  const { endpoint } = peer;
  const nowS = Math.floor(setting.clock.now() / 1000);
  const one = user.ticket([json(1)], { endpoint });
  const three = user.ticket(many(3), { endpoint });
  const pick = (...k: number[]): Partial<SignedTicket> => ({
    items: k.map((i) => three.items[i] as Uint8Array),
    inline: k.map((i) => three.inline[i] as Uint8Array),
  });
  const cases: [string, SignedTicket, string, RegExp][] = [
    [
      'expired',
      user.ticket([json(1)], { endpoint, iat: nowS - 100, lifeS: 10 }),
      'E_EXPIRED',
      /its exp is past.*sign a new one/,
    ],
    [
      'of tomorrow',
      user.ticket([json(1)], { endpoint, iat: nowS + HOUR_S }),
      'E_NOT_YET',
      /begins in the future; check both clocks/,
    ],
    [
      'altered',
      { ...one, text: rewritten(one.text, { exp: nowS + 9 * HOUR_S }) },
      'E_TOKEN_SIGNATURE',
      /signature of this farfield-ticket\+jwt does not verify/,
    ],
    [
      'sent elsewhere',
      { ...one, text: rewritten(one.text, { aud: other.endpoint }) },
      'E_TOKEN_SIGNATURE',
      /does not verify/,
    ],
    [
      'with other arguments',
      { ...one, inline: [Buffer.from('2')] },
      'E_DIGEST',
      /bytes of inline argument x are not those of sha256:/,
    ],
    ['with items swapped', { ...three, ...pick(1, 0, 2) }, 'E_ITEMS', /altered, missing or in another place/],
    [
      'with an item missing',
      { ...three, ...pick(0, 1) },
      'E_ITEMS',
      /signs 3 items and 2 came; send all of them, in order/,
    ],
    ['with an item twice', { ...three, ...pick(0, 1, 2, 2) }, 'E_ITEMS', /signs 3 items and 4 came/],
  ];
  const good: SignedTicket[] = [];
  for (const [what, bent, code, message] of cases) {
    const fine = user.ticket([json(what)], { endpoint });
    good.push(fine);
    t.match(await user.submit(bent, fine), [{ outcome: 'refused', code, message }, { outcome: 'queued' }], what);
  }
  const list = await user.http.json<{ tickets: TicketStatus[] }>({ method: 'GET', path: '/v1/invocations' });
  const ids = (tickets: readonly { id: string }[]): string[] => tickets.map(({ id }) => id).sort();
  t.same(ids(list.tickets), ids(good), 'the good ones are there, and nothing else');
  agent.send({ credit: { items: 100, bytes: 2 ** 20 } });
  await agent.received(good.length);
  t.same(ids(agent.items.map(({ ticket }) => ticket)), ids(good), 'and nothing else reaches the endpoint');
  t.match(
    await user.submit(one, three),
    [{ outcome: 'queued' }, { outcome: 'queued' }],
    'the honest ones are taken as they are',
  );
});

t.test('at the endpoint, whoever brings it, each is refused with a signed answer and starts nothing', async (t) => {
  const h = await newHarness();
  const pilot = testPilot(1, 8);
  h.engine.attach(pilot, []);
  const one = single(h.party, 'x');
  const three = noopBatch(h.party, 3).part([0, 1, 2]);
  const elsewhere = single({ ...h.party, root: testParty().root }, 'x');
  const bent = (delivery: Delivery, change: Partial<Delivery['ticket']>): Delivery => ({
    ...delivery,
    ticket: { ...delivery.ticket, ...change },
  });
  const { ticket: whole } = three;
  const itemsOf = (k: readonly number[]): Uint8Array => {
    const size = whole.itemSizes[0] as number;
    return concat(k.map((i) => whole.itemBytes.subarray(i * size, (i + 1) * size)));
  };
  const cases: [string, Delivery, string, RegExp][] = [
    [
      'altered',
      bent(one, { ticket: rewritten(one.ticket.ticket, { exp: NOW + 9 * HOUR_S }) }),
      'E_TOKEN_SIGNATURE',
      /does not verify/,
    ],
    ['for another endpoint', elsewhere, 'E_AUDIENCE', /this ticket is for endpoint/],
    [
      'sent here by its carrier',
      bent(elsewhere, { ticket: rewritten(elsewhere.ticket.ticket, { aud: h.party.root.kid }) }),
      'E_TOKEN_SIGNATURE',
      /does not verify/,
    ],
    ['with items swapped', bent(three, { itemBytes: itemsOf([1, 0, 2]) }), 'E_ITEMS', /bytes of item 0 are not those/],
    [
      'with an item missing from its list',
      bent(three, { leaves: whole.leaves.subarray(0, 64) }),
      'E_ITEMS',
      /list of item hashes is not the one/,
    ],
    ['with an item that is not its own', bent(three, { items: [0, 1, 3] }), 'E_ITEMS', /bytes of item 3 are not those/],
  ];
  const before = h.ledger.stats().commands;
  for (const [what, delivery, code, message] of cases) {
    const answer = await h.desk.deliver(delivery);
    const { claims } = parseToken('farfield-receipt+jwt', answer.kind === 'refused' ? answer.receipt : '');
    t.match(claims, { st: 'refused', err: { code, message } }, what);
  }
  t.equal(h.ledger.stats().commands, before, 'the ledger has no row of them');
  // Of a valid chain, so its end is kept: it is final, whatever the clock says later.
  const over = single(h.party, 'late', { iat: NOW - 3000, exp: NOW - 2000 });
  t.same(await h.desk.deliver(over), { kind: 'admitted' });
  t.match(receipts(h), [
    { status: 'expired', detail: { err: { code: 'E_EXPIRED', message: /might start until \d+ .*submit it again/ } } },
  ]);
  t.equal(pilot.launched.length, 0, 'nothing started');
  t.same(await h.desk.deliver(one), { kind: 'admitted' });
  t.same(await h.desk.deliver(three), { kind: 'admitted' });
  await settle();
  t.equal(pilot.launched.length, 4, 'the honest ones start');
});
