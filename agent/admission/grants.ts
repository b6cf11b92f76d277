/**
 * The grants file on disk: beside the policy, written by the verbs alone, one at a time.
 *
 * Invariants
 *  F1 A change is read, made and written under a lock, aside and renamed with its fsyncs: a reader sees the one or the other.
 *  F2 A file that the verbs cannot read is never replaced: what it held may have to be looked at.
 *  F3 It must belong to whom the policy may belong to, and be closed to others: whoever writes it grants.
 */
import { lstatSync, readFileSync, type Stats } from 'node:fs';
import { dirname, join } from 'node:path';
import { lockFolder, openPrivateFolder, writeDurable } from '#base/files.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type GrantsFile, NO_GRANTS, parseGrants, writeGrants } from '#kernel/policy/grants.ts';
import type { ResolvedPolicy } from '#kernel/policy/resolve.ts';

const MAX_BYTES = 4 * 1024 * 1024;

/** Throws unless the file is a plain one of ours or root's that nobody else may write. `hint`: what to do where there is none. */
export function assertOwned(path: string, uid: number, hint: string): void {
  const found: Stats | undefined = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) {
    throw new FarfieldError('E_NOT_FOUND', `there is no policy at ${path}; ${hint}`);
  }
  if (!found.isFile())
    throw new FarfieldError('E_FORBIDDEN', `${path} is no plain file: name the file itself, not a link to it`);
  if (found.uid !== 0 && found.uid !== uid) {
    throw new FarfieldError(
      'E_FORBIDDEN',
      `${path} belongs to another user (uid ${found.uid}); run: chown ${uid} ${path}`,
    );
  }
  if ((found.mode & 0o022) !== 0)
    throw new FarfieldError('E_FORBIDDEN', `others may write ${path}; run: chmod go-w ${path}`);
}

/** Where grants under this policy lie. Decisions are kept there also where nothing may be granted. */
export function grantsPath(policyPath: string, policy: ResolvedPolicy): string {
  return join(dirname(policyPath), policy.grants?.file ?? 'grants.json');
}

/** What the file says; nothing where there is none. Throws for whatever the verbs did not write. */
export function readGrants(path: string, uid: number): GrantsFile {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return NO_GRANTS;
  assertOwned(path, uid, '');
  if (lstatSync(path).size > MAX_BYTES) throw new FarfieldError('E_TOO_LARGE', `${path} is over ${MAX_BYTES} bytes`);
  return parseGrants(readFileSync(path));
}

/** F1: the file as `change` leaves it. */
export async function changeGrants(
  path: string,
  lock: string,
  uid: number,
  change: (before: GrantsFile) => GrantsFile,
): Promise<GrantsFile> {
  openPrivateFolder(lock);
  using _held = lockFolder(lock);
  const after = change(readGrants(path, uid));
  const text = writeGrants(after);
  // F2: what we cannot read again must not be what the agent finds.
  parseGrants(Buffer.from(text));
  await writeDurable(path, text, 0o600);
  return after;
}
