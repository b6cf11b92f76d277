/** Limits of `serve` alone, each with its reason. */

const MiB = 1024 * 1024;

/** One request with its tensors: 138,000 patches as FP32. More rows belong into `batch`, which reads files. */
export const MAX_REQUEST_BYTES = 64 * MiB;
/** JSON is parsed in one go on the thread that answers everybody: 8 MiB take some 0.1 s. Larger tensors are sent in binary. */
export const MAX_JSON_BYTES = 8 * MiB;
/** All bodies that are being read or wait: what callers can make this process hold, whatever they send. */
export const MAX_HELD_BYTES = 256 * MiB;
/** Connections at once; more are closed at the door. */
export const MAX_CONNECTIONS = 512;
/** A request's first line and headers; node's own bound, stated. */
export const MAX_HEADER_BYTES = 16 * 1024;
/** From a request's first byte to its last: a body that trickles in must not hold memory for ever. */
export const REQUEST_MS = 30_000;
/** How long a connection may stay open with nothing on it. */
export const IDLE_MS = 60_000;
/** Names and ids of a caller that are repeated to it. */
export const MAX_WORD = 256;
/** After the queue is empty: how long answers may take to leave while the process ends. */
export const FLUSH_MS = 5_000;
/** What `Retry-After` says: queues here empty in tenths of a second, and a second is the least that it can say. */
export const RETRY_AFTER_S = 1;
