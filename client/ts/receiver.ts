/**
 * Takes what the broker says, checks what endpoints signed, and ends tickets.
 *
 * Invariants
 *  R1 A pack counts only when its receipt verifies with an online key that the endpoint's root named.
 *  R2 Packs are opened in the order in which they came: the first of an endpoint may wait for its descriptor.
 */
import type { Clock } from '#base/clock.ts';
import { openDescriptor } from '#kernel/endpoint.ts';
import { FarfieldError, isErrorCode } from '#kernel/errors.ts';
import { invocationId, thumbprint } from '#kernel/ids.ts';
import { parseToken, type Token } from '#kernel/jws.ts';
import { type OpenedPack, openPack, type PackJson, packFromJson } from '#kernel/receipts.ts';
import {
  type EndpointView,
  type ItemsEvent,
  type RefusalEvent,
  ROUTES,
  type RunningEvent,
  type TicketStatus,
} from '#protos/http.ts';
import type { BrokerEvent } from './events.ts';
import type { BrokerHttp } from './http.ts';
import { type ReceiptFile, receiptOf } from './receipt-file.ts';
import { createTracked, type Tracked, type TrackedFacts } from './tracker.ts';
import { createDeadlines, isEndedByWord, overdueError, wordError } from './unresolved.ts';

export interface KnownEndpoint extends EndpointView {
  readonly descriptorToken: Token<'farfield-endpoint+jwt'>;
}

export interface ReceiverOptions {
  readonly http: BrokerHttp;
  readonly principal: string;
  readonly clock: Clock;
  /** Lowest descriptor sequence that may be believed, by endpoint. */
  readonly minSeq: (endpoint: string) => number;
  readonly notice: (message: string) => void;
}

/** Items in one question about states: a URL of some 2 KB. */
const ITEMS_A_QUESTION = 400;

interface PackPage {
  readonly packs: PackJson[];
  /** Where the next page begins; absent on the last. */
  readonly more?: number;
}

export interface Receiver {
  readonly onEvent: (event: BrokerEvent) => void;
  endpoint(id: string, fresh: boolean): Promise<KnownEndpoint>;
  /** Waits for its receipts until `overS`, seconds since 1970; for good where nobody knows. */
  track(facts: TrackedFacts, overS?: number): Tracked;
  forget(id: string): void;
  /** Asks the broker for the packs of a ticket and takes them; what has none and was ended by its word fails. */
  fetch(id: string): Promise<void>;
  /** Every outcome of a ticket that there is, verified, pack by pack. */
  outcomes(id: string): AsyncGenerator<OpenedPack>;
  /** The receipt of one item that has ended, as a file that proves itself. */
  receipt(id: string, i: number): Promise<ReceiptFile>;
  /** The same for every open ticket, after a gap in the event stream. */
  refetch(): void;
  failAll(error: FarfieldError): void;
  /** Resolves when every pack that came so far was looked at. */
  settled(): Promise<void>;
  [Symbol.dispose](): void;
}

export function createReceiver(options: ReceiverOptions): Receiver {
  const { http, principal, notice } = options;
  const tracked = new Map<string, Tracked>();
  const endpoint = createEndpoints(options);
  const open = (json: PackJson): Promise<Verified> => openWith(endpoint, json, principal);
  let opening: Promise<void> = Promise.resolve();

  const takePack = async (json: PackJson): Promise<void> => {
    const { opened, known } = await open(json);
    for (const [index, columns] of opened.pack.tickets.entries()) {
      const entry = tracked.get(columns.id);
      if (entry === undefined) continue;
      const stranger = entry.endpoint !== known.id || (entry.hash !== undefined && entry.hash !== columns.ticketHash);
      if (stranger) notice(`a receipt for ${columns.id} is by another endpoint or for another ticket: ignored`);
      else entry.settle(opened, index);
      if (entry.remaining === 0) forget(columns.id);
    }
  };

  const forget = (id: string): void => {
    tracked.delete(id);
    deadlines.delete(id);
  };

  const take = (packs: readonly PackJson[]): Promise<void> => {
    for (const pack of packs) {
      opening = opening
        .then(() => takePack(pack))
        .catch((cause: unknown) => notice(`a receipt was not accepted: ${FarfieldError.from(cause).message}`));
    }
    return opening;
  };

  const fetchPacks = async (id: string): Promise<void> => {
    for await (const packs of pages(http, id)) await take(packs);
  };

  const fetch = async (id: string): Promise<void> => {
    await fetchPacks(id);
    const entry = tracked.get(id);
    if (entry === undefined || entry.remaining === 0) return;
    const ended = await endedByWord(http, entry);
    // What ended between the two questions has its receipt by now.
    if (ended.size > 0) await fetchPacks(id);
    for (const [error, items] of ended) entry.fail(items, error);
  };

  // The last question: a receipt that is at the broker ends the ticket as it would have at any time (U2).
  const deadlines = createDeadlines(options.clock, (id) => {
    const fail = (): void => tracked.get(id)?.fail('all', overdueError(id));
    fetch(id).then(fail, fail);
  });

  const refetch = (): void => {
    for (const id of tracked.keys()) fetch(id).catch((cause: unknown) => notice(FarfieldError.from(cause).message));
  };

  const onEvent = (event: BrokerEvent): void => {
    if (event.type === 'terminal') void take([event.data as PackJson]);
    else if (event.type === 'reset') refetch();
    else if (event.type !== 'log') {
      const entry = tracked.get((event.data as { id: string }).id);
      if (entry !== undefined) applyWord(entry, event);
    }
  };

  return {
    onEvent,
    endpoint,
    fetch,
    async *outcomes(id) {
      for await (const { opened } of verified(http, open, id)) yield opened;
    },
    async receipt(id, i) {
      for await (const { opened, known } of verified(http, open, id)) {
        const found = receiptOf(opened, known.descriptor, id, i);
        if (found !== undefined) return found;
      }
      const target = invocationId(id, i);
      throw new FarfieldError(
        'E_NOT_FOUND',
        `there is no receipt of ${target} yet. \`farfield status ${id}\` shows it`,
      );
    },
    refetch,
    track(facts, overS) {
      const entry = tracked.get(facts.id) ?? createTracked(facts, notice);
      entry.reopen();
      tracked.set(facts.id, entry);
      if (overS !== undefined) deadlines.set(facts.id, overS);
      return entry;
    },
    forget,
    failAll(error) {
      for (const entry of tracked.values()) entry.fail('all', error);
    },
    settled: () => opening,
    [Symbol.dispose]: () => deadlines[Symbol.dispose](),
  };
}

/** The packs of one ticket: the broker pages them, so that a large batch is no single answer of hundreds of MiB. */
async function* pages(http: BrokerHttp, id: string): AsyncGenerator<readonly PackJson[]> {
  const path = ROUTES.result.url.replace(':id', id);
  for (let after: number | undefined = 0; after !== undefined; ) {
    const page: PackPage = await http.json({ method: 'GET', path: after === 0 ? path : `${path}?after=${after}` });
    yield page.packs;
    after = page.more;
  }
}

/**
 * Items of a ticket that ended without a receipt of their own, by the broker's word or by the endpoint's stateless refusal:
 * nothing more is said of them in the event stream. An item that has its receipt has ended already and stays as it is (U1).
 */
async function endedByWord(http: BrokerHttp, entry: Tracked): Promise<Map<FarfieldError, number[]>> {
  const found = new Map<FarfieldError, number[]>();
  const path = ROUTES.status.url.replace(':id', entry.id);
  const { counts, refusals = [] } = await http.json<TicketStatus>({ method: 'GET', path });
  const errors = new Map<string, FarfieldError>();
  for (const state of Object.keys(counts)) if (isEndedByWord(state)) errors.set(state, wordError(entry.id, state));
  if (refusals[0] !== undefined) errors.set('refused', refusalError(refusals[0]));
  if (errors.size === 0) return found;
  // Item by item only where there is something to find: the broker lists the items of large tickets when asked for.
  for (let from = 0; from < entry.n; from += ITEMS_A_QUESTION) {
    const asked = Array.from({ length: Math.min(ITEMS_A_QUESTION, entry.n - from) }, (_, k) => from + k).join(',');
    const { items } = await http.json<TicketStatus>({ method: 'GET', path: `${path}?items=${asked}` });
    for (const { i, state } of items) {
      const error = errors.get(state);
      if (error === undefined) continue;
      const list = found.get(error) ?? [];
      found.set(error, list);
      list.push(i);
    }
  }
  return found;
}

/** What the broker says of a ticket: shown, and never taken for a receipt. */
function applyWord(entry: Tracked, event: BrokerEvent): void {
  switch (event.type) {
    case 'running':
      entry.progress(event.data as RunningEvent);
      break;
    case 'admitted':
      entry.progress({ state: 'admitted', detail: 'accepted by the endpoint', done: 0, total: 0 });
      break;
    case 'lost': {
      const { runs, state } = event.data as ItemsEvent;
      const items = runs.flatMap(([from, to]) => Array.from({ length: to - from }, (_, k) => from + k));
      entry.fail(items, wordError(entry.id, isEndedByWord(state) ? state : 'lost'));
      break;
    }
    case 'refusal': {
      const { items, receipt } = event.data as RefusalEvent;
      entry.fail(items, refusalError(receipt));
      break;
    }
  }
}

/** A ticket whose chain did not hold has no receipt of its own: the endpoint's stateless answer is what there is. */
function refusalError(receipt: string): FarfieldError {
  const { err } = parseToken('farfield-receipt+jwt', receipt).claims;
  const code = err?.code ?? '';
  return new FarfieldError(
    isErrorCode(code) ? code : 'E_UNTRUSTED',
    `the endpoint refused the ticket: ${err?.message ?? 'no reason given'}`,
  );
}

interface Verified {
  readonly opened: OpenedPack;
  readonly known: KnownEndpoint;
}

async function* verified(
  http: BrokerHttp,
  open: (json: PackJson) => Promise<Verified>,
  id: string,
): AsyncGenerator<Verified> {
  for await (const packs of pages(http, id)) for (const json of packs) yield await open(json);
}

/** R1: the pack, if the endpoint that it names signed it for this principal. */
async function openWith(endpoint: Receiver['endpoint'], json: PackJson, principal: string): Promise<Verified> {
  const pack = packFromJson(json);
  const { claims } = parseToken('farfield-receipts+jwt', pack.receipts);
  let known = await endpoint(claims.endpoint, false);
  // An unknown online key may be a newer one: only a newer descriptor by the root can say so.
  if (claims.iss !== thumbprint(known.descriptorToken.claims.sign)) known = await endpoint(claims.endpoint, true);
  const expect = { endpoint: known.id, onlineKey: known.descriptorToken.claims.sign, principal };
  return { opened: openPack(pack, expect), known };
}

/** Descriptors by endpoint; one that is older than the newest seen is refused. */
function createEndpoints(options: ReceiverOptions): (id: string, fresh: boolean) => Promise<KnownEndpoint> {
  const known = new Map<string, KnownEndpoint>();
  return async (id, fresh) => {
    const before = known.get(id);
    if (before !== undefined && !fresh) return before;
    const view = await options.http.json<EndpointView>({ method: 'GET', path: ROUTES.endpoint.url.replace(':id', id) });
    const minSeq = Math.max(options.minSeq(id), before?.descriptorToken.claims.seq ?? 1);
    const descriptorToken = openDescriptor(view.descriptor, { endpoint: id, nowS: options.clock.now() / 1000, minSeq });
    const found = { ...view, descriptorToken };
    known.set(id, found);
    return found;
  };
}
