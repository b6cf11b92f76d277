/** Functions of different needs on one pilot: what runs beside what, who waits, what is refused. */
import t from 'tap';
import '../leaks.ts';
import { act, processesIn, raw, withPilot } from '../fakes/pilot.ts';

const size = { slots: 2, cores: 2, memMiB: 4096, gpus: 0, accelerator: '' };
const env = (result: Buffer | undefined): Record<string, string> =>
  (JSON.parse(String(result)) as { env: Record<string, string> }).env;

t.test('a runner keeps what its function needs: one that needs the node has it alone', async (t) => {
  await withPilot(t, { runner: raw('env'), slots: 2, size }, async (agent) => {
    agent.launch([act(1, {})], { adapter: 'raw', poolKey: 'small' });
    await agent.outcomes(1);
    const alone = processesIn(agent.folder);
    t.ok(alone > 0);
    agent.launch([act(2, {})], { adapter: 'raw', poolKey: 'other', cores: 1, memMib: 1000 });
    await agent.outcomes(2);
    t.equal(processesIn(agent.folder), 2 * alone, 'both fit');
    agent.launch([act(3, {})], { adapter: 'raw', poolKey: 'large', cores: 2 });
    const large = (await agent.outcomes(3))[2];
    t.equal(processesIn(agent.folder), alone, 'the idle ones gave way');
    t.match(env(large?.result), { OMP_NUM_THREADS: '2' });
    agent.launch([act(4, {})], { adapter: 'raw', poolKey: 'memory', memMib: 3000 });
    await agent.outcomes(4);
    t.equal(processesIn(agent.folder), alone);
    agent.launch([act(5, {})], { adapter: 'raw', poolKey: 'small' });
    const small = (await agent.outcomes(5))[4];
    t.equal(processesIn(agent.folder), alone, 'half of the memory is not left beside it');
    t.notHas(env(small?.result), { OMP_NUM_THREADS: '2' });
  });
});

t.test('what this node can never give is refused with both numbers', async (t) => {
  await withPilot(t, { runner: raw('env'), slots: 2, size }, async (agent) => {
    agent.launch([act(1, {})], { adapter: 'raw', poolKey: 'cores', cores: 64 });
    agent.launch([act(2, {})], { adapter: 'raw', poolKey: 'memory', memMib: 8192 });
    const ended = Object.fromEntries((await agent.outcomes(2)).map((end) => [end.key, end]));
    t.match(ended[1]?.detail.err, { code: 'E_VARIANT_INCOMPATIBLE', message: /64 cores, .* has 2/ });
    t.match(ended[2]?.detail.err, { code: 'E_VARIANT_INCOMPATIBLE', message: /8192 MiB of memory, .* has 4096/ });
  });
});

t.test('one that needs the whole node does not starve behind a stream of small ones', async (t) => {
  await withPilot(t, { slots: 2, size }, async (agent) => {
    const small = Array.from({ length: 300 }, (_, i) => act(10 + i, { do: 'sleep', ms: 20 }));
    agent.launch(small, { poolKey: 'small' });
    await agent.outcomes(2);
    agent.launch([act(1, { do: 'echo' })], { poolKey: 'large', cores: 2 });
    const ended = await agent.outcomes(301);
    const at = ended.findIndex(({ key }) => key === 1);
    t.ok(at > 0 && at < 300, `ended as number ${at} of 301`);
    t.equal(new Set(ended.map(({ key }) => key)).size, 301);
  });
});
