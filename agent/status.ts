/** What the agent says of itself when an admin asks (`endpoint status`), in one piece. */
import type { LinkState } from '#base/link/supervisor.ts';
import type { PolicySource } from './admission/policy.ts';
import type { AgentStatus } from './control.ts';
import type { Identity } from './identity/identity.ts';
import { leasedOf } from './why.ts';
import type { Engine } from './work/engine.ts';

export interface AgentFacts {
  readonly identity: Pick<Identity, 'endpoint' | 'name' | 'seq' | 'expS'>;
  readonly pid: number;
  readonly sinceMs: number;
  readonly openness: Pick<AgentStatus, 'state' | 'reason'>;
  readonly brakes: Pick<AgentStatus, 'draining' | 'breaker'>;
  readonly policy: PolicySource;
  readonly link: LinkState;
  readonly broker: string;
  readonly ledger: AgentStatus['ledger'];
  readonly engine: Pick<Engine, 'works' | 'waiting' | 'stale'>;
  readonly blocks: AgentStatus['blocks'];
}

export function describeAgent(facts: AgentFacts): AgentStatus {
  const { identity, pid, sinceMs, openness, brakes, policy, link, broker, ledger, engine, blocks } = facts;
  const { endpoint, name, seq, expS } = identity;
  const { digest, rules } = policy.current;
  return {
    endpoint,
    name,
    pid,
    since: sinceMs / 1000,
    ...openness,
    ...brakes,
    descriptor: { seq, expS },
    policy: { digest, rules: rules.length, ...(policy.problem === undefined ? {} : { problem: policy.problem }) },
    link: describeLink(link),
    broker,
    ledger,
    work: {
      tickets: engine.works.size,
      waiting: engine.waiting,
      leased: leasedOf(engine.works.values()),
      stale: engine.stale,
    },
    blocks,
  };
}

/** By which transport it is connected, or why it is not. */
function describeLink(link: LinkState): AgentStatus['link'] {
  if (link.kind === 'waiting') return { state: link.kind, via: '', detail: link.reason };
  return { state: link.kind, via: link.via, detail: link.kind === 'live' ? link.remote : '' };
}
