/**
 * JSON from strangers, read so that no two parsers can disagree about it.
 *
 * Invariants
 *  J1 Malformed UTF-8, a byte order mark, duplicate keys, the key `__proto__`, lone surrogates, numbers that overflow and
 *     nesting deeper than 32 are refused.
 *  J2 What is returned came from exactly these bytes: there is no second reading.
 */
import { type Bytes, fromUtf8 } from './bytes.ts';
import { type ErrorCode, FarfieldError } from './errors.ts';

/** Deeper than any token; shallow enough that no recursion of ours or of JSON.parse is in danger. */
const MAX_DEPTH = 32;

/** The value of strict JSON text; throws a FarfieldError of `code` (E_TOKEN_FORM unless given). */
export function parseStrict(text: string | Bytes, code: ErrorCode = 'E_TOKEN_FORM'): unknown {
  const json = typeof text === 'string' ? text : decode(text, code);
  const written = countMembers(json, code);
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new FarfieldError(code, 'this is not JSON', { cause });
  }
  // JSON.parse keeps the last of two equal keys. Its grammar is exact, so every member has one colon outside strings:
  // fewer members in the value than colons in the text means that a key was written twice, however it was escaped.
  if (countKept(value, code) !== written) throw new FarfieldError(code, 'a key of this JSON is written twice');
  return value;
}

function decode(bytes: Bytes, code: ErrorCode): string {
  try {
    return fromUtf8(bytes);
  } catch (cause) {
    throw new FarfieldError(code, 'this JSON is not well-formed UTF-8', { cause });
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** Colons outside strings. Depth is checked here, before JSON.parse meets the text. */
function countMembers(json: string, code: ErrorCode): number {
  let members = 0;
  let depth = 0;
  for (let i = 0; i < json.length; i += 1) {
    switch (json.charCodeAt(i)) {
      case QUOTE:
        i = endOfString(json, i);
        break;
      case COLON:
        members += 1;
        break;
      case OPEN_ARRAY:
      case OPEN_OBJECT:
        depth += 1;
        if (depth > MAX_DEPTH) throw new FarfieldError(code, `this JSON is nested deeper than ${MAX_DEPTH}`);
        break;
      case CLOSE_ARRAY:
      case CLOSE_OBJECT:
        depth -= 1;
        break;
      default:
    }
  }
  return members;
}

/** Index of the closing quote of the string that opens at `start`; the end of the text if it never closes. */
function endOfString(json: string, start: number): number {
  let i = start + 1;
  for (; i < json.length; i += 1) {
    const c = json.charCodeAt(i);
    if (c === QUOTE) return i;
    if (c === BACKSLASH) i += 1;
  }
  return i;
}

/** Members in the parsed value, and the checks of J1 that need the value rather than the text. */
function countKept(value: unknown, code: ErrorCode): number {
  if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new FarfieldError(code, 'a string of this JSON holds half a character');
    return 0;
  }
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new FarfieldError(code, 'a number of this JSON is too large');
    return 0;
  }
  if (typeof value !== 'object' || value === null) return 0;
  let kept = 0;
  if (Array.isArray(value)) {
    for (const entry of value) kept += countKept(entry, code);
    return kept;
  }
  // Keys and an index: Object.entries makes an array a member, half of the cost of reading a ticket.
  const object = value as Readonly<Record<string, unknown>>;
  for (const key of Object.keys(object)) {
    // An own `__proto__` becomes the prototype of whatever it is later assigned to.
    if (key === '__proto__' || !key.isWellFormed()) throw new FarfieldError(code, 'a key of this JSON is not allowed');
    kept += 1 + countKept(object[key], code);
  }
  return kept;
}
