/** Runs `farfield` as a user would: child processes with a folder of their own for each person, and a line for each step. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Three people with three folders: nothing passes between them but what they would tell each other. */
export type Person = 'operator' | 'site' | 'scientist';

export interface Stage extends AsyncDisposable {
  readonly folder: string;
  /** Runs a verb with --json and returns what it printed last. `say` makes the line that the step leaves. */
  step(
    person: Person,
    args: readonly string[],
    say: (result: Record<string, unknown>) => string,
  ): Promise<Record<string, unknown>>;
  /** A file of this person's folder. */
  path(person: Person, ...parts: string[]): string;
  note(text: string): void;
}

const cli = fileURLToPath(new URL('../cli/main.ts', import.meta.url));

const isToken = (arg: string): boolean => arg.startsWith('ff1.');

/** Long folders are shown short, and what goes by stdin is said. */
function shown(args: readonly string[], folder: string): string {
  const text = args.map((arg) => (isToken(arg) ? '-' : arg.replaceAll(folder, '…'))).join(' ');
  return args.some(isToken) ? `${text}   # ff1.… on stdin` : text;
}

/** Where the three people are, if not all on this machine (slurm.ts). */
export interface Ground extends AsyncDisposable {
  /** What runs a command where this person is, with their Farfield folder and nothing else of this environment. */
  enter(person: Person): readonly string[];
  /** Under which a broker on the operator's host is reached. */
  readonly brokerHost: string;
  /** Writes a private file of the site's. */
  writeFile(path: string, text: string): void;
  /** Of config.yaml. */
  readonly config: Readonly<Record<string, unknown>>;
  /** An OCI archive, on the site's host: the image that functions run in. */
  readonly archive: string;
}

export function openStage(write: (line: string) => void, ground?: Ground): Stage {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-demo-'));
  const children = new Set<{ child: ChildProcess; detaches: boolean; ended: Promise<unknown> }>();
  let closed: Promise<void> | undefined;

  const run = async (
    person: Person,
    args: readonly string[],
    onLine: (line: string) => void = () => undefined,
  ): Promise<{ code: number; stdout: string; stderr: string }> => {
    const home = join(folder, person);
    const env = { PATH: process.env.PATH ?? '', HOME: home, FARFIELD_HOME: home, FARFIELD_PROGRESS: '1' };
    // A token goes by stdin: arguments are seen by everybody on a machine.
    const token = args.find(isToken);
    const [command = '', ...before] = [...(ground?.enter(person) ?? []), process.execPath];
    const child = spawn(command, [...before, cli, ...args.map((arg) => (isToken(arg) ? '-' : arg)), '--json'], {
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
      // A group of its own: Ctrl-C is for this program, which ends its verbs in order.
      detached: true,
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(token ?? '');
    const parts = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].on('data', (chunk: Buffer) => {
        parts[name] += chunk.toString();
      });
    }
    createInterface({ input: child.stderr }).on('line', onLine);
    const ended = new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status) => resolve(status ?? 1));
    });
    const entry = { child, detaches: args.includes('--detach'), ended: ended.catch(() => undefined) };
    children.add(entry);
    const code = await ended.finally(() => children.delete(entry));
    return { code, ...parts };
  };

  const close = async (): Promise<void> => {
    // A verb that is starting a daemon is let finish: killed in between it would leave one that `stop` does not find yet.
    for (const { child, detaches } of children) if (!detaches) child.kill();
    await Promise.all([...children].map(({ ended }) => ended));
    // Either may never have started; then its verb says so, and that is no news here.
    await run('site', ['endpoint', 'stop']);
    await run('operator', ['broker', 'stop']);
    await ground?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  };

  return {
    folder,
    note: write,
    path: (person, ...parts) => join(folder, person, ...parts),
    async step(person, args, say) {
      if (closed !== undefined) throw new Error('it is being stopped');
      write(`${person.padEnd(9)} $ farfield ${shown(args, folder)}`);
      // What it says while it works, as its user would see it.
      const { code, stdout, stderr } = await run(person, args, (line) => write(`            ${line}`));
      const last = stdout.trim().split('\n').at(-1) ?? '';
      if (code !== 0) throw new Error(failure(args, last, stderr));
      const result = JSON.parse(last) as Record<string, unknown>;
      write(`            ${say(result)}`);
      return result;
    },
    [Symbol.asyncDispose]() {
      closed ??= close();
      return closed;
    },
  };
}

function failure(args: readonly string[], last: string, stderr: string): string {
  try {
    const { error } = JSON.parse(last) as { error: { code: string; message: string } };
    return `farfield ${args.slice(0, 2).join(' ')}: ${error.message} [${error.code}]`;
  } catch {
    return `farfield ${args.slice(0, 2).join(' ')} failed: ${stderr.trim() || last}`;
  }
}
