/**
 * The agent's side of a pilot's link: challenge, welcome, launches, acknowledgements. It believes every hello that its
 * script lets in, and remembers everything.
 */
import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { serveLinks } from '#base/link/accept.ts';
import { checkHello } from '#base/link/hello-check.ts';
import { type PilotMessage, pilotCodec } from '#base/link/messages.ts';
import type { Acceptor } from '#base/link/seam.ts';
import type { Session } from '#base/link/session.ts';
import { tlsAcceptor } from '#base/link/tls.ts';
import { certificatePin } from '#base/link/tls-dial.ts';
import { unixAcceptor } from '#base/link/unix.ts';
import { systemRandom } from '#base/random.ts';
import { digestOf } from '#kernel/ids.ts';
import { statusName } from '#kernel/leaves.ts';
import { generateKey, signerFrom } from '#kernel/sign.ts';
import type { BlockFile } from '#protos/block-file.ts';
import type { Done, Gang, HeldLease, PilotHello, Spec } from '#protos/generated/link.js';
import { testTls } from './tls.ts';

export interface Ended {
  readonly key: number;
  readonly attempt: number;
  readonly leaseEpoch: number;
  readonly status: string;
  readonly detail: {
    res?: { type: string; at: string; size?: number };
    err?: { code: string; message: string };
    rep?: object;
    charged?: boolean;
  };
  readonly digest: string;
  readonly result: Buffer;
  readonly file: { path: string; size: number } | undefined;
  readonly meas: Record<string, unknown>;
}

export function readDone(done: Done): Ended[] {
  let at = 0;
  return done.keys.map((key, i) => {
    const size = done.resultSizes[i] ?? 0;
    const result = Buffer.from(done.results.slice(at, at + size));
    at += size;
    const file = done.files.find((f) => f.index === i);
    return {
      key,
      attempt: done.attempts[i] ?? 0,
      leaseEpoch: done.leaseEpochs[i] ?? 0,
      status: statusName(done.statuses[i] ?? 0) ?? 'none',
      detail: JSON.parse(Buffer.from(done.details[done.detail[i] ?? 0] as Uint8Array).toString()),
      digest: Buffer.from(done.resultDigests.slice(32 * i, 32 * i + 32)).toString('hex'),
      result,
      file: file === undefined ? undefined : { path: file.path, size: file.size },
      meas: JSON.parse(Buffer.from(done.measRecords[done.meas[i] ?? 0] as Uint8Array).toString()),
    };
  });
}

export interface Arg {
  readonly name: string;
  readonly type?: string;
  readonly bytes?: Buffer;
  readonly path?: string;
  readonly digest?: string;
  readonly size?: number;
  readonly sel?: string;
}

export interface Item {
  readonly key: number;
  readonly attempt?: number;
  readonly args: readonly Arg[];
  readonly seed?: number;
}

export const SPEC: Spec = {
  specNo: 1,
  poolKey: 'pool-1',
  adapter: 'fake',
  entry: new Uint8Array(0),
  modelRoot: '',
  modelDigest: '',
  variant: '',
  runtime: 'process',
  image: '',
  threads: 1,
  timeoutS: 60,
  maxBytes: 1 << 20,
  uncertainty: new Uint8Array(0),
  manifest: `sha256:${'0'.repeat(64)}`,
  gpus: 0,
  cores: 0,
  memMib: 0,
  accelerator: '',
};

export interface FakeAgentOptions {
  readonly slots?: number;
  readonly graceS?: number;
  readonly runner: { command: string; args: string[] };
  readonly containers?: BlockFile['containers'];
  /** The pilot is on "another host": no socket, and an address that leads nowhere before the one that answers. */
  readonly tls?: boolean;
}

/** A launch message of these items, with their real digests. */
export function launchOf(
  items: readonly Item[],
  specNo: number,
  leaseEpoch: number,
  outDirs: string,
  gang?: Gang,
): PilotMessage {
  const bodies: Buffer[] = [];
  const inline: Buffer[] = [];
  const files: { index: number; arg: number; path: string }[] = [];
  for (const [index, item] of items.entries()) {
    const args = item.args.map((arg, at) => {
      const common = { name: arg.name, type: arg.type ?? 'json', ...(arg.sel === undefined ? {} : { sel: arg.sel }) };
      if (arg.bytes !== undefined) {
        inline.push(arg.bytes);
        return {
          ...common,
          at: 'inline',
          digest: arg.digest ?? digestOf(arg.bytes),
          size: arg.size ?? arg.bytes.length,
        };
      }
      const path = arg.path ?? '';
      files.push({ index, arg: at, path });
      return {
        ...common,
        at: 'endpoint',
        path,
        ...(arg.digest === undefined ? {} : { digest: arg.digest }),
        ...(arg.size === undefined ? {} : { size: arg.size }),
      };
    });
    bodies.push(Buffer.from(JSON.stringify({ args, ...(item.seed === undefined ? {} : { seed: item.seed }) })));
  }
  return {
    launch: {
      specNo,
      keys: items.map((item) => item.key),
      attempts: items.map((item) => item.attempt ?? 1),
      leaseEpoch,
      itemSizes: bodies.map((b) => b.length),
      itemBytes: Buffer.concat(bodies),
      inlineSizes: inline.map((b) => b.length),
      inline: Buffer.concat(inline),
      files,
      outDirs: Buffer.from(outDirs),
      gang,
    },
  };
}

/** Makes the block's private folder with its file. */
function writeBlock(folder: string, endpoint: string, options: FakeAgentOptions): BlockFile {
  const block: BlockFile = {
    v: 1,
    block: 'block-1',
    agent: endpoint,
    socket: join(folder, 'pilots.sock'),
    token: 'a.b.c',
    slots: options.slots ?? 1,
    graceS: options.graceS ?? 60,
    runner: options.runner,
    env: { PATH: '/usr/bin:/bin' },
    ...(options.containers === undefined ? {} : { containers: options.containers }),
  };
  mkdirSync(join(folder, 'block'), { mode: 0o700 });
  writeFileSync(join(folder, 'block', 'block.json'), JSON.stringify(block), { mode: 0o600 });
  return block;
}

interface Door {
  readonly key: string;
  readonly cert: string;
  /** The one of an earlier `up`. */
  port: number;
}

export async function openFakeAgent(options: FakeAgentOptions): Promise<FakeAgent> {
  const folder = mkdtempSync(join(tmpdir(), 'ff-agent-'));
  chmodSync(folder, 0o700);
  const endpoint = signerFrom(generateKey()).kid;
  const door = options.tls === true ? { ...testTls().server, port: 0 } : undefined;
  const agent = new FakeAgent(folder, endpoint, writeBlock(folder, endpoint, options), door);
  await agent.up();
  return agent;
}

export class FakeAgent {
  /** The block's folder: the pilot's one argument. */
  readonly folder: string;
  block: BlockFile;
  readonly hellos: PilotHello[] = [];
  readonly ended: Ended[] = [];
  readonly messages: PilotMessage[] = [];
  session: Session<PilotMessage> | undefined;
  /** Called when outcomes came: for who measures, and cannot wait for the next look. */
  onEnded: () => void = () => undefined;
  /** Acknowledge outcomes as they come. */
  ack = true;
  /** What the next welcome tells the pilot to drop. */
  drop: HeldLease[] = [];
  readonly #root: string;
  readonly #door: Door | undefined;
  readonly #endpoint: string;
  readonly #specNos = new Map<string, number>();
  /** Specs of this session. */
  #said = new Set<string>();
  #acceptor: Acceptor | undefined;
  #serving: Promise<void> = Promise.resolve();

  constructor(root: string, endpoint: string, block: BlockFile, door: Door | undefined) {
    this.#door = door;
    this.#root = root;
    this.#endpoint = endpoint;
    this.folder = join(root, 'block');
    this.block = block;
  }

  async #open(): Promise<Acceptor> {
    const door = this.#door;
    if (door === undefined) return unixAcceptor({ path: this.block.socket });
    const acceptor = await tlsAcceptor({ ...door, host: '127.0.0.1', ports: [door.port, door.port] });
    door.port = acceptor.port;
    const pin = certificatePin(new X509Certificate(door.cert).raw);
    this.block = { ...this.block, tls: { pin, addresses: ['127.0.0.1:1', `127.0.0.1:${door.port}`] } };
    writeFileSync(join(this.folder, 'block.json'), JSON.stringify(this.block), { mode: 0o600 });
    return acceptor;
  }

  launch(items: readonly Item[], change: Partial<Spec> = {}, gang?: Gang): void {
    const spec = { ...SPEC, ...change };
    const text = JSON.stringify({ ...spec, entry: Buffer.from(spec.entry).toString() });
    const specNo = this.#specNos.get(text) ?? this.#specNos.size + 1;
    this.#specNos.set(text, specNo);
    if (!this.#said.has(text)) this.session?.send({ spec: { ...spec, specNo } });
    this.#said.add(text);
    this.session?.send(launchOf(items, specNo, 7, join(this.#root, 'out'), gang));
  }

  async connected(): Promise<Session<PilotMessage>> {
    await this.until('a pilot connects', () => this.session !== undefined);
    return this.session as Session<PilotMessage>;
  }

  /** Resolves when this many outcomes came in all. */
  async outcomes(count: number): Promise<Ended[]> {
    await this.until(`${count} outcomes`, () => this.ended.length >= count);
    return this.ended;
  }

  async until(what: string, condition: () => boolean): Promise<void> {
    for (let turn = 0; turn < 6000; turn += 1) {
      if (condition()) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error(`never happened: ${what}`);
  }

  /** The agent dies: its socket is gone. `up` brings it back. */
  async down(): Promise<void> {
    await this.#acceptor?.[Symbol.asyncDispose]();
    await this.#serving;
  }

  async up(): Promise<void> {
    this.#acceptor = await this.#open();
    this.#serving = serveLinks<PilotMessage, undefined>(this.#acceptor, {
      codec: pilotCodec,
      clock: systemClock,
      random: systemRandom,
      acceptor: this.#endpoint,
      verify: async (hello, { nonce }) => {
        await this.#check(hello, nonce);
        return { welcome: { sessionEpoch: this.hellos.length, drop: this.drop }, peer: undefined };
      },
      onSession: (session) => this.#live(session),
      onError: (error) => {
        throw error;
      },
    });
  }

  async close(): Promise<void> {
    await this.down();
    rmSync(this.#root, { recursive: true, force: true });
  }

  async #check(hello: PilotHello, nonce: string): Promise<void> {
    this.hellos.push(hello);
    await checkHello(hello.token, {
      acceptor: this.#endpoint,
      nonce,
      protocol: { min: hello.protocolMin, max: hello.protocolMax },
      keyOf: () => JSON.parse(hello.pilotJwk),
      nowMs: systemClock.now(),
    });
  }

  async #live(session: Session<PilotMessage>): Promise<void> {
    this.session = session;
    this.#said = new Set();
    await session.serve((messages) => {
      for (const message of messages) {
        this.messages.push(message);
        if (message.done === undefined || !this.ack) continue;
        this.ended.push(...readDone(message.done));
        session.send({ doneAck: { doneNo: message.done.doneNo } }, 'prompt');
        this.onEnded();
      }
    });
    if (this.session === session) this.session = undefined;
  }
}
