/**
 * Files that must be right after a power cut, and files that must be nobody else's.
 *
 * Invariants
 *  F1 `writeDurable` returns after the bytes, and the name, are on disk; a reader sees the old bytes or the new
 *     ones, never a mix.
 *  F2 A folder or secret that others could read or write is refused, with the command that mends it; nothing is
 *     mended silently, because what lay open may have been read already.
 *  F3 A locked folder has one holder. The kernel releases the lock when the holder dies, however it dies.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { FarfieldError } from '#kernel/errors.ts';

/** Keys, tokens and passwords are small; a larger file is a mistake or a device. */
export const MAX_SECRET_BYTES = 64 * 1024;

let asideCounter = 0;

/** Beside the target, so that the rename stays on one file system; unique, so that two writers never share one. */
function asideName(path: string): string {
  return `${path}.${process.pid}.${asideCounter++}.tmp`;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function fill(file: FileHandle, bytes: Uint8Array | string, mode: number): Promise<void> {
  try {
    // The mode given to open is narrowed by the umask, and is ignored where the file exists.
    await file.chmod(mode);
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

/**
 * Writes aside, fsync, rename, fsync of the folder. On a failure the target is as it was and nothing lies
 * beside it.
 */
export async function writeDurable(path: string, bytes: Uint8Array | string, mode = 0o600): Promise<void> {
  const aside = asideName(path);
  try {
    await fill(await open(aside, 'wx', mode), bytes, mode);
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true });
    throw diskError(error, path);
  }
  await syncFolder(dirname(path));
}

/** The same for start-up code, before there is an event loop to keep free. */
export function writeDurableSync(path: string, bytes: Uint8Array | string, mode = 0o600): void {
  const aside = asideName(path);
  try {
    const fd = openSync(aside, 'wx', mode);
    try {
      fchmodSync(fd, mode);
      writeFileSync(fd, bytes);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(aside, path);
  } catch (error) {
    rmSync(aside, { force: true });
    throw diskError(error, path);
  }
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** The system's error code, if the thrown value has one. */
export function errno(reason: unknown): string | undefined {
  return reason instanceof Error && 'code' in reason && typeof reason.code === 'string' ? reason.code : undefined;
}

/** A full disk or quota as E_DISK_FULL; anything else as it was. */
export function diskError(reason: unknown, path: string): unknown {
  const code = errno(reason);
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return reason;
  return new FarfieldError('E_DISK_FULL', `no room to write ${path}. Free room there, then try again`, {
    cause: reason,
  });
}

function octal(mode: number): string {
  return (mode & 0o777).toString(8).padStart(4, '0');
}

/** Undefined on systems without user ids. */
function ownUid(): number | undefined {
  return process.getuid?.();
}

/**
 * Creates the folder (0700) with its parents, or checks one that exists: a real folder, ours, closed to others.
 * Returns the full path.
 */
export function openPrivateFolder(path: string): string {
  const full = resolve(path);
  const made = mkdirSync(full, { recursive: true, mode: 0o700 });
  const stat = lstatSync(full);
  if (!stat.isDirectory())
    throw new FarfieldError('E_FORBIDDEN', `${full} is no folder, or a symbolic link. Name a real folder`);
  const uid = ownUid();
  if (uid !== undefined && stat.uid !== uid) {
    throw new FarfieldError(
      'E_FORBIDDEN',
      `${full} belongs to user ${stat.uid}, not to you (${uid}). Name a folder of your own`,
    );
  }
  if (made === undefined && (stat.mode & 0o077) !== 0) {
    throw new FarfieldError(
      'E_FORBIDDEN',
      `${full} is open to others (mode ${octal(stat.mode)}). Look at what lies in it, then run: chmod 700 ${full}`,
    );
  }
  return full;
}

/**
 * A secret's bytes, read at the moment of use. Refuses what others can read, what is no regular file, and what
 * is large.
 */
export function readSecret(path: string): Uint8Array {
  // O_NONBLOCK: opening a FIFO must not hang. The checks are on the opened file, so that no swap can slip between.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(fd);
    const uid = ownUid();
    if (!stat.isFile()) throw new FarfieldError('E_FORBIDDEN', `${path} is no regular file; a secret must be one`);
    if (uid !== undefined && stat.uid !== uid && stat.uid !== 0) {
      throw new FarfieldError('E_FORBIDDEN', `${path} belongs to user ${stat.uid}; a secret must be yours or root's`);
    }
    if ((stat.mode & 0o077) !== 0) {
      throw new FarfieldError(
        'E_FORBIDDEN',
        `${path} can be read by others (mode ${octal(stat.mode)}). Replace the secret if they could have, then run: chmod 600 ${path}`,
      );
    }
    if (stat.size > MAX_SECRET_BYTES)
      throw new FarfieldError('E_TOO_LARGE', `${path} has ${stat.size} bytes; that is no secret`);
    // One byte more than allowed: a file that grows meanwhile is noticed.
    const bytes = new Uint8Array(MAX_SECRET_BYTES + 1);
    let used = 0;
    for (let n = -1; n !== 0 && used < bytes.byteLength; used += n)
      n = readSync(fd, bytes, used, bytes.byteLength - used, null);
    if (used > MAX_SECRET_BYTES) throw new FarfieldError('E_TOO_LARGE', `${path} grew over ${MAX_SECRET_BYTES} bytes`);
    return bytes.slice(0, used);
  } finally {
    closeSync(fd);
  }
}

export interface FolderLock extends Disposable {
  release(): void;
}

/**
 * Takes the folder for this process, or says who has it.
 *
 * Node has no flock. A file with a process id in it is stale after a crash and can be stolen in a race; a
 * socket does not reach over a network file system. SQLite holds a real fcntl lock, in-process doubles
 * included, so an empty database is the lock.
 */
export function lockFolder(path: string): FolderLock {
  const db = new DatabaseSync(join(path, 'lock'), { timeout: 0 });
  const holder = join(path, 'lock.holder');
  try {
    db.exec('pragma journal_mode = memory; begin exclusive');
  } catch (error) {
    db.close();
    if (!(error instanceof Error) || !error.message.includes('locked')) throw error;
    throw new FarfieldError(
      'E_CONFLICT',
      `${path} is in use by another process${holderText(holder)}. Stop that one first`,
    );
  }
  // For people only: the lock itself never depends on it.
  writeFileSync(holder, `${process.pid}\n`, { mode: 0o600 });
  let held = true;
  const release = (): void => {
    if (!held) return;
    held = false;
    rmSync(holder, { force: true });
    db.close();
  };
  return { release, [Symbol.dispose]: release };
}

function holderText(path: string): string {
  try {
    return ` (process ${readFileSync(path, 'utf8').trim().replace(/\D/g, '')})`;
  } catch {
    return '';
  }
}
