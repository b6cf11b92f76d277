/**
 * Runners of a job array, killed at random moments, until every shard is done; the merged result must be that of an undisturbed
 * run, byte for byte.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { systemClock } from '#base/clock.ts';
import { createSeededRandom, type Random } from '#base/random.ts';
import { EXIT } from '../../runner/exits.ts';
import { writePeaks } from '../trust/calibration-set.ts';
import { C3, simulatePeaks } from '../trust/simulate.ts';

const RUNNER = fileURLToPath(new URL('../../runner/main.ts', import.meta.url));
const MODEL = fileURLToPath(new URL('../../models/braggnn/', import.meta.url));
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
  /** Kills after which the shard's files were there in part: under other names, or a result without its sidecar. */
  readonly torn: number;
  /** Runners that were told that another has their shard. */
  readonly turnedAway: number;
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
    const life = await runAll(options, (shard) => args(calm).concat('--shard', shard));
    options.say(`undisturbed: a runner begins its shard after ${life.startMs} ms and takes ${life.workMs} ms for it`);
    mkdirSync(wild);
    const counts = await runKilled(options, wild, life, (shard) => args(wild).concat('--shard', shard));
    const [a, b] = [await merged(calm), await merged(wild)];
    const leftOver = readdirSync(wild).filter((name) => !/^rows-\d+-\d+\.(h5|json)$|^model-[0-9a-f]{16}$/.test(name));
    return { shards: options.shards, ...counts, leftOver, identical: a === b, sha256: b };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

type ArgsOf = (shard: string) => string[];

const start = (args: readonly string[]): ChildProcess =>
  spawn(process.execPath, [RUNNER, ...args], { stdio: ['ignore', 'pipe', 'inherit', 'pipe'] });

/** When the first event comes, which is that the shard has begun; or the end, where none does. */
const begun = (child: ChildProcess): Promise<unknown> =>
  Promise.race([once(child.stdio[3] as Readable, 'data'), once(child, 'close')]);

async function ended(child: ChildProcess): Promise<{ code: number | null; stdout: string }> {
  let stdout = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout };
}

/** How long a runner takes here and now: kills are aimed by it, so that slow and fast machines are hit in the same places. */
interface Life {
  readonly startMs: number;
  readonly workMs: number;
}

const median = (values: readonly number[]): number =>
  Math.round(values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0);

/** Every shard once; any end but a good one is an error. */
async function runAll({ shards, lanes }: ShardKillOptions, argsOf: ArgsOf): Promise<Life> {
  const [starts, works]: [number[], number[]] = [[], []];
  const left = Array.from({ length: shards }, (_, i) => `${i}/${shards}`);
  const lane = async (): Promise<void> => {
    for (let shard = left.shift(); shard !== undefined; shard = left.shift()) {
      const from = systemClock.mono();
      const child = start(argsOf(shard));
      const end = ended(child);
      await begun(child);
      const at = systemClock.mono();
      const { code, stdout } = await end;
      if (code !== 0) throw new Error(`shard ${shard} ended with ${code}: ${stdout}`);
      starts.push(at - from);
      works.push(systemClock.mono() - at);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return { startMs: median(starts), workMs: median(works) };
}

/** As a scheduler that requeues: shards are started again after a kill, some of them twice at once, until all are done. */
async function runKilled(
  { shards, lanes, kills, seed, say }: ShardKillOptions,
  folder: string,
  life: Life,
  argsOf: ArgsOf,
): Promise<Pick<ShardKillReport, 'kills' | 'torn' | 'turnedAway' | 'runs' | 'already'>> {
  const random = createSeededRandom(`${seed} kills`);
  const counts = { kills: 0, torn: 0, turnedAway: 0, runs: 0, already: 0 };
  const left = Array.from({ length: shards }, (_, i) => `${i}/${shards}`);
  // Every tenth is asked for twice, side by side, as by an operator who is not sure.
  for (let i = left.length - 1; i >= 0; i -= 10) left.splice(i, 0, left[i] as string);
  let aimed = 0;
  const lane = async (): Promise<void> => {
    for (let shard = left.shift(); shard !== undefined; shard = left.shift()) {
      const child = start(argsOf(shard));
      const end = ended(child);
      // Spread over the whole array; a kill that comes too late is aimed at a later runner.
      if (random.uniform() < (1.5 * (kills - counts.kills - aimed)) / (left.length + 1)) {
        aimed += 1;
        await aim(child, end, life, random);
        if (child.exitCode === null && child.kill('SIGKILL')) {
          await end;
          counts.kills += 1;
          if (isTorn(folder)) counts.torn += 1;
          say(`${counts.kills} of ${kills}: shard ${shard} killed`);
        }
        aimed -= 1;
      }
      const { code, stdout } = await end;
      if (code === EXIT.busy) counts.turnedAway += 1;
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

/** One kill in four falls while the runner starts; the others while it loads the model, computes, writes and renames. */
async function aim(child: ChildProcess, end: Promise<unknown>, life: Life, random: Random): Promise<void> {
  const early = random.uniform() < 0.25;
  const part = random.uniform();
  if (!early) await begun(child);
  await Promise.race([end, sleep(part * (early ? life.startMs : life.workMs))]);
}

/** Whether files lie there that are of no finished shard. With several runners at once, they may be of one that lives. */
function isTorn(folder: string): boolean {
  const names = new Set(readdirSync(folder));
  return [...names].some((name) =>
    /^rows-\d+-\d+\.h5$/.test(name) ? !names.has(name.replace('.h5', '.json')) : /\.(part|lock)$/.test(name),
  );
}

async function merged(folder: string): Promise<string> {
  const out = `${folder}.h5`;
  const { code, stdout } = await ended(start(['merge', folder, '--out', out, '--json']));
  if (code !== 0) throw new Error(`the merge ended with ${code}: ${stdout}`);
  return createHash('sha256').update(readFileSync(out)).digest('hex');
}
