/**
 * The pipe between a pilot and a runner: frames on the runner's stdin and stdout, logs on its stderr.
 *
 *     u32le headerLength | u64le bodyLength | header (JSON, UTF-8) | body (the bytes that the header lists, back to back)
 *
 * Why so plain: a Python runner must speak it with its standard library alone, and one frame carries many items, so a
 * no-op costs a share of one JSON.parse and no protobuf. Rejected: extra file descriptors (container launchers differ in
 * what they pass on), one frame per item (a pipe round trip of 85 us would cap a slot at 11,000 items/s).
 *
 * Invariants
 *  P1 The runner answers every item of a `run` exactly once, with one entry of some `done`, in any order.
 *  P2 Paths in a frame are absolute, and were checked by the pilot (digest) before the frame was written.
 *  P3 Whatever the runner says is a claim (`rep`); what pilot and agent measured never passes through here.
 *  P4 An unknown `op` or key ends the runner with E_PROTOCOL: pilot and runner ship together.
 */
import { type Static, Type as T } from 'typebox';

const closed = { additionalProperties: false } as const;

/** An argument of one item. `inline`: the next `size` bytes of the body. `file`: a path, and the data set inside it. */
export const RunnerArg = T.Union([
  T.Object({ name: T.String(), type: T.String(), at: T.Literal('inline'), size: T.Integer({ minimum: 0 }) }, closed),
  T.Object(
    {
      name: T.String(),
      type: T.String(),
      at: T.Literal('file'),
      path: T.String(),
      sel: T.Optional(T.String()),
      size: T.Integer({ minimum: 0 }),
    },
    closed,
  ),
]);

/** One item to run. `id` is the pilot's handle (an attempt); `outDir` is a private, empty folder for large results. */
export const RunnerItem = T.Object(
  {
    id: T.String(),
    args: T.Array(RunnerArg),
    outDir: T.String(),
    maxInlineBytes: T.Integer({ minimum: 0 }),
    maxBytes: T.Integer({ minimum: 0 }),
    seed: T.Optional(T.Integer({ minimum: 0 })),
    /** This runner's part of a program over several nodes; names of the nodes by rank, and where the first one may listen. */
    gang: T.Optional(
      T.Object(
        {
          nodeRank: T.Integer({ minimum: 0 }),
          nodes: T.Array(T.String(), { minItems: 1 }),
          ranksPerNode: T.Integer({ minimum: 1 }),
          address: T.String(),
        },
        closed,
      ),
    ),
    uncertainty: T.Optional(
      T.Object({ method: T.String(), samples: T.Integer({ minimum: 0 }), level: T.Number() }, closed),
    ),
  },
  closed,
);

/** Pilot -> runner. `load` comes first and once; `close` asks for an orderly end. */
export const RunnerRequest = T.Union([
  T.Object(
    {
      op: T.Literal('load'),
      adapter: T.String(),
      /** Folder of a model (holds model.json); absent for functions without one. */
      modelRoot: T.Optional(T.String()),
      variant: T.Optional(T.String()),
      entry: T.Optional(T.Record(T.String(), T.Unknown())),
      threads: T.Integer({ minimum: 1 }),
      scratchDir: T.String(),
    },
    closed,
  ),
  T.Object({ op: T.Literal('run'), items: T.Array(RunnerItem) }, closed),
  T.Object({ op: T.Literal('cancel'), ids: T.Array(T.String()) }, closed),
  T.Object({ op: T.Literal('stats') }, closed),
  T.Object({ op: T.Literal('close') }, closed),
]);

/** Where a result is: the next `size` bytes of the body, or a file in the item's `outDir`. */
export const RunnerResult = T.Object(
  {
    type: T.String(),
    size: T.Integer({ minimum: 0 }),
    at: T.Union([T.Literal('inline'), T.Literal('file')]),
    path: T.Optional(T.String()),
  },
  closed,
);

/** The end of one item. `rep` is what the runner claims: versions, timings in ms, the uncertainty summary. */
export const RunnerDone = T.Object(
  {
    id: T.String(),
    status: T.Union([T.Literal('succeeded'), T.Literal('failed'), T.Literal('cancelled')]),
    result: T.Optional(RunnerResult),
    error: T.Optional(T.Object({ code: T.String(), message: T.String() }, closed)),
    rep: T.Optional(T.Record(T.String(), T.Unknown())),
  },
  closed,
);

/** Runner -> pilot. `ready` or `failed` answers `load`; after `failed` the runner exits. */
export const RunnerReply = T.Union([
  T.Object({ op: T.Literal('ready'), versions: T.Record(T.String(), T.String()), loadMs: T.Number() }, closed),
  T.Object({ op: T.Literal('failed'), code: T.String(), message: T.String() }, closed),
  T.Object({ op: T.Literal('done'), items: T.Array(RunnerDone) }, closed),
  T.Object(
    { op: T.Literal('progress'), id: T.String(), done: T.Integer(), total: T.Integer(), perSecond: T.Number() },
    closed,
  ),
  T.Object({ op: T.Literal('stats'), stats: T.Record(T.String(), T.Number()) }, closed),
]);

export type RunnerArg = Static<typeof RunnerArg>;
export type RunnerItem = Static<typeof RunnerItem>;
export type RunnerRequest = Static<typeof RunnerRequest>;
export type RunnerResult = Static<typeof RunnerResult>;
export type RunnerDone = Static<typeof RunnerDone>;
export type RunnerReply = Static<typeof RunnerReply>;

/** Bytes before the header of a frame. */
export const RUNNER_PREFIX_BYTES = 12;
/** A header larger than this is garbage on the pipe (a print from a library, say), not a message. */
export const RUNNER_MAX_HEADER_BYTES = 16 * 1024 * 1024;
