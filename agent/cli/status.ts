/** `farfield endpoint status` in words. */
import { plainLine } from '#base/plain.ts';
import type { AgentStatus } from '../control.ts';
import type { LastEnd } from '../last-end.ts';

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
  const { descriptor, policy, link, ledger, work, blocks } = status;
  const lines = [
    `${plainLine(status.name)}  ${status.endpoint}`,
    `state    ${status.state}${status.reason === undefined ? '' : `: ${plainLine(status.reason, 2000)}`}`,
    `process  ${status.pid}, since ${new Date(status.since * 1000).toISOString()}`,
    `broker   ${plainLine(status.broker)}: ${link.state}${link.via === '' ? '' : ` by ${plainLine(link.via)}`}${link.detail === '' ? '' : `, ${plainLine(link.detail)}`}`,
    `policy   ${policy.rules} rules, ${policy.digest.slice(0, 19)}${policy.problem === undefined ? '' : `; NOT the file on disk: ${plainLine(policy.problem, 500)}`}`,
    `work     ${work.tickets} tickets open: ${work.waiting} items wait, ${work.leased} run${work.stale === 0 ? '' : `; ${work.stale} late messages refused`}`,
    `ledger   epoch ${ledger.epoch.n}, ${ledger.packsToSend} packs on their way to the broker`,
  ];
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
