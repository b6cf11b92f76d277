/**
 * `npm run test:cluster [-- --only NAME[,NAME]] [-- --quick]`: what only real schedulers and real containers can show. Closes
 * with `N passed, N failed[, N skipped]`, as `npm test` does.
 *
 * 1. Needs root and apt, and asks for nothing else: the hosts are made, and end, with the run (scripts/cluster). Where a
 *    machine does not allow that, each part is a skip with the reason, never a failure.
 * 2. Each program has a cluster of its own: it counts jobs and makes people, and one that breaks its cluster fails alone.
 * 3. Parts run in the network of the cluster's `desk`: that is where their scientist is.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { closingLines, createTapTally, type TapTally } from '../../scripts/tap-tally.ts';
import { clusterRefusal, type OpenedCluster, openCluster, REPO } from './cluster.ts';
import { prepareImage } from './endpoint.ts';

interface Part {
  readonly name: string;
  /** Programs under test/cluster that print TAP; each is given the cluster's folder. */
  readonly programs: readonly string[];
  readonly packages?: readonly string[];
  /** It makes a host of its own. */
  readonly alone?: boolean;
  /** What `--quick` runs: minutes matter where every change is tested. */
  readonly quick?: readonly string[];
}

const PARTS: readonly Part[] = [
  {
    name: 'slurm',
    programs: ['slurm/main-path.ts', 'slurm/admin.ts', 'slurm/faults.ts', 'slurm/queue.ts', 'slurm/gangs.ts'],
    quick: ['slurm/main-path.ts'],
  },
  {
    name: 'slurmdbd',
    programs: ['slurm/accounts.ts'],
    packages: ['slurmdbd', 'slurm-wlm-mysql-plugin', 'mariadb-server'],
  },
  { name: 'drivers', programs: ['drivers.ts slurm'] },
  { name: 'htcondor', programs: ['drivers.ts htcondor'], packages: ['condor'] },
  {
    name: 'gridengine',
    programs: ['drivers.ts gridengine'],
    packages: ['gridengine-master', 'gridengine-exec', 'gridengine-client'],
  },
  { name: 'apptainer', programs: ['apptainer.ts'], alone: true },
];

interface Chosen {
  readonly part: Part;
  readonly programs: readonly string[];
  readonly quick: boolean;
}

/** A program that hangs is ended by tap, which then says in which test it was. */
const PROGRAM_LIMIT_S = 900;

async function runPart({ part, programs, quick }: Chosen, tally: TapTally): Promise<void> {
  for (const program of programs) {
    if (stopped) break;
    if (part.alone === true) await runAndReport(tally, program, []);
    else await runOn(part, program, quick, tally);
  }
}

/** 2. */
async function runOn(part: Part, program: string, quick: boolean, tally: TapTally): Promise<void> {
  const began = performance.now();
  const lap = (): string => `${((performance.now() - began) / 1000).toFixed(1)} s`;
  let cluster: OpenedCluster;
  try {
    prepareImage();
    cluster = await openCluster({
      packages: part.packages ?? [],
      write: (text) => process.stdout.write(text),
    });
  } catch (reason) {
    // Where every change is tested, a cluster that does not come up is the machine's: no mirror in reach, no such kernel.
    if (quick) skip(tally, part, [program], (reason as Error).message);
    else report(tally, program, [], reason);
    return;
  }
  try {
    const pid = readFileSync(join(cluster.folder, 'desk.pid'), 'utf8').trim();
    await runAndReport(tally, program, ['nsenter', '-t', pid, '-n', '--'], cluster.folder);
    process.stdout.write(`       ${program}: until ${lap()}\n`);
  } finally {
    try {
      await cluster[Symbol.asyncDispose]();
      process.stdout.write(`       ${part.name}: cluster ended, nothing is left, ${lap()}\n`);
    } catch (reason) {
      report(tally, `${program}: the end`, [], reason);
    }
  }
}

/** TAP of one program, as `tap` would nest it under a file's name. */
function report(tally: TapTally, program: string, lines: readonly string[], failure: unknown): void {
  const nested = [`# Subtest: ${program}`, ...lines.map((line) => `    ${line}`)];
  const detail =
    failure === undefined || lines.length > 0
      ? []
      : [
          '  ---',
          ...String(failure)
            .split('\n')
            .map((line) => `  ${line}`),
          '  ...',
        ];
  for (const line of [...nested, `${failure === undefined ? 'ok' : 'not ok'} 1 - ${program}`, ...detail])
    for (const shown of tally.feed(line)) process.stdout.write(`${shown}\n`);
}

function skip(tally: TapTally, part: Part, programs: readonly string[], reason: string): void {
  const line = reason.replaceAll(/[\s#]+/g, ' ').trim();
  for (const program of programs) report(tally, program, [`ok 1 - ${part.name} # SKIP ${line}`], undefined);
}

async function runAndReport(
  tally: TapTally,
  program: string,
  enter: readonly string[],
  folder?: string,
): Promise<void> {
  const { lines, code } = await runProgram(program, enter, folder);
  report(tally, program, lines, code === 0 ? undefined : `exit ${code}`);
}

async function runProgram(
  program: string,
  enter: readonly string[],
  folder: string | undefined,
): Promise<{ readonly lines: readonly string[]; readonly code: number }> {
  const [file = '', ...words] = program.split(' ');
  const [command = '', ...argv] = [
    ...enter,
    process.execPath,
    ...process.execArgv,
    join(import.meta.dirname, file),
    ...(folder === undefined ? [] : [folder]),
    ...words,
  ];
  const child = spawn(command, argv, {
    cwd: REPO,
    env: { ...process.env, TAP_TIMEOUT: String(PROGRAM_LIMIT_S) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  running = child;
  const exit = new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    // The sentences as they come; the tally tells what failed, and why.
    if (/^(ok|not ok|# Subtest)/.test(line) && !/^# Subtest$/.test(line) && !line.startsWith('# Subtest'))
      process.stdout.write(`  ${line}\n`);
  }
  running = undefined;
  return { lines, code: await exit };
}

let running: ChildProcess | undefined;
/** Somebody wants this to end: no account is given of what was not finished. */
let stopped = false;

function stop(): void {
  stopped = true;
  running?.kill('SIGTERM');
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { only: { type: 'string' }, quick: { type: 'boolean' } } });
  const only = values.only?.split(',');
  const unknown = only?.find((name) => !PARTS.some((part) => part.name === name));
  if (unknown !== undefined) {
    process.stderr.write(`there is no part ${unknown}; there are ${PARTS.map(({ name }) => name).join(', ')}\n`);
    return 2;
  }
  const quick = values.quick === true;
  const chosen = PARTS.filter(({ name }) => only?.includes(name) ?? true)
    .map((part) => ({ part, programs: quick ? (part.quick ?? []) : part.programs, quick }))
    .filter(({ programs }) => programs.length > 0);
  const tally = createTapTally(chosen.flatMap(({ programs }) => programs));
  const refusal = clusterRefusal();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, stop);
  for (const each of chosen) {
    if (stopped) break;
    process.stdout.write(`\n${each.part.name}\n`);
    if (refusal === undefined) await runPart(each, tally);
    else skip(tally, each.part, each.programs, refusal);
  }
  if (stopped) {
    process.stdout.write('stopped; the cluster has ended\n');
    return 130;
  }
  const { lines, failed } = closingLines(tally.account(), 0);
  process.stdout.write(`${lines.join('\n')}\n`);
  return failed > 0 ? 1 : 0;
}

process.exitCode = await main();
