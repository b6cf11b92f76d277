/**
 * Runners of a job array, killed at random moments, until every shard is done; the merged result must be that of an undisturbed
 * run, byte for byte.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createSeededRandom } from '#base/random.ts';
import { EXIT } from '../../runner/exits.ts';
import { writePeaks } from '../trust/calibration-set.ts';
import { C3, simulatePeaks } from '../trust/simulate.ts';

const RUNNER = fileURLToPath(new URL('../../runner/main.ts', import.meta.url));
const MODEL = fileURLToPath(new URL('../../models/braggnn/', import.meta.url));
/** A start, with model and library, takes about this long; kills fall anywhere in it and behind. */
const LIFE_MS = 2500;

export interface ShardKillOptions {
  readonly shards: number;
  readonly kills: number;
  readonly rows: number;
  /** Runners at a time. */
  readonly lanes: number;
  readonly seed: string;
  readonly say: (line: string) => void;
}

export interface ShardKillReport {
  readonly shards: number;
  readonly kills: number;
  /** Runs that ended by themselves, and of them those that found their shard done. */
  readonly runs: number;
  readonly already: number;
  /** Files that are neither results nor sidecars at the end. */
  readonly leftOver: readonly string[];
  readonly identical: boolean;
  readonly sha256: string;
}

export async function runShardKills(options: ShardKillOptions): Promise<ShardKillReport> {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-shards-'));
  try {
    const input = join(folder, 'input.h5');
    await writePeaks(input, simulatePeaks(C3, options.rows, createSeededRandom(options.seed)));
    const args = (out: string): string[] => [
      ...['batch', '--json', '--model', MODEL, '--input', `${input}:/patches`, '--labels', `${input}:/true_xy`],
      ...['--out', out, '--threads', '1'],
    ];
    const [calm, wild] = [join(folder, 'calm'), join(folder, 'wild')];
    await runAll(options, (shard) => args(calm).concat('--shard', shard));
    const counts = await runKilled(options, (shard) => args(wild).concat('--shard', shard));
    const [a, b] = [await merged(calm), await merged(wild)];
    const leftOver = readdirSync(wild).filter((name) => !/^rows-\d+-\d+\.(h5|json)$|^model-[0-9a-f]{16}$/.test(name));
    return { shards: options.shards, ...counts, leftOver, identical: a === b, sha256: b };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

type ArgsOf = (shard: string) => string[];

const start = (args: readonly string[]): ChildProcess =>
  spawn(process.execPath, [RUNNER, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });

async function ended(child: ChildProcess): Promise<{ code: number | null; stdout: string }> {
  let stdout = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout };
}

/** Every shard once; any end but a good one is an error. */
async function runAll({ shards, lanes }: ShardKillOptions, argsOf: ArgsOf): Promise<void> {
  const left = Array.from({ length: shards }, (_, i) => `${i}/${shards}`);
  const lane = async (): Promise<void> => {
    for (let shard = left.shift(); shard !== undefined; shard = left.shift()) {
      const { code, stdout } = await ended(start(argsOf(shard)));
      if (code !== 0) throw new Error(`shard ${shard} ended with ${code}: ${stdout}`);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

/** As a scheduler that requeues: shards are started again after a kill, some of them twice at once, until all are done. */
async function runKilled(
  { shards, lanes, kills, seed, say }: ShardKillOptions,
  argsOf: ArgsOf,
): Promise<Pick<ShardKillReport, 'kills' | 'runs' | 'already'>> {
  const random = createSeededRandom(`${seed} kills`);
  const counts = { kills: 0, runs: 0, already: 0 };
  // Kills that are wished and have not missed: lanes count before they wait.
  let planned = 0;
  const left = Array.from({ length: shards }, (_, i) => `${i}/${shards}`);
  // Every tenth is asked for twice, as by an operator who is not sure.
  left.push(...left.filter((_, i) => i % 10 === 0));
  const lane = async (): Promise<void> => {
    for (let shard = left.shift(); shard !== undefined; shard = left.shift()) {
      const child = start(argsOf(shard));
      const end = ended(child);
      // The first ones are killed, until as many have been as were asked for: some too late, some before they began.
      if (planned < kills) {
        planned += 1;
        await Promise.race([end, sleep(random.uniform() * LIFE_MS)]);
        if (child.exitCode === null && child.kill('SIGKILL')) {
          counts.kills += 1;
          say(`${counts.kills} of ${kills}: shard ${shard} killed`);
        } else planned -= 1;
      }
      const { code, stdout } = await end;
      if (code === null || code === EXIT.busy) left.push(shard);
      else if (code !== 0) throw new Error(`shard ${shard} ended with ${code}: ${stdout}`);
      else {
        counts.runs += 1;
        if (stdout.includes('"already"')) counts.already += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return counts;
}

async function merged(folder: string): Promise<string> {
  const out = `${folder}.h5`;
  const { code, stdout } = await ended(start(['merge', folder, '--out', out, '--json']));
  if (code !== 0) throw new Error(`the merge ended with ${code}: ${stdout}`);
  return createHash('sha256').update(readFileSync(out)).digest('hex');
}
