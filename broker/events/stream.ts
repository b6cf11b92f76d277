/**
 * One reader's event stream: from its cursor through the store, then live.
 *
 *   behind ──(page was the last one)──▶ live ──(its socket is full)──▶ behind ...
 *
 * Invariants
 *  V1 Durable events go out in order and without a gap; after a cut the reader resumes behind the last id it got.
 *  V2 At most EVENT_BUFFER_BYTES wait for one reader. Beyond that nothing is kept for it: it is read from the store again.
 *  V3 A cursor of another generation, or older than what is kept, gets `reset`: the reader lists, and goes on from now.
 */
import { once } from 'node:events';
import type { Writable } from 'node:stream';
import type { Clock, Timer } from '#base/clock.ts';
import { EVENT_BUFFER_BYTES, EVENT_HEARTBEAT_MS, EVENT_PAGE } from '../limits.ts';
import { unpackPack } from '../packs.ts';
import type { BrokerStore } from '../store/store.ts';
import { type EventText, eventText, type Hub, sse } from './hub.ts';

export interface StreamOptions {
  readonly hub: Hub;
  readonly store: BrokerStore;
  readonly clock: Clock;
  readonly generation: string;
  readonly principal: string;
  /** `<generation>.<seq>` of the last event that the reader has; undefined: from now on. */
  readonly cursor: string | undefined;
  readonly out: Writable;
  /** Says that the stream begins, before its first byte. */
  readonly head: () => void;
}

const CURSOR = /^([0-9a-f]{1,32})\.(0|[1-9][0-9]{0,15})$/;

/** Runs until the reader goes away. Rejects only when the store fails. */
export async function runStream(options: StreamOptions): Promise<void> {
  const stream = new EventStream(options);
  try {
    await stream.run();
  } finally {
    stream.stop();
  }
}

class EventStream {
  readonly #o: StreamOptions;
  /** Number of the last event that was written. */
  #position = 0;
  #live = false;
  /** Something was published that was not written: the store knows it. */
  #missed = false;
  #wake: () => void = () => {};
  #beat: Timer | undefined;
  #unlisten: () => void = () => {};
  #over = false;

  constructor(options: StreamOptions) {
    this.#o = options;
  }

  async run(): Promise<void> {
    const { hub, principal, out } = this.#o;
    // Listening first: what is committed while the cursor is looked up counts as missed, not as never told.
    this.#unlisten = hub.listen(principal, {
      durable: (event) => this.#durable(event),
      passing: (text) => this.#passing(text),
    });
    out.once('close', () => this.stop());
    out.once('error', () => this.stop());
    // Where "now" is must be settled before the reader sees that it is connected: it may submit in that very moment.
    const reset = await this.#begin();
    if (this.#over) return;
    this.#o.head();
    // A first byte: proxies pass the headers on.
    out.write(': connected\n\n');
    if (reset !== undefined) out.write(reset);
    this.#heartbeat();
    while (!this.#over) {
      await this.#catchUp();
      if (this.#over) return;
      this.#live = true;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (this.#missed || this.#over) resolve();
      });
      this.#live = false;
      if (!this.#over && out.writableNeedDrain) await Promise.race([once(out, 'drain'), this.#closed()]);
    }
  }

  stop(): void {
    this.#over = true;
    this.#live = false;
    this.#unlisten();
    this.#beat?.cancel();
    this.#wake();
  }

  #closed(): Promise<unknown> {
    return new Promise((resolve) => this.#o.out.once('close', resolve));
  }

  #heartbeat(): void {
    this.#beat = this.#o.clock.after(EVENT_HEARTBEAT_MS, () => {
      if (this.#over) return;
      if (!this.#o.out.writableNeedDrain) this.#o.out.write(': beat\n\n');
      this.#heartbeat();
    });
  }

  /** Finds the place to begin at; the text of a reset if the cursor is of no use (V3). */
  async #begin(): Promise<string | undefined> {
    const { store, principal, cursor, generation } = this.#o;
    const match = cursor === undefined ? null : CURSOR.exec(cursor);
    const { first, last } = await store.read('events', { principal, after: Number.MAX_SAFE_INTEGER, limit: 1 });
    const seq = Number(match?.[2] ?? 0);
    const known = match?.[1] === generation && seq <= last && (first === 0 ? seq === last : seq >= first - 1);
    this.#position = known ? seq : last;
    return cursor === undefined || known ? undefined : sse('reset', '{}', `${generation}.${last}`);
  }

  /** Pages of the store until there is nothing more and nothing was missed meanwhile. */
  async #catchUp(): Promise<void> {
    const { store, principal, generation, out } = this.#o;
    while (!this.#over) {
      this.#missed = false;
      const page = await store.read('events', { principal, after: this.#position, limit: EVENT_PAGE });
      if (page.first > this.#position + 1) {
        // Purged while this reader was behind.
        out.write(sse('reset', '{}', `${generation}.${page.last}`));
        this.#position = page.last;
        continue;
      }
      for (const event of page.events) {
        const bytes = page.packs.get(event.packNo);
        const text = eventText(generation, event, bytes === undefined ? undefined : unpackPack(bytes));
        this.#position = event.seq;
        if (!out.write(text)) await Promise.race([once(out, 'drain'), this.#closed()]);
        if (this.#over) return;
      }
      if (page.events.length < EVENT_PAGE && !this.#missed) return;
    }
  }

  #durable(event: EventText): void {
    const { out } = this.#o;
    if (!this.#live || event.seq !== this.#position + 1 || out.writableLength > EVENT_BUFFER_BYTES) {
      this.#missed = event.seq > this.#position || this.#missed;
      if (this.#live && this.#missed) this.#wake();
      return;
    }
    this.#position = event.seq;
    this.#cork();
    out.write(event.text);
  }

  /** Whatever is told within one turn leaves in one piece at its end: after the delivery that the same commit set off. */
  #cork(): void {
    const { out } = this.#o;
    if (out.writableCorked > 0) return;
    out.cork();
    setImmediate(() => out.uncork());
  }

  #passing(text: string): void {
    // Latest wins and logs may be lost: a reader that is slow gets the durable ones first.
    if (this.#live && !this.#o.out.writableNeedDrain) this.#o.out.write(text);
  }
}
