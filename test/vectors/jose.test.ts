/**
 * The 16 cases of a JWT library's defaults. jose is used as its documentation recommends, with every option that it has
 * for the purpose; five bad tickets pass it. Each bad ticket is refused by admission.
 */
import { createLocalJWKSet, jwtVerify } from 'jose';
import t from 'tap';
import { decideAdmission } from '#kernel/admission.ts';
import { toBase64Url, utf8 } from '#kernel/bytes.ts';
import { tokenHash } from '#kernel/jws.ts';
import { resolvePolicy } from '#kernel/policy/resolve.ts';
import { newDelegation, newParty, newSigner, NOW, ticketClaims } from '../kernel/parties.ts';

const party = newParty();
const link = newDelegation(party);
const claims = ticketClaims(party, tokenHash(link));
const header = { alg: 'Ed25519', typ: 'farfield-ticket+jwt', kid: party.session.kid };
const attacker = newSigner();

function sign(head: object, payload: object | string, signer = party.session): string {
  const part = (value: object | string): string => toBase64Url(utf8(typeof value === 'string' ? value : JSON.stringify(value)));
  const input = `${part(head)}.${part(payload)}`;
  return `${input}.${toBase64Url(signer.sign(input))}`;
}

function without(value: object, key: string): object {
  return Object.fromEntries(Object.entries(value).filter(([name]) => name !== key));
}

const good = sign(header, claims);
const spellings = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const twin = good.slice(0, -1) + (spellings[spellings.indexOf(good.at(-1) ?? '') ^ 1] ?? '');

/** Name, token, whether jose takes it, and what admission says. */
const CASES: [string, string, boolean, string][] = [
  ['the good token', good, true, 'admit'],
  ['wrong typ', sign({ ...header, typ: 'farfield-delegation+jwt' }, claims), false, 'form E_TOKEN_TYP'],
  ['no typ', sign(without(header, 'typ'), claims), false, 'form E_TOKEN_HEADER'],
  ['wrong kid', sign({ ...header, kid: attacker.kid }, claims), false, 'form E_TOKEN_CLAIMS'],
  ['wrong aud', sign(header, { ...claims, aud: attacker.kid }), false, 'audience E_AUDIENCE'],
  ['expired', sign(header, { ...claims, iat: NOW - 900, exp: NOW - 300 }), false, 'times E_EXPIRED'],
  ['no exp', sign(header, without(claims, 'exp')), false, 'form E_TOKEN_CLAIMS'],
  ['no jti', sign(header, without(claims, 'jti')), false, 'form E_TOKEN_CLAIMS'],
  ['iat ten minutes in the future', sign(header, { ...claims, iat: NOW + 600 }), false, 'times E_NOT_YET'],
  ['alg none', sign({ ...header, alg: 'none' }, claims), false, 'form E_TOKEN_HEADER'],
  [
    "the attacker's key embedded",
    sign({ ...header, kid: attacker.kid, jwk: attacker.jwk }, { ...claims, iss: attacker.kid }, attacker),
    false,
    'form E_TOKEN_HEADER',
  ],
  ['no kid', sign(without(header, 'kid'), claims), true, 'form E_TOKEN_HEADER'],
  ['aud a list that contains us', sign(header, { ...claims, aud: [claims.aud, attacker.kid] }), true, 'form E_TOKEN_CLAIMS'],
  ['exp ten years away', sign(header, { ...claims, exp: NOW + 3650 * 86400 }), true, 'times E_LIFE'],
  ['the same signature in another spelling', twin, true, 'form E_TOKEN_FORM'],
  ['a claim twice', sign(header, JSON.stringify(claims).replace('"aud":', `"aud":"${attacker.kid}","aud":`)), true, 'form E_TOKEN_FORM'],
];

async function joseTakes(text: string): Promise<boolean> {
  try {
    await jwtVerify(text, createLocalJWKSet({ keys: [{ ...party.session.jwk, kid: party.session.kid, alg: 'Ed25519' }] }), {
      algorithms: ['Ed25519'],
      typ: 'farfield-ticket+jwt',
      audience: party.root.kid,
      maxTokenAge: 3600,
      requiredClaims: ['jti', 'exp', 'iss'],
      clockTolerance: 60,
      currentDate: new Date(NOW * 1000),
    });
    return true;
  } catch {
    return false;
  }
}

function ours(text: string): string {
  const policy = resolvePolicy(
    {
      authorities: {
        pinned: [{ kid: party.principal.kid, name: 'alice', until: NOW + 86400 }],
        publishers: [{ name: 'hedm', jwks: [party.publisher.jwk] }],
      },
      rules: [{ name: 'r', who: { pin: 'alice' }, functions: { publisher: 'hedm' }, runtimes: ['process'] }],
    },
    new Uint8Array(0),
  );
  const admission = decideAdmission({
    ticket: text,
    chain: [link],
    manifest: party.manifest,
    policy,
    endpoint: party.root.kid,
    nowS: NOW,
    ledgerEpoch: { n: 1, since: 0 },
    known: () => undefined,
  });
  return admission.kind === 'refuse' ? `${admission.refusal.step} ${admission.refusal.code}` : admission.kind;
}

t.test('all 16 cases: what jose takes or refuses, and what admission says', async (t) => {
  t.equal(CASES.length, 16);
  for (const [name, text, jose, admission] of CASES) {
    t.equal(await joseTakes(text), jose, `${name}: jose`);
    t.equal(ours(text), admission, `${name}: admission`);
  }
});
