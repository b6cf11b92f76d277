/**
 * Rows in SQLite. Runs in the store's threads; every statement is prepared once.
 *
 * A hot ticket is one join by id, or one look-up by number; its new state is one update of a short row.
 */
import type { DatabaseSync, SQLInputValue, SQLOutputValue } from 'node:sqlite';
import { createStatements, type Statements } from '#base/sqlite/module.ts';
import type { PublicJwk } from '#kernel/ids.ts';
import type { EndpointRow, HotTicket, InvitationRow, PackRow, PrincipalRow, Rows } from './rows.ts';
import type { EventKind, InvitationKind } from './store.ts';

type Row = Record<string, SQLOutputValue>;

const num = (row: Row, key: string): number => Number(row[key]);
const text = (row: Row, key: string): string => row[key] as string;
const blob = (row: Row, key: string): Uint8Array => row[key] as Uint8Array;

const HOT = `select s.ticket as no, t.id, t.hash, t.n, s.exp, s.principal, s.endpoint, s.pending, s.open, s.delivery_epoch,
  s.cancelling, s.done_at, s.states, s.packs from ticket t join state s on s.ticket = t.no`;
/** Alarms that are kept at most: a flood of them must not fill the disk. */
const MAX_ALARMS = 10_000;

const jwkOf = (x: SQLOutputValue | undefined): PublicJwk | undefined =>
  typeof x === 'string' ? { kty: 'OKP', crv: 'Ed25519', x } : undefined;

function hotOf(row: Row | undefined): HotTicket | undefined {
  if (row === undefined) return undefined;
  return {
    no: num(row, 'no'),
    id: text(row, 'id'),
    hash: text(row, 'hash'),
    n: num(row, 'n'),
    exp: num(row, 'exp'),
    principal: num(row, 'principal'),
    endpoint: num(row, 'endpoint'),
    states: blob(row, 'states'),
    packs: blob(row, 'packs'),
    pending: num(row, 'pending'),
    open: num(row, 'open'),
    deliveryEpoch: num(row, 'delivery_epoch'),
    cancelling: num(row, 'cancelling') === 1,
    doneAt: num(row, 'done_at'),
  };
}

function principalOf(row: Row | undefined): PrincipalRow | undefined {
  if (row === undefined) return undefined;
  return {
    no: num(row, 'no'),
    kid: text(row, 'kid'),
    jwk: jwkOf(row['x']),
    seq: num(row, 'seq'),
    open: num(row, 'open'),
  };
}

function endpointOf(row: Row): EndpointRow {
  return {
    no: num(row, 'no'),
    id: text(row, 'id'),
    descriptor: text(row, 'descriptor'),
    seq: num(row, 'seq'),
    online: { kty: 'OKP', crv: 'Ed25519', x: text(row, 'online_x') },
    onlineKid: text(row, 'online_kid'),
    status: text(row, 'status'),
    ledgerN: num(row, 'ledger_n'),
    sessionEpoch: num(row, 'session_epoch'),
  };
}

interface Sql {
  one(sql: string, ...values: SQLInputValue[]): Row | undefined;
  all(sql: string, ...values: SQLInputValue[]): Row[];
  /** The rowid of what was inserted. */
  run(sql: string, ...values: SQLInputValue[]): number;
  /** Rows that were changed. */
  change(sql: string, ...values: SQLInputValue[]): number;
  numbers(sql: string, ...values: SQLInputValue[]): number[];
}

function createSql(statement: Statements): Sql {
  const all = (sql: string, ...values: SQLInputValue[]): Row[] => statement(sql).all(...values) as Row[];
  return {
    all,
    one: (sql, ...values) => statement(sql).get(...values) as Row | undefined,
    run: (sql, ...values) => Number(statement(sql).run(...values).lastInsertRowid),
    change: (sql, ...values) => Number(statement(sql).run(...values).changes),
    numbers: (sql, ...values) => all(sql, ...values).map((row) => num(row, 'no')),
  };
}

export function sqliteRows(db: DatabaseSync): Rows {
  const sql = createSql(createStatements(db));
  return {
    ...peopleRows(sql),
    ...ticketRows(sql),
    ...indexRows(sql),
    ...packRows(sql),
    ...blobRows(sql),
    ...keepingRows(sql),
  };
}

type PeopleRows = Pick<
  Rows,
  | 'generation'
  | 'principal'
  | 'principalKid'
  | 'addPrincipal'
  | 'setUser'
  | 'users'
  | 'nextSeq'
  | 'addOpen'
  | 'endpoint'
  | 'endpointId'
  | 'endpoints'
  | 'addEndpoint'
  | 'saveEndpoint'
>;

function peopleRows(sql: Sql): PeopleRows {
  return {
    generation: () => text(sql.one(`select value from meta where key = 'generation'`) ?? {}, 'value'),
    principal: (kid) => principalOf(sql.one('select * from principal where kid = ?', kid)),
    principalKid: (no) => text(sql.one('select kid from principal where no = ?', no) ?? {}, 'kid'),
    addPrincipal(kid) {
      const no = sql.run('insert into principal (kid) values (?)', kid);
      return { no, kid, jwk: undefined, seq: 0, open: 0 };
    },
    setUser: (no, jwk) => void sql.run('update principal set x = ? where no = ?', jwk.x, no),
    users: () => sql.all('select * from principal where x is not null').flatMap((row) => principalOf(row) ?? []),
    nextSeq(no, openDelta) {
      const row = sql.one(
        'update principal set seq = seq + 1, open = open + ? where no = ? returning seq',
        openDelta,
        no,
      );
      return num(row ?? {}, 'seq');
    },
    addOpen: (no, delta) => void sql.run('update principal set open = open + ? where no = ?', delta, no),
    endpoint(id) {
      const row = sql.one('select * from endpoint where id = ?', id);
      return row === undefined ? undefined : endpointOf(row);
    },
    endpointId: (no) => text(sql.one('select id from endpoint where no = ?', no) ?? {}, 'id'),
    endpoints: () => sql.all('select * from endpoint').map(endpointOf),
    addEndpoint: (e) =>
      void sql.run(
        `insert into endpoint (id, descriptor, seq, online_x, online_kid, status, ledger_n, session_epoch) values (?, ?, ?, ?, ?, ?, ?, ?)`,
        e.id,
        e.descriptor,
        e.seq,
        e.online.x,
        e.onlineKid,
        e.status,
        e.ledgerN,
        e.sessionEpoch,
      ),
    saveEndpoint: (e) =>
      void sql.run(
        `update endpoint set descriptor = ?, seq = ?, online_x = ?, online_kid = ?, status = ?, ledger_n = ?, session_epoch = ? where no = ?`,
        e.descriptor,
        e.seq,
        e.online.x,
        e.onlineKid,
        e.status,
        e.ledgerN,
        e.sessionEpoch,
        e.no,
      ),
  };
}

type TicketRows = Pick<
  Rows,
  | 'keepChain'
  | 'keepManifest'
  | 'chain'
  | 'manifest'
  | 'addTicket'
  | 'hot'
  | 'hotByNo'
  | 'facts'
  | 'saveState'
  | 'dropTicket'
  | 'addPayload'
  | 'payload'
  | 'dropPayload'
>;

function ticketRows(sql: Sql): TicketRows {
  const keep = (find: string, add: string, digest: string, body: string): number => {
    const row = sql.one(find, digest);
    return row === undefined ? sql.run(add, digest, body) : num(row, 'no');
  };
  return {
    keepChain: (digest, links) =>
      keep(
        'select no from chain where digest = ?',
        'insert into chain (digest, links) values (?, ?)',
        digest,
        JSON.stringify(links),
      ),
    keepManifest: (digest, body) =>
      keep(
        'select no from manifest where digest = ?',
        'insert into manifest (digest, body) values (?, ?)',
        digest,
        body,
      ),
    chain: (no) =>
      JSON.parse(text(sql.one('select links from chain where no = ?', no) ?? { links: '[]' }, 'links')) as string[],
    manifest: (no) => text(sql.one('select body from manifest where no = ?', no) ?? { body: '' }, 'body'),
    addTicket(f, s) {
      const no = sql.run(
        `insert into ticket (id, jti, hash, fn, n, exp, queued_at, chain, manifest, token) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        f.id,
        f.jti,
        f.hash,
        f.fn,
        f.n,
        f.exp,
        f.queuedAt,
        f.chain,
        f.manifest,
        f.token,
      );
      sql.run(
        `insert into state values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        no,
        f.principal,
        f.endpoint,
        f.exp,
        s.pending,
        s.open,
        s.deliveryEpoch,
        s.cancelling ? 1 : 0,
        s.doneAt,
        s.states,
        s.packs,
      );
      return no;
    },
    hot: (id) => hotOf(sql.one(`${HOT} where t.id = ?`, id)),
    hotByNo: (no) => hotOf(sql.one(`${HOT} where s.ticket = ?`, no)),
    facts(no) {
      const row =
        sql.one(
          'select t.*, s.principal, s.endpoint from ticket t join state s on s.ticket = t.no where t.no = ?',
          no,
        ) ?? {};
      return {
        id: text(row, 'id'),
        jti: text(row, 'jti'),
        hash: text(row, 'hash'),
        fn: text(row, 'fn'),
        token: text(row, 'token'),
        chain: num(row, 'chain'),
        manifest: num(row, 'manifest'),
        n: num(row, 'n'),
        exp: num(row, 'exp'),
        queuedAt: num(row, 'queued_at'),
        principal: num(row, 'principal'),
        endpoint: num(row, 'endpoint'),
      };
    },
    saveState: (s) =>
      void sql.run(
        `update state set pending = ?, open = ?, delivery_epoch = ?, cancelling = ?, done_at = ?, states = ?, packs = ? where ticket = ?`,
        s.pending,
        s.open,
        s.deliveryEpoch,
        s.cancelling ? 1 : 0,
        s.doneAt,
        s.states,
        s.packs,
        s.no,
      ),
    dropTicket(no) {
      for (const table of ['state', 'payload', 'refusal', 'cancel', 'pin'])
        sql.run(`delete from ${table} where ticket = ?`, no);
      sql.run('delete from ticket where no = ?', no);
    },
    addPayload: (no, p) =>
      void sql.run(
        `insert into payload (ticket, item_sizes, inline_counts, inline_sizes, leaves, items, inline) values (?, ?, ?, ?, ?, ?, ?)`,
        no,
        p.itemSizes,
        p.inlineCounts,
        p.inlineSizes,
        p.leaves,
        p.itemBytes,
        p.inline,
      ),
    payload(no) {
      const row = sql.one('select * from payload where ticket = ?', no);
      if (row === undefined) return undefined;
      return {
        leaves: blob(row, 'leaves'),
        itemSizes: blob(row, 'item_sizes'),
        itemBytes: blob(row, 'items'),
        inlineCounts: blob(row, 'inline_counts'),
        inlineSizes: blob(row, 'inline_sizes'),
        inline: blob(row, 'inline'),
      };
    },
    dropPayload: (no) => void sql.run('delete from payload where ticket = ?', no),
  };
}

type IndexRows = Pick<
  Rows,
  'ticketsOf' | 'pendingPrincipals' | 'pendingTickets' | 'openTicketsAt' | 'overdueTickets' | 'doneTickets'
>;

function indexRows(sql: Sql): IndexRows {
  return {
    ticketsOf: (principal, before, limit) =>
      sql.numbers(
        'select ticket as no from state where principal = ? and ticket < ? order by ticket desc limit ?',
        principal,
        before,
        limit,
      ),
    // One step of the index a principal: a plain `distinct` would walk every pending ticket.
    pendingPrincipals: (endpoint) =>
      sql.numbers(
        `with recursive step (no) as (
           select min(principal) from state where endpoint = ?1 and pending > 0
           union all
           select (select min(principal) from state where endpoint = ?1 and pending > 0 and principal > step.no) from step where step.no is not null
         ) select no from step where no is not null`,
        endpoint,
      ),
    pendingTickets: (endpoint, principal, after, limit) =>
      sql.numbers(
        `select ticket as no from state where endpoint = ? and principal = ? and ticket > ? and pending > 0 order by ticket limit ?`,
        endpoint,
        principal,
        after,
        limit,
      ),
    // A walk of the table: it happens when an endpoint has lost its memory, and an index would cost every commit.
    openTicketsAt: (endpoint) =>
      sql.numbers('select ticket as no from state where endpoint = ? and open > 0', endpoint),
    overdueTickets: (nowS, limit) =>
      sql.numbers('select ticket as no from state where pending > 0 and exp < ? order by exp limit ?', nowS, limit),
    doneTickets: (before, limit) =>
      sql.numbers(
        `select ticket as no from state where open = 0 and done_at < ? and ticket < (select max(no) from ticket) order by done_at limit ?`,
        before,
        limit,
      ),
  };
}

type PackRows = Pick<
  Rows,
  'packNo' | 'addPack' | 'pack' | 'releasePack' | 'addEvent' | 'eventsAfter' | 'firstEvent' | 'dropEvents'
>;

function packRows(sql: Sql): PackRows {
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
    firstEvent: (principal) =>
      num(sql.one('select coalesce(min(seq), 0) as first from event where principal = ?', principal) ?? {}, 'first'),
    dropEvents: (before, limit) =>
      sql.change(
        'delete from event where (principal, seq) in (select principal, seq from event where at < ? order by at limit ?)',
        before,
        limit,
      ),
  };
}

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

function blobRows(sql: Sql): BlobRows {
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
  | 'counts'
>;

function keepingRows(sql: Sql): KeepingRows {
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
    counts() {
      const row =
        sql.one(
          `select (select count(*) from ticket) as tickets, (select coalesce(sum(open), 0) from principal) as openItems,
                (select count(*) from principal where x is not null) as users, (select count(*) from endpoint) as endpoints`,
        ) ?? {};
      return {
        tickets: num(row, 'tickets'),
        openItems: num(row, 'openItems'),
        users: num(row, 'users'),
        endpoints: num(row, 'endpoints'),
      };
    },
  };
}
