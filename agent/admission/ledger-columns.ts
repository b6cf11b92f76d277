/**
 * A ticket's row as columns, each with one entry an item: `states`, `starts`, `failures`, `cancels` of one byte; `epochs` and
 * `pilots` of four bytes, little endian (lease epoch and pilot number of the current or last lease).
 */
import type { Statements } from '#base/sqlite/module.ts';

/** As far as commands need it; `no` is the row's number, `open` how many items have not ended. */
export interface TicketRow {
  readonly no: number;
  readonly hash: string;
  readonly n: number;
  readonly open: number;
  readonly states: Uint8Array;
  readonly starts: Uint8Array;
  readonly failures: Uint8Array;
  readonly cancels: Uint8Array;
  readonly epochs: Uint8Array;
  readonly pilots: Uint8Array;
}

const COLUMNS = 'no, hash, n, open, states, starts, failures, cancels, epochs, pilots';

/** Entry `i` of a column of four bytes an item. Columns are read as bytes: SQLite promises no alignment for a Uint32Array. */
export function u32At(bytes: Uint8Array, i: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(i * 4, true);
}

export function setU32(bytes: Uint8Array, i: number, value: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(i * 4, value, true);
}

/** L1: the key of a ticket is its principal and jti. */
export function rowByKey(sql: Statements, principal: string, jti: string): TicketRow | undefined {
  return sql(`select ${COLUMNS} from ticket where principal = ? and jti = ?`).get(principal, jti) as
    | TicketRow
    | undefined;
}

export function rowByNo(sql: Statements, no: number): TicketRow | undefined {
  return sql(`select ${COLUMNS} from ticket where no = ?`).get(no) as TicketRow | undefined;
}

/** All columns at once: a commit touches few tickets, and one statement for each is what a commit costs. */
export function writeRow(sql: Statements, row: TicketRow, open: number): void {
  sql(
    'update ticket set open = ?, states = ?, starts = ?, failures = ?, cancels = ?, epochs = ?, pilots = ? where no = ?',
  ).run(open, row.states, row.starts, row.failures, row.cancels, row.epochs, row.pilots, row.no);
}

/** The ledger's epoch ({number, seconds since 1970 from which tickets count}); undefined in a new file. */
export function readEpoch(sql: Statements): { n: number; since: number } | undefined {
  const row = sql("select value from meta where key = 'ledgerEpoch'").get() as { value: string } | undefined;
  return row === undefined ? undefined : (JSON.parse(row.value) as { n: number; since: number });
}
