/** Writes config/*.schema.json from the schemas that the programs check with: `node config/write-schemas.ts`, then `npm run format`. */
import { writeFileSync } from 'node:fs';
import type { TSchema } from 'typebox';
import { PolicyShape } from '#kernel/policy/schema.ts';
import { Model } from '#protos/model.ts';
import { AgentConfigShape } from '../agent/config.ts';
import { BrokerConfig } from '../broker/config.ts';

const SCHEMAS: Record<string, TSchema> = {
  policy: PolicyShape,
  agent: AgentConfigShape,
  broker: BrokerConfig,
  model: Model,
};

for (const [name, schema] of Object.entries(SCHEMAS)) {
  // TypeBox keeps its own marks in properties that JSON leaves out.
  const file = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    ...(JSON.parse(JSON.stringify(schema)) as object),
  };
  writeFileSync(new URL(`./${name}.schema.json`, import.meta.url), `${JSON.stringify(file, null, 2)}\n`);
}
