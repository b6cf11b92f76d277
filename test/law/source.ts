/** Reads the repository's sources for the law tests: imports, functions and property reads, by syntax tree. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { fileURLToPath } from 'node:url';
import { type AnyNode, type Node, parse } from 'acorn';

export const root: string = fileURLToPath(new URL('../..', import.meta.url));

export interface Import {
  readonly specifier: string;
  readonly dynamic: boolean;
  readonly line: number;
}

export interface SourceFile {
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly Import[];
  /** Every function, by where it begins. */
  readonly functions: readonly { readonly line: number; readonly lines: number }[];
  /** `Date.now`, `process.env`, `crypto.randomUUID`, `setTimeout` and the like, however they are reached. */
  readonly globalReads: readonly { readonly text: string; readonly line: number }[];
}

/** Every TypeScript file that git tracks or would track, without generated code and data. */
export function sourcePaths(): string[] {
  const listed = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts'], {
    cwd: root,
    encoding: 'utf8',
  });
  return listed.split('\n').filter((path) => path !== '' && !path.includes('/generated/') && !path.endsWith('.d.ts'));
}

export function readSource(path: string): SourceFile {
  return parseSource(path, readFileSync(`${root}/${path}`, 'utf8'));
}

/** Stripping replaces types by spaces, so positions and lines stay those of the file. */
export function parseSource(path: string, text: string): SourceFile {
  const code = stripTypeScriptTypes(text, { mode: 'strip' });
  const tree = parse(code, { ecmaVersion: 'latest', sourceType: 'module', locations: true, allowHashBang: true });
  const imports: Import[] = [];
  const functions: { line: number; lines: number }[] = [];
  const globalReads: { text: string; line: number }[] = [];
  visit(tree, (node) => {
    const line = node.loc?.start.line ?? 0;
    const specifier = specifierOf(node);
    if (specifier !== undefined) imports.push({ specifier, dynamic: node.type === 'ImportExpression', line });
    if (FUNCTIONS.has(node.type)) functions.push({ line, lines: (node.loc?.end.line ?? 0) - line + 1 });
    for (const read of readsOf(node)) globalReads.push({ text: read, line });
  });
  const found = new Set(imports.map(({ specifier }) => specifier));
  imports.push(...typeImports(text).filter(({ specifier }) => !found.has(specifier)));
  return { path, lines: text.split('\n').length - 1, imports, functions, globalReads };
}

const FUNCTIONS: ReadonlySet<string> = new Set([
  'FunctionDeclaration',
  'FunctionExpression',
  'ArrowFunctionExpression',
]);

function specifierOf(node: AnyNode): string | undefined {
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportAllDeclaration':
      return String(node.source.value);
    case 'ExportNamedDeclaration':
      return node.source ? String(node.source.value) : undefined;
    case 'ImportExpression':
      return node.source.type === 'Literal' ? String(node.source.value) : undefined;
    default:
      return undefined;
  }
}

/** Erased before parsing, and coupling all the same: `import type { .. } from 'x'` over many lines, `import('x').Y`. */
function typeImports(text: string): Import[] {
  const forms = /\b(?:import|export)\s+type\b[^;'"]*?\bfrom\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/g;
  return [...text.matchAll(forms)].map((match) => ({
    specifier: match[1] ?? match[2] ?? '',
    dynamic: false,
    line: text.slice(0, match.index).split('\n').length,
  }));
}

/** Modules whose exports are globals by another name. */
const GLOBAL_MODULES: Readonly<Record<string, string>> = {
  process: 'process.',
  crypto: 'crypto.',
  perf_hooks: '',
  timers: '',
  'timers/promises': '',
};

/** The globals that a node reads, by their usual names. */
function readsOf(node: AnyNode): string[] {
  if (node.type === 'MemberExpression') {
    const owner = nameOf(node.object);
    const name = nameOf(node.property);
    return owner === undefined || name === undefined ? [] : [`${owner}.${name}`];
  }
  if (node.type === 'VariableDeclarator' && node.id.type === 'ObjectPattern' && node.init) {
    const owner = nameOf(node.init);
    const keys = node.id.properties.map((one) => (one.type === 'Property' ? nameOf(one.key) : undefined));
    return owner === undefined ? [] : keys.flatMap((key) => (key === undefined ? [] : [`${owner}.${key}`]));
  }
  if (node.type === 'ImportDeclaration') {
    const prefix = GLOBAL_MODULES[String(node.source.value).replace(/^node:/, '')];
    if (prefix === undefined) return [];
    return node.specifiers.flatMap((one) =>
      one.type === 'ImportSpecifier' ? [`${prefix}${nameOf(one.imported) ?? ''}`] : [],
    );
  }
  if (node.type === 'CallExpression' && node.callee.type === 'Identifier') return [node.callee.name];
  if (node.type === 'NewExpression' && nameOf(node.callee) === 'Date' && node.arguments.length === 0) return ['Date'];
  return [];
}

/** `process`, `globalThis.process` and `'process'` are one name. */
function nameOf(node: AnyNode): string | undefined {
  if (node.type === 'Identifier') return node.name;
  if (node.type === 'Literal') return typeof node.value === 'string' ? node.value : undefined;
  if (node.type === 'MemberExpression' && node.object.type === 'Identifier' && node.object.name === 'globalThis')
    return nameOf(node.property);
  return undefined;
}

function visit(node: Node, found: (node: AnyNode) => void): void {
  found(node as AnyNode);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (child !== null && typeof child === 'object' && typeof (child as Node).type === 'string')
        visit(child as Node, found);
    }
  }
}
