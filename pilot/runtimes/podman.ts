/**
 * The Podman runtime, for laptops: the same container with another launcher. Not for clusters, whose compute nodes have
 * neither subordinate user ids nor container storage.
 *
 * Invariants
 *  D1 The image is named by the manifest digest that was signed (`oci:` only) and must be in this user's storage already:
 *     nothing is pulled at a start.
 *  D2 Environment, binds and network are as in a container of Apptainer; where Podman cannot give them, the start fails.
 *  D3 `--rm` and an init: the container ends with its runner, and its orphans are reaped.
 */
import { execFile } from 'node:child_process';
import type { Clock } from '#base/clock.ts';
import { type Containment, killTree, startTree } from '#base/process.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { bindsOf, type ContainerPlan, checkPath, type Gpu, INSIDE, runnerEnv, runnerTree } from './container.ts';
import type { RunnerExit, RunnerPlan, RunnerProcess, Runtime } from './runtime.ts';

export interface PodmanRuntimeOptions {
  readonly program: string;
  readonly runner: { readonly command: string; readonly args: readonly string[] };
  readonly env: Readonly<Record<string, string>>;
  readonly gpu: Gpu | undefined;
  readonly outer: Readonly<Record<string, string>>;
  readonly containment: () => Promise<Containment>;
  readonly clock: Clock;
  readonly random: Random;
}

const LAUNCHER_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const REMOVE_TIMEOUT_MS = 30_000;

export interface PodmanPlan extends ContainerPlan {
  /** Ours and unique: the container is removed by it. */
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
}

/** argv of `podman` for one container, without the program. Pure. `image` is an image id or `sha256:` of a manifest. */
export function podmanArgs(plan: PodmanPlan): string[] {
  const mounts = plan.binds.flatMap(({ from, to, write }) => [
    '--mount',
    // CSV, as Apptainer's.
    [
      'type=bind',
      ...[`source=${checkPath(from)}`, `destination=${checkPath(to)}`].map((field) =>
        /[,\s]/.test(field) ? `"${field}"` : field,
      ),
      ...(write ? [] : ['readonly=true']),
    ].join(','),
  ]);
  return [
    'run',
    '--rm',
    '--interactive',
    '--init',
    '--pull=never',
    '--log-driver=none',
    '--read-only',
    '--cap-drop=all',
    '--security-opt=no-new-privileges',
    '--userns=keep-id',
    '--unsetenv-all',
    '--name',
    plan.name,
    `--network=${plan.network}`,
    ...Object.entries(plan.env).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
    ...(plan.gpu === 'nvidia' ? ['--device=nvidia.com/gpu=all'] : []),
    ...(plan.gpu === 'amd' ? ['--device=/dev/kfd', '--device=/dev/dri'] : []),
    ...mounts,
    '--workdir',
    checkPath(plan.workDir),
    '--entrypoint',
    plan.command[0] ?? '',
    plan.image,
    ...plan.command.slice(1),
  ];
}

/** D1. */
function imageOf(digest: string): string {
  if (/^oci:[0-9a-f]{64}$/.test(digest)) return `sha256:${digest.slice(4)}`;
  throw new FarfieldError('E_VARIANT_INCOMPATIBLE', `podman starts OCI images, and ${digest} is none; use apptainer`);
}

export function createPodmanRuntime(options: PodmanRuntimeOptions): Runtime {
  const { clock, random, program } = options;
  const env = { PATH: LAUNCHER_PATH, LANG: 'C.UTF-8', ...options.outer };
  return {
    name: 'podman',
    async start({ spec, scratchDir, env: own }: RunnerPlan): Promise<RunnerProcess> {
      const tree = runnerTree(options.runner.command, options.runner.args);
      const name = `farfield-${Buffer.from(random.bytes(12)).toString('hex')}`;
      const args = podmanArgs({
        name,
        env: { ...runnerEnv(options.env), ...own },
        image: imageOf(spec.image),
        binds: bindsOf(spec, scratchDir, tree),
        command: [...tree.command, 'pipe'],
        network: 'none',
        gpu: spec.gpus > 0 ? options.gpu : undefined,
        workDir: INSIDE.scratch,
      });
      const { child, handle } = await startTree({
        command: program,
        args,
        env,
        cwd: scratchDir,
        stdio: ['pipe', 'pipe', 'pipe'],
        random,
        // newuidmap is setuid, which a user namespace of ours would switch off.
        containment: 'none',
      });
      const { stdin, stdout, stderr } = child;
      if (stdin === null || stdout === null || stderr === null) throw new Error('a runner without its pipes');
      stdin.on('error', () => {});
      const exited = new Promise<RunnerExit>((resolve) =>
        child.once('close', (code, signal) => resolve({ code, signal })),
      );
      const kill = async (graceMs: number): Promise<{ readonly left: readonly number[] }> => {
        // Its monitor is no child of ours: the container is ended by name first.
        await removeContainer(program, name, env, graceMs);
        return killTree(handle, { clock, graceMs: 0 });
      };
      return { pid: handle.pid, stdin, stdout, stderr, exited, network: 'none', kill };
    },
  };
}

function removeContainer(
  program: string,
  name: string,
  env: Readonly<Record<string, string>>,
  graceMs: number,
): Promise<void> {
  const args = ['rm', '--force', '--ignore', '--time', String(Math.ceil(graceMs / 1000)), name];
  return new Promise((resolve) => {
    execFile(program, args, { env: { ...env }, timeout: REMOVE_TIMEOUT_MS + graceMs }, () => resolve());
  });
}
