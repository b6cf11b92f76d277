/**
 * The endpoint's root key: made once, kept apart from the agent, used to name online keys.
 *
 * Invariants
 *  R1 The endpoint's id is the thumbprint of the root's public key; the display name decides nothing.
 *  R2 `seq` rises with every descriptor: a reader that has seen one refuses those before it.
 *  R3 The agent's process never opens the root: only the verbs init and renew do.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errno, openPrivateFolder, writeDurable } from '#base/files.ts';
import { loadSigner, saveKey } from '#base/keys.ts';
import { readDescriptor } from '#kernel/endpoint.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { generateKey, type Signer, signerFrom, signToken } from '#kernel/jws.ts';
import { MAX_ONLINE_KEY_S } from '#kernel/limits.ts';
import type { Claims } from '#kernel/tokens/claims.ts';
import { type AgentFolder, assertApart, prepareFolder } from './folder.ts';

export interface NewEndpoint {
  readonly name: string;
  readonly folder: AgentFolder;
  /** Where root keys are kept. */
  readonly roots: string;
  readonly nowS: number;
}

export interface Described {
  readonly endpoint: string;
  readonly name: string;
  readonly seq: number;
  readonly expS: number;
  readonly rootFile: string;
}

export function rootFile(roots: string, endpoint: string): string {
  return join(roots, `${endpoint}.pem`);
}

/** `endpoint init`: root, online key, first descriptor. Refuses a folder that is an endpoint already. */
export async function createEndpoint(options: NewEndpoint): Promise<Described> {
  const { name, folder, roots, nowS } = options;
  assertApart(roots, folder);
  prepareFolder(folder);
  if (existsSync(folder.descriptor)) {
    throw new FarfieldError(
      'E_CONFLICT',
      `${folder.root} is an endpoint already; \`farfield endpoint status\` shows it, \`endpoint renew\` renews its keys`,
    );
  }
  openPrivateFolder(roots);
  const key = generateKey();
  const root = signerFrom(key);
  saveKey(rootFile(roots, root.kid), key);
  const online = existsSync(folder.onlineKey) ? loadSigner(folder.onlineKey) : saveNewKey(folder.onlineKey);
  return describe({ root, online, folder, name, seq: 1, nowS, rootFile: rootFile(roots, root.kid) });
}

export interface Renewal {
  readonly folder: AgentFolder;
  readonly roots: string;
  readonly nowS: number;
  /** A fresh online key; otherwise the same key for another month, and receipts on their way stay checkable as they are. */
  readonly rotate: boolean;
}

/** `endpoint renew`: the next descriptor, by the root. */
export async function renewEndpoint(options: Renewal): Promise<Described> {
  const { folder, roots, nowS, rotate } = options;
  const { claims } = readDescriptor(readDescriptorFile(folder));
  const path = rootFile(roots, claims.iss);
  const root = loadSigner(path);
  if (root.kid !== claims.iss)
    throw new FarfieldError('E_FORBIDDEN', `${path} is not the root key of endpoint ${claims.iss}`);
  let online = loadSigner(folder.onlineKey);
  if (rotate) {
    const fresh = generateKey();
    online = signerFrom(fresh);
    // The descriptor is what makes a key the online key: a crash between the two writes is mended by another `renew`.
    await writeDurable(folder.onlineKey, fresh.export({ type: 'pkcs8', format: 'pem' }) as string, 0o600);
  }
  return describe({ root, online, folder, name: claims.name, seq: claims.seq + 1, nowS, rootFile: path });
}

interface Description {
  readonly root: Signer;
  readonly online: Signer;
  readonly folder: AgentFolder;
  readonly name: string;
  readonly seq: number;
  readonly nowS: number;
  readonly rootFile: string;
}

async function describe({ root, online, folder, name, seq, nowS, rootFile: path }: Description): Promise<Described> {
  const claims: Claims<'farfield-endpoint+jwt'> = {
    v: 1,
    iss: root.kid,
    jwk: root.jwk,
    name,
    seq,
    sign: online.jwk,
    iat: nowS,
    exp: nowS + MAX_ONLINE_KEY_S,
  };
  await writeDurable(folder.descriptor, signToken('farfield-endpoint+jwt', claims, root), 0o644);
  return { endpoint: root.kid, name, seq, expS: claims.exp, rootFile: path };
}

function saveNewKey(path: string): Signer {
  const key = generateKey();
  saveKey(path, key);
  return signerFrom(key);
}

/** The descriptor's text, or what to do where there is none. */
export function readDescriptorFile(folder: AgentFolder): string {
  try {
    return readFileSync(folder.descriptor, 'utf8').trim();
  } catch (reason) {
    if (errno(reason) !== 'ENOENT') throw reason;
    throw new FarfieldError(
      'E_NOT_FOUND',
      `${folder.root} is no endpoint yet; make one with \`farfield endpoint init --name NAME\``,
    );
  }
}
