/**
 * Opens a calibration.json: checked against its schema, its own sense, and the model and variant that are loaded.
 *
 * Invariants
 *  O1 A calibration of another model is refused, whatever its name says: the digest is of what decides a prediction.
 *  O2 A calibration of another variant of the same model is taken only if the loaded one passed the golden check: its answers
 *     are then those of the reference to within the check's limit. The result says which variant was calibrated.
 *  O3 A calibration of weights that model.json does not list is refused: a model trained anew needs a new one.
 */
import { readFileSync, statSync } from 'node:fs';
import { fromUtf8, sha256Hex, utf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Calibration } from '#protos/calibration.ts';
import type { Model } from '#protos/model.ts';
import { canonical } from '../canonical.ts';
import { listedFile, type OpenModel, type VariantChoice } from '../model.ts';
import { type Check, compileSchema, type JsonSchema } from '../schema.ts';
import schemas from '../schemas.json' with { type: 'json' };
import { conformalRank } from './conformal.ts';
import { createDistance, type Distance } from './reference.ts';
import { scoreKind } from './score.ts';
import { sketchProblem, valueOfRank } from './sketch.ts';

/** A calibration has some 60 KB; this is sixteen features on 128 bins with room to spare. */
const MAX_CALIBRATION_BYTES = 1024 * 1024;

let checkCalibration: Check | undefined;

export interface OpenCalibration {
  readonly value: Calibration;
  /** `sha256:` of the file's bytes. */
  readonly digest: string;
  /** Undefined where there is no reference. */
  readonly distance: Distance | undefined;
  /** The radius of a group (undefined: the model has no groups; -1: a row in none) at a level. */
  radius(group: number | undefined, level: number): number;
}

/** sha256 of the canonical JSON of everything in model.json that decides a prediction or what a score means. */
export function decisionDigest(model: Model): string {
  const { inputs, outputs, pre, post, groups, uncertainty } = model;
  const { features, symmetries } = uncertainty ?? {};
  const decides = {
    inputs: inputs.map(({ name, shape }) => ({ name, shape })),
    outputs: outputs.map(({ name, shape, classes }) => ({ name, shape, classes })),
    pre,
    post,
    groups,
    // What it means where it is not said: a model.json that says it later decides nothing new.
    uncertainty: { score: scoreKind(model), features, symmetries },
  };
  return sha256Hex(utf8(canonical(decides)));
}

/** The calibration that model.json names; undefined where it names none. `golden`: whether that check was passed. */
export function openModelCalibration(
  open: OpenModel,
  variant: VariantChoice,
  golden: boolean,
): OpenCalibration | undefined {
  const named = open.model.uncertainty?.calibration;
  if (named === undefined) return undefined;
  const path = listedFile(open, named.file, named.sha256, MAX_CALIBRATION_BYTES);
  return readCalibration(path, named.file, open.model, variant, golden);
}

/** A calibration file that was given by path, in place of the model's own. */
export function readCalibration(
  path: string,
  name: string,
  model: Model,
  variant: VariantChoice,
  golden: boolean,
): OpenCalibration {
  const facts = statSync(path, { throwIfNoEntry: false });
  if (facts?.isFile() !== true) throw new FarfieldError('E_NOT_FOUND', `${name}: there is no such file`);
  if (facts.size > MAX_CALIBRATION_BYTES)
    throw refused(name, `has ${facts.size} bytes; a calibration has some thousand`);
  const bytes = readFileSync(path);
  const value = parse(name, bytes);
  mustMatch(name, value, model, variant, golden);
  let distance: Distance | undefined;
  if (value.reference !== undefined) {
    const { features, covariance } = value.reference;
    try {
      distance = createDistance(
        features.map(({ mean }) => mean),
        covariance,
      );
    } catch (reason) {
      throw new FarfieldError('E_MODEL', `${name}: its covariance is not one`, { cause: reason });
    }
  }
  return {
    value,
    digest: `sha256:${sha256Hex(bytes)}`,
    distance,
    radius(group, level) {
      const scores = group === undefined ? value.scores : value.groups?.bins[group]?.scores;
      return scores === undefined ? Number.POSITIVE_INFINITY : valueOfRank(scores, conformalRank(scores.n, level));
    },
  };
}

/** Schema first, then what a schema cannot say. */
function parse(name: string, bytes: Uint8Array): Calibration {
  let value: unknown;
  try {
    value = JSON.parse(fromUtf8(bytes));
  } catch (reason) {
    throw new FarfieldError('E_MODEL', `${name}: is not JSON in UTF-8`, { cause: reason });
  }
  checkCalibration ??= compileSchema(schemas.calibration as JsonSchema);
  const problem = checkCalibration(value);
  if (problem !== undefined) throw refused(name, `calibration${problem}`);
  const calibration = value as Calibration;
  const { scores, groups, reference, symmetry } = calibration;
  for (const sketch of [
    scores,
    ...(groups?.bins.map((bin) => bin.scores) ?? []),
    reference?.distances,
    symmetry?.spreads,
  ]) {
    const nonsense = sketch === undefined ? undefined : sketchProblem(sketch);
    if (nonsense !== undefined) throw refused(name, `a sketch is none: ${nonsense}`);
  }
  const d = reference?.features.length ?? 0;
  const square =
    reference === undefined || (reference.covariance.length === d && reference.covariance.every((r) => r.length === d));
  if (!square) throw refused(name, `its covariance is not ${d} x ${d}`);
  const bins = reference?.features.every(
    (f) => f.counts.length === f.edges.length + 1 && f.means.length === f.counts.length,
  );
  if (bins === false) throw refused(name, 'a histogram has as many counts and means as edges, and one more');
  return calibration;
}

/** O1 to O3. */
function mustMatch(name: string, c: Calibration, model: Model, variant: VariantChoice, golden: boolean): void {
  if (c.model.digest !== decisionDigest(model)) {
    const same = c.model.name === model.name && c.model.version === model.version;
    throw refused(
      name,
      `was made for ${c.model.name} ${c.model.version}${same ? ' with other steps, groups or features' : ''}, not for this ${model.name} ${model.version}; make one with \`farfield model calibrate\``,
    );
  }
  if (c.variant.sha256 === variant.variant.sha256) return;
  const listed = model.variants.some(({ sha256 }) => sha256 === c.variant.sha256);
  if (!listed) {
    throw refused(
      name,
      `was made for other weights (${c.variant.sha256.slice(0, 16)}…) than any variant of this model has; make one with \`farfield model calibrate\``,
    );
  }
  if (golden) return;
  throw refused(
    name,
    `was made for the variant ${c.variant.name} (${c.variant.sha256.slice(0, 16)}…), not for ${variant.name} (${variant.variant.sha256.slice(0, 16)}…), and no golden check shows that the two answer alike; make one for this variant`,
  );
}

const refused = (name: string, what: string): FarfieldError => new FarfieldError('E_MODEL', `${name}: ${what}`);
