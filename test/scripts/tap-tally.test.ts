import t from 'tap';
import { closingLines, createTapTally, parsePoint } from '../../scripts/tap-tally.ts';

function read(text: string): { shown: string[]; tally: ReturnType<typeof createTapTally> } {
  const tally = createTapTally(['test/a.test.ts', 'test/b.test.ts', 'test/c.test.ts']);
  const shown = text.split('\n').flatMap((line) => [...tally.feed(line)]);
  return { shown, tally };
}

const MIXED = `TAP version 14
1..3
# Subtest: test/a.test.ts
    # Subtest: one passes
        ok 1 - should be equal
        ok 2 - inner # SKIP needs a GPU
        1..2
    ok 1 - one passes # time=113.988ms

    ok 2 - two is left out # SKIP needs strace
    ok 3 - later # TODO
    # Subtest: fails \\# here
        ok 1 - fine
        not ok 2 - should be equal
          ---
          diff: |
            -2
            +1
                ok 9 - no result, but text
          ...

        1..2
    not ok 4 - fails \\# here # time=263.908ms
      ---
      source: |
        of the parent
      ...

    1..4
not ok 1 - test/a.test.ts # time=549.084ms
  ---
  exitCode: 1
  ...

# Subtest: test/b.test.ts
    1..0 # no tests found
not ok 2 - test/b.test.ts # time=2435.509ms
  ---
  exitCode: 7
  ...

# Subtest: test/c.test.ts
    ok 1 - in braces # time=5ms {
        ok 1 - part
        1..1
    }
    1..1
ok 3 - test/c.test.ts # time=61.781ms
`;

t.test('sentences are counted, and what is inside them is not', async (t) => {
  const { passed, failed } = read(MIXED).tally.account();
  t.equal(passed, 2);
  t.equal(failed, 2, 'one sentence, and one file that threw while another file failed too');
});

t.test('a failing assertion is shown with its diagnostics, its parents by name only', async (t) => {
  const { shown } = read(MIXED);
  t.ok(shown.includes('FAILED: test/a.test.ts: fails # here'));
  t.ok(shown.some((line) => line.trim() === '+1'));
  t.notOk(shown.some((line) => line.includes('of the parent')));
  t.ok(shown.some((line) => line.includes('exitCode: 7')));
  t.notOk(
    shown.some((line) => line.includes('exitCode: 1')),
    'the file failed because its sentence did',
  );
});

t.test('skips and todos of every depth are named, and one without a reason fails the run', async (t) => {
  const { tally } = read(MIXED);
  t.strictSame(tally.account().omissions, [
    { file: 'test/a.test.ts', name: 'inner', reason: 'needs a GPU' },
    { file: 'test/a.test.ts', name: 'two is left out', reason: 'needs strace' },
    { file: 'test/a.test.ts', name: 'later', reason: '' },
  ]);
  const { lines, failed } = closingLines(tally.account(), 0);
  t.equal(failed, 3);
  t.equal(lines.at(-1), '2 passed, 3 failed, 3 skipped');
  t.match(lines[2], /later: NO REASON GIVEN/);
});

t.test('the closing line leaves out skips when there are none, and counts failed checks', async (t) => {
  t.equal(closingLines({ passed: 4, failed: 0, omissions: [], missing: [] }, 0).lines.at(-1), '4 passed, 0 failed');
  t.equal(closingLines({ passed: 4, failed: 1, omissions: [], missing: [] }, 2).lines.at(-1), '4 passed, 3 failed');
});

t.test('a file that was asked for and never reports is a failure', async (t) => {
  const tally = createTapTally(['test/a.test.ts', 'test/dropped.test.ts']);
  for (const line of ['ok 1 - test/a.test.ts # time=5ms', 'not ok 2 - timeout!', '  ---', '  expired: x', '  ...'])
    tally.feed(line);
  t.strictSame(tally.account().missing, ['test/dropped.test.ts']);
  const { lines, failed } = closingLines(tally.account(), 0);
  t.equal(failed, 2);
  t.ok(lines.includes('FAILED: test/dropped.test.ts: never reported'));
});

t.test('a directive is one only when its mark is not escaped', async (t) => {
  t.match(parsePoint('    ok 1 - the mark \\# SKIP is text'), {
    directive: undefined,
    name: 'the mark # SKIP is text',
  });
  t.match(parsePoint('ok 1 - test/x.test.ts # SKIP no tests found'), { directive: 'skip', reason: 'no tests found' });
  t.equal(parsePoint('    # Subtest: ok 1 - x'), undefined);
});
