/**
 * SIGKILL of each process of a world in turn, at a seeded phase of a running load, and the account of what it did.
 *
 * Invariants
 *  K1 A kill comes only while completions flow, so that every one of them hits work in flight.
 *  K2 What died is started again by the verb that its owner would use: the operator the broker, the site the endpoint, the
 *     user their program. Pilots and runners come back by themselves or not at all.
 *  K3 A kill of a process shows nothing about a power loss: the page cache survives it. The order of fsync and
 *     acknowledgement is shown elsewhere (strace.test.ts).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSeededRandom, type Random } from '#base/random.ts';
import { startWorld, type World } from '../e2e/world.ts';
import { type Account, checkHistory, parseHistory } from './checker.ts';

export const TARGETS = ['client', 'broker', 'agent', 'pilot', 'runner'] as const;
export type Target = (typeof TARGETS)[number];

export interface KillOptions {
  /** Kills of each target. */
  readonly kills: number;
  readonly seed: number;
  readonly targets?: readonly Target[];
  readonly say: (line: string) => void;
}

export interface KillReport {
  readonly account: Account;
  readonly kills: Readonly<Record<Target, number>>;
  /** Items acknowledged a second, kills and restarts included. */
  readonly ratePerS: number;
  /** From the kill to the next completion that the client saw, worst of each target. */
  readonly worstBackMs: Readonly<Record<Target, number>>;
}

const MAX_STARTS = 8;
const ANSWER_BYTES = 100;
const LOOK_MS = 25;
/** Completions that show that the load is under way again. */
const FLOWING = 60;
const PHASE_MS = 400;
/** Longer than any lease, heartbeat and back-off together. */
const BACK_MS = 90_000;
const DRAIN_MS = 120_000;

export async function runKills(options: KillOptions): Promise<KillReport> {
  await using world = await startWorld({ slots: 2 });
  const run = createRun(world, options);
  const kills = { client: 0, broker: 0, agent: 0, pilot: 0, runner: 0 };
  const worstBackMs = { ...kills };
  const random = createSeededRandom(`phases/${options.seed}`);
  const begin = performance.now();
  try {
    await run.startLoad();
    for (let round = 0; round < options.kills; round++) {
      for (const target of shuffled(options.targets ?? TARGETS, random)) {
        await run.flowing(FLOWING);
        await sleep(random.uniform() * PHASE_MS);
        const at = performance.now();
        await run.kill(target);
        await run.flowing(1);
        const backMs = Math.round(performance.now() - at);
        kills[target] += 1;
        worstBackMs[target] = Math.max(worstBackMs[target], backMs);
        options.say(`${round + 1}/${options.kills} ${target} killed; next completion after ${backMs} ms`);
      }
    }
    const seconds = (performance.now() - begin) / 1000;
    await run.drain();
    const account = run.account();
    return { account, kills, worstBackMs, ratePerS: Math.round(account.acked / seconds) };
  } finally {
    run.stop();
  }
}

interface Run {
  startLoad(): Promise<void>;
  /** Resolves when `count` more completions were seen. */
  flowing(count: number): Promise<void>;
  kill(target: Target): Promise<void>;
  drain(): Promise<void>;
  account(): Account;
  stop(): void;
}

function createRun(world: World, options: KillOptions): Run {
  const history = join(world.folder, 'history.jsonl');
  const load = new URL('./load.ts', import.meta.url).pathname;
  let life = 0;
  let child: ChildProcess | undefined;

  const startLoad = async (): Promise<void> => {
    life += 1;
    const args = [
      load,
      join(world.folder, 'user'),
      history,
      String(life),
      world.noop,
      world.endpoint,
      `${options.seed}`,
    ];
    const started = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    child = started;
    for await (const line of createInterface({ input: started.stdout })) if (line === 'ready') return;
    throw new Error(`life ${life} of the client ended before it was ready`);
  };
  const read = (): string => (existsSync(history) ? readFileSync(history, 'utf8') : '');
  const completions = (): number => read().split('"kind":"done"').length - 1;
  const within = async (ms: number, what: string, done: () => boolean): Promise<void> => {
    for (const until = performance.now() + ms; !done(); await sleep(LOOK_MS)) {
      if (performance.now() > until) throw new Error(`${what} not within ${ms / 1000} s`);
    }
  };
  const dead = (pid: number): boolean => !isAlive(pid);
  const killPid = async (pid: number): Promise<void> => {
    process.kill(pid, 'SIGKILL');
    await within(5000, `the death of ${pid}`, () => dead(pid));
  };

  return {
    startLoad,
    flowing(count) {
      const wanted = completions() + count;
      return within(BACK_MS, `${count} more completions`, () => completions() >= wanted);
    },
    async kill(target) {
      switch (target) {
        case 'client':
          await killPid(child?.pid ?? 0);
          return startLoad();
        case 'broker':
          await killPid(await world.brokerPid());
          await world.json('operator', 'broker', 'start', '--detach');
          return;
        case 'agent':
          await killPid(await world.agentPid());
          await world.json('site', 'endpoint', 'start', '--detach');
          return;
        case 'pilot':
        case 'runner': {
          let pids: number[] = [];
          await within(BACK_MS, `a living ${target}`, () => {
            pids = processesOf(world)[target];
            return pids.length > 0;
          });
          const pid = pids[0] as number;
          return killPid(pid);
        }
      }
    },
    async drain() {
      child?.stdin?.write('stop\n');
      await within(DRAIN_MS, 'the end of all that was submitted', () => child?.exitCode !== null);
    },
    account: () => checkHistory(parseHistory(read()), { maxStarts: MAX_STARTS, answerOf }),
    stop: () => void child?.kill('SIGKILL'),
  };
}

/** As the noop adapter makes it of its one argument. */
function answerOf(label: string, i: number): string {
  const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();
  const digest = sha256(Buffer.from(`${label}/${i}`));
  const blocks = [0, 1, 2, 3].map((counter) => sha256(Buffer.concat([digest, Buffer.from([0, 0, 0, counter])])));
  return Buffer.concat(blocks).subarray(0, ANSWER_BYTES).toString('hex');
}

function shuffled<T>(list: readonly T[], random: Random): T[] {
  return list
    .map((value) => ({ value, order: random.uniform() }))
    .sort((a, b) => a.order - b.order)
    .map(({ value }) => value);
}

function readProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    return '';
  }
}

/** State and parent; the name in brackets may hold anything, the fields after it may not. */
function statOf(pid: number): { state: string; parent: number } {
  const [state = 'X', parent = '0'] = readProc(pid, 'stat').split(') ').at(-1)?.split(' ') ?? [];
  return { state, parent: Number(parent) };
}

function isAlive(pid: number): boolean {
  const { state } = statOf(pid);
  return readProc(pid, 'stat') !== '' && state !== 'Z' && state !== 'X';
}

/** Pilots name the endpoint's folder in their arguments; runners are the programs below them. */
export function processesOf(world: Pick<World, 'endpointState'>): { pilot: number[]; runner: number[] } {
  const all = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name), argv: readProc(Number(name), 'cmdline').split('\0') }));
  // The first argument that is no flag of Node's: what keeps a runner's namespace (unshare ... node FILE) is no runner.
  const runs = (argv: readonly string[], file: string): boolean =>
    argv.find((arg, k) => k > 0 && !arg.startsWith('-'))?.endsWith(file) === true;
  const pilot = all
    .filter(({ argv }) => runs(argv, '/pilot/main.ts') && argv.some((arg) => arg.startsWith(world.endpointState)))
    .map(({ pid }) => pid);
  const below = (pid: number): boolean => pid > 1 && (pilot.includes(pid) || below(statOf(pid).parent));
  const runner = all.filter(({ pid, argv }) => runs(argv, '/runner/main.ts') && below(pid)).map(({ pid }) => pid);
  return { pilot: pilot.filter(isAlive), runner: runner.filter(isAlive) };
}
