/** A broker in this process on free ports, with users and endpoints as they would come: by invitation. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { createManualClock, type ManualClock, systemClock } from '#base/clock.ts';
import { grpcDialler } from '#base/link/grpc.ts';
import type { Dialler } from '#base/link/seam.ts';
import { wsDialler } from '#base/link/ws.ts';
import { createLogger } from '#base/log.ts';
import { systemRandom } from '#base/random.ts';
import { fromBase64Url, fromUtf8 } from '#kernel/bytes.ts';
import { openChain } from '#kernel/chain.ts';
import { digestOf, uuidv7 } from '#kernel/ids.ts';
import { generateKey, type Signer, signerFrom, signToken } from '#kernel/sign.ts';
import type { DelegationClaims } from '#kernel/tokens/claims.ts';
import { openManifest, signManifest } from '#kernel/tokens/manifest.ts';
import { type Invitation, ROUTES, SUBMISSION_TYPE, type SubmissionReply } from '#protos/http.ts';
import { type Broker, startBroker } from '../../broker/broker.ts';
import { type BrokerConfig, brokerFolder, initBroker, readBrokerConfig } from '../../broker/config.ts';
import { openSqliteStore } from '../../broker/store/sqlite.ts';
import { type BrokerHttp, createBrokerHttp } from '../../client/ts/http.ts';
import { encodeSubmission, type ItemInput, type SignedTicket, signTicket } from '../../client/ts/submission.ts';
import {
  type AgentPeer,
  type AgentPeerOptions,
  createAgentPeer,
  type DialChoices,
  type PeerSession,
} from '../fakes/agent-peer.ts';

const publisher = signerFrom(generateKey());
export const MANIFEST = signManifest(
  {
    v: 1,
    name: 'test/noop',
    version: '1.0.0',
    kind: 'model',
    adapter: 'noop',
    args: [{ name: 'x', types: ['json'] }],
    models: [],
    variants: [{ name: 'any', runtimes: ['process'] }],
  },
  [publisher],
);
const MANIFEST_DIGEST = openManifest(MANIFEST, []).digest;

export interface TestUser {
  readonly principal: Signer;
  readonly session: Signer;
  readonly chain: readonly string[];
  readonly http: BrokerHttp;
  ticket(items?: readonly ItemInput[], over?: TicketOver): SignedTicket;
  submit(...tickets: readonly SignedTicket[]): Promise<SubmissionReply['tickets']>;
}

export interface TicketOver {
  readonly endpoint?: string;
  readonly jti?: string;
  readonly iat?: number;
  readonly lifeS?: number;
  readonly batch?: boolean;
  readonly manifestDigest?: string;
  readonly delegation?: string;
}

export interface TestBroker {
  readonly clock: ManualClock;
  readonly folder: string;
  readonly broker: Broker;
  /** Stops it and starts it again over the same folder. */
  restart(): Promise<void>;
  user(over?: Partial<DelegationClaims>): Promise<TestUser>;
  /** An endpoint that has enrolled. */
  peer(over?: Partial<AgentPeerOptions>): Promise<AgentPeer>;
  dialler(kind?: 'grpc' | 'ws'): Dialler;
  connect(peer: AgentPeer, choices?: DialChoices & { transport?: 'grpc' | 'ws' }): Promise<PeerSession>;
  /** Waits until the broker shows it. */
  until(condition: () => boolean | Promise<boolean>): Promise<void>;
}

export const ROOM = { items: 1_000_000, bytes: 2 ** 40 };
export const json = (value: unknown): ItemInput => ({
  args: [{ name: 'x', type: 'json', bytes: Buffer.from(JSON.stringify(value)) }],
});
export const many = (n: number): ItemInput[] => Array.from({ length: n }, (_, i) => json({ i }));

/** `place`: the disk that holds its folder. */
export async function startTestBroker(
  t: Test,
  config: Partial<BrokerConfig> = {},
  place: string = tmpdir(),
): Promise<TestBroker> {
  const root = mkdtempSync(join(place, 'farfield-broker-'));
  const folder = brokerFolder(join(root, 'state'));
  initBroker(folder, { v: 1, host: '127.0.0.1', port: 0, grpcPort: 0, names: ['127.0.0.1'], ...config });
  // Certificates are judged by the machine's clock, so the one that tests move begins there.
  const clock = createManualClock(systemClock.now());
  const https: BrokerHttp[] = [];
  const open = async (): Promise<Broker> => {
    const resolved = readBrokerConfig(folder);
    const { maxPageCount } = resolved;
    const store = await openSqliteStore({ file: folder.database, ...(maxPageCount === 0 ? {} : { maxPageCount }) });
    const log = createLogger({
      name: 'broker',
      level: process.env.FARFIELD_TEST_LOG === undefined ? 'silent' : 'debug',
    });
    return startBroker({ folder, config: resolved, store, clock, random: systemRandom, log });
  };
  let broker = await open();
  t.teardown(async () => {
    for (const http of https) await http[Symbol.asyncDispose]();
    await broker[Symbol.asyncDispose]();
    rmSync(root, { recursive: true });
  });
  const setting: TestBroker = {
    clock,
    folder: folder.root,
    get broker() {
      return broker;
    },
    async restart() {
      await broker[Symbol.asyncDispose]();
      broker = await open();
    },
    user: (over) => createUser(setting, https, over ?? {}),
    async peer(over = {}) {
      const peer = createAgentPeer({ clock, random: systemRandom, brokerId: broker.brokerId, ...over });
      const { secret } = await invitation(broker, 'endpoint', peer.endpoint);
      await post(setting, https, ROUTES.enrol.url, { secret, descriptor: peer.descriptor });
      return peer;
    },
    dialler: (kind = 'grpc') =>
      kind === 'grpc'
        ? grpcDialler({ url: broker.grpc, ca: broker.ca })
        : wsDialler({ url: broker.url, ca: broker.ca }),
    connect: (peer, { transport, ...choices } = {}) =>
      peer.dial(setting.dialler(transport), { credit: ROOM, ...choices }),
    async until(condition) {
      while (!(await condition())) {
        // What rides with the next commit goes alone after some ms of this clock.
        clock.advance(5);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    },
  };
  return setting;
}

export async function invitation(broker: Broker, kind: 'endpoint' | 'user', id: string): Promise<Invitation> {
  const token = await broker.invite(kind, id);
  return JSON.parse(fromUtf8(fromBase64Url(token.slice(4)) ?? new Uint8Array())) as Invitation;
}

/** A request that nobody signed. */
export async function post(setting: TestBroker, https: BrokerHttp[], path: string, body: object): Promise<void> {
  const http = httpOf(setting, signerFrom(generateKey()), []);
  https.push(http);
  await http.json({
    method: 'POST',
    path,
    body: Buffer.from(JSON.stringify(body)),
    contentType: 'application/json',
    unsigned: true,
  });
}

export function httpOf({ broker, clock }: TestBroker, signer: Signer, chain: readonly string[]): BrokerHttp {
  const { url, ca, brokerId } = broker;
  return createBrokerHttp({ broker: { url, ca, brokerId }, signer, chain, clock, random: systemRandom });
}

export function delegate(
  clock: ManualClock,
  principal: Signer,
  session: Signer,
  over: Partial<DelegationClaims> = {},
): string {
  const iat = Math.floor(clock.now() / 1000);
  const exp = iat + 3600;
  return signToken(
    'farfield-delegation+jwt',
    {
      v: 1,
      iss: principal.kid,
      jwk: principal.jwk,
      sub: { iss: 'pin', id: 'tester' },
      cnf: session.jwk,
      use: 'session',
      iat,
      exp,
      adm: exp,
      scope: {},
      ...over,
    },
    principal,
  );
}

async function createUser(
  setting: TestBroker,
  https: BrokerHttp[],
  over: Partial<DelegationClaims>,
): Promise<TestUser> {
  const { clock } = setting;
  const principal = signerFrom(generateKey());
  const session = signerFrom(generateKey());
  const { secret } = await invitation(setting.broker, 'user', principal.kid);
  const first = httpOf(setting, principal, []);
  https.push(first);
  const body = Buffer.from(JSON.stringify({ secret, jwk: principal.jwk }));
  await first.json({ method: 'POST', path: ROUTES.users.url, body, contentType: 'application/json' });
  const chain = [delegate(clock, principal, session, over)];
  const opened = openChain(chain);
  const http = httpOf(setting, session, chain);
  https.push(http);
  const user: TestUser = {
    principal,
    session,
    chain,
    get http() {
      // Ports change with a restart: a client would have kept them.
      if (http.broker.url === setting.broker.url) return http;
      const fresh = httpOf(setting, session, chain);
      https.push(fresh);
      return fresh;
    },
    ticket(items = [json({ a: 1 })], change = {}) {
      const iat = change.iat ?? Math.floor(clock.now() / 1000);
      const { endpoint = 'E'.repeat(43), jti = uuidv7(clock.now(), systemRandom.bytes(10)), lifeS = 3600 } = change;
      return signTicket(
        {
          endpoint,
          subject: opened.delegation.claims.sub,
          delegation: change.delegation ?? opened.delegation.hash,
          fn: { name: 'test/noop', version: '1.0.0', manifest: change.manifestDigest ?? MANIFEST_DIGEST },
          models: [],
          resources: { nodes: 1, cpusPerNode: 1, gpusPerNode: 0, memMiBPerNode: 64, wallS: 60 },
          run: { maxFailures: 1, maxStarts: 2, timeoutS: 10 },
          output: { maxBytes: 1024, to: 'return' },
        },
        items,
        { jti, iat, exp: iat + lifeS },
        session,
        principal.kid,
        change.batch ?? items.length > 1,
      );
    },
    async submit(...tickets) {
      const bytes = encodeSubmission(tickets.map((signed) => ({ signed, chain, manifest: MANIFEST })));
      return (await submitBytes(user.http, bytes)).tickets;
    },
  };
  return user;
}

export function submitBytes(http: BrokerHttp, body: Uint8Array): Promise<SubmissionReply> {
  return http.json<SubmissionReply>({
    method: 'POST',
    path: ROUTES.submit.url,
    body,
    contentType: SUBMISSION_TYPE,
    unsigned: true,
  });
}

export const blobDigest = (bytes: Uint8Array): string => digestOf(bytes);
