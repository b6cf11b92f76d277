import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { createKeyFile, loadSigner } from '#base/keys.ts';
import { thumbprint } from '#kernel/ids.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-keys-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

t.test('a key that was made is the key that is loaded', async (t) => {
  const path = join(folder, 'a.pem');
  const made = createKeyFile(path);
  const loaded = loadSigner(path);
  t.equal(loaded.kid, made.kid);
  t.equal(loaded.kid, thumbprint(loaded.jwk));
  t.strictSame(Buffer.from(loaded.sign('x')), Buffer.from(made.sign('x')));
  t.equal(statSync(path).mode & 0o777, 0o600);
});

t.test('a key is never overwritten', async (t) => {
  const path = join(folder, 'b.pem');
  createKeyFile(path);
  const before = readFileSync(path, 'utf8');
  t.throws(() => createKeyFile(path), { code: 'E_CONFLICT' });
  t.equal(readFileSync(path, 'utf8'), before);
});

t.test(
  'no key, an open key, no PEM and another kind of key are refused, without a word of what is in the file',
  async (t) => {
    const path = join(folder, 'c.pem');
    t.throws(() => loadSigner(path), { code: 'E_NOT_FOUND' });
    writeFileSync(path, 'nothing secret here, sk-12345', { mode: 0o600 });
    t.throws(() => loadSigner(path), { code: 'E_BAD_REQUEST', message: /no private key/ });
    t.notMatch(String(t.throws(() => loadSigner(path))), /12345/);
    writeFileSync(
      path,
      generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
    );
    t.throws(() => loadSigner(path), { code: 'E_BAD_REQUEST', message: /type ec; .*Ed25519/ });
    createKeyFile(join(folder, 'd.pem'));
    chmodSync(join(folder, 'd.pem'), 0o644);
    t.throws(() => loadSigner(join(folder, 'd.pem')), { code: 'E_FORBIDDEN' });
  },
);
