import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { EXIT } from '../../runner/exits.ts';
import { runInit } from '../../runner/init.ts';
import { openModel } from '../../runner/model.ts';
import { startRunner } from './client.ts';

const MODELS = fileURLToPath(new URL('../../models/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'farfield-init-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

interface Report {
  readonly ok: boolean;
  readonly path?: string;
  readonly notes?: readonly string[];
  readonly error?: { readonly code: string; readonly message: string };
}

async function init(...args: string[]): Promise<{ code: number; report: Report; told: string }> {
  let [out, told] = ['', ''];
  const code = await runInit(args, {
    print: (text) => {
      out += text;
    },
    complain: (text) => {
      told += text;
    },
  });
  return { code, told, report: out.startsWith('{') ? (JSON.parse(out) as Report) : { ok: false } };
}

function place(name: string, from: string): string {
  const path = join(folder, name);
  copyFileSync(join(MODELS, from), path);
  return path;
}

t.test('a model.json has the input and output of its file, and loads with its golden check', async (t) => {
  const file = place('peaks.onnx', 'braggnn/model.onnx');
  const { code, report } = await init(file, '--golden', '--name', 'my-peaks', '--version', '1.2.3');
  t.equal(code, EXIT.ok);
  const { model } = openModel(folder);
  t.match(model, {
    name: 'my-peaks',
    version: '1.2.3',
    inputs: [{ name: 'patch', datatype: 'FP32', shape: [-1, 1, 11, 11] }],
    outputs: [{ name: 'center', datatype: 'FP32', shape: [-1, 2] }],
    golden: { file: 'golden.h5', maxDistance: Number },
  });
  t.match(report.notes?.join(' '), /units.*`pre`/);
  const runner = startRunner();
  t.match(await runner.load('ort', { modelRoot: folder }), { op: 'ready' });
  await runner[Symbol.asyncDispose]();
  const { model: other } = await described('spectra/model.onnx');
  t.match(other, { inputs: [{ shape: [-1, 1, 512] }], outputs: [{ shape: [-1, 6] }] });
});

async function described(from: string): Promise<ReturnType<typeof openModel>> {
  const { code, report } = await init(place('other.onnx', from), '--force');
  t.equal(code, EXIT.ok, report.error?.message ?? '');
  return openModel(folder);
}

t.test('what cannot be described is refused, and nothing that was there is lost', async (t) => {
  const file = place('peaks.onnx', 'braggnn/model.onnx');
  const path = join(folder, 'model.json');
  writeFileSync(path, 'mine');
  const kept = await init(file);
  t.match(kept, { code: EXIT.load, report: { error: { code: 'E_CONFLICT', message: /--force/ } } });
  t.equal(readFileSync(path, 'utf8'), 'mine');
  rmSync(path);
  const text = join(folder, 'text.onnx');
  writeFileSync(text, 'no model');
  t.match(await init(text), { report: { error: { code: 'E_MODEL', message: /is not an ONNX model/ } } });
  t.match(await init(join(folder, 'none.onnx')), { report: { error: { code: 'E_NOT_FOUND' } } });
  t.match(await init(file, '--shape', '1,11'), { report: { error: { message: /has 3 axes a row, \[1, 11, 11\]/ } } });
  t.match(await init(file, '--shape', '1,11,12'), { report: { error: { message: /axis 3 of patch has length 11/ } } });
  t.match(await init(), { code: EXIT.usage, told: /init FILE\.onnx/ });
  t.match(await init(file, '--nmae', 'x'), { code: EXIT.usage, told: /nmae/ });
  t.notOk(existsSync(path), 'a refusal writes nothing');
});

t.test('a model.json that its file contradicts is refused, with both sides', async (t) => {
  await described('braggnn/model.onnx');
  const path = join(folder, 'model.json');
  const text = readFileSync(path, 'utf8');
  writeFileSync(path, text.replace('"name": "patch"', '"name": "image"'));
  const runner = startRunner();
  t.match(await runner.load('ort', { modelRoot: folder }), {
    op: 'failed',
    code: 'E_MODEL',
    message: /no FP32 input image \[-1, 1, 11, 11\]; it has patch \[-1, 1, 11, 11\]/,
  });
  await runner[Symbol.asyncDispose]();
});
