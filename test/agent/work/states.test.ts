/** The bytes of the ledger against the tables of the kernel. */

import t from 'tap';
import { STATUS_CODES } from '#kernel/receipts.ts';
import { fence } from '#kernel/states/attempt.ts';
import { ITEM } from '../../../agent/admission/item-state.ts';
import { openMemoryLedger } from '../../../agent/admission/ledger.ts';

t.test('an ended byte is its status code, and no status is an open state', async (t) => {
  const open = new Set<number>([ITEM.absent, ITEM.waiting, ITEM.leased]);
  for (const [name, code] of Object.entries(STATUS_CODES)) {
    t.notOk(open.has(ITEM.ended + code), name);
    t.ok(ITEM.ended + code <= 255, name);
  }
  t.equal(open.size, 3);
});

t.test('the ledger takes the outcome of a lease exactly where the kernel’s fence calls it current', async (t) => {
  const ticket = {
    principal: 'p',
    jti: 'j',
    id: 'i',
    hash: 'h',
    token: '',
    chain: [],
    manifestDigest: 'm',
    manifest: new Uint8Array(),
    n: 1,
    leaves: new Uint8Array(),
    exp: 1,
    keepUntil: 2,
  };
  const payload = {
    items: [0],
    itemSizes: [0],
    itemBytes: new Uint8Array(),
    inlineSizes: [],
    inline: new Uint8Array(),
  };
  for (const attempt of [0, 1, 2]) {
    for (const leaseEpoch of [6, 7, 8]) {
      await using ledger = openMemoryLedger();
      await ledger.submit({ kind: 'admit', ticket, payload, lease: { items: [0], leaseEpoch: 7, pilot: 1 }, now: 1 });
      const ended = { ticketNo: 1, items: [0], attempts: [attempt], leaseEpochs: [leaseEpoch], statuses: [1] };
      const result = await ledger.submit({
        kind: 'end',
        principal: 'p',
        pack: new Uint8Array(1),
        blobs: [],
        tickets: [ended],
      });
      const current = fence({ attempt: 1, leaseEpoch: 7 }, { attempt, leaseEpoch });
      t.equal(result.kind, current === 'current' ? 'ended' : 'stale', `attempt ${attempt}, lease epoch ${leaseEpoch}`);
    }
  }
});
