/**
 * A block on another host: its pilot dials the agent over TLS, outlives a pulled cable and the agent's death, and nothing runs
 * twice that did not have to.
 */
import '../leaks.ts';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type Node, openNode, whyNoNodes } from './nodes.ts';
import { type Ran, startWorld, type World } from './world.ts';

const PATIENCE_MS = 120_000;

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(100)) if (await condition()) return;
  throw new Error(`it never came to be: ${what}`);
}

const agentLog = (world: World): string => readFileSync(join(world.endpointState, 'agent.log'), 'utf8');

/** A call that sleeps at the node; `begun` resolves when its pilot has it. */
function sleeper(world: World, ms: number): { readonly begun: Promise<void>; readonly ended: Promise<Ran> } {
  const arg = `x=json:${JSON.stringify({ do: 'sleep', ms })}`;
  const ended = world.farfield('user', 'run', world.fake, '--endpoint', 'here', '--arg', arg, '--json');
  const begun = until('it runs', async () => {
    const { blocks } = (await world.json('site', 'endpoint', 'status')) as { blocks?: { busy: number }[] };
    return blocks?.some(({ busy }) => busy > 0) === true;
  });
  return { begun, ended };
}

function succeeded(t: Test, ran: Ran, attempt: number): void {
  t.equal(ran.code, 0, ran.code === 0 ? 'it succeeded' : `${ran.stdout}${ran.stderr}`);
  t.match(JSON.parse(ran.stdout.trim().split('\n').at(-1) ?? '{}'), { attempt });
}

async function firstCall(t: Test, world: World): Promise<void> {
  const ran = await world.farfield('user', 'run', world.noop, '--endpoint', 'here', '--arg', 'x=json:1', '--json');
  succeeded(t, ran, 1);
  const [block] = readdirSync(join(world.endpointState, 'blocks'));
  const { tls } = JSON.parse(readFileSync(join(world.endpointState, 'blocks', block ?? '', 'block.json'), 'utf8'));
  t.match(tls, { addresses: [/^192\.0\.2\.1:/, /./], pin: /^[0-9a-f]{64}$/ });
}

async function cable(t: Test, world: World, node: Node): Promise<void> {
  const { begun, ended } = sleeper(world, 6000);
  await begun;
  node.pull();
  await until('the agent misses its pilot', () => /pilot link ended/.test(agentLog(world)));
  node.plug();
  succeeded(t, await ended, 1);
  t.equal(node.submits(), 1, 'the same block');
}

async function agentDies(t: Test, world: World, node: Node): Promise<void> {
  const { begun, ended } = sleeper(world, 6000);
  await begun;
  process.kill(await world.agentPid(), 'SIGKILL');
  await sleep(1000);
  await world.json('site', 'endpoint', 'start', '--detach');
  succeeded(t, await ended, 1);
  t.equal(node.submits(), 1, 'the same block');
  t.equal(node.pids().length, 1);
}

async function pilotDies(t: Test, world: World, node: Node): Promise<void> {
  const { begun, ended } = sleeper(world, 3000);
  await begun;
  for (const pid of node.pids()) process.kill(-pid, 'SIGKILL');
  succeeded(t, await ended, 2);
  t.equal(node.submits(), 2, 'another block');
}

const skip = whyNoNodes();
t.test('a block on another host', { ...(skip === undefined ? {} : { skip }) }, async (t) => {
  t.setTimeout(290_000);
  await using world = await startWorld();
  using node = openNode(world.folder, join(world.endpointState, 'run'), 8 + (process.pid % 200));
  await world.json('site', 'endpoint', 'stop');
  writeFileSync(join(world.endpointState, 'config.yaml'), node.config, { mode: 0o600 });
  await world.json('site', 'endpoint', 'start', '--detach');
  await t.test('its pilot finds the address that answers, and works', (t) => firstCall(t, world));
  await t.test('a cable that is pulled until the agent misses it costs nothing', (t) => cable(t, world, node));
  await t.test('an agent that is killed and comes back finds its pilot at work', (t) => agentDies(t, world, node));
  await t.test('a pilot that is killed is replaced, and its work starts again', (t) => pilotDies(t, world, node));
});
