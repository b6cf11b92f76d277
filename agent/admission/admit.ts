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
import {
  type Admission,
  createManifestCache,
  decideAdmission,
  decideLaunch,
  itemRefusal,
  type Refused,
} from '#kernel/admission.ts';
import { createChainCache } from '#kernel/chain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { ticketId } from '#kernel/ids.ts';
import { checkItem, checkLeaves } from '#kernel/items.ts';
import { parseToken, type Signer, signToken, tokenHash } from '#kernel/jws.ts';
import { DEFAULT_RETENTION_S } from '#kernel/limits.ts';
import type { ResolvedPolicy } from '#kernel/policy/resolve.ts';
import type { Refusal } from '#kernel/refusal.ts';
import { openManifest } from '#kernel/tokens/manifest.ts';
import type { DeliveredTicket } from '#protos/generated/link.js';
import type { Engine, Offer } from '../work/engine.ts';
import { addPayload, createWork, readItem, type TicketToken, type Work } from '../work/mirror.ts';
import { ITEM } from './item-state.ts';
import type { Ledger, LedgerEpoch, LedgerResult, Payload } from './ledger.ts';
import { createRecent } from './recent.ts';

export interface AdmissionOptions {
  readonly ledger: Ledger;
  readonly engine: Engine;
  readonly policy: () => ResolvedPolicy;
  readonly endpoint: string;
  readonly signer: () => Signer;
  readonly clock: Clock;
  readonly log: Logger;
  readonly ledgerEpoch: () => LedgerEpoch;
  /** Set while nothing may be admitted: the clock jumped, the site drains, the disk is full. */
  readonly closed: () => Refusal | undefined;
}

/** What the broker is told of a delivered ticket. `later`: nothing; it will deliver again. */
export type DeliveryAnswer =
  | { readonly kind: 'admitted' }
  | { readonly kind: 'refused'; readonly receipt: string }
  | { readonly kind: 'later'; readonly why: string };

/** An admission that is written down: allowed, known, or refused for good. */
type Standing = Exclude<Admission, { kind: 'refuse' }> | (Refused & Required<Pick<Refused, 'ticket' | 'chain'>>);

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
  readonly #recent;

  constructor(options: AdmissionOptions) {
    this.#o = options;
    this.#recent = createRecent(options.clock.now());
  }

  async deliver(delivery: Delivery): Promise<DeliveryAnswer> {
    const closed = this.#o.closed();
    if (closed !== undefined) return { kind: 'later', why: closed.message };
    const admission = await this.#judge(delivery);
    if (isStanding(admission)) return this.#write(admission, delivery);
    return this.#stateless(delivery.ticket, admission.refusal);
  }

  /** The decision; whatever the bytes do wrong is a refusal, anything else thrown is a defect. */
  async #judge(delivery: Delivery): Promise<Admission> {
    let admission: Admission;
    try {
      admission = await this.#decide(delivery);
      if (isStanding(admission)) checkItems(admission.ticket as TicketToken, delivery.ticket);
    } catch (reason) {
      const { code, message } = FarfieldError.from(reason);
      if (code === 'E_INTERNAL') throw reason;
      admission = { kind: 'refuse', refusal: { code, message, step: 'items' }, chainValid: false, alarm: false };
    }
    if (admission.kind === 'refuse') {
      const { code, step } = admission.refusal;
      this.#o.log.warn({ id: delivery.ticket.id, code, step, alarm: admission.alarm }, 'delivery refused');
    }
    return admission;
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
      nowS: clock.now() / 1000,
      known: () => (hash === undefined ? undefined : { ticketHash: hash }),
    });
  }

  async #write(admission: Standing, delivery: Delivery): Promise<DeliveryAnswer> {
    const { engine, ledger, clock } = this.#o;
    const { ticket } = delivery;
    const payload = payloadOf(ticket);
    const work = this.#workOf(admission, delivery);
    addPayload(work, payload);
    const bad = badItems(admission, work, ticket.items);
    const offer = admission.kind === 'admit' && bad.size === 0 ? engine.offer(work, ticket.items) : undefined;
    const lease =
      offer === undefined
        ? {}
        : { lease: { items: ticket.items, leaseEpoch: offer.leaseEpoch, pilot: offer.pilot.no } };
    const result = await ledger.submit({ kind: 'admit', ticket: work.ticket, payload, now: clock.now(), ...lease });
    if (result.kind !== 'admitted') {
      if (offer !== undefined) engine.withdraw(offer, work, offer.count);
      const message = `jti ${work.ticket.jti} was used for another ticket; give every ticket its own`;
      return this.#stateless(ticket, { code: 'E_REPLAY', step: 'ledger', message });
    }
    this.#recent.add(work.ticket.principal, work.ticket.jti, work.ticket.hash);
    mark(work, result, ticket.items);
    if (result.fresh.length > 0) this.#handOver(admission, work, result, bad, offer);
    if (result.ended.length > 0) await ledger.submit({ kind: 'packsAgain', ticketNos: [result.ticketNo] });
    return { kind: 'admitted' };
  }

  #handOver(
    admission: Standing,
    work: Work,
    result: Written,
    bad: ReadonlyMap<number, Refusal>,
    offer: Offer | undefined,
  ): void {
    const { engine } = this.#o;
    engine.keep(work);
    if (admission.kind === 'refuse') {
      engine.refuseAll(work, result.fresh, admission.refusal);
      return;
    }
    const leased = new Set(result.leased);
    if (offer !== undefined && leased.size < offer.count) engine.withdraw(offer, work, offer.count - leased.size);
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

  #workOf(admission: Standing, { chain, manifest, ticket }: Delivery): Work {
    const token = admission.ticket as TicketToken;
    const { principal } = admission.chain;
    const { jti, exp, fn } = token.claims;
    const id = ticketId(principal, jti);
    const open = this.#o.engine.find(id);
    if (open !== undefined) return open;
    return createWork({
      token,
      chain: admission.chain,
      manifest: admission.kind === 'admit' ? admission.manifest : openManifest(manifest, []),
      choice: admission.kind === 'admit' ? admission.choices[0] : undefined,
      ticket: {
        principal,
        jti,
        id,
        hash: token.hash,
        token: token.text,
        chain,
        manifestDigest: fn.manifest,
        manifest,
        n: token.typ === 'farfield-batch+jwt' ? token.claims.itm.n : 1,
        leaves: ticket.leaves,
        exp,
        keepUntil: exp + DEFAULT_RETENTION_S,
      },
    });
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

/** `decideLaunch`, remembered: for one ticket and one policy only `exp` and the pin's end depend on time. */
export function createLaunchCheck(policyOf: () => ResolvedPolicy, clock: Clock): (work: Work) => Refusal | undefined {
  const allowed = new WeakMap<Work, { policy: ResolvedPolicy; untilS: number }>();
  return (work) => {
    const policy = policyOf();
    const nowS = clock.now() / 1000;
    const known = allowed.get(work);
    if (known !== undefined && known.policy === policy && nowS < known.untilS) return undefined;
    const { token: ticket, chain, manifest, choice } = work;
    const refusal = decideLaunch({ ticket, chain, manifest, policy, nowS, choice });
    const pinnedUntilS = policy.authorities.pinned.get(chain.principal)?.untilS ?? 0;
    if (refusal === undefined) allowed.set(work, { policy, untilS: Math.min(pinnedUntilS, work.ticket.exp) });
    return refusal;
  };
}

type Written = Extract<LedgerResult, { kind: 'admitted' }>;

function isStanding(admission: Admission): admission is Standing {
  return (
    admission.kind !== 'refuse' ||
    (admission.chainValid && admission.ticket !== undefined && admission.chain !== undefined)
  );
}

/** Items against the ticket's list. A swapped or missing one refuses the delivery: the broker altered it. */
function checkItems(token: TicketToken, ticket: DeliveredTicket): void {
  if (token.typ === 'farfield-ticket+jwt') {
    if (ticket.items.length !== 1 || ticket.items[0] !== 0)
      throw new FarfieldError('E_ITEMS', 'a single ticket has item 0 alone');
    return;
  }
  checkLeaves(token.claims.itm, ticket.leaves);
  let at = 0;
  for (const [k, i] of ticket.items.entries()) {
    const size = ticket.itemSizes[k] ?? 0;
    checkItem(ticket.leaves, i, ticket.itemBytes.subarray(at, at + size));
    at += size;
  }
}

/** Items of a batch that the rule does not take; a single ticket's arguments were judged with it. */
function badItems(admission: Standing, work: Work, items: readonly number[]): Map<number, Refusal> {
  const bad = new Map<number, Refusal>();
  if (admission.kind !== 'admit' || work.token.typ !== 'farfield-batch+jwt') return bad;
  for (const i of items) {
    const payload = work.payloads.get(i);
    if (payload === undefined) continue;
    const refusal = itemRefusal(admission.manifest, admission.rule, readItem(payload.bytes), work.token.claims.out);
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
