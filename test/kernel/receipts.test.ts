import { randomBytes } from 'node:crypto';
import t from 'tap';
import { sha256 } from '#kernel/bytes.ts';
import { digestOf, ticketId } from '#kernel/ids.ts';
import {
  detailBytes,
  type Leaf,
  openPack,
  type Pack,
  packFromJson,
  packToJson,
  receiptLeaf,
  STATUS_CODES,
  sealPack,
  statusName,
  verifyProof,
} from '#kernel/receipts.ts';
import { NOW, newJti, newParty, newSigner } from './parties.ts';

const party = newParty();
const principal = party.principal.kid;
const expect = { endpoint: party.root.kid, onlineKey: party.online.jwk, principal };
const meas = [{ runtime: 'process', policy: digestOf('p') }, { runtime: 'apptainer' }];

/** `n` items of one ticket: the last has no result, the others 5 bytes each. */
function unsigned(n: number): Omit<Pack, 'receipts'> {
  const jti = newJti();
  const results = Array.from({ length: n - 1 }, () => randomBytes(5));
  const digests = [...results.map((result) => sha256(result)), Buffer.alloc(32)];
  return {
    principal,
    tickets: [
      {
        id: ticketId(principal, jti),
        jti,
        ticketHash: digestOf(jti),
        items: Array.from({ length: n }, (_, k) => n - 1 - k),
        attempts: Array.from({ length: n }, (_, k) => 1 + (k % 3)),
        statuses: Uint8Array.from([...results.map(() => STATUS_CODES.succeeded), STATUS_CODES.failed]),
        detail: [...results.map(() => 0), 1],
        meas: Array.from({ length: n }, (_, k) => k % 2),
        resultDigests: Buffer.concat(digests),
        resultSizes: [...results.map(() => 5), 0],
        results: Buffer.concat(results),
      },
    ],
    details: [
      detailBytes({ res: { type: 'json', at: 'inline' } }),
      detailBytes({ err: { code: 'E_FUNCTION', message: 'no' } }),
    ],
  };
}

const seal = (pack: Omit<Pack, 'receipts'>): Pack => sealPack(pack, meas, party.root.kid, NOW, party.online);

t.test('a sealed pack opens to the same results, as items and through JSON', async (t) => {
  for (const n of [1, 2, 3, 7, 64]) {
    const pack = seal(unsigned(n));
    for (const form of [pack, packFromJson(JSON.parse(JSON.stringify(packToJson(pack))))]) {
      const opened = openPack(form, expect);
      const items = [...opened];
      t.equal(items.length, n);
      t.same(
        items.map((item) => item.i),
        pack.tickets[0]?.items,
      );
      const last = items[n - 1];
      t.match(last, {
        status: 'failed',
        resultDigest: undefined,
        result: undefined,
        detail: { err: { code: 'E_FUNCTION' } },
      });
      if (n > 1) t.equal(items[0]?.resultDigest, digestOf(items[0]?.result ?? ''));
      t.same(opened.item(n - 1), last);
      t.same(opened.item(0), items[0]);
      t.throws(() => opened.item(n), RangeError);
    }
  }
});

t.test('a proof for one item holds against the signed root', async (t) => {
  const opened = openPack(seal(unsigned(7)), expect);
  const root = Buffer.from(opened.token.claims.root.slice(7), 'hex');
  for (let k = 0; k < 7; k += 1) {
    const item = opened.item(k);
    const ticket = opened.pack.tickets[0];
    const leaf: Leaf = {
      principal,
      jti: item.jti,
      i: item.i,
      ticketHash: item.ticketHash,
      attempt: item.attempt,
      status: STATUS_CODES[item.status],
      resultDigest: Buffer.from((item.resultDigest ?? `sha256:${'00'.repeat(32)}`).slice(7), 'hex'),
      detailDigest: sha256(opened.pack.details[ticket?.detail[k] ?? 0] ?? ''),
      meas: ticket?.meas[k] ?? 0,
    };
    t.ok(verifyProof(root, k, 7, receiptLeaf(leaf), opened.proof(k)));
    t.notOk(verifyProof(root, k, 7, receiptLeaf({ ...leaf, status: STATUS_CODES.cancelled }), opened.proof(k)));
  }
});

t.test('a pack by another endpoint, key or for another principal is refused', async (t) => {
  const pack = seal(unsigned(3));
  t.throws(() => openPack(pack, { ...expect, endpoint: newSigner().kid }), { code: 'E_RECEIPT' });
  t.throws(() => openPack(pack, { ...expect, principal: newSigner().kid }), { code: 'E_RECEIPT' });
  t.throws(() => openPack(pack, { ...expect, onlineKey: newSigner().jwk }), { code: 'E_TOKEN_SIGNATURE' });
});

t.test('a broker that changes any column of a pack is found out', async (t) => {
  const copy = (): Pack => structuredClone(seal(unsigned(4)));
  type Bend = (ticket: Pack['tickets'][number], pack: Pack) => void;
  const other = newJti();
  const bends: Record<string, Bend> = {
    item: (ticket) => ticket.items.splice(0, 1, 9),
    'two items swapped': (ticket) => ticket.items.reverse(),
    'an item twice': (ticket) => ticket.items.splice(0, 1, ticket.items[1] ?? 0),
    'an item that cannot be': (ticket) => ticket.items.splice(0, 1, 4096),
    attempt: (ticket) => ticket.attempts.splice(0, 1, 9),
    status: (ticket) => ticket.statuses.fill(STATUS_CODES.succeeded),
    'no status': (ticket) => ticket.statuses.fill(0),
    detail: (ticket) => ticket.detail.splice(0, 1, 1),
    'detail that is not there': (ticket) => ticket.detail.splice(0, 1, 2),
    meas: (ticket) => ticket.meas.splice(0, 1, 1),
    'meas that is not there': (ticket) => ticket.meas.splice(0, 1, 2),
    'result bytes': (ticket) => ticket.results.set([0, 0, 0, 0, 0]),
    'result digest': (ticket) => ticket.resultDigests.fill(1),
    'result sizes': (ticket) => ticket.resultSizes.splice(0, 2, 4, 6),
    'results dropped': (ticket) => {
      ticket.resultSizes.fill(0);
    },
    'results shortened': (ticket) => {
      ticket.results = ticket.results.slice(0, 10);
    },
    'ticket hash': (ticket) => {
      ticket.ticketHash = digestOf('other');
    },
    jti: (ticket) => {
      ticket.jti = other;
      ticket.id = ticketId(principal, other);
    },
    'public id': (ticket) => {
      ticket.id = ticketId(principal, other);
    },
    'a column shortened': (ticket) => ticket.attempts.pop(),
    'an item dropped': (ticket) => {
      for (const column of [ticket.items, ticket.attempts, ticket.detail, ticket.meas, ticket.resultSizes])
        column.pop();
      ticket.statuses = ticket.statuses.slice(0, -1);
      ticket.resultDigests = ticket.resultDigests.slice(0, -32);
    },
    'a ticket twice': (ticket, pack) => pack.tickets.push(structuredClone(ticket)),
    'no ticket': (_ticket, pack) => pack.tickets.pop(),
    'detail bytes': (_ticket, pack) =>
      pack.details.splice(1, 1, detailBytes({ err: { code: 'E_FUNCTION', message: 'yes' } })),
    principal: (_ticket, pack) => {
      pack.principal = newSigner().kid;
    },
  };
  for (const [name, bend] of Object.entries(bends)) {
    const pack = copy();
    const ticket = pack.tickets[0];
    if (ticket === undefined) return t.fail();
    bend(ticket, pack);
    t.throws(() => openPack(pack, expect), { code: 'E_RECEIPT' }, name);
  }
});

t.test('an inline result of no bytes must have the digest of no bytes', async (t) => {
  const pack = unsigned(1);
  const ticket = pack.tickets[0];
  if (ticket === undefined) return t.fail();
  ticket.detail = [0];
  t.throws(() => openPack(seal(pack), expect).item(0), { code: 'E_RECEIPT' });
  ticket.resultDigests = sha256('');
  t.equal(openPack(seal(pack), expect).item(0).result?.byteLength, 0);
});

t.test('every status byte has one name, and no other byte has one', async (t) => {
  for (const [name, code] of Object.entries(STATUS_CODES)) t.equal(statusName(code), name);
  t.equal(statusName(0), undefined);
  t.equal(statusName(6), undefined);
});
