/**
 * The two filters that know of numbers: scaleoffset (values minus their least, in as few bits as they take) and nbit
 * (only the bits that the type uses).
 *
 * Undone here and not by the library, which trusts the lengths in a chunk: it would read beyond a chunk that lies about
 * them.
 */
import { DecoderFailure } from './plugin.ts';

const HEAD_BYTES = 21;
const FLOAT_BY_DECIMALS = 0;
const FLOAT_BY_EXPONENT = 1;
const INTEGER = 2;

/** What the filter's parameters say. */
interface Parameters {
  readonly kind: number;
  readonly factor: number;
  readonly count: number;
  readonly isFloat: boolean;
  readonly size: number;
  readonly signed: boolean;
  readonly bigEndian: boolean;
  /** The fill value's bits as a number, where values that were never set are told apart. */
  readonly fill: bigint | undefined;
}

/**
 * Twenty numbers that the filter's `set_local` wrote: kind, factor, elements a chunk, class, bytes, sign, byte order,
 * whether there is a fill value, and that value's bits. Kind 1 (exponents) was specified and never written.
 */
function parametersOf(values: readonly number[]): Parameters {
  const [kind = 0, factor = 0, count = 0, type = 0, size = 0, sign = 0, order = 0, filled = 0, ...fill] = values;
  const known =
    (type === 0
      ? kind === INTEGER && [1, 2, 4, 8].includes(size)
      : kind === FLOAT_BY_DECIMALS && [4, 8].includes(size)) && type <= 1;
  if (!known || kind === FLOAT_BY_EXPONENT) throw new DecoderFailure('has parameters that are not read here');
  const bits = BigInt(fill[0] ?? 0) | (BigInt(size === 8 ? (fill[1] ?? 0) : 0) << 32n);
  return {
    kind,
    factor: factor | 0,
    count,
    isFloat: type === 1,
    size,
    signed: sign === 1,
    bigEndian: order === 1,
    fill: filled === 1 ? BigInt.asUintN(8 * size, bits) : undefined,
  };
}

/**
 * Undoes scaleoffset: a head of 21 bytes (bits a value, width of the least value, the least value), then the values
 * less that one, highest bit first, packed without gaps.
 */
export function scaleOffset(stored: Uint8Array, values: readonly number[]): Uint8Array {
  const parameters = parametersOf(values);
  const { count, size, bigEndian } = parameters;
  if (stored.length < HEAD_BYTES) throw new DecoderFailure('too short');
  const head = new DataView(stored.buffer, stored.byteOffset, HEAD_BYTES);
  const bits = head.getUint32(0, true);
  const least = head.getUint8(4) === 8 ? head.getBigUint64(5, true) : undefined;
  const body = stored.subarray(HEAD_BYTES);
  if (bits > 8 * size || least === undefined) throw new DecoderFailure('has an impossible head');
  const packed = Math.floor((count * bits) / 8);
  // The writer adds a byte, whether the last bits need it or not; whole elements go as they are.
  const fits = bits === 8 * size ? body.length === count * size : body.length === packed + 1;
  if (!fits) throw new DecoderFailure(`has ${body.length} bytes for ${count} values of ${bits} bits`);
  if (bits === 8 * size) return body;
  const out = new Uint8Array(count * size);
  const view = new DataView(out.buffer);
  const put = putter(parameters, view, least, bits);
  if (size === 8) eachWide(body, count, bits, put);
  else eachNarrow(body, count, bits, (k, raw) => put(k, BigInt(raw)));
  // The stream of bits is the machine's; the elements are the file's.
  return bigEndian ? reversed(out, size) : out;
}

/** Each element's bytes the other way round, in place. */
function reversed(bytes: Uint8Array, size: number): Uint8Array {
  for (let at = 0; at < bytes.length; at += size) bytes.subarray(at, at + size).reverse();
  return bytes;
}

/** Places value k, from its raw bits. */
function putter(
  { isFloat, size, fill, factor }: Parameters,
  view: DataView,
  least: bigint,
  bits: number,
): (k: number, raw: bigint) => void {
  const unset = fill === undefined ? -1n : (1n << BigInt(bits)) - 1n;
  const set = (k: number, value: bigint): void => {
    if (size === 8) view.setBigUint64(8 * k, BigInt.asUintN(64, value), true);
    else if (size === 4) view.setUint32(4 * k, Number(BigInt.asUintN(32, value)), true);
    else if (size === 2) view.setUint16(2 * k, Number(BigInt.asUintN(16, value)), true);
    else view.setUint8(k, Number(BigInt.asUintN(8, value)));
  };
  if (!isFloat) return (k, raw) => set(k, raw === unset && bits > 0 ? (fill as bigint) : raw + least);
  // Floats were multiplied by a power of ten and rounded; the library computes back in the element's own precision, so
  // must this.
  const scale = 10 ** factor;
  const cell = new DataView(new ArrayBuffer(8));
  cell.setBigUint64(0, least, true);
  if (size === 8) {
    const low = cell.getFloat64(0, true);
    return (k, raw) =>
      raw === unset && bits > 0
        ? set(k, fill as bigint)
        : view.setFloat64(8 * k, Number(BigInt.asIntN(64, raw)) / scale + low, true);
  }
  const low = cell.getFloat32(0, true);
  const { fround } = Math;
  return (k, raw) =>
    raw === unset && bits > 0
      ? set(k, fill as bigint)
      : view.setFloat32(4 * k, fround(fround(fround(Number(BigInt.asIntN(32, raw))) / fround(scale)) + low), true);
}

/** Numbers of up to 32 bits, highest bit first. */
function eachNarrow(body: Uint8Array, count: number, bits: number, each: (k: number, raw: number) => void): void {
  let [held, have, at] = [0, 0, 0];
  for (let k = 0; k < count; k++) {
    while (have < bits) {
      held = held * 256 + (body[at++] ?? 0);
      have += 8;
    }
    const rest = 2 ** (have - bits);
    const raw = Math.floor(held / rest);
    held -= raw * rest;
    have -= bits;
    each(k, raw);
  }
}

/** The same for up to 64 bits, four times as slow: 64-bit integers are labels, not patches. */
function eachWide(body: Uint8Array, count: number, bits: number, each: (k: number, raw: bigint) => void): void {
  let [held, have, at] = [0n, 0, 0];
  for (let k = 0; k < count; k++) {
    while (have < bits) {
      held = (held << 8n) | BigInt(body[at++] ?? 0);
      have += 8;
    }
    have -= bits;
    each(k, held >> BigInt(have));
    held &= (1n << BigInt(have)) - 1n;
  }
}

/** nbit over elements that use all their bits says so and changes nothing; elements that do not are refused by their type. */
export function nBit(stored: Uint8Array, values: readonly number[]): Uint8Array {
  if (values[1] !== 1) throw new DecoderFailure('leaves bits out, which is not read here');
  return stored;
}
