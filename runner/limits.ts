/** Limits of the runner alone, each with its reason. Limits that pilot and runner share stand in protos/runner.ts. */

import { availableParallelism } from 'node:os';

const KiB = 1024;
const MiB = 1024 * KiB;

/** A `done` frame is sent when its results reach this, so that one event-loop turn never builds an endless frame. */
export const DONE_FRAME_BYTES = 1 * MiB;
/** Bytes that were read from the pilot and not yet answered: above this the runner stops reading. */
export const MAX_PENDING_BYTES = 64 * MiB;
/** Calls that wait or run inside one adapter; above this the runner stops reading. */
export const MAX_PENDING_ITEMS = 8192;

/** Raw bytes of a block of rows: about 1,000 patches, so that reading (2.5 ms) hides behind inference (35 ms a block). */
export const BLOCK_BYTES = 512 * KiB;
/** Blocks in flight: one being filled, one being computed, one being written, one spare. */
export const BLOCKS = 4;
/** All blocks together, whatever the size of a chunk. */
export const MAX_BLOCKS_BYTES = 96 * MiB;
/** HDF5 inflates a chunk whole, however few rows of it are asked for; a larger one would break the memory promise. */
export const MAX_CHUNK_BYTES = 32 * MiB;
/** Rows of one job: exact quantiles keep four bytes a row. */
export const MAX_ROWS = 10_000_000;
/** One sample; a model with larger ones needs another reader than rows. */
export const MAX_ROW_BYTES = 16 * MiB;

/** More threads than this a core only wait for one another; each may hold a model of its own. */
const THREADS_PER_CORE = 4;

/** What is wrong with a number of threads here; undefined where nothing is. */
export function threadsProblem(threads: number): string | undefined {
  const most = THREADS_PER_CORE * availableParallelism();
  return Number.isInteger(threads) && threads >= 1 && threads <= most
    ? undefined
    : `--threads is a whole number from 1 to ${most} here, ${THREADS_PER_CORE} a core`;
}

/** model.json is read whole. */
export const MAX_MODEL_JSON_BYTES = 256 * KiB;
/** A protobuf cannot be larger; larger weights are external data. */
export const MAX_ONNX_BYTES = 2048 * MiB;
/** Up to this size of its file a model is loaded once a lane (a session with one thread each), above it once (limits.md:
 *  two one-thread sessions answer 13,799 patches in 0.66 s where one two-thread session takes 0.75-0.9 s). */
export const MAX_REPLICATED_MODEL_BYTES = 16 * MiB;
/** Largest batch of one of several lanes, whatever the model prefers: measured with two lanes, batches of 32, 64 and 128 are
 *  equally fast (1.47, 1.48, 1.44 s on a busy machine), and each doubling costs 10 to 20 MB of ONNX Runtime's arena. */
export const MAX_LANE_BATCH = 64;
/** Rows of the golden set that are checked at load: 256 rows take some 10 ms. */
export const MAX_GOLDEN_ROWS = 1024;

/** Progress is for people. */
export const PROGRESS_EVERY_MS = 250;
/** `rep.summary` travels inside a receipt. */
export const MAX_SUMMARY_BYTES = 8 * KiB;
/** Data sets that an error message lists. */
export const MAX_LISTED_DATASETS = 20;
/** Links that are looked at to list them: a hostile file may hold millions. */
export const MAX_VISITED_LINKS = 1000;
