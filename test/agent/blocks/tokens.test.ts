/** A block token in the wrong hands: refused, logged, counted; and the honest node goes on. */
import t from 'tap';
import { systemRandom } from '#base/random.ts';
import { parseToken } from '#kernel/jws.ts';
import type { AgentConfig } from '../../../agent/config.ts';
import { createPilotPeer, type PilotPeer } from '../../fakes/pilot-peer.ts';
import { single } from '../parts.ts';
import { type Site, type SiteOptions, startSite } from '../site.ts';

const statuses = (site: Site): string[] => site.broker.receipts(site.party.principal.kid).map(({ status }) => status);

async function withBlock(nodes = 1, options: SiteOptions = {}): Promise<Site> {
  const config: AgentConfig = {
    blocks: { scheduler: 'slurm', slots: 1, listen: { on: ['127.0.0.1'] }, batch: { nodes } },
  };
  const site = await startSite({ pushes: true, onSubmit: () => undefined, config, ...options });
  site.broker.deliver(single(site.party, 'x'));
  await site.until('a block', () => site.agent.status().blocks[0]?.state === 'pending');
  return site;
}

function pilotOn(site: Site, node: string, job = 0): PilotPeer {
  const folder = site.scheduler.submitted[job]?.folder ?? '';
  return createPilotPeer(folder, { clock: site.clock, random: systemRandom, auto: true, node });
}

const refusals = (site: Site): string[] => site.log.filter((line) => line.includes('pilot refused'));

t.test(
  'a token that was redeemed is worth nothing on the same node, nor on another, and each try is logged and counted',
  async (t) => {
    await using site = await withBlock();
    const honest = pilotOn(site, 'n1');
    await honest.dial();
    await t.rejects(pilotOn(site, 'n1').dial(), { code: 'E_UNAUTHENTICATED', message: /redeemed on n1 before/ });
    await t.rejects(pilotOn(site, 'n2').dial(), { code: 'E_UNAUTHENTICATED', message: /by all of its 1 nodes/ });
    t.equal(refusals(site).length, 2);
    t.match(JSON.parse(refusals(site)[1] ?? '{}'), { code: 'E_UNAUTHENTICATED', refused: 2 });
    await site.until('the honest one works', () => statuses(site).length === 1);
  },
);

t.test('each node of a block redeems it once', async (t) => {
  await using site = await withBlock(3);
  for (const node of ['n1', 'n2', 'n3']) await pilotOn(site, node).dial();
  t.equal(site.agent.status().blocks[0]?.pilots, 3);
  await t.rejects(pilotOn(site, 'n4').dial(), { code: 'E_UNAUTHENTICATED' });
});

t.test(
  'a node that is not of the job is refused, and one that was sooner than the listing is thrown out by it',
  async (t) => {
    await using site = await withBlock(2);
    site.scheduler.namesNodes = true;
    const thief = pilotOn(site, 'laptop');
    await thief.dial();
    site.scheduler.say('job 1', { kind: 'running', nodes: ['n1.site.example', 'n2.site.example'] });
    await site.until('it is noticed', () => site.log.some((line) => line.includes('not of its job')));
    await t.rejects(thief.dial({ token: false }), { code: 'E_UNAUTHENTICATED' }, 'its key is forgotten');
    await t.rejects(pilotOn(site, 'laptop').dial(), { code: 'E_FORBIDDEN', message: /laptop is no node of block/ });
    await pilotOn(site, 'n1').dial();
    await pilotOn(site, 'N2.site.example').dial();
    t.equal(site.agent.status().blocks[0]?.pilots, 2);
  },
);

t.test('a token of a block that is over, that never was, or of another block is refused', async (t) => {
  await using site = await withBlock();
  const late = pilotOn(site, 'n1');
  const other = pilotOn(site, 'n1');
  site.scheduler.end('job 1', 'cancelled', 'cancelled');
  await site.until(
    'another block',
    () => site.agent.status().blocks[0]?.state === 'pending' && site.scheduler.submitted.length === 2,
  );
  await t.rejects(late.dial(), { code: 'E_FORBIDDEN', message: /is over/ });
  const next = pilotOn(site, 'n1', 1);
  // A live block's name with the dead one's token.
  Object.assign(other.block, { block: next.block.block });
  await t.rejects(other.dial(), { code: 'E_FORBIDDEN', message: /this token is of block/ });
  await next.dial();
  await site.until('it works', () => statuses(site).length === 1);
});

t.test('a job may wait for days: its token is as good as its block', async (t) => {
  await using site = await withBlock();
  const pilot = pilotOn(site, 'n1');
  const { claims } = parseToken('farfield-block+jwt', pilot.block.token);
  t.ok(claims.exp - claims.iat > 30 * 86_400);
  // Steps below what looks like a clock that jumps.
  for (let hours = 0; hours < 12; hours += 1) await site.clock.drive(3_600_000);
  await pilot.dial();
  t.equal(site.agent.status().blocks[0]?.state, 'running');
});

t.test('a redemption holds across a restart of the agent', async (t) => {
  await using site = await withBlock();
  const honest = pilotOn(site, 'n1');
  await honest.dial();
  await site.until('it works', () => statuses(site).length === 1);
  await site.restart();
  await t.rejects(pilotOn(site, 'n1').dial(), { code: 'E_UNAUTHENTICATED', message: /redeemed/ });
  await honest.dial();
  t.equal(site.agent.status().blocks[0]?.pilots, 1);
});
