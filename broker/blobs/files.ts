/**
 * Blobs as files named by their digest. Who may see which is in the store; here are bytes only.
 *
 *   blobs/partial/<hash of principal>.<digest>  ──(all bytes, digest right)──▶  blobs/<2 hex>/<64 hex>
 *
 * Invariants
 *  F1 A complete blob's bytes are those of its digest, and are on disk (fsync of file, rename, fsync of folder) before the
 *     store is told.
 *  F2 Unfinished uploads belong to one principal: another one neither continues them nor learns of them.
 *  F3 The announced size is held while streaming; more bytes than that are refused as they come.
 *  F4 A file goes only while nobody completes the same digest, and only if no row names it by then.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, type ReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { diskError, errno, openPrivateFolder } from '#base/files.ts';
import { sha256Hex } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';

export interface Upload {
  readonly principal: string;
  readonly digest: string;
  /** Of the whole blob. */
  readonly size: number;
  /** Where these bytes go on. */
  readonly offset: number;
  readonly bytes: Readable;
  /** Called when the file is in place, before anybody else may touch it. */
  readonly commit: () => Promise<unknown>;
}

export interface BlobFiles {
  /** Bytes of an unfinished upload. */
  partial(principal: string, digest: string): Promise<number>;
  /** Returns how many bytes there are now. */
  append(upload: Upload): Promise<number>;
  read(digest: string, start: number, end: number): ReadStream;
  /** Removes the file unless `kept` says that somebody names it again. */
  remove(digest: string, kept: () => Promise<boolean>): Promise<void>;
  /** Removes uploads that nobody went on with since `beforeMs`. */
  sweep(beforeMs: number): Promise<number>;
}

/** SHA-256 reads at 1.5 GB/s; larger pieces gain nothing. */
const READ_BYTES = 1024 * 1024;

export function openBlobFiles(folder: string): BlobFiles {
  openPrivateFolder(folder);
  const partialFolder = openPrivateFolder(join(folder, 'partial'));
  const locks = createLocks();
  const partialPath = (principal: string, digest: string): string =>
    join(partialFolder, `${sha256Hex(principal).slice(0, 32)}.${hexOf(digest)}`);
  const finalPath = (digest: string): string => join(folder, hexOf(digest).slice(0, 2), hexOf(digest));

  async function place(upload: Upload, aside: string): Promise<void> {
    const path = finalPath(upload.digest);
    await locks.with(upload.digest, async () => {
      await mkdir(join(folder, hexOf(upload.digest).slice(0, 2)), { recursive: true, mode: 0o700 });
      // Over an equal file, if there is one: the same bytes by F1.
      await rename(aside, path);
      await syncFolder(join(path, '..'));
      await syncFolder(folder);
      await upload.commit();
    });
  }

  return {
    partial: (principal, digest) => sizeOf(partialPath(principal, digest)),
    append: (upload) =>
      locks.with(`${upload.principal} ${upload.digest}`, async () => {
        const aside = partialPath(upload.principal, upload.digest);
        const have = await write(upload, aside);
        if (have === upload.size) await place(upload, aside);
        return have;
      }),
    read: (digest, start, end) => createReadStream(finalPath(digest), { start, end, highWaterMark: READ_BYTES }),
    remove: (digest, kept) =>
      locks.with(digest, async () => {
        if (!(await kept())) await rm(finalPath(digest), { force: true });
      }),
    async sweep(beforeMs) {
      let removed = 0;
      for (const name of await readdir(partialFolder)) {
        const path = join(partialFolder, name);
        const { mtimeMs } = await stat(path);
        if (mtimeMs >= beforeMs) continue;
        await rm(path, { force: true });
        removed += 1;
      }
      return removed;
    },
  };
}

const hexOf = (digest: string): string => digest.slice(digest.indexOf(':') + 1);

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (errno(error) === 'ENOENT') return 0;
    throw error;
  }
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Appends the stream; when that makes the blob whole, checks its digest and syncs it. Returns the bytes there are. */
async function write(upload: Upload, aside: string): Promise<number> {
  const { offset, size, digest } = upload;
  const have = await sizeOf(aside);
  if (have !== offset) {
    throw new FarfieldError('E_CONFLICT', `${have} bytes of this blob are here, not ${offset}; go on from ${have}`, {
      details: { have },
    });
  }
  const file = await open(aside, offset === 0 ? 'w' : 'a', 0o600);
  try {
    // A whole upload in one request is hashed on its way; one that was resumed is read again.
    const hash = offset === 0 ? createHash('sha256') : undefined;
    const end = await pour(upload, file, hash);
    if (end < size) return end;
    const found = hash === undefined ? await hashFile(aside) : hash.digest('hex');
    if (found !== hexOf(digest)) {
      await rm(aside, { force: true });
      throw new FarfieldError(
        'E_DIGEST',
        `the bytes that came are sha256:${found}, not ${digest}; send them again from the start`,
      );
    }
    await file.sync();
    return end;
  } catch (error) {
    throw diskError(error, 'the blob folder');
  } finally {
    await file.close();
  }
}

async function pour({ bytes, offset, size }: Upload, file: FileHandle, hash: Hash | undefined): Promise<number> {
  let at = offset;
  for await (const chunk of bytes as AsyncIterable<Uint8Array>) {
    if (at + chunk.byteLength > size) {
      throw new FarfieldError('E_TOO_LARGE', `more bytes came than the ${size} that were announced`);
    }
    await file.writeFile(chunk);
    hash?.update(chunk);
    at += chunk.byteLength;
  }
  return at;
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: READ_BYTES })) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}

interface Locks {
  with<T>(key: string, run: () => Promise<T>): Promise<T>;
}

/** One at a time for each key, in order of arrival. */
function createLocks(): Locks {
  const tails = new Map<string, Promise<unknown>>();
  return {
    with(key, run) {
      const before = tails.get(key) ?? Promise.resolve();
      const turn = before.then(run, run);
      const tail = turn.catch(() => {});
      tails.set(key, tail);
      void tail.then(() => {
        if (tails.get(key) === tail) tails.delete(key);
      });
      return turn;
    },
  };
}
