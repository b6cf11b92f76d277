/**
 * Durable messages on their way: each is kept by its owner's store until the other side acknowledged it, and sent again
 * to every new session.
 *
 * Invariants
 *  O1 The owner's store is the truth. The outbox holds numbers in flight and a bounded tail of new messages, nothing else.
 *  O2 `put` is called after the commit, in rising order of numbers; a message that was never committed is never sent.
 *  O3 A new session starts again from the lowest number that is not acknowledged, read from the store.
 *  O4 An acknowledgement removes from the window only; the owner deletes from its store first and then calls `acked`.
 *  O5 At most `windowItems` messages and about `windowBytes` wait for an answer, so a slow receiver costs no memory here.
 */
import type { Lane } from './messages.ts';

export interface Entry<M> {
  readonly no: number;
  readonly message: M;
  readonly bytes: number;
}

/** What the outbox needs of a session. */
export interface Sender<M> {
  send(message: M, lane?: Lane): boolean;
  writable(): Promise<void>;
  readonly closed: Promise<unknown>;
}

export interface OutboxOptions<M> {
  /** Unacknowledged entries with no > after, in rising order, about `limit` of them; empty when there are none. */
  load(after: number, limit: number): Promise<readonly Entry<M>[]>;
  readonly lane?: Lane;
  readonly windowItems?: number;
  readonly windowBytes?: number;
  /** A `load` that failed: the owner's store is in trouble. The session is told by the owner, not from here. */
  onError(error: unknown): void;
}

/** Enough for a round trip of 100 ms at 10,000 group commits a second; more would only wait at the receiver. */
const WINDOW_ITEMS = 1024;
const WINDOW_BYTES = 16 * 1024 * 1024;
const LOAD_ITEMS = 64;

export interface Outbox<M> {
  /** A committed message. It goes out at once if a session is attached and caught up, else with the next load. */
  put(entry: Entry<M>): void;
  acked(nos: Iterable<number>): void;
  /** From now on this session gets the messages: everything unacknowledged first. */
  attach(session: Sender<M>): void;
  detach(): void;
  readonly inFlight: number;
}

export function createOutbox<M>(options: OutboxOptions<M>): Outbox<M> {
  const lane = options.lane ?? 'bulk';
  const windowItems = options.windowItems ?? WINDOW_ITEMS;
  const windowBytes = options.windowBytes ?? WINDOW_BYTES;
  const inFlight = new Map<number, number>();
  let flightBytes = 0;
  /** Next to send, in order. */
  let tail: Entry<M>[] = [];
  let tailBytes = 0;
  /** Highest number sent to this session. */
  let cursor = 0;
  /** The store may hold more after the tail: it is read when the tail is empty, and new messages wait there meanwhile. */
  let behind = true;
  /** A message was put while the store was being read: whether the reading saw it is unknown, so it is read once more. */
  let missed = false;
  let session: Sender<M> | undefined;
  let pumping = false;

  const hasRoom = (): boolean => inFlight.size < windowItems && flightBytes < windowBytes;

  function transmit(to: Sender<M>, entry: Entry<M>): boolean {
    cursor = entry.no;
    tailBytes -= entry.bytes;
    inFlight.set(entry.no, entry.bytes);
    flightBytes += entry.bytes;
    return to.send(entry.message, lane);
  }

  async function refill(to: Sender<M>): Promise<void> {
    missed = false;
    const loaded = await options.load(cursor, LOAD_ITEMS);
    if (session !== to) return;
    behind = loaded.length > 0 || missed;
    tail = [...loaded];
    tailBytes = loaded.reduce((sum, entry) => sum + entry.bytes, 0);
  }

  async function run(to: Sender<M>): Promise<void> {
    while (session === to && hasRoom()) {
      const entry = tail.shift();
      if (entry !== undefined) {
        if (!transmit(to, entry)) await to.writable();
      } else if (behind) await refill(to);
      else return;
    }
  }

  function pump(): void {
    const to = session;
    if (pumping || to === undefined) return;
    pumping = true;
    let failed = false;
    run(to)
      .catch((error: unknown) => {
        // No retry from here: the next put, answer or session tries again, and the owner knows.
        failed = true;
        options.onError(error);
      })
      .finally(() => {
        pumping = false;
        // Another session may have come, or room or a message, while this run was ending.
        if (!failed && session !== undefined && hasRoom() && (tail.length > 0 || behind)) pump();
      });
  }

  function detach(): void {
    session = undefined;
    inFlight.clear();
    flightBytes = 0;
    cursor = 0;
    tail = [];
    tailBytes = 0;
    behind = true;
  }

  return {
    put(entry) {
      if (session === undefined) return;
      if (behind) missed = true;
      else {
        tail.push(entry);
        tailBytes += entry.bytes;
        // Too much for memory: what comes now is read from the store when its turn comes.
        if (tailBytes > windowBytes) behind = true;
      }
      pump();
    },
    acked(nos) {
      for (const no of nos) {
        flightBytes -= inFlight.get(no) ?? 0;
        inFlight.delete(no);
      }
      pump();
    },
    attach(next) {
      detach();
      session = next;
      void next.closed.then(() => {
        if (session === next) detach();
      });
      pump();
    },
    detach,
    get inFlight() {
      return inFlight.size;
    },
  };
}
