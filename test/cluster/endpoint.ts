/** An endpoint of an ordinary user on the head of a cluster: enrolled, configured, trusted, started, by that user's own verbs. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse as parseYaml } from 'yaml';
import type { AgentStatus } from '../../agent/control.ts';
import { type Cluster, KEPT, REPO, type User } from './cluster.ts';
import type { Verb } from './people.ts';

export const MODEL_FOLDER = join(REPO, 'models/braggnn');
/** containers/build.sh onnx */
export const ARCHIVE = join(KEPT, 'images', 'onnx.oci.tar');

/** The image that functions run in; made once. */
export function prepareImage(): void {
  if (existsSync(ARCHIVE)) return;
  mkdirSync(dirname(ARCHIVE), { recursive: true });
  const { status } = spawnSync(join(REPO, 'containers/build.sh'), ['onnx', dirname(ARCHIVE)], {
    cwd: REPO,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status !== 0) throw new Error('containers/build.sh could not make the image');
}

export type RuntimeName = 'apptainer' | 'process';

export interface EndpointOptions {
  readonly name: string;
  readonly user: User;
  /** A file of config/sites, word for word; without it a small block, so that several fit. */
  readonly site?: string;
  /** Of config.yaml, over what the site says. */
  readonly blocks?: Record<string, unknown>;
  readonly batch?: Record<string, unknown>;
}

export interface Endpoint {
  readonly id: string;
  readonly name: string;
  readonly user: User;
  /** Its folder, on head. */
  readonly state: string;
  /** `oci:` digest of the image that it has; empty where it runs plain processes. */
  readonly image: string;
  verb: Verb;
  status(): Promise<AgentStatus>;
  /** Everything that the agent has logged. */
  log(): string;
  /** Stops the agent and its blocks, writes config.yaml anew, starts it. */
  configure(blocks?: Record<string, unknown>, batch?: Record<string, unknown>): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** What an endpoint needs of its world. */
export interface EndpointPlace {
  readonly cluster: Cluster;
  readonly runtime: RuntimeName;
  readonly site: Verb;
  readonly invite: (endpoint: string) => Promise<string>;
  readonly scientist: string;
  readonly publisher: unknown;
}

interface SiteConfig {
  readonly blocks: Record<string, unknown> & { readonly batch: Record<string, unknown> };
}

const OWN_SITE: SiteConfig = {
  blocks: {
    scheduler: 'slurm',
    slots: 2,
    maxBlocks: 1,
    idleS: 600,
    batch: { queue: 'gpu', cpus: 2, memMiB: 1500, wallS: 900, statusS: 5 },
  },
};

export async function makeEndpoint(place: EndpointPlace, options: EndpointOptions): Promise<Endpoint> {
  const { cluster, site, runtime } = place;
  const { name, user } = options;
  const made = await site('endpoint', 'init', '--name', name);
  const id = String(made.endpoint);
  const state = String(made.state);
  await site('endpoint', 'join', await place.invite(id));
  const put = async (file: string, value: unknown): Promise<void> => {
    const { code, stderr } = await cluster.run('head', ['sh', '-c', 'umask 077; cat > "$1"', 'sh', join(state, file)], {
      user,
      // JSON is YAML.
      input: JSON.stringify(value, undefined, 2),
    });
    if (code !== 0) throw new Error(stderr);
  };
  const config = (blocks?: Record<string, unknown>, batch?: Record<string, unknown>): Promise<void> =>
    put('config.yaml', configOf(options, blocks, batch));
  await config();
  await put('policy.yaml', policyOf(id, options, place));
  await site('endpoint', 'trust', place.scientist, '--sub', 'sci', '--until', '2h');
  const start = async (): Promise<void> => void (await site('endpoint', 'start', '--detach', '--name', name));
  const stop = async (): Promise<void> => void (await site('endpoint', 'stop', '--name', name));
  const image = runtime === 'apptainer' ? await convert(place, name) : '';
  await start();
  await hideSocket(cluster, state);
  return {
    id,
    name,
    user,
    state,
    image,
    verb: site,
    status: async () => (await site('endpoint', 'status', '--name', name)) as unknown as AgentStatus,
    log: () => readFileSync(cluster.path('head', join(state, 'agent.log')), 'utf8'),
    async configure(blocks, batch) {
      await stop();
      await config(blocks, batch);
      await start();
    },
    start,
    stop,
  };
}

/**
 * The hosts of a virtual cluster have one kernel, so a Unix socket in a shared folder would work between them, which it does on
 * no cluster: nodes see an empty folder in its place, and pilots must come over the network.
 */
async function hideSocket(cluster: Cluster, state: string): Promise<void> {
  for (const node of ['node1', 'node2'] as const)
    await cluster.sh(node, `mount -t tmpfs -o ro,mode=700 nothing '${join(state, 'run')}'`);
}

async function convert({ cluster, site }: EndpointPlace, name: string): Promise<string> {
  const shared = '/shared/onnx.oci.tar';
  if (!existsSync(cluster.path('head', shared))) copyFileSync(ARCHIVE, cluster.path('head', shared));
  const { oci } = await site('image', 'convert', `oci-archive:${shared}`, '--name', name);
  return String(oci);
}

function configOf({ site, user, ...more }: EndpointOptions, blocks = {}, batch = {}): unknown {
  const base =
    site === undefined ? OWN_SITE : (parseYaml(readFileSync(join(REPO, 'config/sites', site), 'utf8')) as SiteConfig);
  return {
    ...base,
    models: [MODEL_FOLDER],
    containers: { images: `/home/${user}/images` },
    blocks: { ...base.blocks, ...more.blocks, ...blocks, batch: { ...base.blocks.batch, ...more.batch, ...batch } },
  };
}

function policyOf(endpoint: string, { user, batch }: EndpointOptions, { publisher, runtime }: EndpointPlace): unknown {
  const nodes = Number(batch?.nodes ?? 1);
  return {
    endpoint,
    authorities: { pinned: [], publishers: [{ name: 'lab', jwks: [publisher] }] },
    rules: [
      {
        name: 'the lab’s functions',
        who: { pin: 'sci' },
        ...(nodes > 1 ? { kinds: ['model', 'mpi'] } : {}),
        functions: { publisher: 'lab', names: ['*'] },
        paths: { read: [MODEL_FOLDER, `/home/${user}/data`], write: [] },
        runtimes: [runtime],
        resources: { nodes, wallS: 3600, concurrent: 10_000 },
      },
    ],
  };
}
