/**
 * The client library: sign, submit, follow, verify.
 *
 * Invariants
 *  K1 A ticket is tracked before it is sent, so an outcome that overtakes the reply is not lost.
 *  K2 The event stream is open before the first ticket is sent, and after a gap open tickets are asked for again.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Clock } from '#base/clock.ts';
import type { Egress } from '#base/proxy.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError, isErrorCode } from '#kernel/errors.ts';
import { uuidv7 } from '#kernel/ids.ts';
import { signToken } from '#kernel/jws.ts';
import { DEFAULT_MAX_TICKET_LIFE_S, DEFAULT_TICKET_LIFE_S, REQUEST_LIFE_S } from '#kernel/limits.ts';
import type { OpenedPack } from '#kernel/receipts.ts';
import type { Subject } from '#kernel/tokens/claims.ts';
import { ROUTES, type TicketStatus } from '#protos/http.ts';
import { type BlobRef, downloadBlob, uploadBlob } from './blobs.ts';
import { type BrokerEvent, followEvents } from './events.ts';
import type { SentTicket, Session } from './home.ts';
import { type BrokerAddress, type BrokerHttp, createBrokerHttp } from './http.ts';
import type { ReceiptFile } from './receipt-file.ts';
import { createReceiver, type KnownEndpoint } from './receiver.ts';
import { createSender, type TicketReply } from './sender.ts';
import { type ItemInput, type SignedTicket, signTicket, type TicketTerms } from './submission.ts';
import type { Ticket } from './tracker.ts';

export interface ClientOptions {
  readonly broker: BrokerAddress;
  /** The site's proxy and CA; by default neither. */
  readonly egress?: Egress;
  readonly session: Session;
  readonly clock: Clock;
  readonly random: Random;
  /** Notes tickets durably before they are sent. */
  readonly noteTickets?: (tickets: readonly SentTicket[]) => Promise<void>;
  /** Lowest descriptor sequence that may be believed, by endpoint. */
  readonly minSeq?: (endpoint: string) => number;
  /** Things a person should look at: a differing receipt, a cut stream. */
  readonly onNotice?: (message: string) => void;
  /** What was noted of a ticket that this user sent earlier. */
  readonly sentTicket?: (id: string) => Promise<SentTicket | undefined>;
  /** The number of the newest notice about access, wherever an answer of the broker carries one. */
  readonly onAccess?: (newest: string) => void;
  /** How long a submit is sent again while the broker does not answer. */
  readonly submitPatienceMs?: number;
}

export interface SubmitInput {
  readonly terms: TicketTerms;
  /** The function's manifest: text of its General JWS. */
  readonly manifest: string;
  readonly items: readonly ItemInput[];
  /** Until when it may start: a day unless it says otherwise, and a day beyond what the session may wait (`--queue-for`). */
  readonly lifeS?: number;
  /** A batch ticket even for one item. */
  readonly batch?: boolean;
}

export interface Submitted {
  readonly ticket: Ticket;
  /** `known`: the broker had this ticket already. */
  readonly outcome: 'queued' | 'known';
  /** What the broker adds: that the endpoint is offline, for instance. */
  readonly note: string | undefined;
}

/** A call on its way to nobody: the file that `farfield policy test` reads. */
export interface SignedCall {
  readonly ticket: string;
  readonly chain: readonly string[];
  readonly manifest: string;
}

export interface Client extends AsyncDisposable {
  readonly http: BrokerHttp;
  readonly principal: string;
  /** Who the session's delegation says the principal is, and its digest: every ticket repeats both. */
  readonly subject: Subject;
  readonly delegation: string;
  submit(input: SubmitInput): Promise<Submitted>;
  /** What submit would send, signed and not sent: for a look at what a site's policy says of it. */
  sign(input: SubmitInput): SignedCall;
  /** Follows a ticket that was submitted earlier, here or elsewhere. */
  attach(id: string): Promise<Ticket>;
  status(id: string): Promise<TicketStatus>;
  list(): Promise<readonly TicketStatus[]>;
  /** Pages of the list with their signed tickets, newest first. */
  tickets(): AsyncGenerator<readonly TicketStatus[]>;
  /** Every outcome of a ticket that there is, verified, pack by pack. */
  outcomes(id: string): AsyncGenerator<OpenedPack>;
  /** The receipt of one item that has ended, as a file that anybody can check offline. */
  receipt(id: string, item: number): Promise<ReceiptFile>;
  /** Sends a signed cancel; returns how many items were open. */
  cancel(id: string, items?: readonly number[]): Promise<number>;
  endpoint(id: string): Promise<KnownEndpoint>;
  uploadFile(path: string, onProgress?: (sent: number, size: number) => void): Promise<BlobRef>;
  downloadTo(digest: string, path: string): Promise<void>;
  /** Every event of the principal, as it comes. */
  onEvent(listener: (event: BrokerEvent) => void): void;
  /** Opens the event stream now; submit and attach do so by themselves. */
  connect(): Promise<void>;
}

const DEFAULT_PATIENCE_MS = 60_000;

interface Stream {
  readonly opened: Promise<void>;
  readonly ended: Promise<void>;
}

export function createClient(options: ClientOptions): Client {
  const { clock, random, session } = options;
  const { principal, delegation } = session.opened;
  const notice = options.onNotice ?? (() => undefined);
  const http = createBrokerHttp({ ...options, signer: session.signer, chain: session.chain });
  const receiver = createReceiver({ http, principal, clock, minSeq: options.minSeq ?? (() => 1), notice });
  const sender = createSender({
    http,
    chain: session.chain,
    clock,
    random,
    patienceMs: options.submitPatienceMs ?? DEFAULT_PATIENCE_MS,
    note: async (tickets) => options.noteTickets?.(tickets.map((each) => sentTicket(each, clock.now()))),
  });
  const listeners: ((event: BrokerEvent) => void)[] = [];
  const stop = new AbortController();
  let stream: Stream | undefined;
  let refused: FarfieldError | undefined;

  const connect = async (): Promise<void> => {
    // A stream that the broker closed for good would leave whoever submits now waiting for what never comes.
    if (refused !== undefined) throw refused;
    stream ??= openStream({
      http,
      clock,
      random,
      notice,
      signal: stop.signal,
      onEvent(event) {
        for (const listener of listeners) listener(event);
        receiver.onEvent(event);
      },
      onGap: receiver.refetch,
      onRefused(error) {
        refused = error;
        receiver.failAll(error);
      },
    });
    await stream.opened;
  };
  const status = (id: string): Promise<TicketStatus> =>
    http.json<TicketStatus>({ method: 'GET', path: ROUTES.status.url.replace(':id', id) });

  return {
    http,
    principal,
    subject: delegation.claims.sub,
    delegation: delegation.hash,
    connect,
    status,
    endpoint: (id) => receiver.endpoint(id, true),
    async submit(input) {
      await connect();
      const signed = signInput(options, input);
      const { id, hash, endpoint, n, overS } = signed;
      const ticket = receiver.track({ id, hash, endpoint, n }, overS);
      try {
        const reply = taken(await sender.send(signed, input.manifest));
        // A ticket that the broker knew may have ended before this stream began.
        if (reply.outcome === 'known') await receiver.fetch(signed.id);
        return { ticket, outcome: reply.outcome, note: reply.note };
      } catch (cause) {
        receiver.forget(signed.id);
        throw cause;
      }
    },
    sign: (input) => ({ ticket: signInput(options, input).text, chain: session.chain, manifest: input.manifest }),
    async attach(id) {
      await connect();
      const known = await status(id);
      const sent = await options.sentTicket?.(id);
      const facts = { id, hash: sent?.hash, endpoint: sent?.endpoint ?? known.endpoint, n: sent?.n ?? known.n };
      const ticket = receiver.track(facts, sent?.overS);
      await receiver.fetch(id);
      return ticket;
    },
    list: () => listAll(http),
    tickets: () => listPages(http, `${ROUTES.list.url}?tickets=yes`),
    outcomes: receiver.outcomes,
    receipt: receiver.receipt,
    cancel: async (id, items) => sendCancel(http, id, cancelBody(options, await status(id), items)),
    async uploadFile(path, onProgress) {
      const { size } = await stat(path);
      return uploadBlob(http, { size, open: (start) => createReadStream(path, { start }) }, onProgress);
    },
    downloadTo: (digest, path) => downloadBlob(http, digest, path),
    onEvent: (listener) => void listeners.push(listener),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await stream?.ended;
      await receiver.settled();
      receiver[Symbol.dispose]();
      await http[Symbol.asyncDispose]();
    },
  };
}

function signInput(options: ClientOptions, input: SubmitInput): SignedTicket {
  const { clock, random, session } = options;
  const iat = Math.floor(clock.now() / 1000);
  const exp = iat + (input.lifeS ?? defaultLifeS(session, iat));
  const times = { jti: uuidv7(clock.now(), random.bytes(10)), iat, exp };
  return signTicket(input.terms, input.items, times, session.signer, session.opened.principal, input.batch);
}

/** All pages, newest first; one that brings nothing new ends it, whatever the broker makes of `before`. */
async function* listPages(http: BrokerHttp, first: string): AsyncGenerator<readonly TicketStatus[]> {
  const known = new Set<string>();
  for (let path: string | undefined = first; path !== undefined; ) {
    const { tickets }: { tickets: TicketStatus[] } = await http.json({ method: 'GET', path });
    const fresh = tickets.filter(({ id }) => !known.has(id));
    for (const { id } of fresh) known.add(id);
    if (fresh.length > 0) yield fresh;
    const oldest = tickets.at(-1);
    path =
      oldest === undefined || fresh.length === 0
        ? undefined
        : `${first}${first.includes('?') ? '&' : '?'}before=${oldest.id}`;
  }
}

async function listAll(http: BrokerHttp): Promise<readonly TicketStatus[]> {
  const found: TicketStatus[] = [];
  for await (const page of listPages(http, ROUTES.list.url)) found.push(...page);
  return found;
}

/** Work that may be admitted in four days must not be over in one. */
function defaultLifeS({ opened }: Session, iat: number): number {
  const { adm, exp } = opened.delegation.claims;
  const waitS = adm > exp ? Math.max(0, adm - iat) : 0;
  return Math.min(DEFAULT_MAX_TICKET_LIFE_S, waitS + DEFAULT_TICKET_LIFE_S);
}

/** What is noted of a ticket, which holds its items' bytes as well. */
function sentTicket({ id, hash, jti, endpoint, n, fn, overS }: SignedTicket, nowMs: number): SentTicket {
  return { id, hash, jti, endpoint, n, fn, at: Math.floor(nowMs / 1000), overS };
}

async function sendCancel(http: BrokerHttp, id: string, body: Uint8Array): Promise<number> {
  const path = ROUTES.cancel.url.replace(':id', id);
  const reply = await http.json<{ items: number }>({ method: 'POST', path, body, contentType: 'application/json' });
  return reply.items;
}

/** The broker's answer, unless it is a refusal. */
function taken(reply: TicketReply): Exclude<TicketReply, { outcome: 'refused' }> {
  if (reply.outcome !== 'refused') return reply;
  throw new FarfieldError(isErrorCode(reply.code) ? reply.code : 'E_BAD_REQUEST', reply.message);
}

interface StreamOptions {
  readonly http: BrokerHttp;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly notice: (message: string) => void;
  readonly onEvent: (event: BrokerEvent) => void;
  readonly onGap: () => void;
  readonly onRefused: (error: FarfieldError) => void;
}

function openStream(options: StreamOptions): Stream {
  const opened = Promise.withResolvers<void>();
  // Whoever waits for `opened` hears of a refusal; nobody waiting is no reason to end the process.
  opened.promise.catch(() => undefined);
  let cut = false;
  const ended = followEvents({
    ...options,
    onLink(up, why) {
      if (up) opened.resolve();
      else options.notice(`event stream cut: ${why}`);
      // Before the first durable event there is no cursor to resume behind, so ask instead.
      if (up && cut) options.onGap();
      cut = !up;
    },
  }).catch((cause: unknown) => {
    const error = FarfieldError.from(cause);
    opened.reject(error);
    options.onRefused(error);
  });
  return { opened: opened.promise, ended };
}

/** A cancel must still be good when the endpoint comes back, so it lives as long as its ticket; it can only stop work. */
function cancelBody(options: ClientOptions, known: TicketStatus, items: readonly number[] | undefined): Uint8Array {
  const { session, clock, random } = options;
  const iat = Math.floor(clock.now() / 1000);
  const cancel = signToken(
    'farfield-cancel+jwt',
    {
      v: 1,
      iss: session.signer.kid,
      dlg: session.opened.delegation.hash,
      aud: known.endpoint,
      jti: uuidv7(clock.now(), random.bytes(10)),
      iat,
      exp: Math.max(known.exp, iat + REQUEST_LIFE_S),
      target: { principal: session.opened.principal, jti: known.jti, items: items === undefined ? 'all' : [...items] },
    },
    session.signer,
  );
  return Buffer.from(JSON.stringify({ cancel, chain: session.chain }));
}
