/** The laws of the house, as functions from a source file to the sentences that it breaks. */
import { posix } from 'node:path';
import type { SourceFile } from './source.ts';

const SHARED = ['kernel', 'protos', 'base'] as const;
const PROCESSES = ['client', 'broker', 'agent', 'pilot', 'runner'] as const;
const KERNEL_PACKAGES = new Set(['node:crypto', 'jose', 'typebox']);

export const MAX_FILE_LINES = 600;
export const MAX_FUNCTION_LINES = 100;

/** The one file that may load verbs of other processes, dynamically. */
const VERB_LOADER = 'client/cli/main.ts';
const VERB_FOLDERS = ['agent/cli/', 'broker/cli/'];

/** Where an import leads: a path in the repository, or a package. */
export function target(
  file: Pick<SourceFile, 'path'>,
  specifier: string,
): { folder: string; path: string } | { package: string } {
  const alias = /^#(kernel|protos|base)\/(.*)$/.exec(specifier);
  const path =
    alias !== null
      ? `${alias[1]}/${alias[2]}`
      : specifier.startsWith('.')
        ? posix.join(posix.dirname(file.path), specifier)
        : undefined;
  if (path === undefined) return { package: specifier };
  return { folder: path.split('/')[0] ?? '', path };
}

/** kernel < protos < base < each process folder; a process never imports another one. */
export function brokenImports(file: SourceFile): string[] {
  const folder = file.path.split('/')[0] ?? '';
  const rank = (name: string): number => (SHARED as readonly string[]).indexOf(name);
  const isProcess = (name: string): boolean => (PROCESSES as readonly string[]).includes(name);
  if (rank(folder) < 0 && !isProcess(folder)) return [];
  return file.imports.flatMap(({ specifier, dynamic, line }) => {
    const to = target(file, specifier);
    const where = `${file.path}:${line} imports ${specifier}`;
    if ('package' in to) {
      const name = specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/');
      return folder === 'kernel' && !KERNEL_PACKAGES.has(name)
        ? [`${where}: the kernel takes ${[...KERNEL_PACKAGES].join(', ')} only`]
        : [];
    }
    if (to.folder === folder) return [];
    if (rank(to.folder) >= 0)
      return isProcess(folder) || rank(to.folder) < rank(folder)
        ? []
        : [`${where}: ${folder} may not import ${to.folder}`];
    if (file.path === VERB_LOADER && dynamic && VERB_FOLDERS.some((allowed) => to.path.startsWith(allowed))) return [];
    return [`${where}: ${folder} may not import ${to.folder}`];
  });
}

export function brokenSizes({ path, lines, functions }: SourceFile): string[] {
  const long = functions.filter((one) => one.lines > MAX_FUNCTION_LINES);
  return [
    ...(lines > MAX_FILE_LINES ? [`${path} has ${lines} lines, over ${MAX_FILE_LINES}`] : []),
    ...long.map((one) => `${path}:${one.line} begins a function of ${one.lines} lines, over ${MAX_FUNCTION_LINES}`),
  ];
}

/** What only a process's start may read, because a simulation must be able to decide it. */
const INJECTED = new Set([
  'Date',
  'Date.now',
  'performance',
  'performance.now',
  'process.hrtime',
  'setTimeout',
  'setInterval',
  'Math.random',
  ...['randomBytes', 'randomFill', 'randomFillSync', 'randomInt', 'randomUUID', 'getRandomValues', 'webcrypto'].map(
    (name) => `crypto.${name}`,
  ),
  'process.env',
  'process.argv',
]);

/** Files that may, each with what and why. */
const READERS: Readonly<Record<string, { readonly reads: readonly string[]; readonly why: string }>> = {
  'base/clock.ts': {
    reads: ['Date.now', 'performance', 'performance.now', 'process.hrtime', 'setTimeout', 'setInterval'],
    why: 'the real clock',
  },
  'base/random.ts': {
    reads: ['crypto.randomFillSync', 'crypto.randomBytes', 'crypto.getRandomValues'],
    why: 'the real randomness',
  },
  'base/link/grpc.ts': { reads: ['setTimeout'], why: 'bounds how long a real socket may take; a simulation has none' },
  'runner/hdf5/writer.ts': {
    reads: ['Date', 'Date.now'],
    why: 'stops the clock for a library that stamps every object',
  },
  'base/link/ws.ts': { reads: ['setTimeout'], why: 'bounds how long a real socket may take; a simulation has none' },
};
const READER_FOLDERS: Readonly<Record<string, string>> = {
  'scripts/': 'development tools are no part of a process',
  'test/': 'tests choose their own clocks',
  'client/demo/': 'the demo is a user at a keyboard',
};

export function brokenReads(file: SourceFile): string[] {
  if (file.path.endsWith('/main.ts')) return [];
  if (Object.keys(READER_FOLDERS).some((folder) => file.path.startsWith(folder))) return [];
  const allowed = READERS[file.path]?.reads ?? [];
  return file.globalReads
    .filter(({ text }) => INJECTED.has(text) && !allowed.includes(text))
    .map(
      ({ text, line }) =>
        `${file.path}:${line} reads ${text}; take it from the clock, the randomness or the options that main.ts gives`,
    );
}
