/**
 * What container runtimes have in common: the paths inside, what is bound to them, and how the runner is called there.
 *
 * Invariants
 *  C1 A container sees the runner's own files (read only), the model (read only), its pool's inputs (read only), its pool's
 *     outputs and a scratch folder, each at a fixed path. Nothing else of the host is bound.
 *  C2 Paths on the host never reach the runner: it is told the inside path of everything.
 *  C3 A path that a launcher's own syntax could read as something else is quoted, or refused; never guessed at.
 */
import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { FarfieldError } from '#kernel/errors.ts';
import type { LaunchSpec } from '../spec.ts';

/** Fixed, so that an image's author can know them, and under one folder, so that they meet nothing of the image's. */
export const INSIDE = {
  node: '/farfield/node',
  app: '/farfield/app',
  model: '/farfield/model',
  in: '/farfield/in',
  files: '/farfield/files',
  out: '/farfield/out',
  scratch: '/farfield/scratch',
} as const;

export interface Bind {
  readonly from: string;
  readonly to: string;
  readonly write: boolean;
}

/** The runner's program, as a container sees it. */
export interface RunnerTree {
  readonly binds: readonly Bind[];
  readonly command: readonly string[];
}

/** How a runner reaches the network; `host` only where the site's policy allows it. */
export type Network = 'none' | 'host';

/** Kind of accelerator whose driver is bound, for functions that asked for one. */
export type Gpu = 'nvidia' | 'amd';

/** Everything that a launcher's argv is made of. */
export interface ContainerPlan {
  readonly image: string;
  readonly binds: readonly Bind[];
  readonly command: readonly string[];
  readonly network: Network;
  readonly gpu: Gpu | undefined;
  readonly workDir: string;
}

/**
 * The runner for a container: Node as one file, and the folder of the program with its packages. `command` and `args` are
 * those of the process runtime: an interpreter, then a program, then what it takes.
 */
export function runnerTree(command: string, args: readonly string[]): RunnerTree {
  const node = realpathSync(command);
  const [program, ...rest] = args;
  if (program === undefined) return { binds: [{ from: node, to: INSIDE.node, write: false }], command: [INSIDE.node] };
  const file = realpathSync(program);
  const root = packageRoot(file);
  return {
    binds: [
      { from: node, to: INSIDE.node, write: false },
      { from: root, to: INSIDE.app, write: false },
    ],
    command: [INSIDE.node, join(INSIDE.app, relative(root, file)), ...rest],
  };
}

/** The nearest folder above with a package.json: it holds node_modules too. A lone file's own folder where there is none. */
function packageRoot(file: string): string {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (folder === dirname(folder)) return dirname(file);
  }
}

/** C1. */
export function bindsOf(spec: LaunchSpec, scratchDir: string, tree: RunnerTree): Bind[] {
  const { stage } = spec;
  const binds: Bind[] = [...tree.binds, { from: scratchDir, to: INSIDE.scratch, write: true }];
  if (spec.modelRoot !== undefined) binds.push({ from: spec.modelRoot, to: INSIDE.model, write: false });
  if (stage === undefined) return binds;
  binds.push({ from: stage.in, to: INSIDE.in, write: false }, { from: stage.out, to: INSIDE.out, write: true });
  for (const file of stage.files) binds.push({ from: file, to: insideFile(file), write: false });
  return binds;
}

/** Where a file that is too large to be copied is seen. */
export function insideFile(path: string): string {
  return join(
    INSIDE.files,
    Buffer.from(path).toString('base64url').slice(-40),
    basename(path).replace(/[^\w.-]/g, '_'),
  );
}

/** C3. NUL ends a path for the kernel; a line feed separates mounts for some launchers; a quote ends their quoting. */
export function checkPath(path: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is refused
  if (path.startsWith('/') && !/[\u0000-\u001f\u007f"]/.test(path)) return path;
  throw new FarfieldError(
    'E_PATH',
    `the path ${JSON.stringify(path)} cannot be bound into a container: it must be absolute, without quotes or control characters`,
  );
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** The site's environment for runners, checked: what the launcher itself would read is not the site's to set here. */
export function runnerEnv(env: Readonly<Record<string, string>>): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (!NAME.test(name) || /^(APPTAINER|SINGULARITY|FARFIELD|LD_)/.test(name) || /[\0\n\r]/.test(value)) {
      throw new FarfieldError(
        'E_USAGE',
        `env.${name} cannot be given to a container; take it out of the endpoint's configuration`,
      );
    }
    out[name] = value;
  }
  return { ...out, TMPDIR: INSIDE.scratch };
}

/**
 * What a failed probe means. Loaders, kernels and launchers say it in their own words; the exit code is 255, 126 or 127 in
 * most of these cases and tells nothing more.
 */
export function readProbe(stderr: string): string | undefined {
  const glibc = /GLIBC(?:XX)?_[0-9.]+/.exec(stderr)?.[0];
  if (glibc !== undefined)
    return `its C library is too old: ${glibc} is not in it, and the runner needs glibc 2.28 or newer`;
  if (/exec format error/i.test(stderr)) return 'it is made for another processor architecture than this node';
  if (/error while loading shared libraries: ([^:\s]+)/.test(stderr))
    return `it lacks ${/error while loading shared libraries: ([^:\s]+)/.exec(stderr)?.[1] ?? 'a library'}, which the runner needs`;
  if (/\/farfield\/node.*(no such file|not found)|(no such file|not found).*\/farfield\/node/is.test(stderr))
    return 'it has no glibc loader (musl, or no C library at all); the runner needs glibc 2.28 or newer';
  return undefined;
}
