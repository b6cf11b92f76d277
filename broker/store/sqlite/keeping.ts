/**
 * Blobs, cancels, refusals, invitations, alarms.
 *
 * Invariants
 *  K1 A blob is one row, however many may see it: `blob_grant` says who, `pin` which open ticket needs it. It may go when nobody is
 *     granted it; a pinned one keeps its grant, however old.
 *  K2 An invitation is found by the hash of its secret, never by the secret: a copy of the file redeems nothing.
 *  K3 A cancel stays until the agent of its endpoint has acknowledged it, over any number of sessions.
 */
import type { SQLInputValue } from 'node:sqlite';
import type { InvitationRow, Rows } from '../rows.ts';
import type { InvitationKind } from '../store.ts';
import { blob, num, type Row, type Sql, text } from './sql.ts';

/** Alarms that are kept at most: a flood of them must not fill the disk. */
const MAX_ALARMS = 10_000;

type BlobRows = Pick<
  Rows,
  | 'addBlob'
  | 'blobSize'
  | 'grant'
  | 'granted'
  | 'staleGrants'
  | 'revoke'
  | 'anyGrant'
  | 'dropBlob'
  | 'pin'
  | 'unpin'
  | 'pinned'
  | 'pinnedAt'
>;

export function blobRows(sql: Sql): BlobRows {
  const is = (query: string, ...values: SQLInputValue[]): boolean => sql.one(query, ...values) !== undefined;
  return {
    addBlob: (digest, size) => void sql.run('insert into blob (digest, size) values (?, ?)', digest, size),
    blobSize(digest) {
      const row = sql.one('select size from blob where digest = ?', digest);
      return row === undefined ? undefined : num(row, 'size');
    },
    grant: (principal, digest, at) =>
      void sql.run(
        'insert into blob_grant values (?, ?, ?) on conflict do update set at = max(at, excluded.at)',
        principal,
        digest,
        at,
      ),
    granted: (principal, digest) =>
      is('select 1 from blob_grant where principal = ? and digest = ?', principal, digest),
    // Not `left join`: the subquery stops at the first pin, and stale grants are few (index grant_age).
    staleGrants: (before, limit) =>
      sql
        .all(
          `select principal, digest from blob_grant g where at < ? and not exists (select 1 from pin where pin.digest = g.digest) order by at limit ?`,
          before,
          limit,
        )
        .map((row) => ({ principal: num(row, 'principal'), digest: text(row, 'digest') })),
    revoke: (principal, digest) =>
      void sql.run('delete from blob_grant where principal = ? and digest = ?', principal, digest),
    anyGrant: (digest) => is('select 1 from blob_grant where digest = ?', digest),
    dropBlob: (digest) => void sql.run('delete from blob where digest = ?', digest),
    pin: (ticket, digest) => void sql.run('insert or ignore into pin values (?, ?)', ticket, digest),
    unpin: (ticket) => void sql.run('delete from pin where ticket = ?', ticket),
    pinned: (digest) => is('select 1 from pin where digest = ?', digest),
    // What an endpoint may read: by its own open tickets alone. That it knows the digest gives it nothing.
    pinnedAt: (endpoint, digest) =>
      is('select 1 from pin join state s using (ticket) where pin.digest = ? and s.endpoint = ?', digest, endpoint),
  };
}

type KeepingRows = Pick<
  Rows,
  | 'addCancel'
  | 'cancels'
  | 'dropCancel'
  | 'addRefusal'
  | 'refusals'
  | 'addInvitation'
  | 'invitation'
  | 'useInvitation'
  | 'dropInvitations'
  | 'alarm'
  | 'alarms'
  | 'dropAlarms'
  | 'probe'
  | 'counts'
>;

export function keepingRows(sql: Sql): KeepingRows {
  const invitationOf = (row: Row | undefined): InvitationRow | undefined =>
    row === undefined
      ? undefined
      : {
          for: text(row, 'kind') as InvitationKind,
          subject: text(row, 'subject'),
          exp: num(row, 'exp'),
          used: num(row, 'used') === 1,
        };
  return {
    addCancel: (endpoint, ticket, token, links, at) =>
      sql.run(
        'insert into cancel (endpoint, ticket, token, links, at) values (?, ?, ?, ?, ?)',
        endpoint,
        ticket,
        token,
        JSON.stringify(links),
        at,
      ),
    cancels: (endpoint) =>
      sql.all('select no, token, links from cancel where endpoint = ? order by no', endpoint).map((row) => ({
        no: num(row, 'no'),
        token: text(row, 'token'),
        links: JSON.parse(text(row, 'links')) as string[],
      })),
    dropCancel: (endpoint, no) => void sql.run('delete from cancel where no = ? and endpoint = ?', no, endpoint),
    addRefusal: (ticket, items, receipt) =>
      void sql.run('insert into refusal (ticket, items, receipt) values (?, ?, ?)', ticket, items, receipt),
    refusals: (ticket) =>
      sql
        .all('select items, receipt from refusal where ticket = ? order by no', ticket)
        .map((row) => ({ items: blob(row, 'items'), receipt: text(row, 'receipt') })),
    addInvitation: (hash, i) =>
      void sql.run(
        'insert into invitation (secret_hash, kind, subject, exp, used) values (?, ?, ?, ?, 0)',
        hash,
        i.for,
        i.subject,
        i.exp,
      ),
    invitation: (hash) => invitationOf(sql.one('select * from invitation where secret_hash = ?', hash)),
    useInvitation: (hash) => void sql.run('update invitation set used = 1 where secret_hash = ?', hash),
    dropInvitations: (before) => void sql.run('delete from invitation where exp < ?', before),
    alarm(at, kind, body) {
      const no = sql.run('insert into alarm (at, kind, body) values (?, ?, ?)', at, kind, body);
      sql.run('delete from alarm where no <= ?', no - MAX_ALARMS);
    },
    alarms: (limit) =>
      sql
        .all('select at, kind, body from alarm order by no desc limit ?', limit)
        .map((row) => ({ at: num(row, 'at'), kind: text(row, 'kind'), text: text(row, 'body') })),
    dropAlarms: (before) => void sql.run('delete from alarm where at < ?', before),
    // Hexadecimal doubles the length. Both statements are of one commit, so that the row is never seen, and yet costs pages.
    probe(bytes) {
      sql.run("insert into meta values ('probe', hex(zeroblob(?)))", bytes / 2);
      sql.run("delete from meta where key = 'probe'");
    },
    // Walks of whole tables, in the reader's thread: for people and scrapers, some times a minute.
    counts() {
      const row =
        sql.one(
          `select (select count(*) from ticket) as tickets, (select coalesce(sum(open), 0) from principal) as openItems,
                (select count(*) from principal where x is not null) as users, (select count(*) from endpoint) as endpoints,
                (select count(*) from blob) as blobs, (select coalesce(sum(size), 0) from blob) as blobBytes`,
        ) ?? {};
      return {
        tickets: num(row, 'tickets'),
        openItems: num(row, 'openItems'),
        users: num(row, 'users'),
        endpoints: num(row, 'endpoints'),
        blobs: num(row, 'blobs'),
        blobBytes: num(row, 'blobBytes'),
      };
    },
  };
}
