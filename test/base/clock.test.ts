import t from 'tap';
import { createManualClock, systemClock } from '#base/clock.ts';

t.test('a manual clock stands still until it is told otherwise', async (t) => {
  const clock = createManualClock(1000);
  const fired: string[] = [];
  clock.after(20, () => fired.push(`b at ${clock.mono()}`));
  clock.after(10, () => fired.push(`a at ${clock.mono()}`));
  clock.after(20, () => fired.push('c, asked later for the same time'));
  t.strictSame(fired, []);
  clock.advance(10);
  t.strictSame(fired, ['a at 10']);
  clock.advance(100);
  t.strictSame(fired, ['a at 10', 'b at 20', 'c, asked later for the same time']);
  t.strictSame([clock.now(), clock.mono(), clock.pending()], [1110, 110, 0]);
});

t.test('a timer set by a timer fires within the same advance, if it is due', async (t) => {
  const clock = createManualClock();
  const fired: number[] = [];
  const again = (): void => {
    fired.push(clock.mono());
    clock.after(10, again);
  };
  clock.after(10, again);
  clock.advance(35);
  t.strictSame(fired, [10, 20, 30]);
  t.equal(clock.nextDue(), 40);
});

t.test('a cancelled timer never fires', async (t) => {
  const clock = createManualClock();
  const timer = clock.after(5, () => t.fail('it fired'));
  timer.cancel();
  clock.advance(10);
  t.equal(clock.pending(), 0);
});

t.test('a jump moves the wall clock and no timer', async (t) => {
  const clock = createManualClock(5000);
  let fired = 0;
  clock.after(100, () => fired++);
  clock.jump(3_600_000);
  t.strictSame([clock.now(), clock.mono(), fired], [3_605_000, 0, 0]);
  clock.jump(-7_200_000);
  clock.advance(100);
  t.strictSame([clock.mono(), fired], [100, 1]);
});

t.test('drive gives what a timer woke its turn before the next one', async (t) => {
  const clock = createManualClock();
  const seen: number[] = [];
  const loop = (async () => {
    for (let i = 0; i < 3; i++) {
      await clock.sleep(10);
      seen.push(clock.mono());
    }
  })();
  await clock.drive(30);
  await loop;
  t.strictSame(seen, [10, 20, 30]);
});

for (const [name, clock] of [
  ['manual', createManualClock()],
  ['system', systemClock],
] as const) {
  t.test(`a sleep on the ${name} clock ends with its signal's reason and leaves no timer`, async (t) => {
    const abort = new AbortController();
    const sleep = clock.sleep(2 ** 40, abort.signal);
    abort.abort(new Error('enough'));
    await t.rejects(sleep, { message: 'enough' });
    await t.rejects(clock.sleep(1, abort.signal), { message: 'enough' });
    if ('pending' in clock) t.equal(clock.pending(), 0);
  });
}

t.test('a system timer of months does not fire at once', async (t) => {
  let fired = false;
  const timer = systemClock.after(2 ** 40, () => {
    fired = true;
  });
  await systemClock.sleep(5);
  timer.cancel();
  t.equal(fired, false);
});
