import t from 'tap';
import { endOf, newHarness, noopBatch, receipts, settle, testParty, testPilot } from '../parts.ts';

t.test(
  'parts of a batch that come in one turn share one mirror: every item ends, every slot is given back',
  async (t) => {
    const party = testParty();
    const h = await newHarness({ party });
    const pilot = testPilot(1, 16);
    h.engine.attach(pilot, []);
    const b = noopBatch(party, 12);
    const answers = await Promise.all([
      h.desk.deliver(b.part([10, 11])),
      h.desk.deliver(b.part([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])),
    ]);
    t.same(answers, [{ kind: 'admitted' }, { kind: 'admitted' }]);
    for (let done = 0; done < pilot.launched.length; ) {
      const next = pilot.launched.slice(done);
      done = pilot.launched.length;
      await h.engine.ended(
        1,
        next.map((item) => endOf(item)),
      );
      await settle();
    }
    t.equal(h.engine.stale, 0, 'no outcome belongs to nothing');
    t.equal(receipts(h).length, 12);
    t.equal(h.engine.open, 0);
    t.equal(
      [...pilot.inFlight.values()].reduce((sum, count) => sum + count, 0),
      0,
    );
  },
);

t.test(
  'a part that comes again while its item waits for its next start leases nothing behind the engine’s back',
  async (t) => {
    const party = testParty();
    const h = await newHarness({ party });
    const b = noopBatch(party, 2);
    // Admitted without a pilot, then taken out of the queue by a pilot that is lost during the lease.
    t.same(await h.desk.deliver(b.part([0])), { kind: 'admitted' });
    const pilot = testPilot(1, 8);
    h.engine.attach(pilot, []);
    await settle();
    t.equal(pilot.launched.length, 1);
    const [first] = pilot.launched;
    if (first === undefined) return;
    await h.engine.ended(1, [
      endOf(first, { status: 'failed', charged: true, detail: { err: { code: 'E_FUNCTION', message: 'no' } } }),
    ]);
    // It waits for its pause now: a slot is free and no queue stands before it.
    t.same(await h.desk.deliver(b.part([0])), { kind: 'admitted' });
    const answer = await h.ledger.query({ kind: 'open' });
    t.equal(answer.kind === 'open' ? answer.tickets[0]?.states[0] : undefined, 1, 'it still waits in the ledger');
    t.equal(
      [...pilot.inFlight.values()].reduce((sum, count) => sum + count, 0),
      0,
      'and holds no slot',
    );
  },
);
