/**
 * What people hear of their work while it waits and runs: words, never outcomes. Nothing here is durable; a client that was not
 * listening asks for the status.
 */

import { ITEM } from './admission/item-state.ts';
import type { BrokerLink } from './link/broker-link.ts';
import { createLogOffsets } from './link/log-offsets.ts';
import type { Engine } from './work/engine.ts';
import type { Work } from './work/mirror.ts';

export interface Telling {
  progress(key: number, attempt: number, done: number, total: number, perSecond: number): void;
  logged(key: number, attempt: number, data: Uint8Array, dropped: number): void;
  /** Everyone whose items wait, of the works concerned. */
  waiting(text: string, concerns?: (work: Work) => boolean): void;
}

/** The link is made after the engine, and both may be asked before it is there: `undefined` says so. */
export function createTelling(engine: () => Engine, link: () => BrokerLink | undefined): Telling {
  const offsets = createLogOffsets();
  return {
    progress(key, attempt, done, total, perSecond) {
      const { work, i } = engine().itemOf(key);
      if (work === undefined) return;
      const rate = `${Math.round(perSecond).toLocaleString('en')} rows/s`;
      link()?.running(work, [i], 'running', rate, { done, total, attempt });
    },
    logged(key, attempt, data, dropped) {
      const { work, i } = engine().itemOf(key);
      if (work === undefined) return;
      const offset = offsets.next(`${key}.${attempt}`, data.byteLength);
      link()?.log(work, i, attempt, offset, data, dropped);
    },
    waiting(text, concerns = () => true) {
      for (const work of engine().works.values()) {
        const items = concerns(work) ? [...work.states.keys()].filter((i) => work.states[i] === ITEM.waiting) : [];
        if (items.length > 0) link()?.running(work, items, 'waiting', text);
      }
    },
  };
}
