import t from 'tap';
import { MAX_WINDOW } from '../../../agent/work/paces.ts';
import { createPlacement, type Place, type Runnable } from '../../../agent/work/placement.ts';

const place = (slots: number, size?: { cores: number; memMiB?: number }): Place => ({
  no: 1,
  slots,
  inFlight: new Map(),
  ...(size === undefined ? {} : { size: { slots, memMiB: 0, gpus: 0, accelerator: '', ...size } }),
});
const item = (i: number, maxStarts = 8, needs: object = {}): Runnable => ({
  work: { token: { claims: { run: { maxStarts, timeoutS: 60 } } }, manifest: { claims: { needs } } } as never,
  i,
});

/** One step of a pilot that takes what it is given and ends the oldest item of a spec. */
function end(at: Place, specNo: number): void {
  at.inFlight.set(specNo, Math.max(0, (at.inFlight.get(specNo) ?? 0) - 1));
}

/** Takes as an engine does: what was taken is in flight. */
function takeAll(placement: ReturnType<typeof createPlacement>, at: Place, specNo: number): number {
  let taken = 0;
  for (let items = placement.take(at); items.length > 0; items = placement.take(at)) {
    taken += items.length;
    at.inFlight.set(specNo, (at.inFlight.get(specNo) ?? 0) + items.length);
  }
  return taken;
}

t.test(
  'before the first measurement a slot is given one item; then about 20 ms of work, and never more than the window',
  async (t) => {
    const placement = createPlacement(() => true);
    for (let i = 0; i < 5000; i++) placement.add(1, item(i));
    t.equal(takeAll(placement, place(2), 1), 2);
    placement.measure(1, 10, 20, 1);
    t.equal(takeAll(placement, place(1), 1), 20, 'two windows of ten items of 2 ms');
    for (let k = 0; k < 50; k++) placement.measure(1, 100_000, 1, 1);
    t.equal(takeAll(placement, place(1), 1), 2 * MAX_WINDOW);
  },
);

t.test('slow work is never given ahead', async (t) => {
  const placement = createPlacement(() => true);
  for (let i = 0; i < 10; i++) placement.add(1, item(i));
  placement.measure(1, 1, 5000, 1);
  t.equal(takeAll(placement, place(3), 1), 3);
});

t.test('work that may start once is given to idle slots alone, one by one', async (t) => {
  const placement = createPlacement(() => true);
  for (let i = 0; i < 10; i++) placement.add(1, item(i, 1));
  for (let k = 0; k < 50; k++) placement.measure(1, 100_000, 1, 1);
  const at = place(2);
  t.equal(takeAll(placement, at, 1), 2);
  at.inFlight.set(1, 1);
  t.equal(takeAll(placement, at, 1), 1);
});

t.test('what may not run any more is passed over', async (t) => {
  const placement = createPlacement(({ i }) => i % 2 === 0);
  for (let i = 0; i < 6; i++) placement.add(1, item(i));
  t.same(
    placement.take(place(6)).map(({ i }) => i),
    [0, 2, 4],
  );
  t.equal(placement.waiting, 0);
});

t.test('functions of different needs share a node, and no more run beside each other than fit', async (t) => {
  const placement = createPlacement(() => true);
  for (let i = 0; i < 10; i++) placement.add(1, item(i, 8, { cores: 3, memMiB: 1000 }));
  for (let i = 0; i < 10; i++) placement.add(2, item(i));
  const at = place(4, { cores: 8, memMiB: 4000 });
  const given = new Map<number, number>();
  for (let items = placement.take(at); items.length > 0; items = placement.take(at)) {
    const specNo = items.some(({ work }) => work.manifest.claims.needs?.cores === 3) ? 1 : 2;
    at.inFlight.set(specNo, (at.inFlight.get(specNo) ?? 0) + items.length);
    given.set(specNo, (given.get(specNo) ?? 0) + items.length);
  }
  t.strictSame(
    [...given],
    [
      [1, 2],
      [2, 1],
    ],
  );
  t.match(placement.waitsFor(1, item(0, 8, { cores: 3, memMiB: 1000 }).work), /^for 3 cores, 1000 MiB of memory$/);
  t.equal(placement.waitsFor(2, item(0).work), undefined);
});

t.test('a large one does not starve behind small ones: a place is kept for it until it fits', async (t) => {
  const placement = createPlacement(() => true);
  const at = place(2, { cores: 2 });
  for (let i = 0; i < 1000; i++) placement.add(1, item(i));
  takeAll(placement, at, 1);
  placement.add(2, item(0, 8, { cores: 2 }));
  let steps = 0;
  let large = false;
  for (; steps < 100 && !large; steps++) {
    end(at, 1);
    const items = placement.take(at);
    large = items.some(({ work }) => work.manifest.claims.needs?.cores === 2);
    if (!large && items.length > 0) at.inFlight.set(1, (at.inFlight.get(1) ?? 0) + items.length);
    if (large) t.equal(at.inFlight.get(1), 0, 'nothing runs beside it');
  }
  t.ok(large && steps <= 12, `given after ${steps} ends`);
  at.inFlight.set(2, 1);
  t.same(placement.take(at), [], 'the node is its own');
  end(at, 2);
  t.equal(placement.take(at).length, 2, 'the small ones go on');
});

t.test('one item does not starve behind a stream of short ones that is given far ahead', async (t) => {
  const placement = createPlacement(() => true);
  const at = place(2);
  for (let i = 0; i < 100_000; i++) placement.add(1, item(i));
  for (let k = 0; k < 50; k++) placement.measure(1, 100_000, 1, 1);
  takeAll(placement, at, 1);
  placement.add(2, item(0));
  let steps = 0;
  for (; steps < 20_000 && (placement.demands()[1]?.waiting ?? 0) > 0; steps++) {
    end(at, 1);
    const before = placement.demands()[1]?.waiting ?? 0;
    const items = placement.take(at);
    if ((placement.demands()[1]?.waiting ?? 0) === before) at.inFlight.set(1, (at.inFlight.get(1) ?? 0) + items.length);
  }
  t.ok(steps < 4 * MAX_WINDOW, `given after ${steps} ends of the others`);
});

t.test('a place that is gone, or takes it no more, is kept for nobody', async (t) => {
  const placement = createPlacement(() => true);
  let takes = true;
  const at = { ...place(1, { cores: 2 }), takes: () => takes };
  const other = { ...place(2, { cores: 2 }), no: 2 };
  for (let i = 0; i < 100; i++) placement.add(1, item(i));
  t.equal(placement.take(other).length, 2);
  other.inFlight.set(1, 2);
  placement.add(2, item(0, 8, { cores: 2 }));
  const work = item(0, 8, { cores: 2 }).work;
  for (let k = 0; k < 20 && placement.waitsFor(2, work) === 'for 2 cores'; k++) {
    end(other, 1);
    other.inFlight.set(1, (other.inFlight.get(1) ?? 0) + placement.take(other).length);
  }
  t.match(placement.waitsFor(2, work), /pilot 2 is kept free for it/);
  placement.forget(2);
  t.notMatch(placement.waitsFor(2, work), /kept/);
  t.equal(placement.take({ ...other, inFlight: new Map([[1, 1]]) }).length, 1, 'others go on there');
  takes = false;
  t.same(placement.take(at), []);
  takes = true;
  t.same(
    placement.take(at).map(({ i }) => i),
    [0],
    'it goes where it fits',
  );
});
