/** What a caller gets for one item: the verified end of it, and the proof to show to others. */
import { type Bytes, fromUtf8 } from '#kernel/bytes.ts';
import { type ErrorCode, FarfieldError, isErrorCode } from '#kernel/errors.ts';
import { invocationId } from '#kernel/ids.ts';
import type { Detail, OpenedPack } from '#kernel/receipts.ts';
import type { Measured, ReceiptStatus } from '#kernel/tokens/claims.ts';

export interface Outcome {
  /** Ticket id. */
  readonly id: string;
  readonly i: number;
  readonly status: ReceiptStatus;
  readonly attempt: number;
  /** The result, when it came inline; its digest was checked. */
  readonly result: Bytes | undefined;
  readonly resultDigest: string | undefined;
  readonly detail: Detail;
  readonly meas: Measured;
  /** The verified `farfield-receipts+jwt` that covers this item, its id, and the endpoint that signed it. */
  readonly receipt: { readonly token: string; readonly id: string; readonly endpoint: string };
}

/** The outcome at position `k` of the pack's ticket number `ticket`. */
export function outcomeOf(place: { readonly pack: OpenedPack; readonly ticket: number; readonly k: number }): Outcome {
  const { pack, ticket, k } = place;
  let first = 0;
  for (const each of pack.pack.tickets.slice(0, ticket)) first += each.items.length;
  const item = pack.item(first + k);
  return {
    id: item.ticketId,
    i: item.i,
    status: item.status,
    attempt: item.attempt,
    result: item.result,
    resultDigest: item.resultDigest,
    detail: item.detail,
    meas: item.meas,
    receipt: { token: pack.token.text, id: pack.token.hash, endpoint: pack.token.claims.endpoint },
  };
}

/** The failure that an outcome stands for, or undefined when it succeeded. */
export function outcomeError(outcome: Outcome): FarfieldError | undefined {
  if (outcome.status === 'succeeded') return undefined;
  const { code, message } = outcome.detail.err ?? { code: '', message: `ended ${outcome.status}` };
  const known: ErrorCode = isErrorCode(code) ? code : outcome.status === 'cancelled' ? 'E_CANCELLED' : 'E_FUNCTION';
  return new FarfieldError(known, message, {
    details: { invocation: invocationId(outcome.id, outcome.i), status: outcome.status, attempt: outcome.attempt },
  });
}

/** Value of an inline JSON result. */
export function jsonResult(outcome: Outcome): unknown {
  if (outcome.result === undefined) throw new FarfieldError('E_USAGE', 'this result is not inline; download it');
  return JSON.parse(fromUtf8(outcome.result)) as unknown;
}
