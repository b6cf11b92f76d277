/**
 * The Apptainer runtime: the runner in a container of the image that somebody signed, with nothing of the host but what the
 * item needs.
 *
 * Invariants
 *  A1 The launcher starts with an environment of our own: no variable of the agent, the scheduler or the user reaches it,
 *     and none that configures Apptainer.
 *  A2 The network is `none` unless policy allows more. Where this machine cannot give that, the start fails; there is no
 *     other attempt with less.
 *  A3 The image is measured before each start (by its identity, where the bytes were hashed before) and must still be the
 *     same file when the container is up.
 *  A4 A graceful end signals the launcher alone, which passes it on. A signal to the whole tree would end the process that
 *     serves the image's files as well, and the runner dies of a bus error in the middle of its drain.
 *  A5 Never an instance: those outlive the job that started them.
 *
 * Cgroup limits (--memory, --cpus) are left to the scheduler: they need a delegated cgroup, which compute nodes do not have,
 * and fail the start there.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Clock } from '#base/clock.ts';
import type { FileDigests } from '#base/file-digests.ts';
import { findImage, markUsed } from '#base/image-cache.ts';
import { plain } from '#base/plain.ts';
import { type Containment, killTree, startTree, type TreeHandle } from '#base/process.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import {
  type Bind,
  bindsOf,
  type ContainerPlan,
  checkPath,
  type Gpu,
  INSIDE,
  readProbe,
  runnerEnv,
  runnerTree,
} from './container.ts';
import type { RunnerExit, RunnerPlan, RunnerProcess, Runtime } from './runtime.ts';

export interface ApptainerRuntimeOptions {
  /** The launcher: a name on the path below, or absolute. */
  readonly program: string;
  readonly runner: { readonly command: string; readonly args: readonly string[] };
  /** For runners; checked, and the launcher never sees it as its own. */
  readonly env: Readonly<Record<string, string>>;
  /** Of the image cache (base/image-cache.ts). */
  readonly images: string;
  /** Whose driver `--nv` or `--rocm` binds, for specs that ask for accelerators. */
  readonly gpu: Gpu | undefined;
  /** Environment that only marks the tree, so that who ends the block finds its runners. */
  readonly outer: Readonly<Record<string, string>>;
  readonly digests: FileDigests;
  readonly containment: () => Promise<Containment>;
  readonly clock: Clock;
  readonly random: Random;
}

/** squashfuse and mksquashfs lie in /usr/bin or in the launcher's own libexec; newuidmap in /usr/bin. */
const LAUNCHER_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Mounting an image from a cold parallel file system. */
const PROBE_TIMEOUT_MS = 120_000;
const PROBE = ['--version'];

/**
 * argv of `apptainer` for one container, without the program. Pure.
 *
 * Binds are `--mount`s, not `--bind`s: those are split at commas and colons, and these are CSV, whose quoting holds both.
 */
export function apptainerArgs(plan: ContainerPlan, userNamespace = false): string[] {
  return [
    '--quiet',
    'exec',
    '--containall',
    // In a user namespace of ours a site's setuid starter is powerless; this takes the way without it.
    ...(userNamespace ? ['--userns'] : []),
    '--cleanenv',
    // Values of variables are data; without this a shell inside evaluates them.
    '--no-eval',
    '--no-home',
    '--no-mount',
    'bind-paths,cwd,hostfs',
    ...(plan.network === 'none' ? ['--net', '--network', 'none'] : []),
    ...(plan.gpu === 'nvidia' ? ['--nv'] : plan.gpu === 'amd' ? ['--rocm'] : []),
    ...plan.binds.flatMap((bind) => ['--mount', mountText(bind)]),
    '--pwd',
    checkPath(plan.workDir),
    checkPath(plan.image),
    ...plan.command,
  ];
}

function mountText({ from, to, write }: Bind): string {
  const field = (text: string): string => (/[,:\s]/.test(text) ? `"${text}"` : text);
  return [
    'type=bind',
    field(`source=${checkPath(from)}`),
    field(`destination=${checkPath(to)}`),
    ...(write ? [] : ['ro']),
  ].join(',');
}

/** A1. Apptainer passes variables of this prefix to the container, and nothing else with --cleanenv. */
export function apptainerEnv(env: Readonly<Record<string, string>>): Record<string, string> {
  const inside = Object.entries(runnerEnv(env)).map(([name, value]) => [`APPTAINERENV_${name}`, value] as const);
  return { PATH: LAUNCHER_PATH, LANG: 'C.UTF-8', ...Object.fromEntries(inside) };
}

/** A1 again, for one runner. */
function ownEnv(env: RunnerPlan['env'] = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(env).map(([name, value]) => [`APPTAINERENV_${name}`, value]));
}

export function createApptainerRuntime(options: ApptainerRuntimeOptions): Runtime {
  const { clock, random, digests } = options;
  /** Images in which the runner was seen to start, by digest: once in a pilot's life. */
  const probed = new Map<string, Promise<void>>();
  const env = apptainerEnv(options.env);

  const probe = (sif: string, path: string, command: readonly string[], binds: readonly Bind[]): Promise<void> => {
    const known = probed.get(sif);
    if (known !== undefined) return known;
    const args = apptainerArgs({ image: path, binds, command, network: 'none', gpu: undefined, workDir: '/' });
    const fresh = runProbe(options.program, args, env);
    probed.set(sif, fresh);
    // A full disk or a busy node is no property of the image.
    fresh.catch((reason: unknown) => {
      if (!(reason instanceof FarfieldError && reason.code === 'E_IMAGE_INCOMPATIBLE')) probed.delete(sif);
    });
    return fresh;
  };

  return {
    name: 'apptainer',
    async start(plan: RunnerPlan): Promise<RunnerProcess> {
      const { spec, scratchDir } = plan;
      const image = await findImage(options.images, spec.image, digests);
      void markUsed(options.images, image.sif, clock.now());
      const tree = runnerTree(options.runner.command, options.runner.args);
      const container: ContainerPlan = {
        image: image.path,
        binds: bindsOf(spec, scratchDir, tree),
        command: [...tree.command, 'pipe'],
        network: 'none',
        gpu: spec.gpus > 0 ? options.gpu : undefined,
        workDir: INSIDE.scratch,
      };
      const containment = await options.containment();
      const { child, handle } = await startTree({
        command: options.program,
        args: apptainerArgs(container, containment === 'user'),
        env: { ...env, ...ownEnv(plan.env), ...options.outer },
        cwd: scratchDir,
        stdio: ['pipe', 'pipe', 'pipe'],
        random,
        containment,
      });
      const { stdin, stdout, stderr } = child;
      if (stdin === null || stdout === null || stderr === null) throw new Error('a runner without its pipes');
      stdin.on('error', () => {});
      const exited = new Promise<RunnerExit>((resolve) =>
        child.once('close', (code, signal) => resolve({ code, signal })),
      );
      const end = (graceMs: number): Promise<{ readonly left: readonly number[] }> =>
        endContainer(handle, exited, clock, graceMs);
      try {
        // Beside the start, so that an image that is fine costs no time.
        await probe(image.sif, image.path, [...tree.command.slice(0, 1), ...PROBE], tree.binds);
        // A3.
        if (!(await digests.isStill(image.path, image.identity)))
          throw new FarfieldError('E_DIGEST', `${image.path} changed while it was started`);
      } catch (reason) {
        await end(0);
        throw reason;
      }
      return { pid: handle.pid, stdin, stdout, stderr, exited, image: image.sif, network: 'none', kill: end };
    },
  };
}

/** E_IMAGE_INCOMPATIBLE where the image is at fault, E_VARIANT_INCOMPATIBLE where this machine cannot start containers so. */
function runProbe(program: string, args: readonly string[], env: Record<string, string>): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(program, [...args], { env, timeout: PROBE_TIMEOUT_MS, cwd: '/' }, (error, stdout, stderr) => {
      if (error === null && /^v\d+/.test(stdout)) {
        resolve();
        return;
      }
      const why = readProbe(stderr);
      const said = plain(stderr).trim().slice(-600);
      reject(
        why !== undefined
          ? new FarfieldError('E_IMAGE_INCOMPATIBLE', `the runner cannot start in this image: ${why}`)
          : new FarfieldError(
              'E_VARIANT_INCOMPATIBLE',
              `this node could not start a container: ${said === '' ? (error?.message ?? 'no reason was given') : said}`,
            ),
      );
    });
  });
}

/** A4, then whatever is left of the tree. */
async function endContainer(
  handle: TreeHandle,
  exited: Promise<RunnerExit>,
  clock: Clock,
  graceMs: number,
): Promise<{ readonly left: readonly number[] }> {
  const launcher = graceMs > 0 ? launcherOf(handle) : undefined;
  if (launcher !== undefined) {
    try {
      process.kill(launcher, 'SIGTERM');
    } catch {
      // Gone meanwhile.
    }
    const waited = new AbortController();
    await Promise.race([exited, clock.sleep(graceMs, waited.signal).catch(() => undefined)]);
    waited.abort();
  }
  return killTree(handle, { clock, graceMs: 0 });
}

/** The launcher's own process: of a contained tree it is the only child of the namespace's first process. */
function launcherOf(handle: TreeHandle): number | undefined {
  if (!handle.contained) return handle.pid;
  let pid: number | undefined = handle.pid;
  for (let depth = 0; depth < 2 && pid !== undefined; depth += 1) pid = onlyChild(pid);
  return pid;
}

function onlyChild(pid: number): number | undefined {
  try {
    const [child] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ');
    return child === undefined || child === '' ? undefined : Number(child);
  } catch {
    return undefined;
  }
}
