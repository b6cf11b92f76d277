/**
 * One endpoint's agent, wired: ledger, policy, engine, pilots, blocks, and the link to the broker.
 *
 * Invariants
 *  G1 Start: ledger first, then pilots may redial, then deliveries are taken. So what was promised in an earlier life is known
 *     before anything new is.
 *  G2 A ledger that does not commit ends the process: nothing may be acknowledged from memory.
 *  G3 `stop` without blocks leaves pilots running; the next life adopts them.
 */
import { join } from 'node:path';
import type { Clock, Timer } from '#base/clock.ts';
import type { Dialler } from '#base/link/seam.ts';
import type { LinkState } from '#base/link/supervisor.ts';
import type { Logger } from '#base/log.ts';
import type { Egress } from '#base/proxy.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Refusal } from '#kernel/refusal.ts';
import { openAccessDesk } from './admission/access.ts';
import { AdmissionDesk } from './admission/admit.ts';
import { createLaunchCheck, missingModel } from './admission/launch.ts';
import { type Ledger, type LedgerAnswer, type LedgerEpoch, openLedger } from './admission/ledger.ts';
import { patientLedger } from './admission/patient.ts';
import { openPolicy, type PolicySource } from './admission/policy.ts';
import { countRows } from './admission/rows.ts';
import { openUsage, type Usage } from './admission/usage.ts';
import { type Blobs, createBlobs } from './blobs.ts';
import type { Blocks } from './blocks/blocks.ts';
import { type Breaker, createBreaker } from './blocks/breaker.ts';
import { type Doors, openDoors } from './blocks/doors.ts';
import { createGroups, type Groups } from './blocks/groups.ts';
import { openBlocks } from './blocks/open.ts';
import { openPilots, type Pilots } from './blocks/pilots.ts';
import { createJumpLook } from './clock-jumps.ts';
import type { ResolvedAgentConfig } from './config.ts';
import type { AgentControl, AgentStatus, WhyAnswer } from './control.ts';
import { brakesOf, type Drain, openDrain, opennessOf } from './drain.ts';
import { createFileStage } from './files.ts';
import type { BrokerAddress } from './identity/broker.ts';
import type { AgentFolder } from './identity/folder.ts';
import { type IdentitySource, signStatus } from './identity/identity.ts';
import { BrokerLink, type LinkEnd } from './link/broker-link.ts';
import { createRuleOf } from './rule-of.ts';
import type { Scheduler } from './schedulers/scheduler.ts';
import { sweepSpool } from './spool.ts';
import { describeAgent } from './status.ts';
import { createTelling } from './telling.ts';
import type { AgentWatch } from './watch.ts';
import { leasedOf, whyOf } from './why.ts';
import { Engine } from './work/engine.ts';
import { restoreWork, type Work } from './work/mirror.ts';
import { createSpecs } from './work/specs.ts';

export interface AgentOptions {
  readonly folder: AgentFolder;
  readonly config: ResolvedAgentConfig;
  readonly identity: IdentitySource;
  readonly broker: BrokerAddress;
  readonly diallers: readonly Dialler[];
  /** The way to the broker's HTTP port, where it is not a direct one. */
  readonly egress?: Egress;
  readonly scheduler: Scheduler;
  /** Folders of models by digest, measured at the start. */
  readonly models: ReadonlyMap<string, string>;
  readonly runner: { readonly command: string; readonly args: readonly string[] };
  readonly logFile: (block: string) => string;
  readonly uid: number;
  readonly hostname: string;
  readonly pid: number;
  /** Counters and the audit log. */
  readonly watch?: AgentWatch;
  /** Work has been done and nothing is open: the time to give memory back. */
  readonly onIdle?: () => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

const RUNTIMES = ['process'];
/** A clock that went forward by more than this between two looks is wrong, or this machine slept: an admin says which. */
const JUMP_MS = 3600_000;
const LOOK_MS = 30_000;
/** Old rows are looked for this often; a row too many for half an hour does no harm. */
const PURGE_EVERY_LOOKS = 60;

export class Agent implements AgentControl {
  readonly #o: AgentOptions;
  readonly #since: number;
  readonly #stop = new AbortController();
  readonly #ended = Promise.withResolvers<LinkEnd | undefined>();
  readonly #breaker: Breaker;
  /** Commits of the ledger when `onIdle` was last called. */
  #rested = -1;
  #ledger!: Ledger;
  #policy!: PolicySource;
  #blobs!: Blobs;
  #engine!: Engine;
  #usage!: Usage;
  #drain!: Drain;
  #launchCheck!: (work: Work) => Refusal | undefined;
  #groups!: Groups;
  #doors!: Doors;
  #pilots!: Pilots;
  #blocks!: Blocks;
  #link!: BrokerLink;
  #epoch: LedgerEpoch = { n: 0, since: 0 };
  #linkState: LinkState = { kind: 'waiting', ms: 0, failures: 0, reason: 'not dialled yet' };
  /** Until the broker knows us, or cannot be asked (blocks.ts, K6). */
  #asking = true;
  #clockProblem: string | undefined;
  readonly #ruleOf = createRuleOf(() => this.#policy);
  #full: string | undefined;
  #look: Timer | undefined;
  #looks = 0;
  #jumpMs!: () => number;
  readonly #telling = createTelling(
    () => this.#engine,
    () => this.#link,
  );
  readonly #closers: (() => Promise<void>)[] = [];

  private constructor(options: AgentOptions) {
    this.#o = options;
    this.#since = options.clock.now();
    this.#breaker = createBreaker((reason) => this.#tellPaused(reason));
  }

  static async start(options: AgentOptions): Promise<Agent> {
    const agent = new Agent(options);
    await agent.#start();
    return agent;
  }

  /** Settles when the agent has ended: with what a person must mend, if that is why. */
  get ended(): Promise<LinkEnd | undefined> {
    return this.#ended.promise;
  }

  async #start(): Promise<void> {
    const { folder, config, identity, clock, log, uid } = this.#o;
    const { endpoint } = identity.current;
    const store = await openLedger({
      file: folder.ledger,
      ...(config.ledgerMaxPages > 0 ? { maxPageCount: config.ledgerMaxPages } : {}),
    });
    const patient = patientLedger(store, {
      clock,
      onFull: (why) => {
        log.error({ why }, 'the ledger is full; nothing is admitted until there is room');
        this.#full = `the ledger is full: ${why}`;
        this.#statusChanged();
      },
      onRoom: () => {
        log.info({}, 'the ledger has room again');
        this.#full = undefined;
        this.#statusChanged();
      },
    });
    this.#ledger = this.#o.watch?.ledger(patient) ?? patient;
    void this.#ledger.ended.then((reason) => {
      if (reason !== undefined) this.#broken(reason);
    });
    const meta = await this.#openEpoch();
    const [nowS, seenS] = [() => clock.now() / 1000, Number(meta.meta.wall ?? 0) / 1000];
    const onChange = (): void => this.#policyChanged();
    this.#policy = openPolicy({ path: folder.policy, endpoint, uid, nowS, seenS, log, onChange });
    this.#drain = openDrain(this.#ledger, meta.meta, nowS);
    this.#usage = await openUsage({
      ledger: this.#ledger,
      clock,
      nowS,
      onError: (error) => log.error({ err: error }, 'node-hours not written down'),
    });
    this.#wireWork(meta.leaseEpoch);
    await this.#restore();
    await this.#openDoors();
    await this.#wirePilots();
    await this.#blocks.adopt(meta.meta);
    const desk = new AdmissionDesk({
      ledger: this.#ledger,
      engine: this.#engine,
      policy: () => this.#policy.current,
      endpoint,
      signer: () => identity.current.signer,
      clock,
      log,
      retentionS: config.retentionS,
      ledgerEpoch: () => this.#epoch,
      newestJti: meta.newestJti,
      closed: () => this.#closed(),
      allowOlderEpoch: config.allowOlderEpoch,
      usedNodeHours: (rule, principal) => this.#usage.usedToday(rule, principal),
      usedByDelegation: (hash) => this.#usage.usedByDelegation(hash),
      onPacksAgain: () => this.#link.sendAgain(),
      ...(this.#o.watch === undefined ? {} : { onDecided: this.#o.watch.decided }),
    });
    this.#wireLink(desk, Number(meta.meta.sessionEpoch ?? 0));
    this.#jumpMs = createJumpLook(clock);
    this.#look = clock.after(LOOK_MS, () => this.#lookAround());
    this.#engine.dispatch();
    void this.#link.run(this.#stop.signal).then((end) => {
      if (end !== undefined) log.error({ code: end.code, reason: end.reason }, 'the broker refuses this endpoint');
      if (end !== undefined) this.#ended.resolve(end);
    });
  }

  async #openEpoch(): Promise<Extract<LedgerAnswer, { kind: 'meta' }>> {
    const answer = await this.#ledger.query({ kind: 'meta' });
    if (answer.kind !== 'meta') throw new FarfieldError('E_INTERNAL', 'the ledger answered something else');
    this.#epoch = answer.epoch;
    if (answer.epoch.n === 0) {
      // A ledger without an epoch is a new one: tickets from before it may have run under one that was lost.
      const result = await this.#ledger.submit({ kind: 'newEpoch', since: Math.floor(this.#o.clock.now() / 1000) });
      if (result.kind === 'epoch') this.#epoch = result.epoch;
    }
    const wall = Number(answer.meta.wall ?? 0);
    if (wall - this.#o.clock.now() > JUMP_MS)
      this.#clockProblem = `the clock is ${Math.round((wall - this.#o.clock.now()) / 60_000)} minutes behind what this endpoint saw before`;
    return answer;
  }

  #wireWork(leaseEpoch: number): void {
    const { folder, config, identity, broker, models, uid, clock, random, log } = this.#o;
    const signer = (): IdentitySource['current']['signer'] => identity.current.signer;
    this.#blobs = createBlobs({
      ...broker,
      ...(this.#o.egress === undefined ? {} : { egress: this.#o.egress }),
      signer,
      cache: folder.blobs,
      spool: folder.spool,
      cacheBytes: config.blobCacheBytes,
      clock,
      random,
    });
    const stage = createFileStage({
      blobs: this.#blobs,
      readable: (work) => this.#ruleOf(work)?.read ?? [],
    });
    this.#groups = createGroups({
      base: config.blocks.shape,
      uid,
      hasAccounts: config.blocks.scheduler !== 'local',
    });
    const specs = createSpecs({
      uid,
      groupOf: (work) => this.#groups.of(work).key,
      shareModelRunners: config.shareModelRunners,
      threadsPerSlot: config.threadsPerSlot,
      modelRoot: (digest) => models.get(digest),
    });
    this.#parts = { specs, filesOf: stage.filesOf };
    this.#launchCheck = createLaunchCheck(() => this.#policy.current, clock);
    const rows = { find: (id: string) => this.#engine.find(id), add: this.#usage.addRows };
    this.#engine = new Engine({
      ledger: countRows(this.#ledger, rows),
      endpoint: identity.current.endpoint,
      signer,
      specs,
      clock,
      random,
      log,
      leaseEpoch,
      nodesPerBlock: config.blocks.shape.nodes,
      launchRefusal: (work) => this.#launchRefusal(work),
      stage: stage.stage,
      held: () => this.#drain.current !== undefined,
      onDemand: () => this.#demand(),
      onState: (work, items, state, detail) => this.#link?.running(work, items, state, detail),
      onPack: (no, pack, bytes, blobs) => {
        this.#blocks.touch();
        this.#link.onPack(no, pack, bytes, blobs);
      },
      onUsed: (work, ms, place) => this.#usage.add(work, this.#ruleOf(work), ms, place),
      onBroken: (error) => this.#broken(error),
    });
  }

  #parts!: {
    readonly specs: ReturnType<typeof createSpecs>;
    readonly filesOf: ReturnType<typeof createFileStage>['filesOf'];
  };

  async #restore(): Promise<void> {
    const answer = await this.#ledger.query({ kind: 'open' });
    if (answer.kind !== 'open') return;
    this.#blocks = this.#createBlocks();
    for (const open of answer.tickets) {
      const work = restoreWork(open, this.#policy.current);
      this.#engine.keep(work, work.open);
    }
    await this.#sweepSpool();
    this.#engine.resume();
  }

  /** Before pilots redial and results are sent: nobody adds to the spool meanwhile. */
  async #sweepSpool(): Promise<void> {
    const { folder, log } = this.#o;
    const answer = await this.#ledger.query({ kind: 'openBlobs' });
    if (answer.kind !== 'openBlobs') return;
    const files = await sweepSpool(folder.spool, {
      named: answer.blobs,
      leased: leasedOf(this.#engine.works.values()),
    });
    if (files > 0) log.info({ files }, 'results that nobody names any more removed from the spool');
  }

  #createBlocks(): Blocks {
    const { folder, config, identity, scheduler, runner, logFile, clock, random, log } = this.#o;
    return openBlocks({
      ...{ folder, config, identity, scheduler, runner, logFile, clock, random, log },
      ledger: this.#ledger,
      engine: this.#engine,
      breaker: this.#breaker,
      pilots: () => this.#pilots,
      groups: this.#groups,
      doorplate: () => this.#doors.plate(),
      userOf: ({ chain, token }) =>
        this.#policy.current.authorities.pinned.get(chain.principal)?.name ?? token.claims.sub.id,
      onWaiting: (group, text) => this.#telling.waiting(text, (work) => this.#groups.of(work).key === group.key),
      held: () => (this.#link?.fenced !== undefined ? 'fenced' : this.#asking ? 'asking' : undefined),
    });
  }

  async #openDoors(): Promise<void> {
    const { folder, config, clock, random, hostname, log } = this.#o;
    const doors = await openDoors({
      socket: folder.pilots,
      listen: config.blocks.listen,
      file: folder.pilotsDoor,
      hostname,
      nowMs: clock.now(),
      random,
    });
    this.#doors = doors;
    this.#closers.push(async () => doors[Symbol.asyncDispose]());
    const plate = doors.plate();
    if (plate !== undefined) log.info({ addresses: plate.addresses }, 'pilots dial here');
  }

  async #wirePilots(): Promise<void> {
    const { folder, config, identity, clock, random, log } = this.#o;
    this.#pilots = await openPilots({
      acceptors: this.#doors.acceptors,
      ledger: this.#ledger,
      engine: this.#engine,
      ...this.#parts,
      endpoint: identity.current.endpoint,
      signer: () => identity.current.signer,
      clock,
      random,
      log,
      spool: folder.spool,
      outDirs: join(folder.spool, 'out'),
      writable: (work) => this.#ruleOf(work)?.write ?? [],
      measured: this.#ruleOf.measured,
      perCall: config.blocks.perCall,
      blocks: () => this.#blocks,
      onConnected: () => this.#statusChanged(),
      onProgress: this.#telling.progress,
      onLog: this.#telling.logged,
    });
  }

  #wireLink(desk: AdmissionDesk, sessionEpoch: number): void {
    const { config, identity, broker, diallers, clock, random, log } = this.#o;
    this.#link = new BrokerLink({
      diallers,
      brokerId: broker.brokerId,
      identity: () => identity.current,
      status: () => this.#statusToken(),
      ledger: this.#ledger,
      engine: this.#engine,
      desk,
      access: openAccessDesk(this.#o, this.#policy),
      blobs: this.#blobs,
      slots: config.blocks.slots * config.blocks.shape.nodes * config.blocks.maxBlocks,
      clock,
      random,
      log,
      onState: (state) => {
        this.#linkState = state;
        if (state.kind === 'dialling' || this.#link.fenced !== undefined) return;
        const began = this.#asking;
        this.#asking = false;
        if (began) this.#blocks.begin();
        if (began || state.kind === 'live') this.#engine.dispatch();
      },
      trusts: (principal) => this.#policy.current.authorities.pinned.has(principal),
      closed: () => this.#closed(),
      sessionEpoch,
      keepSessionEpoch: async (epoch) => {
        await this.#ledger.submit({ kind: 'meta', key: 'sessionEpoch', value: String(epoch) });
      },
    });
  }

  #demand(): void {
    this.#blocks?.demand();
    if (this.#breaker.reason !== undefined) this.#tellPaused(this.#breaker.reason);
  }

  /** Policy, revocation, node-hours and models as of now: asked at each launch. */
  #launchRefusal(work: Work): Refusal | undefined {
    return (
      this.#launchCheck(work) ?? this.#usage.refusal(work, this.#ruleOf(work)) ?? missingModel(work, this.#o.models)
    );
  }

  /** Everyone who waits hears why nothing starts. */
  #tellPaused(reason: string): void {
    this.#telling.waiting(`the endpoint is paused: ${reason}`);
    this.#statusChanged();
  }

  #closed(): Refusal | undefined {
    const pause = (code: 'E_CLOCK' | 'E_PAUSED', reason: string): Refusal => ({
      code,
      step: 'closed',
      message: `admission is paused: ${reason}`,
    });
    if (this.#clockProblem !== undefined) return pause('E_CLOCK', this.#clockProblem);
    const why = this.#drain.sentence ?? this.#full;
    return why === undefined ? undefined : pause('E_PAUSED', why);
  }

  /** What a reload revokes ends now, unless the site lets it finish. */
  #policyChanged(): void {
    this.#o.watch?.audit.note('reload', { policy: this.#policy.current.digest });
    if (this.#policy.current.onRevoke === 'kill') this.#engine.revoke(this.#launchCheck);
    this.#engine.dispatch();
    this.#link?.tellAccess();
    this.#statusChanged();
  }

  /** Clock jumps, work that may not start any more, rows that nobody will ask for. */
  #lookAround(): void {
    const { clock, log } = this.#o;
    const now = clock.now();
    // Asking is what ends a grant whose time is over.
    void this.#policy.current;
    const jumpMs = this.#jumpMs();
    if (jumpMs > JUMP_MS) {
      this.#clockProblem = `the clock jumped forward by ${Math.round(jumpMs / 60_000)} minutes; check it, then run \`farfield endpoint resume\``;
      log.error({ jumpMs }, 'clock jumped; admission is paused');
      this.#statusChanged();
    } else if (this.#clockProblem === undefined) this.#engine.expire(now);
    this.#looks += 1;
    // Queries come at a start and after a reconnect; between those nobody needs the thread that answers them.
    this.#ledger.rest();
    const { commits } = this.#ledger.stats();
    if (this.#engine.open === 0 && commits !== this.#rested) {
      this.#rested = commits;
      this.#o.onIdle?.();
    }
    if (this.#looks % PURGE_EVERY_LOOKS === 0 && this.#clockProblem === undefined) {
      this.#ledger
        .submit({ kind: 'purge', nowS: Math.floor(now / 1000) })
        .catch((error: unknown) => log.warn({ err: error }, 'old rows stay for now'));
    }
    this.#look = clock.after(LOOK_MS, () => this.#lookAround());
  }

  #statusToken(): string {
    const { identity, clock } = this.#o;
    const { state, reason } = this.#openness();
    const facts = {
      policy: this.#policy.current.digest,
      ledgerEpoch: this.#epoch,
      runtimes: RUNTIMES,
      state,
      ...(reason === undefined ? {} : { reason }),
    };
    return signStatus(identity.current, facts, Math.floor(clock.now() / 1000));
  }

  #openness(): { state: AgentStatus['state']; reason?: string } {
    return opennessOf(this.#link?.fenced ?? this.#clockProblem ?? this.#full ?? this.#breaker.reason, this.#drain);
  }

  #statusChanged(): void {
    this.#link?.statusChanged();
  }

  #broken(error: unknown): void {
    this.#o.log.fatal(
      { err: error },
      'the ledger does not commit; the agent ends so that nothing is promised from memory',
    );
    this.#ended.resolve({ code: 'E_DISK_FULL', reason: FarfieldError.from(error).message });
  }

  // ---- control ----

  status(): AgentStatus {
    const { identity, pid, broker } = this.#o;
    return describeAgent({
      identity: identity.current,
      pid,
      sinceMs: this.#since,
      openness: this.#openness(),
      brakes: brakesOf(this.#drain, this.#breaker),
      policy: this.#policy,
      link: this.#linkState,
      broker: broker.url,
      ledger: { epoch: this.#epoch, commits: this.#ledger.stats().commits, packsToSend: this.#link.unsent },
      engine: this.#engine,
      blocks: this.#blocks.views(),
    });
  }

  async stop(options: { readonly blocks: boolean }): Promise<void> {
    this.#o.watch?.audit.note('stop', { blocks: options.blocks });
    this.#look?.cancel();
    if (options.blocks) await this.#blocks.stop();
    else this.#blocks.leave();
    this.#stop.abort();
    for (const close of this.#closers) await close();
    await this.#pilots.ended;
    await this.#usage.close();
    await this.#ledger.close();
    await this.#blobs[Symbol.asyncDispose]();
    this.#policy[Symbol.dispose]();
    this.#ended.resolve(undefined);
  }

  async reload(): Promise<void> {
    this.#o.identity.reload(Math.floor(this.#o.clock.now() / 1000));
    this.#policy.reload();
    this.#link?.tellAccess();
    this.#statusChanged();
  }

  async drain(reason: string): Promise<void> {
    await this.#drain.begin(reason);
    this.#o.watch?.audit.note('drain', { reason });
    this.#telling.waiting(this.#drain.sentence ?? '');
    this.#statusChanged();
  }

  why(text: string): WhyAnswer | { readonly ambiguous: readonly string[] } | undefined {
    return whyOf(
      {
        works: this.#engine.works.values(),
        refusalOf: (work) => this.#launchRefusal(work),
        waitsFor: (work) => this.#engine.waitsFor(work),
        status: this.status(),
        blocks: this.#blocks.views(),
        trouble: this.#blocks.trouble,
        pilots: this.#pilots,
        nowMono: this.#o.clock.mono(),
      },
      text,
    );
  }

  async probe(): Promise<void> {
    await this.#ledger.submit({ kind: 'probe' });
  }

  async resume(): Promise<void> {
    this.#clockProblem = undefined;
    await this.#drain.end();
    this.#o.watch?.audit.note('resume', {});
    this.#breaker.reset();
    this.#statusChanged();
    this.#engine.dispatch();
  }
}
