/**
 * Frames of the pipe between pilot and runner (protos/runner.ts), for both ends: u32le header length, u64le body length, JSON
 * header, body.
 *
 * Invariants
 *  F1 A length that no frame can have is refused before anything is allocated for it: a print of some library on stdout
 *     reads as a length, and must end as a clear error, not as 2 GB of memory.
 *  F2 A frame that lies in one chunk is a view of it; one that spans chunks is joined once.
 *  F3 A frame comes out whole whatever the chunks were: split in its prefix, merged with others.
 */
import { isUtf8 } from 'node:buffer';
import { FarfieldError } from '#kernel/errors.ts';

// Also in protos/runner.ts, which would bring TypeBox (30 MB) into every runner and pilot; a test holds them equal.
export const PREFIX_BYTES = 12;
export const MAX_HEADER_BYTES = 16 * 1024 * 1024;
/** 4,096 items with 16 inline arguments each, or results of 64 KiB, stay far below: larger ones are files. */
const MAX_BODY_BYTES = 512 * 1024 * 1024;

export interface PipeFrame {
  readonly header: unknown;
  /** A view, good until the frame's items are answered. */
  readonly body: Buffer;
}

/** One buffer, so that one write carries the frame: a hundred results of 100 bytes would otherwise be a hundred system calls. */
export function encodePipeFrame(header: unknown, body: readonly Uint8Array[] = []): Buffer {
  const text = JSON.stringify(header);
  const headerBytes = Buffer.byteLength(text);
  const bodyBytes = body.reduce((sum, part) => sum + part.byteLength, 0);
  const frame = Buffer.allocUnsafe(PREFIX_BYTES + headerBytes + bodyBytes);
  frame.writeUInt32LE(headerBytes, 0);
  frame.writeUInt32LE(bodyBytes >>> 0, 4);
  frame.writeUInt32LE(Math.floor(bodyBytes / 2 ** 32), 8);
  frame.write(text, PREFIX_BYTES, 'utf8');
  let at = PREFIX_BYTES + headerBytes;
  for (const part of body) {
    frame.set(part, at);
    at += part.byteLength;
  }
  return frame;
}

export interface PipeReader {
  /** The frames that this chunk completes. Throws E_PROTOCOL on what is no frame. */
  push(chunk: Buffer): PipeFrame[];
  /** True when nothing of a further frame has arrived. */
  readonly empty: boolean;
}

/** `peer`: who writes, as errors name it. */
export function createPipeReader(peer = 'the runner'): PipeReader {
  let chunks: Buffer[] = [];
  let buffered = 0;
  let needed = PREFIX_BYTES;

  function total(data: Buffer, at: number): { header: number; total: number } {
    const header = data.readUInt32LE(at);
    const body = data.readUInt32LE(at + 4) + data.readUInt32LE(at + 8) * 2 ** 32;
    if (header === 0 || header > MAX_HEADER_BYTES || body > MAX_BODY_BYTES) {
      const start = JSON.stringify(data.subarray(at, at + 80).toString('latin1'));
      throw new FarfieldError('E_PROTOCOL', `${peer} wrote something that is no frame: ${start}`);
    }
    return { header, total: PREFIX_BYTES + header + body };
  }

  function parse(data: Buffer, at: number, header: number, end: number): PipeFrame {
    const bodyAt = at + PREFIX_BYTES + header;
    const text = data.subarray(at + PREFIX_BYTES, bodyAt);
    try {
      if (!isUtf8(text)) throw new Error('the header is not UTF-8');
      return { header: JSON.parse(text.toString('utf8')), body: data.subarray(bodyAt, end) };
    } catch (cause) {
      throw new FarfieldError('E_PROTOCOL', `${peer} wrote a frame whose header is no JSON in UTF-8`, { cause });
    }
  }

  return {
    push(chunk) {
      chunks.push(chunk);
      buffered += chunk.length;
      const frames: PipeFrame[] = [];
      if (buffered < needed) return frames;
      const data = chunks.length === 1 ? chunk : Buffer.concat(chunks, buffered);
      let at = 0;
      needed = PREFIX_BYTES;
      while (data.length - at >= PREFIX_BYTES) {
        const size = total(data, at);
        if (data.length - at < size.total) {
          needed = size.total;
          break;
        }
        frames.push(parse(data, at, size.header, at + size.total));
        at += size.total;
      }
      const rest = data.subarray(at);
      chunks = rest.length === 0 ? [] : [rest];
      buffered = rest.length;
      return frames;
    },
    get empty() {
      return buffered === 0;
    },
  };
}
