/**
 * Writes test/vectors/uncertainty.json: inputs of every formula of the error calibration, and what TypeScript makes of them. A
 * test holds TypeScript to the committed file; another holds numpy (client/python/src/farfield/uncertainty.py) to it.
 *
 *     node test/vectors/uncertainty.ts > test/vectors/uncertainty.json
 */
import { createSeededRandom } from '#base/random.ts';
import { conformalRank, coverageLimits } from '../../runner/uncertainty/conformal.ts';
import { groupOf } from '../../runner/uncertainty/l2.ts';
import {
  countInto,
  createDistance,
  emptyDrift,
  psi,
  referenceOf,
  wasserstein,
} from '../../runner/uncertainty/reference.ts';
import { pValue, sketchOf, valueOfRank } from '../../runner/uncertainty/sketch.ts';
import { createDraws } from '../accuracy/draws.ts';

const NAMES = ['a', 'b', 'c'];

export function uncertaintyVectors(): Record<string, unknown> {
  const draws = createDraws(createSeededRandom('vectors/uncertainty'));
  const scores = Array.from({ length: 1000 }, () => Math.abs(draws.normal()));
  const sketch = sketchOf(scores);
  // One feature correlated with another, one with repeated values.
  const rowsOf = (n: number, shift: number): number[] =>
    Array.from({ length: n }, () => {
      const a = draws.normal() + shift;
      return [a, 0.5 * a + draws.normal(), draws.integer(0, 3)];
    }).flat();
  const reference = referenceOf(NAMES, Float64Array.from(rowsOf(600, 0)));
  const covariance = reference.covariance;
  const fresh = rowsOf(40, 0.3);
  const distance = createDistance(
    reference.features.map(({ mean }) => mean),
    covariance,
  );
  const drift = reference.features.map((feature, i) => {
    const counts = emptyDrift(feature.edges.length);
    for (let row = 0; row < 40; row++) countInto(counts, feature.edges, fresh[row * 3 + i] as number);
    return { ...counts, psi: psi(feature, counts), wasserstein: wasserstein(feature, counts) };
  });
  const levels = [0.5, 0.68, 0.9, 0.93, 0.95, 0.999, 0.9999];
  const values = [0, 0.1, 0.77, 1.5, 2.9, 99];
  const edges = [3, 6, 12, 25];
  const features = [0, 2.9, 3, 5, 6, 24.5, 25, 1000];
  return {
    sketch,
    ranks: levels.map((level) => ({ level, rank: conformalRank(1000, level) })),
    // JSON has no infinity: a radius that is not known is null.
    radii: levels.map((level) => {
      const radius = valueOfRank(sketch, conformalRank(sketch.n, level));
      return { level, radius: Number.isFinite(radius) ? radius : null };
    }),
    pValues: values.map((value) => ({ value, p: pValue(sketch, value) })),
    groups: { edges, features, of: features.map((v) => groupOf(edges, v)) },
    reference,
    rows: fresh,
    distances: Array.from({ length: 40 }, (_, row) => distance(fresh, row * 3)),
    drift,
    coverage: [
      [1000, 500, 0.95, 0.001],
      [20, 100, 0.9, 0.01],
    ].map(([n, m, level, miss]) => ({ n, m, level, miss, ...coverageLimits(n as number, m as number, level as number, miss as number) })),
  };
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(uncertaintyVectors())}\n`);
