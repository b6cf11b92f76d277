/**
 * Grants: rules of the policy given to a key for a time. The policy says what may be granted, a file of its own what is.
 *
 * Invariants
 *  G1 A grant is one rule of the template for one key: the rule's own bounds hold, and a grant can only narrow them. It stands
 *     directly behind its rule, so the policy's order decides as before, and shares the rule's name and daily budget.
 *  G2 What the template does not allow (any more) is not in force and is said; the other grants and the policy's rules go on.
 *  G3 A granted key never gets a name that the policy pins to another: rules by name are not grants.
 *  G4 A key that the policy pins stays as it is pinned: where that pin is over, so is what was granted beside it.
 *  G5 What was taken back is a revocation: running work of that key which nothing else allows ends as `onRevoke` says. What ran
 *     out is none: nothing starts any more, and what runs may finish.
 *  G6 The digest of the policy in force names the grants in force. An end is exact, without tolerance.
 */
import { type Static, Type as T } from 'typebox';
import { sha256Of } from '../bytes.ts';
import { FarfieldError } from '../errors.ts';
import { compileGlobs } from '../globs.ts';
import { digestOf } from '../ids.ts';
import { parseStrict } from '../json.ts';
import { check } from '../schema.ts';
import type { Ceilings, PinnedKey, ResolvedPolicy, ResolvedRule } from './resolve.ts';

const closed = { additionalProperties: false } as const;
const Thumbprint = T.String({ pattern: '^[A-Za-z0-9_-]{43}$' });
const Name = T.String({ minLength: 1, maxLength: 128, pattern: '^[A-Za-z0-9][A-Za-z0-9._/@+-]*$' });
const Pattern = T.String({ minLength: 1, maxLength: 128, pattern: '^[A-Za-z0-9*][A-Za-z0-9._/@+*-]*$' });
const Seconds = T.Integer({ minimum: 0, maximum: 253402300799 });
const RuleName = T.String({ minLength: 1, maxLength: 256 });
const GrantId = T.String({ pattern: '^g-[0-9a-f]{12}$' });
const RequestId = T.String({ pattern: '^r-[0-9a-f]{12}$' });
const Reason = T.String({ maxLength: 500 });

export const Grant = T.Object(
  {
    id: GrantId,
    kid: Thumbprint,
    name: Name,
    rule: RuleName,
    functions: T.Optional(T.Array(Pattern, { minItems: 1, maxItems: 64 })),
    accounts: T.Optional(T.Array(Name, { minItems: 1, maxItems: 64 })),
    queues: T.Optional(T.Array(Name, { minItems: 1, maxItems: 64 })),
    from: Seconds,
    until: Seconds,
    request: T.Optional(RequestId),
  },
  closed,
);
/** What became of a request otherwise: denied, or answered by a pin in the policy. Kept so that the asker can be told. */
const Decision = T.Object(
  {
    request: RequestId,
    kid: Thumbprint,
    at: Seconds,
    outcome: T.Enum(['denied', 'pinned']),
    until: T.Optional(Seconds),
    reason: T.Optional(Reason),
  },
  closed,
);
/** A grant, or a pin, that was taken back. */
const Revocation = T.Object(
  {
    id: GrantId,
    kid: Thumbprint,
    /** Left out where it was the key's pin in the policy. */
    rule: T.Optional(RuleName),
    at: Seconds,
    request: T.Optional(RequestId),
    reason: T.Optional(Reason),
  },
  closed,
);

/** Bounds of one file: far above what a site grants by hand. */
export const MAX_GRANTS = 1024;
export const MAX_DECISIONS = 1024;

export const GrantsShape = T.Object(
  {
    v: T.Literal(1),
    /** Over the lists below: an edit by hand or a torn file is noticed. Whoever may write the file could recompute it. */
    sum: T.String({ pattern: '^sha256:[0-9a-f]{64}$' }),
    grants: T.Array(Grant, { maxItems: MAX_GRANTS }),
    decided: T.Array(Decision, { maxItems: MAX_DECISIONS }),
    revoked: T.Array(Revocation, { maxItems: MAX_DECISIONS }),
  },
  closed,
);

export type Grant = Static<typeof Grant>;
export type GrantsFile = Omit<Static<typeof GrantsShape>, 'v' | 'sum'>;

export const NO_GRANTS: GrantsFile = { grants: [], decided: [], revoked: [] };

function sumOf({ grants, decided, revoked }: GrantsFile): string {
  return digestOf(JSON.stringify([grants, decided, revoked]));
}

export function writeGrants(file: GrantsFile): string {
  const { grants, decided, revoked } = file;
  return `${JSON.stringify({ v: 1, sum: sumOf(file), grants, decided, revoked }, undefined, 1)}\n`;
}

/** Throws E_BAD_REQUEST for whatever the verbs did not write. */
export function parseGrants(bytes: Uint8Array): GrantsFile {
  const bad = (why: string): FarfieldError =>
    new FarfieldError('E_BAD_REQUEST', `the grants file ${why}; no grant is in force until it is put right`);
  let value: unknown;
  try {
    value = parseStrict(bytes, 'E_BAD_REQUEST');
  } catch (cause) {
    throw new FarfieldError('E_BAD_REQUEST', bad('is damaged: no JSON').message, { cause });
  }
  const checked = check(GrantsShape, value);
  if (!checked.ok) throw bad(`is damaged: ${checked.path} ${checked.message}`);
  if (checked.value.sum !== sumOf(checked.value)) throw bad('was edited by hand or cut off: its sum does not fit');
  return checked.value;
}

export interface GrantedPolicy {
  readonly policy: ResolvedPolicy;
  /** Grants that are not in force though their time is not over, and why (G2). */
  readonly problems: readonly string[];
  /** When the next grant ends; Infinity: none will. */
  readonly nextS: number;
}

/** The policy with the grants that are in force at `nowS`. */
export function withGrants(policy: ResolvedPolicy, file: GrantsFile, nowS: number): GrantedPolicy {
  const problems: string[] = [];
  const pinned = new Map(policy.authorities.pinned);
  const given = new Map<string, ResolvedRule[]>();
  const inForce: Grant[] = [];
  let nextS = Number.POSITIVE_INFINITY;
  for (const grant of file.grants) {
    const until = endOf(policy, grant);
    if (until <= nowS) continue;
    const why = overReach(policy, grant, pinned, nowS);
    const rule = policy.rules.find(({ name }) => name === grant.rule);
    if (why !== undefined || rule === undefined) {
      problems.push(`grant ${grant.id} is not in force: ${why ?? 'its rule is gone'}`);
      continue;
    }
    inForce.push(grant);
    nextS = Math.min(nextS, until);
    if (!policy.authorities.pinned.has(grant.kid)) pinned.set(grant.kid, latest(pinned.get(grant.kid), grant, until));
    given.set(rule.name, [...(given.get(rule.name) ?? []), narrowed(rule, grant)]);
  }
  const takenBack = [...new Set(file.revoked.map(({ kid }) => kid))];
  if (inForce.length === 0 && takenBack.length === 0) return { policy, problems, nextS };
  const granted: ResolvedPolicy = {
    ...policy,
    digest: digestOf(sha256Of(policy.digest, JSON.stringify([inForce, takenBack]))),
    takenBack: new Set(takenBack),
    authorities: { ...policy.authorities, pinned },
    rules: policy.rules.flatMap((rule) => [rule, ...(given.get(rule.name) ?? [])]),
  };
  return { policy: granted, problems, nextS };
}

/** A template that became shorter ends what was granted under a longer one. */
export function endOf(policy: ResolvedPolicy, { from, until }: Pick<Grant, 'from' | 'until'>): number {
  return policy.grants === undefined ? until : Math.min(until, from + policy.grants.maxS);
}

/** Why the policy does not carry this grant, or undefined. The verbs ask before they write, the agent whenever it reads. */
export function overReach(
  policy: ResolvedPolicy,
  grant: Grant,
  pinned: ReadonlyMap<string, PinnedKey>,
  nowS: number,
): string | undefined {
  if (policy.grants === undefined) return 'the policy has no `grants`, so nothing may be granted';
  if (!policy.grants.rules.has(grant.rule)) return `the policy does not list rule "${grant.rule}" under grants.rules`;
  const ceilings = policy.rules.find(({ name }) => name === grant.rule)?.ceilings;
  const account = grant.accounts?.find((name) => ceilings?.accounts.has(name) !== true);
  if (account !== undefined) return `rule "${grant.rule}" does not list account ${account}`;
  const queue = grant.queues?.find((name) => ceilings?.queues.has(name) !== true);
  if (queue !== undefined) return `rule "${grant.rule}" does not list queue ${queue}`;
  const own = policy.authorities.pinned.get(grant.kid);
  if (own !== undefined) {
    if (own.name !== grant.name) return `the policy pins this key as ${own.name}, not as ${grant.name}`;
    return own.untilS > nowS ? undefined : `the policy's own pin of ${own.name} is over; trust the key again`;
  }
  for (const other of pinned.values())
    if (other.kid !== grant.kid && other.name === grant.name) return `another key is known as ${grant.name}`;
  const before = pinned.get(grant.kid);
  return before === undefined || before.name === grant.name
    ? undefined
    : `this key was granted access as ${before.name} before`;
}

function latest(before: PinnedKey | undefined, { kid, name }: Grant, until: number): PinnedKey {
  return { kid, name, untilS: Math.max(until, before?.untilS ?? 0) };
}

const only = (allowed: ReadonlySet<string>, listed: readonly string[] | undefined): ReadonlySet<string> =>
  listed === undefined ? allowed : new Set(listed.filter((name) => allowed.has(name)));

function narrowed(rule: ResolvedRule, { id, kid, name, functions, accounts, queues }: Grant): ResolvedRule {
  const ceilings: Ceilings = {
    ...rule.ceilings,
    accounts: only(rule.ceilings.accounts, accounts),
    queues: only(rule.ceilings.queues, queues),
  };
  const covered = functions === undefined ? undefined : compileGlobs(functions);
  return { ...rule, pins: new Set([name]), ceilings, grant: { id, kid, functions: covered } };
}
