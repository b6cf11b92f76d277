/**
 * One runner a shard: a lock that every file system of a cluster has, with an owner of whom it can be told whether he lives.
 *
 * A lock is a file that names its owner, made by link(2), which fails where the name is taken, on NFS too. Whoever finds a dead
 * owner's lock does not remove it: between looking and removing it could have become somebody else's. He claims the name *after*
 * it, `LOCK.after-NONCE`, of which again only one can be first. The owner is the last of this chain, and a claim counts only if
 * the chain, walked again from its head, ends in it. Letting go removes the chain from its head on.
 *
 * Whether an owner lives: on this host (same boot, same process ids) by his process; of another host by his beat, a write every
 * 10 s. The age of a beat is the difference of two times that the file server gave, so clocks of hosts do not matter.
 *
 * Rejected: SQLite's or fcntl's locks, which some Lustre and NFS mounts lack, or have for one host alone, without saying so.
 *
 * Invariants
 *  L1 At most one live runner holds a shard's lock. One that slept past STALE_MS may be taken for dead: `holds` tells it, before
 *     anything gets its name.
 *  L2 A runner that was killed keeps nobody from the shard: at once on its own host, after STALE_MS on another.
 */
import {
  closeSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Clock, Timer } from '#base/clock.ts';
import { errno } from '#base/files.ts';
import { handleOf, pidAlive } from '#base/process.ts';
import { FarfieldError } from '#kernel/errors.ts';

/** Often enough that two lost beats and the 60 s for which NFS may remember a file's times stay below STALE_MS. */
const BEAT_MS = 10_000;
export const STALE_MS = 120_000;
/** Dead owners in a row, and claims that others won; more means that something removes and makes files all the time. */
const MAX_STEPS = 64;

export interface ShardLock extends Disposable {
  /** L1: whether it is still ours. */
  holds(): boolean;
}

/** Who claims; a process on this host can be asked for, one elsewhere cannot. */
interface Owner {
  readonly nonce: string;
  readonly host: string;
  readonly pid: number;
  /** Boot and space of process ids in which `pid` and `startTicks` mean something. */
  readonly bootId: string;
  readonly pidSpace: string;
  readonly startTicks: number;
}

/** Names a process among all that may ever write a folder. */
export interface Self {
  readonly host: string;
  readonly pid: number;
  /** 8 to 64 hex digits that were never used before. */
  readonly nonce: string;
}

export interface LockOptions extends Self {
  readonly clock: Clock;
}

/** Takes the lock at `path`, or throws E_BUSY where a live runner has it. */
export function lockShard(path: string, shard: string, options: LockOptions): ShardLock {
  const owner = ownerOf(options);
  const aside = `${path}.claim-${owner.nonce}`;
  writeFileSync(aside, `${JSON.stringify(owner)}\n`, { flag: 'wx' });
  try {
    for (let step = 0; step < MAX_STEPS; step++) {
      const { end, free } = walk(path, owner, aside);
      if (free === undefined) throw busy(shard, end as Owner);
      if (!claim(aside, free)) continue;
      const again = walk(path, owner, aside);
      if (again.end?.nonce === owner.nonce) return new Held(path, owner, again.chain, options.clock);
      // The chain was let go while we looked: what we claimed hangs in the air.
      if (readOwner(free)?.nonce === owner.nonce) rmSync(free, { force: true });
    }
    throw new FarfieldError('E_BUSY', `${shard}: others take and leave its lock all the time; try again later`);
  } finally {
    rmSync(aside, { force: true });
  }
}

interface Chain {
  /** Existing files, from the head on. */
  readonly chain: readonly string[];
  /** The live owner at its end; undefined where there is none. */
  readonly end: Owner | undefined;
  /** The name to claim; undefined where a live owner has the lock. */
  readonly free: string | undefined;
}

/** `probe` is a file of ours, just written: its time is now, by the clock that stamps all files here. */
function walk(path: string, self: Owner, probe: string): Chain {
  const chain: string[] = [];
  let name = path;
  for (let step = 0; step < MAX_STEPS; step++) {
    const owner = readOwner(name);
    if (owner === undefined) return { chain, end: undefined, free: name };
    chain.push(name);
    if (owner.nonce === self.nonce || lives(owner, name, self, probe)) return { chain, end: owner, free: undefined };
    name = `${path}.after-${owner.nonce}`;
  }
  throw new FarfieldError('E_CONFLICT', `${basename(path)}: too many locks of dead runners; remove ${basename(path)}*`);
}

/** Undefined where there is no such file. One that is no claim belongs to nobody and is judged by its age. */
function readOwner(path: string): Owner | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (reason) {
    if (errno(reason) === 'ENOENT' || errno(reason) === 'ESTALE') return undefined;
    throw reason;
  }
  try {
    const owner = JSON.parse(text) as Owner;
    if (/^[0-9a-f]{8,64}$/.test(owner.nonce) && Number.isInteger(owner.pid)) return owner;
  } catch {
    // Told below.
  }
  return { nonce: 'unreadable', host: 'unknown', pid: 0, bootId: '', pidSpace: '', startTicks: 0 };
}

function lives(owner: Owner, path: string, self: Owner, probe: string): boolean {
  const here = owner.bootId !== '' && owner.bootId === self.bootId && owner.pidSpace === self.pidSpace;
  if (here && pidAlive(owner)) return true;
  if (here && !isHidden(owner.pid)) return false;
  const beat = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  const now = statSync(probe, { throwIfNoEntry: false })?.mtimeMs;
  // Without a time of our own nobody is declared dead.
  return beat !== undefined && (now === undefined || now - beat < STALE_MS);
}

/** Whether a process is there that /proc does not show: other people's, where it is mounted with hidepid. Its beat tells then. */
function isHidden(pid: number): boolean {
  if (handleOf(pid) !== undefined) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (reason) {
    return errno(reason) === 'EPERM';
  }
}

/** False where somebody was first. */
function claim(aside: string, name: string): boolean {
  try {
    linkSync(aside, name);
    return true;
  } catch (reason) {
    if (errno(reason) === 'EEXIST' || errno(reason) === 'ENOENT') return false;
    // Some FUSE and object stores have no links: exclusive creation is the same, but for an instant in which it is empty.
    if (!['EPERM', 'ENOTSUP', 'ENOSYS', 'EOPNOTSUPP', 'EMLINK'].includes(errno(reason) ?? '')) throw reason;
  }
  try {
    // A death in that instant leaves a file that names nobody; it is judged by its age.
    writeFileSync(name, readFileSync(aside), { flag: 'wx' });
    return true;
  } catch (reason) {
    if (errno(reason) === 'EEXIST') return false;
    throw reason;
  }
}

class Held implements ShardLock {
  readonly #path: string;
  readonly #owner: Owner;
  readonly #chain: readonly string[];
  readonly #clock: Clock;
  #timer: Timer;

  constructor(path: string, owner: Owner, chain: readonly string[], clock: Clock) {
    this.#path = path;
    this.#owner = owner;
    this.#chain = chain;
    this.#clock = clock;
    this.#timer = clock.after(BEAT_MS, () => this.#beat());
    removeOrphans(path, chain);
  }

  holds(): boolean {
    return readOwner(this.#chain.at(-1) as string)?.nonce === this.#owner.nonce && readOwner(this.#path) !== undefined;
  }

  /** From the head on: whoever comes meanwhile begins a chain of his own, and finds the shard done or undone, never half. */
  [Symbol.dispose](): void {
    this.#timer.cancel();
    if (!this.holds()) return;
    for (const name of this.#chain) rmSync(name, { force: true });
  }

  /** The file's last byte again: a write sets its time by the server's clock, where utimes would set it by ours. */
  #beat(): void {
    try {
      const fd = openSync(this.#chain.at(-1) as string, 'r+');
      try {
        writeSync(fd, '\n', JSON.stringify(this.#owner).length);
      } finally {
        closeSync(fd);
      }
    } catch {
      // A beat that fails is a beat that is missing; `holds` decides.
    }
    this.#timer = this.#clock.after(BEAT_MS, () => this.#beat());
  }
}

/** Ends of chains whose heads are gone, and what runners left that were killed between two lines of `lockShard`. */
function removeOrphans(path: string, chain: readonly string[]): void {
  const folder = dirname(path);
  for (const file of readdirSync(folder)) {
    const full = join(folder, file);
    const ours = full.startsWith(`${path}.after-`) || full.startsWith(`${path}.claim-`);
    if (ours && !chain.includes(full)) rmSync(full, { force: true });
  }
}

function ownerOf({ host, pid, nonce }: LockOptions): Owner {
  const { bootId, startTicks } = handleOf(pid) ?? { bootId: '', startTicks: 0 };
  return { nonce, host, pid, bootId: bootId === 'unknown' ? '' : bootId, pidSpace: pidSpace(), startTicks };
}

/** Containers on one host may each have a process 7. */
function pidSpace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

function busy(shard: string, { host, pid }: Owner): FarfieldError {
  return new FarfieldError(
    'E_BUSY',
    `another runner (process ${pid} on ${host}) works on ${shard}; nothing to do here`,
  );
}
