/**
 * What an endpoint says of itself: its descriptor, by the offline root key, and its hot facts, by the online key.
 *
 * Invariants
 *  D1 The endpoint's id is the thumbprint of its root key, so `aud` certifies itself: no directory is believed.
 *  D2 `seq` never falls for a reader that remembers: an old descriptor would bring an old online key back.
 *  D3 One key, one role: the root is never an online key.
 */
import { FarfieldError } from './errors.ts';
import { openToken, parseToken, type Token, verifyToken } from './jws.ts';
import { DEFAULT_CLOCK_TOLERANCE_S, MAX_ONLINE_KEY_S } from './limits.ts';
import { assertStrongKey } from './sign.ts';

export interface DescriptorOptions {
  /** The id that the reader means; leave it out only where the id is learnt from the descriptor. */
  readonly endpoint?: string;
  readonly nowS: number;
  /** The highest `seq` seen so far. */
  readonly minSeq?: number;
  readonly toleranceS?: number;
}

/** A descriptor that holds now; throws otherwise. */
export function openDescriptor(text: string, options: DescriptorOptions): Token<'farfield-endpoint+jwt'> {
  const token = readDescriptor(text, options.endpoint);
  const { claims } = token;
  const tolerance = options.toleranceS ?? DEFAULT_CLOCK_TOLERANCE_S;
  if (claims.iat > options.nowS + tolerance) {
    throw new FarfieldError('E_NOT_YET', `the descriptor of ${claims.iss} begins in the future; check both clocks`);
  }
  if (claims.exp + tolerance < options.nowS) {
    throw new FarfieldError(
      'E_EXPIRED',
      `the online key of endpoint ${claims.iss} is over; its admin renews it with the root key`,
    );
  }
  if (claims.seq < (options.minSeq ?? 0)) {
    throw new FarfieldError(
      'E_CONFLICT',
      `descriptor ${claims.seq} of ${claims.iss} is older than ${options.minSeq}, which was seen before`,
    );
  }
  return token;
}

/** A descriptor whose signature holds, whatever the time: old online keys keep old receipts checkable. */
export function readDescriptor(text: string, endpoint?: string): Token<'farfield-endpoint+jwt'> {
  const token = parseToken('farfield-endpoint+jwt', text);
  const { claims } = token;
  // `iss` is the thumbprint of `jwk` (verifyToken compares it with the header's kid, which parseToken compared with `iss`).
  verifyToken(token, claims.jwk);
  if (endpoint !== undefined && claims.iss !== endpoint) {
    throw new FarfieldError('E_AUDIENCE', `this descriptor is of endpoint ${claims.iss}, not ${endpoint}`);
  }
  assertStrongKey(claims.sign);
  if (claims.sign.x === claims.jwk.x)
    throw new FarfieldError('E_TOKEN_CLAIMS', 'an endpoint must not sign online with its root key');
  if (claims.exp <= claims.iat || claims.exp - claims.iat > MAX_ONLINE_KEY_S) {
    throw new FarfieldError('E_LIFE', `an online key lives at most ${MAX_ONLINE_KEY_S / 86400} days`);
  }
  return token;
}

/** The hot facts of the endpoint of this descriptor. */
export function openStatus(text: string, descriptor: Token<'farfield-endpoint+jwt'>): Token<'farfield-status+jwt'> {
  const token = openToken('farfield-status+jwt', text, descriptor.claims.sign);
  if (token.claims.endpoint !== descriptor.claims.iss) {
    throw new FarfieldError(
      'E_AUDIENCE',
      `this status is of endpoint ${token.claims.endpoint}, not ${descriptor.claims.iss}`,
    );
  }
  return token;
}
