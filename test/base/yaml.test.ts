import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type TSchema, Type } from 'typebox';
import { loadYaml, nearest, parseYaml, readYaml } from '#base/yaml.ts';

const closed = <P extends Record<string, TSchema>>(properties: P) =>
  Type.Object(properties, { additionalProperties: false });
const Who = Type.Union([
  closed({ pin: Type.String() }),
  closed({ issuer: Type.String(), group: Type.Optional(Type.String()) }),
]);
const Config = closed({
  port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
  secret: Type.Optional(Type.Integer()),
  rules: Type.Array(closed({ name: Type.String(), who: Type.Optional(Who), wallS: Type.Optional(Type.Number()) })),
});

const message = (text: string): string => {
  try {
    parseYaml(text, Config, 'c.yaml');
    return 'accepted';
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
};

t.test('a good file is a value', async (t) => {
  t.strictSame(parseYaml('port: 8443\nrules:\n  - { name: a, who: { pin: alice } }\n', Config, 'c'), {
    port: 8443,
    rules: [{ name: 'a', who: { pin: 'alice' } }],
  });
  t.strictSame(parseYaml('', closed({}), 'c'), {}, 'an empty file is an empty object');
});

t.test('the file, the line, the key and the likely correction are named', async (t) => {
  t.equal(message('prot: 1\nrules: []'), 'c.yaml:1: "prot" is not a known key; did you mean "port"?');
  t.match(message('rules:\n  - name: a\n  - name: b\n    wallMs: 5'), /^c\.yaml:4: "rules\.1\.wallMs" .* "wallS"\?$/);
  t.match(
    message('rules:\n  - name: b\n    who:\n      issuer: campus\n      gruop: x'),
    /^c\.yaml:5: .*"group"\?$/,
    'inside a union',
  );
  t.match(
    message('rules:\n  - name: b\n    who: { pin: a, issuer: b }'),
    /^c\.yaml:3: "rules\.0\.who" has keys that do not go together: issuer, pin$/,
  );
  t.match(message('rules: []\ncolour: red'), /^c\.yaml:2: .* known here: port, rules, secret$/, 'nothing is near');
  t.match(message('rules:\n  -\n    nme: x'), /^c\.yaml:\d: "rules\.0/);
  t.match(message('port: 8443'), /^c\.yaml: the file lacks rules$/);
  t.match(message('rules:\n\n  - wallS: 1'), /^c\.yaml:3: "rules\.0" lacks name$/);
  t.match(message('port: 0\nrules: []'), /^c\.yaml:1: "port" /);
});

t.test('what YAML itself forbids is said with its line', async (t) => {
  t.match(message('rules: []\nport: 1\nport: 2'), /^c\.yaml:3: .*unique/);
  t.match(message('rules: [\n'), /^c\.yaml:\d: /);
  t.match(message('rules: [*nowhere]'), /without its anchor/);
  t.match(message('? [a, b]\n: 1\n'), /^c\.yaml:1: /, 'keys are text');
});

t.test('a value is never quoted: it may be a secret', async (t) => {
  t.notMatch(message('secret: hunter2\nrules: []'), /hunter2/);
});

t.test('neither a prototype nor a billion laughs get in', async (t) => {
  t.match(message('__proto__: { port: 1 }\nrules: []'), /not a known key/);
  t.equal(({} as { port?: number }).port, undefined);
  const levels = Array.from(
    { length: 9 },
    (_, i) => `l${i + 1}: &l${i + 1} [${new Array(9).fill(`*l${i}`).join(', ')}]`,
  );
  t.match(message(`l0: &l0 [a, b]\n${levels.join('\n')}\nrules: []`), /aliases/);
});

t.test('dates and versions stay the text that they are', async (t) => {
  t.strictSame(loadYaml('until: 2027-01-01\nyes: no\nv: "1.2"', 'x').value, {
    until: '2027-01-01',
    yes: 'no',
    v: '1.2',
  });
});

t.test('a file is read, or said to be missing', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-yaml-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'c.yaml');
  t.throws(() => readYaml(path, Config), { code: 'E_NOT_FOUND', message: new RegExp(`no file ${path}`) });
  writeFileSync(path, 'rules: []');
  t.strictSame(readYaml(path, Config), { rules: [] });
  writeFileSync(path, `# ${'x'.repeat(1024 * 1024)}`);
  t.throws(() => readYaml(path, Config), { code: 'E_TOO_LARGE' });
});

t.test('a correction is offered only where it is likely', async (t) => {
  t.equal(nearest('stauts', ['status', 'submit']), 'status');
  t.equal(nearest('STATUS', ['status']), 'status');
  t.equal(nearest('x', ['status', 'submit']), undefined);
  t.equal(nearest('banana', ['status', 'submit']), undefined);
  t.equal(nearest('abc', []), undefined);
});
