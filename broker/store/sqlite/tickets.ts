/**
 * Tickets, their states, payloads and indexes. A hot ticket is one join by id, or one look-up by number; its new state is one
 * update of a short row.
 */
import type { HotTicket, Rows } from '../rows.ts';
import { blob, num, type Row, type Sql, text } from './sql.ts';

const HOT = `select s.ticket as no, t.id, t.hash, t.n, s.exp, s.principal, s.endpoint, s.pending, s.open, s.delivery_epoch,
  s.cancelling, s.done_at, s.states, s.packs from ticket t join state s on s.ticket = t.no`;
/** Numbers of the columns are row numbers; the store's interface speaks of keys and ids. */
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

type TicketRows = Pick<Rows, 'addTicket' | 'hot' | 'hotByNo' | 'facts' | 'saveState' | 'dropTicket'>;

/** Two rows a ticket: what is signed never changes (2 KiB), what happens to it changes at every step (100 bytes). */
export function ticketRows(sql: Sql): TicketRows {
  return {
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
  };
}

type BesideRows = Pick<
  Rows,
  'keepChain' | 'keepManifest' | 'chain' | 'manifest' | 'addPayload' | 'payload' | 'dropPayload'
>;

/** What travels beside a ticket: chain and manifest, kept once each, and its payload. */
export function besideRows(sql: Sql): BesideRows {
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

/** Every walk in here goes along an index of schema.ts, or says why not. */
export function indexRows(sql: Sql): IndexRows {
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
