/** Who asked which endpoint for access, in maps. */
import type { Rows } from '../rows.ts';
import { must, type Tables } from './tables.ts';

type AccessRows = Pick<Rows, 'asked' | 'askedBy' | 'saveAsked' | 'newestTold' | 'dropAsked'>;

export function accessRows({ access, principals }: Tables): AccessRows {
  return {
    asked: (principal, endpoint) => access.get(`${principal} ${endpoint}`),
    askedBy: (principal) =>
      access
        .entries()
        .flatMap(([, row]) => (row.principal === principal ? [row] : []))
        .sort((a, b) => a.seq - b.seq),
    saveAsked: (row) => access.set(`${row.principal} ${row.endpoint}`, row),
    newestTold() {
      const newest = new Map<number, number>();
      for (const [, { principal, seq }] of access.entries())
        if (seq > 0) newest.set(principal, Math.max(seq, newest.get(principal) ?? 0));
      return [...newest].map(([no, seq]) => ({ principal: must(principals.get(no)).kid, seq }));
    },
    dropAsked(before) {
      for (const key of access.keysWhere((row) => row.at < before)) access.delete(key);
    },
  };
}
