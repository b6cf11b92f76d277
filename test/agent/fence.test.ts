/** A second agent of one endpoint, or a copy of its folder: it keeps still, says why, and ends; nothing is run by both. */
import t from 'tap';
import { FarfieldError } from '#kernel/errors.ts';
import { single } from './parts.ts';
import { type Site, startSite } from './site.ts';

const FENCED = 'another agent of this endpoint is connected and newer: this state folder is a copy';
const statuses = (site: Site): string[] => site.broker.receipts(site.party.principal.kid).map(({ status }) => status);

/** One item runs on a pilot, one waits; then the agent begins again, and the broker answers with this. */
async function beginAgain(site: Site, refusal: FarfieldError): Promise<void> {
  site.broker.deliver(single(site.party, 'runs'), single(site.party, 'waits'));
  await site.until('one runs', () => site.pilots[0]?.launched.length === 1 && site.broker.admitted.length === 2);
  site.broker.refuse = refusal;
  await site.restart();
}

t.test(
  'while another agent has the endpoint, nothing is started and no block is ended; then it gives up',
  async (t) => {
    await using site = await startSite({ pilot: { slots: 1 } });
    await beginAgain(site, new FarfieldError('E_FENCED', FENCED));
    await site.until('it says why', () => site.agent.status().state === 'paused');
    t.match(site.agent.status(), {
      reason: FENCED,
      link: { state: 'waiting', detail: FENCED },
      work: { tickets: 2, waiting: 1 },
      blocks: [{ state: 'running' }],
    });
    await site.clock.drive(35_000);
    t.equal(site.scheduler.submitted.length, 1, 'no block of its own');
    t.same(site.scheduler.cancelled, [], 'the silent pilot is the other one’s');
    await site.until(
      'it gives up',
      () => site.log.some((line) => line.includes('the broker refuses this endpoint')),
      500,
    );
    t.match(await site.agent.ended, { code: 'E_FENCED', reason: FENCED });
    await site.agent.stop({ blocks: true });
    t.same(site.scheduler.cancelled, [], 'not even when it is told to stop with its blocks');
    t.equal(site.pilots[0]?.launched.length, 1, 'nothing was run twice');
  },
);

t.test('when the other agent is gone, it takes the work up where it is', async (t) => {
  await using site = await startSite({ pilot: { slots: 1 } });
  await beginAgain(site, new FarfieldError('E_FENCED', FENCED));
  await site.until('it says why', () => site.agent.status().state === 'paused');
  site.broker.refuse = undefined;
  await site.until('it is connected', () => site.broker.sessions.length === 2, 200);
  await site.until('it is open', () => site.agent.status().state === 'open');
  await site.pilots[0]?.dial();
  site.pilots[0]?.finish();
  await site.until('the second runs', () => site.pilots[0]?.launched.length === 2);
  site.pilots[0]?.finish();
  await site.until('both have receipts', () => statuses(site).length === 2);
  t.same(statuses(site), ['succeeded', 'succeeded']);
});

t.test('a broker that cannot be asked holds nothing up: what was admitted runs', async (t) => {
  await using site = await startSite({ pilot: { slots: 1 } });
  await beginAgain(site, new FarfieldError('E_UNAVAILABLE', 'the broker stops'));
  await site.pilots[0]?.dial();
  site.pilots[0]?.finish();
  await site.until('the second runs', () => site.pilots[0]?.launched.length === 2, 200);
  t.equal(site.broker.sessions.length, 1, 'without a session');
  site.pilots[0]?.finish();
  site.broker.refuse = undefined;
  await site.until('both have receipts', () => statuses(site).length === 2, 200);
});
