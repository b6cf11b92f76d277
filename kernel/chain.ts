/**
 * From a session key to a principal: a delegation, and later a credential, beside every ticket.
 *
 * Invariants
 *  H1 `openChain` is pure: signatures and consistency. Whether the principal is trusted, and whether it is still time, is
 *     asked on every call elsewhere (`chainRefusal`, kernel/admission.ts), so a cached chain never outlives its right.
 *  H2 The ticket names its delegation by hash (`dlg`). Without that anybody could delegate to somebody else's session key
 *     and so change in whose name its tickets speak.
 *  H3 One key, one role: a session key is never its own principal.
 */
import { FarfieldError } from './errors.ts';
import { compileGlobs } from './globs.ts';
import { digestOf, type PublicJwk, thumbprint } from './ids.ts';
import { parseToken, type Token, verifyToken } from './jws.ts';
import { MAX_CHAIN_LINKS, MAX_SESSION_S, MAX_TOKEN_BYTES } from './limits.ts';
import { type Refusal, refusal } from './refusal.ts';
import { assertStrongKey } from './sign.ts';

/** A delegation whose signature holds, and what it leads to. The credential's signature needs the issuer's key: not here. */
export interface Chain {
  /** Thumbprint of the long-term key. */
  readonly principal: string;
  readonly sessionKey: PublicJwk;
  /** Thumbprint of the session key. */
  readonly sessionKid: string;
  readonly delegation: Token<'farfield-delegation+jwt'>;
  readonly credential?: Token<'farfield-credential+jwt'>;
  /** Of the links' signing inputs: the same for every spelling of the signatures. */
  readonly digest: string;
  /** Whether the delegation's scope takes a function of this name. */
  readonly allowsFunction: (name: string) => boolean;
}

/** Opens a chain; throws a FarfieldError where a link is damaged, or does not lead on. */
export function openChain(links: readonly string[]): Chain {
  const [first, second] = links;
  if (first === undefined || links.length > MAX_CHAIN_LINKS) {
    throw new FarfieldError('E_TOKEN_SIZE', `a chain has 1 to ${MAX_CHAIN_LINKS} links, not ${links.length}`);
  }
  if (links.length > 2)
    throw new FarfieldError('E_TOKEN_RESERVED', 'a chain is a delegation and at most one credential in this version');
  const delegation = openDelegation(first);
  const { claims } = delegation;
  const credential = second === undefined ? undefined : openCredential(second, delegation);
  const digest = digestOf(`farfield/chain/v1\0${delegation.hash}\0${credential?.hash ?? ''}`);
  return {
    principal: claims.iss,
    sessionKey: claims.cnf,
    sessionKid: thumbprint(claims.cnf),
    delegation,
    ...(credential === undefined ? {} : { credential }),
    digest,
    allowsFunction: claims.scope.functions === undefined ? () => true : compileGlobs(claims.scope.functions),
  };
}

function openDelegation(text: string): Token<'farfield-delegation+jwt'> {
  const delegation = parseToken('farfield-delegation+jwt', text);
  const { claims } = delegation;
  verifyToken(delegation, claims.jwk);
  assertStrongKey(claims.cnf);
  if (claims.cnf.x === claims.jwk.x)
    throw new FarfieldError('E_CHAIN', 'a key cannot delegate to itself; make a session key');
  if (claims.exp <= claims.iat || claims.adm < claims.exp) {
    throw new FarfieldError('E_CHAIN', 'the times of this delegation are out of order (iat < exp <= adm)');
  }
  if (claims.use === 'session' && claims.exp - claims.iat > MAX_SESSION_S) {
    throw new FarfieldError(
      'E_LIFE',
      `a session key signs for at most ${MAX_SESSION_S / 3600} h; log in again, or delegate to a robot`,
    );
  }
  if (claims.adm > claims.exp && claims.scope.endpoints?.length !== 1) {
    throw new FarfieldError('E_CHAIN', 'a delegation that waits (--queue-for) must name exactly one endpoint');
  }
  return delegation;
}

function openCredential(text: string, delegation: Token<'farfield-delegation+jwt'>): Token<'farfield-credential+jwt'> {
  const credential = parseToken('farfield-credential+jwt', text);
  const { claims } = credential;
  if (claims.cnf.jkt !== delegation.claims.iss)
    throw new FarfieldError('E_CHAIN', 'the credential is of another key than the delegation');
  if (claims.sub.iss !== delegation.claims.sub.iss || claims.sub.id !== delegation.claims.sub.id) {
    throw new FarfieldError('E_CHAIN', 'the credential is of another person than the delegation');
  }
  return credential;
}

/** A bounded memory of opened chains, by their exact text: a signature costs 140 us, a look-up 2. */
export function createChainCache(max: number): { open(links: readonly string[]): Chain } {
  const known = new Map<string, Chain>();
  return {
    open(links) {
      // By the whole text: a link with a broken signature must not be answered by the good one of the same claims.
      if (links.some((link) => link.length > MAX_TOKEN_BYTES)) return openChain(links);
      const key = links.join('\n');
      const hit = known.get(key);
      if (hit !== undefined) {
        known.delete(key);
        known.set(key, hit);
        return hit;
      }
      const chain = openChain(links);
      known.set(key, chain);
      for (const oldest of known.keys()) {
        if (known.size <= max) break;
        known.delete(oldest);
      }
      return chain;
    },
  };
}

/** Tokens that a session key signs under a delegation. */
export type Signed =
  | Token<'farfield-ticket+jwt'>
  | Token<'farfield-batch+jwt'>
  | Token<'farfield-cancel+jwt'>
  | Token<'farfield-access+jwt'>;

/**
 * Why this chain does not carry this token, or undefined: binding first (who signed, under which delegation, as whom), then
 * scope, then times on this clock. The caller verifies the token's signature with `chain.sessionKey`.
 */
export function chainRefusal(chain: Chain, token: Signed, nowS: number, toleranceS: number): Refusal | undefined {
  return bindingRefusal(chain, token) ?? scopeRefusal(chain, token) ?? chainTimeRefusal(chain, token, nowS, toleranceS);
}

/** The part of `chainRefusal` that never changes: the token is by this session key, under this delegation, as this person. */
export function bindingRefusal(chain: Chain, token: Signed): Refusal | undefined {
  const { claims } = token;
  const no = (message: string): Refusal => refusal('chain', 'E_CHAIN', message);
  if (claims.iss !== chain.sessionKid) return no('the ticket is signed by another key than the delegation names');
  if (claims.dlg !== chain.delegation.hash) return no('the ticket was signed under another delegation');
  if ('sub' in claims) {
    const { sub } = chain.delegation.claims;
    if (claims.sub.iss !== sub.iss || claims.sub.id !== sub.id)
      return no('the ticket and its delegation name different people');
    // A group is an issuer's word. Without a credential nobody vouches for one, and a rule could be read as if somebody had.
    if ('grp' in claims && claims.grp !== undefined && chain.credential?.claims.grp.includes(claims.grp) !== true)
      return no(`no credential says that the signer is in group ${claims.grp}`);
  } else if (claims.target.principal !== chain.principal) {
    return refusal('chain', 'E_FORBIDDEN', 'a cancel is valid only under the principal that it cancels for');
  }
  return undefined;
}

/** What the delegation allows: endpoints and functions. Node-hours need the ledger (kernel/admission.ts). */
export function scopeRefusal(chain: Chain, token: Signed): Refusal | undefined {
  const { scope } = chain.delegation.claims;
  const { claims } = token;
  if (scope.endpoints !== undefined && !scope.endpoints.includes(claims.aud)) {
    return refusal('scope', 'E_CHAIN_SCOPE', `the delegation does not name endpoint ${claims.aud}; log in for it`);
  }
  if ('fn' in claims && !chain.allowsFunction(claims.fn.name)) {
    return refusal('scope', 'E_CHAIN_SCOPE', `the delegation does not name function ${claims.fn.name}; log in for it`);
  }
  return undefined;
}

/** The delegation on this clock: begun, not past `adm`, and the token issued inside it. */
export function chainTimeRefusal(chain: Chain, token: Signed, nowS: number, toleranceS: number): Refusal | undefined {
  const { iat, exp, adm } = chain.delegation.claims;
  if (iat > nowS + toleranceS)
    return refusal('chain-time', 'E_NOT_YET', 'the delegation begins in the future; check both clocks');
  if (adm + toleranceS < nowS) {
    return refusal(
      'chain-time',
      'E_CHAIN_EXPIRED',
      'the delegation is over; log in again (with --queue-for if the endpoint is often offline)',
    );
  }
  if (token.claims.iat < iat - toleranceS || token.claims.iat > exp + toleranceS) {
    return refusal(
      'chain-time',
      'E_CHAIN_EXPIRED',
      'the ticket was not issued while its delegation could sign; log in again',
    );
  }
  return undefined;
}
