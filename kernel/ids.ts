/**
 * Names: thumbprints of keys, typed digests, jti, invocation ids.
 *
 * Invariants
 *  I1 Keys, principals and endpoints are bare 43-character RFC 7638 thumbprints.
 *  I2 A digest carries its type: `sha256:` of bytes, `sif:`, `oci:`, `oms1:` of a directory. Types are never compared across.
 *  I3 An invocation id is a hash of (principal, jti), so nobody can squat on somebody else's.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { type Bytes, fromBase64Url, sha256, sha256Hex, toBase64Url } from './bytes.ts';

export const THUMBPRINT = /^[A-Za-z0-9_-]{43}$/;
export const DIGEST = /^(sha256|sif|oci|oms1):[0-9a-f]{64}$/;
/** UUIDv7, lower case. */
export const JTI = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
export const INVOCATION_ID = /^([0-9a-f]{32})\.(0|[1-9][0-9]{0,3})$/;

/** An Ed25519 public key as JWK, exactly as tokens carry it. */
export interface PublicJwk {
  readonly kty: 'OKP';
  readonly crv: 'Ed25519';
  readonly x: string;
}

/** RFC 7638 thumbprint of an Ed25519 JWK: members in lexical order, no spaces. */
export function thumbprint(jwk: PublicJwk): string {
  return toBase64Url(sha256(`{"crv":"Ed25519","kty":"OKP","x":"${jwk.x}"}`));
}

/** The JWK of a public (or private) Ed25519 key object. */
export function publicJwk(key: KeyObject): PublicJwk {
  const jwk = (key.type === 'private' ? createPublicKey(key as never) : key).export({ format: 'jwk' });
  if (jwk.kty !== 'OKP' || jwk.crv !== 'Ed25519' || typeof jwk.x !== 'string')
    throw new TypeError('not an Ed25519 key');
  return { kty: 'OKP', crv: 'Ed25519', x: jwk.x };
}

export type DigestType = 'sha256' | 'sif' | 'oci' | 'oms1';

export function digestOf(bytes: Bytes | string): string {
  return `sha256:${sha256Hex(bytes)}`;
}

export function isDigest(value: string): boolean {
  return DIGEST.test(value);
}

/** The 32 raw bytes of a typed digest. */
export function digestBytes(digest: string): Bytes {
  return Buffer.from(digest.slice(digest.indexOf(':') + 1), 'hex');
}

/** UUIDv7 (RFC 9562) from a wall time in ms and 10 random bytes. */
export function uuidv7(nowMs: number, random: Bytes): string {
  const b = Buffer.alloc(16);
  b.writeUIntBE(nowMs, 0, 6);
  b.set(random.subarray(0, 10), 6);
  b[6] = 0x70 | ((b[6] ?? 0) & 0x0f);
  b[8] = 0x80 | ((b[8] ?? 0) & 0x3f);
  const h = b.toString('hex');
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
}

/** The public id of a ticket's invocations, without the item: 32 hex digits. */
export function ticketId(principal: string, jti: string): string {
  return sha256Hex(`farfield/invocation/v1\0${principal}\0${jti}`).slice(0, 32);
}

export function invocationId(ticket: string, item: number): string {
  return `${ticket}.${item}`;
}

/** Splits `<hash>.<i>`; undefined if it is no invocation id. */
export function parseInvocationId(value: string): { ticket: string; item: number } | undefined {
  const match = INVOCATION_ID.exec(value);
  return match?.[1] === undefined ? undefined : { ticket: match[1], item: Number(match[2]) };
}

/** The raw 32 bytes of a thumbprint, or undefined. */
export function thumbprintBytes(value: string): Bytes | undefined {
  return THUMBPRINT.test(value) ? fromBase64Url(value) : undefined;
}
