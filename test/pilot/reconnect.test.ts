import t from 'tap';
import '../leaks.ts';
import { openFakeAgent } from '../fakes/agent.ts';
import { act, processesIn, RUNNER, raw, startPilot, withPilot } from '../fakes/pilot.ts';

t.test('a runner gets the block’s environment, its own folder and three pipes, nothing else', async (t) => {
  process.env.FARFIELD_TEST_SECRET = 'not for runners';
  await withPilot(t, { runner: raw('env') }, async (agent) => {
    agent.launch([act(1, {})], { adapter: 'raw' });
    const [ended] = await agent.outcomes(1);
    const { env, fds } = JSON.parse(String(ended?.result)) as { env: Record<string, string>; fds: string[] };
    // What tap adds to every child of a test is not ours to judge.
    const allowed = /^(PATH|TMPDIR|FARFIELD_TREE|PWD|SHLVL|_|OLDPWD|NODE_OPTIONS|_TAPJS_.*)$/;
    const own = Object.keys(env).filter((name) => !allowed.test(name));
    t.strictSame(own, []);
    t.notOk(fds.some((fd) => fd.includes('.sock') || fd.includes('block.json')));
  });
  delete process.env.FARFIELD_TEST_SECRET;
});

t.test('stderr is forwarded as logs, and what does not fit is dropped and counted to the byte', async (t) => {
  await withPilot(t, { runner: raw('noisy') }, async (agent) => {
    const logs = () => agent.messages.flatMap((m) => (m.log === undefined ? [] : [m.log]));
    const received = (list: ReturnType<typeof logs>) => list.reduce((sum, log) => sum + log.data.byteLength, 0);
    agent.launch([act(1, {})], { adapter: 'raw' });
    await agent.outcomes(1);
    await agent.until('the pilot is quiet', () => logs().length > 0);
    t.equal(logs()[0]?.key, 1, 'alone in its runner, the item is named');
    // Each later log says how much was lost before it.
    agent.launch([act(2, {})], { adapter: 'raw' });
    await agent.outcomes(2);
    await agent.until('logs of the second', () => logs().some((log) => log.key === 2));
    const all = logs();
    const second = all.findIndex((log) => log.key === 2);
    t.equal(received(all.slice(0, second)) + (all[second]?.dropped ?? 0), 3_000_000);
  });
});

t.test(
  'an agent that comes back gets every outcome that it had not acknowledged, and learns what is held',
  async (t) => {
    await withPilot(t, {}, async (agent) => {
      agent.launch([act(1, { do: 'sleep', ms: 800 }), act(2, { do: 'echo', text: 'kept' })], { poolKey: 'x' });
      await agent.until('they arrived', () => agent.messages.some((m) => m.started !== undefined));
      agent.ack = false;
      await agent.down();
      t.equal(agent.hellos[0]?.blockToken, 'a.b.c');
      await new Promise((resolve) => setTimeout(resolve, 1200));
      agent.ack = true;
      await agent.up();
      const ended = (await agent.outcomes(2)).sort((a, b) => a.key - b.key);
      t.match(ended, [
        { key: 1, status: 'succeeded' },
        { key: 2, status: 'succeeded' },
      ]);
      const hello = agent.hellos.at(-1);
      t.equal(hello?.blockToken, '', 'the token was redeemed; the key in memory is the proof');
      t.equal(hello?.pilotJwk, agent.hellos[0]?.pilotJwk);
      t.strictSame(hello?.held.map((h) => [h.key, h.attempt, h.leaseEpoch]).sort(), [
        [1, 1, 7],
        [2, 1, 7],
      ]);
    });
  },
);

t.test('what the agent drops at a reconnect is stopped and never reported', async (t) => {
  await withPilot(t, {}, async (agent) => {
    agent.launch([act(1, { do: 'sleep', ms: 60_000 })]);
    await agent.until('it runs', () => agent.messages.some((m) => m.started?.state === 'running'));
    await agent.down();
    agent.drop = [{ key: 1, attempt: 1, leaseEpoch: 7 }];
    await agent.up();
    await agent.connected();
    agent.launch([act(1, { do: 'echo' }, 2)]);
    const ended = await agent.outcomes(1);
    t.match(ended, [{ key: 1, attempt: 2, status: 'succeeded' }]);
    t.equal(agent.ended.length, 1);
  });
});

t.test('a launch that is repeated starts nothing twice', async (t) => {
  await withPilot(t, {}, async (agent) => {
    agent.launch([act(1, { do: 'sleep', ms: 300 })]);
    agent.launch([act(1, { do: 'sleep', ms: 300 }), act(2, { do: 'echo' })]);
    await agent.outcomes(2);
    agent.launch([act(3, { do: 'echo' })]);
    await agent.outcomes(3);
    t.strictSame(agent.ended.map((e) => e.key).sort(), [1, 2, 3]);
  });
});

t.test('a pilot without an agent ends itself after its grace, and its runners with it', async (t) => {
  const agent = await openFakeAgent({ runner: RUNNER, graceS: 1 });
  const running = startPilot(agent);
  await agent.connected();
  agent.launch([act(1, { do: 'sleep', ms: 234_567_000 })]);
  await agent.until('it runs', () => agent.messages.some((m) => m.started?.state === 'running'));
  await agent.down();
  t.match(await running.ended, /no agent for 1 s/);
  t.equal(processesIn(agent.folder), 0, 'no process of the block is left');
  await agent.close();
});

t.test('a stop lets work finish within its grace, ends the rest uncharged, and the pilot goes', async (t) => {
  const agent = await openFakeAgent({ runner: RUNNER, slots: 2 });
  const running = startPilot(agent);
  await agent.connected();
  agent.launch([act(1, { do: 'sleep', ms: 400 })], { poolKey: 'a' });
  agent.launch([act(2, { do: 'sleep', ms: 60_000 })], { poolKey: 'b' });
  await agent.until(
    'both run',
    () => agent.messages.flatMap((m) => (m.started?.state === 'running' ? m.started.keys : [])).length === 2,
  );
  agent.session?.send({ stop: { reason: 'the block ends', graceS: 1 } }, 'control');
  t.match(await running.ended, 'the block ends');
  const ended = agent.ended.sort((a, b) => a.key - b.key);
  t.match(ended, [
    { key: 1, status: 'succeeded' },
    { key: 2, status: 'failed', detail: { err: { code: 'E_UNAVAILABLE', message: /the block ends/ }, charged: false } },
  ]);
  await agent.close();
});
