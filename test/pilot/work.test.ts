import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import '../leaks.ts';
import { act, json, raw, withPilot } from '../fakes/pilot.ts';

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

t.test('no-ops by the real runner come back with digests that the pilot measured, once each', async (t) => {
  await withPilot(t, {}, async (agent) => {
    const items = Array.from({ length: 3000 }, (_, i) => ({
      key: 4096 + i,
      args: [{ name: 'x', type: 'bytes', bytes: Buffer.alloc(1024, i) }],
    }));
    for (let at = 0; at < items.length; at += 500) agent.launch(items.slice(at, at + 500), { adapter: 'noop' });
    const ended = await agent.outcomes(3000);
    t.equal(new Set(ended.map((e) => e.key)).size, 3000);
    for (const e of ended) {
      if (e.status !== 'succeeded' || e.result.length !== 100 || e.digest !== sha(e.result) || e.leaseEpoch !== 7)
        t.fail(JSON.stringify(e));
    }
    t.match(ended[0]?.meas, { runtime: 'process', network: 'host', block: 'block-1', node: 'node-1' });
    t.match(ended[0]?.detail, { res: { type: 'bytes', at: 'inline' } });
  });
});

t.test('inline bytes that are not the signed ones never reach a runner, and the items beside them run', async (t) => {
  await withPilot(t, {}, async (agent) => {
    const bytes = json({ do: 'echo' });
    agent.launch([
      { key: 1, args: [{ name: 'x', bytes, digest: `sha256:${'0'.repeat(64)}` }] },
      act(2, { do: 'echo' }),
      { key: 3, args: [{ name: 'x', bytes, size: bytes.length + 1 }] },
    ]);
    const ended = (await agent.outcomes(3)).sort((a, b) => a.key - b.key);
    t.match(ended[0], { status: 'failed', detail: { err: { code: 'E_DIGEST' } } });
    t.match(ended[1], { status: 'succeeded' });
    t.match(ended[2], { status: 'failed', detail: { err: { code: 'E_DIGEST' } } });
  });
});

t.test('a file argument is hashed, and its measured digest is in the measurements', async (t) => {
  await withPilot(t, { runner: raw('env') }, async (agent) => {
    const path = join(agent.folder, 'data.bin');
    writeFileSync(path, 'measured');
    const digest = `sha256:${sha(Buffer.from('measured'))}`;
    agent.launch(
      [
        { key: 1, args: [{ name: 'x', path, digest, size: 8 }] },
        { key: 2, args: [{ name: 'x', path }] },
      ],
      { adapter: 'raw' },
    );
    agent.launch(
      [
        { key: 3, args: [{ name: 'x', path, digest: `sha256:${'1'.repeat(64)}` }] },
        { key: 4, args: [{ name: 'x', path: '/proc/self/mem/none' }] },
      ],
      { adapter: 'raw' },
    );
    const ended = (await agent.outcomes(4)).sort((a, b) => a.key - b.key);
    t.match(ended[0], { status: 'succeeded', meas: { args: [digest] } });
    t.match(ended[1], { status: 'succeeded', meas: { args: [digest] } }, 'also where none was signed');
    t.match(ended[2], {
      status: 'failed',
      detail: { err: { code: 'E_DIGEST', message: /not the one that was signed/ } },
    });
    t.match(ended[3], { status: 'failed', detail: { err: { code: 'E_INPUT' } } });
  });
});

t.test('runners are shared by equal pool keys only, and the one idle longest gives way', async (t) => {
  await withPilot(t, { runner: raw('env') }, async (agent) => {
    const pools = ['a', 'b', 'a'];
    for (const [key, poolKey] of pools.entries()) {
      agent.launch([act(key, {})], { adapter: 'raw', poolKey });
      await agent.outcomes(key + 1);
    }
    t.ok(
      agent.ended.every((e) => e.status === 'succeeded'),
      'one slot served two pools in turn',
    );
  });
  await withPilot(t, { slots: 2 }, async (agent) => {
    agent.launch([act(1, { do: 'sleep', ms: 700 })], { poolKey: 'a' });
    agent.launch([act(2, { do: 'sleep', ms: 10 })], { poolKey: 'b' });
    t.match((await agent.outcomes(1))[0], { key: 2 }, 'two pools run side by side on two slots');
    await agent.outcomes(2);
  });
});

t.test('long items of one pool spread over the free slots', async (t) => {
  await withPilot(t, { slots: 2 }, async (agent) => {
    agent.launch([act(1, { do: 'sleep', ms: 1500 }), act(2, { do: 'sleep', ms: 1500 })]);
    await agent.until('both run at once', () => {
      const running = agent.messages.flatMap((m) => (m.started?.state === 'running' ? m.started.keys : []));
      return agent.ended.length === 0 && running.includes(1) && running.includes(2);
    });
    await agent.outcomes(2);
  });
});

t.test('a result over the inline limit is a file whose size and digest the pilot measured', async (t) => {
  await withPilot(t, { runner: raw('file') }, async (agent) => {
    agent.launch([act(1, {})], { adapter: 'raw' });
    const [ended] = await agent.outcomes(1);
    t.match(ended, {
      status: 'succeeded',
      detail: { res: { type: 'bytes', at: 'blob', size: 200_000 } },
      digest: sha(Buffer.alloc(200_000, 7)),
    });
    t.equal(ended?.result.length, 0);
    t.equal(readFileSync(ended?.file?.path ?? '').length, 200_000);
    agent.launch([act(2, {})], { adapter: 'raw', maxBytes: 100_000 });
    t.match((await agent.outcomes(2))[1], { status: 'failed', detail: { err: { code: 'E_RESULT_TOO_LARGE' } } });
    await agent.until('nothing of it is left', () => !existsSync(join(agent.folder, '..', 'out', '2.1')));
  });
});
