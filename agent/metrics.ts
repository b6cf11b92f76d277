/**
 * Metrics of the agent, in Prometheus' text format 0.0.4.
 *
 * Invariants
 *  M1 Every label has a closed set of values that is known when the metric is made: no principal, function, node or block is a
 *     label, because each new value would be a new series for ever.
 *  M2 Names are farfield_agent_*, with the unit at the end; counters end in _total.
 *  M3 Counting costs an addition. Gauges are read when somebody asks, from what `status` answers too.
 */
import { BLOCK_STATES } from '#kernel/states/block.ts';
import type { AgentStatus } from './control.ts';
import { END_CAUSES } from './schedulers/scheduler.ts';

export interface Counter {
  /** Values of the labels, in their order. */
  add(values: readonly string[], by?: number): void;
}

export interface Histogram {
  observe(value: number, count?: number): void;
}

interface Series {
  lines(): string[];
}

export interface Registry {
  counter(name: string, help: string, labels?: Readonly<Record<string, readonly string[]>>): Counter;
  histogram(name: string, help: string, bounds: readonly number[]): Histogram;
  text(): string;
}

/** Whatever is not in a label's set is counted under this word. */
const OTHER = 'other';

const labelText = (names: readonly string[], values: readonly string[]): string =>
  names.length === 0 ? '' : `{${names.map((name, k) => `${name}="${values[k] ?? OTHER}"`).join(',')}}`;

const head = (name: string, help: string, type: string): string[] => [
  `# HELP ${name} ${help}`,
  `# TYPE ${name} ${type}`,
];

/** All combinations of the labels' values: a series that is there from the start shows its first event as an increase. */
function combinations(sets: readonly (readonly string[])[]): string[][] {
  return sets.reduce<string[][]>((all, set) => all.flatMap((start) => set.map((value) => [...start, value])), [[]]);
}

export function createRegistry(): Registry {
  const series: Series[] = [];
  return {
    counter(name, help, labels = {}) {
      const names = Object.keys(labels);
      const sets = names.map((label) => [...(labels[label] ?? []), OTHER]);
      const counts = new Map(
        combinations(sets)
          .filter((values) => !values.includes(OTHER))
          .map((values) => [labelText(names, values), 0]),
      );
      series.push({
        lines: () => [
          ...head(name, help, 'counter'),
          ...[...counts].map(([label, count]) => `${name}${label} ${count}`),
        ],
      });
      return {
        add(values, by = 1) {
          const known = values.map((value, k) => (sets[k]?.includes(value) === true ? value : OTHER));
          const label = labelText(names, known);
          counts.set(label, (counts.get(label) ?? 0) + by);
        },
      };
    },
    histogram(name, help, bounds) {
      const counts = new Float64Array(bounds.length + 1);
      let sum = 0;
      series.push({
        lines() {
          let below = 0;
          const lines = bounds.map((bound, k) => {
            below += counts[k] ?? 0;
            return `${name}_bucket{le="${bound}"} ${below}`;
          });
          below += counts[bounds.length] ?? 0;
          return [
            ...head(name, help, 'histogram'),
            ...lines,
            `${name}_bucket{le="+Inf"} ${below}`,
            `${name}_sum ${sum}`,
            `${name}_count ${below}`,
          ];
        },
      });
      return {
        observe(value, count = 1) {
          const k = bounds.findIndex((bound) => value <= bound);
          counts[k < 0 ? bounds.length : k] = (counts[k < 0 ? bounds.length : k] ?? 0) + count;
          sum += value * count;
        },
      };
    },
    text: () =>
      series
        .flatMap((each) => each.lines())
        .map((line) => `${line}\n`)
        .join(''),
  };
}

export interface Gauge {
  readonly name: string;
  readonly help: string;
  readonly values: readonly { readonly labels?: Readonly<Record<string, string>>; readonly value: number }[];
}

export function gaugeText(gauges: readonly Gauge[]): string {
  return gauges
    .flatMap(({ name, help, values }) => [
      ...head(name, help, 'gauge'),
      ...values.map(
        ({ labels = {}, value }) => `${name}${labelText(Object.keys(labels), Object.values(labels))} ${value}`,
      ),
    ])
    .map((line) => `${line}\n`)
    .join('');
}

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
