/**
 * The one way from a command to its readers: commit, then tell.
 *
 * Invariants
 *  C1 Events are published in the order in which the store answered. Each command takes exactly this one path, so that no
 *     answer overtakes another on a longer chain of promises (events/hub.ts, U1).
 *  C2 Commands take effect in the order in which they were given, those that ride included.
 *  C3 What nobody waits for (delivered, admitted) rides with the next command, or alone after RIDE_MS: an idle broker then
 *     syncs twice for a call, once when it is queued and once when it has ended, and an outcome never waits behind the sync
 *     of its own admission. What rides and is lost in a crash is said again: the agent answers the next delivery.
 */
import type { Clock, Timer } from '#base/clock.ts';
import type { Pack } from '#kernel/receipts.ts';
import type { Hub } from './events/hub.ts';
import { RIDE_MS } from './limits.ts';
import type { BrokerStore, Commands, StoredEvent } from './store/store.ts';

export interface Commit {
  <K extends keyof Commands>(kind: K, command: Commands[K]['in'], pack?: Pack): Promise<Commands[K]['out']>;
  /** For commands that nobody waits for (C3). */
  ride<K extends 'deliver' | 'admitted'>(kind: K, command: Commands[K]['in']): Promise<Commands[K]['out']>;
  /** Sends what still rides. */
  flush(): void;
}

export function createCommit(store: BrokerStore, hub: Hub, clock: Clock): Commit {
  let riding: (() => void)[] = [];
  let timer: Timer | undefined;

  function flush(): void {
    timer?.cancel();
    timer = undefined;
    const going = riding;
    riding = [];
    for (const go of going) go();
  }
  function apply<K extends keyof Commands>(
    kind: K,
    command: Commands[K]['in'],
    pack?: Pack,
  ): Promise<Commands[K]['out']> {
    return store.apply(kind, command).then((outcome) => {
      const { events } = outcome as { readonly events?: readonly StoredEvent[] };
      if (events !== undefined && events.length > 0) hub.publish(events, pack);
      return outcome;
    });
  }
  const commit = <K extends keyof Commands>(
    kind: K,
    command: Commands[K]['in'],
    pack?: Pack,
  ): Promise<Commands[K]['out']> => {
    flush();
    return apply(kind, command, pack);
  };
  return Object.assign(commit, {
    flush,
    ride: <K extends 'deliver' | 'admitted'>(kind: K, command: Commands[K]['in']): Promise<Commands[K]['out']> =>
      new Promise((resolve, reject) => {
        riding.push(() => void apply(kind, command).then(resolve, reject));
        timer ??= clock.after(RIDE_MS, flush);
      }),
  });
}
