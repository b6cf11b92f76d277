/**
 * Node-hours that were used: of a principal under a rule in a day (UTC), of a delegation, of a batch.
 *
 * Invariants
 *  U1 What an attempt used is added when its lease ends, however it ends, to a mirror at once and to the ledger with the next
 *     commit: a crash forgets the attempts that run, never those that ended.
 *  U2 A ceiling is compared with what was used plus the item's own ceiling. What runs at the same moment is not reserved: items
 *     that ask for an hour and take a second would refuse each other. So the overshoot is what is in flight, no more.
 *  U3 For the site's own account every ended lease is added up by day, block, user, account, function and model. Ceilings count
 *     whole nodes; here a lease is its share of its node, one slot of as many as there are, so that the leases of a block and
 *     its idle time are what the scheduler charges. Sums are written down every SPENT_MS: a crash forgets so much of them.
 */
import type { Clock, Timer } from '#base/clock.ts';

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
  /** A lease that ended: how long it was, and where (undefined: its pilot is gone). */
  add(work: Work, rule: ResolvedRule | undefined, ms: number, place: SpentAt | undefined): void;
  /** Rows that a runner says it predicted: for the account alone. */
  readonly addRows: (work: Work, block: string, rows: number) => void;
  /** The ceiling that one more item of this ticket would pass. */
  refusal(work: Work, rule: ResolvedRule | undefined): Refusal | undefined;
  /** Writes what was added up (U3). */
  close(): Promise<void>;
}

export interface UsageOptions {
  readonly ledger: Ledger;
  readonly nowS: () => number;
  readonly clock: Pick<Clock, 'after'>;
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
  const spent = createSpent(options);
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
    close: () => spent.close(),
    addRows: (work, block, rows) => spent.sum(work, block, [0, 0, 0, 0, rows]),
    add(work, rule, ms, place) {
      spent.add(work, ms, place);
      const hours = (work.token.claims.res.nodes * ms) / 3_600_000;
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

/** The block of a lease and the slots of its node. */
export interface SpentAt {
  readonly block: string;
  readonly slots: number;
}

/** What is added up, in this order. Seconds, as everything in the ledger. */
export const SPENT_MEASURES = ['calls', 'nodeS', 'coreS', 'gpuS', 'rows'] as const;
export const SPENT = 'spent/';
/** Two seconds of a busy agent are one row a function and user. */
const SPENT_MS = 2000;
/** A site reports by the year. */
const SPENT_KEEP_S = 400 * DAY_S;

/** What one key of the account stands for; the measure is behind it. */
export type SpentKey = readonly [
  day: number,
  block: string,
  principal: string,
  user: string,
  account: string,
  fn: string,
  model: string,
];

export function readSpentKey(text: string): { readonly key: SpentKey; readonly measure: string } | undefined {
  const cut = text.lastIndexOf('/');
  try {
    const key = JSON.parse(text.slice(SPENT.length, cut)) as unknown;
    if (Array.isArray(key) && key.length === 7)
      return { key: key as unknown as SpentKey, measure: text.slice(cut + 1) };
  } catch {
    // Not one of ours.
  }
  return undefined;
}

function createSpent({ ledger, nowS, clock, onError }: UsageOptions): {
  add(work: Work, ms: number, place: SpentAt | undefined): void;
  /** More of each measure. */
  sum(work: Work, block: string, more: readonly number[]): void;
  close(): Promise<void>;
} {
  let sums = new Map<string, number[]>();
  let timer: Timer | undefined;
  const flush = async (): Promise<void> => {
    timer?.cancel();
    timer = undefined;
    if (sums.size === 0) return;
    const keepUntil = Math.ceil(nowS()) + SPENT_KEEP_S;
    const rows = [...sums].flatMap(([key, values]) =>
      values.flatMap((hours, k) => (hours === 0 ? [] : [{ key: `${key}/${SPENT_MEASURES[k]}`, hours, keepUntil }])),
    );
    sums = new Map();
    await ledger.submit({ kind: 'usage', rows }).catch(onError);
  };
  const sum = ({ token, ticket, chain }: Work, block: string, more: readonly number[]): void => {
    const { res, fn, mdl } = token.claims;
    const { id } = chain.delegation.claims.sub;
    const model = mdl.map((each) => each.name).join('+');
    const day = Math.floor(nowS() / DAY_S);
    const account = res.account ?? '';
    const key: SpentKey = [day, block, ticket.principal, id, account, fn.name, model];
    const text = `${SPENT}${JSON.stringify(key)}`;
    const before = sums.get(text) ?? SPENT_MEASURES.map(() => 0);
    sums.set(
      text,
      before.map((value, k) => value + (more[k] ?? 0)),
    );
    timer ??= clock.after(SPENT_MS, () => void flush());
  };
  return {
    sum,
    add(work, ms, place) {
      const { res } = work.token.claims;
      const nodeS = (res.nodes * ms) / 1000;
      const share = nodeS / Math.max(1, place?.slots ?? 1);
      sum(work, place?.block ?? '', [1, share, nodeS * res.cpusPerNode, nodeS * res.gpusPerNode]);
    },
    close: flush,
  };
}
