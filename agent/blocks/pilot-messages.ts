/** The agent's words for a pilot, and a pilot's outcomes in the agent's words. Pure translation of columns. */
import { utf8 } from '#kernel/bytes.ts';
import { statusName } from '#kernel/leaves.ts';
import { MAX_FRAME_BYTES } from '#kernel/limits.ts';
import type { Detail } from '#kernel/receipts.ts';
import type { Measured } from '#kernel/tokens/claims.ts';
import type { Done, FileArg, Gang, Launch } from '#protos/generated/link.js';
import type { Work } from '../work/mirror.ts';
import type { AttemptEnd, LaunchItem } from '../work/ports.ts';

/** Half a frame: keys, sizes and paths come on top. */
const MAX_LAUNCH_BYTES = MAX_FRAME_BYTES / 2;

/** Path of an argument that is a file here, by position in the item's arguments. */
export type FilesOf = (work: Work, i: number) => readonly { readonly arg: number; readonly path: string }[];

/** One or more Launch messages, each well below a frame. */
export function launchMessages(
  work: Work,
  specNo: number,
  leaseEpoch: number,
  items: readonly LaunchItem[],
  filesOf: FilesOf,
  outDirs: string,
  gang?: Gang,
): Launch[] {
  const messages: Launch[] = [];
  let open = createDraft();
  const seal = (): void => {
    if (open.keys.length === 0) return;
    const { keys, attempts, itemSizes, itemBytes, inlineSizes, inline, files } = open;
    messages.push({
      specNo,
      keys,
      attempts,
      leaseEpoch,
      itemSizes,
      itemBytes: Buffer.concat(itemBytes),
      inlineSizes,
      inline: Buffer.concat(inline),
      files,
      outDirs: utf8(outDirs),
      gang,
    });
    open = createDraft();
  };
  for (const { i, key, attempt } of items) {
    const payload = work.payloads.get(i);
    if (payload === undefined) throw new Error(`the arguments of item ${i} of ${work.ticket.id} are gone`);
    const bytes = payload.inline.reduce((sum, part) => sum + part.byteLength, payload.bytes.byteLength);
    if (open.bytes + bytes > MAX_LAUNCH_BYTES) seal();
    for (const { arg, path } of filesOf(work, i)) open.files.push({ index: open.keys.length, arg, path });
    open.keys.push(key);
    open.attempts.push(attempt);
    open.itemSizes.push(payload.bytes.byteLength);
    open.itemBytes.push(payload.bytes);
    for (const part of payload.inline) {
      open.inlineSizes.push(part.byteLength);
      open.inline.push(part);
    }
    open.bytes += bytes;
  }
  seal();
  return messages;
}

interface Draft {
  readonly keys: number[];
  readonly attempts: number[];
  readonly itemSizes: number[];
  readonly itemBytes: Uint8Array[];
  readonly inlineSizes: number[];
  readonly inline: Uint8Array[];
  readonly files: FileArg[];
  bytes: number;
}

function createDraft(): Draft {
  return { keys: [], attempts: [], itemSizes: [], itemBytes: [], inlineSizes: [], inline: [], files: [], bytes: 0 };
}

/** A result that is a file in the item's folder, to be kept by its digest. */
export interface ResultFile {
  readonly path: string;
  readonly size: number;
  readonly digest: Uint8Array;
}

export interface ReadDone {
  readonly ends: AttemptEnd[];
  readonly files: readonly ResultFile[];
}

type DoneDetail = Detail & { readonly charged?: boolean };

const NO_RESULT = Buffer.alloc(32);

/** What a Done message says, item by item; `measured` adds what the agent knows of the place. Throws on columns that do not fit. */
export function readDone(done: Done, measured: (record: Measured, key: number) => Measured): ReadDone {
  const details = done.details.map((bytes) => readDetail(bytes));
  const records = done.measRecords.map((bytes) => JSON.parse(Buffer.from(bytes).toString()) as Measured);
  const digests = Buffer.from(done.resultDigests.buffer, done.resultDigests.byteOffset, done.resultDigests.byteLength);
  const fileOf = new Map(done.files.map((file) => [file.index, file]));
  const files: ResultFile[] = [];
  const ends: AttemptEnd[] = [];
  let at = 0;
  for (const [k, key] of done.keys.entries()) {
    const status = statusName(done.statuses[k] ?? 0);
    const read = details[done.detail[k] ?? -1];
    const record = records[done.meas[k] ?? -1];
    if (
      (status !== 'succeeded' && status !== 'failed' && status !== 'cancelled') ||
      read === undefined ||
      record === undefined
    ) {
      throw new Error('the columns of an outcome do not fit');
    }
    const digest = digests.subarray(k * 32, k * 32 + 32);
    const size = done.resultSizes[k] ?? 0;
    const file = fileOf.get(k);
    if (file !== undefined) files.push({ path: file.path, size: file.size, digest });
    ends.push({
      key,
      attempt: done.attempts[k] ?? 0,
      leaseEpoch: done.leaseEpochs[k] ?? 0,
      status,
      detail: read.detail,
      charged: read.charged,
      meas: measured(record, key),
      ...(digest.equals(NO_RESULT) ? {} : { resultDigest: digest }),
      ...(size > 0 ? { result: done.results.subarray(at, at + size) } : {}),
    });
    at += size;
  }
  return { ends, files };
}

function readDetail(bytes: Uint8Array): { detail: Detail; charged: boolean } {
  const { charged = true, ...detail } = JSON.parse(Buffer.from(bytes).toString()) as DoneDetail;
  return { detail, charged };
}
