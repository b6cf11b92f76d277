/** The operator's verbs, with real processes under a temporary home. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type CliContext, EXIT } from '#base/cli.ts';
import { type Clock, systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { brokerFolder } from '../../broker/config.ts';
import { openSqliteStore } from '../../broker/store/sqlite.ts';
import { runCli } from '../../client/cli/main.ts';
import { getPage, parseMetrics } from '../prometheus.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const ID = 'k'.repeat(43);

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly json: Record<string, unknown>;
}

const farfield = (home: string, ...args: string[]): Promise<Ran> => farfieldAt(systemClock, home, ...args);

async function farfieldAt(clock: Clock, home: string, ...args: string[]): Promise<Ran> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const context: CliContext = {
    env: {},
    stdin: new PassThrough(),
    stdout,
    stderr,
    cwd: home,
    home,
    clock,
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

t.test('its operator asks for metrics in broker.json, and finds them on a socket beside it', async (t) => {
  const home = newHome(t);
  await farfield(home, 'init', '--port', '0', '--grpc-port', '0');
  const { config, health } = brokerFolder(join(home, 'broker'));
  const settings = JSON.parse(readFileSync(config, 'utf8')) as object;
  const listenAt = (listen: string): void => writeFileSync(config, JSON.stringify({ ...settings, health: { listen } }));
  listenAt('0.0.0.0:9465');
  t.match((await farfield(home, 'start', '--detach')).out, /health/, 'never beyond this machine');
  listenAt('unix');
  const up = await farfield(home, 'start', '--detach', '--json');
  t.equal(up.code, EXIT.ok, up.out);
  t.teardown(() => farfield(home, 'stop'));
  t.match(await getPage({ socketPath: health }, '/readyz'), { status: 200 });
  const samples = parseMetrics((await getPage({ socketPath: health }, '/metrics')).text);
  t.equal(samples.get('farfield_broker_users'), 0);
  t.ok((samples.get('farfield_broker_resident_memory_bytes') ?? 0) > 1e7);
  await farfield(home, 'stop');
  t.notOk(existsSync(health), 'and the socket goes with it');
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

t.test('a broker that fails after its start was begun is told in one line, and its starter ends', async (t) => {
  const home = newHome(t);
  const { json } = await farfield(home, 'init', '--port', '0', '--grpc-port', '0', '--json');
  const taken = createServer();
  taken.listen(Number(json.port), '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  t.setTimeout(100_000);
  // A process of its own: what is to be seen is that it ends.
  const args = [join(root, 'client/cli/main.ts'), 'broker', 'start', '--detach'];
  const env = { PATH: process.env.PATH ?? '', HOME: home, FARFIELD_HOME: home };
  const ran = spawnSync(process.execPath, args, { env, timeout: 60_000 });
  t.equal(ran.signal, null, 'it was not waited for in vain');
  t.equal(ran.status, EXIT.unavailable);
  t.match(ran.stderr.toString(), /did not start: .*EADDRINUSE/);
});

t.test('a broker that takes the question and never answers is said to be silent', async (t) => {
  const home = newHome(t);
  await farfield(home, 'init', '--port', '0', '--grpc-port', '0');
  const sockets: Socket[] = [];
  const mute = createServer((socket) => void sockets.push(socket));
  const { control } = brokerFolder(join(home, 'broker'));
  mute.listen(control);
  await once(mute, 'listening');
  spawnSync('chmod', ['600', control]);
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    mute.close();
  });
  // A hundred of its seconds are one of ours.
  const hasty: Clock = { ...systemClock, after: (ms, run) => systemClock.after(ms / 100, run) };
  for (const verb of [['start', '--detach'], ['stop']]) {
    const { code, out } = await farfieldAt(hasty, home, ...verb);
    t.not(code, EXIT.ok);
    t.match(out, /does not answer in 20 s; its log is/, verb.join(' '));
  }
});

t.test('after a restore the store has a generation that it never had, once the broker is stopped', async (t) => {
  const home = newHome(t);
  t.match((await farfield(home, 'restored')).out, /make one with `farfield broker init`/);
  await farfield(home, 'init', '--port', '0', '--grpc-port', '0');
  t.match((await farfield(home, 'restored')).out, /there is no .*broker\.db; restore it first/);
  await farfield(home, 'start', '--detach');
  t.teardown(() => farfield(home, 'stop'));
  t.match(
    (await farfield(home, 'restored')).out,
    /in use by another process/,
    'a running one would go on under the old',
  );
  await farfield(home, 'stop');
  const generation = async (): Promise<string> => {
    await using store = await openSqliteStore({ file: brokerFolder(join(home, 'broker')).database });
    return store.read('generation', null);
  };
  const before = await generation();
  const { json, code } = await farfield(home, 'restored', '--json');
  t.equal(code, EXIT.ok);
  t.not(json.generation, before);
  t.equal(await generation(), json.generation);
  const up = await farfield(home, 'start', '--detach', '--json');
  t.equal(up.code, EXIT.ok, up.out);
  const status = await farfield(home, 'status', '--json');
  t.match(status.json.alarms, [{ kind: 'restored' }], 'and its operator sees when that was');
});
