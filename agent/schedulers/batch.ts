/**
 * A batch scheduler as the agent uses one: a driver, a way to run commands, and the manners that keep an account from being
 * banned.
 *
 * Invariants
 *  T1 One command at a time, and one look for all jobs: whoever asks while a look is due waits for that one. Nothing is asked
 *     while no job lives.
 *  T2 An end is final: no later answer overwrites it, and a job that is over is never asked for again.
 *  T3 A job that no source lists is absent, and stays known. Before it was ever listed that is the scheduler's lag; later it is
 *     told to those who know the pilots (`onAbsent`), who decide.
 *  T4 A submit whose reply was lost is looked for by its name until every finder has answered. A job that turns up after we
 *     gave up is cancelled: its block is over, and its pilots would be refused.
 *  T5 Failed looks back off; nothing is concluded from them.
 *  T6 At most `submitsPerHour`: a submit over it waits, it is not refused, because nothing is wrong with its block.
 */
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock, Timer } from '#base/clock.ts';
import { writeDurable } from '#base/files.ts';
import type { Logger } from '#base/log.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { CommandOutcome, RunCommand } from './command.ts';
import type { Driver, JobSpec, Listing, SchedulerCommand, SeenJob, Source, SubmitReply } from './driver.ts';
import { type JobSetting, jobSpec } from './jobs.ts';
import { BATCH_DEFAULTS } from './options.ts';
import { judgeRefusal, THEN_RESUME } from './refusals.ts';
import type { Ended, JobState, OnEnd, Scheduler } from './scheduler.ts';

export interface BatchOptions extends JobSetting {
  readonly driver: Driver;
  readonly run: RunCommand;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface BatchScheduler extends Scheduler, Disposable {}

/** Between two looks that are asked for out of turn: hundreds of pilots may lose their links in one second. */
const GAP_MS = 5000;
/** Looks that fail come rarer and rarer, up to this. */
const MAX_BACKOFF_MS = 600_000;
const ALARM_FAILURES = 10;
/** Looks in a row before those who know the pilots are told. */
const ABSENT_LOOKS = 10;
/** What a busy controller needs to show a new job, with room. */
const NEW_MS = 300_000;
/** Commands of one look to a source that takes few ids: the rest is asked in the next one. */
const MAX_COMMANDS = 5;
const IDS_PER_CANCEL = 100;
/** How long a lost reply is looked for: a controller that was restarted is back by then. */
const FIND_WAITS_MS = [1000, 5000, 15_000, 30_000, 60_000, 120_000, 300_000];
/** After the scheduler's own grace. */
const CONFIRM_MS = 60_000;
const HOUR_MS = 3_600_000;
const MAX_KNOWN = 2000;

/** S3: what finds the job again, in any later life of the agent. */
interface JobText {
  readonly id: string;
  readonly name: string;
  readonly wallS: number;
}

interface Known extends JobText {
  readonly job: string;
  readonly since: number;
  state: JobState;
  seen: boolean;
  restarts: number | undefined;
  absentLooks: number;
  /** By us: nobody needs to be asked who did. */
  cancelled: boolean;
}

export function createBatchScheduler(options: BatchOptions): BatchScheduler {
  const jobs = new Jobs(options);
  return {
    name: options.driver.name,
    pushes: true,
    submit: (request) => jobs.submit(request),
    status: (texts) => jobs.status(texts),
    cancel: (text, graceMs) => jobs.cancel(text, graceMs),
    onEnd: (listener) => void jobs.endListeners.push(listener),
    onAbsent: (listener) => void jobs.absentListeners.push(listener),
    onState: (listener) => void jobs.stateListeners.push(listener),
    find: (request) => jobs.find(request),
    namesNodes: options.driver.namesNodes === true,
    [Symbol.dispose]: () => jobs.dispose(),
  };
}

class Jobs {
  readonly endListeners: OnEnd[] = [];
  readonly absentListeners: ((job: string, why: string) => void)[] = [];
  readonly stateListeners: ((job: string, state: JobState, restarts: number | undefined) => void)[] = [];
  readonly #o: BatchOptions;
  #driver: Driver;
  #probed: boolean;
  readonly #known = new Map<string, Known>();
  /** T4: names of submits that were given up. */
  readonly #strays = new Set<string>();
  /** T1: the tail of the queue of commands. */
  #queue: Promise<unknown> = Promise.resolve();
  #submits: Promise<unknown> = Promise.resolve();
  #submittedAt: number[] = [];
  #next: Promise<void> | undefined;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #timer: Timer | undefined;
  readonly #toCancel = new Set<string>();
  #cancelling: Promise<string | undefined> | undefined;
  #looks = 0;
  /** Ends every wait of this scheduler. */
  readonly #stop = new AbortController();

  constructor(options: BatchOptions) {
    this.#o = options;
    this.#driver = options.driver;
    this.#probed = options.driver.probe === undefined;
  }

  dispose(): void {
    this.#timer?.cancel();
    this.#stop.abort(new FarfieldError('E_UNAVAILABLE', 'the agent stops'));
  }

  /** T1 */
  #one<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#queue.then(work, work);
    this.#queue = run.catch(() => undefined);
    return run;
  }

  async #run(command: SchedulerCommand): Promise<CommandOutcome> {
    if (!this.#probed && this.#driver.probe !== undefined) {
      const outcome = await this.#o.run(this.#driver.probe);
      if (outcome.kind === 'done' && outcome.output.code === 0) {
        this.#probed = true;
        this.#driver = this.#driver.withVersion?.(outcome.output) ?? this.#driver;
      }
    }
    return this.#o.run(command);
  }

  submit(request: Parameters<Scheduler['submit']>[0]): Promise<string> {
    const run = this.#submits.then(() => this.#submit(request));
    this.#submits = run.catch(() => undefined);
    return run;
  }

  async #submit(request: Parameters<Scheduler['submit']>[0]): Promise<string> {
    const { log } = this.#o;
    const spec = await this.#possible(jobSpec(request, this.#o));
    let reply = await this.#send(spec);
    // The wish is dropped before anybody hears of a refusal that it may have caused.
    const { avoid, ...anywhere } = spec;
    if (reply.kind === 'refused' && avoid !== undefined) reply = await this.#send(anywhere);
    if (reply.kind === 'refused') throw refused(this.#driver.name, reply.why);
    if (reply.kind === 'unclear')
      log.warn({ block: request.block, why: reply.why }, 'the reply to a submit is unclear; looking for the job');
    const id = reply.kind === 'submitted' ? reply.id : await this.#settle(spec.name, reply.why);
    const job = JSON.stringify({ id, name: spec.name, wallS: spec.wallS } satisfies JobText);
    this.#know(job);
    this.#armOnce();
    return job;
  }

  /** Nodes are left out only where enough others could take the job at once: it waits for none of them. */
  async #possible({ avoid = [], ...spec }: JobSpec): Promise<JobSpec> {
    const { freeNodes } = this.#driver;
    if (avoid.length === 0 || freeNodes === undefined) return spec;
    const outcome = await this.#one(() => this.#run(freeNodes.command(spec)));
    const free = outcome.kind === 'done' ? freeNodes.read(outcome.output, spec) : undefined;
    // The latest come first: of a small site the older ones are needed again.
    for (let count = avoid.length; free !== undefined && count > 0; count -= 1) {
      const out = avoid.slice(0, count);
      if (free.filter((node) => !out.includes(node)).length >= spec.nodes) return { ...spec, avoid: out };
    }
    return spec;
  }

  async #send(spec: JobSpec): Promise<SubmitReply> {
    const { files } = this.#driver.render(spec);
    for (const { name, text, executable } of files) {
      await writeDurable(join(spec.folder, name), text, executable ? 0o700 : 0o600);
      if (executable) chmodSync(join(spec.folder, name), 0o700);
    }
    await this.#budget();
    this.#submittedAt.push(this.#o.clock.mono());
    const outcome = await this.#one(() =>
      this.#run(this.#driver.submit(files[0], join(spec.folder, files[0].name), spec)),
    );
    if (outcome.kind === 'done') return this.#driver.readSubmit(outcome.output);
    return { kind: outcome.kind === 'notStarted' ? 'refused' : 'unclear', why: outcome.why };
  }

  /** T6 */
  async #budget(): Promise<void> {
    const { clock, config, log } = this.#o;
    const limit = config.submitsPerHour ?? BATCH_DEFAULTS.submitsPerHour;
    for (;;) {
      const now = clock.mono();
      this.#submittedAt = this.#submittedAt.filter((at) => at > now - HOUR_MS);
      const oldest = this.#submittedAt[0];
      if (oldest === undefined || this.#submittedAt.length < limit) return;
      log.warn({ limit, waitMs: oldest + HOUR_MS - now }, 'the hour has had its submits; the next one waits');
      await clock.sleep(oldest + HOUR_MS - now, this.#stop.signal);
    }
  }

  /** Of a life that ended between its submit and the answer. */
  async find(request: Parameters<Scheduler['submit']>[0]): Promise<string | undefined> {
    const { name, wallS } = jobSpec(request, this.#o);
    for (const waitMs of [0, ...FIND_WAITS_MS]) {
      await this.#o.clock.sleep(waitMs, this.#stop.signal);
      const found = await this.#one(() => this.#find(name));
      if (found === undefined) continue;
      const [seen] = found.slice(-1);
      if (seen === undefined) return undefined;
      const job = JSON.stringify({ id: seen.id, name, wallS } satisfies JobText);
      this.#know(job);
      this.#armOnce();
      return job;
    }
    this.#strays.add(name);
    throw new FarfieldError('E_TIMEOUT', `${this.#driver.name} does not say whether it has a job ${name}`);
  }

  /** T4: the id of the job that an unclear submit made; throws where there is none, or nobody can say. */
  async #settle(name: string, why: string): Promise<string> {
    for (const waitMs of FIND_WAITS_MS) {
      await this.#o.clock.sleep(waitMs, this.#stop.signal);
      const found = await this.#one(() => this.#find(name));
      if (found === undefined) continue;
      const [job] = found.slice(-1);
      if (job !== undefined) return job.id;
      throw new FarfieldError('E_BUSY', `${this.#driver.name} did not take the job: ${why}`);
    }
    this.#strays.add(name);
    throw new FarfieldError('E_TIMEOUT', `${this.#driver.name} does not say whether it took job ${name}: ${why}`);
  }

  /** Jobs of a name; undefined where not every finder answered. */
  async #find(name: string): Promise<readonly SeenJob[] | undefined> {
    const found: SeenJob[] = [];
    for (const finder of this.#driver.finders) {
      const listing = this.#read(await this.#run(finder.command(name)), (output) => finder.read(output));
      if (listing.kind === 'failed') return undefined;
      found.push(...listing.jobs.filter((job) => (job.name ?? name) === name));
    }
    return found;
  }

  #read(
    outcome: CommandOutcome,
    read: (output: Extract<CommandOutcome, { kind: 'done' }>['output']) => Listing,
  ): Listing {
    return outcome.kind === 'done' ? read(outcome.output) : { kind: 'failed', why: outcome.why };
  }

  async status(texts: readonly string[]): Promise<ReadonlyMap<string, JobState>> {
    const known = texts.map((text) => this.#know(text));
    if (known.some(({ state }) => state.kind !== 'ended')) await this.#look();
    return new Map(known.map(({ job, state }) => [job, state]));
  }

  #know(job: string): Known {
    const old = this.#known.get(job);
    if (old !== undefined) return old;
    const known: Known = {
      ...readJob(job),
      job,
      since: this.#o.clock.mono(),
      state: { kind: 'unknown', why: 'not asked yet' },
      seen: false,
      restarts: undefined,
      absentLooks: 0,
      cancelled: false,
    };
    this.#known.set(job, known);
    return known;
  }

  /** T1: the look that is due next, for everybody who asks until it begins. */
  #look(): Promise<void> {
    this.#next ??= (async () => {
      const waitMs = this.#lookedAt + (this.#failures === 0 ? GAP_MS : this.#intervalMs()) - this.#o.clock.mono();
      if (waitMs > 0) await this.#o.clock.sleep(waitMs, this.#stop.signal);
      await this.#one(async () => {
        this.#next = undefined;
        await this.#lookNow();
      });
    })();
    return this.#next;
  }

  #intervalMs(): number {
    const base = (this.#o.config.statusS ?? BATCH_DEFAULTS.statusS) * 1000;
    return Math.max(base, Math.min(base * 2 ** this.#failures, MAX_BACKOFF_MS));
  }

  /** A look that is due stays due: submits that follow one another would put it off for ever. */
  #armOnce(): void {
    if (this.#timer === undefined) this.#arm();
  }

  #arm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const live = [...this.#known.values()].some(({ state }) => state.kind !== 'ended');
    if (this.#stop.signal.aborted || !(live || this.#strays.size > 0)) return;
    this.#timer = this.#o.clock.after(this.#intervalMs(), () => {
      this.#timer = undefined;
      this.#look().catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#o.log.error({ err: error }, 'the scheduler could not be asked');
      });
    });
  }

  async #lookNow(): Promise<void> {
    let open = [...this.#known.values()].filter(({ state }) => state.kind !== 'ended');
    const reasons: string[] = [];
    const strange = new Set<Known>();
    // A cancel by nobody knows whom: a later source may name them.
    const unnamed = new Map<Known, SeenJob>();
    let live = true;
    this.#looks += 1;
    for (const [k, source] of this.#driver.sources.entries()) {
      if (open.length === 0) break;
      const { left, failed } = await this.#ask(source, k === 0 ? open : turned(open, this.#looks), strange, unnamed);
      if (failed !== undefined) reasons.push(`${source.label}: ${failed}`);
      if (failed !== undefined && k === 0) live = false;
      open = left;
    }
    open = open.filter((known) => !(unnamed.has(known) && this.#take(known, unnamed.get(known), strange)));
    for (const known of open) if (!strange.has(known)) this.#missed(known, reasons);
    // One source that answered for everybody is enough; a live one that failed is trouble all the same.
    this.#failures = live || open.length === 0 ? 0 : this.#failures + 1;
    if (this.#failures > 0) this.#o.log.warn({ failures: this.#failures, reasons }, 'the scheduler does not answer');
    if (this.#failures === ALARM_FAILURES) this.#o.log.error({ reasons }, 'the scheduler has not answered for long');
    await this.#lookForStrays();
    this.#lookedAt = this.#o.clock.mono();
    this.#arm();
  }

  /** Asks one source; `left` is what it did not know. */
  async #ask(
    source: Source,
    open: readonly Known[],
    strange: Set<Known>,
    unnamed: Map<Known, SeenJob>,
  ): Promise<{ left: Known[]; failed?: string }> {
    const left: Known[] = [];
    let failed: string | undefined;
    const size = Math.min(source.batch, open.length);
    for (let at = 0, commands = 0; at < open.length; at += size, commands += 1) {
      const part = open.slice(at, at + size);
      // Of the first source all are asked: the number of its commands is what `batch` makes it.
      if (failed !== undefined || (source !== this.#driver.sources[0] && commands >= MAX_COMMANDS)) {
        failed ??= 'asked in the next look';
        left.push(...part);
        continue;
      }
      const ids = part.map(({ id }) => id);
      const listing = this.#read(await this.#run(source.command(ids)), (output) => source.read(output, ids));
      if (listing.kind === 'failed') failed = listing.why;
      const jobs = new Map(listing.kind === 'failed' ? [] : listing.jobs.map((job) => [job.id, job]));
      for (const known of part) {
        const seen = jobs.get(known.id);
        const before = unnamed.get(known);
        // It is over: the accounting may lag behind that, and must not wake it up.
        if (before !== undefined && seen?.state.kind !== 'ended') left.push(known);
        else if (before === undefined && seen !== undefined && this.#asksWho(source, known, seen)) {
          unnamed.set(known, seen);
          left.push(known);
        } else if (!this.#take(known, seen, strange)) left.push(known);
      }
    }
    return failed === undefined ? { left } : { left, failed };
  }

  /** Somebody else cancelled it, and the live listing does not say who. */
  #asksWho(source: Source, known: Known, { state }: SeenJob): boolean {
    return (
      source === this.#driver.sources[0] &&
      this.#driver.namesCancellers === true &&
      state.kind === 'ended' &&
      state.cause === 'cancelled' &&
      state.by === undefined &&
      !known.cancelled
    );
  }

  /** Whether this settles the job for this look. */
  #take(known: Known, seen: SeenJob | undefined, strange: Set<Known>): boolean {
    // The same id with another name is another job: ids start again.
    if (seen === undefined || (seen.name !== undefined && seen.name !== '' && seen.name !== known.name)) return false;
    known.seen = true;
    known.absentLooks = 0;
    known.state = refined(seen, known.wallS, this.#o.config.warnS ?? BATCH_DEFAULTS.warnS);
    known.restarts = seen.restarts ?? known.restarts;
    // A word that we do not know: the next source may say it in another.
    if (known.state.kind === 'unknown') {
      if (!strange.has(known))
        for (const listener of this.stateListeners) listener(known.job, known.state, known.restarts);
      strange.add(known);
      return false;
    }
    strange.delete(known);
    if (known.state.kind === 'ended') this.#ended(known, known.state);
    else for (const listener of this.stateListeners) listener(known.job, known.state, known.restarts);
    return true;
  }

  #ended(known: Known, end: Ended): void {
    const { why, cause, by } = end;
    const told = `${cause}${by === undefined ? '' : ` by ${by}`}: ${why}`;
    for (const listener of this.endListeners) listener(known.job, told, cause, end);
    // Kept, so that a late question about it needs no command; not for ever.
    for (const [job, { state }] of this.#known) {
      if (this.#known.size <= MAX_KNOWN) break;
      if (state.kind === 'ended') this.#known.delete(job);
    }
  }

  /** T3, T5 */
  #missed(known: Known, reasons: readonly string[]): void {
    if (reasons.length > 0) {
      known.state = { kind: 'unknown', why: reasons.join('; ') };
      return;
    }
    const young = !known.seen && this.#o.clock.mono() - known.since < NEW_MS;
    const why = known.seen ? 'it was listed before, and is in no listing any more' : 'no listing has it yet';
    known.state = { kind: 'absent', why };
    if (!young) known.absentLooks += 1;
    if (known.absentLooks >= ABSENT_LOOKS) for (const listener of this.absentListeners) listener(known.job, why);
  }

  /** T4: one a look. */
  async #lookForStrays(): Promise<void> {
    const [name] = this.#strays;
    if (name === undefined) return;
    const found = await this.#find(name);
    if (found === undefined) return;
    this.#strays.delete(name);
    const ids = found.filter(({ state }) => state.kind !== 'ended').map(({ id }) => id);
    if (ids.length === 0) return;
    this.#o.log.warn({ ids, name }, 'a job of a submit that was given up is cancelled');
    await this.#run(this.#driver.cancel(ids));
  }

  async cancel(text: string, graceMs: number): Promise<{ left: readonly string[] }> {
    const known = this.#know(text);
    const until = this.#o.clock.mono() + graceMs + CONFIRM_MS;
    let sent = false;
    let trouble: string | undefined;
    known.cancelled = true;
    while (known.state.kind !== 'ended') {
      if (!sent) {
        trouble = await this.#sendCancel(known.id);
        sent = trouble === undefined;
      }
      await this.#look();
      // After our own cancel, a job that is nowhere is gone: some schedulers forget what they cancelled.
      if (sent && known.state.kind === 'absent') break;
      if (this.#o.clock.mono() >= until)
        return { left: [`job ${known.id}${trouble === undefined ? '' : ` (${trouble})`}`] };
    }
    this.#known.delete(text);
    return { left: [] };
  }

  /** All that is to be cancelled by now goes in one command. Undefined: it was taken. */
  #sendCancel(id: string): Promise<string | undefined> {
    this.#toCancel.add(id);
    this.#cancelling ??= this.#one(async () => {
      this.#cancelling = undefined;
      const ids = [...this.#toCancel];
      this.#toCancel.clear();
      let trouble: string | undefined;
      for (let at = 0; at < ids.length; at += IDS_PER_CANCEL) {
        const outcome = await this.#run(this.#driver.cancel(ids.slice(at, at + IDS_PER_CANCEL)));
        trouble ??= outcome.kind === 'done' ? this.#driver.readCancel(outcome.output) : outcome.why;
      }
      return trouble;
    });
    return this.#cancelling;
  }
}

/** S4 */
function refused(scheduler: string, why: string): FarfieldError {
  const { lasts, remedy } = judgeRefusal(why);
  const said = `${scheduler} refused the job: ${why}`;
  switch (lasts) {
    case 'forGood':
      return new FarfieldError('E_FORBIDDEN', `${said}. The endpoint's admin: ${remedy}; ${THEN_RESUME}`);
    case 'forNow':
      return new FarfieldError('E_BUSY', said);
    case 'unsaid':
      return new FarfieldError('E_UNAVAILABLE', said);
  }
}

/** So that a source that takes few jobs at a time comes to all of them. */
function turned<T>(list: readonly T[], by: number): T[] {
  const at = list.length === 0 ? 0 : (by * MAX_COMMANDS) % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

/** Schedulers warn up to so much earlier than they were asked to. */
const EARLY_S = 60;

/** An end by signal, or over a limit that is not named, after all of the walltime is the walltime's. */
function refined({ state, ranS, limitS = Number.POSITIVE_INFINITY }: SeenJob, wallS: number, warnS: number): JobState {
  if (state.kind !== 'ended') return state;
  const limit = Math.min(limitS, wallS);
  const end = { ...state, limitS: limit };
  if (ranS === undefined) return end;
  if (ranS >= limit && (state.cause === 'failed' || state.cause === 'memory')) return { ...end, cause: 'walltime' };
  return { ...end, atLimit: ranS >= limit - warnS - EARLY_S };
}

function readJob(text: string): JobText {
  try {
    const { id, name, wallS } = JSON.parse(text) as JobText;
    if (typeof id === 'string' && typeof name === 'string' && typeof wallS === 'number') return { id, name, wallS };
  } catch {
    // Said below.
  }
  throw new FarfieldError('E_INTERNAL', 'a job that is none of this scheduler');
}
