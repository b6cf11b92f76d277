/**
 * What is read from the ledger, on a connection of its own: a start that reads all open work, or an upload that asks for packs,
 * never waits for the writer, nor the writer for it.
 */
import type { DatabaseSync } from 'node:sqlite';
import { createStatements, type Statements } from '#base/sqlite/module.ts';
import type { LedgerAnswer, LedgerQuery, OpenTicket, Payload, PilotRow, StoredPack, UsageRow } from './ledger.ts';
import { readEpoch, type TicketRow, u32At } from './ledger-columns.ts';

export function openReads(db: DatabaseSync): (query: LedgerQuery) => LedgerAnswer {
  const sql = createStatements(db);
  return (query) => {
    switch (query.kind) {
      case 'known': {
        const row = sql('select hash from ticket where principal = ? and jti = ?').get(query.principal, query.jti) as
          | { hash: string }
          | undefined;
        return { kind: 'known', hash: row?.hash };
      }
      case 'open':
        return { kind: 'open', tickets: readOpen(sql) };
      case 'packs':
        return { kind: 'packs', packs: readPacks(sql, query) };
      case 'pilots':
        return {
          kind: 'pilots',
          pilots: sql('select no, block, node, kid, jwk, slots from pilot order by no').all() as unknown as PilotRow[],
        };
      case 'openBlobs': {
        const rows = sql("select blobs from pack where acked = 0 and blobs <> ''").all() as { blobs: string }[];
        return { kind: 'openBlobs', blobs: new Set(rows.flatMap(({ blobs }) => blobs.split(' '))) };
      }
      case 'usage':
        return {
          kind: 'usage',
          rows: sql(
            "select key, hours, keepUntil from usage where key not like 'spent/%'",
          ).all() as unknown as UsageRow[],
        };
      case 'meta': {
        const rows = sql('select key, value from meta').all() as { key: string; value: string }[];
        const meta = Object.fromEntries(rows.map(({ key, value }) => [key, value]));
        const newest = sql('select max(jti) as jti from ticket').get() as { jti: string | null };
        return {
          kind: 'meta',
          meta,
          leaseEpoch: highestLeaseEpoch(sql),
          newestJti: newest.jti ?? '',
          epoch: readEpoch(sql) ?? { n: 0, since: 0 },
        };
      }
    }
  };
}

/** Packs with results in the spool are a line of their own: their uploads must not hold up the others. */
function readPacks(sql: Statements, query: Extract<LedgerQuery, { kind: 'packs' }>): StoredPack[] {
  const test = query.withBlobs ? "blobs <> ''" : "blobs = ''";
  const rows = sql(`select no, bytes, blobs from pack where acked = 0 and ${test} and no > ? order by no limit ?`).all(
    query.after,
    query.limit,
  );
  return (rows as { no: number; bytes: Uint8Array; blobs: string }[]).map((row) => ({
    ...row,
    blobs: row.blobs === '' ? [] : row.blobs.split(' '),
  }));
}

/** The highest lease epoch of any open ticket: those of ended ones can fence nothing any more. */
function highestLeaseEpoch(sql: Statements): number {
  let highest = 0;
  for (const { epochs, n } of sql('select epochs, n from ticket').all() as { epochs: Uint8Array; n: number }[]) {
    for (let i = 0; i < n; i++) highest = Math.max(highest, u32At(epochs, i));
  }
  return highest;
}

interface OpenRow extends TicketRow {
  readonly principal: string;
  readonly jti: string;
  readonly id: string;
  readonly token: string;
  readonly chain: string;
  readonly manifest: string;
  readonly manifestText: Uint8Array;
  readonly leaves: Uint8Array;
  readonly exp: number;
  readonly keepUntil: number;
}

/** All work that has not ended, in the order of admission: what a new life of the agent begins with. */
function readOpen(sql: Statements): OpenTicket[] {
  const rows = sql(
    `select t.*, m.text as manifestText from ticket t join manifest m on m.digest = t.manifest where t.open > 0 order by t.no`,
  ).all() as unknown as OpenRow[];
  return rows.map((row) => ({
    ticketNo: row.no,
    ticket: {
      principal: row.principal,
      jti: row.jti,
      id: row.id,
      hash: row.hash,
      token: row.token,
      chain: JSON.parse(row.chain) as string[],
      manifestDigest: row.manifest,
      manifest: row.manifestText,
      n: row.n,
      leaves: row.leaves,
      exp: row.exp,
      keepUntil: row.keepUntil,
    },
    states: row.states,
    starts: row.starts,
    failures: row.failures,
    cancels: row.cancels,
    leaseEpochs: row.epochs,
    pilots: row.pilots,
    payloads: readPayloads(sql, row.no),
  }));
}

/** Deliveries of one ticket, oldest first; a broker may have delivered it in parts. */
function readPayloads(sql: Statements, ticketNo: number): Payload[] {
  const rows = sql('select * from payload where ticketNo = ? order by no').all(ticketNo) as unknown as {
    items: string;
    itemSizes: string;
    itemBytes: Uint8Array;
    inlineSizes: string;
    inline: Uint8Array;
  }[];
  return rows.map((row) => ({
    items: JSON.parse(row.items) as number[],
    itemSizes: JSON.parse(row.itemSizes) as number[],
    itemBytes: row.itemBytes,
    inlineSizes: JSON.parse(row.inlineSizes) as number[],
    inline: row.inline,
  }));
}
