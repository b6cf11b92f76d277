/** What several rules share: refusals, events, and a ticket's new states. */
import type { ErrorCode } from '#kernel/errors.ts';
import { runsOf } from '../columns.ts';
import type { HotTicket, Rows } from '../rows.ts';
import { countStates } from '../states.ts';
import type { EventKind, Fenced, Refused, StoredEvent } from '../store.ts';

export const FENCED: Fenced = { kind: 'fenced' };

export function refused(code: ErrorCode, message: string): Refused {
  return { kind: 'refused', code, message };
}

/** The endpoint's row, if the session that speaks is still its own. */
export function ofSession(rows: Rows, c: { endpoint: string; sessionEpoch: number }): ReturnType<Rows['endpoint']> {
  const endpoint = rows.endpoint(c.endpoint);
  return endpoint?.sessionEpoch === c.sessionEpoch ? endpoint : undefined;
}

/** Collects what one command tells each principal, so that it is one row and one number a kind. */
export interface Notes {
  add(principal: number, kind: EventKind, data: unknown): void;
  /** Counts items that are open no longer (or, negative, more than before). */
  closed(principal: number, items: number): void;
  /** Writes rows and counters; returns the events in order. */
  write(nowS: number, packNo?: number): StoredEvent[];
}

export function createNotes(rows: Rows): Notes {
  const byPrincipal = new Map<number, { kinds: Map<EventKind, unknown[]>; open: number }>();
  const of = (principal: number): { kinds: Map<EventKind, unknown[]>; open: number } => {
    let entry = byPrincipal.get(principal);
    if (entry === undefined) {
      entry = { kinds: new Map(), open: 0 };
      byPrincipal.set(principal, entry);
    }
    return entry;
  };
  return {
    add(principal, kind, data) {
      const { kinds } = of(principal);
      const list = kinds.get(kind);
      if (list === undefined) kinds.set(kind, [data]);
      else list.push(data);
    },
    closed(principal, items) {
      of(principal).open -= items;
    },
    write(nowS, packNo = 0) {
      const events: StoredEvent[] = [];
      for (const [principal, { kinds, open }] of byPrincipal) {
        if (kinds.size === 0 && open !== 0) rows.addOpen(principal, open);
        let delta = open;
        for (const [kind, list] of kinds) {
          const seq = rows.nextSeq(principal, delta);
          delta = 0;
          const data = kind === 'terminal' ? '' : JSON.stringify(list);
          rows.addEvent(principal, seq, kind, nowS, data, packNo);
          events.push({ principal: rows.principalKid(principal), seq, kind, data, packNo });
        }
      }
      return events;
    },
  };
}

export function itemsEvent(id: string, items: readonly number[], state?: string): unknown {
  return { id, runs: runsOf(items), ...(state === undefined ? {} : { state }) };
}

export interface Change {
  readonly states: Uint8Array;
  readonly packs?: Uint8Array;
  readonly cancelling?: boolean;
  readonly deliveryEpoch?: number;
}

/** Saves new states; forgets the payload with the last admission (B6), and unpins blobs when nothing is open. */
export function save(rows: Rows, ticket: HotTicket, change: Change, nowS: number): void {
  const { pending, open } = countStates(change.states);
  if (pending === 0 && ticket.pending > 0) rows.dropPayload(ticket.no);
  // Not with the admission: an agent fetches blobs after its ledger holds the item, when it is about to run.
  if (open === 0 && ticket.open > 0) rows.unpin(ticket.no);
  rows.saveState({
    no: ticket.no,
    states: change.states,
    packs: change.packs ?? ticket.packs,
    pending,
    open,
    deliveryEpoch: change.deliveryEpoch ?? ticket.deliveryEpoch,
    cancelling: open > 0 && (change.cancelling ?? ticket.cancelling),
    doneAt: open > 0 ? 0 : ticket.doneAt || Math.max(nowS, ticket.exp),
  });
}
