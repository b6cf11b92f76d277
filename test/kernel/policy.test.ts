import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { utf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { compileGlob } from '#kernel/globs.ts';
import { digestOf } from '#kernel/ids.ts';
import { signToken, tokenHash } from '#kernel/jws.ts';
import { inside, pathRefusal } from '#kernel/policy/ceilings.ts';
import { explainAdmission } from '#kernel/policy/explain.ts';
import { explainMatch, type MatchSubject, matchRule } from '#kernel/policy/match.ts';
import { type ResolvedPolicy, type ResolvePolicyOptions, resolvePolicy } from '#kernel/policy/resolve.ts';
import { policyJsonSchema } from '#kernel/policy/schema.ts';
import { atLeast, parseVersion } from '#kernel/policy/version.ts';
import type { ManifestClaims } from '#kernel/tokens/claims.ts';
import {
  IMAGE_DIGEST,
  MODEL_DIGEST,
  manifestClaims,
  NOW,
  newDelegation,
  newParty,
  newSigner,
  ticketClaims,
} from './parties.ts';

const party = newParty();
const pinned = [{ kid: party.principal.kid, name: 'alice', until: '2100-01-01' }];
const publishers = [{ name: 'hedm', jwks: [party.publisher.jwk] }];
const authorities = { pinned, publishers };
const rule = {
  name: 'peaks',
  who: { pin: 'alice' },
  functions: { publisher: 'hedm' },
  runtimes: ['process', 'apptainer'],
};

const resolve = (raw: unknown, options?: ResolvePolicyOptions): ResolvedPolicy =>
  resolvePolicy(raw, utf8(JSON.stringify(raw)), options);
const withRule = (changes: Record<string, unknown>): ResolvedPolicy =>
  resolve({ authorities, rules: [{ ...rule, ...changes }] });

const subject = (changes: Partial<MatchSubject> = {}, manifest: Partial<ManifestClaims> = {}): MatchSubject => ({
  pin: 'alice',
  manifest: { claims: manifestClaims(manifest), digest: party.manifestDigest, signedBy: [party.publisher.kid] },
  principal: party.principal.kid,
  sessionKid: party.session.kid,
  mayDefine: false,
  argTypes: new Set(['npy']),
  variants: undefined,
  runtimes: undefined,
  ...changes,
});

const placeOf = (raw: unknown, options?: ResolvePolicyOptions): string => {
  try {
    resolve(raw, options);
  } catch (reason) {
    if (reason instanceof FarfieldError && reason.code === 'E_BAD_REQUEST') return reason.message;
    throw reason;
  }
  return 'accepted';
};

/** What a site may get wrong: name, file, and the message that names the place. */
const BAD_POLICIES: [string, unknown, RegExp][] = [
  ['an unknown key at the top', { rules: [], rule: [] }, /policy: rule is not a known key/],
  [
    'an unknown key in a rule',
    { authorities, rules: [{ ...rule, function: {} }] },
    /rules\.0\.function is not a known key/,
  ],
  [
    'an unknown key under resources',
    { authorities, rules: [{ ...rule, resources: { node: 1 } }] },
    /rules\.0\.resources\.node is not a known key/,
  ],
  ['no rules', {}, /lacks rules/],
  ['a value of another type', { rules: [], clockToleranceS: '60' }, /clockToleranceS/],
  ['a pin that nobody has', { authorities, rules: [{ ...rule, who: { pin: 'bob' } }] }, /rules\.0\.who\.pin names bob/],
  [
    'a publisher that nobody is',
    { authorities, rules: [{ ...rule, functions: { publisher: 'x' } }] },
    /rules\.0\.functions\.publisher names x/,
  ],
  [
    'a models publisher that nobody is',
    { authorities, rules: [{ ...rule, models: { publisher: 'x' } }] },
    /rules\.0\.models\.publisher names x/,
  ],
  [
    'an issuer',
    { authorities: { ...authorities, issuers: [{ name: 'campus', jwks: 'campus.jwks' }] }, rules: [] },
    /issuers comes in a later version/,
  ],
  [
    'a rule by an issuer',
    { authorities, rules: [{ ...rule, who: { issuer: 'campus', group: 'x' } }] },
    /who names an issuer, which comes in a later version/,
  ],
  [
    'a local account',
    { authorities, rules: [{ ...rule, runAs: { user: 'farfield' } }] },
    /runAs is for multi-user agents, which come in a later version/,
  ],
  [
    'one key pinned twice',
    { authorities: { pinned: [...pinned, { ...pinned[0], name: 'bob' }] }, rules: [] },
    /pinned\.1 pins .* a second time/,
  ],
  [
    'one publisher twice',
    { authorities: { publishers: [...publishers, ...publishers] }, rules: [] },
    /publishers\.1 is a second publisher/,
  ],
  [
    'a threshold over the keys',
    { authorities: { publishers: [{ ...publishers[0], threshold: 2 }] }, rules: [] },
    /threshold asks for 2 keys of 1/,
  ],
  [
    'one key of a publisher twice',
    { authorities: { publishers: [{ name: 'p', jwks: [party.publisher.jwk, party.publisher.jwk] }] }, rules: [] },
    /lists one key twice/,
  ],
  [
    'a weak key',
    {
      authorities: { publishers: [{ name: 'p', jwks: [{ kty: 'OKP', crv: 'Ed25519', x: `AQ${'A'.repeat(41)}` }] }] },
      rules: [],
    },
    /small order/,
  ],
  [
    'a date that is none',
    { authorities: { pinned: [{ ...pinned[0], until: 'soon' }] }, rules: [] },
    /until is no date/,
  ],
  [
    'a time without a zone',
    { authorities: { pinned: [{ ...pinned[0], until: '2027-01-01T12:00' }] }, rules: [] },
    /until is no date/,
  ],
  ['a relative folder', { authorities, rules: [{ ...rule, paths: { read: ['data'] } }] }, /paths\.read/],
  [
    'a folder with ..',
    { authorities, rules: [{ ...rule, paths: { read: ['/data/../etc'] } }] },
    /paths\.read\.0 must not hold/,
  ],
  ['two rules of one name', { authorities, rules: [rule, rule] }, /two rules have one name/],
  [
    'a minimum that is no version',
    { authorities, rules: [{ ...rule, functions: { publisher: 'hedm', minVersion: 'latest' } }] },
    /minVersion is no version/,
  ],
  [
    'a key file that nobody can read',
    { authorities: { publishers: [{ name: 'p', jwks: 'p.jwks' }] }, rules: [] },
    /names the file p\.jwks/,
  ],
];

t.test('a policy is loaded whole or not at all, and the message names the place', async (t) => {
  for (const [name, raw, message] of BAD_POLICIES) t.match(placeOf(raw), message, name);
  t.match(
    placeOf({ endpoint: party.root.kid, rules: [] }, { endpoint: newSigner().kid }),
    /endpoint is .* but this endpoint is/,
  );
  t.equal(placeOf({ endpoint: party.root.kid, rules: [] }, { endpoint: party.root.kid }), 'accepted');
});

t.test('key files are read through the caller, and their keys are part of the digest', async (t) => {
  const raw = { authorities: { publishers: [{ name: 'p', jwks: 'p.jwks' }] }, rules: [] };
  const digest = (set: unknown): string => resolve(raw, { readJwks: () => set }).digest;
  const [one, two] = [newSigner(), newSigner()];
  t.not(digest({ keys: [one.jwk] }), digest({ keys: [two.jwk] }));
  t.equal(digest({ keys: [{ ...one.jwk, kid: 'x', use: 'sig' }] }), digest([one.jwk]));
  t.match(placeOf(raw, { readJwks: () => ({ keys: [{ ...one.jwk, d: 'secret' }] }) }), /holds a private key/);
  t.match(placeOf(raw, { readJwks: () => ({ keys: [{ kty: 'RSA' }] }) }), /not Ed25519/);
  t.match(placeOf(raw, { readJwks: () => ({}) }), /is no JWKS/);
  t.equal(resolve({ rules: [] }).digest, digestOf(JSON.stringify({ rules: [] })));
});

t.test('what a rule does not say allows least: one node, no GPU, no path, no process runtime', async (t) => {
  const [resolved] = resolve({
    authorities,
    rules: [{ name: 'r', who: { pin: ['alice'] }, functions: { publisher: 'hedm' } }],
  }).rules;
  t.match(resolved?.ceilings, { nodes: 1, gpus: 0, wallS: 3600 });
  t.same([resolved?.read, resolved?.write], [[], []]);
  t.same([...(resolved?.runtimes ?? [])], ['apptainer']);
  t.equal(resolve({ rules: [] }).onRevoke, 'kill');
  t.equal(matchRule(resolve({ rules: [] }), subject()), undefined, 'no rule: refused');
});

t.test('every part of a rule decides on its own', async (t) => {
  const misses: [string, Record<string, unknown>, MatchSubject][] = [
    ['who', {}, subject({ pin: 'bob' })],
    ['kinds', { kinds: ['python', 'shell'] }, subject()],
    [
      'kinds',
      { kinds: undefined },
      subject({ manifest: { ...subject().manifest, claims: { ...subject().manifest.claims, kind: 'mpi' } } }),
    ],
    ['functions', { functions: { publisher: 'hedm', names: ['images/*'] } }, subject()],
    ['functions', { functions: { publisher: 'hedm', minVersion: '1.3' } }, subject()],
    ['functions', { functions: { digests: [digestOf('other')] } }, subject()],
    ['functions', {}, subject({ manifest: { ...subject().manifest, signedBy: [] } })],
    ['models', { models: { digests: [`oms1:${'00'.repeat(32)}`] } }, subject()],
    ['args', { args: ['hdf5'] }, subject()],
    ['images', { images: [`sif:${'00'.repeat(32)}`] }, subject({ variants: ['cuda'] })],
    ['runtimes', { runtimes: ['podman'] }, subject()],
    ['runtimes', { runtimes: ['apptainer'] }, subject({ variants: ['cpu'] })],
    ['runtimes', { runtimes: ['process'] }, subject({ runtimes: ['apptainer'] })],
  ];
  for (const [part, changes, who] of misses) {
    const policy = withRule(changes);
    t.equal(matchRule(policy, who), undefined, part);
    t.match(explainMatch(policy, who), { match: undefined, misses: [{ rule: 'peaks', part }] }, part);
  }
  const hits: Record<string, unknown>[] = [
    { kinds: ['model'] },
    { functions: { publisher: 'hedm', names: ['peaks/*'], minVersion: '1.2' } },
    { functions: { digests: [party.manifestDigest] } },
    { models: { publisher: 'hedm' } },
    { models: { digests: [MODEL_DIGEST] } },
    { args: ['npy', 'hdf5'] },
    { images: [IMAGE_DIGEST] },
    { images: [] },
  ];
  for (const changes of hits)
    t.equal(matchRule(withRule(changes), subject())?.rule.name, 'peaks', JSON.stringify(changes));
  t.same(
    matchRule(withRule({ images: [] }), subject())?.choices.map((choice) => choice.variant),
    ['cpu'],
    'an image that is not listed is not chosen',
  );
});

t.test('the first rule that matches decides', async (t) => {
  const policy = resolve({
    authorities,
    rules: [
      { ...rule, name: 'a', kinds: ['python'] },
      { ...rule, name: 'b' },
      { ...rule, name: 'c' },
    ],
  });
  t.equal(matchRule(policy, subject())?.rule.name, 'b');
});

t.test('a match is what the first rule that does not miss says, over any policy', async (t) => {
  const part = fc.record(
    {
      kinds: fc.constantFrom(['model'], ['python']),
      images: fc.constantFrom([], [IMAGE_DIGEST], [`sif:${'00'.repeat(32)}`]),
      args: fc.subarray(['json', 'npy', 'hdf5', 'arrow'] as const),
      runtimes: fc.subarray(['process', 'apptainer', 'podman'] as const, { minLength: 1 }),
      functions: fc.constantFrom(
        { publisher: 'hedm', names: ['peaks/*'] },
        { digests: [digestOf('x')] },
        { self: true },
        { publisher: 'hedm' },
      ),
    },
    { requiredKeys: ['functions'] },
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 21 }), fc.boolean(), (parts, define) => {
      const rules = parts.map((p, k) => ({ name: `r${k}`, who: { pin: 'alice' }, ...p }));
      const who = subject({ mayDefine: define });
      const whole = matchRule(resolve({ authorities, rules }), who)?.rule.name;
      const alone = rules.find((r) => matchRule(resolve({ authorities, rules: [r] }), who) !== undefined)?.name;
      const explained = explainMatch(resolve({ authorities, rules }), who);
      return (
        whole === alone &&
        explained.match?.rule.name === whole &&
        explained.misses.length === (whole === undefined ? rules.length : Number(whole.slice(1)))
      );
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('patterns: one star stays within a part, two cross it, nothing else is special', async (t) => {
  const cases: [string, string, boolean][] = [
    ['peaks/*', 'peaks/a', true],
    ['peaks/*', 'peaks/a/b', false],
    ['peaks/**', 'peaks/a/b', true],
    ['peaks/*', 'peaksXa', false],
    ['peaks/*', 'my/peaks/a', false],
    ['a.b', 'aXb', false],
    ['a.b*', 'aXbc', false],
    ['a+*', 'aa', false],
    ['**', 'anything/at.all', true],
    ['*', 'a/b', false],
    ['a*', 'a\nb', true],
  ];
  for (const [pattern, name, expected] of cases)
    t.equal(compileGlob(pattern)(name), expected, `${pattern} on ${JSON.stringify(name)}`);
});

t.test('no pattern makes a match slow: stars and names of the worst kind end at once', async (t) => {
  const glob = compileGlob(`${'**a'.repeat(80)}x`);
  for (let k = 0; k < 100; k += 1) t.notOk(glob('a'.repeat(256)));
});

t.test('a pattern means what the obvious recursion says', async (t) => {
  const slow = (p: string, n: string): boolean => {
    if (p === '') return n === '';
    if (p.startsWith('**')) return slow(p.slice(2), n) || (n !== '' && slow(p, n.slice(1)));
    if (p.startsWith('*')) return slow(p.slice(1), n) || (n !== '' && n[0] !== '/' && slow(p, n.slice(1)));
    return n !== '' && p[0] === n[0] && slow(p.slice(1), n.slice(1));
  };
  const text = (alphabet: string, maxLength: number): fc.Arbitrary<string> =>
    fc.array(fc.constantFrom(...alphabet), { maxLength }).map((letters) => letters.join(''));
  fc.assert(
    fc.property(
      text('ab/***', 7),
      text('ab/', 8),
      (pattern, name) => compileGlob(pattern)(name) === slow(pattern, name),
    ),
    { numRuns: 20_000 },
  );
  t.pass();
});

t.test('versions are compared part by part', async (t) => {
  const at = (version: string, min: string): boolean => atLeast(version, parseVersion(min) ?? []);
  t.ok(at('1.10', '1.9') && at('1.2', '1.2.0') && at('v2', '1.9.9') && at('1.3.0-rc1', '1.2'));
  t.notOk(at('1.9', '1.10') || at('1.2', '1.2.1') || at('latest', '0') || at('1.2.0-rc1', '1.2.0'));
});

t.test('a path is allowed only inside a folder of the rule, in plain spelling', async (t) => {
  const [resolved] = withRule({ paths: { read: ['/data/', '/projects/mat'], write: ['/scratch'] } }).rules;
  if (resolved === undefined) return t.fail();
  for (const path of ['/data/x', '/projects/mat/a/b.h5']) t.ok(inside(path, resolved.read), path);
  for (const path of [
    '/data',
    '/data2/x',
    '/data/../etc/x',
    '/data/./x',
    '/data//x',
    'data/x',
    '/data/x/',
    '/data/\0',
    '/etc/passwd',
    '',
  ]) {
    t.notOk(inside(path, resolved.read), JSON.stringify(path));
  }
  t.equal(pathRefusal(resolved, [], { maxBytes: 1, to: { path: '/scratch/o' } }), undefined);
  t.equal(
    pathRefusal(resolved, [], { maxBytes: 1, to: { path: '/data/o' } })?.code,
    'E_PATH',
    'readable is not writable',
  );
});

t.test('policy test prints the rule chosen, or the first refusal and why each rule did not fit', async (t) => {
  const link = newDelegation(party);
  const text = signToken('farfield-ticket+jwt', ticketClaims(party, tokenHash(link)), party.session);
  const explain = (rules: unknown[]): string =>
    explainAdmission({
      ticket: text,
      chain: [link],
      manifest: party.manifest,
      policy: resolve({ authorities, rules }),
      endpoint: party.root.kid,
      nowS: NOW,
      ledgerEpoch: { n: 1, since: 0 },
      known: () => undefined,
    }).lines.join('\n');
  t.match(
    explain([{ ...rule, name: 'first', kinds: ['shell'] }, rule]),
    /^admitted: rule "peaks" lets alice run peaks\/braggnn 1\.2\.0\n {2}runs as: variant cpu in process[\s\S]*rule "first" does not fit by its kinds/,
  );
  t.match(
    explain([{ ...rule, args: ['hdf5'] }]),
    /^refused at step match with E_POLICY[\s\S]*final[\s\S]*by its args: it does not take npy/,
  );
  t.match(
    explain([{ ...rule, resources: { wallS: 10 } }]),
    /^refused at step ceilings with E_CEILING: rule "peaks" allows wallS 10, the ticket asks for 600/,
  );
});

t.test('the JSON Schema is plain data and closed', async (t) => {
  const schema = policyJsonSchema();
  const committed = JSON.parse(readFileSync('config/policy.schema.json', 'utf8')) as unknown;
  t.strictSame(committed, JSON.parse(JSON.stringify(schema)), 'run: farfield policy schema');
  t.same(schema, JSON.parse(JSON.stringify(schema)));
  t.match(schema, { $schema: /2020-12/, type: 'object', additionalProperties: false, required: ['rules'] });
});
