/**
 * One item from submission to receipt, over links that lose, repeat and reorder, with agents and brokers that restart:
 * the tables, the fence and the retry decision hold rules R2 to R4 (acknowledged once, fenced, unique, counted).
 *
 * The model under the tables is small on purpose: durable state is what survives `agentDies` and `brokerDies`; everything
 * on a wire is a bag from which any message may be taken, any number of times.
 */

import fc from 'fast-check';
import t from 'tap';
import { type AttemptEvent, type AttemptState, attemptStep, fence, type Hold } from '#kernel/states/attempt.ts';
import { type InvocationState, invocationStep } from '#kernel/states/invocation.ts';
import { decideRetry } from '#kernel/states/retry.ts';

interface Limits {
  readonly maxFailures: number;
  readonly maxStarts: number;
}

/** Everything that a defect could break, as one world. Rules that only a mutant breaks throw where they break. */
class World {
  readonly limits: Limits;
  // ---- broker, durable ----
  broker: InvocationState = 'queued';
  deliveryEpoch = 0;
  stored: string | undefined;
  cancelling = false;
  completions: string[] = [];
  alarms = 0;
  // ---- agent, durable: the ledger ----
  admitted = false;
  cancelFlag = false;
  starts = 0;
  failures = 0;
  /** Counted beside the ledger, to be compared with it. */
  failuresTaken = 0;
  leaseEpoch = 0;
  attempt: { hold: Hold; state: AttemptState } | undefined;
  receipt: string | undefined;
  // ---- wires ----
  readonly deliveries: number[] = [];
  readonly answers: ({ kind: 'admitted'; epoch: number } | { kind: 'receipt'; text: string })[] = [];
  readonly reports: { hold: Hold; event: AttemptEvent }[] = [];
  // ---- pilots: what really runs ----
  readonly running = new Map<string, Hold>();
  readonly begun = new Set<string>();
  stale = 0;

  constructor(limits: Limits) {
    this.limits = limits;
  }

  stepBroker(event: Parameters<typeof invocationStep>[1]): boolean {
    const entry = invocationStep(this.broker, event);
    if ('refused' in entry) return false;
    this.broker = entry.state;
    if (entry.effects.includes('alarm')) this.alarms += 1;
    return true;
  }

  deliver(): void {
    if (!this.stepBroker('deliver')) return;
    this.deliveryEpoch += 1;
    this.deliveries.push(this.deliveryEpoch);
  }

  admit(epoch: number): void {
    // Replay is deduplication: an item seen before is answered from the ledger, and never runs for it.
    this.admitted = true;
    this.answers.push({ kind: 'admitted', epoch });
    if (this.receipt !== undefined) this.answers.push({ kind: 'receipt', text: this.receipt });
    else if (this.cancelFlag && this.attempt === undefined && this.starts === 0) this.end('cancelled');
  }

  lease(): void {
    if (!this.admitted || this.receipt !== undefined || this.attempt !== undefined || this.cancelFlag) return;
    this.starts += 1;
    this.leaseEpoch += 1;
    const hold = { attempt: this.starts, leaseEpoch: this.leaseEpoch };
    this.attempt = { hold, state: 'leased' };
    if (this.starts > this.limits.maxStarts) throw new Error(`start ${this.starts} of ${this.limits.maxStarts}`);
    this.running.set(nameOf(hold), hold);
    this.begun.add(nameOf(hold));
  }

  report(hold: Hold, event: AttemptEvent): void {
    this.reports.push({ hold, event });
  }

  take(hold: Hold, event: AttemptEvent): void {
    if (fence(this.attempt?.hold, hold) === 'stale' || this.attempt === undefined) {
      this.stale += 1;
      return;
    }
    const entry = attemptStep(this.attempt.state, event);
    if ('refused' in entry) {
      this.stale += 1;
      return;
    }
    if (nameOf(hold) !== nameOf(this.attempt.hold))
      throw new Error(`R2: ${event} of ${nameOf(hold)} was taken for ${nameOf(this.attempt.hold)}`);
    this.attempt.state = entry.state;
    if (event === 'failed') this.failuresTaken += 1;
    if (entry.effects.includes('chargeFailure')) this.failures += 1;
    if (this.failures > this.limits.maxFailures)
      throw new Error(`failure ${this.failures} of ${this.limits.maxFailures}`);
    if (entry.effects.includes('endItem')) this.end(event === 'killed' ? 'cancelled' : 'succeeded');
    else if (entry.effects.includes('decideRetry')) this.retry(event);
  }

  retry(event: AttemptEvent): void {
    if (this.cancelFlag && event !== 'lost') {
      this.end('cancelled');
      return;
    }
    const unknown = event === 'lost';
    const facts = {
      failures: this.failures,
      starts: this.starts,
      ...this.limits,
      charged: event === 'failed',
      unknown,
      code: unknown ? 'E_LOST' : 'E_FUNCTION',
    };
    const decision = decideRetry(facts, { uniform: () => 0 });
    this.attempt = undefined;
    if (decision.kind === 'end') this.end(`failed ${decision.code}`);
    else if (this.cancelFlag) this.end('cancelled');
  }

  end(status: string): void {
    if (this.receipt !== undefined) throw new Error(`a second receipt: ${status} after ${this.receipt}`);
    // A unique key in the ledger: the receipt is inserted, never written over.
    this.receipt = `${status}, attempt ${this.starts}`;
    this.attempt = undefined;
    this.answers.push({ kind: 'receipt', text: this.receipt });
  }

  answer(answer: World['answers'][number]): void {
    if (answer.kind === 'admitted') {
      if (answer.epoch === this.deliveryEpoch) this.stepBroker('admitted');
      else this.stale += 1;
      return;
    }
    const event = this.stored !== undefined && this.stored !== answer.text ? 'otherReceipt' : 'receipt';
    if (this.stepBroker(event) && event === 'receipt') {
      this.stored = answer.text;
      this.completions.push(answer.text);
    }
  }

  cancel(): void {
    this.cancelling = true;
    this.stepBroker('cancel');
  }

  cancelArrives(): void {
    if (!this.cancelling) return;
    this.cancelFlag = true;
    if (this.receipt !== undefined) return;
    if (this.attempt === undefined) this.end('cancelled');
    else attemptStep(this.attempt.state, 'cancel');
  }

  /** Memory is lost, the ledger is not: pilots are adopted, the outbox is sent again. */
  agentDies(): void {
    if (this.attempt !== undefined) attemptStep(this.attempt.state, 'adopted');
    if (this.receipt !== undefined) this.answers.push({ kind: 'receipt', text: this.receipt });
  }

  linkLost(): void {
    this.stepBroker('linkLost');
  }
}

const nameOf = (hold: Hold): string => `${hold.attempt}/${hold.leaseEpoch}`;

type Command = { readonly what: string; readonly pick: number };

/** Carries out one command; what it returns is of no interest. */
function run(world: World, { what, pick }: Command): unknown {
  const any = <T>(list: readonly T[]): T | undefined => list[pick % Math.max(1, list.length)];
  const holds = [...world.running.values()];
  switch (what) {
    case 'deliver':
      return world.deliver();
    case 'deliveryArrives': {
      const epoch = any(world.deliveries);
      return epoch === undefined ? undefined : world.admit(epoch);
    }
    case 'lease':
      return world.lease();
    case 'progress':
    case 'succeeded':
    case 'failed':
    case 'interrupted':
    case 'killed': {
      const hold = any(holds);
      if (hold === undefined || (what === 'killed' && !world.cancelFlag)) return undefined;
      if (what !== 'progress') world.running.delete(nameOf(hold));
      return world.report(
        hold,
        what === 'progress' ? (any(['starting', 'running', 'storing'] as const) ?? 'running') : what,
      );
    }
    case 'pilotDies': {
      // It may have finished: its report is lost or late, and the agent counts it as lost.
      const hold = any(holds);
      return hold === undefined ? undefined : world.report(hold, 'lost');
    }
    case 'reportArrives': {
      const report = any(world.reports);
      return report === undefined ? undefined : world.take(report.hold, report.event);
    }
    case 'answerArrives': {
      const answer = any(world.answers);
      return answer === undefined ? undefined : world.answer(answer);
    }
    case 'cancel':
      return world.cancel();
    case 'cancelArrives':
      return world.cancelArrives();
    case 'agentDies':
      return world.agentDies();
    default:
      return world.linkLost();
  }
}

/** Drawn evenly from this list: what moves work on is in it more often than what stops it. */
const WHATS = [
  'deliver',
  'deliveryArrives',
  'deliver',
  'deliveryArrives',
  'lease',
  'lease',
  'lease',
  'lease',
  'progress',
  'succeeded',
  'failed',
  'failed',
  'failed',
  'interrupted',
  'pilotDies',
  'pilotDies',
  'killed',
  'reportArrives',
  'reportArrives',
  'reportArrives',
  'reportArrives',
  'answerArrives',
  'cancel',
  'cancelArrives',
  'agentDies',
  'linkLost',
] as const;

/** What must hold after every step. Returns the rule that broke. */
function broken(world: World): string | undefined {
  if (world.completions.length > 1) return `R3: completions ${world.completions.join('; ')}`;
  if (world.completions[0] !== undefined && world.completions[0] !== world.receipt)
    return 'R3: the client saw what the ledger does not hold';
  if (world.alarms > 0) return 'R3: one ledger made two receipts';
  if (world.starts > world.limits.maxStarts || world.begun.size > world.limits.maxStarts)
    return 'R4: more starts than allowed';
  if (world.failures !== world.failuresTaken) return "R4: a failure that is not counted, or not the invocation's";
  if (world.failures > world.limits.maxFailures) return 'R4: more failures than allowed';
  if (world.begun.size !== world.starts) return 'R2: a start that the ledger did not mint';
  if (world.broker === 'terminal' && world.stored === undefined) return 'R1: terminal without a receipt';
  return undefined;
}

t.test('no order of losses, repeats, restarts and cancels breaks the promise', async (t) => {
  const command = fc.record({ what: fc.constantFrom(...WHATS), pick: fc.nat({ max: 40 }) });
  const limits = fc.record({ maxFailures: fc.integer({ min: 1, max: 3 }), maxStarts: fc.integer({ min: 1, max: 5 }) });
  let completed = 0;
  let stale = 0;
  let retried = 0;
  fc.assert(
    fc.property(limits, fc.array(command, { minLength: 20, maxLength: 120, size: 'max' }), (l, commands) => {
      const world = new World(l);
      for (const c of commands) {
        run(world, c);
        const rule = broken(world);
        if (rule !== undefined) throw new Error(rule);
      }
      completed += world.completions.length;
      stale += world.stale;
      retried += world.starts > 1 ? 1 : 0;
    }),
    { numRuns: 10_000 },
  );
  // A model that never gets anywhere would pass anything.
  t.ok(completed > 500, `${completed} of 10,000 runs completed`);
  t.ok(stale > 10_000, `${stale} stale messages were refused`);
  t.ok(retried > 1000, `${retried} runs retried`);
});

t.test('from wherever the faults leave it, a fair end brings exactly one completion', async (t) => {
  const command = fc.record({ what: fc.constantFrom(...WHATS), pick: fc.nat({ max: 40 }) });
  const limits = fc.record({ maxFailures: fc.integer({ min: 1, max: 3 }), maxStarts: fc.integer({ min: 1, max: 5 }) });
  fc.assert(
    fc.property(limits, fc.array(command, { maxLength: 60, size: 'max' }), (l, commands) => {
      const world = new World(l);
      for (const c of commands) run(world, c);
      // The faults stop: messages arrive, the newest first, and what runs ends.
      for (let round = 0; round < 200 && world.completions.length === 0; round += 1) {
        if (world.broker === 'queued') world.deliver();
        const epoch = world.deliveries.at(-1);
        if (epoch !== undefined && (world.broker === 'delivered' || world.broker === 'cancelled')) world.admit(epoch);
        world.cancelArrives();
        world.lease();
        const attempt = world.attempt;
        if (attempt !== undefined) world.take(attempt.hold, world.cancelFlag ? 'killed' : 'succeeded');
        const answer = world.answers.at(-1);
        if (answer !== undefined) world.answer(answer);
        for (const old of world.answers.slice()) if (old.kind === 'receipt') world.answer(old);
      }
      // Cancelled before any delivery: the tombstone's receipt settles it.
      return world.completions.length === 1 && broken(world) === undefined;
    }),
    { numRuns: 2000 },
  );
  t.pass();
});
