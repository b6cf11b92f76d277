/**
 * `npm run bench -- NAME [--json] [--seconds N]`: one bench on the built programs, beside a yardstick of the machine.
 *
 * Bars are the targets that the project holds itself to on two shared cores; a miss is printed as one, and exits with 1.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cluster } from './cluster.ts';
import { type Figures, judge, table } from './figures.ts';
import { hdf5 } from './hdf5.ts';
import { coldstart, memory } from './idle.ts';
import { job } from './job.ts';
import { killed } from './killed.ts';
import { latency } from './latency.ts';
import { throughput } from './throughput.ts';
import { yardstick } from './yardstick.ts';

const BENCHES: Readonly<Record<string, (seconds: number) => Promise<Figures>>> = {
  throughput: (seconds) => throughput(seconds),
  latency: (seconds) => latency(seconds * 60),
  job: () => job(),
  coldstart: () => coldstart(3),
  memory: () => memory(),
  killed: () => killed(10),
  cluster: () => cluster(),
  hdf5: (seconds) => hdf5(seconds),
};

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean' }, seconds: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  });
  const [name = ''] = positionals;
  const bench = BENCHES[name];
  if (bench === undefined || positionals.length !== 1) {
    process.stderr.write(`npm run bench -- ${Object.keys(BENCHES).join(' | ')} [--json] [--seconds N]\n`);
    return values.help === true ? 0 : 2;
  }
  const root = fileURLToPath(new URL('../..', import.meta.url));
  execFileSync(process.execPath, ['scripts/build.ts'], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  const machine = await yardstick();
  const figures = judge({ ...(await bench(Number(values.seconds ?? 30))), ...machine });
  process.stdout.write(`${name}\n${table(figures)}\n`);
  if (values.json === true) process.stdout.write(`${JSON.stringify({ bench: name, figures })}\n`);
  return Object.values(figures).every(({ ok }) => ok) ? 0 : 1;
}

process.exitCode = await main();
