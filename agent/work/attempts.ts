/**
 * What becomes of an item when an attempt is over: it ends, or starts again.
 *
 * Invariants
 *  T1 An outcome counts only with the (attempt, lease epoch) that the mirror holds, and once.
 *  T2 The return of a lease is committed before the item is placed again: a crash in between costs a start, not a second
 *     runner of one attempt.
 *  T3 Returns of one message are one command: a batch that fails as a whole costs what a success would.
 *  T4 A last start that its pilot handed back or died with is not settled before the cause of that is known, or nobody says it in
 *     time: the cause is the answer that its caller gets. Until then its lease stands, so a crash of the agent starts nothing.
 *  T5 A cause that comes after the next start began is noted with the item, and charged if it is the work's own. Charged so, it
 *     is kept in memory: a restart of the agent forgets that charge, and `maxStarts` bounds what follows.
 */
import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import { decideRetry, type RetryDecision } from '#kernel/states/retry.ts';
import type { Measured } from '#kernel/tokens/claims.ts';
import { ITEM } from '../admission/item-state.ts';
import type { HeldItem, Ledger } from '../admission/ledger.ts';
import type { Ending } from './endings.ts';
import { isOpen, itemKey, splitKey, type Work } from './mirror.ts';
import type { AttemptEnd, Loss } from './ports.ts';

export interface AttemptsOptions {
  readonly works: ReadonlyMap<number, Work>;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly random: Random;
  readonly onState: (work: Work, items: readonly number[], state: string, detail: string) => void;
  readonly onStale: (why: string) => void;
  readonly finish: (ending: Ending) => void;
  /** The item gives its slot and its places under ceilings back. */
  readonly release: (work: Work, i: number) => void;
  /** The item may be placed again now; `dispatch` follows. */
  readonly again: (work: Work, i: number) => void;
  readonly dispatch: () => void;
}

interface Failure {
  readonly charged: boolean;
  /** Whether the attempt may have finished all the same. */
  readonly unknown: boolean;
  readonly code: string;
  readonly message: string;
  readonly meas: Measured;
}

interface Returned {
  readonly held: HeldItem;
  readonly failure: Failure;
}

/** An attempt that is over for a reason which may still be told. */
type Unexplained = Pick<HeldItem, 'i' | 'attempt'> & { readonly work: Work };

const MAX_FAILURES = 255;

export class Attempts {
  readonly #o: AttemptsOptions;
  /** T4: last starts that a pilot handed back, by item. */
  readonly #kept = new Map<number, Returned>();
  /** T5: by pilot. */
  readonly #unexplained = new Map<number, Unexplained[]>();

  constructor(options: AttemptsOptions) {
    this.#o = options;
  }

  /**
   * Takes outcomes. Resolves when the returns among them are committed; ends are the caller's to wait for. `leaving`: the pilot
   * that sends them is ending, and why is still to be said.
   */
  take(ends: readonly AttemptEnd[], leaving?: number): Promise<void> {
    const returned: Returned[] = [];
    for (const end of ends) {
      const one = this.#takeOne(end, leaving !== undefined);
      if (one === undefined) continue;
      returned.push(one);
      if (leaving !== undefined && !one.failure.charged) this.#noteUnexplained(leaving, one.held);
    }
    return returned.length === 0 ? Promise.resolve() : this.#return(returned);
  }

  /** Ends leases of a pilot that is gone. */
  lost(pilot: number, held: readonly HeldItem[], loss: Loss): Promise<void> {
    const { why, cause, charged = false } = loss;
    if (cause === 'said') this.#explain(pilot, why, charged);
    const back = cause === 'unsaid' ? held.filter((each) => !this.#waitsForCause(each)) : held;
    if (cause !== 'said') for (const each of back) this.#noteUnexplained(pilot, each);
    return this.giveBack(back, why, charged);
  }

  /** Ends leases of which nobody knows the outcome. */
  giveBack(held: readonly HeldItem[], why: string, charged = false): Promise<void> {
    if (held.length === 0) return Promise.resolve();
    const lost = { charged, unknown: true, code: 'E_OUTCOME_UNKNOWN', message: why, meas: {} };
    return this.#return(
      held.map((each) => {
        const kept = this.#takeKept(each);
        // It was handed back, so its outcome is known; why its pilot ended is the answer.
        const failure = kept === undefined ? lost : { ...kept, charged, message: `${why}; ${kept.message}` };
        return { held: each, failure };
      }),
    );
  }

  /** What its pilot said of it when it handed it back. */
  #takeKept({ ticketNo, i, leaseEpoch }: HeldItem): Failure | undefined {
    const key = itemKey(ticketNo, i);
    const kept = this.#kept.get(key);
    this.#kept.delete(key);
    return kept?.held.leaseEpoch === leaseEpoch ? kept.failure : undefined;
  }

  /** T4: the outcome of this one would be final, and says nothing of why. */
  #waitsForCause({ ticketNo, i }: HeldItem): boolean {
    const work = this.#o.works.get(ticketNo);
    return work !== undefined && work.cancels[i] === 0 && (work.starts[i] ?? 0) >= work.token.claims.run.maxStarts;
  }

  #noteUnexplained(pilot: number, { ticketNo, i, attempt }: HeldItem): void {
    const work = this.#o.works.get(ticketNo);
    if (work === undefined) return;
    const list = this.#unexplained.get(pilot);
    if (list === undefined) this.#unexplained.set(pilot, [{ work, i, attempt }]);
    else list.push({ work, i, attempt });
  }

  /** T5 */
  #explain(pilot: number, why: string, charged: boolean): void {
    const list = this.#unexplained.get(pilot) ?? [];
    this.#unexplained.delete(pilot);
    for (const { work, i, attempt } of list) {
      if (!isOpen(work, i)) continue;
      if (charged) work.failures[i] = Math.min(MAX_FAILURES, (work.failures[i] ?? 0) + 1);
      // A later start may have failed meanwhile: what it met is the newer answer.
      if ((work.starts[i] ?? 0) > attempt + 1) continue;
      work.lastFailure.set(i, { code: 'E_OUTCOME_UNKNOWN', message: why });
      if (work.states[i] === ITEM.waiting) this.#o.onState(work, [i], 'waiting', `starts again: ${why}`);
    }
  }

  /** What must be returned of this outcome; undefined for all that end with it. */
  #takeOne(end: AttemptEnd, leaving: boolean): Returned | undefined {
    const { attempt, leaseEpoch, detail, meas, charged } = end;
    const { ticketNo, i } = splitKey(end.key);
    const work = this.#o.works.get(ticketNo);
    const held = { ticketNo, i, attempt, leaseEpoch };
    if (work === undefined || work.ending[i] === 1 || !holds(work, held)) {
      this.#o.onStale(`an outcome of attempt ${attempt} of item ${end.key}`);
      return undefined;
    }
    if (end.status !== 'failed') {
      const { status, resultDigest, result } = end;
      const digest = resultDigest === undefined ? {} : { resultDigest };
      this.#o.finish({ work, i, status, detail, meas, ...digest, ...(result === undefined ? {} : { result }) });
      return undefined;
    }
    const { code = 'E_FUNCTION', message = 'the function failed without a word' } = detail.err ?? {};
    const failure = { charged, unknown: false, code, message, meas };
    const decision = this.#decide(work, i, (work.failures[i] ?? 0) + (charged ? 1 : 0), failure);
    if (decision.kind === 'again') return { held, failure };
    if (leaving && !charged && this.#waitsForCause(held)) {
      this.#kept.set(end.key, { held, failure });
      this.#o.onState(work, [i], 'running', `${message}; waiting for the scheduler's word on the end of its job`);
      return undefined;
    }
    const text = decision.code === code ? message : `${message} (${decision.why})`;
    this.#o.finish({
      work,
      i,
      status: 'failed',
      detail: { ...detail, err: { code: decision.code, message: text } },
      meas,
    });
    return undefined;
  }

  async #return(returned: readonly Returned[]): Promise<void> {
    const { works, ledger, release, dispatch } = this.#o;
    for (const charged of [true, false]) {
      const held = returned.filter(({ failure }) => failure.charged === charged).map((each) => each.held);
      if (held.length > 0) await ledger.submit({ kind: 'return', held, charged });
    }
    for (const { held, failure } of returned) {
      const work = works.get(held.ticketNo);
      if (work === undefined || !holds(work, held) || work.ending[held.i] === 1) continue;
      release(work, held.i);
      work.states[held.i] = ITEM.waiting;
      if (failure.charged) work.failures[held.i] = (work.failures[held.i] ?? 0) + 1;
      this.#next(work, held.i, failure);
    }
    dispatch();
  }

  /** After an attempt without success, whose item waits again: the next one, or the end. */
  #next(work: Work, i: number, failure: Failure): void {
    const { clock, finish, again, dispatch, onState } = this.#o;
    if (work.cancels[i] === 1) {
      finish({
        work,
        i,
        status: 'cancelled',
        detail: { err: { code: 'E_CANCELLED', message: 'cancelled' } },
        meas: {},
      });
      return;
    }
    const decision = this.#decide(work, i, work.failures[i] ?? 0, failure);
    if (decision.kind === 'end') {
      const message = decision.code === failure.code ? failure.message : `${failure.message} (${decision.why})`;
      finish({ work, i, status: 'failed', detail: { err: { code: decision.code, message } }, meas: failure.meas });
      return;
    }
    work.lastFailure.set(i, { code: failure.code, message: failure.message });
    onState(work, [i], 'waiting', `starts again in ${Math.ceil(decision.afterMs / 1000)} s: ${failure.message}`);
    if (decision.afterMs === 0) {
      again(work, i);
      return;
    }
    clock.after(decision.afterMs, () => {
      if (!isOpen(work, i)) return;
      again(work, i);
      dispatch();
    });
  }

  #decide(work: Work, i: number, failures: number, failure: Failure): RetryDecision {
    const { maxFailures, maxStarts } = work.token.claims.run;
    return decideRetry({ failures, starts: work.starts[i] ?? 0, maxFailures, maxStarts, ...failure }, this.#o.random);
  }
}

export function holds(work: Work, held: HeldItem): boolean {
  const { i, attempt, leaseEpoch } = held;
  return work.states[i] === ITEM.leased && work.starts[i] === attempt && work.leaseEpochs[i] === leaseEpoch;
}

export function heldOf(work: Work, i: number): HeldItem {
  return { ticketNo: work.no, i, attempt: work.starts[i] ?? 0, leaseEpoch: work.leaseEpochs[i] ?? 0 };
}
