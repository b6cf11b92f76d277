/**
 * Another host on this machine: a network namespace behind a cable that can be pulled, and a batch scheduler whose jobs run in
 * it. What the agent listens on there is TLS alone: its run folder, where its sockets are, is hidden from the job.
 *
 * The scheduler is four shell scripts that speak as Slurm does. Real ones are for `npm run test:cluster`.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Why this machine cannot have one; undefined where it can. */
export function whyNoNodes(): string | undefined {
  if (process.getuid?.() !== 0) return 'it needs root for a network namespace';
  const probe = `ff-probe-${process.pid}`;
  const made = spawnSync('ip', ['netns', 'add', probe]);
  if (made.status !== 0)
    return `no network namespace can be made here: ${made.error?.message ?? made.stderr.toString()}`;
  execFileSync('ip', ['netns', 'del', probe]);
  return undefined;
}

export interface Node extends Disposable {
  /** config.yaml of an endpoint whose blocks run here. */
  readonly config: string;
  pull(): void;
  plug(): void;
  /** Process of each job that lives. */
  pids(): number[];
  readonly submits: () => number;
}

const alive = `alive() { p=$(cat "$1/pid" 2>/dev/null) && [ -d "/proc/$p" ] && ! grep -q '^State:.Z' "/proc/$p/status"; }`;

function scripts(at: string, netns: string, hidden: string): Record<string, string> {
  return {
    sbatch: `for file; do :; done
id=$((100 + $(ls ${at}/jobs | wc -l))); mkdir ${at}/jobs/$id
sed -n 's/^#SBATCH --job-name=//p' "$file" > ${at}/jobs/$id/name
log=$(sed -n 's/^#SBATCH --output=//p' "$file")
SLURM_JOB_ID=$id SLURMD_NODENAME=other setsid ip netns exec ${netns} unshare -m sh -c \\
  'mount -t tmpfs none ${hidden} && exec bash "$1"' - "$file" </dev/null >"$log" 2>&1 &
echo $! > ${at}/jobs/$id/pid
echo $id`,
    squeue: `[ "$1" = --version ] && { echo slurm 20.02.0; exit; }
${alive}
for job in ${at}/jobs/*; do
  [ -d "$job" ] || continue
  state=COMPLETED; alive "$job" && state=RUNNING
  echo "$(basename "$job")|$(cat "$job/name")|$state|N/A|other|None"
done`,
    sacct: 'exit 0',
    scancel: `${alive}
for id; do
  job=${at}/jobs/$id; [ -d "$job" ] || continue
  alive "$job" && kill -TERM -- "-$(cat "$job/pid")"
done; exit 0`,
  };
}

export function openNode(folder: string, hidden: string, subnet: number): Node {
  const at = join(folder, 'scheduler');
  mkdirSync(join(at, 'jobs'), { recursive: true });
  const [netns, here, there] = [`ffn-${process.pid}`, `ffh${process.pid % 100_000}`, `fft${process.pid % 100_000}`];
  const ip = (...args: string[]): void => void execFileSync('ip', args);
  for (const [name, text] of Object.entries(scripts(at, netns, hidden))) {
    writeFileSync(join(at, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(at, name), 0o700);
  }
  ip('netns', 'add', netns);
  ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', netns);
  ip('addr', 'add', `10.231.${subnet}.1/30`, 'dev', here);
  ip('link', 'set', here, 'up');
  ip('-n', netns, 'addr', 'add', `10.231.${subnet}.2/30`, 'dev', there);
  ip('-n', netns, 'link', 'set', there, 'up');
  const jobs = (): string[] => (existsSync(at) ? readdirSync(join(at, 'jobs')) : []);
  const pids = (): number[] =>
    jobs()
      .map((job) => Number(readFileSync(join(at, 'jobs', job, 'pid'), 'utf8')))
      .filter((pid) => existsSync(`/proc/${pid}/cmdline`) && readFileSync(`/proc/${pid}/cmdline`).length > 0);
  const config = [
    'blocks:',
    '  scheduler: slurm',
    '  slots: 2',
    '  maxBlocks: 1',
    // An address where nothing answers stands first: the dial must pass by it.
    `  listen: { advertise: ["192.0.2.1"] }`,
    `  batch: { commandPath: "${at}:/usr/sbin:/usr/bin:/sbin:/bin", statusS: 5, wallS: 3600 }`,
  ];
  return {
    config: `${config.join('\n')}\n`,
    pull: () => ip('link', 'set', here, 'down'),
    plug: () => ip('link', 'set', here, 'up'),
    pids,
    submits: () => jobs().length,
    [Symbol.dispose]() {
      for (const pid of pids()) {
        try {
          process.kill(-pid, 'SIGKILL');
        } catch {
          // It ended since.
        }
      }
      ip('link', 'del', here);
      ip('netns', 'del', netns);
    },
  };
}
