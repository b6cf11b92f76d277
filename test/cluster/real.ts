/**
 * A driver on a real scheduler: `real.ts SCHEDULER FOLDER [JSON of blocks.batch]`, on a host that may submit, FOLDER on a
 * filesystem that the nodes share. Submits four short jobs, prints what became of each, and exits 1 where that is not what it
 * should be. Part of no `npm test`: it needs the scheduler.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { createLogger } from '#base/log.ts';
import { systemRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type BatchScheduler, createBatchScheduler } from '../../agent/schedulers/batch.ts';
import { commandEnv, createRunner } from '../../agent/schedulers/command.ts';
import { createDriver } from '../../agent/schedulers/drivers.ts';
import { BATCH_DEFAULTS, type BatchConfig, type BatchSchedulerName } from '../../agent/schedulers/options.ts';
import type { JobState } from '../../agent/schedulers/scheduler.ts';

/** A cluster that does not start a job of a second within this long is not idle. */
const LIMIT_MS = 180_000;

interface Trial {
  readonly what: string;
  readonly pilot: string;
  readonly batch?: BatchConfig;
  /** What is done once it runs. */
  readonly cancel?: boolean;
  /** `ended failed`, or a part of the refusal. */
  readonly expected: RegExp;
  /** What the pilot must have written. */
  readonly log?: RegExp;
}

const TRIALS: readonly Trial[] = [
  { what: 'a block that ends by itself', pilot: 'echo hello; exit 0', expected: /^ended completed$/, log: /hello/ },
  { what: 'a block that fails', pilot: 'exit 3', expected: /^ended failed$/ },
  {
    what: 'a block that is cancelled, and drains',
    pilot: 'trap "echo drained; exit 0" TERM; echo ready; while :; do sleep 0.1; done',
    cancel: true,
    expected: /^ended (cancelled|completed|failed)$/,
    log: /drained/,
  },
  {
    what: 'a block that the scheduler refuses',
    pilot: 'exit 0',
    batch: { lines: ['--no-such-option-anywhere'] },
    expected: /^refused: /,
  },
];

async function main([name, root, batchText]: readonly string[]): Promise<number> {
  if (name === undefined || root === undefined) {
    process.stderr.write('real.ts SCHEDULER FOLDER [BATCH_JSON]\n');
    return 2;
  }
  const batch = JSON.parse(batchText ?? '{}') as BatchConfig;
  let wrong = 0;
  for (const trial of TRIALS) {
    const began = systemClock.mono();
    const { end, log } = await attempt(name as BatchSchedulerName, root, { ...batch, ...trial.batch }, trial);
    const ok = trial.expected.test(end) && (trial.log === undefined || trial.log.test(log));
    if (!ok) wrong += 1;
    const seconds = ((systemClock.mono() - began) / 1000).toFixed(1);
    process.stdout.write(
      `${ok ? 'ok    ' : 'WRONG '} ${name}: ${trial.what}: ${end} (${seconds} s)${ok ? '' : `\n${log}`}\n`,
    );
  }
  return wrong === 0 ? 0 : 1;
}

async function attempt(
  name: BatchSchedulerName,
  root: string,
  batch: BatchConfig,
  trial: Trial,
): Promise<{ end: string; log: string }> {
  const block = Buffer.from(systemRandom.bytes(9)).toString('base64url');
  const folder = join(root, block);
  mkdirSync(folder, { recursive: true });
  const driver = createDriver(name, batch);
  using scheduler = createBatchScheduler({
    driver,
    run: createRunner({
      clock: systemClock,
      env: commandEnv(process.env, driver.passEnv, batch.commandPath ?? BATCH_DEFAULTS.commandPath),
      cwd: root,
      timeoutMs: BATCH_DEFAULTS.commandS * 1000,
    }),
    clock: systemClock,
    log: createLogger({ name: 'real', level: 'warn' }),
    endpoint: 'real-test',
    config: batch,
    pilot: ['/bin/bash', '-c', trial.pilot],
    logFile: () => join(folder, 'pilot.log'),
  });
  const log = (): string => {
    try {
      return readFileSync(join(folder, 'pilot.log'), 'utf8');
    } catch {
      return '';
    }
  };
  try {
    const job = await scheduler.submit({ block, folder, shape: { nodes: 1, wallS: 300 }, users: ['alice'] });
    if (trial.cancel === true) {
      await until(scheduler, job, (state) => state.kind === 'running' && log().includes('ready'));
      const { left } = await scheduler.cancel(job, 10_000);
      if (left.length > 0) return { end: `left ${left.join(', ')}`, log: log() };
    }
    const state = await until(scheduler, job, ({ kind }) => kind === 'ended');
    return { end: state.kind === 'ended' ? `ended ${state.cause}` : JSON.stringify(state), log: log() };
  } catch (reason) {
    return { end: `refused: ${FarfieldError.from(reason).message}`, log: log() };
  }
}

async function until(scheduler: BatchScheduler, job: string, reached: (state: JobState) => boolean): Promise<JobState> {
  const end = systemClock.mono() + LIMIT_MS;
  for (;;) {
    const state = (await scheduler.status([job])).get(job) ?? { kind: 'unknown', why: 'no answer' };
    if (reached(state) || systemClock.mono() > end) return state;
  }
}

process.exitCode = await main(process.argv.slice(2));
