/**
 * The seam between links and whatever carries them: gRPC, WebSocket, a Unix socket, TLS, memory.
 *
 * Invariants (test/base/link/conformance.ts holds every transport to them)
 *  S1 Within one link frames arrive in order, none lost, none twice, until the link ends.
 *  S2 `send` never blocks and never throws for a link that ended: the frame is lost, as it would be in the network.
 *     It throws E_TOO_LARGE for a frame over MAX_FRAME_BYTES and E_PROTOCOL for an empty one: both are defects of the sender.
 *  S3 `send` returns false once more than the high-water mark waits; `writable()` resolves below the low one, or at the end.
 *  S4 `closed` resolves once and never rejects. It is clean when either side called `close`, with that side's reason;
 *     anything else (reset, garbage, a peer that died) is unclean, with what happened.
 *  S5 Frames that arrived before a clean end are still iterated; then the iteration ends.
 *  S6 A slow reader of `frames` slows the sender: at most RECEIVE_HIGH_BYTES and what is in flight wait on this side.
 *
 * What a link does not do: resume, acknowledge, authenticate, notice a half-open peer. Those are frames (session.ts).
 */
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_FRAME_BYTES } from '#kernel/limits.ts';

export type TransportName = 'grpc' | 'ws' | 'memory' | 'unix' | 'tls';

export interface Ending {
  readonly clean: boolean;
  readonly reason: string;
}

export interface Link {
  readonly transport: TransportName;
  /** Who is at the other end, for logs only. */
  readonly remote: string;
  /** The address that it comes from, where strangers can dial: counted while nobody knows who it is (accept.ts). */
  readonly origin?: string;
  /** False: over the high-water mark; the frame was taken all the same. */
  send(frame: Uint8Array): boolean;
  writable(): Promise<void>;
  readonly frames: AsyncIterable<Uint8Array>;
  /** Ends the link after what was sent. */
  close(reason?: string): void;
  readonly closed: Promise<Ending>;
}

export interface Dialler {
  readonly name: string;
  dial(signal: AbortSignal): Promise<Link>;
}

export interface Acceptor extends AsyncDisposable {
  /** Where it listens, as a dialler would name it. */
  readonly address: string;
  readonly links: AsyncIterable<Link>;
}

/** Two frames may wait in a transport: one on its way, one behind it, so that a cancel is never far back. */
export const SEND_HIGH_BYTES = 2 * MAX_FRAME_BYTES;
export const SEND_LOW_BYTES = MAX_FRAME_BYTES;
/** Frames that arrived and were not read yet: above it the transport stops reading from its socket. */
export const RECEIVE_HIGH_BYTES = 4 * MAX_FRAME_BYTES;
/** A peer that does not finish a close within this is cut off. */
export const CLOSE_GRACE_MS = 2000;
/** A dial (TCP, TLS, upgrade) that takes longer has failed. */
export const DIAL_TIMEOUT_MS = 10_000;
/** Links that one acceptor holds at once, authenticated or not. */
export const MAX_CONNECTIONS = 1024;

export function assertFrame(frame: Uint8Array): void {
  if (frame.byteLength === 0) throw new FarfieldError('E_PROTOCOL', 'an empty frame was sent: it would mean the end');
  if (frame.byteLength <= MAX_FRAME_BYTES) return;
  throw new FarfieldError(
    'E_TOO_LARGE',
    `a frame of ${frame.byteLength} bytes was sent; the limit is ${MAX_FRAME_BYTES}`,
  );
}
