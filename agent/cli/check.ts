/**
 * `farfield endpoint check`: everything that would stop this endpoint, found before its agent runs.
 *
 * Invariants
 *  Q1 Nothing is submitted, written or started that stays; the scheduler is asked for its version and once for its jobs.
 *  Q2 Each check is alone: what one of them throws is that one's failure.
 *  Q3 A failure is what would stop the agent or every call; a warning is what will, or what somebody should know.
 */
import { lstatSync, statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { CliContext } from '#base/cli.ts';
import { fileSystemOf } from '#base/file-systems.ts';
import { readSecret } from '#base/files.ts';
import { plainLine } from '#base/plain.ts';
import { readPolicy } from '../admission/policy.ts';
import { type ResolvedAgentConfig, readAgentConfig } from '../config.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { readIdentity } from '../identity/identity.ts';
import { renderExample } from '../schedulers/jobs.ts';
import { said } from '../schedulers/text.ts';
import { checkBroker } from './check-broker.ts';
import { checkRuntimes } from './check-runtimes.ts';
import { chooseFolder, type FolderOptions } from './common.ts';
import { attempt, type Finding, fail, ok, report, warn } from './findings.ts';
import { dateOf, nowS, sizeOf, withFolder } from './show.ts';
import {
  commandsOf,
  findCommand,
  jobSetting,
  pilotProgram,
  type SiteScheduler,
  siteScheduler,
  VERSION_OF,
} from './site.ts';

/** Renewing needs the root key, which is somewhere else. */
const RENEW_NOTICE_S = 7 * 86_400;
/** Below it the ledger fills within a day of busy work; below the second, at once. */
const DISK_WARN_BYTES = 2 * 1024 ** 3;
const DISK_FAIL_BYTES = 100 * 1024 ** 2;

export function registerCheck(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint
      .command('check')
      .description('look at everything that could stop this endpoint, before its agent runs; nothing is submitted'),
  )
    .option('--no-network', 'leave out the broker')
    .action(async (options: FolderOptions & { network: boolean }, command: Command) => {
      const folder = chooseFolder(context, options);
      const findings = await checkAll(context, folder, { network: options.network });
      report(context, command, { endpoint: folder.root }, findings, `the check of ${folder.root}`);
    });
}

export async function checkAll(
  context: CliContext,
  folder: AgentFolder,
  options: { readonly network: boolean },
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const add = async (code: string, look: () => Promise<Finding[]> | Finding[]): Promise<void> => {
    findings.push(...(await attempt(code, look)));
  };
  let config: ResolvedAgentConfig | undefined;
  await add('config', () => {
    config = readAgentConfig(folder.config);
    return [
      ok('config', `${folder.config}: scheduler ${config.blocks.scheduler}, ${config.blocks.slots} slots a pilot`),
    ];
  });
  await add('identity', () => checkIdentity(context, folder));
  await add('policy', () => checkPolicy(context, folder));
  await add('folder', () => checkFolder(folder, config));
  await add('disk', () => [diskFinding(folder.root)]);
  if (config !== undefined) {
    const known = config;
    await add('scheduler', () => checkScheduler(context, folder, known));
    await add('runtime', () => checkRuntimes(context, folder, known));
    await add('models', () => checkModels(known));
    if (options.network) await add('broker', () => checkBroker(context, folder, known));
  }
  return findings;
}

function checkIdentity(context: CliContext, folder: AgentFolder): Finding[] {
  const identity = readIdentity(folder, nowS(context));
  const leftS = identity.expS - nowS(context);
  const what = `${plainLine(identity.name)} (${identity.endpoint}), its online key holds until ${dateOf(identity.expS)}`;
  if (leftS < RENEW_NOTICE_S) return [warn('identity', what, 'run `farfield endpoint renew` where the root key is')];
  return [ok('identity', what)];
}

function checkPolicy(context: CliContext, folder: AgentFolder): Finding[] {
  let endpoint: string | undefined;
  try {
    endpoint = readIdentity(folder, nowS(context)).endpoint;
  } catch {
    // Said by the check of the identity.
  }
  const policy = readPolicy(folder.policy, endpoint, process.getuid?.() ?? 0);
  const { pinned } = policy.authorities;
  if (policy.rules.length === 0)
    return [
      warn(
        'policy',
        `${folder.policy} has no rules: every call is refused`,
        'write a rule (the file shows one), pin somebody with `farfield endpoint trust`, and try a call with `farfield policy test`',
      ),
    ];
  if (pinned.size === 0)
    return [
      warn(
        'policy',
        `${folder.policy} pins nobody`,
        'pin a person: farfield endpoint trust KID --sub NAME --until 30d',
      ),
    ];
  return [ok('policy', `${policy.rules.length} rules, ${pinned.size} people, ${policy.digest.slice(0, 19)}`)];
}

/** Folders that the agent would refuse, each with the command that mends it. */
export function checkFolder(folder: AgentFolder, config: ResolvedAgentConfig | undefined): Finding[] {
  const findings: Finding[] = [];
  const uid = process.getuid?.();
  for (const path of [folder.root, folder.keys, folder.spool, folder.blocks, folder.run]) {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined) {
      if (path === folder.root || path === folder.keys)
        findings.push(fail('folder', `${path} is not there`, 'make the endpoint with `farfield endpoint init`'));
      continue;
    }
    if (!stat.isDirectory())
      findings.push(fail('folder', `${path} is no folder`, `move it away: mv ${path} ${path}.old`));
    else if (uid !== undefined && stat.uid !== uid)
      findings.push(
        fail('folder', `${path} belongs to user ${stat.uid}`, `run as that user, or: chown -R ${uid} ${path}`),
      );
    else if ((stat.mode & 0o077) !== 0)
      findings.push(
        fail(
          'folder',
          `${path} is open to others (mode ${(stat.mode & 0o777).toString(8)})`,
          `look at what lies in it, then: chmod 700 ${path}`,
        ),
      );
  }
  if (findings.length === 0) {
    readSecret(folder.onlineKey);
    findings.push(ok('folder', `${folder.root} and what lies in it are yours alone`));
  }
  findings.push(...fileSystemFinding(folder, config));
  return findings;
}

function fileSystemFinding(folder: AgentFolder, config: ResolvedAgentConfig | undefined): Finding[] {
  const found = fileSystemOf(folder.root);
  const what = `${folder.root} lies on ${found.name}`;
  if (found.kind === 'network' && config?.state.onNetwork !== 'allow')
    return [
      fail(
        'file-system',
        `${what}, which other hosts see: the ledger is not safe there`,
        'put the state on a disk of this host (farfield endpoint init --state /var/lib/farfield/NAME); only blocks and images need a shared folder',
      ),
    ];
  if (found.kind === 'network')
    return [
      warn(
        'file-system',
        `${what}, by configuration`,
        'a disk of this host is safer; keep backups, and never run two agents',
      ),
    ];
  if (found.kind === 'memory')
    return [warn('file-system', `${what}: a restart of this machine loses it`, 'move it to a disk')];
  return [ok('file-system', what)];
}

export function diskFinding(path: string): Finding {
  const { bavail, bsize, ffree, files } = statfsSync(path);
  const free = bavail * bsize;
  const what = `${sizeOf(free)} free where ${path} lies`;
  const remedy =
    'make room: `farfield image prune`, a smaller blobCacheMiB, or another disk; the endpoint pauses when the ledger cannot grow';
  if (free < DISK_FAIL_BYTES) return fail('disk', what, remedy);
  if (free < DISK_WARN_BYTES) return warn('disk', what, remedy);
  if (files > 0 && ffree < 10_000)
    return warn('disk', `${ffree} inodes free where ${path} lies`, 'remove small files there');
  return ok('disk', what);
}

/** Commands, version, one look, and whether the configuration makes a job at all. */
async function checkScheduler(
  context: CliContext,
  folder: AgentFolder,
  config: ResolvedAgentConfig,
): Promise<Finding[]> {
  const pilot = pilotProgram();
  const findings: Finding[] = [];
  if (statSync(pilot, { throwIfNoEntry: false }) === undefined)
    findings.push(fail('pilot', `${pilot} is not there`, 'install the whole package again'));
  const site = siteScheduler(context, config, folder.root);
  if (site === undefined) return [...findings, ok('scheduler', 'local: pilots run on this machine')];
  const endpoint = readIdentity(folder, nowS(context)).endpoint;
  renderExample(site.driver, jobSetting(context, folder, config, endpoint), join(folder.blocks, 'EXAMPLE'));
  const path = site.env.PATH ?? '';
  const missing = commandsOf(site).filter((name) => findCommand(name, path) === undefined);
  if (missing.length > 0)
    return [
      ...findings,
      fail(
        'scheduler',
        `${site.name}: not found on ${path}: ${missing.join(', ')}`,
        'name their folder in config.yaml: blocks: { batch: { commandPath: /opt/.../bin:/usr/bin:/bin } }',
      ),
    ];
  return [...findings, ...(await askScheduler(site))];
}

async function askScheduler(site: SiteScheduler): Promise<Finding[]> {
  const asked = await site.run({ argv: VERSION_OF[site.name] });
  const version = asked.kind === 'done' ? said(asked.output.stdout, asked.output.stderr).slice(0, 80) : asked.why;
  const [live] = site.driver.sources;
  // An id that no job has: the answer shows that the scheduler answers, and that its output can be read.
  const looked = await site.run(live.command(['1']));
  const listing =
    looked.kind === 'done' ? live.read(looked.output, ['1']) : { kind: 'failed' as const, why: looked.why };
  const what = `${site.name}, ${version}`;
  // Some schedulers answer a question about a job that is not there with an exit code: that is an answer.
  const unknownJob = /unknown|does not exist|not found|invalid job|no matching|is not found|no such/i;
  if (listing.kind === 'failed' && !unknownJob.test(listing.why))
    return [
      fail(
        'scheduler',
        `${what}: it does not answer a look (${listing.why})`,
        `run it by hand: ${live.command(['1']).argv.join(' ')}`,
      ),
    ];
  return [ok('scheduler', what)];
}

function checkModels(config: ResolvedAgentConfig): Finding[] {
  const findings = config.models
    .filter((model) => statSync(join(model, 'model.json'), { throwIfNoEntry: false }) === undefined)
    .map((model) =>
      fail('models', `${model} has no model.json`, 'correct `models` in config.yaml, or restore the folder'),
    );
  if (findings.length > 0) return findings;
  return config.models.length === 0 ? [] : [ok('models', `${config.models.length} model folders`)];
}
