/**
 * Flux: flux batch, flux jobs, flux cancel.
 *
 * Invariants
 *  F1 Ids are kept in decimal: Flux prints F58, whose first letter may be one that a terminal or locale cannot say.
 *  F2 A duration always has its unit: without one, Flux takes minutes in one command and seconds in another.
 */
import {
  asNumber,
  type Driver,
  failedListing,
  type JobSpec,
  type Listing,
  type Output,
  type SeenJob,
  type Source,
  withoutId,
} from './driver.ts';
import { BATCH_DEFAULTS } from './options.ts';
import type { EndCause, ListedState } from './scheduler.ts';
import { freeLines, jobScript, refuseOptions } from './script.ts';
import { expandNodes } from './slurm.ts';
import { directiveExpression, directiveWord, said } from './text.ts';

const IDS = 200;
const DIRECTIVE = /^#\s*flux:/i;
const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** Job states and, of INACTIVE ones, results. */
export const FLUX_STATES: Readonly<Record<string, Exclude<ListedState['kind'], 'ended' | 'unknown'> | 'byResult'>> = {
  NEW: 'queued',
  DEPEND: 'queued',
  PRIORITY: 'queued',
  SCHED: 'queued',
  RUN: 'running',
  CLEANUP: 'ending',
  INACTIVE: 'byResult',
};

export const FLUX_RESULTS: Readonly<Record<string, EndCause>> = {
  COMPLETED: 'completed',
  FAILED: 'failed',
  CANCELED: 'cancelled',
  TIMEOUT: 'walltime',
};

/** `ƒAb3`, `fAb3` or decimal, as decimal; undefined where it is none of them. */
export function fluxId(text: string): string | undefined {
  if (/^\d+$/.test(text)) return text;
  const digits = /^[\u0192f]([1-9A-HJ-NP-Za-km-z]+)$/u.exec(text)?.[1];
  if (digits === undefined) return undefined;
  let value = 0n;
  for (const digit of digits) value = value * 58n + BigInt(ALPHABET.indexOf(digit));
  return String(value);
}

const COLUMNS = '{id.f58}|{name}|{state}|{result}|{returncode}|{urgency}|{nodelist}|{exception.type}|{exception.note}';

function stateOf(cells: readonly string[]): ListedState {
  const [, , word = '', result = '', code = '', urgency = '', nodes = '', type = '', ...note] = cells;
  const kind = FLUX_STATES[word];
  const told = [type, note.join('|')].filter(Boolean).join(': ');
  if (kind === undefined) return { kind: 'unknown', why: `Flux says ${word === '' ? 'nothing' : word}` };
  switch (kind) {
    case 'byResult':
      return endedBy(result, asNumber(code), type, told);
    case 'running':
    case 'starting':
      return { kind, nodes: expandNodes(nodes) };
    case 'queued':
      return urgency === '0'
        ? { kind: 'held', reason: 'its urgency is 0' }
        : { kind, reason: word === 'DEPEND' ? 'it waits for another job' : 'it waits for nodes' };
    default:
      return { kind, reason: told || word };
  }
}

function endedBy(result: string, code: number | undefined, type: string, told: string): ListedState {
  const cause = FLUX_RESULTS[result];
  if (cause === undefined) return { kind: 'unknown', why: `Flux says INACTIVE ${result}` };
  const exit =
    code === undefined ? '' : code === -128 ? 'never started' : code < 0 ? `signal ${-code}` : `exit ${code}`;
  const why = [result, exit, told].filter(Boolean).join(', ');
  if (cause !== 'failed') return { kind: 'ended', cause, why };
  if (/^node/.test(type)) return { kind: 'ended', cause: 'nodeLost', why };
  return {
    kind: 'ended',
    cause: type === 'alloc' || type === 'prolog' || code === -128 ? 'launchFailed' : 'failed',
    why,
  };
}

export function readJobs(output: Output): Listing {
  const errors = output.stderr
    .split('\n')
    .filter((line) => line.trim() !== '' && !/^flux-jobs: (ERROR: JobID \S+ unknown|WARNING:.*)/.test(line));
  if (errors.length > 0 || (output.code !== 0 && output.stderr.trim() === '')) return failedListing(output);
  const jobs: SeenJob[] = [];
  for (const line of output.stdout.split('\n').filter((one) => one.trim() !== '')) {
    const cells = line.split('|').map((cell) => cell.trim());
    const id = fluxId(cells[0] ?? '');
    if (cells.length < 9 || id === undefined) return { kind: 'failed', why: `a line that is no job: ${said(line)}` };
    jobs.push({ id, name: cells[1] ?? '', state: stateOf(cells) });
  }
  return { kind: 'listed', jobs };
}

const jobs: Source = {
  label: 'flux jobs',
  batch: IDS,
  command: (ids) => ({ argv: ['flux', 'jobs', '-n', '-o', COLUMNS, ...ids] }),
  read: readJobs,
};

function directives(spec: JobSpec): string[] {
  refuseOptions('Flux', spec, {
    qos: 'leave it out',
    reservation: 'name its queue',
    gres: 'use gpus',
    memMiB: 'leave it out: Flux does not schedule memory',
    parallelEnvironment: 'leave it out',
    kubernetes: 'leave it out',
  });
  const { options, nodes } = spec;
  const name = (flag: string, field: string, value: string | undefined): string[] =>
    value === undefined ? [] : [`--${flag}=${directiveWord(field, value)}`];
  const whole = options.exclusive === true || (options.cpus === undefined && options.gpus === undefined);
  const lines = [
    ...name('job-name', 'job name', spec.name),
    `--setattr=user.comment=${directiveWord('comment', spec.comment)}`,
    ...name('cwd', 'folder', spec.folder),
    ...name('output', 'log', spec.log),
    ...name('error', 'log', spec.log),
    `--nodes=${nodes}`,
    `--nslots=${nodes}`,
    ...(whole ? ['--exclusive'] : []),
    ...(options.cpus === undefined ? [] : [`--cores-per-slot=${options.cpus}`]),
    ...(options.gpus === undefined ? [] : [`--gpus-per-slot=${options.gpus}`]),
    `--time-limit=${spec.wallS}s`,
    `--signal=SIGTERM@${options.warnS ?? BATCH_DEFAULTS.warnS}s`,
    ...name('bank', 'account', options.account),
    ...name('queue', 'queue', options.queue),
    ...(options.constraint === undefined
      ? []
      : [`--requires=${directiveExpression('constraint', options.constraint)}`]),
  ];
  return lines.map((line) => `#flux: ${line}`);
}

export function createFlux(): Driver {
  return {
    name: 'flux',
    passEnv: ['FLUX_URI'],
    render: (spec) => ({
      files: [
        {
          name: 'job.sh',
          executable: true,
          text: jobScript(spec, {
            directives: [...directives(spec), ...freeLines(spec, '#flux: ')],
            directive: DIRECTIVE,
            jobId: 'FLUX_JOB_ID',
            nodes: 'flux hostlist --expand --delimiter="\\n" local',
            launchers: ['none', 'flux', 'ssh'],
          }),
        },
      ],
    }),
    submit: (_file, path) => ({ argv: ['flux', 'batch', path] }),
    readSubmit(output) {
      const id = output.stdout
        .split('\n')
        .map((line) => fluxId(line.trim()))
        .find((one) => one !== undefined);
      return output.code === 0 && id !== undefined ? { kind: 'submitted', id } : withoutId(output);
    },
    sources: [jobs],
    finders: [
      { command: (name) => ({ argv: ['flux', 'jobs', '-a', '-n', '-o', COLUMNS, `--name=${name}`] }), read: readJobs },
    ],
    cancel: (ids) => ({ argv: ['flux', 'cancel', ...ids] }),
    readCancel: ({ code, stdout, stderr }) =>
      code === 0 || /inactive|unknown job|not found/i.test(stderr) ? undefined : said(stderr, stdout),
  };
}
