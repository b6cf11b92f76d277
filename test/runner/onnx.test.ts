import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { inspectOnnx, type OnnxFacts } from '../../runner/onnx.ts';
import { BRAGG } from './client.ts';
import { field, model, node, tensor, varint } from './onnx-bytes.ts';

const bragg = readFileSync(`${BRAGG}/model.onnx`);

t.test('a real model is read to its last byte', async (t) => {
  const facts = inspectOnnx(bragg) as OnnxFacts;
  t.equal(typeof facts, 'object');
  t.same(facts.external, []);
  t.same(facts.domains, ['']);
  t.ok(facts.irVersion >= 7);
});

t.test('external data, custom operators and subgraphs are found', async (t) => {
  const external = inspectOnnx(model([node('Relu')], [tensor('../weights.bin')])) as OnnxFacts;
  t.same(external.external, ['../weights.bin']);
  const custom = inspectOnnx(model([node('Mine', 'com.example')], [])) as OnnxFacts;
  t.same(custom.domains, ['com.example']);
  // An If whose branch holds a node of another domain and a tensor elsewhere.
  const branch = Buffer.concat([field(1, node('Deep', 'deep.domain')), field(5, tensor('/etc/weights'))]);
  const nested = node('If', '', field(5, field(6, branch)));
  const facts = inspectOnnx(model([nested], [])) as OnnxFacts;
  t.same([...facts.domains].sort(), ['', 'deep.domain']);
  t.same(facts.external, ['/etc/weights']);
});

t.test('what is not an ONNX model is said to be none', async (t) => {
  for (const bytes of [
    Buffer.alloc(0),
    Buffer.from('hello'),
    Buffer.from('{"a":1}'),
    readFileSync(`${BRAGG}/model.json`),
  ]) {
    t.type(inspectOnnx(bytes), 'string');
  }
  t.type(inspectOnnx(bragg.subarray(0, bragg.length - 1)), 'string', 'cut by one byte');
  t.type(inspectOnnx(Buffer.concat([varint(8), varint(7)])), 'string', 'a version and nothing else');
});

t.test('changed and cut bytes are judged, never thrown on', async () => {
  fc.assert(
    fc.property(
      fc.nat(bragg.length),
      fc.array(fc.tuple(fc.nat(2000), fc.nat(255)), { maxLength: 5 }),
      (cut, changes) => {
        const bytes = Buffer.from(bragg.subarray(0, cut));
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        const verdict = inspectOnnx(bytes);
        return typeof verdict === 'string' || typeof verdict === 'object';
      },
    ),
    { numRuns: 500, seed: 3 },
  );
});
