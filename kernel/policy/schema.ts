/**
 * The site policy as its file says it. The JSON Schema in config/ is this schema; unknown keys are refused everywhere.
 *
 * Reserved: `issuers`, `who: {issuer}` and `runAs` are described, so that a policy can be written ahead, and refused when
 * it is resolved: a rule that is not understood must never be a rule that is skipped.
 */
import { type Static, Type as T } from 'typebox';
import { ArgType } from '../tokens/claims.ts';

const closed = { additionalProperties: false } as const;
const Thumbprint = T.String({ pattern: '^[A-Za-z0-9_-]{43}$' });
const Sha256 = T.String({ pattern: '^sha256:[0-9a-f]{64}$' });
const Digest = T.String({ pattern: '^(sha256|sif|oci|oms1):[0-9a-f]{64}$' });
const Name = T.String({ minLength: 1, maxLength: 128, pattern: '^[A-Za-z0-9][A-Za-z0-9._/@+-]*$' });
const Pattern = T.String({ minLength: 1, maxLength: 128, pattern: '^[A-Za-z0-9*][A-Za-z0-9._/@+*-]*$' });
const Folder = T.String({
  pattern: '^/',
  maxLength: 4096,
  description: 'absolute; what lies in it is allowed, symbolic links are not followed',
});
const Jwk = T.Object(
  { kty: T.Literal('OKP'), crv: T.Literal('Ed25519'), x: T.String({ pattern: '^[A-Za-z0-9_-]{43}$' }) },
  closed,
);
const Keys = T.Union([T.Array(Jwk, { minItems: 1, maxItems: 64 }), T.String({ minLength: 1, maxLength: 4096 })], {
  description: 'the public keys, or the name of a JWKS file beside the policy',
});
/** Bounds of one list: far above any real site, far below what would make a reload slow. */
const list = { maxItems: 1024 } as const;

/** One trusted person, like a line of authorized_keys with an end. */
const Pinned = T.Object(
  {
    kid: T.String({ pattern: '^[A-Za-z0-9_-]{43}$', description: 'thumbprint of the long-term key' }),
    name: Name,
    until: T.Union([T.Integer({ minimum: 0 }), T.String({ maxLength: 40 })], {
      description: 'seconds since 1970, a date (its beginning, UTC) or a date and time with a zone',
    }),
  },
  closed,
);

/** Who may bless code, and how many of their keys must. */
const Publisher = T.Object(
  {
    name: Name,
    jwks: Keys,
    threshold: T.Optional(
      T.Integer({ minimum: 1, maximum: 8, description: 'distinct keys that must sign; 1 unless given' }),
    ),
  },
  closed,
);

const Issuer = T.Object({ name: Name, jwks: Keys, maxCredentialLifeS: T.Optional(T.Integer({ minimum: 60 })) }, closed);

/** The keys that the policy believes. */
const Authorities = T.Object(
  {
    issuers: T.Optional(T.Array(Issuer, list)),
    pinned: T.Optional(T.Array(Pinned, list)),
    publishers: T.Optional(T.Array(Publisher, list)),
  },
  closed,
);

const Who = T.Union(
  [
    T.Object({ pin: T.Union([Name, T.Array(Name, { minItems: 1, ...list })]) }, closed),
    T.Object({ granted: T.Literal(true) }, closed),
    T.Object(
      { issuer: Name, group: T.Optional(T.String({ maxLength: 256 })), id: T.Optional(T.String({ maxLength: 256 })) },
      closed,
    ),
  ],
  { description: 'by the name of a pinned key; `granted`: nobody but by a grant; by an issuer (reserved)' },
);

/** Which code: by who signed its manifest, by digest, or the session key's own (`self`, with a delegation that says `define`). */
const Functions = T.Union([
  T.Object(
    {
      publisher: Name,
      names: T.Optional(T.Array(Pattern, { minItems: 1, ...list })),
      minVersion: T.Optional(T.String({ maxLength: 128, description: 'compared part by part: "1.10" is above "1.9"' })),
    },
    closed,
  ),
  T.Object({ digests: T.Array(Sha256, { minItems: 1, ...list }) }, closed),
  T.Object({ self: T.Literal(true) }, closed),
]);

const Models = T.Union([
  T.Object({ publisher: Name }, closed),
  T.Object({ digests: T.Array(Digest, { minItems: 1, ...list }) }, closed),
]);

/** Bounds, each compared with the ticket's own ceiling of that name. */
const Ceilings = T.Object(
  {
    nodes: T.Optional(T.Integer({ minimum: 1 })),
    gpus: T.Optional(T.Integer({ minimum: 0, description: 'of all nodes together' })),
    cpusPerNode: T.Optional(T.Integer({ minimum: 1 })),
    memMiBPerNode: T.Optional(T.Integer({ minimum: 1 })),
    wallS: T.Optional(T.Integer({ minimum: 1 })),
    maxBytes: T.Optional(T.Integer({ minimum: 0, description: 'of one result' })),
    concurrent: T.Optional(
      T.Integer({ minimum: 1, description: 'items of one principal that run at the same time under this rule' }),
    ),
    nodeHoursPerDay: T.Optional(T.Number({ minimum: 0, description: 'of one principal under this rule' })),
    accounts: T.Optional(T.Array(Name, list)),
    queues: T.Optional(T.Array(Name, list)),
  },
  closed,
);

/** Reserved for multi-user agents: described so that a site can plan, refused when resolved. */
const RunAs = T.Object(
  {
    user: T.Optional(Name),
    map: T.Optional(T.String({ maxLength: 1024 })),
    program: T.Optional(T.String({ maxLength: 4096 })),
    account: T.Optional(Name),
  },
  closed,
);

/** One rule. What it leaves out is not asked, except kinds, paths, runtimes and resources, where it allows least. */
export const Rule = T.Object(
  {
    name: T.String({ minLength: 1, maxLength: 256 }),
    who: Who,
    kinds: T.Optional(
      T.Array(T.Enum(['model', 'python', 'shell', 'mpi']), {
        minItems: 1,
        description: 'left out: models alone; the others run a program that the publisher names',
      }),
    ),
    functions: Functions,
    images: T.Optional(T.Array(Digest, { ...list, description: 'left out: whatever the manifest pins' })),
    models: T.Optional(Models),
    args: T.Optional(T.Array(ArgType, { description: 'left out: every type' })),
    paths: T.Optional(
      T.Object({ read: T.Optional(T.Array(Folder, list)), write: T.Optional(T.Array(Folder, list)) }, closed),
    ),
    runtimes: T.Optional(
      T.Array(Name, {
        minItems: 1,
        maxItems: 8,
        description: '[apptainer] unless given; `process` contains nothing and must be named',
      }),
    ),
    resources: T.Optional(Ceilings),
    runAs: T.Optional(RunAs),
  },
  closed,
);

/** What an admin may give with `farfield endpoint grant`: one of these rules, narrowed, for a time. Without it: nothing. */
const Grants = T.Object(
  {
    file: T.Optional(
      T.String({
        pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$',
        description: 'beside the policy; grants.json unless given. The verbs write it, nobody edits it',
      }),
    ),
    rules: T.Array(T.String({ minLength: 1, maxLength: 256 }), {
      minItems: 1,
      ...list,
      description: 'names of rules of this policy that may be granted',
    }),
    maxS: T.Integer({ minimum: 60, maximum: 3660 * 86400, description: 'the longest that one grant may last' }),
  },
  closed,
);

/** What the site no longer believes, by any name that a ticket can lead to. */
const Revoked = T.Object(
  {
    kids: T.Optional(
      T.Array(Thumbprint, { ...list, description: 'session keys, long-term keys and publisher keys alike' }),
    ),
    subs: T.Optional(T.Array(Name, { ...list, description: 'names of pinned keys' })),
    delegations: T.Optional(T.Array(Sha256, list)),
    tickets: T.Optional(T.Array(Sha256, list)),
    manifests: T.Optional(T.Array(Sha256, list)),
    models: T.Optional(T.Array(Digest, list)),
    images: T.Optional(T.Array(Digest, list)),
  },
  closed,
);

export const PolicyShape = T.Object(
  {
    endpoint: T.Optional(
      T.String({ pattern: '^[A-Za-z0-9_-]{43}$', description: 'must be the id of the endpoint that loads this' }),
    ),
    clockToleranceS: T.Optional(T.Integer({ minimum: 0, maximum: 600 })),
    maxTicketLifeS: T.Optional(T.Integer({ minimum: 60, maximum: 366 * 86400 })),
    maxRobotLifeS: T.Optional(T.Integer({ minimum: 60, maximum: 3660 * 86400 })),
    authorities: T.Optional(Authorities),
    rules: T.Array(Rule, { maxItems: 1024, description: 'the first that matches decides; none: refused' }),
    grants: T.Optional(Grants),
    revoked: T.Optional(Revoked),
    onRevoke: T.Optional(
      T.Enum(['finish', 'kill'], { description: 'what happens to running work that a reload revokes' }),
    ),
  },
  { ...closed, title: 'Farfield site policy' },
);

export type RawPolicy = Static<typeof PolicyShape>;
export type RawRule = Static<typeof Rule>;

/** The JSON Schema of a policy file, for editors and config/. */
export function policyJsonSchema(): Record<string, unknown> {
  // TypeBox keeps its own marks in properties that JSON leaves out.
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    ...(JSON.parse(JSON.stringify(PolicyShape)) as object),
  };
}
