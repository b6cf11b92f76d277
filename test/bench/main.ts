/**
 * `npm run bench -- NAME [--json] [--seconds N]`: one bench on the built programs, beside a yardstick of the machine.
 *
 * Bars are the targets that the project holds itself to on two shared cores; a miss is printed as one, and exits with 1.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { blocks } from './blocks.ts';
import { cluster } from './cluster.ts';
import { container } from './container.ts';
import { type Figures, judge, table } from './figures.ts';
import { hdf5 } from './hdf5.ts';
import { coldstart, memory } from './idle.ts';
import { job } from './job.ts';
import { killed } from './killed.ts';
import { latency } from './latency.ts';
import { parsl } from './parsl.ts';
import { throughput } from './throughput.ts';
import { yardstick } from './yardstick.ts';

interface Bench {
  readonly about: string;
  run(seconds: number): Promise<Figures>;
}

const BENCHES: Readonly<Record<string, Bench>> = {
  throughput: { about: 'no-ops a second, in batches and one by one', run: (seconds) => throughput(seconds) },
  latency: { about: 'one no-op at a time', run: (seconds) => latency(seconds * 60) },
  job: { about: 'the main job beside bare onnxruntime-node', run: () => job() },
  coldstart: { about: 'no runner there, to the first model result', run: () => coldstart(3) },
  memory: { about: 'resident memory when nothing is under way', run: () => memory() },
  killed: { about: 'a pilot killed, to its call running on another', run: () => killed(10) },
  blocks: { about: '1,000 blocks known: commands, and CPU when idle (over 4 x N s, 60 at least)', run: blocks },
  container: { about: 'what an Apptainer container adds, cold and warm (root: on a host of its own)', run: container },
  cluster: { about: 'a first call on real Slurm beside an empty job of its own (root, apt)', run: () => cluster() },
  parsl: { about: '60,000 no-ops on 2 nodes x 2 slots beside Parsl; fewer below 30 s (root, apt, PyPI)', run: parsl },
  hdf5: { about: 'a million patches read and inferred', run: (seconds) => hdf5(seconds) },
};

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean' }, seconds: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  });
  const [name = ''] = positionals;
  const bench = BENCHES[name];
  if (bench === undefined || positionals.length !== 1) {
    const lines = Object.entries(BENCHES).map(([each, { about }]) => `  ${each.padEnd(12)}${about}\n`);
    process.stderr.write(`npm run bench -- NAME [--json] [--seconds N]\n${lines.join('')}`);
    return values.help === true ? 0 : 2;
  }
  const root = fileURLToPath(new URL('../..', import.meta.url));
  execFileSync(process.execPath, ['scripts/build.ts'], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  const machine = await yardstick();
  const figures = judge({ ...(await bench.run(Number(values.seconds ?? 30))), ...machine });
  process.stdout.write(`${name}\n${table(figures)}\n`);
  if (values.json === true) process.stdout.write(`${JSON.stringify({ bench: name, figures })}\n`);
  return Object.values(figures).every(({ ok }) => ok) ? 0 : 1;
}

process.exitCode = await main();
