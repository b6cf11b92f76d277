/**
 * An endpoint that drains: nothing new is admitted or started, what runs ends, what waits is kept.
 *
 * It is a row of the ledger, so that a restart (the usual reason for a drain) does not open the endpoint again.
 */
import type { Ledger } from './admission/ledger.ts';
import type { Breaker } from './blocks/breaker.ts';
import type { AgentStatus } from './control.ts';

const KEY = 'drain';

export interface Draining {
  readonly reason: string;
  /** Seconds since 1970. */
  readonly since: number;
}

export interface Drain {
  readonly current: Draining | undefined;
  /** For those who wait; undefined while it is open. */
  readonly sentence: string | undefined;
  begin(reason: string): Promise<void>;
  end(): Promise<void>;
}

export function openDrain(
  ledger: Pick<Ledger, 'submit'>,
  meta: Readonly<Record<string, string>>,
  nowS: () => number,
): Drain {
  let current = read(meta[KEY]);
  const keep = async (value: Draining | undefined): Promise<void> => {
    await ledger.submit({ kind: 'meta', key: KEY, value: value === undefined ? '' : JSON.stringify(value) });
    current = value;
  };
  return {
    get current() {
      return current;
    },
    get sentence() {
      return current === undefined ? undefined : `the endpoint drains and starts nothing new: ${current.reason}`;
    },
    begin: (reason) => keep({ reason, since: Math.floor(nowS()) }),
    end: () => (current === undefined ? Promise.resolve() : keep(undefined)),
  };
}

/** A pause has a reason that must be mended; it comes before a drain, which somebody wanted. */
export function opennessOf(paused: string | undefined, drain: Drain): Pick<AgentStatus, 'state' | 'reason'> {
  if (paused !== undefined) return { state: 'paused', reason: paused };
  return drain.current === undefined ? { state: 'open' } : { state: 'draining', reason: drain.current.reason };
}

/** What holds an endpoint up, for its status. */
export function brakesOf(drain: Drain, breaker: Breaker): Pick<AgentStatus, 'draining' | 'breaker'> {
  const { failures, reason } = breaker;
  const draining = drain.current === undefined ? {} : { draining: drain.current };
  return { ...draining, breaker: { failures, open: reason !== undefined } };
}

function read(text: string | undefined): Draining | undefined {
  if (text === undefined || text === '') return undefined;
  try {
    const { reason, since } = JSON.parse(text) as Partial<Draining>;
    if (typeof reason === 'string' && typeof since === 'number') return { reason, since };
  } catch {
    // A row that cannot be read still says that somebody wanted a drain.
  }
  return { reason: 'its admin asked for it', since: 0 };
}
