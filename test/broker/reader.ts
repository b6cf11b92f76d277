/** A reader of the event stream, as small as can be: no retries, so that a test sees every cut. */
import { type BrokerEvent, parseEvents } from '../../client/ts/events.ts';
import type { BrokerHttp } from '../../client/ts/http.ts';

export interface Reader extends AsyncDisposable {
  readonly events: BrokerEvent[];
  /** Waits for events, never for a time. */
  until(condition: (events: readonly BrokerEvent[]) => boolean): Promise<readonly BrokerEvent[]>;
  readonly ended: Promise<void>;
}

export async function openReader(http: BrokerHttp, cursor?: string): Promise<Reader> {
  const stop = new AbortController();
  const answer = await http.request({
    method: 'GET',
    path: '/v1/events',
    headers: cursor === undefined ? {} : { 'last-event-id': cursor },
    signal: stop.signal,
  });
  const events: BrokerEvent[] = [];
  let watchers: (() => void)[] = [];
  let over = false;
  const read = async (): Promise<void> => {
    try {
      for await (const event of parseEvents(answer.body)) {
        events.push(event);
        const woken = watchers;
        watchers = [];
        for (const wake of woken) wake();
      }
    } catch {
      // Cut, by us or by the broker: the test looks at what came.
    }
    over = true;
    for (const wake of watchers) wake();
  };
  const ended = read();
  return {
    events,
    ended,
    async until(condition) {
      while (!condition(events)) {
        if (over) throw new Error('the stream ended before');
        await new Promise<void>((resolve) => watchers.push(resolve));
      }
      return events;
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await ended;
    },
  };
}
