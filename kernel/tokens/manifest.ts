/**
 * A function's signed description: General JWS (RFC 7515, 7.2.1) with 1 to 8 signatures over one payload.
 *
 * Invariants
 *  F1 The digest is that of the payload bytes: one more reviewer's signature does not change it.
 *  F2 Every protected header is exactly {alg, typ, kid}; unprotected headers are refused; one key signs once.
 *  F3 A key counts only if the caller named it. Signatures by others are carried along and prove nothing.
 */
import { type Bytes, fromBase64Url, toBase64Url, utf8 } from '../bytes.ts';
import { FarfieldError } from '../errors.ts';
import { checkKind } from '../gangs.ts';
import { digestOf, type PublicJwk } from '../ids.ts';
import { parseStrict } from '../json.ts';
import { readClaims, readHeader } from '../jws.ts';
import { MAX_MANIFEST_BYTES } from '../limits.ts';
import { importPublicKey, type PublicKey, type Signer, verifySignature } from '../sign.ts';
import type { ManifestClaims } from './claims.ts';

const TYP = 'farfield-manifest+jws';
/** Author, reviewers, a site's own approval: more is somebody's attempt to make us verify all day. */
const MAX_SIGNATURES = 8;

export interface Manifest {
  readonly claims: ManifestClaims;
  /** `sha256:` of the payload bytes, as `fn.manifest` names it. */
  readonly digest: string;
  /** Thumbprints whose signatures verified, among the keys that the caller named. */
  readonly signedBy: readonly string[];
}

/** Signs a manifest; the text is the JSON of the General JWS. */
export function signManifest(claims: ManifestClaims, signers: readonly Signer[]): string {
  return assemble(toBase64Url(utf8(JSON.stringify(claims))), [], signers);
}

/** The same manifest with one more signature: payload and digest stay as they are. */
export function addSignature(text: Bytes | string, signer: Signer): string {
  const { payload, signatures } = readGeneral(text);
  return assemble(payload, signatures, [signer]);
}

function assemble(payload: string, given: readonly SignatureEntry[], signers: readonly Signer[]): string {
  const signatures = [...given];
  for (const signer of signers) {
    const header = toBase64Url(utf8(JSON.stringify({ alg: 'Ed25519', typ: TYP, kid: signer.kid })));
    signatures.push({ protected: header, signature: toBase64Url(signer.sign(`${header}.${payload}`)) });
  }
  const text = JSON.stringify({ payload, signatures });
  // Reading it back holds a publisher to every rule that an agent will apply.
  readManifest(text);
  return text;
}

/** Opens a manifest. It is an error only if its form is wrong; too few signatures are the policy's to judge. */
export function openManifest(text: Bytes | string, keys: readonly PublicJwk[]): Manifest {
  const { payload, bytes, entries, claims } = readManifest(text);
  const wanted = new Map<string, PublicKey>();
  for (const jwk of keys) {
    const key = importPublicKey(jwk);
    wanted.set(key.kid, key);
  }
  const signedBy: string[] = [];
  for (const { kid, header, signature } of entries) {
    const key = wanted.get(kid);
    if (key !== undefined && verifySignature(`${header}.${payload}`, signature, key)) signedBy.push(kid);
  }
  return { claims, digest: digestOf(bytes), signedBy };
}

interface SignatureEntry {
  readonly protected: string;
  readonly signature: string;
}

interface ReadEntry {
  readonly kid: string;
  readonly header: string;
  readonly signature: Bytes;
}

function readManifest(text: Bytes | string): {
  payload: string;
  bytes: Bytes;
  entries: ReadEntry[];
  claims: ManifestClaims;
} {
  const { payload, signatures } = readGeneral(text);
  const bytes = fromBase64Url(payload);
  if (bytes === undefined) throw form('its payload is not canonical base64url');
  const entries = signatures.map(readSignature);
  if (new Set(entries.map((entry) => entry.kid)).size !== entries.length) throw form('one key signed it twice');
  const claims = readClaims(TYP, parseStrict(bytes));
  checkKind(claims);
  return { payload, bytes, entries, claims };
}

function readGeneral(text: Bytes | string): { payload: string; signatures: SignatureEntry[] } {
  const size = typeof text === 'string' ? Buffer.byteLength(text) : text.byteLength;
  if (size > MAX_MANIFEST_BYTES)
    throw new FarfieldError('E_TOKEN_SIZE', `a manifest of ${size} bytes is over ${MAX_MANIFEST_BYTES}`);
  const value = parseStrict(text);
  if (!hasExactly(value, ['payload', 'signatures'])) throw form('it has other members than payload and signatures');
  const { payload, signatures } = value;
  if (typeof payload !== 'string' || !Array.isArray(signatures)) throw form('payload and signatures are missing');
  if (signatures.length < 1 || signatures.length > MAX_SIGNATURES)
    throw form(`it has not 1 to ${MAX_SIGNATURES} signatures`);
  return { payload, signatures: signatures.map(signatureEntry) };
}

function signatureEntry(value: unknown): SignatureEntry {
  // A third member would be an unprotected `header`, which nobody signed.
  if (hasExactly(value, ['protected', 'signature'])) {
    const { protected: header, signature } = value;
    if (typeof header === 'string' && typeof signature === 'string') return { protected: header, signature };
  }
  throw form('a signature has other members than protected and signature');
}

function readSignature(entry: SignatureEntry): ReadEntry {
  const header = fromBase64Url(entry.protected);
  const signature = fromBase64Url(entry.signature);
  if (header === undefined || signature?.byteLength !== 64)
    throw form('a signature is not canonical base64url of 64 bytes');
  const { typ, kid } = readHeader(header);
  if (typ !== TYP)
    throw new FarfieldError('E_TOKEN_TYP', `a signature of this manifest is of type ${typ.slice(0, 64)}`);
  return { kid, header: entry.protected, signature };
}

function hasExactly<K extends string>(value: unknown, keys: readonly K[]): value is Record<K, unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.keys(value).length === keys.length &&
    keys.every((key) => Object.hasOwn(value, key))
  );
}

function form(why: string): FarfieldError {
  return new FarfieldError('E_TOKEN_FORM', `this is not a signed manifest: ${why}`);
}
