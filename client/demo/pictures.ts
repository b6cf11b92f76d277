/** Reads samples and predictions back and draws them: the best, the usual and the worst, and some by chance. */
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createSeededRandom } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { DataPlace, ShownModel } from './model.ts';
import type { Report } from './summary.ts';
import { histogramSvg, patchesSvg } from './svg.ts';
import { confusionSvg, curvesSvg, reliabilitySvg } from './svg-classes.ts';

const SEED = 'farfield demo';
/** Places in the order of errors: from the best to the worst. */
const RANKS = [0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1];
const BY_CHANCE = 4;

interface Rows extends Disposable {
  read(place: DataPlace, from: number, to: number): ArrayLike<number>;
  count(place: DataPlace): number;
}

/** Rows of HDF5 data sets. The runner reads defensively; here the file is the user's own or came with a verified digest. */
async function openRows(): Promise<Rows> {
  const { default: h5, ready } = await import('h5wasm/node');
  await ready;
  const files = new Map<string, InstanceType<typeof h5.File>>();
  const dataset = ({ file, dataset }: DataPlace) => {
    const open = files.get(file) ?? new h5.File(file, 'r');
    files.set(file, open);
    const found = open.get(dataset);
    if (found instanceof h5.Dataset) return found;
    throw new FarfieldError(
      'E_INPUT',
      `${file} has no data set ${dataset}; it holds ${open.keys().join(', ') || 'none'}`,
    );
  };
  return {
    read: (place, from, to) => dataset(place).slice([[from, to]]) as ArrayLike<number>,
    count: (place) => dataset(place).shape?.[0] ?? 0,
    [Symbol.dispose]() {
      for (const file of files.values()) file.close();
    },
  };
}

/** The signature of HDF5, which a user block may precede: the library prints pages where it is missing. */
function isHdf5(file: string): boolean {
  const fd = openSync(file, 'r');
  try {
    const found = Buffer.alloc(8);
    return [0, 512, 1024, 2048].some((at) => {
      readSync(fd, found, 0, 8, at);
      return found.toString('latin1') === '\x89HDF\r\n\x1a\n';
    });
  } finally {
    closeSync(fd);
  }
}

/** Says at once, before anything is started, what is wrong with data that a person named. */
export async function checkData(places: readonly DataPlace[]): Promise<void> {
  for (const { file } of places) {
    if (!isHdf5(file)) throw new FarfieldError('E_INPUT', `${file} is no HDF5 file`);
  }
  using rows = await openRows();
  for (const place of places) {
    try {
      rows.count(place);
    } catch (cause) {
      const why = cause instanceof FarfieldError ? cause.message : `${place.file} is no readable HDF5 file`;
      throw new FarfieldError('E_INPUT', why, { cause });
    }
  }
}

/** One row that is drawn. `truth` has the columns of the answer, or is one label. */
interface Chosen {
  readonly row: number;
  readonly label: string;
  readonly values: ArrayLike<number>;
  readonly answer: readonly number[];
  readonly truth: readonly number[] | undefined;
}

/** Writes the pictures into `folder` and returns their paths. */
export async function drawAll(
  folder: string,
  model: ShownModel,
  data: { readonly samples: DataPlace; readonly truth: DataPlace | undefined; readonly predictions: string },
  report: Report,
): Promise<string[]> {
  using rows = await openRows();
  const chosen = chooseRows(rows, model, data, 'units' in report ? report.units : '');
  const pictures: [string, string][] = [[`${model.view.rows}.svg`, samplesSvg(model, chosen)]];
  if (data.truth !== undefined) {
    const { rows: word } = model.view;
    if (report.score === 'class_probability') {
      pictures.push(['confusion.svg', confusionSvg(report, word)]);
      pictures.push(['reliability.svg', reliabilitySvg(report, word)]);
    } else {
      const title = `L2 error of ${report.n.toLocaleString('en')} ${word}`;
      pictures.push(['l2-error.svg', histogramSvg(report.histogram, report.units, report, title)]);
    }
  }
  return pictures.map(([name, text]) => {
    // A model's word for its rows names the file: never a path.
    const path = join(folder, name.replace(/[^A-Za-z0-9._-]/g, '_'));
    writeFileSync(path, text);
    return path;
  });
}

/** The samples in the way that the model declares. */
function samplesSvg({ view, title, sampleShape, classes, columns }: ShownModel, chosen: readonly Chosen[]): string {
  const place = (values: readonly number[] | undefined): [number, number] | undefined =>
    view.answer === 'point' && values !== undefined ? [values[0] ?? Number.NaN, values[1] ?? Number.NaN] : undefined;
  if (view.sample === 'image') {
    const pictures = chosen.map(({ row, label, values, answer, truth }) => ({
      row,
      label,
      values,
      predicted: place(answer),
      truth: place(truth),
    }));
    return patchesSvg(pictures, sampleShape.at(-1) ?? 1, title);
  }
  const names = classes ?? Array.from({ length: columns }, (_, i) => String(i));
  const curves = chosen.map(({ label, values, answer, truth }) => ({
    label,
    values,
    answer,
    truth: classes === undefined ? undefined : truth?.[0],
  }));
  return curvesSvg(curves, names, view.axis, title);
}

function chooseRows(
  rows: Rows,
  { columns, classes }: ShownModel,
  data: { readonly samples: DataPlace; readonly truth: DataPlace | undefined; readonly predictions: string },
  units: string,
): Chosen[] {
  const n = rows.count(data.samples);
  const predicted = rows.read({ file: data.predictions, dataset: '/pred' }, 0, n);
  const known = data.truth === undefined ? undefined : rows.read(data.truth, 0, n);
  const truthColumns = classes === undefined ? columns : 1;
  const part = (values: ArrayLike<number>, row: number, width: number): number[] =>
    Array.from({ length: width }, (_, i) => Number(values[row * width + i] ?? Number.NaN));
  const measure = classes === undefined ? distance : doubt;
  const error = (row: number): number =>
    known === undefined ? Number.NaN : measure(part(predicted, row, columns), part(known, row, truthColumns));
  return pickRows(n, known === undefined ? undefined : error).map((row) => {
    const answer = part(predicted, row, columns);
    const truth = known === undefined ? undefined : part(known, row, truthColumns);
    const label = `row ${row}${truth === undefined ? '' : `: ${rowText(classes, answer, truth, units)}`}`;
    return { row, label, values: rows.read(data.samples, row, row + 1), answer, truth };
  });
}

/** What a picture says of its row: the distance, or what was found and what is true. */
function rowText(
  classes: readonly string[] | undefined,
  answer: readonly number[],
  truth: readonly number[],
  units: string,
): string {
  if (classes === undefined) return `${distance(answer, truth).toFixed(3)} ${units}`;
  const found = answer.indexOf(Math.max(...answer));
  const [label = -1] = truth;
  if (label < 0) return `found ${classes[found]}`;
  return found === label ? `${classes[label]}, found` : `${classes[label]}, but found ${classes[found]}`;
}

const distance = (answer: readonly number[], truth: readonly number[]): number =>
  Math.hypot(...answer.map((value, i) => value - (truth[i] ?? Number.NaN)));
/** What is missing to certainty in the true class; NaN where the class is not known. */
const doubt = (answer: readonly number[], [label = -1]: readonly number[]): number => 1 - (answer[label] ?? Number.NaN);

/** By rank of their error, and by chance; all by chance where no error is known. */
function pickRows(n: number, error: ((row: number) => number) | undefined): number[] {
  const random = createSeededRandom(SEED);
  const chance = (count: number): number[] => Array.from({ length: count }, () => Math.floor(random.uniform() * n));
  if (error === undefined) return chance(RANKS.length + BY_CHANCE);
  const order = Array.from({ length: n }, (_, row) => ({ row, e: error(row) }))
    .filter(({ e }) => Number.isFinite(e))
    .sort((a, b) => a.e - b.e);
  return [...RANKS.map((rank) => order[Math.round(rank * (order.length - 1))]?.row ?? 0), ...chance(BY_CHANCE)];
}
