/**
 * The writing side of the image cache (base/image-cache.ts has its form and the reading side).
 *
 * Invariants
 *  W1 An image is complete, on disk and read only before it has its name; a record is written after its image.
 *  W2 Writers hold the folder's lock: two conversions of one image are one after the other, and the second finds it.
 *  W3 The cache is trimmed to its limit by the time of last use. What was used within MIN_IDLE_MS stays, whatever the limit: a
 *     start may be between its measuring and its mount. A running container keeps its file open and needs no name.
 *  W4 Trimming loses nothing that cannot be made again from its source, and says what it took.
 */
import { chmod, copyFile, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '#base/clock.ts';
import type { FileDigests } from '#base/file-digests.ts';
import { errno, lockFolder, openPrivateFolder, writeDurable } from '#base/files.ts';
import { type ImageRecord, markUsed, readRecord, recordPath, sifPath, usedPath } from '#base/image-cache.ts';
import { FarfieldError } from '#kernel/errors.ts';

export interface CachedImage {
  readonly sif: string;
  readonly bytes: number;
  /** OCI manifests that it was made of; empty for one that came as a SIF. */
  readonly oci: readonly string[];
  readonly source: string | undefined;
  /** ms since 1970. */
  readonly usedAt: number;
}

export interface Trimmed {
  readonly removed: readonly CachedImage[];
  readonly bytes: number;
}

export interface ImageCache extends Disposable {
  readonly folder: string;
  /** A folder of one conversion; the caller removes it. */
  workFolder(): Promise<string>;
  /** The SIF that this manifest was converted to, if it is here. */
  known(oci: string): Promise<string | undefined>;
  /** Takes a file that the caller made in a work folder: it is moved. Answers its `sif:` digest. */
  put(file: string): Promise<string>;
  record(record: ImageRecord): Promise<void>;
  list(): Promise<CachedImage[]>;
  trim(maxBytes: number): Promise<Trimmed>;
}

export interface CacheOptions {
  readonly folder: string;
  readonly digests: FileDigests;
  readonly clock: Clock;
}

/** Mounting takes a second; a parallel file system that hangs takes minutes. */
export const MIN_IDLE_MS = 15 * 60_000;
const FOLDERS = ['sif', 'oci', 'used', 'work'] as const;

/** Throws E_CONFLICT while another process writes (W2). */
export async function openImageCache(options: CacheOptions): Promise<ImageCache> {
  const folder = openPrivateFolder(options.folder);
  for (const name of FOLDERS) openPrivateFolder(join(folder, name));
  const lock = lockFolder(folder);
  try {
    // What a conversion that was killed left: nobody else works here while the lock is ours.
    for (const name of await readdir(join(folder, 'work'))) await removeTree(join(folder, 'work', name));
  } catch (reason) {
    lock.release();
    throw reason;
  }
  let counter = 0;
  return {
    folder,
    async workFolder() {
      counter += 1;
      const path = join(folder, 'work', String(counter));
      await mkdir(path, { mode: 0o700 });
      return path;
    },
    async known(oci) {
      const record = await readRecord(folder, oci);
      if (record === undefined) return undefined;
      return (await sizeOf(sifPath(folder, record.sif))) === undefined ? undefined : record.sif;
    },
    put: (file) => put(options, folder, file),
    record: (record) => writeDurable(recordPath(folder, record.oci), JSON.stringify(record), 0o444),
    list: () => list(folder),
    trim: (maxBytes) => trim(folder, maxBytes, options.clock.now()),
    [Symbol.dispose]: () => lock.release(),
  };
}

/** A folder of a container's files may hold some that their owner may not write. */
export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 2 });
}

/** A file of somebody else's, copied to where only we can change it while it is measured. */
export async function copyIn(path: string, to: string): Promise<void> {
  try {
    await copyFile(path, to);
  } catch (cause) {
    throw new FarfieldError('E_INPUT', `cannot read ${path}`, { cause });
  }
}

/** W1. */
async function put({ digests, clock }: CacheOptions, folder: string, file: string): Promise<string> {
  await chmod(file, 0o444);
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  const { digest } = await digests.measure(file);
  const sif = `sif:${digest.slice('sha256:'.length)}`;
  await rename(file, sifPath(folder, sif));
  const parent = await open(join(folder, 'sif'), 'r');
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
  await markUsed(folder, sif, clock.now());
  return sif;
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (reason) {
    if (errno(reason) === 'ENOENT') return undefined;
    throw reason;
  }
}

async function recordsOf(folder: string): Promise<ImageRecord[]> {
  const records: ImageRecord[] = [];
  for (const name of await readdir(join(folder, 'oci'))) {
    const hex = /^([0-9a-f]{64})\.json$/.exec(name)?.[1];
    // A broken record is said where it matters: at the start of its image.
    const record = hex === undefined ? undefined : await readRecord(folder, `oci:${hex}`).catch(() => undefined);
    if (record !== undefined) records.push(record);
  }
  return records;
}

/** Also of a cache that another process writes. */
export async function list(folder: string): Promise<CachedImage[]> {
  const names = await readdir(join(folder, 'sif')).catch(() => []);
  const records = names.length === 0 ? [] : await recordsOf(folder);
  const images: CachedImage[] = [];
  for (const name of names) {
    const hex = /^([0-9a-f]{64})\.sif$/.exec(name)?.[1];
    if (hex === undefined) continue;
    const sif = `sif:${hex}`;
    const facts = await stat(sifPath(folder, sif)).catch(() => undefined);
    if (facts === undefined) continue;
    const used = await stat(usedPath(folder, sif)).catch(() => undefined);
    const own = records.filter((record) => record.sif === sif);
    images.push({
      sif,
      bytes: facts.size,
      oci: own.map(({ oci }) => oci),
      source: own[0]?.source,
      usedAt: Math.max(facts.mtimeMs, used?.mtimeMs ?? 0),
    });
  }
  return images.sort((a, b) => b.usedAt - a.usedAt);
}

/** W3, W4. */
async function trim(folder: string, maxBytes: number, nowMs: number): Promise<Trimmed> {
  const images = await list(folder);
  let bytes = images.reduce((sum, image) => sum + image.bytes, 0);
  const removed: CachedImage[] = [];
  for (const image of images.toReversed()) {
    if (bytes <= maxBytes || nowMs - image.usedAt < MIN_IDLE_MS) continue;
    // Records first: one without its image is no harm, but says less.
    for (const oci of image.oci) await rm(recordPath(folder, oci), { force: true });
    await rm(sifPath(folder, image.sif), { force: true });
    await rm(usedPath(folder, image.sif), { force: true });
    bytes -= image.bytes;
    removed.push(image);
  }
  return { removed, bytes };
}
