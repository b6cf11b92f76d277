/**
 * How much the broker may send ahead: items and bytes, as totals since the session began.
 *
 * Two seconds of what was measured to end, at least MIN_CREDIT_ITEMS and two for each slot, at most MAX_CREDIT_BYTES. A
 * total cannot be applied twice, so a lost or repeated message does no harm.
 */
import { MAX_CREDIT_BYTES, MIN_CREDIT_ITEMS } from '#kernel/limits.ts';

const AHEAD_S = 2;
/** An endpoint that ends 20,000 no-ops a second needs no more ahead than this; more is memory. */
const MAX_ITEMS = 65_536;
const SMOOTHING = 0.3;
const MEASURE_MS = 250;

export interface Credit {
  received(items: number, bytes: number): void;
  ended(items: number, nowMs: number): void;
  /** The totals to say now, or undefined while they have hardly changed. */
  next(openItems: number): { readonly items: number; readonly bytes: number } | undefined;
}

/** `slots`: those that all blocks together may have. */
export function createCredit(slots: number, nowMs: number): Credit {
  let receivedItems = 0;
  let receivedBytes = 0;
  let rate = 0;
  let since = nowMs;
  let endedSince = 0;
  let said = { items: 0, bytes: 0 };

  const window = (): number => Math.min(MAX_ITEMS, Math.max(MIN_CREDIT_ITEMS, 2 * slots, Math.ceil(AHEAD_S * rate)));

  return {
    received(items, bytes) {
      receivedItems += items;
      receivedBytes += bytes;
    },
    ended(items, now) {
      endedSince += items;
      if (now - since < MEASURE_MS) return;
      const measured = (1000 * endedSince) / (now - since);
      // Upwards at once: a burst after silence must not crawl; downwards slowly.
      rate = measured > rate ? measured : rate + SMOOTHING * (measured - rate);
      since = now;
      endedSince = 0;
    },
    next(openItems) {
      const ahead = window();
      const bytesAnItem = receivedItems === 0 ? 0 : receivedBytes / receivedItems;
      const items = receivedItems + Math.max(0, ahead - openItems);
      const bytes = Math.floor(receivedBytes + Math.max(0, MAX_CREDIT_BYTES - openItems * bytesAnItem));
      // A message for every item would cost more than the item: an eighth of the window is soon enough.
      const grown = items - said.items >= ahead / 8 || bytes - said.bytes >= MAX_CREDIT_BYTES / 8;
      if (!grown) return undefined;
      said = { items: Math.max(items, said.items), bytes: Math.max(bytes, said.bytes) };
      return said;
    },
  };
}
