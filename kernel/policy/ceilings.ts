/**
 * What a matched rule bounds: resources, account and queue, result size, paths, node-hours.
 *
 * Invariants
 *  C1 A ticket's numbers are its own ceilings; they must lie under the rule's. There is no fall-through to another rule.
 *  C2 Paths are compared as text after a check that there is no `.`, `..` or empty part in them. Whoever opens the file
 *     still follows no symbolic link: text alone cannot know where a link leads.
 */
import { type Refusal, refusal } from '../refusal.ts';
import type { Arg, BatchClaims, Output, Resources, TicketClaims } from '../tokens/claims.ts';
import type { Ceilings, ResolvedRule } from './resolve.ts';

/** Node-hours that the ticket's ceilings allow one item to use. */
export function nodeHours(res: Resources): number {
  return (res.nodes * res.wallS) / 3600;
}

/** The first ceiling of the rule that the ticket passes, or undefined. `usedNodeHours`: by this principal, today. */
export function ceilingRefusal(
  rule: ResolvedRule,
  claims: TicketClaims | BatchClaims,
  usedNodeHours: number,
): Refusal | undefined {
  const { ceilings } = rule;
  const { res, out } = claims;
  const over = (what: string, asked: number, allowed: number): Refusal | undefined =>
    asked <= allowed
      ? undefined
      : refusal('ceilings', 'E_CEILING', `rule "${rule.name}" allows ${what} ${allowed}, the ticket asks for ${asked}`);
  return (
    over('nodes', res.nodes, ceilings.nodes) ??
    over('gpus (of all nodes)', res.nodes * res.gpusPerNode, ceilings.gpus) ??
    over('cpusPerNode', res.cpusPerNode, ceilings.cpusPerNode) ??
    over('memMiBPerNode', res.memMiBPerNode, ceilings.memMiBPerNode) ??
    over('wallS', res.wallS, ceilings.wallS) ??
    over('out.maxBytes', out.maxBytes, ceilings.maxBytes) ??
    over('nodeHoursPerDay', nodeHours(res) + usedNodeHours, ceilings.nodeHoursPerDay) ??
    namesRefusal(rule.name, ceilings, res)
  );
}

function namesRefusal(rule: string, ceilings: Ceilings, res: Resources): Refusal | undefined {
  if (res.account !== undefined && !ceilings.accounts.has(res.account)) {
    return refusal('ceilings', 'E_CEILING', `rule "${rule}" does not list account ${res.account}`);
  }
  if (res.queue !== undefined && !ceilings.queues.has(res.queue)) {
    return refusal('ceilings', 'E_CEILING', `rule "${rule}" does not list queue ${res.queue}`);
  }
  return undefined;
}

/** The first path among arguments and output that the rule does not allow, or undefined. */
export function pathRefusal(rule: ResolvedRule, args: readonly Arg[], out: Output): Refusal | undefined {
  for (const arg of args) {
    if (arg.at === 'endpoint' && !inside(arg.path, rule.read)) {
      return refusal(
        'paths',
        'E_PATH',
        `rule "${rule.name}" does not let argument ${arg.name} be read from ${arg.path}`,
      );
    }
  }
  if (typeof out.to === 'object' && !inside(out.to.path, rule.write)) {
    return refusal('paths', 'E_PATH', `rule "${rule.name}" does not let the result be written to ${out.to.path}`);
  }
  return undefined;
}

/** Whether a plain absolute path lies in one of the folders (each ends in a slash). */
export function inside(path: string, folders: readonly string[]): boolean {
  if (!path.startsWith('/') || path.includes('\0') || path.length > 4096) return false;
  const parts = path.slice(1).split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..')) return false;
  return folders.some((folder) => path.startsWith(folder));
}
