/**
 * Rows, as the rules see them: the seam between what the broker decides and where it is kept.
 *
 * Invariants (of an implementation)
 *  W1 A row that was returned is a copy: changing it changes nothing until it is put back.
 *  W2 Numbers of tickets, packs and cancels rise, and the newest row of each is never dropped, so that none is given twice.
 *  W3 Whatever a command did before it threw is undone.
 */
import type { Bytes } from '#kernel/bytes.ts';
import type { PublicJwk } from '#kernel/ids.ts';
import type { Payload } from './payload.ts';
import type { EventKind, InvitationKind, StoredEvent } from './store.ts';

export interface PrincipalRow {
  readonly no: number;
  readonly kid: string;
  /** Present for an invited user. */
  readonly jwk: PublicJwk | undefined;
  readonly seq: number;
  readonly open: number;
}

export interface EndpointRow {
  readonly no: number;
  readonly id: string;
  readonly descriptor: string;
  readonly seq: number;
  readonly online: PublicJwk;
  readonly onlineKid: string;
  readonly status: string;
  readonly ledgerN: number;
  readonly sessionEpoch: number;
}

/** The part of a ticket that never changes. */
export interface TicketFacts {
  readonly id: string;
  readonly jti: string;
  readonly hash: string;
  readonly fn: string;
  readonly token: string;
  readonly chain: number;
  readonly manifest: number;
  readonly n: number;
  readonly exp: number;
  readonly queuedAt: number;
  readonly principal: number;
  readonly endpoint: number;
}

/** The part that does. */
export interface TicketState {
  readonly no: number;
  readonly states: Bytes;
  /** 8 bytes an item, empty until the first receipt: u32 pack number, and the first four bytes of the result's digest. */
  readonly packs: Bytes;
  readonly pending: number;
  readonly open: number;
  readonly deliveryEpoch: number;
  readonly cancelling: boolean;
  /** max(end, exp) in seconds once nothing is open; 0 before. */
  readonly doneAt: number;
}

/** What the hot commands need of a ticket. */
export interface HotTicket extends TicketState {
  readonly id: string;
  readonly hash: string;
  readonly n: number;
  readonly exp: number;
  readonly principal: number;
  readonly endpoint: number;
}

export interface PackRow {
  readonly endpoint: number;
  readonly ledgerEpoch: number;
  readonly agentPackNo: number;
  readonly digest: string;
  readonly principal: number;
  readonly at: number;
  /** Tickets that name it in their `packs`. */
  readonly refs: number;
  readonly bytes: Bytes;
}

/** A principal that asked an endpoint for access. */
export interface AccessRow {
  readonly principal: number;
  readonly endpoint: number;
  /** Of the last question or answer. */
  readonly at: number;
  /** Of the event that told the last answer; 0: none yet. */
  readonly seq: number;
  /** Of what it says, without its time. */
  readonly digest: string;
  readonly token: string;
}

export interface InvitationRow {
  readonly for: InvitationKind;
  readonly subject: string;
  readonly exp: number;
  readonly used: boolean;
}

export interface Rows {
  generation(): string;
  setGeneration(generation: string): void;

  principal(kid: string): PrincipalRow | undefined;
  principalKid(no: number): string;
  /** Adds one that is no user yet. */
  addPrincipal(kid: string): PrincipalRow;
  setUser(no: number, jwk: PublicJwk): void;
  users(): readonly PrincipalRow[];
  /** Adds to the open items, and returns the next event number. */
  nextSeq(no: number, openDelta: number): number;
  addOpen(no: number, delta: number): void;

  endpoint(id: string): EndpointRow | undefined;
  endpointId(no: number): string;
  endpoints(): readonly EndpointRow[];
  addEndpoint(row: Omit<EndpointRow, 'no'>): void;
  saveEndpoint(row: EndpointRow): void;

  keepChain(digest: string, links: readonly string[]): number;
  keepManifest(digest: string, text: string): number;
  chain(no: number): readonly string[];
  manifest(no: number): string;

  addTicket(facts: TicketFacts, state: Omit<TicketState, 'no'>): number;
  hot(id: string): HotTicket | undefined;
  hotByNo(no: number): HotTicket | undefined;
  facts(no: number): TicketFacts;
  saveState(state: TicketState): void;
  /** With its state, payload, refusals, cancels and blob pins. */
  dropTicket(no: number): void;
  /** Newest first, below `before`. */
  ticketsOf(principal: number, before: number, limit: number): readonly number[];
  pendingPrincipals(endpoint: number): readonly number[];
  pendingTickets(endpoint: number, principal: number, after: number, limit: number): readonly number[];
  openTicketsAt(endpoint: number): readonly number[];
  overdueTickets(nowS: number, limit: number): readonly number[];
  doneTickets(before: number, limit: number): readonly number[];

  addPayload(no: number, payload: Payload): void;
  payload(no: number): Payload | undefined;
  dropPayload(no: number): void;

  packNo(endpoint: number, ledgerEpoch: number, agentPackNo: number, digest: string): number | undefined;
  addPack(row: PackRow): number;
  pack(no: number): PackRow | undefined;
  /** Takes one reference away; a pack without any goes. */
  releasePack(no: number): void;

  addEvent(principal: number, seq: number, kind: EventKind, at: number, data: string, packNo: number): void;
  eventsAfter(principal: number, seq: number, limit: number): readonly Omit<StoredEvent, 'principal'>[];
  firstEvent(principal: number): number;
  dropEvents(before: number, limit: number): number;

  addCancel(endpoint: number, ticket: number, token: string, links: readonly string[], at: number): number;
  cancels(endpoint: number): readonly { no: number; token: string; links: readonly string[] }[];
  dropCancel(endpoint: number, no: number): void;

  addRefusal(ticket: number, items: Bytes, receipt: string): void;
  refusals(ticket: number): readonly { items: Bytes; receipt: string }[];

  addInvitation(secretHash: string, row: Omit<InvitationRow, 'used'>): void;
  invitation(secretHash: string): InvitationRow | undefined;
  useInvitation(secretHash: string): void;
  dropInvitations(before: number): void;

  addBlob(digest: string, size: number): void;
  blobSize(digest: string): number | undefined;
  /** Grants, or renews. */
  grant(principal: number, digest: string, at: number): void;
  granted(principal: number, digest: string): boolean;
  staleGrants(before: number, limit: number): readonly { principal: number; digest: string }[];
  revoke(principal: number, digest: string): void;
  anyGrant(digest: string): boolean;
  dropBlob(digest: string): void;
  pin(ticket: number, digest: string): void;
  unpin(ticket: number): void;
  pinned(digest: string): boolean;
  pinnedAt(endpoint: number, digest: string): boolean;

  asked(principal: number, endpoint: number): AccessRow | undefined;
  /** By rising seq. */
  askedBy(principal: number): readonly AccessRow[];
  saveAsked(row: AccessRow): void;
  newestTold(): readonly { principal: string; seq: number }[];
  dropAsked(before: number): void;

  alarm(at: number, kind: string, text: string): void;
  alarms(limit: number): readonly { at: number; kind: string; text: string }[];
  dropAlarms(before: number): void;

  /** Writes a text of this length and takes it back: a store without room throws. */
  probe(bytes: number): void;
  counts(): {
    tickets: number;
    openItems: number;
    users: number;
    endpoints: number;
    blobs: number;
    blobBytes: number;
  };
}
