/**
 * Grid Engine (Son of, Univa, Altair): qsub, qstat, qacct, qdel.
 *
 * Invariants
 *  G1 A state is a set of letters, and case means something: `t` is starting, `T` is suspended by its load. No lower-casing.
 *  G2 `d` is ending whatever else is there; it may stay for as long as a dead node does.
 *  G3 Its warning is SIGUSR2 to every process of the job; the script turns it into TERM for the pilot (script.ts, J1). What
 *     sets its own handlers anew at its start, as Node does, must listen to it itself.
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
import type { EndCause, ListedState } from './scheduler.ts';
import { freeLines, jobScript, refuse, refuseOptions } from './script.ts';
import { directiveExpression, directiveWord, said } from './text.ts';

const DIRECTIVE = /^#\$/;
/** Between USR2 and KILL, as -notify has it by default; ours comes before. */
const NOTIFY_S = 60;
const FORWARD_S = NOTIFY_S - 10;

const LETTERS = /^[drtRsSTqwhEzn]+$/;

/** Every combination of the manual is read by its letters; a letter that is none of them makes the state unknown. */
export function gridState(word: string, node: string): ListedState {
  const has = (letter: string): boolean => word.includes(letter);
  if (!LETTERS.test(word)) return { kind: 'unknown', why: `Grid Engine says ${word === '' ? 'nothing' : word}` };
  if (has('d')) return { kind: 'ending', reason: word };
  if (has('E')) return { kind: 'held', reason: `${word}: an error; \`qstat -j\` tells which, \`qmod -cj\` clears it` };
  if (has('s') || has('S') || has('T')) return { kind: 'suspended', reason: word };
  if (has('w') || has('q')) {
    if (has('h')) return { kind: 'held', reason: word };
    return { kind: 'queued', reason: has('R') ? `${word}: it is to run again` : 'it waits for a place' };
  }
  const nodes = node === '' ? [] : [node];
  if (has('t')) return { kind: 'starting', nodes };
  if (has('r')) return { kind: 'running', nodes };
  // `z`: finished, and nothing is said of how; the accounting knows. `R`, `h`, `n` alone are no state of the manual.
  return { kind: 'unknown', why: `Grid Engine says ${word}` };
}

const RAN_AND_FAILED_AFTER = [12, 13, 14, 15, 16];
const LIMIT = [37, 44];
const NODE = [19, 20, 21, 22];
const KILLED = 100;

/** `failed` of the accounting. What is no number here failed before the job began. */
function causeOf(failed: number, exit: number): readonly [EndCause, string] {
  if (failed === 0 || RAN_AND_FAILED_AFTER.includes(failed))
    return exit === 0 ? ['completed', 'exit 0'] : ['failed', exit > 128 ? `signal ${exit - 128}` : `exit ${exit}`];
  // One code for time and memory: the time that it ran decides (batch.ts).
  if (LIMIT.includes(failed)) return [failed === 44 ? 'walltime' : 'memory', 'over a limit'];
  if (failed === KILLED) return ['failed', exit > 128 ? `signal ${exit - 128}` : `exit ${exit}`];
  if (NODE.includes(failed)) return ['nodeLost', 'its node failed'];
  if (failed === 24 || failed === 25) return ['preempted', 'it was rescheduled'];
  return ['launchFailed', 'it could not be started'];
}

function plainText(text: string): string {
  const named: Readonly<Record<string, string>> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };
  return text.replaceAll(/&(lt|gt|quot|apos|amp);/g, (_, name: string) => named[name] ?? '');
}

/** `qstat -xml`: one flat block a job. A parser of XML would be a dependency for four tags. */
export function readQstat(output: Output): Listing {
  const { stdout, code } = output;
  if (code !== 0) return failedListing(output);
  if (!stdout.includes('<job_info') || !stdout.trimEnd().endsWith('</job_info>'))
    return { kind: 'failed', why: `no list of jobs: ${said(stdout)}` };
  const jobs = [...stdout.matchAll(/<job_list\b[^>]*>([\s\S]*?)<\/job_list>/g)].map(([, block = '']): SeenJob => {
    const of = (tag: string): string => plainText(new RegExp(`<${tag}>([^<]*)</${tag}>`).exec(block)?.[1] ?? '');
    return {
      id: of('JB_job_number'),
      name: of('JB_name'),
      state: gridState(of('state'), of('queue_name').split('@')[1] ?? ''),
    };
  });
  return { kind: 'listed', jobs };
}

const qstat: Source = {
  label: 'qstat -xml',
  batch: Number.POSITIVE_INFINITY,
  command: () => ({ argv: ['qstat', '-xml'] }),
  read: readQstat,
};

/** One id a command: qacct reads the whole accounting for each, so only jobs that qstat has forgotten are asked. */
const qacct: Source = {
  label: 'qacct',
  batch: 1,
  command: ([id = '']) => ({ argv: ['qacct', '-j', id] }),
  read: readQacct,
};

export function readQacct(output: Output): Listing {
  if (/job id \S+ not found/i.test(output.stderr + output.stdout)) return { kind: 'listed', jobs: [] };
  if (output.code !== 0) return failedListing(output);
  // Ids start again at 1: there may be a record of another year. The latest is last.
  const jobs = output.stdout.split(/^=+$/m).flatMap((block): SeenJob[] => {
    const of = (key: string): string => new RegExp(`^${key} +(.*)$`, 'm').exec(block)?.[1]?.trim() ?? '';
    const failed = asNumber(/^\d+/.exec(of('failed'))?.[0]);
    const exit = asNumber(/^\d+/.exec(of('exit_status'))?.[0]);
    if (of('jobnumber') === '' || failed === undefined || exit === undefined) return [];
    const [cause, why] = causeOf(failed, exit);
    const told = of('failed').replace(/^0$/, '');
    const by = of('deleted_by').replace(/^NONE$/, '');
    const ranS = asNumber(/^[\d.]+/.exec(of('ru_wallclock'))?.[0]);
    return [
      {
        id: of('jobnumber'),
        name: of('jobname'),
        state: {
          kind: 'ended',
          cause: by === '' ? cause : 'cancelled',
          why: told === '' ? why : `${why} (failed ${told.replaceAll(/\s+/g, ' ')})`,
          ...(by === '' ? {} : { by }),
        },
        ...(ranS === undefined ? {} : { ranS }),
      },
    ];
  });
  return { kind: 'listed', jobs };
}

function directives(spec: JobSpec): string[] {
  refuseOptions('Grid Engine', spec, {
    qos: 'name a queue or project',
    gres: 'name the complex in `lines`: -l gpu=2',
    gpus: 'name the complex of your site in `lines`: -l gpu=2',
    memMiB: 'name the complex of your site in `lines`: -l h_vmem=4G',
    exclusive: 'name the complex of your site in `lines`: -l exclusive=true',
    kubernetes: 'leave it out',
  });
  const { options, nodes } = spec;
  const word = (flag: string, field: string, value: string | undefined): string[] =>
    value === undefined ? [] : [`-${flag} ${directiveWord(field, value)}`];
  const slots = nodes * (options.cpus ?? 1);
  const lines = [
    '-S /bin/bash',
    ...word('N', 'job name', spec.name),
    ...word('o', 'log', spec.log),
    '-j y',
    ...word('wd', 'folder', spec.folder),
    '-r n',
    '-notify',
    `-l h_rt=${spec.wallS}`,
    `-ac comment=${directiveWord('comment', spec.comment).replaceAll(',', '+')}`,
    ...word('P', 'account', options.account),
    ...word('q', 'queue', options.queue),
    ...word('ar', 'reservation', options.reservation),
    ...(options.constraint === undefined ? [] : [`-l ${directiveExpression('constraint', options.constraint)}`]),
    // Slots, not nodes: how they lie on nodes is the parallel environment's.
    ...(options.parallelEnvironment === undefined
      ? []
      : [`-pe ${directiveWord('parallelEnvironment', options.parallelEnvironment)} ${slots}`]),
  ];
  if (slots > 1 && options.parallelEnvironment === undefined)
    refuse(`a block of ${slots} slots needs a parallelEnvironment`);
  return lines.map((line) => `#$ ${line}`);
}

export function createGridEngine(): Driver {
  return {
    name: 'gridengine',
    passEnv: ['SGE_ROOT', 'SGE_CELL', 'SGE_CLUSTER_NAME', 'SGE_QMASTER_PORT', 'SGE_EXECD_PORT'],
    render: (spec) => ({
      files: [
        {
          name: 'job.sh',
          executable: true,
          text: jobScript(spec, {
            directives: [...directives(spec), ...freeLines(spec, '#$ ')],
            directive: DIRECTIVE,
            jobId: 'JOB_ID',
            nodes: 'cut -d " " -f 1 "$PE_HOSTFILE" | sort -u',
            launchers: ['none', 'mpiexec', 'ssh'],
            forwardS: FORWARD_S,
          }),
        },
      ],
    }),
    submit: (_file, path) => ({ argv: ['qsub', '-terse', path] }),
    readSubmit(output) {
      const id = /^(\d+)\s*$/m.exec(output.stdout)?.[1] ?? /Your job (\d+) \(/.exec(output.stdout)?.[1];
      return output.code === 0 && id !== undefined ? { kind: 'submitted', id } : withoutId(output);
    },
    sources: [qstat, qacct],
    finders: [{ command: () => ({ argv: ['qstat', '-xml'] }), read: readQstat }],
    cancel: (ids) => ({ argv: ['qdel', ...ids] }),
    readCancel: ({ code, stdout, stderr }) =>
      code === 0 || /does not exist|already in deletion/i.test(stdout + stderr) ? undefined : said(stderr, stdout),
  };
}
