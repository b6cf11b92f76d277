/**
 * Sampled rows predicted under every symmetry of the model, ahead of the job itself: their flags are known when it writes.
 *
 * The images of a row go the whole way through the lanes (cleaning, scaling, model, post), as rows of a small source in memory.
 */
import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import { STORED } from '../dtype.ts';
import { runJob } from '../job.ts';
import type { Lanes } from '../lanes.ts';
import type { RowPlan } from '../rows.ts';
import type { RowSource } from '../sources.ts';
import type { SampledSpreads } from './judge.ts';
import { SYMMETRIES, type Symmetries, sampleRows } from './symmetry.ts';

/** A median of 512 spreads is known to 5 %. */
const DEFAULT_SAMPLES = 512;
/** Part of the rows: sampling costs eight predictions a row. */
const DEFAULT_PART = 0.05;
/** Images live in memory. */
const MAX_SAMPLED_BYTES = 64 * 1024 * 1024;

export interface SamplingParts {
  readonly clock: Clock;
  readonly lanes: Lanes;
  readonly plan: RowPlan;
  readonly samples: RowSource;
  /** Where `samples` are a part of the rows among which is chosen: then those of the chosen that lie in the part are sampled. */
  readonly partOf?: { readonly rows: number; readonly from: number } | undefined;
  readonly symmetries: Symmetries;
  readonly random: Random;
  /** Rows to sample; a twentieth of them, at most 512, where it is 0. */
  readonly wanted: number;
  readonly cancelled: () => boolean;
}

export interface Sampled extends SampledSpreads {
  /** Distance of each row's plain prediction from the mean over the symmetries. */
  readonly bias: Float32Array;
}

export async function sampleSymmetries(parts: SamplingParts): Promise<Sampled> {
  const { clock, lanes, plan, samples, symmetries, random, cancelled } = parts;
  const whole = parts.partOf ?? { rows: samples.rows, from: 0 };
  const asked = parts.wanted > 0 ? parts.wanted : Math.min(DEFAULT_SAMPLES, Math.ceil(whole.rows * DEFAULT_PART));
  const most = Math.max(1, Math.floor(MAX_SAMPLED_BYTES / (SYMMETRIES * samples.rowBytes)));
  // Chosen among all rows and then narrowed, so that the parts of a job sample the rows that the job in one piece does.
  const rows = sampleRows(whole.rows, Math.min(asked, most), random)
    .map((row) => row - whole.from)
    .filter((row) => row >= 0 && row < samples.rows);
  if (rows.length === 0) return { rows, u: new Float32Array(0), bias: new Float32Array(0) };
  const { columns } = plan.output;
  const predictions = new Float32Array(rows.length * SYMMETRIES * columns);
  await runJob({
    clock,
    lanes,
    plan: { sampleSize: plan.sample.size, columns, baselines: plan.baselines },
    samples: imagesOf(samples, rows, symmetries, plan.sample.size),
    truth: undefined,
    finished: (from, n, results) => predictions.set(results.predictions.subarray(0, n * columns), from * columns),
    cancelled,
    progress: () => {},
  });
  const spreads = rows.map((_, i) => symmetries.spread(predictions, i * SYMMETRIES * columns));
  return {
    rows,
    u: Float32Array.from(spreads, ({ u }) => u),
    bias: Float32Array.from(spreads, ({ bias }) => bias),
  };
}

/** All images of the rows, as a source in memory. */
function imagesOf(source: RowSource, rows: readonly number[], symmetries: Symmetries, size: number): RowSource {
  const { rowBytes, stored } = source;
  const images = new Uint8Array(rows.length * SYMMETRIES * rowBytes);
  const view = STORED[stored].view(images.buffer, 0, rows.length * SYMMETRIES * size);
  // Neighbouring rows are read together: a read may inflate a whole chunk.
  for (let i = 0; i < rows.length; ) {
    let n = 1;
    while (i + n < rows.length && rows[i + n] === (rows[i] as number) + n) n++;
    const bytes = new Uint8Array(n * rowBytes);
    source.readRows(rows[i] as number, n, bytes);
    const raw = STORED[stored].view(bytes.buffer, 0, n * size);
    for (let k = 0; k < n; k++) symmetries.expand(raw, k * size, view, (i + k) * SYMMETRIES * size);
    i += n;
  }
  return {
    ...source,
    rows: rows.length * SYMMETRIES,
    shape: [rows.length * SYMMETRIES, ...source.shape.slice(1)],
    chunkRows: 1,
    readRows: (from, count, target) => target.set(images.subarray(from * rowBytes, (from + count) * rowBytes)),
    [Symbol.dispose]: () => {},
  };
}
