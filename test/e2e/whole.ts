/**
 * Broker, agent and client in this process, each the real one, over real links, on one clock that a test moves. The scheduler
 * and the pilots are the test's: what runs, and when, is its word.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Dialler } from '#base/link/seam.ts';
import { createLogger } from '#base/log.ts';
import { systemRandom } from '#base/random.ts';
import { openChain } from '#kernel/chain.ts';
import { generateKey, signerFrom } from '#kernel/sign.ts';
import type { DelegationClaims } from '#kernel/tokens/claims.ts';
import { openManifest, signManifest } from '#kernel/tokens/manifest.ts';
import { Agent } from '../../agent/agent.ts';
import { type AgentConfig, resolveAgentConfig } from '../../agent/config.ts';
import type { BrokerAddress } from '../../agent/identity/broker.ts';
import { joinBroker } from '../../agent/identity/enrol.ts';
import { type AgentFolder, agentFolder, prepareFolder } from '../../agent/identity/folder.ts';
import { openIdentity, readIdentity } from '../../agent/identity/identity.ts';
import { createEndpoint } from '../../agent/identity/root.ts';
import type { BrokerConfig } from '../../broker/config.ts';
import { type Client, createClient, type SubmitInput } from '../../client/ts/client.ts';
import type { ItemInput } from '../../client/ts/submission.ts';
import { delegate, startTestBroker, type TestBroker, type TestUser } from '../broker/setting.ts';
import { createPilotPeer, type PilotPeer, type PilotPeerOptions } from '../fakes/pilot-peer.ts';
import { createTestScheduler, type TestScheduler } from '../fakes/test-scheduler.ts';

const publisher = signerFrom(generateKey());
const MANIFEST = signManifest(
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

export interface WholeOptions {
  readonly broker?: Partial<BrokerConfig>;
  readonly agent?: AgentConfig;
  readonly pilot?: Partial<PilotPeerOptions>;
  /** Disks that hold their folders. */
  readonly disk?: { readonly broker?: string; readonly agent?: string };
}

export interface Whole {
  readonly setting: TestBroker;
  readonly user: TestUser;
  readonly endpoint: string;
  readonly folder: AgentFolder;
  readonly scheduler: TestScheduler;
  readonly pilots: PilotPeer[];
  readonly log: string[];
  /** The running agent; undefined between `stop` and `start`. */
  readonly agent: Agent | undefined;
  start(): Promise<Agent>;
  stop(options?: { readonly blocks: boolean }): Promise<void>;
  /** A client under a fresh session of the user: a login. It tries a submit once: nobody moves its clock meanwhile. */
  login(over?: Partial<DelegationClaims>): Client;
  inputOf(client: Client, items: readonly ItemInput[], more?: Partial<SubmitInput>): SubmitInput;
  /** Moves the clock in small steps until it is so. */
  until(what: string, condition: () => boolean | Promise<boolean>): Promise<void>;
}

const PATIENCE_STEPS = 4000;

export async function startWhole(t: Test, options: WholeOptions = {}): Promise<Whole> {
  const setting = await startTestBroker(t, options.broker, options.disk?.broker);
  const { clock } = setting;
  const nowS = (): number => Math.floor(clock.now() / 1000);
  const home = mkdtempSync(join(options.disk?.agent ?? tmpdir(), 'farfield-whole-'));
  const user = await setting.user();
  const { folder, endpoint, broker } = await enrolled(setting, home, user);
  const scheduler = createTestScheduler();
  const pilots: PilotPeer[] = [];
  scheduler.onSubmit = (request) => {
    const pilot = createPilotPeer(request.folder, { clock, random: systemRandom, auto: true, ...options.pilot });
    pilots.push(pilot);
    void pilot.dial();
  };
  const log: string[] = [];
  // A broker that began again has another port.
  const dialler: Dialler = { name: 'grpc', dial: (signal) => setting.dialler().dial(signal) };
  let agent: Agent | undefined;
  const clients: Client[] = [];
  t.teardown(async () => {
    for (const client of clients) await client[Symbol.asyncDispose]();
    await whole.stop({ blocks: true });
    rmSync(home, { recursive: true, force: true });
  });
  const whole: Whole = {
    setting,
    user,
    endpoint,
    folder,
    scheduler,
    pilots,
    log,
    get agent() {
      return agent;
    },
    async start() {
      agent = await Agent.start({
        folder,
        config: resolveAgentConfig({ blocks: { slots: options.pilot?.slots ?? 2 }, ...options.agent }),
        identity: openIdentity(folder, nowS()),
        broker,
        diallers: [dialler],
        scheduler,
        models: new Map(),
        runner: { command: '/bin/false', args: [] },
        logFile: (block) => join(folder.blocks, block, 'pilot.log'),
        uid: process.getuid?.() ?? 0,
        hostname: 'whole',
        pid: process.pid,
        clock,
        random: systemRandom,
        log: createLogger({ name: 'agent', stream: { write: (line: string) => void log.push(line) } }),
      });
      return agent;
    },
    async stop(how = { blocks: false }) {
      await agent?.stop(how);
      agent = undefined;
    },
    login(over = {}) {
      const { url, ca, brokerId } = setting.broker;
      const signer = signerFrom(generateKey());
      const chain = [delegate(clock, user.principal, signer, over)];
      const session = { signer, chain, opened: openChain(chain) };
      const client = createClient({
        broker: { url, ca, brokerId },
        session,
        clock,
        random: systemRandom,
        submitPatienceMs: 0,
      });
      clients.push(client);
      return client;
    },
    inputOf: (client, items, more = {}) => ({ terms: termsOf(client, endpoint), manifest: MANIFEST, items, ...more }),
    async until(what, condition) {
      for (let step = 0; step < PATIENCE_STEPS; step++) {
        if (await condition()) return;
        await clock.drive(20);
        // Threads, sockets and TLS need their real time.
        await new Promise((resolve) => setTimeout(resolve, 3));
      }
      throw new Error(`it never came to be: ${what}\n${log.slice(-5).join('')}`);
    },
  };
  return whole;
}

/** An endpoint in this folder that the broker knows, and whose policy lets the user run no-ops. */
async function enrolled(
  setting: TestBroker,
  home: string,
  user: TestUser,
): Promise<{ folder: AgentFolder; endpoint: string; broker: BrokerAddress }> {
  const nowS = Math.floor(setting.clock.now() / 1000);
  const folder = agentFolder(join(home, 'state'));
  const { endpoint } = await createEndpoint({ name: 'site', folder, roots: join(home, 'roots'), nowS });
  prepareFolder(folder);
  const invitation = await setting.broker.invite('endpoint', endpoint);
  const broker = await joinBroker(folder, readIdentity(folder, nowS), invitation, nowS);
  const rule = { name: 'noops', who: { pin: 'tester' }, functions: { publisher: 'lab', names: ['test/*'] } };
  const policy = {
    endpoint,
    authorities: {
      pinned: [{ kid: user.principal.kid, name: 'tester', until: nowS + 30 * 86_400 }],
      publishers: [{ name: 'lab', jwks: [publisher.jwk] }],
    },
    rules: [{ ...rule, runtimes: ['process'] }],
  };
  writeFileSync(folder.policy, JSON.stringify(policy), { mode: 0o600 });
  return { folder, endpoint, broker };
}

function termsOf(client: Client, endpoint: string): SubmitInput['terms'] {
  const { claims, digest } = openManifest(MANIFEST, []);
  return {
    endpoint,
    subject: client.subject,
    delegation: client.delegation,
    fn: { name: claims.name, version: claims.version, manifest: digest },
    models: [],
    resources: { nodes: 1, cpusPerNode: 1, gpusPerNode: 0, memMiBPerNode: 64, wallS: 60 },
    run: { maxFailures: 1, maxStarts: 3, timeoutS: 30 },
    output: { maxBytes: 1024, to: 'return' },
  };
}
