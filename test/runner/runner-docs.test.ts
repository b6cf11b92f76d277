import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { EXIT, EXIT_MEANINGS } from '../../runner/exits.ts';

const docs = new URL('../../docs/', import.meta.url);

t.test('the guide has every exit code, as the program explains it', async (t) => {
  const text = readFileSync(new URL('runner.md', docs), 'utf8');
  const rows = [...text.matchAll(/^\| (\d+) \| ([^|]+?) \|/gm)].map(([, code, meaning]) => [Number(code), meaning]);
  const expected = Object.entries(EXIT).map(([name, code]) => [code, EXIT_MEANINGS[name as keyof typeof EXIT]]);
  t.same(rows, expected);
});

t.test('the example job arrays are good bash, and use verbs and options that there are', async (t) => {
  const examples = new URL('examples/', docs);
  const { BATCH_USAGE } = await import('../../runner/batch/command.ts');
  for (const name of readdirSync(examples)) {
    const path = new URL(name, examples);
    t.doesNotThrow(() => execFileSync('bash', ['-n', path.pathname], { stdio: 'pipe' }), name);
    const text = readFileSync(path, 'utf8').replace(/^#.*$/gm, '');
    // The command and its continuation lines, which are indented.
    const [call = ''] = text.slice(text.indexOf('"$RUNNER" batch')).split(/\n(?! )/);
    const options = [...call.matchAll(/--([a-z]+)/g)].map(([, option]) => option);
    t.ok(options.length >= 4, `${name}: ${options.join(' ')}`);
    for (const option of options) t.match(BATCH_USAGE, `--${option}`, `${name}: --${option}`);
  }
});
