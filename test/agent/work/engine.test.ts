import t from 'tap';
import { ITEM } from '../../../agent/admission/item-state.ts';
import { createLaunchCheck } from '../../../agent/admission/launch.ts';
import { openMemoryLedger } from '../../../agent/admission/ledger.ts';
import type { Work } from '../../../agent/work/mirror.ts';
import { newParty } from '../../kernel/parties.ts';
import {
  endOf,
  type Harness,
  NOOP,
  NOW,
  newHarness,
  noopBatch,
  policyFor,
  receipts,
  settle,
  single,
  type TestPilot,
  testParty,
  testPilot,
} from '../parts.ts';

const failed = (code: string, message: string) => ({
  status: 'failed' as const,
  detail: { err: { code, message } },
  charged: true,
});

/** Admits one call with these run settings; it is launched on the pilot. */
async function running(run: { maxFailures: number; maxStarts: number }): Promise<{ h: Harness; pilot: TestPilot }> {
  const h = await newHarness();
  const pilot = testPilot(1, 1);
  h.engine.attach(pilot, []);
  await h.desk.deliver(single(h.party, 'x', { run: { ...run, timeoutS: 60 } }));
  return { h, pilot };
}

const last = (pilot: TestPilot) => pilot.launched.at(-1) as TestPilot['launched'][number];

t.test('failures are counted, spaced, and end with the last one’s own words', async (t) => {
  const { h, pilot } = await running({ maxFailures: 3, maxStarts: 8 });
  const pauses: number[] = [];
  for (const attempt of [1, 2, 3]) {
    t.equal(last(pilot).attempt, attempt);
    const at = h.clock.mono();
    await h.engine.ended(1, [endOf(last(pilot), failed('E_FUNCTION', `stderr of ${attempt}`))]);
    await settle();
    while (attempt < 3 && last(pilot).attempt === attempt) await h.clock.drive(50);
    pauses.push(h.clock.mono() - at);
  }
  t.ok((pauses[0] ?? 0) >= 250 && (pauses[1] ?? 0) >= 500, `pauses ${pauses}`);
  t.match(receipts(h), [
    { status: 'failed', attempt: 3, detail: { err: { code: 'E_RETRIES_EXHAUSTED', message: /stderr of 3/ } } },
  ]);
  t.equal(pilot.launched.length, 3);
});

t.test('what another start would only meet again is not tried again', async (t) => {
  const { h, pilot } = await running({ maxFailures: 3, maxStarts: 8 });
  await h.engine.ended(1, [endOf(last(pilot), failed('E_HDF5', 'no dataset /patches'))]);
  t.match(receipts(h), [
    { status: 'failed', attempt: 1, detail: { err: { code: 'E_HDF5', message: 'no dataset /patches' } } },
  ]);
});

t.test('a lost pilot charges no failure but costs a start', async (t) => {
  const { h, pilot } = await running({ maxFailures: 1, maxStarts: 3 });
  for (const no of [2, 3]) {
    const next = testPilot(no, 1);
    await h.engine.lost(no - 1, { why: 'its node died', cause: 'said' });
    h.engine.attach(next, []);
    await settle();
    await h.clock.drive(120_000);
    t.match(next.launched, [{ attempt: no }]);
  }
  t.equal(receipts(h).length, 0);
  await h.engine.lost(3, { why: 'its node died', cause: 'said' });
  await settle();
  t.match(
    receipts(h),
    [{ status: 'failed', attempt: 3, detail: { err: { code: 'E_OUTCOME_UNKNOWN' } } }],
    'the last start may have finished',
  );
  t.equal(pilot.launched.length, 1);
});

t.test('maxStarts 1 means at most once: a lost pilot ends it as unknown', async (t) => {
  const { h, pilot } = await running({ maxFailures: 3, maxStarts: 1 });
  await h.engine.lost(1, { why: 'its process ended', cause: 'said' });
  h.engine.attach(testPilot(2), []);
  await settle();
  await h.clock.drive(120_000);
  t.match(receipts(h), [
    { status: 'failed', attempt: 1, detail: { err: { code: 'E_OUTCOME_UNKNOWN', message: /its process ended/ } } },
  ]);
  t.equal(pilot.launched.length, 1);
});

t.test('an outcome of an older attempt is refused and counted', async (t) => {
  const { h, pilot } = await running({ maxFailures: 3, maxStarts: 8 });
  const first = last(pilot);
  await h.engine.lost(1, { why: 'it went silent', cause: 'said' });
  const second = testPilot(2, 1);
  h.engine.attach(second, []);
  await settle();
  t.equal(second.launched[0]?.attempt, 2);
  await h.engine.ended(1, [endOf(first)]);
  t.equal(receipts(h).length, 0);
  t.equal(h.engine.stale, 1);
  t.match(h.log.join(), /stale outcome refused/);
  await h.engine.ended(
    2,
    second.launched.map((item) => endOf(item)),
  );
  await h.engine.ended(
    2,
    second.launched.map((item) => endOf(item)),
  );
  t.match(receipts(h), [{ status: 'succeeded', attempt: 2 }], 'and a repeated outcome is no second receipt');
  t.equal(h.engine.stale, 2);
});

t.test('an outcome with the right attempt and another lease epoch is refused', async (t) => {
  const { h, pilot } = await running({ maxFailures: 3, maxStarts: 8 });
  const item = last(pilot);
  await h.engine.ended(1, [endOf({ ...item, leaseEpoch: item.leaseEpoch + 1 })]);
  t.equal(receipts(h).length, 0);
  t.equal(h.engine.stale, 1);
});

t.test('cancel: what waits ends at once, what runs ends when its pilot says that it is dead', async (t) => {
  const h = await newHarness();
  const pilot = testPilot(1, 1);
  h.engine.attach(pilot, []);
  const b = noopBatch(h.party, 3, { run: { maxFailures: 1, maxStarts: 1, timeoutS: 60 } });
  await h.desk.deliver(b.part([0, 1, 2]));
  await settle();
  const running = last(pilot);
  const { work } = running;
  const { principal, jti } = work.ticket;
  const result = await h.ledger.submit({ kind: 'cancel', principal, jti, items: 'all', keepUntil: NOW + 1000 });
  if (result.kind !== 'cancelled') return t.fail(result.kind);
  t.same([result.waiting.length, result.leased.length], [2, 1]);
  h.engine.cancel(work, result.waiting, result.leased);
  await h.engine.settled();
  t.same(
    receipts(h).map(({ status }) => status),
    ['cancelled', 'cancelled'],
  );
  t.match(pilot.cancelled, [{ attempt: 1, i: running.i }]);
  await h.engine.ended(1, [
    endOf(running, { status: 'cancelled', detail: { err: { code: 'E_CANCELLED', message: 'killed' } } }),
  ]);
  t.same(
    receipts(h).map(({ status }) => status),
    ['cancelled', 'cancelled', 'cancelled'],
  );
  t.equal(pilot.launched.length, 1);
  // Whoever sizes blocks must not take the time until a cancel for the time that such a call needs.
  const more = noopBatch(h.party, 2, { run: { maxFailures: 1, maxStarts: 1, timeoutS: 60 } });
  await h.desk.deliver(more.part([0, 1]));
  await settle();
  t.match(h.engine.demands(), [{ waiting: 1 }]);
  t.equal(h.engine.demands()[0]?.paceMs, undefined);
});

t.test('a cancel that comes before its ticket is a tombstone: the ticket never starts', async (t) => {
  const h = await newHarness();
  const pilot = testPilot(1, 4);
  h.engine.attach(pilot, []);
  const jti = '01a3185c-5000-7d9f-89f3-489a2cb7d5b3';
  await h.ledger.submit({ kind: 'cancel', principal: h.party.principal.kid, jti, items: 'all', keepUntil: NOW + 1000 });
  await h.desk.deliver(single(h.party, 'x', { jti }));
  await h.engine.settled();
  t.equal(pilot.launched.length, 0);
  t.match(receipts(h), [{ status: 'cancelled' }]);
});

t.test('a first outcome wins over a cancel that comes too late', async (t) => {
  const { h, pilot } = await running({ maxFailures: 1, maxStarts: 1 });
  const item = last(pilot);
  await h.engine.ended(1, [endOf(item)]);
  const { principal, jti } = item.work.ticket;
  const result = await h.ledger.submit({ kind: 'cancel', principal, jti, items: 'all', keepUntil: NOW + 1000 });
  t.match(result, { kind: 'cancelled', waiting: [], leased: [] });
  t.match(receipts(h), [{ status: 'succeeded' }]);
});

t.test('an agent that restarts re-adopts what its pilots still run, and takes their outcomes', async (t) => {
  const party = testParty();
  const ledger = openMemoryLedger();
  const first = await newHarness({ party, ledger });
  const before = testPilot(1, 2);
  first.engine.attach(before, []);
  await first.desk.deliver(noopBatch(party, 2).part([0]));
  await first.desk.deliver(single(party, 'y'));
  await settle();
  t.equal(before.launched.length, 2);

  const second = await newHarness({ party, ledger });
  second.engine.resume();
  const redialled = testPilot(1, 2);
  const held = before.launched.map(({ work, i, attempt, leaseEpoch }) => ({
    ticketNo: work.no,
    i,
    attempt,
    leaseEpoch,
  }));
  second.engine.attach(redialled, held);
  await settle();
  t.equal(redialled.launched.length, 0, 'nothing is started again');
  await second.engine.ended(
    1,
    before.launched.map((item) => endOf(item)),
  );
  t.match(
    receipts(second).map(({ status, attempt }) => `${status} ${attempt}`),
    ['succeeded 1', 'succeeded 1'],
  );
});

t.test('a redialled pilot that no longer has a lease costs a start, and one that has too much is told', async (t) => {
  const party = testParty();
  const ledger = openMemoryLedger();
  const first = await newHarness({ party, ledger });
  const before = testPilot(1, 1);
  first.engine.attach(before, []);
  await first.desk.deliver(single(party, 'y'));
  const item = last(before);
  const second = await newHarness({ party, ledger });
  const strange = { ticketNo: item.work.no, i: 0, attempt: 7, leaseEpoch: item.leaseEpoch };
  t.same(second.engine.strange(1, [strange]), [strange]);
  const redialled = testPilot(1, 1);
  second.engine.attach(redialled, []);
  await settle();
  t.match(redialled.launched, [{ attempt: 2 }]);
  t.ok((redialled.launched[0]?.leaseEpoch ?? 0) > item.leaseEpoch, 'lease epochs go on from the ledger');
});

t.test('a ticket that waits past its time ends as expired', async (t) => {
  const h = await newHarness();
  await h.desk.deliver(single(h.party, 'x', { exp: NOW + 100 }));
  h.engine.expire(h.clock.now());
  t.equal(receipts(h).length, 0);
  h.clock.advance(200_000);
  h.engine.expire(h.clock.now());
  await h.engine.settled();
  t.match(receipts(h), [{ status: 'expired', detail: { err: { code: 'E_EXPIRED' } } }]);
});

t.test('many items of one launch leave as one pack, in one commit, with one receipt', async (t) => {
  const h = await newHarness();
  const pilot = testPilot(1, 64);
  h.engine.attach(pilot, []);
  const n = 64;
  await h.desk.deliver(noopBatch(h.party, n).part(Array.from({ length: n }, (_, i) => i)));
  await settle();
  t.equal(pilot.launched.length, n);
  const before = h.ledger.stats().commits;
  const [meas, detail] = [{ node: 'n' }, { res: { type: 'json' as const, at: 'inline' as const, size: 2 } }];
  await h.engine.ended(
    1,
    pilot.launched.map((item) => endOf(item, { meas, detail })),
  );
  t.equal(h.ledger.stats().commits, before + 1);
  t.equal(h.packs.length, 1);
  t.equal(receipts(h).length, n);
  t.equal(h.engine.works.size, 0, 'a finished ticket leaves the memory');
});

t.test('an item is leased before its pilot sees it', async (t) => {
  let commit: (() => void) | undefined;
  const ledger = openMemoryLedger({
    schedule: (run) => {
      commit = run;
    },
  });
  const flush = async (): Promise<void> => {
    for (let k = 0; k < 5; k++) {
      await settle();
      const run = commit;
      commit = undefined;
      run?.();
    }
  };
  const harness = newHarness({ ledger });
  await flush();
  const h = await harness;
  const pilot = testPilot(1);
  h.engine.attach(pilot, []);
  const answer = h.desk.deliver(single(h.party, 'x'));
  await settle();
  t.equal(pilot.launched.length, 0, 'not before the commit');
  await flush();
  t.same(await answer, { kind: 'admitted' });
  t.equal(pilot.launched.length, 1);
  t.equal(last(pilot).work.states[0], ITEM.leased);
});

t.test(
  'a rule’s ceiling on concurrent items holds over all tickets of a principal, and a batch’s own over its items',
  async (t) => {
    const party = testParty();
    const rule = {
      name: 'three at a time',
      who: { pin: 'alice' },
      functions: { publisher: 'lab', names: ['test/*'] },
      runtimes: ['process'],
      resources: { concurrent: 3 },
    };
    const h = await newHarness({ party, policy: policyFor(party, { rules: [rule] }) });
    const pilot = testPilot(1, 64);
    h.engine.attach(pilot, []);
    const all = [0, 1, 2, 3, 4, 5];
    await h.desk.deliver(noopBatch(party, 6).part(all));
    await h.desk.deliver(noopBatch(party, 6, { max: { concurrent: 1 } } as never).part(all));
    await h.desk.deliver(single(party, 'x'));
    await settle();
    t.equal(pilot.launched.length, 3);
    let ended = 0;
    let mostOfSecond = 0;
    while (ended < pilot.launched.length) {
      const running = pilot.launched.slice(ended);
      t.ok(running.length <= 3, `${running.length} run`);
      const second = running.filter(
        ({ work }) => work.token.typ === 'farfield-batch+jwt' && work.token.claims.max !== undefined,
      );
      mostOfSecond = Math.max(mostOfSecond, second.length);
      ended += 1;
      await h.engine.ended(1, [endOf(running[0] as TestPilot['launched'][number])]);
      await settle();
    }
    t.equal(ended, 13, 'all of them ran in the end');
    t.equal(mostOfSecond, 1);
    t.equal(h.engine.open, 0);
  },
);

t.test('a revocation that kills ends what runs', async (t) => {
  const h = await newHarness();
  const pilot = testPilot(1, 1);
  h.engine.attach(pilot, []);
  await h.desk.deliver(single(h.party, 'x'));
  h.engine.revoke(createLaunchCheck(() => policyFor(h.party), h.clock));
  t.equal(pilot.cancelled.length, 0, 'nothing of it is revoked');
  const revoked = policyFor(h.party, { revoked: { delegations: [last(pilot).work.chain.delegation.hash] } });
  h.engine.revoke(createLaunchCheck(() => revoked, h.clock));
  t.match(pilot.cancelled, [{ i: 0, attempt: 1 }]);
});

t.test(
  'what no node here can hold is refused at admission with both numbers, or when the nodes are known',
  async (t) => {
    const party = newParty({ ...NOOP, needs: { cores: 3 } });
    const h = await newHarness({ party });
    const size = { cores: 2, memMiB: 0, gpus: 0, accelerator: '' };
    await h.desk.deliver(single(party, 'early'));
    t.equal(receipts(h).length, 0, 'nobody knows how large nodes are here');
    h.engine.attach({ ...testPilot(1), size: { slots: 2, ...size } }, []);
    await settle();
    t.equal(h.engine.demands().length, 0, 'and no block is begun for it');
    t.match(receipts(h), [{ status: 'refused', detail: { err: { code: 'E_CEILING', message: /3 cores, .* has 2/ } } }]);
    await h.desk.deliver(single(party, 'late'));
    t.match(receipts(h)[1], {
      status: 'refused',
      detail: { err: { code: 'E_CEILING', message: /3 cores, .* has 2/ } },
    });
    h.engine.attach({ ...testPilot(2), size: { slots: 2, ...size, cores: 4 } }, []);
    await h.desk.deliver(single(party, 'later'));
    t.equal(receipts(h).length, 2, 'a larger node came');
  },
);

t.test('two that need most of a node each do not run on it together', async (t) => {
  const party = newParty({ ...NOOP, needs: { cores: 3 } });
  const h = await newHarness({ party });
  const pilot = { ...testPilot(1, 4), size: { slots: 4, cores: 4, memMiB: 0, gpus: 0, accelerator: '' } };
  h.engine.attach(pilot, []);
  await h.desk.deliver(single(party, 'a'));
  await h.desk.deliver(single(party, 'b'));
  await settle();
  t.equal(pilot.launched.length, 1);
  t.match(h.engine.waitsFor(pilot.launched[0]?.work as Work), /for 3 cores/);
  await h.engine.ended(1, [endOf(pilot.launched[0] as TestPilot['launched'][number])]);
  await settle();
  t.equal(pilot.launched.length, 2);
});
