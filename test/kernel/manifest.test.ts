import t from 'tap';
import { digestOf } from '#kernel/ids.ts';
import { addSignature, openManifest, signManifest } from '#kernel/tokens/manifest.ts';
import { manifestClaims, newSigner } from './parties.ts';

const [author, reviewer, stranger] = [newSigner(), newSigner(), newSigner()];
const text = signManifest(manifestClaims(), [author]);
const bend = (change: (value: Record<string, unknown>) => void): string => {
  const value = JSON.parse(text) as Record<string, unknown>;
  change(value);
  return JSON.stringify(value);
};
const first = (value: Record<string, unknown>): Record<string, unknown> =>
  (value['signatures'] as Record<string, unknown>[])[0] ?? {};

t.test('the digest is that of the payload: one more signature does not change it', async (t) => {
  const opened = openManifest(text, [author.jwk]);
  t.equal(opened.digest, digestOf(JSON.stringify(manifestClaims())));
  const both = openManifest(addSignature(text, reviewer), [author.jwk, reviewer.jwk]);
  t.equal(both.digest, opened.digest);
  t.same(both.signedBy, [author.kid, reviewer.kid]);
});

t.test('only signatures by the named keys count, and a broken one does not', async (t) => {
  t.same(openManifest(text, []).signedBy, []);
  t.same(openManifest(text, [stranger.jwk]).signedBy, []);
  const broken = bend((value) => {
    first(value)['signature'] = Buffer.alloc(64, 7).toString('base64url');
  });
  t.same(openManifest(broken, [author.jwk]).signedBy, []);
  const altered = bend((value) => {
    value['payload'] = Buffer.from(JSON.stringify(manifestClaims({ version: '9' }))).toString('base64url');
  });
  t.same(openManifest(altered, [author.jwk]).signedBy, [], 'altered code has no signer');
});

t.test('a manifest in any other form is refused', async (t) => {
  const header = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const good = { alg: 'Ed25519', typ: 'farfield-manifest+jws', kid: author.kid };
  const cases: [string, string, string][] = [
    ['an unprotected header', bend((v) => Object.assign(first(v), { header: { kid: author.kid } })), 'E_TOKEN_FORM'],
    ['a third member', bend((v) => Object.assign(v, { header: {} })), 'E_TOKEN_FORM'],
    ['no signature', bend((v) => Object.assign(v, { signatures: [] })), 'E_TOKEN_FORM'],
    ['nine signatures', bend((v) => Object.assign(v, { signatures: Array(9).fill(first(v)) })), 'E_TOKEN_FORM'],
    ['one key twice', bend((v) => Object.assign(v, { signatures: [first(v), first(v)] })), 'E_TOKEN_FORM'],
    [
      'another typ',
      bend((v) => Object.assign(first(v), { protected: header({ ...good, typ: 'farfield-ticket+jwt' }) })),
      'E_TOKEN_TYP',
    ],
    [
      'another alg',
      bend((v) => Object.assign(first(v), { protected: header({ ...good, alg: 'EdDSA' }) })),
      'E_TOKEN_HEADER',
    ],
    [
      'a payload in another spelling',
      bend((v) => Object.assign(v, { payload: `${String(v['payload'])}=` })),
      'E_TOKEN_FORM',
    ],
    [
      'an unknown claim',
      bend((v) => Object.assign(v, { payload: header({ ...manifestClaims(), x: 1 }) })),
      'E_TOKEN_CLAIMS',
    ],
    ['too long', text + ' '.repeat(64 * 1024), 'E_TOKEN_SIZE'],
    ['a compact token', 'a.b.c', 'E_TOKEN_FORM'],
  ];
  for (const [name, bent, code] of cases) t.throws(() => openManifest(bent, [author.jwk]), { code }, name);
  t.throws(() => signManifest(manifestClaims(), [author, author]), { code: 'E_TOKEN_FORM' });
});
