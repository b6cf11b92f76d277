/**
 * SHA-256 of files, measured through the opened descriptor and remembered by identity.
 *
 * Invariants
 *  D1 What is hashed is a regular file that was opened without following a link in its last step.
 *  D2 A remembered digest is used only while dev, inode, size, mtime and ctime are the same; ctime cannot be set back
 *     without root, so a rewrite in place shows.
 *  D3 A file that changes while it is being hashed is refused, not remembered.
 */
import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { FarfieldError } from '#kernel/errors.ts';

/** dev, inode, size, mtime, ctime as one text: equal texts, equal file. */
export type FileIdentity = string;

export interface MeasuredFile {
  readonly digest: string;
  readonly size: number;
  readonly identity: FileIdentity;
}

export interface FileDigests {
  measure(path: string): Promise<MeasuredFile>;
  /** True while the file at this path is still the one that was measured. */
  isStill(path: string, identity: FileIdentity): Promise<boolean>;
}

/** Large enough that a call costs nothing beside the hashing, small enough that others get their turn (0.7 ms). */
const CHUNK_BYTES = 1024 * 1024;
/** Blobs and model files of a busy endpoint; an entry is some 300 bytes. */
const DEFAULT_ENTRIES = 10_000;

function identityOf(facts: BigIntStats): FileIdentity {
  return `${facts.dev}:${facts.ino}:${facts.size}:${facts.mtimeNs}:${facts.ctimeNs}`;
}

function unreadable(path: string, reason: unknown): FarfieldError {
  const why = reason instanceof Error && 'code' in reason ? String(reason.code) : String(reason);
  return new FarfieldError('E_INPUT', `cannot read ${path}: ${why}`, { cause: reason });
}

export function createFileDigests(maxEntries: number = DEFAULT_ENTRIES): FileDigests {
  const known = new Map<FileIdentity, string>();

  function remember(identity: FileIdentity, digest: string): void {
    known.delete(identity);
    known.set(identity, digest);
    const oldest = known.keys().next();
    if (known.size > maxEntries && oldest.done !== true) known.delete(oldest.value);
  }

  async function measureOpened(file: FileHandle, path: string): Promise<MeasuredFile> {
    const before = await file.stat({ bigint: true });
    if (!before.isFile()) throw new FarfieldError('E_INPUT', `${path} is no regular file`);
    const identity = identityOf(before);
    const size = Number(before.size);
    const remembered = known.get(identity);
    if (remembered !== undefined) {
      remember(identity, remembered);
      return { digest: remembered, size, identity };
    }
    const digest = await hashOpened(file);
    if (identityOf(await file.stat({ bigint: true })) !== identity) {
      throw new FarfieldError(
        'E_DIGEST',
        `${path} changed while it was being read; run again when nobody writes to it`,
      );
    }
    remember(identity, digest);
    return { digest, size, identity };
  }

  return {
    async measure(path) {
      let file: FileHandle;
      try {
        // Not blocking: a FIFO would wait for a writer before fstat could tell what it is.
        file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      } catch (reason) {
        throw unreadable(path, reason);
      }
      try {
        return await measureOpened(file, path);
      } finally {
        await file.close();
      }
    },
    async isStill(path, identity) {
      try {
        return identityOf(await stat(path, { bigint: true })) === identity;
      } catch {
        return false;
      }
    },
  };
}

async function hashOpened(file: FileHandle): Promise<string> {
  const hash = createHash('sha256');
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let at = 0; ; ) {
    const { bytesRead } = await file.read(chunk, 0, CHUNK_BYTES, at);
    if (bytesRead === 0) return `sha256:${hash.digest('hex')}`;
    hash.update(chunk.subarray(0, bytesRead));
    at += bytesRead;
  }
}
