/**
 * The agent's side of the pilot links: who may connect, what they are told, what they say.
 *
 * Invariants
 *  B1 A block token is redeemed once by each node, in a commit (tokens.ts), and binds the key that the pilot made in its memory; that key alone
 *     reconnects. The pilot pins the agent's endpoint id through the challenge.
 *  B2 A pilot sees its own leases only, and messages about others' leases change nothing (engine.ts, W2).
 *  B3 DoneAck follows the commit of every outcome in the message.
 *  B4 How a link ended is told apart, since it decides how long its leases wait for it (blocks.ts, K4).
 */
import { open, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Clock } from '#base/clock.ts';
import { type ServeOptions, serveLinks } from '#base/link/accept.ts';
import { checkHello } from '#base/link/hello-check.ts';
import { type PilotMessage, pilotCodec } from '#base/link/messages.ts';
import type { Acceptor } from '#base/link/seam.ts';
import type { Session, SessionEnd } from '#base/link/session.ts';
import type { Logger } from '#base/log.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { PublicJwk } from '#kernel/ids.ts';
import { openToken, type Signer } from '#kernel/jws.ts';
import type { NodeSize } from '#kernel/resources.ts';
import type { Measured } from '#kernel/tokens/claims.ts';
import type { Done, HeldLease, PilotHello } from '#protos/generated/link.js';
import type { HeldItem, Ledger, PilotRow } from '../admission/ledger.ts';
import { holds } from '../work/attempts.ts';
import type { Engine } from '../work/engine.ts';
import { itemKey, splitKey, type Work } from '../work/mirror.ts';
import type { AttemptEnd, GangPort, LaunchItem, PilotPort } from '../work/ports.ts';
import type { Specs } from '../work/specs.ts';
import { outputPath, placeOutput } from './outputs.ts';
import { type FilesOf, launchMessages, type ResultFile, readDone } from './pilot-messages.ts';

export interface PilotsOptions {
  readonly acceptors: readonly Acceptor[];
  readonly ledger: Ledger;
  readonly engine: Engine;
  readonly specs: Specs;
  readonly endpoint: string;
  readonly signer: () => Signer;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly filesOf: FilesOf;
  /** Where results that are files are kept by digest, and where items write theirs before. */
  readonly spool: string;
  readonly outDirs: string;
  /** Folders that the rule of this ticket lets it write now. */
  readonly writable: (work: Work) => readonly string[];
  /** What the agent itself knows of an outcome's circumstances: policy, rule. */
  readonly measured: (record: Measured, work: Work | undefined) => Measured;
  /** A block serves one call. */
  readonly perCall: boolean;
  /** Whose pilots these are. */
  readonly blocks: () => PilotWatch;
  readonly onConnected: () => void;
  readonly onProgress: (key: number, attempt: number, done: number, total: number, perSecond: number) => void;
  readonly onLog: (key: number, attempt: number, data: Uint8Array, dropped: number) => void;
}

/** What a block is asked and told of its pilots. */
export interface PilotWatch {
  /** Throws where a pilot on this node may not redeem the block's token; resolves with what it is remembered by. */
  redemption(block: string, node: string): Promise<string>;
  /** Whether this work may be leased to it, if an item takes `needMs` at most. */
  takes(row: PilotRow, work: Work, needMs: number): boolean;
  connected(row: PilotRow): void;
  leased(row: PilotRow): void;
  done(row: PilotRow): void;
  draining(row: PilotRow, why: string): void;
  away(row: PilotRow, how: 'bye' | 'closed' | 'silent'): void;
  /** A pilot's words for a failure, as the people who sent the work should read them; undefined where they are good. */
  failureWords(block: string, message: string): string | undefined;
}

export interface Pilots {
  /** Known pilots, connected or not. */
  readonly rows: ReadonlyMap<number, PilotRow>;
  isConnected(no: number): boolean;
  isDraining(no: number): boolean;
  /** Until its job ends; undefined where no end is known. */
  leftMs(no: number): number | undefined;
  /** Hellos that were refused since the start: a token used twice, by another node, or after the block's end. */
  readonly refused: number;
  /** It is none of ours after all. */
  refuse(no: number, why: string): void;
  stop(block: string, reason: string, graceS: number): void;
  /** A pilot that will not come back. */
  forget(no: number): Promise<void>;
  /** Resolves when the acceptors were disposed and every session ended. */
  readonly ended: Promise<void>;
}

type PilotSession = Session<PilotMessage>;

interface Peer {
  readonly row: PilotRow;
  readonly held: readonly HeldItem[];
  readonly leftS: number;
  readonly size: NodeSize;
  readonly gangs: boolean;
}

/** A kernel that closes a socket knows that its process is gone; a network that is silent knows nothing. */
function howEnded(end: SessionEnd): 'bye' | 'closed' | 'silent' {
  if (end.kind === 'bye') return 'bye';
  return /nothing was heard|TIMEDOUT|UNREACH|NETDOWN/.test(end.reason) ? 'silent' : 'closed';
}

export async function openPilots(options: PilotsOptions): Promise<Pilots> {
  const { ledger, engine, endpoint } = options;
  const stored = await ledger.query({ kind: 'pilots' });
  const rows = new Map((stored.kind === 'pilots' ? stored.pilots : []).map((row) => [row.no, row]));
  const connected = new Map<number, PilotSession>();
  /** By pilot, of its session: when its job ends (monotonic), and whether it takes nothing more. */
  const facts = new Map<number, { readonly endsAt: number | undefined; draining: boolean }>();
  let sessionEpoch = 0;
  let refused = 0;

  const serve: ServeOptions<PilotMessage, Peer> = {
    codec: pilotCodec,
    clock: options.clock,
    random: options.random,
    acceptor: endpoint,
    async verify(hello, { nonce }) {
      const row = await identify(options, rows, hello, nonce);
      rows.set(row.no, row);
      // A new session of the same key is the same pilot: its old socket is dead without knowing it.
      connected.get(row.no)?.close('E_FENCED', 'the same pilot connected again');
      const held = hello.held.map(heldItem);
      const drop = engine.strange(row.no, held).map(heldLease);
      sessionEpoch += 1;
      const { slots, cores, memMib, gpus, accelerator, leftS } = hello;
      const size = { slots, cores, memMiB: memMib, gpus, accelerator };
      return { welcome: { sessionEpoch, drop }, peer: { row, held, leftS, size, gangs: hello.gangs } };
    },
    async onSession(session, { row, held, leftS, size, gangs }) {
      const fact = { endsAt: leftS === 0 ? undefined : options.clock.mono() + leftS * 1000, draining: false };
      const port = createPort(options, row, session, size, () => fact.draining, gangs);
      connected.set(row.no, session);
      facts.set(row.no, fact);
      options.blocks().connected(row);
      options.onConnected();
      engine.attach(port, held);
      const end = await session.serve((messages) => {
        for (const message of messages) {
          if (message.draining !== undefined) {
            fact.draining = true;
            options.blocks().draining(row, message.draining.reason);
          } else take(options, row, port, session, message, fact.draining);
        }
      });
      options.log.info({ pilot: row.no, block: row.block, end }, 'pilot link ended');
      engine.detach(port);
      if (connected.get(row.no) === session) {
        connected.delete(row.no);
        facts.delete(row.no);
        options.blocks().away(row, howEnded(end));
      }
    },
    onRefused: (link, code, message) => {
      refused += 1;
      options.log.warn({ remote: link.remote, code, message, refused }, 'pilot refused');
    },
    onError: (error) => options.log.error({ err: error }, 'pilot link failed'),
  };
  // Each door has its own turns: strangers at the network's keep nobody from the socket.
  const ended = Promise.all(options.acceptors.map((acceptor) => serveLinks(acceptor, serve))).then(() => undefined);

  return {
    rows,
    isConnected: (no) => connected.has(no),
    isDraining: (no) => facts.get(no)?.draining === true,
    leftMs(no) {
      const endsAt = facts.get(no)?.endsAt;
      return endsAt === undefined ? undefined : Math.max(0, endsAt - options.clock.mono());
    },
    get refused() {
      return refused;
    },
    refuse(no, why) {
      refused += 1;
      connected.get(no)?.close('E_FORBIDDEN', why);
    },
    stop(block, reason, graceS) {
      for (const row of rows.values())
        if (row.block === block) connected.get(row.no)?.send({ stop: { reason, graceS } }, 'control');
    },
    async forget(no) {
      rows.delete(no);
      await ledger.submit({ kind: 'dropPilot', no });
    },
    ended,
  };
}

/** The pilot whose key signed this hello; a key that is new brings a block token. */
async function identify(
  options: PilotsOptions,
  rows: ReadonlyMap<number, PilotRow>,
  hello: PilotHello,
  nonce: string,
): Promise<PilotRow> {
  const jwk = JSON.parse(hello.pilotJwk) as PublicJwk;
  const token = await checkHello(hello.token, {
    acceptor: options.endpoint,
    nonce,
    protocol: { min: hello.protocolMin, max: hello.protocolMax },
    keyOf: () => jwk,
    nowMs: options.clock.now(),
  });
  const known = [...rows.values()].find((row) => row.kid === token.kid);
  if (known === undefined) return redeem(options, hello, token.claims.sub, token.kid);
  if (known.block === token.claims.sub) return known;
  throw new FarfieldError('E_FORBIDDEN', 'this key belongs to a pilot of another block');
}

async function redeem(options: PilotsOptions, hello: PilotHello, block: string, kid: string): Promise<PilotRow> {
  if (hello.blockToken === '') {
    throw new FarfieldError('E_UNAUTHENTICATED', `a pilot of block ${block} with an unknown key and no block token`);
  }
  const { claims } = openToken('farfield-block+jwt', hello.blockToken, options.signer().jwk);
  if (claims.block !== block) throw new FarfieldError('E_FORBIDDEN', `this token is of block ${claims.block}`);
  if (claims.exp * 1000 < options.clock.now())
    throw new FarfieldError('E_EXPIRED', `the token of block ${block} is over`);
  const by = await options.blocks().redemption(block, hello.node);
  const facts = { block, node: hello.node, kid, jwk: hello.pilotJwk, slots: hello.slots };
  const jti = `${claims.jti}/${by}`;
  const result = await options.ledger.submit({ kind: 'redeem', jti, exp: claims.exp, pilot: facts });
  if (result.kind !== 'pilot')
    throw new FarfieldError('E_UNAUTHENTICATED', `the token of block ${block} was redeemed by another pilot`);
  return { no: result.no, ...facts };
}

function createPort(
  options: PilotsOptions,
  row: PilotRow,
  session: PilotSession,
  size: NodeSize,
  isDraining: () => boolean,
  knowsGangs: boolean,
): PilotPort {
  const told = new Set<number>();
  /** Says a work's spec, once a session. */
  const tell = (work: Work): number => {
    const spec = options.specs.of(work);
    options.blocks().leased(row);
    if (!told.has(spec.specNo)) session.send({ spec });
    told.add(spec.specNo);
    return spec.specNo;
  };
  return {
    no: row.no,
    block: row.block,
    node: row.node,
    slots: row.slots,
    inFlight: new Map(),
    takes: (work, needMs) => !isDraining() && options.blocks().takes(row, work, needMs),
    ...(options.perCall ? { single: true } : {}),
    size: { ...size, slots: row.slots },
    launch(work: Work, leaseEpoch: number, items: readonly LaunchItem[]) {
      const specNo = tell(work);
      for (const launch of launchMessages(work, specNo, leaseEpoch, items, options.filesOf, options.outDirs))
        session.send({ launch });
    },
    ...(knowsGangs ? { gang: gangPort(options, session, tell) } : {}),
    cancel(items, reason) {
      session.send({ cancel: { leases: items.map(heldLease), reason } }, 'prompt');
    },
  };
}

function gangPort({ filesOf, outDirs }: PilotsOptions, session: PilotSession, tell: (work: Work) => number): GangPort {
  return {
    launch(work, leaseEpoch, item, part) {
      for (const launch of launchMessages(work, tell(work), leaseEpoch, [item], filesOf, outDirs, part))
        session.send({ launch });
    },
    go: (held, address) => void session.send({ gangGo: { lease: heldLease(held), address } }),
  };
}

function take(
  options: PilotsOptions,
  row: PilotRow,
  port: PilotPort,
  session: PilotSession,
  message: PilotMessage,
  leaving: boolean,
): void {
  const { started, progress, log, done, gangReady } = message;
  if (done !== undefined) {
    takeDone(options, port, done, leaving)
      .then(() => {
        session.send({ doneAck: { doneNo: done.doneNo } }, 'prompt');
        options.blocks().done(row);
      })
      .catch((cause: unknown) => {
        // Not acknowledged: the pilot keeps it and sends it to the next session.
        options.log.error({ err: cause, pilot: port.no }, 'outcomes not taken');
        session.close('E_UNAVAILABLE', 'the outcomes could not be stored');
      });
  } else if (started !== undefined) options.engine.started(started.keys, started.state, `on ${port.node}`);
  else if (progress !== undefined)
    options.onProgress(progress.key, progress.attempt, progress.done, progress.total, progress.perSecond);
  else if (gangReady?.lease !== undefined) options.engine.gangReady(port.no, heldItem(gangReady.lease), gangReady.port);
  else if (log !== undefined) options.onLog(log.key, log.attempt, log.data, log.dropped);
  else throw new FarfieldError('E_PROTOCOL', 'a message that a pilot does not send');
}

async function takeDone(options: PilotsOptions, port: PilotPort, done: Done, leaving: boolean): Promise<void> {
  const { engine, measured } = options;
  // Items of one message share their records: one merged record for each pair keeps receipts small.
  const merged = new Map<Measured, Map<Work | undefined, Measured>>();
  const read = readDone(done, (record, key) => {
    const work = engine.works.get(splitKey(key).ticketNo);
    const byWork = merged.get(record) ?? new Map<Work | undefined, Measured>();
    merged.set(record, byWork);
    const known = byWork.get(work) ?? measured(record, work);
    byWork.set(work, known);
    return known;
  });
  // By digest, so that an upload finds it after a restart, and a repeated message meets a file that is there.
  if (read.files.length > 0) await keepFiles(options, read.files);
  const own = read.ends.map((end) => reworded(options, port.block, end));
  const ends = await placed(options, engine.gather(port.no, own, leaving));
  await engine.ended(port.no, ends, leaving);
  // Only now: until the commit a repeated message needs the spool's copy.
  for (const { detail, resultDigest } of ends) {
    if (detail.res?.at === 'endpoint' && resultDigest !== undefined)
      await rm(spooled(options.spool, resultDigest), { force: true });
  }
}

/** A failure that the block can tell in better words, as a kill for its job's memory. */
function reworded(options: PilotsOptions, block: string, end: AttemptEnd): AttemptEnd {
  const { err } = end.detail;
  if (end.status !== 'failed' || err === undefined) return end;
  const message = options.blocks().failureWords(block, err.message);
  return message === undefined ? end : { ...end, detail: { ...end.detail, err: { ...err, message } } };
}

/** Where the spool keeps a result that is a file. */
function spooled(spool: string, digest: Uint8Array): string {
  return join(spool, Buffer.from(digest).toString('hex'));
}

/** Results that are to stay here are put in their place before they are signed. Stale outcomes write nothing. */
async function placed(options: PilotsOptions, ends: readonly AttemptEnd[]): Promise<readonly AttemptEnd[]> {
  const { engine } = options;
  // Nearly always: no ticket of this message names a path.
  if (!ends.some(({ key }) => engine.works.get(splitKey(key).ticketNo)?.token.claims.out.to !== 'return')) return ends;
  return Promise.all(ends.map((end) => placeOne(options, end)));
}

async function placeOne(options: PilotsOptions, end: AttemptEnd): Promise<AttemptEnd> {
  const { ticketNo, i } = splitKey(end.key);
  const work = options.engine.works.get(ticketNo);
  const { res } = end.detail;
  const path = work === undefined ? undefined : outputPath(work, i);
  if (work === undefined || path === undefined || res === undefined || end.status !== 'succeeded') return end;
  if (!holds(work, { ticketNo, i, attempt: end.attempt, leaseEpoch: end.leaseEpoch })) return end;
  const { result, resultDigest, ...rest } = end;
  const inline = { bytes: result ?? new Uint8Array() };
  try {
    const source = res.at === 'inline' ? inline : { file: spooled(options.spool, resultDigest ?? new Uint8Array()) };
    await placeOutput(path, source, options.writable(work));
  } catch (reason) {
    const { code, message } = FarfieldError.from(reason);
    const { res: _res, ...detail } = end.detail;
    return { ...rest, status: 'failed', charged: true, detail: { ...detail, err: { code, message } } };
  }
  const digest = resultDigest === undefined ? {} : { resultDigest };
  return { ...rest, ...digest, detail: { ...end.detail, res: { ...res, at: 'endpoint', path } } };
}

/** The pilot has synced the bytes; the name is synced here, before a receipt says that the result is kept. */
async function keepFiles({ spool, outDirs }: PilotsOptions, files: readonly ResultFile[]): Promise<void> {
  for (const { path, digest } of files) {
    // <outDirs>/<key>.<attempt>/<file>: what lies elsewhere is no result, whoever says so.
    if (resolve(path) !== path || dirname(dirname(path)) !== outDirs) {
      throw new FarfieldError('E_PROTOCOL', 'a result that lies outside the folder of its item');
    }
    await rename(path, spooled(spool, digest)).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== 'ENOENT') throw cause;
    });
  }
  // The item's own folder is left empty by now; one that is not holds what nobody asked for.
  for (const { path } of files) await rm(dirname(path), { recursive: true, force: true });
  const folder = await open(spool, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function heldItem(lease: HeldLease): HeldItem {
  return { ...splitKey(lease.key), attempt: lease.attempt, leaseEpoch: lease.leaseEpoch };
}

function heldLease(item: HeldItem): HeldLease {
  return { key: itemKey(item.ticketNo, item.i), attempt: item.attempt, leaseEpoch: item.leaseEpoch };
}
