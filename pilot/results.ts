/**
 * From the end of an item to its outcome: what the pilot measures of a result, and what it says of a failure.
 *
 * Invariants
 *  R1 Digest and size of a result are measured here, on the bytes that will be sent or through the opened file, and the
 *     file is on disk (fsync) before its digest is told.
 *  R2 A result file lies in the item's own folder, is a regular file and is not over the item's limit, whatever the
 *     runner says.
 *  R3 A file argument that changed while the item ran makes the result worthless: E_DIGEST, charged.
 */
import { mkdir, open, realpath, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import type { FileDigests } from '#base/file-digests.ts';
import { sha256 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { digestBytes } from '#kernel/ids.ts';
import { MAX_INLINE_BYTES } from '#kernel/limits.ts';
import type { RunnerDone, RunnerResult } from '#protos/runner.ts';
import type { Lease } from './lease.ts';
import { MAX_MESSAGE_CHARS, MAX_REP_BYTES } from './limits.ts';
import type { DoneDetail, Outcome } from './outcomes.ts';
import { runnerError } from './runner.ts';
import type { ItemEnd } from './slot.ts';
import { takeOut } from './stage.ts';

/** Types that a receipt can name (kernel/tokens/claims.ts, ArgType). */
const TYPES: ReadonlySet<string> = new Set(['json', 'npy', 'arrow', 'hdf5', 'bytes']);

export function failure(
  lease: Pick<Lease, 'key' | 'attempt' | 'leaseEpoch'>,
  error: FarfieldError,
  charged: boolean,
  meas: string,
): Outcome {
  const err = { code: error.code, message: error.message.slice(0, MAX_MESSAGE_CHARS) };
  return {
    ...idOf(lease),
    status: 'failed',
    detail: { err, charged },
    resultDigest: undefined,
    result: undefined,
    file: undefined,
    meas,
  };
}

function idOf({
  key,
  attempt,
  leaseEpoch,
}: Pick<Lease, 'key' | 'attempt' | 'leaseEpoch'>): Pick<Outcome, 'key' | 'attempt' | 'leaseEpoch'> {
  return { key, attempt, leaseEpoch };
}

/** What the runner claims, if it is small enough for a receipt. */
function repOf(done: RunnerDone): Pick<DoneDetail, 'rep'> {
  if (done.rep === undefined) return {};
  return JSON.stringify(done.rep).length <= MAX_REP_BYTES
    ? { rep: done.rep }
    : { rep: { dropped: 'the runner said more than a receipt holds' } };
}

/** The outcome of an item, at once where no file is involved: most items are. */
export function outcomeOf(lease: Lease, end: ItemEnd, meas: string, digests: FileDigests): Outcome | Promise<Outcome> {
  switch (end.kind) {
    case 'failed':
      return failure(lease, end.error, end.charged, meas);
    case 'stopped':
      return stopped(lease, end, meas);
    case 'done':
      return finished(lease, end.done, end.inline, meas, digests);
  }
}

function stopped(lease: Lease, end: Extract<ItemEnd, { kind: 'stopped' }>, meas: string): Outcome {
  const { order, left } = end;
  if (left.length > 0) {
    const text = `it was told to stop, but ${left.length} of its processes could not be ended (${left.join(', ')})`;
    return failure(lease, new FarfieldError('E_OUTCOME_UNKNOWN', text), true, meas);
  }
  if (order.kind === 'timeout') return failure(lease, new FarfieldError('E_RUN_TIMEOUT', order.reason), true, meas);
  const outcome = failure(lease, new FarfieldError('E_CANCELLED', order.reason), false, meas);
  return { ...outcome, status: 'cancelled' };
}

function finished(
  lease: Lease,
  done: RunnerDone,
  inline: Buffer | undefined,
  meas: string,
  digests: FileDigests,
): Outcome | Promise<Outcome> {
  if (done.status !== 'succeeded') {
    const error = runnerError(done.error?.code ?? 'E_FUNCTION', done.error?.message ?? 'no reason was given');
    // A runner that cancels by itself is being ended: nobody's fault.
    const outcome = failure(lease, error, done.status === 'failed', meas);
    return { ...outcome, detail: { ...outcome.detail, ...repOf(done) } };
  }
  const { result } = done;
  if (result === undefined || !TYPES.has(result.type)) {
    return failure(
      lease,
      new FarfieldError('E_PROTOCOL', `a result of type ${JSON.stringify(result?.type)}, which no receipt can name`),
      true,
      meas,
    );
  }
  const small = inline !== undefined && inline.length <= MAX_INLINE_BYTES;
  if (small && lease.files.length === 0) return inlineOutcome(lease, done, result, inline, meas);
  return checkedOutcome(lease, done, result, inline, meas, digests).catch((reason: unknown) =>
    failure(lease, FarfieldError.from(reason), true, meas),
  );
}

function inlineOutcome(lease: Lease, done: RunnerDone, result: RunnerResult, bytes: Buffer, meas: string): Outcome {
  const detail = { res: { type: result.type, at: 'inline' }, ...repOf(done) } as const;
  return {
    ...idOf(lease),
    status: 'succeeded',
    detail,
    resultDigest: sha256(bytes),
    result: bytes,
    file: undefined,
    meas,
  };
}

async function checkedOutcome(
  lease: Lease,
  done: RunnerDone,
  result: RunnerResult,
  inline: Buffer | undefined,
  meas: string,
  digests: FileDigests,
): Promise<Outcome> {
  for (const { path, identity } of lease.files) {
    if (await digests.isStill(path, identity)) continue;
    throw new FarfieldError('E_DIGEST', `${path} changed while the item ran; run it again when nobody writes to it`);
  }
  if (inline !== undefined && inline.length <= MAX_INLINE_BYTES)
    return inlineOutcome(lease, done, result, inline, meas);
  const path = inline === undefined ? await ownFile(lease, result.path) : await spill(lease, inline);
  const { digest, size } = await settle(path, digests);
  if (size > lease.spec.maxBytes)
    throw new FarfieldError(
      'E_RESULT_TOO_LARGE',
      `the result has ${size} bytes, over the limit of ${lease.spec.maxBytes}`,
    );
  const detail = { res: { type: result.type, at: 'blob', size }, ...repOf(done) } as const;
  return {
    ...idOf(lease),
    status: 'succeeded',
    detail,
    resultDigest: digestBytes(digest),
    result: undefined,
    file: { path, size },
    meas,
  };
}

/** R2. By real paths: the runner could have made its folder a link. */
async function ownFile(lease: Lease, path: string | undefined): Promise<string> {
  const contained = lease.written !== lease.outDir;
  const here = contained ? await takeOut(lease.written, lease.item.outDir, lease.outDir, path) : path;
  const folder = await realpath(lease.outDir).catch(() => undefined);
  const own = join(await realpath(dirname(lease.outDir)), basename(lease.outDir));
  const real = await realpath(here ?? '').catch(() => undefined);
  // A folder that became a link may lead to another item's.
  if (folder === own && real?.startsWith(own + sep) === true) return real;
  throw new FarfieldError('E_PROTOCOL', 'the runner named a result file outside its folder, or none');
}

/** An inline result over the limit is kept all the same, as a file. */
async function spill(lease: Lease, bytes: Buffer): Promise<string> {
  const path = join(lease.outDir, 'result.bin');
  await mkdir(lease.outDir, { recursive: true, mode: 0o700 });
  await writeFile(path, bytes, { mode: 0o600 });
  return path;
}

/** R1. */
async function settle(path: string, digests: FileDigests): Promise<{ digest: string; size: number }> {
  for (const target of [path, dirname(path)]) {
    const handle = await open(target, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  }
  return digests.measure(path);
}

/** What an item leaves behind: its spilled arguments always, its folder unless a result lies in it. */
export async function cleanUp(lease: Lease, outcome: Outcome): Promise<void> {
  for (const path of lease.spilled) await rm(path, { force: true });
  if (!lease.hasOutDir) return;
  if (outcome.file === undefined) await rm(lease.outDir, { recursive: true, force: true });
  if (lease.written !== lease.outDir) await rm(lease.written, { recursive: true, force: true });
}
