/**
 * The tickets that this client waits for, and the rule by which they end.
 *
 * Invariants
 *  T1 An item ends on a verified receipt, once: the first wins, a second that differs is reported and changes nothing.
 *  T2 The broker's word (queued, running, lost) moves what is shown and never ends an item as if it were a receipt; `lost`
 *     and the last possible deadline raise E_UNRESOLVED, after which the item can be attached again.
 */
import { fromUtf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { invocationId } from '#kernel/ids.ts';
import type { OpenedPack } from '#kernel/receipts.ts';
import type { RunningEvent } from '#protos/http.ts';
import type { Outcome } from './outcome.ts';

/** A state for people, latest wins. */
export interface Progress {
  readonly state: string;
  readonly detail: string;
  readonly done: number;
  readonly total: number;
}

export interface Ticket {
  readonly id: string;
  /** Undefined after re-attaching on a machine that did not send it. */
  readonly hash: string | undefined;
  readonly endpoint: string;
  readonly n: number;
  /** All outcomes in item order, once every item has one. */
  readonly done: Promise<readonly Outcome[]>;
  /** One item's outcome. */
  item(i: number): Promise<Outcome>;
  /** Called with what just ended, in groups as they were committed. */
  onOutcomes(listener: (outcomes: readonly Outcome[]) => void): void;
  onProgress(listener: (progress: Progress) => void): void;
  readonly remaining: number;
}

interface Waiter {
  resolve(outcome: Outcome): void;
  reject(error: FarfieldError): void;
}

export interface Tracked extends Ticket {
  settle(outcomes: readonly Outcome[]): void;
  fail(items: readonly number[] | 'all', error: FarfieldError): void;
  progress(event: Pick<RunningEvent, 'state' | 'detail' | 'done' | 'total'>): void;
  readonly failed: FarfieldError | undefined;
}

export interface TrackedFacts {
  readonly id: string;
  readonly hash: string | undefined;
  readonly endpoint: string;
  readonly n: number;
}

export function createTracked(facts: TrackedFacts, onAlarm: (message: string) => void): Tracked {
  const outcomes = new Array<Outcome | undefined>(facts.n);
  const waiters = new Map<number, Waiter[]>();
  const listeners: ((group: readonly Outcome[]) => void)[] = [];
  const progressListeners: ((progress: Progress) => void)[] = [];
  const all = Promise.withResolvers<readonly Outcome[]>();
  // A caller may wait for single items only; the promise of all must then not count as unhandled.
  all.promise.catch(() => undefined);
  let remaining = facts.n;
  let failed: FarfieldError | undefined;

  const accept = (outcome: Outcome): boolean => {
    const before = outcomes[outcome.i];
    if (before === undefined) {
      outcomes[outcome.i] = outcome;
      remaining -= 1;
      return true;
    }
    if (before.status !== outcome.status || before.resultDigest !== outcome.resultDigest) {
      onAlarm(`a second, differing receipt for ${invocationId(facts.id, outcome.i)}: keep both and ask the site`);
    }
    return false;
  };

  return {
    ...facts,
    done: all.promise,
    get remaining() {
      return remaining;
    },
    get failed() {
      return failed;
    },
    async item(i) {
      const known = outcomes[i];
      if (known !== undefined) return known;
      if (failed !== undefined) throw failed;
      return new Promise<Outcome>((resolve, reject) => {
        waiters.set(i, [...(waiters.get(i) ?? []), { resolve, reject }]);
      });
    },
    onOutcomes: (listener) => void listeners.push(listener),
    onProgress: (listener) => void progressListeners.push(listener),
    settle(group) {
      const fresh = group.filter(accept);
      if (fresh.length === 0) return;
      for (const listener of listeners) listener(fresh);
      if (waiters.size > 0) {
        for (const outcome of fresh) {
          for (const waiter of waiters.get(outcome.i) ?? []) waiter.resolve(outcome);
          waiters.delete(outcome.i);
        }
      }
      if (remaining === 0) all.resolve(outcomes as Outcome[]);
    },
    fail(items, error) {
      failed = error;
      for (const [i, list] of waiters) {
        if (items !== 'all' && !items.includes(i)) continue;
        for (const waiter of list) waiter.reject(error);
        waiters.delete(i);
      }
      all.reject(error);
    },
    progress(event) {
      for (const listener of progressListeners) listener(event);
    },
  };
}

/** The outcomes in a verified pack, by ticket. */
export function outcomesOf(pack: OpenedPack, endpoint: string): Map<string, Outcome[]> {
  const byTicket = new Map<string, Outcome[]>();
  for (const item of pack.items) {
    const list = byTicket.get(item.ticketId) ?? [];
    list.push({
      id: item.ticketId,
      i: item.i,
      status: item.status,
      attempt: item.attempt,
      result: item.result,
      resultDigest: item.resultDigest,
      detail: item.detail,
      meas: item.meas,
      receipts: pack.receipts,
      endpoint,
    });
    byTicket.set(item.ticketId, list);
  }
  return byTicket;
}

/** Text of an inline JSON result. */
export function jsonResult(outcome: Outcome): unknown {
  if (outcome.result === undefined) throw new FarfieldError('E_USAGE', 'this result is not inline; download it');
  return JSON.parse(fromUtf8(outcome.result)) as unknown;
}
