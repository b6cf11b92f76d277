/** `farfield endpoint status` in words. */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { buildText } from '#base/build.ts';
import { withoutSecrets } from '#base/log.ts';
import { plainLine } from '#base/plain.ts';
import type { AgentStatus } from '../control.ts';
import type { AgentFolder } from '../identity/folder.ts';
import type { LastEnd } from '../last-end.ts';
import { readNotedBuild } from '../running.ts';

const DAY_MS = 86_400_000;
/** Renewing needs the root key, which is somewhere else: a week's notice. */
const RENEW_NOTICE_DAYS = 7;

/** Of an agent that does not run. One that ended by itself would do so again: its reason comes before the command. */
export function describeEnd(end: LastEnd | undefined): string {
  const start = 'start it with `farfield endpoint start --detach`';
  if (end === undefined) return start;
  return `it ended by itself at ${new Date(end.at * 1000).toISOString()}: ${plainLine(end.reason, 2000)} (${plainLine(end.code)}). When that is mended, ${start}`;
}

export function describeStatus(status: AgentStatus, nowMs: number): string[] {
  const { descriptor, policy, link, ledger, work, blocks, draining, breaker } = status;
  const lines = [
    `${plainLine(status.name)}  ${status.endpoint}`,
    `state    ${status.state}${status.reason === undefined ? '' : `: ${plainLine(status.reason, 2000)}`}`,
    `process  ${status.pid}, since ${new Date(status.since * 1000).toISOString()}`,
    `broker   ${plainLine(status.broker)}: ${link.state}${link.via === '' ? '' : ` by ${plainLine(link.via)}`}${link.detail === '' ? '' : `, ${plainLine(link.detail)}`}`,
    `policy   ${policy.rules} rules, ${policy.digest.slice(0, 19)}${policy.problem === undefined ? '' : `; NOT the file on disk: ${plainLine(policy.problem, 500)}`}`,
    `work     ${work.tickets} tickets open: ${work.waiting} items wait, ${work.leased} run${work.stale === 0 ? '' : `; ${work.stale} late messages refused`}`,
    `ledger   epoch ${ledger.epoch.n}, ${ledger.packsToSend} packs on their way to the broker`,
  ];
  if (draining !== undefined)
    lines.push(`drain    since ${new Date(draining.since * 1000).toISOString()}; \`farfield endpoint resume\` ends it`);
  if (breaker !== undefined && breaker.failures > 0)
    lines.push(
      `breaker  ${breaker.open ? 'open' : 'closed'}, after ${breaker.failures} blocks in a row that died at their start`,
    );
  for (const block of blocks) {
    lines.push(
      `block    ${block.id} ${block.state}: ${block.pilots} pilots, ${block.busy} of ${block.slots} slots busy${block.detail === '' ? '' : `; ${plainLine(block.detail, 500)}`}`,
    );
  }
  const days = Math.floor((descriptor.expS * 1000 - nowMs) / DAY_MS);
  if (days < RENEW_NOTICE_DAYS)
    lines.push(`keys     the online key ends in ${days} days: run \`farfield endpoint renew\` where the root key is`);
  return lines;
}

/** Of the log, the end is looked at: errors that an admin should see are young. */
const LOG_TAIL_BYTES = 256 * 1024;
const SHOWN_ERRORS = 3;

export interface SeenError {
  readonly at: string;
  readonly message: string;
}

/** The last errors that this agent logged. Under systemd there is no such file: its journal has them. */
export function lastErrors(folder: AgentFolder, sinceS: number): SeenError[] {
  const size = statSync(folder.log, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0) return [];
  const file = openSync(folder.log, 'r');
  try {
    const bytes = Buffer.alloc(Math.min(size, LOG_TAIL_BYTES));
    const read = readSync(file, bytes, 0, bytes.length, size - bytes.length);
    return errorsIn(bytes.subarray(0, read).toString(), sinceS).slice(-SHOWN_ERRORS);
  } finally {
    closeSync(file);
  }
}

function errorsIn(text: string, sinceS: number): SeenError[] {
  return text.split('\n').flatMap((line) => {
    if (!/"level":"(error|fatal)"/.test(line)) return [];
    try {
      const { time, msg, err } = JSON.parse(line) as { time: string; msg: string; err?: { message?: string } };
      if (Date.parse(time) / 1000 < sinceS) return [];
      const message = err?.message === undefined || err.message === msg ? msg : `${msg}: ${err.message}`;
      return [{ at: time, message: withoutSecrets(message) }];
    } catch {
      return [];
    }
  });
}

/** What `status` says of a running agent beyond the agent's own word. */
export function beside(folder: AgentFolder, status: AgentStatus): { version?: string; errors: readonly SeenError[] } {
  const noted = readNotedBuild(folder);
  const errors = lastErrors(folder, status.since);
  return { ...(noted === undefined ? {} : { version: buildText(noted) }), errors };
}

export function describeBeside({ version, errors }: ReturnType<typeof beside>): string[] {
  return [
    ...(version === undefined ? [] : [`version  ${plainLine(version)}`]),
    ...errors.map(({ at, message }) => `error    ${at}: ${plainLine(message, 500)}`),
  ];
}
