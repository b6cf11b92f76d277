/** What a site gets: an agent of an ordinary user, blocks by sbatch, functions in Apptainer, results with receipts. */
import t from 'tap';
import { joinCluster, until } from '../cluster.ts';
import { farfieldOn, jobsOf, openWorld } from '../world.ts';

const cluster = joinCluster(process.argv[2] ?? '');
const world = await openWorld(cluster);
t.teardown(() => world[Symbol.asyncDispose]());
// The shipped example of a university's cluster, word for word but for how soon a block without work ends.
const endpoint = await world.addEndpoint({
  name: 'uni',
  user: 'alice',
  site: 'slurm-university.yaml',
  blocks: { idleS: 8 },
});
const noop = await world.sign('noop', 'noop');

t.test('work makes a Slurm job, which runs it in a container on a node, and its receipt says so', async (t) => {
  t.equal((await jobsOf(cluster, 'alice')).length, 0, 'no job before there is work');
  const call = await world.submit(endpoint, noop);
  const outcome = await call.outcome();
  t.match(
    outcome,
    { status: 'succeeded', attempt: 1, receipt: { endpoint: endpoint.id } },
    JSON.stringify(outcome.detail),
  );
  t.match(outcome.meas, { runtime: 'apptainer', network: 'none', node: /^node[12]$/ });
  const links = await cluster.sh(outcome.meas.node as 'node1', 'ss -Htn state established dst 10.77.0.1 | wc -l');
  t.not(links, '0', 'its pilot came over the network');
  const jobs = await jobsOf(cluster, 'alice');
  t.equal(jobs.length, 1);
  t.match(jobs[0], { name: new RegExp(`^ff-${endpoint.id.slice(0, 8)}-`), state: 'RUNNING' });
});

t.test('BraggNN over the validation patches, in its container on the same block', async (t) => {
  const call = await world.submit(endpoint, await world.bragg());
  const outcome = await call.outcome();
  t.equal(outcome.status, 'succeeded', JSON.stringify(outcome.detail));
  const { summary } = outcome.detail.rep as { summary: { n: number; mean: number } };
  t.equal(summary.n, 13_799);
  t.ok(summary.mean < 0.25, `mean error ${summary.mean} px`);
  t.equal((await jobsOf(cluster, 'alice')).length, 1, 'no second job');
});

t.test('1,000 items in one batch', async (t) => {
  const call = await world.submit(endpoint, noop, { args: Array.from({ length: 1000 }, (_, i) => ({ i })) });
  const all = await call.ticket.all();
  t.equal(all.filter(({ status }) => status === 'succeeded').length, 1000);
});

t.test('a block without work gives its nodes back', async (t) => {
  const jobs = await until('no job is left', async () => {
    const list = await jobsOf(cluster, 'alice');
    return list.every(({ state }) => !/RUNNING|COMPLETING|PENDING/.test(state)) && list;
  });
  t.match(jobs[0]?.state, /COMPLETED|CANCELLED/);
  for (const node of ['node1', 'node2'] as const)
    t.equal(await farfieldOn(cluster, node), '', `nothing is left on ${node}`);
});
