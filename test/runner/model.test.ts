import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { createManualClock } from '#base/clock.ts';
import { sha256Hex } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { chooseVariant, openModel, openOnnx, probeVariants } from '../../runner/model.ts';
import { createModelCalls } from '../../runner/model-calls.ts';
import { BRAGG, startRunner } from './client.ts';
import { node, model as onnx, tensor } from './onnx-bytes.ts';

const root = mkdtempSync(join(tmpdir(), 'farfield-model-'));
t.teardown(() => rmSync(root, { recursive: true, force: true }));

type Json = Record<string, unknown>;
let made = 0;

/** The shipped model in a folder of its own, changed. */
function folder(change: (model: Json, path: string) => void): string {
  const path = join(root, String(made++));
  mkdirSync(path);
  for (const file of ['model.json', 'model.onnx', 'golden.h5']) cpSync(join(BRAGG, file), join(path, file));
  const model = JSON.parse(readFileSync(join(path, 'model.json'), 'utf8')) as Json;
  change(model, path);
  writeFileSync(join(path, 'model.json'), JSON.stringify(model));
  return path;
}

/** The folder with other bytes as its model file, digest and all. */
function withOnnx(bytes: Uint8Array, more: Json = {}): string {
  return folder((model, path) => {
    writeFileSync(join(path, 'model.onnx'), bytes);
    model.variants = [{ platform: 'onnx_onnxv1', file: 'model.onnx', sha256: sha256Hex(bytes), ...more }];
  });
}

async function failure(run: () => unknown): Promise<{ code: string; message: string }> {
  try {
    await run();
  } catch (reason) {
    if (reason instanceof FarfieldError) return reason;
    throw reason;
  }
  return { code: 'none', message: 'nothing was thrown' };
}

const openFile = async (path: string): Promise<unknown> => {
  const open = openModel(path);
  return openOnnx(open, chooseVariant(open.model, undefined).variant);
};
const load = async (path: string): Promise<unknown> => {
  const calls = createModelCalls('ort', createManualClock());
  try {
    return await calls.load({ modelRoot: path, variant: undefined, entry: {}, threads: 1, scratchDir: root });
  } finally {
    await calls.close();
  }
};

t.test('the shipped model opens, and its golden rows come out right', async (t) => {
  const open = openModel(BRAGG);
  t.equal(open.digest, sha256Hex(readFileSync(join(BRAGG, 'model.json'))));
  t.same(probeVariants(open.model), [{ variant: 'onnx_onnxv1', runs: true }]);
  t.ok(await load(BRAGG));
});

t.test('model.json is refused with the place of the mistake', async (t) => {
  const cases: readonly (readonly [string, (m: Json) => void, RegExp])[] = [
    ['an unknown key', (m) => Object.assign(m, { speed: 'fast' }), /has the unknown key "speed"/],
    ['an unknown step', (m) => Object.assign(m, { pre: [{ op: 'blur' }] }), /model\.pre\[0\]\.op must be one of/],
    ['a path outside', (m) => Object.assign((m.golden as Json) ?? {}, { file: '../x.h5' }), /does not have the form/],
    ['no batch axis', (m) => Object.assign((m.inputs as Json[])[0] ?? {}, { shape: [1, 1, 11, 11] }), /must be -1/],
    [
      'too many names',
      (m) => Object.assign((m.post as Json[])[0] ?? {}, { order: ['x', 'y', 'z'] }),
      /names 3 columns/,
    ],
    ['edges that fall', (m) => Object.assign(m, { groups: { by: 'lit_pixels', edges: [6, 3] } }), /must increase/],
  ];
  for (const [what, change, message] of cases) {
    t.match(await failure(() => openModel(folder(change))), { code: 'E_MODEL', message }, what);
  }
  const broken = folder(() => {});
  writeFileSync(join(broken, 'model.json'), '{"v": 1,');
  t.match(await failure(() => openModel(broken)), { code: 'E_MODEL', message: /not JSON/ });
  t.match(await failure(() => openModel(join(root, 'nowhere'))), { code: 'E_MODEL', message: /does not exist/ });
});

t.test('a file that is not the one of its digest is refused', async (t) => {
  const path = folder((_, p) => writeFileSync(join(p, 'model.onnx'), Buffer.from('changed')));
  t.match(await failure(() => openFile(path)), { code: 'E_MODEL', message: /not the file that model\.json names/ });
  const missing = folder((_, p) => rmSync(join(p, 'model.onnx')));
  t.match(await failure(() => openFile(missing)), { code: 'E_MODEL', message: /model\.onnx is missing/ });
});

t.test('a link out of the folder is not followed', async (t) => {
  const path = folder((_, p) => {
    rmSync(join(p, 'model.onnx'));
    symlinkSync(join(BRAGG, 'model.onnx'), join(p, 'model.onnx'));
  });
  t.match(await failure(() => openFile(path)), { code: 'E_MODEL', message: /leads outside the model's folder/ });
});

t.test('what is not an ONNX model, or wants operators of its own, is refused', async (t) => {
  t.match(await failure(() => openFile(withOnnx(Buffer.from('PK\x03\x04 a zip')))), {
    code: 'E_MODEL',
    message: /model\.onnx is not an ONNX model/,
  });
  t.match(await failure(() => openFile(withOnnx(onnx([node('Evil', 'com.example.ops')], [])))), {
    code: 'E_MODEL',
    message: /needs operators of "com\.example\.ops"/,
  });
});

t.test('external data are read from listed files inside the folder alone', async (t) => {
  for (const location of ['../secrets.bin', '/etc/hostname', 'a/../../b', '']) {
    const path = withOnnx(onnx([node('Relu')], [tensor(location)]));
    t.match(await failure(() => openFile(path)), { code: 'E_MODEL', message: /outside the model's folder/ }, location);
  }
  const unlisted = withOnnx(onnx([node('Relu')], [tensor('w.bin')]));
  t.match(await failure(() => openFile(unlisted)), { code: 'E_MODEL', message: /which model\.json does not list/ });
  const weights = Buffer.alloc(4);
  const listed = withOnnx(onnx([node('Relu')], [tensor('w.bin')]), {
    files: [{ file: 'w.bin', sha256: sha256Hex(weights) }],
  });
  writeFileSync(join(listed, 'w.bin'), weights);
  t.match(
    await openFile(listed),
    { model: join(listed, 'model.onnx') },
    'opened by path, so that the runtime finds them',
  );
  writeFileSync(join(listed, 'w.bin'), Buffer.from('evil'));
  t.match(await failure(() => openFile(listed)), { code: 'E_MODEL', message: /w\.bin is not the file/ });
});

t.test('a model without a variant for this machine says so before any work', async (t) => {
  const path = folder((m) =>
    Object.assign((m.variants as Json[])[0] ?? {}, { platform: 'tensorrt_plan', name: 'trt' }),
  );
  const open = openModel(path);
  t.match(probeVariants(open.model), [{ variant: 'trt', runs: false, reason: /no adapter here serves/ }]);
  t.match(await failure(() => chooseVariant(open.model, undefined)), { code: 'E_VARIANT_INCOMPATIBLE' });
  t.match(await failure(() => chooseVariant(open.model, 'onnx')), {
    code: 'E_VARIANT_INCOMPATIBLE',
    message: /the model has trt/,
  });
});

t.test('the golden check finds a step left out, swapped columns and a wrong unit', async (t) => {
  const changes: readonly (readonly [string, (m: Json) => void])[] = [
    [
      'no scaling of the samples',
      (m) => Object.assign(m, { pre: [{ op: 'keep_component', connectivity: 8, seed: 'brightest' }] }),
    ],
    ['answers in parts of the patch', (m) => Object.assign((m.post as Json[])[0] ?? {}, { factor: 1 })],
    ['columns swapped', (m) => (m.post as Json[]).push({ op: 'order', index: [1, 0] })],
  ];
  for (const [what, change] of changes) {
    t.match(await failure(() => load(folder(change))), { code: 'E_MODEL', message: /golden check failed/ }, what);
  }
  const cut = folder((m, p) => {
    const bytes = readFileSync(join(p, 'golden.h5')).subarray(0, 3000);
    writeFileSync(join(p, 'golden.h5'), bytes);
    Object.assign((m.golden as Json) ?? {}, { sha256: sha256Hex(bytes) });
  });
  t.match(await failure(() => load(cut)), {
    code: 'E_MODEL',
    message: /golden check: golden\.h5: not a readable HDF5 file/,
  });
});

t.test('a model file whose inputs are not the declared ones is refused', async (t) => {
  const path = folder((m) => Object.assign((m.inputs as Json[])[0] ?? {}, { name: 'image' }));
  t.match(await failure(() => load(path)), { code: 'E_MODEL' });
  const shape = folder((m) => Object.assign((m.inputs as Json[])[0] ?? {}, { shape: [-1, 1, 15, 15] }));
  t.match(await failure(() => load(shape)), { code: 'E_MODEL' });
});

t.test('describe, probe and selftest print one line of JSON and say by exit code how it went', async (t) => {
  for (const [command, found] of [
    ['describe', { ok: true, model: { name: 'bragg-nn' }, result: { columns: ['x', 'y'], units: 'px' } }],
    ['probe', { ok: true, adapter: 'ort', variants: [{ runs: true }] }],
    ['selftest', { ok: true, golden: 'passed' }],
  ] as const) {
    const runner = startRunner([command, '--model', BRAGG]);
    let out = '';
    runner.child.stdout?.removeAllListeners('data').on('data', (chunk) => {
      out += chunk;
    });
    t.equal(await runner.exit, 0, command);
    t.match(JSON.parse(out), found, command);
  }
  const runner = startRunner(['selftest', '--model', root]);
  let out = '';
  runner.child.stdout?.removeAllListeners('data').on('data', (chunk) => {
    out += chunk;
  });
  t.equal(await runner.exit, 4);
  t.match(JSON.parse(out), { ok: false, error: { code: 'E_MODEL', message: /model\.json is missing/ } });
});
