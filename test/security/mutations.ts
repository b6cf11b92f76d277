/**
 * Every way to bend a JSON value, and every way to put a signature under it.
 *
 * The walker knows nothing of tokens: a claim that is added tomorrow is bent tomorrow, without a change here.
 */
import { type Signer, signerFrom } from '#kernel/jws.ts';
import { generateKey } from '#kernel/sign.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface Mutation {
  /** Where, as `res.nodes` or `args[0].digest`. */
  readonly path: string;
  readonly how: string;
  readonly value: Json;
}

export const isObject = (value: Json): value is { readonly [key: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** One character changed to another of its class, so that patterns of digests, ids and names still match. */
export function changedText(text: string): string {
  const at = Math.floor(text.length * 0.7);
  const old = text[at] ?? '';
  const other = (first: string, second: string): string => (old === first ? second : first);
  const next = /\d/.test(old) ? String((Number(old) + 1) % 10) : /[a-z]/.test(old) ? other('a', 'b') : other('B', 'C');
  return text.slice(0, at) + next + text.slice(at + 1);
}

function* ofString(value: string): Generator<[string, Json]> {
  yield ['changed', changedText(value)];
  yield ['longer', `${value}a`];
  yield ['upper case', value.toUpperCase()];
  yield ['emptied', ''];
  yield ['a list', [value]];
  yield ['a number', 1];
}

function* ofNumber(value: number): Generator<[string, Json]> {
  for (const [how, next] of [
    ['one more', value + 1],
    ['one less', value - 1],
    ['zero', 0],
    ['huge', 2 ** 40],
    ['a fraction', value + 0.5],
  ] as const) {
    yield [how, next];
  }
  yield ['a text', String(value)];
}

function* ofList(value: readonly Json[]): Generator<[string, Json]> {
  yield ['emptied', []];
  yield ['one missing', value.slice(1)];
  yield ['one twice', [...value, ...value.slice(0, 1)]];
  yield ['an extra', [...value, 'extra']];
  yield ['reversed', [...value].reverse()];
  yield ['a text', 'all'];
}

/** What may stand in the place of `value`, itself left out. */
function* instead(value: Json): Generator<[string, Json]> {
  if (value !== null) yield ['null', null];
  if (typeof value === 'string') yield* ofString(value);
  else if (typeof value === 'number') yield* ofNumber(value);
  else if (typeof value === 'boolean') yield ['negated', !value];
  else if (Array.isArray(value)) yield* ofList(value);
  else if (isObject(value)) {
    yield ['emptied', {}];
    yield ['an extra member', { ...value, extra: 1 }];
    yield ['a list', [value]];
  }
}

/** Every single change of `value`: at itself, then in each of its members. */
export function* mutations(value: Json, path = ''): Generator<Mutation> {
  const same = JSON.stringify(value);
  for (const [how, next] of instead(value)) {
    if (JSON.stringify(next) !== same) yield { path, how, value: next };
  }
  if (Array.isArray(value)) {
    for (const [k, member] of value.entries()) {
      for (const inner of mutations(member, `${path}[${k}]`)) yield { ...inner, value: value.with(k, inner.value) };
    }
  } else if (isObject(value)) {
    for (const [key, member] of Object.entries(value)) {
      const at = path === '' ? key : `${path}.${key}`;
      const { [key]: _gone, ...rest } = value;
      yield { path: at, how: 'removed', value: rest };
      for (const inner of mutations(member, at)) yield { ...inner, value: { ...value, [key]: inner.value } };
    }
  }
}

export interface Parts {
  readonly header: Json;
  readonly claims: Json;
  readonly signature: string;
}

const encode = (value: Json): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const decode = (text: string): Json => JSON.parse(Buffer.from(text, 'base64url').toString()) as Json;

export function takeApart(token: string): Parts {
  const [header = '', claims = '', signature = ''] = token.split('.');
  return { header: decode(header), claims: decode(claims), signature };
}

export interface Forger {
  readonly name: string;
  /** The text of a token with these parts. */
  forge(parts: Parts): string;
}

export const attacker: Signer = signerFrom(generateKey());

const signed = (header: Json, claims: Json, signer: Signer): string => {
  const input = `${encode(header)}.${encode(claims)}`;
  return `${input}.${Buffer.from(signer.sign(input)).toString('base64url')}`;
};

/** Signs in the attacker's own name: key id and issuer are the attacker's wherever the claims name one. */
export function inOwnName({ header, claims }: Parts, signer: Signer = attacker): string {
  const own = isObject(header) ? { ...header, kid: signer.kid } : header;
  const by = isObject(claims) && 'iss' in claims ? { ...claims, iss: signer.kid } : claims;
  return signed(own, by, signer);
}

/** Everything that whoever carries a token can put under it; `others` are good keys in a role that is not theirs. */
export function forgers(others: Readonly<Record<string, Signer>> = {}): Forger[] {
  return [
    {
      name: 'the old signature',
      forge: ({ header, claims, signature }) => `${encode(header)}.${encode(claims)}.${signature}`,
    },
    { name: 'no signature', forge: ({ header, claims }) => `${encode(header)}.${encode(claims)}.` },
    { name: 'the attacker under the old name', forge: ({ header, claims }) => signed(header, claims, attacker) },
    { name: 'the attacker', forge: (parts) => inOwnName(parts) },
    ...Object.entries(others).map(([name, signer]) => ({ name, forge: (parts: Parts) => inOwnName(parts, signer) })),
  ];
}

const HEADER_EXTRAS: readonly { readonly [key: string]: Json }[] = [
  { jwk: { kty: 'OKP', crv: 'Ed25519', x: attacker.jwk.x } },
  { jku: 'https://evil.example/keys' },
  { x5u: 'https://evil.example/cert' },
  { crit: ['b64'], b64: false },
  { alg: 'none' },
  { alg: 'EdDSA' },
  { alg: 'HS256' },
  { kid: '../../etc/passwd' },
  { typ: 'JWT' },
];

/** A header bent in every way, and the tricks that libraries fell for. */
export function* headerMutations(header: Json): Generator<Mutation> {
  yield* mutations(header);
  if (!isObject(header)) return;
  for (const extra of HEADER_EXTRAS) {
    const [name = ''] = Object.keys(extra);
    yield { path: name, how: `with ${JSON.stringify(extra).slice(0, 40)}`, value: { ...header, ...extra } };
  }
}

/** The same token in other letters, and tokens that are none. */
export function* textMutations(token: string): Generator<[string, string]> {
  const [header = '', claims = '', signature = ''] = token.split('.');
  const last = signature.at(-1) ?? 'A';
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const inner = Buffer.from(claims, 'base64url').toString();
  yield ['a last letter that decodes to the same bytes', token.slice(0, -1) + alphabet[alphabet.indexOf(last) ^ 1]];
  yield ['another signature', `${header}.${claims}.${changedText(signature)}`];
  yield ['padding', `${token}==`];
  yield ['a line break', `${token}\n`];
  yield ['a fourth part', `${token}.${signature}`];
  yield ['two parts', `${header}.${claims}`];
  yield [
    'claims with a member twice',
    `${header}.${Buffer.from(`{"aud":"x",${inner.slice(1)}`).toString('base64url')}.${signature}`,
  ];
  yield [
    'claims with a space',
    `${header}.${Buffer.from(inner.replace(':', ': ')).toString('base64url')}.${signature}`,
  ];
  yield ['a JSON serialization', JSON.stringify({ protected: header, payload: claims, signature })];
  yield ['nothing', ''];
  yield ['17 KiB', `${header}.${claims}${'A'.repeat(17 * 1024)}.${signature}`];
}
