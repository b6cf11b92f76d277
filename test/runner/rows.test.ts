import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import type { Model } from '#protos/model.ts';
import { compileRows, type RowResults } from '../../runner/rows.ts';
import { FLAGS } from '../../runner/uncertainty/flags.ts';
import { BRAGG } from './client.ts';

const shipped = JSON.parse(readFileSync(`${BRAGG}/model.json`, 'utf8')) as Model;
const bragg: Model = {
  ...shipped,
  outputs: [
    {
      ...(shipped.outputs[0] as Model['outputs'][number]),
      bounds: [
        [-0.5, 10.5],
        [-0.5, 10.5],
      ],
    },
  ],
  baselines: ['centre_of_mass'],
};

function results(rows: number, columns: number, baselines = 1): RowResults {
  return {
    predictions: new Float32Array(rows * columns),
    flags: new Uint8Array(rows),
    features: new Float32Array(rows),
    baselines: Array.from({ length: baselines }, () => new Float32Array(rows * columns)),
  };
}

/** One sample through `pre`. */
function prepare(model: Model, raw: Float32Array | Uint16Array | Float64Array): { x: Float32Array; r: RowResults } {
  const plan = compileRows(model);
  const x = new Float32Array(plan.sample.size);
  const r = results(1, plan.output.columns);
  plan.prepare(raw, 0, x, 0, r);
  return { x, r };
}

/** The component of the brightest pixel by repeated growth: slow and obvious. */
function slowComponent(p: Float32Array): Float32Array {
  const best = p.reduce((at, v, i) => (v > (p[at] as number) ? i : at), 0);
  const kept = new Set<number>((p[best] as number) > 0 ? [best] : []);
  for (let before = -1; before !== kept.size; ) {
    before = kept.size;
    for (const i of [...kept]) {
      for (let j = 0; j < 121; j++) {
        const near = Math.abs(Math.floor(i / 11) - Math.floor(j / 11)) <= 1 && Math.abs((i % 11) - (j % 11)) <= 1;
        if (near && (p[j] as number) > 0) kept.add(j);
      }
    }
  }
  return p.map((v, i) => (kept.has(i) ? v : 0));
}

t.test('cleaning keeps the component of the brightest pixel, whatever the patch', async (t) => {
  const cleanOnly: Model = { ...bragg, pre: [{ op: 'keep_component', connectivity: 8, seed: 'brightest' }] };
  const pixel = fc.oneof(
    { weight: 3, arbitrary: fc.constant(0) },
    { weight: 2, arbitrary: fc.integer({ min: -5, max: 50 }) },
  );
  fc.assert(
    fc.property(fc.array(pixel, { minLength: 121, maxLength: 121 }), (pixels) => {
      const raw = Float32Array.from(pixels);
      const { x, r } = prepare(cleanOnly, raw);
      const slow = slowComponent(raw);
      return x.every((v, i) => v === slow[i]) && r.features[0] === slow.filter((v) => v > 0).length;
    }),
    { numRuns: 300, seed: 5 },
  );
  t.pass();
});

t.test('connectivity 4 does not step over corners', async (t) => {
  const raw = new Float32Array(121);
  raw[60] = 9;
  raw[72] = 5;
  const step = (connectivity: 4 | 8): Model => ({
    ...bragg,
    pre: [{ op: 'keep_component', connectivity, seed: 'brightest' }],
  });
  t.equal(prepare(step(8), raw).r.features[0], 2);
  t.equal(prepare(step(4), raw).r.features[0], 1);
});

t.test('min-max scaling fills 0 to 1, and passes a constant patch with a flag', async (t) => {
  const scaleOnly: Model = { ...bragg, pre: [{ op: 'minmax_per_sample' }] };
  const { x, r } = prepare(
    scaleOnly,
    Float32Array.from({ length: 121 }, (_, i) => 100 + i),
  );
  t.equal(Math.min(...x), 0);
  t.equal(Math.max(...x), 1);
  t.equal(r.flags[0], 0);
  const constant = prepare(scaleOnly, new Float32Array(121).fill(7));
  t.equal(constant.r.flags[0], FLAGS.constant);
  t.ok(constant.x.every((v) => v === 7));
});

t.test('a patch with NaN or infinity is zeroed for the model, flagged, and predicted as NaN', async (t) => {
  for (const bad of [Number.NaN, Infinity, -Infinity]) {
    const raw = new Float32Array(121).fill(3);
    raw[17] = bad;
    const plan = compileRows(bragg);
    const x = new Float32Array(121);
    const r = results(1, 2);
    plan.prepare(raw, 0, x, 0, r);
    t.ok(x.every((v) => v === 0));
    plan.finish(Float32Array.of(0.5, 0.5), 0, 0, r);
    t.equal(r.flags[0], FLAGS.non_finite);
    t.ok(r.predictions.every(Number.isNaN));
  }
});

t.test('centre of mass and lit pixels are taken after cleaning and before scaling', async (t) => {
  const raw = new Float32Array(121);
  raw[5 * 11 + 4] = 100;
  raw[5 * 11 + 5] = 300;
  raw[0] = 50;
  const { r } = prepare(bragg, raw);
  t.equal(r.features[0], 2);
  t.same([...(r.baselines[0] as Float32Array)], [4.75, 5]);
});

t.test('stored integers and doubles become the same sample as floats', async (t) => {
  const counts = Array.from({ length: 121 }, (_, i) => (i % 7) * 1000);
  const asFloat = prepare(bragg, Float32Array.from(counts)).x;
  t.same(prepare(bragg, Uint16Array.from(counts)).x, asFloat);
  t.same(prepare(bragg, Float64Array.from(counts)).x, asFloat);
});

t.test('post scales, reorders, and flags what leaves the bounds', async (t) => {
  const plan = compileRows({
    ...bragg,
    post: [
      { op: 'scale', factor: 11 },
      { op: 'order', index: [1, 0] },
    ],
  });
  const r = results(3, 2);
  const y = Float32Array.of(0.5, 0.25, 1.5, 0.5, Number.NaN, 0);
  for (let row = 0; row < 3; row++) plan.finish(y, row, row, r);
  t.same([...r.predictions.slice(0, 4)], [2.75, 5.5, 5.5, 16.5]);
  t.same([...r.flags], [0, FLAGS.out_of_bounds, FLAGS.out_of_bounds]);
});

t.test('a model without peaks needs none of what is peculiar to them', async (t) => {
  const spectrum: Model = {
    v: 1,
    name: 'spectrum',
    version: '1',
    inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 64] }],
    outputs: [{ name: 'p', datatype: 'FP32', shape: [-1, 3] }],
    batch: { axis: 0, max: 8, preferred: [8] },
    pre: [{ op: 'scale', factor: 0.5, offset: 1 }],
    post: [],
    variants: [{ platform: 'onnx_onnxv1', file: 'm.onnx', sha256: '0'.repeat(64) }],
  };
  const { x, r } = prepare(
    spectrum,
    Float32Array.from({ length: 64 }, (_, i) => i),
  );
  t.equal(x[10], 6);
  t.equal(r.flags[0], 0);
  t.same(compileRows(spectrum).output, { columns: 3, axes: ['0', '1', '2'], units: '' });
});
