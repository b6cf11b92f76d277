/**
 * Tickets, what travels beside them, and their indexes in maps.
 *
 * Byte columns are copied on their way in and out, as SQLite does: a rule that changed what it was given would change the store
 * behind the undo list's back. Indexes are walks in the order of the numbers; conformance holds their answers to SQLite's.
 */
import type { HotTicket, Rows, TicketFacts, TicketState } from '../rows.ts';
import { ascending, must, type Table, type Tables } from './tables.ts';

const copy = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes);

type TicketRows = Pick<Rows, 'addTicket' | 'hot' | 'hotByNo' | 'facts' | 'saveState' | 'dropTicket'>;

export function ticketRows(tables: Tables): TicketRows {
  const hotByNo = (no: number): HotTicket | undefined => {
    const facts = tables.tickets.get(no);
    const state = tables.states.get(no);
    if (facts === undefined || state === undefined) return undefined;
    const { id, hash, n, exp, principal, endpoint } = facts;
    return { ...state, states: copy(state.states), packs: copy(state.packs), id, hash, n, exp, principal, endpoint };
  };
  return {
    addTicket(facts, state) {
      const no = tables.tickets.nextNo();
      tables.tickets.set(no, facts);
      tables.ticketNos.set(facts.id, no);
      tables.states.set(no, { ...state, no });
      return no;
    },
    hot(id) {
      const no = tables.ticketNos.get(id);
      return no === undefined ? undefined : hotByNo(no);
    },
    hotByNo,
    facts: (no) => must(tables.tickets.get(no)),
    saveState({ no, states: bytes, packs: marks, pending, open, deliveryEpoch, cancelling, doneAt }) {
      tables.states.set(no, {
        no,
        states: copy(bytes),
        packs: copy(marks),
        pending,
        open,
        deliveryEpoch,
        cancelling,
        doneAt,
      });
    },
    dropTicket(no) {
      tables.ticketNos.delete(must(tables.tickets.get(no)).id);
      tables.tickets.delete(no);
      tables.states.delete(no);
      tables.payloads.delete(no);
      for (const key of tables.refusals.keysWhere((row) => row.ticket === no)) tables.refusals.delete(key);
      for (const key of tables.cancels.keysWhere((row) => row.ticket === no)) tables.cancels.delete(key);
      for (const key of tables.pins.keysWhere((row) => row.ticket === no)) tables.pins.delete(key);
    },
  };
}

type BesideRows = Pick<
  Rows,
  'keepChain' | 'keepManifest' | 'chain' | 'manifest' | 'addPayload' | 'payload' | 'dropPayload'
>;

export function besideRows(tables: Tables): BesideRows {
  /** Once a digest, as the unique columns of SQLite have it. Never dropped there either: a lab has few chains and manifests. */
  const keep = <V>(kind: string, of: Table<number, V>, digest: string, value: V): number => {
    const known = tables.textNos.get(`${kind} ${digest}`);
    if (known !== undefined) return known;
    const no = of.nextNo();
    of.set(no, value);
    tables.textNos.set(`${kind} ${digest}`, no);
    return no;
  };
  return {
    keepChain: (digest, links) => keep('chain', tables.texts.chain, digest, links),
    keepManifest: (digest, text) => keep('manifest', tables.texts.manifest, digest, text),
    chain: (no) => must(tables.texts.chain.get(no)),
    manifest: (no) => must(tables.texts.manifest.get(no)),

    addPayload: (no, payload) => tables.payloads.set(no, payload),
    payload: (no) => tables.payloads.get(no),
    dropPayload: (no) => void tables.payloads.delete(no),
  };
}

type IndexRows = Pick<
  Rows,
  'ticketsOf' | 'pendingPrincipals' | 'pendingTickets' | 'openTicketsAt' | 'overdueTickets' | 'doneTickets'
>;

export function indexRows(tables: Tables): IndexRows {
  const stateNos = (test: (state: TicketState, facts: TicketFacts) => boolean): number[] =>
    tables.states
      .entries()
      .filter(([no, state]) => test(state, must(tables.tickets.get(no))))
      .map(([no]) => no)
      .sort(ascending);

  return {
    ticketsOf: (principal, before, limit) =>
      stateNos((state, facts) => facts.principal === principal && state.no < before)
        .reverse()
        .slice(0, limit),
    pendingPrincipals: (endpoint) =>
      [
        ...new Set(
          stateNos((state, facts) => facts.endpoint === endpoint && state.pending > 0).map(
            (no) => must(tables.tickets.get(no)).principal,
          ),
        ),
      ].sort(ascending),
    pendingTickets: (endpoint, principal, after, limit) =>
      stateNos(
        (state, facts) =>
          facts.endpoint === endpoint && facts.principal === principal && state.no > after && state.pending > 0,
      ).slice(0, limit),
    openTicketsAt: (endpoint) => stateNos((state, facts) => facts.endpoint === endpoint && state.open > 0),
    overdueTickets: (nowS, limit) => stateNos((state, facts) => state.pending > 0 && facts.exp < nowS).slice(0, limit),
    // The newest stays, as in SQLite: its number must not be given twice.
    doneTickets: (before, limit) =>
      stateNos((state) => state.open === 0 && state.doneAt < before && state.no < tables.tickets.newest).slice(
        0,
        limit,
      ),
  };
}
