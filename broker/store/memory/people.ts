/**
 * Principals and endpoints in maps.
 *
 * `principalNos` beside `principals` stands for the unique index of SQLite: every command begins by looking up a key, and a walk there
 * would make a simulation of a million items quadratic. Endpoints are a handful: they are walked.
 */
import type { PublicJwk } from '#kernel/ids.ts';
import type { PrincipalRow, Rows } from '../rows.ts';
import { must, type Tables } from './tables.ts';

type PeopleRows = Pick<
  Rows,
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

export function peopleRows(tables: Tables): PeopleRows {
  const principalOf = (kid: string): PrincipalRow | undefined => {
    const no = tables.principalNos.get(kid);
    return no === undefined ? undefined : tables.principals.get(no);
  };
  const savePrincipal = (no: number, change: Partial<PrincipalRow>): PrincipalRow => {
    const row = { ...must(tables.principals.get(no)), ...change };
    tables.principals.set(no, row);
    return row;
  };
  return {
    principal: principalOf,
    principalKid: (no) => must(tables.principals.get(no)).kid,
    addPrincipal(kid) {
      const row: PrincipalRow = { no: tables.principals.nextNo(), kid, jwk: undefined, seq: 0, open: 0 };
      tables.principals.set(row.no, row);
      tables.principalNos.set(kid, row.no);
      return row;
    },
    setUser: (no: number, jwk: PublicJwk) => void savePrincipal(no, { jwk }),
    users: () => tables.principals.entries().flatMap(([, row]) => (row.jwk === undefined ? [] : [row])),
    nextSeq(no, openDelta) {
      const row = must(tables.principals.get(no));
      return savePrincipal(no, { seq: row.seq + 1, open: row.open + openDelta }).seq;
    },
    addOpen: (no, delta) => void savePrincipal(no, { open: must(tables.principals.get(no)).open + delta }),

    endpoint: (id) => tables.endpoints.entries().find(([, row]) => row.id === id)?.[1],
    endpointId: (no) => must(tables.endpoints.get(no)).id,
    endpoints: () => tables.endpoints.entries().map(([, row]) => row),
    addEndpoint(row) {
      const no = tables.endpoints.nextNo();
      tables.endpoints.set(no, { ...row, no });
    },
    saveEndpoint: (row) => tables.endpoints.set(row.no, row),
  };
}
