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
  /** Longest function, in lines, with where it begins. */
  readonly longestFunction: { readonly lines: number; readonly line: number };
  /** `Date.now`, `process.env` and the like, as written. */
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

/** Stripping replaces types by spaces, so positions and lines stay those of the file. Type-only imports vanish with them. */
export function parseSource(path: string, text: string): SourceFile {
  const code = stripTypeScriptTypes(text, { mode: 'strip' });
  const tree = parse(code, { ecmaVersion: 'latest', sourceType: 'module', locations: true, allowHashBang: true });
  const imports: Import[] = [];
  const globalReads: { text: string; line: number }[] = [];
  let longest = { lines: 0, line: 0 };
  visit(tree, (node) => {
    const line = node.loc?.start.line ?? 0;
    if (
      (node.type === 'ImportDeclaration' ||
        node.type === 'ExportNamedDeclaration' ||
        node.type === 'ExportAllDeclaration') &&
      node.source
    ) {
      imports.push({ specifier: String(node.source.value), dynamic: false, line });
    }
    if (node.type === 'ImportExpression' && node.source.type === 'Literal') {
      imports.push({ specifier: String(node.source.value), dynamic: true, line });
    }
    if (
      node.type === 'FunctionDeclaration' ||
      node.type === 'FunctionExpression' ||
      node.type === 'ArrowFunctionExpression'
    ) {
      const lines = (node.loc?.end.line ?? 0) - line + 1;
      if (lines > longest.lines) longest = { lines, line };
    }
    if (node.type === 'MemberExpression' && node.object.type === 'Identifier' && node.property.type === 'Identifier') {
      globalReads.push({ text: `${node.object.name}.${node.property.name}`, line });
    }
    if (
      node.type === 'NewExpression' &&
      node.callee.type === 'Identifier' &&
      node.callee.name === 'Date' &&
      node.arguments.length === 0
    ) {
      globalReads.push({ text: 'new Date()', line });
    }
  });
  // Types are erased before parsing, but a type-only import across processes is coupling all the same.
  for (const [index, content] of text.split('\n').entries()) {
    const typeImport = /^\s*(?:import|export) type .*from '([^']+)'/.exec(content);
    if (typeImport?.[1] !== undefined) imports.push({ specifier: typeImport[1], dynamic: false, line: index + 1 });
  }
  return { path, lines: text.split('\n').length - 1, imports, longestFunction: longest, globalReads };
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
