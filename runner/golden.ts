/**
 * The golden check: known samples through the whole path (pre, model, post), compared with the answers beside them.
 *
 * It finds a model whose steps were left out or swapped, whose file and description do not belong together, and a runtime
 * that computes differently; a model that fails is refused, never served with a warning.
 */
import type { Clock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { elementsOf } from './dtype.ts';
import type { Hdf5Library } from './hdf5/library.ts';
import { Hdf5File, readNumbers } from './hdf5/reader.ts';
import { runJob } from './job.ts';
import type { Lanes } from './lanes.ts';
import { MAX_GOLDEN_ROWS } from './limits.ts';
import { goldenLimit, listedFile, type OpenModel } from './model.ts';
import type { RowPlan } from './rows.ts';
import type { RowSource } from './sources.ts';

const MAX_GOLDEN_BYTES = 64 * 1024 * 1024;

/** Everything that a job needs: the check takes the same path as a caller's rows. */
export interface GoldenParts {
  readonly open: OpenModel;
  readonly lanes: Lanes;
  readonly plan: RowPlan;
  readonly library: Hdf5Library;
  readonly clock: Clock;
}

/** The largest distance of a row from its golden answer; throws E_MODEL where it is over the model's limit. */
export async function goldenDistance({ open, lanes, plan, library, clock }: GoldenParts): Promise<number | undefined> {
  const golden = open.model.golden;
  if (golden === undefined) return undefined;
  const path = listedFile(open, golden.file, golden.sha256, MAX_GOLDEN_BYTES);
  try {
    using file = Hdf5File.open(library, path, golden.file);
    using samples = file.dataset(golden.in);
    using answers = file.dataset(golden.out);
    const { columns } = plan.output;
    const rows = Math.min(samples.info.rows, MAX_GOLDEN_ROWS);
    const expected = readNumbers(answers);
    const sampleSize = elementsOf(samples.info.shape.slice(1));
    if (sampleSize !== plan.sample.size || expected.length !== samples.info.rows * columns) {
      throw new FarfieldError('E_MODEL', `${golden.file}: ${golden.in} and ${golden.out} do not belong together`);
    }
    const found = new Float32Array(rows * columns);
    await runJob({
      clock,
      lanes,
      plan: { sampleSize: plan.sample.size, columns, baselines: plan.baselines },
      samples: asSource(samples, rows, golden.file),
      truth: undefined,
      finished: (from, n, results) => found.set(results.predictions.subarray(0, n * columns), from * columns),
      cancelled: () => false,
      progress: () => {},
    });
    const worst = largestDistance(found, expected, columns);
    const limit = goldenLimit(golden);
    if (worst <= limit) return worst;
    throw new FarfieldError(
      'E_MODEL',
      `golden check failed: a row lies ${worst.toPrecision(3)} from its known answer, at most ${limit} is allowed`,
    );
  } catch (reason) {
    const error = FarfieldError.from(reason);
    // A golden set that cannot be read is the model's fault, whatever the code said of a caller's file.
    throw error.code === 'E_MODEL'
      ? error
      : new FarfieldError('E_MODEL', `golden check: ${error.message}`, { cause: reason });
  }
}

/** The golden samples as a source of rows that is closed by its owner. */
function asSource(samples: ReturnType<Hdf5File['dataset']>, rows: number, name: string): RowSource {
  return {
    ...samples.info,
    rows,
    name,
    format: 'hdf5',
    readRows: (from, count, target) => samples.readRows(from, count, target),
    // Its digest was checked when it was opened.
    mustBeSame: () => {},
    [Symbol.dispose]: () => {},
  };
}

/** Infinity where an answer is not a number. */
function largestDistance(found: Float32Array, expected: Float64Array, columns: number): number {
  let worst = 0;
  for (let row = 0; row < found.length / columns; row++) {
    let square = 0;
    for (let c = 0; c < columns; c++)
      square += ((found[row * columns + c] as number) - (expected[row * columns + c] as number)) ** 2;
    worst = Number.isFinite(square) ? Math.max(worst, Math.sqrt(square)) : Infinity;
  }
  return worst;
}
