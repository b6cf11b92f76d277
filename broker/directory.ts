/**
 * Who is known, and who is connected: a cache of the store's users and endpoints, and the live sessions of this process.
 *
 * The store decides (every command looks there); this answers the questions of each request without a read.
 */

import type { Clock } from '#base/clock.ts';
import type { PublicJwk } from '#kernel/ids.ts';
import type { EndpointSession } from './links/session.ts';
import type { BrokerStore } from './store/store.ts';

/** After a cut, an agent is back within seconds; meanwhile its endpoint counts as reconnecting, not as offline. */
const RECONNECT_GRACE_MS = 30_000;

export interface EndpointEntry {
  readonly id: string;
  descriptor: string;
  status: string;
  online: PublicJwk;
  onlineKid: string;
  sessionEpoch: number;
  session: EndpointSession | undefined;
  /** Wall time of the last change between connected and not. */
  sinceMs: number;
  /** Monotonic time until which a lost connection is expected back; 0: it ended in good order. */
  expectedUntil: number;
}

export type Presence = 'online' | 'reconnecting' | 'offline';

export interface Directory {
  user(kid: string): PublicJwk | undefined;
  addUser(kid: string, jwk: PublicJwk): void;
  endpoint(id: string): EndpointEntry | undefined;
  endpointByKid(onlineKid: string): EndpointEntry | undefined;
  endpoints(): readonly EndpointEntry[];
  /** A new descriptor: at enrolment, or in a hello. */
  putEndpoint(facts: { id: string; descriptor: string; online: PublicJwk; onlineKid: string }): EndpointEntry;
  connected(entry: EndpointEntry, session: EndpointSession): void;
  /** `expected`: the connection was lost rather than ended by the agent. */
  disconnected(entry: EndpointEntry, session: EndpointSession, expected: boolean): void;
  presence(entry: EndpointEntry): Presence;
}

export async function openDirectory(store: BrokerStore, clock: Clock): Promise<Directory> {
  const users = new Map((await store.read('users', null)).map(({ kid, jwk }) => [kid, jwk]));
  const endpoints = new Map<string, EndpointEntry>();
  const byKid = new Map<string, EndpointEntry>();
  for (const facts of await store.read('endpoints', null)) {
    const { id, descriptor, status, online, onlineKid, sessionEpoch } = facts;
    // A broker that has just begun expects back whoever had a session before.
    const expectedUntil = sessionEpoch > 0 ? clock.mono() + RECONNECT_GRACE_MS : 0;
    const entry = {
      id,
      descriptor,
      status,
      online,
      onlineKid,
      sessionEpoch,
      session: undefined,
      sinceMs: clock.now(),
      expectedUntil,
    };
    endpoints.set(id, entry);
    byKid.set(onlineKid, entry);
  }
  return {
    user: (kid) => users.get(kid),
    addUser: (kid, jwk) => void users.set(kid, jwk),
    endpoint: (id) => endpoints.get(id),
    endpointByKid: (kid) => byKid.get(kid),
    endpoints: () => [...endpoints.values()],
    putEndpoint({ id, descriptor, online, onlineKid }) {
      const known = endpoints.get(id);
      if (known !== undefined) {
        byKid.delete(known.onlineKid);
        Object.assign(known, { descriptor, online, onlineKid });
        byKid.set(onlineKid, known);
        return known;
      }
      const entry: EndpointEntry = {
        id,
        descriptor,
        online,
        onlineKid,
        status: '',
        sessionEpoch: 0,
        session: undefined,
        sinceMs: clock.now(),
        expectedUntil: 0,
      };
      endpoints.set(id, entry);
      byKid.set(onlineKid, entry);
      return entry;
    },
    connected(entry, session) {
      entry.session = session;
      entry.sinceMs = clock.now();
    },
    disconnected(entry, session, expected) {
      // A newer session may have taken its place already.
      if (entry.session !== session) return;
      entry.session = undefined;
      entry.sinceMs = clock.now();
      entry.expectedUntil = expected ? clock.mono() + RECONNECT_GRACE_MS : 0;
    },
    presence(entry) {
      if (entry.session !== undefined) return 'online';
      return clock.mono() < entry.expectedUntil ? 'reconnecting' : 'offline';
    },
  };
}
