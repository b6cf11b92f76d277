/** Every driver against commands on PATH: submit, ask, cancel; lag, garbage, refusal, silence, 200 jobs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { kubeName } from '../../agent/schedulers/kubernetes.ts';
import type { BatchConfig, BatchSchedulerName } from '../../agent/schedulers/options.ts';
import { openSite } from './bin.ts';

const name = (block: string): string => `ff-endpoint-${block}`;

interface Case {
  readonly config?: BatchConfig;
  readonly submit: readonly [command: string, reply: string];
  readonly id: (k: number) => string;
  readonly live: readonly [command: string, list: (ids: readonly string[]) => string];
  /** What the same command prints of jobs that are over, and of none. */
  readonly ended: (id: string) => Readonly<Record<string, string>>;
  /** Other commands that say that they know nothing. */
  readonly silent: Readonly<Record<string, { stdout?: string; stderr?: string; code?: number }>>;
}

const json = (value: unknown): string => JSON.stringify(value);
const kube = (ids: readonly string[], status: object, phase?: object): string =>
  json({
    items: ids.flatMap((id) => [
      { kind: 'Job', metadata: { name: id, labels: { 'farfield.dev/job': id }, annotations: {} }, spec: {}, status },
      ...(phase === undefined
        ? []
        : [{ kind: 'Pod', metadata: { labels: { 'farfield.dev/job': id } }, spec: { nodeName: 'n1' }, status: phase }]),
    ]),
  });

const CASES: Readonly<Record<BatchSchedulerName, Case>> = {
  slurm: {
    submit: ['sbatch', '1\n'],
    id: String,
    live: ['squeue', (ids) => ids.map((id) => `${id}|${name('a')}|RUNNING|N/A|n1|None\n`).join('')],
    ended: (id) => ({ squeue: `${id}|${name('a')}|TIMEOUT|N/A|n1|None\n` }),
    silent: { sacct: {}, scontrol: { stderr: 'slurm_load_jobs error: Invalid job id specified', code: 1 } },
  },
  pbs: {
    submit: ['qsub', '1.server\n'],
    id: (k) => `${k}.server`,
    live: [
      'qstat',
      (ids) =>
        json({
          Jobs: Object.fromEntries(ids.map((id) => [id, { Job_Name: name('a'), job_state: 'R', exec_host: 'n1/0' }])),
        }),
    ],
    ended: (id) => ({ qstat: json({ Jobs: { [id]: { Job_Name: name('a'), job_state: 'F', Exit_status: -29 } } }) }),
    silent: {},
  },
  lsf: {
    submit: ['bsub', 'Job <1> is submitted to queue <normal>.\n'],
    id: String,
    live: [
      'bjobs',
      (ids) => json({ RECORDS: ids.map((id) => ({ JOBID: id, JOB_NAME: name('a'), STAT: 'RUN', EXEC_HOST: 'n1' })) }),
    ],
    ended: (id) => ({
      bjobs: json({
        RECORDS: [{ JOBID: id, JOB_NAME: name('a'), STAT: 'EXIT', EXIT_CODE: '140', EXIT_REASON: 'TERM_RUNLIMIT: x' }],
      }),
    }),
    silent: {},
  },
  gridengine: {
    submit: ['qsub', '1\n'],
    id: String,
    live: [
      'qstat',
      (ids) =>
        `<job_info>${ids.map((id) => `<job_list state="running"><JB_job_number>${id}</JB_job_number><JB_name>${name('a')}</JB_name><state>r</state><queue_name>all.q@n1</queue_name></job_list>`).join('')}</job_info>\n`,
    ],
    ended: (id) => ({
      qstat: '<job_info></job_info>\n',
      qacct: `jobname      ${name('a')}\njobnumber    ${id}\nfailed       44  : execd enforced h_rt limit\nexit_status  137\n`,
    }),
    silent: { qacct: { stderr: 'error: job id 1 not found\n', code: 1 } },
  },
  htcondor: {
    submit: ['condor_submit', '1.0 - 1.0\n'],
    id: String,
    live: [
      'condor_q',
      (ids) =>
        json(
          ids.map((id) => ({ ClusterId: Number(id), JobBatchName: name('a'), JobStatus: 2, RemoteHost: 'slot1@n1' })),
        ),
    ],
    ended: (id) => ({
      condor_q: '',
      condor_history: json([{ ClusterId: Number(id), JobBatchName: name('a'), JobStatus: 3, LastHoldReasonCode: 47 }]),
    }),
    silent: { condor_history: {} },
  },
  flux: {
    submit: ['flux', 'ƒ2\n'],
    id: String,
    live: ['flux', (ids) => ids.map((id) => `${id}|${name('a')}|RUN|||16|n1||\n`).join('')],
    ended: (id) => ({ flux: `${id}|${name('a')}|INACTIVE|TIMEOUT|142|16|n1|timeout|\n` }),
    silent: {},
  },
  kubernetes: {
    config: { kubernetes: { image: 'site/pilot:1' } },
    submit: ['kubectl', `job.batch/${kubeName(name('a'))}\n`],
    id: (k) => (k === 1 ? kubeName(name('a')) : `ff-${k}`),
    live: ['kubectl', (ids) => kube(ids, { active: 1 }, { phase: 'Running' })],
    ended: (id) => ({
      kubectl: kube([id], {
        conditions: [{ type: 'Failed', status: 'True', reason: 'DeadlineExceeded', message: 'x' }],
      }),
    }),
    silent: {},
  },
};

for (const [scheduler, one] of Object.entries(CASES) as [BatchSchedulerName, Case][]) {
  t.test(`${scheduler}: a block is submitted, seen to run, and seen to end by its walltime`, async (t) => {
    using site = openSite(scheduler, one.config);
    site.says(one.submit[0], { stdout: one.submit[1] });
    const folder = site.block('a');
    const job = await site.scheduler.submit({ block: 'a', folder, shape: { nodes: 1, wallS: 600 } });
    const { id } = JSON.parse(job) as { id: string };
    t.equal(id, one.id(1));
    const [call = ''] = site.calls(one.submit[0]);
    t.ok(
      call.includes(folder) ||
        readFileSync(join(site.folder, 'bin', `${one.submit[0]}.stdin`), 'utf8').includes(folder),
      'the script of its folder',
    );
    const ends: string[] = [];
    site.scheduler.onEnd((_job, _why, cause) => ends.push(cause));
    site.says(one.live[0], { stdout: one.live[1]([id]) });
    t.match((await site.scheduler.status([job])).get(job), { kind: 'running', nodes: ['n1'] });
    for (const [command, stdout] of Object.entries(one.ended(id))) site.says(command, { stdout });
    t.match((await site.scheduler.status([job])).get(job), { kind: 'ended', cause: 'walltime' });
    t.strictSame(ends, ['walltime']);
  });

  t.test(
    `${scheduler}: 200 jobs are few commands; garbage, silence and a job that is nowhere end nothing`,
    async (t) => {
      using site = openSite(scheduler, { ...one.config, commandS: 20 });
      for (const [command, answer] of Object.entries(one.silent)) site.says(command, answer);
      const ids = Array.from({ length: 200 }, (_, k) => one.id(k + 1));
      const jobs = ids.map((id) => JSON.stringify({ id, name: name('a'), wallS: 600 }));
      site.says(one.live[0], { stdout: one.live[1](ids) });
      const states = await site.scheduler.status(jobs);
      t.strictSame([...new Set([...states.values()].map(({ kind }) => kind))], ['running']);
      t.ok(site.calls(one.live[0]).length <= 4, `${site.calls(one.live[0]).length} commands for 200 jobs`);

      // With an error's text and exit code 0 too: wrappers of sites lose the code.
      site.says(one.live[0], {
        stdout: '\u0000\u001b[31mSegmentation fault',
        stderr: 'Socket timed out on send/recv operation\n',
        code: 1,
      });
      const job = JSON.stringify({ id: one.id(1), name: name('a'), wallS: 600 });
      t.match((await site.scheduler.status([job])).get(job), { kind: 'unknown', why: /timed out|Segmentation/ });
    },
  );

  t.test(`${scheduler}: what the scheduler refuses is said in its words, and nothing is left`, async (t) => {
    using site = openSite(scheduler, one.config);
    site.says(one.submit[0], { stderr: 'error: you are not allowed to use account x\n', code: 1 });
    await t.rejects(site.scheduler.submit({ block: 'a', folder: site.block('a'), shape: { nodes: 1, wallS: 600 } }), {
      code: 'E_UNAVAILABLE',
      message: /you are not allowed to use account x/,
    });
    t.equal(site.calls(one.submit[0]).length, 1, 'once');
  });
}

t.test('a scheduler that hangs is given up in time, and its slow answer is not lost work', async (t) => {
  using site = openSite('slurm', { commandS: 1 });
  site.says('squeue', { stdout: '1|x|RUNNING|N/A|n1|None\n', sleepS: 600 });
  const job = JSON.stringify({ id: '1', name: name('a'), wallS: 600 });
  t.match((await site.scheduler.status([job])).get(job), { kind: 'unknown', why: /no answer within 1 s/ });
});

t.test('a reply that comes too late is found by its name', async (t) => {
  using site = openSite('slurm', { commandS: 2 });
  site.says('sbatch', { stdout: '77\n', sleepS: 600 });
  site.says('squeue', { stdout: `77|${name('a')}|PENDING|N/A||Priority\n` });
  const job = await site.scheduler.submit({ block: 'a', folder: site.block('a'), shape: { nodes: 1, wallS: 600 } });
  t.match(JSON.parse(job), { id: '77' });
  t.equal(site.calls('sbatch').length, 1);
});
