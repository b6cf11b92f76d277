/**
 * farfield-broker STATE_FOLDER: the broker's process. Builds its objects by hand; it alone reads arguments, environment and
 * the real clock.
 */
import { buildText, readBuild } from '#base/build.ts';
import { systemClock } from '#base/clock.ts';
import { serveControl } from '#base/control.ts';
import { lockFolder } from '#base/files.ts';
import { createLogger } from '#base/log.ts';
import { systemRandom } from '#base/random.ts';
import { openServiceManager } from '#base/service-manager.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { adminHandlers } from './admin.ts';
import { startBroker } from './broker.ts';
import { brokerFolder, readBrokerConfig } from './config.ts';
import { openBrokerHealth } from './health.ts';
import { openSqliteStore } from './store/sqlite.ts';

const EXIT = { ok: 0, usage: 2, refused: 3, storeDied: 6, defect: 70 } as const;

async function main(argv: readonly string[]): Promise<number> {
  const [path, ...rest] = argv;
  if (path === undefined || path.startsWith('-') || rest.length > 0) {
    process.stderr.write('farfield-broker STATE_FOLDER\n');
    return EXIT.usage;
  }
  const folder = brokerFolder(path);
  const config = readBrokerConfig(folder);
  const log = createLogger({ name: 'broker', level: config.logLevel });
  using _lock = lockFolder(folder.root);
  const { maxPageCount } = config;
  const store = await openSqliteStore({ file: folder.database, ...(maxPageCount === 0 ? {} : { maxPageCount }) });
  const broker = await startBroker({ folder, config, store, clock: systemClock, random: systemRandom, log });
  using service = openServiceManager({ env: process.env, clock: systemClock, log });
  const { promise: asked, resolve: stop } = Promise.withResolvers<void>();
  const control = await serveControl(
    folder.control,
    adminHandlers(broker, () => stop()),
  );
  const startedS = systemClock.now() / 1000;
  const health =
    config.health === undefined
      ? undefined
      : await openBrokerHealth({
          config: config.health,
          socket: folder.health,
          broker,
          process: () => ({ residentBytes: process.memoryUsage.rss(), startedS, version: buildText(readBuild()) }),
          clock: systemClock,
        });
  process.once('SIGTERM', () => stop());
  process.once('SIGINT', () => stop());
  service.ready('serving');
  const reason = await Promise.race([asked, broker.ended]);
  service.stopping();
  await health?.[Symbol.asyncDispose]();
  await broker[Symbol.asyncDispose]();
  // Last: whoever stopped us asks this socket whether we are gone.
  await control.close();
  if (reason === undefined) return EXIT.ok;
  log.fatal({ err: FarfieldError.from(reason) }, 'the store died');
  return EXIT.storeDied;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (reason: unknown) => {
    const error = FarfieldError.from(reason);
    const { code, message } = error;
    process.stderr.write(
      `${JSON.stringify({ level: 'fatal', code, msg: message, ...(code === 'E_INTERNAL' ? { stack: error.stack } : {}) })}\n`,
    );
    process.exit(code === 'E_INTERNAL' ? EXIT.defect : EXIT.refused);
  },
);
