import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { CONFIG_TEMPLATE, readAgentConfig, resolveAgentConfig } from '../../agent/config.ts';

t.test('a configuration is complete once it is resolved, and the written template changes nothing', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-config-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'config.yaml');
  const defaults = resolveAgentConfig({}, 4);
  t.match(defaults, {
    link: 'auto',
    blocks: { slots: 4, maxBlocks: 1 },
    shareModelRunners: false,
    allowOlderEpoch: false,
  });
  writeFileSync(path, CONFIG_TEMPLATE);
  t.same(readAgentConfig(path), resolveAgentConfig({}));
  t.same(readAgentConfig(join(folder, 'none.yaml')), resolveAgentConfig({}));
});

t.test('a key that nobody knows is refused with its line', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-config-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'config.yaml');
  writeFileSync(path, 'link: auto\nblocks:\n  slotz: 3\n');
  t.throws(() => readAgentConfig(path), { code: 'E_BAD_REQUEST', message: /:3: .*slotz/ });
});

t.test('a runner gets nothing of the agent’s environment', async (t) => {
  process.env.FARFIELD_TEST_TOKEN = 'secret';
  t.teardown(() => {
    delete process.env.FARFIELD_TEST_TOKEN;
  });
  t.same(Object.keys(resolveAgentConfig({}).env).sort(), ['LANG', 'PATH']);
});
