/**
 * The client library: sign, submit, follow, verify.
 *
 * Invariants
 *  K1 A ticket is tracked before it is sent, so an outcome that overtakes the reply is not lost.
 *  K2 Sending again is safe (the broker knows the ticket), so a submit whose fate is unknown is sent again.
 *  K3 What was submitted while a request was under way goes out in one request: no waiting when idle, no queue when busy.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';

import { openDescriptor } from '#kernel/endpoint.ts';
import { FarfieldError, isErrorCode } from '#kernel/errors.ts';
import { thumbprint, uuidv7 } from '#kernel/ids.ts';
import { type Token, parseToken, signToken } from '#kernel/jws.ts';
import { DEFAULT_TICKET_LIFE_S, MAX_SUBMISSION_BYTES, REQUEST_LIFE_S } from '#kernel/limits.ts';
import type { Subject } from '#kernel/tokens/claims.ts';
import { type PackJson, openPack, packFromJson } from '#kernel/receipts.ts';
import { type EndpointView, type ItemsEvent, ROUTES, type RunningEvent, SUBMISSION_TYPE, type SubmissionReply, type TicketStatus } from '#protos/http.ts';
import { type BlobRef, downloadBlob, uploadBlob } from './blobs.ts';
import { type BrokerEvent, followEvents } from './events.ts';
import type { SentTicket, Session } from './home.ts';
import { type BrokerAddress, type BrokerHttp, createBrokerHttp } from './http.ts';
import { type ItemInput, type SignedTicket, type TicketTerms, encodeSubmission, signTicket } from './submission.ts';
import { type Ticket, type Tracked, createTracked, outcomesOf } from './tracker.ts';

export interface ClientOptions {
  readonly broker: BrokerAddress;
  readonly session: Session;
  readonly clock: Clock;
  readonly random: Random;
  /** Notes a ticket durably before it is sent. */
  readonly noteTicket?: (ticket: SentTicket) => Promise<void>;
  /** Lowest descriptor sequence that may be believed, by endpoint. */
  readonly minSeq?: (endpoint: string) => number;
  /** Things a person should look at: a differing receipt, a cut stream. */
  readonly onNotice?: (message: string) => void;
  /** How long a submit is sent again while the broker does not answer. */
  readonly submitPatienceMs?: number;
}

export interface SubmitInput {
  readonly terms: TicketTerms;
  /** The function's manifest: text of its General JWS. */
  readonly manifest: string;
  readonly items: readonly ItemInput[];
  readonly lifeS?: number;
  /** A batch ticket even for one item. */
  readonly batch?: boolean;
}

export interface SubmittedTicket extends Ticket {
  /** What the broker said beyond "queued": that the endpoint is offline, for instance. */
  readonly note: string | undefined;
  readonly outcome: 'queued' | 'known';
}

export interface Client extends AsyncDisposable {
  readonly http: BrokerHttp;
  readonly principal: string;
  /** Who the session's delegation says the principal is, and its digest: every ticket repeats both. */
  readonly subject: Subject;
  readonly delegation: string;
  submit(input: SubmitInput): Promise<SubmittedTicket>;
  /** Follows a ticket that was submitted earlier, here or elsewhere. */
  attach(id: string): Promise<Ticket>;
  status(id: string): Promise<TicketStatus>;
  list(): Promise<readonly TicketStatus[]>;
  cancel(id: string, items?: readonly number[]): Promise<number>;
  endpoint(id: string): Promise<EndpointView & { readonly descriptorToken: Token<'farfield-endpoint+jwt'> }>;
  uploadFile(path: string, onProgress?: (sent: number, size: number) => void): Promise<BlobRef>;
  downloadTo(blob: { digest: string }, path: string): Promise<void>;
  /** Every event of the principal, as it comes. */
  onEvent(listener: (event: BrokerEvent) => void): void;
  /** Opens the event stream now; submit and attach do so by themselves. */
  connect(): Promise<void>;
}

const DEFAULT_PATIENCE_MS = 60_000;
const MAX_TICKETS_A_REQUEST = 1024;

interface Pending {
  readonly signed: SignedTicket;
  readonly manifest: string;
  readonly reply: PromiseWithResolvers<SubmissionReply['tickets'][number]>;
}

export function createClient(options: ClientOptions): Client {
  const { clock, random, session } = options;
  const principal = session.opened.principal;
  const notice = options.onNotice ?? (() => undefined);
  const http = createBrokerHttp({ broker: options.broker, signer: session.signer, chain: session.chain, clock, random });
  const tracked = new Map<string, Tracked>();
  const endpoints = new Map<string, EndpointView & { descriptorToken: Token<'farfield-endpoint+jwt'> }>();
  const listeners: ((event: BrokerEvent) => void)[] = [];
  const stop = new AbortController();
  const queue: Pending[] = [];
  let sending: Promise<void> | undefined;
  let stream: { opened: Promise<void>; ended: Promise<void> } | undefined;
  /** Packs are opened one after the other: the first of an endpoint may wait for its descriptor. */
  let opening: Promise<void> = Promise.resolve();

  const endpoint = async (id: string, fresh = true) => {
    const known = endpoints.get(id);
    if (known !== undefined && !fresh) return known;
    const view = await http.json<EndpointView>({ method: 'GET', path: ROUTES.endpoint.url.replace(':id', id) });
    const minSeq = Math.max(options.minSeq?.(id) ?? 1, known?.descriptorToken.claims.seq ?? 1);
    const descriptorToken = openDescriptor(view.descriptor, { endpoint: id, nowS: clock.now() / 1000, minSeq });
    const found = { ...view, descriptorToken };
    endpoints.set(id, found);
    return found;
  };

  const takePack = async (json: PackJson): Promise<void> => {
    const pack = packFromJson(json);
    const token = parseToken('farfield-receipts+jwt', pack.receipts);
    const id = token.claims.endpoint;
    let view = await endpoint(id, false);
    // An unknown online key may be a newer one: only a newer descriptor by the root can say so.
    if (token.claims.iss !== descriptorKid(view)) view = await endpoint(id, true);
    const opened = openPack(pack, { endpoint: id, onlineKey: view.descriptorToken.claims.sign, principal });
    for (const [ticket, outcomes] of outcomesOf(opened, id)) {
      const entry = tracked.get(ticket);
      if (entry === undefined) continue;
      if (entry.endpoint !== id) {
        notice(`a receipt for ${ticket} came from endpoint ${id}, which it was not sent to: ignored`);
        continue;
      }
      entry.settle(outcomes);
      if (entry.remaining === 0) tracked.delete(ticket);
    }
  };

  const takePacks = (packs: readonly PackJson[]): Promise<void> => {
    for (const pack of packs) {
      opening = opening.then(() => takePack(pack)).catch((cause: unknown) => notice(`a receipt was refused: ${FarfieldError.from(cause).message}`));
    }
    return opening;
  };

  const fetchPacks = async (id: string): Promise<void> => {
    const { packs } = await http.json<{ packs: PackJson[] }>({ method: 'GET', path: ROUTES.result.url.replace(':id', id) });
    await takePacks(packs);
  };

  const onEvent = (event: BrokerEvent): void => {
    for (const listener of listeners) listener(event);
    switch (event.type) {
      case 'terminal':
        void takePacks([event.data as PackJson]);
        break;
      case 'running': {
        const data = event.data as RunningEvent;
        tracked.get(data.id)?.progress(data);
        break;
      }
      case 'admitted':
        tracked.get((event.data as ItemsEvent).id)?.progress({ state: 'admitted', detail: 'accepted by the endpoint', done: 0, total: 0 });
        break;
      case 'lost': {
        const data = event.data as ItemsEvent;
        const error = new FarfieldError('E_UNRESOLVED', `the broker says that ${data.id} was lost or ended before delivery; no receipt settles it yet. Attach it again with \`farfield status ${data.id}\``);
        tracked.get(data.id)?.fail(data.runs.flatMap(([from, to]) => Array.from({ length: to - from }, (_, k) => from + k)), error);
        break;
      }
      case 'refusal': {
        const data = event.data as { id: string; items: number[]; receipt: string };
        tracked.get(data.id)?.fail(data.items, refusalError(data.receipt));
        break;
      }
      case 'reset':
        for (const id of tracked.keys()) void fetchPacks(id).catch((cause: unknown) => notice(FarfieldError.from(cause).message));
        break;
    }
  };

  const connect = (): Promise<void> => {
    if (stream !== undefined) return stream.opened;
    const opened = Promise.withResolvers<void>();
    opened.promise.catch(() => undefined);
    let cuts = 0;
    const ended = followEvents({
      http,
      clock,
      random,
      signal: stop.signal,
      onEvent,
      onLink(up, why) {
        if (!up) {
          cuts += 1;
          notice(`event stream cut: ${why}`);
          return;
        }
        opened.resolve();
        // Without a durable event so far there is no cursor to resume behind: list instead.
        if (cuts > 0) for (const id of tracked.keys()) void fetchPacks(id).catch(() => undefined);
      },
    }).catch((cause: unknown) => {
      opened.reject(cause);
      const error = FarfieldError.from(cause);
      for (const entry of tracked.values()) entry.fail('all', error);
    });
    stream = { opened: opened.promise, ended };
    return stream.opened;
  };

  const sendQueued = async (): Promise<void> => {
    while (queue.length > 0) {
      const group = takeGroup(queue);
      const body = encodeSubmission(group.map(({ signed, manifest }) => ({ signed, manifest, chain: session.chain })));
      try {
        const reply = await patiently(options, () =>
          http.json<SubmissionReply>({ method: 'POST', path: ROUTES.submit.url, body, contentType: SUBMISSION_TYPE, unsigned: true }),
        );
        group.forEach((pending, k) => pending.reply.resolve(reply.tickets[k] as SubmissionReply['tickets'][number]));
      } catch (cause) {
        for (const pending of group) pending.reply.reject(cause);
      }
    }
    sending = undefined;
  };

  const track = (facts: { id: string; hash: string | undefined; endpoint: string; n: number }): Tracked => {
    const known = tracked.get(facts.id);
    if (known !== undefined) return known;
    const entry = createTracked(facts, notice);
    tracked.set(facts.id, entry);
    return entry;
  };

  return {
    http,
    principal,
    subject: session.opened.delegation.claims.sub,
    delegation: session.opened.delegation.hash,
    connect,
    endpoint,
    async submit(input) {
      await connect();
      const iat = Math.floor(clock.now() / 1000);
      const times = { jti: uuidv7(clock.now(), random.bytes(10)), iat, exp: iat + (input.lifeS ?? DEFAULT_TICKET_LIFE_S) };
      const signed = signTicket(input.terms, input.items, times, session.signer, principal, input.batch);
      const facts = { id: signed.id, hash: signed.hash, endpoint: signed.endpoint, n: signed.n };
      await options.noteTicket?.({ ...facts, hash: signed.hash, jti: signed.jti, fn: `${input.terms.fn.name}@${input.terms.fn.version}`, at: iat });
      const entry = track(facts);
      const pending: Pending = { signed, manifest: input.manifest, reply: Promise.withResolvers() };
      queue.push(pending);
      sending ??= sendQueued();
      try {
        const reply = await pending.reply.promise;
        if (reply.outcome === 'refused') throw new FarfieldError(isErrorCode(reply.code) ? reply.code : 'E_BAD_REQUEST', reply.message);
        if (reply.outcome === 'known') await fetchPacks(signed.id);
        return Object.assign(Object.create(entry) as Tracked, { note: reply.note, outcome: reply.outcome });
      } catch (cause) {
        tracked.delete(signed.id);
        throw cause;
      }
    },
    async attach(id) {
      await connect();
      const known = await http.json<TicketStatus>({ method: 'GET', path: ROUTES.status.url.replace(':id', id) });
      const entry = track({ id, hash: undefined, endpoint: known.endpoint, n: known.n });
      await fetchPacks(id);
      return entry;
    },
    status: (id) => http.json<TicketStatus>({ method: 'GET', path: ROUTES.status.url.replace(':id', id) }),
    async list() {
      return (await http.json<{ tickets: TicketStatus[] }>({ method: 'GET', path: ROUTES.list.url })).tickets;
    },
    async cancel(id, items) {
      const known = await http.json<TicketStatus>({ method: 'GET', path: ROUTES.status.url.replace(':id', id) });
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
          // A cancel must still be good when the endpoint comes back; it can only stop work of the same principal.
          exp: Math.max(known.exp, iat + REQUEST_LIFE_S),
          target: { principal, jti: known.jti, items: items === undefined ? 'all' : [...items] },
        },
        session.signer,
      );
      const body = Buffer.from(JSON.stringify({ cancel, chain: session.chain }));
      const reply = await http.json<{ items: number }>({ method: 'POST', path: ROUTES.cancel.url.replace(':id', id), body, contentType: 'application/json' });
      return reply.items;
    },
    async uploadFile(path, onProgress) {
      const { size } = await stat(path);
      return uploadBlob(http, { size, open: (start) => createReadStream(path, { start }) }, onProgress);
    },
    downloadTo: (blob, path) => downloadBlob(http, blob.digest, path),
    onEvent: (listener) => void listeners.push(listener),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await stream?.ended;
      await opening;
      await http[Symbol.asyncDispose]();
    },
  };
}

function descriptorKid(view: { descriptorToken: Token<'farfield-endpoint+jwt'> }): string {
  return thumbprint(view.descriptorToken.claims.sign);
}

/** As many queued tickets as one request may hold. */
function takeGroup(queue: Pending[]): Pending[] {
  let bytes = 0;
  let count = 0;
  while (count < queue.length && count < MAX_TICKETS_A_REQUEST) {
    bytes += (queue[count] as Pending).signed.byteLength + 1024;
    if (count > 0 && bytes > MAX_SUBMISSION_BYTES) break;
    count += 1;
  }
  return queue.splice(0, count);
}

/** Runs `send` again, with growing pauses, while the broker is unreachable or busy and patience lasts. */
async function patiently<T>(options: ClientOptions, send: () => Promise<T>): Promise<T> {
  const { clock, random } = options;
  const until = clock.mono() + (options.submitPatienceMs ?? DEFAULT_PATIENCE_MS);
  for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 5000)) {
    try {
      return await send();
    } catch (cause) {
      const error = FarfieldError.from(cause);
      if (!error.retryable || clock.mono() >= until) throw error;
      await clock.sleep(Math.max(pauseMs * (0.5 + random.uniform()), (error.retryAfterS ?? 0) * 1000));
    }
  }
}

function refusalError(receipt: string): FarfieldError {
  const { claims } = parseToken('farfield-receipt+jwt', receipt);
  const code = claims.err?.code ?? '';
  return new FarfieldError(isErrorCode(code) ? code : 'E_UNTRUSTED', `the endpoint refused the ticket: ${claims.err?.message ?? 'no reason given'}`);
}


