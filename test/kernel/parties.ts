/** People, keys and tokens for the kernel's tests: everything honest unless a test bends it. */
import { randomBytes } from 'node:crypto';
import { digestOf, uuidv7 } from '#kernel/ids.ts';
import { generateKey, type Signer, signerFrom, signToken } from '#kernel/jws.ts';
import type { Claims, ManifestClaims } from '#kernel/tokens/claims.ts';
import { signManifest } from '#kernel/tokens/manifest.ts';

export const NOW = 1_800_000_000;

export function newSigner(): Signer {
  return signerFrom(generateKey());
}

export interface Party {
  readonly principal: Signer;
  readonly session: Signer;
  readonly publisher: Signer;
  readonly root: Signer;
  readonly online: Signer;
  readonly manifest: string;
  readonly manifestClaims: ManifestClaims;
  readonly manifestDigest: string;
}

export const MODEL_DIGEST = `oms1:${'ab'.repeat(32)}`;
export const IMAGE_DIGEST = `sif:${'cd'.repeat(32)}`;

export function manifestClaims(changes: Partial<ManifestClaims> = {}): ManifestClaims {
  return {
    v: 1,
    name: 'peaks/braggnn',
    version: '1.2.0',
    kind: 'model',
    adapter: 'ort',
    args: [
      { name: 'patches', types: ['npy', 'hdf5'] },
      { name: 'options', types: ['json'], optional: true },
    ],
    models: [{ name: 'braggnn', digest: MODEL_DIGEST }],
    variants: [
      { name: 'cpu', runtimes: ['process', 'apptainer'] },
      { name: 'cuda', image: IMAGE_DIGEST, runtimes: ['apptainer'] },
    ],
    ...changes,
  };
}

export function newParty(changes: Partial<ManifestClaims> = {}): Party {
  const [principal, session, publisher, root, online] = [
    newSigner(),
    newSigner(),
    newSigner(),
    newSigner(),
    newSigner(),
  ];
  const claims = manifestClaims(changes);
  return {
    principal,
    session,
    publisher,
    root,
    online,
    manifest: signManifest(claims, [publisher]),
    manifestClaims: claims,
    manifestDigest: digestOf(JSON.stringify(claims)),
  };
}

export function delegationClaims(
  party: Party,
  changes: Partial<Claims<'farfield-delegation+jwt'>> = {},
): Claims<'farfield-delegation+jwt'> {
  return {
    v: 1,
    iss: party.principal.kid,
    jwk: party.principal.jwk,
    sub: { iss: 'pin', id: 'alice' },
    cnf: party.session.jwk,
    use: 'session',
    iat: NOW - 3600,
    exp: NOW + 3600,
    adm: NOW + 3600,
    scope: {},
    ...changes,
  };
}

export function newDelegation(party: Party, changes: Partial<Claims<'farfield-delegation+jwt'>> = {}): string {
  return signToken('farfield-delegation+jwt', delegationClaims(party, changes), party.principal);
}

export function newJti(): string {
  return uuidv7(NOW * 1000, randomBytes(10));
}

export function ticketClaims(
  party: Party,
  dlg: string,
  changes: Partial<Claims<'farfield-ticket+jwt'>> = {},
): Claims<'farfield-ticket+jwt'> {
  return {
    v: 1,
    iss: party.session.kid,
    sub: { iss: 'pin', id: 'alice' },
    dlg,
    aud: party.root.kid,
    jti: newJti(),
    iat: NOW - 10,
    exp: NOW + 3600,
    fn: { name: 'peaks/braggnn', version: '1.2.0', manifest: party.manifestDigest },
    mdl: [{ name: 'braggnn', digest: MODEL_DIGEST }],
    args: [{ name: 'patches', type: 'npy', at: 'inline', digest: digestOf('x'), size: 1 }],
    res: { nodes: 1, cpusPerNode: 4, gpusPerNode: 0, memMiBPerNode: 4096, wallS: 600 },
    run: { maxFailures: 3, maxStarts: 8, timeoutS: 300 },
    out: { maxBytes: 1 << 20, to: 'return' },
    ...changes,
  };
}
