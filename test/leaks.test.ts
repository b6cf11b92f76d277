import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { leaked, leakedAtLast, mark, openNow } from './leaks.ts';

const linux = existsSync('/proc/self/fd') ? false : 'open files and processes are read from /proc';

t.test('a server that listens is seen until it is closed', async (t) => {
  const before = openNow(mark);
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.ok(leaked(before, openNow(mark)).includes('an active TCPServerWrap'));
  server.close();
  t.strictSame(await leakedAtLast(before, mark), []);
});

t.test('a server that no longer keeps the process alive is seen as well', { skip: linux }, async (t) => {
  const before = openNow(mark);
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.unref();
  t.strictSame(leaked(before, openNow(mark)), ['an open socket']);
  server.close();
  t.strictSame(await leakedAtLast(before, mark), []);
});

t.test('a file that is left open is named', { skip: linux }, async (t) => {
  const before = openNow(mark);
  const path = fileURLToPath(import.meta.url);
  const fd = openSync(path, 'r');
  t.strictSame(leaked(before, openNow(mark)), [`the open file ${path}`]);
  closeSync(fd);
  t.strictSame(leaked(before, openNow(mark)), []);
});

t.test('a grandchild in a session of its own is found after its parent has ended', { skip: linux }, async (t) => {
  const before = openNow(mark);
  // Its parent leaves once the grandchild stands, and nobody waits for that one.
  const parent = spawn('sh', ['-c', 'setsid sleep 60 >/dev/null & echo $!'], { stdio: ['ignore', 'pipe', 'ignore'] });
  await Promise.all([once(parent, 'exit'), once(parent.stdout.resume(), 'close')]);
  // A process shows no environment for the moment in which it becomes another program, so it is asked until it has one.
  let left = leaked(before, openNow(mark));
  for (; left.length !== 1; left = leaked(before, openNow(mark))) await sleep(10);
  t.match(left[0], /^the process \d+ \(.*sleep 60/);
  process.kill(Number(/\d+/.exec(left[0] ?? '')?.[0]), 'SIGKILL');
  t.strictSame(await leakedAtLast(before, mark), []);
});

t.test('a timer that nobody cancelled is seen', async (t) => {
  const before = openNow(mark);
  const timer = setTimeout(() => {}, 60_000);
  t.strictSame(leaked(before, openNow(mark)), ['an active Timeout']);
  clearTimeout(timer);
  t.strictSame(leaked(before, openNow(mark)), []);
});
