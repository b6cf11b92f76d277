/**
 * What an admin sees of an agent at work: counters and the audit log, taken where everything passes anyway.
 *
 * Admissions, leases and ends are commands of the ledger, jobs are calls of the scheduler. Watching these two, and each decision
 * at the desk, needs no line in the parts that do the work, and nothing can happen beside it.
 */
import type { Clock } from '#base/clock.ts';
import { STATUS_CODES } from '#kernel/receipts.ts';
import type { ReceiptStatus } from '#kernel/tokens/claims.ts';
import type { Ledger, LedgerCommand, LedgerResult } from './admission/ledger.ts';
import type { Audit } from './audit.ts';
import type { AgentMetrics } from './metrics.ts';
import type { RunCommand } from './schedulers/command.ts';
import type { Scheduler } from './schedulers/scheduler.ts';
import { itemKey } from './work/mirror.ts';

/** How a delivery was answered, as the desk decided it. */
export interface Decided {
  readonly outcome: 'admitted' | 'refused' | 'later';
  readonly principal?: string | undefined;
  readonly jti?: string | undefined;
  readonly items: number;
  readonly rule?: string | undefined;
  readonly code?: string;
  readonly step?: string;
  readonly message?: string;
}

export interface AgentWatch {
  readonly metrics: AgentMetrics;
  readonly audit: Audit;
  decided(decision: Decided): void;
  ledger(ledger: Ledger): Ledger;
  command(run: RunCommand): RunCommand;
  scheduler<S extends Scheduler>(scheduler: S): S;
}

/** Of kernel/receipts.ts, turned around. */
const WORDS = Object.fromEntries(Object.entries(STATUS_CODES).map(([word, code]) => [code, word as ReceiptStatus]));

export function createWatch(options: { metrics: AgentMetrics; audit: Audit; clock: Pick<Clock, 'mono'> }): AgentWatch {
  const { metrics, audit, clock } = options;
  /** Item -> when its last lease was committed. As large as what is in flight. */
  const leasedAt = new Map<number, number>();

  const leased = (ticketNo: number, items: readonly number[]): void => {
    metrics.starts.add([], items.length);
    const now = clock.mono();
    for (const i of items) leasedAt.set(itemKey(ticketNo, i), now);
  };

  const seen = (command: LedgerCommand, result: LedgerResult): void => {
    if (command.kind === 'admit' && result.kind === 'admitted') leased(result.ticketNo, result.leased);
    else if (command.kind === 'lease' && result.kind === 'leased') leased(command.ticketNo, result.items);
    else if (command.kind === 'return') {
      metrics.returns.add([String(command.charged)], command.held.length);
      for (const { ticketNo, i } of command.held) leasedAt.delete(itemKey(ticketNo, i));
    } else if (command.kind === 'end' && result.kind === 'ended') ended(command);
    else if (command.kind === 'refuse' && result.kind === 'ended')
      metrics.outcomes.add([WORDS[command.status] ?? 'other'], command.ticket.n);
    else if (command.kind === 'cancel') {
      const { principal, jti, items } = command;
      audit.note('cancelled', { principal, jti, items: items === 'all' ? 'all' : items.length });
    }
  };

  const ended = (command: Extract<LedgerCommand, { kind: 'end' }>): void => {
    const now = clock.mono();
    for (const { ticketNo, items, statuses } of command.tickets) {
      for (const [k, i] of items.entries()) {
        metrics.outcomes.add([WORDS[statuses[k] ?? 0] ?? 'other']);
        const key = itemKey(ticketNo, i);
        const since = leasedAt.get(key);
        if (since === undefined) continue;
        leasedAt.delete(key);
        metrics.durations.observe((now - since) / 1000);
      }
    }
  };

  return {
    metrics,
    audit,
    decided({ outcome, principal, jti, items, ...why }) {
      metrics.admissions.add([outcome]);
      // What comes again later is no decision yet.
      if (outcome !== 'later') audit.note(outcome, { principal, jti, items, ...why });
    },
    ledger: (ledger) => ({
      submit: async (command) => {
        const began = clock.mono();
        const result = await ledger.submit(command);
        metrics.commits.observe((clock.mono() - began) / 1000);
        seen(command, result);
        return result;
      },
      query: (query) => ledger.query(query),
      rest: () => ledger.rest(),
      close: () => ledger.close(),
      stats: () => ledger.stats(),
      ended: ledger.ended,
      [Symbol.asyncDispose]: () => ledger.close(),
    }),
    command: (run) => async (command) => {
      const outcome = await run(command);
      metrics.commands.add([outcome.kind === 'done' && outcome.output.code !== 0 ? 'failed' : outcome.kind]);
      return outcome;
    },
    scheduler: (scheduler) => {
      scheduler.onEnd((job, why, cause) => {
        metrics.blockEnds.add([cause]);
        audit.note('block-ended', { job: jobName(job), cause, why });
      });
      return {
        ...scheduler,
        async submit(request) {
          try {
            const job = await scheduler.submit(request);
            metrics.submits.add(['submitted']);
            const { block, shape, users = [] } = request;
            audit.note('block-submitted', {
              block,
              job: jobName(job),
              nodes: shape.nodes,
              wallS: shape.wallS,
              account: shape.account,
              queue: shape.queue,
              users,
            });
            return job;
          } catch (reason) {
            metrics.submits.add(['failed']);
            throw reason;
          }
        },
      };
    },
  };
}

/** The scheduler's id where the text has one. */
function jobName(job: string): string {
  try {
    const { id, pid } = JSON.parse(job) as { id?: unknown; pid?: unknown };
    return typeof id === 'string' ? id : typeof pid === 'number' ? `process ${pid}` : job;
  } catch {
    return job;
  }
}
