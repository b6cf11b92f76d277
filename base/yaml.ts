/**
 * Configuration files: YAML in, a value of the schema out, or an error that names file, line, key and the
 * likely correction.
 *
 * Invariants
 *  Y1 A file is taken whole or not at all; unknown and doubled keys are errors.
 *  Y2 The error quotes keys, never values: a configuration may hold a secret.
 */
import { readFileSync, statSync } from 'node:fs';
import type { Static, TSchema } from 'typebox';
import { type Document, isPair, isScalar, LineCounter, parseDocument, visit } from 'yaml';
import { FarfieldError } from '#kernel/errors.ts';
import { check } from '#kernel/schema.ts';
import { errno } from './files.ts';
import { plainLine } from './plain.ts';

/** A policy of a thousand rules has 300 KiB. */
const MAX_YAML_BYTES = 1024 * 1024;
/** Enough to share a block between rules, too few for the exponential kind. */
const MAX_ALIASES = 100;

export function readYaml<S extends TSchema>(path: string, schema: S): Static<S> {
  try {
    if (statSync(path).size > MAX_YAML_BYTES)
      throw new FarfieldError('E_TOO_LARGE', `${path} has over ${MAX_YAML_BYTES} bytes`);
    return parseYaml(readFileSync(path, 'utf8'), schema, path);
  } catch (error) {
    if (errno(error) === 'ENOENT') throw new FarfieldError('E_NOT_FOUND', `there is no file ${path}`);
    throw error;
  }
}

/** The same for text at hand; `name` stands for it in errors. An empty file is an empty object. */
export function parseYaml<S extends TSchema>(text: string, schema: S, name: string): Static<S> {
  const value = loadYaml(text, name);
  const checked = check(schema, value.value);
  if (checked.ok) return checked.value;
  const path = checked.path === '' ? [] : checked.path.split('.');
  const strange = checked.message === 'is not a known key';
  const { keys, text: complaint } = strange
    ? unknownKey(schema, value.value, path)
    : { keys: path, text: checked.message };
  const place = `${name}${value.lineOf(keys)}`;
  const where = keys.length === 0 ? 'the file' : `"${plainLine(keys.join('.'))}"`;
  throw new FarfieldError('E_BAD_REQUEST', `${place}: ${where} ${complaint}`);
}

export interface LoadedYaml {
  readonly value: unknown;
  /** `:LINE` of the key or element, or of the nearest parent that is there; empty for the whole file. */
  lineOf(keys: readonly string[]): string;
}

/** YAML without a schema, for values whose check lies elsewhere (the policy's does, in kernel). */
export function loadYaml(text: string, name: string): LoadedYaml {
  const lines = new LineCounter();
  const doc = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true });
  const [problem] = doc.errors;
  if (problem !== undefined) {
    const { line } = lines.linePos(problem.pos[0]);
    throw new FarfieldError('E_BAD_REQUEST', `${name}:${line}: ${plainLine(problem.message)}`);
  }
  let value: unknown;
  try {
    value = doc.toJS({ maxAliasCount: MAX_ALIASES }) ?? {};
  } catch (error) {
    if (error instanceof ReferenceError && error.message.startsWith('Unresolved')) {
      throw new FarfieldError('E_BAD_REQUEST', `${name}: an alias (*NAME) without its anchor (&NAME)`);
    }
    throw new FarfieldError('E_BAD_REQUEST', `${name}: more than ${MAX_ALIASES} aliases; write the repeated parts out`);
  }
  return { value, lineOf: (keys) => lineOf(doc, lines, keys) };
}

function lineOf(doc: Document, lines: LineCounter, keys: readonly string[]): string {
  for (let depth = keys.length; depth > 0; depth--) {
    const offset = offsetOf(doc, keys.slice(0, depth));
    if (offset !== undefined) return `:${lines.linePos(offset).line}`;
  }
  return '';
}

/** Where the key stands, not its value: a value may begin a line later. */
function offsetOf(doc: Document, keys: readonly string[]): number | undefined {
  let found: number | undefined;
  visit(doc, (key, node, ancestors) => {
    const range = isPair(node) ? (isScalar(node.key) ? node.key.range : undefined) : undefined;
    if (isPair(node) && range && samePath(pathOf(ancestors, node), keys)) found = range[0];
    if (!isPair(node) && typeof key === 'number' && node !== null && typeof node === 'object' && 'range' in node) {
      const own = [...pathOf(ancestors, undefined), String(key)];
      if (samePath(own, keys) && Array.isArray(node.range)) found = node.range[0] as number;
    }
    return found === undefined ? undefined : visit.BREAK;
  });
  return found;
}

/**
 * Keys and indexes on the way to a node: pairs give keys, and an element's index is where its sequence holds
 * the next ancestor.
 */
function pathOf(ancestors: readonly unknown[], last: unknown): string[] {
  const line = last === undefined ? ancestors : [...ancestors, last];
  const path: string[] = [];
  for (const [index, node] of line.entries()) {
    if (isPair(node) && isScalar(node.key)) path.push(String(node.key.value));
    const next = line[index + 1];
    const items =
      node !== null && typeof node === 'object' && 'items' in node && Array.isArray(node.items)
        ? node.items
        : undefined;
    if (items !== undefined && next !== undefined && !isPair(next)) path.push(String(items.indexOf(next)));
  }
  return path;
}

function samePath(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((key, index) => key === b[index]);
}

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
}

/** The keys that could stand beside the unknown one. */
function knownKeys(schema: SchemaNode, keys: readonly string[]): string[] {
  if (schema.anyOf !== undefined) return schema.anyOf.flatMap((branch) => knownKeys(branch, keys));
  const [first, ...rest] = keys;
  if (first === undefined) return [];
  if (rest.length === 0) return Object.keys(schema.properties ?? {});
  const next = schema.items !== undefined && /^\d+$/.test(first) ? schema.items : schema.properties?.[first];
  return next === undefined ? [] : knownKeys(next, rest);
}

interface Complaint {
  readonly keys: readonly string[];
  readonly text: string;
}

/**
 * An unknown key with what was probably meant. Where the schema offers alternatives, the one that the checker
 * complains of may have been another branch's good key: the key that no branch knows is the wrong one, and if
 * there is none, the keys do not go together.
 */
function unknownKey(schema: TSchema, root: unknown, keys: readonly string[]): Complaint {
  const known = [...new Set(knownKeys(schema as SchemaNode, keys))].sort();
  const parent = keys.slice(0, -1);
  const present = Object.keys((valueAt(root, parent) ?? {}) as object);
  const wrong = present.find((key) => !known.includes(key));
  if (wrong === undefined)
    return { keys: parent, text: `has keys that do not go together: ${present.sort().join(', ')}` };
  const best = nearest(wrong, known);
  const hint =
    best !== undefined ? `; did you mean "${best}"?` : known.length > 0 ? `; known here: ${known.join(', ')}` : '';
  return { keys: [...parent, wrong], text: `is not a known key${hint}` };
}

function valueAt(root: unknown, keys: readonly string[]): unknown {
  let value = root;
  for (const key of keys) value = (value as Record<string, unknown> | undefined)?.[key];
  return value;
}

/** The one word that a slip of the fingers away; undefined when none is near. Commands and options use it too. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: { word: string; distance: number } | undefined;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (best === undefined || distance < best.distance) best = { word: candidate, distance };
  }
  return best !== undefined && best.distance <= Math.max(1, Math.floor(word.length / 3)) ? best.word : undefined;
}

/** Insertions, deletions, changes, and swaps of neighbours (the commonest slip), each counted once. */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number): number => rows[i]?.[j] ?? 0;
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const change = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(i - 2, j - 2) + 1 : change;
      row.push(Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, change, swap));
    }
  }
  return at(a.length, b.length);
}
