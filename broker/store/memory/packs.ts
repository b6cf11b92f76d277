/**
 * Packs and events in maps.
 *
 * Same promises as sqlite/packs.ts: a pack is known again by four facts of the agent, the newest keeps its number, events leave from
 * the old end.
 */
import type { Rows } from '../rows.ts';
import type { EventRow, Tables } from './tables.ts';

type PackRows = Pick<
  Rows,
  'packNo' | 'addPack' | 'pack' | 'releasePack' | 'addEvent' | 'eventsAfter' | 'firstEvent' | 'dropEvents'
>;

export function packRows(tables: Tables): PackRows {
  const packKey = (endpoint: number, ledger: number, agentNo: number, digest: string): string =>
    `${endpoint} ${ledger} ${agentNo} ${digest}`;
  const eventsOf = (principal: number): EventRow[] =>
    tables.events
      .entries()
      .map(([, row]) => row)
      .filter((row) => row.principal === principal)
      .sort((a, b) => a.seq - b.seq);
  return {
    packNo: (...key) => tables.packNos.get(packKey(...key)),
    addPack(row) {
      const no = tables.packs.nextNo();
      tables.packs.set(no, row);
      tables.packNos.set(packKey(row.endpoint, row.ledgerEpoch, row.agentPackNo, row.digest), no);
      return no;
    },
    pack: (no) => tables.packs.get(no),
    releasePack(no) {
      const row = tables.packs.get(no);
      if (row === undefined) return;
      if (row.refs > 1 || no === tables.packs.newest) return tables.packs.set(no, { ...row, refs: row.refs - 1 });
      tables.packNos.delete(packKey(row.endpoint, row.ledgerEpoch, row.agentPackNo, row.digest));
      tables.packs.delete(no);
    },

    addEvent: (principal, seq, kind, at, data, packNo) =>
      tables.events.set(`${principal} ${seq}`, { principal, seq, kind, at, data, packNo }),
    eventsAfter: (principal, seq, limit) =>
      eventsOf(principal)
        .filter((row) => row.seq > seq)
        .slice(0, limit)
        .map(({ seq: no, kind, data, packNo }) => ({ seq: no, kind, data, packNo })),
    firstEvent: (principal) => eventsOf(principal)[0]?.seq ?? 0,
    // In order of insertion, which is the order of time: commands carry `nowS`, and the clock of a test may stand still.
    dropEvents(before, limit) {
      const old = tables.events.keysWhere((row) => row.at < before).slice(0, limit);
      for (const key of old) tables.events.delete(key);
      return old.length;
    },
  };
}
