import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import { lockShard, STALE_MS } from '../../runner/batch/lock.ts';
import { nonce } from './batch-setting.ts';

const root = mkdtempSync(join(tmpdir(), 'farfield-lock-'));
t.teardown(() => rmSync(root, { recursive: true, force: true }));
t.setTimeout(250_000);

let folders = 0;
function fresh(): { folder: string; path: string } {
  const folder = mkdtempSync(join(root, `${folders++}-`));
  return { folder, path: join(folder, 'rows.lock') };
}

const clock = createManualClock();
const take = (path: string) => lockShard(path, 'rows', { host: 'here', pid: process.pid, nonce: nonce(), clock });

/** A claim as another runner would have left it. */
function leave(path: string, more: Record<string, unknown>): string {
  const held = take(path);
  const owner = { ...JSON.parse(readFileSync(path, 'utf8')), nonce: nonce(), ...more };
  held[Symbol.dispose]();
  writeFileSync(path, `${JSON.stringify(owner)}\n`);
  return owner.nonce;
}

/** On this host, and ended: no process has started at tick 1. */
const DEAD = { startTicks: 1 };
const ELSEWHERE = { bootId: 'of another host', host: 'elsewhere' };

function age(path: string, ms: number): void {
  const at = new Date(Date.now() - ms);
  utimesSync(path, at, at);
}

t.test('a lock has one holder, and nothing is left of it afterwards', async (t) => {
  const { folder, path } = fresh();
  const held = take(path);
  t.ok(held.holds());
  t.throws(() => take(path), { code: 'E_BUSY', message: /process \d+ on here\) works on rows/ });
  t.same(readdirSync(folder), ['rows.lock'], 'who was turned away left nothing');
  held[Symbol.dispose]();
  t.same(readdirSync(folder), []);
  t.equal(clock.pending(), 0, 'and no beat goes on');
});

t.test('the lock of a runner that died on this host is taken at once, through any number of dead ones', async (t) => {
  const { folder, path } = fresh();
  const first = leave(path, DEAD);
  const second = leave(join(folder, 'other'), DEAD);
  writeFileSync(`${path}.after-${first}`, readFileSync(join(folder, 'other')));
  rmSync(join(folder, 'other'));
  const held = take(path);
  t.ok(held.holds());
  t.same(readdirSync(folder).sort(), ['rows.lock', `rows.lock.after-${first}`, `rows.lock.after-${second}`].sort());
  t.throws(() => take(path), { code: 'E_BUSY' });
  held[Symbol.dispose]();
  t.same(readdirSync(folder), []);
});

t.test('a runner of another host lives while its beat is young, and is dead when it is old', async (t) => {
  const { folder, path } = fresh();
  leave(path, ELSEWHERE);
  age(path, STALE_MS / 2);
  t.throws(() => take(path), { code: 'E_BUSY', message: /on elsewhere/ });
  age(path, STALE_MS * 2);
  using held = take(path);
  t.ok(held.holds());
  t.equal(readdirSync(folder).length, 2);
});

t.test('a holder writes a beat, by which others see that it lives', async (t) => {
  const { path } = fresh();
  using held = take(path);
  const text = readFileSync(path, 'utf8');
  age(path, STALE_MS * 2);
  clock.advance(10_000);
  t.equal(readFileSync(path, 'utf8'), text);
  writeFileSync(path, text.replace(/"bootId":"[^"]*"/, '"bootId":"of another host"'));
  t.throws(() => take(path), { code: 'E_BUSY' }, 'young again, also for those who cannot ask for its process');
  t.ok(held.holds());
});

t.test('one that slept and was taken for dead finds that it holds nothing, and lets the other be', async (t) => {
  const { folder, path } = fresh();
  const slept = take(path);
  const mine = readFileSync(path, 'utf8');
  // The other took over and was done; a third began anew.
  rmSync(path);
  const third = take(path);
  t.not(readFileSync(path, 'utf8'), mine);
  t.notOk(slept.holds());
  slept[Symbol.dispose]();
  t.ok(third.holds());
  third[Symbol.dispose]();
  t.same(readdirSync(folder), []);
});

t.test('a file that names nobody is judged by its age', async (t) => {
  const { path } = fresh();
  writeFileSync(path, '');
  t.throws(() => take(path), { code: 'E_BUSY' });
  age(path, STALE_MS * 2);
  using held = take(path);
  t.ok(held.holds());
});

t.test('what killed runners left around a lock is removed by the next holder', async (t) => {
  const { folder, path } = fresh();
  writeFileSync(`${path}.after-0123456789abcdef`, '{}');
  writeFileSync(`${path}.claim-0123456789abcdef`, '{}');
  writeFileSync(join(folder, 'rows-2.lock'), '{}');
  const held = take(path);
  held[Symbol.dispose]();
  t.same(readdirSync(folder), ['rows-2.lock'], "another shard's lock is left alone");
});

t.test('of processes that take, drop and abandon one lock all the time, two never hold it', async (t) => {
  const { folder } = fresh();
  const program = fileURLToPath(new URL('./batch-lock-racer.ts', import.meta.url));
  const ends = await Promise.all(
    ['a', 'b', 'c', 'd'].map(async (seed) => {
      const child = spawn(process.execPath, [program, folder, seed], { stdio: ['ignore', 'pipe', 'inherit'] });
      let text = '';
      child.stdout.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      const [code] = await once(child, 'close');
      return { code, ...(JSON.parse(text) as { held: number; clashes: number }) };
    }),
  );
  t.comment(JSON.stringify(ends));
  t.ok(ends.every(({ code, clashes }) => code === 0 && clashes === 0));
  t.ok(ends.reduce((sum, { held }) => sum + held, 0) > 0);
});
