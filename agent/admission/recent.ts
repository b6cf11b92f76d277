/**
 * The tickets that this process has seen, so that the ledger is asked only about those it may have.
 *
 * A jti carries its time (UUIDv7). One that is younger than all that the ledger held when this process began, and younger
 * than whatever was forgotten here, is new unless it is in the map. The look-up that this saves costs two changes of thread.
 * A jti that lies about its time is caught by the ledger's own key in the commit; this
 * memory only decides whether a look-up comes first.
 */

const MAX_RECENT = 50_000;

export interface Recent {
  find(principal: string, jti: string): string | undefined;
  /** Whether a jti that is not here can be known to the ledger at all. */
  isNew(jti: string): boolean;
  add(principal: string, jti: string, hash: string): void;
}

/** Milliseconds since 1970 in the first 48 bits of a UUIDv7. */
export function jtiTime(jti: string): number {
  return Number.parseInt(jti.slice(0, 8) + jti.slice(9, 13), 16);
}

/** `newestJti`: the youngest in the ledger when this process began; empty if it held none. */
export function createRecent(newestJti: string): Recent {
  const hashes = new Map<string, string>();
  let forgotten = newestJti === '' ? 0 : jtiTime(newestJti);
  return {
    find: (principal, jti) => hashes.get(`${principal} ${jti}`),
    isNew: (jti) => jtiTime(jti) > forgotten,
    add(principal, jti, hash) {
      hashes.set(`${principal} ${jti}`, hash);
      if (hashes.size <= MAX_RECENT) return;
      const oldest = hashes.keys().next().value as string;
      hashes.delete(oldest);
      forgotten = Math.max(forgotten, jtiTime(oldest.slice(oldest.indexOf(' ') + 1)));
    },
  };
}
