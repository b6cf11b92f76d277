/**
 * The package's file tree. It runs from wherever it lies, for whoever can read it:
 *
 *   bin/      farfield, farfield-runner, farfield-broker: they find the tree by their own path, links followed
 *   lib/      node, and the C++ library that it finds beside itself
 *   dist/     the bundles, build.json
 *   node_modules/   what cannot be bundled: onnxruntime-node and h5wasm, of one platform
 *   models/ config/ docs/ LICENSE THIRD-PARTY.txt MANIFEST.sha256
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { isElf, readElf, withRpath } from './elf.ts';
import { type Arch, cxxLibraries, npmPackage } from './parts.ts';
import type { TarEntry } from './tar.ts';

/** RHEL 8 and its like, SLES 15 SP3, Debian 10, Ubuntu 18.10: what Node's and ONNX Runtime's own builds ask for. */
export const NEWEST_GLIBC = '2.28';

const MANIFEST = 'MANIFEST.sha256';

/** Programs in bin/, and what each starts in dist/. */
const PROGRAMS: Readonly<Record<string, string>> = {
  farfield: 'farfield.mjs',
  'farfield-broker': 'farfield.mjs" broker "$@',
  'farfield-runner': 'runner.mjs',
};

function wrapper(target: string): string {
  const call = target.includes('"') ? target : `${target}" "$@`;
  return `#!/bin/sh
# Runs from wherever this tree lies; symbolic links to this file are followed.
set -eu
self=$0
while [ -h "$self" ]; do
  target=$(readlink "$self")
  case "$target" in /*) self=$target ;; *) self=$(dirname -- "$self")/$target ;; esac
done
root=$(CDPATH='' cd -- "$(dirname -- "$self")/.." && pwd -P)
exec "$root/lib/node" --disable-warning=ExperimentalWarning "$root/dist/${call}"
`;
}

/** Packages that stay packages, and which of their files are needed. */
const PACKAGES: readonly { readonly name: string; readonly keep: (path: string, arch: Arch) => boolean }[] = [
  {
    name: 'onnxruntime-node',
    keep: (path, arch) => /^dist\/.*\.js$/.test(path) || path.startsWith(`bin/napi-v6/linux/${arch}/`),
  },
  { name: 'onnxruntime-common', keep: (path) => /^dist\/cjs\/.*\.(js|json)$/.test(path) },
  { name: 'h5wasm', keep: (path) => path.startsWith('dist/node/') },
  { name: 'h5wasm-plugins', keep: (path) => path === 'index.mjs' || path.startsWith('plugins/') },
];

const LICENCE_FILE = /^(licen[cs]e|copying|notice|thirdparty)/i;

function walk(folder: string, under = ''): string[] {
  return readdirSync(join(folder, under), { withFileTypes: true }).flatMap((entry) => {
    const path = under === '' ? entry.name : `${under}/${entry.name}`;
    return entry.isDirectory() ? walk(folder, path) : [path];
  });
}

function put(tree: string, path: string, bytes: string | Buffer, executable = false): void {
  const file = join(tree, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, bytes);
  chmodSync(file, executable ? 0o755 : 0o644);
}

function copy(tree: string, path: string, source: string): void {
  const file = join(tree, path);
  mkdirSync(dirname(file), { recursive: true });
  copyFileSync(source, file);
  chmodSync(file, 0o644);
}

const RULE = `\n\n${'-'.repeat(80)}\n\n`;

function putPackages(tree: string, root: string, arch: Arch): string[] {
  return PACKAGES.map(({ name, keep }) => {
    const folder = npmPackage(root, name);
    const files = walk(folder);
    for (const path of files) {
      if (path === 'package.json' || LICENCE_FILE.test(path) || keep(path, arch))
        copy(tree, `node_modules/${name}/${path}`, join(folder, path));
    }
    const described = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
      version: string;
      license?: string;
      repository?: { url?: string };
    };
    const texts = files
      .filter((path) => LICENCE_FILE.test(path))
      .map((path) => readFileSync(join(folder, path), 'utf8'));
    const where = described.repository?.url?.replace(/^git\+/, '') ?? 'its repository';
    const text = texts.length > 0 ? texts.join('\n\n').trim() : `The package has no licence file; see ${where}`;
    return `${name} ${described.version} (${described.license ?? 'licence not stated'})\n\n${text}\n`;
  });
}

/** Node with its C++ library beside it. */
function putNode(tree: string, root: string, arch: Arch, mirror: string | undefined): string[] {
  const name = `node-linux-${arch}`;
  const folder = npmPackage(root, name);
  put(tree, 'lib/node', withRpath(readFileSync(join(folder, 'bin/node')), '$ORIGIN'), true);
  const aside = mkdtempSync(`${tree}.debs-`);
  const libraries = cxxLibraries(aside, arch, mirror);
  for (const [file, source] of libraries.files) copy(tree, `lib/${file}`, source);
  rmSync(aside, { recursive: true, force: true });
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
  const changed = 'Changed: its dynamic section names its own folder as the place of shared libraries (DT_RPATH).';
  return [
    `Node.js ${version} (MIT, and the licences of what it holds)\n\n${changed}\n\n${readFileSync(join(folder, 'LICENSE'), 'utf8').trim()}\n`,
    `${libraries.title}\n\n${libraries.notice}\n`,
  ];
}

/** What git tracks there, so that a stray file of a developer never travels. */
function putTracked(tree: string, root: string, folders: readonly string[]): void {
  const listed = execFileSync('git', ['ls-files', '-z', '--', ...folders], { cwd: root, encoding: 'utf8' });
  for (const path of listed.split('\0')) {
    if (path === '' || path.endsWith('.ts') || !existsSync(join(root, path))) continue;
    copy(tree, path, join(root, path));
  }
}

/** Every ELF file is of this processor and asks for no newer C library; anything else would fail on somebody's node. */
export function checkElf(tree: string, arch: Arch): { files: number; glibc: string; glibcxx: string } {
  const newest: Record<string, string> = {};
  let files = 0;
  for (const path of walk(tree)) {
    const bytes = readFileSync(join(tree, path));
    if (!isElf(bytes)) continue;
    files += 1;
    const { machine, versions } = readElf(bytes);
    if (machine !== arch) throw new Error(`${path} is for ${machine}, not for ${arch}`);
    for (const version of versions) {
      const [, family = '', number = ''] = /^(GLIBC|GLIBCXX)_([\d.]+)$/.exec(version) ?? [];
      if (isNewer(number, newest[family] ?? '0')) newest[family] = number;
      if (family === 'GLIBC' && isNewer(number, NEWEST_GLIBC))
        throw new Error(`${path} needs glibc ${number}; the package promises ${NEWEST_GLIBC}`);
    }
  }
  return { files, glibc: newest.GLIBC ?? 'none', glibcxx: newest.GLIBCXX ?? 'none' };
}

export function isNewer(a: string, b: string): boolean {
  const [left, right] = [a.split('.').map(Number), b.split('.').map(Number)];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const step = (left[i] ?? 0) - (right[i] ?? 0);
    if (step !== 0) return step > 0;
  }
  return false;
}

export interface TreeOptions {
  readonly root: string;
  /** The bundles, already built; the same for every processor. */
  readonly dist: string;
  readonly arch: Arch;
  /** Where apt finds Debian; by default as this machine's does. */
  readonly mirror?: string;
}

export function writeTree(tree: string, { root, dist, arch, mirror }: TreeOptions): void {
  // Source maps name the folders of whoever builds, and nobody reads them on a node.
  for (const path of walk(dist)) if (!/\.map$|^THIRD-PARTY/.test(path)) copy(tree, `dist/${path}`, join(dist, path));
  for (const [name, target] of Object.entries(PROGRAMS)) put(tree, `bin/${name}`, wrapper(target), true);
  const notices = [
    'Farfield is under the Apache License 2.0 (LICENSE). It comes with the following.\n',
    ...putNode(tree, root, arch, mirror),
    ...putPackages(tree, root, arch),
    `What is bundled in dist/:\n\n${readFileSync(join(dist, 'THIRD-PARTY.txt'), 'utf8')}`,
  ];
  put(tree, 'THIRD-PARTY.txt', notices.join(RULE));
  putTracked(tree, root, ['LICENSE', 'config', 'docs', 'models']);
  checkElf(tree, arch);
  const sums = walk(tree)
    .sort()
    .map(
      (path) =>
        `${createHash('sha256')
          .update(readFileSync(join(tree, path)))
          .digest('hex')}  ${path}\n`,
    );
  put(tree, MANIFEST, sums.join(''));
}

/** The tree as entries of a tar file, all below one folder. */
export function entriesOf(tree: string, name: string): TarEntry[] {
  const folders = new Set<string>();
  const files = walk(tree).map((path) => {
    for (let at = dirname(path); at !== '.'; at = dirname(at)) folders.add(at);
    return { name: `${name}/${path}`, executable: /^bin\/|^lib\/node$/.test(path), source: join(tree, path) };
  });
  return [
    { name: `${name}/`, executable: true, source: undefined },
    ...[...folders].map((path) => ({ name: `${name}/${path}/`, executable: true, source: undefined })),
    ...files,
  ];
}
