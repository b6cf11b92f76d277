/**
 * model.json: what a model takes, what it gives, and what it must be checked against.
 *
 * The runner holds no code for any one model: everything peculiar to a model (how a sample is cleaned and scaled, what the
 * output columns mean, which rows form a group) is a list of named steps here.
 *
 * Invariants
 *  M1 Every object is closed: a key that this version does not know is refused, never ignored.
 *  M2 `pre` and `post` are applied in order, once per sample (`pre`) and once per output row (`post`).
 *  M3 Files are named relative to model.json's folder, and by digest; a file that is not listed here is never read.
 *  M4 One input and one output in this version: lists, so that a later version can lift it without a new shape.
 */
import { type Static, Type as T } from 'typebox';

const closed = { additionalProperties: false } as const;

const Sha256 = T.String({ pattern: '^[0-9a-f]{64}$' });
/** A file inside the model's folder: no absolute path, no `..`, no backslash; symbolic links are checked when it is opened. */
const FileName = T.String({ pattern: '^(?!/)(?!.*(^|/)\\.\\.(/|$))[^\\\\\\u0000]{1,255}$' });
const Name = T.String({ pattern: '^[a-z0-9][a-z0-9._-]{0,63}$' });
/** A tensor or argument name. */
const Word = T.String({ minLength: 1, maxLength: 64 });

/** Open Inference Protocol names; the runner computes in FP32. */
const Datatype = T.Literal('FP32');

/** Element types that may be stored in an input file; all are converted to FP32. */
const Stored = T.Union([
  T.Literal('u1'),
  T.Literal('i1'),
  T.Literal('u2'),
  T.Literal('i2'),
  T.Literal('u4'),
  T.Literal('i4'),
  T.Literal('f4'),
  T.Literal('f8'),
]);

/** -1 is the batch axis, which comes first. */
const Shape = T.Array(T.Integer({ minimum: -1 }), { minItems: 1, maxItems: 8 });

const ModelInput = T.Object(
  {
    name: Word,
    datatype: Datatype,
    shape: Shape,
    /** Name of the argument that carries it; any single argument where absent. */
    arg: T.Optional(Word),
    /** Data set inside the file where the call names none. */
    dataset: T.Optional(T.String()),
    stored: T.Optional(T.Array(Stored, { minItems: 1 })),
    units: T.Optional(T.String()),
  },
  closed,
);

const ModelOutput = T.Object(
  {
    name: Word,
    datatype: Datatype,
    shape: Shape,
    /** Per column, after `post`: outside it a row is flagged `out_of_bounds`. */
    bounds: T.Optional(T.Array(T.Array(T.Number(), { minItems: 2, maxItems: 2 }), { minItems: 1 })),
    /**
     * Names of the classes, one a column: the columns are probabilities, truth is one whole number a row (the index of the
     * class; negative: not known), and rows are scored by the probability of the true class. Where absent, truth has the
     * columns of the output and rows are scored by their L2 distance.
     */
    classes: T.Optional(T.Array(Word, { minItems: 2, maxItems: 64, uniqueItems: true })),
  },
  closed,
);

/** Steps on one sample. */
const PreStep = T.Union([
  /** Zero all but one connected component of values above `above` (0): the one under the brightest pixel. */
  T.Object(
    {
      op: T.Literal('keep_component'),
      connectivity: T.Union([T.Literal(4), T.Literal(8)]),
      seed: T.Literal('brightest'),
      above: T.Optional(T.Number()),
    },
    closed,
  ),
  /** (p - min) / (max - min) in FP32; a constant sample passes unscaled and is flagged. */
  T.Object({ op: T.Literal('minmax_per_sample') }, closed),
  T.Object({ op: T.Literal('scale'), factor: T.Number(), offset: T.Optional(T.Number()) }, closed),
  T.Object({ op: T.Literal('cast'), datatype: Datatype }, closed),
]);

/** Steps on one output row. */
const PostStep = T.Union([
  T.Object(
    {
      op: T.Literal('scale'),
      factor: T.Number(),
      offset: T.Optional(T.Number()),
      /** What the columns are called, in order. */
      order: T.Optional(T.Array(Word, { minItems: 1 })),
      units: T.Optional(T.String()),
      /** How a coordinate is mirrored: `index` c -> size - 1 - c, `edge` c -> size - c. Used by symmetry sampling. */
      reflect: T.Optional(T.Union([T.Literal('index'), T.Literal('edge')])),
    },
    closed,
  ),
  /** Column i of the result is column index[i] of the output. */
  T.Object({ op: T.Literal('order'), index: T.Array(T.Integer({ minimum: 0 }), { minItems: 1 }) }, closed),
]);

const Variant = T.Object(
  {
    name: T.Optional(Name),
    /** Open Inference Protocol platform: the adapter is chosen by it. */
    platform: T.Union([T.Literal('onnx_onnxv1'), T.Literal('tensorrt_plan'), T.Literal('sambanova_pef')]),
    file: FileName,
    sha256: Sha256,
    precision: T.Optional(T.Union([T.Literal('FP32'), T.Literal('FP16'), T.Literal('INT8')])),
    /** Further files that the variant reads (external data of an ONNX file). */
    files: T.Optional(T.Array(T.Object({ file: FileName, sha256: Sha256 }, closed))),
  },
  closed,
);

/** One axis of a picture: its name, and the values at the outer edges of the first and the last channel. */
const ViewAxis = T.Object({ name: Word, units: T.String({ maxLength: 16 }), from: T.Number(), to: T.Number() }, closed);

const ModelView = T.Object(
  {
    /** What one row is called, and many (`peak`, `peaks`). */
    row: Word,
    rows: Word,
    /** A sample of two axes as an image, one of one axis as a curve. */
    sample: T.Union([T.Literal('image'), T.Literal('curve')]),
    /** The answer's two columns are a place (x, y) in the image, to be marked there. */
    answer: T.Optional(T.Literal('point')),
    /** Of a curve. */
    axis: T.Optional(ViewAxis),
  },
  closed,
);

/** Numbers of a raw sample, before any step; what each means stands in runner/uncertainty/features.ts. */
const Feature = T.Union([
  T.Literal('log_total'),
  T.Literal('log_max'),
  T.Literal('log_least'),
  T.Literal('log_lit'),
  T.Literal('concentration'),
  T.Literal('width'),
  T.Literal('offset'),
  T.Literal('border'),
  T.Literal('log_components'),
  T.Literal('roughness'),
]);

/** How far answers can be trusted: what is compared, looked at and sampled. Everything but `score` may be left out. */
const ModelUncertainty = T.Object(
  {
    /** `l2`: distance to the label. `class_probability`: 1 - p of the true class, for outputs that name classes. */
    score: T.Union([T.Literal('l2'), T.Literal('class_probability')]),
    /** What inputs are held against the reference by. */
    features: T.Optional(T.Array(Feature, { minItems: 1, maxItems: 16, uniqueItems: true })),
    /** Rows with a raw value at or above it are flagged; the largest value of an integer type is one in any case. */
    saturation: T.Optional(T.Number()),
    /**
     * Changes of the sample under which the answer changes in a known way. `square`: the 8 symmetries of a square sample; a
     * `point` moves with the sample (by the `reflect` of `post`), a `same` answer stays.
     */
    symmetries: T.Optional(
      T.Object({ group: T.Literal('square'), answer: T.Union([T.Literal('point'), T.Literal('same')]) }, closed),
    ),
    /** protos/calibration.ts, made for one of the variants. */
    calibration: T.Optional(T.Object({ file: FileName, sha256: Sha256 }, closed)),
  },
  closed,
);

export const Model = T.Object(
  {
    v: T.Literal(1),
    name: Name,
    version: T.String({ minLength: 1, maxLength: 64 }),
    title: T.Optional(T.String()),
    description: T.Optional(T.String()),
    licence: T.Optional(T.String()),
    inputs: T.Array(ModelInput, { minItems: 1, maxItems: 1 }),
    outputs: T.Array(ModelOutput, { minItems: 1, maxItems: 1 }),
    batch: T.Object(
      {
        axis: T.Literal(0),
        max: T.Integer({ minimum: 1 }),
        preferred: T.Array(T.Integer({ minimum: 1 }), { minItems: 1 }),
      },
      closed,
    ),
    pre: T.Array(PreStep),
    post: T.Array(PostStep),
    variants: T.Array(Variant, { minItems: 1 }),
    /**
     * Known samples and answers: a variant that answers otherwise is not served. The largest distance of a row is stated
     * once: `maxPx` where the answer is in pixels, `maxDistance` in whatever unit the columns have.
     */
    golden: T.Optional(
      T.Object(
        {
          file: FileName,
          sha256: Sha256,
          in: T.String(),
          out: T.String(),
          maxPx: T.Optional(T.Number({ exclusiveMinimum: 0 })),
          maxDistance: T.Optional(T.Number({ exclusiveMinimum: 0 })),
        },
        closed,
      ),
    ),
    /** Labelled rows that come with the model, for whoever wants to see it work: data sets of samples and of truth. */
    validation: T.Optional(T.Object({ file: FileName, sha256: Sha256, in: T.String(), truth: T.String() }, closed)),
    /**
     * Groups of rows that are summarised apart: a feature of the cleaned sample and the lower edges of its bins.
     * `lit_pixels`: values above the threshold of `keep_component`; `total`: the sum of all values.
     */
    groups: T.Optional(
      T.Object(
        {
          by: T.Union([T.Literal('lit_pixels'), T.Literal('total')]),
          edges: T.Array(T.Number(), { minItems: 1, maxItems: 16 }),
        },
        closed,
      ),
    ),
    uncertainty: T.Optional(ModelUncertainty),
    /** Cheap estimates that are scored beside the model. */
    baselines: T.Optional(T.Array(T.Literal('centre_of_mass'), { uniqueItems: true, maxItems: 4 })),
    /** For people: what rows are, and how pictures show them. Computes nothing. */
    view: T.Optional(ModelView),
  },
  closed,
);

export type Model = Static<typeof Model>;
export type PreStep = Static<typeof PreStep>;
export type PostStep = Static<typeof PostStep>;
export type ModelVariant = Static<typeof Variant>;
export type ModelView = Static<typeof ModelView>;
export type FeatureName = Static<typeof Feature>;
export type StoredType = Static<typeof Stored>;

/** Name of the argument that carries the rows: where model.json names none, the tensor's own. */
export function argName({ inputs: [input] }: Model): string {
  return input?.arg ?? input?.name ?? 'rows';
}
