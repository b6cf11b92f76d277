/**
 * What every store of the broker must do, whatever it is made of. Run by store.test.ts over SQLite and over memory.
 */
import type { Test } from 'tap';
import { ticketId } from '#kernel/ids.ts';
import { packU16, unpackU16 } from '../../../broker/store/columns.ts';
import { stateName } from '../../../broker/store/states.ts';
import type { BrokerStore, Complete, Payload, QueueTicket } from '../../../broker/store/store.ts';
import {
  ALICE,
  admitAll,
  BOB,
  beginSession,
  deliverAll,
  HASH,
  JWK,
  letter,
  packOf,
  payloadOf,
  prepare,
  queueOf,
  SITE,
  statesOf,
  ticketOf,
  viewOf,
} from './given.ts';

export interface StoreUnderTest {
  readonly store: BrokerStore;
  /** The same store after its process died; what was not acknowledged may be gone. */
  reopen(): Promise<BrokerStore>;
  close(): Promise<void>;
}
export type OpenStore = () => Promise<StoreUnderTest>;

type Use = (t: Test, store: BrokerStore, under: StoreUnderTest) => Promise<void>;

export function runConformance(t: Test, open: OpenStore): void {
  const promise = (name: string, use: Use): void => {
    t.test(name, async (t) => {
      const under = await open();
      t.teardown(() => under.close());
      await prepare(under.store);
      await use(t, under.store, under);
    });
  };
  queueing(promise);
  links(promise);
  handOvers(promise);
  completion(promise);
  endings(promise);
  people(promise);
  forgetting(promise);
}

type Promised = (name: string, use: Use) => void;

function queueing(promise: Promised): void {
  promise('what was acknowledged is there after the process died', async (t, store, under) => {
    const ticket = ticketOf('one', 3);
    await store.apply('queue', queueOf([ticket]));
    const again = await under.reopen();
    const view = await viewOf(again, ticket);
    t.same([...view.states].map(stateName), ['queued', 'queued', 'queued']);
    const payload = await again.read('payload', { ticketNo: view.ticketNo });
    t.same(Buffer.from(payload?.inline ?? []), Buffer.from(ticket.payload.inline));
  });

  promise('the same ticket is known; another one with its jti is refused and alarmed', async (t, store) => {
    const ticket = ticketOf('one', 3);
    const other = { ...ticket, hash: HASH('2') };
    const first = await store.apply('queue', queueOf([ticket, ticket]));
    t.same(
      first.outcomes.map((o) => o.kind),
      ['queued', 'known'],
    );
    const { outcomes } = await store.apply('queue', queueOf([other, ticket]));
    t.match(outcomes, [
      { kind: 'refused', code: 'E_REPLAY' },
      { kind: 'known', n: 3 },
    ]);
    t.match(await store.read('alarms', { limit: 9 }), [{ kind: 'jti-reused' }]);
  });

  promise(
    'a ticket is refused for unknown people, unknown endpoints, foreign blobs, and over the quota, one by one',
    async (t, store) => {
      const blob = { digest: HASH('e'), size: 9 };
      await store.apply('keepBlob', { principal: BOB, ...blob, nowS: 1 });
      const tickets = [
        ticketOf('a', 1, { principal: letter('Z') }),
        ticketOf('b', 1, { endpoint: letter('T') }),
        ticketOf('c', 1, { blobs: [blob] }),
        ticketOf('d', 6),
        ticketOf('e', 5),
        ticketOf('f', 1),
        ticketOf('g', 1, { principal: BOB, blobs: [blob] }),
        ticketOf('h', 1, { principal: BOB, blobs: [{ ...blob, size: 10 }] }),
        ticketOf('i', 1, { principal: BOB, unless: { code: 'E_ENDPOINT_OFFLINE', message: 'off' } }),
      ];
      const { outcomes } = await store.apply('queue', queueOf(tickets, 1000, 5));
      t.same(
        outcomes.map((o) => (o.kind === 'refused' ? o.code : o.kind)),
        [
          'E_FORBIDDEN',
          'E_ENDPOINT_UNKNOWN',
          'E_NOT_FOUND',
          'E_BUSY',
          'queued',
          'E_BUSY',
          'queued',
          'E_NOT_FOUND',
          'E_ENDPOINT_OFFLINE',
        ],
      );
    },
  );

  promise(
    'event numbers of one principal have no gaps, and each commit tells what it stored',
    async (t, store, under) => {
      const first = await store.apply('queue', queueOf([ticketOf('a', 2), ticketOf('b', 1)]));
      const second = await store.apply('queue', queueOf([ticketOf('c', 1), ticketOf('d', 1, { principal: BOB })]));
      t.same(
        first.events.map((e) => [e.principal, e.seq, e.kind]),
        [[ALICE, 1, 'queued']],
      );
      t.same(
        second.events.map((e) => [e.principal, e.seq]),
        [
          [ALICE, 2],
          [BOB, 1],
        ],
      );
      const page = await (await under.reopen()).read('events', { principal: ALICE, after: 0, limit: 10 });
      t.same(
        page.events.map((e) => e.seq),
        [1, 2],
      );
      t.same(JSON.parse(page.events[0]?.data ?? ''), [
        { id: ticketId(ALICE, 'a'), runs: [[0, 2]] },
        { id: ticketId(ALICE, 'b'), runs: [[0, 1]] },
      ]);
      t.match(page, { first: 1, last: 2 });
    },
  );
}

function links(promise: Promised): void {
  promise('a command of an older session changes nothing', async (t, store) => {
    const ticket = ticketOf('one', 2);
    await store.apply('queue', queueOf([ticket]));
    const old = await beginSession(store);
    const sessionEpoch = await beginSession(store);
    t.equal(sessionEpoch, old + 1);
    await deliverAll(store, ticket, { sessionEpoch: old });
    t.same(await statesOf(store, ticket), ['queued', 'queued']);
    await deliverAll(store, ticket, { sessionEpoch });
    t.match(await admitAll(store, ticket, { sessionEpoch: old }), { kind: 'fenced' });
    t.match(await store.apply('complete', packOf(ticket, old, 1, { 0: 1 })), { kind: 'fenced' });
    t.same(await statesOf(store, ticket), ['delivered', 'delivered']);
  });

  promise('an answer to an older delivery changes nothing', async (t, store) => {
    const ticket = ticketOf('one', 1);
    await store.apply('queue', queueOf([ticket]));
    const sessionEpoch = await beginSession(store);
    await deliverAll(store, ticket, { sessionEpoch, deliveryEpoch: 7 });
    t.match(await admitAll(store, ticket, { sessionEpoch, deliveryEpoch: 6 }), { kind: 'done', items: 0, stale: 1 });
    t.match(await admitAll(store, ticket, { sessionEpoch, deliveryEpoch: 7 }), { kind: 'done', items: 1, stale: 0 });
  });

  promise('the payload is forgotten with the last admission, and not before', async (t, store) => {
    const ticket = ticketOf('one', 3);
    await store.apply('queue', queueOf([ticket]));
    const sessionEpoch = await beginSession(store);
    const { ticketNo } = await viewOf(store, ticket);
    await deliverAll(store, ticket, { sessionEpoch });
    await admitAll(store, ticket, { sessionEpoch }, [0, 2]);
    t.ok(await store.read('payload', { ticketNo }));
    const { kind } = await admitAll(store, ticket, { sessionEpoch }, [1]);
    t.equal(kind, 'done');
    t.equal(await store.read('payload', { ticketNo }), undefined);
    t.same(await store.read('backlog', { endpoint: SITE }), []);
  });

  promise('the backlog lists principals, and their tickets in order from any place', async (t, store) => {
    const tickets = [ticketOf('a', 1), ticketOf('b', 2), ticketOf('c', 1, { principal: BOB }), ticketOf('d', 1)];
    await store.apply('queue', queueOf(tickets));
    t.same([...(await store.read('backlog', { endpoint: SITE }))].sort(), [ALICE, BOB]);
    const page = await store.read('pending', { endpoint: SITE, principal: ALICE, after: 0, limit: 2 });
    t.same(
      page.map((p) => p.id),
      [tickets[0]?.id, tickets[1]?.id],
    );
    const next = await store.read('pending', {
      endpoint: SITE,
      principal: ALICE,
      after: page[1]?.ticketNo ?? 0,
      limit: 2,
    });
    t.same(
      next.map((p) => p.id),
      [tickets[3]?.id],
    );
    t.same(await store.read('texts', { chains: [next[0]?.chainNo ?? 0], manifests: [next[0]?.manifestNo ?? 0] }), {
      chains: [['link']],
      manifests: ['manifest'],
    });
  });
}

function handOvers(promise: Promised): void {
  promise('items that were handed back are queued again with their bytes', async (t, store) => {
    const ticket = ticketOf('one', 3);
    await store.apply('queue', queueOf([ticket]));
    const sessionEpoch = await beginSession(store);
    await deliverAll(store, ticket, { sessionEpoch });
    await admitAll(store, ticket, { sessionEpoch });
    const back: Payload = { ...payloadOf(2), itemBytes: Uint8Array.from([1, 2, 3, 4]), leaves: ticket.payload.leaves };
    const done = await store.apply('handBack', {
      endpoint: SITE,
      sessionEpoch,
      id: ticket.id,
      deliveryEpoch: 1,
      items: packU16([0, 2]),
      payload: back,
      nowS: 1001,
    });
    t.same(done.kind === 'done' ? unpackU16(done.items) : done, [0, 2]);
    t.same(await statesOf(store, ticket), ['queued', 'admitted', 'queued']);
    const { ticketNo } = await viewOf(store, ticket);
    const payload = await store.read('payload', { ticketNo });
    t.same([...(payload?.itemBytes ?? [])], [1, 2, 3, 4]);
    t.same(unpackU16(payload?.itemSizes ?? new Uint8Array()), [2, 0, 2]);
  });

  promise(
    'a hello from an older state is refused: descriptor, ledger, or a copied folder beside a live one',
    async (t, store) => {
      await beginSession(store, { descriptor: 'd5', seq: 5, ledger: { n: 4, since: 0 } });
      const sessionEpoch = await beginSession(store, { descriptor: 'd5', seq: 5, ledger: { n: 4, since: 0 } });
      const at = { descriptor: 'd5', seq: 5, ledger: { n: 4, since: 0 } };
      await t.rejects(beginSession(store, { ...at, descriptor: 'd4', seq: 4 }), /E_CONFLICT/);
      await t.rejects(beginSession(store, { ...at, descriptor: 'dx' }), /E_CONFLICT/);
      await t.rejects(beginSession(store, { ...at, ledger: { n: 3, since: 0 } }), /E_CONFLICT/);
      await t.rejects(beginSession(store, { ...at, live: true, claimedEpoch: sessionEpoch - 1 }), /E_FENCED/);
      await t.rejects(beginSession(store, { ...at, endpoint: letter('T') }), /E_ENDPOINT_UNKNOWN/);
      t.equal(await beginSession(store, { ...at, live: true, claimedEpoch: sessionEpoch }), sessionEpoch + 1);
    },
  );

  promise(
    'a new ledger epoch loses what was admitted and nothing else, and a late receipt still settles it',
    async (t, store) => {
      const ticket = ticketOf('one', 3);
      await store.apply('queue', queueOf([ticket]));
      let sessionEpoch = await beginSession(store);
      await deliverAll(store, ticket, { sessionEpoch });
      await admitAll(store, ticket, { sessionEpoch }, [0, 1]);
      await store.apply('complete', packOf(ticket, sessionEpoch, 1, { 0: 1 }));
      sessionEpoch = await beginSession(store, { ledger: { n: 2, since: 1500 } });
      t.same(await statesOf(store, ticket), ['succeeded', 'lost', 'delivered']);
      await store.apply('complete', packOf(ticket, sessionEpoch, 1, { 1: 2 }, { ledgerEpoch: 2 }));
      t.same(await statesOf(store, ticket), ['succeeded', 'failed', 'delivered']);
    },
  );
}

function completion(promise: Promised): void {
  promise(
    'an item is completed once: a second receipt that differs is refused and alarmed, the same again is no news',
    async (t, store) => {
      const ticket = ticketOf('one', 3);
      await store.apply('queue', queueOf([ticket]));
      const sessionEpoch = await beginSession(store);
      await deliverAll(store, ticket, { sessionEpoch });
      await admitAll(store, ticket, { sessionEpoch });
      const first = packOf(ticket, sessionEpoch, 1, { 0: 1, 1: 2 });
      t.match(await store.apply('complete', first), { kind: 'stored', items: 2, conflicts: 0 });
      t.match(await store.apply('complete', first), { kind: 'known' });
      t.match(await store.apply('complete', packOf(ticket, sessionEpoch, 2, { 0: 2, 2: 1 })), {
        kind: 'stored',
        items: 1,
        conflicts: 1,
      });
      t.match(await store.apply('complete', packOf(ticket, sessionEpoch, 3, { 0: 1, 1: 2 })), {
        kind: 'stored',
        items: 0,
        conflicts: 0,
      });
      t.same(await statesOf(store, ticket), ['succeeded', 'failed', 'succeeded']);
      t.match(await store.read('alarms', { limit: 9 }), [{ kind: 'receipt-second' }]);
      const { packs } = await store.read('packs', { id: ticket.id, after: 0, maxBytes: 1000 });
      t.same(
        packs.map((p) => [...p.bytes]),
        [[1], [2]],
      );
    },
  );

  promise('a pack number that comes again with other content loses nothing', async (t, store) => {
    const ticket = ticketOf('one', 2);
    await store.apply('queue', queueOf([ticket]));
    const sessionEpoch = await beginSession(store);
    await store.apply('complete', packOf(ticket, sessionEpoch, 1, { 0: 1 }));
    const other = packOf(ticket, sessionEpoch, 1, { 1: 1 }, { digest: HASH('f') });
    t.match(await store.apply('complete', other), { kind: 'stored', items: 1 });
    t.same(await statesOf(store, ticket), ['succeeded', 'succeeded']);
  });

  promise('a receipt for a ticket of another endpoint, another hash or nobody settles nothing', async (t, store) => {
    const ticket = ticketOf('one', 1);
    await store.apply('queue', queueOf([ticket]));
    const sessionEpoch = await beginSession(store);
    const bent: Complete[] = [
      packOf({ ...ticket, hash: HASH('9') }, sessionEpoch, 1, { 0: 1 }),
      packOf({ ...ticket, id: 'f'.repeat(32) }, sessionEpoch, 2, { 0: 1 }),
      packOf({ ...ticket, principal: BOB }, sessionEpoch, 3, { 0: 1 }),
    ];
    for (const pack of bent) t.match(await store.apply('complete', pack), { kind: 'stored', items: 0, conflicts: 1 });
    t.same(await statesOf(store, ticket), ['queued']);
    t.equal((await store.read('alarms', { limit: 9 })).length, 3);
  });

  promise('the open items of a principal return to nothing, whatever ends them', async (t, store) => {
    const tickets = [ticketOf('a', 3), ticketOf('b', 2, { exp: 900 }), ticketOf('c', 2), ticketOf('d', 1)];
    await store.apply('queue', queueOf(tickets));
    t.equal((await store.read('counts', null)).openItems, 8);
    const sessionEpoch = await beginSession(store);
    const [a, b, c, d] = tickets as [QueueTicket, QueueTicket, QueueTicket, QueueTicket];
    await deliverAll(store, a, { sessionEpoch });
    await store.apply('complete', packOf(a, sessionEpoch, 1, { 0: 1, 1: 1, 2: 5 }));
    await store.apply('expire', { nowS: 1000, limit: 10 });
    await store.apply('complete', packOf(b, sessionEpoch, 2, { 0: 4, 1: 4 }));
    await store.apply('cancel', { principal: ALICE, id: c.id, items: 'all', token: 'x', links: [], nowS: 1 });
    await deliverAll(store, d, { sessionEpoch });
    await store.apply('refuse', {
      endpoint: SITE,
      sessionEpoch,
      id: d.id,
      deliveryEpoch: 1,
      items: packU16([0]),
      receipt: 'r',
      nowS: 1,
    });
    t.equal((await store.read('counts', null)).openItems, 0);
  });
}

function endings(promise: Promised): void {
  promise(
    'a cancel ends what never left the broker, and is kept for the endpoint until acknowledged',
    async (t, store, under) => {
      const ticket = ticketOf('one', 4);
      await store.apply('queue', queueOf([ticket]));
      const sessionEpoch = await beginSession(store);
      const { ticketNo } = await viewOf(store, ticket);
      await store.apply('deliver', {
        endpoint: SITE,
        sessionEpoch,
        tickets: [{ ticketNo, deliveryEpoch: 1, items: packU16([0]) }],
      });
      const cancelled = await store.apply('cancel', {
        principal: ALICE,
        id: ticket.id,
        items: packU16([0, 1, 2]),
        token: 'tok',
        links: ['l'],
        nowS: 1,
      });
      t.match(cancelled, { kind: 'done', items: 3, endpoint: SITE, events: [{ kind: 'lost' }] });
      t.same(cancelled.kind === 'done' ? unpackU16(cancelled.ended) : [], [1, 2]);
      t.same(await statesOf(store, ticket), ['delivered', 'cancelled', 'cancelled', 'queued']);
      t.equal((await viewOf(store, ticket)).cancelling, true);
      const again = await under.reopen();
      const [kept] = await again.read('cancels', { endpoint: SITE });
      t.match(kept, { token: 'tok', links: ['l'] });
      await again.apply('cancelAcked', { endpoint: SITE, sessionEpoch, cancelNos: [kept?.cancelNo ?? 0] });
      t.same(await again.read('cancels', { endpoint: SITE }), []);
      await again.apply('complete', packOf(ticket, sessionEpoch, 1, { 0: 5, 1: 5 }));
      t.same(await statesOf(again, ticket), ['cancelled', 'cancelled', 'cancelled', 'queued']);
      const second = await again.apply('complete', packOf(ticket, sessionEpoch, 2, { 1: 1 }));
      t.match(second, { conflicts: 1 }, 'the tombstone receipt has settled it');
    },
  );

  promise('another principal cannot cancel, nor learn that the ticket exists', async (t, store) => {
    const ticket = ticketOf('one', 1);
    await store.apply('queue', queueOf([ticket]));
    const other = await store.apply('cancel', {
      principal: BOB,
      id: ticket.id,
      items: 'all',
      token: 'x',
      links: [],
      nowS: 1,
    });
    const none = await store.apply('cancel', {
      principal: BOB,
      id: 'f'.repeat(32),
      items: 'all',
      token: 'x',
      links: [],
      nowS: 1,
    });
    t.match(other, { kind: 'refused', code: 'E_NOT_FOUND' });
    t.match(none, { kind: 'refused', code: 'E_NOT_FOUND' });
    t.same(await statesOf(store, ticket), ['queued']);
  });

  promise('what may not start any more expires by the broker, admitted work never does', async (t, store) => {
    const ticket = ticketOf('one', 3, { exp: 1500 });
    await store.apply('queue', queueOf([ticket]));
    const sessionEpoch = await beginSession(store);
    await deliverAll(store, ticket, { sessionEpoch });
    await admitAll(store, ticket, { sessionEpoch }, [1]);
    t.same((await store.apply('expire', { nowS: 1500, limit: 10 })).tickets, []);
    const expired = await store.apply('expire', { nowS: 1501, limit: 10 });
    t.match(expired.events, [{ kind: 'lost', principal: ALICE }]);
    t.same(await statesOf(store, ticket), ['expired', 'admitted', 'expired']);
    t.same((await store.apply('expire', { nowS: 1501, limit: 10 })).tickets, []);
  });

  promise('a stateless refusal ends the items and is kept with them', async (t, store) => {
    const ticket = ticketOf('one', 2);
    await store.apply('queue', queueOf([ticket]));
    const sessionEpoch = await beginSession(store);
    await deliverAll(store, ticket, { sessionEpoch });
    const done = await store.apply('refuse', {
      endpoint: SITE,
      sessionEpoch,
      id: ticket.id,
      deliveryEpoch: 1,
      items: packU16([0, 1]),
      receipt: 'signed',
      nowS: 1,
    });
    t.match(done, { kind: 'done', items: 2, events: [{ kind: 'refusal' }] });
    const view = await viewOf(store, ticket);
    t.same([...view.states].map(stateName), ['refused', 'refused']);
    t.same(view.refusals, ['signed']);
  });
}

function people(promise: Promised): void {
  promise('a restore begins a generation that stays, and leaves what there is', async (t, store, under) => {
    const before = await store.read('generation', null);
    await store.apply('restored', { generation: 'feedfacefeedface', nowS: 50 });
    const again = await under.reopen();
    t.equal(await again.read('generation', null), 'feedfacefeedface');
    t.not(before, 'feedfacefeedface');
    t.match(await again.read('alarms', { limit: 1 }), [{ at: 50, kind: 'restored' }]);
    t.equal((await again.read('users', null)).length > 0, true);
  });

  promise('an invitation works once, in time, and for the key that it names', async (t, store) => {
    const kid = letter('N');
    const use = (secretHash: string, who = kid, nowS = 1000) =>
      store.apply('addUser', { secretHash, kid: who, jwk: JWK, nowS });
    await store.apply('invite', { secretHash: 'n', for: 'user', subject: kid, exp: 1100 });
    t.match(await use('unknown'), { code: 'E_ENROLMENT' });
    t.match(await use('n', letter('M')), { code: 'E_ENROLMENT' });
    t.match(await use('n', kid, 1101), { code: 'E_ENROLMENT' });
    t.match(await use('n'), { kind: 'done' });
    t.match(await use('n'), { code: 'E_ENROLMENT' });
    await store.apply('invite', { secretHash: 'e', for: 'endpoint', subject: kid, exp: 1100 });
    t.match(await use('e'), { code: 'E_ENROLMENT' }, 'an endpoint invitation makes no user');
    t.ok((await store.read('users', null)).some((user) => user.kid === kid));
  });

  promise(
    'a blob is seen by those it was granted to, and by an endpoint while its ticket is open',
    async (t, store) => {
      const blob = { digest: HASH('e'), size: 9 };
      await store.apply('keepBlob', { principal: ALICE, ...blob, nowS: 1 });
      const { digest } = blob;
      t.equal(await store.read('blobOf', { principal: ALICE, digest }), 9);
      t.equal(await store.read('blobOf', { principal: BOB, digest }), undefined);
      t.equal(await store.read('blobAt', { endpoint: SITE, digest }), undefined);
      const ticket = ticketOf('one', 1, { blobs: [blob] });
      await store.apply('queue', queueOf([ticket]));
      t.equal(await store.read('blobAt', { endpoint: SITE, digest }), 9);
      t.equal(await store.read('blobAt', { endpoint: letter('T'), digest }), undefined);
      const sessionEpoch = await beginSession(store);
      await store.apply('complete', packOf(ticket, sessionEpoch, 1, { 0: 1 }));
      t.equal(await store.read('blobAt', { endpoint: SITE, digest }), undefined);
    },
  );
}

function forgetting(promise: Promised): void {
  promise('nothing is forgotten before its end, its exp and the retention; then all of it is', async (t, store) => {
    const blob = { digest: HASH('e'), size: 9 };
    await store.apply('keepBlob', { principal: ALICE, ...blob, nowS: 1000 });
    const ticket = ticketOf('one', 2, { exp: 5000, blobs: [blob] });
    await store.apply('queue', queueOf([ticket, ticketOf('open', 1), ticketOf('newest', 1)]));
    const sessionEpoch = await beginSession(store);
    await store.apply('complete', packOf(ticket, sessionEpoch, 1, { 0: 1 }));
    const purge = (nowS: number) => store.apply('purge', { nowS, retentionS: 100, alarmRetentionS: 100, limit: 50 });
    t.match(await purge(4000), { tickets: 0, blobs: [] }, 'one item is open, and pins its blob');
    await store.apply('complete', packOf(ticket, sessionEpoch, 2, { 1: 1 }, { nowS: 4000 }));
    t.match(await purge(5050), { tickets: 0 }, 'the same ticket could still be replayed');
    t.equal((await store.read('packs', { id: ticket.id, after: 0, maxBytes: 1 })).packs.length, 1);
    t.match(await purge(5101), { tickets: 1 });
    t.equal(await store.read('ticket', { id: ticket.id }), undefined);
    t.equal((await store.read('packs', { id: ticket.id, after: 0, maxBytes: 1 })).packs.length, 0);
    t.ok(await store.read('ticket', { id: ticketId(ALICE, 'open') }));
    t.equal(await store.read('blobKept', blob), false);
  });

  promise('an answer about access is told to who asked, once, and outlives the process', async (t, store, under) => {
    const sessionEpoch = await beginSession(store);
    const told = (principal: string, digest: string, nowS = 1000, epoch = sessionEpoch) =>
      store.apply('accessTold', {
        ...{ endpoint: SITE, sessionEpoch: epoch, principal, digest, token: `token ${digest}`, nowS },
      });
    t.same(await told(ALICE, '1'), { kind: 'done', events: [] }, 'she did not ask');
    await store.apply('accessAsked', { principal: ALICE, endpoint: SITE, nowS: 1000 });
    await store.apply('accessAsked', { principal: ALICE, endpoint: letter('N'), nowS: 1000 });
    t.same(await store.read('accessTold', { principal: ALICE }), []);
    t.same(await told(ALICE, '1', 1000, sessionEpoch + 1), { kind: 'fenced' });
    t.match(await told(ALICE, '1'), { events: [{ principal: ALICE, seq: 1, kind: 'access' }] });
    t.same(await told(ALICE, '1'), { kind: 'done', events: [] }, 'the same again is no news');
    await store.apply('accessAsked', { principal: ALICE, endpoint: SITE, nowS: 1500 });
    t.same(await told(ALICE, '1'), { kind: 'done', events: [] }, 'nor after another question');
    t.match(await told(ALICE, '2', 2000), { events: [{ seq: 2 }] });
    t.same(await told(BOB, '2'), { kind: 'done', events: [] });
    const next = await under.reopen();
    const answers = [{ endpoint: SITE, seq: 2, at: 2000, answer: 'token 2' }];
    t.same(await next.read('accessTold', { principal: ALICE }), answers);
    t.same(await next.read('accessNewest', null), [{ principal: ALICE, seq: 2 }]);
    t.same(await next.read('accessTold', { principal: BOB }), []);
    const year = { retentionS: 100, alarmRetentionS: 100, limit: 50 };
    await next.apply('purge', { ...year, nowS: 10_000 });
    t.equal((await next.read('accessTold', { principal: ALICE })).length, 1, 'longer than results');
    await next.apply('purge', { ...year, nowS: 2001 + 366 * 86_400 });
    t.same(await next.read('accessNewest', null), []);
  });

  promise('a reader whose cursor is older than what is kept can see that', async (t, store) => {
    await store.apply('queue', queueOf([ticketOf('a', 1)], 1000));
    await store.apply('queue', queueOf([ticketOf('b', 1)], 2000));
    await store.apply('purge', { nowS: 2050, retentionS: 100, alarmRetentionS: 100, limit: 50 });
    t.match(await store.read('events', { principal: ALICE, after: 0, limit: 10 }), {
      first: 2,
      last: 2,
      events: [{ seq: 2 }],
    });
  });
}
