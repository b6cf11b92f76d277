/**
 * Limits of the broker alone, each with its reason. What both sides of a link must agree on is in kernel/limits.ts.
 */
const KiB = 1024;
const MiB = 1024 * KiB;

/** Items of one principal that may be queued, delivered or admitted at once: a day of one busy pipeline. */
export const MAX_OPEN_ITEMS = 1_000_000;
/** Inline arguments of one item together. A delivery that holds one item must fit a frame of 1 MiB with its chain and list. */
export const MAX_INLINE_BYTES_PER_ITEM = 512 * KiB;
/** Bytes of one Deliver message; the rest of a frame is room for what the ticket carries with it. */
export const DELIVER_BYTES = 384 * KiB;
/** Items of one turn of one principal in the fair share: a small batch goes out at once, a large one lets others in between. */
export const FAIR_QUANTUM = 256;
/** Tickets of one principal that the dispatcher holds in memory; those behind them stay in the store alone. */
export const LANE_TICKETS = 2048;
/** Payload bytes kept in memory on their way to an agent, over all endpoints: beyond it they are read from the store. */
export const PAYLOAD_CACHE_BYTES = 32 * MiB;
/** Tickets read from the store at a time when a lane runs low. */
export const LANE_PAGE = 512;

/** Bytes of events that wait for one slow reader before the stream goes back to reading the store. */
export const EVENT_BUFFER_BYTES = 1 * MiB;
/** Events read from the store at a time for a reader that is behind. */
export const EVENT_PAGE = 64;
/** A comment line keeps proxies from closing a quiet stream. */
export const EVENT_HEARTBEAT_MS = 15_000;
/** Streams of one principal: a notebook, a terminal, a pipeline or two. */
export const MAX_STREAMS_PER_PRINCIPAL = 32;

/** Request tokens remembered against replay. At a minute's life this is 3,000 signed requests a second. */
export const MAX_SEEN_REQUESTS = 200_000;
/** Opened chains kept: the live session keys of a busy broker. */
export const CHAIN_CACHE = 4096;
/** Tickets whose last running state is kept in memory. */
export const RUNNING_CACHE = 20_000;

/**
 * How long a command that nobody waits for may wait for one to ride with. Longer than most short calls take: at 4 ms the sync
 * of a call's admission began just before its outcome came, which then waited for it (measured: 3 ms of a call's 11).
 */
export const RIDE_MS = 50;
/** How often expired and outdated rows are looked for. */
export const SWEEP_MS = 15_000;
/** Rows that one sweep command touches, so that a commit stays short. */
export const SWEEP_ROWS = 500;
/** Alarms are for people; a month is enough to find them. */
export const ALARM_RETENTION_S = 30 * 24 * 3600;
/** An upload that was left unfinished. */
export const PARTIAL_BLOB_S = 24 * 3600;
/** An agent whose outcome could not be stored comes back after this. */
export const DISK_FULL_RETRY_S = 15;
/** Requests for access, and looks at them, a minute: a person who types. */
export const MAX_ACCESS_PER_PRINCIPAL = 10;
/** To one endpoint, from everybody. */
export const MAX_ACCESS_PER_ENDPOINT = 60;
/** Tickets in one page of the list. */
export const LIST_TICKETS = 200;
/** Packs fetched in one answer: about 16 MiB of JSON at most. */
export const PACKS_BYTES = 12 * MiB;
/** Tickets of a submission that are checked before other requests get a turn: 5 ms of signatures. */
export const CHECKS_PER_TURN = 32;
