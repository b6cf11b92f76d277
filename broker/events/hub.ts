/**
 * Events on their way to readers: whoever listens to a principal hears what was committed, in the order of the commits.
 *
 * Invariants
 *  U1 `publish` is called in the order in which commits were answered, so numbers of one principal arrive in order.
 *  U2 A listener that throws or is slow holds up nobody: it only takes note, and reads the store when it is behind.
 *  U3 What is not durable (running, log) is offered to those who listen now, and kept for nobody.
 */
import type { Pack } from '#kernel/receipts.ts';
import { packToJson } from '#kernel/receipts.ts';
import type { StoredEvent } from '../store/store.ts';

/** One event as its reader gets it: lines of SSE without the id. */
export interface EventText {
  readonly seq: number;
  readonly text: string;
}

export interface EventListener {
  durable(event: EventText): void;
  passing(text: string): void;
}

export interface Hub {
  /** `pack`: of the terminal event, if there is one. */
  publish(events: readonly StoredEvent[], pack?: Pack): void;
  passing(principal: string, kind: 'running' | 'log', data: unknown): void;
  listen(principal: string, listener: EventListener): () => void;
  listeners(principal: string): number;
  /** Of everybody. */
  streams(): number;
}

export function createHub(generation: string): Hub {
  const byPrincipal = new Map<string, Set<EventListener>>();
  return {
    publish(events, pack) {
      for (const event of events) {
        const listeners = byPrincipal.get(event.principal);
        // Nobody listens: the text is made when somebody reads the store.
        if (listeners === undefined) continue;
        const text = eventText(generation, event, pack);
        for (const listener of [...listeners]) listener.durable({ seq: event.seq, text });
      }
    },
    passing(principal, kind, data) {
      const listeners = byPrincipal.get(principal);
      if (listeners === undefined) return;
      const text = sse(kind, JSON.stringify(data));
      for (const listener of [...listeners]) listener.passing(text);
    },
    listen(principal, listener) {
      const listeners = byPrincipal.get(principal) ?? new Set();
      byPrincipal.set(principal, listeners.add(listener));
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0) byPrincipal.delete(principal);
      };
    },
    listeners: (principal) => byPrincipal.get(principal)?.size ?? 0,
    streams: () => byPrincipal.values().reduce((sum, { size }) => sum + size, 0),
  };
}

export function sse(kind: string, data: string, id?: string): string {
  return id === undefined ? `event: ${kind}\ndata: ${data}\n\n` : `event: ${kind}\nid: ${id}\ndata: ${data}\n\n`;
}

/**
 * A stored event as text. One row may tell of many tickets: each becomes an event of its own, and the last one carries the
 * id, so that a reader that is cut off in between gets all of them again.
 */
export function eventText(generation: string, event: StoredEvent, pack: Pack | undefined): string {
  const id = `${generation}.${event.seq}`;
  if (event.kind === 'terminal')
    return pack === undefined ? sse('reset', '{}', id) : sse('terminal', JSON.stringify(packToJson(pack)), id);
  const list = JSON.parse(event.data) as unknown[];
  return list.map((data, k) => sse(event.kind, JSON.stringify(data), k === list.length - 1 ? id : undefined)).join('');
}
