/**
 * A session: one authenticated link, from the challenge to its end.
 *
 *     acceptor                         dialler
 *     Challenge {id, nonce, versions} ->
 *                                      <- Hello {signed answer, versions}
 *     Welcome {version, epoch}        ->        (or Bye {code, message}, from either side, and the link ends)
 *
 * Invariants
 *  H1 The dialler signs nothing for an acceptor that it did not mean to reach, so a hello cannot be relayed.
 *  H2 Before the hello was verified, one frame of at most MAX_HELLO_BYTES is read, within `handshakeMs`.
 *  H3 Both sides name a range of versions; the highest common one holds. Without one, the side that notices says so
 *     (E_VERSION, which versions, who must upgrade) and ends the link. A build speaks its version and the one before.
 *  H4 Each side has a beat each `heartbeatMs`; a peer from which nothing came for `missedBeats` beats is dead. Beats are
 *     counted, not subtracted from a clock: a process that was stopped for a minute wakes to one missed beat. A beat is a
 *     ping, unless one of the peer's was answered since the last: then each has heard the other. The acceptor is ahead, so
 *     that a healthy session has its pings alone.
 *  H5 Whatever else arrives counts as a sign of life; time that our own handler takes counts as silence of nobody.
 *
 * Who may connect, and which of two sessions of one key lives, is decided by the owner's callbacks.
 */

import type { Clock, Timer } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import { toBase64Url } from '#kernel/bytes.ts';
import { type ErrorCode, FarfieldError, isErrorCode } from '#kernel/errors.ts';
import { PROTOCOL } from '#kernel/limits.ts';
import type { Bye, Challenge, Ping, Pong } from '#protos/generated/link.js';
import { type Codec, createOutlet, type Lane, type Outlet } from './messages.ts';
import { createOnce } from './queue.ts';
import type { Link } from './seam.ts';

export interface ProtocolRange {
  readonly min: number;
  readonly max: number;
}

/** What both dialects (broker and agent, agent and pilot) share. */
export interface Dialect {
  challenge?: Challenge;
  bye?: Bye;
  ping?: Ping;
  pong?: Pong;
  hello?: { protocolMin: number; protocolMax: number };
  welcome?: { protocol: number; sessionEpoch: number };
}
export type HelloOf<M extends Dialect> = NonNullable<M['hello']>;
export type WelcomeOf<M extends Dialect> = NonNullable<M['welcome']>;

/** A hello with a descriptor, a status and the held leases of a busy pilot; a token alone is at most 16 KiB. */
export const MAX_HELLO_BYTES = 512 * 1024;

export interface SessionTimes {
  readonly heartbeatMs: number;
  readonly missedBeats: number;
  readonly handshakeMs: number;
}
/** A dead peer is noticed within 15-20 s; a handshake is two round trips and two signatures. */
export const SESSION_TIMES: SessionTimes = { heartbeatMs: 5000, missedBeats: 3, handshakeMs: 10_000 };

/** How a session ended. `bye` carries a code that says whether dialling again can help (supervisor.ts). */
export type SessionEnd =
  | {
      readonly kind: 'bye';
      readonly by: 'peer' | 'self';
      readonly code: ErrorCode;
      readonly message: string;
      readonly retryAfterS: number;
    }
  | { readonly kind: 'lost'; readonly reason: string };

export interface Session<M extends Dialect> {
  readonly remote: string;
  readonly transport: Link['transport'];
  readonly protocol: number;
  readonly epoch: number;
  /** See Outlet.send. */
  send(message: M, lane?: Lane): boolean;
  writable(): Promise<void>;
  flush(): void;
  /**
   * Hands over the messages of each frame, in order, and waits for the handler before the next: its owner's pace is the
   * sender's. A handler that throws ends the session. Resolves with the end; call it once.
   */
  serve(handler: (messages: readonly M[]) => void | Promise<void>): Promise<SessionEnd>;
  /** Says why and ends the link. */
  close(code: ErrorCode, message: string, retryAfterS?: number): void;
  readonly closed: Promise<SessionEnd>;
  /** Milliseconds of our last ping and its answer; undefined before the first, which a dialler seldom sends. */
  readonly roundTripMs: number | undefined;
}

interface Common<M extends Dialect> {
  readonly link: Link;
  readonly codec: Codec<M>;
  readonly clock: Clock;
  readonly protocol?: ProtocolRange;
  readonly times?: Partial<SessionTimes>;
}

/** The highest version that both sides speak. */
export function negotiate(mine: ProtocolRange, theirs: ProtocolRange): number | undefined {
  const highest = Math.min(mine.max, theirs.max);
  return highest >= Math.max(mine.min, theirs.min) ? highest : undefined;
}

/** Says which side is behind: that is the one question of whoever reads it. */
function versionRefusal(mine: ProtocolRange, theirs: ProtocolRange): FarfieldError {
  const [older, newer] = mine.max < theirs.min ? ['this side', 'the other side'] : ['the other side', 'this side'];
  return new FarfieldError(
    'E_VERSION',
    `no common link version: this side speaks ${mine.min}-${mine.max}, the other ${theirs.min}-${theirs.max}; upgrade ${older} (${newer} is newer)`,
    { details: { mineMin: mine.min, mineMax: mine.max, theirsMin: theirs.min, theirsMax: theirs.max } },
  );
}

function byeOf(error: FarfieldError): Bye {
  // Only what a peer may know: code and message. `cause` stays here (kernel/errors.ts, E3).
  const message = error.code === 'E_INTERNAL' ? 'a defect on the other side' : error.message;
  return { code: error.code, message, retryAfterS: Math.ceil(error.retryAfterS ?? 0) };
}

function errorOfBye(bye: Bye): FarfieldError {
  const code = isErrorCode(bye.code) ? bye.code : 'E_PROTOCOL';
  return new FarfieldError(code, bye.message, bye.retryAfterS > 0 ? { retryAfterS: bye.retryAfterS } : {});
}

/** Frames of a link until the handshake is over: one at a time, with a time limit and a size limit. */
interface Opening<M> {
  next(what: string): Promise<M[]>;
  done(): void;
  readonly frames: AsyncIterator<Uint8Array>;
}

function openOpening<M extends Dialect>(common: Common<M>, times: SessionTimes): Opening<M> {
  const { link, codec, clock } = common;
  const frames = link.frames[Symbol.asyncIterator]();
  let expired: (reason: FarfieldError) => void = () => {};
  const expiry = new Promise<never>((_, reject) => {
    expired = reject;
  });
  // Owned here: nobody may be waiting when it fires.
  expiry.catch(() => {});
  const timer = clock.after(times.handshakeMs, () => {
    expired(new FarfieldError('E_TIMEOUT', `no handshake within ${times.handshakeMs} ms`));
  });
  return {
    frames,
    done: () => timer.cancel(),
    async next(what) {
      const result = await Promise.race([frames.next(), expiry]);
      if (result.done === true) {
        const end = await link.closed;
        throw new FarfieldError('E_UNAVAILABLE', `the link ended before the ${what}: ${end.reason}`);
      }
      if (result.value.byteLength > MAX_HELLO_BYTES)
        throw new FarfieldError('E_TOO_LARGE', `a ${what} of ${result.value.byteLength} bytes`);
      const messages = codec.decode(result.value);
      const bye = messages.find((m) => m.bye !== undefined)?.bye;
      if (bye !== undefined) throw errorOfBye(bye);
      return messages;
    },
  };
}

/** Runs a handshake; whatever goes wrong is said to the peer before the link ends. */
async function shaking<M extends Dialect, R>(
  common: Common<M>,
  run: (opening: Opening<M>, times: SessionTimes) => Promise<R>,
): Promise<R> {
  const times = { ...SESSION_TIMES, ...common.times };
  const opening = openOpening(common, times);
  try {
    return await run(opening, times);
  } catch (reason) {
    const error = FarfieldError.from(reason);
    common.link.send(common.codec.encode({ bye: byeOf(error) } as M));
    common.link.close(error.code);
    throw error;
  } finally {
    opening.done();
  }
}

export interface AcceptOptions<M extends Dialect, P> extends Common<M> {
  readonly random: Random;
  /** Who accepts: the id that the hello must name. */
  readonly acceptor: string;
  /**
   * Decides about a hello, and about a session that the same key may already have. Throws a FarfieldError to refuse.
   * Returns the welcome (all but the version) and whatever the owner wants to know about the peer later.
   */
  verify(
    hello: HelloOf<M>,
    facts: { nonce: string; protocol: number; link: Link },
  ): Promise<{ welcome: Omit<WelcomeOf<M>, 'protocol'>; peer: P }>;
}

/** The accepting side. Throws what the refusal was, after having said it to the peer. */
export async function acceptSession<M extends Dialect, P>(
  options: AcceptOptions<M, P>,
): Promise<{ session: Session<M>; peer: P }> {
  const { link, codec, acceptor } = options;
  const range = options.protocol ?? PROTOCOL;
  return shaking(options, async (opening, times) => {
    const nonce = toBase64Url(options.random.bytes(24));
    link.send(codec.encode({ challenge: { acceptor, nonce, protocolMin: range.min, protocolMax: range.max } } as M));
    const messages = await opening.next('hello');
    const hello = messages[0]?.hello as HelloOf<M> | undefined;
    if (hello === undefined || messages.length !== 1)
      throw new FarfieldError('E_PROTOCOL', 'the first message must be one hello');
    const theirs = { min: hello.protocolMin, max: hello.protocolMax };
    const protocol = negotiate(range, theirs);
    if (protocol === undefined) throw versionRefusal(range, theirs);
    const { welcome, peer } = await options.verify(hello, { nonce, protocol, link });
    const facts = { protocol, epoch: welcome.sessionEpoch, leads: true };
    const session = createSession(options, times, opening.frames, [], facts);
    session.send({ welcome: { ...welcome, protocol } } as M, 'control');
    session.flush();
    return { session, peer };
  });
}

export interface DialOptions<M extends Dialect> extends Common<M> {
  /** Who must be at the other end; undefined where the socket's folder decides (a pilot's first words). */
  readonly acceptor: string | undefined;
  /** Makes the signed answer. The challenge's version range was checked before. */
  hello(challenge: Challenge): Promise<HelloOf<M>>;
}

/** The dialling side. Throws what the refusal was. */
export async function dialSession<M extends Dialect>(
  options: DialOptions<M>,
): Promise<{ session: Session<M>; welcome: WelcomeOf<M> }> {
  const { link, codec } = options;
  const range = options.protocol ?? PROTOCOL;
  return shaking(options, async (opening, times) => {
    const challenge = (await opening.next('challenge'))[0]?.challenge;
    if (challenge === undefined) throw new FarfieldError('E_PROTOCOL', 'the first message must be a challenge');
    if (options.acceptor !== undefined && challenge.acceptor !== options.acceptor) {
      throw new FarfieldError(
        'E_AUDIENCE',
        `${link.remote} says that it is ${challenge.acceptor}, not ${options.acceptor}; nothing was signed for it`,
      );
    }
    const theirs = { min: challenge.protocolMin, max: challenge.protocolMax };
    if (negotiate(range, theirs) === undefined) throw versionRefusal(range, theirs);
    link.send(codec.encode({ hello: await options.hello(challenge) } as M));
    const [first, ...rest] = await opening.next('welcome');
    const welcome = first?.welcome as WelcomeOf<M> | undefined;
    if (welcome === undefined) throw new FarfieldError('E_PROTOCOL', 'the answer to a hello must be a welcome');
    if (welcome.protocol < range.min || welcome.protocol > range.max) {
      throw versionRefusal(range, { min: welcome.protocol, max: welcome.protocol });
    }
    const facts = { protocol: welcome.protocol, epoch: welcome.sessionEpoch, leads: false };
    return { session: createSession(options, times, opening.frames, rest, facts), welcome };
  });
}

/**
 * Beats of a process fall into so many moments of a heartbeat. An agent of 500 pilots spends 4.4 % of a core on beats that come
 * one by one, most of it on waking up, and half of that where they come together; one moment for all would be a stutter.
 */
const MOMENTS = 10;
/** Of a heartbeat: how much sooner than the dialler's the acceptor's first beat is. */
const AHEAD = 0.2;

/** Pings, and the count of beats without a sign of life. */
interface Heart<M> {
  heard(): void;
  /** While our own handler works nothing is read, so nothing can be heard (H5). */
  busy(working: boolean): void;
  answer(message: M): boolean;
  stop(): void;
  readonly roundTripMs: number | undefined;
}

function createHeart<M extends Dialect>(
  clock: Clock,
  times: SessionTimes,
  outlet: Outlet<M>,
  leads: boolean,
  onDead: () => void,
): Heart<M> {
  const { heartbeatMs } = times;
  let silentBeats = 0;
  /** A ping of the peer, since the last beat. */
  let answered = false;
  let working = false;
  let ping = { id: 0, sentAt: 0 };
  let roundTripMs: number | undefined;
  let timer: Timer;

  function beat(): void {
    if (!working) silentBeats += 1;
    if (silentBeats > times.missedBeats) {
      onDead();
      return;
    }
    if (!answered) {
      ping = { id: ping.id + 1, sentAt: clock.mono() };
      outlet.send({ ping: { id: ping.id } } as M, 'control');
    }
    answered = false;
    timer = clock.after(untilBeat(heartbeatMs), beat);
  }
  /** The last of the moments that are no more than so far away. */
  function untilBeat(ms: number): number {
    return ms - (clock.mono() % (heartbeatMs / MOMENTS));
  }
  timer = clock.after(untilBeat(leads ? heartbeatMs * (1 - AHEAD) : heartbeatMs), beat);

  return {
    heard() {
      silentBeats = 0;
    },
    busy(now) {
      working = now;
      silentBeats = 0;
    },
    answer(message) {
      if (message.ping !== undefined) {
        outlet.send({ pong: { id: message.ping.id } } as M, 'control');
        answered = true;
      } else if (message.pong === undefined) return false;
      else if (message.pong.id === ping.id) roundTripMs = clock.mono() - ping.sentAt;
      return true;
    },
    stop: () => timer.cancel(),
    get roundTripMs() {
      return roundTripMs;
    },
  };
}

function createSession<M extends Dialect>(
  common: Common<M>,
  times: SessionTimes,
  frames: AsyncIterator<Uint8Array>,
  backlog: readonly M[],
  { protocol, epoch, leads }: { readonly protocol: number; readonly epoch: number; readonly leads: boolean },
): Session<M> {
  const { link, codec, clock } = common;
  const outlet = createOutlet(link, codec);
  const once = createOnce<SessionEnd>();

  function finish(end: SessionEnd, linkReason: string): void {
    if (!once.settle(end)) return;
    heart.stop();
    link.close(linkReason);
  }

  // What was queued before goes first, as far as the link takes it; the rest is what an outbox is for.
  function close(code: ErrorCode, message: string, retryAfterS = 0): void {
    if (once.settled) return;
    outlet.send({ bye: { code, message, retryAfterS } } as M, 'control');
    outlet.flush();
    finish({ kind: 'bye', by: 'self', code, message, retryAfterS }, code);
  }

  const heart = createHeart(clock, times, outlet, leads, () => {
    finish(
      { kind: 'lost', reason: `nothing was heard for ${times.missedBeats} beats of ${times.heartbeatMs} ms` },
      'silent',
    );
  });

  /** What the owner is to see of a frame; beats and the bye are ours. */
  function sift(messages: readonly M[]): readonly M[] {
    const rest: M[] = [];
    for (const message of messages) {
      if (message.bye !== undefined) {
        const { code, message: text, retryAfterS } = message.bye;
        finish(
          { kind: 'bye', by: 'peer', code: isErrorCode(code) ? code : 'E_PROTOCOL', message: text, retryAfterS },
          code,
        );
        break;
      }
      if (message.challenge !== undefined || message.hello !== undefined || message.welcome !== undefined) {
        throw new FarfieldError('E_PROTOCOL', 'a handshake message within a session');
      }
      if (!heart.answer(message)) rest.push(message);
    }
    return rest;
  }

  async function serve(handler: (messages: readonly M[]) => void | Promise<void>): Promise<SessionEnd> {
    try {
      for (let messages: readonly M[] = backlog; ; ) {
        const rest = sift(messages);
        const work = rest.length === 0 ? undefined : handler(rest);
        // Only a promise is waited for: an `await` of nothing would cost a turn for each frame.
        if (work !== undefined) {
          heart.busy(true);
          await work;
          heart.busy(false);
        }
        const next = await frames.next();
        if (next.done === true) break;
        heart.heard();
        messages = codec.decode(next.value);
      }
    } catch (reason) {
      const error = FarfieldError.from(reason);
      const { code, message } = byeOf(error);
      close(error.code, message);
      if (code === 'E_INTERNAL') throw reason;
    }
    // Only now, not when the link ended: a bye or an outcome may still have been among the frames that had arrived.
    const end = await link.closed;
    finish({ kind: 'lost', reason: end.reason }, end.reason);
    return once.promise;
  }

  return {
    remote: link.remote,
    transport: link.transport,
    protocol,
    epoch,
    send: (message, lane) => outlet.send(message, lane),
    writable: () => outlet.writable(),
    flush: () => outlet.flush(),
    serve,
    close,
    closed: once.promise,
    get roundTripMs() {
      return heart.roundTripMs;
    },
  };
}
