/** Mutants are seeded by hand and not in every run: that they still apply is checked in every run. */
import '../leaks.ts';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { MUTANTS } from './mutant-list.ts';

const root = join(import.meta.dirname, '../..');

t.test('each mutant finds its text once, changes it, and names a test that is there', (t) => {
  for (const { name, file, from, to, test } of MUTANTS) {
    t.equal(readFileSync(join(root, file), 'utf8').split(from).length - 1, 1, `${name}: ${file}`);
    t.not(from, to, name);
    t.ok(existsSync(join(root, test)), test);
  }
  t.end();
});

t.test('the table of the last run has each of them', (t) => {
  const table = readFileSync(join(root, 'test/mutants.md'), 'utf8');
  for (const { name, file, test } of MUTANTS)
    t.ok(table.includes(`| ${name} | \`${file}\` | \`${test}\` | caught |`), name);
  t.end();
});
