/** The labelled sets that a model is scored on. */
import { existsSync, realpathSync } from 'node:fs';
import type { Random } from '#base/random.ts';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5File, readNumbers } from '../../runner/hdf5/reader.ts';
import { createDraws } from './draws.ts';
import type { OpenModel } from './predict.ts';

/** Raw patches and what their centres are held against; `limit` is the smallest RMS error that the counts allow, px. */
export interface LabelledSet {
  readonly name: string;
  readonly patches: Float32Array;
  readonly xy: Float64Array;
  readonly limit?: Float64Array;
}

const loader = createHdf5Loader();

/** Data sets of one file, whole, by their names. */
export async function readSets<K extends string>(path: string, names: readonly K[]): Promise<Record<K, Float64Array>> {
  const library = await loader.acquire();
  using file = Hdf5File.open(library, realpathSync(path), path);
  const read = (name: K): readonly [K, Float64Array] => {
    using dataset = file.dataset(`/${name}`);
    return [name, readNumbers(dataset)];
  };
  return Object.fromEntries(names.map(read)) as Record<K, Float64Array>;
}

/** The simulated validation set: against where the peaks were put, and against labels as noisy as a fit's. */
export async function simulatedSets(validation: string, limits: string): Promise<readonly LabelledSet[]> {
  const { patches, true_xy, peak_xy } = await readSets(validation, ['patches', 'true_xy', 'peak_xy']);
  const { limit } = await readSets(limits, ['limit']);
  const counts = Float32Array.from(patches);
  return [
    { name: 'c3_true', patches: counts, xy: true_xy, limit },
    { name: 'c3_noisy', patches: counts, xy: peak_xy },
  ];
}

/** Real peaks, whose labels are fits: determined rows alone, and bright peaks made weak. Nothing where the file is absent. */
export async function realSets(path: string, model: OpenModel, random: Random): Promise<readonly LabelledSet[]> {
  if (!existsSync(path)) return [];
  const { patches, peak_xy } = await readSets(path, ['patches', 'peak_xy']);
  const counts = Float32Array.from(patches);
  const area = model.size ** 2;
  const lit = litPixels(model.clean(counts), area);
  const determined = pick({ name: 'real_determined', patches: counts, xy: peak_xy }, (row) => (lit[row] ?? 0) >= 12);
  return [determined, weaken(counts, peak_xy, model, random)];
}

export function litPixels(patches: Float32Array, area: number): Uint16Array {
  return Uint16Array.from({ length: patches.length / area }, (_, row) => {
    let lit = 0;
    for (let i = row * area; i < (row + 1) * area; i++) if ((patches[i] as number) > 0) lit++;
    return lit;
  });
}

function pick({ name, patches, xy }: LabelledSet, keep: (row: number) => boolean): LabelledSet {
  const rows = xy.length / 2;
  const area = patches.length / rows;
  const kept = Array.from({ length: rows }, (_, row) => row).filter(keep);
  const chosen = new Float32Array(kept.length * area);
  kept.forEach((row, k) => {
    chosen.set(patches.subarray(row * area, (row + 1) * area), k * area);
  });
  return {
    name,
    patches: chosen,
    xy: Float64Array.from(kept.flatMap((row) => [...xy.subarray(2 * row, 2 * row + 2)])),
  };
}

const WEAKENED_DRAWS = 6;
const BRIGHT_LIT = 30;
const BRIGHT_TIMES_THRESHOLD = 12;
/** New maximum over the threshold, log-uniform. */
const WEAK_TOP = [1.3, 8] as const;
const WEAK_GAIN = 5;
/** Read noise over the threshold. */
const WEAK_READ = 0.12;

/**
 * Bright real peaks as they would look in a weaker exposure: the fit of the bright patch is as good as truth, and no row has
 * a label that was fitted to few pixels. Counts are scaled down, drawn anew, thresholded, cleaned, and put on the brightest
 * pixel; rows with fewer than 3 lit pixels are dropped.
 */
export function weaken(patches: Float32Array, xy: Float64Array, model: OpenModel, random: Random): LabelledSet {
  const draws = createDraws(random);
  const { size } = model;
  const area = size * size;
  const threshold = patches.reduce((least, v) => (v > 0 && v < least ? v : least), Number.POSITIVE_INFINITY);
  const lit = litPixels(patches, area);
  const out: Float32Array[] = [];
  const truth: number[] = [];
  for (let row = 0; row < lit.length; row++) {
    const peak = patches.subarray(row * area, (row + 1) * area);
    const top = peak.reduce((most, v) => Math.max(most, v), 0);
    if ((lit[row] as number) < BRIGHT_LIT || top < BRIGHT_TIMES_THRESHOLD * threshold) continue;
    for (let draw = 0; draw < WEAKENED_DRAWS; draw++) {
      const scale = (threshold * draws.logUniform(...WEAK_TOP)) / top;
      const counts = peak.map((v) => {
        const drawn = WEAK_GAIN * draws.poisson((v * scale) / WEAK_GAIN) + WEAK_READ * threshold * draws.normal();
        return drawn < threshold ? 0 : drawn;
      });
      const { patch, dx, dy } = recentre(model.clean(counts), size);
      if ((litPixels(patch, area)[0] as number) < 3) continue;
      out.push(patch);
      truth.push((xy[2 * row] as number) + dx, (xy[2 * row + 1] as number) + dy);
    }
  }
  const joined = new Float32Array(out.length * area);
  out.forEach((patch, k) => {
    joined.set(patch, k * area);
  });
  return { name: 'real_weakened', patches: joined, xy: Float64Array.from(truth) };
}

/** Moves the brightest pixel to the middle; what comes in from outside is dark. */
export function recentre(patch: Float32Array, size: number): { patch: Float32Array; dx: number; dy: number } {
  const best = patch.reduce((at, v, i) => (v > (patch[at] as number) ? i : at), 0);
  const middle = Math.floor(size / 2);
  const dx = middle - (best % size);
  const dy = middle - Math.floor(best / size);
  const moved = new Float32Array(patch.length);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const [fromX, fromY] = [x - dx, y - dy];
      if (fromX < 0 || fromX >= size || fromY < 0 || fromY >= size) continue;
      moved[y * size + x] = patch[fromY * size + fromX] as number;
    }
  }
  return { patch: moved, dx, dy };
}
