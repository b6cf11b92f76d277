/** What the demo must know of the model that it shows. All of it stands in model.json: there is no code for any one model. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { assertShape } from '#kernel/schema.ts';
import { argName, Model, type ModelView } from '#protos/model.ts';

export const DEFAULT_MODEL = fileURLToPath(new URL('../../models/braggnn', import.meta.url));

export interface DataPlace {
  readonly file: string;
  readonly dataset: string;
}

export interface ShownModel {
  readonly folder: string;
  readonly name: string;
  readonly title: string;
  /** Name of the argument that carries the rows. */
  readonly arg: string;
  /** Labelled rows that came with the model. */
  readonly validation: { readonly samples: DataPlace; readonly truth: DataPlace } | undefined;
  /** Names of the classes of a classifier; undefined where the answer is a vector. */
  readonly classes: readonly string[] | undefined;
  /** Axes of one sample, without those of length 1. */
  readonly sampleShape: readonly number[];
  readonly columns: number;
  readonly view: ModelView;
}

export function readModel(folder: string): ShownModel {
  const path = join(folder, 'model.json');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new Error(`${folder} is no folder of a model: it has no readable model.json`, { cause });
  }
  const model = assertShape(Model, JSON.parse(text), 'E_MODEL', path);
  const [input] = model.inputs;
  const [output] = model.outputs;
  const sampleShape = input?.shape.slice(1).filter((n) => n !== 1) ?? [];
  const { validation } = model;
  const at = (dataset: string): DataPlace => ({ file: join(folder, validation?.file ?? ''), dataset });
  return {
    folder,
    name: model.name,
    title: model.title ?? model.name,
    arg: argName(model),
    validation: validation === undefined ? undefined : { samples: at(validation.in), truth: at(validation.truth) },
    classes: output?.classes,
    sampleShape,
    columns: output?.shape.slice(1).reduce((product, n) => product * n, 1) ?? 1,
    view: model.view ?? { row: 'row', rows: 'rows', sample: sampleShape.length === 2 ? 'image' : 'curve' },
  };
}
