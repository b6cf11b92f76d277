/**
 * `config.yaml` of an endpoint: how it runs things. Who may run what is the policy's, never this file's.
 *
 * Every default stands here with its reason; nothing is optional after `resolveAgentConfig`.
 */
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { isAbsolute } from 'node:path';
import { type Static, Type as T } from 'typebox';
import type { HealthConfig } from '#base/health.ts';
import type { LinkChoice } from '#base/link/supervisor.ts';
import { readYaml } from '#base/yaml.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { DEFAULT_RETENTION_S } from '#kernel/limits.ts';
import { AuditShape, type ResolvedAudit, resolveAudit } from './audit.ts';
import { HealthShape } from './health.ts';
import { type NetworkConfig, NetworkShape } from './network.ts';
import { siteShape } from './schedulers/jobs.ts';
import { BATCH_SCHEDULERS, type BatchConfig, type BatchSchedulerName, BatchShape } from './schedulers/options.ts';
import type { BlockShape } from './schedulers/scheduler.ts';
import { type StateConfig, StateShape } from './state-folder.ts';

const closed = { additionalProperties: false } as const;
const Path = T.String({ pattern: '^/', maxLength: 4096 });
const Text = T.String({ maxLength: 4096 });
/** A name on the launchers' path, or an absolute file. */
const Program = T.String({ pattern: '^(/.*|[A-Za-z0-9._-]+)$', maxLength: 4096 });

const Port = T.Integer({ minimum: 1, maximum: 65_535 });

const ListenShape = T.Object(
  {
    on: T.Optional(
      T.Array(T.String({ minLength: 1, maxLength: 64 }), {
        maxItems: 16,
        description: 'names or addresses of interfaces; default: all',
      }),
    ),
    ports: T.Optional(
      T.Array(Port, { minItems: 2, maxItems: 2, description: 'first and last port that a firewall lets through' }),
    ),
    advertise: T.Optional(
      T.Array(T.String({ pattern: '^[A-Za-z0-9._:\\[\\]-]+$', maxLength: 256 }), {
        maxItems: 16,
        description: 'names or addresses, each with or without a port, that pilots try before those of the interfaces',
      }),
    ),
  },
  {
    ...closed,
    description: 'where pilots on other hosts dial the agent, over TLS; batch schedulers have it without asking',
  },
);

export const AgentConfigShape = T.Object(
  {
    link: T.Optional(
      T.Enum(['grpc', 'ws', 'auto'], { description: 'auto: gRPC, then WebSocket, which passes more proxies' }),
    ),
    blocks: T.Optional(
      T.Object(
        {
          scheduler: T.Optional(
            T.Enum(['local', ...BATCH_SCHEDULERS], { description: 'local: pilots on this machine' }),
          ),
          batch: T.Optional(BatchShape),
          slots: T.Optional(T.Integer({ minimum: 1, maximum: 4096, description: 'concurrent places of one pilot' })),
          maxBlocks: T.Optional(T.Integer({ minimum: 1, maximum: 1000 })),
          minBlocks: T.Optional(
            T.Integer({ minimum: 0, maximum: 1000, description: 'blocks that are kept while nobody calls' }),
          ),
          initBlocks: T.Optional(
            T.Integer({ minimum: 0, maximum: 1000, description: 'blocks that are begun when the agent starts' }),
          ),
          perCall: T.Optional(
            T.Boolean({ description: 'a block for each call, for sites that account for every call' }),
          ),
          idleS: T.Optional(
            T.Integer({ minimum: 1, maximum: 86_400, description: 'a block without work for this long ends' }),
          ),
          graceS: T.Optional(
            T.Integer({ minimum: 1, maximum: 86_400, description: 'how long pilots wait for an agent that is away' }),
          ),
          listen: T.Optional(ListenShape),
        },
        closed,
      ),
    ),
    threadsPerSlot: T.Optional(T.Integer({ minimum: 1, maximum: 4096 })),
    runner: T.Optional(
      T.Object(
        { command: Path, args: T.Optional(T.Array(Text, { maxItems: 64 })) },
        { ...closed, description: 'instead of the built-in runner' },
      ),
    ),
    env: T.Optional(
      T.Record(T.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]*$' }), Text, {
        description: 'the whole environment of runners',
      }),
    ),
    containers: T.Optional(
      T.Object(
        {
          images: T.Optional(T.String({ ...Path, description: 'folder of the image cache, seen by every node' })),
          cacheMiB: T.Optional(T.Integer({ minimum: 16 })),
          apptainer: T.Optional(Program),
          podman: T.Optional(Program),
          gpu: T.Optional(
            T.Enum(['nvidia', 'amd', 'none'], { description: 'whose driver functions with gpus are given' }),
          ),
        },
        closed,
      ),
    ),
    models: T.Optional(T.Array(Path, { maxItems: 1024, description: 'folders of models; each holds a model.json' })),
    shareModelRunners: T.Optional(
      T.Boolean({ description: 'built-in adapters of `model` functions serve several users with one warm runner' }),
    ),
    retentionS: T.Optional(
      T.Integer({ minimum: 60, description: 'how long after `exp` an ended ticket is remembered' }),
    ),
    blobCacheMiB: T.Optional(T.Integer({ minimum: 16 })),
    ledgerMaxMiB: T.Optional(T.Integer({ minimum: 1, description: 'bound of ledger.db; the disk decides without it' })),
    network: T.Optional(NetworkShape),
    state: T.Optional(StateShape),
    health: T.Optional(HealthShape),
    audit: T.Optional(AuditShape),
    allowOlderEpoch: T.Optional(
      T.Boolean({ description: 'take tickets from before the ledger was lost: they may run twice' }),
    ),
    logLevel: T.Optional(T.Enum(['debug', 'info', 'warn', 'error'])),
  },
  { ...closed, title: 'Farfield endpoint configuration' },
);

export type AgentConfig = Static<typeof AgentConfigShape>;

export interface ResolvedListen {
  /** Empty: all interfaces. */
  readonly on: readonly string[];
  /** [0, 0]: any. */
  readonly ports: readonly [number, number];
  readonly advertise: readonly string[];
}

export interface ResolvedAgentConfig {
  readonly link: LinkChoice;
  readonly blocks: {
    readonly scheduler: 'local' | BatchSchedulerName;
    readonly batch: BatchConfig;
    /** What a block asks for unless its work wants otherwise. */
    readonly shape: BlockShape;
    readonly slots: number;
    readonly maxBlocks: number;
    readonly minBlocks: number;
    readonly initBlocks: number;
    readonly perCall: boolean;
    readonly idleS: number;
    readonly graceS: number;
    /** Undefined: a Unix socket only. */
    readonly listen: ResolvedListen | undefined;
  };
  readonly threadsPerSlot: number;
  /** Undefined: the runner that came with this agent. */
  readonly runner: { readonly command: string; readonly args: readonly string[] } | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly containers: {
    /** Undefined: `images` in the endpoint's folder. */
    readonly images: string | undefined;
    readonly cacheBytes: number;
    readonly apptainer: string;
    readonly podman: string;
    readonly gpu: 'nvidia' | 'amd' | 'none';
  };
  readonly models: readonly string[];
  readonly shareModelRunners: boolean;
  readonly retentionS: number;
  readonly blobCacheBytes: number;
  /** Pages of 4 KiB; 0 leaves it to the disk. */
  readonly ledgerMaxPages: number;
  readonly network: NetworkConfig;
  readonly state: StateConfig;
  /** Undefined: off. */
  readonly health: HealthConfig | undefined;
  readonly audit: ResolvedAudit;
  readonly allowOlderEpoch: boolean;
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error';
}

const MiB = 1024 * 1024;
/** A pilot of this machine ends when it is idle, not when it is old. */
const LOCAL_WALL_S = 365 * 86_400;
const DEFAULTS = {
  link: 'auto',
  scheduler: 'local',
  /** One pilot serves a whole machine; more blocks are for batch schedulers. */
  maxBlocks: 1,
  /** Long enough for a person between two notebook cells, short enough that a laptop's fan stops. */
  idleS: 600,
  /** An agent's upgrade takes seconds; a pilot that waits longer holds a node for nobody. */
  graceS: 600,
  /** What programs expect to find; nothing of the agent's own environment, which may hold tokens. */
  env: { PATH: '/usr/local/bin:/usr/bin:/bin', LANG: 'C.UTF-8' },
  blobCacheMiB: 10 * 1024,
  /** A few dozen images of the usual size. */
  imageCacheMiB: 50 * 1024,
} as const;

export function resolveAgentConfig(config: AgentConfig, cores: number = availableParallelism()): ResolvedAgentConfig {
  for (const folder of config.models ?? []) {
    if (!isAbsolute(folder)) throw new FarfieldError('E_USAGE', `models: ${folder} is no absolute path`);
  }
  const blocks = config.blocks ?? {};
  const slots = blocks.slots ?? cores;
  const scheduler = blocks.scheduler ?? DEFAULTS.scheduler;
  const batch = blocks.batch ?? {};
  if (scheduler === 'local' && blocks.batch !== undefined) {
    throw new FarfieldError(
      'E_USAGE',
      'blocks.batch is for batch schedulers, and blocks.scheduler is local; leave one out',
    );
  }
  return {
    link: config.link ?? DEFAULTS.link,
    blocks: {
      scheduler,
      batch,
      shape: scheduler === 'local' ? { nodes: 1, wallS: LOCAL_WALL_S } : siteShape(batch),
      slots,
      maxBlocks: blocks.maxBlocks ?? DEFAULTS.maxBlocks,
      minBlocks: blocks.minBlocks ?? 0,
      initBlocks: blocks.initBlocks ?? 0,
      perCall: blocks.perCall ?? false,
      idleS: blocks.idleS ?? DEFAULTS.idleS,
      graceS: blocks.graceS ?? DEFAULTS.graceS,
      listen: resolveListen(blocks.listen, scheduler),
    },
    // A model's threads may use the whole machine while its slot is the only busy one: that is the usual case of one user.
    threadsPerSlot: config.threadsPerSlot ?? cores,
    runner:
      config.runner === undefined ? undefined : { command: config.runner.command, args: config.runner.args ?? [] },
    env: config.env ?? DEFAULTS.env,
    containers: {
      images: config.containers?.images,
      cacheBytes: (config.containers?.cacheMiB ?? DEFAULTS.imageCacheMiB) * MiB,
      apptainer: config.containers?.apptainer ?? 'apptainer',
      podman: config.containers?.podman ?? 'podman',
      gpu: config.containers?.gpu ?? 'none',
    },
    models: config.models ?? [],
    shareModelRunners: config.shareModelRunners ?? false,
    retentionS: config.retentionS ?? DEFAULT_RETENTION_S,
    blobCacheBytes: (config.blobCacheMiB ?? DEFAULTS.blobCacheMiB) * MiB,
    ledgerMaxPages: (config.ledgerMaxMiB ?? 0) * (MiB / 4096),
    network: config.network ?? {},
    state: { onNetwork: config.state?.onNetwork ?? 'refuse' },
    health: config.health,
    audit: resolveAudit(config.audit),
    allowOlderEpoch: config.allowOlderEpoch ?? false,
    logLevel: config.logLevel ?? 'info',
  };
}

/** Pilots of this machine have a socket: no port is opened for them unless somebody asks. */
function resolveListen(
  listen: Static<typeof ListenShape> | undefined,
  scheduler: ResolvedAgentConfig['blocks']['scheduler'],
): ResolvedListen | undefined {
  if (listen === undefined && scheduler === 'local') return undefined;
  const [first = 0, last = 0] = listen?.ports ?? [];
  if (first > last) throw new FarfieldError('E_USAGE', `blocks.listen.ports: ${first} is above ${last}`);
  return { on: listen?.on ?? [], ports: [first, last], advertise: listen?.advertise ?? [] };
}

/** The file's configuration, or the defaults where there is none. */
export function readAgentConfig(path: string): ResolvedAgentConfig {
  return resolveAgentConfig(existsSync(path) ? readYaml(path, AgentConfigShape) : {});
}

/** What `endpoint init` writes: every key with its meaning, nothing in force. */
export const CONFIG_TEMPLATE = `# How this endpoint runs things. Every key may be left out; what stands here are the defaults.
# link: auto              # grpc, ws, or auto (gRPC, then WebSocket)
# blocks:
#   scheduler: local      # pilots on this machine; or slurm, pbs, lsf, gridengine, htcondor, flux, kubernetes
#   slots: 2              # concurrent places; default: one a core
#   idleS: 600            # a block without work for this long ends
# threadsPerSlot: 2       # threads of one model
# containers:
#   images: /shared/images # image cache, seen by every node; default: images in this folder
#   cacheMiB: 51200
#   gpu: none             # or nvidia, amd
# models: []              # absolute folders, each with a model.json
# shareModelRunners: false
# retentionS: 604800      # how long ended work is remembered after its expiry
# blobCacheMiB: 10240
# network:
#   proxy: http://proxy.site.example:3128   # default: HTTPS_PROXY; or: none
#   noProxy: .site.example                  # default: NO_PROXY
#   ca: /etc/site/ca.pem                    # the site's own CA, trusted beside the broker's
`;

/** What \`endpoint init\` writes as policy: default deny, until its admin trusts somebody. */
export function policyTemplate(endpoint: string): string {
  return `# Who may run what on this endpoint. Nothing is allowed unless a rule says so; the first rule that matches decides.
# Check a call against it with: farfield policy test CALL.json   (the user makes it: farfield submit ... --save CALL.json)
endpoint: ${endpoint}
authorities:
  pinned: []              # written by: farfield endpoint trust KID --sub NAME --until DATE
  publishers: []          # - { name: lab, jwks: [{ kty: OKP, crv: Ed25519, x: ... }], threshold: 1 }
rules: []
# - name: lab models for alice
#   who: { pin: alice }
#   functions: { publisher: lab, names: ["lab/*"] }
#   args: [json, npy, hdf5]
#   paths: { read: [/data/alice], write: [] }
#   runtimes: [process]   # contains nothing: for functions of people you trust with this account
#   resources: { nodes: 1, wallS: 3600, concurrent: 8 }
`;
}
