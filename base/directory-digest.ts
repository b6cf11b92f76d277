/**
 * `oms1:` the digest of a directory, for models that are several files.
 *
 *     SHA-256 of one line a file, `<sha256 hex>  <path>\n`, in byte order of the paths relative to the directory
 *
 * which is what `find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum` prints: anybody can
 * check one without Farfield. Paths are part of it, so renaming or moving a file changes it; modes, times and empty
 * folders are not.
 *
 * Invariants
 *  O1 A directory that holds anything but regular files and folders (links, sockets, devices) has no digest.
 *  O2 Names are UTF-8, without line breaks or backslashes (sha256sum would escape those), and are compared as bytes.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256Hex } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { createFileDigests, type FileDigests, type FileIdentity } from './file-digests.ts';

/** A model is some files; a folder of a million is something else that was named by mistake. */
export const MAX_DIRECTORY_FILES = 10_000;

export interface MeasuredDirectory {
  readonly digest: string;
  readonly bytes: number;
  readonly files: readonly {
    readonly path: string;
    readonly digest: string;
    readonly size: number;
    readonly identity: FileIdentity;
  }[];
}

async function listFiles(root: string): Promise<string[]> {
  const found: string[] = [];
  async function walk(folder: string): Promise<void> {
    for (const entry of await readdir(join(root, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (/[\n\r\\\ufffd]/.test(entry.name))
        throw new FarfieldError('E_MODEL', `${root} holds a file name that has no digest: ${JSON.stringify(path)}`);
      if (entry.isDirectory()) await walk(path);
      else if (entry.isFile()) found.push(path);
      else
        throw new FarfieldError(
          'E_MODEL',
          `${root}/${path} is neither a file nor a folder (a link?); replace it by what it names`,
        );
      if (found.length > MAX_DIRECTORY_FILES)
        throw new FarfieldError('E_MODEL', `${root} holds more than ${MAX_DIRECTORY_FILES} files`);
    }
  }
  try {
    await walk('');
  } catch (reason) {
    if (reason instanceof FarfieldError) throw reason;
    throw new FarfieldError('E_MODEL', `cannot read the model folder ${root}`, { cause: reason });
  }
  return found.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

export async function measureDirectory(root: string, digests: FileDigests): Promise<MeasuredDirectory> {
  const files = [];
  let lines = '';
  let bytes = 0;
  for (const path of await listFiles(root)) {
    const { digest, size, identity } = await digests.measure(join(root, path));
    files.push({ path, digest, size, identity });
    lines += `${digest.slice('sha256:'.length)}  ${path}\n`;
    bytes += size;
  }
  if (files.length === 0) throw new FarfieldError('E_MODEL', `${root} holds no files`);
  return { digest: `oms1:${sha256Hex(lines)}`, bytes, files };
}

/** The digest alone, for who measures once. */
export async function digestDirectory(root: string): Promise<string> {
  return (await measureDirectory(root, createFileDigests())).digest;
}
