/**
 * What monitoring on the same machine may read of the agent (base/health.ts): its status as gauges, and whether it is ready.
 *
 * Invariant: ready means that work which comes is kept: the ledger takes a row, and the link is up or would be dialled again. An
 * endpoint that is paused or drains lives, and says so here.
 */
import type { Clock } from '#base/clock.ts';
import { type Health, type HealthConfig, healthShape, openHealth, probeProblem, type Readiness } from '#base/health.ts';
import { gaugeText } from '#base/metrics.ts';
import type { AgentStatus } from './control.ts';
import { type AgentMetrics, type ProcessFacts, statusGauges } from './metrics.ts';

export const HealthShape = healthShape('run/health.sock in the endpoint folder', 9464);

export interface AgentHealthOptions {
  readonly config: HealthConfig;
  readonly socket: string;
  readonly status: () => AgentStatus;
  /** Whether the ledger takes a row now. */
  readonly probe: () => Promise<void>;
  readonly metrics: AgentMetrics;
  readonly facts: () => ProcessFacts;
  readonly clock: Clock;
}

export function openAgentHealth(options: AgentHealthOptions): Promise<Health> {
  const { config, socket, status, metrics, facts } = options;
  return openHealth({
    config,
    socket,
    readiness: () => readiness(options),
    metrics: () => metrics.text() + gaugeText(statusGauges(status(), facts())),
  });
}

async function readiness({ status, probe, clock }: AgentHealthOptions): Promise<Readiness> {
  const { link, state, reason } = status();
  const ledger = await probeProblem(clock, probe);
  // A broker that is away keeps its queue, and the agent what it has: the link is no reason to restart it.
  const linkGood = link.state !== 'stopped';
  return {
    ready: ledger === undefined && linkGood,
    lines: [
      `ledger: ${ledger ?? 'writable'}`,
      `link: ${link.state}${link.detail === '' ? '' : ` (${link.detail})`}`,
      `state: ${state}${reason === undefined ? '' : `: ${reason}`}`,
    ],
  };
}
