/**
 * farfield-pilot FOLDER: the process on each node of a block. FOLDER is private and holds block.json (protos/block-file.ts).
 *
 * It starts on every node, so it imports neither gRPC nor HTTP nor a schema library, and is shipped as one built file.
 */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, hostname, totalmem } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { createFileDigests } from '#base/file-digests.ts';
import { openPrivateFolder, readSecret } from '#base/files.ts';
import type { Dialler } from '#base/link/seam.ts';
import { type TlsAddresses, tlsDialler } from '#base/link/tls-dial.ts';
import { unixDialler } from '#base/link/unix.ts';
import { outerTree, probeContainment } from '#base/process.ts';
import { systemRandom } from '#base/random.ts';
import { fromUtf8 } from '#kernel/bytes.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { generateKey, signerFrom } from '#kernel/sign.ts';
import { BLOCK_FILE, type BlockFile, parseBlockFile } from '#protos/block-file.ts';
import { freePort } from './free-port.ts';
import { findGpus } from './gpus.ts';
import { createPilotLogger } from './log.ts';
import { sizeOf } from './node.ts';
import { Pilot } from './pilot.ts';
import { openRuntimes } from './runtimes/runtimes.ts';
import { graceAfterSignal, readWalltime } from './walltime.ts';

const EXIT = { ok: 0, usage: 2, unreached: 6, defect: 70 } as const;

/**
 * The socket first: beside the agent it is the shorter way, and on another host it refuses at once. The addresses are read
 * anew at each dial, since an agent that came back may listen elsewhere.
 */
function diallersOf(folder: string, block: BlockFile): Dialler[] {
  const unix = unixDialler({ path: block.socket });
  let known = block.tls;
  if (known === undefined) return [unix];
  const where = (): TlsAddresses => {
    try {
      known = parseBlockFile(fromUtf8(readSecret(join(folder, BLOCK_FILE)))).tls ?? known;
    } catch {
      // A shared folder that is away for a moment: what was known stands.
    }
    return known ?? { addresses: [], pin: '' };
  };
  return [unix, tlsDialler({ where, clock: systemClock })];
}

function listed(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

async function main(argv: readonly string[]): Promise<number> {
  const [folder, ...rest] = argv;
  if (folder === undefined || folder.startsWith('-') || rest.length > 0) {
    process.stderr.write('farfield-pilot FOLDER\n');
    return EXIT.usage;
  }
  openPrivateFolder(folder);
  const block = parseBlockFile(fromUtf8(readSecret(join(folder, BLOCK_FILE))));
  const log = createPilotLogger((line) => process.stderr.write(line), systemClock.now);
  // Asked once, while the first hello is on its way.
  const containment = probeContainment();
  const digests = createFileDigests();
  const runtime = openRuntimes({
    block,
    // Runners stay findable for the agent that ends this block, also when this pilot died before them.
    outer: outerTree(process.env),
    containment: () => containment,
    digests,
    clock: systemClock,
    random: systemRandom,
  });
  const scratch = (name: string): string => {
    const path = join(folder, 'scratch', name);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  };
  const walltime = readWalltime(process.env, systemClock.now());
  const gpus = findGpus(block.containers?.gpu ?? 'none', process.env, [...listed('/dev'), ...listed('/dev/dri')]);
  const machine = { cores: availableParallelism(), memBytes: totalmem(), env: process.env, read: textOf };
  const pilot = new Pilot({
    block,
    diallers: diallersOf(folder, block),
    signer: signerFrom(generateKey()),
    clock: systemClock,
    random: systemRandom,
    digests,
    runtime,
    scratchDir: (slot) => scratch(`slot-${slot}`),
    spillDir: scratch('args'),
    // As the scheduler calls it, where it says so: the agent compares it with the job's nodes.
    node: process.env.SLURMD_NODENAME ?? hostname(),
    walltime,
    gpus,
    freePort,
    size: sizeOf(block.slots, machine, gpus),
    pid: process.pid,
    log,
  });
  // A scheduler's warning before the walltime (LSF and Grid Engine send USR2), a cancel, or an agent that ends its block. The
  // second one is meant.
  const inJob = process.env.FARFIELD_JOB !== undefined;
  let signals = 0;
  for (const name of ['SIGTERM', 'SIGINT', 'SIGUSR2'] as const) {
    process.on(name, () => {
      signals += 1;
      const graceMs = signals > 1 ? 0 : graceAfterSignal(walltime, inJob, systemClock.now());
      pilot.stop(`${name} from the scheduler`, graceMs).catch((error: unknown) => log.error(error, 'the stop failed'));
    });
  }
  const why = await pilot.run();
  log.info({ why }, 'ended');
  if (pilot.welcomed) return EXIT.ok;
  // The last words of a block that never began: the endpoint shows them to everybody who waits.
  process.stderr.write(`farfield-pilot on ${hostname()} never reached its agent: ${why}\n`);
  return EXIT.unreached;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (reason: unknown) => {
    const error = FarfieldError.from(reason);
    process.stderr.write(
      `${reason instanceof FarfieldError ? `${error.code} ${error.message}` : (error.stack ?? error.message)}\n`,
    );
    process.exit(EXIT.defect);
  },
);
