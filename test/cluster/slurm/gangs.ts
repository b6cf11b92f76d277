/** One program over two nodes of a real Slurm job: its ranks find each other, end together, and leave nothing. */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { jsonResult } from '../../../client/ts/outcome.ts';
import { joinCluster, REPO, until } from '../cluster.ts';
import { jobsOf, openWorld, running } from '../world.ts';

const cluster = joinCluster(process.argv[2] ?? '');
const world = await openWorld(cluster, { runtime: 'process' });
t.teardown(() => world[Symbol.asyncDispose]());
const endpoint = await world.addEndpoint({ name: 'pairs', user: 'alice', batch: { nodes: 2 } });
const PROGRAM = '/shared/ranks.mjs';
copyFileSync(join(REPO, 'test/fakes/ranks.mjs'), cluster.path('head', PROGRAM));
const pair = await world.signProgram('pair', 2, [process.execPath, PROGRAM]);
const call = (x: object) => world.submit(endpoint, pair, { nodes: 2, args: [x], maxStarts: 1 });

const ranksOn = async (node: 'node1' | 'node2'): Promise<number> =>
  (await cluster.sh(node, 'ps -eo args')).split('\n').filter((line) => line.includes(PROGRAM)).length;
/** The hosts of a virtual cluster have process lists of their own. */
const ranks = async (): Promise<number> => (await ranksOn('node1')) + (await ranksOn('node2'));

interface Heard {
  readonly rank: number;
  readonly node: string;
  readonly host: string;
}

t.test('four ranks on two nodes hear of each other at the rendezvous, and the receipt is one', async (t) => {
  const outcome = await (await call({})).outcome();
  t.match(outcome, { status: 'succeeded', attempt: 1 }, JSON.stringify(outcome.detail));
  const heard = jsonResult(outcome) as readonly Heard[];
  t.strictSame(
    heard.map(({ rank }) => rank),
    [0, 1, 2, 3],
  );
  t.strictSame([...new Set(heard.map(({ host }) => host))].sort(), ['node1', 'node2'], 'each says where it truly is');
  t.equal((await jobsOf(cluster, 'alice')).length, 1, 'one job of two nodes');
  t.equal(await ranks(), 0);
});

t.test('a rank that fails ends all, and is named', async (t) => {
  const { status, detail } = await (await call({ fail: 3 })).outcome();
  t.equal(status, 'failed');
  t.match(detail.err?.message, /rank 3 on node node[12] ended with exit code 7/);
  t.equal(await ranks(), 0);
});

t.test('a pilot that is killed ends all ranks on both nodes, and the call where that was its last start', async (t) => {
  const one = await call({ hang: true });
  await running(one);
  await until('all ranks run', async () => (await ranks()) === 4 || undefined, { seen: ranks });
  await cluster.sh('node2', 'pkill -9 -f pilot/main');
  await until('none is left', async () => (await ranks()) === 0 || undefined, { seen: ranks });
  const { status, detail } = await one.outcome();
  t.equal(status, 'failed');
  t.match(detail.err?.message, /node2/, 'the node that was lost is named');
});
