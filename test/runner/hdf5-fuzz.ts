/**
 * `node test/runner/hdf5-fuzz.ts [--rounds N] [--seed S] [--minutes M]`: damaged HDF5 files for as long as wanted.
 *
 * Rounds run in child processes of 400, each with a time limit, so that a crash or a hang is a finding with a seed and not the end.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { fuzz, type Tally } from './hdf5-mutations.ts';

const ROUNDS_A_CHILD = 400;
const CHILD_LIMIT_MS = 240_000;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '4000' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '60' },
    child: { type: 'boolean', default: false },
  },
});
const rounds = Number(values.rounds);
const seed = Number(values.seed);

interface Report {
  readonly tallies: Readonly<Record<string, Tally>>;
  readonly unnoticed: Readonly<Record<string, Tally>>;
  readonly findings: readonly unknown[];
}

async function child(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-fuzz-'));
  const loader = createHdf5Loader();
  try {
    const result = await fuzz({ seed, rounds, folder }, () => loader.acquire());
    const report: Report = { ...result, unnoticed: Object.fromEntries(result.unnoticed) };
    process.stdout.write(`${JSON.stringify(report)}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function add(into: Record<string, Tally>, from: Readonly<Record<string, Tally>>): void {
  for (const [key, { right, refused, wrong }] of Object.entries(from)) {
    const sum = into[key] ?? { right: 0, refused: 0, wrong: 0 };
    into[key] = sum;
    sum.right += right;
    sum.refused += refused;
    sum.wrong += wrong;
  }
}

function parent(): void {
  const until = performance.now() + Number(values.minutes) * 60_000;
  const tallies: Record<string, Tally> = {};
  const unnoticed: Record<string, Tally> = {};
  const findings: unknown[] = [];
  let done = 0;
  for (let at = 0; at < rounds && performance.now() < until; at += ROUNDS_A_CHILD) {
    const own = seed + at / ROUNDS_A_CHILD;
    const wanted = Math.min(ROUNDS_A_CHILD, rounds - at);
    const args = [fileURLToPath(import.meta.url), '--child', '--seed', String(own), '--rounds', String(wanted)];
    const ended = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: CHILD_LIMIT_MS, maxBuffer: 2 ** 28 });
    if (ended.status === 0) {
      const report: Report = JSON.parse(ended.stdout);
      add(tallies, report.tallies);
      add(unnoticed, report.unnoticed);
      findings.push(...report.findings);
    } else
      findings.push({ seed: own, what: `ended with ${ended.status ?? ended.signal}: ${ended.stderr.slice(-600)}` });
    done += wanted;
    process.stderr.write(`${done} rounds, ${findings.length} findings\n`);
  }
  for (const [name, { right, refused, wrong }] of Object.entries({ ...tallies, ...unnoticed })) {
    process.stdout.write(`${name.padEnd(28)} right ${right}  refused ${refused}  wrong ${wrong}\n`);
  }
  for (const finding of findings.slice(0, 20)) process.stdout.write(`${JSON.stringify(finding)}\n`);
  process.stdout.write(`${done} rounds from seed ${seed}: ${findings.length} findings\n`);
  process.exitCode = findings.length === 0 ? 0 : 1;
}

if (values.child) await child();
else parent();
