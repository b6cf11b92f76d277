/**
 * Limits that both sides of a link must agree on, each with its reason. Limits of one process alone live in its own folder.
 */

const KiB = 1024;
const MiB = 1024 * KiB;

/** A token larger than this is refused before it is parsed: everything large is named by a digest. */
export const MAX_TOKEN_BYTES = 16 * KiB;
/** Receipts of a whole group commit list their `meas` records once; still bounded. */
export const MAX_RECEIPT_TOKEN_BYTES = 64 * KiB;
/** Delegation and credential today; room for two more links before a chain is somebody's attack. */
export const MAX_CHAIN_LINKS = 4;
/** A manifest lists files and variants, not their bytes. */
export const MAX_MANIFEST_BYTES = 64 * KiB;
/** Items of a batch ticket: one list of 128 KiB of hashes, checked in about 10 ms. */
export const MAX_ITEMS = 4096;
/** The exact bytes of one item: arguments by digest, seed, label. */
export const MAX_ITEM_BYTES = 8 * KiB;
/** Arguments of one item. */
export const MAX_ARGS = 16;
/** An argument or result up to this size travels beside its token; a larger one is a blob. */
export const MAX_INLINE_BYTES = 64 * KiB;
/** One frame on any link: small enough that a cancel never waits long behind data. */
export const MAX_FRAME_BYTES = 1 * MiB;
/** One submission (tickets, items and inline bytes together): 4,096 items of 1 KiB with their descriptions fit. */
export const MAX_SUBMISSION_BYTES = 16 * MiB;
/** Credit in bytes never exceeds this, whatever the measured rate. */
export const MAX_CREDIT_BYTES = 64 * MiB;
/** Credit in items never falls below this, so that a start needs no measurement. */
export const MIN_CREDIT_ITEMS = 256;
/** A blob; a larger data set stays at the endpoint and is named by path. */
export const MAX_BLOB_BYTES = 64 * 1024 * MiB;

/** A session key lives at most this long: it sits in a notebook's memory. */
export const MAX_SESSION_S = 12 * 3600;
/** A ticket expires in a day unless it says otherwise. */
export const DEFAULT_TICKET_LIFE_S = 24 * 3600;
/** `exp - iat` of a ticket where the policy names no bound. */
export const DEFAULT_MAX_TICKET_LIFE_S = 14 * 24 * 3600;
/** Clocks may differ by this much unless the policy says otherwise. */
export const DEFAULT_CLOCK_TOLERANCE_S = 60;
/** A hello answers one challenge; it is useless a minute later. */
export const HELLO_LIFE_S = 60;
/** A signed request is good for one exchange. */
export const REQUEST_LIFE_S = 60;
/** A request for access, or for how one stands: whoever sends it waits for the answer. */
export const ACCESS_LIFE_S = 300;
/** Enrolment tokens and invitations are typed by a person within minutes. */
export const ENROLMENT_LIFE_S = 600;
/** Online keys are renewed by the root at least monthly. */
export const MAX_ONLINE_KEY_S = 30 * 24 * 3600;
/** Results are kept for a week after the end unless configured otherwise. */
export const DEFAULT_RETENTION_S = 7 * 24 * 3600;

/** Failures charged to an invocation before it ends as E_RETRIES_EXHAUSTED. */
export const DEFAULT_MAX_FAILURES = 3;
/** Starts beyond maxFailures that walltime, preemption or a lost node may cost. */
export const EXTRA_STARTS = 5;

/** Link protocol versions that this build speaks. */
export const PROTOCOL = { min: 1, max: 1 } as const;
