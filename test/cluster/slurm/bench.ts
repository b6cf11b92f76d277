/**
 * Figures of an idle cluster, as one JSON line: bench.ts FOLDER PAIRS, in the network of its `desk` (test/bench/cluster.ts).
 *
 * A pair is an empty job of Slurm's own and a first call of ours, each on idle nodes, one right after the other: from the
 * command to a file that is seen here, and from the submit to a verified result.
 */
import { existsSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { joinCluster, until } from '../cluster.ts';
import { jobsOf, openWorld } from '../world.ts';

const [folder = '', pairs = '10'] = process.argv.slice(2);
const cluster = joinCluster(folder);
await using world = await openWorld(cluster, { built: true });
const endpoint = await world.addEndpoint({ name: 'bench', user: 'alice', blocks: { idleS: 1 } });
const noop = await world.sign('noop', 'noop');

/** No job at Slurm, and none that the endpoint still counts: it asks about one that it ended no sooner than its manners allow. */
const idle = async (): Promise<void> => {
  await until('no job is left', async () =>
    (await jobsOf(cluster, 'alice')).every(({ state }) => !/RUNNING|COMPLETING|PENDING/.test(state)),
  );
  await until('the endpoint has no block', async () => (await endpoint.status()).blocks.length === 0);
};

const timed = async (work: () => Promise<unknown>): Promise<number> => {
  const began = performance.now();
  await work();
  return performance.now() - began;
};

const mark = cluster.path('head', '/home/alice/empty');
const empty = async (): Promise<void> => {
  rmSync(mark, { force: true });
  await cluster.sh('head', "sbatch -p gpu -t 5 -o /dev/null --wrap 'touch ~/empty'", 'alice');
  while (!existsSync(mark)) await sleep(5);
};

const call = async (): Promise<void> => {
  const outcome = await (await world.submit(endpoint, noop)).outcome();
  if (outcome.status !== 'succeeded') throw new Error(JSON.stringify(outcome.detail));
};

const found = { empty: [] as number[], first: [] as number[], warm: [] as number[] };
for (let k = 0; k < Number(pairs); k += 1) {
  await idle();
  found.empty.push(await timed(empty));
  await idle();
  found.first.push(await timed(call));
  found.warm.push(await timed(call));
}
process.stdout.write(`${JSON.stringify(found)}\n`);
