/**
 * Process trees that can be ended as a whole, also by a later process that only kept the handle.
 *
 * Invariants
 *  P1 A handle names one life of one process: id, start time and boot. A reused id is never signalled.
 *  P2 `killTree` returns when nothing of the tree is left that it can see, and otherwise says what is.
 *  P3 Contained trees lose nothing: they live in a PID namespace of their own, and the kernel ends all of it
 *     with its first process, `setsid` and double forks included.
 *
 * Where the kernel allows no namespace (probed once; `TreeHandle.contained` says which it is), the tree is
 * found in /proc by ancestry, session, and a marker variable in each process's environment; it is frozen first,
 * so that it cannot fork away meanwhile.
 *
 * What can escape then: a process that made itself a session, cleared
 * its environment *and* lost its parents before the walk; one that changed its user or made itself undumpable,
 * so that its environment is unreadable; work handed to a daemon (at, systemd-run, a container service), which
 * is no child of ours in any arrangement and escapes a namespace too.
 *
 * Rejected: group kill alone (setsid escapes it); cgroup.kill (perfect where a cgroup is delegated to us, which
 * no login node does); PR_SET_CHILD_SUBREAPER (Node has no prctl). Ends are polled, because Node has no pidfd
 * and a later process is no parent.
 */
import { type ChildProcess, execFile, type StdioOptions, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { FarfieldError } from '#kernel/errors.ts';
import type { Clock } from './clock.ts';
import type { Random } from './random.ts';

export interface TreeHandle {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: ticks since boot. */
  readonly startTicks: number;
  readonly bootId: string;
  /** One of the words in the marker variable of every descendant that keeps its environment. */
  readonly marker: string;
  /** True in a PID namespace of its own. */
  readonly contained: boolean;
}

/** How this machine lets us make PID namespaces. */
export type Containment = 'root' | 'user' | 'none';

export interface StartOptions {
  readonly command: string;
  readonly args?: readonly string[];
  /**
   * The whole environment: nothing is inherited. A starter that is itself in a tree passes its own marker on
   * (`outerTree`), so that who ends the outer tree finds the inner one even when the starter is dead.
   */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdio?: StdioOptions;
  readonly random: Random;
  /**
   * From `probeContainment`. Setuid programs (an installed-as-root Apptainer) do not work in a `user` one: pass
   * `none` for those.
   */
  readonly containment: Containment;
}

export interface StartedTree {
  readonly handle: TreeHandle;
  /** Of a contained tree this is the namespace's keeper; a death by signal n shows as exit code 128 + n. */
  readonly child: ChildProcess;
}

export interface KillOptions {
  readonly clock: Clock;
  /** SIGTERM first, then this long until SIGKILL; 0 kills at once. */
  readonly graceMs?: number;
  /** How long to go on looking for survivors. */
  readonly confirmMs?: number;
}

export interface KillOutcome {
  /** Processes that were still there when time was up: in uninterruptible sleep, or of another user. */
  readonly left: readonly number[];
}

export const MARKER_VARIABLE = 'FARFIELD_TREE';

/** The part of a process's environment that says whose tree it is in, to be passed on to the trees that it starts. */
export function outerTree(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const marker = env[MARKER_VARIABLE];
  return marker === undefined ? {} : { [MARKER_VARIABLE]: marker };
}

/** Most trees end within milliseconds; for those that do not, looking through /proc costs milliseconds itself. */
const FIRST_LOOK_MS = 2;
const LAST_LOOK_MS = 100;
const DEFAULT_CONFIRM_MS = 5000;
// Its child is the namespace's first process. The shell stays (it is not the last command) to reap orphans,
// which Node would not.
const KEEPER = ['/bin/sh', '-c', '"$@"; exit $?', 'farfield'];
// Slave: what the site mounts later is seen inside; our /proc is not seen outside.
const UNSHARE = ['--pid', '--fork', '--kill-child=SIGKILL', '--mount-proc', '--propagation', 'slave'];

function unshareArgs(containment: 'root' | 'user'): string[] {
  return containment === 'root' ? UNSHARE : ['--user', '--map-current-user', ...UNSHARE];
}

function allows(containment: 'root' | 'user'): Promise<boolean> {
  return new Promise((resolve) => {
    execFile('unshare', [...unshareArgs(containment), '/bin/sh', '-c', 'test -d /proc/1'], { timeout: 5000 }, (error) =>
      resolve(error === null),
    );
  });
}

let probed: Promise<Containment> | undefined;

/**
 * Tries to make a namespace, once in a process: kernels, containers and sites forbid it in too many ways to be
 * guessed.
 */
export function probeContainment(): Promise<Containment> {
  const probe = async (): Promise<Containment> => {
    if (process.platform !== 'linux') return 'none';
    if (process.getuid?.() === 0 && (await allows('root'))) return 'root';
    return (await allows('user')) ? 'user' : 'none';
  };
  probed ??= probe();
  return probed;
}

interface ProcessFacts {
  readonly pid: number;
  readonly parent: number;
  readonly session: number;
  readonly state: string;
  readonly startTicks: number;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // Gone meanwhile, or not ours to read.
    return undefined;
  }
}

/** /proc/PID/stat. The name in it may hold spaces and brackets: fields are counted from the last bracket. */
export function parseStat(pid: number, text: string): ProcessFacts | undefined {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parent, , session] = fields;
  const startTicks = fields[19];
  if (state === undefined || parent === undefined || session === undefined || startTicks === undefined)
    return undefined;
  return { pid, parent: Number(parent), session: Number(session), state, startTicks: Number(startTicks) };
}

function factsOf(pid: number): ProcessFacts | undefined {
  const text = readText(`/proc/${pid}/stat`);
  return text === undefined ? undefined : parseStat(pid, text);
}

/** Exited processes that nobody has reaped yet do nothing and cannot be killed again. */
function lives(facts: ProcessFacts | undefined): facts is ProcessFacts {
  return facts !== undefined && facts.state !== 'Z' && facts.state !== 'X';
}

function allFacts(): ProcessFacts[] {
  const out: ProcessFacts[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const facts = factsOf(pid);
    if (lives(facts)) out.push(facts);
  }
  return out;
}

let bootId: string | undefined;

function thisBoot(): string {
  bootId ??= readText('/proc/sys/kernel/random/boot_id')?.trim() ?? 'unknown';
  return bootId;
}

/** True while that very process runs: same boot, same start time, and no corpse. */
export function pidAlive(handle: Pick<TreeHandle, 'pid' | 'startTicks' | 'bootId'>): boolean {
  if (handle.bootId !== thisBoot()) return false;
  const facts = factsOf(handle.pid);
  return lives(facts) && facts.startTicks === handle.startTicks;
}

/** A handle for a process that something else started (a scheduler, an older release): never contained, no marker. */
export function handleOf(pid: number): TreeHandle | undefined {
  const facts = factsOf(pid);
  return lives(facts)
    ? { pid, startTicks: facts.startTicks, bootId: thisBoot(), marker: '', contained: false }
    : undefined;
}

/** Starts a command as the root of a new tree, in its own session and, where allowed, its own PID namespace. */
export async function startTree(o: StartOptions): Promise<StartedTree> {
  const marker = Buffer.from(o.random.bytes(16)).toString('hex');
  const outer = o.env[MARKER_VARIABLE];
  const inner = [o.command, ...(o.args ?? [])];
  const argv = o.containment === 'none' ? inner : ['unshare', ...unshareArgs(o.containment), '--', ...KEEPER, ...inner];
  const child = spawn(argv[0] as string, argv.slice(1), {
    env: { ...o.env, [MARKER_VARIABLE]: outer === undefined ? marker : `${outer}:${marker}` },
    detached: true,
    stdio: o.stdio ?? 'ignore',
    ...(o.cwd === undefined ? {} : { cwd: o.cwd }),
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause) => {
      reject(
        new FarfieldError(
          'E_NOT_FOUND',
          `cannot start ${o.command}: ${cause.message}. Check that it exists and may be run`,
          { cause },
        ),
      );
    });
  });
  const pid = child.pid as number;
  // Between spawn and reap the entry is there even if the command has ended already.
  const startTicks = factsOf(pid)?.startTicks ?? 0;
  return { child, handle: { pid, startTicks, bootId: thisBoot(), marker, contained: o.containment !== 'none' } };
}

export interface DetachedOptions extends Omit<StartOptions, 'stdio'> {
  /** Both outputs are appended here (0600): the starter may be gone when something is printed. */
  readonly logFile: string;
}

/** A tree that outlives its starter. */
export async function startDetached(o: DetachedOptions): Promise<TreeHandle> {
  const { logFile, ...rest } = o;
  const log = openSync(logFile, 'a', 0o600);
  try {
    const { child, handle } = await startTree({ ...rest, stdio: ['ignore', log, log] });
    // Not ours to wait for: the handle is all that is kept.
    child.unref();
    return handle;
  } finally {
    closeSync(log);
  }
}

function namespaceOf(pid: number, which: 'pid' | 'pid_for_children'): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/${which}`);
  } catch {
    return undefined;
  }
}

function carriesMarker(pid: number, marker: string): boolean {
  if (marker === '') return false;
  const variable = readText(`/proc/${pid}/environ`)
    ?.split('\0')
    .find((entry) => entry.startsWith(`${MARKER_VARIABLE}=`));
  return (
    variable
      ?.slice(MARKER_VARIABLE.length + 1)
      .split(':')
      .includes(marker) ?? false
  );
}

/** This process and those above it are nobody's tree to kill, whatever they inherited. */
function ownLine(all: ReadonlyMap<number, ProcessFacts>): Set<number> {
  const line = new Set<number>();
  for (let pid = process.pid; pid > 0 && !line.has(pid); pid = all.get(pid)?.parent ?? 0) line.add(pid);
  return line;
}

/** Remembers what belonged to the tree once: a process that loses its parents during the walk is still known. */
class Walk {
  readonly #handle: TreeHandle;
  /** pid -> start time. */
  readonly #known = new Map<number, number>();
  #namespace: string | undefined;

  constructor(handle: TreeHandle) {
    this.#handle = handle;
  }

  /** All that lives of the tree now. */
  find(): ProcessFacts[] {
    const all = allFacts();
    const byPid = new Map(all.map((facts) => [facts.pid, facts]));
    const own = ownLine(byPid);
    const root = pidAlive(this.#handle) ? byPid.get(this.#handle.pid) : undefined;
    if (root !== undefined && !own.has(root.pid)) {
      this.#known.set(root.pid, root.startTicks);
      if (this.#handle.contained) this.#namespace ??= this.#innerNamespace(root.pid);
    }
    const sameBoot = this.#handle.bootId === thisBoot();
    for (const facts of all) {
      // A descendant is younger than its root: on a login node with thousands of processes this spares most of
      // the reading.
      const younger = sameBoot && facts.startTicks >= this.#handle.startTicks;
      if (!younger || own.has(facts.pid) || this.#knows(facts)) continue;
      const belongs =
        (root !== undefined && facts.session === root.pid && !own.has(root.pid)) ||
        carriesMarker(facts.pid, this.#handle.marker) ||
        (this.#namespace !== undefined && namespaceOf(facts.pid, 'pid') === this.#namespace);
      if (belongs) this.#known.set(facts.pid, facts.startTicks);
    }
    this.#addDescendants(all, byPid, own);
    return all.filter((facts) => this.#knows(facts));
  }

  /** Whether any of those found so far lives: a look at them alone, not through all of /proc. */
  knownLive(): boolean {
    for (const [pid, startTicks] of this.#known) {
      const facts = factsOf(pid);
      if (lives(facts) && facts.startTicks === startTicks) return true;
    }
    return false;
  }

  #innerNamespace(keeper: number): string | undefined {
    const inner = namespaceOf(keeper, 'pid_for_children');
    return inner === namespaceOf(keeper, 'pid') ? undefined : inner;
  }

  #knows(facts: ProcessFacts): boolean {
    return this.#known.get(facts.pid) === facts.startTicks;
  }

  #addDescendants(
    all: readonly ProcessFacts[],
    byPid: ReadonlyMap<number, ProcessFacts>,
    own: ReadonlySet<number>,
  ): void {
    for (let grew = true; grew; ) {
      grew = false;
      for (const facts of all) {
        const parent = byPid.get(facts.parent);
        if (parent === undefined || own.has(facts.pid) || this.#knows(facts) || !this.#knows(parent)) continue;
        this.#known.set(facts.pid, facts.startTicks);
        grew = true;
      }
    }
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone meanwhile, or not ours: the confirmation tells.
  }
}

async function until(clock: Clock, limitMs: number, done: () => boolean): Promise<boolean> {
  const end = clock.mono() + limitMs;
  for (let look = FIRST_LOOK_MS; !done(); look = Math.min(2 * look, LAST_LOOK_MS)) {
    const left = end - clock.mono();
    if (left <= 0) return false;
    await clock.sleep(Math.min(look, left));
  }
  return true;
}

/** Ends the whole tree. Safe to call again, by anybody who has the handle, also when the tree is long gone. */
export async function killTree(handle: TreeHandle, o: KillOptions): Promise<KillOutcome> {
  if (process.platform !== 'linux') return killGroup(handle, o);
  const walk = new Walk(handle);
  const { graceMs = 0, confirmMs = DEFAULT_CONFIRM_MS, clock } = o;
  if (graceMs > 0) {
    // The keepers ignore it: a namespace's first process only hears what it handles, and the outer one waits for that.
    for (const { pid } of walk.find()) if (!handle.contained || pid !== handle.pid) signal(pid, 'SIGTERM');
    const ended = await until(clock, graceMs, () => !walk.knownLive());
    if (ended && walk.find().length === 0) return { left: [] };
  }
  // A frozen process cannot fork: after a pass that finds nothing new, the list is complete.
  if (!handle.contained) freeze(walk);
  await until(clock, confirmMs, () => {
    const found = walk.find();
    for (const { pid } of found) signal(pid, 'SIGKILL');
    return found.length === 0;
  });
  return { left: walk.find().map((facts) => facts.pid) };
}

/** Bounded, because a fork bomb may outrun us; the killing passes go on looking. */
function freeze(walk: Walk): void {
  const frozen = new Set<number>();
  for (let pass = 0; pass < 20; pass++) {
    const fresh = walk.find().filter((facts) => !frozen.has(facts.pid));
    if (fresh.length === 0) return;
    for (const { pid } of fresh) {
      frozen.add(pid);
      signal(pid, 'SIGSTOP');
    }
  }
}

/** Without /proc only the process group is known: a setsid child escapes. Development machines alone come here. */
async function killGroup(handle: TreeHandle, o: KillOptions): Promise<KillOutcome> {
  const alive = (): boolean => {
    try {
      return process.kill(-handle.pid, 0);
    } catch {
      return false;
    }
  };
  if ((o.graceMs ?? 0) > 0 && alive()) {
    signal(-handle.pid, 'SIGTERM');
    if (await until(o.clock, o.graceMs ?? 0, () => !alive())) return { left: [] };
  }
  const gone = await until(o.clock, o.confirmMs ?? DEFAULT_CONFIRM_MS, () => {
    if (alive()) signal(-handle.pid, 'SIGKILL');
    return !alive();
  });
  return { left: gone ? [] : [handle.pid] };
}
