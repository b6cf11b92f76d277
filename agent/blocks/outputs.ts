/**
 * Results that stay at the endpoint: `out.to` names a path that the rule lets the ticket write.
 *
 * Invariants
 *  O1 The folder is opened once and everything happens below that descriptor: a link that appears meanwhile leads nowhere.
 *  O2 Where the opened folder lies must be inside the folders of the rule, links followed.
 *  O3 Written aside, synced, renamed: a reader sees a whole result or none, and the same outcome twice is the same file.
 *
 * `path` is the file of a single ticket; of a batch it is a folder, and item 7 is the file `7` in it.
 */
import { constants } from 'node:fs';
import { copyFile, type FileHandle, mkdir, open, readlink, realpath, rename, rm, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { diskError, errno } from '#base/files.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { inside } from '#kernel/policy/ceilings.ts';
import type { Work } from '../work/mirror.ts';

/** The bytes, or the file that holds them now. */
export type Result = { readonly bytes: Uint8Array } | { readonly file: string };

/** Where the ticket wants item `i`; undefined where results travel back. */
export function outputPath(work: Work, i: number): string | undefined {
  const { to } = work.token.claims.out;
  if (to === 'return') return undefined;
  return work.token.typ === 'farfield-batch+jwt' ? join(to.path, String(i)) : to.path;
}

/** Puts a result in its place; throws E_PATH where the place is not allowed or not there. */
export async function placeOutput(path: string, result: Result, writable: readonly string[]): Promise<void> {
  const folder = await openFolder(dirname(path), writable);
  try {
    const below = `/proc/self/fd/${folder.fd}`;
    const aside = join(below, `.${basename(path)}.farfield`);
    await rm(aside, { force: true });
    await write(aside, result);
    await rename(aside, join(below, basename(path)));
    await folder.sync();
  } catch (reason) {
    if (reason instanceof FarfieldError) throw reason;
    const full = diskError(reason, path);
    if (full instanceof FarfieldError) throw full;
    throw new FarfieldError('E_PATH', `the result cannot be written to ${path}: ${errno(reason) ?? 'it failed'}`, {
      cause: reason,
    });
  } finally {
    await folder.close();
  }
}

/** Opens the folder; one that is missing is made, below a parent that was opened and held to the rule. */
async function openFolder(path: string, writable: readonly string[]): Promise<FileHandle> {
  const allowed = await Promise.all(
    writable.map(async (folder) => `${await realpath(folder).catch(() => folder.replace(/\/$/, ''))}/`),
  );
  const found = await openInside(path, allowed);
  if (found !== undefined) return found;
  const parent = await openInside(dirname(path), allowed);
  if (parent === undefined) throw refused(path, 'there is no such folder');
  try {
    await mkdir(join(`/proc/self/fd/${parent.fd}`, basename(path)), { mode: 0o700 });
  } catch (cause) {
    // Another item of the same batch may have made it meanwhile.
    if (errno(cause) !== 'EEXIST') throw refused(path, 'its folder cannot be made', cause);
  } finally {
    await parent.close();
  }
  const made = await openInside(path, allowed);
  if (made === undefined) throw refused(path, 'its folder went away');
  return made;
}

function refused(path: string, why: string, cause?: unknown): FarfieldError {
  return new FarfieldError('E_PATH', `the result cannot be written to ${path}: ${why}`, { cause });
}

/** Undefined where there is nothing; throws where it leads out of what is allowed. */
async function openInside(path: string, allowed: readonly string[]): Promise<FileHandle | undefined> {
  let folder: FileHandle;
  try {
    folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    if (errno(cause) === 'ENOENT') return undefined;
    throw refused(path, 'that is no folder which can be opened', cause);
  }
  const real = await readlink(`/proc/self/fd/${folder.fd}`);
  if (inside(`${real}/x`, allowed)) return folder;
  await folder.close();
  throw refused(path, 'that leads out of the folders that the rule lets you write');
}

async function write(path: string, result: Result): Promise<void> {
  if ('file' in result) {
    // Not renamed: the spool may lie on another file system, and keeps its copy until the outcome is committed.
    await copyFile(result.file, path, constants.COPYFILE_EXCL);
  }
  const flags =
    constants.O_WRONLY | constants.O_NOFOLLOW | ('bytes' in result ? constants.O_CREAT | constants.O_EXCL : 0);
  const file = await open(path, flags, 0o600);
  try {
    if ('bytes' in result) await file.writeFile(result.bytes);
    await file.sync();
  } catch (reason) {
    await unlink(path).catch(() => undefined);
    throw reason;
  } finally {
    await file.close();
  }
}
