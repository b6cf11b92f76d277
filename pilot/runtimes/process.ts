/**
 * The process runtime: the runner as a child of the pilot, under the same user. It contains nothing, which is why policy
 * must name it; what it does give is an end of the whole tree (base/process.ts says what can escape).
 */
import type { Clock } from '#base/clock.ts';
import { type Containment, killTree, startTree } from '#base/process.ts';
import type { Random } from '#base/random.ts';
import type { RunnerExit, RunnerProcess, Runtime } from './runtime.ts';

export interface ProcessRuntimeOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly containment: () => Promise<Containment>;
  readonly clock: Clock;
  readonly random: Random;
}

export function createProcessRuntime(options: ProcessRuntimeOptions): Runtime {
  const { command, args, env, clock, random } = options;
  return {
    name: 'process',
    async start({ scratchDir, env: own }): Promise<RunnerProcess> {
      const { child, handle } = await startTree({
        command,
        args: [...args, 'pipe'],
        env: { ...env, ...own, TMPDIR: scratchDir },
        cwd: scratchDir,
        stdio: ['pipe', 'pipe', 'pipe'],
        random,
        containment: await options.containment(),
      });
      const { stdin, stdout, stderr } = child;
      if (stdin === null || stdout === null || stderr === null) throw new Error('a runner without its pipes');
      // A runner that died while we wrote: its exit tells, the pipe's error adds nothing.
      stdin.on('error', () => {});
      const exited = new Promise<RunnerExit>((resolve) =>
        child.once('close', (code, signal) => resolve({ code, signal })),
      );
      return {
        pid: handle.pid,
        stdin,
        stdout,
        stderr,
        exited,
        // This runtime has no network of its own.
        network: 'host',
        kill: (graceMs) => killTree(handle, { clock, graceMs }),
      };
    },
  };
}
