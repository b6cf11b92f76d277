/** What a scheduler and its other users do to an endpoint: refuse, preempt, end by the clock; and two endpoints beside each other. */
import t from 'tap';
import { joinCluster, until } from '../cluster.ts';
import { jobsOf, openWorld, running, runningJob } from '../world.ts';

const cluster = joinCluster(process.argv[2] ?? '');
const world = await openWorld(cluster);
t.teardown(() => world[Symbol.asyncDispose]());
const endpoint = await world.addEndpoint({ name: 'lab', user: 'alice' });
const bobs = await world.addEndpoint({ name: 'other', user: 'bob', batch: { account: 'bobs-lab', queue: 'scavenge' } });
const nap = await world.sign('nap', 'noop', { sleepMs: 5000 });
const long = await world.sign('long', 'noop', { sleepMs: 600_000 });
const quick = await world.sign('quick', 'noop');

t.test('two endpoints of two people: jobs, folders and receipts are each one’s own', async (t) => {
  const calls = [await world.submit(endpoint, nap), await world.submit(bobs, nap)];
  const outcomes = await Promise.all(calls.map((call) => call.outcome()));
  t.match(outcomes, [
    { status: 'succeeded', receipt: { endpoint: endpoint.id } },
    { status: 'succeeded', receipt: { endpoint: bobs.id } },
  ]);
  t.match(await jobsOf(cluster, 'alice'), [{ user: 'alice', partition: 'gpu' }]);
  t.match(await jobsOf(cluster, 'bob'), [{ user: 'bob', partition: 'scavenge', account: 'bobs-lab' }]);
  for (const [user, { state }] of [
    ['bob', endpoint],
    ['alice', bobs],
  ] as const)
    t.not((await cluster.run('node1', ['ls', state], { user })).code, 0, `${user} cannot enter ${state}`);
});

t.test(
  'a change of queue: work goes into jobs of the new one, and no block of the old one is used for it',
  async (t) => {
    const before = await runningJob(cluster, 'alice');
    // Ended by SIGTERM, the agent leaves its blocks to its next life, as an upgrade does.
    await cluster.sh('head', `kill -TERM ${(await endpoint.status()).pid}`);
    await endpoint.configure({ maxBlocks: 2 }, { queue: 'scavenge' });
    const call = await world.submit(endpoint, nap);
    await running(call);
    const outcome = await call.outcome();
    t.equal(outcome.status, 'succeeded', JSON.stringify(outcome.detail));
    const jobs = (await jobsOf(cluster, 'alice')).filter(({ id }) => id !== before.id);
    t.match(jobs, [{ partition: 'scavenge' }]);
    await cluster.sh('head', `scancel ${before.id}`);
  },
);

t.test('a job that has to give way: its work starts again in another, and a last start is told why', async (t) => {
  const call = await world.submit(endpoint, nap);
  const lastStart = await world.submit(endpoint, long, { maxStarts: 1, wallS: 800 });
  await running(call);
  await running(lastStart);
  const jobs = await jobsOf(cluster, 'alice');
  const job = jobs.filter(({ state, partition }) => state === 'RUNNING' && partition === 'scavenge').at(-1);
  await cluster.sh(
    'head',
    `cd /tmp; sbatch -p gpu --exclusive -w ${job?.node} -t 2 -o /dev/null --wrap 'sleep 3'`,
    'bob',
  );
  const outcome = await call.outcome();
  t.match(outcome, { status: 'succeeded', attempt: 2 }, JSON.stringify(outcome.detail));
  t.comment(call.progress.map(({ state, detail }) => `${state}: ${detail}`).join('; '));
  const state = await until('it is over', async () => {
    const now = (await jobsOf(cluster, 'alice')).find(({ id }) => id === job?.id)?.state;
    return now !== 'RUNNING' && now !== 'COMPLETING' && now;
  });
  t.match(state, /PREEMPTED|CANCELLED/);
  const { err } = (await lastStart.outcome()).detail;
  t.match(err?.message, /had to give way to another job \(PREEMPTED/);
  t.comment(JSON.stringify(err));
});

t.test('a submit that Slurm refuses: everyone who waits reads Slurm’s own words', async (t) => {
  await endpoint.configure({}, { reservation: 'holiday' });
  const call = await world.submit(endpoint, quick);
  await until('the caller is told', () => call.progress.some(({ detail }) => /reservation/i.test(detail)), {
    seen: () => call.progress,
  });
  t.comment(call.progress.map(({ state, detail }) => `${state}: ${detail}`).join('; '));
  const paused = await until('the endpoint pauses', async () => {
    const now = await endpoint.status();
    return now.state === 'paused' && now;
  });
  t.match(paused.reason, /reservation is invalid.*blocks\.batch\.reservation.*endpoint resume/i);
  t.equal(endpoint.log().match(/"state":"refused"/g)?.length, 1, 'one try: it would be refused for good');
  t.match(call.progress.at(-1)?.detail, /paused: slurm refused the job: .*reservation is invalid/i);
  const submits = (await jobsOf(cluster, 'alice')).length;
  await endpoint.configure();
  await endpoint.verb('endpoint', 'resume', '--name', endpoint.name);
  t.match(await call.outcome(), { status: 'succeeded' });
  t.equal((await jobsOf(cluster, 'alice')).length, submits + 1, 'one job, once it could be');
});

t.test('a block that dies at its start: three times, then a pause with what it printed', async (t) => {
  await endpoint.configure({}, { setup: ['echo "module: no apptainer here" >&2; exit 1'] });
  const before = (await jobsOf(cluster, 'alice')).length;
  const call = await world.submit(endpoint, quick);
  const paused = await until('the endpoint pauses', async () => {
    const now = await endpoint.status();
    return now.state === 'paused' && now;
  });
  t.match(paused.reason, /no apptainer here/);
  t.equal((await jobsOf(cluster, 'alice')).length - before, 3, 'three jobs, no more');
  t.match(call.progress.at(-1)?.detail, /no apptainer here/, 'the caller reads it too');
  await endpoint.configure();
  await endpoint.verb('endpoint', 'resume', '--name', endpoint.name);
  t.match(await call.outcome(), { status: 'succeeded' });
});

t.test('a job that its limit ends: the pilot drains before it, and the caller is told why', async (t) => {
  const call = await world.submit(endpoint, long, { maxStarts: 1, wallS: 800 });
  await running(call);
  const job = await runningJob(cluster, 'alice');
  // An admin cuts its time: the pilot counts on 15 minutes, and Slurm ends it after one.
  await cluster.sh('head', `scontrol update jobid=${job.id} timelimit=1`);
  const outcome = await call.outcome();
  t.match(outcome.detail.err, { code: 'E_RETRIES_EXHAUSTED', message: /time limit \(walltime\) of 60 s/ });
  t.comment(JSON.stringify(outcome.detail.err));
  t.comment(call.progress.map(({ state, detail }) => `${state}: ${detail}`).join('; '));
  t.comment(JSON.stringify((await jobsOf(cluster, 'alice')).find(({ id }) => id === job.id)));
});

t.test(
  'a job that its limit ends while its pilot hangs: nobody drains, and the caller reads that it was the walltime',
  async (t) => {
    const call = await world.submit(endpoint, long, { maxStarts: 1, wallS: 800 });
    await running(call);
    const job = await runningJob(cluster, 'alice');
    // A pilot that hangs does nothing about a warning. Once is not enough: Slurm lets it go on before it sends its signal.
    const hang = "while pkill -STOP -f 'pilot/[m]ain'; do sleep 0.02; done";
    await cluster.sh(job.node as 'node1', `setsid sh -c "${hang}" </dev/null >/dev/null 2>&1 &`);
    await cluster.sh('head', `scontrol update jobid=${job.id} timelimit=1`);
    const outcome = await call.outcome();
    t.match(outcome.detail.err, {
      code: 'E_OUTCOME_UNKNOWN',
      message: new RegExp(`job ${job.id} of slurm was ended at its time limit \\(walltime\\) of 60 s \\(TIMEOUT`),
    });
    t.equal((await jobsOf(cluster, 'alice')).find(({ id }) => id === job.id)?.state, 'TIMEOUT');
    t.comment(JSON.stringify(outcome.detail.err));
  },
);
