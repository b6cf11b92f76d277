/**
 * farfield-agent STATE_FOLDER: the process that represents an endpoint. Builds its objects by hand; it alone reads the
 * environment, arguments and the real clock.
 */
import { hostname } from 'node:os';
import { fileURLToPath } from 'node:url';
import { buildText, readBuild } from '#base/build.ts';
import { SERVER_FLAGS } from '#base/cli.ts';
import { systemClock } from '#base/clock.ts';
import { serveControl } from '#base/control.ts';
import { measureDirectory } from '#base/directory-digest.ts';
import { createFileDigests } from '#base/file-digests.ts';
import { lockFolder } from '#base/files.ts';
import { grpcDialler } from '#base/link/grpc.ts';
import type { Dialler } from '#base/link/seam.ts';
import { chooseDiallers } from '#base/link/supervisor.ts';
import { wsDialler } from '#base/link/ws.ts';
import { createLogger, type Logger } from '#base/log.ts';
import { giveMemoryBack } from '#base/memory.ts';
import type { Egress } from '#base/proxy.ts';
import { systemRandom } from '#base/random.ts';
import { openServiceManager } from '#base/service-manager.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { Agent } from './agent.ts';
import { openAudit } from './audit.ts';
import { type ResolvedAgentConfig, readAgentConfig } from './config.ts';
import { controlHandlers } from './control.ts';
import { openAgentHealth } from './health.ts';
import { type BrokerAddress, readBroker } from './identity/broker.ts';
import { agentFolder, prepareFolder } from './identity/folder.ts';
import { openIdentity } from './identity/identity.ts';
import { forgetEnd, noteEnd } from './last-end.ts';
import { createAgentMetrics } from './metrics.ts';
import { siteEgress } from './network.ts';
import { noteBuild } from './running.ts';
import { createBatchScheduler } from './schedulers/batch.ts';
import { commandEnv, createRunner } from './schedulers/command.ts';
import { createDriver } from './schedulers/drivers.ts';
import { type JobSetting, renderExample } from './schedulers/jobs.ts';
import { createLocalScheduler } from './schedulers/local.ts';
import { BATCH_DEFAULTS } from './schedulers/options.ts';
import type { Scheduler } from './schedulers/scheduler.ts';
import { checkStateFolder, claimHost } from './state-folder.ts';
import { type AgentWatch, createWatch } from './watch.ts';

const EXIT = { ok: 0, usage: 2, refused: 3, unavailable: 6, defect: 70 } as const;

/** A program of this checkout or bundle, by its name. */
function program(name: 'pilot' | 'runner'): string {
  const source = import.meta.url.endsWith('.ts');
  return fileURLToPath(new URL(source ? `../${name}/main.ts` : `./${name}.mjs`, import.meta.url));
}

function diallersOf(config: ResolvedAgentConfig, broker: BrokerAddress, egress: Egress): Dialler[] {
  return chooseDiallers(config.link, {
    grpc: () => grpcDialler({ url: broker.grpc, ca: broker.ca, egress }),
    ws: () => wsDialler({ url: broker.url, ca: broker.ca, egress }),
  });
}

/** A model folder that cannot be read is left out, and said: the others still serve. */
async function measureModels(folders: readonly string[], log: Logger): Promise<Map<string, string>> {
  const digests = createFileDigests();
  const found = new Map<string, string>();
  for (const folder of folders) {
    try {
      const { digest } = await measureDirectory(folder, digests);
      found.set(digest, folder);
      log.info({ folder, digest }, 'model');
    } catch (reason) {
      log.error({ folder, err: reason }, 'model left out');
    }
  }
  return found;
}

interface SchedulerSetting extends JobSetting {
  /** Where the blocks' folders are. */
  readonly folder: string;
}

function openScheduler(
  config: ResolvedAgentConfig,
  log: Logger,
  setting: SchedulerSetting,
  watch: AgentWatch,
): Scheduler & Disposable {
  const { scheduler, batch } = config.blocks;
  if (scheduler === 'local') {
    return createLocalScheduler({
      pilot: setting.pilot,
      env: config.env,
      logFile: ({ block }) => setting.logFile(block),
      clock: systemClock,
      random: systemRandom,
      hostname: hostname(),
    });
  }
  const driver = createDriver(scheduler, batch);
  // What the scheduler cannot say is refused now, not when the first task waits.
  renderExample(driver, setting, setting.folder);
  const run = createRunner({
    clock: systemClock,
    env: commandEnv(process.env, driver.passEnv, batch.commandPath ?? BATCH_DEFAULTS.commandPath),
    cwd: setting.folder,
    timeoutMs: (batch.commandS ?? BATCH_DEFAULTS.commandS) * 1000,
  });
  return createBatchScheduler({ ...setting, driver, run: watch.command(run), clock: systemClock, log });
}

async function main(argv: readonly string[]): Promise<number> {
  const [path, ...rest] = argv;
  if (path === undefined || path.startsWith('-') || rest.length > 0) {
    process.stderr.write('farfield-agent STATE_FOLDER\n');
    return EXIT.usage;
  }
  const folder = agentFolder(path);
  prepareFolder(folder);
  const config = readAgentConfig(folder.config);
  const log = createLogger({ name: 'agent', level: config.logLevel });
  using _lock = lockFolder(folder.root);
  const { kind } = checkStateFolder(folder.root, config.state, log);
  const onLost = (reason: FarfieldError): never => {
    log.fatal({ err: reason }, 'another host has the folder of this endpoint');
    process.exit(EXIT.refused);
  };
  using _claim =
    kind === 'local' || kind === 'memory'
      ? undefined
      : await claimHost({ folder: folder.root, clock: systemClock, random: systemRandom, log, onLost });
  using service = openServiceManager({ env: process.env, clock: systemClock, log });
  const egress = siteEgress(config.network, process.env);
  forgetEnd(folder);
  noteBuild(folder, readBuild());
  const broker = readBroker(folder);
  const logFile = (block: string): string => `${folder.blocks}/${block}/pilot.log`;
  const node = process.execPath;
  const identity = openIdentity(folder, systemClock.now() / 1000);
  const metrics = createAgentMetrics();
  using audit = openAudit({ file: folder.audit, config: config.audit, clock: systemClock, log });
  const watch = createWatch({ metrics, audit, clock: systemClock });
  const setting = {
    endpoint: identity.current.endpoint,
    config: config.blocks.batch,
    pilot: [node, ...SERVER_FLAGS, program('pilot')],
    logFile,
    folder: folder.blocks,
  } as const;
  using scheduler = openScheduler(config, log, setting, watch);
  const agent = await Agent.start({
    folder,
    config,
    identity,
    broker,
    diallers: diallersOf(config, broker, egress),
    egress,
    scheduler: watch.scheduler(scheduler),
    watch,
    onIdle: giveMemoryBack,
    models: await measureModels(config.models, log),
    runner: config.runner ?? { command: node, args: [program('runner')] },
    logFile,
    uid: process.getuid?.() ?? -1,
    hostname: hostname(),
    pid: process.pid,
    clock: systemClock,
    random: systemRandom,
    log,
  });
  await using _control = await serveControl(folder.control, controlHandlers(agent));
  await using _health =
    config.health === undefined
      ? undefined
      : await openAgentHealth({
          config: config.health,
          socket: folder.health,
          status: () => agent.status(),
          probe: () => agent.probe(),
          metrics,
          facts: () => ({
            residentBytes: process.memoryUsage.rss(),
            nowS: systemClock.now() / 1000,
            version: buildText(readBuild()),
          }),
          clock: systemClock,
        });
  audit.note('start', { version: buildText(readBuild()), pid: process.pid });
  service.ready(`endpoint ${identity.current.name}`);
  const leave = (): void => {
    service.stopping();
    void agent.stop({ blocks: false });
  };
  process.once('SIGTERM', leave);
  process.once('SIGINT', leave);
  process.on('SIGHUP', () => void agent.reload().catch((error: unknown) => log.error({ err: error }, 'not reloaded')));
  const end = await agent.ended;
  if (end === undefined) return EXIT.ok;
  noteEnd(folder, end, systemClock.now() / 1000);
  return EXIT.unavailable;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (reason: unknown) => {
    const error = FarfieldError.from(reason);
    process.stderr.write(
      `${JSON.stringify({ level: 'fatal', err: { code: error.code, message: error.message, stack: error.code === 'E_INTERNAL' ? error.stack : undefined }, msg: error.message })}\n`,
    );
    process.exit(error.code === 'E_INTERNAL' ? EXIT.defect : EXIT.refused);
  },
);
