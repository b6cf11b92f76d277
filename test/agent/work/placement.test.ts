import t from 'tap';
import { createPlacement, MAX_WINDOW, type Place, type Runnable } from '../../../agent/work/placement.ts';

const place = (slots: number): Place => ({ no: 1, slots, inFlight: new Map() });
const item = (i: number, maxStarts = 8): Runnable => ({
  work: { token: { claims: { run: { maxStarts } } } } as never,
  i,
});

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
