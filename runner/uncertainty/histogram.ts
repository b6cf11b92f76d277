/**
 * A histogram on fixed logarithmic bins: the same edges for every model and run, so that any two can be added.
 *
 * Bin 0 holds what is below 1e-4 (zero included), the last what is at or above 1e2; between them 8 bins a decade.
 */
export const LOWEST_EXPONENT = -4;
export const DECADES = 6;
export const BINS_PER_DECADE = 8;
export const BINS = DECADES * BINS_PER_DECADE + 2;

/** What travels: enough to draw it without this file. */
export interface Histogram {
  readonly lowest: number;
  readonly perDecade: number;
  /** counts[0]: below `lowest`; counts[i]: from lowest 10^((i-1)/perDecade) on; the last is open upwards. */
  readonly counts: readonly number[];
}

/** The bin of a value that is not negative. */
export function binOf(value: number): number {
  // Not below: zero gives -Infinity, which belongs to bin 0.
  const bin = Math.floor((Math.log10(value) - LOWEST_EXPONENT) * BINS_PER_DECADE) + 1;
  return bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin;
}

/** Adds the values to `counts`, in place. */
export function countInto(counts: number[], values: ArrayLike<number>): void {
  for (let i = 0; i < values.length; i++) {
    const bin = binOf(values[i] as number);
    counts[bin] = (counts[bin] as number) + 1;
  }
}

export function emptyCounts(): number[] {
  return new Array<number>(BINS).fill(0);
}

export function mergeCounts(a: readonly number[], b: readonly number[]): number[] {
  if (a.length !== BINS || b.length !== BINS) throw new TypeError(`a histogram has ${BINS} bins`);
  return a.map((n, i) => n + (b[i] as number));
}

export function histogramOf(counts: readonly number[]): Histogram {
  return { lowest: 10 ** LOWEST_EXPONENT, perDecade: BINS_PER_DECADE, counts };
}
