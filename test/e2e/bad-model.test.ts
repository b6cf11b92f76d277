/**
 * Model folders that are not what they should be, at an endpoint that offers them: whoever calls one is told what is wrong with
 * the model, nothing of it runs, and the endpoint goes on serving the others.
 */
import '../leaks.ts';
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { sha256Hex } from '#kernel/bytes.ts';
import { node, model as onnx, tensor } from '../runner/onnx-bytes.ts';
import { MODEL_FOLDER, startWorld, VALIDATION } from './world.ts';

const BAD_INPUT = 7;

/** The shipped model under another name, with other bytes as its model file, digest and all. */
function modelFolder(root: string, name: string, bytes?: Uint8Array): string {
  const path = join(root, name);
  mkdirSync(path);
  for (const file of ['model.json', 'model.onnx', 'golden.h5']) cpSync(join(MODEL_FOLDER, file), join(path, file));
  const model = JSON.parse(readFileSync(join(path, 'model.json'), 'utf8')) as Record<string, unknown>;
  if (bytes !== undefined) {
    writeFileSync(join(path, 'model.onnx'), bytes);
    model.variants = [{ platform: 'onnx_onnxv1', file: 'model.onnx', sha256: sha256Hex(bytes) }];
  }
  writeFileSync(join(path, 'model.json'), JSON.stringify({ ...model, name }));
  return path;
}

t.test(
  'a model that is none, that reaches out of its folder, or that was changed is named; the others serve',
  async (t) => {
    t.setTimeout(250_000);
    const root = mkdtempSync(join(tmpdir(), 'farfield-models-'));
    t.teardown(() => rmSync(root, { recursive: true, force: true }));
    const cases = [
      [modelFolder(root, 'zip', Buffer.from('PK\x03\x04 a zip')), /model\.onnx is not an ONNX model/],
      [modelFolder(root, 'outside', onnx([node('Relu')], [tensor('../secrets.bin')])), /outside the model's folder/],
      [modelFolder(root, 'changed'), /the model folder has oms1:.*, not the oms1:.* that was signed/],
    ] as const;
    await using world = await startWorld({ models: cases.map(([folder]) => folder), readable: [root] });
    // After the endpoint measured it.
    appendFileSync(join(root, 'changed', 'model.onnx'), 'one more byte');
    const call = (manifest: string) =>
      world.farfield(
        'user',
        ...['run', manifest, '--endpoint', 'here', '--arg', `patches=endpoint:${VALIDATION}:/patches`],
        ...['--out', join(root, 'out.h5'), '--max-failures', '1', '--json'],
      );
    for (const [folder, message] of cases) {
      const manifest = `${folder}.manifest`;
      const source = folder.endsWith('changed') ? pristine(root) : folder;
      await world.json('user', 'function', 'sign', source, '--out', manifest);
      const { code, stdout } = await call(manifest);
      const text = stdout.trim().split('\n').at(-1) ?? '';
      t.equal(code, BAD_INPUT, folder);
      t.match(JSON.parse(text), { error: { message } }, folder);
    }
    const good = await call(world.bragg);
    t.equal(good.code, 0, `the shipped model serves${good.code === 0 ? '' : `: ${good.stdout}${good.stderr}`}`);
    t.match(
      await world.json('site', 'endpoint', 'status'),
      { state: 'open', work: { tickets: 0 } },
      'and the endpoint is open',
    );
  },
);

/** What the publisher signed: the folder as it was. */
function pristine(root: string): string {
  const place = join(root, 'published');
  mkdirSync(place);
  return modelFolder(place, 'changed');
}
