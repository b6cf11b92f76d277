/**
 * The commands of the ledger, run in the writer's thread, several in one transaction. Conditions: ledger.ts; tables:
 * ledger-schema.ts; the columns of a ticket: ledger-columns.ts.
 *
 * Invariants
 *  C1 A command that is refused (`stale`, `replay`) has changed nothing: it looks first and writes then.
 *  C2 A change of an item tests the byte that it changes: who holds an old lease, or comes twice, finds another state there.
 */
import type { DatabaseSync } from 'node:sqlite';
import { createStatements, type Statements } from '#base/sqlite/module.ts';
import { ITEM } from './item-state.ts';
import type {
  EndedItems,
  HeldItem,
  LeaseGrant,
  LedgerCommand,
  LedgerResult,
  NewTicket,
  Payload,
  PilotRow,
} from './ledger.ts';
import { readEpoch, rowByKey, rowByNo, setU32, type TicketRow, u32At, writeRow } from './ledger-columns.ts';

export { openReads } from './ledger-reads.ts';
export { schema } from './ledger-schema.ts';

/** About the largest row of a batch: what fits can go on. */
const PROBE_BYTES = 128 * 1024;

export function open(db: DatabaseSync): (command: LedgerCommand) => LedgerResult {
  const sql = createStatements(db);
  return (command) => {
    switch (command.kind) {
      case 'admit':
        return admit(sql, command);
      case 'refuse':
        return refuse(sql, command);
      case 'lease':
        return lease(sql, command.ticketNo, command.grant);
      case 'return':
        return giveBack(sql, command.held, command.charged);
      case 'end':
        return end(sql, command);
      case 'cancel':
        return cancel(sql, command);
      case 'packsAcked':
        for (const no of command.nos) sql('update pack set acked = 1 where no = ?').run(no);
        return { kind: 'done', count: command.nos.length };
      case 'packsAgain':
        return packsAgain(sql, command.ticketNos);
      case 'redeem':
        return redeem(sql, command.jti, command.exp, command.pilot);
      case 'savePilot':
        sql('update pilot set node = ?, slots = ? where no = ?').run(
          command.pilot.node,
          command.pilot.slots,
          command.pilot.no,
        );
        return { kind: 'pilot', no: command.pilot.no };
      case 'dropPilot':
        return { kind: 'done', count: Number(sql('delete from pilot where no = ?').run(command.no).changes) };
      case 'meta':
        if (command.value === '') sql('delete from meta where key = ?').run(command.key);
        else
          sql('insert into meta values (?, ?) on conflict (key) do update set value = excluded.value').run(
            command.key,
            command.value,
          );
        return { kind: 'done', count: 1 };
      case 'newEpoch':
        return newEpoch(sql, command.since);
      case 'usage':
        for (const { key, hours, keepUntil } of command.rows) {
          sql(
            'insert into usage values (?, ?, ?) on conflict (key) do update set hours = hours + excluded.hours, keepUntil = max(keepUntil, excluded.keepUntil)',
          ).run(key, hours, keepUntil);
        }
        return { kind: 'done', count: command.rows.length };
      case 'probe':
        sql("insert into meta values ('probe', zeroblob(?))").run(PROBE_BYTES);
        return { kind: 'done', count: Number(sql("delete from meta where key = 'probe'").run().changes) };
      case 'purge':
        return purge(sql, command.nowS);
    }
  };
}

/** A new row, all items absent: they become waiting as they are delivered. */
function insertTicket(sql: Statements, t: NewTicket): TicketRow {
  const { n } = t;
  const bytes = (): Uint8Array => new Uint8Array(n);
  const words = (): Uint8Array => new Uint8Array(n * 4);
  const row = {
    hash: t.hash,
    n,
    open: 0,
    states: bytes(),
    starts: bytes(),
    failures: bytes(),
    cancels: bytes(),
    epochs: words(),
    pilots: words(),
  };
  sql('insert into manifest values (?, ?) on conflict do nothing').run(t.manifestDigest, t.manifest);
  const { lastInsertRowid } = sql(
    `insert into ticket (principal, jti, id, hash, token, chain, manifest, n, leaves, exp, keepUntil, open, states, starts, failures, cancels, epochs, pilots)
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)`,
  ).run(
    t.principal,
    t.jti,
    t.id,
    t.hash,
    t.token,
    JSON.stringify(t.chain),
    t.manifestDigest,
    n,
    t.leaves,
    t.exp,
    t.keepUntil,
    row.states,
    row.starts,
    row.failures,
    row.cancels,
    row.epochs,
    row.pilots,
  );
  return { no: Number(lastInsertRowid), ...row };
}

/**
 * L1: items seen before are answered as they stand (`ended`, or nothing for open ones); fresh ones become waiting, and are leased
 * in the same commit where the engine has a place for them: one fsync less before they run.
 */
function admit(sql: Statements, command: Extract<LedgerCommand, { kind: 'admit' }>): LedgerResult {
  const { ticket, payload } = command;
  const known = rowByKey(sql, ticket.principal, ticket.jti);
  if (known !== undefined && known.hash !== ticket.hash) return { kind: 'replay', storedHash: known.hash };
  const row = known ?? insertTicket(sql, ticket);
  const fresh: number[] = [];
  const ended: number[] = [];
  for (const i of payload.items) {
    const state = row.states[i] ?? 0;
    if (state === ITEM.absent) {
      row.states[i] = ITEM.waiting;
      fresh.push(i);
    } else if (state >= ITEM.ended) ended.push(i);
  }
  if (fresh.length > 0) savePayload(sql, row.no, payload);
  const cancelled = applyTombstone(sql, row, ticket, fresh);
  // Fresh ones alone: an item that waited before is the engine's to lease, which would not learn of this grant.
  const leased = command.lease === undefined ? [] : grantLease(row, { ...command.lease, items: fresh });
  if (fresh.length > 0) writeRow(sql, row, row.open + fresh.length);
  rememberTime(sql, command.now);
  const attempts = leased.map((i) => row.starts[i] ?? 0);
  return { kind: 'admitted', ticketNo: row.no, fresh, ended, cancelled, leased, attempts };
}

/** A refusal after a valid chain is final: all items end in the commit that stores its receipt. */
function refuse(sql: Statements, command: Extract<LedgerCommand, { kind: 'refuse' }>): LedgerResult {
  const { ticket, status, pack } = command;
  const known = rowByKey(sql, ticket.principal, ticket.jti);
  if (known !== undefined) {
    return known.hash === ticket.hash
      ? { kind: 'known', ticketNo: known.no }
      : { kind: 'replay', storedHash: known.hash };
  }
  const row = insertTicket(sql, ticket);
  row.states.fill(ITEM.ended + status);
  writeRow(sql, row, 0);
  rememberTime(sql, command.now);
  return { kind: 'ended', packNo: insertPack(sql, ticket.principal, pack, [], [row.no]) };
}

/** A signed pack, to be sent until the broker acknowledges it; `blobs` names files of the spool to upload first. */
function insertPack(
  sql: Statements,
  principal: string,
  pack: Uint8Array,
  blobs: readonly string[],
  ticketNos: readonly number[],
): number {
  const { lastInsertRowid } = sql('insert into pack (principal, bytes, blobs, acked) values (?, ?, ?, 0)').run(
    principal,
    pack,
    blobs.join(' '),
  );
  const packNo = Number(lastInsertRowid);
  for (const no of ticketNos) sql('insert into pack_ticket values (?, ?) on conflict do nothing').run(no, packNo);
  return packNo;
}

function savePayload(sql: Statements, ticketNo: number, p: Payload): void {
  sql('insert into payload (ticketNo, items, itemSizes, itemBytes, inlineSizes, inline) values (?, ?, ?, ?, ?, ?)').run(
    ticketNo,
    JSON.stringify(p.items),
    JSON.stringify(p.itemSizes),
    p.itemBytes,
    JSON.stringify(p.inlineSizes),
    p.inline,
  );
}

/** A cancel may overtake its ticket: its tombstone marks the items as they come. */
function applyTombstone(sql: Statements, row: TicketRow, ticket: NewTicket, fresh: readonly number[]): number[] {
  const found = sql('select items from tombstone where principal = ? and jti = ?').get(ticket.principal, ticket.jti) as
    | { items: string }
    | undefined;
  if (found === undefined) return [];
  const items = JSON.parse(found.items) as 'all' | number[];
  const hit = items === 'all' ? [...fresh] : fresh.filter((i) => items.includes(i));
  for (const i of hit) row.cancels[i] = 1;
  return hit;
}

/** Marks what may be leased and returns it: waiting, and not cancelled. */
function grantLease(row: TicketRow, grant: LeaseGrant): number[] {
  const granted: number[] = [];
  for (const i of grant.items) {
    if (row.states[i] !== ITEM.waiting || row.cancels[i] === 1 || (row.starts[i] ?? 255) >= 255) continue;
    row.states[i] = ITEM.leased;
    row.starts[i] = (row.starts[i] ?? 0) + 1;
    setU32(row.epochs, i, grant.leaseEpoch);
    setU32(row.pilots, i, grant.pilot);
    granted.push(i);
  }
  return granted;
}

/** L2: the attempt's number is the count of starts, taken here and nowhere else. */
function lease(sql: Statements, ticketNo: number, grant: LeaseGrant): LedgerResult {
  const row = rowByNo(sql, ticketNo);
  if (row === undefined) return { kind: 'stale', why: `there is no ticket ${ticketNo}` };
  const items = grantLease(row, grant);
  if (items.length > 0) writeRow(sql, row, row.open);
  return { kind: 'leased', items, attempts: items.map((i) => row.starts[i] ?? 0) };
}

/** C2: is this very lease the item's present one? */
function isHeld(row: TicketRow, i: number, attempt: number, leaseEpoch: number): boolean {
  return row.states[i] === ITEM.leased && row.starts[i] === attempt && u32At(row.epochs, i) === leaseEpoch;
}

function byTicket(held: readonly HeldItem[]): Map<number, HeldItem[]> {
  const groups = new Map<number, HeldItem[]>();
  for (const item of held) {
    const list = groups.get(item.ticketNo) ?? [];
    list.push(item);
    groups.set(item.ticketNo, list);
  }
  return groups;
}

/** Leases that ended without an outcome: back to waiting, the failure charged or not. Stale ones change nothing. */
function giveBack(sql: Statements, held: readonly HeldItem[], charged: boolean): LedgerResult {
  let count = 0;
  for (const [ticketNo, items] of byTicket(held)) {
    const row = rowByNo(sql, ticketNo);
    if (row === undefined) continue;
    for (const { i, attempt, leaseEpoch } of items) {
      if (!isHeld(row, i, attempt, leaseEpoch)) continue;
      row.states[i] = ITEM.waiting;
      if (charged) row.failures[i] = Math.min(255, (row.failures[i] ?? 0) + 1);
      count += 1;
    }
    writeRow(sql, row, row.open);
  }
  return { kind: 'returned', count };
}

/** L3, L4: all items of a pack end, or none. A waiting item ends too: cancelled or expired before it was leased again. */
function end(sql: Statements, command: Extract<LedgerCommand, { kind: 'end' }>): LedgerResult {
  const { principal, pack, blobs, tickets } = command;
  const rows: { row: TicketRow; ended: EndedItems }[] = [];
  for (const ended of tickets) {
    const row = rowByNo(sql, ended.ticketNo);
    if (row === undefined) return { kind: 'stale', why: `there is no ticket ${ended.ticketNo}` };
    for (const [k, i] of ended.items.entries()) {
      const attempt = ended.attempts[k] ?? -1;
      const held = isHeld(row, i, attempt, ended.leaseEpochs[k] ?? -1);
      const waiting = row.states[i] === ITEM.waiting && row.starts[i] === attempt;
      if (!held && !waiting)
        return { kind: 'stale', why: `item ${i} of ticket ${ended.ticketNo} is not where its receipt says` };
    }
    rows.push({ row, ended });
  }
  for (const { row, ended } of rows) {
    for (const [k, i] of ended.items.entries()) row.states[i] = ITEM.ended + (ended.statuses[k] ?? 0);
    const open = row.open - ended.items.length;
    writeRow(sql, row, open);
    if (open === 0) sql('delete from payload where ticketNo = ?').run(row.no);
  }
  // After the arguments are gone: on a full disk their pages are what the pack is written to.
  const ticketNos = rows.map(({ row }) => row.no);
  const packNo = insertPack(sql, principal, pack, blobs, ticketNos);
  return { kind: 'ended', packNo };
}

/** Marks; killing is the engine's. Returns what waits (ends at once) and what is leased (ends when its death is known). */
function cancel(sql: Statements, command: Extract<LedgerCommand, { kind: 'cancel' }>): LedgerResult {
  const { principal, jti, items, keepUntil } = command;
  const row = rowByKey(sql, principal, jti);
  if (row !== undefined && command.hash !== undefined && command.hash !== row.hash)
    return { kind: 'cancelled', ticketNo: undefined, waiting: [], leased: [] };
  // Items that are still to come are cancelled by the tombstone; it is kept for known tickets too, which may be delivered in parts.
  const before = sql('select items from tombstone where principal = ? and jti = ?').get(principal, jti) as
    | { items: string }
    | undefined;
  const merged = mergeItems(before === undefined ? [] : (JSON.parse(before.items) as 'all' | number[]), items);
  sql(
    'insert into tombstone values (?, ?, ?, ?) on conflict (principal, jti) do update set items = excluded.items, keepUntil = excluded.keepUntil',
  ).run(principal, jti, JSON.stringify(merged), keepUntil);
  if (row === undefined) return { kind: 'cancelled', ticketNo: undefined, waiting: [], leased: [] };
  const waiting: number[] = [];
  const leased: number[] = [];
  const wanted = items === 'all' ? Array.from({ length: row.n }, (_, i) => i) : items.filter((i) => i < row.n);
  for (const i of wanted) {
    if (row.states[i] === ITEM.waiting) waiting.push(i);
    else if (row.states[i] === ITEM.leased) leased.push(i);
    else continue;
    row.cancels[i] = 1;
  }
  writeRow(sql, row, row.open);
  return { kind: 'cancelled', ticketNo: row.no, waiting, leased };
}

function mergeItems(a: 'all' | readonly number[], b: 'all' | readonly number[]): 'all' | number[] {
  return a === 'all' || b === 'all' ? 'all' : [...new Set([...a, ...b])];
}

/** The broker asks again for what it once acknowledged: it was restored from an older state. */
function packsAgain(sql: Statements, ticketNos: readonly number[]): LedgerResult {
  let count = 0;
  for (const no of ticketNos) {
    count += Number(
      sql(
        'update pack set acked = 0 where acked = 1 and no in (select packNo from pack_ticket where ticketNo = ?)',
      ).run(no).changes,
    );
  }
  return { kind: 'done', count };
}

/** A block token is good once; the pilot's key that came with it is what reconnects later. */
function redeem(sql: Statements, jti: string, exp: number, pilot: Omit<PilotRow, 'no'>): LedgerResult {
  const used = sql('insert into redeemed values (?, ?) on conflict do nothing').run(jti, exp);
  if (Number(used.changes) === 0) return { kind: 'stale', why: 'this block token was redeemed before' };
  const { lastInsertRowid } = sql('insert into pilot (block, node, kid, jwk, slots) values (?, ?, ?, ?, ?)').run(
    pilot.block,
    pilot.node,
    pilot.kid,
    pilot.jwk,
    pilot.slots,
  );
  return { kind: 'pilot', no: Number(lastInsertRowid) };
}

/** After a restored backup: what was signed before `since` may have run in the lost part, and is refused from now on. */
function newEpoch(sql: Statements, since: number): LedgerResult {
  const epoch = { n: (readEpoch(sql)?.n ?? 0) + 1, since };
  sql("insert into meta values ('ledgerEpoch', ?) on conflict (key) do update set value = excluded.value").run(
    JSON.stringify(epoch),
  );
  return { kind: 'epoch', epoch };
}

/** Written at most once a minute: a clock that goes back by less than the tolerance does no harm. */
function rememberTime(sql: Statements, now: number): void {
  const row = sql("select value from meta where key = 'wall'").get() as { value: string } | undefined;
  if (row !== undefined && now - Number(row.value) < 60_000) return;
  sql("insert into meta values ('wall', ?) on conflict (key) do update set value = excluded.value").run(String(now));
}

/** At most 1,000 tickets a turn: the writer's thread is not held up. L4: nothing goes whose receipt is not acknowledged. */
function purge(sql: Statements, nowS: number): LedgerResult {
  const old = sql(
    `select no from ticket where open = 0 and keepUntil < ? and not exists
       (select 1 from pack_ticket join pack on pack.no = packNo where ticketNo = ticket.no and acked = 0) limit 1000`,
  ).all(nowS) as { no: number }[];
  for (const { no } of old) {
    const packs = sql('delete from pack_ticket where ticketNo = ? returning packNo').all(no) as { packNo: number }[];
    // A pack may hold receipts of a ticket that is still kept.
    for (const { packNo } of packs)
      sql('delete from pack where no = ? and not exists (select 1 from pack_ticket where packNo = pack.no)').run(
        packNo,
      );
    sql('delete from ticket where no = ?').run(no);
  }
  sql('delete from tombstone where keepUntil < ?').run(nowS);
  sql('delete from redeemed where exp < ?').run(nowS);
  sql('delete from usage where keepUntil < ?').run(nowS);
  if (old.length > 0) sql('delete from manifest where digest not in (select manifest from ticket)').run();
  return { kind: 'done', count: old.length };
}
