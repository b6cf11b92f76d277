/**
 * Blocks: started when work arrives, ended when there has been none for a while, adopted again after a restart. What a block
 * may be and become is kernel/states/block.ts; this carries its effects out.
 *
 * Invariants
 *  K1 A block is written down (records.ts) before its job is submitted and removed after its end is known, so that no life
 *     of this agent forgets one.
 *  K2 At most `maxBlocks` live; one whose state is unknown counts. One is begun at a time.
 *  K3 Nothing is started while the breaker is open, or a submit that made no job is to be tried later (submits.ts), and everyone
 *     who waits is told why.
 *  K4 A socket that a kernel closed is a dead pilot unless it redials at once: its work starts elsewhere. A silent one has
 *     `awayMs` for its leases and `abandonMs` for its block: a cable that is pulled for a minute ends nothing.
 *  K5 Detached pilots are ended by `stop` alone: this process's end leaves them to its next life.
 *  K6 Until the broker knows this process as the endpoint's agent, or cannot be asked, nothing is started and nobody's silence
 *     counts: in a copied folder these are the blocks of the agent that it was copied from.
 *  K7 Only work of its own group reaches a block (groups.ts), and only what can end before its walltime; what would fit into no
 *     block's rest may begin in a fresh one.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Timer } from '#base/clock.ts';
import { openPrivateFolder } from '#base/files.ts';
import { toBase64Url } from '#kernel/bytes.ts';
import { type BlockEffect, type BlockEvent, blockStep } from '#kernel/states/block.ts';
import type { PilotRow } from '../admission/ledger.ts';
import type { BlockView } from '../control.ts';
import type { JobState } from '../schedulers/scheduler.ts';
import type { Work } from '../work/mirror.ts';
import { type Avoided, createAvoided } from './avoided.ts';
import { type Block, type BlocksOptions, COMING, createBlock, GONE, nextBlock } from './block.ts';
import { type BlockEnd, isKilled, memorySentence, whyLost } from './end-words.ts';
import { eventOf, hasNode, waitingText } from './job-words.ts';
import { moveBlockFile, PREFIX, readRecord, writeBlockFile, writeRecord } from './records.ts';
import { logTail, sweepFolders } from './remains.ts';
import { createSubmitTrouble, kindOf, type NoJob, type SubmitTrouble } from './submits.ts';
import { redemptionOf } from './tokens.ts';

const STOP_GRACE_S = 10;
/** A pilot that lives dials again within 50 ms (pilot/limits.ts); a loaded node takes some more. */
const REDIAL_MS = 500;
/** A cancel that was not confirmed is sent again. */
const CANCEL_AGAIN_MS = 60_000;
/** Of a block's walltime: where so much is left, work that needs all of it may begin. */
const FRESH = 0.9;
/** A result must be written before the end. */
const END_MARGIN_MS = 5000;

interface Why extends BlockEnd {
  /** There is no job: what waiting is good for. */
  readonly noJob?: NoJob;
}

export class Blocks {
  readonly #o: BlocksOptions;
  readonly #blocks = new Map<string, Block>();
  #starting = false;
  readonly #trouble: SubmitTrouble;
  readonly #avoided: Avoided;
  /** Blocks in which a runner was killed for its memory, and was told so. */
  readonly #hungry = new Set<string>();
  #pauseUntil = 0;
  /** Pilot -> until when it may stay away. */
  readonly #away = new Map<number, Timer>();
  readonly #timers = new Set<Timer>();
  #idle: Timer | undefined;
  /** Blocks that live without work: none before the broker knows us, then more at first than later. */
  #floor = 0;
  #stopping = false;
  /** Blocks of an earlier life are known: before that, nobody can be told that his block is over. */
  readonly #adopted = Promise.withResolvers<void>();

  constructor(options: BlocksOptions) {
    this.#o = options;
    const { scheduler, breaker, retryMs } = options;
    this.#avoided = createAvoided(options.clock);
    this.#trouble = createSubmitTrouble({ breaker, retryMs, onPause: (ms) => this.#pause(ms) });
    const each = (job: string, act: (block: Block) => Promise<void>): void => {
      // Not over a copy: a look at 1,000 jobs comes here 1,000 times.
      for (const block of this.#blocks.values()) if (block.job === job) this.#own(act(block));
    };
    scheduler.onEnd((job, why, cause, end) =>
      each(job, (block) => this.#apply(block, 'sawEnded', { why, cause, end })),
    );
    scheduler.onAbsent?.((job, why) => each(job, (block) => this.#absent(block, why)));
    scheduler.onState?.((job, state, restarts) => each(job, (block) => this.#saw(block, state, restarts)));
  }

  /** Takes over the blocks of an earlier life: those that run are waited for, those that ended give their leases back. */
  async adopt(meta: Readonly<Record<string, string>>): Promise<void> {
    const { groups, pilots, clock, scheduler, folder, facts } = this.#o;
    for (const [key, text] of Object.entries(meta)) {
      if (!key.startsWith(PREFIX)) continue;
      const id = key.slice(PREFIX.length);
      const { job, shape, life } = readRecord(text, groups.base.shape);
      const rows = [...pilots().rows.values()].filter((row) => row.block === id);
      const block = createBlock(id, groups.from(shape), clock.mono());
      Object.assign(block, { job, life, came: rows.length > 0, leasing: rows.length > 0 });
      block.state = rows.length > 0 ? 'running' : job === undefined ? 'unclear' : 'unknown';
      for (const row of rows) block.pilots.add(row.no);
      this.#blocks.set(id, block);
      await moveBlockFile(join(folder, id), facts().tls);
    }
    this.#adopted.resolve();
    const found = this.#recall();
    // A scheduler that is slow to answer holds up nobody's start; the machine itself answers at once.
    if (scheduler.onState === undefined) await found;
    else this.#own(found);
    for (const row of [...pilots().rows.values()]) {
      // A crash between the end of a block and the removal of its pilots.
      if (!this.#blocks.has(row.block)) await this.#lose(row, 'its block is over');
      else if (!pilots().isConnected(row.no)) this.#expect(row);
    }
  }

  async #recall(): Promise<void> {
    const { scheduler } = this.#o;
    const blocks = [...this.#blocks.values()];
    const known = blocks.flatMap(({ job }) => (job === undefined ? [] : [job]));
    const states = known.length === 0 ? new Map<string, JobState>() : await scheduler.status(known);
    for (const block of blocks) {
      const state = block.job === undefined ? undefined : states.get(block.job);
      if (block.job === undefined) await this.#find(block);
      else if (state !== undefined) await this.#saw(block, state, undefined);
    }
  }

  /** The job of a submit that was never answered. */
  async #find(block: Block): Promise<void> {
    const { scheduler, folder, log } = this.#o;
    const request = { block: block.id, folder: join(folder, block.id), shape: block.group.shape };
    let job: string | undefined;
    try {
      job = await scheduler.find?.(request);
    } catch (reason) {
      if (this.#stopping) return;
      log.warn({ block: block.id, err: reason }, 'nobody says whether this block has a job');
    }
    if (job === undefined) return this.#apply(block, 'absent', { why: 'it was never submitted' });
    block.job = job;
    await this.#write(block);
    await this.#apply(block, 'found', { why: 'found by its name' });
  }

  /** Makes sure that a pilot may be welcomed; resolves with what its redemption is remembered by. */
  async redemption(id: string, node: string): Promise<string> {
    await this.#adopted.promise;
    // Pilots of a life before go first. What went wrong with them is said where it was begun.
    await this.#blocks.get(id)?.changing;
    const { pilots } = this.#o;
    const rows = (): PilotRow[] => [...pilots().rows.values()].filter((row) => row.block === id);
    return redemptionOf(() => this.#blocks.get(id), id, node, {
      rows,
      isConnected: (row) => pilots().isConnected(row.no),
      namesNodes: this.#o.scheduler.namesNodes === true,
      ask: (block) => this.#ask(block),
    });
  }

  /** K7 */
  takes(row: PilotRow, work: Work, needMs: number): boolean {
    const { groups, pilots, perCall } = this.#o;
    const block = this.#blocks.get(row.block);
    if (block === undefined || !block.leasing || block.group.key !== groups.of(work).key) return false;
    if (perCall && block.used) return false;
    const wallMs = block.group.shape.wallS * 1000;
    // Some launchers hand no variables on: then the pilot does not know, and its block's age must do.
    const leftMs = pilots().leftMs(row.no) ?? wallMs - (this.#o.clock.mono() - (block.startedAt ?? block.busyAt));
    return needMs <= leftMs - END_MARGIN_MS || leftMs >= FRESH * wallMs;
  }

  /** Something was leased to a pilot. */
  leased(row: PilotRow): void {
    const block = this.#blocks.get(row.block);
    if (block === undefined) return;
    block.used = true;
    block.busyAt = this.#o.clock.mono();
  }

  /** Something of a pilot ended. */
  done(row: PilotRow): void {
    const block = this.#blocks.get(row.block);
    if (block === undefined) return;
    block.busyAt = this.#o.clock.mono();
    if (this.#o.perCall && this.#o.engine.heldBy(row.no) === 0 && block.state === 'running')
      this.#own(this.#stop(block, 'its one call is over'));
  }

  /** The broker knows us (K6): blocks that the site wants before anybody asks. */
  begin(): void {
    this.#floor = Math.max(this.#o.minBlocks, this.#o.initBlocks);
    this.demand();
  }

  /** Work waits and no pilot has room. */
  demand(): void {
    const { held, clock, breaker } = this.#o;
    if (held() !== undefined || this.#stopping) return;
    this.touch();
    if (this.#starting || breaker.reason !== undefined || clock.mono() < this.#pauseUntil) return;
    const takes = (row: PilotRow, work: Work, needMs: number): boolean => this.takes(row, work, needMs);
    const next = nextBlock(this.#o, [...this.#blocks.values()], this.#floor, takes);
    // Those of the start are there: from now on they may end when nobody needs them.
    if (this.#blocks.size >= this.#floor) this.#floor = Math.min(this.#floor, this.#o.minBlocks);
    if (next === undefined) return;
    if ('giveWay' in next) {
      this.#own(this.#stop(next.giveWay, 'work waits that it may not take, or could not end'));
      return;
    }
    this.#starting = true;
    const begun = this.#start(next).finally(() => {
      this.#starting = false;
      this.demand();
    });
    this.#own(begun);
  }

  connected(row: PilotRow): void {
    const block = this.#blocks.get(row.block);
    if (block === undefined) return;
    block.pilots.add(row.no);
    block.came = true;
    block.busyAt = this.#o.clock.mono();
    this.#away.get(row.no)?.cancel();
    this.#away.delete(row.no);
    this.#own(this.#apply(block, 'pilotCame', { why: `a pilot on ${row.node}` }));
    this.#trouble.started();
    this.#o.breaker.started();
    this.touch();
  }

  /** A pilot takes nothing more; its job ends by itself. */
  draining(row: PilotRow, why: string): void {
    const block = this.#blocks.get(row.block);
    if (block !== undefined) block.drained ??= why;
    const { pilots, engine } = this.#o;
    if (block !== undefined && [...block.pilots].every((no) => !pilots().isConnected(no) || pilots().isDraining(no)))
      this.#own(this.#apply(block, 'drain', { why }));
    engine.dispatch();
  }

  /** The link is gone; whether the pilot is, its kernel or its job says. */
  away(row: PilotRow, how: 'bye' | 'closed' | 'silent'): void {
    const block = this.#blocks.get(row.block);
    if (block === undefined || this.#stopping) return;
    this.#expect(row);
    if (how !== 'silent') {
      const timer = this.#after(REDIAL_MS, () => {
        if (this.#o.pilots().isConnected(row.no) || this.#o.held() !== undefined) return;
        // Its job's end was told meanwhile, and has settled all of it.
        if (GONE.has(block.state)) return;
        if (how === 'closed') {
          if (block.drained === undefined && block.stopped === undefined) this.#avoided.failed(row.node, block.id);
          this.#own(this.#giveBack(row, `its pilot on ${row.node} ended`, 'unsaid'));
        }
        // The job of a pilot that just ended is not over in the look that began before.
        this.#own(this.#ask(block));
      });
      this.#timers.add(timer);
    }
    this.#own(this.#ask(block));
  }

  async #giveBack({ no }: PilotRow, why: string, cause: 'unsaid' | 'givenUp'): Promise<void> {
    const { engine } = this.#o;
    await engine.lost(no, { why, cause });
    engine.dispatch();
  }

  /** What the scheduler says of it, as soon as its manners allow. */
  async #ask(block: Block): Promise<void> {
    if (block.job === undefined) return;
    const state = (await this.#o.scheduler.status([block.job])).get(block.job);
    // A scheduler that pushes has told it already, with what more it knows.
    if (state !== undefined && (state.kind === 'ended' || this.#o.scheduler.onState === undefined))
      await this.#saw(block, state, undefined);
  }

  #expect(row: PilotRow, sinceMs = this.#o.clock.mono()): void {
    const { clock, awayMs, abandonMs, held } = this.#o;
    this.#away.get(row.no)?.cancel();
    const timer = clock.after(awayMs, () => {
      this.#away.delete(row.no);
      if (held() !== undefined) return this.#expect(row);
      const block = this.#blocks.get(row.block);
      if (block === undefined) return;
      const silentMs = clock.mono() - sinceMs;
      const alone = ![...block.pilots].some((no) => this.#o.pilots().isConnected(no));
      if (alone && silentMs >= abandonMs)
        return this.#own(this.#stop(block, `its pilot was silent for ${Math.round(silentMs / 1000)} s`));
      const silent = `its pilot on ${row.node} was silent for ${Math.round(silentMs / 1000)} s, and nobody says why`;
      this.#avoided.failed(row.node, block.id);
      this.#own(this.#giveBack(row, silent, 'givenUp'));
      this.#expect(row, sinceMs);
    });
    this.#away.set(row.no, timer);
  }

  /** Work came or ended: blocks without any are looked for again. */
  touch(): void {
    // One timer for each idle period, not for each item: it looks again when it fires.
    this.#idle ??= this.#o.clock.after(this.#o.idleMs, () => this.#whenIdle());
  }

  /** Why no job can be made now, in words. */
  get trouble(): string | undefined {
    return this.#trouble.words;
  }

  views(): BlockView[] {
    const { engine, slots, scheduler } = this.#o;
    return [...this.#blocks.values()].map(({ id, state, job, pilots, detail }) => ({
      id,
      state,
      detail: detail !== '' ? detail : job === undefined ? 'being submitted' : `at ${scheduler.name}`,
      pilots: pilots.size,
      slots: pilots.size * slots,
      busy: Math.min(
        [...pilots].reduce((sum, no) => sum + engine.heldBy(no), 0),
        pilots.size * slots,
      ),
    }));
  }

  /** Ends every block with everything in it. */
  async stop(): Promise<void> {
    this.leave();
    const own = [...this.#blocks.values()].filter(
      // A fenced agent ends what dialled it: the rest is not known to be its own.
      ({ pilots }) => this.#o.held() !== 'fenced' || [...pilots].some((no) => this.#o.pilots().isConnected(no)),
    );
    await Promise.all(own.map((block) => this.#stop(block, 'the endpoint stops')));
  }

  /** This process ends and its blocks go on. */
  leave(): void {
    this.#stopping = true;
    this.#idle?.cancel();
    for (const timer of [...this.#away.values(), ...this.#timers]) timer.cancel();
    this.#away.clear();
    this.#timers.clear();
  }

  async #start({ group, users }: Extract<ReturnType<typeof nextBlock>, { group: unknown }>): Promise<void> {
    const { scheduler, folder, clock, random, log, facts, signer } = this.#o;
    const id = toBase64Url(random.bytes(9));
    const place = join(folder, id);
    openPrivateFolder(place);
    await writeBlockFile(place, id, facts(), { signer: signer(), nowMs: clock.now(), random });
    const block = createBlock(id, group, clock.mono());
    this.#blocks.set(id, block);
    const answered = Promise.withResolvers<void>();
    block.answered = answered.promise;
    try {
      await this.#write(block);
      // Nodes are known by the name that the scheduler has for them, or not at all.
      const avoid = scheduler.namesNodes === true ? this.#avoided.nodes() : [];
      block.job = await scheduler.submit({ block: id, folder: place, shape: group.shape, users, avoid });
      this.#trouble.submitted();
      // At once: its end may be told before the ledger has answered.
      const applied = this.#apply(block, 'submitted', { why: 'submitted' });
      await this.#write(block);
      await applied;
      log.info({ block: id, job: block.job, users, ...(avoid.length === 0 ? {} : { avoid }) }, 'block submitted');
      const text = waitingText(scheduler.name, block.job, { kind: 'queued', reason: 'just submitted' });
      if (text !== undefined && COMING.has(block.state) && scheduler.onState !== undefined) {
        block.detail = text;
        this.#o.onWaiting(group, text);
      }
    } catch (cause) {
      // The next life asks whether there is a job.
      if (!this.#stopping)
        await this.#apply(block, 'submitRefused', { why: (cause as Error).message, noJob: kindOf(cause) });
    } finally {
      answered.resolve();
    }
  }

  async #write({ id, job, group, life }: Block): Promise<void> {
    const value = writeRecord({ job, shape: group.shape, life });
    await this.#o.ledger.submit({ kind: 'meta', key: PREFIX + id, value });
  }

  /** What a look says of a job. */
  async #saw(block: Block, state: JobState, restarts: number | undefined): Promise<void> {
    const { pilots, scheduler, log, onWaiting } = this.#o;
    if (GONE.has(block.state)) return;
    const isNew = restarts !== undefined && block.restarts !== undefined && restarts > block.restarts;
    block.restarts = restarts ?? block.restarts;
    const event = eventOf(state);
    const lives = [...block.pilots].some((no) => pilots().isConnected(no));
    // Started again between two looks.
    if (isNew && event !== 'sawPending') await this.#apply(block, 'sawPending', { why: 'its job was started again' });
    // A listing may be older than the pilot that said hello since.
    else if ((event === 'sawPending' || event === 'sawHeld') && lives && !isNew) return;
    if (state.kind === 'running' || state.kind === 'starting') block.nodes = state.nodes;
    const text = waitingText(scheduler.name, block.job ?? '', state);
    if (text !== undefined && text !== block.detail) onWaiting(block.group, text);
    block.detail = text ?? '';
    if (event !== undefined) {
      const cause = state.kind === 'ended' ? { cause: state.cause, end: state } : {};
      await this.#apply(block, event, { why: 'why' in state ? state.why : state.kind, ...cause });
    }
    if (scheduler.namesNodes !== true || block.nodes.length === 0) return;
    for (const row of [...pilots().rows.values()]) {
      if (row.block !== block.id || hasNode(block.nodes, row.node)) continue;
      log.warn(
        { block: block.id, node: row.node, nodes: block.nodes },
        'a pilot on a node that is not of its job is refused',
      );
      pilots().refuse(row.no, `${row.node} is no node of this block`);
      await this.#lose(row, `its pilot was on ${row.node}, which is no node of its job`);
    }
  }

  /** The scheduler has forgotten the job: it is over unless a pilot of it says otherwise. */
  async #absent(block: Block, why: string): Promise<void> {
    if ([...block.pilots].some((no) => this.#o.pilots().isConnected(no))) return;
    await this.#apply(block, 'sawEnded', { why, cause: 'lost' });
  }

  /** One step of the table. The state changes at once; effects follow in order. */
  async #apply(block: Block, event: BlockEvent, why: Why): Promise<void> {
    if (this.#blocks.get(block.id) !== block) return;
    const entry = blockStep(block.state, event);
    if ('refused' in entry) return;
    const before = block.state;
    block.state = entry.state;
    if (before !== entry.state) this.#o.log.info({ block: block.id, before, state: entry.state, ...why }, 'block');
    if (before !== entry.state && (entry.state === 'starting' || entry.state === 'running'))
      block.startedAt ??= this.#o.clock.mono();
    if (entry.effects.includes('startLeasing')) block.leasing = true;
    if (entry.effects.includes('stopLeasing')) block.leasing = false;
    const over = GONE.has(entry.state);
    if (over) this.#blocks.delete(block.id);
    const work = this.#carryOutAll(block, entry.effects, why, over);
    block.changing = Promise.allSettled([block.changing, work]).then(() => undefined);
    await work;
  }

  async #carryOutAll(block: Block, effects: readonly BlockEffect[], why: Why, over: boolean): Promise<void> {
    for (const effect of effects) await this.#carryOut(block, effect, why);
    if (over) await this.#forget(block, why);
  }

  async #carryOut(block: Block, effect: BlockEffect, why: Why): Promise<void> {
    switch (effect) {
      case 'countStartFailure':
        return this.#failed(block, why);
      case 'returnLeases':
        return this.#loseAll(block, why);
      case 'newLife':
        block.life += 1;
        block.came = false;
        block.startedAt = undefined;
        await this.#loseAll(block, why);
        return this.#write(block);
      case 'cancelJob':
        return this.#cancel(block);
      case 'lookForJob':
        return this.#find(block);
      case 'startLeasing':
      case 'stopLeasing':
        return undefined;
    }
  }

  #failed(block: Block, { why, noJob }: Why): void {
    if (this.#stopping) return;
    if (noJob === undefined) {
      this.#trouble.died(logTail(this.#o.logFile(block.id)) || why);
      return;
    }
    const words = this.#trouble.noJob(noJob, why);
    if (words !== undefined) this.#o.onWaiting(block.group, words);
  }

  #pause(ms: number): void {
    const { clock, engine } = this.#o;
    this.#pauseUntil = clock.mono() + ms;
    this.#timers.add(this.#after(ms, () => engine.dispatch()));
  }

  #after(ms: number, act: () => void): Timer {
    const timer = this.#o.clock.after(ms, () => {
      this.#timers.delete(timer);
      act();
    });
    return timer;
  }

  async #loseAll(block: Block, told: Why): Promise<void> {
    const { scheduler, slots, memMiB } = this.#o;
    // Slurm calls a job out of memory in which anything ever was: who was killed for that has paid, and what was left has not.
    const why = told.cause === 'memory' && this.#hungry.has(block.id) ? { ...told, cause: 'failed' as const } : told;
    this.#avoided.ended(block.id, why.cause, block.stopped !== undefined);
    for (const row of [...this.#o.pilots().rows.values()]) {
      if (row.block !== block.id) continue;
      if (why.cause === 'nodeLost' && block.group.shape.nodes === 1) this.#avoided.failed(row.node, block.id);
      const words = whyLost(block, why, { scheduler: scheduler.name, node: row.node, slots, memMiB });
      // Walltime, preemption, a lost node are nobody's fault; a block that was killed for its memory held the work that took it.
      await this.#lose(row, words, why.cause === 'memory');
    }
    block.pilots.clear();
  }

  async #lose(row: PilotRow, why: string, charged = false): Promise<void> {
    this.#away.get(row.no)?.cancel();
    this.#away.delete(row.no);
    this.#blocks.get(row.block)?.pilots.delete(row.no);
    await this.#o.engine.lost(row.no, { why, charged, cause: 'said' });
    await this.#o.pilots().forget(row.no);
  }

  failureWords(id: string, message: string): string | undefined {
    const { scheduler, slots, memMiB } = this.#o;
    const job = this.#blocks.get(id)?.job;
    if (job !== undefined && isKilled(message)) this.#hungry.add(id);
    return job === undefined ? undefined : memorySentence(message, { scheduler: scheduler.name, job, slots, memMiB });
  }

  /** The block is gone: its leases go back, and its folder unless somebody must look at it. */
  async #forget(block: Block, why: Why): Promise<void> {
    const { ledger, engine, folder } = this.#o;
    await this.#loseAll(block, why);
    this.#hungry.delete(block.id);
    await ledger.submit({ kind: 'meta', key: PREFIX + block.id, value: '' });
    if (block.came) rmSync(join(folder, block.id), { recursive: true, force: true });
    else sweepFolders(folder, (id) => this.#blocks.has(id));
    engine.dispatch();
    this.demand();
  }

  async #stop(block: Block, why: string): Promise<void> {
    block.stopped ??= why;
    await block.answered;
    this.#o.pilots().stop(block.id, why, STOP_GRACE_S);
    await this.#apply(block, 'stop', { why });
  }

  async #cancel(block: Block): Promise<void> {
    if (block.job === undefined) return;
    const { left } = await this.#o.scheduler.cancel(block.job, STOP_GRACE_S * 1000);
    if (left.length === 0) return this.#apply(block, 'sawEnded', { why: 'the endpoint ended it', cause: 'cancelled' });
    this.#o.log.warn({ block: block.id, left }, 'a block is not known to have ended; it is cancelled again');
    if (this.#stopping) return;
    this.#timers.add(
      this.#after(CANCEL_AGAIN_MS, () => this.#own(this.#apply(block, 'stop', { why: 'cancelled again' }))),
    );
  }

  #whenIdle(): void {
    this.#idle = undefined;
    const { clock, idleMs, engine, minBlocks } = this.#o;
    let nextMs = idleMs;
    let spare = [...this.#blocks.values()].filter(({ state }) => state === 'running').length - minBlocks;
    for (const block of [...this.#blocks.values()]) {
      if (block.state !== 'running' || [...block.pilots].some((no) => engine.heldBy(no) > 0)) continue;
      const leftMs = block.busyAt + idleMs - clock.mono();
      if (leftMs > 0) nextMs = Math.min(nextMs, leftMs);
      else if (spare > 0) {
        spare -= 1;
        this.#own(this.#stop(block, 'no work for a while'));
      }
    }
    if ([...this.#blocks.values()].some(({ state }) => state === 'running' || COMING.has(state)))
      this.#idle = clock.after(Math.max(1, nextMs), () => this.#whenIdle());
  }

  #own(work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (!this.#stopping) this.#o.log.error({ err: error }, 'a block could not be looked after');
    });
  }
}
