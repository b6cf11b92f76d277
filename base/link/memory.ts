/**
 * Links within one process: for simulations and tests, and wherever two parts live together.
 *
 * Delivery is never in the sender's own turn (a microtask lies between), as with every other transport: code that only
 * works when an answer comes at once would pass here and fail elsewhere.
 */
import { FarfieldError } from '#kernel/errors.ts';
import { createGauge, createInbox, createOnce } from './queue.ts';
import { type Acceptor, assertFrame, type Dialler, type Ending, type Link, RECEIVE_HIGH_BYTES } from './seam.ts';

/** One side, and what the other side does to it. */
interface End {
  readonly link: Link;
  /** Ends this side as a cut connection would. */
  cut(reason: string): void;
  arrive(frame: Uint8Array, done: () => void): void;
  finish(ending: Ending): void;
}

function createEnd(remote: string, peer: () => End): End {
  const gauge = createGauge();
  const once = createOnce<Ending>();
  // The receiver's high-water mark is the only buffer of this transport: what is not taken there stays counted here.
  let held: { frame: Uint8Array; done: () => void }[] = [];
  let paused = false;
  const inbox = createInbox<Uint8Array>(
    {
      pause: () => {
        paused = true;
      },
      resume: () => {
        paused = false;
        const waiting = held;
        held = [];
        for (const { frame, done } of waiting) arrive(frame, done);
      },
    },
    RECEIVE_HIGH_BYTES,
  );

  function arrive(frame: Uint8Array, done: () => void): void {
    if (paused) {
      held.push({ frame, done });
      return;
    }
    inbox.push(frame, frame.byteLength);
    done();
  }

  function finish(ending: Ending): void {
    if (!once.settle(ending)) return;
    gauge.release();
    // A clean end comes behind the frames that were sent before it; a cut takes them along.
    for (const { frame } of ending.clean ? held : []) inbox.push(frame, frame.byteLength);
    held = [];
    inbox.end(!ending.clean);
  }

  return {
    arrive,
    finish,
    cut(reason) {
      finish({ clean: false, reason });
      peer().finish({ clean: false, reason });
    },
    link: {
      transport: 'memory',
      remote,
      frames: inbox,
      closed: once.promise,
      send(frame) {
        assertFrame(frame);
        if (once.settled) return false;
        // Copied: a sender may reuse its buffer, and no other transport would show the receiver that.
        const copy = frame.slice();
        const ok = gauge.add(copy.byteLength);
        queueMicrotask(() => peer().arrive(copy, () => gauge.done(copy.byteLength)));
        return ok;
      },
      writable: () => gauge.writable(),
      close(reason = 'closed') {
        if (once.settled) return;
        const ending = { clean: true, reason };
        queueMicrotask(() => peer().finish(ending));
        finish(ending);
        inbox.end(true);
      },
    },
  };
}

/** Two links that are each other's peer. */
export interface MemoryPair {
  readonly dialled: Link;
  readonly accepted: Link;
  /** Cuts both sides as a lost connection would. */
  cut(reason?: string): void;
}

export function memoryPair(name = 'memory'): MemoryPair {
  const a: End = createEnd(`${name}:acceptor`, () => b);
  const b: End = createEnd(`${name}:dialler`, () => a);
  return { dialled: a.link, accepted: b.link, cut: (reason = 'connection lost') => a.cut(reason) };
}

export interface MemoryTransport {
  readonly acceptor: Acceptor;
  readonly dialler: Dialler;
  /** Every pair that was ever dialled, oldest first: for faults in simulations. */
  readonly pairs: readonly MemoryPair[];
}

/** A dialler and an acceptor, as the other transports have them. */
export function memoryTransport(name = 'memory'): MemoryTransport {
  const inbox = createInbox<Link>();
  const pairs: MemoryPair[] = [];
  let open = true;
  return {
    pairs,
    dialler: {
      name,
      dial(signal) {
        if (signal.aborted)
          return Promise.reject(new FarfieldError('E_UNAVAILABLE', `the dial of ${name} was given up`));
        if (!open) return Promise.reject(new FarfieldError('E_UNAVAILABLE', `nobody listens at ${name}`));
        const pair = memoryPair(name);
        pairs.push(pair);
        inbox.push(pair.accepted, 0);
        return Promise.resolve(pair.dialled);
      },
    },
    acceptor: {
      address: name,
      links: inbox,
      [Symbol.asyncDispose]() {
        open = false;
        inbox.end();
        for (const pair of pairs) pair.accepted.close('the acceptor closed');
        return Promise.resolve();
      },
    },
  };
}
