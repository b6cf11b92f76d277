/**
 * One program over the two nodes of a block, from the command line to the receipt: real agent, pilots and runners. The scheduler is
 * shell scripts that speak as Slurm does, and both nodes are this machine.
 */
import '../leaks.ts';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { type Ran, startWorld, type World } from './world.ts';

const RANKS = resolve('test/fakes/ranks.mjs');
const PATIENCE_MS = 40_000;

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(50)) if (await condition()) return;
  throw new Error(`it never came to be: ${what}`);
}

const alive = `alive() { p=$(cat "$1/pid" 2>/dev/null) && [ -d "/proc/$p" ] && ! grep -q '^State:.Z' "/proc/$p/status"; }`;

/** Answers the config of an endpoint whose blocks have two nodes, n1 and n2. */
function scheduler(at: string): string {
  mkdirSync(join(at, 'jobs'), { recursive: true });
  const scripts = {
    sbatch: `for file; do :; done
id=$((100 + $(ls ${at}/jobs | wc -l))); mkdir ${at}/jobs/$id
sed -n 's/^#SBATCH --job-name=//p' "$file" > ${at}/jobs/$id/name
log=$(sed -n 's/^#SBATCH --output=//p' "$file")
SLURM_JOB_ID=$id setsid bash "$file" </dev/null >"$log" 2>&1 &
echo $! > ${at}/jobs/$id/pid
echo $id`,
    srun: `while case $1 in --*) true;; *) false;; esac; do shift; done
pids=
for node in n1 n2; do SLURMD_NODENAME=$node "$@" & pids="$pids $!"; echo $! > ${at}/$node.pid; done
trap 'kill -TERM $pids' TERM
for pid in $pids; do while kill -0 $pid 2>/dev/null; do wait $pid; done; done`,
    squeue: `[ "$1" = --version ] && { echo slurm 20.02.0; exit; }
${alive}
for job in ${at}/jobs/*; do
  [ -d "$job" ] || continue
  state=COMPLETED; alive "$job" && state=RUNNING
  echo "$(basename "$job")|$(cat "$job/name")|$state|N/A|n1,n2|None"
done`,
    sacct: 'exit 0',
    scancel: `${alive}
for id; do
  job=${at}/jobs/$id; [ -d "$job" ] || continue
  alive "$job" && kill -TERM -- "-$(cat "$job/pid")"
done; exit 0`,
  };
  for (const [name, text] of Object.entries(scripts)) {
    writeFileSync(join(at, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(at, name), 0o700);
  }
  const config = [
    'blocks:',
    '  scheduler: slurm',
    '  slots: 2',
    '  maxBlocks: 1',
    '  idleS: 5',
    `  batch: { nodes: 2, commandPath: "${at}:/usr/sbin:/usr/bin:/sbin:/bin", statusS: 5, wallS: 3600 }`,
  ];
  return `${config.join('\n')}\n`;
}

/** Ranks of this test that live: their program's last argument is the world's own folder. */
function ranks(mark: string): number[] {
  return readdirSync('/proc').flatMap((entry) => {
    try {
      const [, script, last] = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
      return /^\d+$/.test(entry) && script === RANKS && last === mark ? [Number(entry)] : [];
    } catch {
      return [];
    }
  });
}

async function signed(world: World, nodes: number): Promise<string> {
  const path = join(world.folder, `gang-${nodes}.json`);
  const claims = {
    v: 1,
    name: `gang-${nodes}`,
    version: '1.0.0',
    kind: 'mpi',
    adapter: 'program',
    entry: { program: process.execPath, args: [RANKS, world.folder] },
    args: [{ name: 'x', types: ['json'] }],
    models: [],
    variants: [{ name: 'host', runtimes: ['process'] }],
    needs: { nodes, ranksPerNode: 2 },
  };
  writeFileSync(path, JSON.stringify(claims));
  await world.json('user', 'function', 'sign', path, '--out', `${path}.manifest`);
  return `${path}.manifest`;
}

/** Names of nodes that exist here only as words resolve nowhere: ranks are told another host for the address. */
const call = (world: World, manifest: string, x: object, ...more: string[]): Promise<Ran> => {
  const arg = `x=json:${JSON.stringify({ host: '127.0.0.1', ...x })}`;
  return world.farfield('user', 'run', manifest, '--endpoint', 'here', '--nodes', '2', '--arg', arg, '--json', ...more);
};
const answer = (ran: Ran): Record<string, unknown> => JSON.parse(ran.stdout.trim().split('\n').at(-1) ?? '{}');

t.test('a program over two nodes', { timeout: 200_000 }, async (t) => {
  const at = mkdtempSync(join(tmpdir(), 'farfield-gang-slurm-'));
  t.teardown(() => rmSync(at, { recursive: true, force: true }));
  await using world = await startWorld({ nodes: 8, blocks: scheduler(at) });
  const gang = await signed(world, 2);
  const mark = world.folder;

  const [one, two] = await Promise.all([call(world, gang, {}), call(world, gang, {})]);
  for (const ran of [one, two]) {
    t.equal(ran.code, 0, ran.code === 0 ? 'it succeeded' : `${ran.stdout}${ran.stderr}`);
    t.match(answer(ran), { status: 'succeeded', attempt: 1 });
  }
  t.equal(readdirSync(join(at, 'jobs')).length, 1, 'one block for both, one after the other');
  t.strictSame(ranks(mark), []);

  const failed = await call(world, gang, { fail: 3 }, '--max-failures', '1');
  t.match(`${failed.stdout}${failed.stderr}`, /rank 3 on node n\d ended with exit code 7/);
  t.strictSame(ranks(mark), [], 'ranks 0 to 2 would have stayed');

  const tooMany = await call(world, await signed(world, 3), {}, '--nodes', '3');
  t.match(`${tooMany.stdout}${tooMany.stderr}`, /it asks for 3 nodes of one block, and a block here has 2/);

  // The agent is killed: its next life ends what ran, and starts it anew.
  const arg = 'x=json:{"hang":true}';
  const sent = await world.json('user', 'submit', gang, '--endpoint', 'here', '--nodes', '2', '--arg', arg);
  await until('four ranks run in a new block', () => ranks(mark).length === 4);
  const before = ranks(mark);
  process.kill(await world.agentPid(), 'SIGKILL');
  await sleep(500);
  await world.json('site', 'endpoint', 'start', '--detach');
  await until('four others run', () => {
    const now = ranks(mark);
    return now.length === 4 && now.every((pid) => !before.includes(pid));
  });
  await world.json('user', 'cancel', String(sent.id));
  await until('a cancel ends all ranks', () => ranks(mark).length === 0);

  // A pilot is killed: all ranks end, on both nodes, and the whole waits for two nodes again.
  const last = await world.json('user', 'submit', gang, '--endpoint', 'here', '--nodes', '2', '--arg', arg);
  await until('four ranks run once more', () => ranks(mark).length === 4);
  process.kill(Number(readFileSync(join(at, 'n2.pid'), 'utf8')), 'SIGKILL');
  await until('no rank is left', () => ranks(mark).length === 0);
  const why = async (): Promise<string> => (await world.farfield('site', 'endpoint', 'why', String(last.id))).stdout;
  await until('it says why', async () =>
    /for 2 nodes of one block together, 1 is free.*a gang of 2/s.test(await why()),
  );
  await world.json('user', 'cancel', String(last.id));
});
