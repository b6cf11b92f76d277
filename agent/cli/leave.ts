/**
 * `farfield endpoint leave`: this endpoint and its broker part.
 *
 * Invariants
 *  V1 Open work stops it: what is lost is said first, and only --force goes on.
 *  V2 The broker is told while there is a link, by a signed status: it then shows the endpoint as draining, with the reason, and
 *     as offline once the agent has ended. Calls that name it wait there until they expire, or their owners cancel them.
 *  V3 Ledger and keys stay: the ledger is what proves, and joining again is one invitation. --delete-keys removes the online
 *     key and its descriptor; the root key was never here.
 */
import { appendFileSync, existsSync, rmSync } from 'node:fs';
import type { Command } from 'commander';
import { type CliContext, usage } from '#base/cli.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { auditLine } from '../audit.ts';
import { readBroker } from '../identity/broker.ts';
import type { AgentFolder } from '../identity/folder.ts';
import { readIdentity } from '../identity/identity.ts';
import { noteStopped } from '../running.ts';
import { askRunning, askStatus, chooseFolder, type FolderOptions } from './common.ts';
import { readLedger } from './ledger-file.ts';
import { stopAgent } from './process.ts';
import { nowS, show, withFolder } from './show.ts';

/** A status is sent at once; the link carries it before its close. */
const TOLD_MS = 500;

export function registerLeave(endpoint: Command, context: CliContext): void {
  withFolder(
    endpoint
      .command('leave')
      .description('part from the broker: end the agent and remove the enrolment; ledger and keys stay'),
  )
    .option('--force', 'although work is open: it is lost to its owners')
    .option('--delete-keys', 'remove the online key and the descriptor, too')
    .action(async (options: FolderOptions & { force?: boolean; deleteKeys?: boolean }, command: Command) => {
      const folder = chooseFolder(context, options);
      if (!existsSync(folder.broker)) throw usage('this endpoint has joined no broker; there is nothing to leave');
      const { url } = readBroker(folder);
      const { endpoint: id } = readIdentity(folder, nowS(context));
      const lost = openWork(folder);
      if (lost !== undefined && options.force !== true)
        throw new FarfieldError(
          'E_CONFLICT',
          `${lost}. Let it end: \`farfield endpoint drain --wait\` ends what runs, and what waits must run or be cancelled by its owners; --force leaves it lost`,
        );
      const told = await part(context, folder);
      rmSync(folder.broker, { force: true });
      if (options.deleteKeys === true)
        for (const path of [folder.onlineKey, folder.descriptor]) rmSync(path, { force: true });
      appendFileSync(folder.audit, auditLine(context.clock.now(), 'leave', { broker: url, lost: lost ?? '' }), {
        mode: 0o600,
      });
      show(
        context,
        command,
        { endpoint: id, broker: url, told, lost: lost ?? null, keys: options.deleteKeys !== true },
        [
          `left ${url}${told ? '; it shows this endpoint as offline, with the reason' : '; it could not be told, and shows this endpoint as offline'}`,
          ...(lost === undefined ? [] : [`lost: ${lost}; their owners see them as open until they expire`]),
          options.deleteKeys === true
            ? 'its online key is gone; with the root key, `farfield endpoint renew` makes another'
            : 'its keys and its ledger are kept; `farfield endpoint join TOKEN` comes back',
        ],
      );
    });
}

/** In words; undefined where everything is settled. */
function openWork(folder: AgentFolder): string | undefined {
  const facts = readLedger(folder);
  if (facts === undefined) return undefined;
  const { waiting, leased, packsUnsent } = facts;
  const parts = [
    ...(leased > 0 ? [`${leased} items run`] : []),
    ...(waiting > 0 ? [`${waiting} items wait`] : []),
    ...(packsUnsent > 0 ? [`${packsUnsent} packs of results have not reached the broker`] : []),
  ];
  return parts.length === 0 ? undefined : parts.join(', ');
}

/** Whether the broker was told. */
async function part(context: CliContext, folder: AgentFolder): Promise<boolean> {
  const status = await askStatus(folder, context.signal);
  noteStopped(folder);
  if (status === undefined) return false;
  const reason = `this endpoint left its broker at ${new Date(context.clock.now()).toISOString()}`;
  await askRunning(folder, 'drain', { reason });
  await context.clock.sleep(TOLD_MS, context.signal);
  await stopAgent(context, folder, true);
  return status.link.state === 'live';
}
