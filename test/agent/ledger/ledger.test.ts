/** One suite over both forms of the ledger: the file with its worker thread, and memory. */
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ITEM } from '../../../agent/admission/item-state.ts';
import {
  type HeldItem,
  type Ledger,
  type LedgerResult,
  type NewTicket,
  openLedger,
  openMemoryLedger,
  type Payload,
} from '../../../agent/admission/ledger.ts';

interface Form {
  readonly name: string;
  /** Opens the same store again after `close`. */
  open(): Promise<Ledger>;
  remove(): void;
}

function fileForm(): Form {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-ledger-'));
  return {
    name: 'file',
    open: () => openLedger({ file: join(folder, 'ledger.db') }),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

function memoryForm(): Form {
  // One database for all opens: closing a memory ledger is what a simulated crash does to its process.
  const folder = mkdtempSync(join(tmpdir(), 'farfield-ledger-'));
  return {
    name: 'memory',
    open: () => Promise.resolve(openMemoryLedger({ file: join(folder, 'ledger.db') })),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

const NOW = 1_800_000_000;

function newTicket(n: number, changes: Partial<NewTicket> = {}): NewTicket {
  const jti = randomUUID();
  return {
    principal: 'alice',
    jti,
    id: jti.replaceAll('-', ''),
    hash: `hash of ${jti}`,
    token: 'token',
    chain: ['delegation'],
    manifestDigest: 'sha256:m',
    manifest: Buffer.from('manifest'),
    n,
    leaves: new Uint8Array(32 * n),
    exp: NOW + 100,
    keepUntil: NOW + 200,
    ...changes,
  };
}

function payloadOf(items: readonly number[]): Payload {
  return {
    items,
    itemSizes: items.map(() => 2),
    itemBytes: Buffer.from('{}'.repeat(items.length)),
    inlineSizes: [],
    inline: new Uint8Array(),
  };
}

type Kind = LedgerResult['kind'];

/** The result, which must be of this kind. */
async function want<K extends Kind>(
  promise: Promise<LedgerResult>,
  kind: K,
): Promise<Extract<LedgerResult, { kind: K }>> {
  const result = await promise;
  if (result.kind !== kind) throw new Error(`${result.kind} instead of ${kind}: ${JSON.stringify(result)}`);
  return result as Extract<LedgerResult, { kind: K }>;
}

const admit = (ledger: Ledger, ticket: NewTicket, items: readonly number[]) =>
  want(ledger.submit({ kind: 'admit', ticket, payload: payloadOf(items), now: NOW * 1000 }), 'admitted');

const lease = (ledger: Ledger, ticketNo: number, items: readonly number[], leaseEpoch: number, pilot = 1) =>
  want(ledger.submit({ kind: 'lease', ticketNo, grant: { items, leaseEpoch, pilot } }), 'leased');

const end = (ledger: Ledger, ticketNo: number, held: readonly Omit<HeldItem, 'ticketNo'>[], pack = 'pack') =>
  ledger.submit({
    kind: 'end',
    principal: 'alice',
    pack: Buffer.from(pack),
    blobs: [],
    tickets: [
      {
        ticketNo,
        items: held.map(({ i }) => i),
        attempts: held.map(({ attempt }) => attempt),
        leaseEpochs: held.map(({ leaseEpoch }) => leaseEpoch),
        statuses: held.map(() => 1),
      },
    ],
  });

async function openTickets(ledger: Ledger) {
  const answer = await ledger.query({ kind: 'open' });
  if (answer.kind !== 'open') throw new Error(answer.kind);
  return answer.tickets;
}

async function packs(ledger: Ledger) {
  const answer = await ledger.query({ kind: 'packs', withBlobs: false, after: 0, limit: 100 });
  if (answer.kind !== 'packs') throw new Error(answer.kind);
  return answer.packs.map(({ no, bytes }) => ({ no, text: Buffer.from(bytes).toString() }));
}

type Check = (t: Test, form: Form) => Promise<void> | void;

const promises: [string, Check][] = [];

function promise(name: string, check: Check): void {
  promises.push([name, check]);
}

promise(
  'what was admitted is there after a restart, with its arguments, and is not admitted twice',
  async (t, form) => {
    const ticket = newTicket(4);
    const first = await form.open();
    t.match(await admit(first, ticket, [0, 2]), { fresh: [0, 2], ended: [] });
    t.match(await admit(first, ticket, [0, 1]), { fresh: [1], ended: [] }, 'only what is new');
    await first.close();
    const second = await form.open();
    const open = (await openTickets(second)).find((each) => each.ticket.jti === ticket.jti);
    t.same([...(open?.states ?? [])], [ITEM.waiting, ITEM.waiting, ITEM.waiting, ITEM.absent]);
    t.same(
      open?.payloads.flatMap(({ items }) => items),
      [0, 2, 0, 1],
    );
    t.equal(Buffer.from(open?.ticket.manifest ?? []).toString(), 'manifest');
    t.match(await second.query({ kind: 'known', principal: 'alice', jti: ticket.jti }), { hash: ticket.hash });
    await second.close();
  },
);

promise('one jti is one ticket: another one is a replay', async (t, form) => {
  await using ledger = await form.open();
  const ticket = newTicket(1);
  await admit(ledger, ticket, [0]);
  const other = { ...ticket, hash: 'another' };
  t.match(await ledger.submit({ kind: 'admit', ticket: other, payload: payloadOf([0]), now: NOW }), {
    kind: 'replay',
    storedHash: ticket.hash,
  });
  const principal = { ...ticket, principal: 'bob', hash: 'bob' };
  t.match(await admit(ledger, principal, [0]), { fresh: [0] }, 'the same jti of another principal is its own');
});

promise('a lease is granted to what waits, once, and counts the start', async (t, form) => {
  await using ledger = await form.open();
  const { ticketNo } = await admit(ledger, newTicket(3), [0, 1, 2]);
  t.match(await lease(ledger, ticketNo, [0, 1], 7), { items: [0, 1], attempts: [1, 1] });
  t.match(await lease(ledger, ticketNo, [1, 2], 8), { items: [2], attempts: [1] }, 'not what is leased already');
  const held = [{ ticketNo, i: 0, attempt: 1, leaseEpoch: 7 }];
  t.match(await ledger.submit({ kind: 'return', held, charged: true }), { kind: 'returned', count: 1 });
  t.match(
    await ledger.submit({ kind: 'return', held, charged: true }),
    { kind: 'returned', count: 0 },
    'a repeated return changes nothing',
  );
  t.match(await lease(ledger, ticketNo, [0], 9), { items: [0], attempts: [2] });
  const open = (await openTickets(ledger)).find((each) => each.ticketNo === ticketNo);
  t.same([...(open?.failures ?? [])], [1, 0, 0], 'charged once');
});

promise('admission and lease in one command', async (t, form) => {
  await using ledger = await form.open();
  const ticket = newTicket(2);
  const grant = { items: [0, 1], leaseEpoch: 3, pilot: 2 };
  const result = await want(
    ledger.submit({ kind: 'admit', ticket, payload: payloadOf([0, 1]), lease: grant, now: NOW }),
    'admitted',
  );
  t.match(result, { fresh: [0, 1], leased: [0, 1], attempts: [1, 1] });
});

promise(
  'an item ends once: a second outcome, an older attempt, another lease epoch are stale and change nothing',
  async (t, form) => {
    await using ledger = await form.open();
    const { ticketNo } = await admit(ledger, newTicket(3), [0, 1, 2]);
    await lease(ledger, ticketNo, [0, 1, 2], 5);
    const before = (await packs(ledger)).length;
    t.match(await end(ledger, ticketNo, [{ i: 0, attempt: 1, leaseEpoch: 4 }]), { kind: 'stale' });
    t.match(await end(ledger, ticketNo, [{ i: 0, attempt: 2, leaseEpoch: 5 }]), { kind: 'stale' });
    t.match(
      await end(ledger, ticketNo, [
        { i: 1, attempt: 1, leaseEpoch: 5 },
        { i: 0, attempt: 2, leaseEpoch: 5 },
      ]),
      { kind: 'stale' },
      'as a whole',
    );
    t.equal((await packs(ledger)).length, before, 'no pack of it was kept');
    t.match(await end(ledger, ticketNo, [{ i: 1, attempt: 1, leaseEpoch: 5 }]), { kind: 'ended' });
    t.match(
      await end(ledger, ticketNo, [{ i: 1, attempt: 1, leaseEpoch: 5 }]),
      { kind: 'stale' },
      'completion is no overwrite',
    );
    t.equal((await packs(ledger)).length, before + 1);
  },
);

promise('packs leave in order, stay until acknowledged, and can be asked for again', async (t, form) => {
  await using ledger = await form.open();
  const ticket = newTicket(2);
  const { ticketNo } = await admit(ledger, ticket, [0, 1]);
  await lease(ledger, ticketNo, [0, 1], 5);
  const a = await want(end(ledger, ticketNo, [{ i: 0, attempt: 1, leaseEpoch: 5 }], 'a'), 'ended');
  const b = await want(end(ledger, ticketNo, [{ i: 1, attempt: 1, leaseEpoch: 5 }], 'b'), 'ended');
  t.ok(b.packNo > a.packNo, 'numbers rise');
  const mine = async () =>
    (await packs(ledger)).filter(({ no }) => no === a.packNo || no === b.packNo).map(({ text }) => text);
  t.same(await mine(), ['a', 'b']);
  await ledger.submit({ kind: 'packsAcked', nos: [a.packNo] });
  t.same(await mine(), ['b']);
  t.match(await admit(ledger, ticket, [0, 1]), { fresh: [], ended: [0, 1] }, 'what has ended is known');
  t.match(await ledger.submit({ kind: 'packsAgain', ticketNos: [ticketNo] }), { kind: 'done', count: 1 });
  t.same(await mine(), ['a', 'b']);
  t.equal(
    (await openTickets(ledger)).find((each) => each.ticketNo === ticketNo),
    undefined,
    'a finished ticket holds no arguments',
  );
});

promise('a cancel marks what is there and leaves a tombstone for what is to come', async (t, form) => {
  await using ledger = await form.open();
  const ticket = newTicket(3);
  const { ticketNo } = await admit(ledger, ticket, [0, 1]);
  await lease(ledger, ticketNo, [0], 5);
  const { principal, jti } = ticket;
  t.match(await ledger.submit({ kind: 'cancel', principal, jti, items: 'all', keepUntil: NOW + 10 }), {
    waiting: [1],
    leased: [0],
  });
  t.match(await lease(ledger, ticketNo, [1], 6), { items: [] }, 'a cancelled item is not leased');
  t.match(await admit(ledger, ticket, [2]), { fresh: [2], cancelled: [2] });
  const later = newTicket(4);
  t.match(await ledger.submit({ kind: 'cancel', principal, jti: later.jti, items: [1, 3], keepUntil: NOW + 10 }), {
    ticketNo: undefined,
  });
  t.match(await admit(ledger, later, [0, 1, 2, 3]), { cancelled: [1, 3] });
});

promise('a ticket that is refused as a whole is known by all its items, with one pack', async (t, form) => {
  await using ledger = await form.open();
  const ticket = newTicket(3);
  const command = { kind: 'refuse', ticket, status: 3, pack: Buffer.from('no'), now: NOW } as const;
  const { packNo } = await want(ledger.submit(command), 'ended');
  t.match(await admit(ledger, ticket, [0, 1, 2]), { fresh: [], ended: [0, 1, 2] });
  t.match(await ledger.submit(command), { kind: 'known' });
  t.match(await ledger.submit({ ...command, ticket: { ...ticket, hash: 'another' } }), { kind: 'replay' });
  t.ok((await packs(ledger)).some(({ no, text }) => no === packNo && text === 'no'));
});

promise('a block token is redeemed once, and the pilot’s key is there after a restart', async (t, form) => {
  const jti = randomUUID();
  const pilot = { block: 'b1', node: 'n1', kid: jti, jwk: '{}', slots: 2 };
  const first = await form.open();
  const { no } = await want(first.submit({ kind: 'redeem', jti, exp: NOW + 10, pilot }), 'pilot');
  t.match(await first.submit({ kind: 'redeem', jti, exp: NOW + 10, pilot: { ...pilot, kid: 'thief' } }), {
    kind: 'stale',
  });
  await first.close();
  await using second = await form.open();
  const answer = await second.query({ kind: 'pilots' });
  t.match(answer.kind === 'pilots' && answer.pilots.find((each) => each.no === no), { kid: jti, block: 'b1' });
});

promise('a purge takes what is over, acknowledged and past its keeping, and nothing else', async (t, form) => {
  await using ledger = await form.open();
  const old = newTicket(1, { keepUntil: NOW - 1 });
  const unsent = newTicket(1, { keepUntil: NOW - 1 });
  const running = newTicket(1, { keepUntil: NOW - 1 });
  const young = newTicket(1, { keepUntil: NOW + 1000 });
  const packNos = new Map<string, number>();
  for (const ticket of [old, unsent, running, young]) {
    const { ticketNo } = await admit(ledger, ticket, [0]);
    if (ticket === running) continue;
    await lease(ledger, ticketNo, [0], 5);
    packNos.set(ticket.jti, (await want(end(ledger, ticketNo, [{ i: 0, attempt: 1, leaseEpoch: 5 }]), 'ended')).packNo);
  }
  await ledger.submit({ kind: 'packsAcked', nos: [packNos.get(old.jti) ?? 0, packNos.get(young.jti) ?? 0] });
  await ledger.submit({ kind: 'purge', nowS: NOW });
  const known = async (ticket: NewTicket) => {
    const answer = await ledger.query({ kind: 'known', principal: 'alice', jti: ticket.jti });
    return answer.kind === 'known' && answer.hash !== undefined;
  };
  t.equal(await known(old), false);
  t.equal(await known(unsent), true, 'its receipt has not left yet');
  t.equal(await known(running), true, 'it is not over');
  t.equal(await known(young), true, 'it must meet a replay');
});

promise('a new ledger epoch rises, and the highest wall time is kept', async (t, form) => {
  const ledger = await form.open();
  const a = await want(ledger.submit({ kind: 'newEpoch', since: NOW }), 'epoch');
  const b = await want(ledger.submit({ kind: 'newEpoch', since: NOW + 1 }), 'epoch');
  t.same(b.epoch, { n: a.epoch.n + 1, since: NOW + 1 });
  await ledger.submit({ kind: 'admit', ticket: newTicket(1), payload: payloadOf([0]), now: (NOW + 5000) * 1000 });
  await ledger.submit({ kind: 'admit', ticket: newTicket(1), payload: payloadOf([0]), now: NOW * 1000 });
  await ledger.close();
  await using again = await form.open();
  const meta = await again.query({ kind: 'meta' });
  t.match(meta, { epoch: b.epoch, meta: { wall: String((NOW + 5000) * 1000) } });
});

promise('lease epochs of a later life are above all that were given', async (t, form) => {
  const ledger = await form.open();
  const { ticketNo } = await admit(ledger, newTicket(2), [0, 1]);
  await lease(ledger, ticketNo, [1], 123_456);
  await ledger.close();
  await using again = await form.open();
  t.match(await again.query({ kind: 'meta' }), { leaseEpoch: 123_456 });
});

for (const make of [fileForm, memoryForm]) {
  const form = make();
  t.test(form.name, async (t) => {
    t.teardown(() => form.remove());
    for (const [name, check] of promises) await t.test(name, (t) => check(t, form));
  });
}

t.test('commits that a crash takes back were never answered', async (t) => {
  const pending: (() => void)[] = [];
  const ledger = openMemoryLedger({ schedule: (commit) => void pending.push(commit) });
  let answered = false;
  const work = ledger.submit({ kind: 'admit', ticket: newTicket(1), payload: payloadOf([0]), now: NOW }).then(() => {
    answered = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(answered, false, 'the disk has not said yes');
  for (const commit of pending) commit();
  await work;
  t.equal(answered, true);
});
