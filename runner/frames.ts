/**
 * The frame codec of the pipe (protos/runner.ts): u32le header length, u64le body length, JSON header, body.
 *
 * Invariants
 *  F1 A frame comes out whole whatever the chunks were: split in a prefix, merged with others.
 *  F2 A length that no frame can have is refused before anything is allocated for it.
 *  F3 No byte is copied more than once: a frame inside one chunk is a view on it, one that spans chunks is joined once.
 */
import { fromUtf8, utf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_BODY_BYTES } from './limits.ts';

// Also in protos/runner.ts, which would bring TypeBox (30 MB) into every runner; a test holds them equal.
export const PREFIX_BYTES = 12;
export const MAX_HEADER_BYTES = 16 * 1024 * 1024;

/** One frame; `body` is a view that is good until its items are answered. */
export interface Frame {
  readonly header: unknown;
  readonly body: Uint8Array;
}

/** The parts of a frame, ready to be written one after another. */
export function encodeFrame(header: unknown, body: readonly Uint8Array[] = []): Uint8Array[] {
  const text = utf8(JSON.stringify(header));
  const head = Buffer.allocUnsafe(PREFIX_BYTES + text.length);
  head.writeUInt32LE(text.length, 0);
  head.writeBigUInt64LE(BigInt(body.reduce((sum, part) => sum + part.byteLength, 0)), 4);
  head.set(text, PREFIX_BYTES);
  return [head, ...body];
}

export class FrameReader {
  readonly #chunks: Uint8Array[] = [];
  #buffered = 0;
  /** Bytes of the frame in progress, once its prefix is there. */
  #needed = PREFIX_BYTES;

  /** Takes a chunk; answers the frames that it completes. Throws E_PROTOCOL on garbage. */
  push(chunk: Uint8Array): Frame[] {
    if (chunk.byteLength > 0) this.#chunks.push(chunk);
    this.#buffered += chunk.byteLength;
    const frames: Frame[] = [];
    while (this.#buffered >= this.#needed) {
      const joined = this.#join();
      const size = sizeOf(joined);
      if (joined.byteLength < size.total) {
        this.#needed = size.total;
        break;
      }
      frames.push(parse(joined, size));
      const rest = joined.subarray(size.total);
      this.#chunks.length = 0;
      if (rest.byteLength > 0) this.#chunks.push(rest);
      this.#buffered = rest.byteLength;
      this.#needed = PREFIX_BYTES;
    }
    return frames;
  }

  /** True when nothing of a further frame has arrived. */
  get empty(): boolean {
    return this.#buffered === 0;
  }

  /** All chunks as one; they stay joined, so that a later chunk does not join them again. */
  #join(): Uint8Array {
    const [first] = this.#chunks;
    if (this.#chunks.length === 1 && first !== undefined) return first;
    const joined = Buffer.concat(this.#chunks);
    this.#chunks.length = 0;
    this.#chunks.push(joined);
    return joined;
  }
}

/** Lengths of a frame's parts, as its prefix states them. */
interface Size {
  readonly header: number;
  readonly total: number;
}

/** F2: a print on stdout reads as a length of 1.7 GB ("Warn"), and ends here. */
function sizeOf(bytes: Uint8Array): Size {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = view.getUint32(0, true);
  const body = view.getBigUint64(4, true);
  if (header === 0 || header > MAX_HEADER_BYTES || body > BigInt(MAX_BODY_BYTES)) {
    throw new FarfieldError('E_PROTOCOL', `not a frame: a header of ${header} bytes and a body of ${body}`);
  }
  return { header, total: PREFIX_BYTES + header + Number(body) };
}

/** The header must be UTF-8 and JSON; what it means is checked by the pipe. */
function parse(bytes: Uint8Array, size: Size): Frame {
  const bodyAt = PREFIX_BYTES + size.header;
  try {
    const header: unknown = JSON.parse(fromUtf8(bytes.subarray(PREFIX_BYTES, bodyAt)));
    return { header, body: bytes.subarray(bodyAt, size.total) };
  } catch (reason) {
    throw new FarfieldError('E_PROTOCOL', 'the header of a frame is not JSON in UTF-8', { cause: reason });
  }
}
