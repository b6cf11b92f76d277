import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createHdf5Loader } from '../../runner/hdf5/library.ts';
import { Hdf5File, readNumbers } from '../../runner/hdf5/reader.ts';
import { VERSION } from '../../runner/serve/command.ts';
import { BRAGG } from './client.ts';
import { binaryBody, floats, type Reply, startServe } from './serve-client.ts';

const SPECTRA = fileURLToPath(new URL('../../models/spectra', import.meta.url));
const SIZE = 121;
const INFER = '/v2/models/bragg-nn/infer';
const library = await createHdf5Loader().acquire();

function numbers(path: string, dataset: string): Float64Array {
  using opened = Hdf5File.open(library, path, 'x');
  using data = opened.dataset(dataset);
  return readNumbers(data);
}

// The golden set: known samples and the answers that the model's file promises for them.
const patches = Float32Array.from(numbers(join(BRAGG, 'golden.h5'), '/patches'));
const centers = numbers(join(BRAGG, 'golden.h5'), '/center');
const rowsOf = (from: number, to: number): Float32Array => patches.slice(from * SIZE, to * SIZE);

// Starting is what takes long: one server for the whole file.
const served = startServe(BRAGG);
t.teardown(() => served[Symbol.asyncDispose]());
await served.event('ready');

interface Tensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: number[];
  readonly data?: (number | null)[];
  readonly parameters?: { readonly binary_data_size: number };
}
const outputs = ({ json }: Reply): Tensor[] => (json?.outputs ?? []) as Tensor[];
const output = (reply: Reply, name: string): Tensor => outputs(reply).find((o) => o.name === name) as Tensor;
const input = (rows: number, more: Record<string, unknown>): Record<string, unknown> => ({
  name: 'patch',
  datatype: 'FP32',
  shape: [rows, 1, 11, 11],
  ...more,
});
const post = (inputs: unknown[], more: Record<string, unknown> = {}): Promise<Reply> =>
  served.post(INFER, JSON.stringify({ inputs, ...more }));

/** Largest distance of answers from the golden ones. */
function worst(values: ArrayLike<number | null>, from = 0): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) {
    const apart = Math.abs((values[i] ?? Number.NaN) - (centers[from * 2 + i] as number));
    most = Number.isNaN(apart) ? Infinity : Math.max(most, apart);
  }
  return most;
}

t.test('metadata says what is served, and that raw samples are wanted', async (t) => {
  const server = (await served.get('/v2')).json;
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  t.same(server, { name: 'farfield-runner', version: VERSION, extensions: ['binary_tensor_data'] });
  t.equal(VERSION, version, 'the version is that of the package');
  t.same((await served.get('/v2/health/live')).json, { live: true });
  t.same((await served.get('/v2/health/ready')).json, { ready: true });
  const model = (await served.get('/v2/models/bragg-nn')).json as Record<string, unknown>;
  const { version: modelVersion } = JSON.parse(readFileSync(join(BRAGG, 'model.json'), 'utf8')) as { version: string };
  t.match(model, {
    name: 'bragg-nn',
    versions: [modelVersion],
    platform: 'onnx_onnxv1',
    inputs: [{ name: 'patch', datatype: 'FP32', shape: [-1, 1, 11, 11] }],
    outputs: [
      { name: 'center' },
      { name: 'flags', datatype: 'UINT8', shape: [-1] },
      { name: 'radius' },
      { name: 'group' },
      { name: 'ood_p' },
    ],
    parameters: { steps: /raw samples/, columns: ['x', 'y'], units: 'px', levels: [0.9, 0.95] },
  });
  const versioned = `/v2/models/bragg-nn/versions/${modelVersion}`;
  t.same((await served.get(versioned)).json, model);
  t.same((await served.get(`${versioned}/ready`)).json, { name: 'bragg-nn', ready: true });
  t.equal((await served.post(`${versioned}/infer`, JSON.stringify({ inputs: [] }))).status, 400, 'the route is there');
});

t.test('raw patches come back as the golden pixels, flat or nested, with flags and radii', async (t) => {
  const flat = await post([input(3, { data: [...rowsOf(0, 3)] })], { id: 'mine' });
  t.equal(flat.status, 200);
  t.match(flat.json, { model_name: 'bragg-nn', id: 'mine' });
  t.ok(worst(output(flat, 'center').data ?? []) < 0.01);
  t.same(output(flat, 'center').shape, [3, 2]);
  t.equal(output(flat, 'flags').data?.length, 3);
  t.ok(output(flat, 'radius').data?.every((r) => r !== null && r > 0 && r < 5));
  t.ok(output(flat, 'group').data?.every((g) => g !== null && g < 4));
  t.ok(output(flat, 'ood_p').data?.every((p) => p !== null && p > 0 && p <= 1));
  const row = (r: number): number[][] =>
    Array.from({ length: 11 }, (_, y) => [...patches.subarray(r * SIZE + y * 11, r * SIZE + (y + 1) * 11)]);
  const nested = await post([input(3, { data: [0, 1, 2].map((r) => [row(r)]) })]);
  t.same(outputs(nested), outputs(flat));
  const dropped = await post([input(3, { shape: [3, 11, 11], data: [0, 1, 2].map(row) })]);
  t.same(outputs(dropped), outputs(flat), 'axes of length 1 may be left out');
  const asked = await post([input(1, { data: [...rowsOf(0, 1)] })], { outputs: [{ name: 'flags' }] });
  t.same(
    outputs(asked).map(({ name }) => name),
    ['flags'],
  );
});

t.test('binary goes both ways, mixed with JSON as asked', async (t) => {
  const values = rowsOf(0, 4);
  const head = { inputs: [input(4, { parameters: { binary_data_size: values.byteLength } })] };
  const both = binaryBody({ ...head, parameters: { binary_data_output: true } }, values);
  const all = await served.post(INFER, both.body, both.headers);
  t.equal(all.headers['content-type'], 'application/octet-stream');
  t.same(
    outputs(all).map(({ parameters }) => parameters?.binary_data_size),
    [4 * 2 * 4, 4, 4 * 2 * 4, 4, 4 * 4],
  );
  t.equal(all.tail.byteLength, 32 + 4 + 32 + 4 + 16);
  t.ok(worst(floats(all.tail.subarray(0, 32))) < 0.01);
  const some = binaryBody(
    { ...head, outputs: [{ name: 'flags' }, { name: 'center', parameters: { binary_data: true } }] },
    values,
  );
  const mixed = await served.post(INFER, some.body, some.headers);
  t.equal(output(mixed, 'flags').data?.length, 4);
  t.same(floats(mixed.tail), floats(all.tail.subarray(0, 32)), 'the same bits');
  const raw = await served.post(INFER, Buffer.from(values.buffer), { 'inference-header-content-length': '0' });
  t.same(raw.tail, all.tail, 'a raw body is the one input, and comes back in binary');
});

t.test('counts are taken in the type in which a detector stores them; halves in binary alone', async (t) => {
  const counts = Uint16Array.from(rowsOf(0, 2), (v) => Math.round(v));
  const wide = await post([input(2, { datatype: 'UINT16', data: [...counts] })]);
  const same = await post([input(2, { datatype: 'FP64', data: [...counts] })]);
  t.same(output(wide, 'center'), output(same, 'center'));
  counts[60] = 65535;
  const cut = await post([input(2, { datatype: 'UINT16', data: [...counts] })]);
  t.ok(((output(cut, 'flags').data?.[0] ?? 0) & 64) !== 0, 'a count at the end of its type is flagged as saturated');
  // 1.0 is 0x3c00, 2048.0 is 0x6800, the smallest half 0x0001.
  const halves = new Uint16Array(SIZE).fill(0x3c00);
  halves[60] = 0x6800;
  halves[0] = 0x0001;
  const exact = new Float32Array(SIZE).fill(1);
  exact[60] = 2048;
  exact[0] = 2 ** -24;
  const size = { parameters: { binary_data_size: SIZE * 2 } };
  const binary = binaryBody({ inputs: [input(1, { datatype: 'FP16', ...size })] }, halves);
  const half = await served.post(INFER, binary.body, binary.headers);
  t.same(outputs(half), outputs(await post([input(1, { data: [...exact] })])));
  const text = await post([input(1, { datatype: 'FP16', data: [...exact] })]);
  t.match(text, { status: 400, json: { error: /FP16 has no form in JSON/ } });
});

t.test('a sample that is not finite is answered null and flagged, and spoils no other', async (t) => {
  const values = rowsOf(0, 3);
  values[SIZE + 5] = Number.NaN;
  const sent = binaryBody({ inputs: [input(3, { parameters: { binary_data_size: values.byteLength } })] }, values);
  const answer = await served.post(INFER, sent.body, sent.headers);
  const data = output(answer, 'center').data ?? [];
  t.same(data.slice(2, 4), [null, null]);
  t.equal(output(answer, 'flags').data?.[1], 4);
  t.ok(worst([...data.slice(0, 2)]) < 0.01);
  t.ok(worst([...data.slice(4)], 2) < 0.01);
  const empty = await post([input(1, { data: new Array(SIZE).fill(7) })]);
  t.ok(((output(empty, 'flags').data?.[0] ?? 0) & 8) !== 0, 'a constant patch says so');
});

t.test('many callers at once get their own rows, whatever shares a batch', async (t) => {
  const total = centers.length / 2;
  const replies = await Promise.all(
    Array.from({ length: 60 }, (_, i) => {
      const from = (i * 7) % (total - 5);
      const values = rowsOf(from, from + 1 + (i % 5));
      return served.post(INFER, Buffer.from(values.buffer), { 'inference-header-content-length': '0' });
    }),
  );
  for (const [i, answer] of replies.entries()) {
    const rows = 1 + (i % 5);
    t.equal(answer.status, 200);
    t.ok(worst(floats(answer.tail.subarray(0, rows * 8)), (i * 7) % (total - 5)) < 0.01, `request ${i}`);
  }
});

t.test('a request of more rows than a batch is spread and put together in order', async (t) => {
  const rows = 1500;
  const values = new Float32Array(rows * SIZE);
  const total = patches.length / SIZE;
  for (let r = 0; r < rows; r++) values.set(rowsOf(r % total, (r % total) + 1), r * SIZE);
  const answer = await served.post(INFER, Buffer.from(values.buffer), { 'inference-header-content-length': '0' });
  const found = floats(answer.tail.subarray(0, rows * 8));
  let most = 0;
  for (let r = 0; r < rows; r++) most = Math.max(most, worst(found.subarray(r * 2, r * 2 + 2), r % total));
  t.ok(most < 0.01, String(most));
});

t.test('a classifier is served with nothing but its own folder: probabilities and sets of classes', async (t) => {
  await using spectra = startServe(SPECTRA, ['--threads', '1']);
  await spectra.event('ready');
  const counts = Float32Array.from(numbers(join(SPECTRA, 'golden.h5'), '/spectra'));
  const expected = numbers(join(SPECTRA, 'golden.h5'), '/probability');
  const body = {
    inputs: [{ name: 'spectrum', datatype: 'FP32', shape: [2, 1, 512], data: [...counts.subarray(0, 1024)] }],
  };
  const answer = await spectra.post('/v2/models/spectra/infer', JSON.stringify(body));
  t.equal(answer.status, 200);
  const p = output(answer, 'probability').data ?? [];
  t.ok(p.every((v, i) => Math.abs((v ?? Number.NaN) - (expected[i] as number)) < 1e-3));
  const sets = output(answer, 'sets');
  t.same([sets.datatype, sets.shape], ['BOOL', [2, 2, 6]]);
  t.match((await spectra.get('/v2/models/spectra')).json, {
    parameters: { columns: ['Cr', 'Mn', 'Fe', 'Co', 'Ni', 'Cu'], units: 'probability' },
  });
});
