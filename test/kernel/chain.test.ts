import t from 'tap';
import { bindingRefusal, chainRefusal, createChainCache, openChain } from '#kernel/chain.ts';
import { parseToken, signToken, tokenHash } from '#kernel/jws.ts';
import type { Claims } from '#kernel/tokens/claims.ts';
import { delegationClaims, NOW, newDelegation, newJti, newParty, newSigner, ticketClaims } from './parties.ts';

const party = newParty();
type Delegation = Partial<Claims<'farfield-delegation+jwt'>>;
type Ticket = Partial<Claims<'farfield-ticket+jwt'>>;

const refuse = (delegation: Delegation, ticket: Ticket = {}, nowS = NOW): string | undefined => {
  const link = newDelegation(party, delegation);
  const chain = openChain([link]);
  const claims = ticketClaims(party, tokenHash(link), ticket);
  return chainRefusal(
    chain,
    parseToken('farfield-ticket+jwt', signToken('farfield-ticket+jwt', claims, party.session)),
    nowS,
    60,
  )?.code;
};

t.test('a delegation leads from the session key to the principal', async (t) => {
  const link = newDelegation(party);
  const chain = openChain([link]);
  t.equal(chain.principal, party.principal.kid);
  t.equal(chain.sessionKid, party.session.kid);
  t.equal(refuse({}), undefined);
});

t.test('a delegation that does not hold by itself is refused', async (t) => {
  const stranger = newSigner();
  const cases: [string, Delegation, string][] = [
    ['a key to itself', { cnf: party.principal.jwk }, 'E_CHAIN'],
    ['over before it begins', { exp: NOW - 7200, adm: NOW - 7200 }, 'E_CHAIN'],
    ['admission before signing ends', { adm: NOW }, 'E_CHAIN'],
    ['a session of 13 hours', { iat: NOW, exp: NOW + 13 * 3600, adm: NOW + 13 * 3600 }, 'E_LIFE'],
    ['waiting, for any endpoint', { adm: NOW + 7200 }, 'E_CHAIN'],
    [
      'waiting, for two endpoints',
      { adm: NOW + 7200, scope: { endpoints: [party.root.kid, stranger.kid] } },
      'E_CHAIN',
    ],
    ['the key of another', { jwk: stranger.jwk }, 'E_TOKEN_SIGNATURE'],
    ['a weak session key', { cnf: { kty: 'OKP', crv: 'Ed25519', x: `AQ${'A'.repeat(41)}` } }, 'E_KEY_WEAK'],
  ];
  for (const [name, changes, code] of cases) t.throws(() => openChain([newDelegation(party, changes)]), { code }, name);
  openChain([newDelegation(party, { adm: NOW + 7200, scope: { endpoints: [party.root.kid] } })]);
  openChain([newDelegation(party, { use: 'robot', exp: NOW + 90 * 86400, adm: NOW + 90 * 86400 })]);
});

t.test('a chain of no links, too many, or of something else is refused', async (t) => {
  const link = newDelegation(party);
  t.throws(() => openChain([]), { code: 'E_TOKEN_SIZE' });
  t.throws(() => openChain([link, link, link, link, link]), { code: 'E_TOKEN_SIZE' });
  t.throws(() => openChain([link, link, link]), { code: 'E_TOKEN_RESERVED' });
  t.throws(() => openChain([link, link]), { code: 'E_TOKEN_TYP' });
  t.throws(() => openChain([signToken('farfield-ticket+jwt', ticketClaims(party, tokenHash(link)), party.session)]), {
    code: 'E_TOKEN_TYP',
  });
});

t.test('a credential of another key or person is refused', async (t) => {
  const issuer = newSigner();
  const credential = (changes: Partial<Claims<'farfield-credential+jwt'>>): string =>
    signToken(
      'farfield-credential+jwt',
      {
        v: 1,
        iss: issuer.kid,
        sub: { iss: 'pin', id: 'alice' },
        cnf: { jkt: party.principal.kid },
        grp: [],
        iat: NOW,
        exp: NOW + 60,
        ...changes,
      },
      issuer,
    );
  const link = newDelegation(party);
  t.equal(openChain([link, credential({})]).credential?.claims.iss, issuer.kid);
  t.throws(() => openChain([link, credential({ cnf: { jkt: issuer.kid } })]), { code: 'E_CHAIN' });
  t.throws(
    () => openChain([link, credential({ sub: { iss: 'campus', id: 'alice' } })]),
    { code: 'E_CHAIN' },
    'equal id at two issuers',
  );
  t.not(openChain([link, credential({})]).digest, openChain([link]).digest);
});

t.test('a ticket is bound to its session key, its delegation and its person', async (t) => {
  const link = newDelegation(party);
  const chain = openChain([link]);
  const mine = ticketClaims(party, tokenHash(link));
  const refused = (claims: typeof mine, signer = party.session): string | undefined =>
    bindingRefusal(chain, parseToken('farfield-ticket+jwt', signToken('farfield-ticket+jwt', claims, signer)))?.code;
  t.equal(refused(mine), undefined);
  const other = newSigner();
  t.equal(refused({ ...mine, iss: other.kid }, other), 'E_CHAIN', 'another session key');
  t.equal(
    refused({ ...mine, dlg: tokenHash(newDelegation(party, { exp: NOW + 10, adm: NOW + 10 })) }),
    'E_CHAIN',
    'another delegation',
  );
  t.equal(refused({ ...mine, sub: { iss: 'pin', id: 'bob' } }), 'E_CHAIN', 'another person');
  // Mallory delegates to Alice's session key, to be credited with (or to change) Alice's work.
  const mallory = newSigner();
  const stolen = signToken(
    'farfield-delegation+jwt',
    { ...delegationClaims(party), iss: mallory.kid, jwk: mallory.jwk },
    mallory,
  );
  t.equal(
    bindingRefusal(
      openChain([stolen]),
      parseToken('farfield-ticket+jwt', signToken('farfield-ticket+jwt', mine, party.session)),
    )?.code,
    'E_CHAIN',
  );
});

t.test('a delegation is judged on this clock, and iat must lie inside it', async (t) => {
  const waiting = { adm: NOW + 86400, scope: { endpoints: [party.root.kid] } };
  t.equal(refuse({}, {}, NOW + 3600 + 60), undefined, 'within the tolerance');
  t.equal(refuse({}, {}, NOW + 3600 + 61), 'E_CHAIN_EXPIRED');
  t.equal(refuse(waiting, {}, NOW + 86400), undefined, 'queue-for');
  t.equal(refuse(waiting, {}, NOW + 86400 + 61), 'E_CHAIN_EXPIRED');
  t.equal(refuse(waiting, { iat: NOW + 3661 }, NOW + 7200), 'E_CHAIN_EXPIRED', 'signed after the key might sign');
  t.equal(refuse({}, { iat: NOW - 3661 }), 'E_CHAIN_EXPIRED', 'signed before the delegation');
  t.equal(refuse({}, {}, NOW - 3661), 'E_NOT_YET');
});

t.test('a delegation reaches only the endpoints and functions in its scope', async (t) => {
  t.equal(refuse({ scope: { endpoints: [party.root.kid], functions: ['peaks/*'] } }), undefined);
  t.equal(refuse({ scope: { endpoints: [newSigner().kid] } }), 'E_CHAIN_SCOPE');
  t.equal(refuse({ scope: { functions: ['other/*', 'peaks'] } }), 'E_CHAIN_SCOPE');
});

t.test('a cancel is signed under the principal that it cancels for', async (t) => {
  const link = newDelegation(party);
  const cancel = (principal: string): Claims<'farfield-cancel+jwt'> => ({
    v: 1,
    iss: party.session.kid,
    dlg: tokenHash(link),
    aud: party.root.kid,
    jti: newJti(),
    iat: NOW,
    exp: NOW + 60,
    target: { principal, jti: newJti(), items: 'all' },
  });
  const refused = (claims: Claims<'farfield-cancel+jwt'>): string | undefined =>
    chainRefusal(
      openChain([link]),
      parseToken('farfield-cancel+jwt', signToken('farfield-cancel+jwt', claims, party.session)),
      NOW,
      60,
    )?.code;
  t.equal(refused(cancel(party.principal.kid)), undefined);
  t.equal(refused(cancel(newSigner().kid)), 'E_FORBIDDEN');
});

t.test('the cache forgets the oldest, and never answers a broken signature with a good chain', async (t) => {
  const cache = createChainCache(2);
  const links = [0, 1, 2].map((k) => newDelegation(party, { exp: NOW + k, adm: NOW + k }));
  const opened = links.map((link) => cache.open([link]));
  t.equal(cache.open([links[2] ?? '']), opened[2], 'kept');
  t.not(cache.open([links[0] ?? '']), opened[0], 'forgotten');
  const good = links[2] ?? '';
  const broken = `${good.slice(0, -86)}${'A'.repeat(86)}`;
  t.throws(() => cache.open([broken]), { code: 'E_TOKEN_SIGNATURE' });
});
