/** systemd is told by systemd-notify; here a program of that name writes down what it was given. */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import '../leaks.ts';
import { createManualClock, systemClock } from '#base/clock.ts';
import { openServiceManager } from '#base/service-manager.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-notify-'));
t.teardown(() => rmSync(folder, { recursive: true }));
const command = join(folder, 'systemd-notify');

/** One line for each message; what it saw of the environment stands behind. */
function fakeNotify(file: string): void {
  writeFileSync(command, `#!/bin/sh\nIFS='|'; echo "$* @ $NOTIFY_SOCKET" >> '${file}'\n`);
  chmodSync(command, 0o755);
}

async function linesOf(file: string, count: number): Promise<string[]> {
  for (;;) {
    const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
    if (lines.length >= count) return lines;
    await systemClock.sleep(5);
  }
}

const log = { warn: () => undefined } as never;

t.test('without a socket nothing is started', async (t) => {
  const clock = createManualClock();
  using manager = openServiceManager({ env: {}, clock, log, command: '/nowhere' });
  manager.ready('up');
  manager.status('x');
  manager.stopping();
  t.pass('nothing happened');
});

t.test('ready, alive, a status, stopping', async (t) => {
  const file = join(folder, 'watched');
  fakeNotify(file);
  const clock = createManualClock();
  const env = { NOTIFY_SOCKET: '/run/x', WATCHDOG_USEC: '30000000', PATH: process.env.PATH };
  using manager = openServiceManager({ env, clock, log, command });
  manager.ready('serving\nnow');
  t.strictSame(await linesOf(file, 1), ['READY=1|WATCHDOG=1|STATUS=serving now @ /run/x']);
  clock.advance(14_999);
  clock.advance(1);
  t.equal((await linesOf(file, 2)).length, 2, 'half of what systemd waits');
  manager.status('busy');
  t.equal((await linesOf(file, 3))[2], 'READY=1|STATUS=busy @ /run/x');
  manager.stopping();
  t.equal((await linesOf(file, 4))[3], 'STOPPING=1|STATUS=stopping @ /run/x');
  clock.advance(120_000);
  t.equal((await linesOf(file, 4)).length, 4, 'nothing after that');
});

t.test('without a watchdog READY is said a few times, for an old systemd may miss one, and then no more', async (t) => {
  const file = join(folder, 'repeated');
  fakeNotify(file);
  const clock = createManualClock();
  const env = { NOTIFY_SOCKET: '@x', PATH: process.env.PATH };
  using manager = openServiceManager({ env, clock, log, command });
  manager.ready('');
  for (let i = 1; i <= 3; i++) {
    await linesOf(file, i);
    clock.advance(2_000);
  }
  await linesOf(file, 4);
  clock.advance(600_000);
  manager.stopping();
  t.strictSame(await linesOf(file, 5), [...Array<string>(4).fill('READY=1 @ @x'), 'STOPPING=1|STATUS=stopping @ @x']);
});

t.test('where it cannot be told, that is logged once and stops nothing', async (t) => {
  const said: string[] = [];
  const clock = createManualClock();
  const complain = { warn: (_fields: unknown, text: string) => said.push(text) } as never;
  using manager = openServiceManager({
    env: { NOTIFY_SOCKET: '/x' },
    clock,
    log: complain,
    command: join(folder, 'no'),
  });
  manager.ready('a');
  while (said.length === 0) await systemClock.sleep(5);
  clock.advance(2_000);
  clock.advance(2_000);
  await systemClock.sleep(20);
  t.strictSame(said, ['systemd is not told how this service is: systemd-notify failed']);
});
