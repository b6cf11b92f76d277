/**
 * The JSON beside a shard's result, as it is read: its shape alone. What its parts mean stands with their types in the runner.
 *
 * A sidecar is not signed, so whatever is read from one is checked first: a wrong shape is a damaged file, never a defect.
 */
import { Type as T } from 'typebox';

const closed = { additionalProperties: false } as const;
const Count = T.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const Digest = T.String({ pattern: '^(sha256:)?[0-9a-f]{64}$' });
const Text = T.String({ maxLength: 1000 });
const None = T.Null();

const WholeRows = T.Object({ name: Text, rows: Count, stored: Text, probe: Text }, closed);

const Job = T.Object(
  {
    model: T.Object({ name: Text, version: Text, digest: Digest, variant: Text }, closed),
    calibration: T.Union([Digest, None]),
    uncertainty: T.Object(
      { method: Text, level: T.Number({ minimum: 0, maximum: 1 }), samples: Count, seed: Count },
      closed,
    ),
    versions: T.Record(Text, Text),
    input: WholeRows,
    labels: T.Union([WholeRows, None]),
  },
  closed,
);

const Moments = T.Object({ n: Count, mean: T.Number(), m2: T.Number() }, closed);

const Statistics = T.Object(
  {
    v: T.Literal(1),
    calibration: T.Union([Digest, None]),
    rows: Count,
    flags: T.Record(Text, Count),
    groups: T.Array(Count),
    outliers: T.Object({ n: Count, below: Count }, closed),
    drift: T.Array(T.Object({ counts: T.Array(Count), sums: T.Array(T.Number()) }, closed)),
    scores: T.Union([
      T.Object(
        { n: Count, moments: Moments, bounded: Count, beyond: Count, aboveReference: Count, aboveLimit: Count },
        closed,
      ),
      None,
    ]),
    symmetry: T.Union([T.Object({ rows: Count, unstable: Count, counts: T.Array(Count) }, closed), None]),
  },
  closed,
);

const Trust = T.Object(
  {
    state: T.Union([T.Literal('TRUSTED'), T.Literal('WATCH'), T.Literal('NOT_TRUSTED'), T.Literal('UNKNOWN')]),
    reasons: T.Array(
      T.Object(
        {
          code: Text,
          value: T.Number(),
          limit: T.Number(),
          reference: T.Number(),
          feature: T.Optional(Text),
        },
        closed,
      ),
    ),
    reference_digest: T.Union([Digest, None]),
  },
  closed,
);

export const Sidecar = T.Object(
  {
    v: T.Literal(1),
    shard: T.Object({ from: Count, to: Count, of: Count }, closed),
    job: Job,
    /** The file that rows were read from: its name, without folders. */
    inputFile: Text,
    rowsDigest: Digest,
    labelsDigest: T.Union([Digest, None]),
    result: T.Object({ file: Text, bytes: Count, sha256: Digest }, closed),
    statistics: Statistics,
    trust: Trust,
  },
  closed,
);
