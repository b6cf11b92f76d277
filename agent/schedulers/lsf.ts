/**
 * IBM Spectrum LSF: bsub, bjobs, bkill.
 *
 * Invariants
 *  L1 The script goes to bsub by stdin: only then its #BSUB lines are read at every site.
 *  L2 PSUSP, USUSP and SSUSP are no ends: such a job runs again, perhaps while we look away.
 *  L3 Run times are minutes, rounded up. Sites may scale them by host speed; the pilot's own clock decides.
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
import { freeLines, jobScript, refuseOptions } from './script.ts';
import { directiveExpression, directiveWord, said } from './text.ts';

const IDS = 50;
const DIRECTIVE = /^#BSUB\b/;

/** Job states of the manual; EXIT is read by its reason. */
export const LSF_STATES: Readonly<Record<string, Exclude<ListedState['kind'], 'ended'> | 'completed' | 'byReason'>> = {
  PEND: 'queued',
  WAIT: 'queued',
  PROV: 'starting',
  RUN: 'running',
  PSUSP: 'held',
  USUSP: 'suspended',
  SSUSP: 'suspended',
  DONE: 'completed',
  EXIT: 'byReason',
  // Its host cannot be reached: it may live.
  UNKWN: 'unknown',
  ZOMBI: 'ending',
};

/** Termination reasons of the manual. */
export const LSF_REASONS: Readonly<Record<string, EndCause>> = {
  TERM_ADMIN: 'cancelled',
  TERM_BUCKET_KILL: 'cancelled',
  TERM_CHKPNT: 'preempted',
  TERM_CPULIMIT: 'walltime',
  TERM_CSM_ALLOC: 'launchFailed',
  TERM_CWD_NOTEXIST: 'launchFailed',
  TERM_DATA: 'launchFailed',
  TERM_DEADLINE: 'deadline',
  TERM_EXTERNAL_SIGNAL: 'failed',
  TERM_FORCE_ADMIN: 'cancelled',
  TERM_FORCE_OWNER: 'cancelled',
  TERM_KUBE: 'failed',
  TERM_LOAD: 'preempted',
  TERM_MC_RECALL: 'revoked',
  TERM_MEMLIMIT: 'memory',
  TERM_ORPHAN_SYSTEM: 'cancelled',
  TERM_OTHER: 'failed',
  TERM_OWNER: 'cancelled',
  TERM_PREEMPT: 'preempted',
  TERM_PRE_EXEC_FAIL: 'launchFailed',
  TERM_PROCESSLIMIT: 'failed',
  TERM_RC: 'preempted',
  TERM_REMOVE_HUNG_JOB: 'nodeLost',
  TERM_REQUEUE_ADMIN: 'cancelled',
  TERM_REQUEUE_OWNER: 'cancelled',
  TERM_RMS: 'nodeLost',
  TERM_RUNLIMIT: 'walltime',
  TERM_SLURM: 'nodeLost',
  TERM_SWAP: 'memory',
  TERM_THREADLIMIT: 'failed',
  TERM_UNKNOWN: 'failed',
  TERM_WINDOW: 'deadline',
  TERM_ZOMBIE: 'nodeLost',
};

/** 128 + SIGUSR2: what LSF sends at the run limit. */
const EXIT_USR2 = 140;

function stateOf(of: (field: string) => string): ListedState {
  const word = of('stat');
  const kind = LSF_STATES[word] ?? 'unknown';
  switch (kind) {
    case 'unknown':
      return {
        kind,
        why: word === 'UNKWN' ? 'its host cannot be reached' : `LSF says ${word === '' ? 'nothing' : word}`,
      };
    case 'starting':
    case 'running':
      return { kind, nodes: nodesOf(of('exec_host')) };
    case 'completed':
      return { kind: 'ended', cause: 'completed', why: 'DONE' };
    case 'byReason': {
      const told = [of('exit_reason'), of('kill_reason')].filter((text) => text !== '' && text !== '-').join(', ');
      const code = asNumber(of('exit_code')) ?? 0;
      const reason = /\bTERM_[A-Z_]+\b/.exec(told)?.[0];
      const cause =
        reason === undefined ? (code === EXIT_USR2 ? 'walltime' : 'failed') : (LSF_REASONS[reason] ?? 'failed');
      return { kind: 'ended', cause, why: [`exit ${code}`, told].filter(Boolean).join(', ') };
    }
    default:
      return {
        kind,
        reason: [of('pend_reason'), of('suspend_reason')].find((text) => text !== '' && text !== '-') ?? word,
      };
  }
}

/** `n1:n2` or `4*n1:4*n2`. */
function nodesOf(text: string): string[] {
  const names = text.split(':').map((part) => part.replace(/^\d+\*/, ''));
  return [...new Set(names.filter((name) => name !== '' && name !== '-'))];
}

const FIELDS = 'jobid job_name stat exit_code exit_reason kill_reason suspend_reason pend_reason exec_host';
/** Older versions refuse the whole command for one field that they do not have. */
const OLD_FIELDS: readonly string[] = ['jobid', 'stat', 'exit_code', 'exec_host', 'job_name'];

const NONE = /^(Job <\d+> is not found|No (unfinished|matching|such)? ?job found.*|No job found.*)$/;

function onlyUnknown({ code, stderr }: Output): boolean {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  return code === 0 || (lines.length > 0 && lines.every((line) => NONE.test(line.trim())));
}

export function readJson(output: Output): Listing {
  const records = asObject(parseJson(output.stdout)).RECORDS;
  if (!Array.isArray(records)) {
    if (output.stdout.trim() === '' && output.stderr.trim() !== '' && onlyUnknown(output))
      return { kind: 'listed', jobs: [] };
    return failedListing(output);
  }
  const jobs = asArray(records).flatMap((value): SeenJob[] => {
    const record: Json = asObject(value);
    // `{"JOBID":"9","ERROR":"Job <9> is not found"}`
    if (record.ERROR !== undefined || asText(record.JOBID) === '') return [];
    const of = (field: string): string => asText(record[field.toUpperCase()]);
    return [{ id: of('jobid'), name: of('job_name'), state: stateOf(of) }];
  });
  return { kind: 'listed', jobs };
}

export function readColumns(output: Output): Listing {
  if (!onlyUnknown(output)) return failedListing(output);
  const jobs: SeenJob[] = [];
  for (const line of output.stdout.split('\n').filter((one) => one.trim() !== '')) {
    const cells = line.split('|');
    if (cells.length < OLD_FIELDS.length || !/^\d/.test(line))
      return { kind: 'failed', why: `a line that is no job: ${said(line)}` };
    const of = (field: string): string => cells[OLD_FIELDS.indexOf(field)]?.trim() ?? '';
    jobs.push({ id: of('jobid'), name: cells.slice(4).join('|').trim(), state: stateOf(of) });
  }
  return { kind: 'listed', jobs };
}

const bjobs: Source = {
  label: 'bjobs -json',
  batch: IDS,
  command: (ids) => ({ argv: ['bjobs', '-a', '-json', '-o', FIELDS, ...ids] }),
  read: readJson,
};

const oldBjobs: Source = {
  label: 'bjobs -o',
  batch: IDS,
  command: (ids) => ({ argv: ['bjobs', '-a', '-noheader', '-o', `${OLD_FIELDS.join(' ')} delimiter='|'`, ...ids] }),
  read: readColumns,
};

function directives(spec: JobSpec): string[] {
  refuseOptions('LSF', spec, {
    qos: 'name a queue or an application profile in `lines`',
    gres: 'use gpus',
    kubernetes: 'leave it out',
    parallelEnvironment: 'leave it out',
  });
  const { options, nodes } = spec;
  const word = (flag: string, field: string, value: string | undefined): string[] =>
    value === undefined ? [] : [`-${flag} ${directiveWord(field, value)}`];
  const cpus = options.cpus ?? 1;
  const lines = [
    ...word('J', 'job name', spec.name),
    ...word('Jd', 'comment', spec.comment),
    ...word('o', 'log', spec.log.replaceAll('%', '%%')),
    ...word('cwd', 'folder', spec.folder),
    `-n ${nodes * cpus}`,
    `-R "span[ptile=${cpus}]"`,
    `-W ${Math.ceil(spec.wallS / 60)}`,
    `-wt ${Math.max(1, Math.ceil((options.warnS ?? BATCH_DEFAULTS.warnS) / 60))} -wa TERM`,
    '-rn',
    ...word('P', 'account', options.account),
    ...word('q', 'queue', options.queue),
    ...word('U', 'reservation', options.reservation),
    ...(options.memMiB === undefined ? [] : [`-R "rusage[mem=${options.memMiB}MB]"`]),
    ...(options.gpus === undefined ? [] : [`-gpu "num=${options.gpus}"`]),
    ...(options.constraint === undefined
      ? []
      : [`-R "select[${directiveExpression('constraint', options.constraint)}]"`]),
    ...(options.exclusive === true ? ['-x'] : []),
  ];
  return lines.map((line) => `#BSUB ${line}`);
}

export function createLsf(): Driver {
  return {
    name: 'lsf',
    passEnv: ['LSF_ENVDIR', 'LSF_SERVERDIR', 'LSF_LIBDIR', 'LSF_BINDIR', 'EGO_CONFDIR'],
    render: (spec) => ({
      files: [
        {
          name: 'job.sh',
          executable: true,
          text: jobScript(spec, {
            directives: [...directives(spec), ...freeLines(spec, '#BSUB ')],
            directive: DIRECTIVE,
            jobId: 'LSB_JOBID',
            nodes: 'sort -u "$LSB_DJOB_HOSTFILE"',
            launchers: ['none', 'jsrun', 'mpiexec', 'ssh'],
          }),
        },
      ],
    }),
    submit: (file) => ({ argv: ['bsub'], stdin: file.text }),
    readSubmit(output) {
      const id = /Job <(\d+)> is submitted to/.exec(output.stdout + output.stderr)?.[1];
      return output.code === 0 && id !== undefined ? { kind: 'submitted', id } : withoutId(output);
    },
    sources: [bjobs, oldBjobs],
    finders: [{ command: (name) => ({ argv: ['bjobs', '-a', '-json', '-o', FIELDS, '-J', name] }), read: readJson }],
    cancel: (ids) => ({ argv: ['bkill', ...ids] }),
    readCancel: ({ code, stdout, stderr }) =>
      code === 0 || /already finished|no matching job|is not found/i.test(stderr + stdout)
        ? undefined
        : said(stderr, stdout),
  };
}
