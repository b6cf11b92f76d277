/**
 * An agent that knows 1,000 blocks: half of them wait at the scheduler, half have a pilot. What it asks of the scheduler, and
 * what it costs while nothing happens.
 *
 * Real: the agent and its ledger, one job script, one submit and one look for each block as on a cluster. Not real: Slurm
 * (fake-slurm.ts), and the pilots' nodes: the pilots are one process that dials as each of them, with their tokens and their
 * heartbeats, over the agent's socket and not over TLS.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import type { AgentStatus } from '../../agent/control.ts';
import { startWorld, type World } from '../e2e/world.ts';
import { createPilotPeer, type PilotPeer } from '../fakes/pilot-peer.ts';
import { type FakeSlurm, mostAtOnce, openFakeSlurm } from './fake-slurm.ts';
import type { Figures } from './figures.ts';
import { cpuMs } from './yardstick.ts';

const BLOCKS = 1000;
const STATUS_S = 30;
const MIN_IDLE_S = 60;
/** Past what follows a start or a wave of pilots: collections, and the next look. */
const SETTLE_MS = 35_000;
const LIMIT_MS = 300_000;
/** A job is named `ff-`, eight characters of the endpoint, `-` and the block. */
const JOB_PREFIX = 12;

export async function blocks(seconds: number): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-bench-blocks-'));
  try {
    await using world = await startWorld({ built: true });
    mkdirSync(join(folder, 'slurm'));
    const slurm = openFakeSlurm(join(folder, 'slurm'));
    return await measure(world, slurm, Math.max(MIN_IDLE_S, 4 * seconds));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(world: World, slurm: FakeSlurm, idleS: number): Promise<Figures> {
  await world.json('site', 'endpoint', 'stop');
  const config = {
    blocks: {
      scheduler: 'slurm',
      slots: 1,
      maxBlocks: BLOCKS,
      minBlocks: BLOCKS,
      // Ours, since a site's limit of 60 would make this bench take 17 hours.
      batch: { commandPath: slurm.path, statusS: STATUS_S, submitsPerHour: 10_000 },
    },
  };
  // JSON is YAML.
  writeFileSync(join(world.endpointState, 'config.yaml'), JSON.stringify(config), { mode: 0o600 });
  const began = performance.now();
  await world.json('site', 'endpoint', 'start', '--detach');
  await until(world, 'all jobs are submitted', () => slurm.calls().filter(isSubmit).length >= BLOCKS);
  const rampMs = performance.now() - began;
  const rampCpuMs = cpuMs(await world.agentPid());
  await states(world, { pending: BLOCKS / 2, starting: BLOCKS / 2 });
  const queued = await idle(world, slurm, idleS);

  const peers = await dialAll(world, slurm);
  await states(world, { pending: BLOCKS / 2, running: BLOCKS / 2 });
  const linked = await idle(world, slurm, idleS);

  process.kill(await world.agentPid(), 'SIGKILL');
  const again = performance.now();
  await world.json('site', 'endpoint', 'start', '--detach');
  for (const peer of peers) await peer.dial({ token: false });
  await states(world, { pending: BLOCKS / 2, running: BLOCKS / 2 });
  const againMs = performance.now() - again;

  const submits = slurm.calls().filter(isSubmit);
  if (submits.length !== BLOCKS) throw new Error(`${submits.length} submits for ${BLOCKS} blocks`);
  for (const peer of peers) peer.hangUp();
  return {
    'status commands a 30 s interval, half queued, half starting': { value: queued.looks, unit: '', bar: 1 },
    'status commands a 30 s interval, half queued, half linked': { value: linked.looks, unit: '', bar: 1 },
    'other commands meanwhile': { value: queued.others + linked.others, unit: '', bar: 0 },
    'submits at once, at most': { value: mostAtOnce(submits), unit: '', bar: 1 },
    'commands at once, at most': { value: mostAtOnce(slurm.calls()), unit: '', bar: 1 },
    'idle agent, no pilot linked': { value: queued.cpuPercent, unit: '% core', bar: 0.5 },
    'idle agent, 500 pilots linked': { value: linked.cpuPercent, unit: '% core', bar: 0.5 },
    'idle: measured over, each': { value: idleS, unit: 's' },
    'a block begun: agent CPU': { value: rampCpuMs / BLOCKS, unit: 'ms' },
    'blocks begun': { value: (1000 * BLOCKS) / rampMs, unit: '/s' },
    'agent killed, to all blocks known again': { value: againMs, unit: 'ms' },
  };
}

const isSubmit = ({ command }: { readonly command: string }): boolean => command === 'sbatch';

interface Idle {
  /** squeue for each interval. */
  readonly looks: number;
  readonly others: number;
  readonly cpuPercent: number;
}

async function idle(world: World, slurm: FakeSlurm, seconds: number): Promise<Idle> {
  await sleep(SETTLE_MS);
  const pid = await world.agentPid();
  const [from, cpu, start] = [slurm.calls().length, cpuMs(pid), performance.now()];
  await sleep(seconds * 1000);
  const tookMs = performance.now() - start;
  const cpuPercent = (100 * (cpuMs(pid) - cpu)) / tookMs;
  const calls = slurm.calls().slice(from);
  const looks = calls.filter(({ command }) => command === 'squeue').length;
  if (looks === 0) throw new Error('the agent asked nothing while jobs lived');
  return { looks: looks / Math.ceil(tookMs / (STATUS_S * 1000)), others: calls.length - looks, cpuPercent };
}

/** A pilot for each job that runs. */
async function dialAll(world: World, slurm: FakeSlurm): Promise<PilotPeer[]> {
  const peers: PilotPeer[] = [];
  for (const [name, node] of slurm.running()) {
    const folder = join(world.endpointState, 'blocks', name.slice(JOB_PREFIX));
    const peer = createPilotPeer(folder, { clock: systemClock, random: systemRandom, slots: 1, node });
    await peer.dial();
    peers.push(peer);
  }
  return peers;
}

async function states(world: World, wanted: Readonly<Record<string, number>>): Promise<void> {
  await until(world, JSON.stringify(wanted), async () => {
    const { blocks: known } = (await world.json('site', 'endpoint', 'status')) as unknown as AgentStatus;
    const count = (state: string): number => known.filter((block) => block.state === state).length;
    return known.length === BLOCKS && Object.entries(wanted).every(([state, n]) => count(state) === n);
  });
}

async function until(world: World, what: string, look: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + LIMIT_MS; !(await look()); await sleep(500)) {
    if (performance.now() < end) continue;
    const log = readFileSync(join(world.endpointState, 'agent.log'), 'utf8');
    throw new Error(`never: ${what}; the agent's last words: ${log.slice(-2000)}`);
  }
}
