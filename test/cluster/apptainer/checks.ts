/**
 * The pilot and real containers: run by test/cluster/apptainer.ts on a host where `apptainer` works for an ordinary user.
 * FOLDER holds onnx.oci.tar (containers/build.sh onnx FOLDER) and is kept; everything else is made and removed here.
 *
 *     checks.ts FOLDER
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import t from 'tap';
import { systemClock } from '#base/clock.ts';
import { measureDirectory } from '#base/directory-digest.ts';
import { createFileDigests } from '#base/file-digests.ts';
import { findImage } from '#base/image-cache.ts';
import { probeContainment } from '#base/process.ts';
import { systemRandom } from '#base/random.ts';
import { openImageCache } from '../../../agent/images/cache.ts';
import { type ConvertOptions, convertImage, parseSource } from '../../../agent/images/convert.ts';
import { createApptainerRuntime } from '../../../pilot/runtimes/apptainer.ts';
import { readSpec } from '../../../pilot/spec.ts';
import { type FakeAgent, SPEC } from '../../fakes/agent.ts';
import { act, processesIn, RUNNER, withPilot } from '../../fakes/pilot.ts';

const work = resolve(process.argv[2] ?? '.');
const images = join(work, 'cache');
const digests = createFileDigests();
const cache = await openImageCache({ folder: images, digests, clock: systemClock });
const options: ConvertOptions = { cache, apptainer: 'apptainer', clock: systemClock, arch: process.arch };
const containers = { images, apptainer: 'apptainer', podman: 'podman', gpu: 'none' } as const;
const PROBE = { command: process.execPath, args: [resolve('test/cluster/apptainer/probe-runner.ts')] };

const { oci, sif } = await convertImage(parseSource(`oci-archive:${join(work, 'onnx.oci.tar')}`), options);
const image = oci ?? '';
const inContainer = { runtime: 'apptainer', image } as const;

/** What serves or runs a container on this host. */
function containerProcesses(): string[] {
  const text = execFileSync('ps', ['-eo', 'args='], { encoding: 'utf8' });
  return text.split('\n').filter((line) => /squashfuse|^appinit|farfield\/node|apptainer .*exec/i.test(line));
}

function imageMounts(): string[] {
  return readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .filter((line) => /squashfuse|\/apptainer\//.test(line));
}

async function nothingLeft(agent: FakeAgent): Promise<void> {
  await agent.until('every process of the container is gone', () => containerProcesses().length === 0);
  t.strictSame(imageMounts(), [], 'and no mount is left');
}

const milliseconds = async (action: () => unknown): Promise<number> => {
  const began = performance.now();
  await action();
  return Math.round(performance.now() - began);
};

t.teardown(() => cache[Symbol.dispose]());

t.test('no-ops run in the container, and the receipt has the SIF that ran and its network', async (t) => {
  await withPilot(t, { runner: RUNNER, containers }, async (agent) => {
    const items = Array.from({ length: 500 }, (_, i) => ({
      key: i,
      args: [{ name: 'x', bytes: Buffer.from(`${i}`) }],
    }));
    agent.launch(items, { adapter: 'noop', ...inContainer });
    const ended = await agent.outcomes(500);
    t.ok(
      ended.every((one) => one.status === 'succeeded'),
      JSON.stringify(ended[0]?.detail),
    );
    t.match(ended[0]?.meas, { runtime: 'apptainer', image: sif, network: 'none' });
  });
});

t.test('BraggNN runs in the ONNX image on a file, and its result comes back as a file', async (t) => {
  const modelRoot = resolve('models/braggnn');
  const { digest: modelDigest } = await measureDirectory(modelRoot, digests);
  const path = join(modelRoot, 'validation.h5');
  await withPilot(t, { runner: RUNNER, containers }, async (agent) => {
    const call = { adapter: 'ort', modelRoot, modelDigest, maxBytes: 1 << 28, ...inContainer };
    agent.launch([{ key: 1, args: [{ name: 'patches', type: 'hdf5', path, sel: '/patches' }] }], call);
    const [ended] = await agent.outcomes(1);
    t.match(ended, { status: 'succeeded', meas: { image: sif, model: modelDigest } }, JSON.stringify(ended?.detail));
    t.equal(
      ended?.file === undefined ? ended?.result.length : readFileSync(ended.file.path).length,
      ended?.detail.res?.size ?? ended?.result.length,
    );
    if (ended?.file !== undefined) t.match(ended.file.path, /\/out\/1\.1\//, 'where the agent looks for it');
  });
});

t.test('a function sees its binds and nothing else of the host, and reaches nobody', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((listening) => server.once('listening', listening));
  const { port } = server.address() as { port: number };
  const secret = join(work, 'secret');
  writeFileSync(secret, 'not for functions');
  await withPilot(t, { runner: PROBE, containers }, async (agent) => {
    const read = [
      secret,
      join(agent.folder, 'block.json'),
      resolve('package.json'),
      join(images, 'lock'),
      '/etc/shadow',
    ];
    const write = [
      '/farfield/app/x',
      '/farfield/in/x',
      '/farfield/node',
      '/usr/x',
      '/farfield/out/x',
      '/farfield/scratch/x',
    ];
    agent.launch([act(1, { read, write, port })], { adapter: 'raw', ...inContainer });
    const [ended] = await agent.outcomes(1);
    const seen = JSON.parse(ended?.result.toString() ?? '{}') as Record<string, unknown>;
    const tries = (seen.read as string[]).concat(seen.write as string[]);
    t.comment(`${tries.length} tries, ${tries.filter((one) => one === 'done').length} successes (its own two folders)`);
    t.match(seen.read, ['ENOENT', 'ENOENT', 'ENOENT', 'ENOENT', /ENOENT|EACCES/]);
    t.match(seen.write, [/EROFS|EACCES/, /EROFS|EACCES/, /EROFS|EACCES|ETXTBSY/, /EROFS|EACCES/, 'done', 'done']);
    t.not(seen.reach, 'connected', 'a listener of the host is not there');
    t.equal(seen.interfaces, 1, 'only its own loopback');
    t.ok((seen.processes as number) <= 3, 'and it sees no process but its own');
    const ours = (seen.env as string[]).filter((name) => !/^(APPTAINER|SINGULARITY)_/.test(name));
    t.strictSame(
      ours.filter((name) => /TOKEN|SLURM|FARFIELD|USER|SSH/.test(name)),
      [],
    );
  });
  server.close();
});

t.test('a cancelled item ends with everything that it started', async (t) => {
  await withPilot(t, { runner: RUNNER, containers }, async (agent) => {
    agent.launch([act(1, { do: 'sleep', ms: 60_000 })], inContainer);
    await agent.until('it runs', () => agent.messages.some((m) => m.started?.state === 'running'));
    t.not(containerProcesses().length, 0);
    agent.session?.send({ cancel: { leases: [{ key: 1, attempt: 1, leaseEpoch: 7 }], reason: 'a test' } });
    t.match((await agent.outcomes(1))[0], { status: 'cancelled' });
    await nothingLeft(agent);
  });
});

t.test('SIGTERM to the pilot ends its containers, and says that the work may start again', async (t) => {
  await withProcess(t, async (agent, child, exit) => {
    child.kill('SIGTERM');
    t.equal(await exit, 0);
    t.match(agent.ended[0], { key: 1, status: 'failed', detail: { charged: false } });
    await nothingLeft(agent);
  });
});

t.test('kill -9 of the pilot leaves no process and no mount', async (t) => {
  await withProcess(t, async (agent, child, exit) => {
    child.kill('SIGKILL');
    await exit;
    await nothingLeft(agent);
    t.equal(processesIn(agent.folder), 0);
  });
});

t.test('kill -9 of the launcher ends the container, and the item is charged once', async (t) => {
  await withPilot(t, { runner: RUNNER, containers }, async (agent) => {
    agent.launch([act(1, { do: 'sleep', ms: 60_000 })], inContainer);
    await agent.until('it runs', () => agent.messages.some((m) => m.started?.state === 'running'));
    const pids = execFileSync('pgrep', ['-f', 'farfield/node'], { encoding: 'utf8' }).trim().split('\n');
    for (const pid of pids) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // Gone with another of them.
      }
    }
    t.match((await agent.outcomes(1))[0], { status: 'failed', detail: { charged: true } });
    await nothingLeft(agent);
  });
});

t.test('a graceful end reaches the runner once and lets it drain, with its image still there', async (t) => {
  const folder = join(work, 'drain');
  rmSync(folder, { recursive: true, force: true });
  for (const name of ['in', 'out', 'scratch']) mkdirSync(join(folder, name), { recursive: true });
  for (const containment of ['none', await probeContainment()] as const) {
    rmSync(join(folder, 'out', 'drained'), { force: true });
    const runtime = createApptainerRuntime({
      program: 'apptainer',
      runner: PROBE,
      env: {},
      images,
      gpu: undefined,
      outer: {},
      digests,
      containment: async () => containment,
      clock: systemClock,
      random: systemRandom,
    });
    const stage = { in: join(folder, 'in'), out: join(folder, 'out'), files: [] };
    const spec = { ...readSpec({ ...SPEC, ...inContainer }), stage };
    const runner = await runtime.start({ spec, scratchDir: join(folder, 'scratch') });
    // It says ready when it is loaded: by then it has its handler.
    const frame = Buffer.from(JSON.stringify({ op: 'load', adapter: 'raw', threads: 1, scratchDir: '/' }));
    const prefix = Buffer.alloc(12);
    prefix.writeUInt32LE(frame.length, 0);
    runner.stdin.write(Buffer.concat([prefix, frame]));
    await new Promise((ready) => runner.stdout.once('data', ready));
    const { left } = await runner.kill(20_000);
    t.strictSame(left, []);
    t.equal(readFileSync(join(folder, 'out', 'drained'), 'utf8'), 'yes', `drained, containment ${containment}`);
    t.match(await runner.exited, { code: 0 });
  }
  t.strictSame(containerProcesses(), []);
});

t.test('an image in which the runner cannot start is named so, with the reason', async (t) => {
  const empty = join(work, 'empty');
  mkdirSync(join(empty, 'root', 'etc'), { recursive: true });
  writeFileSync(join(empty, 'root', 'etc', 'os-release'), 'ID=nothing\n');
  execFileSync('tar', ['-cf', join(empty, 'layer.tar'), '-C', join(empty, 'root'), 'etc']);
  const archive = join(empty, 'empty.oci.tar');
  execFileSync(process.execPath, [resolve('scripts/oci-archive.ts'), 'empty', join(empty, 'layer.tar'), '', archive]);
  const made = await convertImage(parseSource(`oci-archive:${archive}`), options);
  await withPilot(t, { runner: RUNNER, containers }, async (agent) => {
    agent.launch([act(1, { do: 'echo' })], { runtime: 'apptainer', image: made.oci ?? '' });
    const [ended] = await agent.outcomes(1);
    t.match(ended, { status: 'failed', detail: { err: { code: 'E_IMAGE_INCOMPATIBLE', message: /glibc/ } } });
    t.comment(ended?.detail.err?.message);
  });
  rmSync(empty, { recursive: true, force: true });
});

t.test('a changed image file is refused at its start', async (t) => {
  const { path } = await findImage(images, image, digests);
  const other = join(work, 'changed');
  rmSync(other, { recursive: true, force: true });
  execFileSync('cp', ['-r', images, other]);
  const copy = path.replace(images, other);
  execFileSync('chmod', ['u+w', copy]);
  execFileSync('sh', ['-c', 'printf x >> "$1"', 'sh', copy]);
  await withPilot(t, { runner: RUNNER, containers: { ...containers, images: other } }, async (agent) => {
    agent.launch([act(1, { do: 'echo' })], inContainer);
    t.match((await agent.outcomes(1))[0], { status: 'failed', detail: { err: { code: 'E_DIGEST' } } });
  });
  rmSync(other, { recursive: true, force: true });
});

t.test('figures: a cold container, and a warm call beside a process', async (t) => {
  const { path } = await findImage(images, image, digests);
  const bare = await milliseconds(() =>
    execFileSync('apptainer', ['-q', 'exec', '--containall', path, 'true'], { stdio: 'ignore' }),
  );
  const calls: Record<string, number[]> = {};
  for (const runtime of ['process', 'apptainer'] as const) {
    await withPilot(t, { runner: RUNNER, containers }, async (agent) => {
      const times: number[] = [];
      for (let call = 0; call < 12; call += 1) {
        const began = performance.now();
        agent.launch([act(call, { do: 'echo' })], runtime === 'process' ? {} : inContainer);
        while (agent.ended.length <= call) await new Promise((turn) => setImmediate(turn));
        times.push(Math.round((performance.now() - began) * 10) / 10);
      }
      calls[runtime] = times;
    });
  }
  const warm = (runtime: string): number => (calls[runtime] ?? []).slice(2).sort((a, b) => a - b)[5] ?? 0;
  t.comment(
    `apptainer exec true: ${bare} ms; first call cold: container ${calls.apptainer?.[0]} ms, process ${calls.process?.[0]} ms`,
  );
  t.comment(`warm call, median of 10: container ${warm('apptainer')} ms, process ${warm('process')} ms`);
});

/** A pilot in a process of its own with an item that sleeps in a container. */
async function withProcess(
  t: Parameters<typeof withPilot>[0],
  use: (agent: FakeAgent, child: ReturnType<typeof spawn>, exit: Promise<number | null>) => Promise<void>,
): Promise<void> {
  const { openFakeAgent } = await import('../../fakes/agent.ts');
  const agent = await openFakeAgent({ runner: RUNNER, containers });
  const child = spawn(process.execPath, [resolve('pilot/main.ts'), agent.folder], { stdio: 'ignore', env: {} });
  const exit = new Promise<number | null>((done) => child.once('close', done));
  try {
    await agent.connected();
    agent.launch([act(1, { do: 'sleep', ms: 60_000 })], inContainer);
    await agent.until('it runs', () => agent.messages.some((m) => m.started?.state === 'running'));
    t.not(containerProcesses().length, 0);
    await use(agent, child, exit);
  } finally {
    child.kill('SIGKILL');
    await exit;
    await agent.close();
  }
}
