/**
 * The HTTP API of the broker, one definition for server and clients. The OpenAPI document is generated from these schemas.
 *
 * Every request except enrolment and the health checks carries `Authorization: Farfield <farfield-request+jwt>`, signed
 * for this method, URL, broker and body; a submission authorises itself by the tickets in it.
 */
import { type Static, Type as T } from 'typebox';
import { MAX_ITEMS } from '#kernel/limits.ts';

const closed = { additionalProperties: false } as const;
const Id = T.String({ pattern: '^[0-9a-f]{32}$', description: 'ticket id: hash of (principal, jti)' });
const Thumbprint = T.String({ pattern: '^[A-Za-z0-9_-]{43}$' });
const Sha256 = T.String({ pattern: '^sha256:[0-9a-f]{64}$' });
const Token = T.String({ maxLength: 64 * 1024 });

export const SUBMISSION_TYPE = 'application/vnd.farfield.submission';
export const PACK_TYPE = 'application/vnd.farfield.pack+json';

/** Any refusal. `code` is one of kernel/errors.ts. */
export const ErrorBody = T.Object(
  {
    error: T.Object(
      {
        code: T.String(),
        message: T.String(),
        retryAfterS: T.Optional(T.Number()),
        details: T.Optional(T.Record(T.String(), T.Union([T.String(), T.Number(), T.Boolean()]))),
      },
      closed,
    ),
  },
  closed,
);

/** Header of a submission: u32le length, this as JSON, then the bytes (see docs/architecture.md). */
export const SubmissionHeader = T.Object(
  {
    chains: T.Array(T.Array(Token, { minItems: 1, maxItems: 4 }), { minItems: 1, maxItems: 64 }),
    /** General JWS texts. */
    manifests: T.Array(T.String({ maxLength: 64 * 1024 }), { minItems: 1, maxItems: 64 }),
    tickets: T.Array(
      T.Object(
        {
          ticket: Token,
          chain: T.Integer({ minimum: 0 }),
          manifest: T.Integer({ minimum: 0 }),
          /** Bytes of each item of a batch ticket; empty for a single one. */
          itemSizes: T.Array(T.Integer({ minimum: 2 }), { maxItems: MAX_ITEMS }),
          /** Bytes of each inline argument, in (item, argument) order. */
          inlineSizes: T.Array(T.Integer({ minimum: 0 })),
        },
        closed,
      ),
      { minItems: 1, maxItems: 1024 },
    ),
  },
  closed,
);

/** How far an item is. The broker's word, not the endpoint's: only a receipt ends a future. */
export const ItemState = T.Union([
  T.Literal('queued'),
  T.Literal('delivered'),
  T.Literal('admitted'),
  T.Literal('succeeded'),
  T.Literal('failed'),
  T.Literal('refused'),
  T.Literal('expired'),
  T.Literal('cancelled'),
  T.Literal('lost'),
]);

/** Counts by state, and what is known in plain words about a running item. */
export const TicketStatus = T.Object(
  {
    id: Id,
    endpoint: Thumbprint,
    principal: Thumbprint,
    jti: T.String(),
    fn: T.String(),
    n: T.Integer(),
    counts: T.Record(T.String(), T.Integer()),
    cancelling: T.Boolean(),
    queuedAt: T.Number({ description: 'seconds since 1970' }),
    exp: T.Integer(),
    /** Of the items asked for (`?items=0,1`), or all when n <= 64. */
    items: T.Array(
      T.Object(
        {
          i: T.Integer(),
          state: ItemState,
          detail: T.Optional(T.String()),
          done: T.Optional(T.Number()),
          total: T.Optional(T.Number()),
        },
        closed,
      ),
    ),
    /** Why it is not running, in a sentence: "endpoint site-a is offline since 10:02". */
    reason: T.Optional(T.String()),
    /** The signed ticket itself, in a list with `?tickets=yes`: what was asked for, as its receipts name it by hash. */
    ticket: T.Optional(Token),
    /** The endpoint's stateless refusals (farfield-receipt+jwt), for whoever was not listening when they came. */
    refusals: T.Optional(T.Array(Token)),
  },
  closed,
);

/** One outcome per submitted ticket, in order. `known`: the same ticket was stored before; this is its state. */
export const SubmissionReply = T.Object(
  {
    tickets: T.Array(
      T.Union([
        T.Object(
          {
            outcome: T.Union([T.Literal('queued'), T.Literal('known')]),
            id: Id,
            n: T.Integer(),
            endpointOnline: T.Boolean(),
            note: T.Optional(T.String()),
          },
          closed,
        ),
        T.Object({ outcome: T.Literal('refused'), code: T.String(), message: T.String() }, closed),
      ]),
    ),
  },
  closed,
);

/**
 * Events of one principal (`GET /v1/events`, SSE). `id: <generation>.<seq>` on durable ones only.
 * queued, admitted: {id, items}; terminal: a PackJson; running, log: latest wins, no id; reset: list again.
 */
export const EVENT_TYPES = [
  'queued',
  'admitted',
  'terminal',
  'refusal',
  'running',
  'log',
  'lost',
  'access',
  'reset',
] as const;
/** A pair as JSON Schema 2020-12 and OpenAPI 3.1 have it; a tuple of TypeBox is of an older draft. */
const Run = T.Unsafe<[number, number]>(T.Array(T.Integer(), { minItems: 2, maxItems: 2 }));
/**
 * Data of queued, admitted and lost: which items of which ticket, contiguous runs as [from, to). `lost` says what the broker
 * ended by its own word: lost with the endpoint's ledger, or expired or cancelled before delivery.
 */
export const ItemsEvent = T.Object({ id: Id, runs: T.Array(Run), state: T.Optional(ItemState) }, closed);
export const RunningEvent = T.Object(
  {
    id: Id,
    items: T.Array(T.Integer()),
    state: T.String(),
    detail: T.String(),
    done: T.Number(),
    total: T.Number(),
    attempt: T.Integer(),
  },
  closed,
);
export const LogEvent = T.Object(
  { id: Id, item: T.Integer(), attempt: T.Integer(), offset: T.Number(), data: T.String(), dropped: T.Number() },
  closed,
);
/** The stateless signed answer to a ticket whose chain did not hold. */
export const RefusalEvent = T.Object({ id: Id, items: T.Array(T.Integer()), receipt: Token }, closed);

/** A cancel is signed by the principal (farfield-cancel+jwt) and travels to the endpoint unchanged. */
export const CancelBody = T.Object({ cancel: Token, chain: T.Array(Token, { minItems: 1, maxItems: 4 }) }, closed);
export const CancelReply = T.Object({ id: Id, items: T.Integer() }, closed);

/** A request for access, or for how one stands (farfield-access+jwt): carried to the endpoint, and its signed answer back. */
export const AccessBody = T.Object(
  {
    access: T.String({ maxLength: 16 * 1024 }),
    chain: T.Array(T.String({ maxLength: 16 * 1024 }), { minItems: 1, maxItems: 4 }),
  },
  closed,
);
/** farfield-access-answer+jwt by the endpoint's online key. */
export const AccessAnswer = T.Object({ answer: Token }, closed);
/** An endpoint decided about a request for access: its signed word, to somebody who asked it. */
export const AccessEvent = T.Object({ endpoint: Thumbprint, answer: Token }, closed);
/** The last such word of each endpoint, oldest first; `seq` is that of its event. */
export const AccessTold = T.Object(
  {
    generation: T.String(),
    answers: T.Array(
      T.Object(
        { endpoint: Thumbprint, seq: T.Integer(), at: T.Number({ description: 'seconds since 1970' }), answer: Token },
        closed,
      ),
    ),
  },
  closed,
);
/** On every signed answer to a principal that was told something: `<generation>.<seq>` of the newest. */
export const ACCESS_HEADER = 'farfield-access';

export const EndpointView = T.Object(
  {
    id: Thumbprint,
    descriptor: Token,
    status: T.Optional(Token),
    online: T.Boolean(),
    since: T.Number(),
    transport: T.Optional(T.String()),
  },
  closed,
);

export const EnrolBody = T.Object({ secret: T.String(), descriptor: Token }, closed);
export const UserBody = T.Object(
  { secret: T.String(), jwk: T.Object({ kty: T.Literal('OKP'), crv: T.Literal('Ed25519'), x: T.String() }, closed) },
  closed,
);
export const EnrolReply = T.Object({ brokerId: Thumbprint }, closed);

/**
 * `PUT /v1/blobs/{digest}?offset=N&size=TOTAL` appends; complete when the digest matches. `HEAD` says how much is there, in the
 * headers Farfield-Have and Farfield-Complete. An endpoint names the ticket whose principal it is for: `&ticket=ID`.
 */
export const BlobState = T.Object(
  { digest: Sha256, size: T.Integer(), have: T.Integer(), complete: T.Boolean() },
  closed,
);

/** Text that an invitation prints after `ff1.`: what a newcomer needs to reach and pin a broker, and a one-use secret. */
export const Invitation = T.Object(
  {
    url: T.String(),
    grpc: T.String(),
    ca: T.String({ description: 'PEM of the broker CA' }),
    brokerId: Thumbprint,
    secret: T.String(),
    exp: T.Integer(),
    for: T.Object({ kind: T.Union([T.Literal('endpoint'), T.Literal('user')]), id: Thumbprint }, closed),
  },
  closed,
);

/** Every route, for the server, the clients and the OpenAPI document alike. */
export const ROUTES = {
  health: { method: 'GET', url: '/livez' },
  ready: { method: 'GET', url: '/readyz' },
  openapi: { method: 'GET', url: '/v1/openapi.json' },
  enrol: { method: 'POST', url: '/v1/enrol' },
  users: { method: 'POST', url: '/v1/users' },
  submit: { method: 'POST', url: '/v1/invocations' },
  list: { method: 'GET', url: '/v1/invocations' },
  status: { method: 'GET', url: '/v1/invocations/:id' },
  /** The packs that hold outcomes of these items, oldest first: {packs, more?}; with `more`, ask again with ?after=MORE. */
  result: { method: 'GET', url: '/v1/invocations/:id/packs' },
  cancel: { method: 'POST', url: '/v1/invocations/:id/cancel' },
  events: { method: 'GET', url: '/v1/events' },
  endpoint: { method: 'GET', url: '/v1/endpoints/:id' },
  access: { method: 'POST', url: '/v1/endpoints/:id/access' },
  accessTold: { method: 'GET', url: '/v1/access' },
  blobHead: { method: 'HEAD', url: '/v1/blobs/:digest' },
  blobGet: { method: 'GET', url: '/v1/blobs/:digest' },
  blobPut: { method: 'PUT', url: '/v1/blobs/:digest' },
} as const;

export type SubmissionHeader = Static<typeof SubmissionHeader>;
export type SubmissionReply = Static<typeof SubmissionReply>;
export type TicketStatus = Static<typeof TicketStatus>;
export type ItemState = Static<typeof ItemState>;
export type ItemsEvent = Static<typeof ItemsEvent>;
export type RunningEvent = Static<typeof RunningEvent>;
export type LogEvent = Static<typeof LogEvent>;
export type RefusalEvent = Static<typeof RefusalEvent>;
export type CancelBody = Static<typeof CancelBody>;
export type AccessBody = Static<typeof AccessBody>;
export type AccessEvent = Static<typeof AccessEvent>;
export type AccessTold = Static<typeof AccessTold>;
export type EndpointView = Static<typeof EndpointView>;
export type BlobState = Static<typeof BlobState>;
export type Invitation = Static<typeof Invitation>;
export type ErrorBody = Static<typeof ErrorBody>;
