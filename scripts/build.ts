/**
 * `npm run build [-- [--out FOLDER] [NAME...]]`: bundles every program that starts on a node into dist/ (or only those
 * named), since reading types away at each start doubles it.
 *
 * 1. The folder is built aside and renamed, so a program that starts meanwhile never sees half of it.
 * 2. Licences of everything bundled lie beside it in THIRD-PARTY.txt: a bundle is a redistribution.
 * 3. build.json beside it says which version, commit and schemas these are (base/build.ts).
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type BuildFailure, build, type Plugin } from 'esbuild';
import type { Build } from '#base/build.ts';
import { schema as ledger } from '../agent/admission/ledger-module.ts';
import { schema as broker } from '../broker/store/sqlite-module.ts';
import { BUNDLES, type Bundle, EXTERNAL } from './bundles.ts';

const root = resolve(import.meta.dirname, '..');

/** CommonJS packages call `require` for Node's own modules and read `__dirname`; an ES module has neither. */
const BANNER = [
  "import { createRequire as farfieldCreateRequire } from 'node:module';",
  'const require = farfieldCreateRequire(import.meta.url), __dirname = import.meta.dirname, __filename = import.meta.filename;',
].join('\n');

const DYNAMIC = 'dynamic-package';

/**
 * `await import('undici')` has the package's names in Node, which finds them in CommonJS by reading it; esbuild gives such
 * a package a default export only. So a dynamic import of a package leads to a module that spells its names out.
 */
const namesOfPackages: Plugin = {
  name: 'names of packages',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[^.#/]/ }, ({ path, kind }) =>
      kind === 'dynamic-import' && !isBuiltin(path) && !EXTERNAL.includes(path)
        ? { path, namespace: DYNAMIC }
        : undefined,
    );
    onLoad({ filter: /./, namespace: DYNAMIC }, async ({ path }) => {
      const found: object = await import(path);
      const names = Object.keys(found).filter((name) => name !== 'default' && name !== 'module.exports');
      const lines = [`import * as all from ${JSON.stringify(path)};`, 'export default all.default;'];
      for (const name of names) lines.push(`export const ${name} = all.${name};`);
      return { contents: lines.join('\n'), resolveDir: root };
    });
  },
};

/** The bundle's inputs, as paths from the root. */
async function bundle({ name, source, split }: Bundle, folder: string): Promise<string[]> {
  const { metafile, outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [{ in: source, out: name }],
    // Names of shared parts and paths in source maps follow from this folder: the same wherever the bundles are put.
    outdir: 'dist',
    write: false,
    outExtension: { '.js': '.mjs' },
    // Flat, as the bundles themselves: `import.meta.url` of a shared part must lead to the same neighbours.
    chunkNames: `${name}-[name]-[hash]`,
    bundle: true,
    splitting: split,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    external: [...EXTERNAL],
    banner: { js: BANNER },
    plugins: [namesOfPackages],
    // Comments and spaces make the text that V8 keeps half as large again: 3 MB of an idle server. Names stay; lines are in the source maps. Not keepNames: it wraps every closure made on
    // a hot path in a call.
    minifyWhitespace: true,
    sourcemap: 'linked',
    sourcesContent: false,
    legalComments: 'none',
    metafile: true,
    logLevel: 'silent',
  });
  for (const file of outputFiles) writeFileSync(join(folder, basename(file.path)), file.contents);
  return Object.keys(metafile.inputs);
}

/** V8 keeps a text with one letter beyond Latin-1 as UTF-16, twice as large: 10 MB of an idle agent. Escapes cost nothing. */
function assertLatin1(path: string): void {
  const text = readFileSync(path, 'utf8');
  const at = text.search(/[\u0100-\uffff]/);
  if (at < 0) return;
  const place = text.slice(Math.max(0, at - 40), at + 10);
  throw new Error(`${basename(path)} holds a letter beyond Latin-1; write it as an escape: ${place}`);
}

/** `node_modules/a/node_modules/@b/c/lib/x.js` -> the package's folder. */
function packageFolder(input: string): string | undefined {
  return /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0];
}

function licences(inputs: Iterable<string>): string {
  const folders = new Set([...inputs].map(packageFolder).filter((folder) => folder !== undefined));
  const texts = [...folders].sort().map((folder) => {
    const described: { name: string; version: string; license?: string } = JSON.parse(
      readFileSync(join(root, folder, 'package.json'), 'utf8'),
    );
    const file = readdirSync(join(root, folder)).find((name) => /^(licen[cs]e|copying)/i.test(name));
    const text =
      file === undefined ? 'No licence file in the package.' : readFileSync(join(root, folder, file), 'utf8');
    return `${described.name} ${described.version} (${described.license ?? 'licence not stated'})\n\n${text.trim()}\n`;
  });
  return texts.join(`\n${'-'.repeat(80)}\n\n`);
}

/** Work that was not committed is said: such a build cannot be made again. */
function describeBuild(): Build {
  const git = (...args: string[]): string => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const schema = { ledger: ledger.length, broker: broker.length };
  try {
    const changed = git('status', '--porcelain', '--untracked-files=no') !== '';
    return { version, commit: `${git('rev-parse', '--short=12', 'HEAD')}${changed ? ', changed' : ''}`, schema };
  } catch {
    return { version, commit: 'no commit', schema };
  }
}

/** All that is wrong in one run; the folder that stands stays as it was. */
function explain({ name }: Bundle, error: unknown): undefined {
  if (!(error instanceof Error && 'errors' in error)) throw error;
  for (const { text, location } of (error as BuildFailure).errors)
    process.stderr.write(`${name}.mjs failed: ${text} (${location?.file ?? 'no file'}:${location?.line ?? 0})\n`);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { out: { type: 'string', default: 'dist' } },
  });
  const unknown = positionals.filter((name) => !BUNDLES.some((entry) => entry.name === name));
  if (unknown.length > 0) throw new Error(`no bundle is called ${unknown.join(', ')}; see scripts/bundles.ts`);
  const out = resolve(root, values.out);
  const aside = `${out}.${process.pid}.new`;
  mkdirSync(aside, { recursive: true });
  try {
    const inputs = new Set<string>();
    for (const entry of BUNDLES) {
      if (positionals.length > 0 && !positionals.includes(entry.name)) continue;
      if (!existsSync(join(root, entry.source))) {
        process.stdout.write(`${entry.name}.mjs left out: there is no ${entry.source}\n`);
        continue;
      }
      const made = await bundle(entry, aside).catch((error: unknown) => explain(entry, error));
      if (made === undefined) continue;
      for (const input of made) inputs.add(input);
      assertLatin1(join(aside, `${entry.name}.mjs`));
      const kib = Math.round(statSync(join(aside, `${entry.name}.mjs`)).size / 1024);
      process.stdout.write(`${entry.name}.mjs ${kib} KiB, from ${entry.source}\n`);
    }
    if (process.exitCode !== undefined) return;
    writeFileSync(join(aside, 'THIRD-PARTY.txt'), licences(inputs));
    writeFileSync(join(aside, 'build.json'), `${JSON.stringify(describeBuild())}\n`);
    rmSync(out, { recursive: true, force: true });
    renameSync(aside, out);
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

await main();
