/**
 * What an operator sees of a broker at work: counted where everything passes anyway, at the store, at the submission and at the
 * files of blobs. The parts that do the work have no line for it, and nothing can happen beside it.
 *
 * Invariants
 *  W1 What is watched answers and fails exactly as what it stands for; counting comes after, and never throws into it.
 *  W2 Numbers are of what the store said after its commit, not of what was asked for.
 */
import type { Clock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { STATUS_CODES } from '#kernel/receipts.ts';
import type { ItemsEvent } from '#protos/http.ts';
import type { BlobFiles } from './blobs/files.ts';
import type { BrokerMetrics } from './metrics.ts';
import type { BrokerStore, Commands, Completed, Queue, Queued, StoredEvent } from './store/store.ts';
import type { Submit } from './submit/submit.ts';

export interface WatchedStore {
  readonly store: BrokerStore;
  /** Commands that wait for their commit. */
  waiting(): number;
}

/** Of kernel/receipts.ts, turned around. */
const WORDS: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(STATUS_CODES).map(([word, code]) => [code, word]),
);

export function watchStore(store: BrokerStore, metrics: BrokerMetrics, clock: Pick<Clock, 'mono'>): WatchedStore {
  let waiting = 0;
  return {
    waiting: () => waiting,
    store: {
      apply<K extends keyof Commands>(kind: K, command: Commands[K]['in']): Promise<Commands[K]['out']> {
        const began = clock.mono();
        waiting += 1;
        // One step and no more behind the store's own promise: whoever waits for it hears of it in the order of the commits.
        return store.apply(kind, command).then(
          (outcome) => {
            waiting -= 1;
            metrics.commits.observe((clock.mono() - began) / 1000);
            count(metrics, kind, command, outcome);
            return outcome;
          },
          (reason: unknown) => {
            waiting -= 1;
            metrics.storeFailures.add([FarfieldError.from(reason).code]);
            throw reason;
          },
        );
      },
      read: (kind, question) => store.read(kind, question),
      close: () => store.close(),
      ended: store.ended,
      [Symbol.asyncDispose]: () => store.close(),
    },
  };
}

type Counting = {
  readonly [K in keyof Commands]?: (
    metrics: BrokerMetrics,
    command: Commands[K]['in'],
    outcome: Commands[K]['out'],
  ) => void;
};

const COUNTING: Counting = {
  queue: countQueued,
  complete: countCompleted,
  deliver(metrics, { tickets }, { kind }) {
    if (kind === 'done') metrics.delivered.add([], sum(tickets.map(({ items }) => items.byteLength / 2)));
  },
  admitted(metrics, _command, outcome) {
    if (outcome.kind === 'done') metrics.admitted.add([], outcome.items);
  },
  handBack(metrics, _command, outcome) {
    if (outcome.kind === 'done') metrics.handedBack.add([], outcome.items.byteLength / 2);
  },
  refuse(metrics, _command, outcome) {
    if (outcome.kind === 'done') metrics.outcomes.add(['refused'], outcome.items);
  },
};

function count<K extends keyof Commands>(
  metrics: BrokerMetrics,
  kind: K,
  command: Commands[K]['in'],
  outcome: Commands[K]['out'],
): void {
  const { events } = outcome as { readonly events?: readonly StoredEvent[] | number };
  // A purge says how many events it dropped, and tells none.
  if (Array.isArray(events))
    for (const event of events as readonly StoredEvent[]) if (event.kind === 'lost') countOwnWord(metrics, event.data);
  COUNTING[kind]?.(metrics, command, outcome);
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);

function countQueued(metrics: BrokerMetrics, { tickets }: Queue, { outcomes }: Queued): void {
  for (const [k, { kind }] of outcomes.entries()) if (kind === 'queued') metrics.queued.add([], tickets[k]?.n ?? 0);
}

function countCompleted(metrics: BrokerMetrics, { tickets }: Commands['complete']['in'], done: Completed): void {
  if (done.kind !== 'stored') return;
  metrics.conflicts.add([], done.conflicts);
  // Which items of a pack were news is not said; where all were, their statuses are known.
  if (done.items < sum(tickets.map(({ statuses }) => statuses.byteLength))) {
    metrics.outcomes.add(['other'], done.items);
    return;
  }
  for (const { statuses } of tickets) for (const status of statuses) metrics.outcomes.add([WORDS[status] ?? 'other']);
}

function countOwnWord(metrics: BrokerMetrics, data: string): void {
  for (const { runs, state = 'lost' } of JSON.parse(data) as ItemsEvent[])
    metrics.ownWord.add([state], sum(runs.map(([from, to]) => to - from)));
}

export function watchSubmit(submit: Submit, metrics: BrokerMetrics): Submit {
  return async (body) => {
    const reply = await submit(body);
    for (const ticket of reply.tickets) {
      metrics.tickets.add([ticket.outcome]);
      if (ticket.outcome === 'refused') metrics.ticketRefusals.add([ticket.code]);
    }
    return reply;
  };
}

/** Bytes that came and went; of a reader that goes away, those that were read for it. */
export function watchBlobs(blobs: BlobFiles, metrics: BrokerMetrics): BlobFiles {
  return {
    ...blobs,
    async append(upload) {
      const have = await blobs.append(upload);
      metrics.blobBytes.add(['in'], have - upload.offset);
      return have;
    },
    read(digest, start, end) {
      const stream = blobs.read(digest, start, end);
      stream.once('close', () => metrics.blobBytes.add(['out'], stream.bytesRead));
      return stream;
    },
  };
}
