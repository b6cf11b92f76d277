/**
 * The part of a job script that is the same everywhere: its head, the site's setup lines, and how pilots are launched.
 *
 * Invariants
 *  J1 The last line `exec`s the launcher, so that the scheduler's signal reaches it and not a waiting shell. Two forms cannot:
 *     ssh, which starts one client a node, and Grid Engine, whose warning (USR2) would end the pilot instead of draining it.
 *     These forward TERM. Grid Engine was seen to send its warning to every process of the job: the pilot starts with it
 *     ignored.
 *  J2 The pilot is told when the job ends (FARFIELD_ENDS_AT): schedulers that send no warning are many, and the one that a
 *     scheduler sends can be lost in a launcher.
 */
import { FarfieldError } from '#kernel/errors.ts';
import type { JobSpec } from './driver.ts';
import type { Launcher } from './options.ts';
import { BATCH_DEFAULTS } from './options.ts';
import { freeLine, setupLine, shellWord, shellWords } from './text.ts';

export interface ScriptParts {
  /** Each already with its prefix. */
  readonly directives: readonly string[];
  /** What a directive looks like here: setup lines may not. */
  readonly directive: RegExp;
  /** The variable that holds the job's id. */
  readonly jobId: string;
  /** The variable with the job's end in epoch seconds, where there is one; else start and walltime give it. */
  readonly endsAt?: string;
  /** Shell that prints the block's nodes, one a line. */
  readonly nodes?: string;
  readonly launchers: readonly Launcher[];
  /** J1: for a scheduler that warns by a signal that programs die of; seconds until it kills. */
  readonly forwardS?: number;
}

/** ssh asks nothing, waits for nobody, and never takes its node for an option. */
const SSH = ['ssh', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=20', '-n'];

export function jobScript(spec: JobSpec, parts: ScriptParts): string {
  const { options, wallS } = spec;
  const launcher = launcherOf(spec, parts);
  const end = `$(( $(date +%s) + ${wallS} ))`;
  return `${[
    '#!/bin/bash',
    ...parts.directives,
    '',
    // The commands are called with LC_ALL=C, which some schedulers hand on to the job.
    'unset LC_ALL',
    `export FARFIELD_JOB="${variable(parts.jobId)}"`,
    `export FARFIELD_ENDS_AT="${parts.endsAt === undefined ? end : variable(parts.endsAt, end)}"`,
    `export FARFIELD_WARN_S=${options.warnS ?? BATCH_DEFAULTS.warnS}`,
    `cd ${shellWord(spec.folder)} || exit 1`,
    ...(options.setup ?? []).map((line) => setupLine(line, parts.directive)),
    '',
    ...launch(spec, parts, launcher),
  ].join('\n')}\n`;
}

/** A variable of the shell, or what stands for it where it is unset. */
function variable(name: string, otherwise = ''): string {
  return ['${', name, ':-', otherwise, '}'].join('');
}

/** The site's own lines, each behind the prefix. */
export function freeLines(spec: JobSpec, prefix: string): string[] {
  return (spec.options.lines ?? []).map((line) => {
    const text = freeLine('lines', line).trim();
    if (prefix !== '' && text.startsWith(prefix.trim()))
      throw new FarfieldError('E_USAGE', `lines: leave the ${prefix.trim()} out of ${text}`);
    return `${prefix}${text}`;
  });
}

function launcherOf({ nodes, options }: JobSpec, { launchers }: ScriptParts): Launcher {
  const launcher = options.launcher ?? (nodes === 1 ? 'none' : launchers.find((name) => name !== 'none'));
  if (launcher === undefined || !launchers.includes(launcher)) {
    throw new FarfieldError(
      'E_USAGE',
      `launcher ${launcher ?? `for ${nodes} nodes`}: this scheduler has ${launchers.join(', ')}`,
    );
  }
  if (launcher === 'none' && nodes > 1)
    throw new FarfieldError(
      'E_USAGE',
      `launcher none starts one pilot, and a block has ${nodes} nodes; name a launcher`,
    );
  return launcher;
}

/** One pilot on every node, with all of it: slots are the pilot's own business. */
const ARGS: Readonly<Record<Exclude<Launcher, 'none' | 'ssh'>, readonly [string, ...string[]]>> = {
  // --overlap and --mem=0: a program that a task starts by srun gets a share of the same nodes.
  srun: [
    'srun',
    '--nodes={nodes}',
    '--ntasks={nodes}',
    '--ntasks-per-node=1',
    '--overlap',
    '--mem=0',
    '--kill-on-bad-exit=0',
  ],
  // MPICH, Intel MPI and HPE's PALS; Open MPI wants launcherArgs: ['-n', '{nodes}', '--map-by', 'ppr:1:node'].
  mpiexec: ['mpiexec', '-n', '{nodes}', '-ppn', '1'],
  jsrun: [
    'jsrun',
    '--nrs',
    '{nodes}',
    '--rs_per_host',
    '1',
    '--tasks_per_rs',
    '1',
    '--cpu_per_rs',
    'ALL_CPUS',
    '--gpu_per_rs',
    'ALL_GPUS',
  ],
  aprun: ['aprun', '-n', '{nodes}', '-N', '1', '-cc', 'none'],
  flux: ['flux', 'run', '--nodes={nodes}', '--ntasks={nodes}', '--exclusive'],
};

function launch(spec: JobSpec, parts: ScriptParts, launcher: Launcher): string[] {
  const { pilot, nodes, options } = spec;
  if (!pilot[0].startsWith('/')) throw new FarfieldError('E_USAGE', `the pilot ${pilot[0]} is no absolute path`);
  if (launcher === 'ssh') return overSsh(spec, parts.nodes);
  const [command, ...usual] = launcher === 'none' ? [undefined] : ARGS[launcher];
  const args = (options.launcherArgs ?? usual).map((arg) => (arg ?? '').replaceAll('{nodes}', String(nodes)));
  const line = shellWords([...(command === undefined ? [] : [command, ...args]), ...pilot]);
  return parts.forwardS === undefined
    ? [`exec ${line}`]
    : forwarded([`( trap '' USR1 USR2; exec ${line} ) &`, 'pids=($!)'], parts.forwardS);
}

/** Every pilot of this script, as bash says it. */
const EACH = ['"${', 'pids[@]', '}"'].join('');

/** `set -m`: each pilot in a process group of its own, where the scheduler's group signal does not reach it. */
function forwarded(start: readonly string[], killS: number | undefined): string[] {
  const kill =
    killS === undefined
      ? []
      : [
          `  ( sleep ${killS}; for pid in ${EACH}; do kill -KILL -- "-$pid"; done ) >/dev/null 2>&1 &`,
          '  watch=$! && disown "$watch"',
        ];
  return [
    'set -m',
    ...start,
    'drain() {',
    `  for pid in ${EACH}; do kill -TERM "$pid"; done 2>/dev/null`,
    ...kill,
    '}',
    'trap drain TERM INT USR1 USR2 XCPU',
    'status=0',
    'watch=',
    `for pid in ${EACH}; do`,
    // A trap ends `wait` early. bash keeps the status of a child that is gone, so that waiting once more tells it.
    '  while kill -0 "$pid" 2>/dev/null; do wait "$pid"; done',
    '  wait "$pid"',
    '  last=$?',
    '  [ "$last" -eq 0 ] || status=$last',
    'done',
    // Else it would kill by a number that another process has by then.
    '[ -z "$watch" ] || kill -KILL -- "-$watch" 2>/dev/null',
    'exit "$status"',
  ];
}

function overSsh({ pilot, options }: JobSpec, nodes: string | undefined): string[] {
  if (nodes === undefined) throw new FarfieldError('E_USAGE', 'launcher ssh: this scheduler gives no list of nodes');
  // The other side's login shell reads the words once more, whatever shell it is.
  const remote = shellWord(` ${shellWords(pilot)}`);
  // ssh hands no variables on; these are digits, and the job's id is only asked for being there.
  const told = ['JOB=1', 'ENDS_AT=$FARFIELD_ENDS_AT', 'WARN_S=$FARFIELD_WARN_S'].map((text) => `FARFIELD_${text}`);
  const ssh = shellWords([...SSH, ...(options.launcherArgs ?? [])]);
  return forwarded(
    [
      'pids=()',
      `for node in $(${nodes}); do`,
      `  ${ssh} -- "$node" "exec env ${told.join(' ')}"${remote} &`,
      '  pids+=($!)',
      'done',
    ],
    undefined,
  );
}

export function refuse(why: string): never {
  throw new FarfieldError('E_USAGE', `blocks.batch: ${why}`);
}

/** An option that a scheduler has no word for is refused: a job without it would not be what the site asked for. */
export function refuseOptions(
  scheduler: string,
  { options }: JobSpec,
  without: Readonly<Partial<Record<keyof JobSpec['options'], string>>>,
): void {
  for (const [key, hint] of Object.entries(without)) {
    if (options[key as keyof JobSpec['options']] !== undefined) refuse(`${scheduler} has no ${key}; ${hint}`);
  }
}
