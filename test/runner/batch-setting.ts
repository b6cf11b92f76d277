/** Runs `farfield-runner batch` and `merge`: in this process, or as a process of its own that can be killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { systemClock } from '#base/clock.ts';
import { runBatch, runMerge } from '../../runner/batch/command.ts';

const MAIN = fileURLToPath(new URL('../../runner/main.ts', import.meta.url));
export const BRAGG_FOLDER = fileURLToPath(new URL('../../models/braggnn/', import.meta.url));

let nonces = 0;
/** Different for each call, as each process has its own. */
export const nonce = (): string => `${process.pid.toString(16)}${(nonces++).toString(16)}`.padStart(16, '0');

export interface Ended {
  readonly code: number;
  /** The line of JSON on stdout; undefined where there was none. */
  readonly said: Said | undefined;
  readonly stderr: string;
}

export interface Said {
  readonly ok: boolean;
  readonly state?: string;
  readonly rows?: number;
  readonly shards?: number;
  readonly result?: string;
  readonly trust?: { readonly state: string };
  readonly error?: { readonly code: string; readonly message: string };
}

/** `stop` receives what a SIGTERM would call. */
export async function call(
  verb: 'batch' | 'merge',
  args: readonly string[],
  more: { env?: Record<string, string>; stop?: (stop: () => void) => void; json?: boolean } = {},
): Promise<Ended & { stdout: string }> {
  let [stdout, stderr] = ['', ''];
  const code = await (verb === 'batch' ? runBatch : runMerge)([...args, ...(more.json === false ? [] : ['--json'])], {
    clock: systemClock,
    threads: 1,
    env: more.env ?? {},
    self: { host: 'here', pid: process.pid, nonce: nonce() },
    eventsOpen: false,
    print: (text) => {
      stdout += text;
    },
    complain: (text) => {
      stderr += text;
    },
    watched: false,
    onStop: more.stop ?? (() => {}),
  });
  const line = stdout.trim().split('\n').at(-1) ?? '';
  return { code, stdout, stderr, said: line.startsWith('{') ? (JSON.parse(line) as Said) : undefined };
}

/** A runner as a job array starts it; events on descriptor 3 go to `eventsTo`. */
export function startRunnerProcess(args: readonly string[], eventsTo?: number, cwd?: string): ChildProcess {
  return spawn(process.execPath, [MAIN, ...args, '--json'], {
    stdio: ['ignore', 'pipe', 'pipe', eventsTo ?? 'ignore'],
    cwd,
  });
}

export async function endOf(
  child: ChildProcess,
): Promise<{ code: number | null; signal: string | null; stdout: string; stderr: string }> {
  let [stdout, stderr] = ['', ''];
  child.stdout?.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  return { code, signal, stdout, stderr };
}

export const sidecar = (path: string): Record<string, unknown> => JSON.parse(readFileSync(path, 'utf8'));
