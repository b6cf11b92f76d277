/**
 * What is said of an item that has no verified receipt, and when waiting for one is over.
 *
 * Invariants
 *  U1 Nothing here is a completion: E_UNRESOLVED says what is known, and the call can be attached again.
 *  U2 Waiting ends only when the last permissible start, its time-out and the grace have passed on the wall clock, and the
 *     broker was asked once more.
 */
import type { Clock, Timer } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { ItemState } from '#protos/http.ts';

/** A result is written, signed, spooled and carried after its run: an endpoint that restarts meanwhile needs minutes, not hours. */
export const RECEIPT_GRACE_S = 3600;
/** How often the clock is looked at: one timer for all tickets, since thousands a second come and go. */
const SWEEP_MS = 60_000;

/** What the broker ended by its own word, and what that means. */
const WORDS = {
  lost: 'was lost at its endpoint (the site lost its ledger); it may have run. Submit it again if it may run twice',
  expired: 'was not delivered before its life ended, so it never started. Submit it again, with a longer --life',
  cancelled: 'was cancelled before it was delivered, so it never started',
} as const;

export type EndedByWord = keyof typeof WORDS;

export function isEndedByWord(state: ItemState | string | undefined): state is EndedByWord {
  return state !== undefined && Object.hasOwn(WORDS, state);
}

export function wordError(id: string, state: EndedByWord): FarfieldError {
  return new FarfieldError('E_UNRESOLVED', `the broker says that ${id} ${WORDS[state]}. No receipt says so`, {
    details: { ticket: id, state },
  });
}

export function overdueError(id: string): FarfieldError {
  return new FarfieldError(
    'E_UNRESOLVED',
    `no verified receipt of ${id} came, and none can be expected: its last start and its time-out are over. ` +
      `\`farfield status ${id}\` shows what the broker knows; \`farfield result ${id}\` asks again`,
    { details: { ticket: id, state: 'overdue' } },
  );
}

export interface Deadlines extends Disposable {
  set(id: string, overS: number): void;
  delete(id: string): void;
}

/** Calls `onOver` once for each id whose time has passed. */
export function createDeadlines(clock: Clock, onOver: (id: string) => void): Deadlines {
  const overAt = new Map<string, number>();
  let timer: Timer | undefined;
  const sweep = (): void => {
    timer = undefined;
    const nowS = clock.now() / 1000;
    for (const [id, overS] of overAt) {
      if (overS > nowS) continue;
      overAt.delete(id);
      onOver(id);
    }
    arm();
  };
  const arm = (): void => {
    if (overAt.size > 0) timer ??= clock.after(SWEEP_MS, sweep);
  };
  return {
    set(id, overS) {
      overAt.set(id, overS);
      arm();
    },
    delete: (id) => void overAt.delete(id),
    [Symbol.dispose]() {
      timer?.cancel();
      overAt.clear();
    },
  };
}
