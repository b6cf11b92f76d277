/**
 * The pilot: what a node of a block runs, from the first hello to the farewell.
 *
 * Invariants
 *  Z1 An agent's crash ends nothing here: work goes on, outcomes wait, and the pilot dials until its grace is over.
 *  Z2 The block token is shown until one welcome came; from then on the key in memory is the only proof. It is never
 *     written anywhere.
 *  Z3 What the agent says about leases holds: those that it drops are stopped and never reported.
 *  Z4 A pilot that stops says so first: nothing is leased to it from then on, so nothing is handed back twice.
 *  Z5 A launch that is repeated starts nothing twice: an attempt is known by (key, attempt).
 */

import type { Clock, Timer } from '#base/clock.ts';
import type { FileDigests } from '#base/file-digests.ts';
import { signHello } from '#base/link/hello.ts';
import { type PilotMessage, pilotCodec } from '#base/link/messages.ts';
import { createOutbox, type Outbox } from '#base/link/outbox.ts';
import type { Dialler, Link } from '#base/link/seam.ts';
import { dialSession, type HelloOf, type Session, type SessionEnd, type WelcomeOf } from '#base/link/session.ts';
import { superviseLink } from '#base/link/supervisor.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { PROTOCOL } from '#kernel/limits.ts';
import type { NodeSize } from '#kernel/resources.ts';
import type { Signer } from '#kernel/sign.ts';
import type { BlockFile } from '#protos/block-file.ts';
import type { CancelLeases, GangGo, GangReady, HeldLease, Launch, Stop } from '#protos/generated/link.js';
import type { Gpus } from './gpus.ts';
import { type Prepared, prepareLaunch } from './launch.ts';
import { heldOf, type Lease, leaseId } from './lease.ts';
import { ANNOUNCE_AFTER_MS, FAREWELL_MS, FIRST_CONTACT_S, LOG_CHUNK_BYTES, PILOT_BACKOFF } from './limits.ts';
import type { PilotLogger } from './log.ts';
import { measuredOf } from './measured.ts';
import { createOutcomes, type Outcome, type Outcomes } from './outcomes.ts';
import { Pools } from './pools.ts';
import { cleanUp, failure, outcomeOf } from './results.ts';
import type { Runtime } from './runtimes/runtime.ts';
import type { ItemEnd, Slot } from './slot.ts';
import { type LaunchSpec, readSpec } from './spec.ts';
import { REPORT_MS, type Walltime } from './walltime.ts';

/** Everything that touches the machine: main.ts makes them, tests make others. */
export interface PilotParts {
  readonly block: BlockFile;
  /** Tried in order; the one that worked is tried first from then on. */
  readonly diallers: readonly Dialler[];
  /** Over a key that was made in this process and dies with it (Z2). */
  readonly signer: Signer;
  readonly clock: Clock;
  readonly random: Random;
  readonly digests: FileDigests;
  readonly runtime: (name: string) => Runtime | undefined;
  /** A slot's own folder: scratch files of one runner are never another's. */
  readonly scratchDir: (slot: number) => string;
  /** For inline arguments that a runner must read as files. */
  readonly spillDir: string;
  readonly node: string;
  readonly pid: number;
  /** Undefined: no end is known. */
  readonly walltime?: Walltime | undefined;
  /** Accelerators of this node that are ours. */
  readonly gpus?: Gpus | undefined;
  /** A port of this node where nobody listens. */
  readonly freePort: () => Promise<number>;
  /** Of this node, for the block; left out: nothing of it is known but the slots. */
  readonly size?: NodeSize | undefined;
  readonly log: PilotLogger;
}

interface Connected {
  readonly session: Session<PilotMessage>;
  readonly welcome: WelcomeOf<PilotMessage>;
}

/** A lease whose files are still being measured: it can be cancelled, and is held. */
interface Preparing {
  readonly preparing: HeldLease;
  cancelled: string | undefined;
}

export class Pilot {
  readonly #parts: PilotParts;
  readonly #pools: Pools;
  readonly #outcomes: Outcomes;
  readonly #outbox: Outbox<PilotMessage>;
  /** Held now: being checked, waiting or running. With the outcomes that no DoneAck came for, that is a hello's `held`. */
  readonly #leases = new Map<string, Lease | Preparing>();
  /** Leases that the agent dropped: their ends are nobody's business any more. */
  readonly #dropped = new Set<string>();
  readonly #end = new AbortController();
  /** By number, of this session: the numbers are the agent's and start anew with it. Leases keep the spec itself. */
  #specs = new Map<number, LaunchSpec>();
  #session: Session<PilotMessage> | undefined;
  #sessionEpoch = 0;
  #welcomed = false;
  /** Why, once it stops; and when what still runs is ended. */
  #stopping: string | undefined;
  #stopBy = Number.POSITIVE_INFINITY;
  #wallTimer: Timer | undefined;
  /** Why the last dial failed, where it did: every address with its own reason. */
  #trouble: string | undefined;
  #graceTimer: Timer | undefined;
  #announceTimer: Timer | undefined;
  /** Parts of gangs whose runner is there, and that the agent may not have heard of. */
  readonly #ready = new Map<string, GangReady>();
  /** Of stderr, since the start: logs come last, and what no link took is counted in the next one that goes. */
  #droppedLogBytes = 0;

  constructor(parts: PilotParts) {
    this.#parts = parts;
    this.#outcomes = createOutcomes(({ no, message, bytes }) =>
      this.#outbox.put({ no, message: { done: message }, bytes }),
    );
    this.#outbox = createOutbox<PilotMessage>({
      load: (after, limit) =>
        Promise.resolve(this.#outcomes.after(after, limit).map((e) => ({ ...e, message: { done: e.message } }))),
      onError: (error) => parts.log.error(error, 'outcomes could not be sent'),
    });
    this.#pools = new Pools({
      ...parts,
      slots: parts.block.slots,
      onItem: (lease, end, slot) => this.#itemEnded(lease, end, slot),
      onProgress: (lease, done, total, perSecond) => {
        this.#session?.send({ progress: { ...heldOf(lease), done, total, perSecond } }, 'logs');
      },
      onLog: (lease, bytes) => this.#forwardLog(lease, bytes),
      onReady: (lease) => this.#gangReady(lease),
    });
  }

  /** Whether an agent ever took this pilot. */
  get welcomed(): boolean {
    return this.#welcomed;
  }

  /** Lives until the agent stops it, refuses it for good, or stays away for the grace; resolves with why. */
  async run(): Promise<string> {
    const { block, clock, random, diallers, log } = this.#parts;
    this.#startGrace();
    this.#armWalltime();
    const fatal = await superviseLink<PilotMessage, Connected>(
      {
        diallers,
        connect: (link) => this.#connect(link),
        serve: (connected) => this.#serve(connected),
        clock,
        random,
        backoff: PILOT_BACKOFF,
        // The default of what is fatal fits: a token that was redeemed by another, a block that is over, a version that
        // this pilot does not speak. None of them gets better by dialling, and the node is worth more than the attempt.
        onOutcome: (outcome) => {
          const reason = outcome.kind === 'served' ? undefined : outcome.reason;
          // An agent that is away is dialled every two seconds: the same reason is said once.
          if (reason === undefined || reason !== this.#trouble)
            log.info({ outcome: outcome.kind, ...(reason === undefined ? {} : { reason }) }, 'link ended');
          this.#trouble = reason;
        },
      },
      this.#end.signal,
    );
    this.#graceTimer?.cancel();
    this.#announceTimer?.cancel();
    this.#wallTimer?.cancel();
    const why = fatal === undefined ? String(this.#end.signal.reason) : `${fatal.code}: ${fatal.reason}`;
    await this.#pools.kill(new FarfieldError('E_UNAVAILABLE', `the pilot of block ${block.block} ended`));
    return why;
  }

  /**
   * Hands back what was not started, lets what runs finish for `graceMs`, then ends it; outcomes still go out where there is
   * an agent. Said again, it can only shorten the grace.
   */
  async stop(reason: string, graceMs: number): Promise<void> {
    const { clock, log } = this.#parts;
    this.#stopBy = Math.min(this.#stopBy, clock.mono() + graceMs);
    if (this.#stopping !== undefined) return;
    this.#stopping = reason;
    log.info({ reason, graceMs }, 'stopping');
    this.#tellDraining();
    const why = new FarfieldError('E_UNAVAILABLE', `the pilot stops: ${reason}`);
    this.#pools.close(why);
    // Looked at and not signalled: it happens once in a pilot's life, and 20 ms more do not matter then.
    while (this.#leases.size > 0 && clock.mono() < this.#stopBy) await clock.sleep(20);
    await this.#pools.kill(why);
    // Outcomes that nobody acknowledges in time are lost with this process: the agent knows the block's end, and starts
    // those attempts again without charging them.
    const farewell = clock.mono() + FAREWELL_MS;
    while ((this.#outcomes.size > 0 || this.#leases.size > 0) && this.#session !== undefined && clock.mono() < farewell)
      await clock.sleep(20);
    this.#end.abort(reason);
  }

  /** Z4. Also to an agent that comes back meanwhile. */
  #tellDraining(): void {
    if (this.#stopping === undefined) return;
    const leftS = Math.max(0, Math.ceil((this.#stopBy - this.#parts.clock.mono()) / 1000));
    this.#session?.send({ draining: { reason: this.#stopping, leftS } }, 'control');
  }

  /** Until the job's end; undefined where none is known. */
  #leftMs(): number | undefined {
    const { walltime, clock } = this.#parts;
    return walltime === undefined ? undefined : Math.max(0, walltime.endsAtMs - clock.now());
  }

  #armWalltime(): void {
    const { walltime, clock, log } = this.#parts;
    const leftMs = this.#leftMs();
    if (walltime === undefined || leftMs === undefined) return;
    this.#wallTimer = clock.after(Math.max(0, leftMs - walltime.warnMs), () => {
      const graceMs = Math.max(0, (this.#leftMs() ?? 0) - REPORT_MS);
      this.stop('the walltime of its block is nearly over', graceMs).catch((error: unknown) =>
        log.error(error, 'the stop failed'),
      );
    });
  }

  #startGrace(): void {
    const { block, clock } = this.#parts;
    this.#graceTimer?.cancel();
    const graceS = this.#welcomed ? block.graceS : Math.min(block.graceS, FIRST_CONTACT_S);
    this.#graceTimer = clock.after(graceS * 1000, () => {
      const tried = this.#trouble === undefined ? '' : `; tried ${this.#trouble}`;
      this.#end.abort(`no agent for ${graceS} s${tried}`);
    });
  }

  async #connect(link: Link): Promise<Connected> {
    const { block, clock, random, signer } = this.#parts;
    return dialSession<PilotMessage>({
      link,
      codec: pilotCodec,
      clock,
      acceptor: block.agent,
      hello: async (challenge): Promise<HelloOf<PilotMessage>> => ({
        token: signHello(
          {
            challenge,
            subject: block.block,
            protocol: PROTOCOL,
            sessionEpoch: this.#sessionEpoch,
            nowMs: clock.now(),
            random,
          },
          signer,
        ),
        blockToken: this.#welcomed ? '' : block.token,
        pilotJwk: JSON.stringify(signer.jwk),
        held: this.#held(),
        node: this.#parts.node,
        pid: this.#parts.pid,
        slots: block.slots,
        // 0 would say that there is no end.
        leftS: this.#parts.walltime === undefined ? 0 : Math.max(1, Math.floor((this.#leftMs() ?? 0) / 1000)),
        gpus: this.#parts.gpus?.names.length ?? 0,
        cores: this.#parts.size?.cores ?? 0,
        memMib: this.#parts.size?.memMiB ?? 0,
        accelerator: this.#parts.gpus?.vendor ?? '',
        gangs: true,
        protocolMin: PROTOCOL.min,
        protocolMax: PROTOCOL.max,
      }),
    });
  }

  /** What the agent must know before it hands out anything anew; it answers with what to drop. */
  #held(): HeldLease[] {
    // An outcome between two states would be in neither list.
    this.#outcomes.flush();
    const live = [...this.#leases.values()].map((lease) => ('preparing' in lease ? lease.preparing : heldOf(lease)));
    return [...live, ...this.#outcomes.unacknowledged()];
  }

  async #serve({ session, welcome }: Connected): Promise<SessionEnd> {
    this.#graceTimer?.cancel();
    this.#session = session;
    this.#welcomed = true;
    this.#trouble = undefined;
    this.#sessionEpoch = welcome.sessionEpoch;
    this.#specs = new Map();
    // Running states are not kept by anybody: a new session hears them anew.
    for (const lease of this.#leases.values()) if (!('preparing' in lease)) lease.announced = '';
    for (const dropped of welcome.drop) this.#drop(dropped);
    this.#tellDraining();
    // What was said in an earlier session may be lost, and so may be its answer.
    for (const ready of this.#ready.values()) session.send({ gangReady: ready });
    this.#outbox.attach(session);
    try {
      return await session.serve((messages) => this.#handle(messages));
    } finally {
      this.#session = undefined;
      this.#outbox.detach();
      this.#startGrace();
    }
  }

  /** Returns at once, always: what takes time (hashing, runners) goes on beside, so a cancel is never behind it. */
  #handle(messages: readonly PilotMessage[]): void {
    for (const message of messages) {
      if (message.launch !== undefined) this.#launch(message.launch);
      else if (message.doneAck !== undefined) {
        this.#outcomes.acked(message.doneAck.doneNo);
        this.#outbox.acked([message.doneAck.doneNo]);
      } else if (message.spec !== undefined) this.#specs.set(message.spec.specNo, readSpec(message.spec));
      else if (message.cancel !== undefined) this.#cancel(message.cancel);
      else if (message.gangGo !== undefined) this.#gangGo(message.gangGo);
      else if (message.stop !== undefined) this.#stopAsTold(message.stop);
      else throw new FarfieldError('E_PROTOCOL', `a pilot does not take ${message.body ?? 'an unknown message'}`);
    }
  }

  #stopAsTold(stop: Stop): void {
    this.stop(stop.reason, stop.graceS * 1000).catch((error: unknown) =>
      this.#parts.log.error(error, 'the stop failed'),
    );
  }

  #launch(launch: Launch): void {
    const spec = this.#specs.get(launch.specNo);
    if (spec === undefined)
      throw new FarfieldError('E_PROTOCOL', `a launch for spec ${launch.specNo}, which was not said in this session`);
    const { digests, spillDir, clock } = this.#parts;
    // Z5.
    const isNew = (id: string): boolean => !this.#leases.has(id) && !this.#outcomes.has(id);
    const prepared = prepareLaunch(launch, spec, { digests, spillDir, nowMono: clock.mono() }, isNew);
    for (const one of prepared) {
      if (!(one.work instanceof Promise)) {
        this.#prepared(one.work);
        continue;
      }
      const preparing: Preparing = { preparing: one.held, cancelled: undefined };
      this.#leases.set(one.id, preparing);
      void one.work.then((done) => this.#prepared(done, preparing));
    }
    this.#announceTimer ??= clock.after(ANNOUNCE_AFTER_MS, () => this.#announce());
  }

  #prepared(prepared: Prepared, preparing?: Preparing): void {
    if (prepared.kind === 'refused') {
      const { refused } = prepared;
      const id = leaseId(refused.key, refused.attempt);
      this.#leases.delete(id);
      if (!this.#dropped.delete(id))
        this.#outcomes.add(failure(refused, refused.error, true, measuredOf(this.#parts, refused.spec)));
      return;
    }
    const { lease } = prepared;
    this.#leases.set(lease.id, lease);
    if (preparing?.cancelled === undefined) this.#pools.add(lease);
    else
      this.#itemEnded(
        lease,
        { kind: 'stopped', order: { kind: 'cancel', reason: preparing.cancelled }, left: [] },
        undefined,
      );
  }

  /** The first node's port is the rendezvous of all; the others need none. */
  #gangReady(lease: Lease): void {
    const port = lease.gang?.nodeRank === 0 ? this.#parts.freePort() : Promise.resolve(0);
    port.then(
      (free) => {
        if (!this.#leases.has(lease.id)) return;
        const ready = { lease: heldOf(lease), port: free };
        this.#ready.set(lease.id, ready);
        this.#session?.send({ gangReady: ready });
      },
      (reason: unknown) => this.#stopLease(lease.id, `no port is free: ${FarfieldError.from(reason).message}`),
    );
  }

  #gangGo({ lease: held, address }: GangGo): void {
    const lease = held === undefined ? undefined : this.#leases.get(leaseId(held.key, held.attempt));
    if (lease === undefined || 'preparing' in lease) return;
    this.#ready.delete(lease.id);
    this.#pools.go(lease, address);
  }

  #cancel({ leases, reason }: CancelLeases): void {
    for (const { key, attempt } of leases) this.#stopLease(leaseId(key, attempt), reason);
  }

  /** Z3. Outcomes of dropped leases that were sealed already are sent again all the same; the agent refuses them by epoch. */
  #drop({ key, attempt }: HeldLease): void {
    const id = leaseId(key, attempt);
    if (!this.#leases.has(id)) return;
    this.#dropped.add(id);
    this.#stopLease(id, 'it is no longer this pilot’s');
  }

  #stopLease(id: string, reason: string): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    if ('preparing' in lease) lease.cancelled = reason;
    else this.#pools.stop(lease, { kind: 'cancel', reason });
  }

  #itemEnded(lease: Lease, end: ItemEnd, slot: Slot | undefined): void {
    const meas = measuredOf(this.#parts, lease.spec, lease, slot);
    const outcome = outcomeOf(lease, end, meas, this.#parts.digests);
    if (outcome instanceof Promise) void outcome.then((settled) => this.#settle(lease, settled));
    else this.#settle(lease, outcome);
  }

  /** The end of a lease here. From now on its outcome is what is held. */
  #settle(lease: Lease, outcome: Outcome): void {
    this.#leases.delete(lease.id);
    this.#ready.delete(lease.id);
    if (!this.#dropped.delete(lease.id)) this.#outcomes.add(outcome);
    if (lease.spilled.length === 0 && !lease.hasOutDir) return;
    cleanUp(lease, outcome).catch((error: unknown) => this.#parts.log.error(error, 'a folder could not be removed'));
  }

  /** Tells what waits, starts or runs, for items that take long enough for somebody to wonder. */
  #announce(): void {
    this.#announceTimer = undefined;
    const old = this.#parts.clock.mono() - ANNOUNCE_AFTER_MS;
    const groups = new Map<string, { keys: number[]; attempts: number[]; leaseEpoch: number; state: string }>();
    for (const lease of this.#leases.values()) {
      if ('preparing' in lease || lease.receivedAt > old) continue;
      const state = this.#pools.stateOf(lease);
      if (lease.announced === state) continue;
      lease.announced = state;
      const name = `${lease.leaseEpoch} ${state}`;
      const group = groups.get(name) ?? { keys: [], attempts: [], leaseEpoch: lease.leaseEpoch, state };
      groups.set(name, group);
      group.keys.push(lease.key);
      group.attempts.push(lease.attempt);
    }
    for (const started of groups.values()) this.#session?.send({ started }, 'logs');
    if (this.#leases.size > 0) this.#announceTimer = this.#parts.clock.after(ANNOUNCE_AFTER_MS, () => this.#announce());
  }

  /** As it came, uncleaned: whoever shows it cleans it, and whoever keeps it keeps the truth. */
  #forwardLog(lease: Lease | undefined, bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += LOG_CHUNK_BYTES) {
      const data = bytes.subarray(at, at + LOG_CHUNK_BYTES);
      const log = { key: lease?.key ?? 0, attempt: lease?.attempt ?? 0, data, dropped: this.#droppedLogBytes };
      if (this.#session?.send({ log }, 'logs') !== true) this.#droppedLogBytes += data.length;
    }
  }
}
