/**
 * A hostile broker in front of a real agent: the agent's BrokerLink, desk, engine and ledger over an in-memory link, and
 * pilots that note what they are told to start.
 *
 * What counts
 *  1 `started`: launches of anything but honest work. Honest is an item that its owner signed, with the very bytes that
 *    the owner gave, under the manifest that the ticket names, and for the first time.
 *  2 `rowsEarly`: commands to the ledger by a message that proves nobody whom the site trusts.
 */

import { memoryTransport } from '#base/link/memory.ts';
import { type LinkMessage, linkCodec } from '#base/link/messages.ts';
import type { Link } from '#base/link/seam.ts';
import { createLogger } from '#base/log.ts';
import { createSeededRandom } from '#base/random.ts';
import { digestOf } from '#kernel/ids.ts';
import { signToken, tokenHash } from '#kernel/jws.ts';
import type { HeldItem } from '../../agent/admission/ledger.ts';
import { BrokerLink } from '../../agent/link/broker-link.ts';
import type { Work } from '../../agent/work/mirror.ts';
import type { LaunchItem } from '../../agent/work/ports.ts';
import {
  type Delivery,
  endOf,
  type Harness,
  type HarnessOptions,
  type Launched,
  NOW,
  newHarness,
  testParty,
  testPilot,
} from '../agent/parts.ts';
import type { Party } from '../kernel/parties.ts';

export const BROKER = 'the-broker-that-the-agent-enrolled-with';

/** What an owner meant, by ticket hash and item: digests of item and arguments, and of the manifest. */
export type Honest = Map<string, string>;

const itemKeyOf = (hash: string, i: number): string => `${hash}/${i}`;

function meaningOf(manifest: string, item: Uint8Array, inline: readonly Uint8Array[]): string {
  return [manifest, digestOf(item), ...inline.map((bytes) => digestOf(bytes))].join(' ');
}

/** Notes every item of an honest delivery, so that its launch is no attack. */
export function noteHonest(honest: Honest, party: Party, { ticket }: Delivery, single: Uint8Array): void {
  let at = 0;
  let inlineAt = 0;
  for (const [k, i] of ticket.items.entries()) {
    const size = ticket.itemSizes[k] ?? 0;
    const item = ticket.itemSizes.length === 0 ? single : ticket.itemBytes.subarray(at, at + size);
    at += size;
    const inline = ticket.inline.subarray(inlineAt, inlineAt + (ticket.inlineSizes[k] ?? 0));
    inlineAt += inline.byteLength;
    honest.set(itemKeyOf(tokenHash(ticket.ticket), i), meaningOf(party.manifestDigest, item, [inline]));
  }
}

export interface Bench extends AsyncDisposable {
  readonly harness: Harness;
  readonly honest: Honest;
  /** Messages of the agent so far. */
  readonly heard: LinkMessage[];
  readonly launched: Launched[];
  /** What the pilot was told to stop. */
  readonly cancelled: readonly HeldItem[];
  /** Launches that were not honest work, in words. */
  readonly wrong: string[];
  /** Whether the session lives. */
  readonly alive: boolean;
  send(...messages: LinkMessage[]): void;
  sendBytes(frame: Uint8Array): void;
  /** Until the agent has said `count` more messages than `from`, or nothing moves any more. */
  settled(from: number, count: number): Promise<void>;
  /** Ends what runs, as an honest pilot would. */
  finish(): Promise<void>;
}

export interface BenchOptions extends HarnessOptions {
  readonly challenge?: Partial<NonNullable<LinkMessage['challenge']>>;
  readonly welcome?: Partial<NonNullable<LinkMessage['welcome']>>;
  /** An earlier life's launches: none may start again. */
  readonly before?: readonly Launched[];
  readonly honest?: Honest;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export async function startBench(options: BenchOptions = {}): Promise<Bench> {
  const party = options.party ?? testParty();
  const harness = await newHarness({ ...options, party });
  const honest: Honest = options.honest ?? new Map();
  const launched: Launched[] = [...(options.before ?? [])];
  const wrong: string[] = [];
  const told = testPilot(1, 4096);
  const pilot = {
    ...told,
    launch(work: Work, leaseEpoch: number, items: readonly LaunchItem[]): void {
      for (const item of items) {
        const payload = work.payloads.get(item.i);
        const key = itemKeyOf(work.token.hash, item.i);
        const meant = honest.get(key);
        const got = payload && meaningOf(work.manifest.digest, payload.bytes, payload.inline);
        const before = launched.some((each) => each.work.token.hash === work.token.hash && each.i === item.i);
        if (meant === undefined) wrong.push(`${key}: nobody signed it`);
        else if (meant !== got) wrong.push(`${key}: other bytes than were signed`);
        else if (before) wrong.push(`${key}: started twice`);
        launched.push({ ...item, work, leaseEpoch });
      }
    },
  };
  harness.engine.attach(pilot, []);
  const heard: LinkMessage[] = [];
  const transport = memoryTransport();
  const stop = new AbortController();
  const link = createLink(harness, transport.dialler, []);
  let sent = 0;
  const state = { alive: false, ended: 0, link: undefined as Link | undefined };
  const run = link.run(stop.signal);
  const accepting = accept();

  async function accept(): Promise<void> {
    for await (const accepted of transport.acceptor.links) {
      if (state.link !== undefined) {
        accepted.close('one session is enough for an attack');
        continue;
      }
      state.link = accepted;
      accepted.send(
        frame({
          challenge: { acceptor: BROKER, nonce: 'n'.repeat(32), protocolMin: 1, protocolMax: 1, ...options.challenge },
        }),
      );
      for await (const bytes of accepted.frames) {
        for (const message of linkCodec.decode(bytes)) {
          heard.push(message);
          if (message.hello === undefined) continue;
          accepted.send(frame({ welcome: { protocol: 1, sessionEpoch: 1, ...options.welcome } }));
          state.alive = true;
        }
      }
      state.alive = false;
    }
  }

  const bench: Bench = {
    harness,
    honest,
    heard,
    launched,
    cancelled: told.cancelled,
    wrong,
    get alive() {
      return state.alive;
    },
    send: (...messages) => void state.link?.send(Buffer.concat(messages.map((each) => linkCodec.encode(each)))),
    sendBytes: (bytes) => void state.link?.send(bytes),
    async settled(from, count) {
      for (let k = 0; k < 400 && state.alive && heard.length < from + count; k++) await turn();
      for (let k = 0; k < 6; k++) await turn();
      for (const { no, pack } of harness.packs.slice(sent)) link.onPack(no, pack, 100, []);
      sent = harness.packs.length;
    },
    async finish() {
      const open = launched.slice(state.ended + (options.before?.length ?? 0));
      state.ended += open.length;
      if (open.length > 0)
        await harness.engine.ended(
          1,
          open.map((item) => endOf(item)),
        );
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      await transport.acceptor[Symbol.asyncDispose]();
      await Promise.allSettled([run, accepting]);
    },
  };
  for (let k = 0; k < 50 && !state.alive; k++) await turn();
  await bench.settled(0, 3);
  return bench;
}

const frame = (message: LinkMessage): Uint8Array => linkCodec.encode(message);

function createLink(
  harness: Harness,
  dialler: ReturnType<typeof memoryTransport>['dialler'],
  lines: string[],
): BrokerLink {
  const { party, ledger, engine, desk, clock } = harness;
  const descriptor = signToken(
    'farfield-endpoint+jwt',
    {
      v: 1,
      iss: party.root.kid,
      jwk: party.root.jwk,
      name: 'site',
      seq: 1,
      sign: party.online.jwk,
      iat: NOW - 10,
      exp: NOW + 86_400,
    },
    party.root,
  );
  return new BrokerLink({
    diallers: [dialler],
    brokerId: BROKER,
    identity: () => ({
      endpoint: party.root.kid,
      name: 'site',
      descriptor,
      seq: 1,
      expS: NOW + 86_400,
      signer: party.online,
    }),
    status: () => 'status',
    ledger,
    engine,
    desk,
    access: { answer: () => Promise.reject(new Error('nobody asks for access here')), notices: () => [] },
    // No result here is large enough to be a blob.
    blobs: { upload: () => Promise.resolve(), drop: () => Promise.resolve() } as never,
    slots: 4096,
    clock,
    random: createSeededRandom('hostile broker'),
    log: createLogger({ name: 'test', stream: { write: (line: string) => void lines.push(line) } }),
    onState: () => undefined,
    trusts: (principal) => harness.policy.authorities.pinned.has(principal),
    closed: () => undefined,
    sessionEpoch: 0,
    keepSessionEpoch: () => Promise.resolve(),
  });
}
