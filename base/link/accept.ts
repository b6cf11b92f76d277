/**
 * The accepting loop: a handshake for each link, a few at a time, and then its session.
 *
 * Invariants
 *  A1 At most `maxOpening` links are unauthenticated at once, a share of them from one address; one more is told E_BUSY and closed. So strangers can hold
 *     neither memory (session.ts, H2) nor the turn of those who are known.
 *  A2 What goes wrong with one link ends that link only.
 */
import { type ErrorCode, FarfieldError } from '#kernel/errors.ts';
import type { Acceptor, Link } from './seam.ts';
import { type AcceptOptions, acceptSession, type Dialect, type Session } from './session.ts';

/** Handshakes at once: each may cost two signatures, and a broker's restart brings all agents at the same time. */
export const MAX_OPENING = 64;
/** Of these from one address: a stranger who opens links and says nothing holds a quarter of the turns, not all. */
export const MAX_OPENING_PER_ORIGIN = 16;

export interface ServeOptions<M extends Dialect, P> extends Omit<AcceptOptions<M, P>, 'link'> {
  readonly maxOpening?: number;
  /** Owns the session from now on; must call session.serve. */
  onSession(session: Session<M>, peer: P): Promise<unknown>;
  onRefused?(link: Link, code: ErrorCode, message: string): void;
  /** A defect: something else than a refusal was thrown. */
  onError(error: unknown, link: Link): void;
}

/** Serves until the acceptor is disposed; resolves when every session that it started has ended. */
export async function serveLinks<M extends Dialect, P>(acceptor: Acceptor, options: ServeOptions<M, P>): Promise<void> {
  const running = new Set<Promise<void>>();
  let opening = 0;
  const origins = new Map<string, number>();
  const count = ({ origin }: Link, by: number): void => {
    opening += by;
    if (origin === undefined) return;
    const now = (origins.get(origin) ?? 0) + by;
    if (now > 0) origins.set(origin, now);
    else origins.delete(origin);
  };
  const isFull = ({ origin }: Link): boolean =>
    opening >= (options.maxOpening ?? MAX_OPENING) ||
    (origin !== undefined && (origins.get(origin) ?? 0) >= MAX_OPENING_PER_ORIGIN);

  async function one(link: Link): Promise<void> {
    count(link, 1);
    let accepted: { session: Session<M>; peer: P };
    try {
      accepted = await acceptSession({ ...options, link });
    } catch (reason) {
      const error = FarfieldError.from(reason);
      options.onRefused?.(link, error.code, error.message);
      if (error.code === 'E_INTERNAL') options.onError(reason, link);
      return;
    } finally {
      count(link, -1);
    }
    try {
      await options.onSession(accepted.session, accepted.peer);
    } catch (reason) {
      accepted.session.close('E_INTERNAL', 'a defect on the other side');
      options.onError(reason, link);
    }
  }

  for await (const link of acceptor.links) {
    if (isFull(link)) {
      const message = 'too many links are being opened; try again later';
      link.send(options.codec.encode({ bye: { code: 'E_BUSY', message, retryAfterS: 2 } } as M));
      link.close('E_BUSY');
      options.onRefused?.(link, 'E_BUSY', message);
      continue;
    }
    const work: Promise<void> = one(link).finally(() => running.delete(work));
    running.add(work);
  }
  await Promise.all(running);
}
