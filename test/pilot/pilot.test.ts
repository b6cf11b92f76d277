import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync, existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import t, { type Test } from 'tap';
import { type FakeAgent, type FakeAgentOptions, openFakeAgent } from '../fakes/agent.ts';
import { type RunningPilot, startPilot } from '../fakes/pilot.ts';

const RUNNER = { command: process.execPath, args: [resolve('runner/main.ts')] };
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const act = (key: number, value: unknown, attempt = 1) => ({ key, attempt, args: [{ name: 'x', bytes: json(value) }] });
const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** A pilot with an agent, for the time of `use`; both are ended, and the pilot must have had no errors of its own. */
async function withPilot(
  t: Test,
  options: Partial<FakeAgentOptions>,
  use: (agent: FakeAgent, running: RunningPilot) => Promise<void>,
): Promise<void> {
  const agent = await openFakeAgent({ runner: RUNNER, ...options });
  const running = startPilot(agent);
  try {
    await agent.connected();
    await use(agent, running);
  } finally {
    await running.pilot.stop('the test is over', 0);
    await running.ended;
    await agent.close();
  }
  t.strictSame(running.errors, []);
}

t.test('no-ops by the real runner come back with digests that the pilot measured, once each', async (t) => {
  await withPilot(t, {}, async (agent) => {
    const items = Array.from({ length: 3000 }, (_, i) => ({ key: 4096 + i, args: [{ name: 'x', type: 'bytes', bytes: Buffer.alloc(1024, i) }] }));
    for (let at = 0; at < items.length; at += 500) agent.launch(items.slice(at, at + 500), { adapter: 'noop' });
    const ended = await agent.outcomes(3000);
    t.equal(new Set(ended.map((e) => e.key)).size, 3000);
    for (const e of ended) {
      if (e.status !== 'succeeded' || e.result.length !== 100 || e.digest !== sha(e.result) || e.leaseEpoch !== 7) t.fail(JSON.stringify(e));
    }
    t.match(ended[0]?.meas, { runtime: 'process', network: 'host', block: 'block-1', node: 'node-1' });
    t.match(ended[0]?.detail, { res: { type: 'bytes', at: 'inline' } });
  });
});
