import t from 'tap';
import { createBreaker } from '../../../agent/blocks/breaker.ts';

t.test('three failed starts in a row open it, once, with the last words of the site', async (t) => {
  const reasons: string[] = [];
  const breaker = createBreaker((reason) => void reasons.push(reason));
  breaker.failed('one');
  breaker.failed('two');
  t.equal(breaker.reason, undefined);
  breaker.failed('cannot open libfoo.so');
  breaker.failed('again');
  t.equal(reasons.length, 1);
  t.match(breaker.reason, /libfoo\.so/);
});

t.test('a pilot that arrives closes the row, and an admin’s reset the breaker', async (t) => {
  const breaker = createBreaker(() => undefined);
  breaker.failed('one');
  breaker.failed('two');
  breaker.started();
  breaker.failed('three');
  t.equal(breaker.reason, undefined, 'not in a row');
  breaker.failed('four');
  breaker.failed('');
  t.match(breaker.reason, /printed nothing/);
  breaker.reset();
  t.same([breaker.reason, breaker.failures], [undefined, 0]);
});
