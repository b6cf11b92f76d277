/** The folder that results go to: whether it can be written, and how it is told when it cannot. */
import { accessSync, constants, existsSync, mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { errno } from '#base/files.ts';
import { FarfieldError } from '#kernel/errors.ts';

/** Not `recursive`: in a file system without folders to make (/proc) Node then tries for ever, deaf to signals. */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  makeFolder(dirname(path));
  try {
    mkdirSync(path);
  } catch (reason) {
    // Another shard's runner made it meanwhile.
    if (errno(reason) !== 'EEXIST') throw reason;
  }
}

/** Makes the folder where it is missing; throws E_FORBIDDEN where it cannot be written. */
export function openOutput(out: string): void {
  try {
    makeFolder(resolve(out));
    // The dot makes a file of that name an error.
    accessSync(`${out}/.`, constants.W_OK | constants.X_OK);
  } catch (reason) {
    throw outputError(reason, out);
  }
}

const NO_ROOM = ['ENOSPC', 'EDQUOT', 'EFBIG', 'EIO'];
const NOT_ALLOWED = ['EACCES', 'EPERM', 'EROFS', 'EEXIST', 'ENOTDIR', 'ENOENT', 'ELOOP', 'ENAMETOOLONG'];

/** What the system said of the output, in words; anything else as it was. Inputs are opened by code that has its own words. */
export function outputError(reason: unknown, out: string): unknown {
  if (reason instanceof FarfieldError) return reason;
  const code = errno(reason) ?? '';
  if (NO_ROOM.includes(code)) {
    return new FarfieldError('E_DISK_FULL', `no room in ${out} (${code}); make room there, and run this again`, {
      cause: reason,
    });
  }
  if (!NOT_ALLOWED.includes(code)) return reason;
  return new FarfieldError('E_FORBIDDEN', `the output folder ${out} cannot be written (${code}); name one that can`, {
    cause: reason,
  });
}
