/**
 * An agent's side of the broker link, with real keys and no ledger: a test says what it admits, completes, refuses, or bends.
 */
import type { Clock } from '#base/clock.ts';
import { signHello } from '#base/link/hello.ts';
import { type LinkMessage, linkCodec } from '#base/link/messages.ts';
import type { Dialler, Link } from '#base/link/seam.ts';
import { dialSession, type ProtocolRange, type Session, type SessionEnd } from '#base/link/session.ts';
import type { Random } from '#base/random.ts';
import { openChain } from '#kernel/chain.ts';
import { digestBytes, digestOf } from '#kernel/ids.ts';
import { parseToken } from '#kernel/jws.ts';
import { PROTOCOL } from '#kernel/limits.ts';
import { detailBytes, type Pack, STATUS_CODES, sealPack } from '#kernel/receipts.ts';
import { generateKey, type Signer, signerFrom, signToken } from '#kernel/sign.ts';
import type { EndpointClaims, ReceiptStatus, StatusClaims } from '#kernel/tokens/claims.ts';
import type { AccessAsk, Cancel, DeliveredTicket, Hello, Log, Running } from '#protos/generated/link.js';

export interface AgentPeerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly brokerId: string;
  /** An older peer's root and keys, for a second agent of one endpoint. */
  readonly root?: Signer;
  readonly online?: Signer;
  readonly descriptor?: Partial<EndpointClaims>;
  readonly status?: Partial<StatusClaims>;
}

/** One item as it came. */
export interface PeerItem {
  readonly ticket: DeliveredTicket;
  readonly principal: string;
  readonly jti: string;
  readonly hash: string;
  readonly i: number;
}

export interface DialChoices {
  /** Room said at once; none by default keeps everything at the broker. */
  readonly credit?: { readonly items: number; readonly bytes: number };
  /** Admits and completes whatever comes. */
  readonly auto?: boolean;
  readonly sessionEpoch?: number;
  /** The versions that it speaks; those of this build by default. */
  readonly protocol?: ProtocolRange;
  /** Changes the hello before it is sent. */
  readonly bend?: (hello: Hello) => Hello;
}

export interface AgentPeer {
  readonly endpoint: string;
  readonly root: Signer;
  readonly online: Signer;
  readonly descriptor: string;
  statusToken(over?: Partial<StatusClaims>): string;
  dial(to: Dialler | Link, choices?: DialChoices): Promise<PeerSession>;
}

export function createAgentPeer(options: AgentPeerOptions): AgentPeer {
  const { clock, random, brokerId } = options;
  const root = options.root ?? signerFrom(generateKey());
  const online = options.online ?? signerFrom(generateKey());
  const nowS = (): number => Math.floor(clock.now() / 1000);
  const descriptor = signToken(
    'farfield-endpoint+jwt',
    {
      v: 1,
      iss: root.kid,
      jwk: root.jwk,
      name: 'test site',
      seq: 1,
      sign: online.jwk,
      iat: nowS(),
      exp: nowS() + 20 * 86_400,
      ...options.descriptor,
    },
    root,
  );
  const statusToken = (over: Partial<StatusClaims> = {}): string =>
    signToken(
      'farfield-status+jwt',
      {
        v: 1,
        iss: online.kid,
        endpoint: root.kid,
        iat: nowS(),
        policy: digestOf('policy'),
        ledgerEpoch: { n: 1, since: 0 },
        tokens: [1],
        runtimes: ['process'],
        state: 'open',
        ...options.status,
        ...over,
      },
      online,
    );
  return {
    endpoint: root.kid,
    root,
    online,
    descriptor,
    statusToken,
    async dial(to, choices = {}) {
      const protocol = choices.protocol ?? PROTOCOL;
      const link = 'dial' in to ? await to.dial(AbortSignal.timeout(10_000)) : to;
      const { session } = await dialSession<LinkMessage>({
        link,
        codec: linkCodec,
        clock,
        acceptor: brokerId,
        protocol,
        async hello(challenge) {
          const facts = {
            challenge,
            subject: root.kid,
            protocol,
            sessionEpoch: choices.sessionEpoch ?? 0,
            nowMs: clock.now(),
            random,
          };
          const hello = {
            token: signHello(facts, online),
            descriptor,
            status: statusToken(),
            protocolMin: protocol.min,
            protocolMax: protocol.max,
          };
          return choices.bend?.(hello) ?? hello;
        },
      });
      const peer = new PeerSession({ endpoint: root.kid, online, nowS }, session, link, choices.auto ?? false);
      if (choices.credit !== undefined) peer.send({ credit: choices.credit });
      return peer;
    },
  };
}

interface Self {
  readonly endpoint: string;
  readonly online: Signer;
  nowS(): number;
}

let packCounter = 1;

export class PeerSession {
  readonly session: Session<LinkMessage>;
  readonly link: Link;
  readonly ended: Promise<SessionEnd>;
  readonly items: PeerItem[] = [];
  readonly cancels: Cancel[] = [];
  /** Requests for access, to be answered by the test. */
  readonly asks: AccessAsk[] = [];
  readonly acked: number[] = [];
  readonly #self: Self;
  readonly #auto: boolean;
  #watchers: (() => void)[] = [];

  constructor(self: Self, session: Session<LinkMessage>, link: Link, auto: boolean) {
    this.#self = self;
    this.session = session;
    this.link = link;
    this.#auto = auto;
    this.ended = session.serve((messages) => this.#hear(messages));
  }

  send(message: LinkMessage): void {
    this.session.send(message);
  }

  /** Waits for what the broker does; never for a time. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#watchers.push(resolve));
  }

  async received(count: number): Promise<PeerItem[]> {
    await this.until(() => this.items.length >= count);
    return this.items;
  }

  admit(items: readonly PeerItem[]): void {
    const tickets = [...byTicket(items)].map(([ticket, mine]) => ({
      id: ticket.id,
      deliveryEpoch: ticket.deliveryEpoch,
      items: mine.map(({ i }) => i),
    }));
    this.send({ admitted: { tickets } });
  }

  running(message: Partial<Running> & { id: string }): void {
    this.send({ running: { items: [0], state: 'running', detail: '', done: 0, total: 0, attempt: 1, ...message } });
  }

  log(message: Partial<Log> & { id: string; data: Uint8Array }): void {
    this.send({ log: { item: 0, attempt: 1, offset: 0, dropped: 0, ...message } });
  }

  /** A signed pack of these items, which must be of one principal. */
  pack(items: readonly PeerItem[], status: ReceiptStatus = 'succeeded', result = Buffer.from('"ok"')): Pack {
    const principal = items[0]?.principal ?? '';
    const succeeded = status === 'succeeded';
    const detail = succeeded
      ? { res: { type: 'json' as const, at: 'inline' as const } }
      : { err: { code: 'E_FUNCTION', message: 'no' } };
    const tickets = [...byTicket(items)].map(([ticket, mine]) => ({
      id: ticket.id,
      jti: mine[0]?.jti ?? '',
      ticketHash: mine[0]?.hash ?? '',
      items: mine.map(({ i }) => i),
      attempts: mine.map(() => 1),
      statuses: new Uint8Array(mine.length).fill(STATUS_CODES[status]),
      detail: mine.map(() => 0),
      meas: mine.map(() => 0),
      resultDigests: succeeded
        ? Buffer.concat(mine.map(() => digestBytes(digestOf(result))))
        : new Uint8Array(mine.length * 32),
      resultSizes: mine.map(() => (succeeded ? result.byteLength : 0)),
      results: succeeded ? Buffer.concat(mine.map(() => result)) : new Uint8Array(0),
    }));
    const unsigned = { principal, tickets, details: [detailBytes(detail)] };
    return sealPack(unsigned, [{ node: 'peer' }], this.#self.endpoint, this.#self.nowS(), this.#self.online);
  }

  /** Sends an outcome; its number, which the broker acknowledges. */
  complete(items: readonly PeerItem[], status: ReceiptStatus = 'succeeded', packNo = packCounter++): number {
    for (const mine of byPrincipal(items)) {
      this.send({ outcome: { packNo, pack: this.pack(mine, status) } });
    }
    return packNo;
  }

  refuse(items: readonly PeerItem[], code = 'E_CHAIN'): void {
    for (const [ticket, mine] of byTicket(items)) {
      const receipt = signToken(
        'farfield-receipt+jwt',
        {
          v: 1,
          iss: this.#self.online.kid,
          endpoint: this.#self.endpoint,
          i: 0,
          tkt: mine[0]?.hash ?? '',
          att: 0,
          st: 'refused',
          err: { code, message: 'refused by the peer' },
          iat: this.#self.nowS(),
          meas: {},
        },
        this.#self.online,
      );
      this.send({
        refusal: { id: ticket.id, deliveryEpoch: ticket.deliveryEpoch, items: mine.map(({ i }) => i), receipt },
      });
    }
  }

  /** Ends as a lost connection does, not as a goodbye. */
  cut(): void {
    this.link.close('cut by the test');
  }

  #hear(messages: readonly LinkMessage[]): void {
    for (const message of messages) {
      if (message.deliver !== undefined) {
        const fresh = message.deliver.tickets.flatMap((ticket) =>
          itemsOf(ticket, message.deliver?.chains[ticket.chain]?.links ?? []),
        );
        this.items.push(...fresh);
        if (this.#auto) {
          this.admit(fresh);
          for (const mine of byPrincipal(fresh)) this.complete(mine);
        }
      }
      if (message.cancel !== undefined) this.cancels.push(message.cancel);
      if (message.accessAsk !== undefined) this.asks.push(message.accessAsk);
      if (message.outcomeAck !== undefined) this.acked.push(...message.outcomeAck.packNos);
    }
    const woken = this.#watchers;
    this.#watchers = [];
    for (const wake of woken) wake();
  }
}

function itemsOf(ticket: DeliveredTicket, links: readonly string[]): PeerItem[] {
  const token = parseToken(['farfield-ticket+jwt', 'farfield-batch+jwt'], ticket.ticket);
  const { principal } = openChain(links);
  return ticket.items.map((i) => ({ ticket, principal, jti: token.claims.jti, hash: token.hash, i }));
}

function byTicket(items: readonly PeerItem[]): Map<DeliveredTicket, PeerItem[]> {
  return Map.groupBy(items, ({ ticket }) => ticket);
}

function byPrincipal(items: readonly PeerItem[]): PeerItem[][] {
  return [...Map.groupBy(items, ({ principal }) => principal).values()];
}
