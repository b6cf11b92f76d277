/**
 * Ed25519 signing and verifying with node:crypto: jose does the same at twice the cost, and is the oracle of the tests.
 * Nothing here needs a schema, so that a pilot can sign its hello without loading TypeBox (200 ms, 20 MB).
 *
 * Invariants
 *  S1 A public key is canonical and not of small order: under such a key one signature holds for every message.
 *  S2 The signing input is exactly `base64url(header).base64url(payload)`; its SHA-256 names the token, never the
 *     signature, whose text can be changed without breaking it.
 */
import { createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { type Bytes, fromBase64Url, sha256Hex, toBase64Url, utf8 } from './bytes.ts';
import { FarfieldError } from './errors.ts';
import { type PublicJwk, publicJwk, thumbprint } from './ids.ts';
import { MAX_RECEIPT_TOKEN_BYTES, MAX_TOKEN_BYTES } from './limits.ts';
import type { Claims, TokenType } from './tokens/claims.ts';

/** Something that signs with one Ed25519 key. The key itself stays behind it. */
export interface Signer {
  readonly kid: string;
  readonly jwk: PublicJwk;
  sign(input: string | Bytes): Bytes;
}

/** A signer over a private Ed25519 key. */
export function signerFrom(key: KeyObject): Signer {
  if (key.type !== 'private' || key.asymmetricKeyType !== 'ed25519') throw new TypeError('not a private Ed25519 key');
  const jwk = publicJwk(key);
  return {
    kid: thumbprint(jwk),
    jwk,
    sign: (input) => sign(null, typeof input === 'string' ? Buffer.from(input, 'utf8') : input, key),
  };
}

/** A new private Ed25519 key. Ids are typed on command lines, where a leading dash reads as an option: one in 64 is drawn again. */
export function generateKey(): KeyObject {
  for (;;) {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    if (!thumbprint(publicJwk(publicKey)).startsWith('-')) return privateKey;
  }
}

/** The longest text of a token of this type: only a receipt lists what a whole commit measured. */
export function maxTokenBytes(typ: TokenType): number {
  return typ === 'farfield-receipts+jwt' ? MAX_RECEIPT_TOKEN_BYTES : MAX_TOKEN_BYTES;
}

/** Signs `claims` as a compact JWS. Fails if the text is over the limit that every reader holds. */
export function signToken<K extends TokenType>(typ: K, claims: Claims<K>, signer: Signer): string {
  const header = toBase64Url(utf8(JSON.stringify({ alg: 'Ed25519', typ, kid: signer.kid })));
  const input = `${header}.${toBase64Url(utf8(JSON.stringify(claims)))}`;
  const text = `${input}.${toBase64Url(signer.sign(input))}`;
  if (text.length > maxTokenBytes(typ)) {
    throw new FarfieldError(
      'E_TOKEN_SIZE',
      `a ${typ} of ${text.length} bytes is over ${maxTokenBytes(typ)}; name large things by digest`,
    );
  }
  return text;
}

/** `sha256:` of the signing input: the name and hash of a token. */
export function tokenHash(text: string): string {
  return `sha256:${sha256Hex(text.slice(0, text.lastIndexOf('.')))}`;
}

/** An imported public key and its thumbprint. */
export interface PublicKey {
  readonly kid: string;
  readonly key: KeyObject;
}

/** Imports of a JWK cost 55 us and checks of one 3 us: enough for the live session keys of a busy broker. */
const MAX_CACHED_KEYS = 1024;
const cachedKeys = new Map<string, PublicKey>();

/** The key object of a JWK, checked (S1); kept for the next use, the oldest forgotten first. */
export function importPublicKey(jwk: PublicJwk): PublicKey {
  const known = cachedKeys.get(jwk.x);
  if (known !== undefined) {
    // Last in the map is last used: a flood of new keys pushes itself out before it reaches the busy ones.
    cachedKeys.delete(jwk.x);
    cachedKeys.set(jwk.x, known);
    return known;
  }
  assertStrongKey(jwk);
  const fresh: PublicKey = { kid: thumbprint(jwk), key: createPublicKey({ key: { ...jwk }, format: 'jwk' }) };
  cachedKeys.set(jwk.x, fresh);
  if (cachedKeys.size > MAX_CACHED_KEYS) {
    for (const oldest of cachedKeys.keys()) {
      cachedKeys.delete(oldest);
      break;
    }
  }
  return fresh;
}

/** True if `signature` is that of `jwk` over `input`. */
export function verifySignature(input: string | Bytes, signature: Bytes, key: PublicKey): boolean {
  return (
    signature.byteLength === 64 &&
    verify(null, typeof input === 'string' ? Buffer.from(input, 'utf8') : input, key.key, signature)
  );
}

/** 2^255 - 19: a coordinate at or above it is a second spelling of a smaller one. */
const P = (1n << 255n) - 19n;
/** The y of every point whose order divides 8: order 4, 1, 2, and the two of order 8. */
const SMALL_ORDER_Y: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  P - 1n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
]);

/** Throws E_KEY_WEAK for a key that is not canonical, or of small order. */
export function assertStrongKey(jwk: PublicJwk): void {
  const bytes = fromBase64Url(jwk.x);
  if (bytes === undefined || bytes.byteLength !== 32) {
    throw new FarfieldError('E_KEY_WEAK', 'a public key that is not 32 bytes of canonical base64url');
  }
  const little = Buffer.from(bytes).reverse();
  // The top bit is the sign of x; the rest is y.
  little[0] = (little[0] ?? 0) & 0x7f;
  const y = BigInt(`0x${little.toString('hex')}`);
  if (y >= P || SMALL_ORDER_Y.has(y)) {
    throw new FarfieldError('E_KEY_WEAK', 'a public key of small order or in a second spelling; make a new key');
  }
}
