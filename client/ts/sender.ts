/**
 * Sends signed tickets, many in one request.
 *
 * Invariants
 *  N1 What was submitted while a request was under way goes out in the next one: no waiting when idle, no queue when busy.
 *  N2 Sending again is safe (the broker knows the ticket), so a request whose fate is unknown is sent again.
 *  N3 Tickets are noted durably before they are sent, one fsync a request.
 */
import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { MAX_SUBMISSION_BYTES } from '#kernel/limits.ts';
import { ROUTES, SUBMISSION_TYPE, type SubmissionReply } from '#protos/http.ts';
import type { BrokerHttp } from './http.ts';
import { encodeSubmission, type SignedTicket } from './submission.ts';

/** The broker's answer to one ticket. */
export type TicketReply = SubmissionReply['tickets'][number];

export interface SenderOptions {
  readonly http: BrokerHttp;
  readonly chain: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  /** How long a request is sent again while the broker does not answer. */
  readonly patienceMs: number;
  readonly note: (tickets: readonly SignedTicket[]) => Promise<void>;
}

export interface Sender {
  send(signed: SignedTicket, manifest: string): Promise<TicketReply>;
}

const MAX_TICKETS_A_REQUEST = 1024;
/** The chain and the manifest are sent once a request; a ticket's own overhead in the header is below this. */
const HEADER_BYTES_A_TICKET = 1024;
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 5000;

interface Pending {
  readonly signed: SignedTicket;
  readonly manifest: string;
  readonly reply: PromiseWithResolvers<TicketReply>;
}

export function createSender(options: SenderOptions): Sender {
  const { http, chain } = options;
  const queue: Pending[] = [];
  let sending = false;

  const sendGroup = async (group: readonly Pending[]): Promise<void> => {
    try {
      await options.note(group.map(({ signed }) => signed));
      const body = encodeSubmission(group.map(({ signed, manifest }) => ({ signed, manifest, chain })));
      const reply = await patiently(options, () =>
        http.json<SubmissionReply>({
          method: 'POST',
          path: ROUTES.submit.url,
          body,
          contentType: SUBMISSION_TYPE,
          unsigned: true,
        }),
      );
      if (reply.tickets.length !== group.length)
        throw new FarfieldError('E_PROTOCOL', 'the broker answered another number of tickets');
      for (const [k, pending] of group.entries()) pending.reply.resolve(reply.tickets[k] as TicketReply);
    } catch (cause) {
      for (const pending of group) pending.reply.reject(cause);
    }
  };

  const pump = async (): Promise<void> => {
    sending = true;
    while (queue.length > 0) await sendGroup(takeGroup(queue));
    sending = false;
  };

  return {
    send(signed, manifest) {
      const reply = Promise.withResolvers<TicketReply>();
      queue.push({ signed, manifest, reply });
      if (!sending) void pump();
      return reply.promise;
    },
  };
}

/** As many queued tickets as one request may hold; at least one. */
function takeGroup(queue: Pending[]): Pending[] {
  let bytes = 0;
  let count = 0;
  for (const { signed } of queue.slice(0, MAX_TICKETS_A_REQUEST)) {
    bytes += signed.byteLength + HEADER_BYTES_A_TICKET;
    if (count > 0 && bytes > MAX_SUBMISSION_BYTES) break;
    count += 1;
  }
  return queue.splice(0, count);
}

/** Runs `send` again, with growing pauses, while the failure may pass and patience lasts. */
async function patiently<T>(options: SenderOptions, send: () => Promise<T>): Promise<T> {
  const { clock, random, patienceMs } = options;
  const until = clock.mono() + patienceMs;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LAST_PAUSE_MS)) {
    try {
      return await send();
    } catch (cause) {
      const error = FarfieldError.from(cause);
      if (!error.retryable || clock.mono() >= until) throw error;
      await clock.sleep(Math.max(pauseMs * (0.5 + random.uniform()), (error.retryAfterS ?? 0) * 1000));
    }
  }
}
