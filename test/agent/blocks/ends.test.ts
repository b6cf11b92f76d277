/** What the caller reads when a job took the work with it: the scheduler's cause and the next step, on paths that each lose a pilot. */
import t from 'tap';
import { systemRandom } from '#base/random.ts';
import type { AgentConfig } from '../../../agent/config.ts';
import type { EndCause, Ended } from '../../../agent/schedulers/scheduler.ts';
import { createPilotPeer, type PilotPeer } from '../../fakes/pilot-peer.ts';
import { single } from '../parts.ts';
import { type Site, startSite } from '../site.ts';

const CONFIG: AgentConfig = {
  blocks: { scheduler: 'slurm', slots: 2, listen: { on: ['127.0.0.1'] }, batch: { wallS: 900, memMiB: 1500 } },
};
const newSite = (): Promise<Site> => startSite({ pushes: true, config: CONFIG, onSubmit: () => undefined });

interface Running {
  readonly site: Site;
  readonly pilot: PilotPeer;
}

/** One call that runs on a pilot, and may start `maxStarts` times. */
async function running(site: Site, maxStarts: number, maxFailures = 1): Promise<Running> {
  site.broker.deliver(single(site.party, 'x', { run: { maxFailures, maxStarts, timeoutS: 60 } }));
  await site.until('a block', () => site.scheduler.submitted.length === 1);
  const pilot = comePilot(site, 0);
  await pilot.dial();
  await site.until('it runs', () => pilot.launched.length === 1);
  return { site, pilot };
}

function comePilot(site: Site, job: number, auto = false): PilotPeer {
  const folder = site.scheduler.submitted[job]?.folder ?? '';
  return createPilotPeer(folder, { clock: site.clock, random: systemRandom, auto });
}

const receipts = (site: Site) => site.broker.receipts(site.party.principal.kid);
const messageOf = (site: Site): string => receipts(site)[0]?.detail.err?.message ?? '';
const ended = (cause: EndCause, why: string, more: Partial<Ended> = {}): Ended => ({
  kind: 'ended',
  cause,
  why,
  ...more,
});
const handBack = (pilot: PilotPeer, message: string): void =>
  pilot.end(pilot.launched, 'failed', { err: { code: 'E_UNAVAILABLE', message }, charged: false });

const CAUSES: readonly (readonly [Ended, RegExp])[] = [
  [ended('walltime', 'TIMEOUT, TimeLimit'), /time limit \(walltime\) of 15 min \(TIMEOUT.*ask for less.*wallS/],
  [ended('walltime', 'TIMEOUT', { limitS: 60 }), /time limit \(walltime\) of 60 s/],
  [ended('nodeLost', 'NODE_FAIL, NodeDown'), /node-1, the node of job .* failed \(NODE_FAIL.*submit it again/],
  [ended('preempted', 'PREEMPTED'), /give way to another job \(PREEMPTED\).*not preempted/],
  [ended('cancelled', 'CANCELLED', { by: '0' }), /cancelled by root \(CANCELLED\).*ask the site/],
  [ended('cancelled', 'CANCELLED', { by: '1001' }), /cancelled by uid 1001/],
  [
    ended('memory', 'OUT_OF_MEMORY'),
    /for its memory \(OUT_OF_MEMORY\), which is limited to 1500 MiB on a node for 2 slots; ask/,
  ],
  [ended('lost', 'it is in no listing'), /does not say how it ended/],
];

t.test('every cause that ends a last start is what its caller reads, with what to do next', async (t) => {
  for (const [end, words] of CAUSES) {
    await using site = await newSite();
    await running(site, 1);
    site.scheduler.end('job 1', end.why, end.cause, end);
    await site.until('a receipt', () => receipts(site).length === 1);
    t.match(messageOf(site), words);
    t.notMatch(messageOf(site), /[\n{]/, 'a sentence');
  }
});

t.test('a pilot that died with a last start: the answer waits for the scheduler’s cause', async (t) => {
  await using site = await newSite();
  const { pilot } = await running(site, 1);
  pilot.die();
  await site.clock.drive(30_000);
  t.equal(receipts(site).length, 0);
  site.scheduler.end('job 1', 'TIMEOUT', 'walltime', ended('walltime', 'TIMEOUT'));
  await site.until('a receipt', () => receipts(site).length === 1);
  t.match(receipts(site), [{ status: 'failed', attempt: 1, detail: { err: { code: 'E_OUTCOME_UNKNOWN' } } }]);
  t.match(messageOf(site), /walltime/);
});

t.test('a cause that nobody says in time holds the answer up no longer', async (t) => {
  await using site = await newSite();
  const { pilot } = await running(site, 1);
  pilot.die();
  await site.until('a receipt', () => receipts(site).length === 1, 500);
  t.match(messageOf(site), /was silent for 1\d\d s, and nobody says why/);
});

t.test('handed back at the scheduler’s signal: what its job ended of is the answer, not the signal', async (t) => {
  for (const [end, words] of [
    [ended('walltime', 'TIMEOUT'), /was ended at its time limit \(walltime\).*; SIGTERM from the scheduler/],
    [ended('completed', 'COMPLETED', { atLimit: true, limitS: 60 }), /came to its time limit \(walltime\) of 60 s/],
    [ended('completed', 'COMPLETED', { atLimit: false }), /ended under it on node-1 \(COMPLETED\).*; SIGTERM/],
    [ended('preempted', 'PREEMPTED'), /give way.*; SIGTERM from the scheduler/],
  ] as const) {
    await using site = await newSite();
    const { pilot } = await running(site, 1);
    pilot.drain('SIGTERM from the scheduler');
    await site.until('it drains', () => site.agent.status().blocks[0]?.state === 'draining');
    handBack(pilot, 'SIGTERM from the scheduler');
    await site.until('the pilot may go', () => pilot.acked.length === 1);
    pilot.hangUp();
    t.equal(receipts(site).length, 0);
    await site.until('the caller is told what is waited for', () =>
      site.broker.running.some(({ detail }) => /SIGTERM.*waiting for the scheduler's word/.test(detail)),
    );
    site.scheduler.end('job 1', end.why, end.cause, end);
    await site.until('a receipt', () => receipts(site).length === 1);
    t.match(receipts(site), [{ status: 'failed', detail: { err: { code: 'E_RETRIES_EXHAUSTED' } } }]);
    t.match(messageOf(site), words);
  }
});

t.test('an agent that dies while it waits for a cause starts nothing beyond the last start', async (t) => {
  await using site = await newSite();
  const { pilot } = await running(site, 1);
  pilot.drain('SIGTERM from the scheduler');
  handBack(pilot, 'SIGTERM from the scheduler');
  await site.until('it is taken', () => pilot.acked.length === 1);
  pilot.hangUp();
  await site.restart();
  site.scheduler.end('job 1', 'TIMEOUT', 'walltime', ended('walltime', 'TIMEOUT'));
  await site.until('a receipt', () => receipts(site).length === 1);
  t.match(receipts(site), [{ status: 'failed', attempt: 1 }]);
  t.match(messageOf(site), /walltime/);
  t.equal(site.scheduler.submitted.length, 1);
});

t.test('`why` tells the cause of the start before, and a death by memory is charged when it is known', async (t) => {
  await using site = await newSite();
  const { pilot } = await running(site, 4, 2);
  const { id = '' } = site.broker.admitted[0] ?? {};
  pilot.die();
  await site.until('it waits again', () => /Its last start ended: its pilot on node-1 ended/.test(sentence(site, id)));
  site.scheduler.end('job 1', 'OUT_OF_MEMORY', 'memory', ended('memory', 'OUT_OF_MEMORY'));
  await site.until('the cause is known', () => /ended: job .* for its memory/.test(sentence(site, id)));
  await site.until('another block', () => site.scheduler.submitted.length === 2);
  const next = comePilot(site, 1);
  await next.dial();
  await site.until('it runs again', () => next.launched.length === 1);
  t.match(sentence(site, id), /it runs on node-1 .*start number 2.*Its last start ended: job .* for its memory/);
  site.scheduler.end('job 2', 'OUT_OF_MEMORY', 'memory', ended('memory', 'OUT_OF_MEMORY'));
  await site.until('a receipt', () => receipts(site).length === 1);
  t.match(receipts(site), [{ status: 'failed', attempt: 2 }], 'two failures were allowed');
});

t.test(
  'a job is out of memory for ever once a runner in it was: what it takes along later is not charged',
  async (t) => {
    await using site = await newSite();
    const { pilot } = await running(site, 4, 2);
    const message = 'the runner was killed (SIGKILL: out of memory?)';
    pilot.end(pilot.launched, 'failed', { err: { code: 'E_FUNCTION', message }, charged: true });
    await site.until('it starts again', () => pilot.launched.length === 2);
    site.scheduler.end('job 1', 'OUT_OF_MEMORY', 'memory', ended('memory', 'OUT_OF_MEMORY'));
    await site.until('another block', () => site.scheduler.submitted.length === 2, 500);
    await comePilot(site, 1, true).dial();
    await site.until('a receipt', () => receipts(site).length === 1, 500);
    t.match(receipts(site), [{ status: 'succeeded', attempt: 3 }], 'two charged failures would have ended it');
  },
);

function sentence(site: Site, id: string): string {
  const answer = site.agent.why(id);
  return answer !== undefined && 'sentence' in answer ? answer.sentence : '';
}

t.test(
  'killed for its memory inside a job that lives on: one sentence with the job’s limit, not the runner’s output',
  async (t) => {
    await using site = await newSite();
    const { pilot } = await running(site, 4);
    const message = 'the runner was killed (SIGKILL: out of memory?); its last output: {"level":30} allocated 1.2 GiB';
    pilot.end(pilot.launched, 'failed', { err: { code: 'E_FUNCTION', message }, charged: true });
    await site.until('a receipt', () => receipts(site).length === 1);
    t.match(
      messageOf(site),
      /^it was killed for its memory \(SIGKILL\) in job .*1500 MiB.*2 slots; ask for more memory/,
    );
    t.notMatch(messageOf(site), /allocated|runner/);
  },
);

t.test('the next block is asked to leave out a node that killed a pilot, for a while', async (t) => {
  const die = async ({ site, pilot }: Running): Promise<void> => {
    pilot.die();
    await site.until('it waits again', () => site.agent.status().work.waiting === 1);
  };
  const site = async (after: (running: Running) => Promise<void>): Promise<readonly string[]> => {
    await using each = await newSite();
    each.scheduler.namesNodes = true;
    await after(await running(each, 4, 3));
    await each.until('another block', () => each.scheduler.submitted.length === 2);
    return each.scheduler.submitted[1]?.avoid ?? [];
  };
  t.strictSame(
    await site(async (one) => {
      await die(one);
      one.site.scheduler.end('job 1', 'FAILED', 'failed');
    }),
    ['node-1'],
  );
  t.strictSame(await site(async (one) => one.site.scheduler.end('job 1', 'NODE_FAIL', 'nodeLost')), ['node-1']);
  for (const cause of ['walltime', 'preempted', 'cancelled', 'memory'] as const)
    t.strictSame(
      await site(async (one) => {
        one.pilot.die();
        one.site.scheduler.end('job 1', cause, cause);
      }),
      [],
      cause,
    );
});
