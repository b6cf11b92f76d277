import t from 'tap';
import {
  ADMISSION_STEPS,
  type AdmissionInput,
  createManifestCache,
  decideAdmission,
  decideCancel,
  decideLaunch,
  decideSubmission,
  itemRefusal,
} from '#kernel/admission.ts';
import { toBase64Url, utf8 } from '#kernel/bytes.ts';
import { createChainCache, openChain } from '#kernel/chain.ts';
import { digestOf } from '#kernel/ids.ts';
import { itemsRoot, leafList } from '#kernel/items.ts';
import { parseToken, type Signer, signToken, tokenHash } from '#kernel/jws.ts';
import { type ResolvedPolicy, resolvePolicy } from '#kernel/policy/resolve.ts';
import type { Claims } from '#kernel/tokens/claims.ts';
import { addSignature, openManifest, signManifest } from '#kernel/tokens/manifest.ts';
import {
  IMAGE_DIGEST,
  MODEL_DIGEST,
  manifestClaims,
  NOW,
  newDelegation,
  newJti,
  newParty,
  newSigner,
  ticketClaims,
} from './parties.ts';

const party = newParty();
const rule = {
  name: 'peaks',
  who: { pin: 'alice' },
  functions: { publisher: 'hedm', names: ['peaks/*'] },
  paths: { read: ['/data'] },
  runtimes: ['process', 'apptainer'],
  resources: { nodes: 2, gpus: 4, wallS: 7200, nodeHoursPerDay: 10, accounts: ['MAT123'], queues: ['gpu'] },
};

function policyOf(changes: Record<string, unknown> = {}, rules: unknown[] = [rule]): ResolvedPolicy {
  const raw = {
    authorities: {
      pinned: [{ kid: party.principal.kid, name: 'alice', until: NOW + 86400 }],
      publishers: [{ name: 'hedm', jwks: [party.publisher.jwk] }],
    },
    rules,
    ...changes,
  };
  return resolvePolicy(raw, utf8(JSON.stringify(raw)));
}

interface Bend {
  delegation?: Partial<Claims<'farfield-delegation+jwt'>>;
  ticket?: Partial<Claims<'farfield-ticket+jwt'>>;
  policy?: Record<string, unknown>;
  rules?: unknown[];
  input?: Partial<AdmissionInput>;
  signer?: Signer;
  manifest?: string;
  text?: (text: string) => string;
  links?: (links: string[]) => string[];
}

/** An honest delivery, bent where the test says. */
function delivery(bend: Bend = {}): AdmissionInput {
  const link = newDelegation(party, bend.delegation);
  const manifest = bend.manifest ?? party.manifest;
  const claims = ticketClaims(party, tokenHash(link), {
    fn: { name: 'peaks/braggnn', version: '1.2.0', manifest: openManifest(manifest, []).digest },
    ...bend.ticket,
  });
  const text = signToken('farfield-ticket+jwt', claims, bend.signer ?? party.session);
  return {
    ticket: bend.text?.(text) ?? text,
    chain: bend.links?.([link]) ?? [link],
    manifest,
    policy: policyOf(bend.policy, bend.rules),
    endpoint: party.root.kid,
    nowS: NOW,
    ledgerEpoch: { n: 1, since: NOW - 1000 },
    known: () => undefined,
    ...bend.input,
  };
}

/** The first part of a token that is not about claims: a good signature under any header and payload. */
function forged(typ: string, payload: unknown, signer: Signer, header: object = {}): string {
  const part = (value: unknown): string => toBase64Url(utf8(JSON.stringify(value)));
  const input = `${part({ alg: 'Ed25519', typ, kid: signer.kid, ...header })}.${part(payload)}`;
  return `${input}.${toBase64Url(signer.sign(input))}`;
}
const flip = (text: string): string => text.slice(0, -86) + (text.at(-86) === 'A' ? 'B' : 'A') + text.slice(-85);
const ticketNow = (): Claims<'farfield-ticket+jwt'> => ticketClaims(party, digestOf('x'));
const delegationNow = (): Claims<'farfield-delegation+jwt'> =>
  JSON.parse(
    Buffer.from(newDelegation(party).split('.')[1] ?? '', 'base64url').toString(),
  ) as Claims<'farfield-delegation+jwt'>;
const other = newSigner();
const res = ticketNow().res;

/** One delivery for every (step, code) of ADMISSION_STEPS that reaches exactly that step. */
const REFUSALS: Record<string, Bend> = {
  'size E_TOKEN_SIZE': { text: () => 'a'.repeat(20_000) },
  'form E_TOKEN_FORM': { text: (text) => `${text}=` },
  'form E_TOKEN_HEADER': {
    text: () => forged('farfield-ticket+jwt', ticketNow(), party.session, { jwk: party.session.jwk }),
  },
  'form E_TOKEN_TYP': { text: () => newDelegation(party) },
  'form E_TOKEN_CLAIMS': {
    text: () => forged('farfield-ticket+jwt', { ...ticketNow(), aud: [party.root.kid, other.kid] }, party.session),
  },
  'form E_TOKEN_RESERVED': {
    text: () => forged('farfield-ticket+jwt', { ...ticketNow(), net: 'host' }, party.session),
  },
  'chain E_TOKEN_SIZE': { links: () => [] },
  'chain E_TOKEN_FORM': { links: () => ['a.b'] },
  'chain E_TOKEN_HEADER': { links: () => [forged('farfield-delegation+jwt', {}, party.principal, { alg: 'none' })] },
  'chain E_TOKEN_TYP': { links: () => [forged('farfield-ticket+jwt', {}, party.principal)] },
  'chain E_TOKEN_CLAIMS': {
    links: () => [forged('farfield-delegation+jwt', { ...delegationNow(), x: 1 }, party.principal)],
  },
  'chain E_TOKEN_RESERVED': { links: ([link]) => [link ?? '', link ?? '', link ?? ''] },
  'chain E_TOKEN_SIGNATURE': { links: ([link]) => [flip(link ?? '')] },
  'chain E_KEY_WEAK': { delegation: { cnf: { kty: 'OKP', crv: 'Ed25519', x: `AQ${'A'.repeat(41)}` } } },
  'chain E_LIFE': { delegation: { exp: NOW + 12 * 3600, adm: NOW + 12 * 3600 } },
  'chain E_CHAIN': { ticket: { dlg: digestOf('another delegation') } },
  'scope E_CHAIN_SCOPE': { delegation: { scope: { functions: ['images/*'] } } },
  'signature E_TOKEN_SIGNATURE': { text: flip },
  'audience E_AUDIENCE': { ticket: { aud: other.kid } },
  'ledger E_REPLAY': { input: { known: () => ({ ticketHash: digestOf('another ticket') }) } },
  'trust E_UNTRUSTED': {
    policy: {
      authorities: {
        pinned: [{ kid: other.kid, name: 'alice', until: NOW + 86400 }],
        publishers: [{ name: 'hedm', jwks: [party.publisher.jwk] }],
      },
    },
  },
  'chain-time E_NOT_YET': { delegation: { iat: NOW + 100 } },
  'chain-time E_CHAIN_EXPIRED': { delegation: { exp: NOW - 100, adm: NOW - 100 } },
  'chain-time E_LIFE': { delegation: { use: 'robot', exp: NOW + 100 * 86400, adm: NOW + 100 * 86400 } },
  'manifest E_MANIFEST': {
    ticket: { fn: { name: 'peaks/braggnn', version: '1.2.0', manifest: digestOf('altered code') } },
  },
  'times E_NOT_YET': { ticket: { iat: NOW + 100 } },
  'times E_EXPIRED': { ticket: { iat: NOW - 900, exp: NOW - 100 } },
  'times E_LIFE': { ticket: { exp: NOW + 15 * 86400 } },
  'times E_LEDGER_EPOCH': { ticket: { iat: NOW - 1001 } },
  'revocation E_REVOKED': { policy: { revoked: { kids: [party.session.kid] } } },
  'match E_POLICY': { rules: [] },
  'ceilings E_CEILING': { ticket: { res: { ...res, nodes: 3 } } },
  'ceilings E_CHAIN_SCOPE': { delegation: { scope: { nodeHours: 1 } }, input: { usedByDelegation: () => 0.9 } },
  'paths E_PATH': { ticket: { args: [{ name: 'patches', type: 'hdf5', at: 'endpoint', path: '/etc/passwd' }] } },
};

/** Refusals before this step are stateless: nobody whom the site trusts is known to have asked. */
const COMMITTED = ['manifest', 'times', 'revocation', 'match', 'ceilings', 'paths'];

t.test('an honest ticket is admitted, by the rule that names it', async (t) => {
  const admission = decideAdmission(delivery());
  t.match(admission, { kind: 'admit', pin: 'alice', rule: { name: 'peaks' } });
  if (admission.kind !== 'admit') return;
  t.same(admission.choices, [
    { variant: 'cpu', image: undefined, runtime: 'process' },
    { variant: 'cuda', image: IMAGE_DIGEST, runtime: 'apptainer' },
  ]);
});

for (const [step, codes] of Object.entries(ADMISSION_STEPS)) {
  for (const code of codes) {
    t.test(`a ticket that reaches step ${step} and no further is refused there with ${code}`, async (t) => {
      const bend = REFUSALS[`${step} ${code}`];
      if (bend === undefined) return t.fail('no delivery of this test reaches it');
      const admission = decideAdmission(delivery(bend));
      t.match(admission, {
        kind: 'refuse',
        refusal: { step, code },
        chainValid: COMMITTED.includes(step),
        alarm: step === 'ledger',
      });
    });
  }
}

t.test('steps keep their order: of two faults the earlier step answers', async (t) => {
  const steps = Object.keys(ADMISSION_STEPS);
  const keys = Object.keys(REFUSALS).filter((key) => !/^(size|form|chain) /.test(key));
  for (const first of keys) {
    for (const second of keys) {
      const [a, b] = [REFUSALS[first], REFUSALS[second]];
      if (
        a === undefined ||
        b === undefined ||
        steps.indexOf(first.split(' ')[0] ?? '') >= steps.indexOf(second.split(' ')[0] ?? '')
      )
        continue;
      // Faults in different parts of the delivery can be put together; those that bend one part cannot.
      if (Object.keys(a).some((key) => key in b)) continue;
      const admission = decideAdmission(delivery({ ...a, ...b }));
      t.equal(
        admission.kind === 'refuse' ? `${admission.refusal.step} ${admission.refusal.code}` : admission.kind,
        first,
        `${first}, then ${second}`,
      );
    }
  }
});

t.test('a ticket that the ledger holds is answered from there, whatever changed since', async (t) => {
  const later = [
    REFUSALS['trust E_UNTRUSTED'],
    REFUSALS['chain-time E_CHAIN_EXPIRED'],
    REFUSALS['times E_EXPIRED'],
    REFUSALS['revocation E_REVOKED'],
    REFUSALS['match E_POLICY'],
  ];
  for (const bend of later) {
    const input = delivery(bend);
    const asked: string[] = [];
    const known = (principal: string, jti: string): { ticketHash: string } => {
      asked.push(principal, jti);
      return { ticketHash: tokenHash(input.ticket as string) };
    };
    t.equal(decideAdmission({ ...input, known }).kind, 'known');
    t.equal(asked[0], party.principal.kid, 'looked up under the principal, not the session key');
  }
});

t.test('every signed field that a broker rewrites makes the ticket worthless', async (t) => {
  const input = delivery();
  const [header, payload, signature] = String(input.ticket).split('.');
  const claims = JSON.parse(Buffer.from(payload ?? '', 'base64url').toString()) as Record<string, unknown>;
  const rewrites: Record<string, unknown> = {
    ...Object.fromEntries(Object.keys(claims).map((key) => [key, undefined])),
    aud: other.kid,
    jti: newJti(),
    iat: NOW - 11,
    exp: NOW + 3601,
    grp: 'admins',
    dlg: digestOf('y'),
    sub: { iss: 'pin', id: 'bob' },
    fn: { name: 'peaks/braggnn', version: '1.2.0', manifest: digestOf('evil') },
    mdl: [{ name: 'braggnn', digest: `oms1:${'00'.repeat(32)}` }],
    args: [{ name: 'patches', type: 'npy', at: 'inline', digest: digestOf('evil'), size: 4 }],
    res: { ...res, nodes: 1000 },
    run: { maxFailures: 100, maxStarts: 200, timeoutS: 1 },
    out: { maxBytes: 1 << 20, to: { path: '/data/elsewhere' } },
    rt: ['process'],
    var: ['cpu'],
  };
  for (const [key, value] of Object.entries(rewrites)) {
    const bent: Record<string, unknown> = { ...claims, [key]: value };
    if (value === undefined) delete bent[key];
    const text = `${header}.${toBase64Url(utf8(JSON.stringify(bent)))}.${signature}`;
    const admission = decideAdmission({ ...input, ticket: text });
    t.equal(admission.kind, 'refuse', key);
    if (admission.kind === 'refuse') t.notOk(admission.chainValid, 'and writes no row');
  }
});

t.test('the caches change no decision', async (t) => {
  const chains = createChainCache(8);
  const manifests = createManifestCache(8);
  for (const [name, bend] of [['admit', {}] as const, ...Object.entries(REFUSALS)]) {
    const input = delivery(bend);
    const plain = decideAdmission(input);
    for (const round of [1, 2]) {
      const cached = decideAdmission({ ...input, chains, manifests });
      t.equal(cached.kind, plain.kind, `${name}, round ${round}`);
      if (cached.kind === 'refuse' && plain.kind === 'refuse') t.same(cached.refusal, plain.refusal);
    }
  }
});

t.test('a manifest that is not what the ticket says of it is refused', async (t) => {
  const bends: Record<string, Bend> = {
    'another name': { ticket: { fn: { name: 'peaks/other', version: '1.2.0', manifest: party.manifestDigest } } },
    'another version': { ticket: { fn: { name: 'peaks/braggnn', version: '1.2.1', manifest: party.manifestDigest } } },
    'another model': { ticket: { mdl: [{ name: 'braggnn', digest: `oms1:${'00'.repeat(32)}` }] } },
    'no model': { ticket: { mdl: [] } },
    'one model twice': {
      ticket: {
        mdl: [
          { name: 'braggnn', digest: MODEL_DIGEST },
          { name: 'braggnn', digest: MODEL_DIGEST },
        ],
      },
    },
    'a variant that it lacks': { ticket: { var: ['sambanova'] } },
    'an argument that it lacks': {
      ticket: {
        args: [...ticketNow().args, { name: 'evil', type: 'json', at: 'inline', digest: digestOf('x'), size: 1 }],
      },
    },
    'an argument of another type': {
      ticket: { args: [{ name: 'patches', type: 'json', at: 'inline', digest: digestOf('x'), size: 1 }] },
    },
    'an argument twice': { ticket: { args: [...ticketNow().args, ...ticketNow().args] } },
    'an argument missing': { ticket: { args: [] } },
  };
  for (const [name, bend] of Object.entries(bends)) {
    t.match(
      decideAdmission(delivery(bend)),
      { kind: 'refuse', refusal: { step: 'manifest', code: 'E_MANIFEST' } },
      name,
    );
  }
  t.match(decideAdmission(delivery({ input: { manifest: 'no JSON' } })), { refusal: { code: 'E_MANIFEST' } });
});

t.test('a manifest below its signature threshold is not run, and a second signature lets it', async (t) => {
  const reviewer = newSigner();
  const policy = {
    authorities: {
      pinned: [{ kid: party.principal.kid, name: 'alice', until: NOW + 86400 }],
      publishers: [{ name: 'hedm', jwks: [party.publisher.jwk, reviewer.jwk], threshold: 2 }],
    },
  };
  t.match(decideAdmission(delivery({ policy })), { refusal: { code: 'E_POLICY' } });
  const both = addSignature(party.manifest, reviewer);
  t.equal(decideAdmission(delivery({ policy, manifest: both })).kind, 'admit');
  t.match(
    decideAdmission(delivery({ policy: { ...policy, revoked: { kids: [reviewer.kid] } }, manifest: both })),
    { refusal: { code: 'E_POLICY' } },
    'a revoked key does not count',
  );
  t.match(
    decideAdmission(delivery({ policy, manifest: addSignature(party.manifest, newSigner()) })),
    { refusal: { code: 'E_POLICY' } },
    'a stranger does not count',
  );
});

t.test('a session key runs its own function only if delegation and rule both say so', async (t) => {
  const manifest = signManifest(manifestClaims(), [party.session]);
  const self = [{ ...rule, functions: { self: true } }];
  const define = { scope: { define: true } };
  t.equal(decideAdmission(delivery({ manifest, rules: self, delegation: define })).kind, 'admit');
  t.match(decideAdmission(delivery({ manifest, rules: self })), { refusal: { code: 'E_POLICY' } }, 'not delegated');
  t.match(
    decideAdmission(delivery({ manifest, delegation: define })),
    { refusal: { code: 'E_POLICY' } },
    'no such rule',
  );
  t.match(
    decideAdmission(delivery({ rules: self, delegation: define })),
    { refusal: { code: 'E_POLICY' } },
    'signed by somebody else',
  );
});

t.test('each kind of revocation refuses', async (t) => {
  const input = delivery();
  const lists: Record<string, string[]> = {
    kids: [party.principal.kid],
    subs: ['alice'],
    delegations: [tokenHash(String(Array.isArray(input.chain) ? input.chain[0] : ''))],
    tickets: [tokenHash(String(input.ticket))],
    manifests: [party.manifestDigest],
    models: [MODEL_DIGEST],
  };
  for (const [list, values] of Object.entries(lists)) {
    t.match(
      decideAdmission({ ...input, policy: policyOf({ revoked: { [list]: values } }) }),
      { refusal: { code: 'E_REVOKED', step: 'revocation' } },
      list,
    );
  }
  const imageRevoked = decideAdmission({ ...input, policy: policyOf({ revoked: { images: [IMAGE_DIGEST] } }) });
  t.match(imageRevoked, { kind: 'admit' }, 'another variant remains');
  if (imageRevoked.kind === 'admit')
    t.same(
      imageRevoked.choices.map((choice) => choice.variant),
      ['cpu'],
    );
  const onlyImage = delivery({
    manifest: signManifest(
      manifestClaims({ variants: [{ name: 'cuda', image: IMAGE_DIGEST, runtimes: ['apptainer'] }] }),
      [party.publisher],
    ),
    policy: { revoked: { images: [IMAGE_DIGEST] } },
  });
  t.match(decideAdmission(onlyImage), { refusal: { code: 'E_REVOKED' } });
});

t.test('the key of a pin counts until its date, and under its own name', async (t) => {
  t.match(
    decideAdmission(
      delivery({
        input: { nowS: NOW },
        policy: {
          authorities: {
            pinned: [{ kid: party.principal.kid, name: 'alice', until: NOW - 61 }],
            publishers: [{ name: 'hedm', jwks: [party.publisher.jwk] }],
          },
        },
      }),
    ),
    { refusal: { code: 'E_UNTRUSTED' } },
  );
  const bob = { sub: { iss: 'pin', id: 'bob' } };
  t.match(
    decideAdmission(delivery({ delegation: bob, ticket: bob })),
    { refusal: { code: 'E_UNTRUSTED' } },
    'the name of another',
  );
  const campus = { sub: { iss: 'campus', id: 'alice' } };
  t.match(
    decideAdmission(delivery({ delegation: campus, ticket: campus })),
    { refusal: { code: 'E_UNTRUSTED' } },
    'an issuer that is not trusted',
  );
});

t.test('every ceiling refuses on its own, and never falls through to a wider rule', async (t) => {
  const wide = {
    ...rule,
    name: 'wide',
    resources: { nodes: 1000, gpus: 1000, wallS: 86400, accounts: ['X'], queues: ['Y'] },
  };
  const asks: Record<string, Partial<Claims<'farfield-ticket+jwt'>>> = {
    nodes: { res: { ...res, nodes: 3 } },
    gpus: { res: { ...res, nodes: 2, gpusPerNode: 3 } },
    wallS: { res: { ...res, wallS: 7201 } },
    account: { res: { ...res, account: 'X' } },
    queue: { res: { ...res, queue: 'Y' } },
    maxBytes: { out: { maxBytes: 2 ** 31, to: 'return' } },
  };
  for (const [name, ticket] of Object.entries(asks)) {
    t.match(decideAdmission(delivery({ ticket, rules: [rule, wide] })), { refusal: { code: 'E_CEILING' } }, name);
  }
  t.match(
    decideAdmission(delivery({ input: { usedNodeHours: () => 9.99 } })),
    { refusal: { code: 'E_CEILING' } },
    'node-hours of the day',
  );
  t.equal(decideAdmission(delivery({ ticket: { res: { ...res, account: 'MAT123', queue: 'gpu' } } })).kind, 'admit');
});

t.test('a function takes no more of a node than its ticket allows, and the refusal says both numbers', async (t) => {
  const needing = (needs: object): string => signManifest({ ...manifestClaims(), needs }, [party.publisher]);
  t.equal(decideAdmission(delivery({ manifest: needing({ cores: 4, memMiB: 4096 }) })).kind, 'admit');
  t.match(decideAdmission(delivery({ manifest: needing({ cores: 5 }) })), {
    refusal: { step: 'ceilings', code: 'E_CEILING', message: /needs 5 cores, and the ticket allows 4/ },
  });
  t.match(decideAdmission(delivery({ manifest: needing({ memMiB: 5000 }) })), {
    refusal: { message: /needs 5000 MiB of memory, and the ticket allows 4096/ },
  });
  t.match(decideAdmission(delivery({ manifest: needing({ gpus: 1 }) })), {
    refusal: { message: /needs 1 accelerators, and the ticket allows 0; sign it with a gpusPerNode of 1/ },
  });
  t.throws(() => needing({ cores: 0 }));
});

t.test('an admin may allow tickets from before the ledger was lost', async (t) => {
  const bend = REFUSALS['times E_LEDGER_EPOCH'];
  t.equal(decideAdmission({ ...delivery(bend), allowOlderEpoch: true }).kind, 'admit');
});

t.test('a batch ticket is admitted without its items, and each item is judged by manifest and rule', async (t) => {
  const link = newDelegation(party);
  const { args: _none, ...common } = ticketClaims(party, tokenHash(link));
  const item = Buffer.from(JSON.stringify({ args: ticketNow().args }));
  const claims: Claims<'farfield-batch+jwt'> = {
    ...common,
    itm: { kind: 'list1', n: 1, sha256: itemsRoot(leafList([item.length], item)) },
  };
  const admission = decideAdmission({
    ...delivery({ rules: [{ ...rule, args: ['npy', 'hdf5'] }] }),
    ticket: signToken('farfield-batch+jwt', claims, party.session),
    chain: [link],
  });
  if (admission.kind !== 'admit') return t.fail(JSON.stringify(admission));
  const out = claims.out;
  const refusal = (args: Claims<'farfield-ticket+jwt'>['args']): string | undefined =>
    itemRefusal(admission.manifest, admission.rule, { args }, out)?.code;
  t.equal(refusal(ticketNow().args), undefined);
  t.equal(refusal([]), 'E_MANIFEST');
  t.equal(
    refusal([...ticketNow().args, { name: 'options', type: 'json', at: 'inline', digest: digestOf('x'), size: 1 }]),
    'E_POLICY',
  );
  t.equal(refusal([{ name: 'patches', type: 'hdf5', at: 'endpoint', path: '/data/x.h5' }]), undefined);
  t.equal(refusal([{ name: 'patches', type: 'hdf5', at: 'endpoint', path: '/data2/x.h5' }]), 'E_PATH');
});

t.test(
  'revocation, an expired ticket or a narrower policy stop a launch; an expired delegation does not',
  async (t) => {
    const input = delivery();
    const admission = decideAdmission(input);
    if (admission.kind !== 'admit') return t.fail();
    const { ticket, chain, manifest } = admission;
    const choice = admission.choices[0];
    if (choice === undefined) return t.fail();
    const launch = (policy: ResolvedPolicy, nowS = NOW): string | undefined =>
      decideLaunch({ ticket, chain, manifest, policy, nowS, choice })?.code;
    t.equal(launch(policyOf()), undefined);
    t.equal(launch(policyOf(), NOW + 3600), undefined, 'the delegation ends now, the ticket does too');
    t.equal(launch(policyOf(), NOW + 3661), 'E_EXPIRED');
    t.equal(launch(policyOf({ revoked: { kids: [party.session.kid] } })), 'E_REVOKED');
    t.equal(launch(policyOf({}, [])), 'E_POLICY');
    t.equal(launch(policyOf({}, [{ ...rule, runtimes: ['apptainer'] }])), 'E_POLICY', 'the runtime about to start');
    t.equal(launch(policyOf({}, [{ ...rule, resources: { nodes: 1, wallS: 60 } }])), 'E_CEILING');
    t.equal(
      launch(
        policyOf({
          authorities: {
            pinned: [{ kid: other.kid, name: 'alice', until: NOW + 99 }],
            publishers: [{ name: 'hedm', jwks: [party.publisher.jwk] }],
          },
        }),
      ),
      'E_UNTRUSTED',
    );
    const waiting = delivery({ delegation: { exp: NOW + 1, adm: NOW + 1 }, ticket: { exp: NOW + 86400 } });
    const weekend = decideAdmission(waiting);
    if (weekend.kind !== 'admit') return t.fail();
    t.equal(decideLaunch({ ...weekend, policy: policyOf(), nowS: NOW + 80_000, choice }), undefined);
  },
);

t.test('the broker takes what anybody can check, and refuses what nobody could admit', async (t) => {
  const at = (bend: Bend, nowS = NOW): string => {
    const submission = decideSubmission({ ...delivery(bend), nowS, toleranceS: 60 });
    return submission.kind === 'take' ? 'take' : `${submission.refusal.step} ${submission.refusal.code}`;
  };
  t.equal(at({}), 'take');
  for (const key of Object.keys(REFUSALS)) {
    const step = key.split(' ')[0] ?? '';
    const mine =
      ['size', 'form', 'chain', 'scope', 'signature'].includes(step) ||
      (/^(times|chain-time) /.test(key) && !/LIFE|EPOCH/.test(key));
    t.equal(at(REFUSALS[key] ?? {}), mine ? key : 'take', key);
  }
});

t.test('a cancel holds for its own principal, endpoint and time', async (t) => {
  const link = newDelegation(party);
  const base: Claims<'farfield-cancel+jwt'> = {
    v: 1,
    iss: party.session.kid,
    dlg: tokenHash(link),
    aud: party.root.kid,
    jti: newJti(),
    iat: NOW,
    exp: NOW + 300,
    target: { principal: party.principal.kid, jti: newJti(), items: [0, 2] },
  };
  const decide = (changes: Partial<typeof base>, text = (value: string): string => value): string => {
    const cancel = text(signToken('farfield-cancel+jwt', { ...base, ...changes }, party.session));
    const decision = decideCancel({ cancel, chain: [link], nowS: NOW, toleranceS: 60, endpoint: party.root.kid });
    return decision.kind === 'cancel' ? 'cancel' : decision.refusal.code;
  };
  t.equal(decide({}), 'cancel');
  t.equal(decide({ target: { ...base.target, principal: other.kid } }), 'E_FORBIDDEN');
  t.equal(decide({ dlg: digestOf('y') }), 'E_CHAIN');
  t.equal(decide({ aud: other.kid }), 'E_AUDIENCE');
  t.equal(decide({ iat: NOW - 400, exp: NOW - 100 }), 'E_EXPIRED');
  t.equal(decide({ iat: NOW + 100, exp: NOW + 400 }), 'E_NOT_YET');
  t.equal(decide({}, flip), 'E_TOKEN_SIGNATURE');
  t.equal(
    decide({}, () => 'x'),
    'E_TOKEN_FORM',
  );
});

t.test('a ticket parsed before is checked all the same', async (t) => {
  const input = delivery();
  const parsed = parseToken('farfield-ticket+jwt', flip(String(input.ticket)));
  const chain = openChain(input.chain as string[]);
  t.match(decideAdmission({ ...input, ticket: parsed, chain }), {
    refusal: { step: 'signature', code: 'E_TOKEN_SIGNATURE' },
  });
});
