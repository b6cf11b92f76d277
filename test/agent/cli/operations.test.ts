/** The guide names what there is: every code that a finding may have, every verb, every metric. */
import '../../leaks.ts';
import { readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { createAgentMetrics } from '../../../agent/metrics.ts';
import { type } from './parts.ts';

const root = join(import.meta.dirname, '..', '..', '..');
const guide = readFileSync(join(root, 'docs', 'operations.md'), 'utf8');

t.test('every code of check and doctor is explained', async (t) => {
  const folder = join(root, 'agent', 'cli');
  const sources = ['check.ts', 'check-broker.ts', 'check-runtimes.ts', 'doctor.ts'].map((name) =>
    readFileSync(join(folder, name), 'utf8'),
  );
  const codes = new Set(
    sources.flatMap((text) =>
      [...text.matchAll(/\b(?:ok|warn|fail|away)\(\s*'([a-z-]+)'/g)].map(([, code = '']) => code),
    ),
  );
  t.ok(codes.size > 25, `${codes.size} codes were found`);
  for (const code of codes) t.ok(guide.includes(`\`${code}\``), code);
  t.ok(readdirSync(folder).includes('doctor.ts'));
});

t.test('every verb and option that the guide shows is there', async (t) => {
  const verbs = [...guide.matchAll(/farfield endpoint ([a-z-]+)/g)].map(([, verb = '']) => verb);
  const { stdout } = await type({ home: tmpdir() }, 'endpoint', '--help');
  for (const verb of new Set(verbs)) t.match(stdout, new RegExp(`^ {2}${verb}\\b`, 'm'), verb);
});

t.test('every metric of the agent is named', async (t) => {
  const names = [
    ...createAgentMetrics()
      .text()
      .matchAll(/^# TYPE farfield_agent_([a-z_]+)/gm),
  ].map(([, name = '']) => name);
  for (const name of names) t.ok(guide.includes(`\`${name}`), name);
});
