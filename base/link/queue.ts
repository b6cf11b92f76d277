/**
 * The two halves that every transport needs: frames that arrived (Inbox), and bytes on their way out (Gauge).
 *
 * Invariants
 *  Q1 One consumer: a second iteration of the same inbox throws, since two readers would share the frames.
 *  Q2 `pause` and `resume` alternate, and only the inbox calls them.
 */
import { RECEIVE_HIGH_BYTES, SEND_HIGH_BYTES, SEND_LOW_BYTES } from './seam.ts';

/** What stops and starts the source of an inbox: a socket that is not read fills, and TCP tells the sender. */
export interface Flow {
  pause(): void;
  resume(): void;
}

/**
 * Values in the order of arrival, with their weight. Not a Node stream: the high-water
 * mark of an object-mode Readable counts values, where bytes are what matters.
 */
export interface Inbox<T> extends AsyncIterable<T> {
  /** After the end this does nothing: a late arrival is as lost as one that the network dropped. */
  push(value: T, bytes: number): void;
  /** Ends the iteration after what is queued; `drop` forgets that too. */
  end(drop?: boolean): void;
  readonly bytes: number;
}

const NO_FLOW: Flow = { pause: () => {}, resume: () => {} };

export function createInbox<T>(flow: Flow = NO_FLOW, highBytes: number = RECEIVE_HIGH_BYTES): Inbox<T> {
  // A list with a moving head: shift() on a long array copies it.
  let values: T[] = [];
  let sizes: number[] = [];
  let head = 0;
  let waiting = 0;
  let ended = false;
  let paused = false;
  let taken = false;
  let wake: ((result: IteratorResult<T>) => void) | undefined;

  function take(): T {
    const value = values[head] as T;
    waiting -= sizes[head] ?? 0;
    head += 1;
    if (head === values.length) {
      values = [];
      sizes = [];
      head = 0;
    }
    if (paused && waiting <= highBytes / 2) {
      paused = false;
      flow.resume();
    }
    return value;
  }

  function forget(): void {
    values = [];
    sizes = [];
    head = 0;
    waiting = 0;
  }

  const end = (drop = false): void => {
    ended = true;
    if (drop) forget();
    wake?.({ done: true, value: undefined });
    wake = undefined;
  };

  const iterator: AsyncIterator<T> = {
    next() {
      if (head < values.length) return Promise.resolve({ done: false, value: take() });
      if (ended) return Promise.resolve({ done: true, value: undefined });
      return new Promise((resolve) => {
        wake = resolve;
      });
    },
    return() {
      end(true);
      return Promise.resolve({ done: true, value: undefined });
    },
  };

  return {
    push(value, bytes) {
      if (ended) return;
      if (wake !== undefined) {
        // Somebody waits: it passes through and never weighs anything.
        const resolve = wake;
        wake = undefined;
        resolve({ done: false, value });
        return;
      }
      values.push(value);
      sizes.push(bytes);
      waiting += bytes;
      if (paused || waiting <= highBytes) return;
      paused = true;
      flow.pause();
    },
    end,
    get bytes() {
      return waiting;
    },
    [Symbol.asyncIterator]() {
      if (taken) throw new Error('these frames already have a reader');
      taken = true;
      return iterator;
    },
  };
}

/**
 * Bytes given to a transport and not yet taken by the kernel. Two marks and not one: a sender that is woken for each
 * frame that leaves would be woken as often as there are frames.
 */
export interface Gauge {
  /** Counts bytes in; false once over the high-water mark. */
  add(bytes: number): boolean;
  done(bytes: number): void;
  /** At once while below the marks. */
  writable(): Promise<void>;
  /** The link ended: nobody waits any longer. */
  release(): void;
  readonly bytes: number;
}

export function createGauge(highBytes: number = SEND_HIGH_BYTES, lowBytes: number = SEND_LOW_BYTES): Gauge {
  let pending = 0;
  let over = false;
  let released = false;
  let waiters: (() => void)[] = [];

  function wake(): void {
    const woken = waiters;
    waiters = [];
    for (const resolve of woken) resolve();
  }

  return {
    add(bytes) {
      pending += bytes;
      if (pending > highBytes) over = true;
      return !over || released;
    },
    done(bytes) {
      pending -= bytes;
      if (!over || pending > lowBytes) return;
      over = false;
      wake();
    },
    writable() {
      if (!over || released) return Promise.resolve();
      return new Promise((resolve) => waiters.push(resolve));
    },
    release() {
      released = true;
      wake();
    },
    get bytes() {
      return pending;
    },
  };
}

/** Settles `closed` once, and tells the rest of the link about it. */
export interface Once<T> {
  readonly promise: Promise<T>;
  readonly settled: boolean;
  settle(value: T): boolean;
}

export function createOnce<T>(): Once<T> {
  const { promise, resolve } = Promise.withResolvers<T>();
  let settled = false;
  return {
    promise,
    get settled() {
      return settled;
    },
    settle(value) {
      if (settled) return false;
      settled = true;
      resolve(value);
      return true;
    },
  };
}
