/** Rows in maps, with an undo list: whatever a command did before it threw is taken back (W3). */
import type { PublicJwk } from '#kernel/ids.ts';
import type { Payload } from './payload.ts';
import type {
  EndpointRow,
  HotTicket,
  InvitationRow,
  PackRow,
  PrincipalRow,
  Rows,
  TicketFacts,
  TicketState,
} from './rows.ts';
import type { StoredEvent } from './store.ts';

type EventRow = Omit<StoredEvent, 'principal'> & { readonly principal: number; readonly at: number };
interface CancelRow {
  readonly endpoint: number;
  readonly ticket: number;
  readonly token: string;
  readonly links: readonly string[];
}

/** Values are never changed in place: a row that is put takes the place of the old one. */
class Table<K, V> {
  readonly #rows = new Map<K, V>();
  readonly #undo: (() => void)[];
  /** The highest number given, for tables that are keyed by one. */
  #last = 0;

  constructor(undo: (() => void)[]) {
    this.#undo = undo;
  }

  get(key: K): V | undefined {
    return this.#rows.get(key);
  }

  set(key: K, value: V): void {
    const before = this.#rows.get(key);
    this.#undo.push(() => (before === undefined ? this.#rows.delete(key) : this.#rows.set(key, before)));
    this.#rows.set(key, value);
  }

  delete(key: K): boolean {
    const before = this.#rows.get(key);
    if (before === undefined) return false;
    this.#undo.push(() => this.#rows.set(key, before));
    return this.#rows.delete(key);
  }

  nextNo(): number {
    this.#undo.push(() => {
      this.#last -= 1;
    });
    this.#last += 1;
    return this.#last;
  }

  get size(): number {
    return this.#rows.size;
  }

  get newest(): number {
    return this.#last;
  }

  entries(): [K, V][] {
    return [...this.#rows];
  }

  keysWhere(test: (value: V) => boolean): K[] {
    return this.entries()
      .filter(([, value]) => test(value))
      .map(([key]) => key);
  }
}

export interface MemoryRows extends Rows {
  /** Runs one command; on a throw its changes are taken back. */
  atomically<T>(run: () => T): T;
}

const ascending = (a: number, b: number): number => a - b;

export function memoryRows(generation: string): MemoryRows {
  const undo: (() => void)[] = [];
  const table = <K, V>(): Table<K, V> => new Table<K, V>(undo);
  const principals = table<number, PrincipalRow>();
  const principalNos = table<string, number>();
  const endpoints = table<number, EndpointRow>();
  const texts = { chain: table<number, readonly string[]>(), manifest: table<number, string>() };
  const textNos = table<string, number>();
  const tickets = table<number, TicketFacts>();
  const ticketNos = table<string, number>();
  const states = table<number, TicketState>();
  const payloads = table<number, Payload>();
  const packs = table<number, PackRow>();
  const packNos = table<string, number>();
  const events = table<string, EventRow>();
  const cancels = table<number, CancelRow>();
  const refusals = table<number, { ticket: number; items: Uint8Array; receipt: string }>();
  const invitations = table<string, InvitationRow>();
  const blobs = table<string, number>();
  const grants = table<string, { principal: number; digest: string; at: number }>();
  const pins = table<string, { ticket: number; digest: string }>();
  const alarms = table<number, { at: number; kind: string; text: string }>();

  const copy = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes);
  const hotByNo = (no: number): HotTicket | undefined => {
    const facts = tickets.get(no);
    const state = states.get(no);
    if (facts === undefined || state === undefined) return undefined;
    const { id, hash, n, exp, principal, endpoint } = facts;
    return { ...state, states: copy(state.states), packs: copy(state.packs), id, hash, n, exp, principal, endpoint };
  };
  const must = <V>(value: V | undefined): V => {
    if (value === undefined) throw new RangeError('a row is missing');
    return value;
  };
  const keep = <V>(kind: string, of: Table<number, V>, digest: string, value: V): number => {
    const known = textNos.get(`${kind} ${digest}`);
    if (known !== undefined) return known;
    const no = of.nextNo();
    of.set(no, value);
    textNos.set(`${kind} ${digest}`, no);
    return no;
  };
  const principalOf = (kid: string): PrincipalRow | undefined => {
    const no = principalNos.get(kid);
    return no === undefined ? undefined : principals.get(no);
  };
  const savePrincipal = (no: number, change: Partial<PrincipalRow>): PrincipalRow => {
    const row = { ...must(principals.get(no)), ...change };
    principals.set(no, row);
    return row;
  };
  const packKey = (endpoint: number, ledger: number, agentNo: number, digest: string): string =>
    `${endpoint} ${ledger} ${agentNo} ${digest}`;
  const eventsOf = (principal: number): EventRow[] =>
    events
      .entries()
      .map(([, row]) => row)
      .filter((row) => row.principal === principal)
      .sort((a, b) => a.seq - b.seq);
  const stateNos = (test: (state: TicketState, facts: TicketFacts) => boolean): number[] =>
    states
      .entries()
      .filter(([no, state]) => test(state, must(tickets.get(no))))
      .map(([no]) => no)
      .sort(ascending);

  return {
    atomically(run) {
      undo.length = 0;
      try {
        return run();
      } catch (error) {
        for (const step of undo.reverse()) step();
        throw error;
      } finally {
        undo.length = 0;
      }
    },
    generation: () => generation,

    principal: principalOf,
    principalKid: (no) => must(principals.get(no)).kid,
    addPrincipal(kid) {
      const row: PrincipalRow = { no: principals.nextNo(), kid, jwk: undefined, seq: 0, open: 0 };
      principals.set(row.no, row);
      principalNos.set(kid, row.no);
      return row;
    },
    setUser: (no: number, jwk: PublicJwk) => void savePrincipal(no, { jwk }),
    users: () => principals.entries().flatMap(([, row]) => (row.jwk === undefined ? [] : [row])),
    nextSeq(no, openDelta) {
      const row = must(principals.get(no));
      return savePrincipal(no, { seq: row.seq + 1, open: row.open + openDelta }).seq;
    },
    addOpen: (no, delta) => void savePrincipal(no, { open: must(principals.get(no)).open + delta }),

    endpoint: (id) => endpoints.entries().find(([, row]) => row.id === id)?.[1],
    endpointId: (no) => must(endpoints.get(no)).id,
    endpoints: () => endpoints.entries().map(([, row]) => row),
    addEndpoint(row) {
      const no = endpoints.nextNo();
      endpoints.set(no, { ...row, no });
    },
    saveEndpoint: (row) => endpoints.set(row.no, row),

    keepChain: (digest, links) => keep('chain', texts.chain, digest, links),
    keepManifest: (digest, text) => keep('manifest', texts.manifest, digest, text),
    chain: (no) => must(texts.chain.get(no)),
    manifest: (no) => must(texts.manifest.get(no)),

    addTicket(facts, state) {
      const no = tickets.nextNo();
      tickets.set(no, facts);
      ticketNos.set(facts.id, no);
      states.set(no, { ...state, no });
      return no;
    },
    hot(id) {
      const no = ticketNos.get(id);
      return no === undefined ? undefined : hotByNo(no);
    },
    hotByNo,
    facts: (no) => must(tickets.get(no)),
    saveState({ no, states: bytes, packs: marks, pending, open, deliveryEpoch, cancelling, doneAt }) {
      states.set(no, { no, states: copy(bytes), packs: copy(marks), pending, open, deliveryEpoch, cancelling, doneAt });
    },
    dropTicket(no) {
      ticketNos.delete(must(tickets.get(no)).id);
      tickets.delete(no);
      states.delete(no);
      payloads.delete(no);
      for (const key of refusals.keysWhere((row) => row.ticket === no)) refusals.delete(key);
      for (const key of cancels.keysWhere((row) => row.ticket === no)) cancels.delete(key);
      for (const key of pins.keysWhere((row) => row.ticket === no)) pins.delete(key);
    },
    ticketsOf: (principal, before, limit) =>
      stateNos((state, facts) => facts.principal === principal && state.no < before)
        .reverse()
        .slice(0, limit),
    pendingPrincipals: (endpoint) =>
      [
        ...new Set(
          stateNos((state, facts) => facts.endpoint === endpoint && state.pending > 0).map(
            (no) => must(tickets.get(no)).principal,
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
    doneTickets: (before, limit) =>
      stateNos((state) => state.open === 0 && state.doneAt < before && state.no < tickets.newest).slice(0, limit),

    addPayload: (no, payload) => payloads.set(no, payload),
    payload: (no) => payloads.get(no),
    dropPayload: (no) => void payloads.delete(no),

    packNo: (...key) => packNos.get(packKey(...key)),
    addPack(row) {
      const no = packs.nextNo();
      packs.set(no, row);
      packNos.set(packKey(row.endpoint, row.ledgerEpoch, row.agentPackNo, row.digest), no);
      return no;
    },
    pack: (no) => packs.get(no),
    releasePack(no) {
      const row = packs.get(no);
      if (row === undefined) return;
      if (row.refs > 1 || no === packs.newest) return packs.set(no, { ...row, refs: row.refs - 1 });
      packNos.delete(packKey(row.endpoint, row.ledgerEpoch, row.agentPackNo, row.digest));
      packs.delete(no);
    },

    addEvent: (principal, seq, kind, at, data, packNo) =>
      events.set(`${principal} ${seq}`, { principal, seq, kind, at, data, packNo }),
    eventsAfter: (principal, seq, limit) =>
      eventsOf(principal)
        .filter((row) => row.seq > seq)
        .slice(0, limit)
        .map(({ seq: no, kind, data, packNo }) => ({ seq: no, kind, data, packNo })),
    firstEvent: (principal) => eventsOf(principal)[0]?.seq ?? 0,
    dropEvents(before, limit) {
      const old = events.keysWhere((row) => row.at < before).slice(0, limit);
      for (const key of old) events.delete(key);
      return old.length;
    },

    addCancel(endpoint, ticket, token, links) {
      const no = cancels.nextNo();
      cancels.set(no, { endpoint, ticket, token, links });
      return no;
    },
    cancels: (endpoint) =>
      cancels
        .entries()
        .flatMap(([no, row]) => (row.endpoint === endpoint ? [{ no, token: row.token, links: row.links }] : [])),
    dropCancel(endpoint, no) {
      if (cancels.get(no)?.endpoint === endpoint) cancels.delete(no);
    },
    addRefusal: (ticket, items, receipt) => refusals.set(refusals.nextNo(), { ticket, items, receipt }),
    refusals: (ticket) =>
      refusals
        .entries()
        .flatMap(([, row]) => (row.ticket === ticket ? [{ items: row.items, receipt: row.receipt }] : [])),

    addInvitation: (hash, row) => invitations.set(hash, { ...row, used: false }),
    invitation: (hash) => invitations.get(hash),
    useInvitation: (hash) => invitations.set(hash, { ...must(invitations.get(hash)), used: true }),
    dropInvitations(before) {
      for (const key of invitations.keysWhere((row) => row.exp < before)) invitations.delete(key);
    },

    addBlob: (digest, size) => blobs.set(digest, size),
    blobSize: (digest) => blobs.get(digest),
    grant: (principal, digest, at) =>
      grants.set(`${principal} ${digest}`, {
        principal,
        digest,
        at: Math.max(at, grants.get(`${principal} ${digest}`)?.at ?? 0),
      }),
    granted: (principal, digest) => grants.get(`${principal} ${digest}`) !== undefined,
    staleGrants: (before, limit) =>
      grants
        .entries()
        .map(([, row]) => row)
        .filter((row) => row.at < before && pins.keysWhere((pin) => pin.digest === row.digest).length === 0)
        .slice(0, limit),
    revoke: (principal, digest) => void grants.delete(`${principal} ${digest}`),
    anyGrant: (digest) => grants.keysWhere((row) => row.digest === digest).length > 0,
    dropBlob: (digest) => void blobs.delete(digest),
    pin: (ticket, digest) => pins.set(`${ticket} ${digest}`, { ticket, digest }),
    unpin(ticket) {
      for (const key of pins.keysWhere((row) => row.ticket === ticket)) pins.delete(key);
    },
    pinned: (digest) => pins.keysWhere((row) => row.digest === digest).length > 0,
    pinnedAt: (endpoint, digest) =>
      pins.keysWhere((row) => row.digest === digest && tickets.get(row.ticket)?.endpoint === endpoint).length > 0,

    alarm: (at, kind, text) => alarms.set(alarms.nextNo(), { at, kind, text }),
    alarms: (limit) =>
      alarms
        .entries()
        .map(([, row]) => row)
        .reverse()
        .slice(0, limit),
    dropAlarms(before) {
      for (const key of alarms.keysWhere((row) => row.at < before)) alarms.delete(key);
    },

    counts: () => ({
      tickets: tickets.size,
      openItems: principals.entries().reduce((sum, [, row]) => sum + row.open, 0),
      users: principals.keysWhere((row) => row.jwk !== undefined).length,
      endpoints: endpoints.size,
    }),
  };
}
