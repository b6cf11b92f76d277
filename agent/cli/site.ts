/** The site's scheduler as the agent would use it, for verbs that work before the agent runs. */
import { existsSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CliContext, SERVER_FLAGS } from '#base/cli.ts';
import type { ResolvedAgentConfig } from '../config.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { commandEnv, createRunner, type RunCommand } from '../schedulers/command.ts';
import type { Driver } from '../schedulers/driver.ts';
import { createDriver } from '../schedulers/drivers.ts';
import type { JobSetting } from '../schedulers/jobs.ts';
import { BATCH_DEFAULTS, type BatchSchedulerName } from '../schedulers/options.ts';

/** The pilot's program of this checkout or bundle. */
export function pilotProgram(): string {
  return fileURLToPath(
    new URL(import.meta.url.endsWith('.ts') ? '../../pilot/main.ts' : './pilot.mjs', import.meta.url),
  );
}

/** What a block of this endpoint is made of; the same as the agent's own, so that `render` shows what would be submitted. */
export function jobSetting(
  context: CliContext,
  folder: AgentFolder,
  config: ResolvedAgentConfig,
  endpoint: string,
): JobSetting {
  const [node = process.execPath] = context.self;
  return {
    endpoint,
    config: config.blocks.batch,
    pilot: [node, ...SERVER_FLAGS, pilotProgram()],
    logFile: (block) => join(folder.blocks, block, 'pilot.log'),
  };
}

export interface SiteScheduler {
  readonly name: BatchSchedulerName;
  readonly driver: Driver;
  readonly run: RunCommand;
  readonly env: Readonly<Record<string, string>>;
}

/** Undefined where pilots run on this machine. */
export function siteScheduler(
  context: CliContext,
  config: ResolvedAgentConfig,
  cwd: string,
): SiteScheduler | undefined {
  const { scheduler, batch } = config.blocks;
  if (scheduler === 'local') return undefined;
  const driver = createDriver(scheduler, batch);
  const env = commandEnv(context.env, driver.passEnv, batch.commandPath ?? BATCH_DEFAULTS.commandPath);
  const timeoutMs = (batch.commandS ?? BATCH_DEFAULTS.commandS) * 1000;
  return { name: scheduler, driver, env, run: createRunner({ clock: context.clock, env, cwd, timeoutMs }) };
}

/** Where a command lies on a PATH; undefined where it does not. */
export function findCommand(name: string, path: string): string | undefined {
  if (isAbsolute(name)) return existsSync(name) ? name : undefined;
  return path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find((file) => existsSync(file));
}

/** How each scheduler's own command says its version. */
export const VERSION_OF: Readonly<Record<BatchSchedulerName, readonly [string, ...string[]]>> = {
  slurm: ['sbatch', '--version'],
  pbs: ['qstat', '--version'],
  lsf: ['bsub', '-V'],
  gridengine: ['qstat', '-help'],
  htcondor: ['condor_version'],
  flux: ['flux', '--version'],
  kubernetes: ['kubectl', 'version'],
};

/** Every command that the driver may call. */
export function commandsOf({ driver }: SiteScheduler): string[] {
  const file = { name: 'x', text: '', executable: false };
  const spec = {
    name: 'x',
    comment: '',
    folder: '/',
    log: '/x',
    nodes: 1,
    wallS: 60,
    pilot: ['/x'],
    options: {},
  } as const;
  const all = [
    driver.submit(file, '/x', spec),
    ...driver.sources.map((source) => source.command(['1'])),
    ...driver.finders.map((finder) => finder.command('x')),
    driver.cancel(['1']),
  ];
  return [...new Set(all.map(({ argv }) => argv[0]))];
}
