/**
 * The accepting side's check of a hello.
 *
 * The order is: form, audience and nonce (cheap, and they tell an honest mistake), then the signature, then the clock.
 * The nonce is fresh for each link, so a hello cannot be replayed; the audience is us, so it cannot be relayed.
 */
import { FarfieldError } from '#kernel/errors.ts';
import type { PublicJwk } from '#kernel/ids.ts';
import { parseToken, type Token, verifyToken } from '#kernel/jws.ts';
import { DEFAULT_CLOCK_TOLERANCE_S, HELLO_LIFE_S } from '#kernel/limits.ts';
import type { ProtocolRange } from './session.ts';

export interface HelloExpectation {
  readonly acceptor: string;
  readonly nonce: string;
  /** The range that stood beside the token, unsigned: it must be the signed one, or somebody lowered it. */
  readonly protocol: ProtocolRange;
  /** The key that this subject must have; throws a FarfieldError for a subject that is not known. */
  keyOf(subject: string, kid: string): PublicJwk | Promise<PublicJwk>;
  readonly nowMs: number;
  readonly toleranceS?: number;
}

export async function checkHello(text: string, expect: HelloExpectation): Promise<Token<'farfield-hello+jwt'>> {
  const token = parseToken('farfield-hello+jwt', text);
  const { claims } = token;
  if (claims.aud !== expect.acceptor)
    throw new FarfieldError('E_AUDIENCE', `this hello is for ${claims.aud}, not for ${expect.acceptor}`);
  if (claims.nonce !== expect.nonce)
    throw new FarfieldError('E_UNAUTHENTICATED', 'this hello answers another challenge');
  if (claims.protocol.min !== expect.protocol.min || claims.protocol.max !== expect.protocol.max) {
    throw new FarfieldError('E_UNAUTHENTICATED', 'the versions beside this hello are not those that it signs');
  }
  verifyToken(token, await expect.keyOf(claims.sub, token.kid));
  const nowS = expect.nowMs / 1000;
  const toleranceS = expect.toleranceS ?? DEFAULT_CLOCK_TOLERANCE_S;
  if (claims.iat > nowS + toleranceS)
    throw new FarfieldError('E_NOT_YET', 'this hello is from the future: compare the clocks of both sides');
  if (claims.exp < nowS - toleranceS || claims.exp - claims.iat > HELLO_LIFE_S) {
    throw new FarfieldError('E_EXPIRED', 'this hello is too old: compare the clocks of both sides');
  }
  return token;
}
