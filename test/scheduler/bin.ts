/**
 * Schedulers on PATH, as shell scripts: each command writes down its arguments and prints what a test put beside it. Nothing is
 * simulated; a test says what the site says.
 */
import { appendFileSync, chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, systemClock } from '#base/clock.ts';
import { createLogger } from '#base/log.ts';
import { type BatchScheduler, createBatchScheduler } from '../../agent/schedulers/batch.ts';
import { commandEnv, createRunner } from '../../agent/schedulers/command.ts';
import { createDriver } from '../../agent/schedulers/drivers.ts';
import type { BatchConfig, BatchSchedulerName } from '../../agent/schedulers/options.ts';

export interface Site extends Disposable {
  readonly scheduler: BatchScheduler;
  readonly folder: string;
  /** What a command prints from now on; `sleepS` before it does. */
  says(command: string, answer: { stdout?: string; stderr?: string; code?: number; sleepS?: number }): void;
  /** The arguments of each call so far. */
  calls(command: string): string[];
  block(name: string): string;
}

const COMMANDS = [
  'sbatch',
  'squeue',
  'sacct',
  'scontrol',
  'scancel',
  'qsub',
  'qstat',
  'qselect',
  'qdel',
  'qacct',
  'bsub',
  'bjobs',
  'bkill',
  'condor_submit',
  'condor_q',
  'condor_history',
  'condor_rm',
  'flux',
  'kubectl',
];

const BODY = `#!/bin/sh
name=$(basename "$0"); at=$(dirname "$0")
printf '%s ' "$@" >> "$at/$name.calls"; echo >> "$at/$name.calls"
cat > "$at/$name.stdin"
[ -e "$at/$name.sleep" ] && sleep "$(cat "$at/$name.sleep")"
cat "$at/$name.err" >&2 2>/dev/null
cat "$at/$name.out" 2>/dev/null
exit "$(cat "$at/$name.code" 2>/dev/null || echo 0)"
`;

/** Pauses between commands pass a hundred times as fast; the commands' own time-outs do not. */
const SPEED = 100;
const fast: Clock = {
  now: () => systemClock.now(),
  mono: () => systemClock.mono() * SPEED,
  after: (ms, fn) => systemClock.after(ms / SPEED, fn),
  sleep: (ms, signal) => systemClock.sleep(ms / SPEED, signal),
};

export function openSite(name: BatchSchedulerName, config: BatchConfig = {}): Site {
  const folder = mkdtempSync(join(tmpdir(), 'ff-site-'));
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  for (const command of COMMANDS) {
    writeFileSync(join(bin, command), BODY);
    chmodSync(join(bin, command), 0o755);
    appendFileSync(join(bin, `${command}.calls`), '');
  }
  const driver = createDriver(name, config);
  const scheduler = createBatchScheduler({
    driver,
    run: createRunner({
      clock: systemClock,
      env: commandEnv({ HOME: folder }, driver.passEnv, `${bin}:/usr/bin:/bin`),
      cwd: folder,
      timeoutMs: (config.commandS ?? 60) * 1000,
    }),
    clock: fast,
    log: createLogger({ name: 'test', level: 'silent' }),
    endpoint: 'endpoint-id',
    config,
    pilot: ['/opt/pilot'],
    logFile: (block) => join(folder, block, 'pilot.log'),
  });
  return {
    scheduler,
    folder,
    says(command, { stdout = '', stderr = '', code = 0, sleepS }) {
      writeFileSync(join(bin, `${command}.out`), stdout);
      writeFileSync(join(bin, `${command}.err`), stderr);
      writeFileSync(join(bin, `${command}.code`), String(code));
      rmSync(join(bin, `${command}.sleep`), { force: true });
      if (sleepS !== undefined) writeFileSync(join(bin, `${command}.sleep`), String(sleepS));
    },
    calls: (command) =>
      readFileSync(join(bin, `${command}.calls`), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => line.trimEnd()),
    block(block) {
      const path = join(folder, block);
      mkdirSync(path);
      return path;
    },
    [Symbol.dispose]() {
      scheduler[Symbol.dispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
