/**
 * The ledger's file as it lies on disk, for verbs that work while no agent runs. Read only: the writer is the agent alone.
 */
import { existsSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { lockFolder } from '#base/files.ts';
import type { Detail } from '#kernel/receipts.ts';
import { statusName } from '#kernel/receipts.ts';
import { farfield } from '#protos/generated/link.js';
import { ITEM } from '../admission/item-state.ts';
import { openLedger } from '../admission/ledger.ts';
import type { AgentFolder } from '../identity/folder.ts';

export interface LedgerFacts {
  readonly bytes: number;
  readonly schema: number;
  readonly tickets: number;
  readonly openTickets: number;
  readonly waiting: number;
  readonly leased: number;
  readonly packsUnsent: number;
  /** Blocks that are written down and whose end is not. */
  readonly blocks: readonly string[];
  readonly draining: boolean;
  readonly epoch: number;
}

function sizeOfFile(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Undefined where there is no ledger yet. */
export function readLedger(folder: AgentFolder): LedgerFacts | undefined {
  if (!existsSync(folder.ledger)) return undefined;
  using db = new DatabaseSync(folder.ledger, { readOnly: true });
  const one = (sql: string): number => Number((db.prepare(sql).get() as { n: number | null }).n ?? 0);
  let waiting = 0;
  let leased = 0;
  for (const { states } of db.prepare('select states from ticket where open > 0').all() as { states: Uint8Array }[]) {
    for (const state of states) {
      if (state === ITEM.waiting) waiting += 1;
      else if (state === ITEM.leased) leased += 1;
    }
  }
  const meta = db
    .prepare("select key, value from meta where key like 'block/%' or key in ('drain', 'epoch')")
    .all() as {
    key: string;
    value: string;
  }[];
  return {
    bytes: sizeOfFile(folder.ledger) + sizeOfFile(`${folder.ledger}-wal`),
    schema: Number((db.prepare('pragma user_version').get() as { user_version: number }).user_version),
    tickets: one('select count(*) as n from ticket'),
    openTickets: one('select count(*) as n from ticket where open > 0'),
    waiting,
    leased,
    packsUnsent: one('select count(*) as n from pack where acked = 0'),
    blocks: meta.filter(({ key }) => key.startsWith('block/')).map(({ key }) => key.slice('block/'.length)),
    draining: meta.some(({ key }) => key === 'drain'),
    epoch: Number.parseInt(meta.find(({ key }) => key === 'epoch')?.value ?? '0', 10) || 0,
  };
}

export interface StoredTicket {
  readonly id: string;
  readonly n: number;
  readonly exp: number;
  readonly states: Uint8Array;
  readonly cancels: Uint8Array;
  /** What the receipt of an ended item says; undefined while it is open, or after its pack went. */
  detailOf(i: number): Detail | undefined;
}

interface Row {
  readonly no: number;
  readonly id: string;
  readonly n: number;
  readonly exp: number;
  readonly states: Uint8Array;
  readonly cancels: Uint8Array;
}

const SHOWN = 8;

/** Tickets whose id begins so, and for each what was said of its items. */
export function findTickets(folder: AgentFolder, prefix: string): StoredTicket[] {
  if (!existsSync(folder.ledger) || !/^[0-9a-f]+$/.test(prefix)) return [];
  using db = new DatabaseSync(folder.ledger, { readOnly: true });
  const rows = db
    .prepare('select no, id, n, exp, states, cancels from ticket where substr(id, 1, ?) = ? limit ?')
    .all(prefix.length, prefix, SHOWN) as unknown as Row[];
  return rows.map(({ no, ...row }) => {
    const packs = db
      .prepare(
        'select p.bytes from pack p join pack_ticket t on t.packNo = p.no where t.ticketNo = ? order by p.no desc',
      )
      .all(no) as { bytes: Uint8Array }[];
    return {
      ...row,
      detailOf: (i) =>
        detailIn(
          packs.map(({ bytes }) => bytes),
          row.id,
          i,
        ),
    };
  });
}

function detailIn(packs: readonly Uint8Array[], id: string, i: number): Detail | undefined {
  for (const bytes of packs) {
    const pack = farfield.Pack.decode(bytes);
    for (const ticket of pack.tickets ?? []) {
      const at = ticket.id === id ? (ticket.items ?? []).indexOf(i) : -1;
      const detail = at < 0 ? undefined : pack.details?.[ticket.detail?.[at] ?? -1];
      if (detail !== undefined) return JSON.parse(Buffer.from(detail).toString()) as Detail;
    }
  }
  return undefined;
}

export function wordOf(state: number): string {
  if (state === ITEM.waiting) return 'waiting';
  if (state === ITEM.leased) return 'running';
  return state >= ITEM.ended ? (statusName(state - ITEM.ended) ?? 'ended') : 'not here';
}

/** While no agent runs: sets or removes the mark of a drain. Refused while one does. */
export async function markDrain(folder: AgentFolder, value: string): Promise<void> {
  using _lock = lockFolder(folder.root);
  await using ledger = await openLedger({ file: folder.ledger });
  await ledger.submit({ kind: 'meta', key: 'drain', value });
}
