/** A job's end, as its pilot sees it: told by the script, warned of by a signal, or by nobody. */
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import t from 'tap';
import '../leaks.ts';
import { graceAfterSignal, REPORT_MS, readWalltime, SIGNAL_GRACE_MS } from '../../pilot/walltime.ts';
import { type FakeAgent, openFakeAgent } from '../fakes/agent.ts';
import { act, processesIn, RUNNER } from '../fakes/pilot.ts';

const NOW = 1_800_000_000_000;

t.test('the end comes from the job script, and a warning is never more than a quarter of what is left', async (t) => {
  const at = (s: number, warn?: string) =>
    readWalltime({ FARFIELD_ENDS_AT: String(NOW / 1000 + s), FARFIELD_WARN_S: warn }, NOW);
  t.strictSame(at(3600, '120'), { endsAtMs: NOW + 3_600_000, warnMs: 120_000 });
  t.equal(at(3600)?.warnMs, 60_000);
  t.equal(at(60, '60')?.warnMs, 15_000, 'a job as short as its warning still works');
  t.equal(at(-5)?.warnMs, 0);
  for (const none of [{}, { FARFIELD_ENDS_AT: '' }, { FARFIELD_ENDS_AT: 'UNLIMITED' }, { FARFIELD_ENDS_AT: '0' }])
    t.equal(readWalltime(none, NOW), undefined);
});

t.test(
  'what a signal leaves: all up to the walltime where it warns of that, seconds where somebody cancels, nothing outside a job',
  async (t) => {
    const walltime = { endsAtMs: NOW + 100_000, warnMs: 60_000 };
    t.equal(graceAfterSignal(walltime, true, NOW), 100_000 - REPORT_MS);
    t.equal(graceAfterSignal(walltime, true, NOW + 98_000), 0);
    t.equal(graceAfterSignal({ ...walltime, endsAtMs: NOW + 3_600_000 }, true, NOW), SIGNAL_GRACE_MS);
    t.equal(graceAfterSignal(undefined, true, NOW), SIGNAL_GRACE_MS);
    t.equal(graceAfterSignal(walltime, false, NOW), 0);
  },
);

function start(agent: FakeAgent, env: Record<string, string>) {
  const child = spawn(process.execPath, [resolve('pilot/main.ts'), agent.folder], { stdio: 'ignore', env });
  return { child, exit: new Promise<number | null>((done) => child.once('close', done)) };
}

const running = (agent: FakeAgent, key: number) => () =>
  agent.messages.some((m) => m.started?.state === 'running' && m.started.keys.includes(key));

t.test(
  'at a signal what was not started comes back at once, what runs may finish, and nothing new is taken',
  async (t) => {
    for (const signal of ['SIGTERM', 'SIGUSR2'] as const) {
      const agent = await openFakeAgent({ runner: RUNNER });
      const env = { FARFIELD_JOB: '1', FARFIELD_ENDS_AT: String(Math.floor(Date.now() / 1000) + 60) };
      const { child, exit } = start(agent, env);
      await agent.connected();
      t.ok((agent.hellos[0]?.leftS ?? 0) > 30);
      agent.launch([act(1, { do: 'sleep', ms: 1500 })], { poolKey: 'a' });
      await agent.until('it runs', running(agent, 1));
      agent.launch([act(2, { do: 'echo' })], { poolKey: 'b' });
      await agent.until('it is there', () => agent.messages.some((m) => m.started?.keys.includes(2) === true));
      child.kill(signal);
      await agent.until('it says so', () => agent.messages.some((m) => m.draining !== undefined));
      agent.launch([act(3, { do: 'echo' })], { poolKey: 'a' });
      t.equal(await exit, 0);
      const ended = Object.fromEntries(agent.ended.map((end) => [end.key, end]));
      t.match(ended[1], { status: 'succeeded' });
      for (const key of [2, 3])
        t.match(ended[key], { status: 'failed', detail: { err: { code: 'E_UNAVAILABLE' }, charged: false } });
      t.ok(agent.ended.findIndex(({ key }) => key === 2) < agent.ended.findIndex(({ key }) => key === 1));
      const said = agent.messages.findIndex((m) => m.draining !== undefined);
      t.ok(said < agent.messages.findIndex((m) => m.done?.keys.includes(2) === true), 'before anything comes back');
      await agent.close();
    }
  },
);

t.test(
  'without any signal it stops by its own clock, and what does not finish is ended and reported before the end',
  async (t) => {
    const agent = await openFakeAgent({ runner: RUNNER });
    const endsAt = Math.floor(Date.now() / 1000) + 10;
    const { exit } = start(agent, { FARFIELD_JOB: '1', FARFIELD_ENDS_AT: String(endsAt), FARFIELD_WARN_S: '60' });
    await agent.connected();
    agent.launch([act(1, { do: 'sleep', ms: 600_000 })]);
    t.equal(await exit, 0);
    t.ok(Date.now() / 1000 < endsAt);
    t.match(agent.ended[0], {
      key: 1,
      status: 'failed',
      detail: { err: { message: /walltime/ }, charged: false },
    });
    t.equal(processesIn(agent.folder), 0);
    await agent.close();
  },
);

t.test('a second signal is meant', async (t) => {
  const agent = await openFakeAgent({ runner: RUNNER });
  const endsAt = Math.floor(Date.now() / 1000) + 60;
  const { child, exit } = start(agent, { FARFIELD_JOB: '1', FARFIELD_ENDS_AT: String(endsAt) });
  await agent.connected();
  agent.launch([act(1, { do: 'sleep', ms: 600_000 })]);
  await agent.until('it runs', running(agent, 1));
  child.kill('SIGTERM');
  await agent.until('it drains', () => agent.messages.some((m) => m.draining !== undefined));
  child.kill('SIGTERM');
  t.equal(await exit, 0);
  t.ok(Date.now() / 1000 < endsAt - REPORT_MS / 1000, 'long before the grace was over');
  await agent.close();
});
