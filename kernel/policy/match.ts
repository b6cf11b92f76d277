/**
 * Which rule decides: the first whose who, kind, function, image, model, argument types and runtime all fit.
 *
 * Invariants
 *  M1 First match wins. Ceilings come after it and never fall through to a later rule (kernel/policy/ceilings.ts).
 *  M2 A match is a function of the policy and `Subject`, nothing else: no clock, no counters. (So it could be cached by
 *     these; it is not, since 21 rules of three patterns each take under 30 us where the signatures before them take 300.)
 *  M3 A runtime or image that the ticket, the manifest or the rule does not name is never chosen.
 */
import type { ArgType, ManifestClaims } from '../tokens/claims.ts';
import type { Manifest } from '../tokens/manifest.ts';
import type { ModelTest, Publisher, ResolvedPolicy, ResolvedRule } from './resolve.ts';
import { atLeast } from './version.ts';

/** Everything that a match looks at. */
export interface MatchSubject {
  /** Name of the pinned key. */
  readonly pin: string;
  /** The pinned key itself: a grant is for a key, whoever else has its name. */
  readonly principal: string;
  readonly manifest: Manifest;
  /** The session key, and whether its delegation lets it define functions (`functions: {self: true}`). */
  readonly sessionKid: string;
  readonly mayDefine: boolean;
  /** Types of the arguments; undefined for a batch, whose items are checked one by one. */
  readonly argTypes: ReadonlySet<ArgType> | undefined;
  /** Variants and runtimes that the signer accepts; undefined: all. */
  readonly variants: readonly string[] | undefined;
  readonly runtimes: readonly string[] | undefined;
}

/** A way to run it that ticket, manifest and rule all allow. */
export interface Choice {
  readonly variant: string;
  readonly image: string | undefined;
  readonly runtime: string;
}

export interface Match {
  readonly rule: ResolvedRule;
  /** In the manifest's order; at least one. */
  readonly choices: readonly Choice[];
}

/** Why a rule does not fit, in words for `policy test`. */
export interface Miss {
  readonly rule: string;
  readonly part: 'who' | 'kinds' | 'functions' | 'models' | 'args' | 'images' | 'runtimes';
  readonly why: string;
}

/** The rule that decides, or undefined. */
export function matchRule(policy: ResolvedPolicy, subject: MatchSubject): Match | undefined {
  for (const rule of policy.rules) {
    if (missOf(rule, subject, policy) !== undefined) continue;
    const choices = choicesOf(rule, subject, policy);
    if (choices.length > 0) return { rule, choices };
  }
  return undefined;
}

/** Every rule before the match with the part that did not fit: what `policy test` prints. */
export function explainMatch(
  policy: ResolvedPolicy,
  subject: MatchSubject,
): { match: Match | undefined; misses: Miss[] } {
  const misses: Miss[] = [];
  for (const rule of policy.rules) {
    const miss = missOf(rule, subject, policy);
    if (miss !== undefined) {
      misses.push({ rule: rule.name, ...miss });
      continue;
    }
    const choices = choicesOf(rule, subject, policy);
    if (choices.length > 0) return { match: { rule, choices }, misses };
    misses.push({ rule: rule.name, ...noChoice(rule, subject, policy) });
  }
  return { match: undefined, misses };
}

type Part = Omit<Miss, 'rule'>;

function missOf(rule: ResolvedRule, subject: MatchSubject, policy: ResolvedPolicy): Part | undefined {
  const { claims } = subject.manifest;
  const { grant } = rule;
  if (grant !== undefined) {
    if (grant.kid !== subject.principal)
      return { part: 'who', why: `grant ${grant.id} is for key ${grant.kid}, not for ${subject.principal}` };
    if (grant.functions?.(claims.name) === false)
      return { part: 'functions', why: `grant ${grant.id} does not cover ${claims.name}` };
  } else if (!rule.pins.has(subject.pin))
    return { part: 'who', why: `it is for ${[...rule.pins].join(', ') || 'granted keys'}, not for ${subject.pin}` };
  if (!rule.kinds.has(claims.kind))
    return { part: 'kinds', why: `it takes ${[...rule.kinds].join(', ')}, not kind ${claims.kind}` };
  return (
    functionMiss(rule, subject, policy) ?? modelMiss(rule.models, subject.manifest, policy) ?? argMiss(rule, subject)
  );
}

function functionMiss(rule: ResolvedRule, subject: MatchSubject, policy: ResolvedPolicy): Part | undefined {
  const { claims, digest, signedBy } = subject.manifest;
  const { functions } = rule;
  const miss = (why: string): Part => ({ part: 'functions', why });
  switch (functions.kind) {
    case 'digests':
      return functions.digests.has(digest) ? undefined : miss(`it does not list manifest ${digest}`);
    case 'self':
      if (!subject.mayDefine) return miss('the delegation does not say `define`');
      return signedBy.includes(subject.sessionKid) ? undefined : miss('the manifest is not signed by the session key');
    case 'publisher': {
      const lacking = signatureMiss(functions.publisher, subject.manifest, policy);
      if (lacking !== undefined) return miss(lacking);
      if (!functions.names(claims.name)) return miss(`its names do not cover ${claims.name}`);
      if (functions.minVersion !== undefined && !atLeast(claims.version, functions.minVersion)) {
        return miss(`version ${claims.version} is below ${functions.minVersion.join('.')}`);
      }
      return undefined;
    }
  }
}

/** Counts distinct listed keys that signed and are not revoked, against the publisher's threshold. */
function signatureMiss(publisher: Publisher, manifest: Manifest, policy: ResolvedPolicy): string | undefined {
  let count = 0;
  for (const kid of manifest.signedBy) if (publisher.kids.has(kid) && !policy.revoked.kids.has(kid)) count += 1;
  if (count >= publisher.threshold) return undefined;
  return `the manifest has ${count} of the ${publisher.threshold} signatures that ${publisher.name} asks for`;
}

/** A manifest pins its models, so whoever signed the manifest vouches for them. */
function modelMiss(test: ModelTest, manifest: Manifest, policy: ResolvedPolicy): Part | undefined {
  if (test.kind === 'any' || manifest.claims.models.length === 0) return undefined;
  if (test.kind === 'digests') {
    const stranger = manifest.claims.models.find((model) => !test.digests.has(model.digest));
    return stranger === undefined ? undefined : { part: 'models', why: `it does not list model ${stranger.digest}` };
  }
  const lacking = signatureMiss(test.publisher, manifest, policy);
  return lacking === undefined ? undefined : { part: 'models', why: lacking };
}

function argMiss(rule: ResolvedRule, subject: MatchSubject): Part | undefined {
  if (rule.args === undefined || subject.argTypes === undefined) return undefined;
  for (const type of subject.argTypes)
    if (!rule.args.has(type)) return { part: 'args', why: `it does not take ${type} arguments` };
  return undefined;
}

type Variant = ManifestClaims['variants'][number];

function imageAllowed(rule: ResolvedRule, variant: Variant, policy: ResolvedPolicy): boolean {
  if (variant.image === undefined) return true;
  return (rule.images === undefined || rule.images.has(variant.image)) && !policy.revoked.images.has(variant.image);
}

function choicesOf(rule: ResolvedRule, subject: MatchSubject, policy: ResolvedPolicy): Choice[] {
  const choices: Choice[] = [];
  for (const variant of subject.manifest.claims.variants) {
    if (subject.variants !== undefined && !subject.variants.includes(variant.name)) continue;
    if (!imageAllowed(rule, variant, policy)) continue;
    for (const runtime of variant.runtimes) {
      if (!rule.runtimes.has(runtime) || (subject.runtimes !== undefined && !subject.runtimes.includes(runtime)))
        continue;
      // A container runtime needs the image that somebody pinned; without one there is nothing to start.
      if (runtime !== 'process' && variant.image === undefined) continue;
      choices.push({ variant: variant.name, image: variant.image, runtime });
    }
  }
  return choices;
}

function noChoice(rule: ResolvedRule, subject: MatchSubject, policy: ResolvedPolicy): Part {
  const { variants } = subject.manifest.claims;
  const named = variants.filter((variant) => subject.variants === undefined || subject.variants.includes(variant.name));
  if (named.length > 0 && named.every((variant) => !imageAllowed(rule, variant, policy))) {
    return { part: 'images', why: 'it allows none of the images of this function' };
  }
  return {
    part: 'runtimes',
    why: `it runs ${[...rule.runtimes].join(', ')}, and no variant that the ticket accepts has that`,
  };
}
