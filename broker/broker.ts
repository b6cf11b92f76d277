/**
 * A running broker: its parts, in the order in which they begin and end.
 *
 *   store ─ hub ─ directory ─ submit / links ─ API
 *
 * Invariants
 *  S1 Nothing is accepted before the store is open; the store closes last, after whatever was accepted is committed.
 *  S2 When the store dies the broker ends: its word would be worth nothing.
 *  S3 A stop tells agents and readers that it will be back, finishes requests, and loses nothing; neither does a kill.
 */
import { createHash } from 'node:crypto';
import type { Server } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import type { Clock } from '#base/clock.ts';
import { loadSigner } from '#base/keys.ts';
import { grpcAcceptor } from '#base/link/grpc.ts';
import type { Acceptor } from '#base/link/seam.ts';
import type { SessionTimes } from '#base/link/session.ts';
import { wsAcceptor } from '#base/link/ws.ts';
import type { Logger } from '#base/log.ts';
import type { Random } from '#base/random.ts';
import { openServerTls, type ServerTls } from '#base/tls.ts';
import { toBase64Url, utf8 } from '#kernel/bytes.ts';
import { createChainCache } from '#kernel/chain.ts';
import { ENROLMENT_LIFE_S } from '#kernel/limits.ts';
import type { Invitation } from '#protos/http.ts';
import { openAccessBoard } from './access-board.ts';
import { createAuthoriser } from './api/authorise.ts';
import type { ApiContext } from './api/context.ts';
import { type ApiServer, createApiServer, MIN_TLS } from './api/server.ts';
import { openBlobFiles } from './blobs/files.ts';
import { keepCertificate } from './certificate.ts';
import { createCommit } from './committed.ts';
import type { BrokerFolder, ResolvedBrokerConfig } from './config.ts';
import { type Directory, openDirectory } from './directory.ts';
import { createHub, type Hub } from './events/hub.ts';
import { CHAIN_CACHE } from './limits.ts';
import { createLinkHost } from './links/host.ts';
import { type BrokerFacts, type BrokerMetrics, createBrokerMetrics } from './metrics.ts';
import { createRunningBoard } from './running.ts';
import type { BrokerStore, InvitationKind } from './store/store.ts';
import { createSubmit } from './submit/submit.ts';
import { startSweeper } from './sweeper.ts';
import { watchBlobs, watchStore, watchSubmit } from './watch.ts';

export interface BrokerOptions {
  readonly folder: BrokerFolder;
  readonly config: ResolvedBrokerConfig;
  readonly store: BrokerStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Heartbeats of links; the defaults but in tests. */
  readonly linkTimes?: Partial<SessionTimes>;
}

export interface BrokerStatus {
  readonly brokerId: string;
  readonly url: string;
  readonly grpc: string;
  readonly tickets: number;
  readonly openItems: number;
  readonly users: number;
  readonly endpoints: readonly {
    readonly id: string;
    readonly online: boolean;
    readonly sinceMs: number;
    readonly transport?: string;
  }[];
  readonly alarms: readonly { readonly at: number; readonly kind: string; readonly text: string }[];
}

export interface Broker extends AsyncDisposable {
  readonly brokerId: string;
  readonly url: string;
  readonly grpc: string;
  /** PEM that clients pin. */
  readonly ca: string;
  readonly store: BrokerStore;
  /** Text of a one-use invitation (`ff1....`). */
  invite(kind: InvitationKind, subject: string): Promise<string>;
  status(): Promise<BrokerStatus>;
  /** What it has counted since it began (health.ts). */
  readonly metrics: BrokerMetrics;
  facts(): Promise<BrokerFacts>;
  /** Resolves where the store takes a row. */
  probe(): Promise<void>;
  /** What time has made due: expiry and purging, now. */
  sweep(): Promise<void>;
  /** Settles when the store has died, or the broker was stopped (undefined). */
  readonly ended: Promise<unknown>;
}

const KEPT_ALARMS = 20;

export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const { folder, config, clock, random, log } = options;
  const metrics = createBrokerMetrics();
  const { store, waiting } = watchStore(options.store, metrics, clock);
  const brokerId = loadSigner(folder.key).kid;
  const openTls = (): ServerTls => openServerTls(folder.ca, { names: config.names, clock, random });
  const tls = openTls();
  const generation = await store.read('generation', null);
  const hub = createHub(generation);
  const commit = createCommit(store, hub, clock);
  const directory = await openDirectory(store, clock);
  const running = createRunningBoard(store);
  const access = await openAccessBoard(store, generation);
  const chains = createChainCache(CHAIN_CACHE);
  const blobs = watchBlobs(openBlobFiles(folder.blobs), metrics);
  const { maxOpenItems } = config;
  const submit = watchSubmit(createSubmit({ commit, directory, running, chains, clock, maxOpenItems }), metrics);
  const authorise = createAuthoriser({ brokerId, directory, chains, clock });
  const api: ApiContext = {
    brokerId,
    generation,
    store,
    commit,
    directory,
    hub,
    running,
    blobs,
    submit,
    chains,
    authorise,
    clock,
    log,
    metrics,
    access,
  };
  const host = createLinkHost({
    store,
    commit,
    hub,
    running,
    budget: { used: 0 },
    clock,
    random,
    log,
    brokerId,
    directory,
    metrics,
    access,
    ...(options.linkTimes === undefined ? {} : { times: options.linkTimes }),
  });
  const doors = await openDoors(api, config, tls);
  const certificate = keepCertificate({ tls, open: openTls, use: doors.useTls, clock, log });
  for (const acceptor of doors.acceptors) host.accept(acceptor);
  const sweeper = startSweeper({ store, commit, directory, blobs, clock, log, retentionS: config.retentionS });
  const [name = config.host] = config.names;
  const url = `https://${bracket(name)}:${doors.port}`;
  const grpc = `grpcs://${bracket(name)}:${doors.grpcPort}`;
  log.info({ brokerId, url, grpc }, 'broker started');
  return {
    brokerId,
    url,
    grpc,
    ca: tls.ca,
    store,
    ended: store.ended,
    sweep: () => sweeper.sweep(),
    metrics,
    facts: () => factsOf(store, directory, hub, waiting()),
    async probe() {
      await store.apply('probe', null);
    },
    async invite(kind, subject) {
      const secret = toBase64Url(random.bytes(32));
      const exp = Math.floor(clock.now() / 1000) + ENROLMENT_LIFE_S;
      await commit('invite', {
        secretHash: createHash('sha256').update(secret).digest('hex'),
        for: kind,
        subject,
        exp,
      });
      const invitation: Invitation = { url, grpc, ca: tls.ca, brokerId, secret, exp, for: { kind, id: subject } };
      return `ff1.${toBase64Url(utf8(JSON.stringify(invitation)))}`;
    },
    status: async () => ({ brokerId, url, grpc, ...(await standingOf(store, directory)) }),
    async [Symbol.asyncDispose]() {
      certificate[Symbol.dispose]();
      await sweeper[Symbol.asyncDispose]();
      await doors.close(async () => host[Symbol.asyncDispose]());
      commit.flush();
      await store.close();
      log.info({ brokerId }, 'broker stopped');
    },
  };
}

async function standingOf(
  store: BrokerStore,
  directory: Directory,
): Promise<Omit<BrokerStatus, 'brokerId' | 'url' | 'grpc'>> {
  const { tickets, openItems, users } = await store.read('counts', null);
  const alarms = await store.read('alarms', { limit: KEPT_ALARMS });
  const endpoints = directory.endpoints().map(({ id, session, sinceMs }) => ({
    id,
    online: session !== undefined,
    sinceMs,
    ...(session === undefined ? {} : { transport: session.facts.session.transport }),
  }));
  return { tickets, openItems, users, endpoints, alarms };
}

async function factsOf(store: BrokerStore, directory: Directory, hub: Hub, storeQueue: number): Promise<BrokerFacts> {
  const endpoints = directory.endpoints();
  return {
    ...(await store.read('counts', null)),
    endpoints: endpoints.length,
    sessions: endpoints.flatMap(({ session }) => session?.facts.session.transport ?? []),
    streams: hub.streams(),
    storeQueue,
  };
}

interface Doors {
  readonly port: number;
  readonly grpcPort: number;
  readonly acceptors: readonly Acceptor[];
  useTls(tls: ServerTls): void;
  close(endSessions: () => Promise<void>): Promise<void>;
}

const bracket = (host: string): string => (isIPv6(host) ? `[${host}]` : host);

async function openDoors(api: ApiContext, config: ResolvedBrokerConfig, tls: ServerTls): Promise<Doors> {
  const hosts = [...config.names, 'localhost', '127.0.0.1', '[::1]'].map((name) => (isIPv6(name) ? `[${name}]` : name));
  const server: ApiServer = await createApiServer(api, { tls, hosts, origins: config.origins });
  // Node's HTTPS server is an HTTP server over TLS sockets; ws needs its upgrade event and nothing else.
  const ws = wsAcceptor({ server: server.server as unknown as Server, hosts, origins: config.origins });
  const grpc = await grpcAcceptor({ host: config.host, port: config.grpcPort, tls });
  await server.listen({ host: config.host, port: config.port });
  const { port } = server.server.address() as AddressInfo;
  return {
    port,
    grpcPort: Number(new URL(grpc.address).port),
    acceptors: [grpc, ws],
    useTls({ key, cert }) {
      server.server.setSecureContext({ key, cert, minVersion: MIN_TLS });
      grpc.useTls({ key, cert });
    },
    async close(endSessions) {
      // Sessions are told first, while their links still carry it; requests under way are answered; streams are cut, and resume.
      const ended = endSessions();
      await Promise.all([grpc[Symbol.asyncDispose](), ws[Symbol.asyncDispose]()]);
      await ended;
      const closed = server.close();
      server.server.closeAllConnections();
      await closed;
    },
  };
}
