import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '#base/clock.ts';
import { handleOf, pidAlive } from '#base/process.ts';
import { type CommandOutcome, commandEnv, createRunner } from '../../../agent/schedulers/command.ts';
import type { SchedulerCommand } from '../../../agent/schedulers/driver.ts';

const folder = mkdtempSync(join(tmpdir(), 'ff-command-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

function program(name: string, body: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
}

const run = (
  command: SchedulerCommand,
  more: { timeoutMs?: number; maxBytes?: number } = {},
): Promise<CommandOutcome> =>
  createRunner({
    clock: systemClock,
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    cwd: folder,
    timeoutMs: 60_000,
    ...more,
  })(command);

t.test('arguments and input arrive as they are: there is no shell', async (t) => {
  const echo = program('echo-args', 'for a; do printf "[%s]" "$a"; done; cat');
  t.strictSame(await run({ argv: [echo, '$HOME', 'a b', ';id', '-x', "it's"], stdin: 'the $script' }), {
    kind: 'done',
    output: { code: 0, stdout: "[$HOME][a b][;id][-x][it's]the $script", stderr: '' },
  });
});

t.test('a command has nothing of the agent in its environment but what its scheduler needs', async (t) => {
  const own = {
    PATH: '/agent/bin',
    HOME: '/home/a',
    FARFIELD_TOKEN: 'secret',
    SBATCH_ACCOUNT: 'other',
    SLURM_CONF: '/etc/s.conf',
    LD_PRELOAD: '/x.so',
    LANG: 'de_DE',
  };
  t.strictSame(commandEnv(own, ['SLURM_CONF', 'SLURM_CLUSTERS'], '/usr/bin'), {
    PATH: '/usr/bin',
    LC_ALL: 'C',
    LANG: 'C',
    HOME: '/home/a',
    SLURM_CONF: '/etc/s.conf',
  });
  process.env.SBATCH_ACCOUNT = 'other';
  t.teardown(() => delete process.env.SBATCH_ACCOUNT);
  const printed = await run({ argv: ['env'], env: { SLURM_TIME_FORMAT: '%s' } });
  if (printed.kind !== 'done') return t.fail(printed.why);
  const lines = printed.output.stdout.trim().split('\n');
  for (const line of ['LC_ALL=C', 'PATH=/usr/bin:/bin', 'SLURM_TIME_FORMAT=%s']) t.ok(lines.includes(line), line);
  for (const name of ['SBATCH_ACCOUNT', 'HOME', 'USER'])
    t.notOk(
      lines.some((line) => line.startsWith(`${name}=`)),
      name,
    );
});

t.test('a command that hangs is ended with all that it started', async (t) => {
  const hang = program('hang', `sleep 3600 & echo $! > ${folder}/child; trap '' TERM; wait; wait; sleep 3600`);
  t.match(await run({ argv: [hang] }, { timeoutMs: 500 }), { kind: 'unfinished', why: /hang: no answer within 0.5 s/ });
  const child = Number(readFileSync(join(folder, 'child'), 'utf8'));
  const handle = handleOf(child);
  t.ok(handle === undefined || !pidAlive(handle), 'its child too');
});

t.test('a command that floods is stopped', async (t) => {
  const flood = program('flood', 'exec cat /dev/zero');
  t.match(await run({ argv: [flood] }, { maxBytes: 100_000 }), { kind: 'unfinished', why: /more than 100000 bytes/ });
});

t.test('an exit code, a death and a command that does not exist are three outcomes', async (t) => {
  const fails = program('fails', 'echo out; echo err >&2; exit 3');
  t.strictSame(await run({ argv: [fails] }), { kind: 'done', output: { code: 3, stdout: 'out\n', stderr: 'err\n' } });
  const dies = program('dies', 'kill -9 $$');
  t.match(await run({ argv: [dies] }), { kind: 'unfinished', why: /was ended by SIGKILL/ });
  t.match(await run({ argv: ['no-such-command-anywhere'] }), { kind: 'notStarted', why: /cannot be started/ });
  const deaf = program('deaf', 'exec <&-; echo fine');
  t.match(
    await run({ argv: [deaf], stdin: 'x'.repeat(1_000_000) }),
    { kind: 'done', output: { stdout: 'fine\n' } },
    'input that nobody reads',
  );
  t.notOk(existsSync(join(folder, 'pwned')));
});
