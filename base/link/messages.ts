/**
 * Messages to frames and back, and the outlet that packs whatever queued during one turn into as few frames as it can.
 *
 * Invariants
 *  M1 A frame holds whole messages only, and at most MAX_FRAME_BYTES.
 *  M2 Lanes go out in order of their rank: control, then prompt (cancels, receipts), then bulk, then logs. Within a lane
 *     the order is that of `send`.
 *  M3 Only the logs lane drops, and `send` says so by returning false; every other lane takes what it is given and
 *     returns false when its owner should wait for `writable()`.
 *  M4 An idle outlet sends in the turn in which it was given something; there is no timer.
 *
 * Bytes fields of decoded messages are views into their frame: what is kept for long must be copied.
 */
import protobuf from 'protobufjs/minimal.js';
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_FRAME_BYTES } from '#kernel/limits.ts';
import { farfield, type LinkMessage, type PilotMessage } from '#protos/generated/link.js';
import type { Link } from './seam.ts';

export type { LinkMessage, PilotMessage };

// 64-bit fields are numbers below 2^53 everywhere; without this protobufjs makes an object of each where `long` is installed.
protobuf.util.Long = null as never;
protobuf.configure();

export type Lane = 'control' | 'prompt' | 'bulk' | 'logs';

/** How messages of one kind of link become bytes. */
export interface Codec<M> {
  /** One message as an element of a frame: tag, length, body. */
  encode(message: M): Uint8Array;
  decode(frame: Uint8Array): M[];
}

const MESSAGES_TAG = (1 << 3) | 2;

function createCodec<M>(
  message: { encode(message: M, writer?: protobuf.Writer): protobuf.Writer },
  frame: { decode(bytes: Uint8Array): { messages: M[] } },
): Codec<M> {
  return {
    encode(value) {
      const writer = protobuf.Writer.create();
      return message.encode(value, writer.uint32(MESSAGES_TAG).fork()).ldelim().finish();
    },
    decode(bytes) {
      try {
        return frame.decode(bytes).messages;
      } catch (error) {
        throw new FarfieldError('E_PROTOCOL', 'a frame that is not of this protocol', { cause: error });
      }
    },
  };
}

/** Broker and agent. */
export const linkCodec: Codec<LinkMessage> = createCodec(farfield.LinkMessage, farfield.LinkFrame);
/** Agent and pilot. */
export const pilotCodec: Codec<PilotMessage> = createCodec(farfield.PilotMessage, farfield.PilotFrame);

/** Messages that wait here before `send` asks the owner to wait: four frames keep any link busy. */
export const OUTLET_HIGH_BYTES = 4 * MAX_FRAME_BYTES;
/** Log lines that may wait; the rest is dropped and counted by their owner. */
export const LOGS_HIGH_BYTES = MAX_FRAME_BYTES;

export interface Outlet<M> {
  send(message: M, lane?: Lane): boolean;
  /** Resolves when less than half of OUTLET_HIGH_BYTES waits, or the link ended. */
  writable(): Promise<void>;
  /** Sends what is queued now, in this turn, as far as the link takes it. */
  flush(): void;
  readonly queuedBytes: number;
}

const RANK = { control: 0, prompt: 1, bulk: 2, logs: 3 } as const satisfies Record<Lane, number>;
const LOGS = RANK.logs;

/** In the place of an element that left, so that a long lane does not hold on to what it has sent. */
const SENT = new Uint8Array(0);

/** Elements of one lane, oldest first. */
class Queue {
  #items: Uint8Array[] = [];
  #head = 0;
  bytes = 0;

  push(item: Uint8Array): void {
    this.#items.push(item);
    this.bytes += item.byteLength;
  }

  peek(): Uint8Array | undefined {
    return this.#items[this.#head];
  }

  shift(): void {
    this.bytes -= this.#items[this.#head]?.byteLength ?? 0;
    this.#items[this.#head] = SENT;
    this.#head += 1;
    // Rarely, and never one by one: shift() on a long array copies all of it.
    if (this.#head > 1024 || this.#head === this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
  }
}

function pack(lanes: readonly Queue[]): Uint8Array | undefined {
  const parts: Uint8Array[] = [];
  let total = 0;
  for (const lane of lanes) {
    for (let next = lane.peek(); next !== undefined; next = lane.peek()) {
      if (total + next.byteLength > MAX_FRAME_BYTES) return Buffer.concat(parts, total);
      parts.push(next);
      total += next.byteLength;
      lane.shift();
    }
  }
  if (total === 0) return undefined;
  return parts.length === 1 ? parts[0] : Buffer.concat(parts, total);
}

export function createOutlet<M>(link: Link, codec: Codec<M>): Outlet<M> {
  const lanes = [new Queue(), new Queue(), new Queue(), new Queue()] as const;
  let scheduled = false;
  let blocked = false;
  let ended = false;
  let waiters: (() => void)[] = [];

  const queued = (): number => lanes[0].bytes + lanes[1].bytes + lanes[2].bytes;

  function wake(): void {
    if (waiters.length === 0 || (!ended && queued() > OUTLET_HIGH_BYTES / 2)) return;
    const woken = waiters;
    waiters = [];
    for (const resolve of woken) resolve();
  }

  function flush(): void {
    scheduled = false;
    if (blocked || ended) return;
    for (let frame = pack(lanes); frame !== undefined; frame = pack(lanes)) {
      if (link.send(frame)) continue;
      blocked = true;
      void link.writable().then(() => {
        blocked = false;
        flush();
      });
      break;
    }
    wake();
  }

  void link.closed.then(() => {
    ended = true;
    wake();
  });

  return {
    flush,
    get queuedBytes() {
      return queued() + lanes[LOGS].bytes;
    },
    send(message, lane = 'bulk') {
      if (ended) return false;
      const bytes = codec.encode(message);
      if (bytes.byteLength > MAX_FRAME_BYTES) {
        throw new FarfieldError(
          'E_TOO_LARGE',
          `a message of ${bytes.byteLength} bytes does not fit into a frame of ${MAX_FRAME_BYTES}`,
        );
      }
      const rank = RANK[lane];
      if (rank === LOGS && lanes[LOGS].bytes + bytes.byteLength > LOGS_HIGH_BYTES) return false;
      lanes[rank].push(bytes);
      if (!scheduled && !blocked) {
        scheduled = true;
        // A microtask, not setImmediate: an answer leaves before the sockets are polled again (p50 of an echo over a Unix
        // socket 98 against 131 us), and what one handler queues in one go still leaves together.
        queueMicrotask(flush);
      }
      return rank === LOGS || queued() <= OUTLET_HIGH_BYTES;
    },
    writable() {
      if (ended || queued() <= OUTLET_HIGH_BYTES / 2) return Promise.resolve();
      return new Promise((resolve) => waiters.push(resolve));
    },
  };
}
