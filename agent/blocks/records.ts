/**
 * What a block is to a later life of the agent: a row of the ledger (meta `block/ID`), and the private file of its pilots.
 *
 * The row is there before the job is submitted and goes after its end is known, so that no life forgets one (blocks.ts, K1).
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeDurable } from '#base/files.ts';
import type { Random } from '#base/random.ts';
import { uuidv7 } from '#kernel/ids.ts';
import { type Signer, signToken } from '#kernel/jws.ts';
import { BLOCK_FILE, type BlockFile, parseBlockFile } from '#protos/block-file.ts';
import type { BlockShape } from '../schedulers/scheduler.ts';

export const PREFIX = 'block/';

/**
 * A block's token is good while the block is known here and not over (blocks.ts revokes it by forgetting the block). The date
 * only says until when its redemptions are remembered: longer than any site lets a job wait and run.
 */
const TOKEN_LIFE_S = 400 * 86_400;

export interface BlockRecord {
  /** The scheduler's text; undefined: written down, and the answer to the submit never came. */
  readonly job: string | undefined;
  readonly shape: BlockShape;
  /** Starts of its job by the scheduler. */
  readonly life: number;
}

export function writeRecord({ job, shape, life }: BlockRecord): string {
  return JSON.stringify({ v: 1, job: job ?? null, shape, life });
}

/** A row of the version before held the job's text alone. */
export function readRecord(text: string, base: BlockShape): BlockRecord {
  if (text === '-') return { job: undefined, shape: base, life: 1 };
  try {
    const { v, job, shape, life } = JSON.parse(text) as {
      v?: unknown;
      job: string | null;
      shape: BlockShape;
      life: number;
    };
    if (v === 1) return { job: job ?? undefined, shape, life };
  } catch {
    // The text of a test's or a site's own scheduler.
  }
  return { job: text, shape: base, life: 1 };
}

export interface BlockFacts extends Omit<BlockFile, 'v' | 'block' | 'token' | 'tls'> {
  readonly tls: BlockFile['tls'] | undefined;
}

export async function writeBlockFile(
  folder: string,
  block: string,
  facts: BlockFacts,
  mint: { readonly signer: Signer; readonly nowMs: number; readonly random: Random },
): Promise<void> {
  const iat = Math.floor(mint.nowMs / 1000);
  const jti = uuidv7(mint.nowMs, mint.random.bytes(10));
  const claims = { v: 1, iss: mint.signer.kid, block, life: 1, jti, iat, exp: iat + TOKEN_LIFE_S } as const;
  const { tls, ...rest } = facts;
  const file: BlockFile = {
    v: 1,
    block,
    ...rest,
    ...(tls === undefined ? {} : { tls }),
    token: signToken('farfield-block+jwt', claims, mint.signer),
  };
  await writeDurable(join(folder, BLOCK_FILE), JSON.stringify(file), 0o600);
}

/** After a restart the agent may listen elsewhere: pilots read the file again when they dial. */
export async function moveBlockFile(folder: string, tls: BlockFile['tls'] | undefined): Promise<void> {
  const path = join(folder, BLOCK_FILE);
  if (tls === undefined || !existsSync(path)) return;
  const file = parseBlockFile(readFileSync(path, 'utf8'));
  if (JSON.stringify(file.tls) === JSON.stringify(tls)) return;
  await writeDurable(path, JSON.stringify({ ...file, tls }), 0o600);
}
