import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { placeOutput } from '../../../agent/blocks/outputs.ts';

function place(t: Tap): { root: string; allowed: string; other: string } {
  const root = mkdtempSync(join(tmpdir(), 'farfield-outputs-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  const [allowed, other] = [join(root, 'allowed'), join(root, 'other')];
  mkdirSync(allowed);
  mkdirSync(other);
  return { root, allowed, other };
}

interface Tap {
  teardown(fn: () => void): void;
}

const bytes = (text: string) => ({ bytes: Buffer.from(text) });

t.test('a result is put where the rule allows, whole, and over an older one', async (t) => {
  const { allowed } = place(t);
  const path = join(allowed, 'out.json');
  await placeOutput(path, bytes('one'), [`${allowed}/`]);
  await placeOutput(path, bytes('two'), [`${allowed}/`]);
  t.equal(readFileSync(path, 'utf8'), 'two');
  t.same(readdirSync(allowed), ['out.json'], 'nothing lies beside it');
});

t.test('a result that is a file is copied, and the spool keeps its own', async (t) => {
  const { allowed, other } = place(t);
  const kept = join(other, 'kept');
  writeFileSync(kept, 'large');
  await placeOutput(join(allowed, 'batch', '7'), { file: kept }, [`${allowed}/`]);
  t.equal(readFileSync(join(allowed, 'batch', '7'), 'utf8'), 'large', 'in the folder of its batch');
  t.equal(readFileSync(kept, 'utf8'), 'large');
});

t.test('a folder that is a link out of the rule’s folders takes nothing', async (t) => {
  const { allowed, other } = place(t);
  symlinkSync(other, join(allowed, 'link'));
  await t.rejects(placeOutput(join(allowed, 'link', 'x'), bytes('x'), [`${allowed}/`]), { code: 'E_PATH' });
  await t.rejects(placeOutput(join(allowed, 'link', 'new', 'x'), bytes('x'), [`${allowed}/`]), { code: 'E_PATH' });
  t.same(readdirSync(other), []);
});

t.test('a link in the place of the result is replaced, not followed', async (t) => {
  const { allowed, other } = place(t);
  const victim = join(other, 'victim');
  writeFileSync(victim, 'untouched');
  symlinkSync(victim, join(allowed, 'out'));
  await placeOutput(join(allowed, 'out'), bytes('x'), [`${allowed}/`]);
  t.equal(readFileSync(victim, 'utf8'), 'untouched');
  t.equal(readFileSync(join(allowed, 'out'), 'utf8'), 'x');
});

t.test('without a folder that the rule lets it write there is no place at all', async (t) => {
  const { allowed, other } = place(t);
  await t.rejects(placeOutput(join(allowed, 'x'), bytes('x'), []), { code: 'E_PATH' });
  await t.rejects(placeOutput(join(other, 'x'), bytes('x'), [`${allowed}/`]), { code: 'E_PATH' });
  await t.rejects(placeOutput(join(allowed, 'no', 'such', 'x'), bytes('x'), [`${allowed}/`]), { code: 'E_PATH' });
});
