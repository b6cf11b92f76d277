/** `farfield-runner batch` and `merge`: their arguments, what they print, their exit codes. */
import { writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Clock } from '#base/clock.ts';
import { plain } from '#base/plain.ts';
import { type ErrorCode, FarfieldError } from '#kernel/errors.ts';
import { EXIT, exitOf } from '../exits.ts';
import { createHdf5Loader } from '../hdf5/library.ts';
import { threadsProblem } from '../limits.ts';
import { openScratch } from '../scratch.ts';
import { type BatchOptions, type BatchReport, runShard } from './batch.ts';
import type { Self } from './lock.ts';
import { type MergeReport, mergeShards } from './merge.ts';
import { parseRows, parseShard } from './shards.ts';
import { Stopping } from './stopping.ts';

export const BATCH_USAGE = `farfield-runner batch --model DIR --input FILE[:/dataset] --out FOLDER
  [--shard I/N | --shard auto/N | --shard auto | --rows A:B]   which rows; all of them where nothing is said.
                                                auto: the index of the job array's task, from 0
  [--labels FILE[:/dataset]]                    right answers, to compare with (--truth is the same)
  [--uncertainty l2|none|conformal|symmetry] [--level 0.95] [--samples N] [--seed N]
  [--variant NAME] [--threads N] [--link-root DIR]...   folders in which the input may name other files
  [--grace-s 20]                                on SIGTERM: finish where no more than this is left
  [--force]                                     replaces a shard of other rows, model or options
  [--json] [--events]                           events: JSON lines on descriptor 3, also where it is just open
A shard that is done is left as it is. Exit codes: docs/runner.md, or farfield-runner describe.
`;
export const MERGE_USAGE = `farfield-runner merge FOLDER --out FILE.h5 [--model DIR] [--force] [--json] [--events]
Makes one result of all shards in FOLDER; refuses gaps, overlaps and shards of other jobs, and says which.
The model's words lie beside the shards; --model names others. --force replaces another FILE.h5.
`;

/** What a command may touch. */
export interface BatchOutput {
  readonly clock: Clock;
  readonly threads: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Names this process among all that may write the folder. */
  readonly self: Self;
  readonly print: (text: string) => void;
  readonly complain: (text: string) => void;
  /** Whether somebody watches stderr. */
  readonly watched: boolean;
  /** Whether whoever started this process gave it a descriptor for events. */
  readonly eventsOpen: boolean;
  readonly onStop: (stop: () => void) => void;
}

const COMMON = {
  events: { type: 'boolean' },
  json: { type: 'boolean' },
  force: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;
const BATCH_OPTIONS = {
  ...COMMON,
  model: { type: 'string' },
  input: { type: 'string' },
  labels: { type: 'string' },
  truth: { type: 'string' },
  out: { type: 'string' },
  shard: { type: 'string' },
  rows: { type: 'string' },
  uncertainty: { type: 'string' },
  level: { type: 'string' },
  samples: { type: 'string' },
  seed: { type: 'string' },
  variant: { type: 'string' },
  threads: { type: 'string' },
  'link-root': { type: 'string', multiple: true },
  'grace-s': { type: 'string' },
} as const;
const MERGE_OPTIONS = { ...COMMON, model: { type: 'string' }, out: { type: 'string' } } as const;

/** Answers an exit code of exits.ts. */
export function runBatch(args: readonly string[], output: BatchOutput): Promise<number> {
  return run(args, output, BATCH_USAGE, async (hdf5) => {
    const { values } = parsed(() => parseArgs({ args: [...args], options: BATCH_OPTIONS }));
    const { graceMs, ...options } = resolveBatch(values, output);
    const tell = createTeller(output, values.events === true);
    const { clock, self } = output;
    using stopping = new Stopping(clock, graceMs, (note) => tell({ event: 'note', note }));
    output.onStop(() => stopping.ask());
    try {
      using scratch = openScratch('batch');
      const scratchDir = scratch.path;
      const report = await runShard(options, { clock, self, scratchDir, hdf5: () => hdf5.acquire(), stopping, tell });
      tell({ event: 'done', ...report });
      show(output, values.json === true, report, describeBatch(report, options));
    } catch (reason) {
      if (reason instanceof FarfieldError) tell({ event: 'failed', error: wordsOf(reason) });
      throw reason;
    }
  });
}

/** Answers an exit code of exits.ts. */
export function runMerge(args: readonly string[], output: BatchOutput): Promise<number> {
  return run(args, output, MERGE_USAGE, async (hdf5) => {
    const { values, positionals } = parsed(() =>
      parseArgs({ args: [...args], options: MERGE_OPTIONS, allowPositionals: true }),
    );
    const [folder, ...more] = positionals;
    if (folder === undefined || more.length > 0) throw usage('say one folder of shards');
    const tell = createTeller(output, values.events === true);
    const { model, force = false } = values;
    const options = { folder, model, out: needed('out', values.out), force };
    const { clock, self } = output;
    let asked = false;
    output.onStop(() => {
      asked = true;
    });
    const report = await mergeShards(options, {
      library: await hdf5.acquire(),
      clock,
      self,
      stopped: () => asked,
      tell,
    });
    tell({ event: 'done', ...report });
    show(output, values.json === true, report, describeMerge(report));
  });
}

/** Help, the library, and how a failure is told: in one line, and by the exit code. */
async function run(
  args: readonly string[],
  output: BatchOutput,
  help: string,
  work: (hdf5: ReturnType<typeof createHdf5Loader>) => Promise<void>,
): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    output.print(help);
    return EXIT.ok;
  }
  try {
    await work(createHdf5Loader());
    return EXIT.ok;
  } catch (reason) {
    if (!(reason instanceof FarfieldError)) throw reason;
    const error = wordsOf(reason);
    if (args.includes('--json')) output.print(`${JSON.stringify({ ok: false, error })}\n`);
    else output.complain(`${plain(reason.message)} [${reason.code}]\n`);
    if (reason.code === 'E_USAGE') output.complain(help);
    return exitOf(reason.code);
  }
}

const wordsOf = ({ code, message }: FarfieldError): { code: ErrorCode; message: string } => ({ code, message });

const usage = (what: string): FarfieldError => new FarfieldError('E_USAGE', what);

function parsed<T>(parse: () => T): T {
  try {
    return parse();
  } catch (reason) {
    throw usage(reason instanceof Error ? reason.message : String(reason));
  }
}

function needed(name: string, value: string | undefined): string {
  if (value === undefined || value === '') throw usage(`--${name} is missing`);
  return value;
}

type BatchValues = ReturnType<typeof parseArgs<{ options: typeof BATCH_OPTIONS }>>['values'];

function resolveBatch(values: BatchValues, { threads, env }: BatchOutput): BatchOptions & { readonly graceMs: number } {
  const number = (
    name: 'level' | 'samples' | 'seed' | 'threads' | 'grace-s',
    fallback: number,
    test: (n: number) => boolean,
  ): number => {
    const value = values[name] === undefined ? fallback : Number(values[name]);
    if (values[name] !== '' && test(value)) return value;
    throw usage(`--${name} ${values[name]} is out of range`);
  };
  const whole = (least: number) => (n: number) => Number.isInteger(n) && n >= least;
  const problem = values.threads === undefined ? undefined : threadsProblem(number('threads', threads, whole(1)));
  if (problem !== undefined) throw usage(problem);
  if (values.shard !== undefined && values.rows !== undefined) throw usage('--shard and --rows exclude each other');
  if (values.labels !== undefined && values.truth !== undefined) throw usage('--labels and --truth are the same');
  return {
    model: needed('model', values.model),
    input: needed('input', values.input),
    labels: values.labels ?? values.truth,
    out: needed('out', values.out),
    shard:
      values.shard !== undefined
        ? parseShard(values.shard, env)
        : values.rows !== undefined
          ? parseRows(values.rows)
          : { kind: 'all' },
    uncertainty: {
      method: values.uncertainty ?? 'l2',
      level: number('level', 0.95, (n) => n > 0 && n < 1),
      samples: number('samples', 0, whole(0)),
    },
    seed: number('seed', 0, whole(0)),
    variant: values.variant,
    threads: number('threads', threads, whole(1)),
    linkRoots: values['link-root'] ?? [],
    graceMs: number('grace-s', 20, (n) => n >= 0 && n <= 86_400) * 1000,
    force: values.force === true,
  };
}

type Told = { readonly event: string; readonly [key: string]: unknown };

/** Events go to descriptor 3 where they are wanted; progress to a terminal, in place; notes to stderr. */
function createTeller({ complain, watched, eventsOpen }: BatchOutput, wanted: boolean): (event: Told) => void {
  const write = wanted || eventsOpen ? createEventWriter(wanted) : undefined;
  let open = false;
  return (event) => {
    write?.(`${JSON.stringify(event)}\n`);
    if (event.event === 'note') complain(`${open ? '\n' : ''}${plain(String(event.note))}\n`);
    if (!watched) return;
    if (event.event === 'progress') {
      const { done, total } = event as unknown as { done: number; total: number };
      complain(`\r${done.toLocaleString('en')} of ${total.toLocaleString('en')} rows`);
      open = true;
    } else if (open) {
      complain('\n');
      open = false;
    }
  };
}

const EVENTS_FD = 3;

/** Whoever asked for events and reads no longer is not worth a shard: the first failed write is the last. */
function createEventWriter(wanted: boolean): (line: string) => void {
  let broken = false;
  let told = false;
  return (line) => {
    if (broken) return;
    try {
      writeSync(EVENTS_FD, line);
      told = true;
    } catch {
      broken = true;
      if (!told && wanted) throw usage(`--events: file descriptor ${EVENTS_FD} cannot be written; open it with 3>FILE`);
    }
  };
}

function show({ print }: BatchOutput, json: boolean, report: BatchReport | MergeReport, sentence: string): void {
  print(json ? `${JSON.stringify({ ok: true, ...report })}\n` : `${sentence}\n`);
}

function describeBatch({ state, shard, result, rows, trust }: BatchReport, { input }: BatchOptions): string {
  const range = `rows ${shard.from}:${shard.to} of ${input}`;
  return state === 'already'
    ? `${range} were done before: ${result}`
    : `${range} (${rows}) -> ${result}; verdict ${trust.state}`;
}

function describeMerge({ state, result, shards, rows, trust }: MergeReport): string {
  return `${state === 'already' ? 'the same as before: ' : ''}${shards} shards, ${rows} rows -> ${result}; verdict ${trust.state}`;
}
