/**
 * Checks values against the JSON Schemas of protos/, without TypeBox.
 *
 * Why not TypeBox itself: importing it with its compiler costs 250 ms and 30 MB here, as much as the rest of an idle runner.
 * The schemas stay the single source: `schemas.json` is generated from them, and a test compares this checker with TypeBox.
 *
 * Invariants
 *  S1 Only keywords that are known here are compiled; an unknown one throws at start, never passes silently.
 *  S2 A checker returns undefined, or the path and reason of the first mismatch.
 */

/** A JSON Schema as TypeBox writes it: plain data. */
export type JsonSchema = { readonly [key: string]: unknown };
/**
 * Undefined where the value fits; else the path and reason of the first mismatch, to follow the name of what was
 * checked.
 */
export type Check = (value: unknown) => string | undefined;

const ANNOTATIONS = new Set(['description', 'title', '$id', '$schema']);
const fine: Check = () => undefined;

/** A checker for the schema; throws a TypeError on a keyword that it does not know. */
export function compileSchema(schema: JsonSchema): Check {
  if (Array.isArray(schema.anyOf)) return anyOf((schema.anyOf as JsonSchema[]).map(compileSchema), schema.anyOf);
  if ('const' in schema) {
    known(schema, ['type', 'const']);
    const expected = schema.const;
    return (value) => (value === expected ? undefined : `must be ${JSON.stringify(expected)}`);
  }
  switch (schema.type) {
    case undefined:
      known(schema, []);
      return fine;
    case 'object':
      return object(schema);
    case 'array':
      return array(schema);
    case 'string':
      return string(schema);
    case 'integer':
    case 'number':
      return number(schema);
    case 'boolean':
      known(schema, ['type']);
      return (value) => (typeof value === 'boolean' ? undefined : 'must be a boolean');
    case 'null':
      known(schema, ['type']);
      return (value) => (value === null ? undefined : 'must be null');
    default:
      throw new TypeError(`schema: type ${String(schema.type)} is not known`);
  }
}

/** S1: a keyword that is silently skipped is a check that is silently missing. */
function known(schema: JsonSchema, keywords: readonly string[]): void {
  for (const key of Object.keys(schema)) {
    if (!keywords.includes(key) && !ANNOTATIONS.has(key)) throw new TypeError(`schema: keyword ${key} is not known`);
  }
}

/** Alternatives told apart by one constant key are reported by that key alone: "op must be ..." helps nobody. */
function anyOf(checks: readonly Check[], schemas: readonly JsonSchema[]): Check {
  const tag = ['op', 'at'].find((key) => schemas.every((s) => constantOf(s, key) !== undefined));
  return (value) => {
    let first: string | undefined;
    for (let i = 0; i < checks.length; i++) {
      const problem = (checks[i] as Check)(value);
      if (problem === undefined) return undefined;
      if (tag !== undefined && constantOf(schemas[i] as JsonSchema, tag) === (value as JsonSchema | null)?.[tag])
        first = problem;
    }
    if (first !== undefined) return first;
    if (tag === undefined) return `${JSON.stringify(value)?.slice(0, 60)} is none of the allowed forms`;
    const names = schemas.map((s) => constantOf(s, tag));
    return `.${tag} must be one of ${names.join(', ')}`;
  };
}

/** The constant that a form demands of a key, if it demands one. */
function constantOf(schema: JsonSchema, key: string): unknown {
  const properties = schema.properties as Record<string, JsonSchema> | undefined;
  return properties?.[key]?.const;
}

/** Closed and open objects, and records (`patternProperties`). */
function object(schema: JsonSchema): Check {
  known(schema, ['type', 'properties', 'required', 'additionalProperties', 'patternProperties']);
  const properties = new Map(
    Object.entries((schema.properties ?? {}) as Record<string, JsonSchema>).map(([k, s]) => [k, compileSchema(s)]),
  );
  const required = (schema.required ?? []) as readonly string[];
  const patterns = Object.entries((schema.patternProperties ?? {}) as Record<string, JsonSchema>).map(
    ([pattern, s]) => [new RegExp(pattern), compileSchema(s)] as const,
  );
  const closed = schema.additionalProperties === false;
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return ' must be an object';
    const record = value as Record<string, unknown>;
    for (const key of required) if (!Object.hasOwn(record, key)) return `.${key} is missing`;
    for (const key of Object.keys(record)) {
      const check = properties.get(key) ?? patterns.find(([pattern]) => pattern.test(key))?.[1];
      if (check === undefined) {
        if (closed) return ` has the unknown key ${JSON.stringify(key)}`;
        continue;
      }
      const problem = check(record[key]);
      if (problem !== undefined) return `.${key}${separated(problem)}`;
    }
    return undefined;
  };
}

/** Lists with bounds on their length; the first bad item is reported with its index. */
function array(schema: JsonSchema): Check {
  known(schema, ['type', 'items', 'minItems', 'maxItems', 'uniqueItems']);
  const item = compileSchema((schema.items ?? {}) as JsonSchema);
  const min = (schema.minItems ?? 0) as number;
  const max = (schema.maxItems ?? Infinity) as number;
  const unique = schema.uniqueItems === true;
  return (value) => {
    if (!Array.isArray(value)) return ' must be an array';
    if (value.length < min) return ` must have at least ${min} items`;
    if (value.length > max) return ` must have at most ${max} items`;
    // Only lists of plain values are declared unique.
    if (unique && new Set(value).size !== value.length) return ' must not repeat an item';
    for (let i = 0; i < value.length; i++) {
      const problem = item(value[i]);
      if (problem !== undefined) return `[${i}]${separated(problem)}`;
    }
    return undefined;
  };
}

/** Text by length and pattern; a value that is echoed is cut, since it may be anybody's. */
function string(schema: JsonSchema): Check {
  known(schema, ['type', 'pattern', 'minLength', 'maxLength']);
  const pattern = schema.pattern === undefined ? undefined : new RegExp(schema.pattern as string, 'u');
  const min = (schema.minLength ?? 0) as number;
  const max = (schema.maxLength ?? Infinity) as number;
  return (value) => {
    if (typeof value !== 'string') return 'must be a string';
    if (value.length < min) return `must have at least ${min} characters`;
    if (value.length > max) return `must have at most ${max} characters`;
    if (pattern !== undefined && !pattern.test(value))
      return `${JSON.stringify(value.slice(0, 60))} does not have the form ${pattern.source}`;
    return undefined;
  };
}

/** Finite numbers only: JSON has no others, and a NaN passes every comparison. */
function number(schema: JsonSchema): Check {
  known(schema, ['type', 'minimum', 'maximum', 'exclusiveMinimum']);
  const whole = schema.type === 'integer';
  const min = (schema.minimum ?? -Infinity) as number;
  const max = (schema.maximum ?? Infinity) as number;
  const above = (schema.exclusiveMinimum ?? -Infinity) as number;
  return (value) => {
    if (typeof value !== 'number' || !Number.isFinite(value)) return 'must be a number';
    if (whole && !Number.isInteger(value)) return 'must be a whole number';
    if (value < min || value <= above || value > max) return `${value} is out of range`;
    return undefined;
  };
}

/** A path continues with `.` or `[`; a reason is set apart by a space. */
function separated(problem: string): string {
  return /^[.[ ]/.test(problem) ? problem : ` ${problem}`;
}
