/** The blocks of an agent, from its configuration. */
import { availableParallelism } from 'node:os';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/log.ts';
import type { Random } from '#base/random.ts';
import type { ResolvedAgentConfig } from '../config.ts';
import type { AgentFolder } from '../identity/folder.ts';
import type { IdentitySource } from '../identity/identity.ts';
import type { BlocksOptions } from './block.ts';
import { Blocks } from './blocks.ts';
import type { Doorplate } from './doors.ts';

/** A local pilot that stays silent for this long is stopped or stuck: it dials every two seconds (pilot/limits.ts). */
const LOCAL_AWAY_MS = 30_000;
/** Elsewhere a cable may be out for a minute; work that is held for longer than this is worth a second start. */
const AWAY_MS = 120_000;
/** A pilot without an agent ends by itself after its grace; then its job's end is a matter of moments. */
const ABANDON_MARGIN_MS = 30_000;
/** A scheduler that refused twice in a row is asked a third time after this; the machine itself at once. */
const RETRY_MS = 60_000;

type Wired =
  | 'scheduler'
  | 'ledger'
  | 'engine'
  | 'breaker'
  | 'pilots'
  | 'groups'
  | 'held'
  | 'userOf'
  | 'onWaiting'
  | 'logFile';

export interface OpenBlocksOptions extends Pick<BlocksOptions, Wired> {
  readonly config: ResolvedAgentConfig;
  readonly folder: AgentFolder;
  readonly identity: IdentitySource;
  readonly doorplate: () => Doorplate | undefined;
  readonly runner: { readonly command: string; readonly args: readonly string[] };
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

export function openBlocks(options: OpenBlocksOptions): Blocks {
  const { config, folder, identity, doorplate, runner } = options;
  const { scheduler, slots, maxBlocks, minBlocks, initBlocks, perCall, idleS, graceS } = config.blocks;
  const local = scheduler === 'local';
  const { cpus = 0, memMiB = 0, gpus = 0, exclusive } = config.blocks.batch;
  // Whole nodes are as large as they are; their pilots say it. A pilot here has the agent's own cores.
  if (exclusive !== true)
    options.engine.nodeSize({ cores: local ? availableParallelism() : cpus, memMiB, gpus, accelerator: '' });
  return new Blocks({
    ...options,
    signer: () => identity.current.signer,
    facts: () => ({
      agent: identity.current.endpoint,
      socket: folder.pilots,
      tls: doorplate(),
      slots,
      graceS,
      runner,
      env: config.env,
      containers: {
        images: config.containers.images ?? folder.images,
        apptainer: config.containers.apptainer,
        podman: config.containers.podman,
        gpu: config.containers.gpu,
      },
    }),
    folder: folder.blocks,
    slots,
    memMiB: config.blocks.batch.memMiB,
    maxBlocks,
    minBlocks,
    initBlocks,
    perCall,
    idleMs: idleS * 1000,
    awayMs: local ? LOCAL_AWAY_MS : AWAY_MS,
    abandonMs: local ? LOCAL_AWAY_MS : Math.max(AWAY_MS, graceS * 1000 + ABANDON_MARGIN_MS),
    retryMs: local ? 0 : RETRY_MS,
  });
}
