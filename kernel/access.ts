/**
 * A request for access: whether it is what its asker signed, for this endpoint, now. Nothing here grants anything.
 *
 * Invariants
 *  Q1 The asker need not be known: the chain proves who asks by key, and the name in it is a claim.
 *  Q2 A token lives for minutes, and only while its delegation may sign: a request is no work that waits in a queue.
 */
import {
  bindingRefusal,
  type Chain,
  chainTimeRefusal,
  type createChainCache,
  openChain,
  scopeRefusal,
} from './chain.ts';
import { FarfieldError } from './errors.ts';
import { digestOf } from './ids.ts';
import { parseToken, type Token, verifyToken } from './jws.ts';
import { ACCESS_LIFE_S } from './limits.ts';
import { type Refusal, refusal } from './refusal.ts';

/**
 * `req` of an answer that nobody asked for just now: the endpoint tells what it decided. It is the hash of no token, so that such
 * a notice never passes as the answer to a request, nor an answer as a notice.
 */
export const ACCESS_NOTICE = digestOf('farfield/access-notice/v1');

export type AccessToken = Token<'farfield-access+jwt'>;

export interface AccessInput {
  readonly token: string;
  readonly chain: readonly string[];
  readonly chains?: ReturnType<typeof createChainCache>;
  readonly endpoint: string;
  readonly nowS: number;
  readonly toleranceS: number;
}

export type AccessDecision =
  | { readonly kind: 'ask'; readonly token: AccessToken; readonly chain: Chain }
  | { readonly kind: 'refuse'; readonly refusal: Refusal };

/** Broker and agent ask the same: the one to spare the other, the other because it believes nothing. */
export function decideAccess(input: AccessInput): AccessDecision {
  try {
    const token = parseToken('farfield-access+jwt', input.token);
    const chain = input.chains?.open(input.chain) ?? openChain(input.chain);
    verifyToken(token, chain.sessionKey);
    const found =
      bindingRefusal(chain, token) ??
      scopeRefusal(chain, token) ??
      (token.claims.aud === input.endpoint
        ? undefined
        : refusal('audience', 'E_AUDIENCE', `this request is for endpoint ${token.claims.aud}`)) ??
      chainTimeRefusal(chain, token, input.nowS, input.toleranceS) ??
      timeRefusal(chain, token, input);
    return found === undefined ? { kind: 'ask', token, chain } : { kind: 'refuse', refusal: found };
  } catch (reason) {
    const { code, message } = FarfieldError.from(reason);
    if (code === 'E_INTERNAL') throw reason;
    return { kind: 'refuse', refusal: refusal('signature', code, message) };
  }
}

function timeRefusal(chain: Chain, token: AccessToken, { nowS, toleranceS }: AccessInput): Refusal | undefined {
  const { iat, exp } = token.claims;
  // Q2: `adm` is for work that waits; whoever asks now must be able to sign now.
  if (chain.delegation.claims.exp + toleranceS < nowS)
    return refusal('chain-time', 'E_CHAIN_EXPIRED', 'the session is over; log in again');
  if (iat > nowS + toleranceS)
    return refusal('times', 'E_NOT_YET', 'the request is from the future; check both clocks');
  if (exp <= iat || exp - iat > ACCESS_LIFE_S)
    return refusal('times', 'E_LIFE', `a request for access lives at most ${ACCESS_LIFE_S} s`);
  if (exp + toleranceS < nowS) return refusal('times', 'E_EXPIRED', 'this request is over; sign a new one');
  return undefined;
}
