/** What people and sites write must not become a command or an option: scripts through bash, launch lines through a recorder. */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { FarfieldError } from '#kernel/errors.ts';
import type { JobSpec } from '../../../agent/schedulers/driver.ts';
import { createDriver } from '../../../agent/schedulers/drivers.ts';
import { jobName, jobSpec } from '../../../agent/schedulers/jobs.ts';
import { BATCH_SCHEDULERS, type BatchSchedulerName } from '../../../agent/schedulers/options.ts';
import { comment, dayTime, hourTime, said, shellWord } from '../../../agent/schedulers/text.ts';
import { job, script } from './parts.ts';

const seed = 20_261_123;
t.comment(`seed ${seed}`);
const check = <T>(property: fc.IProperty<T>, numRuns: number): void => fc.assert(property, { seed, numRuns });

const folder = mkdtempSync(join(tmpdir(), 'ff-script-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

/** Words that want to be more than words. */
const nasty = fc.oneof(
  fc.constantFrom(
    'a b',
    "it's",
    '"x"',
    '$(touch pwned)',
    '`id`',
    '$HOME',
    '; rm -rf /',
    '-V',
    '--wrap=x',
    '#',
    '\\',
    '*',
    '~',
    '!!',
    'ü',
    '%j',
    ['$', '{IFS}'].join(''),
    '&& x',
    'a\'"b',
    '',
  ),
  fc.string({ minLength: 0, maxLength: 20, unit: 'grapheme-ascii' }),
);
const withControl = fc
  .tuple(
    fc.string({ maxLength: 8 }),
    fc.constantFrom('\n', '\r', '\0', '\u2028', '\x1b', '\n#SBATCH --uid=0', '\n#$ -V'),
    fc.string({ maxLength: 8 }),
  )
  .map((parts) => parts.join(''));

const DIRECTIVES: Readonly<Record<BatchSchedulerName, RegExp>> = {
  slurm: /^\s*#SBATCH/,
  pbs: /^\s*#PBS/,
  lsf: /^\s*#BSUB/,
  gridengine: /^\s*#\$/,
  htcondor: /^\s*queue/i,
  flux: /^\s*#\s*flux:/i,
  kubernetes: /^\0/,
};

const render = (name: BatchSchedulerName, spec: JobSpec): string | undefined => {
  const options = name === 'kubernetes' ? { ...spec.options, kubernetes: { image: 'x' } } : spec.options;
  try {
    const { files } = createDriver(name).render({ ...spec, options });
    if (name !== 'kubernetes') return script(files);
    const manifest = JSON.parse(files[0].text) as {
      spec: { template: { spec: { containers: { command: string[] }[] } } };
    };
    return manifest.spec.template.spec.containers[0]?.command[2] ?? '';
  } catch (error) {
    if (error instanceof FarfieldError && error.code === 'E_USAGE') return undefined;
    throw error;
  }
};

/** A program that writes down what it was given: one argument a record. */
function recorder(name: string): { readonly path: string; readonly read: () => string[] } {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/bash\nfor a; do printf '%s\\0' "$a"; done > "$0.argv"\n`);
  chmodSync(path, 0o755);
  return { path, read: () => readFileSync(`${path}.argv`, 'utf8').split('\0').slice(0, -1) };
}

t.test('a value of a directive is taken as it is or refused, and adds no line', async (t) => {
  for (const name of BATCH_SCHEDULERS) {
    const plain = render(name, job())?.split('\n').length ?? 0;
    let taken = 0;
    check(
      fc.property(
        fc.constantFrom('account', 'queue', 'qos', 'reservation', 'constraint'),
        fc.oneof(nasty, withControl, fc.constantFrom('proj', 'gpu-a100', 'x.y')),
        (key, value) => {
          const text = render(name, job({ [key]: value }));
          if (text === undefined) return;
          taken += 1;
          t.notMatch(value, /[\n\r\0]|^-|\s/, `${name} ${key} took ${JSON.stringify(value)}`);
          if (text.split('\n').length > plain + 1) throw new Error(`${name}: ${JSON.stringify(value)} added lines`);
        },
      ),
      150,
    );
    t.ok(taken > 0 || name === 'kubernetes' || name === 'htcondor', `${name} takes plain values`);
  }
});

t.test('line breaks are refused everywhere, with what is wrong', async (t) => {
  for (const name of BATCH_SCHEDULERS) {
    check(
      fc.property(withControl, (value) => {
        for (const spec of [
          job({ account: value }),
          job({ queue: value }),
          job({ lines: [value] }),
          job({ setup: [value] }),
          job({}, { pilot: ['/x', value] }),
          job({}, { folder: `/x${value}`, log: `/x${value}/l` }),
        ]) {
          const text = render(name, spec);
          if (text !== undefined) throw new Error(`${name} took ${JSON.stringify(value)}: ${text}`);
        }
      }),
      30,
    );
  }
  t.throws(() => createDriver('slurm').render(job({ account: 'a\n#SBATCH --uid=0' })), {
    code: 'E_USAGE',
    message: /account .* may hold letters/,
  });
  t.throws(() => createDriver('slurm').render(job({ lines: ['#SBATCH --x'] })), { message: /leave the #SBATCH out/ });
  t.throws(() => createDriver('slurm').render(job({ setup: [' #SBATCH --x'] })), { message: /belongs in `lines`/ });
});

t.test('every script that is taken is good bash, and its directives are ours', async (t) => {
  let taken = 0;
  check(
    fc.property(
      fc.constantFrom(...BATCH_SCHEDULERS),
      fc.array(nasty, { maxLength: 4 }),
      nasty,
      fc.integer({ min: 1, max: 3 }),
      (name, args, place, nodes) => {
        const at = `/home/${place.replaceAll('/', '_')}`;
        const spec = job(name === 'gridengine' && nodes > 1 ? { parallelEnvironment: 'mpi' } : {}, {
          pilot: ['/opt/pilot', ...args, at],
          folder: at,
          log: '/tmp/log',
          nodes,
        });
        const text = render(name, spec);
        if (text === undefined) return;
        taken += 1;
        const result = spawnSync('bash', ['--norc', '-n'], { input: text, encoding: 'utf8' });
        if (result.status !== 0) throw new Error(`${name}: ${result.stderr}\n${text}`);
        const body = text.slice(text.indexOf('\nunset LC_ALL'));
        const strange = body.split('\n').find((line) => DIRECTIVES[name].test(line));
        if (strange !== undefined) throw new Error(`${name}: a directive in the body: ${strange}`);
      },
    ),
    120,
  );
  t.ok(taken > 40, `${taken} scripts were rendered`);
});

t.test('a pilot gets its arguments as they are, through bash and through a launcher', async (t) => {
  const pilot = recorder('pilot');
  const launcher = recorder('srun');
  writeFileSync(
    launcher.path,
    `#!/bin/bash\nfor a; do printf '%s\\0' "$a"; done > "$0.argv"\nwhile [ "$1" != "${pilot.path}" ]; do shift; done\nexec "$@"\n`,
  );
  const env = { PATH: `${folder}:/usr/bin:/bin`, SLURM_JOB_ID: '7' };
  check(
    fc.property(fc.array(nasty, { maxLength: 5 }), fc.boolean(), (args, several) => {
      const spec = job({}, { pilot: [pilot.path, ...args], folder, log: '/tmp/log', nodes: several ? 2 : 1 });
      execFileSync('bash', ['--norc'], { input: render('slurm', spec), env });
      const got = pilot.read();
      if (JSON.stringify(got) !== JSON.stringify(args))
        throw new Error(`${JSON.stringify(got)} for ${JSON.stringify(args)}`);
    }),
    40,
  );
  t.match(launcher.read().slice(0, 2), ['--nodes=2', '--ntasks=2']);
});

t.test('over ssh they arrive as they are, on every node, whatever the login shell', async (t) => {
  const pilot = recorder('remote-pilot');
  const nodes = join(folder, 'nodefile');
  writeFileSync(nodes, 'n1\nn1\nn2\n');
  // As sshd does: everything after the host is one text for the login shell.
  writeFileSync(
    join(folder, 'ssh'),
    `#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift; echo "$1" >> ${folder}/hosts; shift\nexec sh -c "$*"\n`,
    { mode: 0o755 },
  );
  const env = { PATH: `${folder}:/usr/bin:/bin`, PBS_NODEFILE: nodes };
  check(
    fc.property(fc.array(nasty, { maxLength: 4 }), (args) => {
      const spec = job({ launcher: 'ssh' }, { pilot: [pilot.path, ...args], folder, log: '/tmp/log', nodes: 2 });
      execFileSync('bash', ['--norc'], { input: render('pbs', spec), env });
      const got = pilot.read();
      if (JSON.stringify(got) !== JSON.stringify(args))
        throw new Error(`${JSON.stringify(got)} for ${JSON.stringify(args)}`);
    }),
    15,
  );
  t.strictSame(
    new Set(readFileSync(join(folder, 'hosts'), 'utf8').trim().split('\n')),
    new Set(['n1', 'n2']),
    'each node once',
  );
});

t.test('the launchers of sites start one pilot a node', async (t) => {
  const line = (name: BatchSchedulerName, options: JobSpec['options']): string =>
    render(name, job(options, { nodes: 4 }))
      ?.split('\n')
      .find((one) => one.startsWith('exec ')) ?? '';
  t.match(line('slurm', { launcher: 'srun' }), /^exec srun --nodes=4 --ntasks=4 --ntasks-per-node=1 /);
  t.match(line('pbs', { launcher: 'mpiexec' }), /^exec mpiexec -n 4 -ppn 1 \/opt/);
  t.match(
    line('pbs', { launcher: 'mpiexec', launcherArgs: ['-n', '{nodes}', '--map-by', 'ppr:1:node'] }),
    /^exec mpiexec -n 4 --map-by ppr:1:node \/opt/,
  );
  t.match(line('pbs', { launcher: 'aprun' }), /^exec aprun -n 4 -N 1 -cc none \/opt/);
  t.match(line('lsf', { launcher: 'jsrun' }), /^exec jsrun --nrs 4 --rs_per_host 1 /);
  t.match(line('flux', { launcher: 'flux' }), /^exec flux run --nodes=4 /);
  t.throws(() => createDriver('slurm').render(job({ launcher: 'jsrun' })), {
    message: /launcher jsrun: this scheduler has none, srun/,
  });
  t.throws(() => createDriver('slurm').render(job({ launcher: 'none' }, { nodes: 2 })), {
    message: /starts one pilot, and a block has 2 nodes/,
  });
  t.throws(() => createDriver('slurm').render(job({}, { pilot: ['pilot'] })), { message: /no absolute path/ });
});

t.test('a warning that programs die of reaches the pilot as TERM, and its exit code comes back', async (t) => {
  const pilot = join(folder, 'drains');
  writeFileSync(
    pilot,
    `#!/bin/bash\ntrap 'echo drained > ${folder}/drained; exit 5' TERM\necho "$FARFIELD_ENDS_AT $FARFIELD_JOB" > ${folder}/ready\nwhile :; do sleep 0.05; done\n`,
    { mode: 0o755 },
  );
  const text = render('gridengine', job({}, { pilot: [pilot], folder, log: '/tmp/log' })) ?? '';
  const path = join(folder, 'job.sh');
  writeFileSync(path, text);
  const driver = `setsid bash ${path} & job=$!; until [ -e ${folder}/ready ]; do sleep 0.05; done; kill -USR2 -- "-$job"; wait $job; echo "exit $?"`;
  const before = Math.floor(Date.now() / 1000);
  const out = execFileSync('bash', ['-c', driver], {
    encoding: 'utf8',
    env: { PATH: '/usr/bin:/bin', JOB_ID: '9' },
    timeout: 120_000,
  });
  t.equal(out, 'exit 5\n');
  t.equal(readFileSync(join(folder, 'drained'), 'utf8'), 'drained\n');
  const [ends, id] = readFileSync(join(folder, 'ready'), 'utf8').trim().split(' ');
  t.ok(Number(ends) >= before + 3600, 'it knows when its job ends');
  t.equal(id, '9');
});

t.test('names and comments carry endpoint, block and users, whatever these are', async (t) => {
  const setting = { endpoint: 'AbCdEfGh-rest', config: {}, pilot: ['/p'] as const, logFile: () => '/l' };
  const spec = jobSpec(
    {
      block: 'b_1-X',
      folder: '/f',
      shape: { nodes: 1, wallS: 60 },
      users: ['alice@uni.example', 'bob; #SBATCH --x', 'eve\n'],
    },
    setting,
  );
  t.equal(spec.name, 'ff-AbCdEfGh-b_1-X');
  t.equal(spec.name, jobName('AbCdEfGh-rest', 'b_1-X'));
  t.equal(spec.comment, 'farfield:endpoint=AbCdEfGh:block=b_1-X:users=alice@uni.example,bob___SBATCH_--x,eve_');
  const many = jobSpec(
    { block: 'b', folder: '/f', shape: { nodes: 1, wallS: 60 }, users: Array.from({ length: 30 }, (_, k) => `u${k}`) },
    setting,
  );
  t.match(many.comment, /u7,and_22_more$/);
  t.ok(comment({ x: 'y'.repeat(1000) }).length <= 240);
  mkdirSync(join(folder, 'x'), { recursive: true });
});

t.test('times and words', async (t) => {
  t.equal(hourTime(90_061), '25:01:01');
  t.equal(dayTime(90_061), '1-01:01:01');
  t.equal(dayTime(59), '00:00:59');
  t.equal(shellWord("it's"), `'it'\\''s'`);
  t.equal(shellWord(''), `''`);
  t.equal(said('a\n\nb', '\x1b[31mred'), 'a | b |  [31mred');
  t.equal(said('', ''), 'it said nothing');
});
