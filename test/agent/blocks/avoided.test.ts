import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import { createAvoided } from '../../../agent/blocks/avoided.ts';

t.test('three nodes at most are avoided, the latest ones, and each for a quarter of an hour', async (t) => {
  const clock = createManualClock(0);
  const avoided = createAvoided(clock);
  for (const node of ['a', 'b', 'c', 'd']) avoided.failed(node, `block of ${node}`);
  t.strictSame(avoided.nodes(), ['d', 'c', 'b']);
  await clock.drive(10 * 60_000);
  avoided.failed('b', 'another block');
  t.strictSame(avoided.nodes(), ['b', 'd', 'c']);
  await clock.drive(6 * 60_000);
  t.strictSame(avoided.nodes(), ['b'], 'the others are as good as any');
});

t.test('a node is pardoned when the scheduler says that the job ended for another reason', async (t) => {
  const avoided = createAvoided(createManualClock(0));
  for (const cause of ['walltime', 'preempted', 'cancelled', 'memory', 'deadline', 'revoked'] as const) {
    avoided.failed('n', 'b');
    avoided.ended('other', cause, false);
    t.strictSame(avoided.nodes(), ['n'], 'another block says nothing of it');
    avoided.ended('b', cause, false);
    t.strictSame(avoided.nodes(), [], cause);
  }
  avoided.failed('n', 'b');
  avoided.ended('b', 'failed', false);
  t.strictSame(avoided.nodes(), ['n']);
  avoided.ended('b', 'failed', true);
  t.strictSame(avoided.nodes(), [], 'this agent ended it');
});
