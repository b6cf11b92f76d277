/**
 * What a container is given of the host for its items: one folder of inputs and one of outputs a pool, and files that are
 * too large to be copied.
 *
 * Invariants
 *  G1 Folders belong to a pool key, so to exactly those who may share a runner; another pool's are never bound.
 *  G2 An input is a copy that only this pilot can write, and its digest is measured on the copy: the bytes that were checked
 *     are the bytes that are read. A large file is bound as it is, read only, and must be unchanged at the end (results.ts).
 *  G3 Outputs come back by a rename into the item's own folder, after the item ended.
 *
 * Rejected: hard links (they change ctime, so every remembered digest of the file, and cross no file system); binding the
 * folder that a file lies in (the blob cache holds other people's files too).
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, copyFile, mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { STAGE_MAX_BYTES } from './limits.ts';
import { INSIDE, insideFile } from './runtimes/container.ts';
import type { LaunchSpec } from './spec.ts';

/** Whether this runtime has a file system of its own. */
export function isContained(spec: Pick<LaunchSpec, 'runtime'>): boolean {
  return spec.runtime !== 'process';
}

const staged = new WeakMap<LaunchSpec, Promise<LaunchSpec>>();

/** The spec with its pool's folders, made once. `outDirs`: where finished items lie; outputs are made beside them. */
export function stageSpec(spec: LaunchSpec, spillDir: string, outDirs: string): Promise<LaunchSpec> {
  const known = staged.get(spec);
  if (known !== undefined) return known;
  const made = makeStage(spec, spillDir, outDirs, []);
  staged.set(spec, made);
  made.catch(() => staged.delete(spec));
  return made;
}

async function makeStage(
  spec: LaunchSpec,
  spillDir: string,
  outDirs: string,
  files: readonly string[],
): Promise<LaunchSpec> {
  const poolKey = files.length === 0 ? spec.poolKey : JSON.stringify([spec.poolKey, ...files]);
  const name = createHash('sha256').update(poolKey).digest('hex').slice(0, 32);
  const stage = { in: join(spillDir, name), out: join(outDirs, `pool-${name}`), files };
  for (const folder of [stage.in, stage.out]) await mkdir(folder, { recursive: true, mode: 0o700 });
  return { ...spec, poolKey, stage };
}

/** G2. Where the runner finds the file, and where the pilot does; `bound`: it needs a bind of its own. */
export async function stageFile(
  spec: LaunchSpec,
  path: string,
  name: string,
): Promise<{ readonly inside: string; readonly host: string; readonly bound: boolean }> {
  const folder = spec.stage?.in ?? '';
  const { size } = await stat(path);
  if (size > STAGE_MAX_BYTES) return { inside: insideFile(path), host: path, bound: true };
  const host = join(folder, name);
  await rm(host, { force: true });
  // Where the file system can share blocks (XFS, Btrfs), this copies nothing.
  await copyFile(path, host, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  await chmod(host, 0o400);
  return { inside: join(INSIDE.in, name), host, bound: false };
}

/** Binds are set at a container's start: items with files of their own have runners of their own. */
export function withFiles(
  spec: LaunchSpec,
  files: readonly string[],
  spillDir: string,
  outDirs: string,
): Promise<LaunchSpec> {
  return files.length === 0 ? Promise.resolve(spec) : makeStage(spec, spillDir, outDirs, files);
}

/** Where the runner writes an item's results: on the host, and as the runner sees it. */
export function stagedOut(
  spec: LaunchSpec,
  id: string,
  outDir: string,
): { readonly host: string; readonly inside: string } {
  return spec.stage === undefined
    ? { host: outDir, inside: outDir }
    : { host: join(spec.stage.out, id), inside: join(INSIDE.out, id) };
}

/** G3. The path of a result as the host sees it, moved to where the agent looks for it. */
export async function takeOut(
  host: string,
  inside: string,
  finalDir: string,
  path: string | undefined,
): Promise<string | undefined> {
  if (path === undefined || dirname(path) !== inside) return undefined;
  await rm(finalDir, { recursive: true, force: true });
  await rename(host, finalDir);
  return join(finalDir, path.slice(inside.length + 1));
}
