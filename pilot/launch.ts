/**
 * A Launch message to leases that are ready to run.
 *
 * Invariants
 *  L1 Nothing reaches a runner before its bytes were checked: inline arguments against the digests in the signed item,
 *     files by hashing what the opened descriptor reads.
 *  L2 One bad item never stops the others of its message: each becomes a lease or a refusal of its own.
 *  L3 Inline items cost no I/O and no promise: they are the 25,000 a second.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { FileDigests } from '#base/file-digests.ts';
import { fromUtf8, sha256Hex } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_INLINE_BYTES } from '#kernel/limits.ts';
import type { Arg, ItemBody } from '#kernel/tokens/claims.ts';
import type { HeldLease, Launch } from '#protos/generated/link.js';
import type { RunnerArg, RunnerItem } from '#protos/runner.ts';
import type { CheckedFile, Lease } from './lease.ts';
import { leaseId } from './lease.ts';
import { INSIDE } from './runtimes/container.ts';
import type { LaunchSpec } from './spec.ts';
import { isContained, stagedOut, stageFile, stageSpec, withFiles } from './stage.ts';

/** An item whose bytes are not what was signed, or cannot be read: it ends without having met a runner. */
export interface Refused {
  readonly key: number;
  readonly attempt: number;
  readonly leaseEpoch: number;
  readonly spec: LaunchSpec;
  readonly error: FarfieldError;
}

export type Prepared =
  | { readonly kind: 'lease'; readonly lease: Lease }
  | { readonly kind: 'refused'; readonly refused: Refused };

/** What preparing needs of the pilot. */
export interface LaunchParts {
  readonly digests: FileDigests;
  /** Where inline data sets that need a file are put. */
  readonly spillDir: string;
  readonly nowMono: number;
}

/** Adapters that never write files get no folder: at full rate, making it would cost more than the item. */
const INLINE_ONLY: ReadonlySet<string> = new Set(['noop', 'fake']);

/** One item of the message, before any I/O. */
interface Raw {
  readonly id: string;
  readonly key: number;
  readonly attempt: number;
  readonly leaseEpoch: number;
  readonly spec: LaunchSpec;
  readonly outDir: string;
  readonly body: ItemBody;
  readonly inline: readonly Uint8Array[];
  readonly files: ReadonlyMap<number, string>;
  readonly gang: Launch['gang'];
}

export interface Preparation {
  readonly id: string;
  readonly held: HeldLease;
  /** There at once where no file is involved. */
  readonly work: Prepared | Promise<Prepared>;
}

/** Prepares every item whose lease id is wanted. */
export function prepareLaunch(
  launch: Launch,
  spec: LaunchSpec,
  parts: LaunchParts,
  wanted: (id: string) => boolean,
): Preparation[] {
  const prefix = fromUtf8(launch.outDirs);
  // Columns are walked with running offsets: item k begins where item k-1 ended.
  const files = filesOf(launch);
  let itemAt = 0;
  let inlineAt = 0;
  let inlineNo = 0;
  const preparations: Preparation[] = [];
  for (const [index, key] of launch.keys.entries()) {
    const held = { key, attempt: launch.attempts[index] ?? 0, leaseEpoch: launch.leaseEpoch };
    const id = leaseId(key, held.attempt);
    const size = launch.itemSizes[index] ?? 0;
    const bytes = launch.itemBytes.subarray(itemAt, itemAt + size);
    itemAt += size;
    try {
      if (bytes.byteLength !== size || size === 0)
        throw new FarfieldError('E_PROTOCOL', 'a launch without the bytes of its items');
      const body = JSON.parse(textOf(bytes)) as ItemBody;
      const inline = body.args.flatMap((arg) => {
        if (arg.at !== 'inline') return [];
        const length = launch.inlineSizes[inlineNo] ?? -1;
        inlineNo += 1;
        const value = launch.inline.subarray(inlineAt, inlineAt + Math.max(0, length));
        inlineAt += Math.max(0, length);
        return [value];
      });
      if (!wanted(id)) continue;
      // The folders may be on a disk that all nodes share: each part of a gang has its own, and the first one's is the result's.
      const part = launch.gang?.nodeRank ?? 0;
      const outDir = part === 0 ? `${prefix}/${id}` : `${prefix}/${id}.n${part}`;
      preparations.push({
        id,
        held,
        work: prepareItem(
          { ...held, id, spec, outDir, body, inline, files: files.get(index) ?? NO_FILES, gang: launch.gang },
          parts,
        ),
      });
    } catch (reason) {
      preparations.push({
        id,
        held,
        work: { kind: 'refused', refused: { ...held, spec, error: FarfieldError.from(reason) } },
      });
    }
  }
  return preparations;
}

/** Valid UTF-8 by then: the agent parsed these bytes strictly. Buffer decodes short texts three times as fast as TextDecoder. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

const NO_FILES: ReadonlyMap<number, string> = new Map();

function filesOf(launch: Launch): Map<number, Map<number, string>> {
  const byItem = new Map<number, Map<number, string>>();
  for (const { index, arg, path } of launch.files) {
    const ofItem = byItem.get(index) ?? new Map<number, string>();
    ofItem.set(arg, path);
    byItem.set(index, ofItem);
  }
  return byItem;
}

function prepareItem(raw: Raw, parts: LaunchParts): Prepared | Promise<Prepared> {
  checkInline(raw);
  if (isContained(raw.spec)) return contained(raw, parts);
  return prepareHere(raw, parts);
}

/** The same item with its pool's folders: only the first of a spec waits for them to be made. */
async function contained(raw: Raw, parts: LaunchParts): Promise<Prepared> {
  try {
    const spec = await stageSpec(raw.spec, parts.spillDir, dirname(raw.outDir));
    return await prepareHere({ ...raw, spec }, parts);
  } catch (reason) {
    return refusedOf(raw, reason);
  }
}

function refusedOf({ key, attempt, leaseEpoch, spec }: Raw, reason: unknown): Prepared {
  return { kind: 'refused', refused: { key, attempt, leaseEpoch, spec, error: FarfieldError.from(reason) } };
}

function prepareHere(raw: Raw, parts: LaunchParts): Prepared | Promise<Prepared> {
  const plainInline = raw.body.args.every((arg) => arg.at === 'inline' && !needsFile(arg));
  if (plainInline && INLINE_ONLY.has(raw.spec.adapter)) {
    const args = raw.body.args.map((arg, at) => inlineArg(arg, raw.inline[at] as Uint8Array));
    return { kind: 'lease', lease: leaseOf(raw, { args, body: raw.inline, ...NOTHING_ON_DISK }, parts.nowMono) };
  }
  return prepareFiles(raw, parts).catch((reason: unknown) => refusedOf(raw, reason));
}

/** L1. About 1.5 us a KiB. */
function checkInline(raw: Raw): void {
  let at = 0;
  for (const arg of raw.body.args) {
    if (arg.at !== 'inline') continue;
    const bytes = raw.inline[at];
    at += 1;
    if (bytes === undefined || bytes.byteLength !== arg.size) {
      throw new FarfieldError(
        'E_DIGEST',
        `argument ${arg.name} has ${bytes?.byteLength ?? 0} bytes, not the ${arg.size} that were signed`,
      );
    }
    if (`sha256:${sha256Hex(bytes)}` !== arg.digest) {
      throw new FarfieldError('E_DIGEST', `the bytes of argument ${arg.name} are not those that were signed`);
    }
  }
}

/** A data set inside the bytes is named by path, and HDF5 is read from files. */
function needsFile(arg: Arg): boolean {
  return arg.type === 'hdf5' || arg.sel !== undefined;
}

function inlineArg(arg: Arg, bytes: Uint8Array): RunnerArg {
  return { name: arg.name, type: arg.type, at: 'inline', size: bytes.byteLength };
}

/** The path is what the runner opens; that it was still the same file is asked again at the end (results.ts, R3). */
function fileArg(arg: Arg, path: string, size: number): RunnerArg {
  return { name: arg.name, type: arg.type, at: 'file', path, size, ...(arg.sel === undefined ? {} : { sel: arg.sel }) };
}

async function prepareFiles(raw: Raw, parts: LaunchParts): Promise<Prepared> {
  const ready = {
    args: [] as RunnerArg[],
    body: [] as Uint8Array[],
    files: [] as CheckedFile[],
    argDigests: [] as string[],
    spilled: [] as string[],
  };
  let inlineNo = 0;
  const bound: string[] = [];
  if (!INLINE_ONLY.has(raw.spec.adapter)) await freshFolder(stagedOut(raw.spec, raw.id, raw.outDir).host);
  for (const [index, arg] of raw.body.args.entries()) {
    if (arg.at !== 'inline') {
      const placed = await placeFile(raw, index);
      const file = await checkFile(arg, placed.host, parts.digests);
      if (placed.bound) bound.push(file.checked.path);
      else if (raw.spec.stage !== undefined) ready.spilled.push(file.checked.path);
      ready.files.push(file.checked);
      ready.argDigests.push(file.digest);
      ready.args.push(fileArg(arg, placed.inside, file.size));
      continue;
    }
    ready.argDigests.push(arg.digest);
    const bytes = raw.inline[inlineNo] as Uint8Array;
    inlineNo += 1;
    if (!needsFile(arg)) {
      ready.args.push(inlineArg(arg, bytes));
      ready.body.push(bytes);
      continue;
    }
    const path = join(raw.spec.stage?.in ?? parts.spillDir, `${basename(raw.outDir)}.${index}.${arg.type}`);
    await writeFile(path, bytes, { mode: 0o600 });
    ready.spilled.push(path);
    const seen = raw.spec.stage === undefined ? path : join(INSIDE.in, basename(path));
    ready.args.push(fileArg(arg, seen, bytes.byteLength));
  }
  const spec = await withFiles(raw.spec, bound, parts.spillDir, dirname(raw.outDir));
  if (spec !== raw.spec && !INLINE_ONLY.has(spec.adapter)) await freshFolder(stagedOut(spec, raw.id, raw.outDir).host);
  return { kind: 'lease', lease: leaseOf({ ...raw, spec }, ready, parts.nowMono) };
}

/** Where the runner will find a file argument: in a container at another path than here. */
async function placeFile(
  raw: Raw,
  index: number,
): Promise<{ readonly inside: string; readonly host: string | undefined; readonly bound: boolean }> {
  const path = raw.files.get(index);
  if (path === undefined || raw.spec.stage === undefined) return { inside: path ?? '', host: path, bound: false };
  return stageFile(raw.spec, path, `${raw.id}.${index}`);
}

/** What an earlier life of the same attempt may have left there is not its result. */
async function freshFolder(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
  await mkdir(path, { recursive: true, mode: 0o700 });
}

/**
 * Measures a file argument. Handing on the descriptor instead of the path would close the gap between hashing and
 * reading, but runners in containers and libraries that open by name (HDF5) cannot take one; hence the second look at the
 * end, which finds every change that left a trace in mtime or ctime.
 */
async function checkFile(
  arg: Arg,
  path: string | undefined,
  digests: FileDigests,
): Promise<{ checked: CheckedFile; digest: string; size: number }> {
  if (path === undefined) throw new FarfieldError('E_PROTOCOL', `a launch without the path of argument ${arg.name}`);
  const { digest, size, identity } = await digests.measure(path);
  if (arg.digest !== undefined && arg.digest !== digest) {
    throw new FarfieldError(
      'E_DIGEST',
      `the file of argument ${arg.name} is not the one that was signed: it has ${digest}`,
    );
  }
  if (arg.size !== undefined && arg.size !== size) {
    throw new FarfieldError(
      'E_DIGEST',
      `the file of argument ${arg.name} has ${size} bytes, not the ${arg.size} that were signed`,
    );
  }
  return { checked: { path, identity }, digest, size };
}

/** The arguments of an item, as the runner will get them. */
interface Ready {
  readonly args: RunnerArg[];
  readonly body: readonly Uint8Array[];
  readonly files: readonly CheckedFile[];
  readonly argDigests: readonly string[];
  readonly spilled: readonly string[];
}

const NOTHING_ON_DISK = { files: [], argDigests: [], spilled: [] } as const;

function leaseOf(raw: Raw, ready: Ready, receivedAt: number): Lease {
  const { id, key, attempt, leaseEpoch, spec, outDir } = raw;
  const out = stagedOut(spec, id, outDir);
  const { args, ...rest } = ready;
  const item: RunnerItem = {
    id,
    args,
    outDir: out.inside,
    maxInlineBytes: Math.min(MAX_INLINE_BYTES, spec.maxBytes),
    maxBytes: spec.maxBytes,
    ...(raw.body.seed === undefined ? {} : { seed: raw.body.seed }),
    ...(spec.uncertainty === undefined ? {} : { uncertainty: spec.uncertainty }),
  };
  const bodyBytes = ready.body.reduce((sum, part) => sum + part.byteLength, 0);
  const hasOutDir = !INLINE_ONLY.has(spec.adapter);
  const fresh = { startedAt: 0, stop: undefined, announced: '' };
  const place = { hasOutDir, outDir, written: out.host, gang: raw.gang };
  return { id, key, attempt, leaseEpoch, spec, item, ...rest, bodyBytes, ...place, receivedAt, ...fresh };
}
