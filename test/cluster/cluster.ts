/**
 * A virtual cluster (scripts/cluster) and what a test does with it: run commands on its hosts, read their files, cut cables.
 *
 * 1. It ends with the process that opened it, however that ends (scripts/cluster/hold.sh).
 * 2. Its hosts see this repository at its own path, read only, and run its Node.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export const REPO = resolve(import.meta.dirname, '../..');
const scripts = join(REPO, 'scripts/cluster');
export const KEPT = process.env.FARFIELD_CLUSTER ?? join(tmpdir(), 'farfield-cluster');

export type Host = 'head' | 'node1' | 'node2' | 'cloud' | 'desk';
export type User = 'root' | 'alice' | 'bob';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly user?: User;
  readonly env?: Readonly<Record<string, string>>;
  /** Goes to standard input. */
  readonly input?: string;
}

export interface Cluster {
  readonly folder: string;
  run(host: Host, argv: readonly string[], options?: RunOptions): Promise<Ran>;
  /** What a shell line prints; throws unless it succeeds. */
  sh(host: Host, line: string, user?: User): Promise<string>;
  /** A path of a host, as this machine sees it. */
  path(host: Host, path: string): string;
  cable(host: Host, ...words: string[]): void;
}

export interface OpenedCluster extends Cluster, AsyncDisposable {
  /** What up.sh printed: its steps with their times. */
  readonly said: string;
}

export interface OpenOptions {
  /** Further packages for the hosts. */
  readonly packages?: readonly string[];
  readonly write?: (line: string) => void;
}

/** Why there can be no cluster here; undefined where there can. */
export function clusterRefusal(): string | undefined {
  if (process.platform !== 'linux') return 'namespaces are Linux’s';
  if (process.getuid?.() !== 0) return 'only root can make hosts of namespaces';
  const works = (line: string): boolean => {
    try {
      execFileSync('sh', ['-c', line], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  };
  // All that a host begins with, in a namespace that ends with it.
  const trial =
    'mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w /mnt/r && mount -t overlay -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w none /mnt/r && mknod /mnt/fuse c 10 229 && : < /mnt/fuse && ip link add ff0 type veth peer name ff1 && setpriv --reuid=2001 --regid=2001 --clear-groups unshare -Ur true';
  if (!works('command -v mmdebstrap && command -v ip') && !works('command -v apt-get'))
    return 'mmdebstrap and iproute2 are missing, and so is apt';
  if (!works('command -v ip')) return undefined;
  if (!works(`unshare --mount --net --pid --ipc --uts --fork --propagation private -- sh -c '${trial}'`))
    return 'this machine does not let root make namespaces with an overlay, FUSE and a network of their own';
  return undefined;
}

export async function openCluster(options: OpenOptions = {}): Promise<OpenedCluster> {
  const place = mkdtempSync(join(tmpdir(), 'farfield-site-'));
  const folder = join(place, 'site');
  const env = {
    PATH: process.env.PATH ?? '',
    FARFIELD_CLUSTER: KEPT,
    PACKAGES: (options.packages ?? []).join(' '),
  };
  // A group of its own: Ctrl-C is for this program, whose end ends the cluster.
  const keeper = spawn(join(scripts, 'hold.sh'), [folder], { env, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  keeper.stdin.on('error', () => undefined);
  let said = '';
  const ready = new Promise<void>((resolve) => {
    keeper.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.endsWith('ready\n')) resolve();
    });
  });
  const ended = finish(keeper, options.write);
  const close = async (): Promise<void> => {
    keeper.stdin.end();
    const { code, stderr } = await ended;
    if (code !== 0) throw new Error(`the cluster did not end: ${stderr}`);
    rmSync(place, { recursive: true, force: true });
  };
  const failed = await Promise.race([ready, ended]);
  if (failed !== undefined) {
    rmSync(place, { recursive: true, force: true });
    throw new Error(`the cluster did not come up: ${failed.stderr || failed.stdout}`);
  }
  return { ...joinCluster(folder), said, [Symbol.asyncDispose]: close };
}

/** The cluster that another process has opened at this folder. */
export function joinCluster(folder: string): Cluster {
  const pid = (host: string): string => readFileSync(join(folder, `${host}.pid`), 'utf8').trim();
  const run: Cluster['run'] = (host, argv, { user = 'root', env = {}, input } = {}) => {
    const assigned = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const child = spawn(join(scripts, 'in.sh'), [folder, host, '-u', user, 'env', ...assigned, ...argv], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input ?? '');
    return finish(child);
  };
  return {
    folder,
    run,
    async sh(host, line, user = 'root') {
      const { code, stdout, stderr } = await run(host, ['bash', '-ec', line], { user });
      if (code !== 0) throw new Error(`on ${host} as ${user}: ${line}: exit ${code}: ${stderr}${stdout}`);
      return stdout.trim();
    },
    path: (host, path) => join('/proc', pid(host), 'root', path),
    cable(host, ...words) {
      execFileSync(join(scripts, 'cable.sh'), [folder, host, ...words], { stdio: ['ignore', 'inherit', 'inherit'] });
    },
  };
}

/** What a child process printed, at its end. */
export function finish(child: ChildProcess, onText: (text: string) => void = () => undefined): Promise<Ran> {
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.on('data', (chunk: Buffer) => {
      text[name] += chunk.toString();
      onText(chunk.toString());
    });
  }
  return new Promise((done, reject) => {
    child.once('error', reject);
    child.once('close', (code) => done({ code: code ?? 1, ...text }));
  });
}

/** Asks until it is so; throws with what it saw last. Nothing here is held to a time: the limit is for what never comes. */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  { limitS = 120, everyMs = 200, seen }: { limitS?: number; everyMs?: number; seen?: () => unknown } = {},
): Promise<T> {
  const tries = Math.ceil((limitS * 1000) / everyMs);
  for (let k = 0; k < tries; k += 1) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    await sleep(everyMs);
  }
  throw new Error(`${what}: not in ${limitS} s${seen === undefined ? '' : `; last: ${JSON.stringify(await seen())}`}`);
}
