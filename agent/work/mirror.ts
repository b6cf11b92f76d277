/**
 * Open tickets in memory: the ledger's columns, and the arguments while they are needed.
 *
 * Invariants
 *  M1 The mirror is changed after the commit that it mirrors; it is a cache, the ledger is the truth.
 *  M2 `ending` marks items whose outcome is on its way to the ledger, so that a repeated message cannot end them twice.
 */

import { matchSubject } from '#kernel/admission-steps.ts';
import { utf8 } from '#kernel/bytes.ts';
import { type Chain, openChain } from '#kernel/chain.ts';
import { parseToken, type Token } from '#kernel/jws.ts';
import { type Choice, type Match, matchRule } from '#kernel/policy/match.ts';
import type { ResolvedPolicy, ResolvedRule } from '#kernel/policy/resolve.ts';
import type { ItemBody } from '#kernel/tokens/claims.ts';
import { type Manifest, openManifest } from '#kernel/tokens/manifest.ts';
import { ITEM } from '../admission/item-state.ts';
import type { NewTicket, OpenTicket, Payload } from '../admission/ledger.ts';
import type { Limit } from './gates.ts';

export type TicketToken = Token<'farfield-ticket+jwt'> | Token<'farfield-batch+jwt'>;

/** Item keys on the pilot link: ticketNo * 4096 + i stays below 2^53 for 2^41 tickets. */
export const KEYS_A_TICKET = 4096;

export function itemKey(ticketNo: number, i: number): number {
  return ticketNo * KEYS_A_TICKET + i;
}

export function splitKey(key: number): { readonly ticketNo: number; readonly i: number } {
  return { ticketNo: Math.floor(key / KEYS_A_TICKET), i: key % KEYS_A_TICKET };
}

/** What a pilot needs of one item: the exact bytes that were signed, and its inline arguments. */
export interface ItemPayload {
  readonly bytes: Uint8Array;
  readonly inline: readonly Uint8Array[];
  /** Some argument is a blob or lies at the endpoint. */
  readonly needsFiles: boolean;
}

export interface Work {
  /** 0 until the first commit. */
  no: number;
  readonly ticket: NewTicket;
  readonly token: TicketToken;
  readonly manifest: Manifest;
  /** How it is run: variant, image and runtime, as chosen at admission. */
  readonly choice: Choice;
  readonly chain: Chain;
  /** Ceilings on how many of its items run at once. */
  readonly limits: readonly Limit[];
  readonly states: Uint8Array;
  readonly starts: Uint8Array;
  readonly failures: Uint8Array;
  readonly cancels: Uint8Array;
  readonly leaseEpochs: Uint32Array;
  readonly pilots: Uint32Array;
  /** One where the outcome is being committed. */
  readonly ending: Uint8Array;
  /** When the leases of items began whose node-hours are counted. */
  readonly leasedAt: Map<number, number>;
  /** Item -> what it runs on; dropped with the ticket. */
  readonly payloads: Map<number, ItemPayload>;
  /** The last reason why an item had to start again: its message is the answer if it may not. */
  readonly lastFailure: Map<number, { readonly code: string; readonly message: string }>;
  open: number;
}

export interface WorkFacts {
  readonly ticket: NewTicket;
  readonly token: TicketToken;
  readonly manifest: Manifest;
  readonly chain: Chain;
  /** Left out for a ticket that is not going to run: then the manifest's first. */
  readonly choice?: Choice | undefined;
  /** The rule that takes it. */
  readonly rule?: ResolvedRule | undefined;
}

export function createWork(facts: WorkFacts): Work {
  const { ticket, token, manifest, chain } = facts;
  const { n } = ticket;
  return {
    no: 0,
    ticket,
    token,
    manifest,
    chain,
    choice: facts.choice ?? firstChoice(manifest),
    limits: limitsOf(facts),
    states: new Uint8Array(n),
    starts: new Uint8Array(n),
    failures: new Uint8Array(n),
    cancels: new Uint8Array(n),
    leaseEpochs: new Uint32Array(n),
    pilots: new Uint32Array(n),
    ending: new Uint8Array(n),
    leasedAt: new Map(),
    payloads: new Map(),
    lastFailure: new Map(),
    open: 0,
  };
}

function limitsOf({ rule, ticket, token }: WorkFacts): Limit[] {
  const limits: Limit[] = [];
  const most = rule?.ceilings.concurrent ?? Number.POSITIVE_INFINITY;
  if (rule !== undefined && Number.isFinite(most)) {
    limits.push({ name: JSON.stringify([rule.name, ticket.principal]), most });
  }
  const own = token.typ === 'farfield-batch+jwt' ? token.claims.max?.concurrent : undefined;
  if (own !== undefined) limits.push({ name: ticket.id, most: own });
  return limits;
}

/**
 * A ticket as a restart finds it: its chain and signature were verified before it was written. How it is run is chosen
 * again by the policy of now; where that takes it no more, the launch check says so.
 */
export function restoreWork(open: OpenTicket, policy: ResolvedPolicy): Work {
  const token = parseToken(['farfield-ticket+jwt', 'farfield-batch+jwt'], open.ticket.token) as TicketToken;
  const { ticket } = open;
  const chain = openChain(ticket.chain);
  const manifest = openManifest(ticket.manifest, [...policy.authorities.publisherKeys, chain.sessionKey]);
  const match = matchOf(policy, token, chain, manifest);
  const work = createWork({ ticket, token, manifest, chain, choice: match?.choices[0], rule: match?.rule });
  work.no = open.ticketNo;
  work.states.set(open.states);
  work.starts.set(open.starts);
  work.failures.set(open.failures);
  work.cancels.set(open.cancels);
  work.leaseEpochs.set(words(open.leaseEpochs));
  work.pilots.set(words(open.pilots));
  for (const payload of open.payloads) addPayload(work, payload);
  for (const state of work.states) if (state === ITEM.waiting || state === ITEM.leased) work.open += 1;
  return work;
}

/** The rule that takes a ticket now, whatever its times: for tickets that were admitted before. */
export function matchOf(
  policy: ResolvedPolicy,
  token: TicketToken,
  chain: Chain,
  manifest: Manifest,
): Match | undefined {
  const pin = policy.authorities.pinned.get(chain.principal);
  return pin === undefined ? undefined : matchRule(policy, matchSubject(pin.name, token, chain, manifest));
}

function words(bytes: Uint8Array): Uint32Array {
  const copy = bytes.slice();
  return new Uint32Array(copy.buffer, copy.byteOffset, copy.byteLength / 4);
}

function firstChoice(manifest: Manifest): Choice {
  const [variant] = manifest.claims.variants;
  return { variant: variant?.name ?? '', image: variant?.image, runtime: variant?.runtimes[0] ?? '' };
}

/**
 * Cuts a delivery into items. A single ticket's item bytes are made from its claims: pilots read one form.
 * `bodies`, in the order of the payload, where the caller has read them already.
 */
export function addPayload(work: Work, payload: Payload, bodies?: readonly ItemBody[]): void {
  let itemAt = 0;
  let inlineAt = 0;
  let inlineIndex = 0;
  for (const [k, i] of payload.items.entries()) {
    const size = payload.itemSizes[k] ?? 0;
    const bytes =
      work.token.typ === 'farfield-ticket+jwt'
        ? singleItem(work.token)
        : payload.itemBytes.subarray(itemAt, itemAt + size);
    itemAt += size;
    const inline: Uint8Array[] = [];
    const { args } = bodies?.[k] ?? readItem(bytes);
    for (const arg of args) {
      if (arg.at !== 'inline') continue;
      const length = payload.inlineSizes[inlineIndex++] ?? 0;
      inline.push(payload.inline.subarray(inlineAt, inlineAt + length));
      inlineAt += length;
    }
    if (!work.payloads.has(i)) work.payloads.set(i, { bytes, inline, needsFiles: inline.length < args.length });
  }
}

function singleItem(token: Token<'farfield-ticket+jwt'>): Uint8Array {
  const { args, run } = token.claims;
  const body: ItemBody = { args, ...(run.seed === undefined ? {} : { seed: run.seed }) };
  return utf8(JSON.stringify(body));
}

export function readItem(bytes: Uint8Array): ItemBody {
  return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()) as ItemBody;
}

export function isOpen(work: Work, i: number): boolean {
  const state = work.states[i];
  return (state === ITEM.waiting || state === ITEM.leased) && work.ending[i] === 0;
}
