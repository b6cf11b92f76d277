/** What a caller gets for one item: the verified end of it, and the proof to show to others. */
import type { Bytes } from '#kernel/bytes.ts';
import { type ErrorCode, FarfieldError, isErrorCode } from '#kernel/errors.ts';
import { invocationId } from '#kernel/ids.ts';
import type { Detail } from '#kernel/receipts.ts';
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
  /** The verified `farfield-receipts+jwt` that covers this item, and the endpoint that signed it. */
  readonly receipts: string;
  readonly endpoint: string;
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
