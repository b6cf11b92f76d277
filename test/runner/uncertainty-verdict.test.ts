import t from 'tap';
import { createSeededRandom } from '#base/random.ts';
import type { Calibration } from '#protos/calibration.ts';
import {
  binomialTail,
  conformalRank,
  coverageLimits,
  criticalExceedances,
  rowsForLevel,
} from '../../runner/uncertainty/conformal.ts';
import { binOf, emptyCounts, medianOf } from '../../runner/uncertainty/fine-histogram.ts';
import { countInto, emptyDrift, referenceOf } from '../../runner/uncertainty/reference.ts';
import { pValue, sketchOf, sketchProblem, valueOfRank } from '../../runner/uncertainty/sketch.ts';
import { mergeStatistics, noSymmetry, type UncertaintyStatistics } from '../../runner/uncertainty/statistics.ts';
import { sampleRows } from '../../runner/uncertainty/symmetry.ts';
import { NO_MEMORY, remember } from '../../runner/uncertainty/trust-memory.ts';
import { judge, type Trust, type TrustState } from '../../runner/uncertainty/verdict.ts';
import { createDraws } from '../accuracy/draws.ts';

const draws = createDraws(createSeededRandom('verdict'));

t.test('a rank is that of split conformal prediction, and too few rows are said to be', async (t) => {
  t.equal(conformalRank(19, 0.95), 19);
  t.equal(conformalRank(18, 0.95), 19, 'more than there are');
  t.equal(rowsForLevel(0.95), 19);
  t.equal(rowsForLevel(0.9), 9);
  t.equal(valueOfRank(sketchOf(Array.from({ length: 18 }, () => 1)), 19), Number.POSITIVE_INFINITY);
});

t.test('a sketch is never below the order statistic, and exact at the usual levels', async (t) => {
  const values = Array.from({ length: 5000 }, () => Math.abs(draws.normal()));
  const sorted = [...values].sort((a, b) => a - b);
  const sketch = sketchOf(values);
  t.ok(sketch.ranks.length < 250, 'small');
  t.equal(sketchProblem(sketch), undefined);
  for (const level of [0.9, 0.95, 0.99]) {
    const rank = conformalRank(5000, level);
    t.equal(valueOfRank(sketch, rank), sorted[rank - 1], `level ${level}`);
  }
  t.ok(sorted.every((v, i) => valueOfRank(sketch, i + 1) >= v));
  for (const v of [0, 0.5, 2, 9]) {
    const exact = (1 + values.filter((w) => w >= v).length) / 5001;
    t.ok(pValue(sketch, v) >= exact && pValue(sketch, v) < exact * 1.05 + 1e-3, `p of ${v}`);
  }
});

t.test('critical values of the audit are those of the binomial where the calibration is large', async (t) => {
  t.same(
    [100, 200, 500].map((m) => criticalExceedances(1_000_000, m, 0.95, 0.01)),
    [12, 19, 38],
  );
  t.ok(Math.abs(binomialTail(1, 10, 0.1) - (1 - 0.9 ** 10)) < 1e-12);
  const { mean, low, high } = coverageLimits(1000, 1000, 0.95, 0.01);
  t.ok(low < 0.93 && high > 0.965 && Math.abs(mean - 0.95) < 1e-3);
});

t.test('the median of a fine histogram is that of its values, to a bin', async (t) => {
  const counts = emptyCounts();
  for (const v of [0.01, 0.02, 0.04, 0.08, 0.16]) counts[binOf(v)] = (counts[binOf(v)] ?? 0) + 1;
  t.ok(Math.abs(medianOf(counts) / 0.04 - 1) < 0.08);
});

const reference = referenceOf(
  ['a', 'b'],
  Float64Array.from({ length: 8000 }, () => draws.normal()),
);
const scores = Array.from({ length: 4000 }, () => Math.abs(draws.normal()));
const value = {
  n: 4000,
  summary: { mean: 0.8, std: 0.6, p95: 1.96, p95Limits: [1.9, 2.02] },
  scores: sketchOf(scores),
  reference,
  symmetry: { rows: 1000, median: 0.1, spreads: sketchOf(scores) },
} as unknown as Calibration;
const calibration = { value, digest: 'sha256:x' };

/** A job of `rows` rows whose first feature is moved by `shift`. */
function job(rows: number, shift: number, more: Partial<UncertaintyStatistics> = {}): UncertaintyStatistics {
  const drift = reference.features.map(({ edges }, i) => {
    const counts = emptyDrift(edges.length);
    for (let row = 0; row < rows; row++) countInto(counts, edges, draws.normal() + (i === 0 ? shift : 0));
    return counts;
  });
  const outliers = { n: rows, below: 0 };
  return {
    v: 1,
    calibration: 'sha256:x',
    rows,
    flags: {},
    groups: [],
    outliers,
    drift,
    scores: null,
    symmetry: null,
    ...more,
  };
}

const end = (statistics: UncertaintyStatistics): string => {
  const { state, reasons } = judge(calibration, statistics);
  return [state, ...reasons.map(({ code }) => code)].join(' ');
};

t.test('the verdict follows its table: one unlabelled signal warns, two agree', async (t) => {
  t.equal(end(job(1000, 0)), 'TRUSTED');
  t.equal(end(job(1000, 0.2)), 'WATCH drift_w1');
  t.equal(end(job(1000, 1)), 'WATCH drift_psi drift_w1', 'however far: two measures of one signal');
  t.equal(end(job(1000, 0, { outliers: { n: 1000, below: 30 } })), 'WATCH ood');
  t.equal(end(job(1000, 1, { outliers: { n: 1000, below: 30 } })), 'NOT_TRUSTED ood drift_psi drift_w1');
  t.equal(end(job(1000, 0, { flags: { non_finite: 100 } })), 'WATCH no_radius');
  t.equal(end(job(1000, 0, { flags: { non_finite: 600 } })), 'NOT_TRUSTED no_radius', 'many have no answer at all');
  t.equal(end(job(1000, 0, { flags: { out_of_bounds: 600 } })), 'NOT_TRUSTED no_radius');
  const bins = [4000, 10].map((n, from) => ({ from, scores: { ...sketchOf(scores), n } }));
  const grouped = { digest: 'sha256:x', value: { ...value, groups: { by: 'lit', bins } } as unknown as Calibration };
  t.match(judge(grouped, job(1000, 0, { groups: [900, 100, 0] })), {
    state: 'WATCH',
    reasons: [{ code: 'no_radius' }],
  });
  t.equal(end(job(100, 0)), 'UNKNOWN too_few_rows');
  t.equal(judge(undefined, job(1000, 0)).state, 'UNKNOWN');
});

t.test('labels speak for themselves', async (t) => {
  const of = (mean: number, beyond: number, aboveLimit = 0) => ({
    n: 1000,
    moments: { n: 1000, mean, m2: 1000 * 0.36 },
    bounded: 1000,
    beyond,
    aboveReference: aboveLimit,
    aboveLimit,
  });
  t.equal(end(job(1000, 0, { scores: of(0.8, 50) })), 'TRUSTED');
  t.equal(end(job(1000, 0, { scores: of(0.9, 50) })), 'WATCH label_mean');
  t.equal(end(job(1000, 0, { scores: of(1.2, 50) })), 'NOT_TRUSTED label_mean');
  t.equal(end(job(1000, 0, { scores: of(0.8, 50, 90) })), 'NOT_TRUSTED label_p95');
  t.equal(end(job(1000, 0, { scores: of(0.8, 90) })), 'WATCH coverage audit');
  t.equal(end(job(1000, 0, { scores: of(0.8, 200) })), 'NOT_TRUSTED coverage audit');
});

t.test('symmetry is held against the calibration’s median', async (t) => {
  const spread = (u: number) => {
    const symmetry = noSymmetry();
    const counts = [...symmetry.counts];
    counts[binOf(u)] = 200;
    return { symmetry: { rows: 200, unstable: 0, counts } };
  };
  t.equal(end(job(1000, 0, spread(0.1))), 'TRUSTED');
  t.equal(end(job(1000, 0, spread(0.14))), 'WATCH symmetry');
});

t.test('statistics of shards add up to those of the whole, in any order, and never across calibrations', async (t) => {
  const [a, b, c] = [
    job(300, 0, { flags: { constant: 2 } }),
    job(500, 0.5),
    job(200, 0, { flags: { constant: 1, saturated: 4 } }),
  ];
  const one = mergeStatistics(mergeStatistics(a, b), c);
  const other = mergeStatistics(c, mergeStatistics(b, a));
  t.same(
    one.drift.map(({ counts }) => counts),
    other.drift.map(({ counts }) => counts),
  );
  t.match(one, { rows: 1000, flags: { constant: 3, saturated: 4 }, outliers: { n: 1000 } });
  t.throws(() => mergeStatistics(a, { ...b, calibration: 'sha256:y' }), { code: 'E_CONFLICT' });
});

t.test('a bad job is believed at once, a good one after three; an audit that alarms twice is believed', async (t) => {
  const trust = (state: TrustState, audit = false): Trust => ({
    state,
    reasons: audit ? [{ code: 'audit', value: 60, limit: 50, reference: 0.05 }] : [],
    reference_digest: 'x',
  });
  const states: string[] = [];
  let memory = NO_MEMORY;
  for (const state of [
    'TRUSTED',
    'NOT_TRUSTED',
    'TRUSTED',
    'UNKNOWN',
    'TRUSTED',
    'WATCH',
    'TRUSTED',
    'TRUSTED',
    'TRUSTED',
  ] as const) {
    memory = remember(memory, trust(state));
    states.push(memory.state);
  }
  t.same(states, ['TRUSTED', ...Array(4).fill('NOT_TRUSTED'), 'WATCH', 'WATCH', 'WATCH', 'TRUSTED']);
  const once = remember(NO_MEMORY, trust('WATCH', true));
  t.equal(once.state, 'WATCH');
  t.equal(remember(once, trust('WATCH', true)).state, 'NOT_TRUSTED');
});

t.test('sampled rows are as many as asked for, increasing, in range, and decided by the seed', async (t) => {
  const rows = sampleRows(10_000, 512, createSeededRandom(3));
  t.equal(new Set(rows).size, 512);
  t.ok(rows.every((row, i) => row >= 0 && row < 10_000 && (i === 0 || row > (rows[i - 1] ?? 0))));
  t.same(sampleRows(10_000, 512, createSeededRandom(3)), rows);
  t.equal(sampleRows(40, 512, createSeededRandom(3)).length, 40);
});
