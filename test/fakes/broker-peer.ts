/**
 * A broker's side of the agent link over memory, with a real key of its own: it delivers what a test says, remembers what the
 * agent answers, and acknowledges only if it is told to.
 */
import type { Clock } from '#base/clock.ts';
import { serveLinks } from '#base/link/accept.ts';
import { checkHello } from '#base/link/hello-check.ts';
import { type MemoryTransport, memoryTransport } from '#base/link/memory.ts';
import { type LinkMessage, linkCodec } from '#base/link/messages.ts';
import type { ProtocolRange, Session } from '#base/link/session.ts';
import type { Random } from '#base/random.ts';
import { openDescriptor } from '#kernel/endpoint.ts';
import type { FarfieldError } from '#kernel/errors.ts';
import { PROTOCOL } from '#kernel/limits.ts';
import { type OpenedItem, openPack } from '#kernel/receipts.ts';
import type { EndpointClaims, HelloClaims } from '#kernel/tokens/claims.ts';
import type { Credit, DeliveredTicket, Outcome, Refusal, Running } from '#protos/generated/link.js';

export interface PeerDelivery {
  readonly ticket: DeliveredTicket;
  readonly chain: readonly string[];
  readonly manifest: Uint8Array;
}

export interface BrokerPeer extends AsyncDisposable {
  readonly id: string;
  readonly transport: MemoryTransport;
  readonly sessions: Session<LinkMessage>[];
  readonly hellos: HelloClaims[];
  readonly statuses: string[];
  readonly admitted: { id: string; items: readonly number[] }[];
  readonly refusals: Refusal[];
  readonly outcomes: Outcome[];
  readonly running: Running[];
  readonly cancelAcks: number[];
  credit: Credit | undefined;
  /** Whether outcomes are acknowledged as they come. */
  acks: boolean;
  /** The versions that it speaks; those of this build by default. */
  protocol: ProtocolRange;
  /** Instead of a welcome. */
  refuse: FarfieldError | undefined;
  deliver(...deliveries: readonly PeerDelivery[]): void;
  cancel(no: number, token: string, links: readonly string[]): void;
  ack(...nos: number[]): void;
  /** Each verified receipt that came, repeats included. */
  receipts(principal: string): OpenedItem[];
}

export function createBrokerPeer(options: { clock: Clock; random: Random; id?: string }): BrokerPeer {
  const { clock, random, id = 'broker' } = options;
  const transport = memoryTransport(id);
  let descriptor: EndpointClaims | undefined;
  const peer: BrokerPeer = {
    id,
    transport,
    sessions: [],
    hellos: [],
    statuses: [],
    admitted: [],
    refusals: [],
    outcomes: [],
    running: [],
    cancelAcks: [],
    credit: undefined,
    acks: true,
    protocol: PROTOCOL,
    refuse: undefined,
    deliver(...deliveries) {
      const tickets = deliveries.map(({ ticket }, k) => ({ ...ticket, chain: k, manifest: k }));
      const chains = deliveries.map(({ chain }) => ({ links: [...chain] }));
      current().send({ deliver: { tickets, chains, manifests: deliveries.map(({ manifest }) => manifest) } });
    },
    cancel(no, token, links) {
      current().send({ cancel: { cancelNo: no, token, chain: { links: [...links] } } }, 'prompt');
    },
    ack(...packNos) {
      current().send({ outcomeAck: { packNos } }, 'prompt');
    },
    receipts(principal) {
      if (descriptor === undefined) return [];
      const expect = { endpoint: descriptor.iss, onlineKey: descriptor.sign, principal };
      return peer.outcomes.flatMap(({ pack }) => (pack === undefined ? [] : [...openPack(pack as never, expect)]));
    },
    async [Symbol.asyncDispose]() {
      await transport.acceptor[Symbol.asyncDispose]();
      await serving;
    },
  };

  const current = (): Session<LinkMessage> => {
    const session = peer.sessions.at(-1);
    if (session === undefined) throw new Error('no agent is connected');
    return session;
  };

  const take = (session: Session<LinkMessage>, message: LinkMessage): void => {
    const { admitted, refusal, outcome, cancelAck, credit, running, status } = message;
    if (admitted !== undefined) peer.admitted.push(...admitted.tickets);
    if (refusal !== undefined) peer.refusals.push(refusal);
    if (cancelAck !== undefined) peer.cancelAcks.push(...cancelAck.cancelNos);
    if (credit !== undefined) peer.credit = credit;
    if (running !== undefined) peer.running.push(running);
    if (status !== undefined) peer.statuses.push(status.token);
    if (outcome === undefined) return;
    peer.outcomes.push(outcome);
    if (peer.acks) session.send({ outcomeAck: { packNos: [outcome.packNo] } }, 'prompt');
  };

  const serving = serveLinks<LinkMessage, undefined>(transport.acceptor, {
    codec: linkCodec,
    clock,
    random,
    acceptor: id,
    // Of each handshake: a broker may be upgraded between two.
    get protocol() {
      return peer.protocol;
    },
    async verify(hello, { nonce }) {
      if (peer.refuse !== undefined) throw peer.refuse;
      const { claims } = openDescriptor(hello.descriptor, { nowS: clock.now() / 1000 });
      const token = await checkHello(hello.token, {
        acceptor: id,
        nonce,
        protocol: { min: hello.protocolMin, max: hello.protocolMax },
        keyOf: () => claims.sign,
        nowMs: clock.now(),
      });
      descriptor = claims;
      peer.hellos.push(token.claims);
      peer.statuses.push(hello.status);
      return { welcome: { sessionEpoch: peer.sessions.length + 1 }, peer: undefined };
    },
    async onSession(session) {
      peer.sessions.push(session);
      await session.serve((messages) => {
        for (const message of messages) take(session, message);
      });
    },
    onError: (error) => {
      throw error;
    },
  });
  return peer;
}
