/**
 * The policy in force: loaded from a file that the site owns, watched, never half-loaded.
 *
 * Invariants
 *  P1 A file that others may write is refused: whoever writes the policy decides what runs.
 *  P2 A bad edit keeps the running policy, and is said: in the log, and in the endpoint's status.
 *  P3 Without a policy nothing is admitted: there is no default one.
 */
import { lstatSync, readFileSync, type Stats, unwatchFile, watchFile } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Logger } from '#base/log.ts';
import { loadYaml } from '#base/yaml.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type ResolvedPolicy, resolvePolicy } from '#kernel/policy/resolve.ts';

/** A changed file is seen within this time; the file may lie on a network file system, where notifications do not come. */
const WATCH_MS = 1000;

function assertOwned(path: string, uid: number): void {
  const found: Stats | undefined = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) {
    throw new FarfieldError(
      'E_NOT_FOUND',
      `there is no policy at ${path}; \`farfield endpoint init\` writes one that allows nothing`,
    );
  }
  if (!found.isFile())
    throw new FarfieldError('E_FORBIDDEN', `${path} is no plain file: name the policy itself, not a link to it`);
  if (found.uid !== 0 && found.uid !== uid) {
    throw new FarfieldError(
      'E_FORBIDDEN',
      `${path} belongs to another user (uid ${found.uid}); run: chown ${uid} ${path}`,
    );
  }
  if ((found.mode & 0o022) !== 0)
    throw new FarfieldError('E_FORBIDDEN', `others may write ${path}; run: chmod go-w ${path}`);
}

/** A JWKS file that the policy names; its shape is checked where the policy is resolved. */
function readJwks(folder: string, name: string): unknown {
  const path = resolve(folder, name);
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new FarfieldError('E_BAD_REQUEST', `cannot read the keys in ${path}, which the policy names`, { cause });
  }
}

/** Reads and resolves a policy file; throws with the place of what is wrong. */
export function readPolicy(path: string, endpoint: string | undefined, uid: number): ResolvedPolicy {
  assertOwned(path, uid);
  const bytes = readFileSync(path);
  const loaded = loadYaml(bytes.toString(), path);
  return resolvePolicy(loaded.value, bytes, {
    ...(endpoint === undefined ? {} : { endpoint }),
    readJwks: (name) => readJwks(dirname(path), name),
  });
}

export interface PolicySource extends Disposable {
  readonly current: ResolvedPolicy;
  /** Why the file on disk is not the policy in force; undefined when it is. */
  readonly problem: string | undefined;
  reload(): void;
}

export interface PolicySourceOptions {
  readonly path: string;
  readonly endpoint: string;
  readonly uid: number;
  readonly log: Logger;
  readonly onChange: (policy: ResolvedPolicy) => void;
}

/** Throws if the file is bad at the start; later it keeps what it has. */
export function openPolicy(options: PolicySourceOptions): PolicySource {
  const { path, endpoint, uid, log } = options;
  let current = readPolicy(path, endpoint, uid);
  let problem: string | undefined;
  const reload = (): void => {
    try {
      const fresh = readPolicy(path, endpoint, uid);
      problem = undefined;
      if (fresh.digest === current.digest) return;
      current = fresh;
      log.info({ digest: fresh.digest }, 'policy loaded');
      options.onChange(fresh);
    } catch (reason) {
      problem = FarfieldError.from(reason).message;
      log.error({ problem, inForce: current.digest }, 'bad policy file; the running policy stays');
    }
  };
  watchFile(path, { interval: WATCH_MS, persistent: false }, reload);
  return {
    reload,
    get current() {
      return current;
    },
    get problem() {
      return problem;
    },
    [Symbol.dispose]: () => unwatchFile(path, reload),
  };
}
