/**
 * Packs and the events that tell of them.
 *
 * Invariants
 *  P1 A pack is found again by (endpoint, ledger epoch, the agent's number, digest): the agent sends it until it is acknowledged, and
 *     the second time must be `known`. The digest is part of it, so that other bytes under the same number are no repetition.
 *  P2 The row with the highest number is never deleted, though nothing refers to it: SQLite gives `max + 1`, and a number that came
 *     again would lead a reader's `after` past packs that it never saw. The next pack makes room for it.
 *  P3 Events are cut from the old end only, so that the numbers that are kept have no gap.
 */
import type { PackRow, Rows } from '../rows.ts';
import type { EventKind } from '../store.ts';
import { blob, num, type Row, type Sql, text } from './sql.ts';

type PackRows = Pick<
  Rows,
  'packNo' | 'addPack' | 'pack' | 'releasePack' | 'addEvent' | 'eventsAfter' | 'firstEvent' | 'dropEvents'
>;

export function packRows(sql: Sql): PackRows {
  const packOf = (row: Row | undefined): PackRow | undefined =>
    row === undefined
      ? undefined
      : {
          endpoint: num(row, 'endpoint'),
          ledgerEpoch: num(row, 'ledger'),
          agentPackNo: num(row, 'agent_no'),
          digest: text(row, 'digest'),
          principal: num(row, 'principal'),
          at: num(row, 'at'),
          refs: num(row, 'refs'),
          bytes: blob(row, 'bytes'),
        };
  return {
    packNo(endpoint, ledger, agentNo, digest) {
      const row = sql.one(
        'select no from pack where endpoint = ? and ledger = ? and agent_no = ? and digest = ?',
        endpoint,
        ledger,
        agentNo,
        digest,
      );
      return row === undefined ? undefined : num(row, 'no');
    },
    addPack: (p) =>
      sql.run(
        `insert into pack (endpoint, ledger, agent_no, digest, principal, at, refs, bytes) values (?, ?, ?, ?, ?, ?, ?, ?)`,
        p.endpoint,
        p.ledgerEpoch,
        p.agentPackNo,
        p.digest,
        p.principal,
        p.at,
        p.refs,
        p.bytes,
      ),
    pack: (no) => packOf(sql.one('select * from pack where no = ?', no)),
    // `refs` counts tickets, not items: a pack of 4,096 items of one batch is released once.
    releasePack(no) {
      sql.run('update pack set refs = refs - 1 where no = ?', no);
      sql.run('delete from pack where no = ? and refs <= 0 and no < (select max(no) from pack)', no);
    },
    addEvent: (principal, seq, kind, at, data, pack) =>
      void sql.run(
        'insert into event (principal, seq, kind, at, pack, data) values (?, ?, ?, ?, ?, ?)',
        principal,
        seq,
        kind,
        at,
        pack,
        data,
      ),
    eventsAfter: (principal, seq, limit) =>
      sql
        .all(
          'select seq, kind, pack, data from event where principal = ? and seq > ? order by seq limit ?',
          principal,
          seq,
          limit,
        )
        .map((row) => ({
          seq: num(row, 'seq'),
          kind: text(row, 'kind') as EventKind,
          data: text(row, 'data'),
          packNo: num(row, 'pack'),
        })),
    // 0: none is kept. The reader's cursor tells by it whether what it lacks was forgotten (events/stream.ts, V3).
    firstEvent: (principal) =>
      num(sql.one('select coalesce(min(seq), 0) as first from event where principal = ?', principal) ?? {}, 'first'),
    // By age over all principals (index event_age): the sweeper asks for as many as a short commit holds.
    dropEvents: (before, limit) =>
      sql.change(
        'delete from event where (principal, seq) in (select principal, seq from event where at < ? order by at limit ?)',
        before,
        limit,
      ),
  };
}
