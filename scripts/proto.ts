/**
 * Generates protos/generated/ from protos/link.proto: `link.js` (static encoders and decoders) and `link.d.ts`.
 *
 * The types are our own: protobufjs declares every field optional and nullable and every 64-bit field as Long, while a
 * decoded message always has its fields and our 64-bit fields stay below 2^53. Messages that are encoded must name every
 * field too, so a field added to the protocol cannot be forgotten by a sender.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const source = join(root, 'protos/link.proto');

const SCALARS: Readonly<Record<string, string>> = {
  string: 'string',
  bytes: 'Uint8Array',
  uint32: 'number',
  uint64: 'number',
  double: 'number',
  bool: 'boolean',
};

function typeOf(field: protobuf.Field): string {
  const one = SCALARS[field.type] ?? field.type;
  return field.repeated ? `${one}[]` : one;
}

/** An interface for a message; a message with a oneof has optional members, of which exactly one is there. */
function declare(type: protobuf.Type): string {
  const oneof = type.oneofsArray[0];
  const lines = type.fieldsArray.map((field) => {
    // A message field that is left out reads as undefined; scalars and lists read as their zero.
    const optional = oneof !== undefined ? '?' : '';
    const nullable = oneof === undefined && !field.repeated && SCALARS[field.type] === undefined ? ' | undefined' : '';
    return `  ${field.name}${optional}: ${typeOf(field)}${nullable};`;
  });
  if (oneof !== undefined)
    lines.push(`  readonly ${oneof.name}?: ${type.fieldsArray.map((f) => `'${f.name}'`).join(' | ')};`);
  return [`export interface ${type.name} {`, ...lines, '}', ''].join('\n');
}

function types(): string {
  const parsed = protobuf.parse(readFileSync(source, 'utf8'), { keepCase: false });
  const all = (parsed.root.lookup('farfield') as protobuf.Namespace).nestedArray.filter(
    (x) => x instanceof protobuf.Type,
  );
  for (const type of all) type.resolveAll();
  return [
    '// Generated from protos/link.proto by scripts/proto.ts. Do not edit.',
    "import type { Reader, Writer } from 'protobufjs/minimal.js';",
    '',
    'interface Codec<M> {',
    '  encode(message: M, writer?: Writer): Writer;',
    '  decode(reader: Reader | Uint8Array, length?: number): M;',
    '}',
    '',
    ...all.map(declare),
    'export const farfield: {',
    ...all.map((type) => `  readonly ${type.name}: Codec<${type.name}>;`),
    '};',
    '',
  ].join('\n');
}

const KEEP = '--no-create --no-verify --no-convert --no-delimited --no-typeurl --no-service --no-comments'.split(' ');
const SHAPE = ['-t', 'static-module', '-w', 'esm', '--es6', '--dependency', 'protobufjs/minimal.js', '--force-number'];

/** Into `folder`, so that a test can compare what is committed with what would be generated now. */
export function generate(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const pbjs = createRequire(import.meta.url).resolve('protobufjs-cli/bin/pbjs');
  const code = join(folder, 'link.js');
  // The file's name goes into no output, and the folder neither: the same source gives the same bytes anywhere.
  execFileSync(process.execPath, [pbjs, ...SHAPE, ...KEEP, '-o', code, source], { stdio: 'inherit' });
  const generated = readFileSync(code, 'utf8')
    // Undefined and not null for what is absent: `message.outcome !== undefined` is how everybody asks.
    .replace(/(\.prototype\.\w+ = )null;/g, '$1$$undefined;')
    // A 64-bit field is a number, also when it is absent and even where `long` is installed.
    .replace(/\$util\.Long \? .*? : (0\b)/g, '$1');
  if (generated.includes('Long.from')) throw new Error('protobufjs generates Long in a place that is not known here');
  writeFileSync(code, generated);
  writeFileSync(join(folder, 'link.d.ts'), types());
}

if (import.meta.main) generate(join(root, 'protos/generated'));
