import t from 'tap';
import { END_CAUSES } from '../../../agent/schedulers/scheduler.ts';
import {
  createSlurm,
  expandNodes,
  readSacct,
  readScontrol,
  readSqueue,
  SLURM_STATES,
} from '../../../agent/schedulers/slurm.ts';
import { isHeldReason, SLURM_REASONS, slurmReason } from '../../../agent/schedulers/slurm-reasons.ts';
import { job, kinds, printed, recorded, script } from './parts.ts';

const line = (word: string, reason = 'None', id = '7'): string => `${id}|ff-e-b|${word}|N/A|n1|${reason}\n`;
const column = (word: string, reason?: string): unknown => {
  const listing = readSqueue(printed(line(word, reason)));
  return listing.kind === 'listed' ? listing.jobs[0]?.state : listing;
};
const json = (words: readonly string[]): string =>
  JSON.stringify({
    jobs: [
      {
        job_id: 7,
        name: 'ff-e-b',
        job_state: words,
        state_reason: 'None',
        nodes: 'n1',
        start_time: { set: true, number: 0 },
      },
    ],
  });

/** Every state and flag of the manual, by its name and by its code, and what it is to us. */
const MANUAL: readonly (readonly [string, string | undefined, string])[] = [
  ['PENDING', 'PD', 'queued'],
  ['RUNNING', 'R', 'running'],
  ['SUSPENDED', 'S', 'suspended'],
  ['STOPPED', 'ST', 'suspended'],
  ['CONFIGURING', 'CF', 'starting'],
  ['POWER_UP_NODE', undefined, 'starting'],
  ['COMPLETING', 'CG', 'ending'],
  ['STAGE_OUT', 'SO', 'ending'],
  ['UPDATE_DB', undefined, 'ending'],
  ['RESIZING', 'RS', 'running'],
  ['SIGNALING', 'SI', 'running'],
  ['REQUEUED', 'RQ', 'queued'],
  ['REQUEUE_HOLD', 'RH', 'held'],
  ['REQUEUE_FED', 'RF', 'held'],
  ['RESV_DEL_HOLD', 'RD', 'held'],
  ['SPECIAL_EXIT', 'SE', 'held'],
  ['COMPLETED', 'CD', 'ended completed'],
  ['FAILED', 'F', 'ended failed'],
  ['CANCELLED', 'CA', 'ended cancelled'],
  ['TIMEOUT', 'TO', 'ended walltime'],
  ['DEADLINE', 'DL', 'ended deadline'],
  ['NODE_FAIL', 'NF', 'ended nodeLost'],
  ['BOOT_FAIL', 'BF', 'ended nodeLost'],
  ['OUT_OF_MEMORY', 'OOM', 'ended memory'],
  ['PREEMPTED', 'PR', 'ended preempted'],
  ['REVOKED', 'RV', 'ended revoked'],
  ['LAUNCH_FAILED', undefined, 'ended launchFailed'],
  ['RECONFIG_FAIL', undefined, 'ended launchFailed'],
];

t.test('every state of the manual has its meaning, in columns and in JSON, by name and by code', async (t) => {
  for (const [name, code, meaning] of MANUAL) {
    t.strictSame(kinds(readSqueue(printed(line(name)))), { '7': meaning }, name);
    t.strictSame(kinds(readSqueue(printed(json([name])))), { '7': meaning }, `${name} in JSON`);
    t.strictSame(kinds(readSacct(printed(`7|ff-e-b|${name}|0:0|n1|None\n`))), { '7': meaning }, `${name} in sacct`);
    if (code !== undefined) t.strictSame(kinds(readSqueue(printed(line(code)))), { '7': meaning }, code);
  }
  t.equal(
    Object.keys(SLURM_STATES).length,
    MANUAL.length + MANUAL.filter(([, code]) => code !== undefined).length,
    'and no other',
  );
  t.ok(
    Object.values(SLURM_STATES).every(
      (meaning) => END_CAUSES.includes(meaning as never) || typeof meaning === 'string',
    ),
  );
});

t.test('a state that nobody knows is unknown with its word, never an end', async (t) => {
  t.strictSame(column('HIBERNATING'), { kind: 'unknown', why: 'Slurm says HIBERNATING' });
  t.strictSame(kinds(readSqueue(printed(json(['RUNNING', 'BRAND_NEW_FLAG'])))), { '7': 'unknown' });
  t.strictSame(kinds(readSqueue(printed(json([])))), { '7': 'unknown' });
  t.strictSame(kinds(readSacct(printed('7|ff-e-b||0:0|n1|None\n'))), { '7': 'unknown' });
});

t.test('a flag beside a base state decides', async (t) => {
  t.strictSame(
    kinds(readSqueue(printed(json(['CANCELLED', 'COMPLETING'])))),
    { '7': 'ending' },
    'its nodes are not free yet',
  );
  t.strictSame(kinds(readSqueue(printed(json(['PENDING', 'REQUEUE_HOLD'])))), { '7': 'held' });
  t.strictSame(kinds(readSqueue(printed(json(['RUNNING', 'CONFIGURING'])))), { '7': 'starting' });
  t.strictSame(kinds(readSqueue(printed(json(['RUNNING', 'STOPPED'])))), { '7': 'suspended' });
  t.strictSame(kinds(readSqueue(printed(json(['PENDING', 'REQUEUED'])))), { '7': 'queued' });
});

t.test('a recorded squeue, sacct and scontrol of 24.11 are read', async (t) => {
  const live = readSqueue(printed(recorded('slurm-24.11-squeue.json')));
  t.strictSame(kinds(live), { '8': 'running', '9': 'running', '10': 'running', '11': 'running' });
  if (live.kind === 'listed')
    t.strictSame(live.jobs.find(({ id }) => id === '9')?.state, { kind: 'running', nodes: ['node1', 'node2'] });

  const ended = readSacct(printed(recorded('slurm-24.11-sacct.json')));
  t.match(kinds(ended), { '1': 'ended completed', '2': 'ended failed', '4': 'ended cancelled', '10': 'running' });
  if (ended.kind === 'listed') {
    t.match(ended.jobs.find(({ id }) => id === '4')?.state, { by: 'alice' }, 'and who cancelled it');
    t.match(ended.jobs.find(({ id }) => id === '2')?.state, { why: 'FAILED, 3:0' });
  }

  const third = readScontrol(printed(recorded('slurm-24.11-scontrol-o.txt')));
  t.match(kinds(third), { '1': 'ended completed', '2': 'ended failed', '4': 'ended cancelled', '9': 'running' });
  if (third.kind === 'listed')
    t.match(
      third.jobs.find(({ id }) => id === '2'),
      { name: 'j1', state: { why: 'FAILED, NonZeroExitCode, 3:0' } },
    );
});

t.test('mistakes that others make', async (t) => {
  t.strictSame(
    kinds(readSqueue(printed(line('COMPLETED') + line('PENDING', 'ReqNodeNotAvail, UnavailableNodes:n[3-4]', '8')))),
    { '7': 'ended completed', '8': 'queued' },
    'a reason with blanks and commas fails nobody',
  );
  t.match(column('PENDING', 'a|b'), { reason: 'a|b' }, 'nor does one with the separator');
  t.strictSame(readSacct(printed('7|ff-e-b|CANCELLED by 2001|0:15|n1|None\n')), {
    kind: 'listed',
    jobs: [
      { id: '7', name: 'ff-e-b', state: { kind: 'ended', cause: 'cancelled', why: 'CANCELLED, 0:15', by: '2001' } },
    ],
  });
  t.equal(
    kinds(readSacct(printed('', 'Slurm accounting storage is disabled', 1))),
    'failed',
    'no accounting is no end',
  );
  t.equal(kinds(readSacct(printed('', 'sacct: error: Sending PersistInit msg: Connection refused', 1))), 'failed');
  t.equal(
    kinds(readSqueue(printed('', 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)', 1))),
    'failed',
  );
  t.equal(
    kinds(readSqueue(printed('slurm_load_jobs error: Socket timed out on send/recv operation\n'))),
    'failed',
    'an error on stdout with exit 0',
  );
  t.equal(kinds(readSqueue(printed('{"jobs": [{"job_id": 7, "job_st'))), 'failed', 'JSON that was cut');
  t.strictSame(readSqueue(printed('')), { kind: 'listed', jobs: [] }, 'an empty queue is an answer');
  t.strictSame(readScontrol(printed('', 'slurm_load_jobs error: Invalid job id specified', 1)), {
    kind: 'listed',
    jobs: [],
  });
  t.strictSame(
    column('PENDING', 'JobHeldAdmin'),
    { kind: 'held', reason: "it is held by the site's admins (JobHeldAdmin)" },
    'PENDING may be held',
  );
  t.match(column('PENDING', 'launch failed requeued held'), { kind: 'held' });
});

t.test('an id is taken from a reply and from nothing else', async (t) => {
  const { readSubmit } = createSlurm();
  t.strictSame(readSubmit(printed('42\n')), { kind: 'submitted', id: '42' });
  t.strictSame(readSubmit(printed('42;cluster-a\n')), { kind: 'submitted', id: '42' });
  t.strictSame(
    readSubmit(printed('*** Maintenance on 2026-12-01 ***\n42\n')),
    { kind: 'submitted', id: '42' },
    'banner of a site wrapper',
  );
  t.strictSame(readSubmit(printed('Submitted batch job 42\n')), { kind: 'submitted', id: '42' });
  t.match(
    readSubmit(
      printed(
        '',
        'sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified',
        1,
      ),
    ),
    { kind: 'refused', why: /Invalid account/ },
  );
  t.match(
    readSubmit(printed('', 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation', 1)),
    { kind: 'unclear' },
    'the job may be there',
  );
  t.match(readSubmit(printed('', 'sbatch: error: Unable to contact slurm controller (connect failure)', 1)), {
    kind: 'unclear',
  });
  t.match(readSubmit(printed('all good\n')), { kind: 'unclear' }, 'exit 0 without an id');
  t.match(readSubmit(printed('42\n', 'error', 1)), { kind: 'refused' }, 'an id with a failure is none');
});

t.test('one command asks for any number of jobs, and JSON only where it pays', async (t) => {
  const ids = (count: number): string[] => Array.from({ length: count }, (_, k) => String(k + 1));
  const old = createSlurm();
  const live = old.sources[0];
  t.strictSame(live.command(ids(1000)).argv, ['squeue', '--me', '-h', '-r', '-t', 'all', '-o', '%i|%j|%T|%S|%N|%r']);
  t.equal(live.batch, Number.POSITIVE_INFINITY);
  const fresh = old.withVersion?.(printed('slurm 24.11.5\n'));
  t.ok(fresh?.sources[0].command(ids(3)).argv.includes('--json'));
  t.notOk(fresh?.sources[0].command(ids(1000)).argv.includes('--json'), '10 KB a job');
  t.notOk(
    old.withVersion?.(printed('slurm 22.05.8\n')).sources[0].command(ids(3)).argv.includes('--json'),
    'there it ignored the filters',
  );
  t.strictSame(old.sources[1]?.command(['1', '2']).argv.slice(-2), ['-j', '1,2']);
  t.ok((old.sources[1]?.batch ?? 0) <= 200, 'sacct hung beyond 200 ids');
  t.strictSame(old.cancel(['1', '2']).argv, ['scancel', '-Q', '1', '2']);
});

t.test('node lists are expanded', async (t) => {
  t.strictSame(expandNodes('n[1-3,07],m'), ['n1', 'n2', 'n3', 'n07', 'm']);
  t.strictSame(expandNodes('n[08-10]'), ['n08', 'n09', 'n10']);
  t.strictSame(expandNodes('(null)'), []);
  t.strictSame(expandNodes('r[1-2]c[1-2]'), ['r[1-2]c[1-2]'], 'left as it is');
});

t.test('why a job waits is said in a sentence, or in Slurm words', async (t) => {
  t.ok(SLURM_REASONS.length >= 35);
  t.equal(slurmReason('Priority'), 'other jobs come first (Priority)');
  t.equal(
    slurmReason('QOSMaxJobsPerUserLimit'),
    'you have as many running jobs as this quality of service allows (QOSMaxJobsPerUserLimit)',
  );
  t.equal(slurmReason('SomethingNew'), 'SomethingNew');
  t.notOk(isHeldReason('Priority'));
});

t.test('the options of a site are in the script', async (t) => {
  const text = script(
    createSlurm().render(
      job(
        {
          account: 'proj',
          queue: 'gpu',
          qos: 'high',
          constraint: '[rack1|rack2]&a100',
          reservation: 'maint',
          gpus: 4,
          cpus: 32,
          memMiB: 64_000,
          exclusive: true,
          lines: ['--mail-type=NONE'],
          setup: ['module load apptainer'],
          warnS: 90,
        },
        { nodes: 2, wallS: 90_061 },
      ),
    ).files,
  );
  for (const expected of [
    '--account=proj',
    '--partition=gpu',
    '--qos=high',
    '--constraint=[rack1|rack2]&a100',
    '--reservation=maint',
    '--gpus-per-node=4',
    '--cpus-per-task=32',
    '--mem=64000M',
    '--exclusive',
    '--mail-type=NONE',
    '--nodes=2',
    '--time=1-01:01:01',
    '--signal=B:TERM@90',
    '--no-requeue',
    '--job-name=ff-abcdefgh-block1',
    '--comment=farfield:endpoint=abcdefgh:block=block1:users=alice',
  ])
    t.ok(text.includes(`#SBATCH ${expected}\n`), expected);
  t.match(text, /module load apptainer\n\nexec srun --nodes=2 --ntasks=2 .* \/opt\/farfield\/node /);
  t.equal(
    text,
    script(
      createSlurm().render(
        job(
          {
            account: 'proj',
            queue: 'gpu',
            qos: 'high',
            constraint: '[rack1|rack2]&a100',
            reservation: 'maint',
            gpus: 4,
            cpus: 32,
            memMiB: 64_000,
            exclusive: true,
            lines: ['--mail-type=NONE'],
            setup: ['module load apptainer'],
            warnS: 90,
          },
          { nodes: 2, wallS: 90_061 },
        ),
      ).files,
    ),
    'and the same each time',
  );
  t.match(
    script(createSlurm().render(job({ gres: 'gpu:a100:2', gpus: 9 })).files),
    /--gres=gpu:a100:2\n(?![\s\S]*gpus-per-node)/,
  );
});
