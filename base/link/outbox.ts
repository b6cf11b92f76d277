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
  return new StoreOutbox(options);
}

class StoreOutbox<M> implements Outbox<M> {
  readonly #options: OutboxOptions<M>;
  readonly #windowItems: number;
  readonly #windowBytes: number;
  readonly #inFlight = new Map<number, number>();
  #flightBytes = 0;
  /** Next to send, in order. */
  #tail: Entry<M>[] = [];
  #tailBytes = 0;
  /** Highest number sent to this session. */
  #cursor = 0;
  /** The store may hold more after the tail: it is read when the tail is empty, and new messages wait there meanwhile. */
  #behind = true;
  /** A message was put while the store was being read: whether the reading saw it is unknown, so it is read once more. */
  #missed = false;
  #session: Sender<M> | undefined;
  #pumping = false;

  constructor(options: OutboxOptions<M>) {
    this.#options = options;
    this.#windowItems = options.windowItems ?? WINDOW_ITEMS;
    this.#windowBytes = options.windowBytes ?? WINDOW_BYTES;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  put(entry: Entry<M>): void {
    if (this.#session === undefined) return;
    if (this.#behind) this.#missed = true;
    else {
      this.#tail.push(entry);
      this.#tailBytes += entry.bytes;
      // Too much for memory: what comes now is read from the store when its turn comes.
      if (this.#tailBytes > this.#windowBytes) this.#behind = true;
    }
    this.#pump();
  }

  acked(nos: Iterable<number>): void {
    for (const no of nos) {
      this.#flightBytes -= this.#inFlight.get(no) ?? 0;
      this.#inFlight.delete(no);
    }
    this.#pump();
  }

  attach(session: Sender<M>): void {
    this.detach();
    this.#session = session;
    void session.closed.then(() => {
      if (this.#session === session) this.detach();
    });
    this.#pump();
  }

  detach(): void {
    this.#session = undefined;
    this.#inFlight.clear();
    this.#flightBytes = 0;
    this.#cursor = 0;
    this.#tail = [];
    this.#tailBytes = 0;
    this.#behind = true;
  }

  get #hasRoom(): boolean {
    return this.#inFlight.size < this.#windowItems && this.#flightBytes < this.#windowBytes;
  }

  #transmit(to: Sender<M>, entry: Entry<M>): boolean {
    this.#cursor = entry.no;
    this.#tailBytes -= entry.bytes;
    this.#inFlight.set(entry.no, entry.bytes);
    this.#flightBytes += entry.bytes;
    return to.send(entry.message, this.#options.lane ?? 'bulk');
  }

  async #refill(to: Sender<M>): Promise<void> {
    this.#missed = false;
    const loaded = await this.#options.load(this.#cursor, LOAD_ITEMS);
    if (this.#session !== to) return;
    this.#behind = loaded.length > 0 || this.#missed;
    this.#tail = [...loaded];
    this.#tailBytes = loaded.reduce((sum, entry) => sum + entry.bytes, 0);
  }

  async #run(to: Sender<M>): Promise<void> {
    while (this.#session === to && this.#hasRoom) {
      const entry = this.#tail.shift();
      if (entry !== undefined) {
        if (!this.#transmit(to, entry)) await to.writable();
      } else if (this.#behind) await this.#refill(to);
      else return;
    }
  }

  #pump(): void {
    const to = this.#session;
    if (this.#pumping || to === undefined) return;
    this.#pumping = true;
    let failed = false;
    this.#run(to)
      .catch((error: unknown) => {
        // No retry from here: the next put, answer or session tries again, and the owner knows.
        failed = true;
        this.#options.onError(error);
      })
      .finally(() => {
        this.#pumping = false;
        // Another session may have come, or room or a message, while this run was ending.
        if (!failed && this.#hasRoom && (this.#tail.length > 0 || this.#behind)) this.#pump();
      });
  }
}
