/**
 * The one way from a command to its readers: commit, then tell.
 *
 * Invariant: events are published in the order in which the store answered. Each command takes exactly this one path, so
 * that no answer overtakes another on a longer chain of promises (events/hub.ts, U1).
 */
import type { Pack } from '#kernel/receipts.ts';
import type { Hub } from './events/hub.ts';
import type { BrokerStore, Commands, StoredEvent } from './store/store.ts';

export type Commit = <K extends keyof Commands>(
  kind: K,
  command: Commands[K]['in'],
  pack?: Pack,
) => Promise<Commands[K]['out']>;

export function createCommit(store: BrokerStore, hub: Hub): Commit {
  return (kind, command, pack) =>
    store.apply(kind, command).then((outcome) => {
      const { events } = outcome as { readonly events?: readonly StoredEvent[] };
      if (events !== undefined && events.length > 0) hub.publish(events, pack);
      return outcome;
    });
}
