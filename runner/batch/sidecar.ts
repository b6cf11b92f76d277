/**
 * The sidecar of a shard: what its result was made of, and what a merge needs to know of its rows.
 *
 * Invariants
 *  D1 It is written after the result is on disk, so a result without one is no result.
 *  D2 It names its own digest and the result's: one that was edited, cut, or lies beside another file, is noticed.
 *
 * Not a signature: whoever can write the folder can write both. It catches accidents, which is what shards suffer.
 */
import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { errno, writeDurableSync } from '#base/files.ts';
import { sha256Hex } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { canonical } from '../canonical.ts';
import type { PassReport } from '../pass.ts';
import type { UncertaintyStatistics } from '../uncertainty/statistics.ts';
import type { ShardRows } from './shards.ts';

const MAX_SIDECAR_BYTES = 4 * 1024 * 1024;

/** What decides a shard's numbers beside its rows: shards that differ in any of it are of different jobs. */
export interface ShardJob {
  readonly model: {
    readonly name: string;
    readonly version: string;
    readonly digest: string;
    readonly variant: string;
  };
  /** Digest of the error calibration; null where none is used. */
  readonly calibration: string | null;
  readonly uncertainty: {
    readonly method: string;
    readonly level: number;
    readonly samples: number;
    readonly seed: number;
  };
  readonly labels: boolean;
}

export interface Sidecar {
  readonly v: 1;
  readonly shard: ShardRows;
  readonly job: ShardJob;
  readonly input: { readonly name: string; readonly rowsDigest: string };
  /** Digest of the labels of these rows; null without. */
  readonly labelsDigest: string | null;
  readonly result: { readonly file: string; readonly bytes: number; readonly sha256: string };
  readonly versions: Readonly<Record<string, string>>;
  readonly statistics: UncertaintyStatistics;
  readonly trust: PassReport['trust'];
}

export const sameJob = (a: ShardJob, b: ShardJob): boolean => canonical(a) === canonical(b);

export function writeSidecar(path: string, sidecar: Sidecar): void {
  const facts = canonical(sidecar);
  writeDurableSync(path, `${canonical({ ...sidecar, digest: sha256Hex(facts) })}\n`, 0o644);
}

export type ReadSidecar =
  | { readonly kind: 'absent' }
  /** D2: not to be believed, and why. */
  | { readonly kind: 'bad'; readonly why: string }
  | { readonly kind: 'good'; readonly sidecar: Sidecar };

/** The sidecar and its result, both checked. */
export async function readSidecar(folder: string, name: string): Promise<ReadSidecar> {
  const bad = (why: string): ReadSidecar => ({ kind: 'bad', why: `${name}: ${why}` });
  let text: string;
  try {
    if (statSync(join(folder, name)).size > MAX_SIDECAR_BYTES) return bad('is too large for a sidecar');
    text = readFileSync(join(folder, name), 'utf8');
  } catch (reason) {
    if (errno(reason) === 'ENOENT') return { kind: 'absent' };
    return bad(`cannot be read (${errno(reason) ?? 'unknown'})`);
  }
  let sidecar: Sidecar;
  try {
    const { digest, ...facts } = JSON.parse(text) as Sidecar & { digest: string };
    if (facts.v !== 1) return bad('is of another version of farfield-runner');
    if (digest !== sha256Hex(canonical(facts))) return bad('was changed after it was written');
    sidecar = facts;
  } catch {
    return bad('is no whole JSON');
  }
  const { file, bytes, sha256 } = sidecar.result;
  if (file !== `${name.slice(0, -'.json'.length)}.h5`) return bad(`names ${file}, which is of other rows`);
  const facts = statSync(join(folder, file), { throwIfNoEntry: false });
  if (facts === undefined) return bad(`its result ${file} is not there`);
  if (facts.size !== bytes || (await sha256OfFile(join(folder, file))) !== sha256)
    return bad(`its result ${file} is not the one that it was written for`);
  return { kind: 'good', sidecar };
}

/** Hex, of any size of file. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  } catch (reason) {
    throw new FarfieldError('E_NOT_FOUND', `${path} cannot be read`, { cause: reason });
  }
  return hash.digest('hex');
}
