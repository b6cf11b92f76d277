/**
 * The broker's tables. A step is never edited once released: a change is a new step at the end.
 *
 * Numbers stand for principals, endpoints, chains and manifests, so that the rows of a ticket stay short. Whatever is named
 * by a digest (a chain, a manifest) is kept once.
 */
import type { Migration } from '#base/sqlite/module.ts';

export const SCHEMA: readonly Migration[] = [
  `
  create table meta (key text primary key, value text not null) strict, without rowid;
  insert into meta values ('generation', lower(hex(randomblob(8))));

  create table principal (
    no integer primary key, kid text not null unique, x text,
    seq integer not null default 0, open integer not null default 0
  ) strict;
  create table endpoint (
    no integer primary key, id text not null unique, descriptor text not null, seq integer not null,
    online_x text not null, online_kid text not null, status text not null,
    ledger_n integer not null, session_epoch integer not null
  ) strict;
  create table chain (no integer primary key, digest text not null unique, links text not null) strict;
  create table manifest (no integer primary key, digest text not null unique, body text not null) strict;

  create table ticket (
    no integer primary key, id text not null unique, jti text not null, hash text not null, fn text not null,
    n integer not null, exp integer not null, queued_at real not null, chain integer not null, manifest integer not null,
    token text not null
  ) strict;
  create table state (
    ticket integer primary key, principal integer not null, endpoint integer not null, exp integer not null,
    pending integer not null, open integer not null, delivery_epoch integer not null, cancelling integer not null,
    done_at real not null, states blob not null, packs blob not null
  ) strict;
  create index mine on state (principal, ticket);
  create index dispatch on state (endpoint, principal, ticket) where pending > 0;
  create index overdue on state (exp) where pending > 0;
  create index done on state (done_at) where open = 0;
  create table payload (
    ticket integer primary key, item_sizes blob not null, inline_counts blob not null, inline_sizes blob not null,
    leaves blob not null, items blob not null, inline blob not null
  ) strict;

  create table pack (
    no integer primary key, endpoint integer not null, ledger integer not null, agent_no integer not null,
    digest text not null, principal integer not null, at real not null, refs integer not null, bytes blob not null,
    unique (endpoint, ledger, agent_no, digest)
  ) strict;
  create table event (
    principal integer not null, seq integer not null, kind text not null, at real not null, pack integer not null,
    data text not null, primary key (principal, seq)
  ) strict, without rowid;
  create index event_age on event (at);
  create table cancel (
    no integer primary key autoincrement, endpoint integer not null, ticket integer not null, token text not null,
    links text not null, at real not null
  ) strict;
  create index cancel_endpoint on cancel (endpoint);
  create index cancel_ticket on cancel (ticket);
  create table refusal (no integer primary key, ticket integer not null, items blob not null, receipt text not null) strict;
  create index refusal_ticket on refusal (ticket);

  create table invitation (
    secret_hash text primary key, kind text not null, subject text not null, exp integer not null, used integer not null
  ) strict, without rowid;
  create table blob (digest text primary key, size integer not null) strict, without rowid;
  create table blob_grant (
    principal integer not null, digest text not null, at real not null, primary key (principal, digest)
  ) strict, without rowid;
  create index grant_digest on blob_grant (digest);
  create index grant_age on blob_grant (at);
  create table pin (ticket integer not null, digest text not null, primary key (ticket, digest)) strict, without rowid;
  create index pin_digest on pin (digest);

  create table alarm (no integer primary key, at real not null, kind text not null, body text not null) strict;
  `,
  // Who asked which endpoint for access, and the last answer told: seq is that of its event, 0 before the first.
  `
  create table access (
    principal integer not null, endpoint integer not null, at real not null, seq integer not null, digest text not null,
    token text not null, primary key (principal, endpoint)
  ) strict, without rowid;
  `,
];
