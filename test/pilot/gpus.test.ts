/** Accelerators: who has which, and what a runner sees of them. */
import t from 'tap';
import '../leaks.ts';
import { findGpus, gpuEnv, takeGpus } from '../../pilot/gpus.ts';
import type { Slot } from '../../pilot/slot.ts';
import { act, raw, withPilot } from '../fakes/pilot.ts';

t.test('devices are those that the scheduler gave, else those of the node, else nobody’s business', async (t) => {
  t.strictSame(findGpus('none', { CUDA_VISIBLE_DEVICES: '2,3' }, []), { vendor: 'nvidia', names: ['2', '3'] });
  t.strictSame(findGpus('nvidia', { CUDA_VISIBLE_DEVICES: 'GPU-a, GPU-b' }, ['nvidia0']), {
    vendor: 'nvidia',
    names: ['GPU-a', 'GPU-b'],
  });
  t.strictSame(findGpus('nvidia', {}, ['nvidia0', 'nvidia1', 'nvidiactl', 'nvidia-uvm'])?.names, ['0', '1']);
  t.strictSame(findGpus('amd', { ROCR_VISIBLE_DEVICES: '0' }, []), { vendor: 'amd', names: ['0'] });
  t.strictSame(findGpus('amd', {}, ['card0', 'renderD128', 'renderD129'])?.names, ['0', '1']);
  for (const none of ['', '-1', 'NoDevFiles', 'none'])
    t.equal(findGpus('nvidia', { CUDA_VISIBLE_DEVICES: none }, ['nvidia0']), undefined);
  t.equal(findGpus('none', {}, ['nvidia0']), undefined);
});

t.test('what one runner has nobody else gets, and one vendor’s variable says it', async (t) => {
  const gpus = { vendor: 'nvidia', names: ['0', '1', '2'] } as const;
  const slots = [{ gpus: ['1'] }, { gpus: [] }] as unknown as Slot[];
  t.strictSame(takeGpus(gpus, 2, slots), ['0', '2']);
  t.equal(takeGpus(gpus, 3, slots), undefined);
  t.strictSame(takeGpus(gpus, 0, slots), []);
  t.strictSame(takeGpus(undefined, 4, slots), []);
  t.strictSame(gpuEnv(gpus, ['0', '2']), { CUDA_VISIBLE_DEVICES: '0,2' });
  t.strictSame(gpuEnv(gpus, []), { CUDA_VISIBLE_DEVICES: '' });
  t.strictSame(gpuEnv({ vendor: 'amd', names: ['0'] }, ['0']), { ROCR_VISIBLE_DEVICES: '0' });
  t.strictSame(gpuEnv(undefined, []), {});
});

const seen = (result: Buffer | undefined): string | undefined =>
  (JSON.parse(String(result)) as { env: Record<string, string> }).env.CUDA_VISIBLE_DEVICES;

t.test(
  'runners side by side have different devices, one that asked for none sees none, and too many are refused',
  async (t) => {
    const gpus = { vendor: 'nvidia', names: ['4', '5', '6'] } as const;
    await withPilot(t, { runner: raw('env'), slots: 4, gpus }, async (agent) => {
      agent.launch([act(1, {})], { adapter: 'raw', poolKey: 'a', gpus: 2 });
      agent.launch([act(2, {})], { adapter: 'raw', poolKey: 'b', gpus: 1 });
      agent.launch([act(3, {})], { adapter: 'raw', poolKey: 'c' });
      agent.launch([act(4, {})], { adapter: 'raw', poolKey: 'd', gpus: 4 });
      const ended = Object.fromEntries((await agent.outcomes(4)).map((end) => [end.key, end]));
      const given = [seen(ended[1]?.result), seen(ended[2]?.result)].flatMap((list) => list?.split(',') ?? []);
      t.strictSame(given.sort(), ['4', '5', '6']);
      t.equal(seen(ended[3]?.result), '');
      t.match(ended[4]?.detail.err, { code: 'E_VARIANT_INCOMPATIBLE', message: /asks for 4 accelerators, .* has 3/ });
      // All are taken by warm runners: the idle one gives way.
      agent.launch([act(5, {})], { adapter: 'raw', poolKey: 'e', gpus: 1 });
      t.match((await agent.outcomes(5))[4], { key: 5, status: 'succeeded' });
    });
  },
);
