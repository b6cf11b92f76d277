/** The command lines of container launchers, and what they refuse: no container is started here. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import '../../leaks.ts';
import { apptainerArgs, apptainerEnv } from '../../../pilot/runtimes/apptainer.ts';
import {
  bindsOf,
  type ContainerPlan,
  checkPath,
  insideFile,
  readProbe,
  runnerEnv,
  runnerTree,
} from '../../../pilot/runtimes/container.ts';
import { podmanArgs } from '../../../pilot/runtimes/podman.ts';
import { readSpec } from '../../../pilot/spec.ts';
import { SPEC } from '../../fakes/agent.ts';

const PLAN: ContainerPlan = {
  image: '/images/sif/a.sif',
  binds: [
    { from: '/usr/bin/node', to: '/farfield/node', write: false },
    { from: '/scratch/1', to: '/farfield/scratch', write: true },
  ],
  command: ['/farfield/node', '/farfield/app/runner.mjs', 'pipe'],
  network: 'none',
  gpu: undefined,
  workDir: '/farfield/scratch',
};

t.test('a container gets its own file system, environment and network, and two binds', async (t) => {
  t.strictSame(apptainerArgs(PLAN), [
    '--quiet',
    'exec',
    '--containall',
    '--cleanenv',
    '--no-eval',
    '--no-home',
    '--no-mount',
    'bind-paths,cwd,hostfs',
    '--net',
    '--network',
    'none',
    '--mount',
    'type=bind,source=/usr/bin/node,destination=/farfield/node,ro',
    '--mount',
    'type=bind,source=/scratch/1,destination=/farfield/scratch',
    '--pwd',
    '/farfield/scratch',
    '/images/sif/a.sif',
    '/farfield/node',
    '/farfield/app/runner.mjs',
    'pipe',
  ]);
});

t.test('drivers and the host’s network are given only when the plan says so', async (t) => {
  const of = (change: Partial<ContainerPlan>): string[] => apptainerArgs({ ...PLAN, ...change });
  t.ok(of({ gpu: 'nvidia' }).includes('--nv') && !of({ gpu: 'nvidia' }).includes('--rocm'));
  t.ok(of({ gpu: 'amd' }).includes('--rocm') && !of({ gpu: 'amd' }).includes('--nv'));
  t.notOk(of({}).includes('--nv') || of({}).includes('--rocm'));
  t.notOk(of({ network: 'host' }).includes('--net'));
  t.ok(apptainerArgs(PLAN, true).includes('--userns'), 'in a namespace where no setuid starter works');
  t.notOk(apptainerArgs(PLAN).includes('--userns'));
  t.notOk(apptainerArgs(PLAN).includes('instance'), 'an instance outlives its job');
});

/** What Apptainer's reader of --mount makes of the text: CSV fields, a doubled quote would be one. */
function readMount(text: string): Record<string, string> {
  const fields = text.match(/"[^"]*"|[^,]+/g) ?? [];
  return Object.fromEntries(
    fields.map((field) => {
      const [key = '', ...value] = field.replace(/^"|"$/g, '').split('=');
      return [key, value.join('=')];
    }),
  );
}

t.test('a bind is the same bind whatever its path holds, or it is refused', async (t) => {
  const mountOf = (from: string): Record<string, string> => {
    const args = apptainerArgs({ ...PLAN, binds: [{ from, to: '/farfield/in', write: false }] });
    return readMount(args[args.indexOf('--mount') + 1] ?? '');
  };
  for (const from of ['/a,b', '/a:b:rw', '/a,destination=/etc', '/a b', '/a=b', "/a'b", '/a\\b', '/$(id)', '/-x'])
    t.match(mountOf(from), { type: 'bind', source: from, destination: '/farfield/in', ro: '' }, from);
  for (const from of ['/a"b', '/a\nb', '/a\0b', '/a\tb', 'a', '', '-x', '../a', '/a\x7f'])
    t.throws(() => mountOf(from), { code: 'E_PATH' }, JSON.stringify(from));
  const seed = 20_261_123;
  t.comment(`seed ${seed}`);
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
      const from = `/${text}`;
      try {
        checkPath(from);
      } catch {
        return true;
      }
      const read = mountOf(from);
      return read.source === from && read.destination === '/farfield/in' && 'ro' in read;
    }),
    { seed, numRuns: 2000 },
  );
  t.throws(() => apptainerArgs({ ...PLAN, image: '--nv' }), { code: 'E_PATH' }, 'an image is never an option');
});

t.test('the launcher’s environment is ours alone, and a site cannot configure Apptainer through it', async (t) => {
  t.strictSame(apptainerEnv({ OMP_NUM_THREADS: '2', X: 'a,b=$(id)' }), {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    LANG: 'C.UTF-8',
    APPTAINERENV_OMP_NUM_THREADS: '2',
    APPTAINERENV_X: 'a,b=$(id)',
    APPTAINERENV_TMPDIR: '/farfield/scratch',
  });
  for (const name of ['APPTAINER_BIND', 'SINGULARITYENV_X', 'LD_PRELOAD', 'FARFIELD_TREE', 'a-b', '1A', ''])
    t.throws(() => runnerEnv({ [name]: 'x' }), { code: 'E_USAGE' }, name);
  t.throws(() => runnerEnv({ X: 'a\nB=c' }), { code: 'E_USAGE' });
});

t.test('the runner is its interpreter as one file, and the folder of its package', async (t) => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'farfield-tree-')));
  mkdirSync(join(folder, 'dist'));
  writeFileSync(join(folder, 'package.json'), '{}');
  writeFileSync(join(folder, 'dist', 'runner.mjs'), '');
  t.strictSame(runnerTree(process.execPath, [join(folder, 'dist', 'runner.mjs'), 'x']), {
    binds: [
      { from: realpathSync(process.execPath), to: '/farfield/node', write: false },
      { from: folder, to: '/farfield/app', write: false },
    ],
    command: ['/farfield/node', '/farfield/app/dist/runner.mjs', 'x'],
  });
  rmSync(folder, { recursive: true });
});

t.test('model and inputs are read only; outputs and scratch are the two folders that can be written', async (t) => {
  const stage = { in: '/s/in', out: '/o/pool-1', files: ['/data/big, one.h5'] };
  const spec = { ...readSpec({ ...SPEC, modelRoot: '/models/b' }), stage };
  const binds = bindsOf(spec, '/scratch', { binds: [], command: [] });
  t.strictSame(
    binds.filter((bind) => bind.write).map((bind) => bind.from),
    ['/scratch', '/o/pool-1'],
  );
  t.strictSame(
    binds.filter((bind) => !bind.write).map((bind) => bind.from),
    ['/models/b', '/s/in', '/data/big, one.h5'],
  );
  t.match(insideFile('/data/big, one.h5'), /^\/farfield\/files\/[\w-]+\/big__one\.h5$/);
});

t.test('what a loader says of an image becomes a sentence; what is no image’s fault does not', async (t) => {
  t.match(readProbe("/farfield/node: /lib/libc.so.6: version `GLIBC_2.28' not found"), /too old: GLIBC_2.28/);
  t.match(readProbe('FATAL: exec /farfield/node failed: exec format error'), /architecture/);
  t.match(readProbe('error while loading shared libraries: libatomic.so.1: cannot open'), /lacks libatomic\.so\.1/);
  t.match(readProbe('stat /farfield/node: no such file or directory'), /musl/);
  t.equal(readProbe('FATAL: while extracting: no space left on device'), undefined);
  t.equal(readProbe(''), undefined);
});

t.test('podman gets the same plan in its own words', async (t) => {
  const plan = { ...PLAN, image: `sha256:${'a'.repeat(64)}`, name: 'farfield-1', env: { X: 'a b' } };
  const args = podmanArgs({ ...plan, gpu: 'nvidia' });
  for (const one of [
    '--rm',
    '--init',
    '--pull=never',
    '--read-only',
    '--cap-drop=all',
    '--network=none',
    '--unsetenv-all',
  ])
    t.ok(args.includes(one), one);
  t.ok(args.includes('type=bind,source=/usr/bin/node,destination=/farfield/node,readonly=true'));
  t.ok(args.includes('type=bind,source=/scratch/1,destination=/farfield/scratch'));
  t.ok(args.includes('--device=nvidia.com/gpu=all'));
  t.equal(args[args.indexOf('--env') + 1], 'X=a b');
  t.strictSame(args.slice(-3), [plan.image, '/farfield/app/runner.mjs', 'pipe']);
  const odd = [{ from: '/a,b', to: '/farfield/in', write: true }];
  t.ok(podmanArgs({ ...plan, binds: odd }).includes('type=bind,"source=/a,b",destination=/farfield/in'));
  t.throws(() => podmanArgs({ ...plan, binds: [{ from: '/a"b', to: '/x', write: true }] }), { code: 'E_PATH' });
});
