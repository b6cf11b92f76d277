/** The manners of the agent towards a scheduler: told by a driver of Slurm, a scripted scheduler and a clock that the test moves. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test as Tap } from 'tap';
import { createManualClock, type ManualClock } from '#base/clock.ts';
import { createLogger } from '#base/log.ts';
import { type BatchScheduler, createBatchScheduler } from '../../../agent/schedulers/batch.ts';
import type { CommandOutcome } from '../../../agent/schedulers/command.ts';
import type { SchedulerCommand } from '../../../agent/schedulers/driver.ts';
import type { BatchConfig } from '../../../agent/schedulers/options.ts';
import type { EndCause, JobState } from '../../../agent/schedulers/scheduler.ts';
import { createSlurm } from '../../../agent/schedulers/slurm.ts';

const root = mkdtempSync(join(tmpdir(), 'ff-batch-'));
t.teardown(() => rmSync(root, { recursive: true, force: true }));

const done = (stdout: string, stderr = '', code = 0): CommandOutcome => ({
  kind: 'done',
  output: { code, stdout, stderr },
});

interface World {
  readonly scheduler: BatchScheduler;
  readonly clock: ManualClock;
  /** What was run, by the command's name. */
  readonly ran: string[][];
  readonly count: (command: string) => number;
  /** What the next commands print; a function is asked each time. */
  readonly answers: Record<string, CommandOutcome | ((argv: readonly string[]) => CommandOutcome)>;
  readonly ends: [string, EndCause][];
  readonly absent: string[];
  pass(ms: number): Promise<void>;
  /** Lets time pass until this is settled. */
  after<T>(work: Promise<T>): Promise<T>;
  submit(block: string): Promise<string>;
}

function world(t: Tap, config: BatchConfig = {}): World {
  const clock = createManualClock();
  const ran: string[][] = [];
  const answers: World['answers'] = {
    '--version': done('slurm 21.08.0\n'),
    sbatch: done('101\n'),
    squeue: done(''),
    sacct: done(''),
    scontrol: done('', 'slurm_load_jobs error: Invalid job id specified', 1),
    scancel: done(''),
  };
  const run = ({ argv }: SchedulerCommand): Promise<CommandOutcome> => {
    ran.push([...argv]);
    const answer = answers[argv.includes('--version') ? '--version' : (argv[0] ?? '')];
    return Promise.resolve(typeof answer === 'function' ? answer(argv) : (answer ?? done('', 'no such command', 127)));
  };
  const scheduler = createBatchScheduler({
    driver: createSlurm(),
    run,
    clock,
    log: createLogger({ name: 'test', level: 'silent' }),
    endpoint: 'endpoint-id',
    config,
    pilot: ['/opt/pilot'],
    logFile: (block) => join(root, block, 'pilot.log'),
  });
  t.teardown(() => scheduler[Symbol.dispose]());
  const ends: [string, EndCause][] = [];
  const absent: string[] = [];
  scheduler.onEnd((job, _why, cause) => ends.push([job, cause]));
  scheduler.onAbsent?.((job) => absent.push(job));
  return {
    scheduler,
    clock,
    ran,
    answers,
    ends,
    absent,
    count: (command) => ran.filter(([name, option]) => name === command && option !== '--version').length,
    pass: (ms) => clock.drive(ms),
    async after(work) {
      let over = false;
      const watched = work.finally(() => {
        over = true;
      });
      watched.catch(() => undefined);
      // Files are written meanwhile, in real time: the clock goes on until it is over.
      while (!over) {
        await clock.drive(500);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      return watched;
    },
    submit: (block) =>
      scheduler.submit({ block, folder: mkdtempSync(join(root, 'block-')), shape: { nodes: 1, wallS: 600 } }),
  };
}

const kindOf = async (w: World, job: string): Promise<JobState | undefined> =>
  (await w.after(w.scheduler.status([job]))).get(job);
const row = (id: string, word: string, block = 'a', reason = 'None'): string =>
  `${id}|ff-endpoint-${block}|${word}|N/A|n1|${reason}\n`;

t.test('a block is submitted as its rendered file, which stays in its folder', async (t) => {
  const w = world(t);
  const folder = mkdtempSync(join(root, 'block-'));
  const job = await w.scheduler.submit({
    block: 'a',
    folder,
    shape: { nodes: 2, wallS: 600, account: 'proj' },
    users: ['alice'],
  });
  const file = join(folder, 'job.sh');
  t.strictSame(w.ran.at(-1), ['sbatch', '--parsable', file]);
  t.match(
    readFileSync(file, 'utf8'),
    /#SBATCH --comment=farfield:endpoint=endpoint:block=a:users=alice\n[\s\S]*#SBATCH --account=proj/,
  );
  t.equal(statSync(file).mode & 0o777, 0o700);
  t.strictSame(JSON.parse(job), { id: '101', name: 'ff-endpoint-a', wallS: 600 }, 'all that a later life needs');
});

t.test('1,000 blocks cost one status command an interval, and none when nothing lives', async (t) => {
  const w = world(t);
  await w.pass(600_000);
  t.equal(w.ran.length, 0, 'nothing lives');
  const jobs = Array.from({ length: 1000 }, (_, k) =>
    JSON.stringify({ id: String(k), name: 'ff-endpoint-a', wallS: 600 }),
  );
  w.answers.squeue = done(jobs.map((_, k) => row(String(k), 'RUNNING')).join(''));
  const states = await w.after(w.scheduler.status(jobs));
  t.equal(states.size, 1000);
  t.ok([...states.values()].every(({ kind }) => kind === 'running'));
  t.equal(w.count('squeue'), 1);
  await w.pass(300_000);
  t.ok(w.count('squeue') <= 11, `${w.count('squeue')} commands in 5 minutes`);
  t.ok(w.count('squeue') >= 9);
  t.equal(w.count('sacct'), 0);
});

t.test('submits that follow one another do not put the look off', async (t) => {
  const w = world(t);
  let id = 100;
  w.answers.sbatch = () => {
    id += 1;
    return done(`${id}\n`);
  };
  w.answers.squeue = () =>
    done(Array.from({ length: id - 100 }, (_, k) => row(String(101 + k), 'PENDING', `b${k}`)).join(''));
  for (let k = 0; k < 20; k += 1) {
    await w.submit(`b${k}`);
    await w.pass(10_000);
  }
  t.ok(w.count('squeue') >= 5, `${w.count('squeue')} looks in 200 s`);
  t.ok(w.count('squeue') <= 7, 'and no more than one an interval');
});

t.test('hundreds who ask at once wait for one look', async (t) => {
  const w = world(t);
  const jobs = Array.from({ length: 300 }, (_, k) =>
    JSON.stringify({ id: String(k), name: 'ff-endpoint-a', wallS: 600 }),
  );
  w.answers.squeue = done(jobs.map((_, k) => row(String(k), 'RUNNING')).join(''));
  await w.after(w.scheduler.status(jobs));
  await w.after(Promise.all(jobs.map((job) => w.scheduler.status([job]))));
  t.ok(w.count('squeue') <= 3, `${w.count('squeue')} commands for 300 questions`);
});

t.test('an end is told once, is final, and is not asked for again', async (t) => {
  const w = world(t);
  const job = await w.submit('a');
  const other = JSON.stringify({ id: '102', name: 'ff-endpoint-b', wallS: 600 });
  w.answers.squeue = done(row('101', 'FAILED') + row('102', 'RUNNING', 'b'));
  await w.after(w.scheduler.status([job, other]));
  t.strictSame(w.ends, [[job, 'failed']]);
  // The next answer lists the other one alone, as after MinJobAge.
  w.answers.squeue = done(row('102', 'RUNNING', 'b'));
  await w.pass(120_000);
  t.match(await kindOf(w, job), { kind: 'ended', cause: 'failed' }, 'not completed, and not absent');
  t.equal(w.count('sacct'), 0);
  t.equal(w.ends.length, 1);
});

t.test('a job that squeue forgot is found in the accounting, and without one at the controller', async (t) => {
  const w = world(t);
  const job = await w.submit('a');
  w.answers.squeue = done(row('101', 'RUNNING'));
  t.match(await kindOf(w, job), { kind: 'running', nodes: ['n1'] });
  w.answers.squeue = done('');
  w.answers.sacct = done('', 'Slurm accounting storage is disabled', 1);
  w.answers.scontrol = done(
    'JobId=101 JobName=ff-endpoint-a UserId=a(1) JobState=TIMEOUT Reason=TimeLimit Restarts=0 ExitCode=0:15 NodeList=n1\n',
  );
  t.match(await kindOf(w, job), { kind: 'ended', cause: 'walltime' });
});

t.test('submitted and in no listing yet is absent, not ended, and told to nobody', async (t) => {
  const w = world(t);
  const job = await w.submit('a');
  t.strictSame(await kindOf(w, job), { kind: 'absent', why: 'no listing has it yet' });
  await w.pass(200_000);
  t.strictSame(w.absent, []);
  t.strictSame(w.ends, []);
  w.answers.squeue = done(row('101', 'PENDING', 'a', 'Priority'));
  t.match(await kindOf(w, job), { kind: 'queued', reason: 'other jobs come first (Priority)' });
});

t.test('seen and then gone from everywhere is told after ten looks, and stays no end of ours', async (t) => {
  const w = world(t);
  const job = await w.submit('a');
  w.answers.squeue = done(row('101', 'RUNNING'));
  await kindOf(w, job);
  w.answers.squeue = done('');
  await w.pass(9 * 30_000);
  t.strictSame(w.absent, []);
  await w.pass(2 * 30_000);
  t.strictSame(w.absent.slice(0, 1), [job]);
  t.strictSame(w.ends, []);
  t.match(await kindOf(w, job), { kind: 'absent' });
});

t.test('a scheduler that does not answer ends nothing and is asked more and more rarely', async (t) => {
  const w = world(t);
  const job = await w.submit('a');
  w.answers.squeue = done(row('101', 'RUNNING'));
  await kindOf(w, job);
  for (const name of ['squeue', 'sacct', 'scontrol'])
    w.answers[name] = { kind: 'unfinished', why: `${name}: no answer within 30 s` };
  const before = w.count('squeue');
  await w.pass(3_600_000);
  const asked = w.count('squeue') - before;
  t.ok(asked >= 5 && asked <= 14, `${asked} times in an hour`);
  t.match(
    await w.after(w.scheduler.status([job])),
    new Map([[job, { kind: 'unknown', why: /no answer within 30 s/ }]]),
  );
  t.strictSame([w.ends, w.absent], [[], []]);
  w.answers.squeue = done(row('101', 'RUNNING'));
  t.match(await kindOf(w, job), { kind: 'running' }, 'and it lives');
});

t.test('a strange word is unknown with the word, until a source says something else', async (t) => {
  const w = world(t);
  const job = await w.submit('a');
  w.answers.squeue = done(row('101', 'HIBERNATING'));
  t.strictSame(await kindOf(w, job), { kind: 'unknown', why: 'Slurm says HIBERNATING' });
  await w.pass(600_000);
  t.strictSame([w.ends, w.absent], [[], []]);
  w.answers.sacct = done('101|ff-endpoint-a|RUNNING|0:0|n1|None\n');
  t.match(await kindOf(w, job), { kind: 'running' });
});

t.test('the same id with another name is not our job', async (t) => {
  const w = world(t);
  const job = await w.submit('a');
  w.answers.squeue = done(row('101', 'COMPLETED', 'other'));
  t.match(await kindOf(w, job), { kind: 'absent' });
});

t.test('who cancelled a job is asked of the accounting, once, and a lag there wakes nothing up', async (t) => {
  for (const [sacct, why] of [
    [done('101|ff-endpoint-a|CANCELLED by 1001|0:15|n1|None\n'), 'cancelled by 1001: CANCELLED, 0:15'],
    [done('101|ff-endpoint-a|RUNNING|0:0|n1|None\n'), 'cancelled: CANCELLED'],
    [done('', 'Slurm accounting storage is disabled', 1), 'cancelled: CANCELLED'],
  ] as const) {
    const w = world(t);
    const told: string[] = [];
    w.scheduler.onEnd((_job, words) => told.push(words));
    const job = await w.submit('a');
    w.answers.squeue = done(row('101', 'CANCELLED'));
    w.answers.sacct = sacct;
    t.match(await kindOf(w, job), { kind: 'ended', cause: 'cancelled' });
    t.strictSame(told, [why]);
    await w.pass(120_000);
    t.equal(w.count('sacct'), 1);
  }
  const w = world(t);
  const job = await w.submit('a');
  w.answers.squeue = () => done(row('101', w.count('scancel') > 0 ? 'CANCELLED' : 'RUNNING'));
  await w.after(w.scheduler.cancel(job, 1000));
  t.equal(w.count('sacct'), 0, 'of our own cancel nobody is asked');
});

t.test('an end shortly before the limit that the job has now is told from one in its midst', async (t) => {
  const json = (ranS: number, limitMin: number): CommandOutcome =>
    done(
      JSON.stringify({
        jobs: [
          {
            job_id: 101,
            name: 'ff-endpoint-a',
            job_state: ['COMPLETED'],
            state_reason: 'None',
            nodes: 'n1',
            start_time: { set: true, number: 1_000_000 },
            end_time: { set: true, number: 1_000_000 + ranS },
            time_limit: { set: true, number: limitMin },
          },
        ],
      }),
    );
  for (const [ranS, limitMin, atLimit, limitS] of [
    [30, 10, false, 600],
    [500, 10, true, 600],
    [30, 1, true, 60],
  ] as const) {
    const w = world(t);
    const job = await w.submit('a');
    w.answers.squeue = json(ranS, limitMin);
    t.match(await kindOf(w, job), { kind: 'ended', cause: 'completed', atLimit, limitS });
  }
});

t.test('nodes that lost a pilot are left out where another is idle, and nowhere else', async (t) => {
  const NO = done('', 'sbatch: error: Batch job submission failed: Requested node configuration is not available', 1);
  const submit = async (
    idle: CommandOutcome,
    config: BatchConfig,
    sbatch = done('101\n'),
    avoid = ['node1'],
  ): Promise<[World, string]> => {
    const w = world(t, config);
    w.answers.sinfo = idle;
    w.answers.sbatch = (argv) =>
      readFileSync(argv.at(-1) ?? '', 'utf8').includes('--exclude') ? sbatch : done('101\n');
    const folder = mkdtempSync(join(root, 'block-'));
    await w.after(w.scheduler.submit({ block: 'a', folder, shape: { nodes: 1, wallS: 600, queue: 'gpu' }, avoid }));
    return [w, readFileSync(join(folder, 'job.sh'), 'utf8')];
  };
  const both = done('node1|a100\nnode2|h100\n');
  const [w, script] = await submit(both, { queue: 'gpu' });
  t.match(script, /^#SBATCH --exclude=node1$/m);
  t.match(w.ran.find(([name]) => name === 'sinfo')?.join(' '), / -t idle .* -p gpu/);
  for (const [idle, config] of [
    [done('node1|a100\n'), {}],
    [done(''), {}],
    [done('', 'sinfo: error', 1), {}],
    [both, { constraint: 'a100' }],
    [both, { constraint: '[rack1*2&rack2*4]' }],
  ] as const)
    t.notMatch((await submit(idle, config))[1], /--exclude/, JSON.stringify([idle, config]));
  t.match((await submit(both, { constraint: 'a100|h100' }))[1], /--exclude=node1/);
  const older = await submit(both, {}, undefined, ['node1', 'node2']);
  t.match(older[1], /--exclude=node1$/m, 'the latest alone, where there are no others beside both');
  const [refused, second] = await submit(both, {}, NO);
  t.equal(refused.count('sbatch'), 2, 'refused for it: submitted without it');
  t.notMatch(second, /--exclude/);
});

t.test('a refusal is an error in the words of the scheduler', async (t) => {
  const w = world(t);
  w.answers.sbatch = done(
    '',
    'sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified',
    1,
  );
  await t.rejects(w.submit('a'), {
    code: 'E_FORBIDDEN',
    message: /slurm refused the job: .*Invalid account.*blocks\.batch\.account/,
  });
  w.answers.sbatch = { kind: 'notStarted', why: 'sbatch cannot be started: ENOENT' };
  await t.rejects(w.submit('a'), { message: /ENOENT/ });
  await w.pass(600_000);
  t.equal(w.count('squeue'), 0);
});

t.test(
  'a lost reply is settled by the name: the job is found, or known not to be there; never submitted twice',
  async (t) => {
    const w = world(t);
    w.answers.sbatch = done(
      '',
      'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation',
      1,
    );
    w.answers.squeue = (argv) => (argv.includes('--name=ff-endpoint-a') ? done(row('777', 'PENDING')) : done(''));
    t.match(JSON.parse(await w.after(w.submit('a'))), { id: '777' });
    t.equal(w.count('sbatch'), 1);
    await t.rejects(w.after(w.submit('b')), {
      code: 'E_BUSY',
      message: /did not take the job: .*Socket timed out/,
    });
    t.equal(w.count('sbatch'), 2);
  },
);

t.test('a job that turns up after its submit was given up is cancelled', async (t) => {
  const w = world(t);
  w.answers.sbatch = { kind: 'unfinished', why: 'sbatch: no answer within 30 s' };
  w.answers.squeue = done('', 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)', 1);
  await t.rejects(w.after(w.submit('a')), {
    code: 'E_TIMEOUT',
    message: /does not say whether it took job ff-endpoint-a/,
  });
  w.answers.sbatch = done('102\n');
  w.answers.squeue = (argv) =>
    done(argv.includes('--name=ff-endpoint-a') ? row('777', 'PENDING') : row('102', 'RUNNING', 'b'));
  await kindOf(w, await w.submit('b'));
  t.strictSame(
    w.ran.filter(([name]) => name === 'scancel'),
    [['scancel', '-Q', '777']],
  );
});

t.test('a cancel is confirmed by the scheduler, and many go in one command', async (t) => {
  const w = world(t);
  const jobs = [...'abc'].map((name, k) =>
    JSON.stringify({ id: String(k + 1), name: `ff-endpoint-${name}`, wallS: 600 }),
  );
  const all = (word: string): CommandOutcome =>
    done([...'abc'].map((name, k) => row(String(k + 1), word, name)).join(''));
  w.answers.squeue = all('RUNNING');
  await w.after(w.scheduler.status(jobs));
  let asked = 0;
  w.answers.squeue = () => {
    asked += 1;
    return asked < 3 ? all('COMPLETING') : all('CANCELLED');
  };
  const outcomes = await w.after(Promise.all(jobs.map((job) => w.scheduler.cancel(job, 10_000))));
  t.strictSame(outcomes, [{ left: [] }, { left: [] }, { left: [] }]);
  t.strictSame(
    w.ran.filter(([name]) => name === 'scancel'),
    [['scancel', '-Q', '1', '2', '3']],
  );
  t.strictSame(
    w.ends.map(([, cause]) => cause),
    ['cancelled', 'cancelled', 'cancelled'],
  );
});

t.test('a cancel that the scheduler does not take is tried again, and then said to be left', async (t) => {
  const w = world(t);
  const job = await w.submit('a');
  w.answers.squeue = done(row('101', 'RUNNING'));
  w.answers.scancel = done('', 'scancel: error: Kill job error on job id 101: Access/permission denied', 1);
  t.match(await w.after(w.scheduler.cancel(job, 1000)), { left: [/job 101 \(scancel: error: .*denied\)/] });
  t.ok(w.count('scancel') > 1);
});

t.test('submits of one hour are bounded: the next one waits, and is not refused', async (t) => {
  const w = world(t, { submitsPerHour: 2 });
  await w.submit('a');
  await w.submit('b');
  let third = '';
  const waiting = w.submit('c').then((job) => {
    third = job;
  });
  await w.pass(3_000_000);
  t.equal(third, '');
  t.equal(w.count('sbatch'), 2);
  await w.after(waiting);
  t.equal(w.count('sbatch'), 3);
});

t.test('a scheduler of a version with JSON is asked for it, and an old one is not', async (t) => {
  const w = world(t);
  w.answers['--version'] = done('slurm 24.11.5\n');
  w.answers.squeue = done(
    JSON.stringify({
      jobs: [{ job_id: 101, name: 'ff-endpoint-a', job_state: ['RUNNING'], state_reason: 'None', nodes: 'n[1-2]' }],
    }),
  );
  const job = await w.submit('a');
  t.match(await kindOf(w, job), { kind: 'running', nodes: ['n1', 'n2'] });
  t.ok(w.ran.some((argv) => argv.includes('--json')));
});

t.test('an end by signal after all of the walltime is the walltime', async (t) => {
  const { createGridEngine } = await import('../../../agent/schedulers/grid-engine.ts');
  const clock = createManualClock();
  const ended =
    'jobname      ff-endpoint-a\njobnumber    101\nfailed       100 : assumedly after job\nexit_status  137\nru_wallclock 601s\n';
  using scheduler = createBatchScheduler({
    driver: createGridEngine(),
    run: ({ argv }) => Promise.resolve(done(argv[0] === 'qacct' ? ended : '<job_info></job_info>')),
    clock,
    log: createLogger({ name: 'test', level: 'silent' }),
    endpoint: 'endpoint-id',
    config: {},
    pilot: ['/opt/pilot'],
    logFile: () => '/tmp/l',
  });
  const of = (wallS: number): string => JSON.stringify({ id: '101', name: 'ff-endpoint-a', wallS });
  const states = await scheduler.status([of(600), of(3600)]);
  t.match(states.get(of(600)), { kind: 'ended', cause: 'walltime' });
  t.match(states.get(of(3600)), { kind: 'ended', cause: 'failed' });
});
