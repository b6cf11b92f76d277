/** The files in config/ are what their programs take: an example that lies costs somebody an afternoon. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import type { TSchema } from 'typebox';
import { loadYaml, readYaml } from '#base/yaml.ts';
import { utf8 } from '#kernel/bytes.ts';
import { resolvePolicy } from '#kernel/policy/resolve.ts';
import { PolicyShape } from '#kernel/policy/schema.ts';
import { AgentConfigShape, resolveAgentConfig } from '../../agent/config.ts';
import { BrokerConfig, resolveBrokerConfig } from '../../broker/config.ts';

const path = (name: string): string => new URL(`../../config/${name}`, import.meta.url).pathname;
const text = (name: string): string => readFileSync(path(name), 'utf8');

const SCHEMAS: Record<string, TSchema> = { policy: PolicyShape, agent: AgentConfigShape, broker: BrokerConfig };
const EXAMPLES: Record<string, string> = {
  policy: 'policy.example.yaml',
  agent: 'agent.example.yaml',
  broker: 'broker.example.json',
};

for (const [name, schema] of Object.entries(SCHEMAS)) {
  t.test(`${name}.schema.json says what the program checks`, async (t) => {
    const file = JSON.parse(text(`${name}.schema.json`)) as Record<string, unknown>;
    const expected = { $schema: 'https://json-schema.org/draft/2020-12/schema', ...JSON.parse(JSON.stringify(schema)) };
    t.strictSame(file, expected, 'run: node config/write-schemas.ts');
  });

  const example = EXAMPLES[name] ?? '';
  t.test(`${example} is taken, and shows every key`, async (t) => {
    const value = readYaml(path(example), schema);
    const shown = new Set(text(example).match(/[A-Za-z]+(?="?:)/g));
    const keys = Object.keys((schema as { properties?: object }).properties ?? {});
    t.ok(Object.keys(value as object).length > 0);
    t.strictSame(
      keys.filter((key) => !shown.has(key)),
      [],
    );
  });
}

t.test('the example policy resolves, and names what it should', async (t) => {
  const source = text('policy.example.yaml');
  const policy = resolvePolicy(loadYaml(source, 'policy.example.yaml').value, utf8(source));
  t.strictSame(
    policy.rules.map(({ name }) => name),
    [
      'peak models for alice and the beamline',
      'alice may try her own functions, in a container',
      'everybody known may run the smoke test',
      'visitors',
    ],
  );
  t.same([...(policy.grants?.rules ?? [])], ['visitors'], 'which one may be granted');
  t.strictSame(
    [...policy.authorities.pinned.values()].map((pin) => pin.name),
    ['alice', 'beamline-robot'],
  );
  t.ok(policy.rules.every((rule) => !rule.runtimes.has('process') || rule.functions.kind !== 'self'));
});

t.test("what the agent's example calls a default is one", async (t) => {
  const example = resolveAgentConfig(readYaml(path('agent.example.yaml'), AgentConfigShape), 4);
  const { models: _models, ledgerMaxPages: _pages, ...same } = example;
  const { models: _none, ledgerMaxPages: _unbounded, ...defaults } = resolveAgentConfig({}, 4);
  t.strictSame(same, defaults);
});

t.test('what the table of broker.json calls a default is one, and it lists every key', async (t) => {
  const { origins, retentionS, maxOpenItems, logLevel } = resolveBrokerConfig({
    v: 1,
    host: 'h',
    port: 1,
    grpcPort: 2,
    names: ['h'],
  });
  t.strictSame(
    { origins, retentionS, maxOpenItems, logLevel },
    { origins: [], retentionS: 7 * 86_400, maxOpenItems: 1_000_000, logLevel: 'info' },
  );
  const rows = [...text('README.md').matchAll(/^\| `(\w+)` \|/gm)].map((match) => match[1]);
  t.strictSame(rows, Object.keys(BrokerConfig.properties));
});

t.test('the service files name no option that does not exist in a unit', async (t) => {
  for (const unit of ['farfield-agent.service', 'farfield-broker.service']) {
    const sections = text(`systemd/${unit}`).match(/^\[\w+\]$/gm);
    t.strictSame(sections, ['[Unit]', '[Service]', '[Install]'], unit);
  }
  t.match(text('systemd/farfield-agent.service'), /^KillMode=process$/m, 'a restart ends no work');
});
