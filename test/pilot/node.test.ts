/** What a pilot says of its node. */
import t from 'tap';
import { memoryLimits, sizeOf, threadEnv } from '../../pilot/node.ts';

const GiB = 1024 ** 3;
const files =
  (texts: Record<string, string>) =>
  (path: string): string | undefined =>
    texts[path];
const machine = { cores: 16, memBytes: 64 * GiB, env: {}, read: files({}) };

t.test('the job’s part of the node holds, not the machine', async (t) => {
  t.strictSame(sizeOf(4, machine, undefined), { slots: 4, cores: 16, memMiB: 65_536, gpus: 0, accelerator: '' });
  t.equal(sizeOf(4, { ...machine, env: { SLURM_CPUS_ON_NODE: '8' } }, undefined).cores, 8);
  t.equal(sizeOf(4, { ...machine, env: { NCPUS: '4', SLURM_CPUS_ON_NODE: '' } }, undefined).cores, 4);
  t.equal(sizeOf(4, { ...machine, env: { SLURM_CPUS_ON_NODE: '32' } }, undefined).cores, 16);
  t.match(sizeOf(1, machine, { vendor: 'amd', names: ['0', '1'] }), { gpus: 2, accelerator: 'amd' });
});

t.test('a memory limit of any control group above holds, in both generations', async (t) => {
  const second = files({
    '/proc/self/cgroup': '0::/slurm/job_7/step_0\n',
    '/sys/fs/cgroup/slurm/job_7/step_0/memory.max': 'max\n',
    '/sys/fs/cgroup/slurm/job_7/memory.max': `${4 * GiB}\n`,
    '/sys/fs/cgroup/memory.max': `${8 * GiB}\n`,
  });
  t.strictSame(memoryLimits(second), [4 * GiB, 8 * GiB]);
  t.equal(sizeOf(1, { ...machine, read: second }, undefined).memMiB, 4096);
  const first = files({
    '/proc/self/cgroup': '5:cpu,cpuacct:/x\n4:memory:/slurm/job_7\n1:name=systemd:/y\n',
    '/sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes': `${2 * GiB}\n`,
    '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
  });
  t.equal(sizeOf(1, { ...machine, read: first }, undefined).memMiB, 2048);
  t.strictSame(memoryLimits(files({})), []);
});

t.test('thread counts follow the cores that were given, and nothing is said where none were', async (t) => {
  t.strictSame(threadEnv(0), {});
  t.match(threadEnv(3), { OMP_NUM_THREADS: '3', OPENBLAS_NUM_THREADS: '3', MKL_NUM_THREADS: '3' });
});
