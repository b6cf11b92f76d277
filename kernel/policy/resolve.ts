/**
 * From a policy file to a policy in force: checked whole, defaults filled in, patterns compiled.
 *
 * Invariants
 *  P1 Loaded whole or not at all: whatever is unknown, reserved, dangling or contradictory throws, with the place.
 *  P2 A default never allows more than an explicit value would: no paths, no GPU, one node, containers only.
 *  P3 The digest names everything that decides: the file's bytes, and the keys of the files it names.
 */
import { type Bytes, sha256Of } from '../bytes.ts';
import { FarfieldError } from '../errors.ts';
import { compileGlobs, type Glob } from '../globs.ts';
import { digestOf, type PublicJwk, thumbprint } from '../ids.ts';
import { DEFAULT_CLOCK_TOLERANCE_S, DEFAULT_MAX_TICKET_LIFE_S } from '../limits.ts';
import { check } from '../schema.ts';
import { assertStrongKey } from '../sign.ts';
import type { ArgType, ManifestClaims } from '../tokens/claims.ts';
import { PolicyShape, type RawPolicy, type RawRule } from './schema.ts';
import { parseVersion, type Version } from './version.ts';

/** A robot signs for a quarter of a year: long enough for a beamtime, short enough that somebody looks at it again. */
const DEFAULT_MAX_ROBOT_LIFE_S = 90 * 86400;
/** What a rule allows that says nothing of resources: enough for a smoke test, on one node, without a GPU. */
const DEFAULT_NODES = 1;
const DEFAULT_GPUS = 0;
const DEFAULT_WALL_S = 3600;
/** A result above this stays at the endpoint anyway. */
const DEFAULT_MAX_BYTES = 1024 * 1024 * 1024;
/** The process runtime contains nothing: a rule must name it. */
const DEFAULT_RUNTIMES = ['apptainer'];

export interface PinnedKey {
  readonly kid: string;
  readonly name: string;
  readonly untilS: number;
}

/** A publisher counts by distinct keys: one key that signs twice is one. */
export interface Publisher {
  readonly name: string;
  readonly jwks: readonly PublicJwk[];
  readonly kids: ReadonlySet<string>;
  readonly threshold: number;
}

/** The keys that a policy believes. */
export interface Authorities {
  readonly pinned: ReadonlyMap<string, PinnedKey>;
  readonly publishers: ReadonlyMap<string, Publisher>;
  /** Every publisher's keys: what a manifest's signatures are checked against. */
  readonly publisherKeys: readonly PublicJwk[];
}

/** Numbers without a bound are Infinity, so that no comparison needs a special case. */
export interface Ceilings {
  readonly nodes: number;
  readonly gpus: number;
  readonly cpusPerNode: number;
  readonly memMiBPerNode: number;
  readonly wallS: number;
  readonly maxBytes: number;
  readonly concurrent: number;
  readonly nodeHoursPerDay: number;
  readonly accounts: ReadonlySet<string>;
  readonly queues: ReadonlySet<string>;
}

export type FunctionTest =
  | {
      readonly kind: 'publisher';
      readonly publisher: Publisher;
      readonly names: Glob;
      readonly minVersion: Version | undefined;
    }
  | { readonly kind: 'digests'; readonly digests: ReadonlySet<string> }
  | { readonly kind: 'self' };

export type ModelTest =
  | { readonly kind: 'any' }
  | { readonly kind: 'publisher'; readonly publisher: Publisher }
  | { readonly kind: 'digests'; readonly digests: ReadonlySet<string> };

/** A rule in force. `undefined` where the file says nothing and nothing is asked. */
export interface ResolvedRule {
  readonly name: string;
  readonly pins: ReadonlySet<string>;
  readonly kinds: ReadonlySet<ManifestClaims['kind']>;
  readonly functions: FunctionTest;
  readonly images: ReadonlySet<string> | undefined;
  readonly models: ModelTest;
  readonly args: ReadonlySet<ArgType> | undefined;
  readonly read: readonly string[];
  readonly write: readonly string[];
  readonly runtimes: ReadonlySet<string>;
  readonly ceilings: Ceilings;
  /** Set where the rule is there by a grant: it is for this key alone (kernel/policy/grants.ts). */
  readonly grant?: { readonly id: string; readonly kid: string; readonly functions: Glob | undefined };
}

/** What may be granted, as the policy says it. */
export interface GrantTemplate {
  readonly file: string;
  readonly rules: ReadonlySet<string>;
  readonly maxS: number;
}

/** Sets, since every launch asks. */
export interface Revoked {
  readonly kids: ReadonlySet<string>;
  readonly subs: ReadonlySet<string>;
  readonly delegations: ReadonlySet<string>;
  readonly tickets: ReadonlySet<string>;
  readonly manifests: ReadonlySet<string>;
  readonly models: ReadonlySet<string>;
  readonly images: ReadonlySet<string>;
}

export interface ResolvedPolicy {
  readonly digest: string;
  readonly endpoint: string | undefined;
  readonly clockToleranceS: number;
  readonly maxTicketLifeS: number;
  readonly maxRobotLifeS: number;
  readonly authorities: Authorities;
  readonly rules: readonly ResolvedRule[];
  readonly revoked: Revoked;
  readonly onRevoke: 'finish' | 'kill';
  /** Undefined: nothing may be granted. */
  readonly grants?: GrantTemplate;
  /** Keys from which a grant or a pin was taken back: what they may not do is revoked, not merely unknown. */
  readonly takenBack?: ReadonlySet<string>;
}

export interface ResolvePolicyOptions {
  /** The endpoint that loads the policy; a policy of another one is refused. */
  readonly endpoint?: string;
  /** Parsed JSON of a JWKS file that the policy names (the caller reads it from beside the policy). */
  readonly readJwks?: (name: string) => unknown;
}

/** The policy in force, or a FarfieldError E_BAD_REQUEST that names the place. `bytes` are those of the file. */
export function resolvePolicy(raw: unknown, bytes: Bytes, options: ResolvePolicyOptions = {}): ResolvedPolicy {
  const checked = check(PolicyShape, raw);
  if (!checked.ok) throw bad(checked.path, checked.message);
  const file = checked.value;
  if (file.endpoint !== undefined && options.endpoint !== undefined && file.endpoint !== options.endpoint) {
    throw bad('endpoint', `is ${file.endpoint}, but this endpoint is ${options.endpoint}`);
  }
  const named: PublicJwk[] = [];
  const authorities = resolveAuthorities(file, options, named);
  const names = new Set(file.rules.map((rule) => rule.name));
  if (names.size !== file.rules.length)
    throw bad('rules', 'two rules have one name; receipts could not say which allowed a run');
  return {
    digest: named.length === 0 ? digestOf(bytes) : digestOf(sha256Of(bytes, ...named.map(thumbprint))),
    endpoint: file.endpoint,
    clockToleranceS: file.clockToleranceS ?? DEFAULT_CLOCK_TOLERANCE_S,
    maxTicketLifeS: file.maxTicketLifeS ?? DEFAULT_MAX_TICKET_LIFE_S,
    maxRobotLifeS: file.maxRobotLifeS ?? DEFAULT_MAX_ROBOT_LIFE_S,
    authorities,
    rules: file.rules.map((rule, k) => resolveRule(rule, `rules.${k}`, authorities)),
    revoked: resolveRevoked(file.revoked ?? {}),
    // A revocation is an emergency: what a lost key started must not run on for hours unless the site says so.
    onRevoke: file.onRevoke ?? 'kill',
    ...(file.grants === undefined ? {} : { grants: resolveGrants(file.grants, names) }),
  };
}

/** A template that names no rule of this policy would grant nothing, and nobody would notice. */
function resolveGrants(raw: NonNullable<RawPolicy['grants']>, names: ReadonlySet<string>): GrantTemplate {
  const stranger = raw.rules.find((rule) => !names.has(rule));
  if (stranger !== undefined) throw bad('grants.rules', `names "${stranger}", which is no rule of this policy`);
  return { file: raw.file ?? 'grants.json', rules: new Set(raw.rules), maxS: raw.maxS };
}

function bad(place: string, why: string): FarfieldError {
  return new FarfieldError('E_BAD_REQUEST', `policy: ${place === '' ? '' : `${place} `}${why}`);
}

/** Pins and publishers by name; whatever is there twice is a mistake that would hide one of the two. */
function resolveAuthorities(file: RawPolicy, options: ResolvePolicyOptions, named: PublicJwk[]): Authorities {
  const raw = file.authorities ?? {};
  if ((raw.issuers?.length ?? 0) > 0)
    throw bad('authorities.issuers', 'comes in a later version; pin keys with `farfield endpoint trust`');
  const pinned = new Map<string, PinnedKey>();
  (raw.pinned ?? []).forEach((pin, k) => {
    const place = `authorities.pinned.${k}`;
    if (pinned.has(pin.kid)) throw bad(place, `pins ${pin.kid} a second time; one key is one person`);
    pinned.set(pin.kid, { kid: pin.kid, name: pin.name, untilS: resolveUntil(pin.until, `${place}.until`) });
  });
  const publishers = new Map<string, Publisher>();
  (raw.publishers ?? []).forEach((publisher, k) => {
    const place = `authorities.publishers.${k}`;
    if (publishers.has(publisher.name)) throw bad(place, `is a second publisher ${publisher.name}`);
    const jwks = resolveKeys(publisher.jwks, `${place}.jwks`, options, named);
    const kids = new Set(jwks.map(thumbprint));
    const threshold = publisher.threshold ?? 1;
    if (kids.size !== jwks.length) throw bad(`${place}.jwks`, 'lists one key twice');
    if (threshold > kids.size) throw bad(`${place}.threshold`, `asks for ${threshold} keys of ${kids.size}`);
    publishers.set(publisher.name, { name: publisher.name, jwks, kids, threshold });
  });
  return { pinned, publishers, publisherKeys: [...publishers.values()].flatMap((publisher) => publisher.jwks) };
}

/** Keys as the file gives them, or from the JWKS file that it names. */
function resolveKeys(
  keys: PublicJwk[] | string,
  place: string,
  options: ResolvePolicyOptions,
  named: PublicJwk[],
): PublicJwk[] {
  let jwks: PublicJwk[];
  if (typeof keys === 'string') {
    if (options.readJwks === undefined)
      throw bad(place, `names the file ${keys}, which cannot be read here; write the keys themselves`);
    jwks = keysOfSet(options.readJwks(keys), `${place} (${keys})`);
    named.push(...jwks);
  } else {
    jwks = keys;
  }
  for (const jwk of jwks) {
    try {
      assertStrongKey(jwk);
    } catch (reason) {
      throw bad(place, FarfieldError.from(reason).message);
    }
  }
  return jwks;
}

/** The public keys of a JWKS; members such as `kid` and `use` are common there and say nothing that we need. */
function keysOfSet(set: unknown, place: string): PublicJwk[] {
  // An array answers to `keys` too, with its method: look at own members only.
  const keys =
    typeof set === 'object' && set !== null && Object.hasOwn(set, 'keys') ? (set as { keys: unknown }).keys : set;
  if (!Array.isArray(keys) || keys.length === 0) throw bad(place, 'is no JWKS: an object with `keys`');
  return keys.map((key: unknown) => {
    const { kty, crv, x, d } = (typeof key === 'object' && key !== null ? key : {}) as Record<string, unknown>;
    if (d !== undefined) throw bad(place, 'holds a private key; give the public keys only, and replace this one');
    if (kty !== 'OKP' || crv !== 'Ed25519' || typeof x !== 'string')
      throw bad(place, 'holds a key that is not Ed25519');
    return { kty, crv, x };
  });
}

const DATE = /^\d{4}-\d{2}-\d{2}$/;
const DATE_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})$/;

/** Seconds since 1970 of a pin's end. */
function resolveUntil(until: number | string, place: string): number {
  if (typeof until === 'number') return until;
  // Without a zone a time would mean another instant on every host: a date is UTC, a time must say.
  const ms = DATE.test(until)
    ? Date.parse(`${until}T00:00:00Z`)
    : DATE_TIME.test(until)
      ? Date.parse(until)
      : Number.NaN;
  if (Number.isNaN(ms))
    throw bad(place, 'is no date (2027-01-01), time with zone (2027-01-01T12:00Z) or count of seconds');
  return Math.floor(ms / 1000);
}

/** A rule with its names looked up: a rule that names nobody would silently never match. */
function resolveRule(rule: RawRule, place: string, authorities: Authorities): ResolvedRule {
  if ('issuer' in rule.who) throw bad(`${place}.who`, 'names an issuer, which comes in a later version; name a pin');
  if (rule.runAs !== undefined)
    throw bad(
      `${place}.runAs`,
      'is for multi-user agents, which come in a later version; everything runs as the agent',
    );
  // A rule for granted keys names nobody: what makes it match is written in beside it by a grant.
  const pin = 'granted' in rule.who ? [] : rule.who.pin;
  const pins = typeof pin === 'string' ? [pin] : pin;
  const known = new Set([...authorities.pinned.values()].map((pin) => pin.name));
  for (const name of pins)
    if (!known.has(name)) throw bad(`${place}.who.pin`, `names ${name}, whom authorities.pinned does not list`);
  return {
    name: rule.name,
    pins: new Set(pins),
    kinds: new Set(rule.kinds ?? ['model']),
    functions: resolveFunctions(rule, `${place}.functions`, authorities),
    images: rule.images === undefined ? undefined : new Set(rule.images),
    models: resolveModels(rule, `${place}.models`, authorities),
    args: rule.args === undefined ? undefined : new Set(rule.args),
    read: resolveFolders(rule.paths?.read, `${place}.paths.read`),
    write: resolveFolders(rule.paths?.write, `${place}.paths.write`),
    runtimes: new Set(rule.runtimes ?? DEFAULT_RUNTIMES),
    ceilings: resolveCeilings(rule.resources ?? {}),
  };
}

function publisherOf(name: string, place: string, authorities: Authorities): Publisher {
  const publisher = authorities.publishers.get(name);
  if (publisher === undefined) throw bad(place, `names ${name}, whom authorities.publishers does not list`);
  return publisher;
}

/** Functions by publisher and name, by manifest digest, or the session key's own. */
function resolveFunctions(rule: RawRule, place: string, authorities: Authorities): FunctionTest {
  const { functions } = rule;
  if ('self' in functions) return { kind: 'self' };
  if ('digests' in functions) return { kind: 'digests', digests: new Set(functions.digests) };
  const minVersion = functions.minVersion === undefined ? undefined : parseVersion(functions.minVersion);
  if (functions.minVersion !== undefined && minVersion === undefined)
    throw bad(`${place}.minVersion`, 'is no version such as 1.2 or 1.2.3');
  return {
    kind: 'publisher',
    publisher: publisherOf(functions.publisher, `${place}.publisher`, authorities),
    names: compileGlobs(functions.names ?? ['**']),
    minVersion,
  };
}

/** Models by who signed the manifest that pins them, or by digest. */
function resolveModels(rule: RawRule, place: string, authorities: Authorities): ModelTest {
  const { models } = rule;
  if (models === undefined) return { kind: 'any' };
  if ('digests' in models) return { kind: 'digests', digests: new Set(models.digests) };
  return { kind: 'publisher', publisher: publisherOf(models.publisher, `${place}.publisher`, authorities) };
}

/** Absolute folders without `.` or `..`, each with one trailing slash so that /data never covers /data2. */
function resolveFolders(folders: readonly string[] | undefined, place: string): string[] {
  return (folders ?? []).map((folder, k) => {
    const parts = folder.split('/').filter((part) => part !== '');
    if (folder.includes('\0') || parts.some((part) => part === '.' || part === '..'))
      throw bad(`${place}.${k}`, 'must not hold . or ..');
    return parts.length === 0 ? '/' : `/${parts.join('/')}/`;
  });
}

function resolveCeilings(raw: NonNullable<RawRule['resources']>): Ceilings {
  return {
    nodes: raw.nodes ?? DEFAULT_NODES,
    gpus: raw.gpus ?? DEFAULT_GPUS,
    cpusPerNode: raw.cpusPerNode ?? Number.POSITIVE_INFINITY,
    memMiBPerNode: raw.memMiBPerNode ?? Number.POSITIVE_INFINITY,
    wallS: raw.wallS ?? DEFAULT_WALL_S,
    maxBytes: raw.maxBytes ?? DEFAULT_MAX_BYTES,
    concurrent: raw.concurrent ?? Number.POSITIVE_INFINITY,
    nodeHoursPerDay: raw.nodeHoursPerDay ?? Number.POSITIVE_INFINITY,
    accounts: new Set(raw.accounts ?? []),
    queues: new Set(raw.queues ?? []),
  };
}

function resolveRevoked(raw: NonNullable<RawPolicy['revoked']>): Revoked {
  return {
    kids: new Set(raw.kids ?? []),
    subs: new Set(raw.subs ?? []),
    delegations: new Set(raw.delegations ?? []),
    tickets: new Set(raw.tickets ?? []),
    manifests: new Set(raw.manifests ?? []),
    models: new Set(raw.models ?? []),
    images: new Set(raw.images ?? []),
  };
}
