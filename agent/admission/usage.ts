/**
 * Node-hours that were used: of a principal under a rule in a day (UTC), of a delegation, of a batch.
 *
 * Invariants
 *  U1 What an attempt used is added when its lease ends, however it ends, to a mirror at once and to the ledger with the next
 *     commit: a crash forgets the attempts that run, never those that ended.
 *  U2 A ceiling is compared with what was used plus the item's own ceiling. What runs at the same moment is not reserved: items
 *     that ask for an hour and take a second would refuse each other. So the overshoot is what is in flight, no more.
 */

import { nodeHours } from '#kernel/policy/ceilings.ts';
import type { ResolvedRule } from '#kernel/policy/resolve.ts';
import type { Refusal } from '#kernel/refusal.ts';
import type { Work } from '../work/mirror.ts';
import type { Ledger } from './ledger.ts';

interface Meter {
  readonly key: string;
  readonly most: number;
  readonly refusal: Pick<Refusal, 'code' | 'message'>;
  readonly keepUntil: number;
}

export interface Usage {
  usedToday(rule: string, principal: string): number;
  usedByDelegation(hash: string): number;
  /** Whether any ceiling counts hours of this ticket; false costs nothing. */
  counts(work: Work, rule: ResolvedRule | undefined): boolean;
  add(work: Work, rule: ResolvedRule | undefined, hours: number): void;
  /** The ceiling that one more item of this ticket would pass. */
  refusal(work: Work, rule: ResolvedRule | undefined): Refusal | undefined;
}

export interface UsageOptions {
  readonly ledger: Ledger;
  readonly nowS: () => number;
  readonly onError: (error: unknown) => void;
}

const DAY_S = 86_400;

const dayKey = (nowS: number, rule: string, principal: string): string =>
  `day/${Math.floor(nowS / DAY_S)}/${principal}/${rule}`;
const delegationKey = (hash: string): string => `delegation/${hash}`;

export async function openUsage(options: UsageOptions): Promise<Usage> {
  const { ledger, nowS, onError } = options;
  const answer = await ledger.query({ kind: 'usage' });
  const used = new Map((answer.kind === 'usage' ? answer.rows : []).map(({ key, hours }) => [key, hours]));
  const of = (key: string): number => used.get(key) ?? 0;

  const metersOf = ({ ticket, token, chain }: Work, rule: ResolvedRule | undefined): Meter[] => {
    const meters: Meter[] = [];
    const perDay = rule?.ceilings.nodeHoursPerDay ?? Number.POSITIVE_INFINITY;
    if (rule !== undefined && Number.isFinite(perDay)) {
      const key = dayKey(nowS(), rule.name, ticket.principal);
      const message = `rule "${rule.name}" allows ${perDay} node-hours a day, and they are used`;
      meters.push({
        key,
        most: perDay,
        refusal: { code: 'E_CEILING', message },
        keepUntil: Math.ceil(nowS()) + 2 * DAY_S,
      });
    }
    const { scope, adm } = chain.delegation.claims;
    if (scope.nodeHours !== undefined) {
      const message = `the delegation allows ${scope.nodeHours} node-hours in all, and they are used`;
      const key = delegationKey(chain.delegation.hash);
      meters.push({
        key,
        most: scope.nodeHours,
        refusal: { code: 'E_CHAIN_SCOPE', message },
        keepUntil: Math.max(adm, ticket.keepUntil),
      });
    }
    const own = token.typ === 'farfield-batch+jwt' ? token.claims.max?.nodeHours : undefined;
    if (own !== undefined) {
      const message = `the batch allows itself ${own} node-hours, and they are used`;
      meters.push({
        key: `ticket/${ticket.id}`,
        most: own,
        refusal: { code: 'E_CEILING', message },
        keepUntil: ticket.keepUntil,
      });
    }
    return meters;
  };

  return {
    usedToday: (rule, principal) => of(dayKey(nowS(), rule, principal)),
    usedByDelegation: (hash) => of(delegationKey(hash)),
    counts: (work, rule) => metersOf(work, rule).length > 0,
    add(work, rule, hours) {
      const rows = metersOf(work, rule).map(({ key, keepUntil }) => ({ key, hours, keepUntil }));
      if (rows.length === 0) return;
      for (const { key } of rows) used.set(key, of(key) + hours);
      ledger.submit({ kind: 'usage', rows }).catch(onError);
    },
    refusal(work, rule) {
      const asked = nodeHours(work.token.claims.res);
      const over = metersOf(work, rule).find(({ key, most }) => of(key) + asked > most);
      return over === undefined ? undefined : { ...over.refusal, step: 'ceilings' };
    },
  };
}
