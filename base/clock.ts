/**
 * Time, injected: nothing else in Farfield asks the machine what time it is, so that a simulator can own it.
 *
 * Invariants
 *  C1 `now()` is wall time and may jump either way; it decides expiry, never how long something took.
 *  C2 `mono()` and timers never run backwards and never follow a jump of the wall clock: leases and time-outs
 *     live on them.
 *  C3 A timer has one owner, who can cancel it; a cancelled timer never fires.
 */

const MAX_NODE_TIMEOUT_MS = 2 ** 31 - 1;

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall time, ms since 1970. */
  now(): number;
  /** Monotonic ms since some fixed point of this process. */
  mono(): number;
  after(ms: number, fn: () => void): Timer;
  /** Rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

function sleepOn(clock: Pick<Clock, 'after'>, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = (): void => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.after(ms, () => {
      signal?.removeEventListener('abort', abort);
      resolve();
    });
    signal?.addEventListener('abort', abort, { once: true });
  });
}

/** Node fires a timer of more than 24.8 days at once, with a warning: longer ones are taken in stages. */
function systemAfter(ms: number, fn: () => void): Timer {
  let handle: NodeJS.Timeout;
  const arm = (left: number): void => {
    const stage = Math.min(left, MAX_NODE_TIMEOUT_MS);
    handle = setTimeout(() => (left > stage ? arm(left - stage) : fn()), stage);
  };
  arm(ms);
  return { cancel: () => clearTimeout(handle) };
}

/** The machine's clock. Only a process's main.ts hands it out. */
export const systemClock: Clock = {
  now: () => Date.now(),
  mono: () => performance.now(),
  after: systemAfter,
  sleep: (ms, signal) => sleepOn({ after: systemAfter }, ms, signal),
};

export interface ManualClock extends Clock {
  /**
   * Lets ms pass: timers fire in the order of their due times, each seeing its own due time. Callbacks run
   * inside the call.
   */
  advance(ms: number): void;
  /** Like `advance`, and gives promises and I/O one turn after each timer and at the end. */
  drive(ms: number): Promise<void>;
  /** Moves the wall clock alone, as an administrator or a restored snapshot would. */
  jump(ms: number): void;
  /** How many timers wait; a test's leak check. */
  pending(): number;
  /** Monotonic time of the next timer; a simulator goes from one to the next. */
  nextDue(): number | undefined;
}

interface Alarm {
  readonly due: number;
  readonly order: number;
  readonly fn: () => void;
}

/** A clock that stands still until told otherwise. `mono()` starts at 0. */
export function createManualClock(startMs = Date.UTC(2026, 0, 1)): ManualClock {
  let wall = startMs;
  let mono = 0;
  let order = 0;
  const alarms = new Set<Alarm>();

  const earliest = (): Alarm | undefined => {
    let best: Alarm | undefined;
    for (const alarm of alarms) {
      if (best === undefined || alarm.due < best.due || (alarm.due === best.due && alarm.order < best.order))
        best = alarm;
    }
    return best;
  };
  const moveTo = (target: number): void => {
    wall += target - mono;
    mono = target;
  };
  const fireNext = (target: number): boolean => {
    const alarm = earliest();
    if (alarm === undefined || alarm.due > target) return false;
    alarms.delete(alarm);
    moveTo(Math.max(mono, alarm.due));
    alarm.fn();
    return true;
  };
  const after = (ms: number, fn: () => void): Timer => {
    const alarm: Alarm = { due: mono + Math.max(0, ms), order: order++, fn };
    alarms.add(alarm);
    return { cancel: () => void alarms.delete(alarm) };
  };
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  return {
    now: () => wall,
    mono: () => mono,
    after,
    sleep: (ms, signal) => sleepOn({ after }, ms, signal),
    advance(ms) {
      const target = mono + ms;
      while (fireNext(target));
      moveTo(target);
    },
    async drive(ms) {
      const target = mono + ms;
      await turn();
      while (fireNext(target)) await turn();
      moveTo(target);
      await turn();
    },
    jump(ms) {
      wall += ms;
    },
    pending: () => alarms.size,
    nextDue: () => earliest()?.due,
  };
}
