/** What becomes of blocks, their pilots and their work: deaths by cause, requeues, lost submits, drains, redials. */
import t from 'tap';
import { systemRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { AgentConfig } from '../../../agent/config.ts';
import { createPilotPeer, type PilotPeer } from '../../fakes/pilot-peer.ts';
import { noopBatch, single } from '../parts.ts';
import { type Site, type SiteOptions, startSite } from '../site.ts';

const statuses = (site: Site): string[] => site.broker.receipts(site.party.principal.kid).map(({ status }) => status);
const run = { maxFailures: 1, maxStarts: 4, timeoutS: 60 };
const SLURM: AgentConfig = { blocks: { scheduler: 'slurm', slots: 2, listen: { on: ['127.0.0.1'] } } };

/** A site whose jobs run where and when the test says. */
function batchSite(options: SiteOptions = {}): Promise<Site> {
  const config = { ...SLURM, ...options.config, blocks: { ...SLURM.blocks, ...options.config?.blocks } };
  return startSite({ pushes: true, ...options, config });
}

function comePilot(site: Site, job: number, options: Partial<Parameters<typeof createPilotPeer>[1]> = {}): PilotPeer {
  const folder = site.scheduler.submitted[job]?.folder ?? '';
  return createPilotPeer(folder, { clock: site.clock, random: systemRandom, ...options });
}

t.test('a socket that a kernel closed gives its work to another pilot within a second, uncharged', async (t) => {
  await using site = await batchSite({ onSubmit: () => undefined, config: { blocks: { batch: { nodes: 2 } } } });
  site.broker.deliver(single(site.party, 'x', { run }));
  await site.until('a block', () => site.scheduler.submitted.length === 1);
  const [first, second] = [comePilot(site, 0, { node: 'n1' }), comePilot(site, 0, { node: 'n2' })];
  await first.dial();
  await site.until('it runs', () => first.launched.length === 1);
  await second.dial();
  const before = site.clock.mono();
  first.die();
  await site.until('it runs elsewhere', () => second.launched.length === 1);
  t.ok(site.clock.mono() - before < 1000);
  t.match(second.launched, [{ attempt: 2 }]);
  second.finish();
  await site.until('a receipt', () => statuses(site).length === 1);
  t.same(statuses(site), ['succeeded']);
  t.equal(site.scheduler.cancelled.length, 0, 'the block goes on with the other node');
});

t.test('a pilot that redials at once keeps its leases, though its socket was closed', async (t) => {
  await using site = await batchSite({ onSubmit: () => undefined });
  site.broker.deliver(single(site.party, 'x', { run }));
  await site.until('a block', () => site.scheduler.submitted.length === 1);
  const pilot = comePilot(site, 0);
  await pilot.dial();
  await site.until('it runs', () => pilot.launched.length === 1);
  pilot.die();
  await pilot.dial();
  await site.clock.drive(5000);
  pilot.finish();
  await site.until('a receipt', () => statuses(site).length === 1);
  t.match(site.broker.receipts(site.party.principal.kid), [{ status: 'succeeded', attempt: 1 }]);
});

t.test('a network that is silent for a minute takes nothing from a pilot', async (t) => {
  await using site = await batchSite({ onSubmit: () => undefined });
  site.broker.deliver(single(site.party, 'x', { run }));
  await site.until('a block', () => site.scheduler.submitted.length === 1);
  const pilot = comePilot(site, 0);
  await pilot.dial();
  await site.until('it runs', () => pilot.launched.length === 1);
  const { held } = pilot;
  pilot.hangUp();
  await site.clock.drive(60_000);
  await pilot.dial({ held });
  pilot.finish();
  await site.until('a receipt', () => statuses(site).length === 1);
  t.match(site.broker.receipts(site.party.principal.kid), [{ status: 'succeeded', attempt: 1 }]);
  t.equal(site.scheduler.cancelled.length, 0);
});

t.test('who pays for an end is its cause’s matter: memory is the work’s own, everything else the site’s', async (t) => {
  for (const [cause, status] of [
    ['memory', 'failed'],
    ['walltime', 'succeeded'],
    ['preempted', 'succeeded'],
    ['nodeLost', 'succeeded'],
    ['cancelled', 'succeeded'],
  ] as const) {
    await using site = await batchSite({ onSubmit: () => undefined });
    site.broker.deliver(single(site.party, cause, { run }));
    await site.until('a block', () => site.scheduler.submitted.length === 1);
    const pilot = comePilot(site, 0);
    await pilot.dial();
    await site.until('it runs', () => pilot.launched.length === 1);
    site.scheduler.end('job 1', `says ${cause}`, cause);
    if (status === 'succeeded') {
      await site.until('another block', () => site.scheduler.submitted.length === 2);
      const next = comePilot(site, 1, { auto: true });
      await next.dial();
    }
    await site.until('a receipt', () => statuses(site).length === 1);
    const [receipt] = site.broker.receipts(site.party.principal.kid);
    t.equal(receipt?.status, status, cause);
    if (status === 'failed') t.match(receipt, { detail: { err: { message: /says memory/ } } });
  }
});

t.test(
  'a job that the site starts again is a new life: leases go back, and each node may redeem once more',
  async (t) => {
    await using site = await batchSite({ onSubmit: () => undefined });
    site.broker.deliver(single(site.party, 'x', { run }));
    await site.until('a block', () => site.scheduler.submitted.length === 1);
    const before = comePilot(site, 0);
    await before.dial();
    await site.until('it runs', () => before.launched.length === 1);
    site.scheduler.say('job 1', { kind: 'running', nodes: ['node-1'] }, 0);
    before.die();
    site.scheduler.say('job 1', { kind: 'queued', reason: 'BeginTime' }, 1);
    await site.until('it waits again', () => site.agent.status().blocks[0]?.state === 'pending');
    t.match(site.agent.status().blocks[0]?.detail, /waiting for nodes: job job 1 of test, BeginTime/);
    site.scheduler.say('job 1', { kind: 'running', nodes: ['node-1'] }, 1);
    const after = comePilot(site, 0, { auto: true });
    await after.dial();
    await site.until('a receipt', () => statuses(site).length === 1);
    t.match(site.broker.receipts(site.party.principal.kid), [{ status: 'succeeded', attempt: 2 }]);
    t.equal(site.scheduler.submitted.length, 1, 'the same block');
    await t.rejects(before.dial({ token: false }), { code: 'E_UNAUTHENTICATED' }, 'the old life is over');
  },
);

t.test('a submit without an answer is looked for by the next life, and taken over where it made a job', async (t) => {
  await using site = await batchSite({ onSubmit: () => undefined });
  const { submit } = site.scheduler;
  let asked = 0;
  // The agent dies between the scheduler's work and its answer.
  site.scheduler.submit = (request) => {
    asked += 1;
    site.scheduler.submitted.push(request);
    site.scheduler.jobs.set(request.block, 'job 77');
    return new Promise(() => undefined);
  };
  site.broker.deliver(single(site.party, 'x', { run }));
  await site.until('it was asked', () => asked === 1);
  await site.restart();
  site.scheduler.submit = submit;
  await site.until('it is known', () => site.agent.status().blocks[0]?.state === 'pending');
  const pilot = comePilot(site, 0, { auto: true });
  await pilot.dial();
  await site.until('a receipt', () => statuses(site).length === 1, 200);
  t.equal(site.scheduler.submitted.length, 1, 'and never submitted again');
});

t.test('a block that drains is given nothing more, and another takes what waits', async (t) => {
  await using site = await batchSite({ onSubmit: () => undefined, config: { blocks: { maxBlocks: 2, slots: 1 } } });
  site.broker.deliver(single(site.party, 'a', { run }));
  await site.until('a block', () => site.scheduler.submitted.length === 1);
  const first = comePilot(site, 0, { slots: 1 });
  await first.dial();
  await site.until('it runs', () => first.launched.length === 1);
  first.drain('the walltime of its block is nearly over');
  await site.until('it is known', () => site.agent.status().blocks[0]?.state === 'draining');
  first.finish();
  site.broker.deliver(single(site.party, 'b', { run }));
  await site.until('another block', () => site.scheduler.submitted.length === 2);
  t.equal(first.launched.length, 1);
  await comePilot(site, 1, { auto: true }).dial();
  await site.until('both are done', () => statuses(site).length === 2);
});

t.test('what cannot end before the walltime waits for a fresh block, until it is known to be short', async (t) => {
  const config: AgentConfig = { blocks: { maxBlocks: 2, slots: 1, batch: { wallS: 600 } } };
  await using site = await batchSite({ onSubmit: () => undefined, config });
  let leftS = 600;
  site.broker.deliver(single(site.party, 'a', { run: { ...run, timeoutS: 500 } }));
  await site.until('a block', () => site.scheduler.submitted.length === 1);
  const first = comePilot(site, 0, { slots: 1, leftS: () => leftS });
  await first.dial();
  await site.until('a fresh block takes it', () => first.launched.length === 1);
  await site.clock.drive(200_000);
  leftS = 400;
  first.finish();
  site.broker.deliver(single(site.party, 'b', { run: { ...run, timeoutS: 500 } }));
  await site.until('it waits for a second block', () => site.scheduler.submitted.length === 2);
  t.equal(first.launched.length, 1);
  const second = comePilot(site, 1, { slots: 1, leftS: () => 600 });
  await second.dial();
  await site.until('which takes it', () => second.launched.length === 1);
  site.broker.deliver(single(site.party, 'c', { run: { ...run, timeoutS: 100 } }));
  await site.until('what is allowed less time goes to the old one', () => first.launched.length === 2);
});

t.test(
  'three starts that fail are not three at once, and the scheduler’s refusal is what everybody reads',
  async (t) => {
    await using site = await batchSite();
    let asked = 0;
    site.scheduler.submit = () => {
      asked += 1;
      return Promise.reject(new Error('sbatch: error: Invalid account or account/partition combination specified'));
    };
    site.broker.deliver(single(site.party, 'x', { run }));
    await site.until('two tries', () => asked === 2);
    await site.clock.drive(30_000);
    t.equal(asked, 2, 'the third waits');
    await site.until('the third', () => asked === 3, 1000);
    await site.until('it pauses', () => site.agent.status().state === 'paused');
    t.match(site.agent.status().reason, /Invalid account/);
    await site.until('the waiting are told', () =>
      site.broker.running.some(({ detail }) => /Invalid account/.test(detail)),
    );
  },
);

const ACCOUNT = 'slurm refused the job: Invalid account or account/partition combination specified. Its admin: set it';

t.test('a refusal for good pauses at the first try, and everybody who waits reads it with the remedy', async (t) => {
  await using site = await batchSite();
  let asked = 0;
  site.scheduler.submit = () => {
    asked += 1;
    return Promise.reject(new FarfieldError('E_FORBIDDEN', ACCOUNT));
  };
  const before = site.clock.mono();
  const told = (): number =>
    site.broker.running.filter(({ detail }) => /paused: .*Invalid account.*set it/.test(detail)).length;
  site.broker.deliver(single(site.party, 'x', { run }));
  await site.until('it pauses', () => site.agent.status().state === 'paused');
  await site.until('the first is told', () => told() >= 1);
  t.ok(site.clock.mono() - before < 5000, 'within seconds of the agent’s clock');
  site.broker.deliver(single(site.party, 'y', { run }));
  await site.until('whoever comes later is told too', () => told() >= 2);
  await site.clock.drive(3_600_000);
  t.equal(asked, 1, 'and it is not tried again');
  t.notMatch(site.agent.status().reason, /died at their start/);
});

t.test(
  'a scheduler that takes nothing now is asked again, rarer and rarer, and never pauses the endpoint',
  async (t) => {
    await using site = await batchSite({ onSubmit: () => undefined });
    const { submit } = site.scheduler;
    const asked: number[] = [];
    site.scheduler.submit = () => {
      asked.push(site.clock.mono());
      return Promise.reject(new FarfieldError('E_BUSY', 'slurm did not take the job: Socket timed out'));
    };
    site.broker.deliver(single(site.party, 'x', { run }));
    await site.until('it is told at the first try', () =>
      site.broker.running.some(({ detail }) => /Socket timed out; it is tried again in 5 s/.test(detail)),
    );
    await site.until('five tries', () => asked.length === 5, 500);
    const gaps = asked.slice(1).map((at, k) => at - (asked[k] ?? 0));
    t.ok(
      gaps.every((gap, k) => k === 0 || gap > (gaps[k - 1] ?? 0)),
      `${gaps}`,
    );
    t.equal(site.agent.status().state, 'open');
    site.scheduler.submit = submit;
    await site.until('it is taken', () => site.scheduler.submitted.length === 1, 500);
    await comePilot(site, 0, { auto: true }).dial();
    await site.until('a receipt', () => statuses(site).length === 1);
    t.same(statuses(site), ['succeeded']);
  },
);

t.test('after a restart the door is where it was, and a pilot of before comes back through it', async (t) => {
  await using site = await batchSite({ onSubmit: () => undefined });
  site.broker.deliver(single(site.party, 'x', { run }));
  await site.until('a block', () => site.scheduler.submitted.length === 1);
  const pilot = comePilot(site, 0);
  t.match(pilot.block.tls?.addresses, [/^127\.0\.0\.1:\d+$/]);
  await pilot.dial();
  await site.until('it runs', () => pilot.launched.length === 1);
  await site.restart();
  t.strictSame(comePilot(site, 0).block.tls, pilot.block.tls);
  await pilot.dial();
  pilot.finish();
  await site.until('a receipt', () => statuses(site).length === 1, 200);
  t.match(site.broker.receipts(site.party.principal.kid), [{ status: 'succeeded', attempt: 1 }]);
});

t.test('blocks are kept and begun as the site wants, and one serves one call where it wants that', async (t) => {
  const config: AgentConfig = { blocks: { minBlocks: 1, initBlocks: 2, maxBlocks: 4, idleS: 60 } };
  await using site = await batchSite({
    config,
    onSubmit: (s, folder) =>
      createPilotPeer(folder, { clock: s.clock, random: systemRandom, auto: true })
        .dial()
        .catch(() => undefined),
  });
  await site.until(
    'two at the start',
    () => site.agent.status().blocks.filter(({ state }) => state === 'running').length === 2,
  );
  await site.until('one is kept', () => site.agent.status().blocks.length === 1, 1000);
  await site.clock.drive(300_000);
  t.equal(site.agent.status().blocks.length, 1);
  t.equal(site.scheduler.submitted.length, 2);

  await using each = await batchSite({
    config: { blocks: { perCall: true, maxBlocks: 8, slots: 4 } },
    onSubmit: (s, folder) =>
      createPilotPeer(folder, { clock: s.clock, random: systemRandom, auto: true, slots: 4 })
        .dial()
        .catch(() => undefined),
  });
  each.broker.deliver(noopBatch(each.party, 5, { run }).part([0, 1, 2, 3, 4]));
  await each.until('all are done', () => statuses(each).length === 5, 100);
  t.equal(each.scheduler.submitted.length, 5);
});

t.test('who waits reads what for: the job at once, then the scheduler’s own reason', async (t) => {
  await using site = await batchSite({ onSubmit: () => undefined });
  site.broker.deliver(single(site.party, 'x', { run }));
  const told = (words: RegExp) => () =>
    site.broker.running.some(({ state, detail }) => state === 'waiting' && words.test(detail));
  await site.until('the job', told(/waiting for nodes: job job 1 of test, just submitted/));
  site.scheduler.say('job 1', { kind: 'queued', reason: 'Priority', startsAtMs: 1_800_000_000_000 });
  await site.until('the reason', told(/job 1 of test, Priority, expected 2027-01-15T08:00:00/));
  site.scheduler.say('job 1', { kind: 'held', reason: 'JobHeldAdmin' });
  await site.until('the hold', told(/is held: JobHeldAdmin/));
  t.match(site.agent.status().blocks, [{ state: 'held', detail: /JobHeldAdmin/ }]);
});
