import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { createLogger, plain, plainLine, withoutSecrets } from '#base/log.ts';
import { FarfieldError } from '#kernel/errors.ts';

function logged(write: (log: ReturnType<typeof createLogger>) => void): {
  text: string;
  lines: Record<string, unknown>[];
} {
  let text = '';
  const stream = {
    write(line: string): void {
      text += line;
    },
  };
  write(createLogger({ name: 'test', level: 'trace', stream }));
  return {
    text,
    lines: text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

const jws = `eyJhbGciOiJFZDI1NTE5In0.${'a'.repeat(40)}.${'b'.repeat(86)}`;

t.test('a line is one JSON object with level, time, name and a constant message', async (t) => {
  const { lines } = logged((log) =>
    log.child({ endpoint: 'e1' }).warn({ invocation: 'i1', attempt: 2 }, 'lease expired'),
  );
  t.match(lines[0], {
    level: 'warn',
    name: 'test',
    endpoint: 'e1',
    invocation: 'i1',
    attempt: 2,
    msg: 'lease expired',
    time: /^\d{4}-/,
  });
});

t.test('no secret is written, wherever it stands', async (t) => {
  const key = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const secret = 'hunter2-hunter2';
  const { text } = logged((log) => {
    log.info({ secret, token: secret, password: secret, privateKey: secret, authorization: secret }, 'a');
    log.info({ headers: { authorization: secret, cookie: secret } }, 'b');
    log.info({ stderr: `it said ${key} and then ff1.${'x'.repeat(40)} and ${jws}` }, 'c');
    log.error({ err: new FarfieldError('E_TOKEN_FORM', `bad token ${jws}`, { cause: new Error(key) }) }, 'd');
  });
  for (const bad of [secret, 'PRIVATE KEY', 'ff1.x', 'eyJ']) t.notOk(text.includes(bad), `${bad} is not in the log`);
  t.match(text, /it said \[removed\]\\n and then \[removed\] and \[removed\]/);
});

t.test('an error is written with its code, its text and its cause', async (t) => {
  const { lines } = logged((log) =>
    log.error({ err: new FarfieldError('E_HDF5', 'broken', { cause: new Error('chunk 7') }) }, 'failed'),
  );
  t.match(lines[0], { err: { code: 'E_HDF5', message: /^broken/ } });
  t.match(JSON.stringify(lines[0]), /chunk 7/);
});

t.test('an unknown option is refused', async (t) => {
  t.throws(() => createLogger({ name: 'x', colour: true } as never), { message: /no option "colour"/ });
});

t.test('a log file is ours alone, and complete when the process ends', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-log-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'x.log');
  const source = new URL('../../base/log.ts', import.meta.url).href;
  const script = `const { createLogger } = await import('${source}'); const log = createLogger({ name: 'x', file: '${file}' });
    for (let i = 0; i < 500; i++) log.info({ i }, 'line'); await new Promise((resolve) => setImmediate(resolve));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' });
  t.strictSame(await once(child, 'close'), [0, null]);
  t.equal(readFileSync(file, 'utf8').trim().split('\n').length, 500);
  t.equal(statSync(file).mode & 0o777, 0o600);
});

t.test('text without a secret is left alone', async (t) => {
  for (const text of ['', 'eyJ', 'ff1.short', 'a.b.c', 'the key is under the mat']) t.equal(withoutSecrets(text), text);
});

t.test('what could steer a terminal is taken out of text from elsewhere', async (t) => {
  const cases: [string, string, string][] = [
    ['colours', '\u001b[1;31mred\u001b[0m', 'red'],
    ['a cursor that climbs up and overwrites', 'ok\u001b[2A\u001b[2Kforged', 'okforged'],
    ['a window title', '\u001b]0;pwned\u0007text', 'text'],
    ['a hyperlink', '\u001b]8;;http://evil\u001b\\click\u001b]8;;\u001b\\', 'click'],
    ['a device string', 'a\u001bP1$r\u001b\\b', 'ab'],
    ['an unfinished title', 'a\u001b]0;and the rest is swallowed', 'a'],
    ['8-bit forms', 'a\u009b31mb\u009d0;t\u0007c', 'abc'],
    ['a reset and a charset', '\u001bcx\u001b(0y', 'xy'],
    ['a carriage return that overwrites its line', 'safe\rEVIL', 'safeEVIL'],
    ['line ends of elsewhere', 'a\r\nb\n\tc', 'a\nb\n\tc'],
    ['backspaces and bells', 'ab\u0008\u0007c\u0000', 'abc'],
    ['overrides of direction', 'x\u202Egnp.exe\u202C \u2066y\u2069', 'xgnp.exe y'],
    ['what has no width', 'pay\u200Bpal\uFEFF', 'paypal'],
    ['an escape at the end', 'abc\u001b', 'abc'],
    ['other scripts stay', 'Röntgen µm αβγ 光 العربية', 'Röntgen µm αβγ 光 العربية'],
  ];
  for (const [name, dirty, clean] of cases) t.equal(plain(dirty), clean, name);
  // Taking one sequence out must not put another together.
  t.notOk(plain('\u001b\u001b[31m[31mx').includes('\u001b'));
});

t.test('a line for a table is one line, and no longer than asked', async (t) => {
  t.equal(plainLine(' a\n b\t\u001b[31mc '), 'a b c');
  t.equal(plainLine('x'.repeat(300), 10), `${'x'.repeat(9)}…`);
});
