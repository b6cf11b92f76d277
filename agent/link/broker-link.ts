/**
 * The agent's link to its broker: deliveries in, receipts out, and everything again after a reconnect.
 *
 * Invariants
 *  K1 Admitted and CancelAck leave after the commit; an Outcome leaves after its commit and its blobs, and again to every new
 *     session until the broker acknowledged it; only then does the ledger forget that it must be sent.
 *  K2 Deliveries are answered in any order: each is judged alone.
 *  K3 Running, Log and Status may be lost.
 */
import type { Clock } from '#base/clock.ts';
import { signHello } from '#base/link/hello.ts';
import { type LinkMessage, linkCodec } from '#base/link/messages.ts';
import { createOutbox, type Entry, type Outbox } from '#base/link/outbox.ts';
import type { Dialler, Link } from '#base/link/seam.ts';
import { dialSession, type Session, type SessionEnd } from '#base/link/session.ts';
import { FATAL, type LinkState, superviseLink } from '#base/link/supervisor.ts';
import type { Logger } from '#base/log.ts';
import type { Random } from '#base/random.ts';
import { decideCancel } from '#kernel/admission.ts';
import { createChainCache } from '#kernel/chain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { DEFAULT_CLOCK_TOLERANCE_S, DEFAULT_RETENTION_S, PROTOCOL } from '#kernel/limits.ts';
import type { Pack } from '#kernel/receipts.ts';
import type { Refusal } from '#kernel/refusal.ts';
import { type AccessAsk, type Cancel, type Deliver, farfield } from '#protos/generated/link.js';
import type { AccessDesk } from '../admission/access.ts';
import type { AdmissionDesk, DeliveryAnswer } from '../admission/admit.ts';
import type { Ledger } from '../admission/ledger.ts';
import type { Blobs } from '../blobs.ts';
import type { Identity } from '../identity/identity.ts';
import type { Engine } from '../work/engine.ts';
import type { Work } from '../work/mirror.ts';
import { type Credit, createCredit } from './credit.ts';

export interface BrokerLinkOptions {
  readonly diallers: readonly Dialler[];
  readonly brokerId: string;
  readonly identity: () => Identity;
  /** Text of the farfield-status+jwt that holds now. */
  readonly status: () => string;
  readonly ledger: Ledger;
  readonly engine: Engine;
  readonly desk: AdmissionDesk;
  readonly access: AccessDesk;
  readonly blobs: Blobs;
  readonly slots: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly onState: (state: LinkState) => void;
  /** Whether this key is trusted here: nobody else may leave a tombstone. */
  readonly trusts: (principal: string) => boolean;
  /** Why nothing may be admitted now. */
  readonly closed: () => Refusal | undefined;
  /** The epoch of the last session, and where a new one is kept: a copy of this folder shows by an older one. */
  readonly sessionEpoch: number;
  readonly keepSessionEpoch: (epoch: number) => Promise<void>;
}

/** Why the supervisor gave up: a person has to act. */
export interface LinkEnd {
  readonly code: string;
  readonly reason: string;
}

type BrokerSession = Session<LinkMessage>;

/** Twice what a broker needs to notice a dead link. */
const FENCED_PATIENCE_MS = 40_000;

export class BrokerLink {
  readonly #o: BrokerLinkOptions;
  readonly #chains = createChainCache(1024);
  /** Two lines: uploads of large results must not hold up the small ones. */
  readonly #plain: Outbox<LinkMessage>;
  readonly #large: Outbox<LinkMessage>;
  /** Blobs of packs in flight, to be dropped from the spool when the broker has them. */
  readonly #blobsOf = new Map<number, readonly string[]>();
  /** One after the other, so that packs are put in rising order. */
  #uploads: Promise<void> = Promise.resolve();
  #session: BrokerSession | undefined;
  #credit: Credit;
  #epoch: number;
  /** Whether the last attempt came to a session. */
  #served = false;
  #fencedSince: number | undefined;
  /** What this session was told of each principal's access. */
  readonly #told = new Map<string, string>();
  #fenced: string | undefined;

  constructor(options: BrokerLinkOptions) {
    this.#o = options;
    this.#epoch = options.sessionEpoch;
    this.#credit = createCredit(options.slots, options.clock.mono());
    const onError = (error: unknown): void => {
      options.log.error({ err: error }, 'packs not sent');
      this.#session?.close('E_UNAVAILABLE', 'this endpoint cannot send its results now', 1);
    };
    this.#plain = createOutbox({ load: (after, limit) => this.#load(false, after, limit), onError });
    this.#large = createOutbox({ load: (after, limit) => this.#load(true, after, limit), onError });
  }

  /** Lives until the signal aborts, or until a person has to act. */
  async run(signal: AbortSignal): Promise<LinkEnd | undefined> {
    const { clock, random, log, diallers, onState } = this.#o;
    const fatal = await superviseLink<LinkMessage, { session: BrokerSession }>(
      {
        diallers,
        clock,
        random,
        onState,
        connect: (link) => this.#connect(link),
        serve: ({ session }) => this.#serve(session, signal),
        onOutcome: (outcome) => {
          log.info({ outcome }, 'broker link');
          if (outcome.kind !== 'served' && outcome.code === 'E_FENCED') this.#fenced = outcome.reason;
        },
        isFatal: (code) => (code === 'E_FENCED' ? this.#isFenced() : FATAL.has(code)),
      },
      signal,
    );
    return fatal === undefined ? undefined : { code: fatal.code, reason: fatal.reason };
  }

  /** What the broker said of another agent of this endpoint that is connected. Only a session of our own ends it. */
  get fenced(): string | undefined {
    return this.#fenced;
  }

  /** Packs on their way that the broker has not acknowledged. */
  get unsent(): number {
    return this.#plain.inFlight + this.#large.inFlight;
  }

  /** A pack is committed. */
  onPack(no: number, pack: Pack, bytes: number, blobs: readonly string[]): void {
    const message: LinkMessage = { outcome: { packNo: no, pack } };
    let ended = 0;
    for (const ticket of pack.tickets) ended += ticket.items.length;
    this.#credit.ended(ended, this.#o.clock.mono());
    this.#sayCredit();
    const session = this.#session;
    if (blobs.length === 0) this.#plain.put({ no, message, bytes });
    // Without a session nothing is to be done: the next one reads the ledger (#load).
    else if (session !== undefined) {
      this.#uploads = this.#uploads
        .then(() => this.#upload(no, pack, blobs))
        .then(() => this.#large.put({ no, message, bytes }));
      this.#own(session, this.#uploads);
      this.#uploads = this.#uploads.catch(() => undefined);
    }
  }

  running(
    work: Work,
    items: readonly number[],
    state: string,
    detail: string,
    more: { done?: number; total?: number; attempt?: number } = {},
  ): void {
    const { done = 0, total = 0, attempt = 0 } = more;
    this.#session?.send(
      { running: { id: work.ticket.id, items: [...items], state, detail, done, total, attempt } },
      'logs',
    );
  }

  log(work: Work, item: number, attempt: number, offset: number, data: Uint8Array, dropped: number): boolean {
    return this.#session?.send({ log: { id: work.ticket.id, item, attempt, offset, data, dropped } }, 'logs') ?? false;
  }

  /**
   * Says what was decided about access to those who asked. Unacknowledged: every session begins with all of it, and a broker
   * that could not keep it ends the session.
   */
  tellAccess(): void {
    const session = this.#session;
    if (session === undefined) return;
    for (const { principal, digest, token } of this.#o.access.notices()) {
      if (this.#told.get(principal) === digest) continue;
      this.#told.set(principal, digest);
      session.send({ accessReply: { askNo: 0, token } }, 'bulk');
    }
  }

  statusChanged(): void {
    this.#session?.send({ status: { token: this.#o.status() } }, 'control');
    this.#sayCredit();
  }

  /**
   * A session that was fenced has a younger one beside it: stop. A hello that is fenced may have met our own last session, whose
   * welcome was lost and which the broker does not know to be dead yet: that passes within its heartbeats.
   */
  #isFenced(): boolean {
    if (this.#served) return true;
    const now = this.#o.clock.mono();
    this.#fencedSince ??= now;
    return now - this.#fencedSince > FENCED_PATIENCE_MS;
  }

  #connect(link: Link): Promise<{ session: BrokerSession }> {
    const { brokerId, clock, random, identity, status } = this.#o;
    const epoch = this.#epoch;
    this.#served = false;
    return dialSession<LinkMessage>({
      link,
      codec: linkCodec,
      clock,
      acceptor: brokerId,
      async hello(challenge) {
        const { endpoint, signer, descriptor } = identity();
        const token = signHello(
          { challenge, subject: endpoint, protocol: PROTOCOL, sessionEpoch: epoch, nowMs: clock.now(), random },
          signer,
        );
        return { token, descriptor, status: status(), protocolMin: PROTOCOL.min, protocolMax: PROTOCOL.max };
      },
    });
  }

  async #serve(session: BrokerSession, signal: AbortSignal): Promise<SessionEnd> {
    this.#session = session;
    this.#epoch = session.epoch;
    this.#served = true;
    this.#fencedSince = undefined;
    this.#fenced = undefined;
    this.#own(session, this.#o.keepSessionEpoch(session.epoch));
    this.#credit = createCredit(this.#o.slots, this.#o.clock.mono());
    this.#blobsOf.clear();
    this.#plain.attach(session);
    this.#large.attach(session);
    const leave = (): void => session.close('E_UNAVAILABLE', 'the agent stops');
    signal.addEventListener('abort', leave, { once: true });
    this.#sayCredit();
    this.#told.clear();
    this.tellAccess();
    try {
      return await session.serve((messages) => {
        for (const message of messages) this.#take(session, message);
      });
    } finally {
      signal.removeEventListener('abort', leave);
      this.#session = undefined;
      this.#plain.detach();
      this.#large.detach();
    }
  }

  #take(session: BrokerSession, message: LinkMessage): void {
    const { deliver, outcomeAck, cancel, accessAsk } = message;
    if (deliver !== undefined) this.#deliver(session, deliver);
    else if (outcomeAck !== undefined) this.#own(session, this.#acked(outcomeAck.packNos));
    else if (cancel !== undefined) this.#own(session, this.#cancel(session, cancel));
    else if (accessAsk !== undefined) this.#own(session, this.#asked(session, accessAsk));
    else this.#o.log.warn({ keys: Object.keys(message) }, 'a message that a broker does not send');
  }

  async #asked(session: BrokerSession, { askNo, token, chain }: AccessAsk): Promise<void> {
    session.send({ accessReply: { askNo, token: await this.#o.access.answer(token, chain?.links ?? []) } }, 'prompt');
  }

  #deliver(session: BrokerSession, deliver: Deliver): void {
    for (const ticket of deliver.tickets) {
      const chain = deliver.chains[ticket.chain]?.links ?? [];
      const manifest = deliver.manifests[ticket.manifest] ?? new Uint8Array();
      this.#credit.received(ticket.items.length, ticket.itemBytes.byteLength + ticket.inline.byteLength);
      const answered = this.#o.desk
        .deliver({ ticket, chain, manifest })
        .then((answer) => this.#answer(session, ticket, answer));
      this.#own(session, answered);
    }
  }

  #answer(session: BrokerSession, ticket: Deliver['tickets'][number], answer: DeliveryAnswer): void {
    const { id, deliveryEpoch, items } = ticket;
    if (answer.kind === 'admitted') session.send({ admitted: { tickets: [{ id, deliveryEpoch, items }] } }, 'prompt');
    else if (answer.kind === 'refused')
      session.send({ refusal: { id, deliveryEpoch, items, receipt: answer.receipt } }, 'prompt');
    // Nothing was taken; the broker keeps it and delivers it to the next session.
    else session.close('E_PAUSED', answer.why, 5);
    this.#sayCredit();
  }

  async #acked(nos: readonly number[]): Promise<void> {
    await this.#o.ledger.submit({ kind: 'packsAcked', nos });
    this.#plain.acked(nos);
    this.#large.acked(nos);
    const sent = nos.flatMap((no) => this.#blobsOf.get(no) ?? []);
    for (const no of nos) this.#blobsOf.delete(no);
    if (sent.length === 0) return;
    // Equal results share one file: it stays while another pack needs it.
    const answer = await this.#o.ledger.query({ kind: 'openBlobs' });
    if (answer.kind !== 'openBlobs') return;
    for (const hex of sent) if (!answer.blobs.has(hex)) await this.#o.blobs.drop(hex);
  }

  async #cancel(session: BrokerSession, message: Cancel): Promise<void> {
    const { clock, engine, ledger, log } = this.#o;
    let decision = decideCancel({
      cancel: message.token,
      chain: message.chain?.links ?? [],
      chains: this.#chains,
      nowS: clock.now() / 1000,
      toleranceS: DEFAULT_CLOCK_TOLERANCE_S,
      endpoint: this.#o.identity().endpoint,
    });
    if (decision.kind === 'cancel' && !this.#o.trusts(decision.chain.principal)) {
      decision = {
        kind: 'refuse',
        refusal: { code: 'E_UNTRUSTED', step: 'trust', message: 'a stranger has nothing to cancel here' },
      };
    }
    if (decision.kind === 'refuse') {
      // Answered all the same: a cancel that does not hold will not hold later either.
      log.warn({ code: decision.refusal.code }, 'cancel refused');
    } else {
      const { principal, jti, items, tkt } = decision.target;
      const keepUntil = decision.token.claims.exp + DEFAULT_RETENTION_S;
      const result = await ledger.submit({
        kind: 'cancel',
        principal,
        jti,
        items,
        keepUntil,
        ...(tkt === undefined ? {} : { hash: tkt }),
      });
      const work =
        result.kind === 'cancelled' && result.ticketNo !== undefined ? engine.works.get(result.ticketNo) : undefined;
      if (work !== undefined && result.kind === 'cancelled') engine.cancel(work, result.waiting, result.leased);
    }
    session.send({ cancelAck: { cancelNos: [message.cancelNo] } }, 'prompt');
  }

  async #load(withBlobs: boolean, after: number, limit: number): Promise<Entry<LinkMessage>[]> {
    const answer = await this.#o.ledger.query({ kind: 'packs', withBlobs, after, limit: withBlobs ? 1 : limit });
    if (answer.kind !== 'packs') return [];
    const entries: Entry<LinkMessage>[] = [];
    for (const { no, bytes, blobs } of answer.packs) {
      const pack = farfield.Pack.decode(bytes);
      await this.#upload(no, pack, blobs);
      entries.push({ no, message: { outcome: { packNo: no, pack } }, bytes: bytes.byteLength });
    }
    return entries;
  }

  async #upload(no: number, pack: Pack, blobs: readonly string[]): Promise<void> {
    for (const hex of blobs) {
      try {
        await this.#o.blobs.upload(hex, pack.tickets[0]?.id ?? '');
      } catch (reason) {
        const { code, message } = FarfieldError.from(reason);
        if (code !== 'E_NOT_FOUND') throw reason;
        // The receipt is worth having without its bytes, and those of others wait behind it.
        this.#o.log.error({ no, err: message }, 'a result is lost; its receipt goes without it');
      }
    }
    if (blobs.length > 0) this.#blobsOf.set(no, blobs);
  }

  /** Nothing is asked for while nothing may be admitted: what was delivered would only come back. */
  #sayCredit(): void {
    if (this.#o.closed() !== undefined) return;
    const credit = this.#credit.next(this.#o.engine.open);
    if (credit !== undefined) this.#session?.send({ credit }, 'prompt');
  }

  /** Items that had ended were delivered again, and their packs are to be sent again: the broker lost them. */
  sendAgain(): void {
    const session = this.#session;
    if (session === undefined) return;
    this.#plain.attach(session);
    this.#large.attach(session);
  }

  /** Work behind one message: if it fails, this session ends and the next one begins with what is on disk. */
  #own(session: BrokerSession, work: Promise<void>): void {
    work.catch((error: unknown) => {
      this.#o.log.error({ err: error }, 'a message of the broker could not be handled');
      session.close('E_UNAVAILABLE', 'the endpoint could not store it; deliver it again', 2);
    });
  }
}
