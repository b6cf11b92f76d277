/**
 * Metrics of the agent: which there are, and what they count. Form and closed labels are those of base/metrics.ts.
 *
 * Names are farfield_agent_*, with the unit at the end; counters end in _total. Gauges come from what `status` answers too.
 */
import { type Counter, createRegistry, type Gauge, type Histogram, OTHER } from '#base/metrics.ts';
import { BLOCK_STATES } from '#kernel/states/block.ts';
import type { AgentStatus } from './control.ts';
import { END_CAUSES } from './schedulers/scheduler.ts';

const ADMISSIONS = ['admitted', 'refused', 'later'] as const;
const OUTCOMES = ['succeeded', 'failed', 'refused', 'expired', 'cancelled'] as const;
const COMMAND_ENDS = ['done', 'failed', 'unfinished', 'notStarted'] as const;
const SUBMITS = ['submitted', 'failed'] as const;
const LINK_STATES = ['live', 'dialling', 'waiting', 'stopped'] as const;
/** From a no-op to a walltime. */
const DURATIONS_S = [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 7200, 43_200];
/** An SSD's fsync takes 0.1 to 10 ms; a disk that is dying takes seconds. */
const COMMITS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5];

export interface AgentMetrics {
  readonly admissions: Counter;
  readonly starts: Counter;
  readonly returns: Counter;
  readonly outcomes: Counter;
  readonly durations: Histogram;
  readonly commits: Histogram;
  readonly commands: Counter;
  readonly submits: Counter;
  readonly blockEnds: Counter;
  readonly text: () => string;
}

export function createAgentMetrics(): AgentMetrics {
  const registry = createRegistry();
  return {
    admissions: registry.counter('farfield_agent_admissions_total', 'Deliveries by how they were answered.', {
      outcome: ADMISSIONS,
    }),
    starts: registry.counter('farfield_agent_item_starts_total', 'Leases of items, each one start.'),
    returns: registry.counter('farfield_agent_item_returns_total', 'Leases that ended without an outcome.', {
      charged: ['true', 'false'],
    }),
    outcomes: registry.counter('farfield_agent_item_outcomes_total', 'Items that ended, by status of their receipt.', {
      status: OUTCOMES,
    }),
    durations: registry.histogram(
      'farfield_agent_item_duration_seconds',
      'From the last lease of an item to its end.',
      DURATIONS_S,
    ),
    commits: registry.histogram(
      'farfield_agent_ledger_commit_seconds',
      'From a command of the ledger to its commit.',
      COMMITS_S,
    ),
    commands: registry.counter(
      'farfield_agent_scheduler_commands_total',
      'Commands of the batch scheduler, by how they ended.',
      { end: COMMAND_ENDS },
    ),
    submits: registry.counter('farfield_agent_block_submits_total', 'Blocks that were handed to the scheduler.', {
      outcome: SUBMITS,
    }),
    blockEnds: registry.counter('farfield_agent_block_ends_total', 'Blocks whose job ended, by cause.', {
      cause: END_CAUSES,
    }),
    text: registry.text,
  };
}

export interface ProcessFacts {
  readonly residentBytes: number;
  readonly nowS: number;
  readonly version: string;
}

/** What is so now. */
export function statusGauges(status: AgentStatus, facts: ProcessFacts): Gauge[] {
  const { work, blocks, link, ledger, descriptor } = status;
  const one = (name: string, help: string, value: number): Gauge => ({
    name: `farfield_agent_${name}`,
    help,
    values: [{ value }],
  });
  const each = (
    name: string,
    help: string,
    label: string,
    names: readonly string[],
    of: (name: string) => number,
  ): Gauge => ({
    name: `farfield_agent_${name}`,
    help,
    values: names.map((value) => ({ labels: { [label]: value }, value: of(value) })),
  });
  const known = new Set<string>(BLOCK_STATES);
  const states = ['open', 'paused', 'draining'] as const;
  return [
    {
      name: 'farfield_agent_info',
      help: 'The version that runs.',
      values: [{ labels: { version: facts.version.replace(/["\\\n]/g, '_') }, value: 1 }],
    },
    each('state', 'Whether new work is admitted (1 for the state that holds).', 'state', states, (name) =>
      Number(status.state === name),
    ),
    each('items', 'Items that have not ended.', 'state', ['waiting', 'leased'], (name) =>
      name === 'waiting' ? work.waiting : work.leased,
    ),
    one('tickets', 'Tickets with open items.', work.tickets),
    one('stale_messages', 'Late outcomes that were refused since the start.', work.stale),
    each(
      'blocks',
      'Blocks by state.',
      'state',
      [...BLOCK_STATES, OTHER],
      (name) => blocks.filter(({ state }) => (known.has(state) ? state : OTHER) === name).length,
    ),
    one(
      'pilots',
      'Pilots of all blocks.',
      blocks.reduce((sum, { pilots }) => sum + pilots, 0),
    ),
    each('slots', 'Places on pilots.', 'state', ['busy', 'free'], (name) => {
      const busy = blocks.reduce((sum, block) => sum + block.busy, 0);
      return name === 'busy' ? busy : blocks.reduce((sum, { slots }) => sum + slots, 0) - busy;
    }),
    each('link', 'State of the link to the broker (1 for the state that holds).', 'state', LINK_STATES, (name) =>
      Number(link.state === name),
    ),
    one('packs_unsent', 'Packs of receipts that the broker has not acknowledged.', ledger.packsToSend),
    one('ledger_commits', 'Commits of the ledger since the start.', ledger.commits),
    one('descriptor_expiry_timestamp_seconds', 'Until when the online key holds.', descriptor.expS),
    one('start_time_seconds', 'When this process began.', status.since),
    one('resident_memory_bytes', 'Memory of this process.', facts.residentBytes),
    one(
      'policy_ok',
      '1 where the policy file on disk is the one in force.',
      Number(status.policy.problem === undefined),
    ),
  ];
}
