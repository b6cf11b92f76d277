import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import { Compile } from 'typebox/compile';
import { Model } from '#protos/model.ts';
import { RunnerRequest } from '#protos/runner.ts';
import { compileSchema, type JsonSchema } from '../../runner/schema.ts';
import { schemasText } from '../../runner/schemas.build.ts';
import schemas from '../../runner/schemas.json' with { type: 'json' };
import { BRAGG } from './client.ts';

const model = JSON.parse(readFileSync(`${BRAGG}/model.json`, 'utf8')) as Record<string, unknown>;
const requests: unknown[] = [
  { op: 'load', adapter: 'noop', threads: 1, scratchDir: '/s', entry: { outBytes: 3 } },
  {
    op: 'run',
    items: [
      {
        id: 'a',
        args: [
          { name: 'x', type: 'npy', at: 'inline', size: 3 },
          { name: 'y', type: 'hdf5', at: 'file', path: '/p', sel: '/d', size: 3 },
        ],
        outDir: '/o',
        maxInlineBytes: 1,
        maxBytes: 2,
        seed: 1,
        uncertainty: { method: 'l2', samples: 0, level: 0.1 },
      },
    ],
  },
  { op: 'cancel', ids: ['a'] },
  { op: 'stats' },
  { op: 'close' },
];

t.test('schemas.json is what the schemas in protos say', async (t) => {
  t.same(schemas, JSON.parse(schemasText()), 'run: node runner/schemas.build.ts > runner/schemas.json');
});

t.test('a keyword that the checker does not know is refused when it is compiled', async (t) => {
  t.throws(() => compileSchema({ type: 'string', format: 'date' }));
  t.throws(() => compileSchema({ type: 'object', properties: {}, minProperties: 1 }));
});

/** The value with one place changed: a key removed, added, renamed, or a value of another kind. */
function mutate(value: unknown, path: readonly number[], change: unknown): unknown {
  if (typeof value !== 'object' || value === null || path.length === 0) return change;
  const [step = 0, ...rest] = path;
  if (Array.isArray(value)) {
    if (value.length === 0) return [change];
    const at = step % value.length;
    return value.map((v, i) => (i === at ? mutate(v, rest, change) : v));
  }
  const keys = Object.keys(value);
  const at = step % (keys.length + 1);
  if (at === keys.length) return { ...value, extra: change };
  const key = keys[at] as string;
  const record = value as Record<string, unknown>;
  if (change === undefined && rest.length === 0) {
    const { [key]: _, ...others } = record;
    return others;
  }
  return { ...record, [key]: mutate(record[key], rest, change) };
}

for (const [name, schema, valid] of [
  ['requests', RunnerRequest, requests],
  ['model.json', Model, [model]],
] as const) {
  t.test(`the checker and TypeBox agree on ${name}, right and wrong`, async (t) => {
    const ours = compileSchema(JSON.parse(JSON.stringify(schema)) as JsonSchema);
    const theirs = Compile(schema);
    for (const value of valid) t.equal(ours(value), undefined);
    let refused = 0;
    const change = fc.oneof(
      fc.constant(undefined),
      fc.jsonValue(),
      fc.constantFrom('onnx_onnxv1', 'inline', 'run', -1, 0.5, '../x', 'f4', null, true),
    );
    fc.assert(
      fc.property(fc.constantFrom(...valid), fc.array(fc.nat(12), { maxLength: 6 }), change, (value, path, to) => {
        // As it would arrive: through JSON, where nothing is undefined.
        const text = JSON.stringify(mutate(value, path, to));
        const mutant: unknown = text === undefined ? null : JSON.parse(text);
        const problem = ours(mutant);
        if (problem !== undefined) refused++;
        return (problem === undefined) === theirs.Check(mutant);
      }),
      { numRuns: 3000, seed: 7 },
    );
    t.ok(refused > 500, 'most mutants are refused');
  });
}

t.test('a refusal names the place and what was expected there', async (t) => {
  const check = compileSchema(schemas.request as JsonSchema);
  t.equal(check({ op: 'jump' }), '.op must be one of load, run, cancel, stats, close');
  t.equal(check({ op: 'stats', now: 1 }), ' has the unknown key "now"');
  t.match(check({ op: 'run', items: [{ id: 3 }] }), /^\.items\[0\]\.args is missing/);
});
