/**
 * The statements of the ledger, run in the writer's thread. Conditions and columns: ledger.ts.
 *
 * Columns of a ticket, each with one entry an item: `states`, `starts`, `failures`, `cancels` of one byte; `epochs` and
 * `pilots` of four bytes, little endian (lease epoch and pilot number of the current or last lease).
 */
import type { DatabaseSync } from 'node:sqlite';
import { createStatements, type Migration, type Statements } from '#base/sqlite/module.ts';
import { ITEM } from './item-state.ts';
import type {
  EndedItems,
  HeldItem,
  LeaseGrant,
  LedgerAnswer,
  LedgerCommand,
  LedgerQuery,
  LedgerResult,
  NewTicket,
  OpenTicket,
  Payload,
  PilotRow,
  StoredPack,
  UsageRow,
} from './ledger.ts';

export const schema: readonly Migration[] = [
  `
  create table ticket (
    no integer primary key,
    principal text not null,
    jti text not null,
    id text not null,
    hash text not null,
    token text not null,
    chain text not null,
    manifest text not null,
    n integer not null,
    leaves blob not null,
    exp integer not null,
    keepUntil integer not null,
    open integer not null,
    states blob not null,
    starts blob not null,
    failures blob not null,
    cancels blob not null,
    epochs blob not null,
    pilots blob not null,
    unique (principal, jti)
  ) strict;
  create index ticket_open on ticket (no) where open > 0;
  create index ticket_keep on ticket (keepUntil);
  create table manifest (digest text primary key, text blob not null) strict, without rowid;
  create table payload (
    no integer primary key, ticketNo integer not null, items text not null,
    itemSizes text not null, itemBytes blob not null, inlineSizes text not null, inline blob not null
  ) strict;
  create index payload_ticket on payload (ticketNo);
  create table pack (no integer primary key autoincrement, principal text not null, bytes blob not null, blobs text not null, acked integer not null) strict;
  create index pack_open on pack (no) where acked = 0 and blobs = '';
  create index pack_blobs on pack (no) where acked = 0 and blobs <> '';
  create table pack_ticket (ticketNo integer not null, packNo integer not null, primary key (ticketNo, packNo)) strict, without rowid;
  create index pack_ticket_pack on pack_ticket (packNo);
  create table tombstone (principal text not null, jti text not null, items text not null, keepUntil integer not null, primary key (principal, jti)) strict, without rowid;
  create table pilot (no integer primary key autoincrement, block text not null, node text not null, kid text not null unique, jwk text not null, slots integer not null) strict;
  create table redeemed (jti text primary key, exp integer not null) strict, without rowid;
  create table usage (key text primary key, hours real not null, keepUntil integer not null) strict, without rowid;
  create table meta (key text primary key, value any not null) strict, without rowid;
  `,
];

/** About the largest row of a batch: what fits can go on. */
const PROBE_BYTES = 128 * 1024;

interface TicketRow {
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

function u32At(bytes: Uint8Array, i: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(i * 4, true);
}

function setU32(bytes: Uint8Array, i: number, value: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(i * 4, value, true);
}

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

function rowByKey(sql: Statements, principal: string, jti: string): TicketRow | undefined {
  return sql(`select ${COLUMNS} from ticket where principal = ? and jti = ?`).get(principal, jti) as
    | TicketRow
    | undefined;
}

function rowByNo(sql: Statements, no: number): TicketRow | undefined {
  return sql(`select ${COLUMNS} from ticket where no = ?`).get(no) as TicketRow | undefined;
}

function writeRow(sql: Statements, row: TicketRow, open: number): void {
  sql(
    'update ticket set open = ?, states = ?, starts = ?, failures = ?, cancels = ?, epochs = ?, pilots = ? where no = ?',
  ).run(open, row.states, row.starts, row.failures, row.cancels, row.epochs, row.pilots, row.no);
}

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

function lease(sql: Statements, ticketNo: number, grant: LeaseGrant): LedgerResult {
  const row = rowByNo(sql, ticketNo);
  if (row === undefined) return { kind: 'stale', why: `there is no ticket ${ticketNo}` };
  const items = grantLease(row, grant);
  if (items.length > 0) writeRow(sql, row, row.open);
  return { kind: 'leased', items, attempts: items.map((i) => row.starts[i] ?? 0) };
}

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

function readEpoch(sql: Statements): { n: number; since: number } | undefined {
  const row = sql("select value from meta where key = 'ledgerEpoch'").get() as { value: string } | undefined;
  return row === undefined ? undefined : (JSON.parse(row.value) as { n: number; since: number });
}

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
        return { kind: 'usage', rows: sql('select key, hours, keepUntil from usage').all() as unknown as UsageRow[] };
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
