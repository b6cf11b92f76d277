import t from 'tap';
import { toBase64Url, utf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { openToken, parseToken, signToken, tokenHash, verifyToken } from '#kernel/jws.ts';
import { assertStrongKey, generateKey, signerFrom } from '#kernel/sign.ts';
import { CLAIMS, type TokenType } from '#kernel/tokens/claims.ts';
import { newDelegation, newParty, newSigner, ticketClaims } from './parties.ts';

const party = newParty();
const dlg = tokenHash(newDelegation(party));
const good = signToken('farfield-ticket+jwt', ticketClaims(party, dlg), party.session);

/** A token with any header and payload, signed correctly. */
function forge(header: unknown, payload: unknown, signer = party.session): string {
  const text = (part: unknown): string => toBase64Url(utf8(typeof part === 'string' ? part : JSON.stringify(part)));
  const input = `${text(header)}.${text(payload)}`;
  return `${input}.${toBase64Url(signer.sign(input))}`;
}
const header = { alg: 'Ed25519', typ: 'farfield-ticket+jwt', kid: party.session.kid };

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (reason) {
    if (reason instanceof FarfieldError) return reason.code;
    throw reason;
  }
  return 'accepted';
}
const codeOfToken = (text: string): string => codeOf(() => openToken('farfield-ticket+jwt', text, party.session.jwk));

t.test('a token opens with the key that signed it, and its hash is that of its signing input', async (t) => {
  const token = openToken('farfield-ticket+jwt', good, party.session.jwk);
  t.equal(token.hash, tokenHash(good));
  t.equal(token.claims.aud, party.root.kid);
  t.equal(
    codeOf(() => verifyToken(token, newSigner().jwk)),
    'E_TOKEN_SIGNATURE',
  );
});

t.test('a header other than exactly {alg, typ, kid} is refused', async (t) => {
  const claims = ticketClaims(party, dlg);
  const cases: Record<string, unknown> = {
    'alg none': { ...header, alg: 'none' },
    'alg EdDSA': { ...header, alg: 'EdDSA' },
    'an embedded jwk': { ...header, jwk: party.session.jwk },
    'a jku': { ...header, jku: 'https://example.org' },
    crit: { ...header, crit: ['b64'], b64: false },
    'no kid': { alg: 'Ed25519', typ: header.typ },
    'no typ': { alg: 'Ed25519', kid: header.kid },
    'a kid that is no thumbprint': { ...header, kid: 'alice' },
    'a kid twice': `{"alg":"Ed25519","typ":"${header.typ}","kid":"${header.kid}","kid":"${header.kid}"}`,
    'no object': 'null',
  };
  for (const [name, bent] of Object.entries(cases)) t.equal(codeOfToken(forge(bent, claims)), 'E_TOKEN_HEADER', name);
});

t.test('a token of another type, an unknown or a reserved one, is refused in every place', async (t) => {
  for (const typ of Object.keys(CLAIMS) as TokenType[]) {
    if (typ === 'farfield-ticket+jwt') continue;
    t.equal(codeOfToken(forge({ ...header, typ }, ticketClaims(party, dlg))), 'E_TOKEN_TYP', typ);
    t.equal(
      codeOf(() => parseToken(typ, good)),
      'E_TOKEN_TYP',
      `a ticket as ${typ}`,
    );
  }
  t.equal(codeOfToken(forge({ ...header, typ: 'JWT' }, {})), 'E_TOKEN_TYP');
  t.equal(codeOfToken(forge({ ...header, typ: 'farfield-revocation+jwt' }, {})), 'E_TOKEN_RESERVED');
});

t.test('claims are closed: an unknown claim is refused, a reserved one is called reserved', async (t) => {
  const claims = ticketClaims(party, dlg);
  t.equal(codeOfToken(forge(header, { ...claims, extra: 1 })), 'E_TOKEN_CLAIMS');
  t.equal(codeOfToken(forge(header, { ...claims, aud: [claims.aud, 'other'] })), 'E_TOKEN_CLAIMS', 'aud as a list');
  t.equal(codeOfToken(forge(header, { ...claims, v: 2 })), 'E_TOKEN_CLAIMS', 'another version');
  for (const name of Object.keys(claims)) {
    const without: Record<string, unknown> = { ...claims };
    delete without[name];
    t.equal(codeOfToken(forge(header, without)), 'E_TOKEN_CLAIMS', `without ${name}`);
  }
  t.equal(codeOfToken(forge(header, { ...claims, lbl: 'x' })), 'E_TOKEN_RESERVED');
  t.equal(codeOfToken(forge(header, { ...claims, net: 'host' })), 'E_TOKEN_RESERVED');
  t.equal(codeOfToken(forge(header, { ...claims, out: { ...claims.out, enc: {} } })), 'E_TOKEN_RESERVED');
  t.equal(codeOfToken(forge(header, { ...claims, args: [{ ...claims.args[0], enc: {} }] })), 'E_TOKEN_RESERVED');
});

t.test('an issuer other than the key in the header is refused', async (t) => {
  t.equal(codeOfToken(forge(header, { ...ticketClaims(party, dlg), iss: newSigner().kid })), 'E_TOKEN_CLAIMS');
});

t.test('every changed character of a token is refused', async (t) => {
  const accepted: number[] = [];
  for (let k = 0; k < good.length; k += 1) {
    const other = good[k] === 'A' ? 'B' : 'A';
    if (codeOfToken(good.slice(0, k) + other + good.slice(k + 1)) === 'accepted') accepted.push(k);
  }
  t.same(accepted, []);
});

t.test('the same signature in another spelling is refused', async (t) => {
  // 64 bytes leave two unused bits in the last character: three more spellings decode to the same bytes.
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const last = alphabet.indexOf(good.at(-1) ?? '');
  for (let bits = 1; bits < 4; bits += 1) {
    const twin = good.slice(0, -1) + (alphabet[(last & ~3) | ((last + bits) & 3)] ?? '');
    t.not(twin, good);
    t.same(
      Buffer.from(twin.split('.')[2] ?? '', 'base64url'),
      Buffer.from(good.split('.')[2] ?? '', 'base64url'),
      'the same bytes',
    );
    t.equal(codeOfToken(twin), 'E_TOKEN_FORM');
  }
  for (const bent of [
    `${good}=`,
    `${good}.`,
    `.${good}`,
    good.replace('.', '..'),
    `${good}\n`,
    '',
    '..',
    good.replaceAll('_', '/'),
  ]) {
    if (bent !== good) t.equal(codeOfToken(bent), 'E_TOKEN_FORM', bent.slice(-20));
  }
});

t.test('a token over its size is refused before it is parsed, and cannot be signed', async (t) => {
  t.equal(codeOfToken('a'.repeat(16 * 1024 + 1)), 'E_TOKEN_SIZE');
  const args = Array.from({ length: 16 }, (_, k) => ({
    name: `a${k}`,
    type: 'npy' as const,
    at: 'endpoint' as const,
    path: `/${'x'.repeat(2000)}`,
  }));
  t.equal(
    codeOf(() => signToken('farfield-ticket+jwt', ticketClaims(party, dlg, { args }), party.session)),
    'E_TOKEN_SIZE',
  );
});

const P = 2n ** 255n - 19n;
const D = (-121665n * power(121666n, P - 2n)) % P;

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  let square = ((base % P) + P) % P;
  for (let e = exponent; e > 0n; e >>= 1n) {
    if (e & 1n) result = (result * square) % P;
    square = (square * square) % P;
  }
  return result;
}

/** Points (x, y) on the curve with this y. */
function pointsAt(y: bigint): [bigint, bigint][] {
  const x2 = ((y * y - 1n) * power(D * y * y + 1n, P - 2n)) % P;
  let x = power(x2, (P + 3n) / 8n);
  if ((x * x - x2) % P !== 0n) x = (x * power(2n, (P - 1n) / 4n)) % P;
  return (x * x - x2) % P === 0n
    ? [
        [x, y],
        [P - x, y],
      ]
    : [];
}

function double([x, y]: [bigint, bigint]): [bigint, bigint] {
  const k = (D * x * x * y * y) % P;
  const mod = (n: bigint): bigint => ((n % P) + P) % P;
  return [mod(2n * x * y * power(1n + k, P - 2n)), mod((y * y + x * x) * power(1n - k, P - 2n))];
}

const jwkOf = (y: bigint, sign: number): { kty: 'OKP'; crv: 'Ed25519'; x: string } => {
  const bytes = Buffer.from(y.toString(16).padStart(64, '0'), 'hex').reverse();
  bytes[31] = (bytes[31] ?? 0) | (sign << 7);
  return { kty: 'OKP', crv: 'Ed25519', x: bytes.toString('base64url') };
};

t.test('every key of small order, and every second spelling of a key, is refused', async (t) => {
  const eighth = 0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n;
  const small = [0n, 1n, P - 1n, eighth, P - eighth];
  for (const y of small) {
    t.ok(pointsAt(y).length > 0, 'it is on the curve');
    for (const point of pointsAt(y))
      t.same(double(double(double(point))), [0n, 1n], `8 times (.., ${y}) is the identity`);
    for (const sign of [0, 1]) t.throws(() => assertStrongKey(jwkOf(y, sign)), { code: 'E_KEY_WEAK' });
  }
  for (let y = P; y < 2n ** 255n; y += 1n)
    t.throws(() => assertStrongKey(jwkOf(y, 0)), { code: 'E_KEY_WEAK' }, 'not canonical');
  t.throws(() => assertStrongKey({ kty: 'OKP', crv: 'Ed25519', x: 'AAAA' }), { code: 'E_KEY_WEAK' });
  for (let k = 0; k < 50; k += 1) assertStrongKey(newSigner().jwk);
});

t.test('the all-purpose signature under the identity point does not verify', async (t) => {
  // R = identity, S = 0 satisfies S*B = R + h*A for every message when A is the identity: Node alone accepts it.
  const identity = jwkOf(1n, 0);
  const signature = Buffer.alloc(64);
  signature[0] = 1;
  const input = `${toBase64Url(utf8(JSON.stringify({ ...header, kid: party.session.kid })))}.${good.split('.')[1]}`;
  t.equal(
    codeOf(() => openToken('farfield-ticket+jwt', `${input}.${toBase64Url(signature)}`, identity)),
    'E_KEY_WEAK',
  );
});

t.test('the id of a key is never read as an option', async (t) => {
  const ids = Array.from({ length: 500 }, () => signerFrom(generateKey()).kid);
  t.strictSame(
    ids.filter((id) => id.startsWith('-')),
    [],
  );
});
