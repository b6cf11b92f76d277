/**
 * Tickets of one principal on their way to one endpoint, in the order in which they were queued.
 *
 * Invariants
 *  N1 At most LANE_TICKETS tickets are in memory; when there are more, `more` says that the store holds those behind `last`.
 *  N2 A ticket enters once a session: by `offer` right after its commit, or by a page of the store, in rising number.
 */
import type { Bytes } from '#kernel/bytes.ts';
import { LANE_TICKETS } from '../limits.ts';
import { itemBytesOf, type PayloadIndex } from '../store/payload.ts';
import type { Waiting } from './choose.ts';

export interface LaneTicketFacts {
  readonly ticketNo: number;
  readonly id: string;
  readonly token: string;
  readonly chain: readonly string[];
  readonly manifest: Bytes;
}

/** A ticket that waits, with the items that are still to go. */
export class LaneTicket implements Waiting {
  readonly facts: LaneTicketFacts;
  readonly deliveryEpoch: number;
  /** Undefined until read from the store. */
  payload: PayloadIndex | undefined;
  #items: readonly number[];
  #sent = 0;

  constructor(
    facts: LaneTicketFacts,
    items: readonly number[],
    deliveryEpoch: number,
    payload: PayloadIndex | undefined,
  ) {
    this.facts = facts;
    this.deliveryEpoch = deliveryEpoch;
    this.payload = payload;
    this.#items = items;
  }

  get left(): number {
    return this.#items.length - this.#sent;
  }

  bytesOf(k: number): number {
    return this.payload === undefined ? 0 : itemBytesOf(this.payload, this.#items[this.#sent + k] ?? 0);
  }

  /** The next items, which count as sent. */
  take(count: number): number[] {
    const items = this.#items.slice(this.#sent, this.#sent + count);
    this.#sent += count;
    return items;
  }

  /** Only these are still to go. */
  keep(items: ReadonlySet<number>): void {
    this.#items = this.#items.slice(this.#sent).filter((item) => items.has(item));
    this.#sent = 0;
  }

  /** These will not go any more. */
  drop(items: ReadonlySet<number> | 'all'): void {
    const rest = this.#items.slice(this.#sent);
    this.#items = items === 'all' ? [] : rest.filter((item) => !items.has(item));
    this.#sent = 0;
  }
}

export class Lane {
  readonly principal: string;
  #tickets: LaneTicket[] = [];
  more: boolean;
  loading = false;
  /** Number of the last ticket that entered. */
  last: number;

  constructor(principal: string, more: boolean, last: number) {
    this.principal = principal;
    this.more = more;
    this.last = last;
  }

  get size(): number {
    return this.#tickets.length;
  }

  get isIdle(): boolean {
    return this.#tickets.length === 0 && !this.more && !this.loading;
  }

  /** False: the lane is long, or behind the store; the ticket stays there for now. */
  offer(ticket: LaneTicket): boolean {
    if (this.more || this.loading || this.#tickets.length >= LANE_TICKETS) {
      this.more = true;
      return false;
    }
    this.push(ticket);
    return true;
  }

  push(ticket: LaneTicket): void {
    this.#tickets.push(ticket);
    this.last = Math.max(this.last, ticket.facts.ticketNo);
  }

  /** A ticket whose items came back goes first: its place in the queue was long ago. */
  pushFront(ticket: LaneTicket): void {
    this.#tickets.unshift(ticket);
  }

  /** Tickets from the front whose bytes are at hand. */
  get ready(): readonly LaneTicket[] {
    const cold = this.#tickets.findIndex((ticket) => ticket.payload === undefined);
    return cold < 0 ? this.#tickets : this.#tickets.slice(0, cold);
  }

  /** The first ticket whose bytes must be read, if nothing stands before it. */
  get firstCold(): LaneTicket | undefined {
    const [first] = this.#tickets;
    return first?.payload === undefined ? first : undefined;
  }

  /** Takes away what is finished at the front. */
  trim(): readonly LaneTicket[] {
    let done = 0;
    while (done < this.#tickets.length && this.#tickets[done]?.left === 0) done += 1;
    return done === 0 ? [] : this.#tickets.splice(0, done);
  }

  clear(): readonly LaneTicket[] {
    this.more = false;
    return this.#tickets.splice(0);
  }

  find(ticketNo: number): LaneTicket | undefined {
    return this.#tickets.find((ticket) => ticket.facts.ticketNo === ticketNo);
  }
}
