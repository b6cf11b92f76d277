/** Gangs at the agent: who gets one, and what becomes of its one attempt. No I/O: pilots are told, and say, what a test wants. */
import t from 'tap';
import type { HeldItem } from '../../../agent/admission/ledger.ts';
import { newParty, type Party } from '../../kernel/parties.ts';
import {
  endOf,
  type Harness,
  type Launched,
  NOOP,
  newHarness,
  policyFor,
  receipts,
  settle,
  single,
  type TestPilot,
  testPilot,
} from '../parts.ts';

interface GangPilot extends TestPilot {
  /** Parts, as they were told. */
  readonly parts: (Launched & { readonly nodeRank: number; readonly nodes: readonly string[] })[];
  readonly begun: string[];
}

function gangPilot(no: number, block = 'block', slots = 1): GangPilot {
  const pilot = testPilot(no, slots);
  const parts: GangPilot['parts'] = [];
  const begun: string[] = [];
  return {
    ...pilot,
    block,
    parts,
    begun,
    gang: {
      launch: (work, leaseEpoch, item, { nodeRank, nodes }) =>
        void parts.push({ ...item, work, leaseEpoch, nodeRank, nodes }),
      go: (_, address) => void begun.push(address),
    },
  };
}

const MPI = { ...NOOP, name: 'test/mpi', kind: 'mpi' as const, adapter: 'program' };
const mpiParty = (nodes: number) => newParty({ ...MPI, needs: { nodes, ranksPerNode: 2 } });
const RES = { nodes: 2, cpusPerNode: 1, gpusPerNode: 0, memMiBPerNode: 1, wallS: 60 };
const RUN = { maxFailures: 3, maxStarts: 5, timeoutS: 60 };

/** Of a site that lends more nodes than one, which is what a rule says by itself. */
const policyOf = (party: Party, kinds = ['mpi']) =>
  policyFor(party, {
    rules: [
      {
        name: 'programs for alice',
        who: { pin: 'alice' },
        kinds,
        functions: { publisher: 'lab', names: ['test/*'] },
        runtimes: ['process'],
        resources: { nodes: 8 },
      },
    ],
  });

async function gangs(nodes = 2, options: { nodesPerBlock?: number } = {}): Promise<Harness> {
  const party = mpiParty(nodes);
  return newHarness({ party, policy: policyOf(party), ...options });
}

const call = (h: Harness, text: string, run = RUN) =>
  h.desk.deliver(
    single(h.party, text, {
      res: RES,
      run,
      fn: { name: 'test/mpi', version: '1.2.0', manifest: h.party.manifestDigest },
    }),
  );

const heldOf = ({ work, i, attempt, leaseEpoch }: Launched): HeldItem => ({
  ticketNo: work.no,
  i,
  attempt,
  leaseEpoch,
});
const partOf = (pilot: GangPilot): Launched => pilot.parts.at(-1) as Launched;
const allReady = (h: Harness, pilots: readonly GangPilot[]): void => {
  for (const pilot of pilots) h.engine.gangReady(pilot.no, heldOf(partOf(pilot)), 4000 + pilot.no);
};
/** As pilots.ts does. */
async function end(h: Harness, pilot: GangPilot, changes: Parameters<typeof endOf>[1] = {}): Promise<void> {
  const ends = h.engine.gather(pilot.no, [endOf(partOf(pilot), changes)], false);
  await h.engine.ended(pilot.no, ends);
  await settle();
}
const FAILED = { status: 'failed', charged: true, detail: { err: { code: 'E_FUNCTION', message: 'no' } } } as const;
const CANCELLED = { status: 'cancelled', detail: { err: { code: 'E_CANCELLED', message: 'told' } } } as const;

t.test('a gang begins when one block has all its nodes, and its ranks when all parts are ready', async (t) => {
  const h = await gangs();
  const [a, b, elsewhere] = [gangPilot(1), gangPilot(2), gangPilot(3, 'other')];
  h.engine.attach(a, []);
  h.engine.attach(elsewhere, []);
  await call(h, 'x');
  await settle();
  t.equal(a.parts.length + elsewhere.parts.length, 0, 'one node of each of two blocks is none');
  const [work] = h.engine.works.values();
  t.equal(work && h.engine.waitsFor(work), 'for 2 nodes of one block together, 1 is free');
  h.engine.attach(b, []);
  await settle();
  t.match(
    [a.parts, b.parts],
    [[{ nodeRank: 0, nodes: ['node1', 'node2'] }], [{ nodeRank: 1, nodes: ['node1', 'node2'] }]],
  );
  h.engine.gangReady(1, heldOf(partOf(a)), 4001);
  t.strictSame(a.begun, []);
  h.engine.gangReady(2, heldOf(partOf(b)), 0);
  t.strictSame([a.begun, b.begun], [['node1:4001'], ['node1:4001']]);
  await end(h, b, { result: Buffer.from('of no interest') });
  t.equal(receipts(h).length, 0, 'not before the last part');
  t.equal(h.engine.heldBy(2), 1, 'and its node is not free before that');
  await end(h, a);
  t.match(receipts(h), [{ status: 'succeeded', attempt: 1 }]);
  t.equal(receipts(h).length, 1);
  t.strictSame([h.engine.heldBy(1), h.engine.heldBy(2)], [0, 0]);
  t.equal(h.broken, undefined);
});

t.test(
  'a part that fails ends all, once: one attempt, with the node’s name, and the next one has other nodes',
  async (t) => {
    const h = await gangs();
    const pilots = [gangPilot(1), gangPilot(2)] as const;
    for (const pilot of pilots) h.engine.attach(pilot, []);
    await call(h, 'x', { ...RUN, maxFailures: 1 });
    await settle();
    allReady(h, pilots);
    await end(h, pilots[1], FAILED);
    t.equal(pilots[0].cancelled.length, 1, 'the other is told');
    t.equal(receipts(h).length, 0);
    await end(h, pilots[0], CANCELLED);
    t.match(receipts(h), [
      { status: 'failed', attempt: 1, detail: { err: { code: 'E_FUNCTION', message: /node 1, node2: no/ } } },
    ]);
  },
);

t.test('a pilot that dies ends all, and is charged as its cause says', async (t) => {
  for (const [dead, alive] of [
    [0, 1],
    [1, 0],
  ] as const) {
    const h = await gangs();
    const pilots = [gangPilot(1), gangPilot(2)] as const;
    for (const pilot of pilots) h.engine.attach(pilot, []);
    await call(h, 'x');
    await settle();
    allReady(h, pilots);
    h.engine.detach(pilots[dead]);
    await h.engine.lost(pilots[dead].no, { why: 'its node failed', cause: 'said' });
    await settle();
    t.equal(pilots[alive].cancelled.length, 1);
    t.notOk(
      h.states.some((line) => line.includes('starts again')),
      'not before the rest has ended',
    );
    await end(h, pilots[alive], CANCELLED);
    t.ok(
      h.states.some((line) => /starts again .*its node failed \(node/.test(line)),
      h.states.join('\n'),
    );
    const fresh = gangPilot(7);
    h.engine.attach(fresh, []);
    for (let step = 0; step < 200 && fresh.parts.length === 0; step++) {
      await h.clock.drive(100);
      await settle();
    }
    t.match([partOf(fresh), partOf(pilots[alive])], [{ attempt: 2 }, { attempt: 2 }]);
    t.equal(h.broken, undefined);
  }
});

t.test('a last start that died with its pilot waits for the cause that its scheduler tells', async (t) => {
  const h = await gangs();
  const pilots = [gangPilot(1), gangPilot(2)] as const;
  for (const pilot of pilots) h.engine.attach(pilot, []);
  await call(h, 'x', { ...RUN, maxStarts: 1 });
  await settle();
  allReady(h, pilots);
  h.engine.detach(pilots[1]);
  await h.engine.lost(2, { why: 'its pilot ended', cause: 'unsaid' });
  await end(h, pilots[0], CANCELLED);
  t.equal(receipts(h).length, 0);
  await h.engine.lost(2, { why: 'its job hit the walltime', cause: 'said' });
  await settle();
  t.match(receipts(h), [{ status: 'failed', detail: { err: { message: /walltime/ } } }]);
});

t.test('a cancel reaches all parts, and is confirmed by the last one', async (t) => {
  const h = await gangs();
  const pilots = [gangPilot(1), gangPilot(2)] as const;
  for (const pilot of pilots) h.engine.attach(pilot, []);
  await call(h, 'x');
  await settle();
  allReady(h, pilots);
  const { work } = partOf(pilots[0]);
  h.engine.cancel(work, [], [0]);
  t.strictSame(
    pilots.map(({ cancelled }) => cancelled.length),
    [1, 1],
  );
  // One that was through before it heard of it: the program as a whole was not.
  await end(h, pilots[0]);
  t.equal(receipts(h).length, 0);
  await end(h, pilots[1], CANCELLED);
  t.match(receipts(h), [{ status: 'cancelled' }]);
});

t.test('two gangs on two nodes run one after the other, and never half', async (t) => {
  const h = await gangs();
  const pilots = [gangPilot(1), gangPilot(2)] as const;
  for (const pilot of pilots) h.engine.attach(pilot, []);
  await call(h, 'x');
  await call(h, 'y');
  await settle();
  t.strictSame(
    pilots.map(({ parts }) => parts.length),
    [1, 1],
  );
  t.equal(partOf(pilots[0]).work, partOf(pilots[1]).work);
  allReady(h, pilots);
  for (const pilot of pilots) await end(h, pilot);
  t.strictSame(
    pilots.map(({ parts }) => parts.length),
    [2, 2],
  );
  t.equal(partOf(pilots[0]).work, partOf(pilots[1]).work);
  allReady(h, pilots);
  for (const pilot of pilots) await end(h, pilot);
  t.match(receipts(h), [{ status: 'succeeded' }, { status: 'succeeded' }]);
});

t.test('a new life of the agent has every part dropped, and starts the whole again', async (t) => {
  const h = await gangs();
  const pilots = [gangPilot(1), gangPilot(2)] as const;
  for (const pilot of pilots) h.engine.attach(pilot, []);
  await call(h, 'x');
  await settle();
  allReady(h, pilots);
  const held = pilots.map((pilot) => heldOf(partOf(pilot)));
  t.strictSame(h.engine.strange(1, held), [], 'a link that was cut is no reason');
  const next = await newHarness({ party: h.party, policy: h.policy, ledger: h.ledger, clock: h.clock });
  next.engine.resume();
  const fresh = [gangPilot(1), gangPilot(2)] as const;
  for (const [k, pilot] of fresh.entries()) {
    const own = held.slice(k, k + 1);
    t.strictSame(next.engine.strange(pilot.no, own), own, 'it is told to drop its part');
    next.engine.attach(pilot, own);
    await settle();
  }
  // An outcome of a part that was under way then counts for nothing.
  t.strictSame(next.engine.gather(2, [endOf(partOf(pilots[1]))], false), []);
  for (let step = 0; step < 200 && fresh[0].parts.length === 0; step++) {
    await h.clock.drive(100);
    await settle();
  }
  t.match([partOf(fresh[0]), partOf(fresh[1])], [{ attempt: 2 }, { attempt: 2 }]);
});

t.test('a part that a redialling pilot does not have is lost, and one that it has goes on', async (t) => {
  const h = await gangs();
  const pilots = [gangPilot(1), gangPilot(2)] as const;
  for (const pilot of pilots) h.engine.attach(pilot, []);
  await call(h, 'x');
  await settle();
  h.engine.detach(pilots[1]);
  const back = gangPilot(2);
  h.engine.attach(back, [heldOf(partOf(pilots[1]))]);
  t.equal(pilots[0].cancelled.length, 0);
  h.engine.detach(back);
  h.engine.attach(gangPilot(2), []);
  await settle();
  t.equal(pilots[0].cancelled.length, 1);
});

t.test(
  'more nodes than a block has are refused at once, with both numbers; and so is a ticket that allows fewer',
  async (t) => {
    const h = await gangs(3, { nodesPerBlock: 2 });
    await h.desk.deliver(
      single(h.party, 'x', {
        res: { ...RES, nodes: 3 },
        fn: { name: 'test/mpi', version: '1.2.0', manifest: h.party.manifestDigest },
      }),
    );
    await call(h, 'y');
    await settle();
    t.match(receipts(h), [
      { status: 'refused', detail: { err: { message: 'it asks for 3 nodes of one block, and a block here has 2' } } },
      { status: 'refused', detail: { err: { message: /needs 3 nodes, and the ticket allows 2/ } } },
    ]);
  },
);

t.test('an older pilot is given no part, and a rule that does not take the kind takes no gang', async (t) => {
  const h = await gangs();
  const { gang: _, ...older } = gangPilot(2);
  h.engine.attach(gangPilot(1), []);
  h.engine.attach(older, []);
  await call(h, 'x');
  await settle();
  t.equal(older.launched.length, 0);
  const strict = await gangs();
  strict.policy = policyOf(strict.party, ['model']);
  await call(strict, 'x');
  await settle();
  t.match(receipts(strict), [{ status: 'refused', detail: { err: { code: 'E_POLICY' } } }]);
});
