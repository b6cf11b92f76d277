/**
 * Requests for access on their way to one endpoint: passed on, and matched with the answers that come back.
 *
 * Invariants
 *  N1 Nothing is stored and nothing is read: token and answer are signed by those whom they concern. What a cut loses is asked
 *     again by whoever waits.
 *  N2 Few may wait at once, and none for longer than ANSWER_MS: an agent of an older version answers nothing.
 */
import type { Clock, Timer } from '#base/clock.ts';
import type { LinkMessage } from '#base/link/messages.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_TOKEN_BYTES } from '#kernel/limits.ts';
import type { AccessReply } from '#protos/generated/link.js';

/** An agent answers after one fsync; what takes longer is not going to come. */
const ANSWER_MS = 15_000;
/** Of one endpoint at once: people, not programs. */
const MAX_WAITING = 32;

export interface Asks {
  ask(token: string, links: readonly string[]): Promise<string>;
  answered(reply: AccessReply): void;
  /** The session is over: nobody will answer. */
  end(): void;
}

interface Waiting {
  readonly timer: Timer;
  readonly settle: PromiseWithResolvers<string>;
}

export function createAsks(clock: Clock, send: (message: LinkMessage) => void): Asks {
  const waiting = new Map<number, Waiting>();
  let last = 0;
  let ended = false;
  const settle = (askNo: number, how: (settle: PromiseWithResolvers<string>) => void): void => {
    const found = waiting.get(askNo);
    if (found === undefined) return;
    waiting.delete(askNo);
    found.timer.cancel();
    how(found.settle);
  };
  const away = (message: string): FarfieldError => new FarfieldError('E_UNAVAILABLE', message);
  return {
    ask(token, links) {
      if (ended) return Promise.reject(away('the endpoint went away; ask again when it is back'));
      if (waiting.size >= MAX_WAITING)
        return Promise.reject(
          new FarfieldError('E_BUSY', 'many ask this endpoint for access just now; try again soon'),
        );
      last += 1;
      const askNo = last;
      const silent = (): void =>
        settle(askNo, ({ reject }) =>
          reject(away('the endpoint did not answer; its agent may be busy, or too old for requests for access')),
        );
      const entry: Waiting = { timer: clock.after(ANSWER_MS, silent), settle: Promise.withResolvers<string>() };
      waiting.set(askNo, entry);
      send({ accessAsk: { askNo, token, chain: { links: [...links] } } });
      return entry.settle.promise;
    },
    answered({ askNo, token }) {
      if (token.length > MAX_TOKEN_BYTES)
        throw new FarfieldError('E_TOKEN_SIZE', 'an answer over the limit of a token');
      settle(askNo, ({ resolve }) => resolve(token));
    },
    end() {
      ended = true;
      for (const askNo of [...waiting.keys()])
        settle(askNo, ({ reject }) => reject(away('the endpoint went away; ask again when it is back')));
    },
  };
}
