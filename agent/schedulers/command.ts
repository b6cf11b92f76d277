/**
 * Runs a scheduler's command. The one place that does.
 *
 * Invariants
 *  C1 No shell: argv and stdin. The environment is what is given here and nothing of the agent's, which may hold tokens and, in
 *     SBATCH_*, PBS_* and the like, options that would overrule the script.
 *  C2 A command that hangs or floods is ended with everything that it started, and is an outcome, not an exception: a hung
 *     scheduler must never hang the agent.
 *  C3 Output is bounded while it is read.
 */
import { spawn } from 'node:child_process';
import type { Clock } from '#base/clock.ts';
import type { Output, SchedulerCommand } from './driver.ts';

export type CommandOutcome =
  | { readonly kind: 'done'; readonly output: Output }
  /** It may have done its work all the same. */
  | { readonly kind: 'unfinished'; readonly why: string }
  /** It never ran. */
  | { readonly kind: 'notStarted'; readonly why: string };

export interface CommandOptions {
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly timeoutMs: number;
  readonly maxBytes?: number;
}

export type RunCommand = (command: SchedulerCommand) => Promise<CommandOutcome>;

/** 1,000 jobs of Slurm's JSON are 10 MB; what is longer is no answer. */
const MAX_BYTES = 32 * 1024 * 1024;
/** Between TERM and KILL: a client may hold a lock on a shared filesystem. */
const GRACE_MS = 2000;

export function createRunner(options: CommandOptions): RunCommand {
  return (command) => run(command, options);
}

function run({ argv, stdin, env }: SchedulerCommand, o: CommandOptions): Promise<CommandOutcome> {
  const [file, ...args] = argv;
  const maxBytes = o.maxBytes ?? MAX_BYTES;
  const { promise, resolve } = Promise.withResolvers<CommandOutcome>();
  // A group of its own: site wrappers are shell scripts, and ending the shell alone would leave its child.
  const child = spawn(file, args, { cwd: o.cwd, env: { ...o.env, ...env }, detached: true, stdio: 'pipe' });
  const chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  let bytes = 0;
  let stopped: string | undefined;
  let kill = o.clock.after(o.timeoutMs, () => stop(`no answer within ${o.timeoutMs / 1000} s`));

  const signal = (name: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, name);
    } catch {
      // All of it is gone.
    }
  };
  const stop = (why: string): void => {
    if (stopped !== undefined) return;
    stopped = why;
    signal('SIGTERM');
    kill.cancel();
    kill = o.clock.after(GRACE_MS, () => {
      signal('SIGKILL');
      // A grandchild that left the group may hold the pipes open for ever.
      child.stdout.destroy();
      child.stderr.destroy();
    });
  };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= maxBytes) chunks[name].push(chunk);
      else stop(`more than ${maxBytes} bytes of output`);
    });
  }
  // A command that does not read its input closes the pipe: its own affair.
  child.stdin.on('error', () => undefined);
  child.stdin.end(stdin ?? '');
  child.on('error', (error) => {
    kill.cancel();
    resolve({ kind: 'notStarted', why: `${file} cannot be started: ${error.message}` });
  });
  child.on('close', (code, by) => {
    kill.cancel();
    const text = (parts: readonly Buffer[]): string => Buffer.concat(parts).toString();
    if (stopped !== undefined) resolve({ kind: 'unfinished', why: `${file}: ${stopped}` });
    else if (code === null) resolve({ kind: 'unfinished', why: `${file} was ended by ${by ?? 'a signal'}` });
    else resolve({ kind: 'done', output: { code, stdout: text(chunks.stdout), stderr: text(chunks.stderr) } });
  });
  return promise;
}

/** What every command gets; the driver names what else its scheduler needs. */
export function commandEnv(
  own: Readonly<Record<string, string | undefined>>,
  passEnv: readonly string[],
  path: string,
): Record<string, string> {
  // The language of messages and the form of dates are part of what is parsed.
  const env: Record<string, string> = { PATH: path, LC_ALL: 'C', LANG: 'C' };
  for (const key of ['HOME', 'USER', 'LOGNAME', 'TMPDIR', 'TZ', ...passEnv]) {
    const value = own[key];
    if (value !== undefined) env[key] = value;
  }
  return env;
}
