/**
 * A histogram that is fine enough to read a median from, to 2 %, and that any two jobs can add: fixed logarithmic bins, 32 a
 * decade, from 1e-6 to 1e3.
 *
 * Bin 0 holds what is below (zero included), the last what is at or above. Rejected: the histogram of the summary (8 bins a
 * decade, 33 % wide), which is for drawing; a sketch, whose answer depends on the order of merging.
 */
const LOWEST = -6;
const PER_DECADE = 32;
const BINS = 9 * PER_DECADE + 2;

export function emptyCounts(): number[] {
  return new Array<number>(BINS).fill(0);
}

/** The bin of a value that is not negative. */
export function binOf(value: number): number {
  const bin = Math.floor((Math.log10(value) - LOWEST) * PER_DECADE) + 1;
  return bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin;
}

export function mergeCounts(a: readonly number[], b: readonly number[]): number[] {
  if (a.length !== BINS || b.length !== BINS) throw new TypeError(`a fine histogram has ${BINS} bins`);
  return a.map((n, i) => n + (b[i] as number));
}

/** The median, inside its bin by the part of rows before it; NaN without rows. */
export function medianOf(counts: readonly number[]): number {
  const half = counts.reduce((sum, n) => sum + n, 0) / 2;
  if (half === 0) return Number.NaN;
  let before = 0;
  for (const [bin, n] of counts.entries()) {
    if (before + n >= half) {
      const part = (half - before) / n;
      return bin === 0 ? 10 ** LOWEST * part : 10 ** (LOWEST + (bin - 1 + part) / PER_DECADE);
    }
    before += n;
  }
  return Number.NaN;
}
