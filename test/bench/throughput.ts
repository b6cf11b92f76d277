/**
 * No-op invocations a second through all five processes: 1 KiB of distinct random arguments in, 100 B out, durable at broker
 * and agent, every receipt verified and every item counted once by the client.
 */
import { readFileSync } from 'node:fs';
import { systemRandom } from '#base/random.ts';
import { STATUS_CODES } from '#kernel/leaves.ts';
import type { Client } from '../../client/ts/client.ts';
import type { OutcomeGroup } from '../../client/ts/tracker.ts';
import { startWorld, type World } from '../e2e/world.ts';
import { type Figures, quantile } from './figures.ts';
import { cpuMs } from './yardstick.ts';

/** Enough to keep both cores busy; more waits longer and is not faster. */
const OUTSTANDING = 4000;
const ARGUMENT_BYTES = 1024;
const RESULT_BYTES = 100;

interface Load {
  readonly done: number;
  readonly seconds: number;
  readonly latenciesMs: readonly number[];
  readonly cpuUs: Readonly<Record<string, number>>;
}

export async function throughput(seconds: number): Promise<Figures> {
  await using world = await startWorld({ slots: 2, built: true });
  await using client = await world.openClient();
  await load(world, client, 1000, Math.min(3, seconds));
  const batched = await load(world, client, 1000, seconds);
  const single = await load(world, client, 1, Math.max(5, seconds / 2));
  return {
    'batches of 1,000': { value: batched.done / batched.seconds, unit: '/s', bar: 12_000, more: true },
    'batches: p50': { value: quantile(batched.latenciesMs, 0.5), unit: 'ms' },
    'batches: p99': { value: quantile(batched.latenciesMs, 0.99), unit: 'ms', bar: 500 },
    ...cpuFigures('batches', batched),
    'signed one by one': { value: single.done / single.seconds, unit: '/s', bar: 2500, more: true },
    'one by one: p99': { value: quantile(single.latenciesMs, 0.99), unit: 'ms' },
    ...cpuFigures('one by one', single),
  };
}

function cpuFigures(name: string, { cpuUs }: Load): Figures {
  return Object.fromEntries(
    Object.entries(cpuUs).map(([who, value]) => [`${name}: CPU of ${who}`, { value, unit: 'us/item' }]),
  );
}

/** Keeps OUTSTANDING items on their way in tickets of `size`; latency is from the submit to each item's verified receipt. */
async function load(world: World, client: Client, size: number, seconds: number): Promise<Load> {
  const manifest = readFileSync(world.noop, 'utf8');
  const terms = world.termsOf(client, world.noop);
  const latenciesMs: number[] = [];
  let done = 0;
  const oneTicket = async (): Promise<void> => {
    const items = Array.from({ length: size }, () => ({
      args: [{ name: 'x', type: 'bytes' as const, bytes: systemRandom.bytes(ARGUMENT_BYTES) }],
    }));
    const start = performance.now();
    const { ticket } = await client.submit({ terms, manifest, items, batch: size > 1 });
    const seen = new Uint8Array(size);
    const take = ({ columns, fresh }: OutcomeGroup): void => {
      const elapsed = performance.now() - start;
      for (const k of fresh) {
        const i = columns.items[k] ?? 0;
        if (seen[i] === 1) throw new Error(`item ${i} completed twice`);
        if (columns.statuses[k] !== STATUS_CODES.succeeded) throw new Error(`item ${i} did not succeed`);
        if (columns.resultSizes[k] !== RESULT_BYTES) throw new Error(`item ${i} has ${columns.resultSizes[k]} bytes`);
        seen[i] = 1;
        latenciesMs.push(elapsed);
      }
      done += fresh.length;
    };
    ticket.onOutcomes(take);
    await ticket.finished();
    if (seen.some((once) => once !== 1)) throw new Error('a ticket finished without all its items');
  };
  const pids = { broker: await world.brokerPid(), agent: await world.agentPid() };
  const before = { broker: cpuMs(pids.broker), agent: cpuMs(pids.agent), client: process.cpuUsage() };
  const start = performance.now();
  const lanes = Math.max(1, Math.floor(OUTSTANDING / size));
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      while (performance.now() - start < seconds * 1000) await oneTicket();
    }),
  );
  const own = process.cpuUsage(before.client);
  const us = (ms: number): number => (1000 * ms) / done;
  return {
    done,
    seconds: (performance.now() - start) / 1000,
    latenciesMs,
    cpuUs: {
      broker: us(cpuMs(pids.broker) - before.broker),
      agent: us(cpuMs(pids.agent) - before.agent),
      client: (own.user + own.system) / done,
    },
  };
}
