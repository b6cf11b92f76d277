/**
 * The steps of kernel/admission.ts that depend on the site and its clock: trust, times, manifest, revocation, rules. Each
 * looks at one thing and returns a refusal or nothing.
 */
import { type Chain, chainTimeRefusal } from './chain.ts';
import type { Token } from './jws.ts';
import { ceilingRefusal, nodeHours, pathRefusal } from './policy/ceilings.ts';
import { type Match, type MatchSubject, matchRule } from './policy/match.ts';
import type { ResolvedPolicy } from './policy/resolve.ts';
import { type Refusal, refusal } from './refusal.ts';
import type { Arg, ArgType } from './tokens/claims.ts';
import type { Manifest } from './tokens/manifest.ts';

export type Ticket = Token<'farfield-ticket+jwt'> | Token<'farfield-batch+jwt'>;

/**
 * A delegation's node-hours: by itself a fact about signed bytes (one item alone is over), with what was used before a
 * ceiling that only the ledger knows.
 */
export function hoursInScope(chain: Chain, ticket: Ticket, used = 0): Refusal | undefined {
  const limit = chain.delegation.claims.scope.nodeHours;
  if (limit === undefined || nodeHours(ticket.claims.res) + used <= limit) return undefined;
  const step = used === 0 ? 'scope' : 'ceilings';
  return refusal(
    step,
    'E_CHAIN_SCOPE',
    `the delegation allows ${limit} node-hours in all; this item may use ${nodeHours(ticket.claims.res)}, ${used} are used`,
  );
}

const takenBack = (policy: ResolvedPolicy, chain: Chain): boolean => policy.takenBack?.has(chain.principal) === true;

/** The one command that a refused person needs; its answer is read with `access status`. */
function askFor(endpoint: string): string {
  return `ask its admin with: farfield access request ${endpoint}`;
}

/** The principal's key is pinned, still is, and under the name that its delegation claims. */
export function trustRefusal(
  policy: ResolvedPolicy,
  chain: Chain,
  nowS: number,
  endpoint: string,
): Refusal | undefined {
  const no = (message: string): Refusal => refusal('trust', 'E_UNTRUSTED', message);
  const { sub } = chain.delegation.claims;
  const pin = policy.authorities.pinned.get(chain.principal);
  if (takenBack(policy, chain) && (pin === undefined || pin.untilS < nowS))
    return refusal('revocation', 'E_REVOKED', `this endpoint took back its access; ${askFor(endpoint)}`);
  if (pin === undefined) {
    return no(`this endpoint does not know key ${chain.principal}; ${askFor(endpoint)}`);
  }
  if (pin.untilS + policy.clockToleranceS < nowS)
    return no(`key ${chain.principal} was trusted until ${pin.untilS}; ${askFor(endpoint)}`);
  if (sub.iss !== 'pin' || sub.id !== pin.name)
    return no(`this endpoint knows key ${chain.principal} under another name; log in as ${pin.name}`);
  return undefined;
}

/**
 * How long a delegation may last is the site's to say, and is judged on the site's clock: whoever backdates a ticket with a
 * stolen session key gets no further than `adm`, which is why that is bounded too.
 */
export function chainTimesRefusal(
  policy: ResolvedPolicy,
  chain: Chain,
  ticket: Ticket,
  nowS: number,
): Refusal | undefined {
  const { use, iat, exp, adm } = chain.delegation.claims;
  const long = (message: string): Refusal => refusal('chain-time', 'E_LIFE', message);
  if (use === 'robot' && exp - iat > policy.maxRobotLifeS)
    return long(`a robot's delegation may last ${policy.maxRobotLifeS} s here`);
  if (adm - exp > policy.maxTicketLifeS)
    return long(`a delegation may wait ${policy.maxTicketLifeS} s here (--queue-for)`);
  return chainTimeRefusal(chain, ticket, nowS, policy.clockToleranceS);
}

/** The manifest is the one that the ticket names, and the ticket says of it what it says of itself. */
export function manifestRefusal(manifest: Manifest, ticket: Ticket): Refusal | undefined {
  const no = (message: string): Refusal => refusal('manifest', 'E_MANIFEST', message);
  const { fn, mdl } = ticket.claims;
  const { claims } = manifest;
  if (manifest.digest !== fn.manifest) return no(`the manifest is ${manifest.digest}; the ticket names ${fn.manifest}`);
  if (claims.name !== fn.name || claims.version !== fn.version)
    return no(`the manifest is of ${claims.name} ${claims.version}, the ticket of ${fn.name} ${fn.version}`);
  const same =
    mdl.length === claims.models.length &&
    mdl.every((m) => claims.models.some((c) => c.name === m.name && c.digest === m.digest));
  if (!same || new Set(mdl.map((m) => m.name)).size !== mdl.length)
    return no('the ticket and its manifest name different models');
  const unknown = ticket.claims.var?.find((name) => !claims.variants.some((variant) => variant.name === name));
  if (unknown !== undefined) return no(`the manifest has no variant ${unknown}`);
  return 'args' in ticket.claims ? argsRefusal(manifest, ticket.claims.args) : undefined;
}

/** A function takes no more of a node than the ticket's signer allowed. */
export function needsRefusal(manifest: Pick<Manifest, 'claims'>, { claims }: Ticket): Refusal | undefined {
  const { cores = 0, memMiB = 0, gpus = 0, nodes = 0 } = manifest.claims.needs ?? {};
  const { res } = claims;
  const over = (what: string, needed: number, field: string, allowed: number): Refusal | undefined =>
    needed <= allowed
      ? undefined
      : refusal(
          'ceilings',
          'E_CEILING',
          `${manifest.claims.name} needs ${needed} ${what}, and the ticket allows ${allowed}; sign it with a ${field} of ${needed}`,
        );
  return (
    over('nodes', nodes, 'nodes', res.nodes) ??
    over('cores', cores, 'cpusPerNode', res.cpusPerNode) ??
    over('MiB of memory', memMiB, 'memMiBPerNode', res.memMiBPerNode) ??
    over('accelerators', gpus, 'gpusPerNode', res.gpusPerNode)
  );
}

/** Arguments against what the manifest declares: known names, allowed types, each once, none missing. */
export function argsRefusal(
  manifest: Pick<Manifest, 'claims'>,
  args: readonly Pick<Arg, 'name' | 'type'>[],
): Refusal | undefined {
  const no = (message: string): Refusal => refusal('manifest', 'E_MANIFEST', message);
  const declared = manifest.claims.args;
  for (let k = 0; k < args.length; k += 1) {
    const arg = args[k];
    if (arg === undefined) continue;
    const known = declared.find((d) => d.name === arg.name);
    if (known === undefined) return no(`${manifest.claims.name} has no argument ${arg.name}`);
    if (!known.types.includes(arg.type))
      return no(`argument ${arg.name} must be ${known.types.join(' or ')}, not ${arg.type}`);
    if (args.findIndex((other) => other.name === arg.name) !== k) return no(`argument ${arg.name} is given twice`);
  }
  const missing = declared.find((d) => d.optional !== true && !args.some((arg) => arg.name === d.name));
  return missing === undefined ? undefined : no(`argument ${missing.name} is missing`);
}

/** `exp` bounds the start, so it is asked at admission and again at every launch. */
export function expiredRefusal(ticket: Ticket): Refusal {
  return refusal(
    'times',
    'E_EXPIRED',
    `this ticket might start until ${ticket.claims.exp} (seconds since 1970); submit it again`,
  );
}

/** The ticket's own times on this clock. `epochSince`: since when the ledger remembers. */
export function ticketTimesRefusal(
  policy: ResolvedPolicy,
  ticket: Ticket,
  nowS: number,
  epochSince: number,
): Refusal | undefined {
  const { iat, exp } = ticket.claims;
  if (iat > nowS + policy.clockToleranceS)
    return refusal('times', 'E_NOT_YET', 'the ticket is from the future; check both clocks');
  if (exp + policy.clockToleranceS < nowS) return expiredRefusal(ticket);
  if (exp <= iat || exp - iat > policy.maxTicketLifeS) {
    return refusal('times', 'E_LIFE', `a ticket may live ${policy.maxTicketLifeS} s here, not ${exp - iat}`);
  }
  // No tolerance: a ticket from before the loss may have run, and nobody here remembers.
  if (iat < epochSince) {
    return refusal(
      'times',
      'E_LEDGER_EPOCH',
      'this ticket is older than the memory of the endpoint; submit it again under a new jti',
    );
  }
  return undefined;
}

/** What only the ledger counts; a caller that cannot count leaves it out, and nothing is charged against a ceiling. */
export interface Usage {
  usedNodeHours?(rule: string, principal: string): number;
  usedByDelegation?(delegationHash: string): number;
}

/** Revocation, match, ceilings, paths: the steps that are the same at admission and at launch. */
export function judge(
  policy: ResolvedPolicy,
  ticket: Ticket,
  chain: Chain,
  manifest: Manifest,
  nowS: number,
  usage: Usage,
): { readonly pin: string; readonly match: Match } | Refusal {
  const pin = policy.authorities.pinned.get(chain.principal);
  // trustRefusal ran before, on the same policy and clock: this is for the compiler.
  if (pin === undefined)
    return (
      trustRefusal(policy, chain, nowS, ticket.claims.aud) ??
      refusal('trust', 'E_UNTRUSTED', 'this key is not trusted here')
    );
  const revoked = revocationRefusal(policy, ticket, chain, manifest);
  if (revoked !== undefined) return revoked;
  const match = matchRule(policy, matchSubject(pin.name, ticket, chain, manifest));
  if (match === undefined) {
    // A grant that was taken back ends what runs by it; a rule that was never there ends nothing.
    const [step, code] = takenBack(policy, chain)
      ? (['revocation', 'E_REVOKED'] as const)
      : (['match', 'E_POLICY'] as const);
    return refusal(
      step,
      code,
      `no rule of this endpoint lets ${pin.name} run ${manifest.claims.name} ${manifest.claims.version}; ${askFor(ticket.claims.aud)}`,
    );
  }
  const { rule } = match;
  const usedByDelegation = usage.usedByDelegation?.(chain.delegation.hash) ?? 0;
  const found =
    needsRefusal(manifest, ticket) ??
    ceilingRefusal(rule, ticket.claims, usage.usedNodeHours?.(rule.name, chain.principal) ?? 0) ??
    hoursInScope(chain, ticket, usedByDelegation) ??
    pathRefusal(rule, 'args' in ticket.claims ? ticket.claims.args : [], ticket.claims.out);
  return found ?? { pin: pin.name, match };
}

/** What the rules see of a ticket; `policy test` asks them with the same. */
export function matchSubject(pin: string, ticket: Ticket, chain: Chain, manifest: Manifest): MatchSubject {
  const { claims } = ticket;
  return {
    pin,
    principal: chain.principal,
    manifest,
    sessionKid: chain.sessionKid,
    mayDefine: chain.delegation.claims.scope.define === true,
    argTypes: 'args' in claims ? new Set<ArgType>(claims.args.map((arg) => arg.type)) : undefined,
    variants: claims.var,
    runtimes: claims.rt,
  };
}

/** Any name under which a site may have given up a thing: keys first, then people, papers, code. */
function revocationRefusal(
  policy: ResolvedPolicy,
  ticket: Ticket,
  chain: Chain,
  manifest: Manifest,
): Refusal | undefined {
  const { revoked } = policy;
  const no = (what: string): Refusal => refusal('revocation', 'E_REVOKED', `this endpoint has revoked ${what}`);
  if (revoked.kids.has(chain.principal)) return no(`key ${chain.principal}`);
  if (revoked.kids.has(chain.sessionKid)) return no(`session key ${chain.sessionKid}; log in again`);
  if (revoked.subs.has(ticket.claims.sub.id)) return no(ticket.claims.sub.id);
  if (revoked.delegations.has(chain.delegation.hash)) return no('this delegation; log in again');
  if (revoked.tickets.has(ticket.hash)) return no('this ticket');
  if (revoked.manifests.has(manifest.digest)) return no(`manifest ${manifest.digest}`);
  const model = manifest.claims.models.find((m) => revoked.models.has(m.digest));
  if (model !== undefined) return no(`model ${model.digest}`);
  const { variants } = manifest.claims;
  const image = variants.find((variant) => variant.image !== undefined && revoked.images.has(variant.image))?.image;
  // Some images revoked: the others still may run, and the match leaves the revoked out. All revoked: say why.
  if (image !== undefined && variants.every((v) => v.image !== undefined && revoked.images.has(v.image)))
    return no(`image ${image}`);
  return undefined;
}
