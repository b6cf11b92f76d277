import { readFileSync } from 'node:fs';
import { calculateJwkThumbprint, compactVerify, CompactSign, generalVerify, importJWK, jwtVerify } from 'jose';
import t from 'tap';
import { FarfieldError } from '#kernel/errors.ts';
import { type PublicJwk, thumbprint } from '#kernel/ids.ts';
import { openToken, parseToken, readClaims } from '#kernel/jws.ts';
import { openPack, packFromJson } from '#kernel/receipts.ts';
import { CLAIMS, type TokenType } from '#kernel/tokens/claims.ts';
import { openManifest } from '#kernel/tokens/manifest.ts';
import { buildVectors } from './vectors.ts';

interface Vectors {
  readonly keys: { name: string; seed: string; jwk: PublicJwk; kid: string }[];
  readonly tokens: { typ: TokenType; by: string; text: string; hash: string; claims: Record<string, unknown> }[];
  readonly manifest: { text: string; digest: string; by: string[] };
  readonly receipts: { pack: unknown; expect: { endpoint: string; onlineKey: PublicJwk; principal: string } };
  readonly refused: { name: string; text: string; code: string }[];
}

const vectors = JSON.parse(readFileSync(new URL('./vectors.json', import.meta.url), 'utf8')) as Vectors;
const keyNamed = (name: string): Vectors['keys'][number] => {
  const key = vectors.keys.find((k) => k.name === name);
  if (key === undefined) throw new RangeError(name);
  return key;
};

t.test('the vectors are what this code makes: a change of a format shows here first', async (t) => {
  t.same(vectors, JSON.parse(JSON.stringify(buildVectors())));
});

t.test('jose finds the same thumbprints', async (t) => {
  for (const { jwk, kid } of vectors.keys) {
    t.equal(await calculateJwkThumbprint(jwk), kid);
    t.equal(thumbprint(jwk), kid);
  }
});

t.test('every token opens here and verifies with jose, with the same claims', async (t) => {
  for (const { typ, by, text, hash, claims } of vectors.tokens) {
    const { jwk } = keyNamed(by);
    const token = openToken(typ, text, jwk);
    t.same(token.claims, claims, typ);
    t.equal(token.hash, hash);
    const { payload, protectedHeader } = await jwtVerify(text, await importJWK(jwk, 'Ed25519'), {
      algorithms: ['Ed25519'],
      typ,
      currentDate: new Date(1_800_000_000_000),
    });
    t.same(payload, claims);
    t.same(protectedHeader, { alg: 'Ed25519', typ, kid: keyNamed(by).kid });
  }
});

t.test('there is a vector of every token type', async (t) => {
  const here = new Set<string>([...vectors.tokens.map((token) => token.typ), 'farfield-manifest+jws', 'farfield-receipts+jwt']);
  t.same([...here].sort(), Object.keys(CLAIMS).sort());
});

t.test('what jose signs, opens here, and is the same text', async (t) => {
  for (const { typ, by, text, claims } of vectors.tokens) {
    const { jwk, seed, kid } = keyNamed(by);
    const key = await importJWK({ ...jwk, d: Buffer.from(seed, 'hex').toString('base64url') }, 'Ed25519');
    const signed = await new CompactSign(Buffer.from(JSON.stringify(claims))).setProtectedHeader({ alg: 'Ed25519', typ, kid }).sign(key);
    t.equal(signed, text);
    // Another order of header members is as good: the bytes that were signed decide.
    const other = await new CompactSign(Buffer.from(JSON.stringify(claims))).setProtectedHeader({ kid, typ, alg: 'Ed25519' }).sign(key);
    t.same(openToken(typ, other, jwk).claims, claims);
  }
});

t.test('a manifest verifies with jose under each of its keys', async (t) => {
  const { text, digest, by } = vectors.manifest;
  for (const name of by) {
    const key = await importJWK(keyNamed(name).jwk, 'Ed25519');
    const { payload } = await generalVerify(JSON.parse(text), key, { algorithms: ['Ed25519'] });
    t.same(JSON.parse(Buffer.from(payload).toString()), readClaims('farfield-manifest+jws', JSON.parse(Buffer.from(payload).toString())));
  }
  const opened = openManifest(text, by.map((name) => keyNamed(name).jwk));
  t.same(opened.signedBy, by.map((name) => keyNamed(name).kid));
  t.equal(opened.digest, digest);
});

t.test('the pack opens, and its token verifies with jose', async (t) => {
  const { pack, expect } = vectors.receipts;
  const opened = openPack(packFromJson(pack), expect);
  t.same([...opened].map((item) => [item.i, item.status, item.result === undefined ? '' : Buffer.from(item.result).toString()]), [[0, 'succeeded', '[1]'], [2, 'failed', '']]);
  await compactVerify(opened.token.text, await importJWK(expect.onlineKey, 'Ed25519'), { algorithms: ['Ed25519'] });
  t.pass();
});

t.test('every refused vector is refused with its code', async (t) => {
  const { jwk } = keyNamed('session');
  for (const { name, text, code } of vectors.refused) {
    let found = 'accepted';
    try {
      openToken('farfield-ticket+jwt', text, jwk);
    } catch (reason) {
      found = FarfieldError.from(reason).code;
    }
    t.equal(found, code, name);
  }
  t.doesNotThrow(() => parseToken('farfield-ticket+jwt', vectors.tokens.find((token) => token.typ === 'farfield-ticket+jwt')?.text ?? ''));
});
