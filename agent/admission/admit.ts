/**
 * Takes deliveries: verifies, writes the ledger, hands items to the engine.
 *
 * Invariants
 *  A1 Nothing is answered before it is committed: `admitted` after the commit, refusals after a valid chain as receipts.
 *  A2 A refusal before a valid chain is signed, stateless, and writes nothing: a flood of forgeries costs no fsync.
 *  A3 Every item's exact bytes are those of its leaf, and the leaves those of the ticket, before any item is admitted.
 */
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/log.ts';
import { type Admission, createManifestCache, decideAdmission, itemRefusal } from '#kernel/admission.ts';
import { type Chain, createChainCache } from '#kernel/chain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { digestOf, ticketId } from '#kernel/ids.ts';
import { checkItem, checkLeaves } from '#kernel/items.ts';
import { parseToken, type Signer, signToken, tokenHash } from '#kernel/jws.ts';
import type { Match } from '#kernel/policy/match.ts';
import type { ResolvedPolicy } from '#kernel/policy/resolve.ts';
import type { Refusal } from '#kernel/refusal.ts';
import type { ItemBody } from '#kernel/tokens/claims.ts';
import { createItemReader } from '#kernel/tokens/item-reader.ts';
import type { Manifest } from '#kernel/tokens/manifest.ts';
import type { DeliveredTicket } from '#protos/generated/link.js';
import type { Decided } from '../watch.ts';
import type { Engine } from '../work/engine.ts';
import { addPayload, createWork, matchOf, type TicketToken, type Work } from '../work/mirror.ts';
import type { Offer } from '../work/ports.ts';
import { ITEM } from './item-state.ts';
import type { Ledger, LedgerCommand, LedgerEpoch, LedgerResult, NewTicket, Payload } from './ledger.ts';
import { createRecent, type Recent } from './recent.ts';

export interface AdmissionOptions {
  readonly ledger: Ledger;
  readonly engine: Engine;
  readonly policy: () => ResolvedPolicy;
  readonly endpoint: string;
  readonly signer: () => Signer;
  readonly clock: Clock;
  readonly log: Logger;
  readonly ledgerEpoch: () => LedgerEpoch;
  /** The youngest jti in the ledger now, before the first delivery; empty if there is none. */
  readonly newestJti: string;
  /** Set while nothing may be admitted: the clock jumped, the site drains, the disk is full. */
  readonly closed: () => Refusal | undefined;
  /** How long after `exp` an ended ticket is remembered. */
  readonly retentionS: number;
  /** The admin took the risk of tickets from before the ledger was lost. */
  readonly allowOlderEpoch: boolean;
  /** Node-hours of a principal under a rule today, and of a delegation so far. */
  readonly usedNodeHours: (rule: string, principal: string) => number;
  readonly usedByDelegation: (hash: string) => number;
  /** Told how each delivery was decided. */
  readonly onDecided?: (decision: Decided) => void;
  /** Packs that were acknowledged once are to be sent again. */
  readonly onPacksAgain: () => void;
}

/** What the broker is told of a delivered ticket. `later`: nothing; it will deliver again. */
export type DeliveryAnswer =
  | { readonly kind: 'admitted' }
  | { readonly kind: 'refused'; readonly receipt: string }
  | { readonly kind: 'later'; readonly why: string };

/** What is to be done with a delivered ticket: run, refuse for good (a valid chain), or refuse without a trace. */
type Decision =
  | {
      readonly kind: 'run';
      readonly token: TicketToken;
      readonly chain: Chain;
      readonly manifest: Manifest;
      /** The rule that takes it now; undefined for a known ticket that no rule takes any more: its launch will be refused. */
      readonly match: Pick<Match, 'rule' | 'choices'> | undefined;
      /** Of the delivered items, in their order. */
      readonly bodies: readonly ItemBody[];
    }
  | { readonly kind: 'final'; readonly token: TicketToken; readonly chain: Chain; readonly refusal: Refusal }
  | { readonly kind: 'stateless'; readonly refusal: Refusal };

interface Delivery {
  readonly ticket: DeliveredTicket;
  readonly chain: readonly string[];
  readonly manifest: Uint8Array;
}

const CACHED_CHAINS = 4096;
const CACHED_MANIFESTS = 256;

export class AdmissionDesk {
  readonly #o: AdmissionOptions;
  readonly #chains = createChainCache(CACHED_CHAINS);
  readonly #manifests = createManifestCache(CACHED_MANIFESTS);
  readonly #recent: Recent;
  /** Mirrors of tickets whose parts are being admitted, by ticket id. */
  readonly #entering = new Map<string, { readonly work: Work; parts: number }>();

  constructor(options: AdmissionOptions) {
    this.#o = options;
    this.#recent = createRecent(options.newestJti);
  }

  async deliver(delivery: Delivery): Promise<DeliveryAnswer> {
    const closed = this.#o.closed();
    if (closed !== undefined) return { kind: 'later', why: closed.message };
    const decision = await this.#judge(delivery);
    this.#o.onDecided?.(decided(decision, delivery.ticket.items.length));
    switch (decision.kind) {
      case 'run':
        return this.#admit(decision, delivery);
      case 'final':
        return this.#refuse(decision, delivery);
      case 'stateless':
        return this.#stateless(delivery.ticket, decision.refusal);
    }
  }

  /** The decision; whatever the bytes do wrong is a refusal, anything else thrown is a defect. */
  async #judge(delivery: Delivery): Promise<Decision> {
    const { log } = this.#o;
    const { id } = delivery.ticket;
    try {
      const admission = await this.#decide(delivery);
      if (admission.kind !== 'refuse') return this.#fitting(this.#running(admission, delivery), id);
      const { refusal, chainValid, alarm, ticket, chain } = admission;
      log.warn({ id, code: refusal.code, step: refusal.step, alarm }, 'delivery refused');
      if (!chainValid || ticket === undefined || chain === undefined) return { kind: 'stateless', refusal };
      return { kind: 'final', token: ticket, chain, refusal };
    } catch (reason) {
      const { code, message } = FarfieldError.from(reason);
      if (code === 'E_INTERNAL') throw reason;
      log.warn({ id, code, step: 'items' }, 'delivery refused');
      return { kind: 'stateless', refusal: { code, message, step: 'items' } };
    }
  }

  /** What no node here can ever hold is refused now, with numbers, and does not wait. */
  #fitting(decision: Decision, id: string): Decision {
    if (decision.kind !== 'run') return decision;
    const { token, chain } = decision;
    const runtimes = decision.match?.choices.map(({ runtime }) => runtime) ?? [];
    const refusal = this.#o.engine.sizeRefusal(decision, runtimes);
    if (refusal === undefined) return decision;
    this.#o.log.warn({ id, code: refusal.code, step: refusal.step }, 'delivery refused');
    return { kind: 'final', token, chain, refusal };
  }

  async #decide({ ticket, chain, manifest }: Delivery): Promise<Admission> {
    const { ledger, policy, endpoint, clock } = this.#o;
    const opened = this.#chains.open(chain);
    const token = parseToken(['farfield-ticket+jwt', 'farfield-batch+jwt'], ticket.ticket) as TicketToken;
    const { jti } = token.claims;
    let hash = this.#recent.find(opened.principal, jti);
    if (hash === undefined && !this.#recent.isNew(jti)) {
      const answer = await ledger.query({ kind: 'known', principal: opened.principal, jti });
      if (answer.kind === 'known') hash = answer.hash;
    }
    return decideAdmission({
      ticket: token,
      chain: opened,
      manifest,
      manifests: this.#manifests,
      policy: policy(),
      endpoint,
      ledgerEpoch: this.#o.ledgerEpoch(),
      allowOlderEpoch: this.#o.allowOlderEpoch,
      nowS: clock.now() / 1000,
      usedNodeHours: this.#o.usedNodeHours,
      usedByDelegation: this.#o.usedByDelegation,
      known: () => (hash === undefined ? undefined : { ticketHash: hash }),
    });
  }

  /** Items against the ticket, and for one that is known already the manifest as well: the broker brings it again. */
  #running(admission: Exclude<Admission, { kind: 'refuse' }>, delivery: Delivery): Decision {
    const { chain } = admission;
    const token = admission.ticket as TicketToken;
    const bodies = openItems(token, delivery.ticket);
    if (admission.kind === 'admit') {
      const { manifest, rule, choices } = admission;
      return { kind: 'run', token, chain, manifest, match: { rule, choices }, bodies };
    }
    const policy = this.#o.policy();
    const open = this.#o.engine.find(ticketId(chain.principal, token.claims.jti));
    const manifest = open?.manifest ?? this.#manifests.open(delivery.manifest, policy, chain);
    if (manifest.digest !== token.claims.fn.manifest) {
      throw new FarfieldError(
        'E_MANIFEST',
        `the manifest is ${manifest.digest}; the ticket names ${token.claims.fn.manifest}`,
      );
    }
    return { kind: 'run', token, chain, manifest, match: matchOf(policy, token, chain, manifest), bodies };
  }

  async #admit(decision: Extract<Decision, { kind: 'run' }>, delivery: Delivery): Promise<DeliveryAnswer> {
    const { engine, clock } = this.#o;
    const { ticket } = delivery;
    const payload = payloadOf(ticket);
    const work = this.#workOf(decision, delivery);
    using _entering = this.#enter(work);
    addPayload(work, payload, decision.bodies);
    const bad = badItems(decision, ticket.items);
    const offer = bad.size === 0 && decision.match !== undefined ? engine.offer(work, ticket.items) : undefined;
    const lease =
      offer === undefined
        ? {}
        : { lease: { items: ticket.items, leaseEpoch: offer.leaseEpoch, pilot: offer.pilot.no } };
    const result = await this.#submit(
      { kind: 'admit', ticket: work.ticket, payload, now: clock.now(), ...lease },
      () => offer !== undefined && engine.withdraw(offer, work, offer.count),
    );
    if (result === undefined) return { kind: 'later', why: 'the ledger has no room' };
    if (result.kind !== 'admitted') {
      if (offer !== undefined) engine.withdraw(offer, work, offer.count);
      return this.#stateless(ticket, replayed(work.ticket.jti));
    }
    this.#recent.add(work.ticket.principal, work.ticket.jti, work.ticket.hash);
    mark(work, result, ticket.items);
    this.#handOver(work, result, bad, offer);
    if (result.ended.length > 0) await this.#sendAgain(result.ticketNo);
    return { kind: 'admitted' };
  }

  #handOver(work: Work, result: Written, bad: ReadonlyMap<number, Refusal>, offer: Offer | undefined): void {
    const { engine } = this.#o;
    const leased = new Set(result.leased);
    if (offer !== undefined && leased.size < offer.count) engine.withdraw(offer, work, offer.count - leased.size);
    if (result.fresh.length === 0) return;
    engine.keep(work, result.fresh.length);
    for (const i of result.fresh) {
      const refusal = bad.get(i);
      if (refusal !== undefined) engine.refuseAll(work, [i], refusal);
    }
    const waiting = result.fresh.filter((i) => !leased.has(i) && !bad.has(i));
    engine.adopt(
      work,
      waiting,
      offer === undefined ? undefined : { offer, items: result.leased, attempts: result.attempts },
    );
  }

  /**
   * A valid chain, and still no: written for the ticket as a whole, so that a later delivery of other items of it meets
   * the same answer and not the launch check, which asks less.
   */
  async #refuse(decision: Extract<Decision, { kind: 'final' }>, delivery: Delivery): Promise<DeliveryAnswer> {
    const { engine, clock } = this.#o;
    const { token, chain, refusal } = decision;
    // The manifest may be anybody's: nothing of it is kept.
    const ticket = this.#rowOf(token, chain.principal, { ...delivery, chain: [], manifest: new Uint8Array() });
    const sealed = engine.sealRefusal(ticket, token, refusal);
    const result = await this.#submit({
      kind: 'refuse',
      ticket,
      now: clock.now(),
      status: sealed.status,
      pack: sealed.bytes,
    });
    if (result === undefined) return { kind: 'later', why: 'the ledger has no room' };
    if (result.kind === 'replay') return this.#stateless(delivery.ticket, replayed(ticket.jti));
    this.#recent.add(ticket.principal, ticket.jti, ticket.hash);
    if (result.kind === 'ended') engine.sent(result.packNo, sealed);
    // The row was there after all (its jti lies about its time): judged again as what it is.
    else if (result.kind === 'known') return this.deliver(delivery);
    return { kind: 'admitted' };
  }

  /** Undefined where the disk is full: the broker keeps it, and will deliver again. */
  async #submit(command: LedgerCommand, onFailure: () => void = () => undefined): Promise<LedgerResult | undefined> {
    try {
      return await this.#o.ledger.submit(command);
    } catch (reason) {
      onFailure();
      const { code } = FarfieldError.from(reason);
      if (code !== 'E_DISK_FULL' && code !== 'E_BUSY') throw reason;
      return undefined;
    }
  }

  /** What has ended is answered from the ledger: its packs go out once more. */
  async #sendAgain(ticketNo: number): Promise<void> {
    const result = await this.#submit({ kind: 'packsAgain', ticketNos: [ticketNo] });
    if (result?.kind === 'done' && result.count > 0) this.#o.onPacksAgain();
  }

  #workOf(decision: Extract<Decision, { kind: 'run' }>, delivery: Delivery): Work {
    const { token, chain, manifest, match } = decision;
    const id = ticketId(chain.principal, token.claims.jti);
    const open = this.#o.engine.find(id) ?? this.#entering.get(id)?.work;
    if (open !== undefined) return open;
    const ticket = this.#rowOf(token, chain.principal, delivery);
    return createWork({ token, chain, manifest, choice: match?.choices[0], rule: match?.rule, ticket });
  }

  /**
   * Parts of one ticket that come together share one mirror from before the commit of the first: with two, the second would
   * take the first one's place, and the outcomes of its items would belong to nothing.
   */
  #enter(work: Work): Disposable {
    const { id } = work.ticket;
    const entry = this.#entering.get(id) ?? { work, parts: 0 };
    entry.parts += 1;
    this.#entering.set(id, entry);
    return {
      [Symbol.dispose]: () => {
        entry.parts -= 1;
        if (entry.parts === 0) this.#entering.delete(id);
      },
    };
  }

  #rowOf(token: TicketToken, principal: string, { chain, manifest, ticket }: Delivery): NewTicket {
    const { jti, exp, fn } = token.claims;
    return {
      principal,
      jti,
      id: ticketId(principal, jti),
      hash: token.hash,
      token: token.text,
      chain,
      manifestDigest: manifest.byteLength === 0 ? '' : fn.manifest,
      manifest,
      n: token.typ === 'farfield-batch+jwt' ? token.claims.itm.n : 1,
      leaves: ticket.leaves,
      exp,
      keepUntil: exp + this.#o.policy().clockToleranceS + this.#o.retentionS,
    };
  }

  /** Signed over the ticket's hash alone: whoever asked is not known to be anybody. */
  #stateless(ticket: DeliveredTicket, refused: Refusal): DeliveryAnswer {
    const signer = this.#o.signer();
    const claims = {
      v: 1,
      iss: signer.kid,
      endpoint: this.#o.endpoint,
      i: ticket.items[0] ?? 0,
      tkt: tokenHash(ticket.ticket),
      att: 0,
      st: 'refused',
      err: { code: refused.code, message: refused.message.slice(0, 2048) },
      iat: Math.floor(this.#o.clock.now() / 1000),
      meas: {},
    } as const;
    return { kind: 'refused', receipt: signToken('farfield-receipt+jwt', claims, signer) };
  }
}

function decided(decision: Decision, items: number): Decided {
  const { kind } = decision;
  if (kind === 'run') {
    const { token, chain, match } = decision;
    return { outcome: 'admitted', principal: chain.principal, jti: token.claims.jti, items, rule: match?.rule.name };
  }
  const { code, step, message } = decision.refusal;
  const who =
    kind === 'final'
      ? { principal: decision.chain.principal, jti: decision.token.claims.jti }
      : { principal: undefined };
  return { outcome: 'refused', ...who, items, code, step, message };
}

type Written = Extract<LedgerResult, { kind: 'admitted' }>;

function replayed(jti: string): Refusal {
  return {
    code: 'E_REPLAY',
    step: 'ledger',
    message: `jti ${jti} was used for another ticket; give every ticket its own`,
  };
}

/**
 * The delivered items, held to the ticket: leaf, closed schema, and inline arguments by size and digest. Whatever does not
 * fit refuses the delivery: the broker altered it, and its honest bytes may still come.
 */
function openItems(token: TicketToken, ticket: DeliveredTicket): ItemBody[] {
  const { items } = ticket;
  if (new Set(items).size !== items.length || items.length === 0)
    throw new FarfieldError('E_ITEMS', 'a delivery without items, or with one twice');
  const bodies = token.typ === 'farfield-ticket+jwt' ? singleBody(token, items) : batchBodies(token, ticket);
  checkInline(bodies, ticket);
  return bodies;
}

function singleBody(token: Extract<TicketToken, { typ: 'farfield-ticket+jwt' }>, items: readonly number[]): ItemBody[] {
  if (items.length !== 1 || items[0] !== 0) throw new FarfieldError('E_ITEMS', 'a single ticket has item 0 alone');
  return [{ args: token.claims.args }];
}

function batchBodies(token: Extract<TicketToken, { typ: 'farfield-batch+jwt' }>, ticket: DeliveredTicket): ItemBody[] {
  checkLeaves(token.claims.itm, ticket.leaves);
  const reader = createItemReader();
  let at = 0;
  return ticket.items.map((i, k) => {
    const bytes = ticket.itemBytes.subarray(at, at + (ticket.itemSizes[k] ?? 0));
    at += bytes.byteLength;
    checkItem(ticket.leaves, i, bytes);
    return reader.open(i, bytes);
  });
}

function checkInline(bodies: readonly ItemBody[], ticket: DeliveredTicket): void {
  let at = 0;
  let index = 0;
  for (const { args } of bodies) {
    for (const arg of args) {
      if (arg.at !== 'inline') continue;
      const size = ticket.inlineSizes[index++] ?? -1;
      const bytes = ticket.inline.subarray(at, at + Math.max(0, size));
      at += bytes.byteLength;
      if (size !== arg.size || bytes.byteLength !== size || digestOf(bytes) !== arg.digest) {
        throw new FarfieldError('E_DIGEST', `the bytes of argument ${arg.name} are not those that the ticket signs`);
      }
    }
  }
  if (index !== ticket.inlineSizes.length || at !== ticket.inline.byteLength) {
    throw new FarfieldError('E_ITEMS', 'a delivery with inline bytes that no argument names');
  }
}

/** Items of a batch that the rule does not take; a single ticket's arguments were judged with it. */
function badItems(decision: Extract<Decision, { kind: 'run' }>, items: readonly number[]): Map<number, Refusal> {
  const bad = new Map<number, Refusal>();
  const { token, manifest, match, bodies } = decision;
  if (token.typ !== 'farfield-batch+jwt' || match === undefined) return bad;
  for (const [k, i] of items.entries()) {
    const body = bodies[k];
    const refusal = body === undefined ? undefined : itemRefusal(manifest, match.rule, body, token.claims.out);
    if (refusal !== undefined) bad.set(i, refusal);
  }
  return bad;
}

function payloadOf(ticket: DeliveredTicket): Payload {
  const { items, itemSizes, itemBytes, inlineSizes, inline } = ticket;
  return { items, itemSizes, itemBytes, inlineSizes, inline };
}

/** The commit's word on each item, into the mirror. */
function mark(work: Work, result: Written, delivered: readonly number[]): void {
  work.no = result.ticketNo;
  for (const i of result.fresh) work.states[i] = ITEM.waiting;
  for (const i of result.cancelled) work.cancels[i] = 1;
  work.open += result.fresh.length;
  const fresh = new Set(result.fresh);
  for (const i of delivered) {
    const open = work.states[i] === ITEM.waiting || work.states[i] === ITEM.leased;
    if (!fresh.has(i) && !open) work.payloads.delete(i);
  }
}
