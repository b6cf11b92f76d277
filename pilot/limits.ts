/** Numbers of the pilot alone, each with its reason. */

const KiB = 1024;
const MiB = 1024 * KiB;

/** Work that a slot's runner holds at once, in time: twice a round trip under load, so that the runner never waits. */
export const WINDOW_MS = 25;
/** And in items and bytes, whatever the rate. */
export const MAX_WINDOW_ITEMS = 4096;
export const MAX_WINDOW_BYTES = 8 * MiB;
/** One frame to a runner: its header is parsed in one turn there. */
export const MAX_RUN_ITEMS = 1024;

/** An item that takes this long is worth a runner of its own on another slot, if one is free. */
export const LONG_ITEM_MS = 50;
/** Nobody waits longer than this beside a free slot, whatever was measured before. */
export const MAX_WAIT_MS = 200;
/** How often waiting items are looked at again while there are any. */
export const WAIT_TICK_MS = 20;

/** A cancelled item has this long to say so before its runner is killed. */
export const CANCEL_GRACE_MS = 3000;
/** An orderly close of a runner: ONNX Runtime frees its memory, the pipe is flushed. */
export const CLOSE_GRACE_MS = 2000;
/** Loading a model may compile kernels (TensorRT: minutes). */
export const LOAD_TIMEOUT_MS = 15 * 60_000;
/** Time-outs are in whole seconds; looking each second is exact enough and costs nothing. */
export const TIMEOUT_TICK_MS = 1000;
/** Items that run longer than this are announced as running; shorter ones would only cost messages. */
export const ANNOUNCE_AFTER_MS = 250;

/**
 * A file argument up to this size is copied for a container; copying takes 0.1 s then. A larger one is bound by itself, which
 * costs a start of a container, a small share of what reading it takes.
 */
export const STAGE_MAX_BYTES = 64 * MiB;

/** One Done message: below the frame limit with room for keys, details and measurements. */
export const MAX_DONE_BYTES = 640 * KiB;
export const MAX_DONE_ITEMS = 2048;
/** What a runner claims about one item; more is dropped, and said. */
export const MAX_REP_BYTES = 16 * KiB;
export const MAX_MESSAGE_CHARS = 2048;

/** stderr that is kept for the message of a crash. */
export const STDERR_TAIL_BYTES = 4 * KiB;
/** And of it in the message, which a receipt carries. */
export const MAX_LAST_WORDS = 1800;
/** One log message. */
export const LOG_CHUNK_BYTES = 16 * KiB;

/** After a stop: outcomes wait this long for their acknowledgement. */
export const FAREWELL_MS = 5000;
/**
 * A pilot whom no agent ever took gives its node back after this, if its grace is not shorter: a firewall in the way stays in
 * the way, and everybody who waits should read why.
 */
export const FIRST_CONTACT_S = 120;
/** The agent is on the same machine: it is back within its start, or it is away for long. */
export const PILOT_BACKOFF = { firstMs: 50, maxMs: 2000 } as const;
