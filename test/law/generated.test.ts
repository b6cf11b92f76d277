import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BUNDLES } from '../../scripts/bundles.ts';
import { generate } from '../../scripts/proto.ts';
import { target } from './laws.ts';
import { readSource, root, sourcePaths } from './source.ts';

t.test('the generated protocol code is what the .proto says now', async (t) => {
  const folder = t.testdir();
  generate(folder);
  const made = readdirSync(folder).sort();
  t.strictSame(made, readdirSync(join(root, 'protos/generated')).sort());
  for (const name of made) {
    const committed = readFileSync(join(root, 'protos/generated', name), 'utf8');
    t.ok(
      committed === readFileSync(join(folder, name), 'utf8'),
      `${name} is up to date; \`npm run proto\` makes it so`,
    );
  }
});

/** `./name.mjs` in a string: how code finds its neighbours when it runs from a bundle. */
function bundlesNamed(text: string): string[] {
  return [...text.matchAll(/['"`]\.\/([\w-]+)\.m?js['"`]/g)].map((match) => match[1] ?? '');
}

t.test('every bundle that a source names is built', async (t) => {
  const names = new Set(BUNDLES.map(({ name }) => name));
  const sources = sourcePaths().filter((path) => !/^(?:test|scripts)\//.test(path));
  const missing = sources.flatMap((path) =>
    bundlesNamed(readFileSync(join(root, path), 'utf8'))
      .filter((name) => !names.has(name))
      .map((name) => `${path} names ${name}.mjs`),
  );
  t.strictSame(missing, []);
  t.strictSame(bundlesNamed("new URL('./nowhere.mjs', import.meta.url)"), ['nowhere'], 'the form is recognised');
});

t.test('every bundle has a source', async (t) => {
  for (const { source } of BUNDLES) t.ok(existsSync(join(root, source)), source);
});

/** Every file and package that a program loads, now or later. */
function reach(path: string, seen = new Set<string>()): Set<string> {
  if (seen.has(path)) return seen;
  seen.add(path);
  for (const { specifier } of path.endsWith('.ts') ? readSource(path).imports : []) {
    const to = target({ path }, specifier);
    reach('path' in to ? to.path : to.package, seen);
  }
  return seen;
}

t.test('what starts on every node carries no part of gRPC, of a web server or of a model library', async (t) => {
  const pilot = reach('pilot/main.ts');
  t.ok(pilot.size > 10, 'the imports were followed');
  for (const heavy of ['@grpc/grpc-js', 'fastify', 'undici', 'commander', 'onnxruntime-node', 'h5wasm']) {
    t.notOk(pilot.has(heavy), heavy);
  }
  t.ok(reach('agent/main.ts').has('@grpc/grpc-js'), 'where it is needed it is seen');
});
