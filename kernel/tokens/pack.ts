/**
 * Shapes of a pack: the results of one group commit with their receipt, as JSON carries them, and the detail of one result.
 * Bytes are canonical base64; the columns are those of `Pack` in protos/link.proto.
 */
import { type Static, Type as T } from 'typebox';
import { MAX_ITEMS } from '../limits.ts';
import { ArgType, RunSettings } from './claims.ts';

const closed = { additionalProperties: false } as const;
const Column = T.Array(T.Integer({ minimum: 0, maximum: 0xffffffff }), { minItems: 1, maxItems: MAX_ITEMS });
const Base64 = T.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$' });

/** What a receipt says of one result besides its digest. `rep` is the runner's word, `run` the settings in force. */
export const DetailShape = T.Object(
  {
    res: T.Optional(
      T.Object(
        {
          type: ArgType,
          at: T.Union([T.Literal('inline'), T.Literal('blob'), T.Literal('endpoint')]),
          size: T.Optional(T.Integer({ minimum: 0 })),
          path: T.Optional(T.String({ maxLength: 4096 })),
        },
        closed,
      ),
    ),
    err: T.Optional(T.Object({ code: T.String({ maxLength: 64 }), message: T.String({ maxLength: 2048 }) }, closed)),
    rep: T.Optional(T.Record(T.String({ maxLength: 64 }), T.Unknown())),
    run: T.Optional(RunSettings),
  },
  closed,
);

const PackTicketJson = T.Object(
  {
    id: T.String({ pattern: '^[0-9a-f]{32}$' }),
    jti: T.String({ maxLength: 36 }),
    ticketHash: T.String({ pattern: '^sha256:[0-9a-f]{64}$' }),
    items: Column,
    attempts: Column,
    statuses: Base64,
    detail: Column,
    meas: Column,
    resultDigests: Base64,
    resultSizes: Column,
    results: Base64,
  },
  closed,
);

export const PackJson = T.Object(
  {
    receipts: T.String({ maxLength: 64 * 1024 }),
    principal: T.String({ pattern: '^[A-Za-z0-9_-]{43}$' }),
    tickets: T.Array(PackTicketJson, { minItems: 1, maxItems: 65536 }),
    details: T.Array(Base64, { maxItems: 65536 }),
  },
  closed,
);

export type Detail = Static<typeof DetailShape>;
export type PackJson = Static<typeof PackJson>;
