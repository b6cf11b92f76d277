/**
 * The receipt of one item as a file that proves itself to anybody, without a broker, an account or a network.
 *
 * Invariants
 *  P1 What is exported was verified first; what is read back is believed only as far as signatures and hashes carry it.
 *  P2 The chain is: endpoint id = thumbprint of the root key, root signs the descriptor, its online key signs the receipts
 *     token, whose Merkle root covers the leaf of this item. Times are those of the signing: a receipt does not expire.
 *  P3 A receipt says which endpoint speaks, not that it is a good one: who reads it compares the endpoint's id.
 */
import { type Static, Type as T } from 'typebox';
import { sha256 } from '#kernel/bytes.ts';
import { readDescriptor } from '#kernel/endpoint.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { digestBytes, ticketId } from '#kernel/ids.ts';
import { parseStrict } from '#kernel/json.ts';
import { openToken } from '#kernel/jws.ts';
import { DEFAULT_CLOCK_TOLERANCE_S, MAX_ITEMS } from '#kernel/limits.ts';
import { type Detail, DetailShape, type OpenedPack, receiptLeaf, STATUS_CODES, verifyProof } from '#kernel/receipts.ts';
import { assertShape } from '#kernel/schema.ts';
import { type Measured, ReceiptStatus } from '#kernel/tokens/claims.ts';

const closed = { additionalProperties: false } as const;
const Count = T.Integer({ minimum: 0, maximum: 0xffffffff });
const Digest = T.String({ pattern: '^sha256:[0-9a-f]{64}$' });
const Thumbprint = T.String({ pattern: '^[A-Za-z0-9_-]{43}$' });

export const ReceiptFile = T.Object(
  {
    v: T.Literal(1),
    kind: T.Literal('farfield-receipt'),
    /** The endpoint's descriptor, signed by its root key. */
    descriptor: T.String({ maxLength: 16 * 1024 }),
    /** `farfield-receipts+jwt`. */
    receipts: T.String({ maxLength: 64 * 1024 }),
    principal: Thumbprint,
    jti: T.String({ pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' }),
    ticketHash: Digest,
    i: T.Integer({ minimum: 0, maximum: MAX_ITEMS - 1 }),
    attempt: Count,
    status: ReceiptStatus,
    result: T.Optional(Digest),
    /** Base64 of the exact detail bytes. */
    detail: T.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$' }),
    meas: Count,
    /** Which leaf it is, and the siblings from the bottom up. */
    index: Count,
    proof: T.Array(Digest, { maxItems: 32 }),
  },
  closed,
);
export type ReceiptFile = Static<typeof ReceiptFile>;

/** What a receipt file proves. */
export interface Proven {
  readonly endpoint: string;
  readonly principal: string;
  /** Ticket id. */
  readonly id: string;
  readonly i: number;
  readonly ticketHash: string;
  readonly attempt: number;
  readonly status: ReceiptStatus;
  readonly resultDigest: string | undefined;
  readonly detail: Detail;
  readonly meas: Measured;
  /** When it was signed, seconds since 1970. */
  readonly iat: number;
}

const hex = (bytes: Uint8Array): string => `sha256:${Buffer.from(bytes).toString('hex')}`;

/** The receipt of item `i` of `id`, from a pack that was opened (and so verified); undefined where the pack has none. */
export function receiptOf(pack: OpenedPack, descriptor: string, id: string, i: number): ReceiptFile | undefined {
  let index = 0;
  for (const ticket of pack.pack.tickets) {
    const k = ticket.id === id ? ticket.items.indexOf(i) : -1;
    if (k < 0) {
      index += ticket.items.length;
      continue;
    }
    const item = pack.item(index + k);
    return {
      v: 1,
      kind: 'farfield-receipt',
      descriptor,
      receipts: pack.token.text,
      principal: pack.pack.principal,
      jti: item.jti,
      ticketHash: item.ticketHash,
      i,
      attempt: item.attempt,
      status: item.status,
      ...(item.resultDigest === undefined ? {} : { result: item.resultDigest }),
      detail: Buffer.from(pack.pack.details[ticket.detail[k] ?? 0] ?? []).toString('base64'),
      meas: ticket.meas[k] ?? 0,
      index: index + k,
      proof: pack.proof(index + k).map(hex),
    };
  }
  return undefined;
}

/** Verifies a receipt file (P2); throws what does not hold. */
export function verifyReceipt(value: unknown): Proven {
  const file = assertShape(ReceiptFile, value, 'E_RECEIPT', 'the receipt file');
  const descriptor = readDescriptor(file.descriptor).claims;
  const token = openToken('farfield-receipts+jwt', file.receipts, descriptor.sign);
  const { claims } = token;
  const meas = claims.meas[file.meas];
  if (claims.endpoint !== descriptor.iss) throw bad('it is by another endpoint than its descriptor');
  if (claims.aud !== file.principal) throw bad('it is for another principal');
  if (
    claims.iat > descriptor.exp + DEFAULT_CLOCK_TOLERANCE_S ||
    claims.iat < descriptor.iat - DEFAULT_CLOCK_TOLERANCE_S
  )
    throw bad('it was signed outside of the life of the key that signed it');
  if (meas === undefined) throw bad('its measurement is not among the signed ones');
  const detail = Buffer.from(file.detail, 'base64');
  const leaf = receiptLeaf({
    principal: file.principal,
    jti: file.jti,
    i: file.i,
    ticketHash: file.ticketHash,
    attempt: file.attempt,
    status: STATUS_CODES[file.status],
    resultDigest: file.result === undefined ? new Uint8Array(32) : digestBytes(file.result),
    detailDigest: sha256(detail),
    meas: file.meas,
  });
  if (!verifyProof(digestBytes(claims.root), file.index, claims.n, leaf, file.proof.map(digestBytes)))
    throw bad('its contents are not those that the endpoint signed');
  return {
    endpoint: claims.endpoint,
    principal: file.principal,
    id: ticketId(file.principal, file.jti),
    i: file.i,
    ticketHash: file.ticketHash,
    attempt: file.attempt,
    status: file.status,
    resultDigest: file.result,
    detail: assertShape(DetailShape, parseStrict(detail, 'E_RECEIPT'), 'E_RECEIPT', 'the detail of this receipt'),
    meas,
    iat: claims.iat,
  };
}

function bad(why: string): FarfieldError {
  return new FarfieldError('E_RECEIPT', `this receipt does not hold: ${why}. Ask for the file again from who made it`);
}
