/**
 * The vectors that every implementation of the tokens must reproduce, byte for byte. Keys are made from fixed seeds and
 * Ed25519 is deterministic, so the file is a function of this code: `vectors.test.ts` compares, `main.ts` writes.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { sha256, toBase64Url, utf8 } from '#kernel/bytes.ts';
import { openChain } from '#kernel/chain.ts';
import { digestOf, ticketId } from '#kernel/ids.ts';
import { itemsRoot, leafHash, leafList } from '#kernel/items.ts';
import { type Signer, signerFrom, signToken, tokenHash } from '#kernel/jws.ts';
import { detailBytes, type Leaf, merkleRoot, packToJson, receiptLeaf, STATUS_CODES, sealPack } from '#kernel/receipts.ts';
import type { Claims, TokenType } from '#kernel/tokens/claims.ts';
import { signManifest } from '#kernel/tokens/manifest.ts';

/** PKCS8 around a 32-byte Ed25519 seed. */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

function keyOf(seed: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: 'der', type: 'pkcs8' });
}

const seeds = Object.fromEntries(
  ['principal', 'session', 'publisher', 'reviewer', 'issuer', 'root', 'online'].map((name) => [
    name,
    Buffer.from(sha256(`farfield/vectors/${name}`)),
  ]),
);

/** The signer of a name in the vectors. */
export function vectorSigner(name: string): Signer {
  const seed = seeds[name];
  if (seed === undefined) throw new RangeError(`no key ${name}`);
  return signerFrom(keyOf(seed));
}

const NOW = 1_800_000_000;
const JTI = '0199a0b0-0000-7000-8000-000000000001';
const [principal, session, publisher, reviewer, issuer, root, online] = Object.keys(seeds).map(vectorSigner) as [
  Signer,
  Signer,
  Signer,
  Signer,
  Signer,
  Signer,
  Signer,
];

const manifestClaims: Claims<'farfield-manifest+jws'> = {
  v: 1,
  name: 'peaks/braggnn',
  version: '1.2.0',
  kind: 'model',
  adapter: 'ort',
  description: 'Peak positions – sub-pixel',
  args: [{ name: 'patches', types: ['npy', 'hdf5'] }],
  models: [{ name: 'braggnn', digest: `oms1:${'ab'.repeat(32)}` }],
  variants: [{ name: 'cpu', runtimes: ['process', 'apptainer'] }],
};
const manifestDigest = digestOf(JSON.stringify(manifestClaims));

const items = [
  '{"args":[{"name":"patches","type":"npy","at":"inline","digest":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":1}]}',
  '{"args":[],"seed":7}',
  '{ "args": [], "seed": 8 }',
].map(utf8);
const leaves = leafList(
  items.map((item) => item.byteLength),
  Buffer.concat(items),
);

const delegation = signToken(
  'farfield-delegation+jwt',
  {
    v: 1,
    iss: principal.kid,
    jwk: principal.jwk,
    sub: { iss: 'pin', id: 'alice' },
    cnf: session.jwk,
    use: 'session',
    iat: NOW - 3600,
    exp: NOW + 3600,
    adm: NOW + 3600,
    scope: { endpoints: [root.kid], functions: ['peaks/*'], define: false },
  },
  principal,
);

const ticketCommon = {
  v: 1 as const,
  iss: session.kid,
  sub: { iss: 'pin', id: 'alice' },
  dlg: tokenHash(delegation),
  aud: root.kid,
  jti: JTI,
  iat: NOW,
  exp: NOW + 3600,
  fn: { name: 'peaks/braggnn', version: '1.2.0', manifest: manifestDigest },
  mdl: manifestClaims.models,
  res: { nodes: 1, cpusPerNode: 4, gpusPerNode: 0, memMiBPerNode: 4096, wallS: 600 },
  run: { maxFailures: 3, maxStarts: 8, timeoutS: 300, seed: 1, uncertainty: { method: 'l2' as const, samples: 8, level: 0.9 } },
  out: { maxBytes: 1_048_576, to: 'return' as const },
};

const ticket = signToken(
  'farfield-ticket+jwt',
  { ...ticketCommon, args: [{ name: 'patches', type: 'npy', at: 'inline', digest: digestOf('x'), size: 1 }] },
  session,
);
const batch = signToken(
  'farfield-batch+jwt',
  { ...ticketCommon, itm: { kind: 'list1', n: items.length, sha256: itemsRoot(leaves) } },
  session,
);

const others: { [K in TokenType]?: { claims: Claims<K>; by: string } } = {
  'farfield-credential+jwt': {
    claims: {
      v: 1,
      iss: issuer.kid,
      sub: { iss: 'campus', id: 'alice' },
      cnf: { jkt: principal.kid },
      grp: ['materials'],
      iat: NOW,
      exp: NOW + 86400,
    },
    by: 'issuer',
  },
  'farfield-cancel+jwt': {
    claims: {
      v: 1,
      iss: session.kid,
      dlg: tokenHash(delegation),
      aud: root.kid,
      jti: JTI,
      iat: NOW,
      exp: NOW + 300,
      target: { principal: principal.kid, jti: JTI, items: 'all', tkt: tokenHash(ticket) },
    },
    by: 'session',
  },
  'farfield-endpoint+jwt': {
    claims: { v: 1, iss: root.kid, jwk: root.jwk, name: 'Site A', seq: 1, sign: online.jwk, iat: NOW, exp: NOW + 86400 },
    by: 'root',
  },
  'farfield-status+jwt': {
    claims: {
      v: 1,
      iss: online.kid,
      endpoint: root.kid,
      iat: NOW,
      policy: digestOf('rules: []'),
      ledgerEpoch: { n: 1, since: NOW - 60 },
      tokens: [1],
      runtimes: ['process'],
      state: 'open',
    },
    by: 'online',
  },
  'farfield-hello+jwt': {
    claims: {
      v: 1,
      iss: online.kid,
      sub: root.kid,
      aud: issuer.kid,
      nonce: 'AAAAAAAAAAAAAAAAAAAAAA',
      ownNonce: 'BBBBBBBBBBBBBBBBBBBBBB',
      protocol: { min: 1, max: 1 },
      sessionEpoch: 0,
      iat: NOW,
      exp: NOW + 60,
    },
    by: 'online',
  },
  'farfield-request+jwt': {
    claims: {
      v: 1,
      iss: principal.kid,
      aud: issuer.kid,
      method: 'POST',
      url: '/v1/invocations?a=b',
      body: digestOf(''),
      jti: JTI,
      iat: NOW,
      exp: NOW + 60,
    },
    by: 'principal',
  },
  'farfield-receipt+jwt': {
    claims: {
      v: 1,
      iss: online.kid,
      endpoint: root.kid,
      i: 0,
      tkt: tokenHash(ticket),
      att: 0,
      st: 'refused',
      err: { code: 'E_UNTRUSTED', message: 'this endpoint does not know the key' },
      iat: NOW,
      meas: {},
    },
    by: 'online',
  },
  'farfield-access+jwt': {
    claims: {
      v: 1,
      iss: session.kid,
      sub: { iss: 'pin', id: 'alice' },
      dlg: tokenHash(delegation),
      aud: root.kid,
      jti: JTI,
      iat: NOW,
      exp: NOW + 300,
      ask: { op: 'request', functions: ['peaks/braggnn'], reason: 'beamtime in May', forS: 30 * 86400 },
    },
    by: 'session',
  },
  'farfield-access-answer+jwt': {
    claims: {
      v: 1,
      iss: online.kid,
      endpoint: root.kid,
      aud: principal.kid,
      req: digestOf('farfield-access+jwt'),
      iat: NOW,
      entries: [{ id: 'r-0123456789ab', state: 'waiting', at: NOW }],
    },
    by: 'online',
  },
  'farfield-block+jwt': {
    claims: { v: 1, iss: online.kid, block: 'b1', life: 0, jti: JTI, iat: NOW, exp: NOW + 600 },
    by: 'online',
  },
};

/** A signed text with any header and payload: what a stranger may send. */
function forge(header: string | object, payload: string | object, signer: Signer): string {
  const part = (value: string | object): string => toBase64Url(utf8(typeof value === 'string' ? value : JSON.stringify(value)));
  const input = `${part(header)}.${part(payload)}`;
  return `${input}.${toBase64Url(signer.sign(input))}`;
}

function refusedTokens(): { name: string; text: string; code: string }[] {
  const typ = 'farfield-ticket+jwt';
  const header = { alg: 'Ed25519', typ, kid: session.kid };
  const claims = JSON.parse(Buffer.from(ticket.split('.')[1] ?? '', 'base64url').toString()) as Claims<typeof typ>;
  const twice = JSON.stringify(claims).replace('"aud":', `"aud":"${online.kid}","aud":`);
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  // 64 bytes leave two bits of the last character unused: this one decodes to the same signature.
  const twin = `${ticket.slice(0, -1)}${alphabet[alphabet.indexOf(ticket.at(-1) ?? '') ^ 1]}`;
  return [
    { name: 'alg EdDSA', text: forge({ ...header, alg: 'EdDSA' }, claims, session), code: 'E_TOKEN_HEADER' },
    { name: 'alg none', text: forge({ ...header, alg: 'none' }, claims, session), code: 'E_TOKEN_HEADER' },
    { name: 'no kid', text: forge({ alg: 'Ed25519', typ }, claims, session), code: 'E_TOKEN_HEADER' },
    { name: 'embedded jwk', text: forge({ ...header, jwk: session.jwk }, claims, session), code: 'E_TOKEN_HEADER' },
    { name: 'another typ', text: delegation, code: 'E_TOKEN_TYP' },
    { name: 'reserved typ', text: forge({ ...header, typ: 'farfield-revocation+jwt' }, {}, session), code: 'E_TOKEN_RESERVED' },
    { name: 'aud a list', text: forge(header, { ...claims, aud: [claims.aud] }, session), code: 'E_TOKEN_CLAIMS' },
    { name: 'an unknown claim', text: forge(header, { ...claims, x: 1 }, session), code: 'E_TOKEN_CLAIMS' },
    { name: 'a reserved claim', text: forge(header, { ...claims, net: 'host' }, session), code: 'E_TOKEN_RESERVED' },
    { name: 'a reserved member', text: forge(header, { ...claims, out: { ...claims.out, enc: {} } }, session), code: 'E_TOKEN_RESERVED' },
    { name: 'a key twice', text: forge(header, twice, session), code: 'E_TOKEN_FORM' },
    { name: 'signature in another spelling', text: twin, code: 'E_TOKEN_FORM' },
    { name: 'padding', text: `${ticket}==`, code: 'E_TOKEN_FORM' },
    { name: 'signed by another key', text: forge(header, claims, online), code: 'E_TOKEN_SIGNATURE' },
  ];
}

function receiptVectors(): object {
  const leaf = (i: number, status: number, result: string): Leaf => ({
    principal: principal.kid,
    jti: JTI,
    i,
    ticketHash: tokenHash(batch),
    attempt: 1,
    status,
    resultDigest: result === '' ? new Uint8Array(32) : sha256(result),
    detailDigest: sha256('{"res":{"type":"json","at":"inline"}}'),
    meas: 0,
  });
  const leafHashes = [leaf(0, STATUS_CODES.succeeded, '[1]'), leaf(1, STATUS_CODES.failed, ''), leaf(2, STATUS_CODES.cancelled, '')].map(receiptLeaf);
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  const pack = sealPack(
    {
      principal: principal.kid,
      tickets: [
        {
          id: ticketId(principal.kid, JTI),
          jti: JTI,
          ticketHash: tokenHash(batch),
          items: [0, 2],
          attempts: [1, 2],
          statuses: Uint8Array.of(STATUS_CODES.succeeded, STATUS_CODES.failed),
          detail: [0, 1],
          meas: [0, 0],
          resultDigests: Buffer.concat([sha256('[1]'), new Uint8Array(32)]),
          resultSizes: [3, 0],
          results: utf8('[1]'),
        },
      ],
      details: [detailBytes({ res: { type: 'json', at: 'inline' } }), detailBytes({ err: { code: 'E_FUNCTION', message: 'no' } })],
    },
    [{ runtime: 'process', policy: digestOf('rules: []'), ms: { run: 1.5 } }],
    root.kid,
    NOW,
    online,
  );
  return {
    leaves: leafHashes.map(hex),
    roots: [1, 2, 3].map((n) => hex(merkleRoot(leafHashes.slice(0, n)))),
    pack: packToJson(pack),
    expect: { endpoint: root.kid, onlineKey: online.jwk, principal: principal.kid },
  };
}

/** The whole file, as a value. */
export function buildVectors(): object {
  const token = (typ: TokenType, text: string, by: string): object => ({
    typ,
    by,
    text,
    hash: tokenHash(text),
    claims: JSON.parse(Buffer.from(text.split('.')[1] ?? '', 'base64url').toString()) as unknown,
  });
  const rest = Object.entries(others).map(([typ, { claims, by }]) =>
    token(typ as TokenType, signToken(typ as TokenType, claims as Claims<TokenType>, vectorSigner(by)), by),
  );
  return {
    about: 'Farfield token vectors. Keys are for tests only. Written by test/vectors/main.ts.',
    keys: Object.entries(seeds).map(([name, seed]) => ({ name, seed: seed.toString('hex'), jwk: vectorSigner(name).jwk, kid: vectorSigner(name).kid })),
    tokens: [
      token('farfield-delegation+jwt', delegation, 'principal'),
      token('farfield-ticket+jwt', ticket, 'session'),
      token('farfield-batch+jwt', batch, 'session'),
      ...rest,
    ],
    chain: { links: [delegation], principal: principal.kid, digest: openChain([delegation]).digest },
    ticketId: { principal: principal.kid, jti: JTI, id: ticketId(principal.kid, JTI) },
    items: {
      bytes: items.map((item) => Buffer.from(item).toString('base64')),
      leaves: items.map((item, i) => Buffer.from(leafHash(i, item)).toString('hex')),
      root: itemsRoot(leaves),
    },
    manifest: { text: signManifest(manifestClaims, [publisher, reviewer]), digest: manifestDigest, by: ['publisher', 'reviewer'] },
    receipts: receiptVectors(),
    refused: refusedTokens(),
  };
}
