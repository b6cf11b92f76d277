/**
 * Metrics of the broker: which there are, and what they count. Form and closed labels are those of base/metrics.ts.
 *
 * Invariants
 *  M1 Names are farfield_broker_*, with the unit at the end; counters end in _total. They count since the process began.
 *  M2 No label names a principal, endpoint, function or ticket; a route is its name in protos/http.ts, never a URL.
 *  M3 Items and tickets are counted after the commit that makes them so: what was refused by a full disk is in no number.
 */
import { type Counter, createRegistry, type Gauge, type Histogram } from '#base/metrics.ts';
import { ERROR_CODES } from '#kernel/errors.ts';
import { ROUTES } from '#protos/http.ts';

const CODES = Object.keys(ERROR_CODES);
const HTTP_STATUSES = [
  ...new Set(['200', '206', '404', ...Object.values(ERROR_CODES).map(({ http }) => String(http))]),
].sort();
export const TRANSPORTS = ['grpc', 'ws'] as const;
const OUTCOMES = ['succeeded', 'failed', 'refused', 'expired', 'cancelled'] as const;
const OWN_WORD = ['lost', 'expired', 'cancelled'] as const;
/** From a read in memory to a page of 12 MiB of packs over a thin line. */
const REQUESTS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30];
/** An SSD's fsync takes 0.1 to 10 ms; a disk that is dying takes seconds. */
const COMMITS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5];

export interface BrokerMetrics {
  readonly requests: Counter;
  readonly requestSeconds: Histogram;
  readonly refusals: Counter;
  readonly tickets: Counter;
  readonly ticketRefusals: Counter;
  readonly queued: Counter;
  readonly delivered: Counter;
  readonly admitted: Counter;
  readonly handedBack: Counter;
  readonly outcomes: Counter;
  readonly ownWord: Counter;
  readonly conflicts: Counter;
  readonly commits: Histogram;
  readonly storeFailures: Counter;
  readonly blobBytes: Counter;
  readonly linkRefusals: Counter;
  readonly linkSessions: Counter;
  readonly text: () => string;
}

const NAME = 'farfield_broker_';

export function createBrokerMetrics(): BrokerMetrics {
  const { counter, histogram, text } = createRegistry();
  const sparse = { sparse: true };
  return {
    requests: counter(
      `${NAME}http_requests_total`,
      'Requests that were answered, by route and status.',
      { route: Object.keys(ROUTES), status: HTTP_STATUSES },
      sparse,
    ),
    requestSeconds: histogram(
      `${NAME}http_request_seconds`,
      'From the head of a request to the end of its answer; event streams and blobs are left out.',
      REQUESTS_S,
    ),
    refusals: counter(
      `${NAME}http_refusals_total`,
      'Requests that were refused, by route and code; E_BUSY is a rate or a quota.',
      { route: Object.keys(ROUTES), code: CODES },
      sparse,
    ),
    tickets: counter(`${NAME}tickets_submitted_total`, 'Tickets in submissions, by how they were answered.', {
      outcome: ['queued', 'known', 'refused'],
    }),
    ticketRefusals: counter(
      `${NAME}ticket_refusals_total`,
      'Tickets in submissions that were refused, by code.',
      { code: CODES },
      sparse,
    ),
    queued: counter(`${NAME}items_queued_total`, 'Items of tickets that were taken.'),
    delivered: counter(`${NAME}items_delivered_total`, 'Items handed to a link; more than once where one came back.'),
    admitted: counter(`${NAME}items_admitted_total`, 'Items that an endpoint has in its ledger.'),
    handedBack: counter(`${NAME}items_handed_back_total`, 'Items that an endpoint gave back unstarted.'),
    outcomes: counter(
      `${NAME}items_completed_total`,
      'Items that ended by a receipt, by its status; other: in a pack that was known in part.',
      { status: OUTCOMES },
    ),
    ownWord: counter(
      `${NAME}items_ended_here_total`,
      "Items that ended by the broker's own word: never delivered, or lost with the endpoint's ledger.",
      { state: OWN_WORD },
    ),
    conflicts: counter(`${NAME}receipt_conflicts_total`, 'Receipts that contradict what is stored; each is an alarm.'),
    commits: histogram(
      `${NAME}store_commit_seconds`,
      'From a command of the store to its commit, fsync included.',
      COMMITS_S,
    ),
    storeFailures: counter(
      `${NAME}store_failures_total`,
      'Commands that the store refused, by code.',
      { code: CODES },
      sparse,
    ),
    blobBytes: counter(`${NAME}blob_bytes_total`, 'Bytes of blobs, uploaded and downloaded.', {
      direction: ['in', 'out'],
    }),
    linkRefusals: counter(`${NAME}link_refusals_total`, 'Links that were refused, by code.', { code: CODES }, sparse),
    linkSessions: counter(`${NAME}link_sessions_total`, 'Sessions of endpoints that began.', { transport: TRANSPORTS }),
    text,
  };
}

/** What is so now. */
export interface BrokerFacts {
  readonly sessions: readonly string[];
  readonly endpoints: number;
  readonly streams: number;
  readonly tickets: number;
  readonly openItems: number;
  readonly users: number;
  readonly blobs: number;
  readonly blobBytes: number;
  /** Commands of the store that wait for their commit. */
  readonly storeQueue: number;
}

export interface ProcessFacts {
  readonly residentBytes: number;
  readonly startedS: number;
  readonly version: string;
}

export function brokerGauges(facts: BrokerFacts, process: ProcessFacts): Gauge[] {
  const one = (name: string, help: string, value: number): Gauge => ({
    name: `${NAME}${name}`,
    help,
    values: [{ value }],
  });
  return [
    {
      name: `${NAME}info`,
      help: 'The version that runs.',
      values: [{ labels: { version: process.version.replace(/["\\\n]/g, '_') }, value: 1 }],
    },
    {
      name: `${NAME}sessions`,
      help: 'Endpoints that are connected, by transport.',
      values: TRANSPORTS.map((transport) => ({
        labels: { transport },
        value: facts.sessions.filter((each) => each === transport).length,
      })),
    },
    one('endpoints', 'Endpoints that are enrolled.', facts.endpoints),
    one('users', 'Users that are enrolled.', facts.users),
    one('event_streams', 'Event streams that are open.', facts.streams),
    one('tickets', 'Tickets that are kept, ended ones among them.', facts.tickets),
    one('items_open', 'Items whose end is not known.', facts.openItems),
    one('blobs', 'Blobs that are kept.', facts.blobs),
    one('blob_stored_bytes', 'Bytes of blobs that are kept.', facts.blobBytes),
    one('store_queue', 'Commands of the store that wait for their commit.', facts.storeQueue),
    one('start_time_seconds', 'When this process began.', process.startedS),
    one('resident_memory_bytes', 'Memory of this process.', process.residentBytes),
  ];
}
