/**
 * The pump of one session: from the queue to the link, as far as the agent's credit and the link itself allow.
 *
 * Invariants
 *  P1 A ticket is delivered right after its commit: the mark `delivered` rides in the next one. After a crash between the two
 *     it is delivered again, which the agent's ledger makes harmless.
 *  P2 Nothing is sent beyond the credit. Bytes are those of items and inline arguments, nothing else.
 *  P3 What goes out carries a delivery epoch that no earlier hand-over of this ticket had: session epoch * 2^20, and one more
 *     for each hand-back of it within the session.
 *  P4 Everything pending at the endpoint is sent once a session, in order for each principal, whatever arrives meanwhile.
 */

import type { LinkMessage } from '#base/link/messages.ts';
import type { Session } from '#base/link/session.ts';
import { type Bytes, utf8 } from '#kernel/bytes.ts';
import type { Commit } from '../committed.ts';
import { LANE_PAGE, PAYLOAD_CACHE_BYTES } from '../limits.ts';
import { packU16 } from '../store/columns.ts';
import { indexPayload, type Payload, payloadBytes } from '../store/payload.ts';
import { isPending } from '../store/states.ts';
import type { BrokerStore, PendingTicket } from '../store/store.ts';
import { choose } from './choose.ts';
import { Lane, LaneTicket } from './lane.ts';
import { type Parcel, parcelsToMessages } from './parcel.ts';

/** A ticket that was committed a moment ago. */
export interface FreshTicket {
  readonly ticketNo: number;
  readonly id: string;
  readonly principal: string;
  readonly token: string;
  readonly chain: readonly string[];
  readonly manifest: string;
  readonly n: number;
  readonly payload: Payload;
}

/** Bytes of payloads held in memory, shared by all pumps of a broker. */
export interface PayloadBudget {
  used: number;
}

export interface PumpOptions {
  readonly store: BrokerStore;
  readonly commit: Commit;
  readonly endpoint: string;
  readonly sessionEpoch: number;
  readonly session: Pick<Session<LinkMessage>, 'send' | 'writable'>;
  readonly budget: PayloadBudget;
  /** The store failed, or another session took over: this one cannot go on. */
  readonly onTrouble: (reason: unknown) => void;
}

export interface Pump {
  /** Begins with what the store holds for the endpoint. */
  start(): void;
  offer(ticket: FreshTicket): void;
  /** The agent's room: totals since the session began. */
  credit(items: number, bytes: number): void;
  /** Items that ended here before they went out. */
  drop(ticketNo: number, items: readonly number[] | 'all'): void;
  /** Items that came back: the store holds them as queued again. */
  returned(ticketNo: number, principal: string, items: readonly number[]): void;
  stop(): void;
}

export const EPOCH_STRIDE = 2 ** 20;
/** Sent between two looks at the link's back-pressure. */
const ROUND_BYTES = 1024 * 1024;

export function createPump(options: PumpOptions): Pump {
  const pump = new SessionPump(options);
  return {
    start: () => void pump.load(),
    offer: (ticket) => pump.offer(ticket),
    credit: (items, bytes) => pump.credit(items, bytes),
    drop: (ticketNo, items) => pump.drop(ticketNo, items),
    returned: (ticketNo, principal, items) => void pump.returned(ticketNo, principal, items),
    stop: () => pump.stop(),
  };
}

class SessionPump {
  readonly #o: PumpOptions;
  readonly #lanes = new Map<string, Lane>();
  /** Where the lanes that ran dry had come to: a page never begins before it again (P4). */
  readonly #lasts = new Map<string, number>();
  /** Hand-backs of a ticket within this session. */
  readonly #handBacks = new Map<number, number>();
  readonly #texts = { chains: new Map<number, readonly string[]>(), manifests: new Map<number, Bytes>() };
  readonly #manifestBytes = new Map<string, Bytes>();
  #credit = { items: 0, bytes: 0 };
  #sent = { items: 0, bytes: 0 };
  #next = 0;
  #planned = false;
  #blocked = false;
  #stopped = false;
  /** Until the backlog is known, every new ticket waits in the store: it might be a second time in a page. */
  #ready = false;

  constructor(options: PumpOptions) {
    this.#o = options;
  }

  /** Reads who waits; their tickets follow page by page. */
  async load(): Promise<void> {
    try {
      const principals = await this.#o.store.read('backlog', { endpoint: this.#o.endpoint });
      for (const principal of principals) this.#lane(principal).more = true;
      this.#ready = true;
      this.#plan();
    } catch (error) {
      this.#o.onTrouble(error);
    }
  }

  #lane(principal: string): Lane {
    let lane = this.#lanes.get(principal);
    if (lane === undefined) {
      lane = new Lane(principal, !this.#ready, this.#lasts.get(principal) ?? 0);
      this.#lanes.set(principal, lane);
    }
    return lane;
  }

  offer(fresh: FreshTicket): void {
    if (this.#stopped) return;
    const { budget } = this.#o;
    const size = payloadBytes(fresh.payload);
    const held = budget.used + size <= PAYLOAD_CACHE_BYTES;
    const { ticketNo, id, token, chain, n } = fresh;
    const ticket = new LaneTicket(
      { ticketNo, id, token, chain, manifest: this.#manifestOf(fresh.manifest) },
      Array.from({ length: n }, (_, i) => i),
      this.#epochOf(ticketNo),
      held ? indexPayload(fresh.payload) : undefined,
    );
    if (this.#lane(fresh.principal).offer(ticket) && held) budget.used += size;
    this.#plan();
  }

  credit(items: number, bytes: number): void {
    // Totals only grow; a repeated or late message must not take room away.
    this.#credit = { items: Math.max(items, this.#credit.items), bytes: Math.max(bytes, this.#credit.bytes) };
    this.#plan();
  }

  drop(ticketNo: number, items: readonly number[] | 'all'): void {
    for (const lane of this.#lanes.values()) lane.find(ticketNo)?.drop(items === 'all' ? 'all' : new Set(items));
    this.#plan();
  }

  async returned(ticketNo: number, principal: string, items: readonly number[]): Promise<void> {
    this.#handBacks.set(ticketNo, (this.#handBacks.get(ticketNo) ?? 0) + 1);
    try {
      const [ticket] = await this.#page(principal, ticketNo - 1, 1);
      if (ticket?.facts.ticketNo !== ticketNo || this.#stopped) return;
      // The others of its items are on their way already.
      ticket.keep(new Set(items));
      this.#lane(principal).pushFront(ticket);
      this.#plan();
    } catch (error) {
      this.#o.onTrouble(error);
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const lane of this.#lanes.values()) this.#forget(lane.clear());
    this.#lanes.clear();
  }

  #forget(tickets: readonly LaneTicket[]): void {
    for (const { payload } of tickets) if (payload !== undefined) this.#o.budget.used -= payloadBytes(payload.payload);
  }

  #epochOf(ticketNo: number): number {
    return this.#o.sessionEpoch * EPOCH_STRIDE + (this.#handBacks.get(ticketNo) ?? 0);
  }

  #manifestOf(text: string): Bytes {
    let bytes = this.#manifestBytes.get(text);
    if (bytes === undefined) {
      bytes = utf8(text);
      this.#manifestBytes.set(text, bytes);
      for (const oldest of this.#manifestBytes.keys()) {
        if (this.#manifestBytes.size <= 64) break;
        this.#manifestBytes.delete(oldest);
      }
    }
    return bytes;
  }

  /** Once a turn: whatever was committed together goes out together. */
  #plan(): void {
    if (this.#planned || this.#blocked || this.#stopped) return;
    this.#planned = true;
    queueMicrotask(() => {
      this.#planned = false;
      this.#run();
    });
  }

  #run(): void {
    if (this.#stopped || !this.#ready) return;
    const lanes = [...this.#lanes.values()];
    for (let parcels = this.#gather(lanes); parcels.length > 0; parcels = this.#gather(lanes)) {
      const flowing = this.#send(parcels);
      for (const lane of lanes) this.#release(lane);
      if (flowing) continue;
      this.#wait();
      break;
    }
    for (const lane of lanes) this.#fill(lane);
  }

  /** Rounds until a frame or two are full: slices of one ticket that meet again go as one. */
  #gather(lanes: readonly Lane[]): Parcel[] {
    const parcels = new Map<LaneTicket, number[]>();
    for (let bytes = 0; bytes < ROUND_BYTES; ) {
      const room = { items: this.#credit.items - this.#sent.items, bytes: this.#credit.bytes - this.#sent.bytes };
      const choice = choose(lanes, lanes.length === 0 ? 0 : this.#next % lanes.length, room);
      if (choice.slices.length === 0) break;
      this.#next = choice.next;
      this.#sent = { items: this.#sent.items + choice.used.items, bytes: this.#sent.bytes + choice.used.bytes };
      bytes += choice.used.bytes;
      for (const { entry, count } of choice.slices) {
        const items = entry.take(count);
        const begun = parcels.get(entry);
        if (begun === undefined) parcels.set(entry, items);
        else begun.push(...items);
      }
    }
    return [...parcels].map(([ticket, items]) => ({ ticket, items }));
  }

  /** False: the link asks us to wait. */
  #send(parcels: readonly Parcel[]): boolean {
    const { commit, endpoint, sessionEpoch, session, onTrouble } = this.#o;
    const tickets = parcels.map(({ ticket, items }) => ({
      ticketNo: ticket.facts.ticketNo,
      deliveryEpoch: ticket.deliveryEpoch,
      items: packU16(items),
    }));
    // P1: asked for before the frame leaves, so that no answer to it can be committed earlier; not waited for.
    commit.ride('deliver', { endpoint, sessionEpoch, tickets }).then(({ kind }) => {
      if (kind === 'fenced') onTrouble('fenced');
    }, onTrouble);
    let flowing = true;
    for (const deliver of parcelsToMessages(parcels)) flowing = session.send({ deliver }, 'bulk') && flowing;
    return flowing;
  }

  #wait(): void {
    this.#blocked = true;
    void this.#o.session.writable().then(() => {
      this.#blocked = false;
      this.#plan();
    });
  }

  #release(lane: Lane): void {
    this.#forget(lane.trim());
    if (!lane.isIdle) return;
    this.#lasts.set(lane.principal, lane.last);
    this.#lanes.delete(lane.principal);
  }

  /** Reads ahead what a lane lacks: the bytes of its first ticket, or its next page. One read a lane at a time. */
  #fill(lane: Lane): void {
    if (this.#stopped || lane.loading) return;
    const cold = lane.firstCold;
    const room = this.#credit.items > this.#sent.items;
    if (cold !== undefined && room) this.#own(lane, this.#warm(cold));
    else if (lane.more && lane.size < LANE_PAGE / 4) this.#own(lane, this.#nextPage(lane));
  }

  #own(lane: Lane, work: Promise<void>): void {
    lane.loading = true;
    work.then(
      () => {
        lane.loading = false;
        this.#release(lane);
        this.#plan();
      },
      (error: unknown) => this.#o.onTrouble(error),
    );
  }

  async #warm(ticket: LaneTicket): Promise<void> {
    const payload = await this.#o.store.read('payload', { ticketNo: ticket.facts.ticketNo });
    if (this.#stopped) return;
    // Without a payload nothing is pending any more: expired, cancelled, or answered in an earlier session.
    if (payload === undefined) return ticket.drop('all');
    this.#o.budget.used += payloadBytes(payload);
    ticket.payload = indexPayload(payload);
  }

  async #nextPage(lane: Lane): Promise<void> {
    lane.more = false;
    const tickets = await this.#page(lane.principal, lane.last, LANE_PAGE);
    for (const ticket of tickets) lane.push(ticket);
    // What was committed while we read may be behind this page, or in it: `offer` has set `more` then.
    if (tickets.length === LANE_PAGE) lane.more = true;
  }

  async #page(principal: string, after: number, limit: number): Promise<LaneTicket[]> {
    const { store, endpoint } = this.#o;
    const page = await store.read('pending', { endpoint, principal, after, limit });
    await this.#readTexts(page);
    return page.map((pending) => this.#ticketOf(pending));
  }

  async #readTexts(page: readonly PendingTicket[]): Promise<void> {
    const { chains, manifests } = this.#texts;
    const lackedChains = [...new Set(page.map((p) => p.chainNo))].filter((no) => !chains.has(no));
    const lackedManifests = [...new Set(page.map((p) => p.manifestNo))].filter((no) => !manifests.has(no));
    if (lackedChains.length + lackedManifests.length === 0) return;
    const texts = await this.#o.store.read('texts', { chains: lackedChains, manifests: lackedManifests });
    for (const [k, no] of lackedChains.entries()) chains.set(no, texts.chains[k] ?? []);
    for (const [k, no] of lackedManifests.entries()) manifests.set(no, this.#manifestOf(texts.manifests[k] ?? ''));
  }

  #ticketOf(p: PendingTicket): LaneTicket {
    const chain = this.#texts.chains.get(p.chainNo) ?? [];
    const manifest = this.#texts.manifests.get(p.manifestNo) ?? new Uint8Array(0);
    const items = Array.from(p.states.keys()).filter((i) => isPending(p.states[i] ?? 0));
    const facts = { ticketNo: p.ticketNo, id: p.id, token: p.token, chain, manifest };
    return new LaneTicket(facts, items, this.#epochOf(p.ticketNo), undefined);
  }
}
