/**
 * The leaf of one result in a receipt's tree, and the numbers of the statuses. No schema, no signature: lean enough for
 * a pilot.
 *
 *     SHA-256( 0x00 | "farfield/receipt/v1\0" | principal (32) | jti (16) | u32be i | ticket hash (32) | u32be attempt
 *              | status (1) | result digest (32) | digest of the detail bytes (32) | u32be meas )
 *
 * Every field has a fixed width, so no two leaves share an encoding.
 */
import { type Bytes, sha256Into, utf8 } from './bytes.ts';
import { digestBytes, thumbprintBytes } from './ids.ts';
import type { ReceiptStatus } from './tokens/claims.ts';

/** The byte of a status in packs, ledgers and leaves. 0 is never a status. */
export const STATUS_CODES = { succeeded: 1, failed: 2, refused: 3, expired: 4, cancelled: 5 } as const;

const STATUS_NAMES: readonly ReceiptStatus[] = ['succeeded', 'failed', 'refused', 'expired', 'cancelled'];

/** The name of a status byte; undefined for a byte that is none. */
export function statusName(code: number): ReceiptStatus | undefined {
  return STATUS_NAMES[code - 1];
}

export interface Leaf {
  readonly principal: string;
  readonly jti: string;
  readonly i: number;
  readonly ticketHash: string;
  readonly attempt: number;
  readonly status: number;
  /** 32 bytes; zeros if there is no result. */
  readonly resultDigest: Bytes;
  /** SHA-256 of the exact detail bytes. */
  readonly detailDigest: Bytes;
  readonly meas: number;
}

const PREFIX = utf8('\0farfield/receipt/v1\0');
const PRINCIPAL = PREFIX.byteLength;
const JTI = PRINCIPAL + 32;
const ITEM = JTI + 16;
const TICKET = ITEM + 4;
const ATTEMPT = TICKET + 32;
const STATUS = ATTEMPT + 4;
const RESULT = STATUS + 1;
const DETAIL = RESULT + 32;
const MEAS = DETAIL + 32;

/** One record for every leaf: what does not change between items of a ticket is written once. */
const record = Buffer.alloc(MEAS + 4);
record.set(PREFIX);

/** The results of one ticket: columns of equal length, and byte columns back to back. */
export interface LeafColumns {
  readonly jti: string;
  readonly ticketHash: string;
  readonly items: readonly number[];
  readonly attempts: readonly number[];
  /** A byte an item (STATUS_CODES). */
  readonly statuses: Bytes;
  /** Index into the list of detail digests. */
  readonly detail: readonly number[];
  readonly meas: readonly number[];
  /** 32 bytes an item; zeros where there is no result. */
  readonly resultDigests: Bytes;
}

/**
 * Writes the leaf hashes of all items of one ticket into `out`, from byte `at` on. `details` holds the digests of the
 * details, 32 bytes each. The caller has checked that the columns fit together (kernel/receipts.ts).
 */
export function leavesInto(principal: string, columns: LeafColumns, details: Buffer, out: Buffer, at: number): void {
  const key = thumbprintBytes(principal);
  const hash = digestBytes(columns.ticketHash);
  const id = Buffer.from(columns.jti.replaceAll('-', ''), 'hex');
  if (key?.byteLength !== 32 || hash.byteLength !== 32 || id.byteLength !== 16) {
    throw new RangeError('a leaf needs a principal, a jti and a ticket hash');
  }
  record.set(key, PRINCIPAL);
  record.set(id, JTI);
  record.set(hash, TICKET);
  const { items, attempts, statuses, detail, meas } = columns;
  const results = view(columns.resultDigests);
  for (let k = 0; k < items.length; k += 1) {
    record.writeUInt32BE(items[k] ?? 0, ITEM);
    record.writeUInt32BE(attempts[k] ?? 0, ATTEMPT);
    record[STATUS] = statuses[k] ?? 0;
    results.copy(record, RESULT, k * 32, k * 32 + 32);
    const digest = (detail[k] ?? 0) * 32;
    details.copy(record, DETAIL, digest, digest + 32);
    record.writeUInt32BE(meas[k] ?? 0, MEAS);
    sha256Into(record, out, at + k * 32);
  }
}

/** The 32-byte hash of one leaf. */
export function receiptLeaf(leaf: Leaf): Bytes {
  if (leaf.resultDigest.byteLength !== 32 || leaf.detailDigest.byteLength !== 32)
    throw new RangeError('a digest is 32 bytes');
  const out = Buffer.alloc(32);
  const columns: LeafColumns = {
    jti: leaf.jti,
    ticketHash: leaf.ticketHash,
    items: [leaf.i],
    attempts: [leaf.attempt],
    statuses: Uint8Array.of(leaf.status),
    detail: [0],
    meas: [leaf.meas],
    resultDigests: leaf.resultDigest,
  };
  leavesInto(leaf.principal, columns, view(leaf.detailDigest), out, 0);
  return out;
}

/** The same memory as a Buffer. */
export function view(bytes: Bytes): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
