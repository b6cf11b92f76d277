/**
 * Principals and endpoints.
 *
 * Invariants
 *  E1 A principal is a row as soon as anything names it (a blob, a ticket); it is a user only with its key (`x`), which an invitation
 *     brought. So work of somebody who was never invited has an owner, and that owner can ask for nothing.
 *  E2 `seq` and `open` are changed by one statement with the event that tells of it: they are never ahead of one another (B5).
 *  E3 Rows are never deleted: their numbers stand in tickets, packs and events, and an endpoint's epochs must outlive its absence.
 */
import type { SQLOutputValue } from 'node:sqlite';
import type { PublicJwk } from '#kernel/ids.ts';
import type { EndpointRow, PrincipalRow, Rows } from '../rows.ts';
import { num, type Row, type Sql, text } from './sql.ts';

/** Ed25519 is the only kind of key there is (kernel/jws.ts), so a row keeps 43 letters of it. */
const jwkOf = (x: SQLOutputValue | undefined): PublicJwk | undefined =>
  typeof x === 'string' ? { kty: 'OKP', crv: 'Ed25519', x } : undefined;

function principalOf(row: Row | undefined): PrincipalRow | undefined {
  if (row === undefined) return undefined;
  return {
    no: num(row, 'no'),
    kid: text(row, 'kid'),
    jwk: jwkOf(row.x),
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

type PeopleRows = Pick<
  Rows,
  | 'generation'
  | 'setGeneration'
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

export function peopleRows(sql: Sql): PeopleRows {
  return {
    generation: () => text(sql.one(`select value from meta where key = 'generation'`) ?? {}, 'value'),
    setGeneration: (value) => void sql.run(`update meta set value = ? where key = 'generation'`, value),
    principal: (kid) => principalOf(sql.one('select * from principal where kid = ?', kid)),
    principalKid: (no) => text(sql.one('select kid from principal where no = ?', no) ?? {}, 'kid'),
    addPrincipal(kid) {
      const no = sql.run('insert into principal (kid) values (?)', kid);
      return { no, kid, jwk: undefined, seq: 0, open: 0 };
    },
    setUser: (no, jwk) => void sql.run('update principal set x = ? where no = ?', jwk.x, no),
    users: () => sql.all('select * from principal where x is not null').flatMap((row) => principalOf(row) ?? []),
    // `returning`: no second statement reads what the first one wrote; statements are what a commit costs.
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
