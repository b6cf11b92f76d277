/**
 * Requests for access, as they come in: kept for the admin to look at, answered with how they stand.
 *
 * Invariants
 *  R1 A request changes nothing but this list: default deny stays. What is granted is in a file that only the verbs write.
 *  R2 The list is bounded three ways: open requests of one key, new ones an hour over all keys, and all of them together. What
 *     nobody decided goes after KEEP_S. A flood fills the list and nothing else; it says so to whoever comes after.
 *  R3 The same token again is the same request, whoever carries it: its id is a hash of principal and jti.
 *  R4 An answer is signed, binds the token that asked, and tells a key only of itself. It is given after the list is on disk.
 *  R5 Text of strangers is cleaned of control characters before it is stored.
 */
import { readFileSync } from 'node:fs';
import { type Static, Type as T } from 'typebox';
import type { Clock } from '#base/clock.ts';
import { writeDurable } from '#base/files.ts';
import type { Logger } from '#base/log.ts';
import { plainLine } from '#base/plain.ts';
import { ACCESS_NOTICE, type AccessToken, decideAccess } from '#kernel/access.ts';
import { sha256Hex } from '#kernel/bytes.ts';
import { type Chain, createChainCache } from '#kernel/chain.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { tokenHash } from '#kernel/jws.ts';
import { DEFAULT_CLOCK_TOLERANCE_S } from '#kernel/limits.ts';
import { endOf, type GrantsFile } from '#kernel/policy/grants.ts';
import type { ResolvedPolicy } from '#kernel/policy/resolve.ts';
import { type Refusal, refusal } from '#kernel/refusal.ts';
import { check } from '#kernel/schema.ts';
import { signToken } from '#kernel/sign.ts';
import type { AccessEntry, AccessWish } from '#kernel/tokens/claims.ts';
import type { Identity } from '../identity/identity.ts';
import type { PolicySource } from './policy.ts';

const DAY_S = 86_400;
/** An admin on holiday still finds it. */
export const KEEP_S = 30 * DAY_S;
/** Of one key that wait: a person has no more to ask before the first answer. */
export const MAX_WAITING_OF_ONE = 3;
/** Over all keys: a summer school on its first morning. */
export const MAX_NEW_PER_HOUR = 60;
/** In the list: what one person can still read. */
export const MAX_REQUESTS = 256;
/** Entries in one answer. */
const MAX_ENTRIES = 16;
/** Answers a minute, good or bad: each costs two signatures. */
const MAX_ANSWERS_PER_MINUTE = 300;
const CACHED_CHAINS = 64;

const StoredRequest = T.Object(
  {
    id: T.String({ pattern: '^r-[0-9a-f]{12}$' }),
    kid: T.String({ pattern: '^[A-Za-z0-9_-]{43}$' }),
    /** As the asker's delegation claims it. */
    name: T.String({ maxLength: 256 }),
    at: T.Integer({ minimum: 0 }),
    functions: T.Optional(T.Array(T.String({ maxLength: 128 }), { maxItems: 16 })),
    reason: T.Optional(T.String({ maxLength: 500 })),
    forS: T.Integer({ minimum: 60 }),
  },
  { additionalProperties: false },
);
const RequestsShape = T.Object(
  { v: T.Literal(1), requests: T.Array(StoredRequest, { maxItems: MAX_REQUESTS }) },
  { additionalProperties: false },
);
export type StoredRequest = Static<typeof StoredRequest>;

/** Throws E_BAD_REQUEST for a damaged file; nothing where there is none. */
export function readRequests(path: string): StoredRequest[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw cause;
  }
  try {
    const checked = check(RequestsShape, JSON.parse(text));
    if (checked.ok) return checked.value.requests;
  } catch {
    // Said below, as for any other damage.
  }
  throw new FarfieldError('E_BAD_REQUEST', `${path} is damaged; remove it: whoever still waits will ask again`);
}

export function requestId(principal: string, jti: string): string {
  return `r-${sha256Hex(`farfield/access/v1\0${principal}\0${jti}`).slice(0, 12)}`;
}

/** Whether nobody has answered a request yet. */
export function isWaiting(request: StoredRequest, grants: GrantsFile): boolean {
  return (
    !grants.decided.some((each) => each.request === request.id) &&
    !grants.grants.some((each) => each.request === request.id) &&
    !grants.revoked.some((each) => each.request === request.id)
  );
}

export interface AccessDesk {
  /** Text of the farfield-access-answer+jwt to this token. */
  answer(token: string, chain: readonly string[]): Promise<string>;
  /** What was decided, for each key that asked: told without being asked again. */
  notices(): readonly AccessNotice[];
}

export interface AccessNotice {
  readonly principal: string;
  /** Of what it says: the same again is no news. */
  readonly digest: string;
  /** Text of the farfield-access-answer+jwt. */
  readonly token: string;
}

export interface AccessDeskOptions {
  readonly folder: { readonly access: string };
  readonly identity: { readonly current: Identity };
  readonly clock: Clock;
  readonly log: Logger;
}

type Policy = Pick<PolicySource, 'current' | 'grants' | 'seenS'>;

export function openAccessDesk(options: AccessDeskOptions, policy: Policy): AccessDesk {
  return new Desk(options, policy);
}

class Desk implements AccessDesk {
  readonly #o: AccessDeskOptions;
  readonly #policy: Policy;
  readonly #chains = createChainCache(CACHED_CHAINS);
  #requests: StoredRequest[];
  /** One write after the other, each of the whole list. */
  #writing: Promise<void> = Promise.resolve();
  #minute = 0;
  #answers = 0;

  constructor(options: AccessDeskOptions, policy: Policy) {
    this.#o = options;
    this.#policy = policy;
    try {
      this.#requests = readRequests(options.folder.access);
    } catch (reason) {
      options.log.error({ problem: FarfieldError.from(reason).message }, 'requests for access start anew');
      this.#requests = [];
    }
  }

  async answer(text: string, links: readonly string[]): Promise<string> {
    const { identity, clock } = this.#o;
    const nowS = clock.now() / 1000;
    if (this.#floods(nowS)) return this.#refused(text, busy('this endpoint answers too many such requests'));
    const decision = decideAccess({
      token: text,
      chain: links,
      chains: this.#chains,
      endpoint: identity.current.endpoint,
      nowS,
      toleranceS: DEFAULT_CLOCK_TOLERANCE_S,
    });
    if (decision.kind === 'refuse') return this.#refused(text, decision.refusal);
    const { token, chain } = decision;
    const { ask } = token.claims;
    const refused = ask.op === 'request' ? await this.#note(token, chain, ask, Math.floor(nowS)) : undefined;
    return refused === undefined ? this.#signed(token.hash, chain.principal) : this.#refused(text, refused);
  }

  /**
   * R4 holds: each key hears of itself, and only a key that asked here. Signed when it is sent, MAX_REQUESTS of them at
   * most: a session is seldom, and a token that is kept would have to be kept right.
   */
  notices(): readonly AccessNotice[] {
    const { current, grants, seenS } = this.#policy;
    const since = seenS - KEEP_S;
    const asked = new Set(this.#requests.map(({ kid }) => kid));
    for (const { kid, request, at } of [...grants.decided, ...grants.revoked])
      if (request !== undefined && at > since) asked.add(kid);
    for (const { kid, request, until } of grants.grants) if (request !== undefined && until > since) asked.add(kid);
    return [...asked].slice(0, MAX_REQUESTS).flatMap((principal) => {
      const entries = entriesOf(principal, this.#requests, current, grants, seenS).filter(
        ({ state }) => state !== 'waiting',
      );
      if (entries.length === 0) return [];
      const digest = sha256Hex(JSON.stringify(entries));
      return [{ principal, digest, token: this.#sign(ACCESS_NOTICE, principal, entries) }];
    });
  }

  async #note(token: AccessToken, chain: Chain, wish: AccessWish, nowS: number): Promise<Refusal | undefined> {
    const { log } = this.#o;
    const policy = this.#policy;
    const id = requestId(chain.principal, token.claims.jti);
    if (this.#requests.some((each) => each.id === id)) {
      await this.#writing;
      return undefined;
    }
    const { revoked } = policy.current;
    if (revoked.kids.has(chain.principal) || revoked.kids.has(chain.sessionKid))
      return refusal('revocation', 'E_REVOKED', 'this endpoint has revoked this key');
    this.#requests = this.#requests.filter((each) => each.at + KEEP_S > nowS);
    const waiting = this.#requests.filter((each) => isWaiting(each, policy.grants));
    if (waiting.filter((each) => each.kid === chain.principal).length >= MAX_WAITING_OF_ONE)
      return busy(`${MAX_WAITING_OF_ONE} of your requests wait for an answer; \`farfield access status\` shows them`);
    const fresh = this.#requests.filter((each) => each.at > nowS - 3600);
    if (fresh.filter((each) => each.kid === chain.principal).length >= 2 * MAX_WAITING_OF_ONE)
      return busy('you asked often within an hour');
    if (fresh.length >= MAX_NEW_PER_HOUR) return busy('many people asked this endpoint within an hour');
    if (waiting.length >= MAX_REQUESTS) return busy(`${MAX_REQUESTS} requests wait for this endpoint's admin`);
    // R2: what was decided makes room for what was not, oldest first.
    const decided = this.#requests.filter((each) => !waiting.includes(each));
    const before = [...decided.slice(-Math.max(0, MAX_REQUESTS - 1 - waiting.length)), ...waiting];
    const reason = wish.reason === undefined ? '' : plainLine(wish.reason, 500);
    const request: StoredRequest = {
      id,
      kid: chain.principal,
      name: plainLine(token.claims.sub.id, 128),
      at: nowS,
      ...(wish.functions === undefined ? {} : { functions: wish.functions }),
      ...(reason === '' ? {} : { reason }),
      forS: wish.forS,
    };
    this.#requests = [...before.slice(-(MAX_REQUESTS - 1)), request];
    try {
      await this.#write();
    } catch (reason) {
      // Not kept, so not promised; and no reason to end the link that carries everybody's work.
      this.#requests = this.#requests.filter((each) => each.id !== id);
      log.error({ err: reason }, 'a request for access could not be kept');
      return refusal('access', 'E_UNAVAILABLE', 'this endpoint could not keep the request; ask again later');
    }
    log.info({ request: id, principal: chain.principal }, 'access asked for');
    return undefined;
  }

  /** R4: whoever is answered can rely on it that the admin will see the request. */
  #write(): Promise<void> {
    const write = async (): Promise<void> =>
      writeDurable(this.#o.folder.access, `${JSON.stringify({ v: 1, requests: this.#requests })}\n`, 0o600);
    const written = this.#writing.then(write);
    this.#writing = written.catch(() => undefined);
    return written;
  }

  #floods(nowS: number): boolean {
    const minute = Math.floor(nowS / 60);
    if (minute !== this.#minute) this.#answers = 0;
    this.#minute = minute;
    this.#answers += 1;
    return this.#answers > MAX_ANSWERS_PER_MINUTE;
  }

  #signed(req: string, principal: string): string {
    const { current, grants, seenS } = this.#policy;
    return this.#sign(req, principal, entriesOf(principal, this.#requests, current, grants, seenS));
  }

  #sign(req: string, principal: string, entries: readonly AccessEntry[]): string {
    const { identity, clock } = this.#o;
    const { endpoint, signer } = identity.current;
    const iat = Math.floor(clock.now() / 1000);
    const claims = { v: 1, iss: signer.kid, endpoint, aud: principal, req, iat, entries } as const;
    return signToken('farfield-access-answer+jwt', { ...claims, entries: [...entries] }, signer);
  }

  #refused(text: string, { code, message }: Refusal): string {
    const { identity, clock } = this.#o;
    const { endpoint, signer } = identity.current;
    const iat = Math.floor(clock.now() / 1000);
    const refused = { code, message: plainLine(message, 500) };
    const claims = { v: 1, iss: signer.kid, endpoint, req: tokenHash(text), iat, refused, entries: [] } as const;
    return signToken('farfield-access-answer+jwt', { ...claims, entries: [] }, signer);
  }
}

function busy(message: string): Refusal {
  return refusal('access', 'E_BUSY', `${message}; try again later`);
}

/** Everything about one key, newest first. */
export function entriesOf(
  kid: string,
  requests: readonly StoredRequest[],
  policy: ResolvedPolicy,
  grants: GrantsFile,
  nowS: number,
): AccessEntry[] {
  const own = <E extends { readonly kid: string }>(list: readonly E[]): readonly E[] =>
    list.filter((each) => each.kid === kid);
  const inForce = new Set(policy.rules.map((rule) => rule.grant?.id));
  const entries: AccessEntry[] = [];
  for (const grant of own(grants.grants)) {
    const until = Math.floor(endOf(policy, grant));
    const state = inForce.has(grant.id) ? 'granted' : 'ended';
    const why = state === 'ended' && until > nowS ? { reason: 'the policy does not carry it any more' } : {};
    entries.push({ id: grant.id, state, at: grant.from, until, rule: grant.rule, ...why });
  }
  for (const { id, at, rule, reason } of own(grants.revoked))
    entries.push({
      ...{ id, state: 'ended', at, reason: reason ?? 'revoked by the site' },
      ...(rule === undefined ? {} : { rule }),
    });
  for (const { request, at, outcome, until = 0, reason } of own(grants.decided)) {
    const words = reason === undefined ? {} : { reason };
    if (outcome === 'denied') entries.push({ id: request, state: 'denied', at, ...words });
    else entries.push({ id: request, state: until > nowS ? 'granted' : 'ended', at, until, ...words });
  }
  for (const request of own(requests))
    if (isWaiting(request, grants)) entries.push({ id: request.id, state: 'waiting', at: request.at });
  return entries.sort((a, b) => b.at - a.at).slice(0, MAX_ENTRIES);
}
