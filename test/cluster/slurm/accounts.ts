/** Slurm with its accounting: an account that slurmdbd refuses, and who cancelled a job. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { joinCluster, REPO, until } from '../cluster.ts';
import { openWorld, running, runningJob } from '../world.ts';

const cluster = joinCluster(process.argv[2] ?? '');
execFileSync(join(REPO, 'scripts/cluster/accounting.sh'), [cluster.folder], { stdio: ['ignore', 'ignore', 'inherit'] });
// What is shown is the scheduler's matter: no container is needed for it.
const world = await openWorld(cluster, { runtime: 'process' });
t.teardown(() => world[Symbol.asyncDispose]());
const endpoint = await world.addEndpoint({ name: 'lab', user: 'alice', batch: { account: 'bobs-lab' } });
const quick = await world.sign('quick', 'noop');
const long = await world.sign('long', 'noop', { sleepMs: 600_000 });

t.test(
  'an account that the accounting refuses: a pause at the first try, and everybody reads Slurm’s words',
  async (t) => {
    const began = Date.now();
    const calls = [await world.submit(endpoint, quick), await world.submit(endpoint, quick)];
    for (const call of calls)
      await until(
        'the caller is told',
        () => call.progress.some(({ detail }) => /paused.*Invalid account/.test(detail)),
        {
          seen: () => call.progress,
        },
      );
    t.comment(`${((Date.now() - began) / 1000).toFixed(1)} s`, calls[0]?.progress.at(-1)?.detail);
    const { state, reason } = await endpoint.status();
    t.match({ state, reason }, { state: 'paused', reason: /Invalid account.*blocks\.batch\.account.*sacctmgr/ });
    t.match(await endpoint.verb('endpoint', 'why', calls[0]?.ticket.id ?? '', '--name', endpoint.name), {
      code: 'paused',
      sentence: /Invalid account or account\/partition combination/,
    });
    t.equal(endpoint.log().match(/"state":"refused"/g)?.length, 1, 'one try');
    await endpoint.configure({}, { account: 'chem-lab' });
    await endpoint.verb('endpoint', 'resume', '--name', endpoint.name);
    for (const call of calls) t.match(await call.outcome(), { status: 'succeeded' });
  },
);

t.test('a job that root cancels: who it was is the caller’s answer', async (t) => {
  await endpoint.configure({}, { account: 'chem-lab' });
  const call = await world.submit(endpoint, long, { maxStarts: 1, wallS: 800 });
  await running(call);
  const { id } = await runningJob(cluster, 'alice');
  await cluster.sh('head', `scancel ${id}`);
  const { detail } = await call.outcome();
  t.match(detail.err?.message, new RegExp(`job ${id} of slurm was cancelled by root \\(CANCELLED`));
  t.comment(JSON.stringify(detail.err));
});
