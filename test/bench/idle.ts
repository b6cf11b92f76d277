/** What costs something while nothing happens, and what it takes to begin: memory and coldstart. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../../client/ts/client.ts';
import { outcomeError } from '../../client/ts/outcome.ts';
import { startWorld, VALIDATION, type World } from '../e2e/world.ts';
import { type Figures, median } from './figures.ts';
import { pilotsOf, rssMb, runnersOf } from './processes.ts';

/** Past the agent's next look around, which gives back what only a start needs. */
const SETTLE_MS = 35_000;

async function callNoop(world: World, client: Client): Promise<void> {
  const items = [{ args: [{ name: 'x', type: 'json' as const, bytes: Buffer.from('1') }] }];
  const { ticket } = await client.submit({
    terms: world.termsOf(client, world.noop),
    manifest: readFileSync(world.noop, 'utf8'),
    items,
  });
  await ticket.item(0);
}

/** Resident memory after one call, when nothing is under way. */
export async function memory(): Promise<Figures> {
  await using world = await startWorld({ slots: 1, built: true });
  await using client = await world.openClient();
  await callNoop(world, client);
  await sleep(SETTLE_MS);
  const sum = (pids: readonly number[]): number => pids.reduce((total, pid) => total + rssMb(pid), 0);
  const [pilots, runners] = [pilotsOf(world.folder), runnersOf(world.folder)];
  if (pilots.length !== 1 || runners.length !== 1)
    throw new Error(`${pilots.length} pilots and ${runners.length} runners are there, not one of each`);
  return {
    broker: { value: rssMb(await world.brokerPid()), unit: 'MiB', bar: 130 },
    agent: { value: rssMb(await world.agentPid()), unit: 'MiB', bar: 110 },
    'pilot and a runner without a model': { value: sum(pilots) + sum(runners), unit: 'MiB', bar: 130 },
  };
}

/** Submit to verified result of the model on the file, when no runner (and in the second figure no pilot either) is there. */
export async function coldstart(rounds: number): Promise<Figures> {
  const withPilot: number[] = [];
  const fromNothing: number[] = [];
  for (let k = 0; k < rounds; k++) {
    await using world = await startWorld({ slots: 2, built: true });
    await using client = await world.openClient();
    await client.connect();
    fromNothing.push(await firstModelResult(world, client));
    // The pilot stays; a new agent life, and a manifest that no warm runner serves: the no-op's runner is another pool.
    await world.json('site', 'endpoint', 'stop');
    await world.json('site', 'endpoint', 'start', '--detach');
    await callNoop(world, client);
    withPilot.push(await firstModelResult(world, client));
  }
  return {
    'no runner, pilot there': { value: median(withPilot), unit: 'ms', bar: 1000 },
    'no runner and no pilot': { value: median(fromNothing), unit: 'ms' },
  };
}

async function firstModelResult(world: World, client: Client): Promise<number> {
  const start = performance.now();
  const args = [
    { name: 'patches', type: 'hdf5' as const, path: VALIDATION.replace('validation.h5', 'golden.h5'), sel: '/patches' },
  ];
  const { ticket } = await client.submit({
    terms: world.termsOf(client, world.bragg),
    manifest: readFileSync(world.bragg, 'utf8'),
    items: [{ args }],
  });
  const failure = outcomeError(await ticket.item(0));
  if (failure !== undefined) throw failure;
  return performance.now() - start;
}
