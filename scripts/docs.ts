/**
 * Writes the generated parts of docs/architecture.md, security.md and states.md: `scripts/node.sh scripts/docs.ts`. A test compares
 * them with the code, so that a claim, a step or a state that changes cannot leave the documents behind.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { ADMISSION_STEPS } from '#kernel/admission.ts';
import { ERROR_CODES } from '#kernel/errors.ts';
import { ATTEMPT, ATTEMPT_EVENTS } from '#kernel/states/attempt.ts';
import { BLOCK, BLOCK_EVENTS } from '#kernel/states/block.ts';
import { diagram, grid } from '#kernel/states/diagram.ts';
import { INVOCATION, INVOCATION_EVENTS } from '#kernel/states/invocation.ts';
import { CLAIMS, RESERVED_CLAIMS, RESERVED_MEMBERS, RESERVED_TYPES } from '#kernel/tokens/claims.ts';

/** As much of JSON Schema as the claims use. */
interface Schema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly pattern?: string;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly maximum?: number;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
}

const SHAPES: readonly [RegExp, string][] = [
  [/^\^\[A-Za-z0-9_-\]\{43\}\$$/, 'thumbprint'],
  [/^\^sha256:/, 'sha256'],
  [/^\^\(sha256\|/, 'digest'],
  [/-7\[0-9a-f\]\{3\}-/, 'UUIDv7'],
];

/** The shape of a schema in a few words; objects by the names of their members. */
function shapeOf(schema: Schema, depth = 0): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((value) => String(value)).join(', ');
  if (schema.anyOf !== undefined) return schema.anyOf.map((branch) => shapeOf(branch, depth + 1)).join(' or ');
  if (schema.properties?.['crv'] !== undefined) return `${shapeOf(schema.properties['crv']).replaceAll('"', '')} JWK`;
  if (schema.type === 'object' && schema.properties !== undefined) {
    const names = Object.keys(schema.properties).map((name) => (schema.required?.includes(name) ? name : `${name}?`));
    return `{${names.join(', ')}}`;
  }
  if (schema.type === 'object') return 'map';
  if (schema.type === 'array')
    return `list of ${schema.items === undefined ? 'values' : shapeOf(schema.items, depth + 1)}`;
  if (schema.type === 'integer') return schema.maximum === 253402300799 ? 'seconds' : 'integer';
  if (schema.type === 'string') return SHAPES.find(([pattern]) => pattern.test(schema.pattern ?? ''))?.[1] ?? 'text';
  return schema.type ?? 'any';
}

/** One table of all claims of all types: a row a claim (two where types differ in its shape), a column a type. */
function claimsTable(): string {
  const types = Object.keys(CLAIMS) as (keyof typeof CLAIMS)[];
  const short = (typ: string): string => typ.replace(/^farfield-|\+jw[ts]$/g, '');
  const rows = new Map<string, { claim: string; shape: string; marks: Map<string, string> }>();
  for (const typ of types) {
    const schema = CLAIMS[typ] as unknown as Schema;
    for (const [claim, member] of Object.entries(schema.properties ?? {})) {
      const shape = shapeOf(member);
      const row = rows.get(`${claim} ${shape}`) ?? { claim, shape, marks: new Map<string, string>() };
      row.marks.set(typ, schema.required?.includes(claim) ? '●' : '○');
      rows.set(`${claim} ${shape}`, row);
    }
  }
  const sorted = [...rows.values()].sort((a, b) => (a.claim < b.claim ? -1 : a.claim > b.claim ? 1 : 0));
  return [
    `| claim | ${types.map(short).join(' | ')} | shape |`,
    `|---|${types.map(() => ':-:').join('|')}|---|`,
    ...sorted.map(
      (row) =>
        `| \`${row.claim}\` | ${types.map((typ) => row.marks.get(typ) ?? '').join(' | ')} | ${row.shape.replaceAll('|', '\\|')} |`,
    ),
    '',
    '● required, ○ optional. Anything else is refused: claims are closed.',
    '',
    `Reserved in this version, and refused as such: the types ${list(RESERVED_TYPES)}; the claims ${list(RESERVED_CLAIMS)}; ` +
      `inside objects ${list(Object.entries(RESERVED_MEMBERS).flatMap(([place, names]) => names.map((name) => `${place}.${name}`)))}.`,
  ].join('\n');
}

function list(names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(', ');
}

function stepsTable(): string {
  const rows = Object.entries(ADMISSION_STEPS).map(([step, codes], k) => `| ${k + 1} | ${step} | ${list(codes)} |`);
  return ['| | step | refuses with |', '|---:|---|---|', ...rows].join('\n');
}

function codesTable(): string {
  const rows = Object.entries(ERROR_CODES).map(
    ([code, { http, who, retryable, text }]) =>
      `| \`${code}\` | ${text} | ${who} | ${retryable ? 'yes' : 'no'} | ${http} |`,
  );
  return ['| code | means | whose move | may succeed later | HTTP |', '|---|---|---|---|---|', ...rows].join('\n');
}

const TABLES = [
  ['An item at the broker', diagram(INVOCATION, 'queued'), grid(INVOCATION, INVOCATION_EVENTS)],
  ['An attempt at the agent', diagram(ATTEMPT, 'leased'), grid(ATTEMPT, ATTEMPT_EVENTS)],
  ['A block', diagram(BLOCK, 'requested'), grid(BLOCK, BLOCK_EVENTS)],
] as const;

function diagramsPart(): string {
  return TABLES.map(([title, drawn]) => [`### ${title}`, '', '```mermaid', drawn, '```'].join('\n')).join('\n\n');
}

function statesPart(): string {
  return TABLES.map(([title, , table]) => [`## ${title}`, '', table].join('\n')).join('\n\n');
}

const PARTS: Readonly<Record<string, () => string>> = {
  claims: claimsTable,
  steps: stepsTable,
  codes: codesTable,
  diagrams: diagramsPart,
  states: statesPart,
};

/** The document with every part between `<!-- begin NAME -->` and `<!-- end NAME -->` made anew. */
export function render(text: string): string {
  return text.replace(/<!-- begin (\w+) -->[\s\S]*?<!-- end \1 -->/g, (whole, name: string) => {
    const part = PARTS[name];
    return part === undefined ? whole : `<!-- begin ${name} -->\n${part()}\n<!-- end ${name} -->`;
  });
}

export const DOCUMENTS = ['architecture.md', 'security.md', 'states.md'].map(
  (name) => new URL(`../docs/${name}`, import.meta.url),
);

if (import.meta.main) {
  for (const url of DOCUMENTS) writeFileSync(url, render(readFileSync(url, 'utf8')));
}
