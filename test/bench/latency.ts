/** One signed, durable no-op at a time: back to back, and paced at 50 a second, when the CPU sleeps in between. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemRandom } from '#base/random.ts';
import { startWorld } from '../e2e/world.ts';
import { type Figures, quantile } from './figures.ts';
import { pilotsOf, runnersOf } from './processes.ts';
import { cpuMs } from './yardstick.ts';

/** Many at once: a server that has been up for a while has compiled its hot code; one by one that would take minutes. */
const WARM_UP = 4000;
const WARM_UP_LANES = 64;
const PACE_MS = 20;

export async function latency(calls: number): Promise<Figures> {
  await using world = await startWorld({ slots: 2, built: true });
  await using client = await world.openClient();
  const manifest = readFileSync(world.noop, 'utf8');
  const terms = world.termsOf(client, world.noop);
  const call = async (): Promise<number> => {
    const start = performance.now();
    const { ticket } = await client.submit({
      terms,
      manifest,
      items: [{ args: [{ name: 'x', type: 'bytes', bytes: systemRandom.bytes(1024) }] }],
    });
    await ticket.item(0);
    return performance.now() - start;
  };
  let left = WARM_UP;
  const lane = async (): Promise<void> => {
    while (left-- > 0) await call();
  };
  await Promise.all(Array.from({ length: WARM_UP_LANES }, lane));
  const pids: Readonly<Record<string, readonly number[]>> = {
    broker: [await world.brokerPid()],
    agent: [await world.agentPid()],
    'pilot and runner': [...pilotsOf(world.folder), ...runnersOf(world.folder)],
    client: [process.pid],
  };
  const cpuOf = (): [string, number][] =>
    Object.entries(pids).map(([who, all]) => [who, all.reduce((sum, pid) => sum + cpuMs(pid), 0)]);
  const before = new Map(cpuOf());
  const backToBack: number[] = [];
  for (let k = 0; k < calls; k++) backToBack.push(await call());
  // Most of a lone call is computing and not waiting: this says how much.
  const cpu = Object.fromEntries(
    cpuOf().map(([who, ms]) => [
      `back to back: CPU of ${who}`,
      { value: (ms - (before.get(who) ?? 0)) / calls, unit: 'ms/call' },
    ]),
  );
  const paced: number[] = [];
  for (let k = 0; k < Math.min(calls, 500); k++) {
    paced.push(await call());
    await sleep(PACE_MS);
  }
  return {
    'back to back: p50': { value: quantile(backToBack, 0.5), unit: 'ms', bar: 3.5 },
    'back to back: p99': { value: quantile(backToBack, 0.99), unit: 'ms', bar: 12 },
    ...cpu,
    'paced at 50/s: p50': { value: quantile(paced, 0.5), unit: 'ms', bar: 8 },
    'paced at 50/s: p99': { value: quantile(paced, 0.99), unit: 'ms' },
  };
}
