/**
 * Seeds mutants, one at a time, and runs the tests that are to catch them: `scripts/node.sh test/crash/mutants.ts [NAME]...`
 *
 * Invariants
 *  U1 The tree that one works in is never touched: mutants live in a git worktree of HEAD in a temporary folder.
 *  U2 Each test is run on the unchanged tree first: one that fails there catches nothing.
 *  U3 A patch names text that must be there exactly once, so a mutant that no longer applies is told and not passed over.
 *
 * test/mutants.md says what each mutant breaks, and holds the table of the last run.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  readonly test: string;
}

const LEDGER = 'agent/admission/ledger-module.ts';
const LEDGER_TEST = 'test/agent/ledger/ledger.test.ts';
const ENGINE_TEST = 'test/agent/work/engine.test.ts';
const SCHEDULER = 'agent/schedulers/batch.ts';
const SCHEDULER_TEST = 'test/agent/schedulers/batch.test.ts';
const STORE_TEST = 'test/broker/store/store.test.ts';

const MUTANTS: readonly Mutant[] = [
  {
    name: 'ack before fsync: every store',
    file: 'base/sqlite/engine.ts',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: text of the file
    from: 'pragma synchronous = ${o.synchronous}',
    to: 'pragma synchronous = off',
    test: 'test/base/sqlite/disk.test.ts',
  },
  {
    name: 'ack before commit: outcome at the broker',
    file: 'broker/links/session.ts',
    from: "    this.#command('complete', command, settled, pack);",
    to: "    session.send({ outcomeAck: { packNos: [packNo] } }, 'prompt');\n    this.#command('complete', command, settled, pack);",
    test: 'test/crash/strace.test.ts',
  },
  {
    name: 'ack before commit: outcome at the agent',
    file: 'agent/blocks/pilots.ts',
    from: '    takeDone(options, port, done)\n',
    to: "    session.send({ doneAck: { doneNo: done.doneNo } }, 'prompt');\n    takeDone(options, port, done)\n",
    test: 'test/crash/strace.test.ts',
  },
  {
    name: 'epoch forgotten: ledger',
    file: LEDGER,
    from: ' && u32At(row.epochs, i) === leaseEpoch',
    to: '',
    test: LEDGER_TEST,
  },
  {
    name: 'epoch forgotten: engine',
    file: 'agent/work/attempts.ts',
    from: ' && work.leaseEpochs[i] === leaseEpoch',
    to: '',
    test: ENGINE_TEST,
  },
  {
    name: 'epoch forgotten: delivery at the broker',
    file: 'broker/store/rules/work.ts',
    from: ' && ticket.deliveryEpoch === deliveryEpoch',
    to: '',
    test: STORE_TEST,
  },
  {
    name: 'spool deleted before the confirm: pilot',
    file: 'pilot/outcomes.ts',
    from: '    onSealed({ no: doneNo, message, bytes });',
    to: '    onSealed({ no: doneNo, message, bytes });\n    kept.delete(doneNo);',
    test: 'test/pilot/reconnect.test.ts',
  },
  {
    name: 'spool deleted before the confirm: outbox',
    file: 'base/link/outbox.ts',
    from: '    this.#cursor = 0;\n',
    to: '',
    test: 'test/base/link/outbox.test.ts',
  },
  {
    name: 'back-off reset on connect',
    file: 'base/link/supervisor.ts',
    from: 'if (outcome.heldMs >= (options.heldMs ?? HELD_MS)) backoff.reset();',
    to: 'backoff.reset();',
    test: 'test/base/link/supervisor.test.ts',
  },
  {
    name: 'completion by overwrite: broker',
    file: 'broker/store/rules/work.ts',
    from: 'if (before === undefined || isSigned(before)) {',
    to: 'if (before === undefined) {',
    test: STORE_TEST,
  },
  {
    name: 'completion by overwrite: ledger',
    file: LEDGER,
    from: 'if (!held && !waiting)',
    to: 'if (!held && !waiting && (row.states[i] ?? 0) < ITEM.ended)',
    test: LEDGER_TEST,
  },
  {
    name: 'retry without counting: failures in the rule',
    file: 'kernel/states/retry.ts',
    from: 'if (charged && failures >= maxFailures) {',
    to: 'if (charged && failures > maxFailures) {',
    test: 'test/kernel/states.test.ts',
  },
  {
    name: 'retry without counting: failures in the ledger',
    file: LEDGER,
    from: '      if (charged) row.failures[i] = Math.min(255, (row.failures[i] ?? 0) + 1);\n',
    to: '',
    test: LEDGER_TEST,
  },
  {
    name: 'retry without counting: failures in the engine',
    file: 'agent/work/attempts.ts',
    from: '      if (failure.charged) work.failures[held.i] = (work.failures[held.i] ?? 0) + 1;\n',
    to: '',
    test: ENGINE_TEST,
  },
  {
    name: 'retry without counting: starts in the ledger',
    file: LEDGER,
    from: '    row.starts[i] = (row.starts[i] ?? 0) + 1;\n',
    to: '',
    test: LEDGER_TEST,
  },
  {
    name: 'a second mirror for a part that comes together with another',
    file: 'agent/admission/admit.ts',
    from: ' ?? this.#entering.get(id)?.work;',
    to: ';',
    test: 'test/agent/admission/parts.test.ts',
  },
  {
    name: 'an admission leases what waited before',
    file: LEDGER,
    from: 'grantLease(row, { ...command.lease, items: fresh })',
    to: 'grantLease(row, command.lease)',
    test: 'test/agent/admission/parts.test.ts',
  },
  {
    name: 'an unknown scheduler state taken as finished',
    file: SCHEDULER,
    from: "    if (known.state.kind === 'unknown') {\n",
    to: "    if (known.state.kind === 'unknown') known.state = { kind: 'ended', cause: 'lost', why: known.state.why };\n    if (known.state.kind === 'unknown') {\n",
    test: SCHEDULER_TEST,
  },
  {
    name: 'a job submitted again after a lost reply',
    file: SCHEDULER,
    from: '      if (job !== undefined) return job.id;\n',
    to: '',
    test: SCHEDULER_TEST,
  },
];

const TEST_MS = 150_000;
const root = join(import.meta.dirname, '../..');
const wanted = process.argv.slice(2);
const chosen = MUTANTS.filter(({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)));
const tree = join(mkdtempSync(join(tmpdir(), 'farfield-mutants-')), 'tree');
const say = (line: string): void => void process.stdout.write(`${line}\n`);

let lastFailure = '';

function passes(test: string): boolean {
  const PATH = [join(root, 'node_modules', '.bin'), process.env.PATH ?? ''].join(delimiter);
  const args = ['--disable-warning=ExperimentalWarning', join(tree, test)];
  const ran = spawnSync(process.execPath, args, {
    cwd: tree,
    env: { ...process.env, PATH, TAP_TIMEOUT: String(TEST_MS / 1000) },
    timeout: TEST_MS,
  });
  if (ran.status !== 0)
    lastFailure = `${ran.stdout}`
      .split('\n')
      .filter((line) => /^ *not ok/.test(line))
      .join('\n');
  return ran.status === 0;
}

function judge({ file, from, to, test }: Mutant): string {
  const path = join(tree, file);
  const text = readFileSync(path, 'utf8');
  if (text.split(from).length !== 2) return 'DOES NOT APPLY';
  writeFileSync(
    path,
    text.replace(from, () => to),
  );
  try {
    return passes(test) ? 'SURVIVED' : 'caught';
  } finally {
    writeFileSync(path, text);
  }
}

let bad = 0;
execFileSync('git', ['worktree', 'add', '--quiet', '--detach', tree, 'HEAD'], { cwd: root });
try {
  symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
  const sound = new Map([...new Set(chosen.map(({ test }) => test))].map((test) => [test, passes(test)]));
  for (const [test, ok] of sound) if (!ok) say(`${test} fails on the unchanged tree:\n${lastFailure}\n`);
  say('| mutant | file | test | outcome |\n|---|---|---|---|');
  for (const mutant of chosen) {
    const outcome = sound.get(mutant.test) === true ? judge(mutant) : 'TEST FAILS WITHOUT IT';
    if (outcome !== 'caught') bad += 1;
    say(`| ${mutant.name} | \`${mutant.file}\` | \`${mutant.test}\` | ${outcome} |`);
  }
} finally {
  execFileSync('git', ['worktree', 'remove', '--force', tree], { cwd: root });
  rmSync(join(tree, '..'), { recursive: true, force: true });
}
say(`\n${chosen.length - bad} of ${chosen.length} caught`);
process.exitCode = bad === 0 ? 0 : 1;
