/**
 * The order in which a ticket is verified, at the agent and (a part of it) at the broker. Pure: the ledger is a callback,
 * the clock a number, every refusal a value.
 *
 * Invariants
 *  A1 The steps run in the order of ADMISSION_STEPS; the first refusal is the answer.
 *  A2 A ticket that the ledger holds is answered from there, whatever changed since. So everything that can change (trust,
 *     times, revocation, rules) comes after the look-up; before it stand only facts about signed bytes.
 *  A3 `chainValid` is false as long as nobody whom the site trusts is known to have asked: such a refusal is answered
 *     stateless and writes no row, so that strangers cannot fill the ledger.
 *  A4 The same jti with another ticket is refused, stateless (the row belongs to the first), and is an alarm.
 */
import {
  argsRefusal,
  chainTimesRefusal,
  expiredRefusal,
  hoursInScope,
  judge,
  manifestRefusal,
  type Ticket,
  ticketTimesRefusal,
  trustRefusal,
} from './admission-steps.ts';
import type { Bytes } from './bytes.ts';
import {
  bindingRefusal,
  type Chain,
  chainTimeRefusal,
  type createChainCache,
  openChain,
  scopeRefusal,
} from './chain.ts';
import type { ErrorCode } from './errors.ts';
import { digestOf } from './ids.ts';
import { parseToken, type Token, verifyToken } from './jws.ts';
import { pathRefusal } from './policy/ceilings.ts';
import type { Choice } from './policy/match.ts';
import type { ResolvedPolicy, ResolvedRule } from './policy/resolve.ts';
import { type Refusal, refusal, tryStep } from './refusal.ts';
import type { CancelClaims, ItemBody, Subject } from './tokens/claims.ts';
import { type Manifest, openManifest } from './tokens/manifest.ts';

export type { Ticket } from './admission-steps.ts';
export type { Refusal } from './refusal.ts';

/** Each step, in order, with the codes that it refuses with. docs/security.md prints this table. */
export const ADMISSION_STEPS = {
  size: ['E_TOKEN_SIZE'],
  form: ['E_TOKEN_FORM', 'E_TOKEN_HEADER', 'E_TOKEN_TYP', 'E_TOKEN_CLAIMS', 'E_TOKEN_RESERVED'],
  chain: [
    'E_TOKEN_SIZE',
    'E_TOKEN_FORM',
    'E_TOKEN_HEADER',
    'E_TOKEN_TYP',
    'E_TOKEN_CLAIMS',
    'E_TOKEN_RESERVED',
    'E_TOKEN_SIGNATURE',
    'E_KEY_WEAK',
    'E_LIFE',
    'E_CHAIN',
  ],
  scope: ['E_CHAIN_SCOPE'],
  signature: ['E_TOKEN_SIGNATURE'],
  audience: ['E_AUDIENCE'],
  ledger: ['E_REPLAY'],
  trust: ['E_UNTRUSTED'],
  'chain-time': ['E_NOT_YET', 'E_CHAIN_EXPIRED', 'E_LIFE'],
  manifest: ['E_MANIFEST'],
  times: ['E_NOT_YET', 'E_EXPIRED', 'E_LIFE', 'E_LEDGER_EPOCH'],
  revocation: ['E_REVOKED'],
  match: ['E_POLICY'],
  ceilings: ['E_CEILING', 'E_CHAIN_SCOPE'],
  paths: ['E_PATH'],
} as const satisfies Record<string, readonly ErrorCode[]>;

type ChainCache = ReturnType<typeof createChainCache>;

/** A ticket and its chain, as they came. */
export interface SubmissionInput {
  /** The token's text, or what `parseToken` made of it. Its signature is checked either way. */
  readonly ticket: string | Ticket;
  readonly chain: readonly string[] | Chain;
  readonly chains?: ChainCache;
  readonly nowS: number;
}

export interface AdmissionInput extends SubmissionInput {
  /** General JWS, as delivered. */
  readonly manifest: Bytes | string;
  readonly manifests?: ManifestCache;
  readonly policy: ResolvedPolicy;
  readonly endpoint: string;
  readonly ledgerEpoch: { readonly n: number; readonly since: number };
  /** The admin took the risk of a ticket from before the ledger was lost. */
  readonly allowOlderEpoch?: boolean;
  /** The ledger's ticket of this principal and jti. */
  known(principal: string, jti: string): { readonly ticketHash: string } | undefined;
  /** Node-hours of the principal under this rule today, and of the delegation so far; 0 where nobody counts. */
  usedNodeHours?(rule: string, principal: string): number;
  usedByDelegation?(delegationHash: string): number;
}

/** The first refusal, and what is to be done about it. */
export interface Refused {
  readonly kind: 'refuse';
  readonly refusal: Refusal;
  /** False: answer stateless, with the ticket's hash alone (A3). True: commit the refusal; it is final. */
  readonly chainValid: boolean;
  readonly alarm: boolean;
  readonly ticket?: Ticket;
  readonly chain?: Chain;
}

/** Everything that the launch needs, read once from verified bytes. */
export interface Admitted {
  readonly kind: 'admit';
  readonly ticket: Ticket;
  readonly chain: Chain;
  readonly subject: Subject;
  /** Name of the pinned key. */
  readonly pin: string;
  readonly manifest: Manifest;
  readonly rule: ResolvedRule;
  /** Variant, image and runtime, as ticket, manifest and rule all allow; the agent takes the first that probes. */
  readonly choices: readonly Choice[];
}

/** The ledger holds this ticket. New items of a batch are under its first admission; each is checked by `itemRefusal`. */
export interface Known {
  readonly kind: 'known';
  readonly ticket: Ticket;
  readonly chain: Chain;
}

export type Admission = Admitted | Known | Refused;

/** The agent's decision on a delivered ticket. */
export function decideAdmission(input: AdmissionInput): Admission {
  const bytes = signedBytes(input);
  if (bytes.kind === 'refuse') return bytes;
  const { ticket, chain } = bytes;
  const no = (found: Refusal, chainValid: boolean, alarm = false): Refused => ({
    kind: 'refuse',
    refusal: found,
    chainValid,
    alarm,
    ticket,
    chain,
  });

  if (ticket.claims.aud !== input.endpoint) {
    return no(refusal('audience', 'E_AUDIENCE', `this ticket is for endpoint ${ticket.claims.aud}`), false);
  }
  const held = input.known(chain.principal, ticket.claims.jti);
  if (held !== undefined) {
    if (held.ticketHash === ticket.hash) return { kind: 'known', ticket, chain };
    return no(
      refusal('ledger', 'E_REPLAY', `jti ${ticket.claims.jti} was used for another ticket; give every ticket its own`),
      false,
      true,
    );
  }

  const { policy, nowS } = input;
  const untrusted =
    trustRefusal(policy, chain, nowS, ticket.claims.aud) ?? chainTimesRefusal(policy, chain, ticket, nowS);
  if (untrusted !== undefined) return no(untrusted, false);

  const opened = openTicketManifest(input, ticket, chain);
  if (!opened.ok) return no(opened.refusal, true);
  const manifest = opened.value;
  const late = ticketTimesRefusal(policy, ticket, nowS, input.allowOlderEpoch === true ? 0 : input.ledgerEpoch.since);
  if (late !== undefined) return no(late, true);
  const judged = judge(policy, ticket, chain, manifest, nowS, input);
  if ('code' in judged) return no(judged, true);
  const { pin, match } = judged;
  return {
    kind: 'admit',
    ticket,
    chain,
    subject: ticket.claims.sub,
    pin,
    manifest,
    rule: match.rule,
    choices: match.choices,
  };
}

export type Submission = { readonly kind: 'take'; readonly ticket: Ticket; readonly chain: Chain } | Refused;

/**
 * The broker's part: what anybody can check without the site's authorities. It protects the broker's disk and the user's
 * patience; the agent checks everything again and believes none of it.
 */
export function decideSubmission(input: SubmissionInput & { readonly toleranceS: number }): Submission {
  const bytes = signedBytes(input);
  if (bytes.kind === 'refuse') return bytes;
  const { ticket, chain } = bytes;
  const { iat, exp } = ticket.claims;
  const found =
    chainTimeRefusal(chain, ticket, input.nowS, input.toleranceS) ??
    (iat > input.nowS + input.toleranceS
      ? refusal('times', 'E_NOT_YET', 'the ticket is from the future; check this clock')
      : undefined) ??
    (exp + input.toleranceS < input.nowS
      ? refusal('times', 'E_EXPIRED', 'the ticket is past the time until which it might start')
      : undefined);
  return found === undefined
    ? { kind: 'take', ticket, chain }
    : { kind: 'refuse', refusal: found, chainValid: false, alarm: false, ticket, chain };
}

export interface CancelInput {
  readonly cancel: string;
  readonly chain: readonly string[] | Chain;
  readonly chains?: ChainCache;
  readonly nowS: number;
  readonly toleranceS: number;
  /** Undefined at the broker, which passes cancels on to every endpoint. */
  readonly endpoint?: string;
}

export type CancelDecision =
  | {
      readonly kind: 'cancel';
      readonly target: CancelClaims['target'];
      readonly token: Token<'farfield-cancel+jwt'>;
      readonly chain: Chain;
    }
  | { readonly kind: 'refuse'; readonly refusal: Refusal };

/** A cancel holds under the principal of its target. Trust is not asked: it can only end what the same principal began. */
export function decideCancel(input: CancelInput): CancelDecision {
  const no = (found: Refusal): CancelDecision => ({ kind: 'refuse', refusal: found });
  const parsed = parseStep(() => parseToken('farfield-cancel+jwt', input.cancel));
  if (!parsed.ok) return no(parsed.refusal);
  const opened = chainStep(input);
  if (!opened.ok) return no(opened.refusal);
  const [token, chain] = [parsed.value, opened.value];
  const bound = bindingRefusal(chain, token) ?? scopeRefusal(chain, token) ?? signatureRefusal(token, chain);
  if (bound !== undefined) return no(bound);
  const { aud, iat, exp, target } = token.claims;
  if (input.endpoint !== undefined && aud !== input.endpoint)
    return no(refusal('audience', 'E_AUDIENCE', `this cancel is for endpoint ${aud}`));
  const late = chainTimeRefusal(chain, token, input.nowS, input.toleranceS);
  if (late !== undefined) return no(late);
  if (iat > input.nowS + input.toleranceS)
    return no(refusal('times', 'E_NOT_YET', 'the cancel is from the future; check both clocks'));
  if (exp + input.toleranceS < input.nowS)
    return no(refusal('times', 'E_EXPIRED', 'the cancel is over; sign a new one'));
  return { kind: 'cancel', target, token, chain };
}

export interface LaunchInput {
  readonly ticket: Ticket;
  readonly chain: Chain;
  readonly manifest: Manifest;
  /** The policy in force now, which need not be that of the admission. */
  readonly policy: ResolvedPolicy;
  readonly nowS: number;
  /** What is about to start; must still be allowed. */
  readonly choice: Choice;
}

/**
 * Asked again just before a launch: `exp`, trust, revocation, rule and ceilings. The delegation's times are not: it was
 * judged once, at admission, so that work may wait in a scheduler's queue over a weekend.
 * For one ticket and one policy object only `exp` and the pin's end depend on time: the rest may be remembered by both.
 */
export function decideLaunch(input: LaunchInput): Refusal | undefined {
  const { ticket, chain, manifest, policy, nowS, choice } = input;
  if (ticket.claims.exp + policy.clockToleranceS < nowS) return expiredRefusal(ticket);
  const untrusted = trustRefusal(policy, chain, nowS, ticket.claims.aud);
  if (untrusted !== undefined) return untrusted;
  const judged = judge(policy, ticket, chain, manifest, nowS, {});
  if ('code' in judged) return judged;
  const { match } = judged;
  const same = match.choices.some(
    (c) => c.variant === choice.variant && c.runtime === choice.runtime && c.image === choice.image,
  );
  if (same) return undefined;
  return refusal(
    'match',
    'E_POLICY',
    `rule "${match.rule.name}" no longer allows variant ${choice.variant} in ${choice.runtime}`,
  );
}

/** One item of a batch against manifest and rule: what `decideAdmission` did for the arguments of a single ticket. */
export function itemRefusal(
  manifest: Manifest,
  rule: ResolvedRule,
  item: ItemBody,
  out: Ticket['claims']['out'],
): Refusal | undefined {
  const found = argsRefusal(manifest, item.args);
  if (found !== undefined) return found;
  const type = item.args.find((arg) => rule.args !== undefined && !rule.args.has(arg.type))?.type;
  if (type !== undefined) return refusal('match', 'E_POLICY', `rule "${rule.name}" does not take ${type} arguments`);
  return pathRefusal(rule, item.args, out);
}

// ---- steps, in order ----

/** The facts about signed bytes: size, form, chain, scope, signature. They never change, so they may stand before the ledger. */
function signedBytes(input: SubmissionInput): { kind: 'signed'; ticket: Ticket; chain: Chain } | Refused {
  const no = (found: Refusal, ticket?: Ticket): Refused => ({
    kind: 'refuse',
    refusal: found,
    chainValid: false,
    alarm: false,
    ...(ticket === undefined ? {} : { ticket }),
  });
  const given = input.ticket;
  const parsed = parseStep((): Ticket => (typeof given === 'string' ? parseTicket(given) : given));
  if (!parsed.ok) return no(parsed.refusal);
  const opened = chainStep(input);
  if (!opened.ok) return no(opened.refusal, parsed.value);
  const [ticket, chain] = [parsed.value, opened.value];
  const found =
    bindingRefusal(chain, ticket) ??
    scopeRefusal(chain, ticket) ??
    hoursInScope(chain, ticket) ??
    signatureRefusal(ticket, chain);
  return found === undefined ? { kind: 'signed', ticket, chain } : no(found, ticket);
}

function parseTicket(text: string): Ticket {
  // parseToken types the union of both as one token of either: the discriminant is its typ.
  return parseToken(['farfield-ticket+jwt', 'farfield-batch+jwt'], text) as Ticket;
}

/** A parsing step; over-size is a step of its own, since nothing was read yet. */
function parseStep<T>(run: () => T): ReturnType<typeof tryStep<T>> {
  const result = tryStep('form', run);
  if (result.ok || result.refusal.code !== 'E_TOKEN_SIZE') return result;
  return { ok: false, refusal: { ...result.refusal, step: 'size' } };
}

function chainStep(input: {
  readonly chain: readonly string[] | Chain;
  readonly chains?: ChainCache;
}): ReturnType<typeof tryStep<Chain>> {
  const { chain, chains } = input;
  return tryStep('chain', () => ('principal' in chain ? chain : (chains?.open(chain) ?? openChain(chain))));
}

/** By the session key that the chain leads to: the ticket's own kid chooses nothing. */
function signatureRefusal(token: Ticket | Token<'farfield-cancel+jwt'>, chain: Chain): Refusal | undefined {
  const result = tryStep('signature', () => verifyToken(token, chain.sessionKey));
  return result.ok ? undefined : result.refusal;
}

/** The manifest, with the keys that may count: every publisher's, and the session key for functions of its own. */
function openTicketManifest(input: AdmissionInput, ticket: Ticket, chain: Chain): ReturnType<typeof tryStep<Manifest>> {
  const keys = [...input.policy.authorities.publisherKeys, chain.sessionKey];
  const cache = input.manifests;
  const opened = tryStep('manifest', () =>
    cache === undefined ? openManifest(input.manifest, keys) : cache.open(input.manifest, input.policy, chain),
  );
  if (!opened.ok) return { ok: false, refusal: refusal('manifest', 'E_MANIFEST', opened.refusal.message) };
  const found = manifestRefusal(opened.value, ticket);
  return found === undefined ? opened : { ok: false, refusal: found };
}

/** A bounded memory of opened manifests, by exact text and the keys that were asked for. */
export interface ManifestCache {
  open(text: Bytes | string, policy: ResolvedPolicy, chain: Chain): Manifest;
}

/** A manifest comes with every delivery and costs 150 us a signature; most deliveries bring one of a few. */
export function createManifestCache(max: number): ManifestCache {
  const known = new Map<string, Manifest>();
  return {
    open(text, policy, chain) {
      // The session key belongs in the key: under `functions: {self: true}` it is one of those that may have signed.
      const key = `${digestOf(text)} ${policy.digest} ${chain.sessionKid}`;
      const hit = known.get(key);
      if (hit !== undefined) {
        known.delete(key);
        known.set(key, hit);
        return hit;
      }
      const manifest = openManifest(text, [...policy.authorities.publisherKeys, chain.sessionKey]);
      known.set(key, manifest);
      for (const oldest of known.keys()) {
        if (known.size <= max) break;
        known.delete(oldest);
      }
      return manifest;
    },
  };
}
