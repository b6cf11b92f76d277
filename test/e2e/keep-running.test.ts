/** Without systemd: a line in a crontab keeps the agent running, and leaves alone what was stopped on purpose. */
import { existsSync } from 'node:fs';
import t from 'tap';
import { systemClock } from '#base/clock.ts';
import { startWorld, type World } from './world.ts';

const LIMIT_MS = 120_000;
const ensure = (world: World): Promise<{ code: number; stdout: string; stderr: string }> =>
  world.farfield('site', 'endpoint', 'start', '--ensure');
/** What cron mails: nothing. */
const SILENT = { code: 0, stdout: '', stderr: '' };

async function gone(pid: number): Promise<void> {
  while (existsSync(`/proc/${pid}`)) await systemClock.sleep(10);
}

t.test(
  'a killed agent is started again, twice at once is once, and stop means stop',
  { timeout: LIMIT_MS },
  async (t) => {
    await using world = await startWorld();
    const first = await world.agentPid();
    t.strictSame(await ensure(world), SILENT, 'it runs: nothing to do');
    t.equal(await world.agentPid(), first);
    process.kill(first, 'SIGKILL');
    await gone(first);
    t.strictSame(await Promise.all([ensure(world), ensure(world)]), [SILENT, SILENT]);
    const second = await world.agentPid();
    t.not(second, first);
    t.match(await world.farfield('site', 'endpoint', 'stop'), { code: 0, stdout: 'stopped\n' });
    t.strictSame(await ensure(world), SILENT);
    t.match(await world.json('site', 'endpoint', 'status'), { state: 'stopped' }, 'an admin stopped it');
    t.match(await world.farfield('site', 'endpoint', 'start', '--detach'), { code: 0 });
    const third = await world.agentPid();
    process.kill(third, 'SIGKILL');
    await gone(third);
    t.strictSame(await ensure(world), SILENT);
    t.not(await world.agentPid(), third, 'after a start by hand the timer counts again');
  },
);
