/** Who asked which endpoint for access, and the last answer that was told. */
import type { AccessRow, Rows } from '../rows.ts';
import { num, type Row, type Sql, text } from './sql.ts';

export type AccessRows = Pick<Rows, 'asked' | 'askedBy' | 'saveAsked' | 'newestTold' | 'dropAsked'>;

const accessOf = (row: Row): AccessRow => ({
  principal: num(row, 'principal'),
  endpoint: num(row, 'endpoint'),
  at: num(row, 'at'),
  seq: num(row, 'seq'),
  digest: text(row, 'digest'),
  token: text(row, 'token'),
});

export function accessRows(sql: Sql): AccessRows {
  return {
    asked(principal, endpoint) {
      const row = sql.one('select * from access where principal = ? and endpoint = ?', principal, endpoint);
      return row === undefined ? undefined : accessOf(row);
    },
    askedBy: (principal) => sql.all('select * from access where principal = ? order by seq', principal).map(accessOf),
    saveAsked: ({ principal, endpoint, at, seq, digest, token }) =>
      void sql.run(
        'insert or replace into access values (?, ?, ?, ?, ?, ?)',
        principal,
        endpoint,
        at,
        seq,
        digest,
        token,
      ),
    newestTold: () =>
      sql
        .all(
          'select kid, max(a.seq) as seq from access a join principal p on p.no = a.principal where a.seq > 0 group by kid',
        )
        .map((row) => ({ principal: text(row, 'kid'), seq: num(row, 'seq') })),
    dropAsked: (before) => void sql.run('delete from access where at < ?', before),
  };
}
