/** Runs `farfield` as a user would: child processes with a folder of their own for each person, and a line for each step. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

/** Arguments that are secrets or long are shown by what they are. */
function shown(args: readonly string[], folder: string): string {
  return args.map((arg) => (arg.startsWith('ff1.') ? 'ff1.…' : arg.replaceAll(folder, '…'))).join(' ');
}

export function openStage(write: (line: string) => void): Stage {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-demo-'));
  const children = new Set<ChildProcess>();
  let closed: Promise<void> | undefined;

  const run = async (
    person: Person,
    args: readonly string[],
  ): Promise<{ code: number; stdout: string; stderr: string }> => {
    const home = join(folder, person);
    const env = { PATH: process.env.PATH ?? '', HOME: home, FARFIELD_HOME: home };
    const child = spawn(process.execPath, [cli, ...args, '--json'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    children.add(child);
    const parts = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].on('data', (chunk: Buffer) => {
        parts[name] += chunk.toString();
      });
    }
    const code = await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status) => resolve(status ?? 1));
    });
    children.delete(child);
    return { code, ...parts };
  };

  const close = async (): Promise<void> => {
    for (const child of children) child.kill();
    // Either may never have started; then its verb says so, and that is no news here.
    await run('site', ['endpoint', 'stop']);
    await run('operator', ['broker', 'stop']);
    rmSync(folder, { recursive: true, force: true });
  };

  return {
    folder,
    note: write,
    path: (person, ...parts) => join(folder, person, ...parts),
    async step(person, args, say) {
      write(`${person.padEnd(9)} $ farfield ${shown(args, folder)}`);
      const { code, stdout, stderr } = await run(person, args);
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
