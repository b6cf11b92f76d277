/**
 * The closed set of error codes, and the one class that crosses a boundary.
 *
 * Invariants
 *  E1 A code is never reused or renamed: receipts that carry it live for years.
 *  E2 `message` is for people and says what happened, to what, and what to do next; `code` is for programs.
 *  E3 `cause` stays on this side of a process boundary: it may hold paths and other people's text.
 */

/** Whose move it is: the caller's, the site's, the broker's, or the model's (or function's) author. */
export type Who = 'you' | 'endpoint' | 'broker' | 'model';

interface CodeFacts {
  readonly http: number;
  readonly who: Who;
  /** The same request may succeed later, unchanged. */
  readonly retryable: boolean;
  readonly text: string;
}

const code = (http: number, who: Who, retryable: boolean, text: string): CodeFacts => ({ http, who, retryable, text });

/** Every code with its HTTP status, whose move it is, whether a retry can help, and what it means. */
export const ERROR_CODES = {
  E_INTERNAL: code(500, 'broker', false, 'a defect in Farfield'),
  E_USAGE: code(400, 'you', false, 'a command or option that does not exist or does not fit'),
  E_BAD_REQUEST: code(400, 'you', false, 'a request that does not match its schema'),
  E_NOT_FOUND: code(404, 'you', false, 'no such thing, or not yours to see'),
  E_UNAUTHENTICATED: code(401, 'you', false, 'no valid proof of who asks'),
  E_FORBIDDEN: code(403, 'you', false, 'the asker is known and may not'),
  E_CONFLICT: code(409, 'you', false, 'the stored state forbids it'),
  E_TOO_LARGE: code(413, 'you', false, 'over a limit of size'),
  E_BUSY: code(429, 'broker', true, 'over a quota or credit; try again later'),
  E_UNAVAILABLE: code(503, 'broker', true, 'the service cannot answer now'),
  E_DISK_FULL: code(507, 'broker', true, 'the store refused to grow; nothing was acknowledged'),
  E_TIMEOUT: code(504, 'broker', true, 'no answer in time'),
  E_PROTOCOL: code(400, 'broker', false, 'bytes on a link that the protocol does not allow'),
  E_VERSION: code(400, 'you', false, 'the two sides share no protocol or store version'),

  E_TOKEN_SIZE: code(400, 'you', false, 'a token or chain over its size limit'),
  E_TOKEN_FORM: code(400, 'you', false, 'not a compact JWS in canonical form'),
  E_TOKEN_HEADER: code(400, 'you', false, 'a header other than exactly {alg: Ed25519, typ, kid}'),
  E_TOKEN_TYP: code(400, 'you', false, 'a token of another type than this place takes'),
  E_TOKEN_CLAIMS: code(400, 'you', false, 'claims that do not match the closed schema of the type'),
  E_TOKEN_RESERVED: code(400, 'you', false, 'a field that is reserved in this version'),
  E_TOKEN_SIGNATURE: code(401, 'you', false, 'a signature that does not verify'),
  E_KEY_WEAK: code(400, 'you', false, 'a public key of small order, or not canonical'),
  E_CHAIN: code(401, 'you', false, 'the delegation or credential does not lead to the signer'),
  E_CHAIN_EXPIRED: code(401, 'you', false, 'a delegation or credential that is over'),
  E_CHAIN_SCOPE: code(403, 'you', false, 'outside what the delegation allows'),
  E_UNTRUSTED: code(403, 'you', false, 'the endpoint trusts neither this key nor its issuer'),
  E_AUDIENCE: code(403, 'you', false, 'a token made for another endpoint'),
  E_EXPIRED: code(403, 'you', false, 'past the time until which it might start'),
  E_NOT_YET: code(403, 'you', false, 'issued in the future by this clock'),
  E_LIFE: code(403, 'you', false, 'lives longer than the policy allows'),
  E_LEDGER_EPOCH: code(403, 'endpoint', false, 'issued before the endpoint lost its memory'),
  E_REVOKED: code(403, 'you', false, 'revoked by the site'),
  E_REPLAY: code(409, 'you', false, 'a jti that was used for another ticket'),
  E_ITEMS: code(400, 'you', false, 'the items are not those of the batch ticket'),
  E_DIGEST: code(400, 'you', false, 'bytes that are not those of the digest'),
  E_MANIFEST: code(400, 'you', false, 'the manifest does not fit the ticket, or lacks signatures'),
  E_POLICY: code(403, 'you', false, 'no rule of the site allows it'),
  E_CEILING: code(403, 'you', false, 'over a ceiling of the rule that matched'),
  E_PATH: code(403, 'you', false, 'a path outside what the rule allows'),
  E_ENDPOINT_OFFLINE: code(409, 'endpoint', true, 'the endpoint is offline and the delegation cannot wait for it'),
  E_ENDPOINT_UNKNOWN: code(404, 'you', false, 'no endpoint of this id is enrolled'),
  E_ENROLMENT: code(403, 'you', false, 'an enrolment token that is unknown, used, expired, or for another key'),
  E_FENCED: code(409, 'endpoint', false, 'another session of the same key took over'),
  E_CLOCK: code(503, 'endpoint', true, 'the clock jumped; admission is paused'),
  E_PAUSED: code(503, 'endpoint', true, 'the endpoint is paused or draining'),

  E_INPUT: code(400, 'you', false, 'an argument that the function cannot take'),
  E_HDF5: code(400, 'you', false, 'an HDF5 file that is damaged, or holds what is refused'),
  E_INCOMPLETE: code(409, 'you', false, 'shards of a batch are missing, unfinished or damaged'),
  E_MODEL: code(400, 'model', false, 'a model that cannot be loaded or fails its golden check'),
  E_IMAGE_INCOMPATIBLE: code(400, 'model', false, 'an image in which the runner cannot start'),
  E_VARIANT_INCOMPATIBLE: code(400, 'model', false, 'no variant of the model can run here'),
  E_FUNCTION: code(422, 'model', false, 'the function itself failed'),
  E_RESULT_TOO_LARGE: code(413, 'you', false, 'the result is over its limit; it is kept at the endpoint'),
  E_RUN_TIMEOUT: code(422, 'you', false, 'ran longer than its time-out'),
  E_CANCELLED: code(409, 'you', false, 'cancelled'),
  E_RETRIES_EXHAUSTED: code(422, 'model', false, 'failed as often as it was allowed to'),
  E_OUTCOME_UNKNOWN: code(500, 'endpoint', false, 'the last start may or may not have finished'),
  E_LOST: code(500, 'endpoint', false, 'the endpoint lost it'),
  E_UNRESOLVED: code(504, 'endpoint', true, 'no verified receipt came; it can be re-attached'),
  E_RECEIPT: code(502, 'endpoint', false, 'a receipt that does not verify'),
} as const satisfies Record<string, CodeFacts>;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface FarfieldErrorOptions {
  readonly cause?: unknown;
  /** Seconds after which a retry makes sense. */
  readonly retryAfterS?: number;
  /** Small, public facts for programs (limits, names); never secrets. */
  readonly details?: Readonly<Record<string, string | number | boolean>>;
}

/** An expected failure at a boundary. Programming errors are assertions, not this. */
export class FarfieldError extends Error {
  readonly code: ErrorCode;
  readonly retryAfterS: number | undefined;
  readonly details: Readonly<Record<string, string | number | boolean>>;

  constructor(code: ErrorCode, message: string, options: FarfieldErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'FarfieldError';
    this.code = code;
    this.retryAfterS = options.retryAfterS;
    this.details = options.details ?? {};
  }

  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }

  /** Any thrown value as a FarfieldError; what is not one is E_INTERNAL with the original as `cause`. */
  static from(reason: unknown): FarfieldError {
    if (reason instanceof FarfieldError) return reason;
    const text = reason instanceof Error ? reason.message : String(reason);
    return new FarfieldError('E_INTERNAL', text, { cause: reason });
  }
}

/** True for a string that is one of the codes (a code that came over the wire). */
export function isErrorCode(value: string): value is ErrorCode {
  return Object.hasOwn(ERROR_CODES, value);
}
