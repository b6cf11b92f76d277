import fc from 'fast-check';
import t from 'tap';
import { ERROR_CODES } from '#kernel/errors.ts';
import { ATTEMPT, ATTEMPT_EVENTS, ATTEMPT_STATES, attemptStep, fence } from '#kernel/states/attempt.ts';
import { BLOCK, BLOCK_EVENTS, BLOCK_STATES, blockStep, countsAgainstLimits } from '#kernel/states/block.ts';
import { diagram, grid } from '#kernel/states/diagram.ts';
import { INVOCATION, INVOCATION_EVENTS, INVOCATION_STATES, invocationStep } from '#kernel/states/invocation.ts';
import { decideRetry, type RetryFacts } from '#kernel/states/retry.ts';

const TABLES = [
  { name: 'invocation', table: INVOCATION, states: INVOCATION_STATES, events: INVOCATION_EVENTS, first: 'queued' },
  { name: 'attempt', table: ATTEMPT, states: ATTEMPT_STATES, events: ATTEMPT_EVENTS, first: 'leased' },
  { name: 'block', table: BLOCK, states: BLOCK_STATES, events: BLOCK_EVENTS, first: 'requested' },
] as const;

interface AnyEntry {
  readonly state?: string;
  readonly effects?: readonly string[];
  readonly refused?: string;
}
const rowsOf = (table: object): Record<string, Record<string, AnyEntry>> =>
  table as Record<string, Record<string, AnyEntry>>;

for (const { name, table, states, events, first } of TABLES) {
  t.test(`the ${name} table has an entry for every state and event, and nothing else`, async (t) => {
    const rows = rowsOf(table);
    t.same(Object.keys(rows), states);
    for (const state of states) {
      t.same(Object.keys(rows[state] ?? {}).sort(), [...events].sort(), state);
      for (const [event, entry] of Object.entries(rows[state] ?? {})) {
        const step =
          entry.state !== undefined &&
          (states as readonly string[]).includes(entry.state) &&
          Array.isArray(entry.effects);
        if (!step && (entry.refused ?? '') === '') t.fail(`${state}, ${event}: neither a step nor a reason`);
      }
    }
  });

  t.test(`every state of the ${name} table is reached from ${first}`, async (t) => {
    const reached = new Set<string>([first]);
    for (const state of reached)
      for (const entry of Object.values(rowsOf(table)[state] ?? {}))
        if (entry.state !== undefined) reached.add(entry.state);
    t.same([...reached].sort(), [...states].sort());
  });

  t.test(`the ${name} diagram and grid draw the table`, async (t) => {
    const text = diagram(table as never, first as never);
    for (const state of states) t.match(text, new RegExp(`\\b${state}\\b`));
    t.equal(grid(table as never, events as never).split('\n').length, states.length + 2);
  });
}

t.test('a receipt is final: no event leaves terminal, and a differing one raises an alarm', async (t) => {
  for (const event of INVOCATION_EVENTS) {
    const entry = invocationStep('terminal', event);
    if ('refused' in entry) continue;
    t.same(entry, { state: 'terminal', effects: ['alarm'] });
    t.equal(event, 'otherReceipt');
  }
});

t.test('a receipt ends an item in every state, so whatever the broker believed is replaced', async (t) => {
  for (const state of INVOCATION_STATES) {
    if (state === 'terminal') continue;
    const entry = invocationStep(state, 'receipt');
    t.match(entry, { state: 'terminal' });
    if (!('refused' in entry)) t.ok(entry.effects.includes('storeReceipt') && entry.effects.includes('tellClient'));
  }
});

t.test('the payload is dropped exactly when the broker no longer has to deliver', async (t) => {
  const holds = (state: string): boolean => state === 'queued' || state === 'delivered';
  for (const state of INVOCATION_STATES) {
    for (const event of INVOCATION_EVENTS) {
      const entry = invocationStep(state, event);
      if ('refused' in entry) continue;
      t.equal(entry.effects.includes('dropPayload'), holds(state) && !holds(entry.state), `${state}, ${event}`);
    }
  }
});

t.test('an ended attempt takes no event, and every live one takes every outcome', async (t) => {
  for (const state of ATTEMPT_STATES) {
    const live = ['leased', 'starting', 'running', 'storing'].includes(state);
    for (const event of ATTEMPT_EVENTS) {
      const entry = attemptStep(state, event);
      if (!live) t.ok('refused' in entry, `${state}, ${event}`);
      else if (['succeeded', 'failed', 'interrupted', 'lost', 'killed'].includes(event))
        t.notOk('refused' in entry, `${state}, ${event}`);
    }
  }
});

t.test('exactly the failures of the invocation are charged, and every end frees its slot', async (t) => {
  for (const state of ATTEMPT_STATES) {
    for (const event of ATTEMPT_EVENTS) {
      const entry = attemptStep(state, event);
      if ('refused' in entry) continue;
      t.equal(entry.effects.includes('chargeFailure'), event === 'failed', `${state}, ${event}`);
      const ends = !['leased', 'starting', 'running', 'storing'].includes(entry.state);
      t.equal(entry.effects.includes('freeSlot'), ends, `${state}, ${event}`);
      if (ends)
        t.equal(
          entry.effects.includes('endItem') !== entry.effects.includes('decideRetry'),
          true,
          'it ends the item or asks for another attempt',
        );
    }
  }
});

t.test('only the scheduler ends a block: silence never does, and a lost submit is not repeated', async (t) => {
  for (const state of BLOCK_STATES) {
    const entry = blockStep(state, 'sawNothing');
    if (!('refused' in entry)) t.ok(countsAgainstLimits(entry.state), state);
    for (const event of BLOCK_EVENTS) {
      const any = blockStep(state, event);
      if ('refused' in any || any.state !== 'ended') continue;
      t.equal(event, 'sawEnded');
    }
  }
  for (const state of ['unclear', 'unknown', 'held', 'completing', 'draining'] as const)
    t.ok(countsAgainstLimits(state), state);
});

const facts: RetryFacts = {
  failures: 1,
  starts: 1,
  maxFailures: 3,
  maxStarts: 8,
  charged: true,
  unknown: false,
  code: 'E_FUNCTION',
};
const half = { uniform: () => 0.5 };

t.test('retries are counted, spaced, capped, and end with the code that says why', async (t) => {
  t.same(decideRetry(facts, half), { kind: 'again', afterMs: 500 });
  t.same(decideRetry({ ...facts, failures: 2 }, half), { kind: 'again', afterMs: 1000 });
  t.same(decideRetry({ ...facts, failures: 30, maxFailures: 99, maxStarts: 99 }, half), {
    kind: 'again',
    afterMs: 60_000,
  });
  t.match(decideRetry({ ...facts, failures: 3, starts: 3 }, half), { kind: 'end', code: 'E_RETRIES_EXHAUSTED' });
  t.match(
    decideRetry({ ...facts, maxFailures: 1 }, half),
    { kind: 'end', code: 'E_FUNCTION' },
    'one failure: its own error',
  );
  t.match(decideRetry({ ...facts, code: 'E_HDF5' }, half), { kind: 'end', code: 'E_HDF5' }, 'bad input stays bad');
  t.match(decideRetry({ ...facts, code: 'not a code' }, half), { kind: 'again' });
  const lost = { ...facts, failures: 0, charged: false, unknown: true, code: 'E_LOST' };
  t.same(decideRetry(lost, half), { kind: 'again', afterMs: 0 }, 'the first loss starts again at once');
  t.match(decideRetry({ ...lost, maxStarts: 1 }, half), { kind: 'end', code: 'E_OUTCOME_UNKNOWN' }, 'at most once');
  t.match(decideRetry({ ...lost, starts: 8 }, half), { kind: 'end', code: 'E_OUTCOME_UNKNOWN' });
  t.match(
    decideRetry({ ...lost, unknown: false, starts: 8 }, half),
    { kind: 'end', code: 'E_RETRIES_EXHAUSTED' },
    'its death is known',
  );
});

t.test('no decision passes a limit, and a pause is never negative or over a minute and a half', async (t) => {
  const any = fc.record({
    failures: fc.nat({ max: 12 }),
    starts: fc.integer({ min: 1, max: 12 }),
    maxFailures: fc.integer({ min: 1, max: 10 }),
    maxStarts: fc.integer({ min: 1, max: 10 }),
    charged: fc.boolean(),
    unknown: fc.boolean(),
    code: fc.constantFrom(...Object.keys(ERROR_CODES)),
  });
  fc.assert(
    fc.property(any, fc.double({ min: 0, max: 0.999, noNaN: true }), (f, u) => {
      const decision = decideRetry(f, { uniform: () => u });
      if (decision.kind === 'end') return true;
      return (
        f.starts < f.maxStarts &&
        !(f.charged && f.failures >= f.maxFailures) &&
        decision.afterMs >= 0 &&
        decision.afterMs <= 90_000
      );
    }),
    { numRuns: 10_000 },
  );
  t.pass();
});

t.test('a message of another attempt or lease epoch is stale', async (t) => {
  const held = { attempt: 2, leaseEpoch: 7 };
  t.equal(fence(held, { attempt: 2, leaseEpoch: 7 }), 'current');
  for (const message of [
    { attempt: 1, leaseEpoch: 7 },
    { attempt: 2, leaseEpoch: 6 },
    { attempt: 3, leaseEpoch: 8 },
  ])
    t.equal(fence(held, message), 'stale');
  t.equal(fence(undefined, held), 'stale');
});
