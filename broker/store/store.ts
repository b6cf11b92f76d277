/**
 * What the broker must not forget: the interface of its store, as batches of domain commands with outcomes per item.
 *
 * Invariants (test/broker/store/conformance.ts holds both implementations to them)
 *  B1 An outcome is returned after the commit that holds its command, and then it is true after any crash.
 *  B2 Every command is conditional on stored state: link commands on the endpoint's session epoch, answers to a delivery on
 *     its delivery epoch. A stale one changes nothing and says so.
 *  B3 Completion is inserted once an item. A second receipt that says something else is refused, recorded and alarmed.
 *  B4 `(principal, jti)` is one ticket for as long as it is kept: the same hash is `known`, another one is E_REPLAY.
 *  B5 An event's number is given in the commit of what it tells; numbers of one principal have no gaps and never repeat.
 *  B6 Payload leaves with the last admission; the ticket, its digests and states stay until `exp` and end + retention.
 *  B7 No command asks for the time: `nowS` comes with it.
 *
 * Layout. A ticket is one row and its items are columns of bytes (a state byte, a pack number and a mark of the result an item), because
 * statements were the cost: at 12,000 items a second one row an item took a whole core for insert, deliver, admit and
 * complete; one statement a ticket and step costs less than 1 us an item. The part that changes (states, 100 bytes) is in
 * a table apart from the part that does not (token, 2 KiB), so that a commit writes few pages.
 * The rules are written once over rows (rows.ts) and run over SQLite or over maps. The dispatch index (endpoint,
 * principal, ticket) where something is pending serves the fair share without a sort.
 */
import type { Bytes } from '#kernel/bytes.ts';
import type { ErrorCode } from '#kernel/errors.ts';
import type { PublicJwk } from '#kernel/ids.ts';
import type { Payload } from './payload.ts';

export type { Payload } from './payload.ts';

export type EventKind = 'queued' | 'admitted' | 'terminal' | 'refusal' | 'lost' | 'access';

/** A numbered event. `data` is JSON text: a list of the payloads that a client sees, one SSE event each; terminal: of no use. */
export interface StoredEvent {
  readonly principal: string;
  readonly seq: number;
  readonly kind: EventKind;
  readonly data: string;
  readonly packNo: number;
}

/** A refusal is a value: the code and sentence that the asker is told. */
export interface Refused {
  readonly kind: 'refused';
  readonly code: ErrorCode;
  readonly message: string;
}

/** Another session of the same endpoint has taken over; nothing was done. */
export interface Fenced {
  readonly kind: 'fenced';
}

export interface QueueTicket {
  readonly id: string;
  readonly principal: string;
  readonly endpoint: string;
  readonly jti: string;
  readonly hash: string;
  readonly fn: string;
  readonly token: string;
  /** Digests of texts in the same command. */
  readonly chain: string;
  readonly manifest: string;
  readonly n: number;
  readonly exp: number;
  readonly payload: Payload;
  /** Blobs that its arguments name; each must be visible to the principal. */
  readonly blobs: readonly { readonly digest: string; readonly size: number }[];
  /** Refuse with this unless the ticket is known already: what the asker's timing decides (an endpoint that is offline). */
  readonly unless?: { readonly code: ErrorCode; readonly message: string } | undefined;
}

export interface Queue {
  readonly tickets: readonly QueueTicket[];
  readonly chains: readonly { readonly digest: string; readonly links: readonly string[] }[];
  readonly manifests: readonly { readonly digest: string; readonly text: string }[];
  readonly maxOpenItems: number;
  readonly nowS: number;
}
export type QueueOutcome =
  | { readonly kind: 'queued'; readonly ticketNo: number }
  | { readonly kind: 'known'; readonly n: number }
  | Refused;
export interface Queued {
  readonly outcomes: readonly QueueOutcome[];
  readonly events: readonly StoredEvent[];
}

export interface Begin {
  readonly endpoint: string;
  readonly descriptor: string;
  readonly seq: number;
  readonly online: PublicJwk;
  readonly onlineKid: string;
  readonly status: string;
  readonly ledger: { readonly n: number; readonly since: number };
  /** The session epoch that the agent remembers; 0 if it remembers none. */
  readonly claimedEpoch: number;
  /** A confirmed session of this endpoint is live at this broker. */
  readonly live: boolean;
  readonly nowS: number;
}
export type Begun =
  | {
      readonly kind: 'begun';
      readonly sessionEpoch: number;
      readonly lostItems: number;
      readonly events: readonly StoredEvent[];
    }
  | Refused;

interface OfSession {
  readonly endpoint: string;
  readonly sessionEpoch: number;
}

export interface Deliver extends OfSession {
  readonly tickets: readonly {
    readonly ticketNo: number;
    readonly deliveryEpoch: number;
    readonly items: Bytes /* u16 */;
  }[];
}
export interface Admitted extends OfSession {
  readonly tickets: readonly { readonly id: string; readonly deliveryEpoch: number; readonly items: Bytes /* u16 */ }[];
  readonly nowS: number;
}
export type AdmittedOutcome =
  | { readonly kind: 'done'; readonly items: number; readonly stale: number; readonly events: readonly StoredEvent[] }
  | Fenced;

export interface Complete extends OfSession {
  readonly ledgerEpoch: number;
  /** The agent's number of the pack, rising within its ledger epoch. */
  readonly agentPackNo: number;
  readonly principal: string;
  readonly digest: string;
  readonly bytes: Bytes;
  readonly tickets: readonly {
    readonly id: string;
    readonly hash: string;
    readonly items: Bytes /* u16 */;
    /** Receipt status codes, a byte an item. */
    readonly statuses: Bytes;
    /** 32 bytes an item. */
    readonly resultDigests: Bytes;
  }[];
  readonly nowS: number;
}
export type Completed =
  | {
      readonly kind: 'stored';
      readonly packNo: number;
      readonly items: number;
      readonly conflicts: number;
      readonly events: readonly StoredEvent[];
    }
  /** This very pack was stored before. */
  | { readonly kind: 'known' }
  | Fenced;

export interface Refuse extends OfSession {
  readonly id: string;
  readonly deliveryEpoch: number;
  readonly items: Bytes /* u16 */;
  readonly receipt: string;
  readonly nowS: number;
}

export interface HandBack extends OfSession {
  readonly id: string;
  readonly deliveryEpoch: number;
  readonly items: Bytes /* u16 */;
  readonly payload: Payload;
  readonly nowS: number;
}
export type HandedBack =
  | { readonly kind: 'done'; readonly ticketNo: number; readonly principal: string; readonly items: Bytes /* u16 */ }
  | Fenced
  | Refused;

export interface Cancel {
  readonly principal: string;
  readonly id: string;
  readonly items: 'all' | Bytes /* u16 */;
  readonly token: string;
  readonly links: readonly string[];
  readonly nowS: number;
}
export type Cancelled =
  | {
      readonly kind: 'done';
      readonly cancelNo: number;
      readonly ticketNo: number;
      readonly endpoint: string;
      /** Items that were still open. */
      readonly items: number;
      /** Those of them that never left the broker: ended by its word. */
      readonly ended: Bytes /* u16 */;
      readonly events: readonly StoredEvent[];
    }
  | Refused;

export interface CancelAcked extends OfSession {
  readonly cancelNos: readonly number[];
}
export interface StatusUpdate extends OfSession {
  readonly status: string;
}
export interface Expire {
  readonly nowS: number;
  readonly limit: number;
}
export interface Expired {
  readonly tickets: readonly { readonly ticketNo: number; readonly endpoint: string }[];
  readonly events: readonly StoredEvent[];
}
export interface Purge {
  readonly nowS: number;
  readonly retentionS: number;
  readonly alarmRetentionS: number;
  readonly limit: number;
}
export interface Purged {
  readonly tickets: number;
  readonly events: number;
  /** Blobs that nobody may see any longer: their files can go. */
  readonly blobs: readonly string[];
  /** The limit was met: there is more. */
  readonly more: boolean;
}

export type InvitationKind = 'endpoint' | 'user';
export interface Invite {
  readonly secretHash: string;
  readonly for: InvitationKind;
  readonly subject: string;
  readonly exp: number;
}
export interface AddUser {
  readonly secretHash: string;
  readonly kid: string;
  readonly jwk: PublicJwk;
  readonly nowS: number;
}
export interface Enrol {
  readonly secretHash: string;
  readonly endpoint: string;
  readonly descriptor: string;
  readonly seq: number;
  readonly online: PublicJwk;
  readonly onlineKid: string;
  readonly nowS: number;
}
export type Accepted = { readonly kind: 'done' } | Refused;

export interface KeepBlob {
  readonly principal: string;
  readonly digest: string;
  readonly size: number;
  readonly nowS: number;
}

export interface AccessAsked {
  readonly principal: string;
  readonly endpoint: string;
  readonly nowS: number;
}
/** An endpoint's signed answer to somebody who asked it for access. */
export interface AccessTold extends OfSession {
  readonly principal: string;
  readonly token: string;
  /** Of what it says, without its time: the same again is no news. */
  readonly digest: string;
  readonly nowS: number;
}
export interface ToldAnswer {
  readonly endpoint: string;
  /** Number of the event that told it. */
  readonly seq: number;
  readonly at: number;
  readonly answer: string;
}

/** The file came from a backup: what readers remember of its events is of another history. */
export interface Restored {
  /** 16 hexadecimal digits that no earlier history had. */
  readonly generation: string;
  readonly nowS: number;
}

/** Every command with its outcome. */
export interface Commands {
  queue: { in: Queue; out: Queued };
  begin: { in: Begin; out: Begun };
  deliver: { in: Deliver; out: { readonly kind: 'done' } | Fenced };
  admitted: { in: Admitted; out: AdmittedOutcome };
  complete: { in: Complete; out: Completed };
  refuse: { in: Refuse; out: AdmittedOutcome };
  handBack: { in: HandBack; out: HandedBack };
  cancel: { in: Cancel; out: Cancelled };
  cancelAcked: { in: CancelAcked; out: { readonly kind: 'done' } | Fenced };
  status: { in: StatusUpdate; out: { readonly kind: 'done' } | Fenced };
  expire: { in: Expire; out: Expired };
  purge: { in: Purge; out: Purged };
  invite: { in: Invite; out: { readonly kind: 'done' } };
  addUser: { in: AddUser; out: Accepted };
  enrol: { in: Enrol; out: Accepted };
  keepBlob: { in: KeepBlob; out: { readonly kind: 'done' } };
  accessAsked: { in: AccessAsked; out: { readonly kind: 'done' } };
  accessTold: { in: AccessTold; out: { readonly kind: 'done'; readonly events: readonly StoredEvent[] } | Fenced };
  restored: { in: Restored; out: { readonly kind: 'done' } };
  /** Writes some pages and takes them back: whether the store could keep what comes. */
  probe: { in: null; out: { readonly kind: 'done' } };
}

export interface TicketView {
  readonly ticketNo: number;
  readonly id: string;
  readonly endpoint: string;
  readonly principal: string;
  readonly jti: string;
  readonly hash: string;
  readonly fn: string;
  readonly n: number;
  readonly exp: number;
  readonly queuedAt: number;
  readonly states: Bytes;
  readonly cancelling: boolean;
  /** The endpoint's stateless refusals of it (farfield-receipt+jwt). */
  readonly refusals: readonly string[];
}

/** A ticket with items that the agent's ledger does not hold. */
export interface PendingTicket {
  readonly ticketNo: number;
  readonly id: string;
  readonly principal: string;
  readonly n: number;
  readonly states: Bytes;
  readonly token: string;
  readonly chainNo: number;
  readonly manifestNo: number;
}

export interface EndpointFacts {
  readonly id: string;
  readonly descriptor: string;
  readonly seq: number;
  readonly online: PublicJwk;
  readonly onlineKid: string;
  readonly status: string;
  readonly sessionEpoch: number;
}

export interface StoredCancel {
  readonly cancelNo: number;
  readonly token: string;
  readonly links: readonly string[];
}

export interface EventPage {
  readonly events: readonly StoredEvent[];
  /** Packs of the terminal events, by number. */
  readonly packs: ReadonlyMap<number, Bytes>;
  /** The oldest number that is kept and the newest that was given (0: none yet). */
  readonly first: number;
  readonly last: number;
}

/** Every question with its answer. They see a committed state. */
export interface Reads {
  generation: { in: null; out: string };
  endpoints: { in: null; out: readonly EndpointFacts[] };
  users: { in: null; out: readonly { readonly kid: string; readonly jwk: PublicJwk }[] };
  ticket: { in: { readonly id: string }; out: TicketView | undefined };
  list: {
    in: { readonly principal: string; readonly before: number; readonly limit: number };
    out: readonly TicketView[];
  };
  /** Texts of signed tickets by number; empty where one is gone meanwhile. */
  tokens: { in: { readonly tickets: readonly number[] }; out: readonly string[] };
  /** Packs with outcomes of a ticket, oldest first, from the one after `after`, up to `maxBytes` (one at least). */
  packs: {
    in: { readonly id: string; readonly after: number; readonly maxBytes: number };
    out: { readonly packs: readonly { readonly packNo: number; readonly bytes: Bytes }[]; readonly more: boolean };
  };
  events: { in: { readonly principal: string; readonly after: number; readonly limit: number }; out: EventPage };
  /** Principals with something pending at an endpoint. */
  backlog: { in: { readonly endpoint: string }; out: readonly string[] };
  pending: {
    in: { readonly endpoint: string; readonly principal: string; readonly after: number; readonly limit: number };
    out: readonly PendingTicket[];
  };
  payload: { in: { readonly ticketNo: number }; out: Payload | undefined };
  /** Chain and manifest texts by number. */
  texts: {
    in: { readonly chains: readonly number[]; readonly manifests: readonly number[] };
    out: { readonly chains: readonly (readonly string[])[]; readonly manifests: readonly string[] };
  };
  cancels: { in: { readonly endpoint: string }; out: readonly StoredCancel[] };
  /** Size of a blob that a principal may see. */
  blobOf: { in: { readonly principal: string; readonly digest: string }; out: number | undefined };
  /** Size of a blob that an endpoint may read: one that an open ticket of its own names. */
  blobAt: { in: { readonly endpoint: string; readonly digest: string }; out: number | undefined };
  /** Whether anybody's row keeps the file of a blob. */
  blobKept: { in: { readonly digest: string }; out: boolean };
  /** What endpoints answered a principal about access, the last of each. */
  accessTold: { in: { readonly principal: string }; out: readonly ToldAnswer[] };
  accessNewest: { in: null; out: readonly { readonly principal: string; readonly seq: number }[] };
  alarms: {
    in: { readonly limit: number };
    out: readonly { readonly at: number; readonly kind: string; readonly text: string }[];
  };
  counts: {
    in: null;
    out: {
      readonly tickets: number;
      readonly openItems: number;
      readonly users: number;
      readonly endpoints: number;
      readonly blobs: number;
      readonly blobBytes: number;
    };
  };
}

export interface BrokerStore extends AsyncDisposable {
  apply<K extends keyof Commands>(kind: K, command: Commands[K]['in']): Promise<Commands[K]['out']>;
  read<K extends keyof Reads>(kind: K, question: Reads[K]['in']): Promise<Reads[K]['out']>;
  close(): Promise<void>;
  /** Settles when the store has ended: undefined after `close`, the reason if it died. */
  readonly ended: Promise<unknown>;
}
