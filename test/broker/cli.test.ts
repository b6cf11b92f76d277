/** The operator's verbs, with real processes under a temporary home. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type CliContext, EXIT } from '#base/cli.ts';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { runCli } from '../../client/cli/main.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const ID = 'k'.repeat(43);

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly json: Record<string, unknown>;
}

async function farfield(home: string, ...args: string[]): Promise<Ran> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const context: CliContext = {
    env: {},
    stdin: new PassThrough(),
    stdout,
    stderr,
    cwd: home,
    home,
    clock: systemClock,
    random: systemRandom,
    signal: new AbortController().signal,
    self: [process.execPath, join(root, 'client/cli/main.ts')],
  };
  const code = await runCli(['broker', ...args], context);
  const out = String(stdout.read() ?? '') + String(stderr.read() ?? '');
  let json: Record<string, unknown> = {};
  if (args.includes('--json')) json = JSON.parse(out.trim().split('\n').at(-1) ?? '{}') as Record<string, unknown>;
  return { code, out, json };
}

function newHome(t: Test): string {
  const home = mkdtempSync(join(tmpdir(), 'farfield-cli-'));
  t.teardown(() => rmSync(home, { recursive: true }));
  return home;
}

t.test('init, start, invite, a kill, start again, stop: with the same address and identity throughout', async (t) => {
  const home = newHome(t);
  const made = await farfield(home, 'init', '--port', '0', '--grpc-port', '0', '--json');
  t.equal(made.code, EXIT.ok);
  t.equal(statSync(join(home, 'broker', 'keys', 'broker.pem')).mode & 0o777, 0o600);
  t.match((await farfield(home, 'init')).out, /there is a broker in .* already/);
  t.equal((await farfield(home, 'status')).code, EXIT.unavailable);
  const up = await farfield(home, 'start', '--detach', '--json');
  t.equal(up.code, EXIT.ok);
  t.teardown(() => farfield(home, 'stop'));
  t.match(up.json, { brokerId: made.json.brokerId, url: `https://127.0.0.1:${made.json.port}` });
  t.match((await farfield(home, 'start', '--detach')).out, /is running/);
  const second = spawnSync(process.execPath, [join(root, 'broker/main.ts'), join(home, 'broker')]);
  t.not(second.status, 0);
  t.match(second.stderr.toString(), /in use by another process/, 'the folder is locked, whoever asks how');
  const invited = await farfield(home, 'invite', '--user', ID, '--json');
  t.match(String(invited.json.token), /^ff1\.[A-Za-z0-9_-]+$/);
  t.equal((await farfield(home, 'invite', '--user', 'x')).code, EXIT.usage);
  t.equal((await farfield(home, 'invite')).code, EXIT.usage);
  process.kill(Number(up.json.pid), 'SIGKILL');
  while (existsSync(`/proc/${up.json.pid}/fd`)) await new Promise((resolve) => setTimeout(resolve, 5));
  const again = await farfield(home, 'start', '--detach', '--json');
  t.equal(again.code, EXIT.ok, again.out);
  t.match(again.json, { brokerId: made.json.brokerId, url: up.json.url });
  const stopped = await farfield(home, 'stop', '--json');
  t.same(stopped.json, { stopped: true });
  t.same((await farfield(home, 'stop', '--json')).json, { stopped: false });
  t.equal((await farfield(home, 'invite', '--user', ID)).code, EXIT.unavailable);
});

t.test('a broker that cannot start says why in one line', async (t) => {
  const home = newHome(t);
  t.match((await farfield(home, 'start')).out, /make one with `farfield broker init`/);
  await farfield(home, 'init', '--port', '0', '--grpc-port', '0');
  spawnSync('chmod', ['644', join(home, 'broker', 'keys', 'broker.pem')]);
  const { code, out } = await farfield(home, 'start', '--detach');
  t.not(code, EXIT.ok);
  t.match(out, /did not start: .*chmod 600/);
});
