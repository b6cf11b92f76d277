/**
 * Tokens: compact JWS with JSON claims, one closed schema per `typ`.
 *
 * Invariants
 *  T1 The header is exactly {alg: Ed25519, typ, kid}; base64url is canonical; the claims are closed, and `iss` is `kid`.
 *  T2 What is parsed is what was signed: claims come from the bytes of the signing input, never from a second copy.
 *  T3 `parseToken` believes nothing: only `verifyToken` with a key that the caller trusts makes claims true.
 *  T4 Sizes are checked before anything is parsed.
 *
 * Signing alone, without schemas, is in kernel/sign.ts; its names are offered here too.
 */
import { fromBase64Url, sha256Hex } from './bytes.ts';
import { FarfieldError } from './errors.ts';
import { type PublicJwk, THUMBPRINT } from './ids.ts';
import { parseStrict } from './json.ts';
import { check } from './schema.ts';
import { importPublicKey, maxTokenBytes, verifySignature } from './sign.ts';
import {
  CLAIMS,
  type Claims,
  RESERVED_CLAIMS,
  RESERVED_MEMBERS,
  RESERVED_TYPES,
  type TokenType,
} from './tokens/claims.ts';

export { generateKey, type Signer, signerFrom, signToken, tokenHash } from './sign.ts';

/** A parsed token. Its claims are closed, and true only after `verifyToken`. */
export interface Token<K extends TokenType = TokenType> {
  readonly typ: K;
  readonly kid: string;
  readonly claims: Claims<K>;
  /** `sha256:` of `header.payload`. */
  readonly hash: string;
  readonly text: string;
}

/** The token if its size, form, header, type and claims are right; the signature is not looked at. */
export function parseToken<K extends TokenType>(typ: K | readonly K[], text: string): Token<K> {
  const allowed: readonly K[] = typeof typ === 'string' ? [typ] : typ;
  const limit = Math.max(...allowed.map(maxTokenBytes));
  if (text.length > limit) throw new FarfieldError('E_TOKEN_SIZE', `a token of ${text.length} bytes is over ${limit}`);
  const [header, payload] = splitToken(text);
  const { typ: found, kid } = readHeader(header);
  const match = allowed.find((t) => t === found);
  if (match === undefined) throw wrongType(found, allowed);
  if (text.length > maxTokenBytes(match)) {
    throw new FarfieldError('E_TOKEN_SIZE', `a ${match} of ${text.length} bytes is over ${maxTokenBytes(match)}`);
  }
  const claims = readClaims(match, parseStrict(payload));
  if ('iss' in claims && claims.iss !== kid) {
    throw new FarfieldError('E_TOKEN_CLAIMS', `${match}: iss is not the key that its header names`);
  }
  return { typ: match, kid, claims, hash: `sha256:${sha256Hex(text.slice(0, text.lastIndexOf('.')))}`, text };
}

/** Throws unless `jwk` is the key that the header names and its signature holds. */
export function verifyToken(token: Token, jwk: PublicJwk): void {
  const key = importPublicKey(jwk);
  if (key.kid !== token.kid) {
    throw new FarfieldError('E_TOKEN_SIGNATURE', `this ${token.typ} names another key than ${key.kid}`);
  }
  const end = token.text.lastIndexOf('.');
  const signature = fromBase64Url(token.text.slice(end + 1));
  if (signature === undefined || !verifySignature(token.text.slice(0, end), signature, key)) {
    throw new FarfieldError('E_TOKEN_SIGNATURE', `the signature of this ${token.typ} does not verify`);
  }
}

/** Parses and verifies with one key. */
export function openToken<K extends TokenType>(typ: K, text: string, jwk: PublicJwk): Token<K> {
  const token = parseToken(typ, text);
  verifyToken(token, jwk);
  return token;
}

/** Header and payload bytes of a compact JWS of three canonical base64url parts with a signature of 64 bytes. */
function splitToken(text: string): [Uint8Array, Uint8Array] {
  const parts = text.split('.', 4);
  const [header, payload, signature] = parts.map((part) => fromBase64Url(part));
  if (parts.length !== 3 || header === undefined || payload === undefined || signature?.byteLength !== 64) {
    throw new FarfieldError('E_TOKEN_FORM', 'this is not a compact JWS of three canonical base64url parts');
  }
  return [header, payload];
}

/** Reads a JWS header; anything besides the three members, in any order, is refused. */
export function readHeader(bytes: Uint8Array): { typ: string; kid: string } {
  const header = parseStrict(bytes, 'E_TOKEN_HEADER');
  if (typeof header === 'object' && header !== null && Object.keys(header).length === 3) {
    const { alg, typ, kid } = header as { alg?: unknown; typ?: unknown; kid?: unknown };
    if (alg === 'Ed25519' && typeof typ === 'string' && typeof kid === 'string' && THUMBPRINT.test(kid))
      return { typ, kid };
  }
  throw new FarfieldError('E_TOKEN_HEADER', 'a header must be exactly {alg: Ed25519, typ, kid: a thumbprint}');
}

function wrongType(found: string, allowed: readonly string[]): FarfieldError {
  if (RESERVED_TYPES.some((t) => t === found)) {
    return new FarfieldError('E_TOKEN_RESERVED', `${found} is reserved for a later version`);
  }
  const shown = Object.hasOwn(CLAIMS, found) ? found : 'token of an unknown type';
  return new FarfieldError('E_TOKEN_TYP', `a ${shown} where ${allowed.join(' or ')} is taken`);
}

/** Checks claims against the closed schema of their type; says so apart if what is wrong is a reserved field. */
export function readClaims<K extends TokenType>(typ: K, value: unknown): Claims<K> {
  const checked = check(CLAIMS[typ], value);
  // The schema is CLAIMS[typ], so the value is Claims<K>; TypeScript cannot follow the index through `Static`.
  if (checked.ok) return checked.value as Claims<K>;
  const reserved = reservedField(value);
  if (reserved !== undefined) {
    throw new FarfieldError('E_TOKEN_RESERVED', `${typ}: ${reserved} is reserved for a later version; leave it out`);
  }
  throw new FarfieldError('E_TOKEN_CLAIMS', `${typ}: ${checked.path} ${checked.message}`);
}

/** The first reserved field that `value` uses, by its path. */
export function reservedField(value: unknown): string | undefined {
  if (!isRecord(value)) return undefined;
  const top = RESERVED_CLAIMS.find((key) => Object.hasOwn(value, key));
  if (top !== undefined) return top;
  for (const [place, keys] of Object.entries(RESERVED_MEMBERS)) {
    const list = place.endsWith('[]');
    const parent = value[list ? place.slice(0, -2) : place];
    const objects = list && Array.isArray(parent) ? parent : [parent];
    for (const object of objects) {
      const key = isRecord(object) ? keys.find((k) => Object.hasOwn(object, k)) : undefined;
      if (key !== undefined) return `${place}.${key}`;
    }
  }
  return undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
