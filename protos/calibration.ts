/**
 * calibration.json: what is known of a model's errors, measured on labelled rows that it was never trained on.
 *
 * It belongs to one model and one variant, says which data it was made of and what its radii bound, and holds no sample: order
 * statistics of scores by group, and a reference of the inputs (mean, covariance, histograms) that later inputs are held
 * against.
 *
 * Invariants
 *  C1 `model.digest` is of what decides a prediction, not of model.json: a title may change, and model.json names this file.
 *  C2 A sketch holds true order statistics, the largest among them; a rank that was left out is answered by the next larger
 *     one, so that a radius is never too small.
 *  C3 Numbers are finite: what was never seen (a group without rows) has n = 0, and its radius is infinite.
 */
import { type Static, Type as T } from 'typebox';

const closed = { additionalProperties: false } as const;
const Sha256 = T.String({ pattern: '^[0-9a-f]{64}$' });
const Word = T.String({ minLength: 1, maxLength: 64 });
const Text = T.String({ minLength: 1, maxLength: 400 });
const Count = T.Integer({ minimum: 0 });

/** Order statistics of n values: value[i] is the rank[i]-th smallest, ranks from 1 to n and increasing. */
export const Sketch = T.Object(
  { n: Count, ranks: T.Array(T.Integer({ minimum: 1 })), values: T.Array(T.Number()) },
  closed,
);

/**
 * One feature of the reference. `edges` are its quantiles (bin i: values above edges[i - 1], up to edges[i]); `counts` and
 * `means` are of the rows in each bin.
 */
const ReferenceFeature = T.Object(
  {
    name: Word,
    mean: T.Number(),
    sd: T.Number({ exclusiveMinimum: 0 }),
    edges: T.Array(T.Number(), { minItems: 1, maxItems: 128 }),
    counts: T.Array(Count, { minItems: 2, maxItems: 129 }),
    means: T.Array(T.Number(), { minItems: 2, maxItems: 129 }),
  },
  closed,
);

/** What a radius bounds: the distance to where the thing truly was, to a label that a fit made, or to nothing but a class. */
const Labels = T.Object({ kind: T.Union([T.Literal('truth'), T.Literal('fit')]), what: Text }, closed);

const ScoreSummary = T.Object(
  {
    mean: T.Number(),
    std: T.Number({ minimum: 0 }),
    p95: T.Number(),
    /** Limits of the 95th percentile at 99 %, by order statistics. */
    p95Limits: T.Array(T.Number(), { minItems: 2, maxItems: 2 }),
  },
  closed,
);

export const Calibration = T.Object(
  {
    v: T.Literal(1),
    /** `digest`: sha256 of the canonical JSON of what decides a prediction (C1). */
    model: T.Object({ name: Word, version: Word, digest: Sha256 }, closed),
    variant: T.Object({ name: Word, sha256: Sha256 }, closed),
    data: T.Object(
      { name: Text, rows: Count, rowsDigest: Sha256, labelsDigest: Sha256, made: T.Optional(Text) },
      closed,
    ),
    labels: Labels,
    /** `l2`: |prediction - label|. `class_probability`: 1 - p(label). */
    score: T.Union([T.Literal('l2'), T.Literal('class_probability')]),
    units: T.String({ maxLength: 64 }),
    /** Rows whose score is known; the others had no finite label or prediction. */
    n: Count,
    summary: ScoreSummary,
    scores: Sketch,
    /** By the model's groups, in their order; absent where it declares none. */
    groups: T.Optional(
      T.Object(
        { by: Word, bins: T.Array(T.Object({ from: T.Number(), scores: Sketch }, closed), { minItems: 1 }) },
        closed,
      ),
    ),
    /** The inputs; absent where the model declares no features. */
    reference: T.Optional(
      T.Object(
        {
          rows: Count,
          features: T.Array(ReferenceFeature, { minItems: 1, maxItems: 32 }),
          /** Shrunk; row by row. */
          covariance: T.Array(T.Array(T.Number(), { minItems: 1, maxItems: 32 }), { minItems: 1, maxItems: 32 }),
          shrinkage: T.Number({ minimum: 0, maximum: 1 }),
          /** Of rows that entered neither mean nor covariance. */
          distances: Sketch,
        },
        closed,
      ),
    ),
    /** Spread of the predictions under the model's symmetries; absent where it declares none. */
    symmetry: T.Optional(T.Object({ rows: Count, median: T.Number(), spreads: Sketch }, closed)),
  },
  closed,
);

export type Calibration = Static<typeof Calibration>;
export type Sketch = Static<typeof Sketch>;
export type ReferenceFeature = Static<typeof ReferenceFeature>;
