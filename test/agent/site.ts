/** A whole agent on a folder of its own, with a broker of memory, a scheduler of the test's and pilots over its real socket. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createManualClock, type ManualClock } from '#base/clock.ts';
import { loadKey } from '#base/keys.ts';
import { createLogger } from '#base/log.ts';
import { createSeededRandom, systemRandom } from '#base/random.ts';
import { signerFrom } from '#kernel/sign.ts';
import { Agent } from '../../agent/agent.ts';
import { type AgentConfig, resolveAgentConfig } from '../../agent/config.ts';
import { type AgentFolder, agentFolder } from '../../agent/identity/folder.ts';
import { openIdentity } from '../../agent/identity/identity.ts';
import { createEndpoint, rootFile } from '../../agent/identity/root.ts';
import type { AgentWatch } from '../../agent/watch.ts';
import { type BrokerPeer, createBrokerPeer } from '../fakes/broker-peer.ts';
import { createPilotPeer, type PilotPeer, type PilotPeerOptions } from '../fakes/pilot-peer.ts';
import { createTestScheduler, type TestScheduler } from '../fakes/test-scheduler.ts';
import type { Party } from '../kernel/parties.ts';
import { NOW, testParty } from './parts.ts';

export interface Site extends AsyncDisposable {
  readonly folder: AgentFolder;
  readonly party: Party;
  readonly clock: ManualClock;
  readonly broker: BrokerPeer;
  readonly scheduler: TestScheduler;
  readonly pilots: PilotPeer[];
  readonly log: string[];
  agent: Agent;
  /** A new life on the same folder, as after a crash: nothing of the old one is asked to end well. */
  restart(): Promise<void>;
  writePolicy(changes?: Record<string, unknown>): void;
  /** Drives the clock in small steps until the condition holds; fails the test's patience after many. */
  until(what: string, condition: () => boolean, stepMs?: number): Promise<void>;
}

export interface SiteOptions {
  readonly config?: AgentConfig;
  readonly pilot?: Partial<PilotPeerOptions>;
  /** The scheduler tells states by itself, as batch schedulers do. */
  readonly pushes?: boolean;
  readonly watch?: AgentWatch;
  /** What happens to a submitted block; by default a pilot dials. */
  readonly onSubmit?: (site: Site, folder: string) => void;
}

export async function startSite(options: SiteOptions = {}): Promise<Site> {
  const home = mkdtempSync(join(tmpdir(), 'farfield-site-'));
  // A little before the tickets of parts.ts are signed: a new ledger refuses what is older than itself.
  const clock = createManualClock((NOW - 20) * 1000);
  const random = createSeededRandom('site');
  const folder = agentFolder(join(home, 'state'));
  const roots = join(home, 'roots');
  const made = await createEndpoint({ name: 'site', folder, roots, nowS: NOW });
  const party: Party = {
    ...testParty(),
    root: signerFrom(loadKey(rootFile(roots, made.endpoint))),
    online: signerFrom(loadKey(folder.onlineKey)),
  };
  const broker = createBrokerPeer({ clock, random });
  const scheduler = createTestScheduler(options.pushes);
  const log: string[] = [];
  const site = { folder, party, clock, broker, scheduler, pilots: [], log } as unknown as Site & {
    pilots: PilotPeer[];
  };
  site.writePolicy = (changes = {}) =>
    writeFileSync(folder.policy, JSON.stringify({ ...policyOf(party), ...changes }), { mode: 0o600 });
  site.writePolicy();
  scheduler.onSubmit = (request) => {
    if (options.onSubmit !== undefined) return options.onSubmit(site, request.folder);
    const pilot = createPilotPeer(request.folder, { clock, random: systemRandom, ...options.pilot });
    site.pilots.push(pilot);
    // One that was on its way when the site ended meets nobody; every other one is missed by its test.
    pilot.dial().catch(() => undefined);
  };
  const config = resolveAgentConfig({ blocks: { slots: options.pilot?.slots ?? 2 }, ...options.config });
  const begin = (): Promise<Agent> =>
    Agent.start({
      folder,
      config,
      identity: openIdentity(folder, NOW),
      broker: { url: 'https://broker.invalid', grpc: 'https://broker.invalid', ca: '', brokerId: broker.id },
      diallers: [broker.transport.dialler],
      scheduler: options.watch?.scheduler(scheduler) ?? scheduler,
      ...(options.watch === undefined ? {} : { watch: options.watch }),
      models: new Map(),
      runner: { command: '/bin/false', args: [] },
      logFile: (block) => join(folder.blocks, block, 'pilot.log'),
      uid: process.getuid?.() ?? 0,
      hostname: 'site-host',
      pid: process.pid,
      clock,
      random,
      log: createLogger({ name: 'agent', stream: { write: (line: string) => void log.push(line) } }),
    });
  site.until = async (what, condition, stepMs = 20) => {
    for (let step = 0; step < 2000; step++) {
      if (condition()) return;
      // Real time too: the ledger is a thread and the pilots' socket is a socket.
      await new Promise((resolve) => setTimeout(resolve, 2));
      if (stepMs > 0) await clock.drive(stepMs);
    }
    throw new Error(`it never came to be: ${what}\n${log.slice(-10).join('')}`);
  };
  site.restart = async () => {
    await site.agent.stop({ blocks: false });
    site.agent = await begin();
  };
  site[Symbol.asyncDispose] = async () => {
    await site.agent.stop({ blocks: true });
    await broker[Symbol.asyncDispose]();
    rmSync(home, { recursive: true, force: true });
  };
  site.agent = await begin();
  await site.until('the agent is connected', () => broker.sessions.length > 0);
  return site;
}

function policyOf(party: Party): Record<string, unknown> {
  return {
    endpoint: party.root.kid,
    authorities: {
      pinned: [{ kid: party.principal.kid, name: 'alice', until: NOW + 86_400 }],
      publishers: [{ name: 'lab', jwks: [party.publisher.jwk] }],
    },
    rules: [
      {
        name: 'noops for alice',
        who: { pin: 'alice' },
        functions: { publisher: 'lab', names: ['test/*'] },
        runtimes: ['process'],
      },
    ],
  };
}
