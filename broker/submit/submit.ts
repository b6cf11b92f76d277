/**
 * A submission from its bytes to its reply: check each ticket, commit those that hold, hand them to the pump, answer.
 *
 * Invariants
 *  B1 A ticket's fate is its own: one that is refused takes none of its neighbours along.
 *  B2 The reply is sent after the commit, and delivery begins at the same moment; neither waits for the other.
 */
import type { Clock } from '#base/clock.ts';
import type { Bytes } from '#kernel/bytes.ts';
import type { Chain, createChainCache } from '#kernel/chain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { SubmissionReply } from '#protos/http.ts';
import type { Commit } from '../committed.ts';
import type { Directory } from '../directory.ts';
import { CHECKS_PER_TURN } from '../limits.ts';
import type { RunningBoard } from '../running.ts';
import type { Queue, QueueOutcome } from '../store/store.ts';
import { type CheckedTicket, checkTicket, createManifestCache, type Objection } from './check.ts';
import { parseSubmission } from './parse.ts';

export interface SubmitOptions {
  readonly commit: Commit;
  readonly directory: Directory;
  readonly running: RunningBoard;
  readonly chains: ReturnType<typeof createChainCache>;
  readonly clock: Clock;
  readonly maxOpenItems: number;
}

export type Submit = (body: Bytes) => Promise<SubmissionReply>;
type Reply = SubmissionReply['tickets'][number];

export function createSubmit(options: SubmitOptions): Submit {
  const manifests = createManifestCache();
  return async (body) => {
    const { chains, clock, directory } = options;
    const nowS = clock.now() / 1000;
    const unreachable = (endpoint: string, chain: Chain): Objection | undefined =>
      unreachableBecause(directory, endpoint, chain);
    const checked: (CheckedTicket | Reply)[] = [];
    for (const [k, ticket] of parseSubmission(body).entries()) {
      // A thousand signatures are 150 ms: others get their turn in between.
      if (k > 0 && k % CHECKS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve));
      checked.push(attempt(() => checkTicket(ticket, { chains, manifests, nowS, unreachable })));
    }
    const good = checked.filter((entry): entry is CheckedTicket => 'queue' in entry);
    const outcomes = good.length === 0 ? [] : await queue(options, good, nowS);
    const replies = new Map(good.map((entry, k) => [entry, replyOf(options, entry, outcomes[k])]));
    return { tickets: checked.map((entry) => ('queue' in entry ? (replies.get(entry) as Reply) : entry)) };
  };
}

function attempt(check: () => CheckedTicket): CheckedTicket | Reply {
  try {
    return check();
  } catch (reason) {
    if (!(reason instanceof FarfieldError)) throw reason;
    return { outcome: 'refused', code: reason.code, message: reason.message };
  }
}

/** An endpoint that is not there takes only work whose delegation was made to wait (`--queue-for`). */
function unreachableBecause(directory: Directory, endpoint: string, chain: Chain): Objection | undefined {
  const entry = directory.endpoint(endpoint);
  if (entry === undefined || directory.presence(entry) !== 'offline') return undefined;
  const { adm, exp } = chain.delegation.claims;
  if (adm > exp) return undefined;
  return {
    code: 'E_ENDPOINT_OFFLINE',
    message: `endpoint ${endpoint} is offline since ${new Date(entry.sinceMs).toISOString()}, and your session cannot wait for it. Log in with \`--queue-for 4d --endpoint NAME\` to queue for it, or try again when it is back`,
  };
}

async function queue(
  options: SubmitOptions,
  good: readonly CheckedTicket[],
  nowS: number,
): Promise<readonly QueueOutcome[]> {
  const command: Queue = {
    tickets: good.map((entry) => entry.queue),
    chains: [...new Map(good.map(({ queue: { chain }, links }) => [chain, { digest: chain, links }])).values()],
    manifests: [
      ...new Map(
        good.map(({ queue: { manifest }, manifestText }) => [manifest, { digest: manifest, text: manifestText }]),
      ).values(),
    ],
    maxOpenItems: options.maxOpenItems,
    nowS,
  };
  const { outcomes } = await options.commit('queue', command);
  for (const [k, outcome] of outcomes.entries()) {
    const entry = good[k];
    if (outcome.kind === 'queued' && entry !== undefined) deliver(options, entry, outcome.ticketNo);
  }
  // The frame to the endpoint leaves first: its work takes longer than the way of the reply.
  await new Promise((resolve) => setImmediate(resolve));
  return outcomes;
}

function deliver({ directory, running }: SubmitOptions, entry: CheckedTicket, ticketNo: number): void {
  const { id, principal, endpoint, token, n, payload } = entry.queue;
  running.remember(id, { principal, endpoint, n });
  directory.endpoint(endpoint)?.session?.pump.offer({
    ticketNo,
    id,
    principal,
    token,
    chain: entry.links,
    manifest: entry.manifestText,
    n,
    payload,
  });
}

function replyOf({ directory }: SubmitOptions, { queue }: CheckedTicket, outcome: QueueOutcome | undefined): Reply {
  if (outcome === undefined) throw new RangeError('a ticket without an outcome');
  if (outcome.kind === 'refused') return { outcome: 'refused', code: outcome.code, message: outcome.message };
  const endpoint = directory.endpoint(queue.endpoint);
  const presence = endpoint === undefined ? 'offline' : directory.presence(endpoint);
  const note = presence === 'online' || endpoint === undefined ? undefined : noteOf(presence, endpoint.sinceMs);
  return {
    outcome: outcome.kind,
    id: queue.id,
    n: queue.n,
    endpointOnline: presence === 'online',
    ...(note === undefined ? {} : { note }),
  };
}

function noteOf(presence: 'reconnecting' | 'offline', sinceMs: number): string {
  if (presence === 'reconnecting') return 'the endpoint is reconnecting; the call is queued';
  return `the endpoint is offline since ${new Date(sinceMs).toISOString()}; the call is queued and runs when it is back`;
}
