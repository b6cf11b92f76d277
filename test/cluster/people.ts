/** Runs `farfield` as the people of a cluster's world would: each on their own host, as themselves, tokens by stdin. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { type Cluster, finish, type Host, type Ran, REPO, type User } from './cluster.ts';

export type Verb = (...args: string[]) => Promise<Record<string, unknown>>;

export interface People {
  /** On a host of the cluster, with FARFIELD_HOME at `home`; throws unless it succeeds. */
  on(host: Host, user: User, home: string): Verb;
  /** On this process's own host. */
  here(home: string): (...args: string[]) => Promise<Ran>;
}

const isToken = (arg: string): boolean => arg.startsWith('ff1.');
const withoutToken = (args: readonly string[]): string[] => args.map((arg) => (isToken(arg) ? '-' : arg));

export function createPeople(cluster: Cluster, built: boolean): People {
  const program = [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    join(REPO, built ? 'dist/farfield.mjs' : 'client/cli/main.ts'),
  ];
  return {
    on:
      (host, user, home) =>
      async (...args) =>
        lastLine(
          args,
          await cluster.run(host, [...program, ...withoutToken(args), '--json'], {
            user,
            env: { FARFIELD_HOME: home, FARFIELD_PROGRESS: '0' },
            input: args.find(isToken) ?? '',
          }),
        ),
    here:
      (home) =>
      (...args) => {
        const [command = '', ...first] = program;
        const child = spawn(command, [...first, ...withoutToken(args)], {
          env: { PATH: process.env.PATH ?? '', HOME: home, FARFIELD_HOME: home, FARFIELD_PROGRESS: '0' },
          stdio: ['pipe', 'pipe', 'pipe'],
        });
        child.stdin.on('error', () => undefined);
        child.stdin.end(args.find(isToken) ?? '');
        return finish(child);
      },
  };
}

/** What a verb with --json says last. */
export function lastLine(args: readonly string[], { code, stdout, stderr }: Ran): Record<string, unknown> {
  const last = stdout.trim().split('\n').at(-1) ?? '';
  if (code !== 0)
    throw new Error(`farfield ${args.slice(0, 2).join(' ')} ended with ${code}: ${last}${stderr.slice(-2000)}`);
  return JSON.parse(last === '' ? '{}' : last) as Record<string, unknown>;
}
