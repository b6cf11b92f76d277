/** What a cluster does to its jobs: each fault is done to a real one, and then the caller's answer and the state are looked at. */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { joinCluster, REPO, until } from '../cluster.ts';
import { farfieldOn, jobsOf, openWorld, running, runningJob } from '../world.ts';

const cluster = joinCluster(process.argv[2] ?? '');
const world = await openWorld(cluster);
t.teardown(() => world[Symbol.asyncDispose]());
const endpoint = await world.addEndpoint({ name: 'lab', user: 'alice' });
/** Long enough for a fault in its midst, short enough to be done twice. */
const nap = await world.sign('nap', 'noop', { sleepMs: 5000 });
const ninety = await world.sign('ninety', 'noop', { sleepMs: 90_000 });
const long = await world.sign('long', 'noop', { sleepMs: 600_000 });
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

t.test('a node that is set down: the work goes on at another one, and a last start is told why it ended', async (t) => {
  const call = await world.submit(endpoint, nap);
  const lastStart = await world.submit(endpoint, long, { maxStarts: 1, wallS: 800 });
  await running(call);
  await running(lastStart);
  const job = await runningJob(cluster, 'alice');
  // Drained too, or it would be back as soon as its daemon reports.
  for (const state of ['drain', 'down'])
    await cluster.sh('head', `scontrol update nodename=${job.node} state=${state} reason=fan`);
  const outcome = await call.outcome();
  t.match(outcome, { status: 'succeeded', attempt: 2 }, JSON.stringify(outcome.detail));
  t.not(outcome.meas.node, job.node);
  t.equal(await ended(job.id), 'NODE_FAIL');
  const { err } = (await lastStart.outcome()).detail;
  t.match(
    err?.message,
    new RegExp(`${job.node}, the node of job ${job.id} of slurm, failed \\(NODE_FAIL.*submit it again`),
  );
  t.comment(JSON.stringify(err));
  await cluster.sh('head', `scontrol update nodename=${job.node} state=resume`);
  t.comment(call.progress.map(({ state, detail }) => `${state}: ${detail}`).join('; '));
});

t.test('memory over the job’s limit: the caller is told that it was the memory', async (t) => {
  const call = await world.submit(endpoint, fake, { args: [{ do: 'allocate', bytes: 3_000_000_000 }] });
  const outcome = await call.outcome();
  t.match(outcome, {
    status: 'failed',
    attempt: 3,
    detail: {
      err: {
        code: 'E_RETRIES_EXHAUSTED',
        message: /^it was killed for its memory \(SIGKILL\) in job \d+ of slurm, .* 1500 MiB .*; ask for/,
      },
    },
  });
  t.comment(JSON.stringify(outcome.detail.err));
  t.comment(call.progress.map(({ state, detail }) => `${state}: ${detail}`).join('; '));
});

t.test('a pilot that is killed: its work starts again, on a node that did not just kill one', async (t) => {
  const call = await world.submit(endpoint, nap);
  await running(call);
  const job = await runningJob(cluster, 'alice');
  await cluster.sh(job.node as 'node1', 'pkill -9 -f pilot/main');
  const outcome = await call.outcome();
  t.match(outcome, { status: 'succeeded', attempt: 2 }, JSON.stringify(outcome.detail));
  t.not(outcome.meas.node, job.node);
  const { id } = await runningJob(cluster, 'alice');
  t.match(await cluster.sh('head', `scontrol show job ${id}`), new RegExp(`ExcNodeList=${job.node}`));
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

t.test('a token that was stolen: no other node can use it, and who may see it is its account alone', async (t) => {
  const call = await world.submit(endpoint, nap);
  await running(call);
  const { node } = await runningJob(cluster, 'alice');
  const other = node === 'node1' ? 'node2' : 'node1';
  const [block = ''] = (await cluster.sh('head', `ls ${endpoint.state}/blocks`)).split('\n').slice(-1);
  const place = `${endpoint.state}/blocks/${block}`;
  const { code } = await cluster.run('head', ['cat', `${place}/block.json`], { user: 'bob' });
  t.not(code, 0, 'bob cannot read it');
  for (const [host, user] of [
    [other, 'alice'],
    ['desk', 'bob'],
  ] as const) {
    await cluster.sh(host, `rm -rf /tmp/stolen; cp -r ${place} /tmp/stolen; chown -R ${user}: /tmp/stolen`);
    const command = ['timeout', '8', process.execPath, `${REPO}/pilot/main.ts`, '/tmp/stolen'];
    const thief = await cluster.run(host, command, { user });
    t.comment(`${host}: exit ${thief.code}: ${thief.stderr.trim().split('\n').slice(-2).join(' | ')}`);
  }
  t.match(endpoint.log(), new RegExp(`${other} is no node of block ${block}`));
  t.match(endpoint.log(), new RegExp(`desk is no node of block ${block}`));
  t.match(await call.outcome(), { status: 'succeeded', attempt: 1, meas: { node } }, 'the pilot that is meant goes on');
});

t.test('a cable that is cut for seconds: the same pilot goes on', async (t) => {
  const call = await world.submit(endpoint, nap);
  await running(call);
  const job = await runningJob(cluster, 'alice');
  cluster.cable(job.node as 'node1', 'cut');
  await sleep(2000);
  cluster.cable(job.node as 'node1', 'join');
  t.match(await call.outcome(), { status: 'succeeded', attempt: 1 });
  t.equal((await runningJob(cluster, 'alice')).id, job.id);
});

t.test(
  'a cable that stays cut: the work starts elsewhere, and what is behind the cut is not believed later',
  async (t) => {
    const call = await world.submit(endpoint, nap);
    await running(call);
    const job = await runningJob(cluster, 'alice');
    const node = job.node as 'node1';
    cluster.cable(node, 'cut');
    const began = Date.now();
    const outcome = await call.outcome();
    t.match(outcome, { status: 'succeeded', attempt: 2 }, JSON.stringify(outcome.detail));
    t.not(outcome.meas.node, node);
    t.comment(
      `${((Date.now() - began) / 1000).toFixed(0)} s`,
      call.progress.map(({ state, detail }) => `${state}: ${detail}`).join('; '),
    );
    cluster.cable(node, 'join');
    await until('the node is back and empty', async () => {
      const state = await cluster.sh('head', `sinfo -h -n ${node} -p gpu -o %T`);
      return state === 'idle' && (await farfieldOn(cluster, node)) === '';
    });
    t.equal(await ended(job.id), 'NODE_FAIL');
  },
);

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

t.test('a shared file system that is full: nothing is promised, and work goes on when there is room', async (t) => {
  await cluster.sh('head', 'dd if=/dev/zero of=/home/bob/fill bs=1M 2>/dev/null || true');
  const call = await world.submit(endpoint, nap);
  const status = await until('the endpoint says so', async () => {
    const now = await endpoint.status().catch((reason: unknown) => ({ state: String(reason), reason: '' }));
    return now.state !== 'open' && now;
  });
  t.match(status, { state: 'paused', reason: /full/ });
  t.comment(JSON.stringify([status.state, status.reason]));
  await cluster.sh('head', 'rm /home/bob/fill');
  const outcome = await call.outcome();
  t.equal(outcome.status, 'succeeded', JSON.stringify(outcome.detail));
  t.comment(call.progress.map(({ state, detail }) => `${state}: ${detail}`).join('; '));
});

t.test('a cable that is cut for a minute, as Slurm bears by default: the same pilot goes on', async (t) => {
  // The last test: of this cluster the limit is 10 s, so that a node that is lost is lost soon, and Slurm's own is 300 s.
  for (const host of ['head', 'node1', 'node2'] as const)
    await cluster.sh(host, "sed -i 's/^SlurmdTimeout=.*/SlurmdTimeout=300/' /etc/slurm/slurm.conf");
  await cluster.sh('head', 'scontrol reconfigure');
  const call = await world.submit(endpoint, ninety);
  await running(call);
  const job = await runningJob(cluster, 'alice');
  cluster.cable(job.node as 'node1', 'cut');
  await sleep(60_000);
  cluster.cable(job.node as 'node1', 'join');
  t.match(await call.outcome(), { status: 'succeeded', attempt: 1, meas: { node: job.node } });
  t.equal((await runningJob(cluster, 'alice')).id, job.id, 'the same job');
});
