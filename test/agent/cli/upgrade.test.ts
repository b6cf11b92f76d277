/** What a change of version would do, said before it is done. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { Command } from 'commander';
import t, { type Test } from 'tap';
import type { CliContext } from '#base/cli.ts';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { openLedger } from '../../../agent/admission/ledger.ts';
import { schema } from '../../../agent/admission/ledger-module.ts';
import { judgeUpgrade, registerUpgrade, type UpgradeFacts } from '../../../agent/cli/upgrade.ts';

const build = (version: string, ledger: number): UpgradeFacts['next'] => ({
  build: { version, commit: `commit of ${version}`, schema: { ledger, broker: 1 } },
  ledger,
});
const old = build('1.0.0', 3).build;

t.test('an equal ledger can go back, an older one is brought up once, a newer one is refused', async (t) => {
  const judge = (more: Partial<UpgradeFacts>): ReturnType<typeof judgeUpgrade> =>
    judgeUpgrade({ now: old, running: true, ledger: 3, next: build('1.1.0', 3), ...more });
  const same = judge({});
  t.equal(same.verdict, 'either way');
  t.match(same.lines[0], 'from 1.0.0 (commit of 1.0.0) to 1.1.0 (commit of 1.1.0)');
  t.match(same.lines.join('\n'), 'stop --keep-blocks');
  t.notMatch(judge({ running: false }).lines.join('\n'), 'stop');
  const up = judge({ next: build('2.0.0', 5) });
  t.equal(up.verdict, 'one way');
  t.match(up.lines, [/from schema 3 to 5/, /pilots/, /--keep-blocks/, /^cp -a/, /endpoint start/]);
  t.equal(judge({ next: build('0.9.0', 2) }).verdict, 'refused');
  t.equal(judge({ next: build('1.0.0', 3) }).verdict, 'same');
  t.equal(judge({ ledger: undefined }).verdict, 'either way', 'there is no ledger yet');
  t.match(judge({ now: undefined }).lines[0], 'from an unknown version');
});

/** What a package's tree shows of itself. */
function makeTree(t: Test, ledger: number, node: 'runs' | 'does not'): string {
  const tree = mkdtempSync(join(tmpdir(), 'farfield-tree-'));
  t.teardown(() => rmSync(tree, { recursive: true }));
  mkdirSync(join(tree, 'dist'));
  mkdirSync(join(tree, 'lib'));
  const described = JSON.stringify(build('3.0.0', ledger).build);
  writeFileSync(join(tree, 'dist/build.json'), described);
  const digest = createHash('sha256').update(described).digest('hex');
  writeFileSync(join(tree, 'MANIFEST.sha256'), `${digest}  dist/build.json\n`);
  if (node === 'runs') symlinkSync(process.execPath, join(tree, 'lib/node'));
  else writeFileSync(join(tree, 'lib/node'), 'for another machine', { mode: 0o755 });
  return tree;
}

async function check(state: string, tree: string): Promise<Record<string, unknown>> {
  const stdout = new PassThrough();
  const context: CliContext = {
    ...{ env: {}, stdin: process.stdin, stdout, stderr: new PassThrough(), cwd: '/', home: '/nowhere' },
    ...{ clock: systemClock, random: systemRandom, signal: new AbortController().signal, self: [] },
  };
  const program = new Command().option('--json').exitOverride();
  registerUpgrade(program, context);
  await program.parseAsync(['--json', 'upgrade', '--check', '--state', state, tree], { from: 'user' });
  return JSON.parse(String(stdout.read())) as Record<string, unknown>;
}

t.test(
  'a tree is checked against its manifest, its Node against this machine, its schema against the ledger',
  async (t) => {
    const state = mkdtempSync(join(tmpdir(), 'farfield-upgrade-'));
    t.teardown(() => rmSync(state, { recursive: true }));
    const ledger = await openLedger({ file: join(state, 'ledger.db') });
    const have = schema.length;
    t.match(await check(state, makeTree(t, have + 1, 'runs')), {
      verdict: 'one way',
      running: false,
      ledger: have,
      newLedger: have + 1,
      to: { version: '3.0.0' },
    });
    t.match(await check(state, makeTree(t, have, 'runs')), { verdict: 'either way' }, 'also while the ledger is open');
    await ledger.close();
    await t.rejects(check(state, makeTree(t, have - 1, 'runs')), {
      code: 'E_CONFLICT',
      message: /cannot run this endpoint/,
    });
    await t.rejects(check(state, makeTree(t, have, 'does not')), {
      code: 'E_CONFLICT',
      message: /does not run on this machine/,
    });
    const broken = makeTree(t, have, 'runs');
    writeFileSync(join(broken, 'dist/build.json'), JSON.stringify(build('3.0.1', have).build));
    await t.rejects(check(state, broken), { code: 'E_DIGEST', message: /dist\/build\.json/ });
    await t.rejects(check(state, state), { code: 'E_NOT_FOUND', message: /is no tree of a Farfield package/ });
  },
);
