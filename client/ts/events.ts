/**
 * The event stream of one principal: server-sent events with resume.
 *
 * Invariants
 *  V1 A durable event is given to the listener at least once and in order; the cursor moves after the listener returned.
 *  V2 After a cut the stream resumes behind the last durable event; where the broker cannot, it says `reset` and the
 *     listener lists again.
 *  V3 The back-off is reset by a received event, not by a connection that opened.
 */
import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { EVENT_TYPES, ROUTES } from '#protos/http.ts';
import type { BrokerHttp } from './http.ts';

export type EventType = (typeof EVENT_TYPES)[number];

export interface BrokerEvent {
  readonly type: EventType;
  /** `<generation>.<seq>`; absent on events that are not durable. */
  readonly id: string | undefined;
  readonly data: unknown;
}

export interface EventStreamOptions {
  readonly http: BrokerHttp;
  readonly clock: Clock;
  readonly random: Random;
  /** Resume behind this event; undefined: from now on. */
  readonly cursor?: string;
  readonly signal: AbortSignal;
  readonly onEvent: (event: BrokerEvent) => void;
  /** The stream is open (again), or was cut and will be dialled again. */
  readonly onLink?: (up: boolean, why?: string) => void;
}

const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 10_000;

/** Follows the stream until `signal` aborts; throws only when the broker refuses this reader for good. */
export async function followEvents(options: EventStreamOptions): Promise<void> {
  const { http, clock, random, signal, onEvent, onLink } = options;
  let cursor = options.cursor;
  let retryMs = FIRST_RETRY_MS;
  while (!signal.aborted) {
    try {
      const answer = await http.request({
        method: 'GET',
        path: ROUTES.events.url,
        headers: { accept: 'text/event-stream', ...(cursor === undefined ? {} : { 'last-event-id': cursor }) },
        signal,
      });
      onLink?.(true);
      for await (const event of parseEvents(answer.body)) {
        onEvent(event);
        if (event.id !== undefined) cursor = event.id;
        if (event.type === 'reset') cursor = undefined;
        retryMs = FIRST_RETRY_MS;
      }
      onLink?.(false, 'the broker closed the stream');
    } catch (cause) {
      if (signal.aborted) return;
      const error = FarfieldError.from(cause);
      if (error.code !== 'E_INTERNAL' && !error.retryable) throw error;
      onLink?.(false, error.message);
    }
    await clock.sleep(retryMs * (0.5 + random.uniform()), signal).catch(() => undefined);
    retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
  }
}

/** Server-sent events (WHATWG HTML, 9.2) from a byte stream; comments are heartbeats and are dropped. */
export async function* parseEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<BrokerEvent> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    // Searching only the tail keeps a terminal event of several hundred KiB, which comes in many chunks, linear.
    let from = Math.max(0, rest.length - chunk.byteLength - 2);
    let start = 0;
    for (let end = rest.indexOf('\n\n', from); end >= 0; end = rest.indexOf('\n\n', from)) {
      const event = parseEvent(rest.slice(start, end));
      if (event !== undefined) yield event;
      start = end + 2;
      from = start;
    }
    if (start > 0) rest = rest.slice(start);
  }
}

function parseEvent(block: string): BrokerEvent | undefined {
  let type = '';
  let id: string | undefined;
  let data = '';
  for (const line of block.split('\n')) {
    if (line.startsWith('data:')) data += line.slice(line[5] === ' ' ? 6 : 5);
    else if (line.startsWith('event:')) type = line.slice(6).trim();
    else if (line.startsWith('id:')) id = line.slice(3).trim();
  }
  if (!isEventType(type) || data === '') return undefined;
  return { type, id, data: JSON.parse(data) as unknown };
}

function isEventType(type: string): type is EventType {
  return (EVENT_TYPES as readonly string[]).includes(type);
}
