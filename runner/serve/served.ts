/** What a loaded model looks like to callers of `serve`: its tensors, what it takes, and its metadata. */
import { FarfieldError } from '#kernel/errors.ts';
import type { Model } from '#protos/model.ts';
import type { VariantChoice } from '../model.ts';
import type { RowPlan } from '../rows.ts';
import type { OpenCalibration } from '../uncertainty/calibration.ts';
import { flagLegend } from '../uncertainty/flags.ts';
import { createRowJudge, type RowJudge } from '../uncertainty/judge.ts';
import { boundsText, groupsText } from '../uncertainty/report.ts';
import type { RowAnswers } from './batcher.ts';
import { MAX_REQUEST_BYTES } from './limits.ts';
import { acceptedDatatypes } from './tensors.ts';

/** How the runner's results become a tensor; `perRow` values of each row. */
export interface ServedOutput {
  readonly name: string;
  readonly datatype: 'FP32' | 'UINT8' | 'BOOL';
  readonly shape: readonly number[];
  readonly perRow: number;
  readonly bytes: number;
  readonly from: keyof RowAnswers;
}

export interface ServedModel {
  readonly name: string;
  readonly version: string;
  readonly input: { readonly name: string; readonly datatype: string; readonly shape: readonly number[] };
  /** Datatypes that values may be sent as. */
  readonly accepts: readonly string[];
  /** Values of one row. */
  readonly sampleSize: number;
  /** No request can carry more (one byte a value is the least), and no answer may be larger than a request. */
  readonly maxRows: number;
  readonly outputs: readonly ServedOutput[];
  /** The end of a message: what would have been right. */
  readonly needs: string;
  readonly judge: RowJudge;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** As much of what `load` made as callers can see. */
export interface ServedParts {
  readonly open: { readonly model: Model; readonly digest: string };
  readonly variant: VariantChoice;
  readonly plan: RowPlan;
  readonly calibration: OpenCalibration | undefined;
}

export function describeServed(parts: ServedParts): ServedModel {
  const { open, plan, calibration } = parts;
  const { model } = open;
  const [input] = model.inputs;
  if (input === undefined) throw new TypeError('a model has an input');
  const judge = createRowJudge({ model, columns: plan.output.columns, calibration });
  const outputs = servedOutputs(parts, judge);
  const accepts = acceptedDatatypes(input.stored);
  const answerBytes = outputs.reduce((sum, { perRow, bytes }) => sum + perRow * bytes, 0);
  const shape = `[n${input.shape
    .slice(1)
    .map((n) => `, ${n}`)
    .join('')}]`;
  return {
    name: model.name,
    version: model.version,
    input: { name: input.name, datatype: input.datatype, shape: input.shape },
    accepts,
    sampleSize: plan.sample.size,
    maxRows: Math.max(1, Math.floor(MAX_REQUEST_BYTES / Math.max(plan.sample.size, answerBytes))),
    outputs,
    needs: `${model.name} takes the input "${input.name}" of shape ${shape} as ${accepts.join(', ')}`,
    judge,
    metadata: metadata(parts, accepts, outputs, judge),
  };
}

/**
 * The model's own output after `post`, and what the runner says of each row: flags always; radii, groups, p-values and sets where there is
 * an error calibration. Radii belong to the answer: a caller should have to leave them out, not to ask for them.
 */
function servedOutputs({ open, plan, calibration }: ServedParts, judge: RowJudge): ServedOutput[] {
  const [own] = open.model.outputs;
  if (own === undefined) throw new TypeError('a model has an output');
  const { columns } = plan.output;
  const levels = judge.levels.length;
  const outputs: ServedOutput[] = [
    { name: own.name, datatype: 'FP32', shape: own.shape, perRow: columns, bytes: 4, from: 'predictions' },
    { name: 'flags', datatype: 'UINT8', shape: [-1], perRow: 1, bytes: 1, from: 'flags' },
  ];
  if (calibration !== undefined) {
    outputs.push({ name: 'radius', datatype: 'FP32', shape: [-1, levels], perRow: levels, bytes: 4, from: 'radius' });
    outputs.push({ name: 'group', datatype: 'UINT8', shape: [-1], perRow: 1, bytes: 1, from: 'group' });
    if (calibration.value.reference !== undefined)
      outputs.push({ name: 'ood_p', datatype: 'FP32', shape: [-1], perRow: 1, bytes: 4, from: 'p' });
  }
  if (calibration !== undefined && judge.classes) {
    const shape = [-1, levels, columns];
    outputs.push({ name: 'sets', datatype: 'BOOL', shape, perRow: levels * columns, bytes: 1, from: 'sets' });
  }
  if (outputs.slice(1).some(({ name }) => name === own.name)) {
    throw new FarfieldError(
      'E_MODEL',
      `the model's output is called ${own.name}, which serve needs for its own; rename it in model.json`,
    );
  }
  return outputs;
}

/** Metadata of the protocol; `parameters` says what it has no words for: that steps are applied here, and what columns mean. */
function metadata(
  { open, variant, plan, calibration }: ServedParts,
  accepts: readonly string[],
  outputs: readonly ServedOutput[],
  judge: RowJudge,
): Record<string, unknown> {
  const { model, digest } = open;
  const [input] = model.inputs;
  const { axes, units } = plan.output;
  return {
    name: model.name,
    versions: [model.version],
    platform: variant.variant.platform,
    inputs: [{ name: input?.name, datatype: input?.datatype, shape: input?.shape }],
    outputs: outputs.map(({ name, datatype, shape }) => ({ name, datatype, shape })),
    parameters: {
      title: model.title,
      description: model.description,
      digest: `sha256:${digest}`,
      variant: variant.name,
      steps:
        'Send raw samples: `pre` is applied to each before the model and `post` to each answer, here and not by the caller.',
      pre: model.pre,
      post: model.post,
      input_units: input?.units,
      input_datatypes: accepts,
      columns: axes,
      units,
      flags: flagLegend(),
      ...(calibration === undefined
        ? { uncertainty: 'none: the model has no error calibration' }
        : {
            uncertainty: `radius bounds: ${boundsText(calibration)}`,
            radius_units: calibration.value.units,
            levels: judge.levels,
            calibration: calibration.digest,
            groups: groupsText(model),
          }),
      not_a_number:
        'null in JSON stands for NaN (a sample that is not finite) or, as a radius, for infinity (not known)',
    },
  };
}
