/**
 * The tickets that this client waits for, and the rule by which they end.
 *
 * Invariants
 *  T1 An item ends on a verified receipt, once: the first wins, a second that differs is reported and changes nothing.
 *  T2 The broker's word (queued, running, lost) moves what is shown and never ends an item as if it were a receipt; `lost`
 *     raises E_UNRESOLVED for the items that it names, which can be attached again and still end on a receipt.
 *  T3 Outcomes are made when they are asked for: counting 1,000 results makes no 1,000 objects.
 */
import { equalBytes } from '#kernel/bytes.ts';
import type { FarfieldError } from '#kernel/errors.ts';
import { invocationId } from '#kernel/ids.ts';
import type { OpenedPack, PackTicket } from '#kernel/receipts.ts';
import type { RunningEvent } from '#protos/http.ts';
import { type Outcome, outcomeOf } from './outcome.ts';

/** A state for people, latest wins. */
export interface Progress {
  readonly state: string;
  readonly detail: string;
  readonly done: number;
  readonly total: number;
}

/** What one pack says of one ticket: `columns` as signed, of which the k-th is item `columns.items[k]`. */
export interface OutcomeGroup {
  readonly columns: PackTicket;
  /** Positions in `columns` that ended just now; those that had ended before are left out. */
  readonly fresh: readonly number[];
  outcome(k: number): Outcome;
}

export interface Ticket {
  readonly id: string;
  /** Undefined after attaching on a machine that did not send it. */
  readonly hash: string | undefined;
  readonly endpoint: string;
  readonly n: number;
  readonly remaining: number;
  /** Resolves when every item has a verified receipt. */
  finished(): Promise<void>;
  /** All outcomes in item order, once every item has one. */
  all(): Promise<readonly Outcome[]>;
  /** One item's outcome. */
  item(i: number): Promise<Outcome>;
  /** Called with what ends, in groups as they were committed; first with what ended before this call. */
  onOutcomes(listener: (group: OutcomeGroup) => void): void;
  onProgress(listener: (progress: Progress) => void): void;
}

/** A ticket as the receiving side sees it. */
export interface Tracked extends Ticket {
  settle(pack: OpenedPack, ticket: number): void;
  fail(items: readonly number[] | 'all', error: FarfieldError): void;
  /** Waits again for what had failed: somebody attached. */
  reopen(): void;
  progress(event: Pick<RunningEvent, 'state' | 'detail' | 'done' | 'total'>): void;
}

export interface TrackedFacts {
  readonly id: string;
  readonly hash: string | undefined;
  readonly endpoint: string;
  readonly n: number;
}

/** Where an item's outcome is: position `k` of ticket `ticket` in `pack`. */
interface Place {
  readonly pack: OpenedPack;
  readonly ticket: number;
  readonly k: number;
}

export function createTracked(facts: TrackedFacts, onAlarm: (message: string) => void): Tracked {
  const groups: { pack: OpenedPack; ticket: number }[] = [];
  /** Group and position of each item that ended; group 0 is none. */
  const groupOf = new Uint32Array(facts.n);
  const placeOf = new Uint32Array(facts.n);
  const waiters = new Map<number, PromiseWithResolvers<Outcome>[]>();
  const allWaiters: PromiseWithResolvers<void>[] = [];
  const listeners: ((group: OutcomeGroup) => void)[] = [];
  const progressListeners: ((progress: Progress) => void)[] = [];
  let remaining = facts.n;
  const failures = createFailures((i) => groupOf[i] === 0);

  const place = (i: number): Place | undefined => {
    const group = groups[(groupOf[i] ?? 0) - 1];
    return group === undefined ? undefined : { ...group, k: placeOf[i] ?? 0 };
  };

  const accept = (pack: OpenedPack, ticket: number): number[] => {
    const columns = pack.pack.tickets[ticket] as PackTicket;
    const number = groups.push({ pack, ticket });
    const fresh: number[] = [];
    for (const [k, i] of columns.items.entries()) {
      if (i >= facts.n) onAlarm(`a receipt names item ${i} of ${facts.id}, which has ${facts.n}: ignored`);
      else if (groupOf[i] === 0) {
        groupOf[i] = number;
        placeOf[i] = k;
        fresh.push(k);
      } else if (differs(place(i) as Place, columns, k)) {
        onAlarm(`a second, differing receipt for ${invocationId(facts.id, i)}: keep both and ask the site`);
      }
    }
    return fresh;
  };

  const finished = async (): Promise<void> => {
    if (remaining === 0) return;
    failures.check();
    await ask(allWaiters);
  };

  return {
    ...facts,
    get remaining() {
      return remaining;
    },
    finished,
    async all() {
      await finished();
      return Array.from({ length: facts.n }, (_, i) => outcomeOf(place(i) as Place));
    },
    async item(i) {
      const known = place(i);
      if (known !== undefined) return outcomeOf(known);
      failures.check(i);
      const list = waiters.get(i) ?? [];
      waiters.set(i, list);
      return ask(list);
    },
    onOutcomes(listener) {
      listeners.push(listener);
      // A fast ticket ends while the answer to its submit is on its way: nobody can listen sooner than that.
      for (const [at, { pack, ticket }] of groups.entries()) {
        const ended = groupIn(pack, ticket, (i, k) => groupOf[i] === at + 1 && placeOf[i] === k);
        if (ended.fresh.length > 0) listener(ended);
      }
    },
    onProgress: (listener) => void progressListeners.push(listener),
    settle(pack, ticket) {
      const fresh = accept(pack, ticket);
      if (fresh.length === 0) return;
      remaining -= fresh.length;
      const columns = pack.pack.tickets[ticket] as PackTicket;
      failures.ended(columns, fresh);
      const outcome = (k: number): Outcome => outcomeOf({ pack, ticket, k });
      for (const listener of listeners) listener({ columns, fresh, outcome });
      if (waiters.size > 0) {
        for (const k of fresh) {
          const i = columns.items[k] ?? 0;
          for (const waiter of waiters.get(i) ?? []) waiter.resolve(outcome(k));
          waiters.delete(i);
        }
      }
      if (remaining === 0) for (const waiter of allWaiters.splice(0)) waiter.resolve();
    },
    fail(items, error) {
      if (!failures.add(items, error)) return;
      for (const [i, list] of waiters) {
        if (!failures.has(i)) continue;
        for (const waiter of list) waiter.reject(error);
        waiters.delete(i);
      }
      for (const waiter of allWaiters.splice(0)) waiter.reject(error);
    },
    reopen: () => failures.clear(),
    progress(event) {
      for (const listener of progressListeners) listener(event);
    },
  };
}

function ask<T>(list: PromiseWithResolvers<T>[]): Promise<T> {
  const asked = Promise.withResolvers<T>();
  list.push(asked);
  return asked.promise;
}

/** Of what a pack says of a ticket, those items. */
function groupIn(pack: OpenedPack, ticket: number, isOf: (i: number, k: number) => boolean): OutcomeGroup {
  const columns = pack.pack.tickets[ticket] as PackTicket;
  const fresh = columns.items.flatMap((i, k) => (isOf(i, k) ? [k] : []));
  return { columns, fresh, outcome: (k) => outcomeOf({ pack, ticket, k }) };
}

interface Failures {
  /** False where nothing of it is open any more. */
  add(items: readonly number[] | 'all', error: FarfieldError): boolean;
  has(i: number): boolean;
  /** Throws why item `i`, or any, will not be waited for. */
  check(i?: number): void;
  ended(columns: PackTicket, fresh: readonly number[]): void;
  clear(): void;
}

/** Why all of a ticket, or some of its items, will not be waited for (T2): a receipt that comes all the same takes it back. */
function createFailures(isOpen: (i: number) => boolean): Failures {
  const failed = new Map<number, FarfieldError>();
  let ofAll: FarfieldError | undefined;
  return {
    add(items, error) {
      if (items === 'all') {
        ofAll = error;
        return true;
      }
      const open = items.filter(isOpen);
      for (const i of open) failed.set(i, error);
      return open.length > 0;
    },
    has: (i) => ofAll !== undefined || failed.has(i),
    check(i) {
      const [first] = failed.values();
      const why = (i === undefined ? first : failed.get(i)) ?? ofAll;
      if (why !== undefined) throw why;
    },
    ended(columns, fresh) {
      if (failed.size > 0) for (const k of fresh) failed.delete(columns.items[k] ?? 0);
    },
    clear() {
      ofAll = undefined;
      failed.clear();
    },
  };
}

/** Status and result are what a caller acts on; attempt and time may differ between two honest packs of one outcome. */
function differs(before: Place, columns: PackTicket, k: number): boolean {
  const old = before.pack.pack.tickets[before.ticket] as PackTicket;
  const digest = (ticket: PackTicket, at: number): Uint8Array => ticket.resultDigests.subarray(at * 32, at * 32 + 32);
  return old.statuses[before.k] !== columns.statuses[k] || !equalBytes(digest(old, before.k), digest(columns, k));
}
