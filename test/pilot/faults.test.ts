import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import '../leaks.ts';
import { act, json, processesWith, raw, withPilot } from '../fakes/pilot.ts';

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Seconds that no other process sleeps for: the children of the fakes are found by them. */
const unique = (n: number): number => n * 10_000_000 + process.pid;

t.test('a failure is charged and carries the function’s own words; the runner lives on', async (t) => {
  await withPilot(t, {}, async (agent) => {
    agent.launch([act(1, { do: 'throw', text: 'no such peak' })]);
    agent.launch([act(2, { do: 'echo', text: 'hello' })]);
    const [failed, succeeded] = (await agent.outcomes(2)).sort((a, b) => a.key - b.key);
    t.match(failed, {
      status: 'failed',
      detail: { err: { code: 'E_FUNCTION', message: /no such peak/ }, charged: true },
      digest: '0'.repeat(64),
    });
    t.match(succeeded, { status: 'succeeded' });
    t.equal(succeeded?.result.toString(), 'hello');
  });
});

t.test('a runner that dies fails what it held, with how it died, and another takes over', async (t) => {
  await withPilot(t, {}, async (agent) => {
    agent.launch([act(1, { do: 'exit', signal: 'SIGKILL' })]);
    agent.launch([act(2, { do: 'exit', code: 3 })]);
    agent.launch([act(3, { do: 'echo' })]);
    const ended = (await agent.outcomes(3)).sort((a, b) => a.key - b.key);
    t.match(ended[0], {
      status: 'failed',
      detail: { err: { code: 'E_FUNCTION', message: /SIGKILL/ }, charged: true },
    });
    t.match(ended[1], { status: 'failed', detail: { err: { message: /exit code 3/ }, charged: true } });
    t.match(ended[2], { status: 'succeeded' });
  });
});

t.test(
  'the last words of a runner that died are in the message, cut short and without control characters',
  async (t) => {
    await withPilot(t, { runner: raw('crash') }, async (agent) => {
      agent.launch([act(1, {})], { adapter: 'raw' });
      const message = (await agent.outcomes(1))[0]?.detail.err?.message ?? '';
      t.match(message, /exit code 3; its last output: .*out of luck$/s);
      t.ok(message.length <= 2000, `${message.length} characters`);
    });
  },
);

t.test('a model that cannot be loaded fails everything that waits for it, with the reason', async (t) => {
  await withPilot(t, {}, async (agent) => {
    agent.launch([act(1, {}), act(2, {})], { entry: json({ failLoad: true }), poolKey: 'broken' });
    const ended = await agent.outcomes(2);
    for (const e of ended)
      t.match(e, { status: 'failed', detail: { err: { code: 'E_MODEL', message: /told to fail/ }, charged: true } });
  });
});

t.test('a file that changes while its item runs makes the result worthless', async (t) => {
  await withPilot(t, {}, async (agent) => {
    const path = join(agent.folder, 'data.json');
    writeFileSync(path, '{}');
    agent.launch([
      {
        key: 1,
        args: [
          { name: 'w', bytes: json({ do: 'sleep', ms: 600 }) },
          { name: 'x', path },
        ],
      },
    ]);
    await agent.until('it runs', () => agent.messages.some((m) => m.started?.state === 'running'));
    writeFileSync(path, '[]');
    const [ended] = await agent.outcomes(1);
    t.match(ended, { status: 'failed', detail: { err: { code: 'E_DIGEST', message: /changed while the item ran/ } } });
  });
});

t.test('an item is cancelled while it waits and while it runs, and its neighbours are not', async (t) => {
  await withPilot(t, {}, async (agent) => {
    agent.launch([act(1, { do: 'sleep', ms: 60_000 }), act(2, { do: 'echo' }), act(3, { do: 'echo' })], {
      adapter: 'fake',
    });
    await agent.until('the first runs', () =>
      agent.messages.some((m) => m.started?.state === 'running' && m.started.keys.includes(1)),
    );
    agent.session?.send(
      { cancel: { leases: [{ key: 2, attempt: 1, leaseEpoch: 7 }], reason: 'cancelled by its owner' } },
      'prompt',
    );
    t.match((await agent.outcomes(1))[0], {
      key: 2,
      status: 'cancelled',
      detail: { err: { code: 'E_CANCELLED', message: 'cancelled by its owner' }, charged: false },
    });
    agent.session?.send({ cancel: { leases: [{ key: 1, attempt: 1, leaseEpoch: 7 }], reason: 'enough' } }, 'prompt');
    const ended = (await agent.outcomes(3)).sort((a, b) => a.key - b.key);
    t.match(ended[0], { key: 1, status: 'cancelled' });
    t.match(ended[2], { key: 3, status: 'succeeded' });
  });
});

for (const containment of [undefined, 'none'] as const) {
  const where = containment === undefined ? 'as far as this machine contains processes' : 'without a PID namespace';
  t.test(
    `a cancel ends the whole tree of an adapter that may start processes, a setsid child too, ${where}`,
    async (t) => {
      await withPilot(t, containment === undefined ? {} : { containment }, async (agent) => {
        agent.launch([act(1, { do: 'setsid', ms: 1000 * unique(3) })]);
        await agent.outcomes(1);
        t.ok(processesWith(String(unique(3))), 'the child outlived its item');
        agent.launch([act(2, { do: 'sleep', ms: 60_000 })]);
        await agent.until('it runs', () => agent.messages.some((m) => m.started?.keys.includes(2) === true));
        agent.session?.send({ cancel: { leases: [{ key: 2, attempt: 1, leaseEpoch: 7 }], reason: 'stop' } }, 'prompt');
        t.match((await agent.outcomes(2))[1], { key: 2, status: 'cancelled' });
        t.notOk(processesWith(String(unique(3))), 'and is gone before the word is given');
      });
    },
  );

  t.test(`a runner that dies takes what it started with it, ${where}`, async (t) => {
    await withPilot(t, containment === undefined ? {} : { containment }, async (agent) => {
      agent.launch([act(1, { do: 'setsid', ms: 1000 * unique(4) })]);
      await agent.outcomes(1);
      agent.launch([act(2, { do: 'exit', signal: 'SIGKILL' })]);
      t.match((await agent.outcomes(2))[1], { key: 2, status: 'failed' });
      t.notOk(processesWith(String(unique(4))));
    });
  });
}

t.test('a runner that does not hear a cancel is killed with all that it started', async (t) => {
  await withPilot(t, { runner: raw('deaf') }, async (agent) => {
    agent.launch([act(1, {})], { adapter: 'raw' });
    await agent.until('it runs', () => agent.messages.some((m) => m.started?.state === 'running'));
    agent.session?.send({ cancel: { leases: [{ key: 1, attempt: 1, leaseEpoch: 7 }], reason: 'stop' } }, 'prompt');
    await agent.until('its child runs', () => processesWith('7654321'));
    t.match((await agent.outcomes(1))[0], { status: 'cancelled' });
    t.notOk(processesWith('7654321'), 'its child in another session, too');
  });
});

t.test('an item over its time-out is stopped and charged, and the next one runs', async (t) => {
  await withPilot(t, {}, async (agent) => {
    agent.launch([act(1, { do: 'sleep', ms: 60_000 }), act(2, { do: 'echo' })], { timeoutS: 1 });
    const ended = (await agent.outcomes(2)).sort((a, b) => a.key - b.key);
    t.match(ended[0], {
      status: 'failed',
      detail: { err: { code: 'E_RUN_TIMEOUT', message: /1 s/ }, charged: true },
      meas: { ms: {} },
    });
    t.match(ended[1], { status: 'succeeded' });
  });
});

for (const mode of ['outside', 'link'] as const) {
  t.test(`a result file ${mode === 'link' ? 'that is a link' : 'outside its folder'} is refused`, async (t) => {
    await withPilot(t, { runner: raw(mode) }, async (agent) => {
      agent.launch([act(1, {})], { adapter: 'raw' });
      t.match((await agent.outcomes(1))[0], { status: 'failed', detail: { err: { code: 'E_PROTOCOL' } } });
    });
  });
}

t.test('a runner that prints where frames belong, or answers twice, is ended and the reason names it', async (t) => {
  await withPilot(t, { runner: raw('garbage') }, async (agent) => {
    agent.launch([act(1, {})], { adapter: 'raw' });
    t.match((await agent.outcomes(1))[0], {
      status: 'failed',
      detail: { err: { code: 'E_PROTOCOL', message: /no frame.*likes to talk/ } },
    });
  });
  await withPilot(t, { runner: raw('twice') }, async (agent) => {
    agent.launch([act(1, {})], { adapter: 'raw' });
    t.match((await agent.outcomes(1))[0], { status: 'succeeded' });
    agent.launch([act(2, {})], { adapter: 'raw' });
    await agent.outcomes(2);
    t.equal(agent.ended.filter((e) => e.key === 1).length, 1, 'the first answer is the only one');
  });
});

t.test('a model folder that is not the signed one is never loaded', async (t) => {
  await withPilot(t, {}, async (agent) => {
    const root = join(agent.folder, 'model');
    mkdirSync(root);
    writeFileSync(join(root, 'model.json'), '{}');
    const digest = `oms1:${sha(Buffer.from(`${sha(Buffer.from('{}'))}  model.json\n`))}`;
    agent.launch([act(1, { do: 'echo' })], { modelRoot: root, modelDigest: digest, poolKey: 'good' });
    t.match((await agent.outcomes(1))[0], { status: 'succeeded', meas: { model: digest } });
    writeFileSync(join(root, 'model.json'), '{"altered": true}');
    agent.launch([act(2, { do: 'echo' })], { modelRoot: root, modelDigest: digest, poolKey: 'altered' });
    t.match((await agent.outcomes(2))[1], { status: 'failed', detail: { err: { code: 'E_DIGEST' } } });
  });
});
