/**
 * The claims of every token type, as closed schemas: the one place that says what a token may hold.
 *
 * Invariants
 *  C1 Claims are closed per (`typ`, `v`): nothing is ignored. A field reserved for later is listed in RESERVED and refused.
 *  C2 Every token has `v: 1`, `iss` (a thumbprint) and `iat` in seconds; whatever ends has `exp`.
 *  C3 Digests are typed (kernel/ids.ts); keys and endpoint ids are bare thumbprints.
 *
 * docs/security.md has the table of all claims, generated from here.
 */
import { type Static, Type as T, type TSchema } from 'typebox';
import { MAX_ARGS, MAX_ITEMS } from '../limits.ts';

const closed = { additionalProperties: false } as const;
const Thumbprint = T.String({ pattern: '^[A-Za-z0-9_-]{43}$' });
const Digest = T.String({ pattern: '^(sha256|sif|oci|oms1):[0-9a-f]{64}$' });
const Sha256 = T.String({ pattern: '^sha256:[0-9a-f]{64}$' });
const Jti = T.String({ pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' });
const Seconds = T.Integer({ minimum: 0, maximum: 253402300799 });
const Count = T.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const Name = T.String({ minLength: 1, maxLength: 128, pattern: '^[A-Za-z0-9][A-Za-z0-9._/@+-]*$' });
const Text = T.String({ minLength: 1, maxLength: 256 });
const Path = T.String({ minLength: 1, maxLength: 4096 });
const Jwk = T.Object(
  { kty: T.Literal('OKP'), crv: T.Literal('Ed25519'), x: T.String({ pattern: '^[A-Za-z0-9_-]{43}$' }) },
  closed,
);

/** Who a principal is: by an issuer's credential, or by a pin of the site (`iss: "pin"`). */
export const Subject = T.Object({ iss: Text, id: Text }, closed);

/** `bytes` is opaque; the others are typed binary. Never pickle. */
export const ArgType = T.Enum(['json', 'npy', 'arrow', 'hdf5', 'bytes']);

/** One argument, by digest. `path` and `sel` are signed; the digest may be left out only `at: endpoint`, where it is measured. */
export const Arg = T.Union([
  T.Object(
    { name: Name, type: ArgType, at: T.Literal('inline'), digest: Sha256, size: Count, sel: T.Optional(Path) },
    closed,
  ),
  T.Object(
    { name: Name, type: ArgType, at: T.Literal('blob'), digest: Sha256, size: Count, sel: T.Optional(Path) },
    closed,
  ),
  T.Object(
    {
      name: Name,
      type: ArgType,
      at: T.Literal('endpoint'),
      path: Path,
      sel: T.Optional(Path),
      digest: T.Optional(Sha256),
      size: T.Optional(Count),
    },
    closed,
  ),
]);
const Args = T.Array(Arg, { maxItems: MAX_ARGS });

/** Ceilings, not wishes: the broker cannot ask for more in the signer's name. */
export const Resources = T.Object(
  {
    nodes: T.Integer({ minimum: 1, maximum: 100_000 }),
    cpusPerNode: T.Integer({ minimum: 1, maximum: 4096 }),
    gpusPerNode: T.Integer({ minimum: 0, maximum: 64 }),
    memMiBPerNode: T.Integer({ minimum: 1, maximum: 64 * 1024 * 1024 }),
    wallS: T.Integer({ minimum: 1, maximum: 366 * 86400 }),
    account: T.Optional(Name),
    queue: T.Optional(Name),
  },
  closed,
);

export const RunSettings = T.Object(
  {
    maxFailures: T.Integer({ minimum: 1, maximum: 100 }),
    maxStarts: T.Integer({ minimum: 1, maximum: 200 }),
    timeoutS: T.Integer({ minimum: 1, maximum: 366 * 86400 }),
    seed: T.Optional(Count),
    uncertainty: T.Optional(
      T.Object(
        {
          method: T.Union([T.Literal('none'), T.Literal('l2'), T.Literal('conformal'), T.Literal('symmetry')]),
          samples: T.Integer({ minimum: 0, maximum: 1_000_000 }),
          level: T.Number({ minimum: 0, maximum: 1 }),
        },
        closed,
      ),
    ),
  },
  closed,
);

export const Output = T.Object(
  { maxBytes: Count, to: T.Union([T.Literal('return'), T.Object({ path: Path }, closed)]) },
  closed,
);

const FunctionRef = T.Object({ name: Name, version: Name, manifest: Sha256 }, closed);
const ModelRef = T.Object({ name: Name, digest: Digest }, closed);

const ticketCommon = {
  v: T.Literal(1),
  iss: Thumbprint,
  sub: Subject,
  grp: T.Optional(Text),
  dlg: Sha256,
  aud: Thumbprint,
  jti: Jti,
  iat: Seconds,
  exp: Seconds,
  fn: FunctionRef,
  mdl: T.Array(ModelRef, { maxItems: 8 }),
  var: T.Optional(T.Array(Name, { minItems: 1, maxItems: 16 })),
  rt: T.Optional(T.Array(Name, { minItems: 1, maxItems: 8 })),
  res: Resources,
  run: RunSettings,
  out: Output,
};

/** The signed token of one invocation. */
export const TicketClaims = T.Object({ ...ticketCommon, args: Args }, closed);

/** The signed token of up to 4,096 items: arguments live in the items only (kernel/items.ts hashes them). */
export const BatchClaims = T.Object(
  {
    ...ticketCommon,
    itm: T.Object(
      { kind: T.Literal('list1'), n: T.Integer({ minimum: 1, maximum: MAX_ITEMS }), sha256: Sha256 },
      closed,
    ),
    max: T.Optional(
      T.Object(
        { nodeHours: T.Optional(T.Number({ minimum: 0 })), concurrent: T.Optional(T.Integer({ minimum: 1 })) },
        closed,
      ),
    ),
  },
  closed,
);

/** One item of a batch: exactly these bytes are hashed, so the text is never re-serialised. */
export const ItemBody = T.Object({ args: Args, seed: T.Optional(Count) }, closed);

/** Long-term key -> session key (or robot). `iss` is the principal; `cnf` the key that may sign. */
export const DelegationClaims = T.Object(
  {
    v: T.Literal(1),
    iss: Thumbprint,
    jwk: Jwk,
    sub: Subject,
    cnf: Jwk,
    use: T.Union([T.Literal('session'), T.Literal('robot')]),
    iat: Seconds,
    /** Until when the session key may sign. */
    exp: Seconds,
    /** Until when an endpoint may admit; later than `exp` only for one endpoint (`--queue-for`). */
    adm: Seconds,
    scope: T.Object(
      {
        endpoints: T.Optional(T.Array(Thumbprint, { minItems: 1, maxItems: 64 })),
        functions: T.Optional(T.Array(Text, { minItems: 1, maxItems: 64 })),
        nodeHours: T.Optional(T.Number({ minimum: 0 })),
        define: T.Optional(T.Boolean()),
      },
      closed,
    ),
  },
  closed,
);

/** Issuer -> long-term key: identity and groups. */
export const CredentialClaims = T.Object(
  {
    v: T.Literal(1),
    iss: Thumbprint,
    sub: Subject,
    cnf: T.Object({ jkt: Thumbprint }, closed),
    grp: T.Array(Text, { maxItems: 256 }),
    iat: Seconds,
    exp: Seconds,
  },
  closed,
);

/** Cancels items of one ticket, under the same principal by any of its live session keys. */
export const CancelClaims = T.Object(
  {
    v: T.Literal(1),
    iss: Thumbprint,
    dlg: Sha256,
    aud: Thumbprint,
    jti: Jti,
    iat: Seconds,
    exp: Seconds,
    target: T.Object(
      {
        principal: Thumbprint,
        jti: Jti,
        items: T.Union([
          T.Literal('all'),
          T.Array(T.Integer({ minimum: 0, maximum: MAX_ITEMS - 1 }), { minItems: 1, maxItems: MAX_ITEMS }),
        ]),
        tkt: T.Optional(Sha256),
      },
      closed,
    ),
  },
  closed,
);

/** A function's signed description. The payload of a General JWS (kernel/tokens/manifest.ts). */
export const ManifestClaims = T.Object(
  {
    v: T.Literal(1),
    name: Name,
    version: Name,
    kind: T.Enum(['model', 'python', 'shell', 'mpi']),
    /** Adapter of the runner, and what it needs to know (closed by the adapter, not here). */
    adapter: Name,
    entry: T.Optional(T.Record(T.String({ maxLength: 64 }), T.Unknown())),
    description: T.Optional(T.String({ maxLength: 4096 })),
    args: T.Array(
      T.Object({ name: Name, types: T.Array(ArgType, { minItems: 1 }), optional: T.Optional(T.Boolean()) }, closed),
      { maxItems: MAX_ARGS },
    ),
    models: T.Array(ModelRef, { maxItems: 8 }),
    variants: T.Array(
      T.Object(
        { name: Name, image: T.Optional(Digest), runtimes: T.Array(Name, { minItems: 1, maxItems: 8 }) },
        closed,
      ),
      { minItems: 1, maxItems: 16 },
    ),
    /** What one run takes of its node; what is left out is a slot's share. A ticket's ceilings must allow it. */
    needs: T.Optional(
      T.Object(
        {
          cores: T.Optional(T.Integer({ minimum: 1, maximum: 4096 })),
          memMiB: T.Optional(T.Integer({ minimum: 1, maximum: 64 * 1024 * 1024 })),
          gpus: T.Optional(T.Integer({ minimum: 1, maximum: 64 })),
          accelerator: T.Optional(T.Enum(['nvidia', 'amd'])),
          /** Of kind `mpi` alone: nodes of one block, taken whole and together, and processes on each. */
          nodes: T.Optional(T.Integer({ minimum: 1, maximum: 10_000 })),
          ranksPerNode: T.Optional(T.Integer({ minimum: 1, maximum: 4096 })),
        },
        closed,
      ),
    ),
  },
  closed,
);

/** The endpoint's root names its online keys. `iss` = endpoint id = thumbprint of `jwk`. `seq` never falls. */
export const EndpointClaims = T.Object(
  {
    v: T.Literal(1),
    iss: Thumbprint,
    jwk: Jwk,
    name: Text,
    seq: T.Integer({ minimum: 1 }),
    sign: Jwk,
    enc: T.Optional(T.Object({ kty: T.Literal('OKP'), crv: T.Literal('X25519'), x: T.String() }, closed)),
    iat: Seconds,
    exp: Seconds,
    next: T.Optional(Thumbprint),
  },
  closed,
);

/** Hot facts of an endpoint, by its online key. */
export const StatusClaims = T.Object(
  {
    v: T.Literal(1),
    iss: Thumbprint,
    endpoint: Thumbprint,
    iat: Seconds,
    policy: Sha256,
    ledgerEpoch: T.Object({ n: T.Integer({ minimum: 1 }), since: Seconds }, closed),
    tokens: T.Array(T.Integer({ minimum: 1 }), { minItems: 1, maxItems: 8 }),
    runtimes: T.Array(Name, { maxItems: 8 }),
    state: T.Union([T.Literal('open'), T.Literal('paused'), T.Literal('draining')]),
    reason: T.Optional(T.String({ maxLength: 1024 })),
  },
  closed,
);

/** The answer to a connection's challenge, by the online key (agent), or by the pilot's key made in its memory. */
export const HelloClaims = T.Object(
  {
    v: T.Literal(1),
    iss: Thumbprint,
    /** Endpoint id, or block id for a pilot. */
    sub: Text,
    /** The broker's id (or the endpoint's, for a pilot): a hello relayed elsewhere is void. */
    aud: Text,
    nonce: T.String({ minLength: 16, maxLength: 64 }),
    ownNonce: T.String({ minLength: 16, maxLength: 64 }),
    protocol: T.Object({ min: T.Integer({ minimum: 1 }), max: T.Integer({ minimum: 1 }) }, closed),
    sessionEpoch: Count,
    iat: Seconds,
    exp: Seconds,
  },
  closed,
);

/** Any other request to a broker: reads, cancels by the console, blob transfers, joins. */
export const RequestClaims = T.Object(
  {
    v: T.Literal(1),
    iss: Thumbprint,
    aud: Text,
    method: T.String({ pattern: '^[A-Z]{3,7}$' }),
    url: T.String({ maxLength: 2048 }),
    body: T.Optional(Sha256),
    jti: Jti,
    iat: Seconds,
    exp: Seconds,
  },
  closed,
);

export const ReceiptStatus = T.Enum(['succeeded', 'failed', 'refused', 'expired', 'cancelled']);

/** What agent and pilot measured themselves. Times are seconds since 1970 with fractions; `ms` spans in milliseconds. */
export const Measured = T.Object(
  {
    variant: T.Optional(Name),
    image: T.Optional(Digest),
    manifest: T.Optional(Sha256),
    model: T.Optional(Digest),
    args: T.Optional(T.Array(Sha256, { maxItems: MAX_ARGS })),
    runtime: T.Optional(Name),
    network: T.Optional(Name),
    policy: T.Optional(Sha256),
    rule: T.Optional(Text),
    block: T.Optional(Text),
    job: T.Optional(Text),
    node: T.Optional(Text),
    ms: T.Optional(T.Record(T.String({ maxLength: 32 }), T.Number())),
  },
  closed,
);

const ResultRef = T.Object(
  {
    digest: Sha256,
    size: Count,
    type: ArgType,
    at: T.Union([T.Literal('inline'), T.Literal('blob'), T.Literal('endpoint')]),
    path: T.Optional(Path),
  },
  closed,
);

/**
 * The signed token of one result. `iss` is the endpoint's online key, `endpoint` its id, `aud` the principal.
 * A stateless refusal (before a valid chain) has neither `principal` nor `jti`: only the ticket hash.
 */
export const ReceiptClaims = T.Object(
  {
    v: T.Literal(1),
    iss: Thumbprint,
    endpoint: Thumbprint,
    aud: T.Optional(Thumbprint),
    jti: T.Optional(Jti),
    i: T.Integer({ minimum: 0, maximum: MAX_ITEMS - 1 }),
    tkt: Sha256,
    att: Count,
    st: ReceiptStatus,
    err: T.Optional(T.Object({ code: Text, message: T.String({ maxLength: 2048 }) }, closed)),
    res: T.Optional(ResultRef),
    iat: Seconds,
    meas: Measured,
    rep: T.Optional(T.Record(T.String({ maxLength: 64 }), T.Unknown())),
    run: T.Optional(RunSettings),
  },
  closed,
);

/**
 * The receipt of whatever one group commit finished for one principal: a Merkle root (RFC 9162) over leaves that bind
 * principal, jti, i, ticket hash, attempt, status, result digest and an index into `meas` (kernel/receipts.ts).
 */
export const ReceiptsClaims = T.Object(
  {
    v: T.Literal(1),
    iss: Thumbprint,
    endpoint: Thumbprint,
    aud: Thumbprint,
    n: T.Integer({ minimum: 1, maximum: 65536 }),
    root: Sha256,
    iat: Seconds,
    meas: T.Array(Measured, { minItems: 1, maxItems: 64 }),
  },
  closed,
);

/** Redeemed once per (block, node, restart) by a pilot; binds the key that the pilot made in memory. */
export const BlockClaims = T.Object(
  { v: T.Literal(1), iss: Thumbprint, block: Text, life: Count, jti: Jti, iat: Seconds, exp: Seconds },
  closed,
);

/** What somebody asks a site for, in the asker's own words and bounded: nothing here decides anything. */
export const AccessWish = T.Object(
  {
    op: T.Literal('request'),
    functions: T.Optional(T.Array(Name, { minItems: 1, maxItems: 16 })),
    reason: T.Optional(T.String({ minLength: 1, maxLength: 500 })),
    forS: T.Integer({ minimum: 60, maximum: 366 * 86400 }),
  },
  closed,
);

/** Asks one endpoint's admin for access, or how such a request stands. Any broker carries it; it cannot change or grant it. */
export const AccessClaims = T.Object(
  {
    v: T.Literal(1),
    iss: Thumbprint,
    sub: Subject,
    dlg: Sha256,
    aud: Thumbprint,
    jti: Jti,
    iat: Seconds,
    exp: Seconds,
    ask: T.Union([AccessWish, T.Object({ op: T.Literal('status') }, closed)]),
  },
  closed,
);

/** How one request or grant stands at the endpoint. */
export const AccessEntry = T.Object(
  {
    id: T.String({ pattern: '^[rg]-[0-9a-f]{12}$' }),
    state: T.Enum(['waiting', 'granted', 'denied', 'ended']),
    at: Seconds,
    until: T.Optional(Seconds),
    rule: T.Optional(Text),
    reason: T.Optional(T.String({ maxLength: 500 })),
  },
  closed,
);

/** The endpoint's signed answer: `req` is the hash of the token that asked, so an older answer cannot stand for a newer one. */
export const AccessAnswerClaims = T.Object(
  {
    v: T.Literal(1),
    iss: Thumbprint,
    endpoint: Thumbprint,
    aud: T.Optional(Thumbprint),
    req: Sha256,
    iat: Seconds,
    refused: T.Optional(T.Object({ code: Text, message: T.String({ maxLength: 500 }) }, closed)),
    entries: T.Array(AccessEntry, { maxItems: 16 }),
  },
  closed,
);

/** Schema of the claims of every `typ`. */
export const CLAIMS = {
  'farfield-ticket+jwt': TicketClaims,
  'farfield-batch+jwt': BatchClaims,
  'farfield-cancel+jwt': CancelClaims,
  'farfield-delegation+jwt': DelegationClaims,
  'farfield-credential+jwt': CredentialClaims,
  'farfield-manifest+jws': ManifestClaims,
  'farfield-endpoint+jwt': EndpointClaims,
  'farfield-status+jwt': StatusClaims,
  'farfield-hello+jwt': HelloClaims,
  'farfield-request+jwt': RequestClaims,
  'farfield-receipt+jwt': ReceiptClaims,
  'farfield-receipts+jwt': ReceiptsClaims,
  'farfield-block+jwt': BlockClaims,
  'farfield-access+jwt': AccessClaims,
  'farfield-access-answer+jwt': AccessAnswerClaims,
} as const satisfies Record<string, TSchema>;

/** Types that are named now and refused until a later version defines them. */
export const RESERVED_TYPES = ['farfield-revocation+jwt'] as const;
/** Claims that are reserved in v 1: using one is E_TOKEN_RESERVED, not E_TOKEN_CLAIMS, so that a newer client understands. */
export const RESERVED_CLAIMS = ['lbl', 'net'] as const;
/** Members reserved inside objects of v 1, by the path of the object. */
export const RESERVED_MEMBERS = { 'args[]': ['enc'], out: ['enc'] } as const;

export type TokenType = keyof typeof CLAIMS;
export type Claims<K extends TokenType> = Static<(typeof CLAIMS)[K]>;
export type TicketClaims = Static<typeof TicketClaims>;
export type BatchClaims = Static<typeof BatchClaims>;
export type ItemBody = Static<typeof ItemBody>;
export type Arg = Static<typeof Arg>;
export type ArgType = Static<typeof ArgType>;
export type Resources = Static<typeof Resources>;
export type RunSettings = Static<typeof RunSettings>;
export type Output = Static<typeof Output>;
export type Subject = Static<typeof Subject>;
export type DelegationClaims = Static<typeof DelegationClaims>;
export type CancelClaims = Static<typeof CancelClaims>;
export type ManifestClaims = Static<typeof ManifestClaims>;
export type EndpointClaims = Static<typeof EndpointClaims>;
export type StatusClaims = Static<typeof StatusClaims>;
export type HelloClaims = Static<typeof HelloClaims>;
export type RequestClaims = Static<typeof RequestClaims>;
export type ReceiptClaims = Static<typeof ReceiptClaims>;
export type ReceiptsClaims = Static<typeof ReceiptsClaims>;
export type AccessClaims = Static<typeof AccessClaims>;
export type AccessEntry = Static<typeof AccessEntry>;
export type AccessWish = Static<typeof AccessWish>;
export type ReceiptStatus = Static<typeof ReceiptStatus>;
export type Measured = Static<typeof Measured>;
export type ResultRef = Static<typeof ResultRef>;
