/**
 * Reads the body of a request within bounds.
 *
 * Invariants
 *  B1 No body is larger than `maxBytes`, whatever its headers said.
 *  B2 All bodies together are no larger than MAX_HELD_BYTES; bytes count when they come, not when they are announced, so that a
 *     caller who announces much and sends nothing shuts nobody out.
 */
import type { IncomingMessage } from 'node:http';
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_HELD_BYTES, RETRY_AFTER_S } from './limits.ts';

/** Bytes that are held for all callers; whoever adds takes away. */
export interface Held {
  bytes: number;
}

export interface HeldBody extends Disposable {
  readonly bytes: Uint8Array;
}

/** The whole body. Its bytes count as held until it is disposed. */
export async function readBody(request: IncomingMessage, held: Held, maxBytes: number): Promise<HeldBody> {
  const coding = request.headers['content-encoding'] ?? 'identity';
  if (coding !== 'identity') throw new FarfieldError('E_INPUT', 'a compressed body is not taken; send it as it is');
  const tooLarge = (bytes: number): FarfieldError =>
    new FarfieldError(
      'E_TOO_LARGE',
      `the body has ${bytes} bytes or more; at most ${maxBytes} are read in one request`,
    );
  const announced = Number(request.headers['content-length'] ?? 0);
  if (announced > maxBytes) throw tooLarge(announced);
  const chunks: Buffer[] = [];
  let total = 0;
  const release = (): void => {
    held.bytes -= total;
    total = 0;
  };
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      total += chunk.byteLength;
      held.bytes += chunk.byteLength;
      if (total > maxBytes) throw tooLarge(total);
      if (held.bytes > MAX_HELD_BYTES) {
        const text = 'requests of all callers fill the memory that is set aside for them; try again later';
        throw new FarfieldError('E_UNAVAILABLE', text, { retryAfterS: RETRY_AFTER_S });
      }
      chunks.push(chunk);
    }
  } catch (reason) {
    release();
    if (reason instanceof FarfieldError) throw reason;
    throw new FarfieldError('E_CANCELLED', 'the request ended before its body', { cause: reason });
  }
  const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, total);
  return { bytes, [Symbol.dispose]: release };
}
