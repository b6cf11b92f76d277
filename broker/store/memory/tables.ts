/** Tables as maps, with one undo list for all of them (W3). */
import type { Bytes } from '#kernel/bytes.ts';
import type { Payload } from '../payload.ts';
import type {
  AccessRow,
  EndpointRow,
  InvitationRow,
  PackRow,
  PrincipalRow,
  TicketFacts,
  TicketState,
} from '../rows.ts';
import type { StoredEvent } from '../store.ts';

export type EventRow = Omit<StoredEvent, 'principal'> & { readonly principal: number; readonly at: number };
export interface CancelRow {
  readonly endpoint: number;
  readonly ticket: number;
  readonly token: string;
  readonly links: readonly string[];
}

/** Values are never changed in place: a row that is put takes the place of the old one. */
export class Table<K, V> {
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

  /** Given back by an undo, as SQLite gives back row numbers of a transaction that failed. */
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

  /** Row numbers are never used again while a newer row is there; an event's reader relies on it. */
  get newest(): number {
    return this.#last;
  }

  entries(): [K, V][] {
    return [...this.#rows];
  }

  /** A walk, where SQLite has an index: this store is for tests and simulations. */
  keysWhere(test: (value: V) => boolean): K[] {
    return this.entries()
      .filter(([, value]) => test(value))
      .map(([key]) => key);
  }
}

export type Tables = ReturnType<typeof createTables>;

/** Every table of a broker. Tables of rows are keyed by their number, the others by what they are found by. */
export function createTables() {
  const undo: (() => void)[] = [];
  const table = <K, V>(): Table<K, V> => new Table<K, V>(undo);
  return {
    undo,
    principals: table<number, PrincipalRow>(),
    principalNos: table<string, number>(),
    endpoints: table<number, EndpointRow>(),
    texts: { chain: table<number, readonly string[]>(), manifest: table<number, string>() },
    textNos: table<string, number>(),
    tickets: table<number, TicketFacts>(),
    ticketNos: table<string, number>(),
    states: table<number, TicketState>(),
    payloads: table<number, Payload>(),
    packs: table<number, PackRow>(),
    packNos: table<string, number>(),
    events: table<string, EventRow>(),
    cancels: table<number, CancelRow>(),
    refusals: table<number, { ticket: number; items: Bytes; receipt: string }>(),
    invitations: table<string, InvitationRow>(),
    blobs: table<string, number>(),
    grants: table<string, { principal: number; digest: string; at: number }>(),
    pins: table<string, { ticket: number; digest: string }>(),
    access: table<string, AccessRow>(),
    alarms: table<number, { at: number; kind: string; text: string }>(),
  };
}

/** A row that an index or another row names. */
export function must<V>(value: V | undefined): V {
  if (value === undefined) throw new RangeError('a row is missing');
  return value;
}

/** For row numbers: maps keep the order of insertion, an index that of its keys. */
export const ascending = (a: number, b: number): number => a - b;
