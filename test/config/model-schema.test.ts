/** config/model.schema.json is for editors; it must say of a model.json what the runner says of it. */
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { Model } from '#protos/model.ts';
import { compileSchema, type JsonSchema } from '../../runner/schema.ts';

const read = (path: string): JsonSchema =>
  JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')) as JsonSchema;
const { $schema, ...schema } = read('config/model.schema.json');

t.test('model.schema.json says what the runner checks', async (t) => {
  t.equal($schema, 'https://json-schema.org/draft/2020-12/schema');
  t.strictSame(schema, JSON.parse(JSON.stringify(Model)), 'run: node config/write-schemas.ts');
});

t.test('every model of this repository fits it, and one with an unknown key does not', async (t) => {
  const check = compileSchema(schema);
  const folders = readdirSync(new URL('../../models/', import.meta.url));
  t.ok(folders.length > 0);
  for (const folder of folders) {
    const model = read(`models/${folder}/model.json`);
    t.equal(check(model), undefined, folder);
    t.match(check({ ...model, labels: true }), /labels/, `${folder} with an unknown key`);
  }
});
