/**
 * Ed25519 private keys in files: PKCS8 PEM, 0600, never overwritten.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { FarfieldError } from '#kernel/errors.ts';
import { generateKey, type Signer, signerFrom } from '#kernel/jws.ts';
import { errno, readSecret, writeDurableSync } from './files.ts';

/** The key in the file, checked as every secret is (files.ts F2). */
export function loadKey(path: string): KeyObject {
  const pem = readKeyFile(path);
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: Buffer.from(pem), format: 'pem' });
  } catch {
    // The cause is left out: OpenSSL's text may quote what it could not read.
    throw new FarfieldError('E_BAD_REQUEST', `${path} holds no private key in PKCS8 PEM form`);
  } finally {
    pem.fill(0);
  }
  if (key.asymmetricKeyType !== 'ed25519') {
    throw new FarfieldError(
      'E_BAD_REQUEST',
      `${path} holds a key of type ${key.asymmetricKeyType}; Farfield takes Ed25519 alone`,
    );
  }
  return key;
}

function readKeyFile(path: string): Uint8Array {
  try {
    return readSecret(path);
  } catch (error) {
    if (errno(error) !== 'ENOENT') throw error;
    throw new FarfieldError('E_NOT_FOUND', `there is no key at ${path}`);
  }
}

export function loadSigner(path: string): Signer {
  return signerFrom(loadKey(path));
}

/**
 * Writes a key where none is yet. Replacing one would orphan everything that was signed with it: that takes a
 * deliberate rename.
 */
export function saveKey(path: string, key: KeyObject): void {
  if (existsSync(path))
    throw new FarfieldError('E_CONFLICT', `there is a key at ${path} already. Move it away if it is to be replaced`);
  writeDurableSync(path, key.export({ type: 'pkcs8', format: 'pem' }) as string, 0o600);
}

/** Makes a key, saves it, and returns its signer. */
export function createKeyFile(path: string): Signer {
  const key = generateKey();
  saveKey(path, key);
  return signerFrom(key);
}
