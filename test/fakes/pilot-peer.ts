/**
 * A pilot's side of the pilot link over the agent's real socket, with a key of its own and no runner: a test says how each
 * attempt ends, and may take its link away or let it redial with what it holds.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '#base/clock.ts';
import { signHello } from '#base/link/hello.ts';
import { type PilotMessage, pilotCodec } from '#base/link/messages.ts';
import type { Link } from '#base/link/seam.ts';
import { dialSession, type ProtocolRange, type Session } from '#base/link/session.ts';
import { unixDialler } from '#base/link/unix.ts';
import type { Random } from '#base/random.ts';
import { utf8 } from '#kernel/bytes.ts';
import { digestBytes, digestOf } from '#kernel/ids.ts';
import { PROTOCOL } from '#kernel/limits.ts';
import { STATUS_CODES } from '#kernel/receipts.ts';
import { generateKey, signerFrom } from '#kernel/sign.ts';
import { BLOCK_FILE, type BlockFile, parseBlockFile } from '#protos/block-file.ts';
import type { Done, HeldLease, Spec } from '#protos/generated/link.js';

export interface PilotPeerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly slots?: number;
  /** Ends every attempt as it comes. */
  readonly auto?: boolean;
  readonly node?: string;
  /** Seconds until its job ends; 0, or left out, says nothing of it. */
  readonly leftS?: () => number;
  /** What it says of its node; nothing by default. */
  /** False: one of before there were any. */
  readonly gangs?: boolean;
  readonly size?: { readonly cores?: number; readonly memMib?: number; readonly accelerator?: string };
}

export type PeerEnd = 'succeeded' | 'failed' | 'cancelled';

export interface PilotPeer {
  readonly block: BlockFile;
  readonly specs: Spec[];
  readonly launched: HeldLease[];
  readonly cancelled: HeldLease[];
  readonly dropped: HeldLease[];
  readonly stops: string[];
  readonly acked: number[];
  /** Dials; the first time with the block token, later with what it holds. Rejects with the agent's refusal. */
  dial(options?: { held?: readonly HeldLease[]; token?: boolean; protocol?: ProtocolRange }): Promise<void>;
  hangUp(): void;
  /** Dies: its kernel closes the socket, and nobody says goodbye. */
  die(): void;
  /** Takes nothing more, as before its walltime. */
  drain(reason: string): void;
  end(leases: readonly HeldLease[], status?: PeerEnd, detail?: Record<string, unknown>): void;
  readonly held: readonly HeldLease[];
  /** Ends all that it holds, once. */
  finish(): void;
}

const RESULT = utf8('"done"');

export function createPilotPeer(folder: string, options: PilotPeerOptions): PilotPeer {
  const { clock, random, slots = 2, auto = false, node = 'node-1' } = options;
  const size = { cores: 0, memMib: 0, accelerator: '', gangs: options.gangs ?? true, ...options.size };
  const block = parseBlockFile(readFileSync(join(folder, BLOCK_FILE), 'utf8'));
  const signer = signerFrom(generateKey());
  const held = new Map<number, HeldLease>();
  let session: Session<PilotMessage> | undefined;
  let carrier: Link | undefined;
  let doneNo = 0;
  let first = true;

  const own = { node, pid: 1, slots, gpus: 0, ...size, pilotJwk: JSON.stringify(signer.jwk) };
  const peer: PilotPeer = {
    block,
    specs: [],
    launched: [],
    cancelled: [],
    dropped: [],
    stops: [],
    acked: [],
    get held() {
      return [...held.values()];
    },
    async dial(more = {}) {
      const protocol = more.protocol ?? PROTOCOL;
      const link = await unixDialler({ path: block.socket }).dial(AbortSignal.timeout(10_000));
      carrier = link;
      const dialled = await dialSession<PilotMessage>({
        link,
        codec: pilotCodec,
        clock,
        acceptor: block.agent,
        protocol,
        async hello(challenge) {
          const facts = { challenge, subject: block.block, protocol, sessionEpoch: 0, nowMs: clock.now(), random };
          return {
            token: signHello(facts, signer),
            blockToken: (more.token ?? first) ? block.token : '',
            ...own,
            held: [...(more.held ?? peer.held)],
            leftS: options.leftS?.() ?? 0,
            protocolMin: protocol.min,
            protocolMax: protocol.max,
          };
        },
      });
      first = false;
      session = dialled.session;
      for (const lease of dialled.welcome.drop) held.delete(lease.key);
      peer.dropped.push(...dialled.welcome.drop);
      void dialled.session.serve((messages) => messages.forEach(take));
    },
    hangUp() {
      session?.close('E_UNAVAILABLE', 'this pilot hangs up');
      session = undefined;
    },
    die() {
      carrier?.close('killed');
      session = undefined;
    },
    drain(reason) {
      session?.send({ draining: { reason, leftS: 10 } }, 'control');
    },
    finish() {
      const leases = [...held.values()];
      held.clear();
      peer.end(leases);
    },
    end(leases, status = 'succeeded', detail = {}) {
      doneNo += 1;
      session?.send({ done: doneOf(doneNo, leases, status, detail) });
    },
  };

  function take(message: PilotMessage): void {
    const { spec, launch, cancel, stop, doneAck } = message;
    if (spec !== undefined) peer.specs.push(spec);
    if (stop !== undefined) peer.stops.push(stop.reason);
    if (doneAck !== undefined) peer.acked.push(doneAck.doneNo);
    if (cancel !== undefined) peer.cancelled.push(...cancel.leases);
    if (launch === undefined) return;
    const leases = launch.keys.map((key, k) => ({
      key,
      attempt: launch.attempts[k] ?? 0,
      leaseEpoch: launch.leaseEpoch,
    }));
    peer.launched.push(...leases);
    for (const lease of leases) held.set(lease.key, lease);
    if (!auto) return;
    for (const { key } of leases) held.delete(key);
    peer.end(leases);
  }

  return peer;
}

/** The outcomes of these leases, all alike. */
function doneOf(doneNo: number, leases: readonly HeldLease[], status: PeerEnd, detail: Record<string, unknown>): Done {
  const ok = status === 'succeeded';
  const n = leases.length;
  const body = ok ? { res: { type: 'json', at: 'inline', size: RESULT.byteLength }, ...detail } : detail;
  return {
    doneNo,
    keys: leases.map(({ key }) => key),
    attempts: leases.map(({ attempt }) => attempt),
    leaseEpochs: leases.map(({ leaseEpoch }) => leaseEpoch),
    statuses: new Uint8Array(n).fill(STATUS_CODES[status]),
    detail: leases.map(() => 0),
    details: [utf8(JSON.stringify(body))],
    resultDigests: ok ? Buffer.concat(leases.map(() => digestBytes(digestOf(RESULT)))) : new Uint8Array(32 * n),
    resultSizes: leases.map(() => (ok ? RESULT.byteLength : 0)),
    results: ok ? Buffer.concat(leases.map(() => RESULT)) : new Uint8Array(),
    files: [],
    meas: leases.map(() => 0),
    measRecords: [utf8(JSON.stringify({ node: 'node-1' }))],
  };
}
