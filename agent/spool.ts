/**
 * The spool after a crash: result files that no row names any more.
 *
 *   spool/<hex>            a result by its digest, named by packs on their way, or by an outcome that is not committed yet
 *   spool/out/<key>.<att>/ where the runner of one attempt writes
 *
 * Invariants
 *  S1 While anything is leased nothing goes: a pilot that redials may send an outcome again whose file was taken over before the
 *     crash, and then the spool's copy is the only one.
 *  S2 What a pack on its way names stays.
 *  S3 Only names that the spool gives are touched; anything else there is not ours to judge.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

const RESULT = /^[0-9a-f]{64}$/;
const ATTEMPT = /^\d+\.\d+$/;

export interface SpoolFacts {
  /** Digests (hex) that packs on their way name. */
  readonly named: ReadonlySet<string>;
  /** Items on a pilot, by the ledger. */
  readonly leased: number;
}

/** Returns how many entries went. */
export async function sweepSpool(folder: string, { named, leased }: SpoolFacts): Promise<number> {
  if (leased > 0) return 0;
  const out = join(folder, 'out');
  const results = (await list(folder)).filter((name) => RESULT.test(name) && !named.has(name));
  const attempts = (await list(out)).filter((name) => ATTEMPT.test(name));
  const doomed = [...results.map((name) => join(folder, name)), ...attempts.map((name) => join(out, name))];
  for (const path of doomed) await rm(path, { recursive: true, force: true });
  return doomed.length;
}

async function list(folder: string): Promise<string[]> {
  // Before the first large result there is no `out`.
  return readdir(folder).catch(() => []);
}
