/** What a cluster does to its jobs: each fault is done to a real one, and then the caller's answer and the state are looked at. */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { joinCluster, until } from '../cluster.ts';
import { jobsOf, openWorld, running, runningJob } from '../world.ts';

const cluster = joinCluster(process.argv[2] ?? '');
const world = await openWorld(cluster);
t.teardown(() => world[Symbol.asyncDispose]());
const endpoint = await world.addEndpoint({ name: 'lab', user: 'alice' });
/** Long enough for a fault in its midst, short enough to be done twice. */
const nap = await world.sign('nap', 'noop', { sleepMs: 5000 });
const fake = await world.sign('fake', 'fake');

const ended = (job: string): Promise<string> =>
  until(`job ${job} is over`, async () => {
    const state = (await jobsOf(cluster, 'alice')).find(({ id }) => id === job)?.state;
    return state !== undefined && !/RUNNING|COMPLETING|PENDING/.test(state) && state;
  });

t.test('a job that root cancels: the work starts again in a new job, and its receipt counts the attempt', async (t) => {
  const call = await world.submit(endpoint, nap);
  await running(call);
  const job = await runningJob(cluster, 'alice');
  await cluster.sh('head', `scancel ${job.id}`);
  const outcome = await call.outcome();
  t.match(outcome, { status: 'succeeded', attempt: 2 }, JSON.stringify(outcome.detail));
  t.match(await ended(job.id), /CANCELLED|COMPLETED/);
  t.comment(call.progress.map(({ state, detail }) => `${state}: ${detail}`).join('; '));
});

t.test('a node that is set down: the work goes on at another one', async (t) => {
  const call = await world.submit(endpoint, nap);
  await running(call);
  const job = await runningJob(cluster, 'alice');
  await cluster.sh('head', `scontrol update nodename=${job.node} state=down reason=fan`);
  const outcome = await call.outcome();
  t.match(outcome, { status: 'succeeded', attempt: 2 }, JSON.stringify(outcome.detail));
  t.not(outcome.meas.node, job.node);
  t.equal(await ended(job.id), 'NODE_FAIL');
  await cluster.sh('head', `scontrol update nodename=${job.node} state=resume`);
  t.comment(call.progress.map(({ state, detail }) => `${state}: ${detail}`).join('; '));
});

t.test('memory over the job’s limit: the caller is told that it was the memory', async (t) => {
  const call = await world.submit(endpoint, fake, { args: [{ do: 'allocate', bytes: 3_000_000_000 }] });
  const outcome = await call.outcome();
  t.equal(outcome.status, 'failed');
  t.comment(JSON.stringify(outcome.detail.err));
  t.comment(call.progress.map(({ state, detail }) => `${state}: ${detail}`).join('; '));
});

t.test('a pilot that is killed: its work starts again', async (t) => {
  const call = await world.submit(endpoint, nap);
  await running(call);
  const job = await runningJob(cluster, 'alice');
  await cluster.sh(job.node as 'node1', 'pkill -9 -f pilot/main');
  const outcome = await call.outcome();
  t.match(outcome, { status: 'succeeded', attempt: 2 }, JSON.stringify(outcome.detail));
  t.comment(call.progress.map(({ state, detail }) => `${state}: ${detail}`).join('; '));
});

t.test('an agent that is killed: it finds its job again, and nothing runs twice', async (t) => {
  const call = await world.submit(endpoint, nap);
  await running(call);
  const job = await runningJob(cluster, 'alice');
  const { pid } = await endpoint.status();
  await cluster.sh('head', `kill -9 ${pid}`);
  await endpoint.start();
  const outcome = await call.outcome();
  t.match(outcome, { status: 'succeeded', attempt: 1 }, JSON.stringify(outcome.detail));
  t.equal((await runningJob(cluster, 'alice')).id, job.id, 'the same job');
  t.comment(call.progress.map(({ state, detail }) => `${state}: ${detail}`).join('; '));
});

t.test('a controller that is restarted: what runs goes on', async (t) => {
  const call = await world.submit(endpoint, nap);
  await running(call);
  const job = await runningJob(cluster, 'alice');
  await sleep(6000); // A controller that is killed within seconds of a start has not written it down.
  await cluster.sh('head', 'pkill -9 slurmctld');
  await cluster.sh(
    'head',
    'sleep 2; setpriv --reuid=slurm --regid=slurm --init-groups -- slurmctld </dev/null >/dev/null 2>&1',
  );
  const outcome = await call.outcome();
  t.match(outcome, { status: 'succeeded', attempt: 1 }, JSON.stringify(outcome.detail));
  t.equal((await runningJob(cluster, 'alice')).id, job.id, 'the same job');
});
