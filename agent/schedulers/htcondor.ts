/**
 * HTCondor: condor_submit, condor_q, condor_history, condor_rm. One machine a block.
 *
 * Invariants
 *  H1 A job over its time is *held* by HTCondor (codes 46 and 47): that is its end, and periodic_remove takes it away.
 *  H2 Removed and completed jobs linger in the queue while their machine is cleaned up: there they are ending, in the history
 *     they are over.
 *  H3 An evicted job goes back to idle under the same id: a new life, counted in NumJobStarts.
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
import type { ListedState } from './scheduler.ts';
import { freeLines, jobScript, refuse, refuseOptions } from './script.ts';
import { directiveExpression, directiveWord, said } from './text.ts';

const IDS = 100;
/** JobDurationExceeded, JobExecuteExceeded. */
const HOLD_WALLTIME = [46, 47];
/** JobOutOfResources: over its memory. */
const HOLD_MEMORY = [34];

/** JobStatus of the manual. */
export const CONDOR_STATES: Readonly<Record<number, string>> = {
  1: 'Idle',
  2: 'Running',
  3: 'Removed',
  4: 'Completed',
  5: 'Held',
  6: 'TransferringOutput',
  7: 'Suspended',
};

function ended(ad: Json): ListedState {
  const hold = asNumber(ad.HoldReasonCode) ?? asNumber(ad.LastHoldReasonCode) ?? 0;
  const removed = asText(ad.RemoveReason);
  const told = asText(ad.HoldReason) || asText(ad.LastHoldReason);
  if (asNumber(ad.JobStatus) !== 4) {
    if (HOLD_WALLTIME.includes(hold)) return { kind: 'ended', cause: 'walltime', why: told || `hold code ${hold}` };
    if (HOLD_MEMORY.includes(hold)) return { kind: 'ended', cause: 'memory', why: told || `hold code ${hold}` };
    const by = /by user (\S+?)\)/.exec(removed)?.[1];
    return { kind: 'ended', cause: 'cancelled', why: removed || 'removed', ...(by === undefined ? {} : { by }) };
  }
  if (ad.ExitBySignal === true)
    return { kind: 'ended', cause: 'failed', why: `signal ${asNumber(ad.ExitSignal) ?? 'unknown'}` };
  const code = asNumber(ad.ExitCode) ?? asNumber(ad.ExitStatus);
  if (code === undefined) return { kind: 'ended', cause: 'lost', why: 'completed without an exit code' };
  return code === 0
    ? { kind: 'ended', cause: 'completed', why: 'exit 0' }
    : { kind: 'ended', cause: 'failed', why: `exit ${code}` };
}

function live(ad: Json): ListedState {
  const status = asNumber(ad.JobStatus) ?? 0;
  const starts = asNumber(ad.NumJobStarts) ?? 0;
  const hold = asNumber(ad.HoldReasonCode) ?? 0;
  // `slot1_1@node2`
  const node = asText(ad.RemoteHost).split('@').at(-1) ?? '';
  switch (status) {
    case 1:
      return {
        kind: 'queued',
        reason: starts > 0 ? 'it was evicted, and waits for another machine' : 'it waits for a machine',
      };
    case 2:
      return { kind: 'running', nodes: node === '' ? [] : [node] };
    case 3:
    case 4:
    case 6:
      return { kind: 'ending', reason: asText(ad.RemoveReason) || (CONDOR_STATES[status] ?? '') };
    case 5:
      return HOLD_WALLTIME.includes(hold) || HOLD_MEMORY.includes(hold)
        ? ended(ad)
        : { kind: 'held', reason: asText(ad.HoldReason) || `hold code ${hold}` };
    case 7:
      return { kind: 'suspended', reason: 'its machine suspended it' };
    default:
      return { kind: 'unknown', why: `HTCondor says JobStatus ${asText(ad.JobStatus) || 'nothing'}` };
  }
}

function reader(stateOf: (ad: Json) => ListedState): (output: Output) => Listing {
  return (output) => {
    if (output.code !== 0) return failedListing(output);
    // No job, no JSON: some versions print nothing at all.
    if (output.stdout.trim() === '')
      return output.stderr.trim() === '' ? { kind: 'listed', jobs: [] } : failedListing(output);
    const ads = parseJson(output.stdout);
    if (!Array.isArray(ads)) return { kind: 'failed', why: `no JSON of jobs: ${said(output.stdout)}` };
    return { kind: 'listed', jobs: asArray(ads).map((ad) => seen(asObject(ad), stateOf)) };
  };
}

function seen(ad: Json, stateOf: (ad: Json) => ListedState): SeenJob {
  const ranS = asNumber(ad.RemoteWallClockTime);
  return {
    id: asText(ad.ClusterId),
    name: asText(ad.JobBatchName),
    state: stateOf(ad),
    restarts: Math.max(0, (asNumber(ad.NumJobStarts) ?? 0) - 1),
    ...(ranS === undefined ? {} : { ranS }),
  };
}

export const readQueue = reader(live);
export const readHistory = reader(ended);

const ATTRIBUTES =
  'ClusterId,ProcId,JobStatus,JobBatchName,RemoteHost,NumJobStarts,HoldReason,HoldReasonCode,LastHoldReason,LastHoldReasonCode,RemoveReason,ExitCode,ExitStatus,ExitBySignal,ExitSignal,RemoteWallClockTime';

const queue: Source = {
  label: 'condor_q',
  batch: IDS,
  command: (ids) => ({ argv: ['condor_q', '-json', '-attributes', ATTRIBUTES, ...ids] }),
  read: readQueue,
};

const history: Source = {
  label: 'condor_history',
  batch: IDS,
  // Without the limit it reads the whole history, newest first.
  command: (ids) => ({
    argv: ['condor_history', '-json', '-attributes', ATTRIBUTES, '-limit', String(ids.length), ...ids],
  }),
  read: readHistory,
};

function submitFile(spec: JobSpec, script: string): string {
  refuseOptions('HTCondor', spec, {
    queue: 'name a requirement in `constraint` or `lines`',
    qos: 'leave it out',
    reservation: 'leave it out',
    gres: 'use gpus',
    exclusive: 'ask for all cpus',
    parallelEnvironment: 'leave it out',
    kubernetes: 'leave it out',
  });
  const { options } = spec;
  if (spec.nodes > 1) refuse('a block of HTCondor has one machine: nodes: 1');
  const word = (key: string, field: string, value: string | undefined): string[] =>
    value === undefined ? [] : [`${key} = ${directiveWord(field, value)}`];
  const lines = [
    'universe = vanilla',
    ...word('executable', 'folder', `${spec.folder}/${script}`),
    ...word('initialdir', 'folder', spec.folder),
    ...word('batch_name', 'job name', spec.name),
    `+FarfieldComment = "${directiveWord('comment', spec.comment)}"`,
    // The script puts both of its outputs there: two handles on one file would overwrite each other.
    ...word('error', 'log', spec.log),
    'output = /dev/null',
    ...word('log', 'folder', `${spec.folder}/condor.log`),
    // The block's folder lies on a filesystem that its machines share.
    'should_transfer_files = NO',
    'getenv = False',
    'environment = "FARFIELD_JOB=$(ClusterId)"',
    'notification = Never',
    `request_cpus = ${options.cpus ?? 1}`,
    ...(options.memMiB === undefined ? [] : [`request_memory = ${options.memMiB}M`]),
    ...(options.gpus === undefined ? [] : [`request_gpus = ${options.gpus}`]),
    ...(options.constraint === undefined
      ? []
      : [`requirements = ${directiveExpression('constraint', options.constraint)}`]),
    ...word('accounting_group', 'account', options.account),
    `allowed_execute_duration = ${spec.wallS}`,
    `periodic_remove = (JobStatus == 5) && (${HOLD_WALLTIME.map((code) => `HoldReasonCode == ${code}`).join(' || ')})`,
    // Later lines win: a site may overrule any of these.
    ...freeLines(spec, '').map(noQueue),
    'queue 1',
  ];
  return `${lines.join('\n')}\n`;
}

function noQueue(line: string): string {
  if (/^queue\b/i.test(line)) refuse('lines: `queue` is written by the agent, one job a block');
  return line;
}

export function createHtcondor(): Driver {
  return {
    name: 'htcondor',
    passEnv: ['CONDOR_CONFIG', '_CONDOR_SCHEDD_HOST', '_CONDOR_COLLECTOR_HOST', 'KRB5CCNAME'],
    render(spec) {
      const description = submitFile(spec, 'job.sh');
      const text = jobScript(spec, {
        directives: [],
        directive: /^queue\b/i,
        jobId: 'FARFIELD_JOB',
        launchers: ['none'],
      }).replace('unset LC_ALL\n', 'unset LC_ALL\nexec 1>&2\n');
      return {
        files: [
          { name: 'job.sub', executable: false, text: description },
          { name: 'job.sh', executable: true, text },
        ],
      };
    },
    submit: (_file, path) => ({ argv: ['condor_submit', '-terse', path] }),
    readSubmit(output) {
      const id =
        /^(\d+)\.\d+ - \d+\.\d+\s*$/m.exec(output.stdout)?.[1] ?? /submitted to cluster (\d+)/.exec(output.stdout)?.[1];
      return output.code === 0 && id !== undefined ? { kind: 'submitted', id } : withoutId(output);
    },
    sources: [queue, history],
    finders: [
      {
        command: (name) => ({
          argv: [
            'condor_q',
            '-json',
            '-attributes',
            ATTRIBUTES,
            '-constraint',
            `JobBatchName == "${directiveWord('job name', name)}"`,
          ],
        }),
        read: readQueue,
      },
      {
        command: (name) => ({
          argv: [
            'condor_history',
            '-json',
            '-attributes',
            ATTRIBUTES,
            '-limit',
            '1',
            '-constraint',
            `JobBatchName == "${directiveWord('job name', name)}"`,
          ],
        }),
        read: readHistory,
      },
    ],
    cancel: (ids) => ({ argv: ['condor_rm', ...ids] }),
    readCancel: ({ code, stdout, stderr }) =>
      code === 0 || /couldn't find|not found|no jobs? match/i.test(stdout + stderr) ? undefined : said(stderr, stdout),
  };
}
