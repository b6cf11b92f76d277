/** Normal and Poisson numbers from an injected uniform source, for simulated counts. */
import type { Random } from '#base/random.ts';

export interface Draws {
  uniform(low: number, high: number): number;
  logUniform(low: number, high: number): number;
  /** An integer in [low, high]. */
  integer(low: number, high: number): number;
  normal(): number;
  poisson(mean: number): number;
}

/** Below this mean, multiplying uniforms is exact and short; above it their product would take `mean` draws. */
const SMALL_MEAN = 30;

export function createDraws(random: Random): Draws {
  const { uniform } = random;
  let spare: number | undefined;
  // Box and Muller; the second number of a pair waits.
  const normal = (): number => {
    if (spare !== undefined) {
      const kept = spare;
      spare = undefined;
      return kept;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  return {
    uniform: (low, high) => low + (high - low) * uniform(),
    logUniform: (low, high) => low * (high / low) ** uniform(),
    integer: (low, high) => low + Math.floor((high - low + 1) * uniform()),
    normal,
    poisson: (mean) => (mean < SMALL_MEAN ? fewPhotons(mean, uniform) : manyPhotons(mean, uniform)),
  };
}

/** Knuth's product of uniforms. */
function fewPhotons(mean: number, uniform: () => number): number {
  if (!(mean > 0)) return 0;
  const limit = Math.exp(-mean);
  let count = 0;
  for (let product = uniform(); product > limit; product *= uniform()) count++;
  return count;
}

/** Transformed rejection (W. Hörmann, Insurance: Mathematics and Economics 12, 39, 1993): about 1.2 tries a number. */
function manyPhotons(mean: number, uniform: () => number): number {
  const b = 0.931 + 2.53 * Math.sqrt(mean);
  const a = -0.059 + 0.02483 * b;
  const inverse = 1.1239 + 1.1328 / (b - 3.4);
  const logMean = Math.log(mean);
  for (;;) {
    const u = uniform() - 0.5;
    const v = 1 - uniform();
    const distance = 0.5 - Math.abs(u);
    const count = Math.floor(((2 * a) / distance + b) * u + mean + 0.43);
    if (distance >= 0.07 && v <= 0.9277 - 3.6224 / (b - 2)) return count;
    if (count < 0 || (distance < 0.013 && v > distance)) continue;
    const density = count * logMean - mean - logFactorial(count);
    if (Math.log((v * inverse) / (a / (distance * distance) + b)) <= density) return count;
  }
}

/** Stirling's series; exact to 1e-9 from 10 on, and asked for counts about SMALL_MEAN and more. */
function logFactorial(n: number): number {
  if (n < 10) {
    let sum = 0;
    for (let k = 2; k <= n; k++) sum += Math.log(k);
    return sum;
  }
  const x = n + 1;
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + 1 / (12 * x) - 1 / (360 * x ** 3);
}
