/** What is shipped is bundled: the store finds its thread beside it as store-worker.mjs, and the module where it is told. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import t from 'tap';

const source = (path: string): string => new URL(path, import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'farfield-bundle-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

t.test('a bundled store writes, answers and ends', async (t) => {
  await build({
    entryPoints: {
      group: source('../../../base/sqlite/group.ts'),
      'store-worker': source('../../../base/sqlite/worker.ts'),
      shelf: source('./shelf.ts'),
    },
    bundle: true,
    platform: 'node',
    format: 'esm',
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    logLevel: 'warning',
  });
  const script = `const { openGroupStore } = await import('${folder}/group.mjs');
    const module = new URL('file://${folder}/shelf.mjs');
    await using store = await openGroupStore({ file: '${folder}/x.db', module, userVersion: 2 });
    await store.submit({ kind: 'put', name: 'a', body: new Uint8Array(9) });
    console.log(JSON.stringify(await store.query({ kind: 'names' })));`;
  t.equal(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }), '["a"]\n');
});
