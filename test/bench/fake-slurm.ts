/**
 * A Slurm whose jobs are lines of a file: four shell commands on PATH that answer as Slurm's do and write down when each of
 * them began and ended. Of every two jobs one runs at once, on a node of its own, and one waits; what a job would run is not run.
 */
import { appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface CommandCall {
  readonly command: string;
  readonly beganMs: number;
  readonly endedMs: number;
}

export interface FakeSlurm {
  /** For `blocks.batch.commandPath`. */
  readonly path: string;
  /** Commands that have ended, as they began. */
  calls(): CommandCall[];
  /** Nodes of the jobs that run, by the jobs' names. */
  running(): Map<string, string>;
}

const commands = (at: string): Record<string, string> => ({
  // A real one takes about as long; two at once would be seen.
  sbatch: `sleep 0.01
for file; do :; done
read -r id < ${at}/last; id=$((id + 1)); echo $id > ${at}/last
while read -r line; do case $line in '#SBATCH --job-name='*) name=\${line#*=};; esac; done < "$file"
if [ $((id % 2)) = 1 ]; then echo "$id|$name|RUNNING|1700000000|n$id|None"; else echo "$id|$name|PENDING|N/A||Priority"; fi >> ${at}/jobs
echo $id`,
  squeue: `if [ "$1" = --version ]; then echo slurm 22.05.8; else cat ${at}/jobs; fi`,
  sinfo: `echo 'n1|'`,
  sacct: ':',
  scancel: `shift; echo "$@" | awk -F'|' -v OFS='|' 'NR == FNR { n = split($0, ids, " "); for (k = 1; k <= n; k++) gone[ids[k]] = 1; next }
$1 in gone { $3 = "CANCELLED" } { print }' - ${at}/jobs > ${at}/jobs.new && mv ${at}/jobs.new ${at}/jobs`,
});

export function openFakeSlurm(folder: string): FakeSlurm {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  for (const name of ['jobs', 'calls']) appendFileSync(join(folder, name), '');
  writeFileSync(join(folder, 'last'), '1000\n');
  for (const [name, body] of Object.entries(commands(folder))) {
    const head = `#!/bin/bash\nbegan=$EPOCHREALTIME\ntrap 'echo "$began $EPOCHREALTIME ${name} $1" >> ${folder}/calls' EXIT\n`;
    writeFileSync(join(bin, name), `${head}${body}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  return {
    path: `${bin}:/usr/bin:/bin`,
    calls: () => parseCalls(readFileSync(join(folder, 'calls'), 'utf8')),
    running() {
      const lines = existsSync(join(folder, 'jobs')) ? readFileSync(join(folder, 'jobs'), 'utf8').split('\n') : [];
      const cells = lines.map((line) => line.split('|'));
      return new Map(cells.flatMap(([, name = '', state, , node = '']) => (state === 'RUNNING' ? [[name, node]] : [])));
    },
  };
}

/** `BEGAN ENDED COMMAND FIRST-ARGUMENT` a line, in seconds; a line that is being written is left for later. */
export function parseCalls(text: string): CommandCall[] {
  const lines = text.split('\n').slice(0, -1);
  return lines
    .map((line) => {
      const [began = '', ended = '', command = '', first] = line.split(' ');
      // Asked once in an agent's life, of the client alone.
      const name = first === '--version' ? `${command} --version` : command;
      return { command: name, beganMs: Number(began) * 1000, endedMs: Number(ended) * 1000 };
    })
    .sort((a, b) => a.beganMs - b.beganMs);
}

/** The most of these that ever ran at the same moment. */
export function mostAtOnce(calls: readonly CommandCall[]): number {
  const ends = calls.flatMap(({ beganMs, endedMs }) => [
    { at: beganMs, by: 1 },
    { at: endedMs, by: -1 },
  ]);
  let [now, most] = [0, 0];
  for (const { by } of ends.sort((a, b) => a.at - b.at || a.by - b.by)) {
    now += by;
    most = Math.max(most, now);
  }
  return most;
}
