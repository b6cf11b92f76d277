/**
 * One endpoint's session: what its agent says becomes commands, what is committed becomes answers.
 *
 * Invariants
 *  K1 An outcome is acknowledged after the commit that holds it; one that could not be stored ends the session, so that the
 *     agent sends it again.
 *  K2 Every command carries the session's epoch. The first that comes back `fenced` ends the session.
 *  K3 Stored cancels go out at the beginning of every session until the agent acknowledges them.
 *  K4 What an agent says about tickets of other endpoints is dropped: it learns nothing, and tells nobody.
 */

import type { Clock } from '#base/clock.ts';
import type { LinkMessage } from '#base/link/messages.ts';
import type { Session, SessionEnd } from '#base/link/session.ts';
import type { Logger } from '#base/log.ts';
import { plain } from '#base/plain.ts';
import { ACCESS_NOTICE } from '#kernel/access.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { PublicJwk } from '#kernel/ids.ts';
import { digestOf } from '#kernel/ids.ts';
import { openToken } from '#kernel/jws.ts';
import { checkPackForm } from '#kernel/receipts.ts';
import type { Admitted, HandBack, Log, Outcome, Refusal, Running, Status } from '#protos/generated/link.js';
import type { AccessBoard } from '../access-board.ts';
import type { Commit } from '../committed.ts';
import { createPump, type PayloadBudget, type Pump } from '../dispatch/pump.ts';
import type { Hub } from '../events/hub.ts';
import { DISK_FULL_RETRY_S } from '../limits.ts';
import { packBytes } from '../packs.ts';
import type { RunningBoard } from '../running.ts';
import { packU16, packU32, unpackU16 } from '../store/columns.ts';
import type { Payload } from '../store/payload.ts';
import type { BrokerStore, HandedBack, StoredCancel, StoredEvent } from '../store/store.ts';
import { type Asks, createAsks } from './asks.ts';

export interface SessionParts {
  readonly store: BrokerStore;
  readonly commit: Commit;
  readonly hub: Hub;
  readonly running: RunningBoard;
  readonly access: AccessBoard;
  readonly budget: PayloadBudget;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface SessionFacts {
  readonly endpoint: string;
  readonly sessionEpoch: number;
  readonly ledgerEpoch: number;
  readonly online: PublicJwk;
  readonly session: Session<LinkMessage>;
}

export interface EndpointSession {
  readonly facts: SessionFacts;
  readonly pump: Pump;
  /** The agent has spoken since its welcome: it knows its epoch. */
  readonly confirmed: boolean;
  /** A cancel that was stored just now. */
  cancel(cancel: StoredCancel): void;
  /** Passes a request for access on; resolves with the endpoint's signed answer, unread. */
  access(token: string, links: readonly string[]): Promise<string>;
  /** Lives until the link ends. */
  serve(onStatus: (token: string) => void): Promise<SessionEnd>;
}

/** Commands of one session that may wait for their commits before its frames are read on: some MiB of outcomes. */
const MAX_COMMANDS = 64;

export function createEndpointSession(parts: SessionParts, facts: SessionFacts): EndpointSession {
  return new LiveSession(parts, facts);
}

class LiveSession implements EndpointSession {
  readonly facts: SessionFacts;
  readonly pump: Pump;
  confirmed = false;
  readonly #p: SessionParts;
  readonly #asks: Asks;
  #commands = 0;
  #room: (() => void) | undefined;
  #onStatus: (token: string) => void = () => {};

  constructor(parts: SessionParts, facts: SessionFacts) {
    this.#p = parts;
    this.facts = facts;
    const { endpoint, sessionEpoch, session } = facts;
    const onTrouble = (reason: unknown): void => this.#trouble(reason);
    const { store, commit, budget } = parts;
    this.#asks = createAsks(parts.clock, (message) => session.send(message, 'prompt'));
    this.pump = createPump({ store, commit, endpoint, sessionEpoch, session, budget, onTrouble });
  }

  cancel({ cancelNo, token, links }: StoredCancel): void {
    this.facts.session.send({ cancel: { cancelNo, token, chain: { links: [...links] } } }, 'prompt');
  }

  access(token: string, links: readonly string[]): Promise<string> {
    return this.#asks.ask(token, links);
  }

  async serve(onStatus: (token: string) => void): Promise<SessionEnd> {
    this.#onStatus = onStatus;
    const { store } = this.#p;
    const { endpoint, session } = this.facts;
    const end = session.serve((messages) => this.#hear(messages));
    this.pump.start();
    try {
      for (const cancel of await store.read('cancels', { endpoint })) this.cancel(cancel);
      return await end;
    } catch (error) {
      this.#trouble(error);
      return await end;
    } finally {
      this.pump.stop();
      this.#asks.end();
    }
  }

  #hear(messages: readonly LinkMessage[]): Promise<void> | undefined {
    this.confirmed = true;
    // Neighbours become one command; the order towards everything else stays, or an outcome would overtake its admission.
    let admitted: Admitted[] = [];
    for (const message of messages) {
      if (message.admitted !== undefined) {
        admitted.push(message.admitted);
        continue;
      }
      if (admitted.length > 0) this.#admitted(admitted);
      admitted = [];
      this.#hearOne(message);
    }
    if (admitted.length > 0) this.#admitted(admitted);
    if (this.#commands < MAX_COMMANDS) return undefined;
    return new Promise((resolve) => {
      this.#room = resolve;
    });
  }

  #hearOne(message: LinkMessage): void {
    if (message.outcome !== undefined) this.#outcome(message.outcome);
    else if (message.credit !== undefined) this.pump.credit(message.credit.items, message.credit.bytes);
    else if (message.running !== undefined) this.#running(message.running);
    else if (message.log !== undefined) this.#logged(message.log);
    else if (message.refusal !== undefined) this.#refusal(message.refusal);
    else if (message.cancelAck !== undefined) this.#command('cancelAcked', { cancelNos: message.cancelAck.cancelNos });
    else if (message.status !== undefined) this.#status(message.status);
    else if (message.handBack !== undefined) this.#handBack(message.handBack);
    else if (message.accessReply !== undefined) {
      if (message.accessReply.askNo === 0) this.#decided(message.accessReply.token);
      else this.#asks.answered(message.accessReply);
    } else throw new FarfieldError('E_PROTOCOL', `an agent does not send ${message.body ?? 'an empty message'}`);
  }

  /** Commits with the session's epoch; owns the promise. */
  #command<K extends 'admitted' | 'complete' | 'refuse' | 'handBack' | 'cancelAcked' | 'status' | 'accessTold'>(
    kind: K,
    command: object,
    then: (outcome: { readonly kind: string }) => void = () => {},
    pack?: Parameters<Commit>[2],
  ): void {
    const { endpoint, sessionEpoch } = this.facts;
    const whole = {
      ...command,
      endpoint,
      sessionEpoch,
      nowS: this.#p.clock.now() / 1000,
    } as unknown as Parameters<Commit>[1];
    const { commit } = this.#p;
    this.#commands += 1;
    const committed = kind === 'admitted' ? commit.ride(kind, whole as never) : commit(kind, whole as never, pack);
    committed
      .then((outcome) => (outcome.kind === 'fenced' ? this.#trouble('fenced') : then(outcome)))
      .catch((error: unknown) => this.#trouble(error))
      .finally(() => {
        this.#commands -= 1;
        if (this.#commands >= MAX_COMMANDS || this.#room === undefined) return;
        this.#room();
        this.#room = undefined;
      });
  }

  #admitted(messages: readonly Admitted[]): void {
    const tickets = messages.flatMap((message) =>
      message.tickets.map(({ id, deliveryEpoch, items }) => ({ id, deliveryEpoch, items: packU16(items) })),
    );
    this.#command('admitted', { tickets }, (outcome) => {
      const { stale } = outcome as { stale?: number };
      if (stale !== undefined && stale > 0)
        this.#p.log.warn({ endpoint: this.facts.endpoint, items: stale }, 'admission of an older delivery ignored');
    });
  }

  #outcome({ packNo, pack }: Outcome): void {
    if (pack === undefined || pack === null) throw new FarfieldError('E_PROTOCOL', 'an outcome without a pack');
    const { endpoint, online, ledgerEpoch, session } = this.facts;
    // Signature and columns. Root and results are for the client to hash: the broker believes neither, and carries both.
    checkPackForm(pack, { endpoint, onlineKey: online, principal: pack.principal });
    const bytes = packBytes(pack);
    const tickets = pack.tickets.map(({ id, ticketHash, items, statuses, resultDigests }) => ({
      id,
      hash: ticketHash,
      items: packU16(items),
      statuses,
      resultDigests,
    }));
    const command = {
      ledgerEpoch,
      agentPackNo: packNo,
      principal: pack.principal,
      digest: digestOf(bytes),
      bytes,
      tickets,
    };
    const settled = (outcome: { readonly kind: string; readonly conflicts?: number }): void => {
      session.send({ outcomeAck: { packNos: [packNo] } }, 'prompt');
      for (const { id } of pack.tickets) this.#p.running.forget(id);
      if ((outcome.conflicts ?? 0) > 0) {
        this.#p.log.error(
          { endpoint, packNo, conflicts: outcome.conflicts },
          'ALARM: receipts that contradict what is stored were refused',
        );
      }
    };
    this.#command('complete', command, settled, pack);
  }

  #refusal({ id, deliveryEpoch, items, receipt }: Refusal): void {
    const { claims } = openToken('farfield-receipt+jwt', receipt, this.facts.online);
    if (claims.endpoint !== this.facts.endpoint)
      throw new FarfieldError('E_RECEIPT', 'a refusal by another endpoint than the one that sends it');
    this.#command('refuse', { id, deliveryEpoch, items: packU16(items), receipt });
  }

  #running(message: Running): void {
    const { id, items, done, total, attempt } = message;
    const event = { id, items, state: plain(message.state), detail: plain(message.detail), done, total, attempt };
    this.#toOwner(id, (principal) => {
      this.#p.running.say(event);
      this.#p.hub.passing(principal, 'running', event);
    });
  }

  #logged(message: Log): void {
    const { id, item, attempt, offset, data, dropped } = message;
    const text = Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('utf8');
    this.#toOwner(id, (principal) =>
      this.#p.hub.passing(principal, 'log', { id, item, attempt, offset, data: text, dropped }),
    );
  }

  #toOwner(id: string, tell: (principal: string) => void): void {
    const { running } = this.#p;
    const known = running.knownOwner(id);
    // At once where it can be: what one frame says keeps its order.
    if (known !== undefined) {
      if (known.endpoint === this.facts.endpoint) tell(known.principal);
      return;
    }
    running.owner(id).then(
      (owner) => {
        if (owner?.endpoint === this.facts.endpoint) tell(owner.principal);
      },
      (error: unknown) => this.#trouble(error),
    );
  }

  #status({ token }: Status): void {
    const { endpoint, online, ledgerEpoch } = this.facts;
    const { claims } = openToken('farfield-status+jwt', token, online);
    if (claims.endpoint !== endpoint || claims.ledgerEpoch.n !== ledgerEpoch) {
      throw new FarfieldError('E_PROTOCOL', 'a status of another endpoint or ledger epoch than the hello named');
    }
    this.#command('status', { status: token }, () => this.#onStatus(token));
  }

  /** Nobody waits for it (askNo 0): the site decided, and says so to who asked. */
  #decided(token: string): void {
    const { endpoint, online } = this.facts;
    const { claims } = openToken('farfield-access-answer+jwt', token, online);
    const { aud, req, refused, entries } = claims;
    if (claims.endpoint !== endpoint || req !== ACCESS_NOTICE || aud === undefined || refused !== undefined)
      throw new FarfieldError('E_PROTOCOL', 'a notice about access that is none, or of another endpoint');
    const told = { principal: aud, token, digest: digestOf(JSON.stringify(entries)) };
    this.#command('accessTold', told, (outcome) => {
      const { events = [] } = outcome as { readonly events?: readonly StoredEvent[] };
      for (const { principal, seq } of events) this.#p.access.told(principal, seq);
    });
  }

  #handBack({ ticket }: HandBack): void {
    if (ticket === undefined || ticket === null) throw new FarfieldError('E_PROTOCOL', 'a hand-back without a ticket');
    const { id, deliveryEpoch, items, leaves, itemSizes, itemBytes, inlineSizes, inline } = ticket;
    const perItem = items.length === 0 ? 0 : inlineSizes.length / items.length;
    if (!Number.isInteger(perItem))
      throw new FarfieldError('E_PROTOCOL', 'a hand-back whose inline arguments do not divide among its items');
    const payload: Payload = {
      leaves,
      itemSizes: packU16(items.map((_, k) => itemSizes[k] ?? 0)),
      itemBytes,
      inlineCounts: new Uint8Array(items.length).fill(perItem),
      inlineSizes: packU32(inlineSizes),
      inline,
    };
    this.#command('handBack', { id, deliveryEpoch, items: packU16(items), payload }, (outcome) => {
      const done = outcome as HandedBack;
      if (done.kind === 'done') this.pump.returned(done.ticketNo, done.principal, unpackU16(done.items));
    });
  }

  /** K1, K2: whatever could not be stored is said by ending; the agent comes back and sends it again. */
  #trouble(reason: unknown): void {
    const { session, endpoint, sessionEpoch } = this.facts;
    if (reason === 'fenced') {
      session.close('E_FENCED', `another session of endpoint ${endpoint} took over`);
      return;
    }
    const error = FarfieldError.from(reason);
    this.#p.log.error({ endpoint, sessionEpoch, err: error }, 'session ended: a command failed');
    if (error.code === 'E_DISK_FULL')
      session.close('E_DISK_FULL', "the broker's disk is full; nothing that it took is lost", DISK_FULL_RETRY_S);
    else session.close(error.code === 'E_INTERNAL' ? 'E_UNAVAILABLE' : error.code, error.message, 1);
  }
}
