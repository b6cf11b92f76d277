/** One pilot's part of a gang: its ranks begin when they are told to, and nothing of them outlives the part. */
import { resolve } from 'node:path';
import t from 'tap';
import '../leaks.ts';
import type { FakeAgent } from '../fakes/agent.ts';
import { json, processesWith, withPilot } from '../fakes/pilot.ts';

const SCRIPT = resolve('test/fakes/ranks.mjs');
const entry = (more: object = {}): Uint8Array =>
  Buffer.from(JSON.stringify({ program: process.execPath, args: [SCRIPT, 'pilot-test'], ...more }));
const part = (nodeRank: number, nodes: readonly string[], ranksPerNode = 2) => ({
  nodeRank,
  nodes: [...nodes],
  ranksPerNode,
});
const call = (key: number, x: object) => [{ key, args: [{ name: 'x', bytes: json(x) }] }];
const running = (): boolean => processesWith(`${SCRIPT}\0pilot-test`);

async function go(agent: FakeAgent, key: number): Promise<void> {
  const ready = () => agent.messages.find(({ gangReady }) => gangReady?.lease?.key === key)?.gangReady;
  await agent.until('it is ready', () => ready() !== undefined);
  agent.session?.send({ gangGo: { lease: ready()?.lease, address: `127.0.0.1:${ready()?.port}` } });
}

t.test('ranks begin when the agent says so, meet at the address, and rank 0 alone answers', async (t) => {
  await withPilot(t, {}, async (agent) => {
    agent.launch(call(1, {}), { adapter: 'program', entry: entry() }, part(0, ['n1']));
    await agent.until('it is ready', () => agent.messages.some(({ gangReady }) => gangReady !== undefined));
    t.notOk(running(), 'not before');
    await go(agent, 1);
    // Said twice, as after a link that was cut: it starts nothing twice.
    await go(agent, 1);
    const [end] = await agent.outcomes(1);
    t.match(end, { status: 'succeeded', detail: { res: { type: 'json' } } });
    t.match(JSON.parse(String(end?.result)), [
      { rank: 0, local: 0, node: 'n1' },
      { rank: 1, local: 1, node: 'n1' },
    ]);
    t.notOk(running(), 'and nothing is left');
    t.match(agent.hellos[0], { gangs: true });
  });
});

t.test('a rank that fails ends the others, and says which one it was, where, and its last words', async (t) => {
  await withPilot(t, {}, async (agent) => {
    agent.launch(call(1, { fail: 3 }), { adapter: 'program', entry: entry() }, part(1, ['n1', 'n2']));
    await go(agent, 1);
    const [end] = await agent.outcomes(1);
    t.match(end, {
      status: 'failed',
      detail: { err: { code: 'E_FUNCTION', message: /rank 3 on node n2 ended with exit code 7; .*told to fail/s } },
    });
    t.notOk(running());
  });
});

t.test('a cancel ends all ranks, also of a part that was not begun', async (t) => {
  await withPilot(t, { slots: 2 }, async (agent) => {
    for (const key of [1, 2]) {
      const spec = { adapter: 'program', entry: entry(), poolKey: `p${key}` };
      agent.launch(call(key, { hang: true }), spec, part(0, ['n1']));
    }
    await go(agent, 1);
    await agent.until('its ranks run', running);
    const leases = [1, 2].map((key) => ({ key, attempt: 1, leaseEpoch: 7 }));
    agent.session?.send({ cancel: { leases, reason: 'cancelled' } });
    const ended = await agent.outcomes(2);
    t.match(ended, [{ status: 'cancelled' }, { status: 'cancelled' }]);
    t.notOk(running());
  });
});

t.test('what no program is, or prints no result, fails with words', async (t) => {
  await withPilot(t, {}, async (agent) => {
    const cases: [object, RegExp][] = [
      [{ program: '/nowhere/at/all' }, /rank 0 on node n1 could not be started/],
      [{ program: 'relative' }, /absolute path/],
      [{ shell: true }, /shell is no field of a program/],
      [{ program: '/bin/echo', args: ['no', 'json'] }, /printed no JSON/],
    ];
    for (const [key, [more, message]] of cases.entries()) {
      const spec = { adapter: 'program', entry: entry(more), poolKey: `p${key}` };
      agent.launch(call(key + 1, {}), spec, part(0, ['n1'], 1));
      if (key === 0 || key === 3) await go(agent, key + 1);
      const end = (await agent.outcomes(key + 1)).at(-1);
      t.match(end, { status: 'failed', detail: { err: { message } } });
    }
    const bytes = { adapter: 'program', entry: entry({ program: '/bin/echo', args: ['text'], result: 'bytes' }) };
    agent.launch(call(9, {}), bytes, part(0, ['n1'], 1));
    await go(agent, 9);
    t.match((await agent.outcomes(5)).at(-1), { status: 'succeeded', detail: { res: { type: 'bytes' } } });
  });
});

t.test('a result that is too large for a message is a file, and one over its limit is none', async (t) => {
  await withPilot(t, {}, async (agent) => {
    const big = (bytes: number) =>
      entry({ program: '/usr/bin/head', args: ['-c', String(bytes), '/dev/zero'], result: 'bytes' });
    agent.launch(call(1, {}), { adapter: 'program', entry: big(600_000), maxBytes: 1e6 }, part(0, ['n1'], 1));
    await go(agent, 1);
    const [first] = await agent.outcomes(1);
    t.equal(first?.status, 'succeeded', JSON.stringify(first?.detail));
    agent.launch(call(2, {}), { adapter: 'program', entry: big(600_000), maxBytes: 1000 }, part(0, ['n1'], 1));
    await go(agent, 2);
    const second = (await agent.outcomes(2)).at(-1);
    t.match(second, { status: 'failed', detail: { err: { code: 'E_RESULT_TOO_LARGE' } } });
  });
});

t.test('a part that was cut off says again that it is ready', async (t) => {
  await withPilot(t, {}, async (agent) => {
    agent.launch(call(1, {}), { adapter: 'program', entry: entry() }, part(0, ['n1']));
    await agent.until('it is ready', () => agent.messages.some(({ gangReady }) => gangReady !== undefined));
    agent.messages.length = 0;
    await agent.down();
    await agent.up();
    await go(agent, 1);
    t.match(await agent.outcomes(1), [{ status: 'succeeded' }]);
  });
});
