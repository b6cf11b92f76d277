import t from 'tap';
import { type CrashEvent, checkHistory, held, parseHistory } from './checker.ts';

const options = { maxStarts: 3, answerOf: (label: string, i: number): string => `${label}-${i}` };
const submit = (id: string, n = 2): CrashEvent => ({ kind: 'submit', life: 1, id, n, label: id });
const ack = (id: string): CrashEvent => ({ kind: 'ack', life: 1, id });
const done = (id: string, i: number, more: Partial<Extract<CrashEvent, { kind: 'done' }>> = {}): CrashEvent => ({
  kind: 'done',
  life: 1,
  id,
  i,
  status: 'succeeded',
  attempt: 1,
  answer: `${id}-${i}`,
  ...more,
});
const good = [submit('a'), ack('a'), done('a', 0), done('a', 1)];

t.test('a history in which every acknowledged item ended once holds', async (t) => {
  const account = checkHistory(good, options);
  t.match(account, {
    submitted: 2,
    acked: 2,
    completed: 2,
    lost: 0,
    duplicate: 0,
    unexpected: 0,
    late: 0,
    findings: [],
  });
  t.ok(held(account));
});

t.test('an acknowledged item without an end is lost; one that nobody acknowledged is not', async (t) => {
  const account = checkHistory([submit('a'), ack('a'), done('a', 0), submit('b')], options);
  t.equal(account.lost, 1);
  t.notOk(held(account));
  t.equal(checkHistory([submit('b'), done('b', 0)], options).recovered, 1, 'and may end all the same');
});

t.test('a second end in one life is a duplicate, and so is a different one in the next', async (t) => {
  const again = { life: 2 };
  for (const second of [
    done('a', 0),
    done('a', 0, { ...again, attempt: 2 }),
    done('a', 0, { ...again, answer: 'x' }),
    done('a', 0, { ...again, status: 'failed' }),
    { kind: 'alarm' as const, life: 1, message: 'a second, differing receipt' },
  ]) {
    const account = checkHistory([...good, second], options);
    t.equal(account.duplicate, 1, JSON.stringify(second));
    t.notOk(held(account));
  }
});

t.test('the same end told to the next life is late and no duplicate', async (t) => {
  const account = checkHistory([...good, done('a', 0, { life: 2 })], options);
  t.match(account, { late: 1, duplicate: 0, completed: 2 });
  t.ok(held(account));
});

t.test('an end that nobody asked for, another answer, a failure and a start too many are unexpected', async (t) => {
  for (const event of [
    done('b', 0),
    done('c', 2),
    done('c', 0, { answer: 'c-1' }),
    done('c', 0, { status: 'failed' }),
  ]) {
    const account = checkHistory([submit('c'), event], options);
    t.equal(account.unexpected, 1, JSON.stringify(event));
    t.notOk(held(account));
  }
  const account = checkHistory([submit('c'), done('c', 0, { attempt: 4 })], options);
  t.match(account, { overStarted: 1, mostStarts: 4, repeated: 1 });
  t.notOk(held(account));
});

t.test(
  'half a line by a killed writer hides nothing that came after it, and a broken line elsewhere is told',
  async (t) => {
    const text = `${JSON.stringify(good[0])}\n{"kind":"ack","li${JSON.stringify(good[1])}\n${JSON.stringify(good[2])}\n{"kind":"do`;
    t.strictSame(parseHistory(text), good.slice(0, 3));
    t.throws(() => parseHistory('nonsense\n{}\n'));
  },
);
