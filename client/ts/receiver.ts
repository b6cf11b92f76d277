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
import { thumbprint } from '#kernel/ids.ts';
import { parseToken, type Token } from '#kernel/jws.ts';
import { openPack, type PackJson, packFromJson } from '#kernel/receipts.ts';
import { type EndpointView, type ItemsEvent, type RefusalEvent, ROUTES, type RunningEvent } from '#protos/http.ts';
import type { BrokerEvent } from './events.ts';
import type { BrokerHttp } from './http.ts';
import { createTracked, type Tracked, type TrackedFacts } from './tracker.ts';

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

interface PackPage {
  readonly packs: PackJson[];
  /** Where the next page begins; absent on the last. */
  readonly more?: number;
}

export interface Receiver {
  readonly onEvent: (event: BrokerEvent) => void;
  endpoint(id: string, fresh: boolean): Promise<KnownEndpoint>;
  track(facts: TrackedFacts): Tracked;
  forget(id: string): void;
  /** Asks the broker for the packs of a ticket and takes them. */
  fetch(id: string): Promise<void>;
  /** The same for every open ticket, after a gap in the event stream. */
  refetch(): void;
  failAll(error: FarfieldError): void;
  /** Resolves when every pack that came so far was looked at. */
  settled(): Promise<void>;
}

export function createReceiver(options: ReceiverOptions): Receiver {
  const { http, principal, notice } = options;
  const tracked = new Map<string, Tracked>();
  const endpoint = createEndpoints(options);
  let opening: Promise<void> = Promise.resolve();

  const takePack = async (json: PackJson): Promise<void> => {
    const pack = packFromJson(json);
    const { claims } = parseToken('farfield-receipts+jwt', pack.receipts);
    let known = await endpoint(claims.endpoint, false);
    // An unknown online key may be a newer one: only a newer descriptor by the root can say so.
    if (claims.iss !== thumbprint(known.descriptorToken.claims.sign)) known = await endpoint(claims.endpoint, true);
    const opened = openPack(pack, { endpoint: known.id, onlineKey: known.descriptorToken.claims.sign, principal });
    for (const [index, columns] of opened.pack.tickets.entries()) {
      const entry = tracked.get(columns.id);
      if (entry === undefined) continue;
      const stranger = entry.endpoint !== known.id || (entry.hash !== undefined && entry.hash !== columns.ticketHash);
      if (stranger) notice(`a receipt for ${columns.id} is by another endpoint or for another ticket: ignored`);
      else entry.settle(opened, index);
      if (entry.remaining === 0) tracked.delete(columns.id);
    }
  };

  const take = (packs: readonly PackJson[]): Promise<void> => {
    for (const pack of packs) {
      opening = opening
        .then(() => takePack(pack))
        .catch((cause: unknown) => notice(`a receipt was not accepted: ${FarfieldError.from(cause).message}`));
    }
    return opening;
  };

  const fetch = async (id: string): Promise<void> => {
    const path = ROUTES.result.url.replace(':id', id);
    // The broker pages them, so that a large batch is no single answer of hundreds of MiB.
    for (let after: number | undefined = 0; after !== undefined; ) {
      const page: PackPage = await http.json<PackPage>({
        method: 'GET',
        path: after === 0 ? path : `${path}?after=${after}`,
      });
      await take(page.packs);
      after = page.more;
    }
  };

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
    refetch,
    track(facts) {
      const entry = tracked.get(facts.id) ?? createTracked(facts, notice);
      tracked.set(facts.id, entry);
      return entry;
    },
    forget: (id) => void tracked.delete(id),
    failAll(error) {
      for (const entry of tracked.values()) entry.fail('all', error);
    },
    settled: () => opening,
  };
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
      const { runs } = event.data as ItemsEvent;
      const items = runs.flatMap(([from, to]) => Array.from({ length: to - from }, (_, k) => from + k));
      const text = `the broker says that ${entry.id} ended before it was delivered, or was lost at its endpoint, and no receipt says so`;
      entry.fail(
        items,
        new FarfieldError('E_UNRESOLVED', `${text}. \`farfield status ${entry.id}\` shows what it knows`),
      );
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
