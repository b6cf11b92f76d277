/**
 * Two agents with one key, as processes: exactly one of them serves, the other one is fenced, says so wherever somebody looks,
 * and neither takes the session from the other again and again.
 */
import '../leaks.ts';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { startWorld, type World } from './world.ts';

const PATIENCE_MS = 120_000;

interface Status {
  readonly state: string;
  readonly reason?: string;
  readonly pid?: number;
  readonly link?: { readonly state: string; readonly detail: string };
  readonly blocks?: readonly unknown[];
  readonly ended?: { readonly code: string; readonly reason: string };
}

async function statusOf(world: World, state: string): Promise<Status> {
  return (await world.json('site', 'endpoint', 'status', '--state', state)) as unknown as Status;
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + PATIENCE_MS; Date.now() < end; await sleep(100)) if (await condition()) return;
  throw new Error(`it never came to be: ${what}`);
}

/** A look at the log costs no process. */
function says(state: string, words: RegExp): boolean {
  const log = join(state, 'agent.log');
  return existsSync(log) && words.test(readFileSync(log, 'utf8'));
}

/** Before the world goes: a folder that is gone has no socket to be stopped by. */
function stopping(world: World, state: string): AsyncDisposable {
  return {
    [Symbol.asyncDispose]: async () => void (await world.farfield('site', 'endpoint', 'stop', '--state', state)),
  };
}

/** Sessions of this agent that ended, by its log. */
const endedSessions = (state: string): number =>
  readFileSync(join(state, 'agent.log'), 'utf8').split('"kind":"served"').length - 1;

async function call(t: Test, world: World, what: string): Promise<void> {
  const ran = await world.farfield('user', 'run', world.noop, '--endpoint', 'here', '--arg', 'x=json:1', '--json');
  t.equal(ran.code, 0, `${what}${ran.code === 0 ? '' : `: ${ran.stdout}${ran.stderr}`}`);
}

async function copyOf(world: World, name: string): Promise<string> {
  const copy = join(world.folder, name);
  await world.json('site', 'endpoint', 'stop');
  execFileSync('cp', ['-a', world.endpointState, copy]);
  await world.json('site', 'endpoint', 'start', '--detach');
  return copy;
}

async function olderCopy(t: Test, world: World): Promise<void> {
  const original = world.endpointState;
  const copy = await copyOf(world, 'older');
  await call(t, world, 'the original serves');
  const before = await statusOf(world, original);
  await world.json('site', 'endpoint', 'start', '--detach', '--state', copy);
  await using _copy = stopping(world, copy);
  await until('the copy is fenced', () => says(copy, /E_FENCED/));
  const words = /another agent of endpoint \S+ is connected and newer: this state folder is a copy\. Stop one of them/;
  t.match(await statusOf(world, copy), { state: 'paused', reason: words, blocks: [] });
  const shown = await world.farfield('site', 'endpoint', 'status', '--state', copy);
  t.match(shown.stdout, /state {4}paused: another agent of endpoint/, 'in words too');
  t.match(
    readFileSync(join(copy, 'agent.log'), 'utf8'),
    /"code":"E_FENCED".*another agent of endpoint/,
    'and in the log',
  );
  t.match(await statusOf(world, original), { pid: before.pid, state: 'open', link: { state: 'live' } });
  await call(t, world, 'the original serves on');
}

async function equalCopy(t: Test, world: World): Promise<void> {
  const original = world.endpointState;
  await call(t, world, 'the original serves');
  // Of the living one: both remember the same session.
  const copy = join(world.folder, 'copy');
  execFileSync('cp', ['-a', original, copy]);
  execFileSync('rm', ['-f', join(copy, 'lock'), join(copy, 'lock.holder')]);
  await world.json('site', 'endpoint', 'start', '--detach', '--state', copy);
  await using _copy = stopping(world, copy);
  await until('the original ends', () => existsSync(join(original, 'last-end.json')));
  await until('its process too', async () => (await statusOf(world, original)).state === 'stopped');
  t.match(await statusOf(world, original), {
    ended: {
      code: 'E_FENCED',
      reason: /another agent of endpoint \S+ connected; if it is not yours, its state folder was copied/,
    },
  });
  await until('the copy serves', async () => (await statusOf(world, copy)).link?.state === 'live');
  await call(t, world, 'the copy serves');
  // A supervisor would start the original again.
  await world.json('site', 'endpoint', 'start', '--detach');
  t.notOk(existsSync(join(original, 'last-end.json')), 'a new life begins without the note');
  await until('the original is fenced', () => says(original, /connected and newer/));
  await call(t, world, 'the copy serves on');
  t.match(await statusOf(world, copy), { state: 'open', link: { state: 'live' } });
  t.equal(endedSessions(copy), 0, 'whose session was never taken');
}

t.test('two agents with one key', async (t) => {
  t.setTimeout(280_000);
  await using world = await startWorld();
  await t.test('a copy of the folder is fenced while the endpoint lives, and says so', (t) => olderCopy(t, world));
  await t.test('a copy that is as new as its original takes over once, and the original ends and stays fenced', (t) =>
    equalCopy(t, world),
  );
});
