/**
 * What a container adds, as one JSON line: bench.ts FOLDER, on a host where `apptainer` works (test/bench/container.ts).
 *
 * The agent is this process, the pilot and its runners are the built programs. Each round has a pilot of its own, whose first
 * container finds nothing warm: no probed image, no measured file. A time is from the launch message to the outcome, so it is
 * READY and a call, the process's beside it the same without a container.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { createFileDigests } from '#base/file-digests.ts';
import { findImage } from '#base/image-cache.ts';
import { openImageCache } from '../../../agent/images/cache.ts';
import { convertImage, parseSource } from '../../../agent/images/convert.ts';
import { type FakeAgent, openFakeAgent } from '../../fakes/agent.ts';

const ROUNDS = 10;
const WARM_UP = 30;
const PAIRS = 30;

export interface ContainerTimes {
  readonly bare: number[];
  /** First of its pilot, and a later one of another pool. */
  readonly first: number[];
  readonly later: number[];
  readonly process: number[];
  readonly warmContainer: number[];
  readonly warmProcess: number[];
}

const work = resolve(process.argv[2] ?? '.');
const images = join(work, 'cache');
const digests = createFileDigests();
using cache = await openImageCache({ folder: images, digests, clock: systemClock });
const options = { cache, apptainer: 'apptainer', clock: systemClock, arch: process.arch };
const { oci = '', sif } = await convertImage(parseSource(`oci-archive:${join(work, 'onnx.oci.tar')}`), options);
const { path } = await findImage(images, oci, digests);
const dist = (name: string): string => resolve('dist', `${name}.mjs`);

async function timed(work: () => unknown): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** As `apptainer exec image true` is typed, without the lines that it says on stderr. */
function bare(): void {
  const { status, stderr } = spawnSync('apptainer', ['-q', 'exec', path, 'true'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  if (status !== 0) throw new Error(`apptainer exec true: ${stderr}`);
}

/** One no-op from the launch to its outcome, in a pool of this name. */
function caller(agent: FakeAgent): (pool: string) => Promise<number> {
  let key = 0;
  return (pool) =>
    timed(async () => {
      key += 1;
      const contained = pool !== 'process';
      const outcome = Promise.withResolvers<void>();
      agent.onEnded = outcome.resolve;
      agent.launch([{ key, args: [{ name: 'x', bytes: Buffer.from(String(key)) }] }], {
        adapter: 'noop',
        poolKey: pool,
        ...(contained ? { runtime: 'apptainer', image: oci } : {}),
      });
      await outcome.promise;
      const ended = agent.ended.at(-1);
      const ran = contained ? ['apptainer', sif] : ['process', undefined];
      if (
        ended?.key !== key ||
        ended.status !== 'succeeded' ||
        ended.meas.runtime !== ran[0] ||
        ended.meas.image !== ran[1]
      )
        throw new Error(`a call of ${pool} ended as ${JSON.stringify(ended)}`);
    });
}

const times: ContainerTimes = { bare: [], first: [], later: [], process: [], warmContainer: [], warmProcess: [] };

async function round(last: boolean): Promise<void> {
  const runner = { command: process.execPath, args: [dist('runner')] };
  const containers = { images, apptainer: 'apptainer', podman: 'podman', gpu: 'none' } as const;
  const agent = await openFakeAgent({ runner, containers, slots: 3 });
  const pilot = spawn(process.execPath, [dist('pilot'), agent.folder], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {},
  });
  let said = '';
  pilot.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const exit = once(pilot, 'close');
  try {
    await agent.connected();
    const call = caller(agent);
    times.bare.push(await timed(bare));
    times.first.push(await call('first'));
    times.later.push(await call('later'));
    times.process.push(await call('process'));
    if (!last) return;
    for (let k = 0; k < WARM_UP; k += 1) for (const pool of ['first', 'process']) await call(pool);
    for (let k = 0; k < PAIRS; k += 1) {
      times.warmContainer.push(await call('first'));
      times.warmProcess.push(await call('process'));
    }
  } catch (reason) {
    throw new Error(`${(reason as Error).message}; the pilot said: ${said.slice(-2000)}`, { cause: reason });
  } finally {
    pilot.kill('SIGTERM');
    await exit;
    await agent.close();
  }
}

// The image's pages, and the programs', into the machine's memory: a first start of all says how slow a disk is.
await round(false);
for (const list of Object.values(times) as number[][]) list.length = 0;
for (let k = 0; k < ROUNDS; k += 1) await round(k === ROUNDS - 1);
process.stdout.write(`${JSON.stringify(times)}\n`);
