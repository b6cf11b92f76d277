/**
 * Whether an endpoint's folder lies where it is safe, and that one host has it.
 *
 * Invariants
 *  T1 State on a network file system is refused, with where to put it instead. SQLite's write-ahead log needs memory that all its
 *     readers share, and locks that hold; over a network neither is certain, and a damaged ledger means work that runs twice.
 *  T2 It is taken only where the configuration says `state: { onNetwork: allow }`, and then said at each start.
 *  T3 Where several hosts can see the folder, one of them has it. File locks may be local to a host there (Lustre without
 *     flock, NFS with nolock), so the claim is a file made by link(2), which is atomic on each of them, and renewed. Another
 *     host's claim holds while it is seen to be renewed, whatever the clocks say.
 *  T4 A holder that finds another's claim in the place of its own ends at once: it slept, and was taken for dead.
 */
import { linkSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type Static, Type as T } from 'typebox';
import type { Clock, Timer } from '#base/clock.ts';
import { type FileSystem, type FileSystemOptions, fileSystemOf } from '#base/file-systems.ts';
import { errno } from '#base/files.ts';
import type { Logger } from '#base/log.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';

export const StateShape = T.Object(
  {
    onNetwork: T.Optional(
      T.Enum(['refuse', 'allow'], {
        description: 'state on NFS, Lustre and their like: refuse, unless you know that SQLite is safe there',
      }),
    ),
  },
  { additionalProperties: false, description: 'the folder of the endpoint itself' },
);
export type StateConfig = Static<typeof StateShape>;

/** Throws where state must not lie; answers what it lies on. */
export function checkStateFolder(
  path: string,
  config: StateConfig,
  log: Pick<Logger, 'warn'>,
  options: FileSystemOptions = {},
): FileSystem {
  const found = fileSystemOf(path, options);
  if (found.kind === 'network') {
    if (config.onNetwork !== 'allow') throw new FarfieldError('E_FORBIDDEN', refusal(path, found.name));
    log.warn(
      { path, fileSystem: found.name },
      'state lies on a network file system, by configuration: SQLite cannot promise there what it promises on a disk',
    );
  }
  if (found.kind === 'memory')
    log.warn({ path, fileSystem: found.name }, 'state lies in memory: a restart of this machine loses it');
  if (found.kind === 'unknown')
    log.warn({ path, fileSystem: found.name }, 'state lies on a file system that this version does not know');
  return found;
}

/** Whether the agent would refuse to start there: said when the folder is made, not first when it is needed. */
export function stateAdvice(path: string, options: FileSystemOptions = {}): string | undefined {
  const found = fileSystemOf(path, options);
  return found.kind === 'network' ? refusal(path, found.name) : undefined;
}

function refusal(path: string, name: string): string {
  return [
    `${path} lies on ${name}, a network file system: SQLite's write-ahead log does not work there, and a damaged ledger runs work twice.`,
    `Put the state on a disk of this host, and what nodes must see on the shared one: farfield endpoint init --state /var/lib/farfield/NAME --shared ${path} (docs/install.md says how to move one that has run).`,
    `If you know that it is safe here, config.yaml takes: state: { onNetwork: allow }`,
  ].join(' ');
}

/** Long enough that nobody notices the writes, short enough that a host's death holds up its successor for a minute. */
const RENEW_MS = 15_000;
/** Four renewals missed: a file server that stops for a moment is no death. */
const PATIENCE_MS = 60_000;
const CLAIM = 'host.claim';

interface Claim {
  readonly host: string;
  /** One boot of one machine; two agents of one boot are kept apart by the folder's lock, which holds within a kernel. */
  readonly boot: string;
  readonly nonce: string;
  /** Rises with each renewal. */
  readonly beat: number;
}

export interface HostClaimOptions {
  readonly folder: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Called when the folder is another's: end at once, and touch nothing. */
  readonly onLost: (reason: FarfieldError) => void;
  readonly host?: string;
  readonly boot?: string;
}

export interface HostClaim extends Disposable {
  /** Looks and renews now; the timer does it otherwise. */
  renew(): void;
}

function readClaim(path: string): Claim | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Claim;
  } catch (reason) {
    if (errno(reason) === 'ENOENT') return undefined;
    if (reason instanceof SyntaxError) return { host: 'unknown', boot: '', nonce: '', beat: 0 };
    throw reason;
  }
}

function thisBoot(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** Takes the folder for this host. Waits a minute where another host's claim lies there and is not renewed. */
export async function claimHost(options: HostClaimOptions): Promise<HostClaim> {
  const { folder, clock, random, log } = options;
  const path = join(folder, CLAIM);
  const nonce = Buffer.from(random.bytes(12)).toString('hex');
  let claim: Claim = { host: options.host ?? hostname(), boot: options.boot ?? thisBoot(), nonce, beat: 0 };
  const aside = `${path}.${nonce}`;
  const write = (): void => writeFileSync(aside, JSON.stringify(claim), { mode: 0o600, flush: true });
  write();
  try {
    await take(path, aside, claim, clock, log);
  } finally {
    rmSync(aside, { force: true });
  }
  let timer: Timer | undefined;
  const lost = (by: Claim | undefined): void => {
    timer?.cancel();
    const who = by === undefined ? 'its claim was removed' : `host ${by.host} took it`;
    options.onLost(new FarfieldError('E_FENCED', `${folder} is no longer this host's: ${who}`));
  };
  const renew = (): void => {
    const held = readClaim(path);
    if (held?.nonce !== nonce) {
      lost(held);
      return;
    }
    claim = { ...claim, beat: claim.beat + 1 };
    write();
    renameSync(aside, path);
  };
  const schedule = (): void => {
    timer = clock.after(RENEW_MS, () => {
      schedule();
      try {
        renew();
      } catch (reason) {
        // The file server is away: the next renewal finds out who has the folder.
        log.warn({ err: reason }, 'the claim of this host could not be renewed');
      }
    });
  };
  schedule();
  return {
    renew,
    [Symbol.dispose]() {
      timer?.cancel();
      if (readClaim(path)?.nonce === nonce) rmSync(path, { force: true });
    },
  };
}

/** Puts `aside` in the place of the claim, if nobody else has it. */
async function take(
  path: string,
  aside: string,
  claim: Claim,
  clock: Clock,
  log: HostClaimOptions['log'],
): Promise<void> {
  if (linked(aside, path)) return;
  let seen = readClaim(path);
  let since = clock.mono();
  if (seen !== undefined && seen.boot !== claim.boot)
    log.info(
      { host: seen.host },
      `another host has had this folder; waiting ${PATIENCE_MS / 1000} s to see whether it lives`,
    );
  // The same boot: whoever wrote it is gone, for this process holds the folder's lock.
  while (seen !== undefined && seen.boot !== claim.boot && clock.mono() - since < PATIENCE_MS) {
    await clock.sleep(RENEW_MS / 3);
    const now = readClaim(path);
    if (now !== undefined && (now.nonce !== seen.nonce || now.beat !== seen.beat)) {
      throw new FarfieldError(
        'E_CONFLICT',
        `the agent of this endpoint runs on host ${now.host}; stop it there first, or give each host a folder of its own`,
      );
    }
    if (now === undefined) since = Number.NEGATIVE_INFINITY;
    seen = now;
  }
  removeDead(path, `${path}.dead.${claim.nonce}`, seen);
  if (linked(aside, path)) return;
  throw first(path);
}

function first(path: string): FarfieldError {
  const host = readClaim(path)?.host ?? 'unknown';
  return new FarfieldError('E_CONFLICT', `host ${host} took the folder of this endpoint first; stop its agent there`);
}

/** Two may have seen the same dead claim: whoever finds that it took away a fresh one puts that back, and gives up. */
function removeDead(path: string, dead: string, seen: Claim | undefined): void {
  try {
    renameSync(path, dead);
  } catch (reason) {
    if (errno(reason) === 'ENOENT') return;
    throw reason;
  }
  const taken = readClaim(dead);
  const fresh = taken?.nonce !== seen?.nonce || taken?.beat !== seen?.beat;
  if (fresh) linked(dead, path);
  rmSync(dead, { force: true });
  if (fresh) throw first(path);
}

/** link(2) is atomic on network file systems where exclusive open is not; some have no links, and then that must do. */
function linked(aside: string, path: string): boolean {
  try {
    linkSync(aside, path);
    return true;
  } catch (reason) {
    const code = errno(reason);
    // NFS may repeat a call whose answer was lost: two names say that it was done.
    if (code === 'EEXIST') return statSync(aside).nlink === 2;
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS') throw reason;
  }
  try {
    writeFileSync(path, readFileSync(aside), { mode: 0o600, flag: 'wx', flush: true });
    return true;
  } catch (reason) {
    if (errno(reason) !== 'EEXIST') throw reason;
    return false;
  }
}
