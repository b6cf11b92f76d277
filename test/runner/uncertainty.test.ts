import fc from 'fast-check';
import t from 'tap';
import { countFlags, FLAGS, flagLegend, noFlags } from '../../runner/uncertainty/flags.ts';
import { BINS, binOf, countInto, emptyCounts, histogramOf, mergeCounts } from '../../runner/uncertainty/histogram.ts';
import { groupOf, L2Collector, type L2Shape } from '../../runner/uncertainty/l2.ts';
import {
  mergeMoments,
  momentsOf,
  NO_MOMENTS,
  rootMeanSquare,
  standardDeviation,
} from '../../runner/uncertainty/moments.ts';
import { Quantiles, quantileOfSorted } from '../../runner/uncertainty/quantiles.ts';

const near = (a: number, b: number, tolerance = 1e-9): boolean => Math.abs(a - b) <= tolerance * (1 + Math.abs(b));
const floats = fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { maxLength: 60 });

t.test('merged moments are those of the whole, however it was cut', async () => {
  fc.assert(
    fc.property(fc.array(floats, { maxLength: 8 }), (parts) => {
      const all = momentsOf(parts.flat());
      const merged = parts.map(momentsOf).reduce(mergeMoments, NO_MOMENTS);
      return merged.n === all.n && near(merged.mean, all.mean) && near(merged.m2, all.m2, 1e-7);
    }),
    { numRuns: 300, seed: 1 },
  );
});

t.test('moments keep their digits where the sum of squares loses them', async (t) => {
  const m = [momentsOf([1e9 + 4, 1e9 + 7]), momentsOf([1e9 + 13, 1e9 + 16])].reduce(mergeMoments);
  t.equal(standardDeviation(m), Math.sqrt(30), 'ddof 1');
  t.equal(standardDeviation(momentsOf([3])), 0);
  t.ok(near(rootMeanSquare(momentsOf([3, 4])), Math.sqrt(12.5)));
});

t.test('quantiles are those of numpy', async (t) => {
  // numpy.percentile([15, 20, 35, 40, 50], [0, 5, 25, 40, 50, 95, 99.5, 100])
  const expected = [15, 16, 20, 29, 35, 48, 49.8, 50];
  const sorted = [15, 20, 35, 40, 50];
  [0, 0.05, 0.25, 0.4, 0.5, 0.95, 0.995, 1].forEach((p, i) => {
    t.ok(near(quantileOfSorted(sorted, p), expected[i] as number), `p ${p}`);
  });
  t.ok(Number.isNaN(quantileOfSorted([], 0.5)));
});

t.test('quantiles do not depend on how the values arrived, past any growth', async (t) => {
  const one = new Quantiles();
  const many = new Quantiles();
  const values = Float32Array.from({ length: 5000 }, (_, i) => Math.fround(((i * 7919) % 5000) / 7));
  one.add(values);
  for (let i = 0; i < 5000; i += 37) many.add(values.subarray(i, i + 37));
  t.same(many.at([0.5, 0.95]), one.at([0.5, 0.95]));
  t.equal(many.n, 5000);
});

t.test('the histogram has fixed edges, and counts add up', async (t) => {
  t.equal(binOf(0), 0);
  t.equal(binOf(0.9e-4), 0);
  t.equal(binOf(1.01e-4), 1);
  t.equal(binOf(99.9), BINS - 2);
  t.equal(binOf(1e9), BINS - 1);
  const a = emptyCounts();
  const b = emptyCounts();
  countInto(a, [0, 0.1, 1]);
  countInto(b, [0.1, 1000]);
  const merged = histogramOf(mergeCounts(a, b));
  t.equal(
    merged.counts.reduce((x, y) => x + y),
    5,
  );
  t.equal(merged.counts[binOf(0.1)], 2);
  t.throws(() => mergeCounts([1, 2], emptyCounts()));
  const low = merged.lowest * 10 ** ((binOf(0.5) - 1) / merged.perDecade);
  t.ok(
    low <= 0.5 && 0.5 < low * 10 ** (1 / merged.perDecade),
    'a value lies between the edges that the fields describe',
  );
});

t.test('groups are by lower edges; what lies below the first has none', async (t) => {
  t.same(
    [2, 3, 5, 6, 24, 25, 99].map((v) => groupOf([3, 6, 12, 25], v)),
    [-1, 0, 0, 1, 2, 3, 3],
  );
});

const shape: L2Shape = {
  axes: ['x', 'y'],
  units: 'px',
  groups: { by: 'lit_pixels', edges: [3, 6] },
  baselines: ['centre_of_mass'],
};

t.test('the summary is what a direct computation gives', async (t) => {
  const n = 200;
  const truth = Float64Array.from({ length: n * 2 }, (_, i) => (i * 37) % 11);
  const predictions = Float32Array.from(truth, (v, i) => v + (((i * 13) % 7) - 3) / 10);
  const features = Float32Array.from({ length: n }, (_, i) => 2 + (i % 6));
  const collector = new L2Collector(shape);
  for (const [from, to] of [
    [0, 64],
    [64, 65],
    [65, 200],
  ] as const) {
    collector.add({
      rows: to - from,
      predictions: predictions.subarray(from * 2, to * 2),
      truth: truth.subarray(from * 2, to * 2),
      features: features.subarray(from, to),
      baselines: [Float32Array.from(truth.subarray(from * 2, to * 2), (v) => v + 1)],
    });
  }
  const dx = Array.from({ length: n }, (_, i) => (predictions[2 * i] as number) - (truth[2 * i] as number));
  const dy = Array.from({ length: n }, (_, i) => (predictions[2 * i + 1] as number) - (truth[2 * i + 1] as number));
  const e = dx.map((x, i) => Math.hypot(x, dy[i] as number));
  const mean = (v: readonly number[]): number => v.reduce((a, b) => a + b, 0) / v.length;
  const std = (v: readonly number[]): number =>
    Math.sqrt(v.reduce((a, b) => a + (b - mean(v)) ** 2, 0) / (v.length - 1));
  const s = collector.summary();
  t.equal(s.n, n);
  t.ok(near(s.mean as number, mean(e), 1e-6));
  t.ok(near(s.std as number, std(e), 1e-6));
  t.ok(near(s.bias.x as number, mean(dx), 1e-6));
  t.ok(near(s.sd.y as number, std(dy), 1e-6));
  t.ok(
    near(
      s.p95 as number,
      quantileOfSorted(
        [...e].sort((a, b) => a - b),
        0.95,
      ),
      1e-6,
    ),
  );
  t.ok(near(s.max as number, Math.max(...e), 1e-6));
  const inGroup = e.filter((_, i) => (features[i] as number) >= 3 && (features[i] as number) < 6);
  t.equal(s.groups?.bins[0]?.n, inGroup.length);
  t.ok(near(s.groups?.bins[0]?.mean as number, mean(inGroup), 1e-6));
  t.ok(near(s.baselines?.centreOfMass?.mean as number, Math.SQRT2, 1e-6));
});

t.test('rows that are not finite on either side enter no statistic', async (t) => {
  const collector = new L2Collector(shape);
  collector.add({
    rows: 3,
    predictions: Float32Array.of(1, 1, Number.NaN, 0, 2, 2),
    truth: Float64Array.of(1, 2, 0, 0, Number.NaN, 2),
    features: Float32Array.of(4, 4, 4),
    baselines: [Float32Array.of(0, 0, 0, 0, 0, 0)],
  });
  const s = collector.summary();
  t.equal(s.n, 1);
  t.equal(s.mean, 1);
  t.equal(s.groups?.bins[0]?.n, 1);
  const none = new L2Collector(shape).summary();
  t.match(
    none,
    { n: 0, mean: null, p95: null, max: null, bias: { x: null } },
    'an error of 0 would be a perfect model',
  );
  t.match(none.groups?.bins[0], { n: 0, mean: null, p95: null });
});

t.test('flags are bits that are counted and explained', async (t) => {
  const counts = noFlags();
  countFlags(counts, Uint8Array.of(0, FLAGS.constant, FLAGS.constant | FLAGS.out_of_bounds));
  t.equal(counts.constant, 2);
  t.equal(counts.out_of_bounds, 1);
  t.equal(counts.non_finite, 0);
  t.match(flagLegend(), /out_of_distribution=1,out_of_bounds=2,non_finite=4,constant=8/);
});
