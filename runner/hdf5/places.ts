/**
 * Which files may be opened, and opening them.
 *
 * Invariants
 *  L1 A file is opened by us, once, and everything is read through that descriptor: what was checked is what is read.
 *  L2 The last part of a path is never a symbolic link, and what is opened is a regular file; opening waits for nobody.
 *  L3 A second file (external link, external storage, source of a virtual data set) is opened only inside the folders that the
 *     caller allows, judged by where it truly lies; outside, not even its existence is looked at.
 */
import { closeSync, constants, existsSync, fstatSync, openSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, resolve, sep } from 'node:path';
import { FarfieldError } from '#kernel/errors.ts';

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
const PROC = '/proc/self/fd';

/** An open file. */
export interface OpenFile extends Disposable {
  readonly fd: number;
  /** A path that leads to this very descriptor, whatever is renamed meanwhile. */
  readonly byDescriptor: string;
  /** The folder it lies in, for links that are relative to it. */
  readonly folder: string;
  /** Whether bytes changed since it was opened, as far as times and sizes tell. */
  changed(): boolean;
}

/** `name` stands for the path in messages. */
export function openFile(path: string, name: string): OpenFile {
  const fd = openRegular(path, name);
  const before = fstatSync(fd, { bigint: true });
  return {
    fd,
    byDescriptor: existsSync(PROC) ? `${PROC}/${fd}` : `/dev/fd/${fd}`,
    get folder() {
      return dirname(truePath(fd, path));
    },
    changed() {
      const now = fstatSync(fd, { bigint: true });
      return now.size !== before.size || now.mtimeNs !== before.mtimeNs;
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** A second file that the first, in `folder`, names by `wanted`. Throws E_HDF5 with the name as it stands in the file. */
export function openLinked(wanted: string, folder: string, roots: readonly string[], where: string): OpenFile {
  const printable = wanted.replace(/[^\x20-\x7e]/g, '?').slice(0, 200);
  const away = (why: string): FarfieldError =>
    new FarfieldError(
      'E_HDF5',
      `${where}: leads to another file, "${printable}", ${why}; copy the data into one file instead (h5repack, or h5py)`,
    );
  const path = resolve(folder, wanted);
  const allowed = roots.map(realFolder).filter((root) => root !== undefined);
  if (allowed.length === 0) throw away('and no folder is open to such links here');
  // Twice: as written, so that nothing outside is touched, and as it truly lies, behind links of folders.
  if (wanted === '' || wanted.includes('\0') || !inside(path, [...roots.map((root) => resolve(root)), ...allowed])) {
    throw away('outside the folders that may be read here');
  }
  let opened: OpenFile;
  try {
    opened = openFile(path, where);
  } catch (reason) {
    if (reason instanceof FarfieldError && reason.code === 'E_NOT_FOUND') throw away('which is not there');
    if (reason instanceof FarfieldError) throw away('which is a symbolic link, no regular file, or may not be read');
    throw reason;
  }
  if (inside(truePath(opened.fd, path), allowed)) return opened;
  opened[Symbol.dispose]();
  throw away('outside the folders that may be read here');
}

export const fileName = (path: string): string => basename(path);

/** O_NONBLOCK: opening a FIFO would wait for a writer, and a device may do anything. */
function openRegular(path: string, name: string): number {
  let fd: number;
  try {
    fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  } catch (reason) {
    const code = (reason as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new FarfieldError('E_NOT_FOUND', `${name}: there is no such file`);
    const why = code === 'ELOOP' ? 'is a symbolic link; name the file itself' : `cannot be opened (${code})`;
    throw new FarfieldError('E_INPUT', `${name}: ${why}`);
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw new FarfieldError('E_INPUT', `${name}: not a regular file`);
}

/** Where an open file lies now. Where the system does not say, the path is resolved once more. */
function truePath(fd: number, path: string): string {
  try {
    return readlinkSync(`${PROC}/${fd}`);
  } catch {
    return realpathSync(path);
  }
}

/** A folder that is not there allows nothing. */
function realFolder(root: string): string | undefined {
  try {
    return realpathSync(root);
  } catch {
    return undefined;
  }
}

/** By whole names: /data/ab is not inside /data/a. */
function inside(path: string, folders: readonly string[]): boolean {
  return folders.some((folder) => path.startsWith(folder.endsWith(sep) ? folder : folder + sep));
}
