/**
 * Who asks: the signed request token of every request that is not itself a ticket.
 *
 * Invariants
 *  A1 A token is good for one method, URL, broker and body, for REQUEST_LIFE_S, once. There is no bearer secret.
 *  A2 The asker is a principal (by a delegation in `Farfield-Chain`, or by its own long-term key), or an endpoint (by the
 *     online key that its root named). Nobody else.
 *  A3 What is the asker's to see is decided by the routes; a digest or an id is no capability.
 *
 * The chain travels with each request and is opened once (cache by its text): 3 us then, and no state to agree about.
 */
import type { Clock } from '#base/clock.ts';
import type { createChainCache } from '#kernel/chain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { PublicJwk } from '#kernel/ids.ts';
import { parseToken, verifyToken } from '#kernel/jws.ts';
import { DEFAULT_CLOCK_TOLERANCE_S, REQUEST_LIFE_S } from '#kernel/limits.ts';
import type { Directory } from '../directory.ts';
import { MAX_SEEN_REQUESTS } from '../limits.ts';

export type Asker =
  | { readonly kind: 'principal'; readonly principal: string }
  | { readonly kind: 'endpoint'; readonly endpoint: string }
  /** A long-term key that is no user yet: it may only redeem an invitation. */
  | { readonly kind: 'stranger'; readonly kid: string };

export interface AskedRequest {
  readonly method: string;
  /** Path and query, as sent. */
  readonly url: string;
  readonly authorization: string | undefined;
  readonly chain: string | undefined;
  /** Digest of the body; undefined when there is none, or when the URL itself names it (blobs). */
  readonly bodyDigest: string | undefined;
  /** Key of a stranger, from the body of its first request. */
  readonly ownJwk?: PublicJwk;
}

export interface AuthoriserOptions {
  readonly brokerId: string;
  readonly directory: Directory;
  readonly chains: ReturnType<typeof createChainCache>;
  readonly clock: Clock;
}

export type Authoriser = (request: AskedRequest) => Asker;

const no = (message: string): FarfieldError => new FarfieldError('E_UNAUTHENTICATED', message);

export function createAuthoriser(options: AuthoriserOptions): Authoriser {
  const seen = createSeen(options.clock);
  return (request) => {
    const text = /^Farfield (\S+)$/.exec(request.authorization ?? '')?.[1];
    if (text === undefined) throw no('this request needs `Authorization: Farfield TOKEN`, signed by your session key');
    const token = parseToken('farfield-request+jwt', text);
    const { jwk, asker } = keyOf(options, request, token.kid);
    verifyToken(token, jwk);
    const { claims } = token;
    const nowS = options.clock.now() / 1000;
    if (claims.aud !== options.brokerId)
      throw no(`this request is for broker ${claims.aud}; this one is ${options.brokerId}`);
    if (claims.method !== request.method || claims.url !== request.url)
      throw no('this request token was signed for another method or URL');
    if (claims.body !== request.bodyDigest) throw no('the body is not the one that the request token signs');
    if (claims.exp - claims.iat > REQUEST_LIFE_S) throw no(`a request token lives at most ${REQUEST_LIFE_S} s`);
    if (claims.iat > nowS + DEFAULT_CLOCK_TOLERANCE_S) throw no('this request begins in the future; check both clocks');
    if (claims.exp + DEFAULT_CLOCK_TOLERANCE_S < nowS) throw no('this request token is over; check both clocks');
    seen.note(`${token.kid} ${claims.jti}`, claims.exp + DEFAULT_CLOCK_TOLERANCE_S);
    return asker;
  };
}

function keyOf(
  { directory, chains, clock }: AuthoriserOptions,
  request: AskedRequest,
  kid: string,
): { jwk: PublicJwk; asker: Asker } {
  if (request.chain !== undefined) {
    const chain = chains.open(request.chain.split(',').map((link) => link.trim()));
    const { iat, exp } = chain.delegation.claims;
    const nowS = clock.now() / 1000;
    if (chain.sessionKid !== kid)
      throw no('the delegation names another session key than the one that signed this request');
    if (exp + DEFAULT_CLOCK_TOLERANCE_S < nowS)
      throw new FarfieldError('E_CHAIN_EXPIRED', 'the session is over; log in again');
    if (iat > nowS + DEFAULT_CLOCK_TOLERANCE_S)
      throw new FarfieldError('E_NOT_YET', 'the delegation begins in the future; check both clocks');
    if (directory.user(chain.principal) === undefined) throw unknownUser(chain.principal);
    return { jwk: chain.sessionKey, asker: { kind: 'principal', principal: chain.principal } };
  }
  const user = directory.user(kid);
  if (user !== undefined) return { jwk: user, asker: { kind: 'principal', principal: kid } };
  const endpoint = directory.endpointByKid(kid);
  if (endpoint !== undefined) return { jwk: endpoint.online, asker: { kind: 'endpoint', endpoint: endpoint.id } };
  if (request.ownJwk !== undefined) return { jwk: request.ownJwk, asker: { kind: 'stranger', kid } };
  throw unknownUser(kid);
}

function unknownUser(kid: string): FarfieldError {
  return new FarfieldError('E_FORBIDDEN', `this broker does not know key ${kid}; ask its operator for an invitation`);
}

/** Tokens seen, until they are over by themselves. */
function createSeen(clock: Clock): { note(key: string, untilS: number): void } {
  const until = new Map<string, number>();
  return {
    note(key, untilS) {
      const nowS = clock.now() / 1000;
      if ((until.get(key) ?? 0) >= nowS) throw no('this request token was used before; sign a new one');
      // In order of arrival, hence nearly in order of end: the front is enough to look at.
      for (const [oldest, end] of until) {
        if (end >= nowS) break;
        until.delete(oldest);
      }
      if (until.size >= MAX_SEEN_REQUESTS) {
        throw new FarfieldError('E_BUSY', 'too many signed requests within a minute; try again soon', {
          retryAfterS: 5,
        });
      }
      until.set(key, untilS);
    },
  };
}
