/** Somebody with a home of their own and the real command line, beside a broker in this process. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { Test } from 'tap';
import type { CliContext } from '#base/cli.ts';
import { systemRandom } from '#base/random.ts';
import { runCli } from '../../client/cli/main.ts';
import type { TestBroker } from '../broker/setting.ts';

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Person {
  readonly kid: string;
  readonly home: string;
  farfield(...argv: string[]): Promise<Ran>;
}

/** Somebody with a home of their own, invited and logged in, who knows the endpoint as `site`. */
export async function openPerson(t: Test, setting: TestBroker, endpoint: string): Promise<Person> {
  const home = mkdtempSync(join(tmpdir(), 'farfield-person-'));
  t.teardown(() => rmSync(home, { recursive: true }));
  const farfield = async (...argv: string[]): Promise<Ran> => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const context: CliContext = {
      ...{ env: {}, stdin: new PassThrough(), stdout, stderr, cwd: home, home, clock: setting.clock },
      ...{ random: systemRandom, signal: new AbortController().signal, self: [] },
    };
    const code = await runCli(argv, context);
    const text = (stream: PassThrough): string => ((stream.read() as Buffer | null) ?? '').toString();
    return { code, stdout: text(stdout), stderr: text(stderr) };
  };
  await farfield('keys', 'new');
  const { kid } = JSON.parse((await farfield('keys', 'show', '--json')).stdout) as { kid: string };
  const token = await setting.broker.invite('user', kid);
  const login = await farfield('login', token, '--as', 'bob', '--pin', `site=${endpoint}`);
  t.equal(login.code, 0, login.stderr);
  return { kid, home, farfield };
}
