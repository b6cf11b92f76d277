/**
 * Count, mean and sum of squared deviations, mergeable.
 *
 * Within a block in two passes; between blocks by the pairwise rule of Chan, Golub and LeVeque, "Updating formulae and a
 * pairwise algorithm for computing sample variances", COMPSTAT 1982:
 *
 *     n = na + nb,  d = mb - ma,  mean = ma + d nb/n,  M2 = M2a + M2b + d^2 na nb / n
 *
 * which loses no digits where the naive sum of squares does.
 */
export interface Moments {
  readonly n: number;
  readonly mean: number;
  /** Sum of (x - mean)^2. */
  readonly m2: number;
}

export const NO_MOMENTS: Moments = { n: 0, mean: 0, m2: 0 };

/** Moments of the values at hand, in two passes: exact to rounding. */
export function momentsOf(values: ArrayLike<number>): Moments {
  const n = values.length;
  if (n === 0) return NO_MOMENTS;
  let sum = 0;
  for (let i = 0; i < n; i++) sum += values[i] as number;
  const mean = sum / n;
  let m2 = 0;
  for (let i = 0; i < n; i++) {
    const d = (values[i] as number) - mean;
    m2 += d * d;
  }
  return { n, mean, m2 };
}

/** The moments of both together; commutative and associative up to rounding. */
export function mergeMoments(a: Moments, b: Moments): Moments {
  if (a.n === 0) return b;
  if (b.n === 0) return a;
  const n = a.n + b.n;
  const d = b.mean - a.mean;
  return { n, mean: a.mean + (d * b.n) / n, m2: a.m2 + b.m2 + (d * d * a.n * b.n) / n };
}

/** Sample standard deviation (ddof 1); 0 for fewer than two values. */
export function standardDeviation({ n, m2 }: Moments): number {
  return n < 2 ? 0 : Math.sqrt(m2 / (n - 1));
}

/** Root of the mean square: sqrt(mean^2 + M2/n). */
export function rootMeanSquare({ n, mean, m2 }: Moments): number {
  return n === 0 ? 0 : Math.sqrt(mean * mean + m2 / n);
}
