/**
 * PBS Pro and OpenPBS: qsub, qstat, qselect, qdel.
 *
 * Invariants
 *  P1 An ended job is read by its Exit_status; `F` alone says nothing of how it ended.
 *  P2 The environment is never exported (-V): values in it break qstat's JSON. One variable carries the comment.
 *  P3 Three ways to ask: JSON of live and ended jobs; the same as text, for servers whose JSON is broken or that list only the
 *     first of several ids; live ones alone, for servers that keep no history.
 *
 * Torque's exit codes have other meanings under the same numbers (-10 memory, -11 walltime), so this table is not for Torque.
 */
import {
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
import type { EndCause, ListedState } from './scheduler.ts';
import { freeLines, jobScript } from './script.ts';
import { directiveExpression, directiveWord, hourTime, said } from './text.ts';

const IDS = 50;
const DIRECTIVE = /^#PBS\b/;

/** Job states of the manual. Ended ones are read by their exit status. */
export const PBS_STATES: Readonly<Record<string, Exclude<ListedState['kind'], 'ended'> | 'byExit'>> = {
  Q: 'queued',
  W: 'queued',
  T: 'queued',
  H: 'held',
  B: 'running',
  R: 'running',
  S: 'suspended',
  U: 'suspended',
  E: 'ending',
  F: 'byExit',
  X: 'byExit',
  // Moved to another server: this one knows no more of it.
  M: 'unknown',
};

/** Exit_status below zero is PBS's own word. */
export const PBS_EXITS: Readonly<Record<string, readonly [EndCause, string]>> = {
  '-1': ['launchFailed', 'could not be started, before its files were there'],
  '-2': ['launchFailed', 'could not be started, after its files were there'],
  '-3': ['launchFailed', 'could not be started, to be tried again'],
  '-4': ['nodeLost', 'its node restarted'],
  '-5': ['nodeLost', 'its node restarted'],
  '-6': ['nodeLost', 'its node restarted'],
  '-7': ['launchFailed', 'could not be restarted from its checkpoint'],
  '-10': ['launchFailed', 'its user or group is not known on the node'],
  '-11': ['nodeLost', 'was to be run again'],
  '-12': ['preempted', 'was checkpointed and killed'],
  '-13': ['launchFailed', 'a bad password'],
  '-14': ['nodeLost', 'was to be run again, and a helper node failed'],
  '-15': ['preempted', 'was queued again from a checkpoint'],
  '-16': ['launchFailed', 'a hook of the site refused it'],
  '-17': ['launchFailed', 'a hook of the site refused and deleted it'],
  '-18': ['launchFailed', 'a hook of the site queued it again'],
  '-19': ['launchFailed', 'a hook of the site deleted it'],
  '-20': ['nodeLost', 'its first node was lost'],
  '-21': ['launchFailed', "unsafe permissions of PBS's own folders"],
  '-22': ['launchFailed', 'a hook of the site failed'],
  '-23': ['launchFailed', 'no Kerberos credentials'],
  '-24': ['failed', 'used more cores than it asked for'],
  '-25': ['failed', 'used more core time than it asked for'],
  '-26': ['memory', 'exceeded its virtual memory'],
  '-27': ['memory', 'exceeded its memory'],
  '-28': ['walltime', 'exceeded its processor time'],
  '-29': ['walltime', 'exceeded its walltime'],
  '-30': ['launchFailed', 'a node did not join the job'],
  '-31': ['memory', 'exceeded its memory of huge pages'],
  '-32': ['nodeLost', 'was a zombie and is to be run again'],
};

const OFFSET_SIGNAL = 256;
const SIGTERM = 15;
const SIGKILL = 9;

function endedBy(job: Json): ListedState {
  const status = asNumber(job.Exit_status);
  const told = asText(job.comment).replaceAll(/\s+/g, ' ');
  if (status === undefined) {
    // Deleted while queued: it never had an exit.
    return { kind: 'ended', cause: 'cancelled', why: told === '' ? 'finished without an exit status' : told };
  }
  const own = PBS_EXITS[String(status)];
  if (own !== undefined) return { kind: 'ended', cause: own[0], why: `${own[1]} (Exit_status ${status})` };
  if (status < 0) return { kind: 'ended', cause: 'failed', why: `Exit_status ${status} ${told}` };
  if (status === 0) return { kind: 'ended', cause: 'completed', why: 'Exit_status 0' };
  // 128 or 256 and the signal, by site. What TERM and KILL mean, the walltime used tells.
  const signal = status > OFFSET_SIGNAL ? status - OFFSET_SIGNAL : status > 128 ? status - 128 : 0;
  const killed = signal === SIGTERM || signal === SIGKILL;
  if (killed && /exceeded resource walltime|walltime .* exceeded/.test(told))
    return { kind: 'ended', cause: 'walltime', why: `Exit_status ${status}, ${told}` };
  if (killed && /exceeded (resource )?v?mem/.test(told))
    return { kind: 'ended', cause: 'memory', why: `Exit_status ${status}, ${told}` };
  const used = seconds(asText(asObject(job.resources_used).walltime));
  const limit = seconds(asText(asObject(job.Resource_List).walltime));
  if (killed && used !== undefined && limit !== undefined && used >= limit)
    return { kind: 'ended', cause: 'walltime', why: `Exit_status ${status}, ran ${used} s of ${limit} s` };
  return signal === SIGTERM
    ? { kind: 'ended', cause: 'cancelled', why: `Exit_status ${status}: ended by SIGTERM` }
    : {
        kind: 'ended',
        cause: 'failed',
        why: signal === 0 ? `exit ${status}` : `Exit_status ${status}: signal ${signal}`,
      };
}

function stateOf(job: Json): ListedState {
  const word = asText(job.job_state);
  const told = asText(job.comment).replaceAll(/\s+/g, ' ') || word;
  const kind = PBS_STATES[word] ?? 'unknown';
  switch (kind) {
    case 'byExit':
      return endedBy(job);
    case 'unknown':
      return { kind, why: word === 'M' ? 'moved to another server' : `PBS says ${word === '' ? 'nothing' : word}` };
    case 'running':
    case 'starting':
      return { kind, nodes: nodesOf(asText(job.exec_host)) };
    default:
      return { kind, reason: told };
  }
}

/** `n1/0*2+n2/0*2`. */
function nodesOf(text: string): string[] {
  const names = text
    .split('+')
    .map((part) => part.split('/')[0] ?? '')
    .filter((name) => name !== '');
  return [...new Set(names)];
}

/** `HH:MM:SS` or seconds. */
function seconds(text: string): number | undefined {
  if (!/^[\d:]+$/.test(text)) return undefined;
  return text.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);
}

function seen(id: string, job: Json): SeenJob {
  const ranS = seconds(asText(asObject(job.resources_used).walltime));
  const restarts = asNumber(job.run_count);
  return {
    id,
    name: asText(job.Job_Name),
    state: stateOf(job),
    ...(ranS === undefined ? {} : { ranS }),
    ...(restarts === undefined ? {} : { restarts: Math.max(0, restarts - 1) }),
  };
}

/** Ids that the server does not know, or no longer: an answer, with an error's exit code. */
const NO_SUCH = /^qstat: (Unknown Job Id|\S+ Job has finished|.*: Job has finished).*$/i;

/** True where all that qstat complains of is that it does not know some ids. */
function onlyUnknown({ code, stderr }: Output): boolean {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '');
  return (code === 0 && lines.length === 0) || (lines.length > 0 && lines.every((line) => NO_SUCH.test(line.trim())));
}

export function readJson(output: Output): Listing {
  if (!onlyUnknown(output)) return failedListing(output);
  if (output.stdout.trim() === '') return { kind: 'listed', jobs: [] };
  const value = parseJson(output.stdout);
  if (value === undefined)
    return { kind: 'failed', why: `qstat printed broken JSON: ${said(output.stdout).slice(0, 100)}` };
  return {
    kind: 'listed',
    jobs: Object.entries(asObject(asObject(value).Jobs)).map(([id, job]) => seen(id, asObject(job))),
  };
}

/** `qstat -f`: a block a job, long values go on in lines that begin with a tab. */
export function readText(output: Output): Listing {
  if (!onlyUnknown(output)) return failedListing(output);
  const blocks = output.stdout
    .replaceAll('\n\t', '')
    .split(/^Job Id: /m)
    .slice(1);
  const jobs = blocks.map((block) => {
    const [id = '', ...lines] = block.split('\n');
    const job: Record<string, unknown> = {};
    for (const line of lines) {
      const [, key = '', part, value = ''] = /^ {4}([A-Za-z_]+)(?:\.(\w+))? = (.*)$/.exec(line) ?? [];
      if (key === '') continue;
      job[key] = part === undefined ? value : { ...asObject(job[key]), [part]: value };
    }
    return seen(id.trim(), job);
  });
  return { kind: 'listed', jobs };
}

const source = (label: string, args: readonly string[], read: Source['read']): Source => ({
  label,
  batch: IDS,
  command: (ids) => ({ argv: ['qstat', ...args, ...ids] }),
  read,
});

function chunk({ options }: JobSpec): string {
  const part = (key: string, value: string | number | undefined): string =>
    value === undefined ? '' : `:${key}=${value}`;
  return `${part('ncpus', options.cpus)}${part('ngpus', options.gpus)}${part('mem', options.memMiB === undefined ? undefined : `${options.memMiB}mb`)}`;
}

function directives(spec: JobSpec): string[] {
  const { options } = spec;
  const place = options.exclusive === true ? 'scatter:excl' : 'scatter';
  const constraint =
    options.constraint === undefined ? '' : `:${directiveExpression('constraint', options.constraint)}`;
  const word = (flag: string, field: string, value: string | undefined): string[] =>
    value === undefined ? [] : [`-${flag} ${directiveWord(field, value)}`];
  const lines = [
    ...word('N', 'job name', spec.name),
    ...word('o', 'log', spec.log),
    '-j oe',
    // Started again under the same id it would find its token redeemed: the agent submits a new one.
    '-r n',
    `-l select=${spec.nodes}${chunk(spec)}${constraint}`,
    `-l place=${place}`,
    `-l walltime=${hourTime(spec.wallS)}`,
    `-v FARFIELD_COMMENT=${directiveWord('comment', spec.comment).replaceAll(',', '+')}`,
    ...word('A', 'account', options.account),
    // A reservation of PBS is a queue of its own.
    ...word('q', 'queue', options.reservation ?? options.queue),
    ...(options.qos === undefined ? [] : [`-l qos=${directiveWord('qos', options.qos)}`]),
  ];
  return lines.map((line) => `#PBS ${line}`);
}

export function createPbs(): Driver {
  return {
    name: 'pbs',
    passEnv: ['PBS_CONF_FILE', 'PBS_EXEC', 'PBS_SERVER', 'KRB5CCNAME'],
    render: (spec) => ({
      files: [
        {
          name: 'job.sh',
          executable: true,
          text: jobScript(spec, {
            directives: [...directives(spec), ...freeLines(spec, '#PBS ')],
            directive: DIRECTIVE,
            jobId: 'PBS_JOBID',
            nodes: 'sort -u "$PBS_NODEFILE"',
            launchers: ['none', 'mpiexec', 'aprun', 'ssh'],
          }),
        },
      ],
    }),
    submit: (_file, path) => ({ argv: ['qsub', path] }),
    readSubmit(output) {
      // Kept whole: `123.server` is not `123.other`.
      const id = /^(\d+(\[\])?\.[\w.-]+)\s*$/m.exec(output.stdout)?.[1];
      return output.code === 0 && id !== undefined ? { kind: 'submitted', id } : withoutId(output);
    },
    sources: [
      source('qstat -x -F json', ['-x', '-f', '-F', 'json'], readJson),
      source('qstat -x -f', ['-x', '-f'], readText),
      source('qstat -f', ['-f'], readText),
    ],
    finders: [
      {
        command: (name) => ({ argv: ['qselect', '-x', '-N', name] }),
        read: readSelected,
      },
    ],
    cancel: (ids) => ({ argv: ['qdel', ...ids] }),
    readCancel: ({ code, stdout, stderr }) => {
      const rest = stderr
        .split('\n')
        .filter((line) => line.trim() !== '' && !/unknown job id|has finished|invalid state/i.test(line));
      return code === 0 || (rest.length === 0 && stderr.trim() !== '') ? undefined : said(rest.join('\n'), stdout);
    },
  };
}

/** qselect prints ids alone; their state is asked for afterwards. */
function readSelected(output: Output): Listing {
  if (output.code !== 0) return failedListing(output);
  const ids = output.stdout
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (!ids.every((id) => /^\d+(\[\d*\])?\.[\w.-]+$/.test(id)))
    return { kind: 'failed', why: `no list of jobs: ${said(output.stdout)}` };
  return { kind: 'listed', jobs: ids.map((id) => ({ id, state: { kind: 'unknown', why: 'found by its name' } })) };
}
