/**
 * From the bytes of a stored chunk to its values: undoes a data set's filters, last one first.
 *
 * Invariants
 *  P1 The size of what comes out of every step is known or bounded before the step: the head of the compressed bytes, where there
 *     is one, must say the right size before a byte is decoded, and no decoder may produce more.
 *  P2 What comes out in the end is exactly a chunk, or the chunk is damaged.
 *  P3 Checksums are checked: Fletcher32, and those inside gzip and (where the writer put one) zstd.
 */
import { inflateSync } from 'node:zlib';
import { filterName } from './filters.ts';
import type { StoredFilter } from './object.ts';
import { DecoderFailure, type PluginDecoder } from './plugin.ts';
import { nBit, scaleOffset } from './scaleoffset.ts';

const DEFLATE = 1;
const SHUFFLE = 2;
const FLETCHER32 = 3;
const NBIT = 5;
const SCALEOFFSET = 6;
const LZ4 = 32004;
const BITSHUFFLE = 32008;
const BLOSC = 32001;
const ZSTD = 32015;
const SLACK_BYTES = 64 * 1024;

/** Undoes filters; throws DecoderFailure with the filter's name. */
export interface Pipeline {
  /** The chunk's values; valid until the next call. `mask` has a bit for every filter that the writer left out. */
  decode(stored: Uint8Array, mask: number): Uint8Array;
}

/** `decoder` brings the plug-in of a filter that has one. */
export function createPipeline(
  filters: readonly StoredFilter[],
  chunkBytes: number,
  decoder: (id: number) => PluginDecoder,
): Pipeline {
  const most = 2 * chunkBytes + SLACK_BYTES;
  const unshuffled = new Uint8Array(filters.some(({ id }) => id === SHUFFLE) ? most : 0);
  let inflated: Uint8Array = new Uint8Array(0);
  /** What goes into filter k: known while only size-keeping filters stand before it. */
  const sizeInto = (k: number, mask: number): number | undefined => {
    let size = chunkBytes;
    for (let before = 0; before < k; before++) {
      if (((mask >>> before) & 1) !== 0) continue;
      const id = filters[before]?.id;
      if (id === FLETCHER32) size += 4;
      else if (id !== SHUFFLE) return undefined;
    }
    return size;
  };
  /** One filter; `size` is what must come out, where that is known. */
  const undo = (filter: StoredFilter, stored: Uint8Array, size: number | undefined): Uint8Array => {
    if (filter.id === SHUFFLE) return unshuffle(stored, filter.values[0] ?? 1, unshuffled);
    if (filter.id === FLETCHER32) return withoutChecksum(stored);
    if (filter.id === NBIT) return nBit(stored, filter.values);
    if (filter.id === SCALEOFFSET) return scaleOffset(stored, filter.values);
    if (filter.id === DEFLATE) {
      free(inflated);
      inflated = inflate(stored, size ?? most);
      return inflated;
    }
    mustHaveHead(filter, stored, size);
    return decoder(filter.id).decode(stored, filter.values, size ?? most);
  };
  return {
    decode(stored, mask) {
      let bytes = stored;
      for (let k = filters.length - 1; k >= 0; k--) {
        if (((mask >>> k) & 1) !== 0) continue;
        const filter = filters[k] as StoredFilter;
        const size = sizeInto(k, mask);
        try {
          bytes = undo(filter, bytes, size);
        } catch (reason) {
          const why = reason instanceof Error ? reason.message : 'trapped';
          throw new DecoderFailure(`${filterName(filter.id)}: ${why}`);
        }
        if (size !== undefined && bytes.length !== size) {
          throw new DecoderFailure(`${filterName(filter.id)}: ${bytes.length} bytes came out instead of ${size}`);
        }
      }
      if (bytes.length !== chunkBytes) throw new DecoderFailure(`${bytes.length} bytes came out for ${chunkBytes}`);
      return bytes;
    },
  };
}

/** Large enough that a few which the collector has not yet seen are what a node notices. */
const LARGE_BYTES = 1024 * 1024;

/** Gives the memory of what nobody reads any more back now: chunks of 29 MB were three at a time before the collector came. */
function free({ buffer }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength >= LARGE_BYTES) buffer.transfer(0);
}

/** zlib holds the Adler-32 of what comes out against the one in the stream. */
function inflate(stored: Uint8Array, most: number): Uint8Array {
  try {
    // One piece: in Node's default pieces of 16 KiB, joining them costs a fifth of the time.
    return inflateSync(stored, { maxOutputLength: Math.max(1, most), chunkSize: Math.max(64, most + 1) });
  } catch (reason) {
    const code = (reason as NodeJS.ErrnoException).code;
    throw new DecoderFailure(
      code === 'ERR_BUFFER_TOO_LARGE' ? `inflates to more than ${most} bytes` : (reason as Error).message,
    );
  }
}

/** Byte k of every element stood together; what is left over at the end stood as it is. */
function unshuffle(stored: Uint8Array, size: number, room: Uint8Array): Uint8Array {
  if (size <= 1) return stored;
  const count = Math.floor(stored.length / size);
  const out = room.subarray(0, stored.length);
  if (size === 4) {
    // Four times as fast as the general form: two thirds of all patches are FP32.
    const [b, c, d] = [count, 2 * count, 3 * count];
    for (let k = 0, to = 0; k < count; k++, to += 4) {
      out[to] = stored[k] as number;
      out[to + 1] = stored[b + k] as number;
      out[to + 2] = stored[c + k] as number;
      out[to + 3] = stored[d + k] as number;
    }
  } else {
    for (let byte = 0; byte < size; byte++) {
      const from = byte * count;
      for (let k = 0, to = byte; k < count; k++, to += size) out[to] = stored[from + k] as number;
    }
  }
  out.set(stored.subarray(count * size), count * size);
  return out;
}

/** Checks and takes off the last four bytes. */
function withoutChecksum(stored: Uint8Array): Uint8Array {
  if (stored.length < 4) throw new DecoderFailure('too short for its checksum');
  const data = stored.subarray(0, -4);
  const found = new DataView(stored.buffer, stored.byteOffset + data.length, 4).getUint32(0, true);
  const sum = fletcher32(data);
  // Libraries before 1.6.3 on little-endian machines wrote both halves with their bytes exchanged.
  const exchanged = ((sum & 0x00ff00ff) << 8) | ((sum >>> 8) & 0x00ff00ff);
  if (found !== sum && found !== exchanged >>> 0) throw new DecoderFailure('the checksum does not match');
  return data;
}

/** HDF5's form: over big-endian 16-bit words, a last odd byte counting as the high one. */
export function fletcher32(data: Uint8Array): number {
  let [sum1, sum2] = [0, 0];
  const words = data.length >> 1;
  for (let k = 0; k < words; ) {
    // 360 words keep both sums below 2^32.
    const end = Math.min(words, k + 360);
    for (; k < end; k++) {
      sum1 += ((data[2 * k] as number) << 8) | (data[2 * k + 1] as number);
      sum2 += sum1;
    }
    sum1 = (sum1 & 0xffff) + (sum1 >>> 16);
    sum2 = (sum2 & 0xffff) + (sum2 >>> 16);
  }
  if (data.length % 2 === 1) {
    sum1 += (data[data.length - 1] as number) << 8;
    sum2 += sum1;
    sum1 = (sum1 & 0xffff) + (sum1 >>> 16);
    sum2 = (sum2 & 0xffff) + (sum2 >>> 16);
  }
  sum1 = (sum1 & 0xffff) + (sum1 >>> 16);
  sum2 = (sum2 & 0xffff) + (sum2 >>> 16);
  return ((sum2 << 16) | sum1) >>> 0;
}

/** P1 for compressed forms that state sizes: what they say must be what is due, and their blocks must fill them exactly. */
function mustHaveHead({ id, values }: StoredFilter, stored: Uint8Array, size: number | undefined): void {
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  const due = (said: number): void => {
    const fits = size === undefined || said === size;
    if (!fits) throw new DecoderFailure(`says that ${said} bytes come out, not ${size}`);
  };
  if (id === BLOSC) {
    if (stored.length < 16) throw new DecoderFailure('too short');
    due(view.getUint32(4, true));
    if (view.getUint32(12, true) !== stored.length) throw new DecoderFailure('says another length than it has');
  } else if (id === LZ4) {
    if (stored.length < 12) throw new DecoderFailure('too short');
    const [total, block] = [Number(view.getBigUint64(0)), view.getUint32(8)];
    due(total);
    // The decoder goes on until it has its bytes, which by nothing at a time is for ever.
    if (block === 0) throw new DecoderFailure('has blocks of no size');
    mustFill(view, 12, Math.ceil(total / block), 0);
  } else if (id === BITSHUFFLE && (values[4] ?? 0) !== 0) {
    if (stored.length < 12) throw new DecoderFailure('too short');
    const total = Number(view.getBigUint64(0));
    due(total);
    // Whole blocks, a last one of a multiple of eight elements, and up to seven elements as they are.
    const width = Math.max(1, values[2] ?? 1);
    const [elements, inBlock] = [Math.floor(total / width), Math.floor(view.getUint32(8) / width)];
    if (inBlock === 0) throw new DecoderFailure('has blocks of no size');
    const blocks = Math.floor(elements / inBlock) + (elements % inBlock >= 8 ? 1 : 0);
    mustFill(view, 12, blocks, (elements % 8) * width);
  } else if (id === ZSTD) zstdHead(view, due);
}

/** Blocks behind their big-endian lengths fill the rest of the chunk but `after` bytes. */
function mustFill(view: DataView, from: number, blocks: number, after: number): void {
  let at = from;
  for (let k = 0; k < blocks; k++) {
    if (at + 4 > view.byteLength) throw new DecoderFailure('its blocks end early');
    at += 4 + view.getUint32(at);
  }
  if (at + after !== view.byteLength) throw new DecoderFailure('its blocks do not fill it');
}

/** The frame's content size, where it is there. */
function zstdHead(view: DataView, due: (said: number) => void): void {
  if (view.byteLength < 6 || view.getUint32(0, true) !== 0xfd2fb528) throw new DecoderFailure('no zstd frame');
  const flags = view.getUint8(4);
  const single = (flags & 32) !== 0;
  const width = [single ? 1 : 0, 2, 4, 8][flags >> 6] ?? 0;
  const at = 5 + (single ? 0 : 1) + ([0, 1, 2, 4][flags & 3] ?? 0);
  if (at + width > view.byteLength) throw new DecoderFailure('too short');
  if (width === 1) due(view.getUint8(at));
  else if (width === 2) due(view.getUint16(at, true) + 256);
  else if (width === 4) due(view.getUint32(at, true));
  else if (width === 8) due(Number(view.getBigUint64(at, true)));
}
