/**
 * Where container images lie, and how a start finds one by the digest that somebody signed. Read by pilots, written by the
 * agent (agent/images/).
 *
 *     FOLDER/sif/<hex>.sif     an image; the name is the SHA-256 of its bytes; 0444
 *     FOLDER/oci/<hex>.json    which SIF was made of the OCI manifest with this digest
 *     FOLDER/used/<hex>        its time is that of the image's last start
 *
 * Invariants
 *  I1 What is found was measured through the opened file, in this process or, while the file's identity is the same,
 *     earlier: a name is never believed.
 *  I2 An `oci:` digest leads to a SIF only through a record of our own conversion: converting twice gives two different
 *     SIFs, so the record says which of them was run, and it is that digest that receipts carry.
 */
import { readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FarfieldError } from '#kernel/errors.ts';
import { isDigest } from '#kernel/ids.ts';
import type { FileDigests } from './file-digests.ts';
import { errno } from './files.ts';

export interface FoundImage {
  /** What was asked for. */
  readonly digest: string;
  /** `sif:` digest of the file that is started. */
  readonly sif: string;
  readonly path: string;
  readonly identity: string;
}

/** What a conversion leaves beside the image. */
export interface ImageRecord {
  readonly v: 1;
  readonly oci: string;
  readonly sif: string;
  /** Where it came from, for people. */
  readonly source: string;
  readonly at: number;
}

const hexOf = (digest: string): string => digest.slice(digest.indexOf(':') + 1);

export function sifPath(folder: string, sif: string): string {
  return join(folder, 'sif', `${hexOf(sif)}.sif`);
}

export function recordPath(folder: string, oci: string): string {
  return join(folder, 'oci', `${hexOf(oci)}.json`);
}

export function usedPath(folder: string, sif: string): string {
  return join(folder, 'used', hexOf(sif));
}

/** Undefined where there is none; a broken one is E_DIGEST: it decides what runs. */
export async function readRecord(folder: string, oci: string): Promise<ImageRecord | undefined> {
  const path = recordPath(folder, oci);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (reason) {
    if (errno(reason) === 'ENOENT') return undefined;
    throw reason;
  }
  const record = parse(text) as Partial<ImageRecord> | undefined;
  if (record?.v !== 1 || record.oci !== oci || typeof record.sif !== 'string' || !/^sif:[0-9a-f]{64}$/.test(record.sif))
    throw new FarfieldError('E_DIGEST', `${path} is no record of ${oci}; delete it, then convert the image again`);
  return record as ImageRecord;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** I1, I2. Throws E_NOT_FOUND with the verb that brings the image, E_DIGEST where its bytes are not those of its name. */
export async function findImage(folder: string, digest: string, digests: FileDigests): Promise<FoundImage> {
  const type = digest.slice(0, digest.indexOf(':'));
  if (!isDigest(digest) || (type !== 'sif' && type !== 'oci'))
    throw new FarfieldError('E_BAD_REQUEST', `${digest} names no image: an image is sif:<hex> or oci:<hex>`);
  const sif = type === 'sif' ? digest : (await readRecord(folder, digest))?.sif;
  const missing = `this endpoint does not have the image ${digest}; its admin can add it with \`farfield image convert\``;
  if (sif === undefined) throw new FarfieldError('E_NOT_FOUND', missing);
  const path = sifPath(folder, sif);
  const measured = await digests.measure(path).catch((cause: unknown) => {
    const absent = cause instanceof FarfieldError && errno(cause.cause) === 'ENOENT';
    throw absent ? new FarfieldError('E_NOT_FOUND', missing, { cause }) : cause;
  });
  if (hexOf(measured.digest) !== hexOf(sif)) {
    throw new FarfieldError(
      'E_DIGEST',
      `the image file of ${sif} has the digest ${hexOf(measured.digest)}: somebody changed it. Delete ${path}, then convert it again`,
    );
  }
  return { digest, sif, path, identity: measured.identity };
}

/** The order in which the cache is trimmed is that of use. A cache that this account may only read is not ours to trim. */
export async function markUsed(folder: string, sif: string, nowMs: number): Promise<void> {
  const path = usedPath(folder, sif);
  const now = new Date(nowMs);
  try {
    await utimes(path, now, now);
  } catch {
    await writeFile(path, '', { mode: 0o600 }).catch(() => undefined);
  }
}
