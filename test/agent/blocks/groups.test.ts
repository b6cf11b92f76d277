/** No block is shared across account, queue and shape: whatever is sent, whatever the order. */
import fc from 'fast-check';
import t from 'tap';
import { systemRandom } from '#base/random.ts';
import { blocksWanted, type GroupDemand, MAX_QUEUED } from '../../../agent/blocks/demand.ts';
import { createGroups } from '../../../agent/blocks/groups.ts';
import { createPilotPeer, type PilotPeer } from '../../fakes/pilot-peer.ts';
import { single } from '../parts.ts';
import { type Site, startSite } from '../site.ts';

const seed = 20_261_123;
t.comment(`seed ${seed}`);

const RES = { nodes: 1, cpusPerNode: 1, gpusPerNode: 0, memMiBPerNode: 1, wallS: 60 };
const run = { maxFailures: 1, maxStarts: 4, timeoutS: 60 };

t.test('work of another account or queue goes to a block of its own, and is charged there', async (t) => {
  const pilots: { pilot: PilotPeer; account: string | undefined; queue: string | undefined }[] = [];
  await using site: Site = await startSite({
    pushes: true,
    config: { blocks: { scheduler: 'slurm', slots: 2, maxBlocks: 6, batch: { account: 'site' } } },
    onSubmit: (s, folder) => {
      const { account, queue } = s.scheduler.submitted.at(-1)?.shape ?? {};
      const pilot = createPilotPeer(folder, { clock: s.clock, random: systemRandom });
      pilots.push({ pilot, account, queue });
      // One that was on its way when the site ended meets nobody.
      pilot.dial().catch(() => undefined);
    },
  });
  const rule = {
    name: 'by account',
    who: { pin: 'alice' },
    functions: { publisher: 'lab', names: ['test/*'] },
    runtimes: ['process'],
    resources: { accounts: ['chem', 'bio'], queues: ['gpu', 'cpu'] },
  };
  site.writePolicy({ rules: [rule] });
  await site.agent.reload();
  const asked: { account?: string; queue?: string }[] = [
    {},
    { account: 'chem', queue: 'gpu' },
    { account: 'chem', queue: 'cpu' },
    { account: 'bio', queue: 'gpu' },
  ];
  for (let turn = 0; turn < 12; turn += 1) {
    const res = { ...RES, ...asked[turn % asked.length] };
    site.broker.deliver(single(site.party, `call ${turn}`, { res, run }));
  }
  const done = () => site.broker.receipts(site.party.principal.kid).length;
  await site.until('all are done', () => {
    for (const { pilot } of pilots) if (pilot.held.length > 0) pilot.finish();
    return done() === 12;
  });
  t.strictSame(
    new Set(pilots.map(({ account, queue }) => `${account} ${queue}`)),
    new Set(['site undefined', 'chem gpu', 'chem cpu', 'bio gpu']),
  );
  // Three calls of each kind, and each pilot had calls of one kind only: 3 is what its block's group was sent.
  const perGroup = new Map<string, number>();
  for (const { pilot, account, queue } of pilots) {
    const name = `${account} ${queue}`;
    perGroup.set(name, (perGroup.get(name) ?? 0) + pilot.launched.length);
  }
  t.strictSame([...perGroup.values()], [3, 3, 3, 3]);
  t.match(site.scheduler.submitted[0]?.users, ['alice'], 'the job says whom it serves');
});

t.test('when no more blocks may live, an idle one gives way to work that none of them may take', async (t) => {
  const folders: string[] = [];
  await using site = await startSite({
    pushes: true,
    config: { blocks: { scheduler: 'slurm', slots: 2, maxBlocks: 1, idleS: 86_400 } },
    onSubmit: (s, folder) => {
      folders.push(folder);
      createPilotPeer(folder, { clock: s.clock, random: systemRandom, auto: true })
        .dial()
        .catch(() => undefined);
    },
  });
  const rule = { who: { pin: 'alice' }, functions: { publisher: 'lab', names: ['test/*'] }, runtimes: ['process'] };
  site.writePolicy({ rules: [{ ...rule, name: 'r', resources: { accounts: ['chem'] } }] });
  await site.agent.reload();
  const done = () => site.broker.receipts(site.party.principal.kid).length;
  site.broker.deliver(single(site.party, 'a', { run }));
  await site.until('one', () => done() === 1);
  site.broker.deliver(single(site.party, 'b', { res: { ...RES, account: 'chem' }, run }));
  await site.until('the other', () => done() === 2);
  t.same(site.scheduler.cancelled, ['job 1']);
  t.equal(folders.length, 2);
});

t.test('groups are equal where all of user, account, queue and shape are, and nowhere else', async () => {
  const text = fc.option(fc.constantFrom('a', 'b', '","', ''), { nil: undefined });
  const shape = fc.record({
    account: text,
    queue: text,
    nodes: fc.integer({ min: 1, max: 2 }),
    wallS: fc.constantFrom(60, 600),
  });
  const make = (uid: number) => createGroups({ base: { nodes: 1, wallS: 60 }, uid, hasAccounts: true });
  fc.assert(
    fc.property(shape, shape, fc.boolean(), (a, b, sameUser) => {
      const clean = (s: typeof a) => JSON.parse(JSON.stringify(s)) as { nodes: number; wallS: number };
      const equal = make(1).from(clean(a)).key === make(sameUser ? 1 : 2).from(clean(b)).key;
      return (
        equal ===
        (sameUser &&
          JSON.stringify([a.account, a.queue, a.nodes, a.wallS]) ===
            JSON.stringify([b.account, b.queue, b.nodes, b.wallS]))
      );
    }),
    { seed, numRuns: 500 },
  );
});

t.test(
  'blocks are asked for by what waits: none for nothing, none for what is nearly done, never a flood',
  async (t) => {
    const base: GroupDemand = {
      waiting: 1,
      paceMs: undefined,
      running: 0,
      coming: 0,
      placesPerBlock: 4,
      perCall: false,
    };
    t.equal(blocksWanted({ ...base, waiting: 0 }), 0);
    t.equal(blocksWanted(base), 1);
    t.equal(blocksWanted({ ...base, coming: 1 }), 0, 'one is on its way');
    t.equal(blocksWanted({ ...base, waiting: 100_000 }), MAX_QUEUED);
    t.equal(
      blocksWanted({ ...base, waiting: 60_000, paceMs: 0.2, running: 4 }),
      0,
      'they are through with it in three seconds',
    );
    t.equal(blocksWanted({ ...base, waiting: 100, paceMs: 60_000, running: 4 }), MAX_QUEUED);
    t.equal(blocksWanted({ ...base, waiting: 7, coming: 2, perCall: true }), 5);
  },
);
