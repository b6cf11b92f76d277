/** A scheduler's driver on the real thing: real.ts on the cluster's head, as an ordinary user; each of its jobs is a test. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { joinCluster, REPO } from './cluster.ts';

const [folder = '', scheduler = ''] = process.argv.slice(2);
const cluster = joinCluster(folder);
const ENV: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  gridengine: { SGE_ROOT: '/var/lib/gridengine', SGE_CELL: 'default' },
};

t.before(() => {
  if (scheduler !== 'slurm')
    execFileSync(join(REPO, 'scripts/cluster/peers.sh'), [folder], { stdio: ['ignore', 'ignore', 'inherit'] });
});

t.test(`${scheduler}: jobs of a driver on the real scheduler`, async (t) => {
  const program = [process.execPath, '--disable-warning=ExperimentalWarning', join(REPO, 'test/cluster/real.ts')];
  const ran = await cluster.run('head', [...program, scheduler, '/home/alice'], {
    user: 'alice',
    env: ENV[scheduler] ?? {},
  });
  const lines = ran.stdout.split('\n').filter((line) => /^(ok|WRONG) /.test(line));
  for (const line of lines) t.ok(line.startsWith('ok'), line.replace(/^(ok|WRONG) +/, ''));
  t.equal(lines.length, 4, `all four jobs are told of: ${ran.stderr}`);
  t.equal(ran.code, 0);
});
