import t from 'tap';
import { digestOf } from '#kernel/ids.ts';
import { parseToken } from '#kernel/jws.ts';
import type { ItemBody } from '#kernel/tokens/claims.ts';
import { signManifest } from '#kernel/tokens/manifest.ts';
import { openMemoryLedger } from '../../../agent/admission/ledger.ts';
import { newParty } from '../../kernel/parties.ts';
import {
  batch,
  type Delivery,
  endOf,
  NOOP,
  NOW,
  newHarness,
  noopBatch,
  policyFor,
  receipts,
  settle,
  single,
  testParty,
  testPilot,
} from '../parts.ts';

/** The stateless receipt of a refused delivery. */
function refusalOf(answer: { kind: string; receipt?: string }) {
  return parseToken('farfield-receipt+jwt', answer.receipt ?? '').claims;
}

const altered = (delivery: Delivery, changes: Partial<Delivery['ticket']>): Delivery => ({
  ...delivery,
  ticket: { ...delivery.ticket, ...changes },
});

t.test(
  'a single call is admitted, leased in the same commit when a slot is free, and answered with a verified receipt',
  async (t) => {
    const h = await newHarness();
    const pilot = testPilot(1);
    h.engine.attach(pilot, []);
    const before = h.ledger.stats().commits;
    t.same(await h.desk.deliver(single(h.party, 'hello')), { kind: 'admitted' });
    t.equal(h.ledger.stats().commits, before + 1, 'one commit for admission and lease');
    const [item] = pilot.launched;
    t.ok(item, 'it was launched');
    if (item === undefined) return;
    await h.engine.ended(1, [endOf(item)]);
    t.equal(h.ledger.stats().commits, before + 2, 'one commit for the outcome');
    const [receipt] = receipts(h);
    t.match(receipt, { status: 'succeeded', attempt: 1, i: 0 });
    t.equal(Buffer.from(receipt?.result ?? []).toString(), 'ok');
  },
);

t.test('the same ticket delivered twice runs once, and its receipt is sent again', async (t) => {
  const h = await newHarness();
  const pilot = testPilot(1);
  h.engine.attach(pilot, []);
  const delivery = single(h.party, 'once');
  await h.desk.deliver(delivery);
  t.same(await h.desk.deliver(delivery), { kind: 'admitted' });
  t.equal(pilot.launched.length, 1);
  await h.engine.ended(
    1,
    pilot.launched.map((item) => endOf(item)),
  );
  await h.ledger.submit({ kind: 'packsAcked', nos: [h.packs[0]?.no ?? 0] });
  t.same(await h.desk.deliver(delivery), { kind: 'admitted' });
  t.equal(pilot.launched.length, 1, 'not a second time');
  t.equal(h.again, 1, 'its pack goes out again');
  t.equal(receipts(h).length, 1, 'one receipt');
});

t.test('the same jti with another ticket is refused, and the first one stands', async (t) => {
  const h = await newHarness();
  const first = single(h.party, 'a');
  const { jti } = parseToken('farfield-ticket+jwt', first.ticket.ticket).claims;
  await h.desk.deliver(first);
  const second = await h.desk.deliver(single(h.party, 'b', { jti }));
  t.equal(second.kind, 'refused');
  t.equal(refusalOf(second as never).err?.code, 'E_REPLAY');
  t.match(h.log.join(), /"alarm":true/);
});

t.test('a stranger is refused without a row: the ledger commits nothing', async (t) => {
  const h = await newHarness();
  const stranger = { ...testParty(), root: h.party.root };
  const before = h.ledger.stats().commands;
  const answer = await h.desk.deliver(single(stranger, 'x'));
  t.equal(refusalOf(answer as never).err?.code, 'E_UNTRUSTED');
  t.equal(h.ledger.stats().commands, before);
});

t.test(
  'a broker that alters items, leaves, inline bytes or their sizes is refused, and the honest bytes still come in',
  async (t) => {
    const h = await newHarness();
    const pilot = testPilot(1, 8);
    h.engine.attach(pilot, []);
    const b = noopBatch(h.party, 4);
    const honest = b.part([0, 1, 2, 3]);
    const flip = (bytes: Uint8Array, at = 5): Uint8Array => bytes.map((byte, k) => (k === at ? byte ^ 1 : byte));
    const { ticket } = honest;
    const attacks: [string, Partial<Delivery['ticket']>, string][] = [
      ['an item swapped with another', { items: [1, 0, 2, 3] }, 'E_ITEMS'],
      ['an item twice', { items: [0, 0, 2, 3] }, 'E_ITEMS'],
      ['a byte of an item', { itemBytes: flip(ticket.itemBytes, 20) }, 'E_ITEMS'],
      ['a byte of the leaves', { leaves: flip(ticket.leaves) }, 'E_ITEMS'],
      ['one leaf fewer', { leaves: ticket.leaves.subarray(32) }, 'E_ITEMS'],
      ['a byte of an argument', { inline: flip(ticket.inline) }, 'E_DIGEST'],
      [
        'sizes moved between arguments',
        { inlineSizes: [(ticket.inlineSizes[0] as number) + 1, ...ticket.inlineSizes.slice(1)] },
        'E_DIGEST',
      ],
      ['arguments that nobody named', { inline: Buffer.concat([ticket.inline, Buffer.from('x')]) }, 'E_ITEMS'],
      [
        'no item at all',
        { items: [], itemSizes: [], itemBytes: new Uint8Array(), inlineSizes: [], inline: new Uint8Array() },
        'E_ITEMS',
      ],
      ['an item over the end', { items: [0, 1, 2, 4] }, 'E_ITEMS'],
    ];
    for (const [what, changes, code] of attacks) {
      const answer = await h.desk.deliver(altered(honest, changes));
      t.equal(refusalOf(answer as never).err?.code, code, what);
    }
    t.equal(pilot.launched.length, 0, 'nothing started');
    t.same(await h.desk.deliver(honest), { kind: 'admitted' });
    await settle();
    t.equal(new Set(pilot.launched.map(({ i }) => i)).size > 0, true);
  },
);

t.test('an item that is signed but not of the closed schema is refused', async (t) => {
  const h = await newHarness();
  const strange = batch(h.party, [{ args: [], extra: 1 } as unknown as ItemBody], []);
  t.equal(refusalOf((await h.desk.deliver(strange.part([0]))) as never).err?.code, 'E_ITEMS');
});

t.test('a batch may come in parts: each item is admitted once, and held to the rule in every part', async (t) => {
  const h = await newHarness();
  const good = (path: string): ItemBody => ({ args: [{ name: 'x', type: 'json', at: 'endpoint', path }] });
  const b = batch(
    h.party,
    [good('/data/alice/1.json'), good('/etc/shadow'), good('/data/alice/2.json'), good('/root/.ssh/id')],
    [],
  );
  t.same(await h.desk.deliver(b.part([0, 1])), { kind: 'admitted' });
  t.same(await h.desk.deliver(b.part([1, 2, 3])), { kind: 'admitted' });
  await h.engine.settled();
  const refused = receipts(h).map(({ i, status, detail }) => `${i} ${status} ${detail.err?.code}`);
  t.same(refused.sort(), ['1 refused E_PATH', '3 refused E_PATH']);
  t.equal(h.engine.waiting, 2);
});

t.test(
  'a ticket that is refused after a valid chain stays refused as a whole, whatever part of it comes later',
  async (t) => {
    const party = testParty();
    const ledger = openMemoryLedger();
    const h = await newHarness({ party, ledger, ledgerEpoch: { n: 2, since: NOW } });
    const b = noopBatch(party, 4);
    t.same(await h.desk.deliver(b.part([0])), { kind: 'admitted' });
    t.equal(receipts(h).length, 4, 'a receipt for every item of the ticket');
    t.ok(receipts(h).every(({ status, detail }) => status === 'refused' && detail.err?.code === 'E_LEDGER_EPOCH'));
    const pilot = testPilot(1, 8);
    h.engine.attach(pilot, []);
    t.same(await h.desk.deliver(b.part([1, 2, 3])), { kind: 'admitted' });
    const later = await newHarness({ party, ledger });
    later.engine.attach(pilot, []);
    t.same(await later.desk.deliver(b.part([0, 1, 2, 3])), { kind: 'admitted' });
    t.equal(pilot.launched.length, 0, 'nothing of it ever starts');
  },
);

t.test('a known ticket with another manifest is refused', async (t) => {
  const h = await newHarness();
  const b = noopBatch(h.party, 2);
  await h.desk.deliver(b.part([0]));
  const pilot = testPilot(1);
  h.engine.attach(pilot, []);
  await settle();
  await h.engine.ended(
    1,
    pilot.launched.map((item) => endOf(item)),
  );
  t.equal(h.engine.works.size, 0, 'its first part is over');
  const other = newParty({ ...NOOP, adapter: 'exec' });
  const evil = signManifest(other.manifestClaims, [h.party.publisher]);
  const answer = await h.desk.deliver({ ...b.part([1]), manifest: Buffer.from(evil) });
  t.equal(refusalOf(answer as never).err?.code, 'E_MANIFEST');
  t.same(await h.desk.deliver(b.part([1])), { kind: 'admitted' });
  await settle();
  t.equal(pilot.launched.length, 2, 'with its own manifest the rest goes on');
});

t.test('after a restart what waited still starts under a publisher rule', async (t) => {
  const party = testParty();
  const ledger = openMemoryLedger();
  const first = await newHarness({ party, ledger });
  await first.desk.deliver(noopBatch(party, 3).part([0, 1, 2]));
  const second = await newHarness({ party, ledger });
  second.engine.resume();
  const pilot = testPilot(1, 4);
  second.engine.attach(pilot, []);
  await settle();
  await second.engine.ended(
    1,
    pilot.launched.map((item) => endOf(item)),
  );
  await settle();
  await second.engine.ended(
    1,
    pilot.launched.slice(-2).map((item) => endOf(item)),
  );
  t.equal(receipts(second).filter(({ status }) => status === 'succeeded').length >= 1, true);
  t.equal(receipts(second).filter(({ status }) => status === 'refused').length, 0);
});

t.test('a revocation between admission and launch stops the launch', async (t) => {
  const h = await newHarness();
  await h.desk.deliver(single(h.party, 'x'));
  h.policy = policyFor(h.party, { revoked: { kids: [h.party.session.kid] } });
  const pilot = testPilot(1);
  h.engine.attach(pilot, []);
  await settle();
  t.equal(pilot.launched.length, 0);
  t.match(receipts(h)[0], { status: 'refused', detail: { err: { code: 'E_REVOKED' } } });
});

t.test('a paused endpoint admits nothing and leaves the ticket with the broker', async (t) => {
  const h = await newHarness();
  h.closed = 'the clock jumped by two hours';
  t.match(await h.desk.deliver(single(h.party, 'x')), { kind: 'later', why: /clock/ });
  h.closed = undefined;
  t.same(await h.desk.deliver(single(h.party, 'x')), { kind: 'admitted' });
});

t.test('an expired ticket ends as expired, once', async (t) => {
  const h = await newHarness();
  const delivery = single(h.party, 'x', { iat: NOW - 3000, exp: NOW - 2000 });
  t.same(await h.desk.deliver(delivery), { kind: 'admitted' });
  t.match(receipts(h)[0], { status: 'expired', detail: { err: { code: 'E_EXPIRED' } } });
  await h.desk.deliver(delivery);
  t.equal(receipts(h).length, 1);
});

t.test('what an item cites by digest is what a pilot is given', async (t) => {
  const h = await newHarness();
  const pilot = testPilot(1);
  h.engine.attach(pilot, []);
  await h.desk.deliver(single(h.party, 'exact'));
  const payload = pilot.launched[0]?.work.payloads.get(0);
  const body = JSON.parse(Buffer.from(payload?.bytes ?? []).toString()) as ItemBody;
  t.equal(body.args[0]?.digest, digestOf(payload?.inline[0] ?? new Uint8Array()));
});
