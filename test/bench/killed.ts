/**
 * A pilot is killed while it runs a call, and another one stands free: how long until that one has it.
 *
 * From the kill to the client's event that it runs again: the kernel closing the socket, the agent's decision, two commits, the
 * launch, and the way of the event. So it is more than what is promised (leased again after the socket closes), never less.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningEvent } from '#protos/http.ts';
import type { Client } from '../../client/ts/client.ts';
import { startWorld, type World } from '../e2e/world.ts';
import { type Figures, median } from './figures.ts';
import { pilotsOf } from './processes.ts';

const LONG_MS = 3600_000;
const LIMIT_MS = 60_000;

interface Sleeper {
  readonly id: string;
  /** When it was said to run for the first, second, ... time; undefined while it was not. */
  ranAt(time: number): number | undefined;
}

export async function killed(rounds: number): Promise<Figures> {
  await using world = await startWorld({ slots: 1, maxBlocks: 2, built: true });
  await using client = await world.openClient();
  const lie = await sleepers(world, client);
  const times: number[] = [];
  for (let k = 0; k < rounds; k++) {
    // Two calls for two pilots; the second one, ended, leaves its pilot free and warm. A new pair each round: a call that was
    // lost before is started again after a pause, on purpose (kernel/states/retry.ts, R4).
    const [first, second] = [await lie(), await lie()];
    for (const each of [first, second]) await until('a call runs', () => each.ranAt(1) !== undefined);
    await client.cancel(second.id);
    const { block, sentence } = (await world.json('site', 'endpoint', 'why', first.id)) as Record<string, string>;
    if (block === undefined) throw new Error(`the first call does not run: ${sentence}`);
    const pilot = pilotsOf(world.folder).find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(block));
    if (pilot === undefined) throw new Error(`no pilot of block ${block}`);
    const start = performance.now();
    process.kill(pilot, 'SIGKILL');
    await until('it runs again', () => first.ranAt(2) !== undefined);
    times.push((first.ranAt(2) ?? Number.NaN) - start);
    await client.cancel(first.id);
  }
  return {
    'killed to running again: median': { value: median(times), unit: 'ms', bar: 1000 },
    'killed to running again: most': { value: Math.max(...times), unit: 'ms' },
  };
}

/** Submits calls that sleep until they are ended. */
async function sleepers(world: World, client: Client): Promise<() => Promise<Sleeper>> {
  const claims = JSON.parse(readFileSync(join(world.folder, 'noop.json'), 'utf8')) as object;
  const [path, manifest] = [join(world.folder, 'sleep.json'), join(world.folder, 'sleep.manifest')];
  writeFileSync(path, JSON.stringify({ ...claims, name: 'sleep', entry: { sleepMs: LONG_MS } }));
  await world.json('user', 'function', 'sign', path, '--out', manifest);
  const seen = new Map<string, number[]>();
  client.onEvent(({ type, data }) => {
    const { id, state } = data as RunningEvent;
    if (type === 'running' && state === 'running') seen.set(id, [...(seen.get(id) ?? []), performance.now()]);
  });
  return async () => {
    const items = [{ args: [{ name: 'x', type: 'json' as const, bytes: Buffer.from('1') }] }];
    const terms = world.termsOf(client, manifest, { run: RUN });
    const { ticket } = await client.submit({ terms, manifest: readFileSync(manifest, 'utf8'), items });
    // Ended by us: its outcome is nobody's news.
    ticket.item(0).catch(() => undefined);
    return { id: ticket.id, ranAt: (time) => seen.get(ticket.id)?.[time - 1] };
  };
}

const RUN = {
  ...{ maxFailures: 100, maxStarts: 200, timeoutS: LONG_MS / 1000 },
  uncertainty: { method: 'l2' as const, samples: 0, level: 0.95 },
};

async function until(what: string, condition: () => boolean): Promise<void> {
  for (const end = performance.now() + LIMIT_MS; !condition(); ) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await sleep(1);
  }
}
