/**
 * `farfield endpoint doctor`: what is wrong with an endpoint that runs, or should, and what to do about each.
 *
 * `check` asks whether it could work; this asks whether it does. Codes do not change: docs/operations.md explains each. Only
 * what needs somebody's eyes is printed, unless --all asks for what is well, too.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { buildText, readBuild } from '#base/build.ts';
import type { CliContext } from '#base/cli.ts';
import { plainLine } from '#base/plain.ts';
import { type ResolvedAgentConfig, readAgentConfig } from '../config.ts';
import type { AgentStatus } from '../control.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { list } from '../images/cache.ts';
import { readEnd } from '../last-end.ts';
import { readNotedBuild, wasStopped } from '../running.ts';
import { checkAll } from './check.ts';
import { allowedRuntimes, userNamespaces } from './check-runtimes.ts';
import { askStatus, chooseFolder, type FolderOptions } from './common.ts';
import { attempt, type Finding, fail, ok, report, warn } from './findings.ts';
import { readLedger } from './ledger-file.ts';
import { logFiles, readLog } from './logs.ts';
import { nowS, sizeOf, spanOf, withFolder } from './show.ts';

const GiB = 1024 ** 3;
/** A ledger of a million kept tickets is about 2 GiB; reading more at a start takes minutes. */
const LEDGER_LARGE_BYTES = 4 * GiB;
const LOG_LARGE_BYTES = GiB;
/** A drain that is older was forgotten, more often than meant. */
const DRAIN_LONG_S = 2 * 86_400;
const KEY_NOTICE_S = 7 * 86_400;
/** More packs than a minute of full load: the broker does not acknowledge. */
const PACKS_STUCK = 1000;
const RECENT_S = 3600;

export function registerDoctor(endpoint: Command, context: CliContext): void {
  withFolder(endpoint.command('doctor').description('find what is wrong with this endpoint, and what to do about each'))
    .option('--all', 'show what is well, too')
    .option('--no-network', 'leave out the broker')
    .action(async (options: FolderOptions & { all?: boolean; network: boolean }, command: Command) => {
      const folder = chooseFolder(context, options);
      const findings = await diagnose(context, folder, { network: options.network });
      const shown = options.all === true ? findings : findings.filter(({ level }) => level !== 'ok');
      report(
        context,
        command,
        { endpoint: folder.root, checked: findings.length },
        shown,
        `the doctor of ${folder.root}`,
      );
    });
}

export async function diagnose(
  context: CliContext,
  folder: AgentFolder,
  options: { network: boolean },
): Promise<Finding[]> {
  const findings = await checkAll(context, folder, options);
  const add = async (code: string, look: () => Promise<Finding[]> | Finding[]): Promise<void> => {
    findings.push(...(await attempt(code, look)));
  };
  let status: AgentStatus | undefined;
  await add('agent', async () => {
    status = await askStatus(folder, context.signal);
    return status === undefined ? stopped(folder) : [ok('agent', `runs as process ${status.pid}`)];
  });
  const running = status;
  if (running !== undefined) await add('agent', () => ofStatus(running, nowS(context), folder));
  await add('ledger', () => ofLedger(folder, running, nowS(context)));
  await add('sockets', () => ofSockets(folder, running));
  await add('logs', () => ofLogs(context, folder));
  let config: ResolvedAgentConfig | undefined;
  try {
    config = readAgentConfig(folder.config);
  } catch {
    // Said by the check of the configuration.
  }
  const known = config;
  if (known !== undefined) await add('caches', () => ofCaches(folder, known));
  const seen = new Set(findings.map(({ code }) => code));
  if (!seen.has('user-namespaces') && allowedRuntimes(folder).has('apptainer')) findings.push(...userNamespaces());
  return findings;
}

function stopped(folder: AgentFolder): Finding[] {
  const end = readEnd(folder);
  if (end !== undefined)
    return [
      fail(
        'agent-ended',
        `the agent ended by itself: ${plainLine(end.reason, 500)} [${end.code}]`,
        'mend that, then: farfield endpoint start --detach',
      ),
    ];
  if (wasStopped(folder))
    return [warn('agent-stopped', 'the agent was stopped on purpose', 'start it: farfield endpoint start --detach')];
  return [
    fail(
      'agent-down',
      'no agent runs, and nobody stopped it',
      'start it: farfield endpoint start --detach; `farfield endpoint logs` shows its last words',
    ),
  ];
}

/** Of the running agent's own word. */
export function ofStatus(status: AgentStatus, now: number, folder: AgentFolder): Finding[] {
  const findings: Finding[] = [];
  const reason = plainLine(status.reason ?? '', 1500);
  if (status.state === 'paused') findings.push(paused(reason));
  if (status.state === 'draining')
    findings.push(
      warn(
        'draining',
        `it drains and starts nothing new: ${reason}`,
        'when the work is done: farfield endpoint resume',
      ),
    );
  if (status.link.state !== 'live')
    findings.push(
      warn(
        'link',
        `not connected to ${plainLine(status.broker)}: ${plainLine(status.link.detail)}`,
        'results are kept and calls queue there; the finding `broker` says whether it can be reached',
      ),
    );
  if (status.policy.problem !== undefined)
    findings.push(
      fail(
        'policy-not-in-force',
        `the policy on disk is not the one in force: ${plainLine(status.policy.problem, 500)}`,
        'correct it; `farfield policy test` shows the place',
      ),
    );
  if (status.descriptor.expS - now < KEY_NOTICE_S)
    findings.push(
      warn(
        'key-ends',
        `the online key ends in ${spanOf(Math.max(0, status.descriptor.expS - now))}`,
        'run `farfield endpoint renew` where the root key is',
      ),
    );
  if (status.ledger.packsToSend > PACKS_STUCK)
    findings.push(
      warn(
        'results-wait',
        `${status.ledger.packsToSend} packs of results wait for the broker`,
        'look at the link and at the disk of the broker',
      ),
    );
  const unknown = status.blocks.filter(({ state }) => state === 'unknown' || state === 'unclear');
  if (unknown.length > 0)
    findings.push(
      warn(
        'blocks-unknown',
        `the scheduler does not say what became of ${unknown.map(({ id }) => id).join(', ')}`,
        'they count against maxBlocks until it does; look for jobs named ff-* there, and cancel those that are not wanted',
      ),
    );
  const held = status.blocks.filter(({ state }) => state === 'held');
  if (held.length > 0)
    findings.push(
      warn(
        'blocks-held',
        held.map(({ id, detail }) => `${id}: ${plainLine(detail)}`).join('; '),
        'release the job, or cancel it; the scheduler names who holds it',
      ),
    );
  const noted = readNotedBuild(folder);
  if (noted !== undefined && buildText(noted) !== buildText(readBuild()))
    findings.push(
      warn(
        'version',
        `the agent that runs is ${buildText(noted)}, and this command is ${buildText(readBuild())}`,
        'farfield endpoint restart (blocks go on)',
      ),
    );
  return findings;
}

function paused(reason: string): Finding {
  if (/clock/.test(reason))
    return fail(
      'clock-jump',
      reason,
      'set the clock (chronyd), look at what was admitted, then: farfield endpoint resume',
    );
  if (/died at their start|did not start|refused the job/.test(reason))
    return fail(
      'breaker',
      reason,
      'mend what it prints (`farfield endpoint test-job` tries one), then: farfield endpoint resume',
    );
  if (/ledger/.test(reason)) return fail('ledger-full', reason, 'make room on its disk; it goes on by itself');
  return fail('paused', reason, 'when that is mended: farfield endpoint resume');
}

function ofLedger(folder: AgentFolder, status: AgentStatus | undefined, now: number): Finding[] {
  const facts = readLedger(folder);
  if (facts === undefined) return [];
  const findings: Finding[] = [];
  if (facts.bytes > LEDGER_LARGE_BYTES)
    findings.push(
      warn(
        'ledger-large',
        `the ledger has ${sizeOf(facts.bytes)} for ${facts.tickets} tickets`,
        'a smaller retentionS in config.yaml forgets ended work earlier',
      ),
    );
  if (status === undefined && facts.blocks.length > 0)
    findings.push(
      warn(
        'orphan-blocks',
        `no agent runs, and ${facts.blocks.length} blocks may hold nodes (${facts.blocks.slice(0, 4).join(', ')})`,
        'start the agent, which takes them over; pilots end by themselves after blocks.graceS',
      ),
    );
  if (status === undefined && facts.draining)
    findings.push(warn('draining', 'the next agent drains from its start', 'farfield endpoint resume'));
  const { since } = drainOf(status);
  if (since > 0 && now - since > DRAIN_LONG_S)
    findings.push(warn('draining-long', `it has drained for ${spanOf(now - since)}`, 'farfield endpoint resume'));
  return findings.length > 0
    ? findings
    : [ok('ledger', `${sizeOf(facts.bytes)}, ${facts.tickets} tickets, ${facts.openTickets} of them open`)];
}

function drainOf(status: AgentStatus | undefined): { since: number } {
  return { since: status?.draining?.since ?? 0 };
}

function ofSockets(folder: AgentFolder, status: AgentStatus | undefined): Finding[] {
  if (status !== undefined || !existsSync(folder.run)) return [];
  const stale = readdirSync(folder.run).filter((name) => name.endsWith('.sock'));
  if (stale.length === 0) return [];
  return [
    warn(
      'stale-sockets',
      `sockets of an agent that was killed lie in ${folder.run}: ${stale.join(', ')}`,
      'the next start removes them: farfield endpoint start --detach',
    ),
  ];
}

async function ofLogs(context: CliContext, folder: AgentFolder): Promise<Finding[]> {
  const findings: Finding[] = [];
  const files = logFiles(folder);
  const bytes = [...files.values()].reduce(
    (sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
  if (bytes > LOG_LARGE_BYTES) {
    findings.push(
      warn(
        'logs-large',
        `logs have ${sizeOf(bytes)}`,
        `cut them: truncate -s 0 ${folder.log}; or a higher logLevel in config.yaml`,
      ),
    );
    return findings;
  }
  const path = files.get('agent');
  if (path === undefined) return findings;
  const since = context.clock.now() - RECENT_S * 1000;
  const errors = (await readLog(path, 'agent')).filter(
    ({ level, atMs }) => (level === 'error' || level === 'fatal') && atMs >= since,
  );
  const last = errors.at(-1);
  if (last !== undefined)
    findings.push(
      warn(
        'errors',
        `errors in the last hour: ${errors.length}, the last: ${plainLine(last.text)}`,
        'farfield endpoint logs --since 1h --level error',
      ),
    );
  return findings;
}

async function ofCaches(folder: AgentFolder, config: ResolvedAgentConfig): Promise<Finding[]> {
  const images = config.containers.images ?? folder.images;
  const findings: Finding[] = [];
  const imageBytes = existsSync(images) ? (await list(images)).reduce((sum, { bytes }) => sum + bytes, 0) : 0;
  if (imageBytes > config.containers.cacheBytes)
    findings.push(
      warn(
        'image-cache',
        `images have ${sizeOf(imageBytes)}, over their limit of ${sizeOf(config.containers.cacheBytes)}`,
        'farfield image prune',
      ),
    );
  const blobBytes = await sizeOfFolder(folder.blobs);
  if (blobBytes > config.blobCacheBytes * 1.1)
    findings.push(
      warn(
        'blob-cache',
        `arguments have ${sizeOf(blobBytes)}, over their limit of ${sizeOf(config.blobCacheBytes)}`,
        'it shrinks with the next calls; a smaller blobCacheMiB keeps it down',
      ),
    );
  return findings.length > 0
    ? findings
    : [ok('caches', `images ${sizeOf(imageBytes)}, arguments ${sizeOf(blobBytes)}`)];
}

async function sizeOfFolder(path: string): Promise<number> {
  if (!existsSync(path)) return 0;
  let bytes = 0;
  for (const entry of await readdir(path, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    // A file may go while it is counted.
    bytes += (await stat(join(entry.parentPath, entry.name)).catch(() => undefined))?.size ?? 0;
  }
  return bytes;
}
