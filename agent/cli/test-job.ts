/**
 * `farfield endpoint test-job`: one tiny job through the configured scheduler, followed to its end.
 *
 * The job is made by the agent's own driver and launcher; only the program differs: instead of a pilot, a few lines of shell
 * that say hello from every node and whether what a pilot needs is there. So what is shown to work is what blocks need: the
 * account, the queue, the launcher, a folder that nodes see, and a Node that starts on them.
 *
 * Invariants
 *  Z1 Whatever happens, interrupts too, the job is cancelled before the verb ends, or it says what is left.
 *  Z2 A failed job's folder is kept and named; a good one's is removed.
 */
import { rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type CliContext, writeLine } from '#base/cli.ts';
import { openPrivateFolder, writeDurable } from '#base/files.ts';
import { createLogger } from '#base/log.ts';
import { plain } from '#base/plain.ts';
import { toBase64Url } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type ResolvedAgentConfig, readAgentConfig } from '../config.ts';
import { type AgentFolder, prepareFolder } from '../identity/folder.ts';
import { readIdentity } from '../identity/identity.ts';
import { createBatchScheduler } from '../schedulers/batch.ts';
import { createLocalScheduler } from '../schedulers/local.ts';
import type { BlockShape, JobState, Scheduler } from '../schedulers/scheduler.ts';
import { shellWord } from '../schedulers/text.ts';
import { chooseFolder } from './common.ts';
import { parseSpan, type ShapeOptions, shapeOf, withShape } from './render.ts';
import { isJson, nowS, show, spanOf, withFolder } from './show.ts';
import { jobSetting, siteScheduler } from './site.ts';

/** Enough for a launcher and a shell on every node; short, so that it is back-filled. */
const WALL_S = 120;
const LIMIT_S = 600;
const LOOK_MS = 200;
/** While somebody watches: the least that the scheduler's manners allow. */
const STATUS_S = 5;
const CANCEL_GRACE_MS = 5000;
/** A listing may lag behind the job's own output. */
const AFTER_HELLO_MS = 60_000;
const TAIL_BYTES = 4096;
const NOT_ASKED = 'not asked yet';
const HELLO = 'farfield-test-job hello';

interface Step {
  readonly step: string;
  /** Since the submission began. */
  readonly atMs: number;
  readonly detail?: string;
}

interface Outcome {
  readonly good: boolean;
  readonly job?: string;
  readonly nodes: readonly string[];
  readonly steps: readonly Step[];
  readonly output: string;
  readonly why?: string;
  readonly left: readonly string[];
}

interface TestOptions extends ShapeOptions {
  readonly timeout?: number;
  readonly keep?: boolean;
}

export function registerTestJob(endpoint: Command, context: CliContext): void {
  withShape(
    withFolder(
      endpoint
        .command('test-job')
        .description('submit one tiny job through the configured scheduler and follow it to its end'),
    ),
  )
    .option('--timeout <span>', 'give up and cancel it after this long (default: 10m)', parseSpan)
    .option('--keep', "keep the job's folder")
    .action(async (options: TestOptions, command: Command) => {
      const folder = chooseFolder(context, options);
      const config = readAgentConfig(folder.config);
      const { endpoint: id } = readIdentity(folder, nowS(context));
      prepareFolder(folder);
      const shape = shapeOf(config, { ...options, walltime: options.walltime ?? WALL_S });
      const block = `test-${toBase64Url(context.random.bytes(6))}`;
      const place = openPrivateFolder(join(folder.blocks, block));
      const script = join(place, 'test.sh');
      const setting = jobSetting(context, folder, config, id);
      await writeDurable(script, helloScript(setting.pilot, config), 0o700);
      using scheduler = openScheduler(context, folder, config, { ...setting, pilot: ['/bin/sh', script] });
      const tell = (line: string): void => void (isJson(command) || writeLine(context.stderr, plain(line)));
      const log = setting.logFile(block);
      const limitMs = (options.timeout ?? LIMIT_S) * 1000;
      const outcome = await follow(context, { scheduler, block, place, log, shape, limitMs, tell });
      const kept = !outcome.good || options.keep === true;
      if (!kept) rmSync(place, { recursive: true, force: true });
      report(context, command, outcome, kept ? place : undefined);
    });
}

/** Hello from each node, and what a pilot would need there. Nothing of the agent's environment comes along. */
function helloScript(pilot: readonly string[], config: ResolvedAgentConfig): string {
  const [node = '', ...rest] = pilot;
  const program = rest.at(-1) ?? '';
  return [
    '#!/bin/sh',
    `echo "${HELLO} $(uname -n)"`,
    '[ -z "$FARFIELD_JOB" ] || echo "  job $FARFIELD_JOB, ends at $FARFIELD_ENDS_AT"',
    `echo "  node: $(${shellWord(node)} --version 2>&1)" || exit 3`,
    `[ -r ${shellWord(program)} ] || { echo "  the pilot ${program.replaceAll(/["$`\\]/g, '_')} cannot be read on this node" >&2; exit 4; }`,
    `echo "  apptainer: $({ ${shellWord(config.containers.apptainer)} --version || echo none on this node; } 2>/dev/null | head -n 1)"`,
    `${shellWord(node)} -e 0 || { echo "  Node does not start on this node" >&2; exit 3; }`,
    '',
  ].join('\n');
}

function openScheduler(
  context: CliContext,
  folder: AgentFolder,
  config: ResolvedAgentConfig,
  setting: ReturnType<typeof jobSetting>,
): Scheduler & Disposable {
  const { clock, random } = context;
  const site = siteScheduler(context, config, folder.blocks);
  if (site === undefined)
    return createLocalScheduler({
      pilot: setting.pilot,
      env: config.env,
      logFile: ({ block }) => setting.logFile(block),
      clock,
      random,
      hostname: hostname(),
    });
  const log = createLogger({ name: 'test-job', level: 'silent' });
  const quick = { ...setting, config: { ...setting.config, statusS: STATUS_S } };
  return createBatchScheduler({ ...quick, driver: site.driver, run: site.run, clock, log });
}

interface Following {
  readonly scheduler: Scheduler;
  readonly block: string;
  readonly place: string;
  readonly log: string;
  readonly shape: BlockShape;
  readonly limitMs: number;
  readonly tell: (line: string) => void;
}

async function follow(context: CliContext, o: Following): Promise<Outcome> {
  const { clock } = context;
  const began = clock.mono();
  const steps: Step[] = [];
  const note = (step: string, detail?: string): void => {
    const atMs = Math.round(clock.mono() - began);
    steps.push({ step, atMs, ...(detail === undefined ? {} : { detail }) });
    o.tell(`${spanOf(atMs / 1000).padStart(7)}  ${step}${detail === undefined ? '' : `: ${detail}`}`);
  };
  let job: string;
  try {
    job = await o.scheduler.submit({ block: o.block, folder: o.place, shape: o.shape });
  } catch (reason) {
    const why = FarfieldError.from(reason).message;
    note('not submitted', why);
    return { good: false, nodes: [], steps, output: await tail(o.log), why, left: [] };
  }
  const id = jobId(job);
  note('submitted', `job ${id}`);
  const watched = await watch(context, o, job, began + o.limitMs, note);
  const { left } = await o.scheduler.cancel(job, CANCEL_GRACE_MS);
  note('cleaned up');
  return { job: id, steps, left, output: await tail(o.log), ...watched };
}

/** Until every node said hello and the job ended, or there is no more time. */
async function watch(
  context: CliContext,
  o: Following,
  job: string,
  until: number,
  note: (step: string, detail?: string) => void,
): Promise<Pick<Outcome, 'good' | 'nodes' | 'why'>> {
  const { clock, signal } = context;
  const looked: { state: JobState; asking: boolean } = {
    state: { kind: 'unknown', why: NOT_ASKED },
    asking: false,
  };
  let said = '';
  let nodes: readonly string[] = [];
  let helloAt = Number.POSITIVE_INFINITY;
  const ask = async (): Promise<void> => {
    if (looked.asking) return;
    looked.asking = true;
    try {
      looked.state = (await o.scheduler.status([job])).get(job) ?? looked.state;
    } catch (reason) {
      looked.state = { kind: 'unknown', why: FarfieldError.from(reason).message };
    } finally {
      looked.asking = false;
    }
  };
  for (;;) {
    // A question lasts as long as the scheduler's manners say; the output is looked at meanwhile.
    void ask();
    const { state } = looked;
    const text = describeState(state);
    if (text !== said && text !== NOT_ASKED) note(state.kind, text === state.kind ? undefined : text);
    said = text;
    const seen = hellosIn(await readFile(o.log, 'utf8').catch(() => ''));
    if (seen.length > nodes.length) note('hello', seen.slice(nodes.length).join(', '));
    if (seen.length >= o.shape.nodes && helloAt === Number.POSITIVE_INFINITY) helloAt = clock.mono();
    nodes = seen;
    const all = nodes.length >= o.shape.nodes;
    if (state.kind === 'ended') {
      const good = all && (state.cause === 'completed' || o.scheduler.name === 'local');
      return good ? { good, nodes } : { good, nodes, why: `it ended (${state.cause}): ${state.why}` };
    }
    if (clock.mono() - helloAt > AFTER_HELLO_MS) return { good: true, nodes };
    if (signal.aborted) return { good: false, nodes, why: 'interrupted' };
    if (clock.mono() > until) return { good: false, nodes, why: `no end in time; the last that is known: ${text}` };
    await clock.sleep(LOOK_MS);
  }
}

export function hellosIn(text: string): string[] {
  return [...text.matchAll(new RegExp(`^${HELLO} (\\S+)`, 'gm'))].map(([, node = '']) => node);
}

/** A state in the words of whoever waits. */
export function describeState(state: JobState): string {
  switch (state.kind) {
    case 'queued':
      return `${state.reason}${state.startsAtMs === undefined ? '' : `; expected to start at ${new Date(state.startsAtMs).toISOString()}`}`;
    case 'held':
    case 'suspended':
    case 'ending':
      return state.reason;
    case 'starting':
    case 'running':
      return state.nodes.length === 0 ? state.kind : `on ${state.nodes.slice(0, 8).join(', ')}`;
    case 'ended':
      return `${state.cause}: ${state.why}`;
    case 'absent':
    case 'unknown':
      return state.why;
  }
}

function jobId(job: string): string {
  try {
    const { id, pid } = JSON.parse(job) as { id?: string; pid?: number };
    return id ?? (pid === undefined ? job : `process ${pid}`);
  } catch {
    return job;
  }
}

async function tail(path: string): Promise<string> {
  const bytes = await readFile(path).catch(() => Buffer.alloc(0));
  return plain(bytes.subarray(-TAIL_BYTES).toString()).trim();
}

function report(context: CliContext, command: Command, outcome: Outcome, kept: string | undefined): void {
  const { good, nodes, steps, output, why, left } = outcome;
  const at = (step: string): number | undefined => steps.find((each) => each.step === step)?.atMs;
  const times = { submittedMs: at('submitted'), helloMs: at('hello'), endedMs: at('ended'), doneMs: at('cleaned up') };
  const lines = good
    ? [
        ...output.split('\n'),
        `${nodes.length} node${nodes.length === 1 ? '' : 's'} said hello: submitted after ${spanOf((times.submittedMs ?? 0) / 1000)}, hello after ${spanOf((times.helloMs ?? 0) / 1000)}, over after ${spanOf((times.doneMs ?? 0) / 1000)}`,
      ]
    : [
        ...(output === ''
          ? ['the job printed nothing']
          : ['the job printed:', ...output.split('\n').map((line) => `  ${line}`)]),
      ];
  show(context, command, { ...outcome, times, ...(kept === undefined ? {} : { folder: kept }) }, [
    ...lines,
    ...(kept === undefined ? [] : [`its folder is ${kept}`]),
  ]);
  if (left.length > 0)
    throw new FarfieldError('E_CONFLICT', `the test job could not be ended: ${left.join(', ')}; cancel it by hand`);
  if (!good)
    throw new FarfieldError(
      'E_CONFLICT',
      `the test job failed: ${why ?? 'unknown'}. \`farfield endpoint render\` shows what is submitted, \`farfield endpoint check\` what is missing`,
    );
}
