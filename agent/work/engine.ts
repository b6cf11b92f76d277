import { gangOf } from '#kernel/gangs.ts';
import { STATUS_CODES } from '#kernel/receipts.ts';
import type { Refusal } from '#kernel/refusal.ts';
import type { NodeSize } from '#kernel/resources.ts';
import { ITEM } from '../admission/item-state.ts';
import type { HeldItem, NewTicket } from '../admission/ledger.ts';
import { Attempts, heldOf, holds } from './attempts.ts';
import { createEndings, type Ending, type Endings, type Sealed, type SealedItem, sealEndings } from './endings.ts';
import { Gangs, type Settled } from './gangs.ts';
import { createGates, type Gates } from './gates.ts';
import { createMeasures, type Measures } from './measures.ts';
import { isOpen, itemKey, splitKey, type TicketToken, type Work } from './mirror.ts';
import { createPlacement, type Demand, inFlightOf, isRunnable, type Placement, type Runnable } from './placement.ts';
import type { AttemptEnd, EngineOptions, LaunchItem, Loss, Offer, PilotPort } from './ports.ts';
import { createSizes, type Sizes } from './sizes.ts';
import { needOf } from './specs.ts';

/** Of kernel/tokens/pack.ts: what a receipt has room for. */
const MAX_MESSAGE_CHARS = 2048;

export class Engine {
  readonly works = new Map<number, Work>();
  readonly #byId = new Map<string, Work>();
  stale = 0;
  readonly #o: EngineOptions;
  readonly #pilots = new Map<number, PilotPort>();
  readonly #measures: Measures;
  readonly #placement: Placement;
  readonly #gangs: Gangs;
  /** A gang was the last that began: single calls have their turn (gangs.ts, G3). */
  #afterGang = false;
  readonly #sizes: Sizes;
  readonly #gates: Gates;
  #open = 0;
  readonly #endings: Endings;
  readonly #attempts: Attempts;
  #leaseEpoch: number;

  constructor(options: EngineOptions) {
    this.#o = options;
    this.#leaseEpoch = options.leaseEpoch;
    this.#placement = createPlacement(isRunnable);
    this.#measures = createMeasures({
      works: this.works,
      pilots: this.#pilots,
      placement: this.#placement,
      specs: options.specs,
      clock: options.clock,
    });
    this.#sizes = createSizes(options.nodesPerBlock);
    const specNo = (work: Work): number => options.specs.of(work).specNo;
    this.#gangs = new Gangs({
      pilots: this.#pilots,
      isRunnable,
      specNo,
      needMs: (work) => this.#placement.needMs(specNo(work), work),
      lease: (item, ports) => this.#leaseGang(item, ports),
    });
    this.#gates = createGates(({ work }) => work.limits);
    this.#endings = createEndings({
      ledger: options.ledger,
      endpoint: options.endpoint,
      signer: options.signer,
      clock: options.clock,
      onPack: options.onPack,
      onEnded: (endings) => this.#forget(endings),
      onStale: (why) => this.#noteStale(why),
      onError: options.onBroken,
    });
    this.#attempts = new Attempts({
      works: this.works,
      ledger: options.ledger,
      clock: options.clock,
      random: options.random,
      onState: options.onState,
      onStale: (why) => this.#noteStale(why),
      finish: (ending) => this.#finish(ending),
      release: (work, i) => {
        this.#release(work, i);
        this.#leave(work, i);
      },
      again: (work, i) => this.#ready(work, i),
      dispatch: () => this.dispatch(),
    });
  }

  get waiting(): number {
    return this.#placement.waiting + this.#gangs.waiting + this.#gates.parked;
  }

  find(id: string): Work | undefined {
    return this.#byId.get(id);
  }

  /** The item of a pilot's key; its work is undefined once all of it has ended. */
  itemOf(key: number): { readonly work: Work | undefined; readonly i: number } {
    const { ticketNo, i } = splitKey(key);
    return { work: this.works.get(ticketNo), i };
  }

  /** Puts `opened` more items of a ticket under the engine's care; it stays until its last item has ended. */
  keep(work: Work, opened: number): void {
    this.#open += opened;
    this.works.set(work.no, work);
    this.#byId.set(work.ticket.id, work);
  }

  /** Items that have not ended. */
  get open(): number {
    return this.#open;
  }

  /** A slot that could take all these items now, so that their lease can ride in the admission's commit. */
  offer(work: Work, items: readonly number[]): Offer | undefined {
    // A queue means that others were first; staged items are not ready.
    if (this.#o.held?.() === true || gangOf(work.manifest.claims) !== undefined) return undefined;
    if (this.#placement.waiting > 0 || items.some((i) => work.payloads.get(i)?.needsFiles === true)) return undefined;
    if (!this.#gates.hasRoom(work.limits, items.length)) return undefined;
    const { specNo } = this.#o.specs.of(work);
    const needMs = this.#placement.needMs(specNo, work);
    for (const pilot of this.#pilots.values()) {
      if (this.#gangs.reserves(pilot.no) || this.#placement.room(pilot, specNo, work) < items.length) continue;
      if (pilot.takes?.(work, needMs) === false) continue;
      this.#count(pilot, work, items.length);
      this.#leaseEpoch += 1;
      return { pilot, leaseEpoch: this.#leaseEpoch, count: items.length };
    }
    return undefined;
  }

  /** Takes an offer back, whole or for the items that were not leased in the end. */
  withdraw(offer: Offer, work: Work, count: number): void {
    this.#count(offer.pilot, work, -count);
  }

  /** Takes over admitted items; `leased` ones go to the pilot of the offer. */
  adopt(
    work: Work,
    waiting: readonly number[],
    leased?: { offer: Offer; items: readonly number[]; attempts: readonly number[] },
  ): void {
    for (const i of waiting) {
      if (work.cancels[i] === 1) this.#refuse(work, i, 'cancelled', 'E_CANCELLED', 'cancelled before it started');
      else this.#ready(work, i);
    }
    for (const i of leased?.items ?? []) this.#gates.enter({ work, i });
    if (leased !== undefined)
      this.#launch(leased.offer.pilot, work, leased.offer.leaseEpoch, leased.items, leased.attempts);
    this.dispatch();
  }

  /** Nodes of this size come, or came. What is waiting and fits on none of them ends, with numbers. */
  nodeSize(size: Omit<NodeSize, 'slots'>): void {
    this.#sizes.note(size);
    for (const work of this.works.values()) {
      const found = this.sizeRefusal(work, [work.choice.runtime]);
      if (found === undefined) continue;
      const waiting = [...work.states.keys()].filter((i) => work.states[i] === ITEM.waiting && isOpen(work, i));
      this.refuseAll(work, waiting, found);
    }
  }

  /** Work that no block here can ever hold; `runtimes` are those that it may have. */
  sizeRefusal(work: Parameters<Sizes['refusal']>[0], runtimes: readonly string[]): Refusal | undefined {
    return this.#sizes.refusal(work, runtimes);
  }

  /** Items of this work that a node of the largest size holds at once; 1 at least. */
  placesOf(work: Work, slots: number): number {
    return this.#sizes.places(needOf(work), slots);
  }

  /** What of a node this work waits for, in words; undefined where any slot will do. */
  waitsFor(work: Work): string | undefined {
    if (gangOf(work.manifest.claims) !== undefined) return this.#gangs.waitsFor(work);
    return this.#placement.waitsFor(this.#o.specs.of(work).specNo, work);
  }

  /** After a restart: what waits is placed again; what is leased waits for its pilot. */
  resume(): void {
    for (const work of this.works.values()) {
      for (let i = 0; i < work.ticket.n; i++) {
        if (work.states[i] === ITEM.leased) {
          this.#gates.enter({ work, i });
          // What it used before this process began is not known here.
          this.#started(work, [i]);
        }
        if (!isRunnable({ work, i })) {
          const cancelled = work.states[i] === ITEM.waiting && work.cancels[i] === 1 && isOpen(work, i);
          if (cancelled) this.#refuse(work, i, 'cancelled', 'E_CANCELLED', 'cancelled before it started');
        } else this.#ready(work, i);
      }
    }
    this.dispatch();
  }

  /** Which of these leases are not what the ledger says: a pilot that has them must stop them. */
  strange(pilotNo: number, held: readonly HeldItem[]): readonly HeldItem[] {
    return held.filter((item) => {
      const work = this.works.get(item.ticketNo);
      if (work === undefined || !holds(work, item)) return true;
      if (gangOf(work.manifest.claims) !== undefined) return !this.#gangs.holds(pilotNo, item);
      return work.pilots[item.i] !== pilotNo;
    });
  }

  /** A pilot (re)joins with what it still holds, less what `strange` named. */
  attach(pilot: PilotPort, held: readonly HeldItem[]): void {
    this.#pilots.set(pilot.no, pilot);
    if (pilot.size !== undefined) this.nodeSize(pilot.size);
    pilot.inFlight.clear();
    const strange = new Set(this.strange(pilot.no, held));
    const kept = new Set<number>();
    for (const item of held) {
      const work = this.works.get(item.ticketNo);
      if (work === undefined || strange.has(item)) continue;
      kept.add(itemKey(item.ticketNo, item.i));
      // One whose end is being committed gave its place back already.
      if (work.ending[item.i] === 0 && work.pilots[item.i] === pilot.no) this.#count(pilot, work, 1);
      if (work.cancels[item.i] === 1) pilot.cancel([item], 'cancelled');
    }
    this.#owned(this.#settle(this.#gangs.attach(pilot.no, kept)));
    // Leases that the pilot does not know: the launch never reached it. Or a gang's, of an earlier life of this agent.
    const missing = this.#leasesOf(pilot.no).filter(
      (each) => !kept.has(itemKey(each.ticketNo, each.i)) && !this.#gangs.isLive(each),
    );
    this.#owned(this.#attempts.giveBack(missing, 'its pilot did not have it after a reconnect'));
    this.dispatch();
  }

  /** The link is gone, the pilot may live: nothing new for it, its leases stand. */
  detach(pilot: PilotPort): void {
    if (this.#pilots.get(pilot.no) !== pilot) return;
    this.#pilots.delete(pilot.no);
    this.#measures.forget(pilot.no);
    this.#placement.forget(pilot.no);
  }

  /** The pilot is dead: what it held starts again elsewhere, or ends with the cause. */
  async lost(pilotNo: number, loss: Loss): Promise<void> {
    this.#pilots.delete(pilotNo);
    this.#measures.forget(pilotNo);
    this.#placement.forget(pilotNo);
    const settled = this.#gangs.lost(pilotNo, loss);
    const own = this.#leasesOf(pilotNo).filter((held) => !this.#gangs.isLive(held));
    await this.#attempts.lost(pilotNo, own, loss);
    await this.#settle(settled);
  }

  /** What is over by these ends: of a gang's parts nothing before the last one, and then one end (gangs.ts, G4). */
  gather(pilotNo: number, ends: readonly AttemptEnd[], leaving: boolean): readonly AttemptEnd[] {
    const gathered = this.#gangs.gather(pilotNo, ends, leaving, this.works);
    for (const settled of gathered.lost) this.#owned(this.#settle(settled));
    return gathered.ends;
  }

  /** The one outcome of a gang. */
  async #settle(settled: Settled | undefined): Promise<void> {
    if (settled === undefined) return;
    if (settled.kind === 'end') await this.#attempts.take([settled.end]);
    else await this.#attempts.lost(settled.no, [settled.held], settled.loss);
    this.dispatch();
  }

  /** A part of a gang has its runner. */
  gangReady(pilotNo: number, held: HeldItem, port: number): void {
    this.#gangs.ready(pilotNo, held, port);
  }

  /** What waits for a place, and how much of it there is. */
  demands(): Demand[] {
    return [...this.#placement.demands(), ...this.#gangs.demands()];
  }

  /** Items that a connected pilot holds. */
  heldBy(pilotNo: number): number {
    const pilot = this.#pilots.get(pilotNo);
    if (pilot === undefined) return 0;
    return Math.max(inFlightOf(pilot), this.#gangs.isPart(pilotNo) ? 1 : 0);
  }

  /** Resolves when every outcome of this message is committed, so that the pilot may forget it. `leaving`: it is ending. */
  async ended(pilotNo: number, ends: readonly AttemptEnd[], leaving = false): Promise<void> {
    this.#measures.take(pilotNo, ends);
    const returned = this.#attempts.take(ends, leaving ? pilotNo : undefined);
    this.dispatch();
    await returned;
    await this.#endings.committed();
  }

  started(keys: readonly number[], state: string, detail: string): void {
    const byWork = new Map<Work, number[]>();
    for (const key of keys) {
      const { ticketNo, i } = splitKey(key);
      const work = this.works.get(ticketNo);
      if (work !== undefined) append(byWork, work, i);
    }
    for (const [work, items] of byWork) this.#o.onState(work, items, state, detail);
  }

  /** After the ledger noted a cancel. */
  cancel(work: Work, waiting: readonly number[], leased: readonly number[]): void {
    for (const i of [...waiting, ...leased]) work.cancels[i] = 1;
    for (const i of waiting) {
      if (work.states[i] === ITEM.waiting && isOpen(work, i))
        this.#refuse(work, i, 'cancelled', 'E_CANCELLED', 'cancelled before it started');
    }
    for (const i of leased) {
      // A pilot that is away now learns of it when it redials (attach), or is lost, and the item then ends as cancelled.
      this.#stop(work, i, 'cancelled');
    }
    this.dispatch();
  }

  #stop(work: Work, i: number, reason: string): void {
    const held = heldOf(work, i);
    if (!this.#gangs.stop(held, reason)) this.#pilots.get(work.pilots[i] ?? 0)?.cancel([held], reason);
  }

  /** After a change of policy that kills what it revokes: stops running work that may not start any more. */
  revoke(refusalOf: (work: Work) => Refusal | undefined): void {
    for (const work of this.works.values()) {
      const refusal = refusalOf(work);
      if (refusal?.code !== 'E_REVOKED') continue;
      const leased = [...work.states.keys()].filter((i) => work.states[i] === ITEM.leased && work.ending[i] === 0);
      for (const i of leased) this.#stop(work, i, refusal.message);
    }
  }

  /** Ends what may not start any more. */
  expire(nowMs: number): void {
    for (const work of this.works.values()) {
      if (work.ticket.exp * 1000 > nowMs) continue;
      for (let i = 0; i < work.ticket.n; i++) {
        if (work.states[i] !== ITEM.waiting || !isOpen(work, i)) continue;
        this.#refuse(work, i, 'expired', 'E_EXPIRED', 'past the time until which it might start; submit it again');
      }
    }
    this.dispatch();
  }

  dispatch(): void {
    if (this.#o.held?.() === true) return;
    if (this.#gangs.waiting > 0) {
      // G3: after a gang the others first, if there are any.
      if (this.#afterGang && this.#dispatchSingle()) this.#afterGang = false;
      if (this.#gangs.place(!this.#afterGang || this.#placement.waiting === 0)) this.#afterGang = true;
    }
    this.#dispatchSingle();
    const waiting = this.#placement.waiting + this.#gangs.waiting;
    if (waiting > 0) this.#o.onDemand(waiting);
  }

  #dispatchSingle(): boolean {
    let given = false;
    for (const pilot of this.#pilots.values()) {
      if (this.#gangs.reserves(pilot.no)) continue;
      for (let items = this.#placement.take(pilot); items.length > 0; items = this.#placement.take(pilot)) {
        this.#lease(pilot, items);
        given = true;
      }
    }
    return given;
  }

  /** Resolves when what ended so far is on disk. */
  settled(): Promise<void> {
    return this.#endings.committed();
  }

  /** A receipt for every item of a ticket that is refused as a whole, to be committed with it. */
  sealRefusal(ticket: NewTicket, token: TicketToken, refusal: Refusal): Sealed & { readonly status: number } {
    const status = refusal.code === 'E_EXPIRED' ? 'expired' : 'refused';
    const detail = { err: { code: refusal.code, message: refusal.message.slice(0, MAX_MESSAGE_CHARS) } };
    const work = { ticket, token, starts: new Uint8Array(ticket.n), leaseEpochs: new Uint32Array(ticket.n), no: 0 };
    const endings = Array.from({ length: ticket.n }, (_, i): SealedItem => ({ work, i, status, detail, meas: {} }));
    return { ...sealEndings(this.#o, endings), status: STATUS_CODES[status] };
  }

  /** A pack that somebody else committed may leave. */
  sent(packNo: number, { pack, bytes }: Sealed): void {
    this.#o.onPack(packNo, pack, bytes.byteLength, []);
  }

  /** Refuses admitted items for good: a valid chain, but policy or arguments say no. */
  refuseAll(work: Work, items: readonly number[], refusal: Refusal): void {
    const status = refusal.code === 'E_EXPIRED' ? 'expired' : 'refused';
    for (const i of items) this.#refuse(work, i, status, refusal.code, refusal.message);
  }

  #lease(pilot: PilotPort, items: readonly Runnable[]): void {
    this.#leaseEpoch += 1;
    const leaseEpoch = this.#leaseEpoch;
    const byWork = new Map<Work, number[]>();
    for (const { work, i } of items) append(byWork, work, i);
    for (const [work, wanted] of byWork) {
      const refusal = this.#o.launchRefusal(work);
      if (refusal !== undefined) this.refuseAll(work, wanted, refusal);
      else this.#owned(this.#leaseOf(pilot, work, wanted, leaseEpoch));
    }
  }

  /** `gang`: all pilots that have a part of the one item, of which `pilot` is the first. */
  async #leaseOf(
    pilot: PilotPort,
    work: Work,
    wanted: readonly number[],
    leaseEpoch: number,
    gang?: readonly PilotPort[],
  ): Promise<void> {
    this.#count(pilot, work, wanted.length);
    try {
      const result = await this.#o.ledger.submit({
        kind: 'lease',
        ticketNo: work.no,
        grant: { items: wanted, leaseEpoch, pilot: pilot.no },
      });
      if (result.kind !== 'leased') throw new Error(`a lease was answered with ${result.kind}`);
      this.#count(pilot, work, result.items.length - wanted.length);
      if (result.items.length > 0) this.#launch(pilot, work, leaseEpoch, result.items, result.attempts, gang);
      else for (const i of wanted) this.#gangs.remove(work.no, i);
    } catch (cause) {
      this.#count(pilot, work, -wanted.length);
      for (const i of wanted) this.#gangs.remove(work.no, i);
      for (const i of wanted) if (isRunnable({ work, i })) this.#place(work, i);
      throw cause;
    }
  }

  #leaseGang({ work, i }: Runnable, ports: readonly PilotPort[]): void {
    const refusal = this.#o.launchRefusal(work);
    const [head] = ports;
    if (refusal === undefined && head !== undefined) {
      this.#leaseEpoch += 1;
      this.#owned(this.#leaseOf(head, work, [i], this.#leaseEpoch, ports));
      return;
    }
    this.#gangs.remove(work.no, i);
    if (refusal !== undefined) this.refuseAll(work, [i], refusal);
  }

  #launch(
    pilot: PilotPort,
    work: Work,
    leaseEpoch: number,
    items: readonly number[],
    attempts: readonly number[],
    gang?: readonly PilotPort[],
  ): void {
    const launched: LaunchItem[] = [];
    for (const [k, i] of items.entries()) {
      work.states[i] = ITEM.leased;
      work.starts[i] = attempts[k] ?? 0;
      work.leaseEpochs[i] = leaseEpoch;
      work.pilots[i] = pilot.no;
      launched.push({ i, key: itemKey(work.no, i), attempt: attempts[k] ?? 0 });
    }
    const isHere = [pilot, ...(gang ?? [])].every((each) => this.#pilots.get(each.no) === each);
    if (!isHere) {
      // It left while the lease was committed: `lost` and `attach` found nothing leased then.
      this.#owned(
        this.#attempts.giveBack(
          items.map((i) => heldOf(work, i)),
          'its pilot left before the launch',
        ),
      );
      // Else its nodes would be taken for as long as it is not placed again.
      if (gang !== undefined) for (const i of items) this.#gangs.remove(work.no, i);
      return;
    }
    this.#measures.begin(pilot.no);
    this.#started(work, items);
    if (gang === undefined) pilot.launch(work, leaseEpoch, launched);
    else for (const i of items) this.#gangs.launch(heldOf(work, i), gang);
    for (const i of items) if (work.cancels[i] === 1) this.#stop(work, i, 'cancelled');
  }

  /** Waiting -> placement, after its files are there. */
  #ready(work: Work, i: number): void {
    const staging = this.#o.stage(work, i);
    if (staging === undefined) {
      this.#enqueue(work, i);
      return;
    }
    this.#owned(
      staging.then(
        () => {
          this.#enqueue(work, i);
          this.dispatch();
        },
        (cause: { code?: string; message?: string }) => {
          if (isOpen(work, i))
            this.#refuse(
              work,
              i,
              'failed',
              cause.code ?? 'E_INTERNAL',
              cause.message ?? 'an argument could not be made ready',
            );
        },
      ),
    );
  }

  #enqueue(work: Work, i: number): void {
    if (this.#gates.enter({ work, i })) this.#place(work, i);
  }

  #place(work: Work, i: number): void {
    if (gangOf(work.manifest.claims) !== undefined) this.#gangs.add({ work, i });
    else this.#placement.add(this.#o.specs.of(work).specNo, { work, i });
  }

  /** An item ended or waits again: who was parked behind it may try. */
  #leave(work: Work, i: number): void {
    for (const next of this.#gates.leave({ work, i })) if (isRunnable(next)) this.#enqueue(next.work, next.i);
  }

  #refuse(
    work: Work,
    i: number,
    status: 'refused' | 'expired' | 'cancelled' | 'failed',
    code: string,
    message: string,
  ): void {
    this.#finish({
      work,
      i,
      status,
      detail: { err: { code, message: message.slice(0, MAX_MESSAGE_CHARS) } },
      meas: {},
    });
  }

  #finish(ending: Ending): void {
    const { work, i } = ending;
    if (work.states[i] === ITEM.leased) this.#release(work, i);
    this.#endings.end(ending);
    this.#leave(work, i);
  }

  #forget(endings: readonly Ending[]): void {
    this.#open -= endings.length;
    for (const { work } of endings) {
      if (work.open > 0 || this.works.get(work.no) !== work) continue;
      this.works.delete(work.no);
      this.#byId.delete(work.ticket.id);
    }
  }

  #started(work: Work, items: readonly number[]): void {
    const now = this.#o.clock.mono();
    for (const i of items) work.leasedAt.set(i, now);
  }

  #release(work: Work, i: number): void {
    this.#gangs.remove(work.no, i);
    const since = work.leasedAt.get(i);
    const pilot = this.#pilots.get(work.pilots[i] ?? 0);
    if (since !== undefined) {
      work.leasedAt.delete(i);
      this.#o.onUsed(work, this.#o.clock.mono() - since, pilot);
    }
    if (pilot !== undefined) this.#count(pilot, work, -1);
  }

  #count(pilot: PilotPort, work: Work, by: number): void {
    const { specNo } = this.#o.specs.of(work);
    this.#placement.know(specNo, work);
    pilot.inFlight.set(specNo, Math.max(0, (pilot.inFlight.get(specNo) ?? 0) + by));
  }

  #leasesOf(pilotNo: number): HeldItem[] {
    const held: HeldItem[] = [];
    for (const work of this.works.values()) {
      for (let i = 0; i < work.ticket.n; i++) {
        if (work.states[i] === ITEM.leased && work.pilots[i] === pilotNo) held.push(heldOf(work, i));
      }
    }
    return held;
  }

  #noteStale(why: string): void {
    this.stale += 1;
    this.#o.log.warn({ why }, 'stale outcome refused');
  }

  /** Work that nobody awaits: its failure is the ledger's, and ends the agent. */
  #owned(work: Promise<void>): void {
    work.catch((cause: unknown) => this.#o.onBroken(cause));
  }
}

function append(map: Map<Work, number[]>, work: Work, i: number): void {
  const list = map.get(work);
  if (list === undefined) map.set(work, [i]);
  else list.push(i);
}
