/**
 * The ledger: everything that this endpoint promised, in one file.
 *
 * A ticket is one row; its items are byte columns of that row (state, starts, failures, lease epoch). A group commit then
 * costs statements per ticket touched, not per item: with a row per item the statements alone filled a core at 12,000
 * items a second. Every change is still conditional on the stored byte and epoch.
 *
 * Invariants
 *  L1 The key of an item is (principal, jti, i). What was seen before is answered with its stored state, never run again.
 *  L2 Only this ledger mints attempts and lease epochs; a lease is committed before a pilot sees it.
 *  L3 An item ends once: `end` is refused as a whole if any of its items is not in the state that the receipt was made for.
 *  L4 The signed pack is stored in the commit that ends its items; it stays until the broker acknowledged it, and its
 *     tickets' rows stay until `keepUntil`, so that a replay meets its answer.
 *  L5 The highest wall time seen is kept: after a restart with a clock that went back, time goes on from there.
 *
 * The in-memory form (`openMemoryLedger`) runs the same statements on a database without a file. Rejected: a second
 * implementation over maps, which a simulation would test instead of this one.
 */
import { type GroupStore, openGroupStore, synchronousGroup } from '#base/sqlite/group.ts';
import * as module from './ledger-module.ts';

export interface LedgerEpoch {
  readonly n: number;
  readonly since: number;
}

/** A ticket as it is first admitted. */
export interface NewTicket {
  readonly principal: string;
  readonly jti: string;
  readonly id: string;
  readonly hash: string;
  readonly token: string;
  readonly chain: readonly string[];
  readonly manifestDigest: string;
  readonly manifest: Uint8Array;
  readonly n: number;
  /** 32 bytes an item, checked against the ticket; empty for a single one. */
  readonly leaves: Uint8Array;
  /** Seconds since 1970, both. */
  readonly exp: number;
  readonly keepUntil: number;
}

/** Arguments of some items of one ticket, as delivered. */
export interface Payload {
  readonly items: readonly number[];
  readonly itemSizes: readonly number[];
  readonly itemBytes: Uint8Array;
  readonly inlineSizes: readonly number[];
  readonly inline: Uint8Array;
}

/** Where an item's hold on a pilot is written down. */
export interface LeaseGrant {
  readonly items: readonly number[];
  readonly leaseEpoch: number;
  readonly pilot: number;
}

export interface HeldItem {
  readonly ticketNo: number;
  readonly i: number;
  readonly attempt: number;
  readonly leaseEpoch: number;
}

export type LedgerCommand =
  | {
      readonly kind: 'admit';
      readonly ticket: NewTicket;
      readonly payload: Payload;
      /** Leases that begin with the admission, because a slot is free: saves a commit in the latency path. */
      readonly lease?: LeaseGrant;
      /** Wall time in ms: the highest is kept (L5). */
      readonly now: number;
    }
  /** A whole ticket that is refused for good, in one commit: none of its items may come in by a later delivery. */
  | {
      readonly kind: 'refuse';
      readonly ticket: NewTicket;
      /** Of kernel/receipts.ts: refused or expired. */
      readonly status: number;
      /** A Pack as protobuf, with a receipt for each of its items. */
      readonly pack: Uint8Array;
      readonly now: number;
    }
  | { readonly kind: 'lease'; readonly ticketNo: number; readonly grant: LeaseGrant }
  | { readonly kind: 'return'; readonly held: readonly HeldItem[]; readonly charged: boolean }
  | {
      readonly kind: 'end';
      readonly principal: string;
      /** A Pack as protobuf. */
      readonly pack: Uint8Array;
      /** Digests of results in the spool: the broker must have these bytes before it is sent the pack. */
      readonly blobs: readonly string[];
      readonly tickets: readonly EndedItems[];
    }
  | {
      readonly kind: 'cancel';
      readonly principal: string;
      readonly jti: string;
      readonly items: 'all' | readonly number[];
      /** The ticket that is meant; another one under this jti is left alone. */
      readonly hash?: string;
      readonly keepUntil: number;
    }
  | { readonly kind: 'packsAcked'; readonly nos: readonly number[] }
  | { readonly kind: 'packsAgain'; readonly ticketNos: readonly number[] }
  | { readonly kind: 'savePilot'; readonly pilot: PilotRow }
  | { readonly kind: 'redeem'; readonly jti: string; readonly exp: number; readonly pilot: Omit<PilotRow, 'no'> }
  | { readonly kind: 'dropPilot'; readonly no: number }
  /** An empty value removes the key. */
  | { readonly kind: 'meta'; readonly key: string; readonly value: string }
  | { readonly kind: 'newEpoch'; readonly since: number }
  /** Node-hours to be added, by key. */
  | { readonly kind: 'usage'; readonly rows: readonly UsageRow[] }
  /** Whether the file can grow: writes some pages and gives them back. */
  | { readonly kind: 'probe' }
  /** Seconds since 1970, as `keepUntil`. */
  | { readonly kind: 'purge'; readonly nowS: number };

/** Items of one ticket that end, with the state in which the receipt found each: a lease, or waiting (attempt and epoch as stored). */
export interface EndedItems {
  readonly ticketNo: number;
  readonly items: readonly number[];
  readonly attempts: readonly number[];
  readonly leaseEpochs: readonly number[];
  readonly statuses: readonly number[];
}

/** Node-hours under one key; forgotten after `keepUntil`, in seconds since 1970. */
export interface UsageRow {
  readonly key: string;
  readonly hours: number;
  readonly keepUntil: number;
}

export interface PilotRow {
  readonly no: number;
  readonly block: string;
  readonly node: string;
  readonly kid: string;
  readonly jwk: string;
  readonly slots: number;
}

export type LedgerResult =
  | {
      readonly kind: 'admitted';
      readonly ticketNo: number;
      readonly fresh: readonly number[];
      readonly ended: readonly number[];
      readonly cancelled: readonly number[];
      /** Of the lease that came with the admission. */
      readonly leased: readonly number[];
      readonly attempts: readonly number[];
    }
  | { readonly kind: 'replay'; readonly storedHash: string }
  /** The ticket is there already: its stored state is the answer. */
  | { readonly kind: 'known'; readonly ticketNo: number }
  | { readonly kind: 'leased'; readonly items: readonly number[]; readonly attempts: readonly number[] }
  | { readonly kind: 'returned'; readonly count: number }
  | { readonly kind: 'ended'; readonly packNo: number }
  | { readonly kind: 'stale'; readonly why: string }
  | {
      readonly kind: 'cancelled';
      readonly ticketNo: number | undefined;
      readonly waiting: readonly number[];
      readonly leased: readonly number[];
    }
  | { readonly kind: 'pilot'; readonly no: number }
  | { readonly kind: 'epoch'; readonly epoch: LedgerEpoch }
  | { readonly kind: 'done'; readonly count: number };

export type LedgerQuery =
  | { readonly kind: 'known'; readonly principal: string; readonly jti: string }
  | { readonly kind: 'open' }
  | { readonly kind: 'packs'; readonly withBlobs: boolean; readonly after: number; readonly limit: number }
  | { readonly kind: 'pilots' }
  /** Digests of spooled results that packs on their way still name. */
  | { readonly kind: 'openBlobs' }
  | { readonly kind: 'usage' }
  | { readonly kind: 'meta' };

/** A ticket with open items, as a restart finds it. */
export interface OpenTicket {
  readonly ticketNo: number;
  readonly ticket: NewTicket;
  readonly states: Uint8Array;
  readonly starts: Uint8Array;
  readonly failures: Uint8Array;
  readonly leaseEpochs: Uint8Array;
  readonly pilots: Uint8Array;
  readonly cancels: Uint8Array;
  readonly payloads: readonly Payload[];
}

/** A pack that the broker has not acknowledged. */
export interface StoredPack {
  readonly no: number;
  readonly bytes: Uint8Array;
  readonly blobs: readonly string[];
}

export type LedgerAnswer =
  | { readonly kind: 'known'; readonly hash: string | undefined }
  | { readonly kind: 'open'; readonly tickets: readonly OpenTicket[] }
  | { readonly kind: 'packs'; readonly packs: readonly StoredPack[] }
  | { readonly kind: 'pilots'; readonly pilots: readonly PilotRow[] }
  | { readonly kind: 'openBlobs'; readonly blobs: ReadonlySet<string> }
  | { readonly kind: 'usage'; readonly rows: readonly UsageRow[] }
  | {
      readonly kind: 'meta';
      readonly meta: Readonly<Record<string, string>>;
      readonly leaseEpoch: number;
      readonly newestJti: string;
      readonly epoch: LedgerEpoch;
    };

export type Ledger = GroupStore<LedgerCommand, LedgerResult, LedgerQuery, LedgerAnswer>;

export interface LedgerOptions {
  readonly file: string;
  readonly maxPageCount?: number;
}

const moduleUrl = new URL(
  import.meta.url.endsWith('.ts') ? './ledger-module.ts' : './ledger-module.mjs',
  import.meta.url,
);

export function openLedger(options: LedgerOptions): Promise<Ledger> {
  return openGroupStore({
    file: options.file,
    module: moduleUrl,
    userVersion: module.schema.length,
    ...(options.maxPageCount === undefined ? {} : { maxPageCount: options.maxPageCount }),
  });
}

export function openMemoryLedger(
  options: { maxPageCount?: number; schedule?: (commit: () => void) => void; file?: string } = {},
): Ledger {
  return synchronousGroup<LedgerCommand, LedgerResult, LedgerQuery, LedgerAnswer>({ module, ...options });
}
