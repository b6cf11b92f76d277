/**
 * Per-row flags: one byte a row in the result. A flag never removes a row.
 *
 * Bits are part of the output format and are never reused. Three of them are set by methods that need an error calibration
 * or sampling; without these they stay clear, and the result says which methods ran.
 */
export const FLAGS = {
  /** The sample is unlike the reference of the error calibration. */
  out_of_distribution: 1,
  /** A prediction outside the model's declared bounds (a place outside the sample), or not a number. */
  out_of_bounds: 2,
  /** The sample holds NaN or infinity; its prediction is NaN. */
  non_finite: 4,
  /** All values of the sample are equal: it tells nothing. */
  constant: 8,
  /** Predictions under the model's symmetries disagree. */
  unstable: 16,
  /** The distance to the given truth is beyond the 95 % radius of the error calibration. */
  beyond_radius: 32,
  /** A value at the detector's saturation, or the largest that the stored type can hold: counts may have been cut off. */
  saturated: 64,
} as const;

export type FlagName = keyof typeof FLAGS;
const NAMES = Object.keys(FLAGS) as FlagName[];

export type FlagCounts = Record<FlagName, number>;

/** Counters at zero. */
export function noFlags(): FlagCounts {
  return Object.fromEntries(NAMES.map((name) => [name, 0])) as FlagCounts;
}

/** Adds a block's flags to the counters, in place. */
export function countFlags(counts: FlagCounts, flags: Uint8Array): void {
  for (const flag of flags) {
    if (flag === 0) continue;
    for (const name of NAMES) if ((flag & FLAGS[name]) !== 0) counts[name]++;
  }
}

/** The attribute that explains the byte: `out_of_distribution=1,...`. */
export function flagLegend(): string {
  return NAMES.map((name) => `${name}=${FLAGS[name]}`).join(',');
}
