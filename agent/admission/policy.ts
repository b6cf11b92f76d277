/**
 * The policy in force: loaded from a file that the site owns, watched, never half-loaded.
 *
 * Invariants
 *  P1 A file that others may write is refused: whoever writes the policy decides what runs.
 *  P2 A bad edit keeps the running policy, and is said: in the log, and in the endpoint's status.
 *  P3 Without a policy nothing is admitted: there is no default one.
 *  P4 Grants come from a file beside it that the verbs write (kernel/policy/grants.ts). One that is damaged or open to others
 *     grants nothing, which is said; the policy's own rules go on. A grant that is over is over at the next look at the
 *     policy, by a clock that never goes back.
 */
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Logger } from '#base/log.ts';
import { loadYaml } from '#base/yaml.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type GrantedPolicy, type GrantsFile, NO_GRANTS, withGrants } from '#kernel/policy/grants.ts';
import { type ResolvedPolicy, resolvePolicy } from '#kernel/policy/resolve.ts';
import { assertOwned, grantsPath, readGrants } from './grants.ts';

/** A changed file is seen within this time; the file may lie on a network file system, where notifications do not come. */
const WATCH_MS = 1000;

/** A JWKS file that the policy names; its shape is checked where the policy is resolved. */
function readJwks(folder: string, name: string): unknown {
  const path = resolve(folder, name);
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new FarfieldError('E_BAD_REQUEST', `cannot read the keys in ${path}, which the policy names`, { cause });
  }
}

const NO_POLICY = '`farfield endpoint init` writes one that allows nothing';

/** Reads and resolves a policy file, without what is granted beside it; throws with the place of what is wrong. */
export function readPolicy(path: string, endpoint: string | undefined, uid: number): ResolvedPolicy {
  assertOwned(path, uid, NO_POLICY);
  const bytes = readFileSync(path);
  const loaded = loadYaml(bytes.toString(), path);
  return resolvePolicy(loaded.value, bytes, {
    ...(endpoint === undefined ? {} : { endpoint }),
    readJwks: (name) => readJwks(dirname(path), name),
  });
}

/** The policy with the grants in force at `nowS`, as the agent decides by it. */
export function readGrantedPolicy(
  path: string,
  endpoint: string | undefined,
  uid: number,
  nowS: number,
): GrantedPolicy & { readonly grants: GrantsFile } {
  return addGrants(readPolicy(path, endpoint, uid), path, uid, nowS);
}

function addGrants(
  policy: ResolvedPolicy,
  path: string,
  uid: number,
  nowS: number,
): GrantedPolicy & { readonly grants: GrantsFile } {
  try {
    const grants = readGrants(grantsPath(path, policy), uid);
    return { ...withGrants(policy, grants, nowS), grants };
  } catch (reason) {
    const problems = [FarfieldError.from(reason).message];
    return { policy, problems, nextS: Number.POSITIVE_INFINITY, grants: NO_GRANTS };
  }
}

export interface PolicySource extends Disposable {
  /** With the grants in force now. */
  readonly current: ResolvedPolicy;
  /** All that was granted and decided, in force or not. */
  readonly grants: GrantsFile;
  /** Why the files on disk are not the policy in force; undefined when they are. */
  readonly problem: string | undefined;
  /** The highest time that was seen, in seconds: a grant that ended stays ended (P4). */
  readonly seenS: number;
  reload(): void;
}

export interface PolicySourceOptions {
  readonly path: string;
  readonly endpoint: string;
  readonly uid: number;
  readonly nowS: () => number;
  /** What an earlier life saw. */
  readonly seenS?: number;
  readonly log: Logger;
  readonly onChange: (policy: ResolvedPolicy) => void;
}

/** Throws if the policy is bad at the start; later it keeps what it has. */
export function openPolicy(options: PolicySourceOptions): PolicySource {
  return new WatchedPolicy(options);
}

class WatchedPolicy implements PolicySource {
  readonly #o: PolicySourceOptions;
  #base: ResolvedPolicy;
  #granted: ReturnType<typeof readGrantedPolicy>;
  #problem: string | undefined;
  #seenS: number;
  #watched: readonly string[] = [];

  constructor(options: PolicySourceOptions) {
    this.#o = options;
    this.#seenS = options.seenS ?? 0;
    const { path, endpoint, uid } = options;
    this.#base = readPolicy(path, endpoint, uid);
    this.#granted = addGrants(this.#base, path, uid, this.#now());
    this.#complain(undefined);
    this.#watch();
  }

  get current(): ResolvedPolicy {
    // P4: no timer could be exact, and every decision comes by here.
    if (this.#granted.nextS <= this.#now()) this.#expire();
    return this.#granted.policy;
  }

  get grants(): GrantsFile {
    return this.#granted.grants;
  }

  get problem(): string | undefined {
    return this.#problem ?? this.#granted.problems[0];
  }

  get seenS(): number {
    return this.#now();
  }

  reload(): void {
    const { path, endpoint, uid, log } = this.#o;
    const before = this.#granted;
    try {
      this.#base = readPolicy(path, endpoint, uid);
      this.#problem = undefined;
    } catch (reason) {
      this.#problem = FarfieldError.from(reason).message;
      log.error({ problem: this.#problem, inForce: before.policy.digest }, 'bad policy file; the running policy stays');
    }
    // Grants are judged under whatever policy stays in force: a revocation must not wait for a typing error elsewhere.
    this.#granted = addGrants(this.#base, path, uid, this.#now());
    this.#complain(before);
    this.#watch();
    if (this.#granted.policy.digest === before.policy.digest) {
      // The same policy object: what is remembered by it stays remembered.
      this.#granted = { ...this.#granted, policy: before.policy };
      return;
    }
    log.info({ digest: this.#granted.policy.digest, granted: this.#granted.grants.grants.length }, 'policy loaded');
    this.#o.onChange(this.#granted.policy);
  }

  [Symbol.dispose](): void {
    for (const path of this.#watched) unwatchFile(path, this.#look);
    this.#watched = [];
  }

  /** From what was read: the end of a grant needs no file. */
  #expire(): void {
    const { grants } = this.#granted;
    this.#granted = { ...withGrants(this.#base, grants, this.#now()), grants };
    this.#o.log.info({ digest: this.#granted.policy.digest }, 'a grant is over');
    // Whoever asks may be in the midst of a dispatch: what the change ends is ended after that.
    queueMicrotask(() => {
      if (this.#watched.length > 0) this.#o.onChange(this.#granted.policy);
    });
  }

  #now(): number {
    this.#seenS = Math.max(this.#seenS, this.#o.nowS());
    return this.#seenS;
  }

  #complain(before: GrantedPolicy | undefined): void {
    for (const problem of this.#granted.problems)
      if (before?.problems.includes(problem) !== true) this.#o.log.error({ problem }, 'granted access is not in force');
  }

  readonly #look = (): void => this.reload();

  /** The name of the grants file is the policy's to say, so it may change with it. */
  #watch(): void {
    const paths = [this.#o.path, grantsPath(this.#o.path, this.#base)];
    for (const path of this.#watched) if (!paths.includes(path)) unwatchFile(path, this.#look);
    for (const path of paths) {
      if (!this.#watched.includes(path)) watchFile(path, { interval: WATCH_MS, persistent: false }, this.#look);
    }
    this.#watched = paths;
  }
}
