/**
 * Slurm: sbatch, squeue, sacct, scontrol, scancel.
 *
 * Invariants
 *  U1 squeue is asked for all of the user's jobs at once, ended ones too (they stay for MinJobAge): one command, no list of ids.
 *  U2 REST and JSON give a base state and flags, the columns one word in which a flag hides the base. One table reads both.
 *  U3 A job that squeue has forgotten is asked of the accounting, and where there is none, of the controller. `absent` in the
 *     first means nothing: the accounting lags, and the queue forgets.
 *
 * JSON is used where it can be (23.11 and later; before, filters were ignored or the state was another type), and only for up
 * to JSON_IDS jobs: it is 10 KB a job, and 100 bytes as columns.
 */
import {
  asArray,
  asNumber,
  asObject,
  asText,
  type Driver,
  failedListing,
  type JobSpec,
  type Json,
  type Listing,
  type Output,
  parseJson,
  type SeenJob,
  type Source,
  withoutId,
} from './driver.ts';
import { BATCH_DEFAULTS } from './options.ts';
import type { EndCause, ListedState } from './scheduler.ts';
import { freeLines, jobScript } from './script.ts';
import { isHeldReason, slurmReason } from './slurm-reasons.ts';
import { dayTime, directiveExpression, directiveWord, said } from './text.ts';

const JSON_IDS = 100;
const JSON_SINCE = [23, 11] as const;
/** sacct was seen to hang beyond 200 ids. */
const ACCOUNTING_IDS = 50;
const DIRECTIVE = /^#SBATCH\b/;

type Meaning = Exclude<ListedState['kind'], 'ended' | 'unknown'> | EndCause;

/** Every state and flag of Slurm's manual, under both its names. */
export const SLURM_STATES: Readonly<Record<string, Meaning>> = {
  ...two('PENDING', 'PD', 'queued'),
  ...two('RUNNING', 'R', 'running'),
  ...two('SUSPENDED', 'S', 'suspended'),
  ...two('CONFIGURING', 'CF', 'starting'),
  ...two('COMPLETING', 'CG', 'ending'),
  ...two('COMPLETED', 'CD', 'completed'),
  ...two('CANCELLED', 'CA', 'cancelled'),
  ...two('FAILED', 'F', 'failed'),
  ...two('TIMEOUT', 'TO', 'walltime'),
  ...two('NODE_FAIL', 'NF', 'nodeLost'),
  ...two('BOOT_FAIL', 'BF', 'nodeLost'),
  ...two('PREEMPTED', 'PR', 'preempted'),
  ...two('DEADLINE', 'DL', 'deadline'),
  ...two('OUT_OF_MEMORY', 'OOM', 'memory'),
  ...two('REQUEUED', 'RQ', 'queued'),
  ...two('REQUEUE_HOLD', 'RH', 'held'),
  ...two('REQUEUE_FED', 'RF', 'held'),
  ...two('RESV_DEL_HOLD', 'RD', 'held'),
  ...two('SPECIAL_EXIT', 'SE', 'held'),
  ...two('RESIZING', 'RS', 'running'),
  ...two('SIGNALING', 'SI', 'running'),
  ...two('STAGE_OUT', 'SO', 'ending'),
  ...two('STOPPED', 'ST', 'suspended'),
  ...two('REVOKED', 'RV', 'revoked'),
  LAUNCH_FAILED: 'launchFailed',
  RECONFIG_FAIL: 'launchFailed',
  POWER_UP_NODE: 'starting',
  UPDATE_DB: 'ending',
};

function two(name: string, code: string, meaning: Meaning): Record<string, Meaning> {
  return { [name]: meaning, [code]: meaning };
}

/** Which word decides where there are several: a hold, then what keeps the nodes, then how it ends. */
const RANK: readonly Meaning[] = ['held', 'ending', 'suspended', 'starting', 'revoked', 'launchFailed'];

interface Facts {
  readonly words: readonly string[];
  readonly reason: string;
  readonly nodes: string;
  readonly startsAt?: number | undefined;
  readonly by?: string | undefined;
  readonly exit?: string;
}

function stateOf({ words, reason, nodes, startsAt, by, exit = '' }: Facts): ListedState {
  const meanings = words.map((word) => SLURM_STATES[word]);
  const known = meanings.filter((meaning) => meaning !== undefined);
  // One strange flag makes the whole strange: it may say that the base no longer holds.
  if (known.length === 0 || known.length < words.length)
    return { kind: 'unknown', why: `Slurm says ${words.join(' ')}` };
  const meaning =
    RANK.find((one) => known.includes(one)) ?? (known.includes('queued') ? 'queued' : known[0]) ?? 'queued';
  const list = expandNodes(nodes);
  const told = [words.join(' '), reason === 'None' ? '' : reason, exit === '0:0' ? '' : exit]
    .filter(Boolean)
    .join(', ');
  switch (meaning) {
    case 'queued':
      if (isHeldReason(reason)) return { kind: 'held', reason: slurmReason(reason) };
      return {
        kind: 'queued',
        reason: slurmReason(reason),
        ...(startsAt === undefined ? {} : { startsAtMs: startsAt * 1000 }),
      };
    case 'held':
    case 'suspended':
    case 'ending':
      return { kind: meaning, reason: `${words.join(' ')}, ${slurmReason(reason)}` };
    case 'starting':
    case 'running':
      return { kind: meaning, nodes: list };
    default:
      return { kind: 'ended', cause: meaning, why: told, ...(by === undefined || by === '' ? {} : { by }) };
  }
}

/** `n[1-3,07],m` as names. Lists with several brackets in one name are left as they are. */
export function expandNodes(text: string): string[] {
  if (text === '' || text === '(null)' || text === 'None' || text === 'None assigned') return [];
  const parts = text.match(/(?:[^,[]|\[[^\]]*\])+/g) ?? [];
  return parts.flatMap((part) => {
    const match = /^([^[]*)\[([0-9,-]+)\]$/.exec(part);
    if (match === null) return [part];
    const [, prefix = '', ranges = ''] = match;
    return ranges.split(',').flatMap((range) => {
      const [from = '', to = from] = range.split('-');
      const count = Math.min(Number(to) - Number(from) + 1, 100_000);
      return Array.from(
        { length: Math.max(count, 0) },
        (_, k) => prefix + String(Number(from) + k).padStart(from.length, '0'),
      );
    });
  });
}

/** Epoch seconds with SLURM_TIME_FORMAT=%s; `N/A`, `Unknown` and 0 are none. */
function epoch(value: unknown): number | undefined {
  const plain = asNumber(value) ?? asNumber(asObject(value).number);
  return plain === undefined || plain <= 0 ? undefined : plain;
}

const SQUEUE_COLUMNS = '%i|%j|%T|%S|%N|%r';

const squeue = (json: boolean): Source => ({
  label: 'squeue',
  batch: Number.POSITIVE_INFINITY,
  command: (ids) => ({
    argv: [
      'squeue',
      '--me',
      ...(json && ids.length <= JSON_IDS
        ? ['--states=all', '--json']
        : ['-h', '-r', '-t', 'all', '-o', SQUEUE_COLUMNS]),
    ],
    env: { SLURM_TIME_FORMAT: '%s' },
  }),
  read: readSqueue,
});

export function readSqueue(output: Output): Listing {
  if (output.code !== 0) return failedListing(output);
  if (output.stdout.trimStart().startsWith('{')) return readJobs(output.stdout, squeueJob);
  return readColumns(output.stdout, 6, ([id = '', name = '', word = '', start, nodes = '', ...reason]) => ({
    id,
    name,
    state: stateOf({ words: [word], reason: reason.join('|'), nodes, startsAt: epoch(start) }),
  }));
}

function squeueJob(job: Json): SeenJob {
  const exit = asObject(job.exit_code);
  return {
    id: asText(job.job_id),
    name: asText(job.name),
    state: stateOf({
      words: wordsOf(job.job_state),
      reason: asText(job.state_reason) || 'None',
      nodes: asText(job.nodes),
      startsAt: epoch(job.start_time),
      exit: exitOf(exit),
    }),
    restarts: asNumber(job.restart_cnt) ?? 0,
    ...spans(epoch(job.start_time), epoch(job.end_time), epoch(job.time_limit)),
  };
}

/** The limit is in minutes. Of a job that runs, the end is the one that is expected: only ends are measured (batch.ts). */
function spans(start: number | undefined, end: number | undefined, limitMin: number | undefined): Partial<SeenJob> {
  return {
    ...(start === undefined || end === undefined || end < start ? {} : { ranS: end - start }),
    ...(limitMin === undefined ? {} : { limitS: limitMin * 60 }),
  };
}

const sacct = (json: boolean): Source => ({
  label: 'sacct',
  batch: ACCOUNTING_IDS,
  command: (ids) => ({
    argv: ['sacct', '-X', ...(json ? ['--json'] : ['-P', '-n', '-o', SACCT_COLUMNS]), '-j', ids.join(',')],
    env: { SLURM_TIME_FORMAT: '%s' },
  }),
  read: readSacct,
});

const SACCT_COLUMNS = 'JobIDRaw,JobName,State,ExitCode,NodeList,Reason';

export function readSacct(output: Output): Listing {
  if (output.code !== 0 || /accounting storage is disabled/i.test(output.stderr)) return failedListing(output);
  if (output.stdout.trimStart().startsWith('{')) return readJobs(output.stdout, sacctJob);
  return readColumns(output.stdout, 6, ([id = '', name = '', state = '', exit = '', nodes = '', ...reason]) => {
    // `CANCELLED by 1001`; a `+` is the mark of a cut column, which -P never makes.
    const [word = '', , by] = state.split(' ');
    return {
      id,
      name,
      state: stateOf({ words: [word.replace(/\+$/, '')], reason: reason.join('|') || 'None', nodes, exit, by }),
    };
  });
}

function sacctJob(job: Json): SeenJob {
  const state = asObject(job.state);
  const time = asObject(job.time);
  return {
    id: asText(job.job_id),
    name: asText(job.name),
    state: stateOf({
      words: wordsOf(state.current),
      reason: asText(state.reason) || 'None',
      nodes: asText(job.nodes),
      exit: exitOf(asObject(job.exit_code)),
      by: asText(job.kill_request_user),
    }),
    restarts: asNumber(job.restart_cnt) ?? 0,
    ...spans(epoch(time.start), epoch(time.end), epoch(time.limit)),
  };
}

/** Of all versions, with JSON or without; asked by `endpoint usage` alone. */
const elapsed: Source = {
  label: 'sacct',
  batch: ACCOUNTING_IDS,
  command: (ids) => ({ argv: ['sacct', '-X', '-P', '-n', '-o', 'JobIDRaw,ElapsedRaw', '-j', ids.join(',')] }),
  read(output) {
    if (output.code !== 0 || /accounting storage is disabled/i.test(output.stderr)) return failedListing(output);
    return readColumns(output.stdout, 2, ([id = '', ran = '']) => {
      const ranS = asNumber(ran);
      const state = { kind: 'unknown', why: 'only its time was asked for' } as const;
      return { id, state, ...(ranS === undefined ? {} : { ranS }) };
    });
  },
};

const scontrol: Source = {
  label: 'scontrol',
  batch: 1,
  command: ([id = '']) => ({ argv: ['scontrol', 'show', '-o', 'job', id], env: { SLURM_TIME_FORMAT: '%s' } }),
  read: readScontrol,
};

export function readScontrol(output: Output): Listing {
  if (/invalid job id/i.test(output.stderr + output.stdout)) return { kind: 'listed', jobs: [] };
  if (output.code !== 0) return failedListing(output);
  const jobs = output.stdout.split('\n').flatMap((line): SeenJob[] => {
    const of = (key: string): string => new RegExp(`(?:^| )${key}=(.*?)(?= [A-Za-z:/]+=|$)`).exec(line)?.[1] ?? '';
    const id = of('JobId');
    if (id === '') return [];
    const state = stateOf({
      words: of('JobState').split('+'),
      reason: of('Reason'),
      nodes: of('NodeList'),
      startsAt: epoch(of('StartTime')),
      exit: of('ExitCode'),
    });
    return [{ id, name: of('JobName'), state, restarts: asNumber(of('Restarts')) ?? 0 }];
  });
  return { kind: 'listed', jobs };
}

function readJobs(text: string, read: (job: Json) => SeenJob): Listing {
  const jobs = asObject(parseJson(text)).jobs;
  if (!Array.isArray(jobs)) return { kind: 'failed', why: `no JSON of jobs: ${said(text)}` };
  return { kind: 'listed', jobs: asArray(jobs).map((job) => read(asObject(job))) };
}

function readColumns(text: string, columns: number, read: (cells: readonly string[]) => SeenJob): Listing {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const jobs: SeenJob[] = [];
  for (const line of lines) {
    const cells = line.split('|');
    if (cells.length < columns || !/^\d/.test(line))
      return { kind: 'failed', why: `a line that is no job: ${said(line)}` };
    jobs.push(read(cells));
  }
  return { kind: 'listed', jobs };
}

function wordsOf(value: unknown): string[] {
  return typeof value === 'string' ? value.split(/[ +]/) : asArray(value).map(asText);
}

function exitOf(exit: Json): string {
  const number = (value: unknown): number => asNumber(asObject(value).number) ?? asNumber(value) ?? 0;
  return `${number(exit.return_code)}:${number(asObject(exit.signal).id)}`;
}

function directives(spec: JobSpec): string[] {
  const { options } = spec;
  const of = (flag: string, value: string | number | undefined): string[] =>
    value === undefined ? [] : [`--${flag}=${value}`];
  const name = (flag: string, field: string, value: string | undefined): string[] =>
    of(flag, value === undefined ? undefined : directiveWord(field, value));
  const lines = [
    ...name('job-name', 'job name', spec.name),
    ...name('comment', 'comment', spec.comment),
    ...name('chdir', 'folder', spec.folder),
    // `%` begins Slurm's own replacements.
    ...of('output', directiveWord('log', spec.log).replaceAll('%', '%%')),
    '--open-mode=append',
    ...of('nodes', spec.nodes),
    '--ntasks-per-node=1',
    ...of('time', dayTime(spec.wallS)),
    // Work of a job that waits again would wait for that job; the agent submits a new one, if there is still work. A site that
    // starts it again all the same begins a new life of the block (kernel/states/block.ts).
    '--no-requeue',
    // To the batch shell alone, which is the launcher by then (script.ts, J1).
    `--signal=B:TERM@${options.warnS ?? BATCH_DEFAULTS.warnS}`,
    ...name('account', 'account', options.account),
    ...name('partition', 'queue', options.queue),
    ...name('qos', 'qos', options.qos),
    ...name('reservation', 'reservation', options.reservation),
    ...of(
      'constraint',
      options.constraint === undefined ? undefined : directiveExpression('constraint', options.constraint),
    ),
    ...name('exclude', 'node', spec.avoid?.join(',')),
    ...of('cpus-per-task', options.cpus),
    ...of('mem', options.memMiB === undefined ? undefined : `${options.memMiB}M`),
    ...(options.gres === undefined ? of('gpus-per-node', options.gpus) : name('gres', 'gres', options.gres)),
    ...(options.exclusive === true ? ['--exclusive'] : []),
  ];
  return lines.map((line) => `#SBATCH ${line}`);
}

/** `node1|a100,nvlink`. A constraint that is more than one feature of several is Slurm's to understand: then nobody knows. */
function readIdle({ code, stdout }: Output, { options: { constraint } }: JobSpec): readonly string[] | undefined {
  if (code !== 0 || (constraint !== undefined && !/^\w+(\|\w+)*$/.test(constraint))) return undefined;
  const wanted = constraint?.split('|');
  const names = stdout.split('\n').flatMap((line) => {
    const [name = '', features = ''] = line.trim().split('|');
    const has = features.split(',');
    return name !== '' && (wanted === undefined || wanted.some((one) => has.includes(one))) ? [name] : [];
  });
  return [...new Set(names)];
}

export function createSlurm(json = false): Driver {
  return {
    name: 'slurm',
    namesNodes: true,
    namesCancellers: true,
    passEnv: ['SLURM_CONF', 'SLURM_CLUSTERS'],
    render: (spec) => ({
      files: [
        {
          name: 'job.sh',
          executable: true,
          text: jobScript(spec, {
            directives: [...directives(spec), ...freeLines(spec, '#SBATCH ')],
            directive: DIRECTIVE,
            jobId: 'SLURM_JOB_ID',
            endsAt: 'SLURM_JOB_END_TIME',
            nodes: 'scontrol show hostnames "$SLURM_JOB_NODELIST"',
            launchers: ['none', 'srun', 'mpiexec', 'aprun', 'ssh'],
          }),
        },
      ],
    }),
    submit: (_file, path) => ({ argv: ['sbatch', '--parsable', path] }),
    readSubmit(output) {
      // Site wrappers print banners around it; `ID;CLUSTER` where there are several clusters.
      const id =
        /^(\d+)(;[\w.-]+)?$/m.exec(output.stdout)?.[1] ?? /^Submitted batch job (\d+)/m.exec(output.stdout)?.[1];
      return output.code === 0 && id !== undefined ? { kind: 'submitted', id } : withoutId(output);
    },
    sources: [squeue(json), sacct(json), scontrol],
    freeNodes: {
      command: ({ options: { queue } }) => ({
        argv: ['sinfo', '-h', '-N', '-t', 'idle', '-o', '%N|%f', ...(queue === undefined ? [] : ['-p', queue])],
      }),
      read: readIdle,
    },
    accounting: elapsed,
    finders: [
      {
        command: (name) => ({
          argv: ['squeue', '--me', '-h', '-r', '-t', 'all', '-o', SQUEUE_COLUMNS, `--name=${name}`],
          env: { SLURM_TIME_FORMAT: '%s' },
        }),
        read: readSqueue,
      },
    ],
    cancel: (ids) => ({ argv: ['scancel', '-Q', ...ids] }),
    readCancel: ({ code, stdout, stderr }) =>
      code === 0 || /invalid job id|already completing|already finished/i.test(stderr)
        ? undefined
        : said(stderr, stdout),
    probe: { argv: ['squeue', '--version'] },
    withVersion({ stdout }) {
      const [, major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(stdout) ?? []).map(Number);
      return createSlurm(major > JSON_SINCE[0] || (major === JSON_SINCE[0] && minor >= JSON_SINCE[1]));
    },
  };
}
