/**
 * Files that an item reads: blobs from the broker, or data that is at the endpoint already.
 *
 * Invariants
 *  F1 A path at the endpoint was allowed by the rule as text at admission; here it is followed, and what it leads to must lie
 *     in the same allowed folders: no symbolic link leaves them.
 *  F2 The pilot measures what it reads; where the ticket names a digest, it compares.
 */
import { realpath } from 'node:fs/promises';
import { FarfieldError } from '#kernel/errors.ts';
import { inside } from '#kernel/policy/ceilings.ts';
import type { Blobs } from './blobs.ts';
import type { FilesOf } from './blocks/pilot-messages.ts';
import { readItem, type Work } from './work/mirror.ts';

export interface FileStage {
  /** See EngineOptions.stage. */
  stage(work: Work, i: number): Promise<void> | undefined;
  readonly filesOf: FilesOf;
}

export interface FileStageOptions {
  readonly blobs: Blobs;
  /** Folders that the rule of this ticket lets it read now. */
  readonly readable: (work: Work) => readonly string[];
}

export function createFileStage(options: FileStageOptions): FileStage {
  const staged = new WeakMap<Work, Map<number, readonly { arg: number; path: string }[]>>();

  const prepare = async (work: Work, i: number): Promise<void> => {
    const { args } = readItem((work.payloads.get(i) as { bytes: Uint8Array }).bytes);
    const files: { arg: number; path: string }[] = [];
    for (const [at, arg] of args.entries()) {
      if (arg.at === 'blob')
        files.push({
          arg: at,
          path: await blobPath(options.blobs, work, arg.digest, arg.size),
        });
      if (arg.at === 'endpoint') files.push({ arg: at, path: await followed(arg.path, options.readable(work)) });
    }
    const ofWork = staged.get(work) ?? new Map();
    ofWork.set(i, files);
    staged.set(work, ofWork);
  };

  return {
    stage(work, i) {
      if (staged.get(work)?.has(i) === true) return undefined;
      const payload = work.payloads.get(i);
      if (payload === undefined) return undefined;
      return payload.needsFiles ? prepare(work, i) : undefined;
    },
    filesOf: (work, i) => staged.get(work)?.get(i) ?? [],
  };
}

async function blobPath(blobs: Blobs, { ticket }: Work, digest: string, size: number): Promise<string> {
  const { principal, id } = ticket;
  return blobs.pathOf(principal, digest) ?? (await blobs.fetch(principal, digest, size, id));
}

async function followed(path: string, folders: readonly string[]): Promise<string> {
  let real: string;
  try {
    real = await realpath(path);
  } catch (cause) {
    throw new FarfieldError('E_INPUT', `there is nothing to read at ${path} on this endpoint`, { cause });
  }
  const allowed = await Promise.all(
    folders.map(async (folder) => `${await realpath(folder).catch(() => folder.replace(/\/$/, ''))}/`),
  );
  if (!inside(real, allowed))
    throw new FarfieldError('E_PATH', `${path} leads out of the folders that the rule lets you read`);
  return real;
}
