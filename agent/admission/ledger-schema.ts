/**
 * The tables of the ledger. Migrations only ever append: an older agent's file is brought up to date by those it lacks.
 *
 * Invariants
 *  T1 `ticket.open` counts the items that have not ended; a partial index over it finds the work of a new life without
 *     reading what is over.
 *  T2 Arguments (`payload`) are rows of their own, one a delivery, and go with the last open item of their ticket: a ticket's
 *     row is rewritten on every change of its columns, and would carry them along.
 *  T3 A pack outlives its tickets' work and not their rows; `pack_ticket` says whose receipts are in it. The two partial
 *     indexes are the two lines to the broker: packs without bytes do not wait for uploads.
 */
import type { Migration } from '#base/sqlite/module.ts';

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
