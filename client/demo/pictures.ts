/** Reads patches and predictions back and draws them: the best, the usual and the worst, and some by chance. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createSeededRandom } from '#base/random.ts';
import type { L2Report } from './summary.ts';
import { histogramSvg, type PatchPicture, patchesSvg } from './svg.ts';

export interface DataPlace {
  readonly file: string;
  readonly dataset: string;
}

const SEED = 'farfield demo';
/** Places in the order of errors: from the best to the worst. */
const RANKS = [0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1];
const BY_CHANCE = 4;

interface Rows {
  read(place: DataPlace, from: number, to: number): ArrayLike<number>;
  count(place: DataPlace): { rows: number; size: number };
}

/** Rows of HDF5 data sets. The runner reads defensively; here the file is the user's own or came with a verified digest. */
async function openRows(): Promise<Rows & Disposable> {
  const { default: h5, ready } = await import('h5wasm/node');
  await ready;
  const files = new Map<string, InstanceType<typeof h5.File>>();
  const dataset = ({ file, dataset }: DataPlace) => {
    const open = files.get(file) ?? new h5.File(file, 'r');
    files.set(file, open);
    const found = open.get(dataset);
    if (!(found instanceof h5.Dataset)) throw new Error(`${file} has no data set ${dataset}`);
    return found;
  };
  return {
    read: (place, from, to) => dataset(place).slice([[from, to]]) as ArrayLike<number>,
    count(place) {
      const [rows = 0, ...rest] = dataset(place).shape ?? [];
      return { rows, size: rest.at(-1) ?? 0 };
    },
    [Symbol.dispose]() {
      for (const file of files.values()) file.close();
    },
  };
}

/** Writes the pictures into `folder` and returns their paths. */
export async function drawAll(
  folder: string,
  patches: DataPlace,
  truth: DataPlace | undefined,
  predictions: string,
  report: L2Report,
): Promise<string[]> {
  using rows = await openRows();
  const { rows: n, size } = rows.count(patches);
  const predicted = rows.read({ file: predictions, dataset: '/pred' }, 0, n);
  const known = truth === undefined ? undefined : rows.read(truth, 0, n);
  const chosen = choose(n, predicted, known);
  const pictures = chosen.map(({ row, label }): PatchPicture => {
    const pair = (values: ArrayLike<number>): [number, number] => [
      values[2 * row] ?? Number.NaN,
      values[2 * row + 1] ?? Number.NaN,
    ];
    return {
      row,
      label,
      values: rows.read(patches, row, row + 1),
      predicted: pair(predicted),
      truth: known === undefined ? undefined : pair(known),
    };
  });
  const files = [join(folder, 'patches.svg')];
  writeFileSync(files[0] as string, patchesSvg(pictures, size, 'Diffraction patches and their centres'));
  if (known !== undefined) {
    const path = join(folder, 'l2-error.svg');
    writeFileSync(
      path,
      histogramSvg(report.histogram, report.units, report, `L2 error of ${report.n.toLocaleString('en')} peaks`),
    );
    files.push(path);
  }
  return files;
}

function choose(
  n: number,
  predicted: ArrayLike<number>,
  known: ArrayLike<number> | undefined,
): { row: number; label: string }[] {
  const random = createSeededRandom(SEED);
  const chance = (count: number): { row: number; label: string }[] =>
    Array.from({ length: count }, () => Math.floor(random.uniform() * n)).map((row) => ({ row, label: `row ${row}` }));
  if (known === undefined) return chance(RANKS.length + BY_CHANCE);
  const error = (row: number): number =>
    Math.hypot(
      (predicted[2 * row] ?? 0) - (known[2 * row] ?? 0),
      (predicted[2 * row + 1] ?? 0) - (known[2 * row + 1] ?? 0),
    );
  const order = Array.from({ length: n }, (_, row) => ({ row, e: error(row) }))
    .filter(({ e }) => Number.isFinite(e))
    .sort((a, b) => a.e - b.e);
  const ranked = RANKS.map((rank) => order[Math.round(rank * (order.length - 1))] ?? { row: 0, e: Number.NaN });
  return [...ranked, ...chance(BY_CHANCE).map(({ row }) => ({ row, e: error(row) }))].map(({ row, e }) => ({
    row,
    label: `row ${row}: ${e.toFixed(3)} px`,
  }));
}
