import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import { Stopping } from '../../runner/batch/stopping.ts';

function setting(graceMs = 20_000) {
  const clock = createManualClock();
  const notes: string[] = [];
  const stopping = new Stopping(clock, graceMs, (note) => notes.push(note));
  let lets = 0;
  stopping.onCancel(() => lets++);
  return { clock, notes, stopping, lets: () => lets };
}

t.test('asked to stop before anything is known, a runner lets go at once', async (t) => {
  const { stopping, lets, notes, clock } = setting();
  stopping.ask();
  t.ok(stopping.cancelled);
  t.equal(lets(), 1);
  t.match(notes, [/left to be done again/]);
  t.equal(clock.pending(), 0);
});

t.test('with less work left than the grace, it goes on; past the grace it lets go all the same', async (t) => {
  const { stopping, lets, notes, clock } = setting();
  stopping.progress(900, 1000, 10);
  stopping.ask();
  t.notOk(stopping.cancelled);
  t.match(notes, [/about 10 s of work are left, which is finished/]);
  clock.advance(19_999);
  t.notOk(stopping.cancelled);
  clock.advance(1);
  t.ok(stopping.cancelled);
  t.equal(lets(), 1);
});

t.test('with more work left than the grace it does not begin to hope', async (t) => {
  const { stopping, clock } = setting();
  stopping.progress(100, 1000, 10);
  stopping.ask();
  t.ok(stopping.cancelled);
  t.equal(clock.pending(), 0);
});

t.test('a second request ends the patience, further ones do nothing', async (t) => {
  const { stopping, lets, clock } = setting();
  stopping.progress(990, 1000, 10);
  stopping.ask();
  t.notOk(stopping.cancelled);
  stopping.ask();
  stopping.ask();
  t.ok(stopping.cancelled);
  t.equal(lets(), 1);
  t.equal(clock.pending(), 0);
});

t.test('a shard that ends in time leaves no timer', async (t) => {
  const { stopping, clock } = setting();
  stopping.progress(990, 1000, 10);
  stopping.ask();
  stopping[Symbol.dispose]();
  t.equal(clock.pending(), 0);
});

t.test('who learns late of a stop is told at once', async (t) => {
  const { stopping } = setting();
  stopping.ask();
  let told = false;
  stopping.onCancel(() => {
    told = true;
  });
  t.ok(told);
});
