/**
 * `--slurm`: the three people on hosts of a virtual cluster (scripts/cluster), with real Slurm between the site's agent and
 * its nodes, and the model in a real Apptainer container. Broker on one host beside the cluster, scientist on another.
 *
 * The cluster ends with this program, however that ends: its keeper waits for the end of a pipe.
 */
import { spawn, spawnSync } from 'node:child_process';
import { chownSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Ground } from './stage.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const scripts = join(root, 'scripts', 'cluster');
/** Of `cloud` (up.sh). */
const BROKER_HOST = '10.77.0.4';
const ALICE = 2001;

export async function openSlurm(write: (line: string) => void): Promise<Ground> {
  write('0. A cluster of namespaces: head, node1, node2 under Slurm, and two hosts beside it.');
  const kept = process.env.FARFIELD_CLUSTER ?? join(tmpdir(), 'farfield-cluster');
  const place = mkdtempSync(join(tmpdir(), 'farfield-site-'));
  const site = join(place, 'site');
  const keeper = spawn(join(scripts, 'hold.sh'), [site], {
    env: { PATH: process.env.PATH ?? '', FARFIELD_CLUSTER: kept },
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  keeper.stdin.on('error', () => undefined);
  let stderr = '';
  keeper.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const ended = new Promise<'ended'>((resolve) => keeper.once('close', () => resolve('ended')));
  const ready = new Promise<'ready'>((resolve) => {
    keeper.stdout.on('data', (chunk: Buffer) => {
      for (const line of chunk.toString().trim().split('\n')) {
        if (line === 'ready') resolve('ready');
        else write(`            ${line}`);
      }
    });
  });
  const close = async (): Promise<void> => {
    keeper.stdin.end();
    await ended;
    rmSync(place, { recursive: true, force: true });
  };
  if ((await Promise.race([ready, ended])) === 'ended') {
    rmSync(place, { recursive: true, force: true });
    throw new Error(`--slurm: ${stderr.trim().split('\n').at(-1) ?? 'the cluster did not come up'}`);
  }
  const pid = (host: string): string => readFileSync(join(site, `${host}.pid`), 'utf8').trim();
  const onHead = (path: string): string => join('/proc', pid('head'), 'root', path);
  try {
    copyFileSync(imageArchive(kept), onHead('/shared/onnx.oci.tar'));
  } catch (reason) {
    await close();
    throw reason;
  }
  const on = (host: string, user: string, home: string): string[] => {
    const enter = [join(scripts, 'in.sh'), site, host, '-u', user];
    return [...enter, 'env', `FARFIELD_HOME=${home}`, 'FARFIELD_PROGRESS=1'];
  };
  const of = {
    operator: on('cloud', 'bob', '/tmp/operator'),
    site: on('head', 'alice', '/home/alice/farfield'),
    // This machine's files, for pictures and predictions, over the network of that host.
    scientist: ['nsenter', '-t', pid('desk'), '-n', '--'],
  } as const;
  return {
    enter: (person) => of[person],
    brokerHost: BROKER_HOST,
    writeFile(path, text) {
      writeFileSync(onHead(path), text, { mode: 0o600 });
      chownSync(onHead(path), ALICE, ALICE);
    },
    config: {
      blocks: {
        scheduler: 'slurm',
        slots: 1,
        batch: { queue: 'gpu', cpus: 2, memMiB: 4000, wallS: 900, statusS: 5 },
      },
    },
    archive: '/shared/onnx.oci.tar',
    [Symbol.asyncDispose]: close,
  };
}

/** The project's own image, made once of Debian packages. */
function imageArchive(kept: string): string {
  const archive = join(kept, 'images', 'onnx.oci.tar');
  if (existsSync(archive)) return archive;
  const { status } = spawnSync(join(root, 'containers/build.sh'), ['onnx', join(kept, 'images')], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status !== 0) throw new Error('--slurm: containers/build.sh could not make the image');
  return archive;
}
