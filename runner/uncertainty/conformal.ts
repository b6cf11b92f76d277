/**
 * Split conformal prediction: how large an error the next row has, with a stated probability.
 *
 * With n scores of rows that training never saw, the k-th smallest, k = ceil((n + 1)(1 - a)), bounds the next score with
 * probability in [1 - a, 1 - a + 1/(n + 1)] if rows are exchangeable (Papadopoulos et al., ECML 2002; Vovk, "Conditional
 * validity of inductive conformal predictors", 2012). Given the calibration rows, the coverage is Beta(k, n + 1 - k); of m new
 * rows the number covered is then beta-binomial. Applied to each group alone (Mondrian), the same holds in each group.
 */

/** k of a level 1 - a; n + 1 where n rows are too few for the level: the radius is then infinite. */
export function conformalRank(n: number, level: number): number {
  // (n + 1) level of 0.95 and 19 rows is 19.000000000000004 in binary: what is whole but for rounding is whole.
  return Math.ceil((n + 1) * level - 1e-9);
}

/** Fewest calibration rows with which a level has a finite radius. */
export function rowsForLevel(level: number): number {
  return Math.ceil((level / (1 - level)) * (1 - 1e-9));
}

/** Expected coverage and its limits over m new rows, for n calibration rows: the part of rows inside the radius. */
export interface CoverageLimits {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/** Two-sided limits that a right calibration misses with probability `miss`, half on either side. */
export function coverageLimits(n: number, m: number, level: number, miss: number): CoverageLimits {
  const k = Math.min(conformalRank(n, level), n);
  const a = k;
  const b = n + 1 - k;
  // From the middle outwards nothing is skipped: m is at most some ten thousand.
  let low = 0;
  let high = m;
  let sum = 0;
  for (let covered = 0; covered <= m; covered++) {
    sum += Math.exp(logBetaBinomial(covered, m, a, b));
    if (sum <= miss / 2) low = covered + 1;
    if (sum < 1 - miss / 2) high = covered + 1;
  }
  return { mean: a / (a + b), low: Math.min(low, m) / m, high: Math.min(high, m) / m };
}

/** Fewest rows of m beyond the radius that chance explains with probability at most `chance`. */
export function criticalExceedances(n: number, m: number, level: number, chance: number): number {
  const k = Math.min(conformalRank(n, level), n);
  let tail = 0;
  for (let beyond = m; beyond >= 0; beyond--) {
    tail += Math.exp(logBetaBinomial(beyond, m, n + 1 - k, k));
    if (tail > chance) return beyond + 1;
  }
  return 0;
}

/** ln P(X = x) of the beta-binomial. */
function logBetaBinomial(x: number, m: number, a: number, b: number): number {
  const choose = logGamma(m + 1) - logGamma(x + 1) - logGamma(m - x + 1);
  return choose + logBeta(x + a, m - x + b) - logBeta(a, b);
}

const logBeta = (a: number, b: number): number => logGamma(a) + logGamma(b) - logGamma(a + b);

/** ln P(X >= x) of the binomial as a plain number: how likely chance alone gives so many. */
export function binomialTail(x: number, m: number, p: number): number {
  if (x <= 0) return 1;
  let sum = 0;
  for (let i = x; i <= m; i++) {
    const choose = logGamma(m + 1) - logGamma(i + 1) - logGamma(m - i + 1);
    const term = Math.exp(choose + i * Math.log(p) + (m - i) * Math.log1p(-p));
    sum += term;
    // Past the peak the terms fall faster than geometrically.
    if (i > m * p && term < sum * 1e-12) break;
  }
  return Math.min(1, sum);
}

/**
 * ln Gamma(x), x > 0, to 1e-12: the asymptotic series (Abramowitz and Stegun 6.1.41) from 10 on, and the recurrence to get
 * there.
 */
export function logGamma(x: number): number {
  let shift = 0;
  let z = x;
  for (; z < 10; z++) shift -= Math.log(z);
  const r = 1 / (z * z);
  const series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / z;
  return shift + (z - 0.5) * Math.log(z) - z + 0.5 * Math.log(2 * Math.PI) + series;
}

/** Wilson's limits of a proportion (J. Am. Stat. Assoc. 22, 209, 1927) at `z` standard deviations. */
export function wilsonLimits(right: number, n: number, z: number): readonly [number, number] {
  if (n === 0) return [0, 1];
  const p = right / n;
  const middle = p + (z * z) / (2 * n);
  const half = z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  const scale = 1 + (z * z) / n;
  return [Math.max(0, (middle - half) / scale), Math.min(1, (middle + half) / scale)];
}
