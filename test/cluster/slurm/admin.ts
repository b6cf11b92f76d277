/** The verbs of a site's admin on a real cluster: check, test-job, and why while Slurm has a reason to wait. */
import t from 'tap';
import { joinCluster, until } from '../cluster.ts';
import { openWorld } from '../world.ts';

const cluster = joinCluster(process.argv[2] ?? '');
const world = await openWorld(cluster, { runtime: 'process' });
t.teardown(() => world[Symbol.asyncDispose]());
const endpoint = await world.addEndpoint({ name: 'lab', user: 'alice' });
const quick = await world.sign('quick', 'noop');
const verb = (name: string, ...args: string[]): Promise<Record<string, unknown>> =>
  endpoint.verb('endpoint', name, ...args, '--name', endpoint.name);

t.test('check finds the real commands and a controller that answers, and submits nothing', async (t) => {
  const { findings } = (await verb('check')) as { findings: { code: string; level: string; text: string }[] };
  const scheduler = findings.filter(({ code }) => code === 'scheduler');
  t.comment(JSON.stringify(scheduler));
  t.ok(scheduler.length > 0);
  t.strictSame(
    findings.filter(({ level }) => level === 'fail'),
    [],
  );
  t.equal(await cluster.sh('head', 'squeue -h -t all -u alice'), '', 'nothing was submitted');
});

t.test('test-job goes the way of a block, and says when it waited, began and ended', async (t) => {
  const outcome = await verb('test-job');
  t.comment(JSON.stringify(outcome.steps));
  t.match(outcome, { good: true, nodes: [/^node[12]$/], left: [] });
  t.match(await cluster.sh('head', `squeue -h -t all -u alice -o '%T'`), /^COMPLETED$/);
});

t.test('a test-job that Slurm refuses fails with its words and the remedy', async (t) => {
  await t.rejects(verb('test-job', '--queue', 'nosuch'), { message: /invalid partition.*blocks\.batch\.queue/i });
});

t.test('why says what Slurm says while a call waits for nodes, and the caller reads the same', async (t) => {
  await cluster.sh('head', 'scontrol update nodename=node[1-2] state=drain reason=maintenance');
  const call = await world.submit(endpoint, quick);
  const answer = await until('Slurm’s reason is known', async () => {
    const now = await verb('why', call.ticket.id).catch(() => undefined);
    return (
      now !== undefined &&
      /job \d+ of slurm, .*(Resources|NodeNotAvail|Down|Drained|DRAIN)/i.test(String(now.sentence)) &&
      now
    );
  });
  t.match(answer, { code: 'block' });
  t.comment(answer.sentence);
  t.match(call.progress.map(({ detail }) => detail).join('\n'), /waiting for nodes: job \d+ of slurm/);
  await cluster.sh('head', 'scontrol update nodename=node[1-2] state=resume');
  t.match(await call.outcome(), { status: 'succeeded' });
  t.match(await verb('why', call.ticket.id), { code: 'done' });
});
