/**
 * The sidecar of a shard: what its result was made of, and what a merge needs to know of its rows.
 *
 * Invariants
 *  D1 It is written after the result is on disk, so a result without one is no result.
 *  D2 It names its own digest and the result's: one that was edited, cut, or lies beside another file, is noticed.
 *  D3 Its shape is checked against its schema whenever it is read: a wrong one is a damaged file.
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
import { type Check, compileSchema, type JsonSchema } from '../schema.ts';
import schemas from '../schemas.json' with { type: 'json' };
import type { UncertaintyStatistics } from '../uncertainty/statistics.ts';
import { type ShardRows, shardName } from './shards.ts';

let checkSidecar: Check | undefined;
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
  /** Of what computes: two versions may round differently. */
  readonly versions: Readonly<Record<string, string>>;
  readonly input: WholeRows;
  /** Null without labels. */
  readonly labels: WholeRows | null;
}

/** What is known of a data set without reading all of it. */
export interface WholeRows {
  readonly name: string;
  readonly rows: number;
  readonly stored: string;
  /** Digest of a few rows from first to last (window.ts): another file of the same name and length is seen by it. */
  readonly probe: string;
}

export interface Sidecar {
  readonly v: 1;
  readonly shard: ShardRows;
  readonly job: ShardJob;
  /** The name of the file that rows were read from, without folders: another name makes no other job. */
  readonly inputFile: string;
  readonly rowsDigest: string;
  /** Digest of the labels of these rows; null without. */
  readonly labelsDigest: string | null;
  readonly result: { readonly file: string; readonly bytes: number; readonly sha256: string };
  readonly statistics: UncertaintyStatistics;
  readonly trust: PassReport['trust'];
}

const MAX_TOLD_DIFFERENCES = 4;

/** What differs between two jobs, in words; undefined where nothing does. */
export function differences(there: ShardJob, here: ShardJob): string | undefined {
  const [a, b] = [leaves(there), leaves(here)];
  const told = [...new Set([...a.keys(), ...b.keys()])]
    .filter((key) => a.get(key) !== b.get(key))
    .map((key) => `${key} (${short(a.get(key))} there, ${short(b.get(key))} here)`);
  if (told.length === 0) return undefined;
  const more = told.length - MAX_TOLD_DIFFERENCES;
  return [...told.slice(0, MAX_TOLD_DIFFERENCES), ...(more > 0 ? [`and ${more} more`] : [])].join(', ');
}

const short = (text = 'none'): string => (text.length <= 40 ? text : `${text.slice(0, 30)}…`);

/** Every value by its path: `model.digest` and its like. */
function leaves(value: unknown, path = ''): Map<string, string> {
  if (typeof value !== 'object' || value === null) return new Map([[path, JSON.stringify(value) ?? 'none']]);
  return new Map(
    Object.entries(value).flatMap(([key, inner]) => [...leaves(inner, path === '' ? key : `${path}.${key}`)]),
  );
}

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
  const read = parseSidecar(folder, name);
  if (read.kind !== 'good') return read;
  const { file, bytes, sha256 } = read.sidecar.result;
  const facts = statSync(join(folder, file), { throwIfNoEntry: false });
  if (facts === undefined) return { kind: 'bad', why: `${name}: its result ${file} is not there` };
  if (facts.size !== bytes || (await sha256OfFile(join(folder, file))) !== sha256)
    return { kind: 'bad', why: `${name}: its result ${file} is not the one that it was written for` };
  return read;
}

/** The sidecar alone. */
export function parseSidecar(folder: string, name: string): ReadSidecar {
  const bad = (why: string): ReadSidecar => ({ kind: 'bad', why: `${name}: ${why}` });
  let text: string;
  try {
    const facts = statSync(join(folder, name));
    // To read a FIFO would take for ever, and to do the shard again would not replace a folder.
    if (!facts.isFile())
      throw new FarfieldError('E_CONFLICT', `${join(folder, name)} is no file, where a sidecar belongs; remove it`);
    if (facts.size > MAX_SIDECAR_BYTES) return bad('is too large for a sidecar');
    text = readFileSync(join(folder, name), 'utf8');
  } catch (reason) {
    if (reason instanceof FarfieldError) throw reason;
    if (errno(reason) === 'ENOENT') return { kind: 'absent' };
    return bad(`cannot be read (${errno(reason) ?? 'unknown'})`);
  }
  let sidecar: Sidecar;
  try {
    const { digest, ...facts } = JSON.parse(text) as Sidecar & { digest: string };
    if (facts.v !== 1) return bad('is of another version of farfield-runner');
    if (digest !== sha256Hex(canonical(facts))) return bad('was changed after it was written');
    checkSidecar ??= compileSchema(schemas.sidecar as JsonSchema);
    const problem = checkSidecar(facts);
    if (problem !== undefined) return bad(`is no sidecar of this version: ${problem.trim()}`);
    sidecar = facts;
  } catch {
    return bad('is no whole JSON');
  }
  const { result, shard } = sidecar;
  if (result.file !== `${name.slice(0, -'.json'.length)}.h5` || result.file !== `${shardName(shard)}.h5`)
    return bad(`names ${result.file}, which is of other rows`);
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
