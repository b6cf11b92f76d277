/**
 * Exact quantiles of up to MAX_ROWS errors.
 *
 * Kept as FP32, four bytes a row: errors come from FP32 predictions, so nothing is lost that was known. Rejected: a sketch
 * (KLL, t-digest), whose answer depends on the order of merging; below 10 million rows the exact answer costs 40 MB.
 */

export class Quantiles {
  #values = new Float32Array(1024);
  #length = 0;

  get n(): number {
    return this.#length;
  }

  add(values: ArrayLike<number>): void {
    const needed = this.#length + values.length;
    if (needed > this.#values.length) {
      const grown = new Float32Array(Math.max(needed, this.#values.length * 2));
      grown.set(this.#values.subarray(0, this.#length));
      this.#values = grown;
    }
    this.#values.set(values, this.#length);
    this.#length = needed;
  }

  /** The quantiles at `probabilities`; NaN where there are no values. Sorts in place: order of arrival is not kept. */
  at(probabilities: readonly number[]): number[] {
    const sorted = this.#values.subarray(0, this.#length).sort();
    return probabilities.map((p) => quantileOfSorted(sorted, p));
  }
}

/** Linear interpolation between closest ranks at (n - 1) p: Hyndman and Fan's type 7, numpy's default. */
export function quantileOfSorted(sorted: ArrayLike<number>, p: number): number {
  if (sorted.length === 0) return Number.NaN;
  const rank = (sorted.length - 1) * p;
  const low = Math.floor(rank);
  const a = sorted[low] as number;
  const b = sorted[Math.min(low + 1, sorted.length - 1)] as number;
  return a + (b - a) * (rank - low);
}
