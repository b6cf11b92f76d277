/**
 * What one's own calls used, added up from signed receipts.
 *
 * Invariants
 *  A1 A call counts by what its receipts say. Its ticket says how many nodes and GPUs were asked for, and is believed only where a
 *     receipt names its hash: a broker can leave a call out of the list, and change no number of one that is in it.
 *  A2 Time is the run of the attempt that ended the item, as the pilot measured it. Attempts before it, and waiting for nodes, are in
 *     no receipt: the site's own account (`farfield endpoint usage`) has the former, its scheduler the latter.
 *  A3 Pilots measure a time only from 50 ms on, or for items that read files; shorter ones share one record. They are counted as
 *     `untimed`, never guessed.
 *  A4 Rows are the runner's claim (`rep` of a receipt), as are names of models that come from it; they are shown as such.
 */
import { parseToken } from '#kernel/jws.ts';
import type { OpenedItem, OpenedPack } from '#kernel/receipts.ts';
import type { TicketStatus } from '#protos/http.ts';

export const USAGE_COLUMNS = ['endpoint', 'function', 'model', 'day', 'status'] as const;
export type UsageColumn = (typeof USAGE_COLUMNS)[number];

/** One item that ended. */
export interface UsedItem extends Readonly<Record<UsageColumn, string>> {
  readonly rows: number;
  /** Seconds of its run; undefined: shorter than a pilot measures, or its ticket is not there. */
  readonly runS: number | undefined;
  readonly nodes: number;
  /** Of all its nodes. */
  readonly gpus: number;
}

export interface Used {
  items: number;
  rows: number;
  nodeHours: number;
  gpuHours: number;
  untimed: number;
}

export interface UsedRow extends Used {
  readonly of: readonly string[];
}

/** The items of one verified pack that belong to this call. */
export function usedOf(status: Pick<TicketStatus, 'id' | 'ticket'>, pack: OpenedPack): UsedItem[] {
  const { endpoint, iat } = pack.token.claims;
  const day = new Date(iat * 1000).toISOString().slice(0, 10);
  const asked = status.ticket === undefined ? undefined : ticketOf(status.ticket);
  const used: UsedItem[] = [];
  for (const item of pack) {
    if (item.ticketId !== status.id) continue;
    // A1: a ticket of another hash is not what the endpoint answered.
    const known = asked?.hash === item.ticketHash ? asked : undefined;
    const run = item.meas.ms?.run;
    used.push({
      ...{ endpoint, day, status: item.status, function: known?.fn ?? '', model: known?.model ?? '' },
      rows: rowsOf(item),
      // Of how many nodes, only the ticket says.
      runS: run === undefined || known === undefined ? undefined : run / 1000,
      nodes: known?.nodes ?? 1,
      gpus: known?.gpus ?? 0,
    });
  }
  return used;
}

interface Asked {
  readonly hash: string;
  readonly fn: string;
  readonly model: string;
  readonly nodes: number;
  readonly gpus: number;
}

function ticketOf(text: string): Asked {
  const { claims, hash } = parseToken(['farfield-ticket+jwt', 'farfield-batch+jwt'], text);
  const { fn, mdl, res } = claims;
  return {
    ...{ hash, fn: fn.name, model: mdl.map(({ name }) => name).join('+') },
    ...{ nodes: res.nodes, gpus: res.nodes * res.gpusPerNode },
  };
}

/** A4. Whatever is no count counts nothing. */
function rowsOf({ detail }: OpenedItem): number {
  const { rows } = (detail.rep?.summary ?? {}) as { readonly rows?: unknown };
  return typeof rows === 'number' && Number.isSafeInteger(rows) && rows > 0 ? rows : 0;
}

/** Rows by these columns, most node-hours first, and the sum of all. */
export function sumUsed(
  items: Iterable<UsedItem>,
  by: readonly UsageColumn[],
): { readonly rows: readonly UsedRow[]; readonly total: Used } {
  const groups = new Map<string, UsedRow>();
  const total = nothing();
  for (const item of items) {
    const of = by.map((column) => item[column]);
    const key = JSON.stringify(of);
    const group = groups.get(key) ?? { of, ...nothing() };
    groups.set(key, group);
    for (const sum of [group, total]) {
      sum.items += 1;
      sum.rows += item.rows;
      sum.nodeHours += ((item.runS ?? 0) * item.nodes) / 3600;
      sum.gpuHours += ((item.runS ?? 0) * item.gpus) / 3600;
      if (item.runS === undefined) sum.untimed += 1;
    }
  }
  return { rows: [...groups.values()].sort((a, b) => b.nodeHours - a.nodeHours || b.items - a.items), total };
}

const nothing = (): Used => ({ items: 0, rows: 0, nodeHours: 0, gpuHours: 0, untimed: 0 });
