/** The pilot as a process of its own: how it starts, what it shows of itself, and how it ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t from 'tap';
import '../leaks.ts';
import { splitAddress } from '#base/link/tls-dial.ts';
import { openFakeAgent } from '../fakes/agent.ts';
import { act, processesIn, RUNNER } from '../fakes/pilot.ts';

interface Started {
  readonly child: ChildProcess;
  readonly exit: Promise<number | null>;
  readonly errors: () => string;
}

function start(args: readonly string[]): Started {
  const child = spawn(process.execPath, [resolve('pilot/main.ts'), ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {},
  });
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  return { child, exit: new Promise((done) => child.once('close', done)), errors: () => errors };
}

t.test('it starts from its folder alone, works, and SIGTERM ends it and its runners', async (t) => {
  const agent = await openFakeAgent({ runner: RUNNER });
  const { child, exit, errors } = start([agent.folder]);
  await agent.connected();
  t.match(agent.hellos[0], { pid: child.pid, slots: 1, blockToken: 'a.b.c' });
  agent.launch([act(1, { do: 'echo', text: 'done' })]);
  t.match((await agent.outcomes(1))[0], { status: 'succeeded' });
  agent.launch([act(2, { do: 'sleep', ms: 60_000 })]);
  await agent.until('it runs', () => agent.messages.some((m) => m.started?.keys.includes(2) === true));
  const seen = readFileSync(`/proc/${child.pid}/cmdline`, 'utf8') + readFileSync(`/proc/${child.pid}/environ`, 'utf8');
  t.notMatch(seen, /a\.b\.c/, 'the block token is in neither argv nor environment');
  child.kill('SIGTERM');
  t.equal(await exit, 0);
  t.match(agent.ended[1], { key: 2, status: 'failed', detail: { charged: false } }, 'and says what it ended');
  t.notMatch(errors(), /a\.b\.c/);
  t.equal(processesIn(agent.folder), 0);
  await agent.close();
});

t.test(
  'on another host it finds the address that answers, works, and dials it again when its agent comes back',
  async (t) => {
    const agent = await openFakeAgent({ runner: RUNNER, tls: true });
    const { child, exit } = start([agent.folder]);
    const session = await agent.connected();
    t.equal(session.transport, 'tls');
    agent.launch([act(1, { do: 'sleep', ms: 500 })]);
    await agent.until('it runs', () => agent.messages.some((m) => m.started !== undefined));
    await agent.down();
    await agent.up();
    t.match((await agent.outcomes(1))[0], { key: 1, status: 'succeeded' });
    t.equal(agent.hellos.at(-1)?.blockToken, '', 'its key is the proof now');
    child.kill('SIGTERM');
    t.equal(await exit, 0);
    await agent.close();
  },
);

t.test(
  'an agent on another host that is gone for good: its pilot ends after its grace, with all that it started',
  async (t) => {
    const agent = await openFakeAgent({ runner: RUNNER, tls: true, graceS: 2 });
    const { exit, errors } = start([agent.folder]);
    await agent.connected();
    agent.launch([act(1, { do: 'sleep', ms: 600_000 })]);
    await agent.until('it runs', () => agent.messages.some((m) => m.started?.state === 'running'));
    await agent.down();
    t.equal(await exit, 0);
    t.match(errors(), /no agent for 2 s; tried tls: 127\.0\.0\.1:\d+: ECONNREFUSED/);
    t.equal(processesIn(agent.folder), 0);
    await agent.close();
  },
);

t.test('a pilot that reaches nobody ends after its grace and names every address with its reason', async (t) => {
  const agent = await openFakeAgent({ runner: RUNNER, tls: true, graceS: 1 });
  const { port } = splitAddress(agent.block.tls?.addresses[1] ?? '');
  await agent.down();
  const { exit, errors } = start([agent.folder]);
  t.equal(await exit, 6);
  const last = errors().trim().split('\n').at(-1) ?? '';
  t.match(last, /never reached its agent: no agent for 1 s/);
  t.match(last, /unix:.*pilots\.sock/);
  t.match(last, '127.0.0.1:1: ECONNREFUSED');
  t.match(last, `127.0.0.1:${port}: ECONNREFUSED`);
  await agent.close();
});

t.test('a runner ends when its pilot is killed', async (t) => {
  const agent = await openFakeAgent({ runner: RUNNER });
  const { child, exit } = start([agent.folder]);
  await agent.connected();
  agent.launch([act(1, { do: 'sleep', ms: 60_000 })]);
  await agent.until('it runs', () => agent.messages.some((m) => m.started?.state === 'running'));
  t.ok(processesIn(agent.folder) > 0);
  child.kill('SIGKILL');
  await exit;
  await agent.until('its runner is gone', () => processesIn(agent.folder) === 0);
  await agent.close();
});

t.test('a folder or block file that others can read is refused', async (t) => {
  const agent = await openFakeAgent({ runner: RUNNER });
  chmodSync(join(agent.folder, 'block.json'), 0o644);
  const open = start([agent.folder]);
  t.equal(await open.exit, 70);
  t.match(open.errors(), /E_[A-Z_]+ .*block\.json/);
  chmodSync(join(agent.folder, 'block.json'), 0o600);
  chmodSync(agent.folder, 0o755);
  const wide = start([agent.folder]);
  t.equal(await wide.exit, 70);
  chmodSync(agent.folder, 0o700);
  await agent.close();
  t.equal(await start([]).exit, 2);
});

t.test('it loads neither gRPC nor HTTP nor a schema library', async (t) => {
  const list = `
    const { registerHooks } = await import('node:module');
    registerHooks({ load(url, context, next) { console.log(url); return next(url, context); } });
    process.argv.length = 2;
    process.exit = () => {};
    await import(${JSON.stringify(resolve('pilot/main.ts'))});`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', list], { stdio: ['ignore', 'pipe', 'ignore'] });
  let urls = '';
  child.stdout.on('data', (chunk: Buffer) => {
    urls += chunk.toString();
  });
  await new Promise((done) => child.once('close', done));
  t.match(urls, /pilot\/pilot\.ts/);
  t.notMatch(urls, /node_modules\/(typebox|@grpc|ws|fastify|undici|pino|jose|execa)/);
});
