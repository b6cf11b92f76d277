/**
 * The number of the newest answer about access that each principal was told, so that every signed answer of the API can carry it
 * (`Farfield-Access`) without a read. A client that knows an older one asks for the rest.
 *
 * The store has the truth; this is filled from it at the start. One number for each principal that ever got an answer.
 */
import type { BrokerStore } from './store/store.ts';

export interface AccessBoard {
  /** `<generation>.<seq>` of the newest answer; undefined: none yet. */
  newest(principal: string): string | undefined;
  told(principal: string, seq: number): void;
}

export async function openAccessBoard(store: BrokerStore, generation: string): Promise<AccessBoard> {
  const newest = new Map((await store.read('accessNewest', null)).map(({ principal, seq }) => [principal, seq]));
  return {
    newest(principal) {
      const seq = newest.get(principal);
      return seq === undefined ? undefined : `${generation}.${seq}`;
    },
    told: (principal, seq) => void newest.set(principal, seq),
  };
}
