/**
 * Blocks: started when work arrives, ended when there has been none for a while, adopted again after a restart.
 *
 * Invariants
 *  K1 A block is written down (meta `block/ID`) before its job is submitted and removed after its end is known, so that no life
 *     of this agent forgets one.
 *  K2 At most `maxBlocks` live; one whose state is unknown counts.
 *  K3 Nothing is started while the breaker is open, and everyone who waits is told why.
 *  K4 A pilot whose link is gone and whose process lives has AWAY_MS to redial; then it hangs, and its block is ended, so that
 *     its work starts elsewhere.
 *  K5 Detached pilots are ended by `stop` alone: this process's end leaves them to its next life.
 *  K6 Until the broker knows this process as the endpoint's agent, or cannot be asked, nothing is started and nobody's silence
 *     counts: in a copied folder these are the blocks of the agent that it was copied from.
 */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock, Timer } from '#base/clock.ts';
import { openPrivateFolder, writeDurable } from '#base/files.ts';
import { type Logger, plain } from '#base/log.ts';
import type { Random } from '#base/random.ts';
import { toBase64Url } from '#kernel/bytes.ts';
import { uuidv7 } from '#kernel/ids.ts';
import { type Signer, signToken } from '#kernel/jws.ts';
import { BLOCK_FILE, type BlockFile } from '#protos/block-file.ts';
import type { Ledger, PilotRow } from '../admission/ledger.ts';
import type { BlockView } from '../control.ts';
import type { BlockShape, Scheduler } from '../schedulers/scheduler.ts';
import type { Engine } from '../work/engine.ts';
import type { Breaker } from './breaker.ts';
import type { Pilots } from './pilots.ts';

export interface BlocksOptions {
  readonly scheduler: Scheduler;
  readonly ledger: Ledger;
  readonly engine: Engine;
  readonly breaker: Breaker;
  readonly pilots: () => Pilots;
  readonly signer: () => Signer;
  readonly endpoint: string;
  /** Folder that holds one folder a block. */
  readonly folder: string;
  readonly socket: string;
  /** Where pilots on other hosts dial, as of now. */
  readonly doorplate: () => BlockFile['tls'] | undefined;
  readonly runner: BlockFile['runner'];
  readonly env: Readonly<Record<string, string>>;
  readonly containers: NonNullable<BlockFile['containers']>;
  readonly slots: number;
  readonly maxBlocks: number;
  readonly shape: BlockShape;
  readonly idleMs: number;
  readonly graceS: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Where a block's pilot writes what it prints. */
  readonly logFile: (block: string) => string;
  /** K6: the broker has not answered yet, or has another agent of this endpoint. */
  readonly held: () => 'asking' | 'fenced' | undefined;
}

interface Block {
  readonly id: string;
  job: string;
  state: 'starting' | 'running' | 'draining';
  readonly pilots: Set<number>;
}

/** A token is redeemed within seconds here; a batch queue will want days and its own life. */
const TOKEN_LIFE_S = 3600;
const STOP_GRACE_S = 10;
const TAIL_BYTES = 4096;
/** A pilot redials every two seconds at least (pilot/limits.ts): one that does not for so long is stopped or stuck. */
const AWAY_MS = 30_000;
const PREFIX = 'block/';

export class Blocks {
  readonly #o: BlocksOptions;
  readonly #blocks = new Map<string, Block>();
  #starting = false;
  /** Pilot -> until when it may stay away. */
  readonly #away = new Map<number, Timer>();
  #idle: Timer | undefined;
  #busyAt: number;
  #stopping = false;

  constructor(options: BlocksOptions) {
    this.#o = options;
    this.#busyAt = options.clock.mono();
    options.scheduler.onEnd((job, why) => this.#own(this.#jobEnded(job, why)));
    options.scheduler.onAbsent?.((job, why) => this.#own(this.#jobAbsent(job, why)));
  }

  /** Takes over the blocks of an earlier life: those that run are waited for, those that ended give their leases back. */
  async adopt(meta: Readonly<Record<string, string>>): Promise<void> {
    for (const [key, job] of Object.entries(meta)) {
      if (!key.startsWith(PREFIX)) continue;
      const id = key.slice(PREFIX.length);
      const pilots = [...this.#o.pilots().rows.values()].filter((row) => row.block === id).map((row) => row.no);
      this.#blocks.set(id, { id, job, state: pilots.length > 0 ? 'running' : 'starting', pilots: new Set(pilots) });
    }
    const states = await this.#o.scheduler.status(
      [...this.#blocks.values()].map(({ job }) => job).filter((job) => job !== '-'),
    );
    for (const block of [...this.#blocks.values()]) {
      const state = states.get(block.job);
      // `-`: written down, and the submission's reply never came. A local job cannot have started without it.
      if (block.job === '-' || state?.kind === 'ended')
        await this.#ended(block, state?.kind === 'ended' ? state.why : 'it was never submitted');
    }
    for (const row of [...this.#o.pilots().rows.values()]) {
      // A crash between the end of a block and the removal of its pilots.
      if (!this.#blocks.has(row.block)) await this.#lose(row, 'its block is over');
      else if (!this.#o.pilots().connected.has(row.no)) this.#expect(row);
    }
  }

  /** Whether a pilot of this block may be welcomed: it was submitted here, and is not known to have ended. */
  isLive(block: string): boolean {
    return this.#blocks.has(block);
  }

  /** Work waits and no pilot has room. */
  demand(): void {
    if (this.#o.held() !== undefined) return;
    this.touch();
    if (
      this.#stopping ||
      this.#starting ||
      this.#o.breaker.reason !== undefined ||
      this.#blocks.size >= this.#o.maxBlocks
    )
      return;
    this.#starting = true;
    this.#own(
      this.#start().finally(() => {
        this.#starting = false;
      }),
    );
  }

  connected(row: PilotRow): void {
    const block = this.#blocks.get(row.block);
    if (block === undefined) return;
    block.pilots.add(row.no);
    this.#away.get(row.no)?.cancel();
    this.#away.delete(row.no);
    if (block.state === 'starting') block.state = 'running';
    this.#o.breaker.started();
    this.touch();
  }

  /** The link is gone; whether the pilot is, its job says. */
  away(row: PilotRow): void {
    const block = this.#blocks.get(row.block);
    if (block === undefined) return;
    if (this.#stopping) return;
    this.#expect(row);
    this.#own(
      this.#o.scheduler.status([block.job]).then(async (states) => {
        const state = states.get(block.job);
        if (state?.kind === 'ended') await this.#ended(block, state.why);
      }),
    );
  }

  #expect(row: PilotRow): void {
    this.#away.get(row.no)?.cancel();
    const timer = this.#o.clock.after(AWAY_MS, () => {
      this.#away.delete(row.no);
      if (this.#o.held() !== undefined) return this.#expect(row);
      const block = this.#blocks.get(row.block);
      if (block !== undefined) this.#own(this.#stop(block, `its pilot was silent for ${AWAY_MS / 1000} s`));
    });
    this.#away.set(row.no, timer);
  }

  /** Work came or ended: the idle time begins again. */
  touch(): void {
    const { clock, idleMs } = this.#o;
    this.#busyAt = clock.mono();
    // One timer for each idle period, not for each item: it looks again when it fires.
    this.#idle ??= clock.after(idleMs, () => this.#whenIdle());
  }

  views(): BlockView[] {
    const { engine, slots } = this.#o;
    let leased = 0;
    for (const work of engine.works.values()) for (const state of work.states) if (state === 2) leased += 1;
    return [...this.#blocks.values()].map(({ id, state, job, pilots }) => ({
      id,
      state,
      detail: job === '-' ? 'being submitted' : `at ${this.#o.scheduler.name}`,
      pilots: pilots.size,
      slots: pilots.size * slots,
      busy: Math.min(leased, pilots.size * slots),
    }));
  }

  /** Ends every block with everything in it. */
  async stop(): Promise<void> {
    this.leave();
    const { connected } = this.#o.pilots();
    const own = [...this.#blocks.values()].filter(
      // A fenced agent ends what dialled it: the rest is not known to be its own.
      ({ pilots }) => this.#o.held() !== 'fenced' || [...pilots].some((no) => connected.has(no)),
    );
    await Promise.all(own.map((block) => this.#stop(block, 'the endpoint stops')));
  }

  /** This process ends and its blocks go on. */
  leave(): void {
    this.#stopping = true;
    this.#idle?.cancel();
    for (const timer of this.#away.values()) timer.cancel();
    this.#away.clear();
  }

  async #start(): Promise<void> {
    const { scheduler, ledger, folder, clock, random, log } = this.#o;
    const id = toBase64Url(random.bytes(9));
    const place = join(folder, id);
    openPrivateFolder(place);
    await writeDurable(join(place, BLOCK_FILE), JSON.stringify(this.#fileOf(id)), 0o600);
    const block: Block = { id, job: '-', state: 'starting', pilots: new Set() };
    this.#blocks.set(id, block);
    await ledger.submit({ kind: 'meta', key: PREFIX + id, value: '-' });
    try {
      block.job = await scheduler.submit({ block: id, folder: place, shape: this.#o.shape });
    } catch (cause) {
      await this.#ended(block, `not submitted: ${(cause as Error).message}`);
      return;
    }
    await ledger.submit({ kind: 'meta', key: PREFIX + id, value: block.job });
    log.info({ block: id, startedAt: clock.now() }, 'block submitted');
  }

  #fileOf(block: string): BlockFile {
    const { signer, endpoint, socket, runner, env, containers, slots, graceS, clock, random } = this.#o;
    const tls = this.#o.doorplate();
    const iat = Math.floor(clock.now() / 1000);
    const jti = uuidv7(clock.now(), random.bytes(10));
    const token = signToken(
      'farfield-block+jwt',
      { v: 1, iss: signer().kid, block, life: 1, jti, iat, exp: iat + TOKEN_LIFE_S },
      signer(),
    );
    const door = tls === undefined ? {} : { tls };
    return { v: 1, block, agent: endpoint, socket, ...door, token, slots, graceS, runner, env, containers };
  }

  async #jobEnded(job: string, why: string): Promise<void> {
    for (const block of [...this.#blocks.values()]) if (block.job === job) await this.#ended(block, why);
  }

  /** The scheduler has forgotten the job: it is over unless a pilot of it says otherwise. */
  async #jobAbsent(job: string, why: string): Promise<void> {
    const { connected } = this.#o.pilots();
    for (const block of [...this.#blocks.values()])
      if (block.job === job && ![...block.pilots].some((no) => connected.has(no))) await this.#ended(block, why);
  }

  /** The block is gone: its leases go back, and its folder; a block that never said hello counts against the breaker. */
  async #ended(block: Block, why: string): Promise<void> {
    if (!this.#blocks.delete(block.id)) return;
    const { ledger, engine, breaker, pilots, log } = this.#o;
    const tail = this.#tail(block.id);
    log.info({ block: block.id, why, state: block.state }, 'block ended');
    if (block.state === 'starting' && !this.#stopping) breaker.failed(tail === '' ? why : tail);
    for (const row of [...pilots().rows.values()]) if (row.block === block.id) await this.#lose(row, why);
    await ledger.submit({ kind: 'meta', key: PREFIX + block.id, value: '' });
    if (block.state !== 'starting') rmSync(join(this.#o.folder, block.id), { recursive: true, force: true });
    engine.dispatch();
  }

  async #lose(row: PilotRow, why: string): Promise<void> {
    this.#away.get(row.no)?.cancel();
    this.#away.delete(row.no);
    await this.#o.engine.lost(row.no, `its pilot ended (${why})`);
    await this.#o.pilots().forget(row.no);
  }

  async #stop(block: Block, why: string): Promise<void> {
    block.state = 'draining';
    this.#o.pilots().stop(block.id, why, STOP_GRACE_S);
    if (block.job !== '-') await this.#o.scheduler.cancel(block.job, STOP_GRACE_S * 1000);
    await this.#ended(block, why);
  }

  #whenIdle(): void {
    this.#idle = undefined;
    const { clock, idleMs, engine } = this.#o;
    const quietMs = clock.mono() - this.#busyAt;
    if (quietMs < idleMs || engine.works.size > 0) {
      this.#idle = clock.after(Math.max(1, engine.works.size > 0 ? idleMs : idleMs - quietMs), () => this.#whenIdle());
      return;
    }
    for (const block of this.#blocks.values())
      if (block.state === 'running') this.#own(this.#stop(block, 'no work for a while'));
  }

  /** The last of what the site's own start-up printed; never a task's output, which does not go there. */
  #tail(block: string): string {
    try {
      return plain(readFileSync(this.#o.logFile(block)).subarray(-TAIL_BYTES).toString()).trim();
    } catch {
      return '';
    }
  }

  #own(work: Promise<void>): void {
    work.catch((error: unknown) => this.#o.log.error({ err: error }, 'a block could not be looked after'));
  }
}
