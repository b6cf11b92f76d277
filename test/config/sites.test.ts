/** Every site in config/sites is taken by the agent, says only what its scheduler can, and renders good bash. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { parseYaml, readYaml } from '#base/yaml.ts';
import { AgentConfigShape, resolveAgentConfig } from '../../agent/config.ts';
import { createDriver } from '../../agent/schedulers/drivers.ts';
import { renderExample } from '../../agent/schedulers/jobs.ts';
import { BATCH_SCHEDULERS, BatchShape } from '../../agent/schedulers/options.ts';

const folder = new URL('../../config/sites/', import.meta.url).pathname;
const sites = readdirSync(folder).filter((name) => name.endsWith('.yaml'));

t.test('there is a site of each kind', async (t) => {
  const schedulers = sites.map(
    (name) => resolveAgentConfig(readYaml(folder + name, AgentConfigShape), 4).blocks.scheduler,
  );
  t.strictSame(schedulers.sort(), ['gridengine', 'htcondor', 'local', 'pbs', 'slurm']);
});

for (const name of sites) {
  t.test(`${name} is taken, is explained, and renders`, async (t) => {
    const config = resolveAgentConfig(readYaml(folder + name, AgentConfigShape), 4);
    const text = readFileSync(folder + name, 'utf8').split('\n');
    t.ok(text.filter((line) => line.trim().startsWith('#')).length >= 3, 'with comments');
    const { scheduler, batch } = config.blocks;
    if (scheduler === 'local') return;
    const { files } = renderExample(
      createDriver(scheduler, batch),
      {
        endpoint: 'endpoint-id',
        config: batch,
        pilot: ['/opt/farfield/node', '/opt/farfield/pilot.mjs'],
        logFile: (block) => `/home/a/${block}/pilot.log`,
      },
      '/home/a/blocks',
    );
    const script = files.find((file) => file.executable);
    const checked = spawnSync('bash', ['--norc', '-n'], { input: script?.text ?? '', encoding: 'utf8' });
    t.equal(checked.stderr, '');
    t.equal(checked.status, 0);
    t.ok((script?.text ?? '').includes('/opt/farfield/pilot.mjs'));
    for (const line of batch.lines ?? [])
      t.ok(
        files.some((file) => file.text.includes(line)),
        line,
      );
  });
}

t.test('a key that does not exist, a scheduler that does not, and settings of another one are refused', async (t) => {
  const read = (text: string): unknown => resolveAgentConfig(parseYaml(text, AgentConfigShape, 'config.yaml'), 4);
  t.throws(() => read('blocks:\n  scheduler: slurm\n  batch:\n    acount: x\n'), { message: /acount/ });
  t.throws(() => read('blocks:\n  scheduler: torque\n'), { code: 'E_BAD_REQUEST' });
  t.throws(() => read('blocks:\n  batch:\n    account: x\n'), { message: /blocks.batch is for batch schedulers/ });
  t.throws(() => read('blocks:\n  scheduler: slurm\n  batch:\n    launcher: rsh\n'), { code: 'E_BAD_REQUEST' });
  t.match(resolveAgentConfig({ blocks: { scheduler: 'slurm', batch: { nodes: 3, wallS: 900 } } }, 4).blocks, {
    scheduler: 'slurm',
    shape: { nodes: 3, wallS: 900 },
  });
});

t.test('docs/schedulers.md names every scheduler and every option', async (t) => {
  const text = readFileSync(new URL('../../docs/schedulers.md', import.meta.url), 'utf8');
  for (const name of BATCH_SCHEDULERS) t.ok(text.includes(`\`${name}\``), name);
  for (const key of Object.keys(BatchShape.properties)) t.ok(text.includes(`\`${key}\``), key);
});
