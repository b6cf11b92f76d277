/**
 * What monitoring on the same machine may read of the broker (base/health.ts): its numbers, and whether it is ready.
 *
 * The public address answers /livez and /readyz too (api/routes-people.ts), for load balancers; metrics stay here, since how much
 * is submitted and how full the disk is are the operator's to know.
 *
 * Invariant: ready means that what comes is kept: the store takes a row. Endpoints that are away are no reason to restart a broker.
 */
import type { Clock } from '#base/clock.ts';
import { type Health, type HealthConfig, healthShape, openHealth, probeProblem } from '#base/health.ts';
import { gaugeText } from '#base/metrics.ts';
import type { Broker } from './broker.ts';
import { brokerGauges, type ProcessFacts } from './metrics.ts';

export const HealthShape = healthShape('health.sock in the state folder', 9465);

export interface BrokerHealthOptions {
  readonly config: HealthConfig;
  readonly socket: string;
  readonly broker: Pick<Broker, 'metrics' | 'facts' | 'probe'>;
  readonly process: () => ProcessFacts;
  readonly clock: Clock;
}

export function openBrokerHealth({ config, socket, broker, process, clock }: BrokerHealthOptions): Promise<Health> {
  return openHealth({
    config,
    socket,
    async readiness() {
      const store = await probeProblem(clock, () => broker.probe());
      return { ready: store === undefined, lines: [`store: ${store ?? 'writable'}`] };
    },
    metrics: async () => broker.metrics.text() + gaugeText(brokerGauges(await broker.facts(), process())),
  });
}
