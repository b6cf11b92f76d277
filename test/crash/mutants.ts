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
import { MUTANTS, type Mutant } from './mutant-list.ts';

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
