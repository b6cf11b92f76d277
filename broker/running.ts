/**
 * The last words of agents about running items: in memory, latest wins, for status and for readers that connect now.
 * After a restart of the broker they are unknown until the agent says more.
 */
import type { RunningEvent } from '#protos/http.ts';
import { RUNNING_CACHE } from './limits.ts';
import type { BrokerStore } from './store/store.ts';

export interface Owner {
  readonly principal: string;
  readonly endpoint: string;
  readonly n: number;
}

export interface RunningBoard {
  /** Whose ticket it is: of memory, or of the store. */
  owner(id: string): Promise<Owner | undefined>;
  /** Without a read, where it is known already. */
  knownOwner(id: string): Owner | undefined;
  remember(id: string, owner: Owner): void;
  say(event: RunningEvent): void;
  of(id: string): ReadonlyMap<number, RunningEvent>;
  forget(id: string): void;
}

/** Items of one message that are noted singly; a larger message is one note for the ticket. */
const NOTED_ITEMS = 64;
const WHOLE = -1;

export function createRunningBoard(store: BrokerStore): RunningBoard {
  const owners = new Map<string, Owner>();
  const notes = new Map<string, Map<number, RunningEvent>>();
  const bound = (map: Map<string, unknown>): void => {
    for (const oldest of map.keys()) {
      if (map.size <= RUNNING_CACHE) return;
      map.delete(oldest);
    }
  };
  const remember = (id: string, owner: Owner): void => {
    owners.delete(id);
    owners.set(id, owner);
    bound(owners);
  };
  return {
    remember,
    knownOwner: (id) => owners.get(id),
    async owner(id) {
      const known = owners.get(id);
      if (known !== undefined) return known;
      const view = await store.read('ticket', { id });
      if (view === undefined) return undefined;
      const owner = { principal: view.principal, endpoint: view.endpoint, n: view.n };
      remember(id, owner);
      return owner;
    },
    say(event) {
      const of = notes.get(event.id) ?? new Map<number, RunningEvent>();
      notes.delete(event.id);
      notes.set(event.id, of);
      if (event.items.length > NOTED_ITEMS) of.set(WHOLE, event);
      else for (const item of event.items) of.set(item, event);
      bound(notes);
    },
    of: (id) => notes.get(id) ?? new Map(),
    forget(id) {
      notes.delete(id);
    },
  };
}
