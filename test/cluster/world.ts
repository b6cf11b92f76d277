/**
 * Farfield on a virtual cluster, made with the verbs that people type: a broker on `cloud`, an agent of an ordinary user on
 * `head` whose blocks are Slurm jobs, a scientist on `desk`. Nothing is switched off.
 *
 * 1. This process must be in the network of `desk` (main.ts starts it there): the client library runs here, and the verbs too.
 * 2. Functions run in Apptainer containers of the project's own image, unless `process` is asked for.
 */
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { openManifest } from '#kernel/tokens/manifest.ts';
import type { AgentStatus } from '../../agent/control.ts';
import { type Client, createClient } from '../../client/ts/client.ts';
import { openHome } from '../../client/ts/home.ts';
import type { Outcome } from '../../client/ts/outcome.ts';
import type { TicketTerms } from '../../client/ts/submission.ts';
import type { Progress, Ticket } from '../../client/ts/tracker.ts';
import { type Cluster, KEPT, type Ran, REPO, type User, until } from './cluster.ts';

export const MODEL_FOLDER = join(REPO, 'models/braggnn');
export const ARCHIVE = join(KEPT, 'images', 'onnx.oci.tar');
const CLOUD = '10.77.0.4';
const cli = (built: boolean): string => (built ? join(REPO, 'dist/farfield.mjs') : join(REPO, 'client/cli/main.ts'));

export interface EndpointOptions {
  readonly name: string;
  readonly user: User;
  /** A file of config/sites, word for word; without it a small block, so that several fit. */
  readonly site?: string;
  /** Of config.yaml, over what the site says. */
  readonly blocks?: Record<string, unknown>;
  readonly batch?: Record<string, unknown>;
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

function siteFile(name: string): SiteConfig {
  return parseYaml(readFileSync(join(REPO, 'config/sites', name), 'utf8')) as SiteConfig;
}

export interface Endpoint {
  readonly id: string;
  readonly name: string;
  readonly user: User;
  /** On head. */
  readonly state: string;
  json(...args: string[]): Promise<Record<string, unknown>>;
  status(): Promise<AgentStatus>;
  /** Everything that the agent has logged. */
  log(): string;
  /** Writes config.yaml anew and starts the agent again with it. */
  configure(blocks?: Record<string, unknown>, batch?: Record<string, unknown>): Promise<void>;
  stop(): Promise<void>;
}

export interface Call {
  readonly ticket: Ticket;
  readonly progress: Progress[];
  outcome(): Promise<Outcome>;
}

export interface World extends AsyncDisposable {
  readonly cluster: Cluster;
  readonly client: Client;
  readonly image: string;
  addEndpoint(options: EndpointOptions): Promise<Endpoint>;
  /** Signs a function of the noop adapter; its manifest. */
  noop(name: string, entry?: Record<string, unknown>, adapter?: 'noop' | 'fake'): Promise<string>;
  bragg(): Promise<string>;
  submit(endpoint: Endpoint, manifest: string, more?: Partial<TicketTerms>, args?: readonly unknown[]): Promise<Call>;
  /** A verb of the scientist. */
  user(...args: string[]): Promise<Ran>;
}

export interface WorldOptions {
  /** Runs the bundles of `npm run build`. */
  readonly built?: boolean;
  readonly runtime?: 'apptainer' | 'process';
}

export async function openWorld(cluster: Cluster, options: WorldOptions = {}): Promise<World> {
  const built = options.built === true;
  const runtime = options.runtime ?? 'apptainer';
  const folder = mkdtempSync(join(tmpdir(), 'farfield-desk-'));
  const home = join(folder, 'scientist');
  const env = { PATH: process.env.PATH ?? '', HOME: home, FARFIELD_HOME: home, FARFIELD_PROGRESS: '0' };
  const user = (...args: string[]): Promise<Ran> => runHere(cli(built), args, env);
  const userJson = async (...args: string[]): Promise<Record<string, unknown>> =>
    parsed(args, await user(...args, '--json'));
  const on =
    (host: 'cloud' | 'head', who: User, at: string) =>
    async (...args: string[]): Promise<Record<string, unknown>> => {
      const token = args.find((arg) => arg.startsWith('ff1.'));
      const argv = [process.execPath, '--disable-warning=ExperimentalWarning', cli(built)].concat(
        args.map((arg) => (arg === token ? '-' : arg)),
        '--json',
      );
      const ran = await cluster.run(host, argv, {
        user: who,
        env: { FARFIELD_HOME: at, FARFIELD_PROGRESS: '0' },
        ...(token === undefined ? {} : { input: token }),
      });
      return parsed(args, ran);
    };

  const operator = on('cloud', 'bob', '/tmp/operator');
  await operator('broker', 'init', '--host', CLOUD, '--port', '8443', '--grpc-port', '8444');
  await operator('broker', 'start', '--detach');
  const { kid } = await userJson('keys', 'new');
  const { token } = await operator('broker', 'invite', '--user', String(kid));
  await userJson('login', String(token), '--as', 'sci');
  const publisher = await userJson('keys', 'new', 'publisher');
  const scientist = openHome(home);
  const client = createClient({
    broker: await scientist.profile(),
    session: await scientist.session(systemClock.now() / 1000),
    clock: systemClock,
    random: systemRandom,
  });
  const endpoints: Endpoint[] = [];
  let image = '';

  const sign = async (claims: Record<string, unknown>): Promise<string> => {
    const source = join(folder, `${String(claims.name).replaceAll('/', '-')}.json`);
    writeFileSync(source, JSON.stringify(claims));
    const out = source.replace(/json$/, 'manifest');
    await userJson('function', 'sign', source, '--out', out);
    return out;
  };
  const variants = (): unknown[] => [
    { name: 'here', runtimes: [runtime], ...(runtime === 'process' ? {} : { image }) },
  ];

  const addEndpoint = async ({ name, user: who, ...more }: EndpointOptions): Promise<Endpoint> => {
    const at = `/home/${who}/${name}`;
    const site = on('head', who, at);
    const made = await site('endpoint', 'init', '--name', name);
    const id = String(made.endpoint);
    const state = String(made.state);
    const invited = await operator('broker', 'invite', '--endpoint', id);
    await site('endpoint', 'join', String(invited.token));
    const put = async (path: string, value: unknown): Promise<void> => {
      // JSON is YAML.
      const { code, stderr } = await cluster.run('head', ['sh', '-c', 'umask 077; cat > "$1"', 'sh', path], {
        user: who,
        input: JSON.stringify(value, undefined, 2),
      });
      if (code !== 0) throw new Error(stderr);
    };
    const images = `/home/${who}/images`;
    const configText = (blocks = {}, batch = {}): unknown => {
      const base = more.site === undefined ? OWN_SITE : siteFile(more.site);
      return {
        ...base,
        models: [MODEL_FOLDER],
        containers: { images },
        blocks: {
          ...base.blocks,
          ...more.blocks,
          ...blocks,
          batch: { ...base.blocks.batch, ...more.batch, ...batch },
        },
      };
    };
    await put(join(state, 'config.yaml'), configText());
    await put(join(state, 'policy.yaml'), {
      endpoint: id,
      authorities: { pinned: [], publishers: [{ name: 'lab', jwks: [publisher.jwk] }] },
      rules: [
        {
          name: 'the lab’s functions',
          who: { pin: 'sci' },
          functions: { publisher: 'lab', names: ['*'] },
          paths: { read: [MODEL_FOLDER, `/home/${who}/data`], write: [] },
          runtimes: [runtime],
          resources: { nodes: 1, wallS: 3600, concurrent: 10_000 },
        },
      ],
    });
    await site('endpoint', 'trust', String(kid), '--sub', 'sci', '--until', '2h');
    if (runtime === 'apptainer') {
      if (!existsSync(cluster.path('head', '/shared/onnx.oci.tar')))
        copyFileSync(ARCHIVE, cluster.path('head', '/shared/onnx.oci.tar'));
      image = String((await site('image', 'convert', 'oci-archive:/shared/onnx.oci.tar', '--name', name)).oci);
    }
    await site('endpoint', 'start', '--detach', '--name', name);
    const endpoint: Endpoint = {
      id,
      name,
      user: who,
      state,
      json: site,
      status: async () => (await site('endpoint', 'status', '--name', name)) as unknown as AgentStatus,
      log: () => readFileSync(cluster.path('head', join(state, 'agent.log')), 'utf8'),
      async configure(blocks, batch) {
        await site('endpoint', 'stop', '--name', name);
        await put(join(state, 'config.yaml'), configText(blocks, batch));
        await site('endpoint', 'start', '--detach', '--name', name);
      },
      stop: async () => void (await site('endpoint', 'stop', '--name', name)),
    };
    endpoints.push(endpoint);
    return endpoint;
  };

  return {
    cluster,
    client,
    get image() {
      return image;
    },
    addEndpoint,
    noop: (name, entry = {}, adapter = 'noop') =>
      sign({
        v: 1,
        name,
        version: '1.0.0',
        kind: 'model',
        adapter,
        ...(adapter === 'noop' ? { entry } : {}),
        args: [{ name: 'x', types: ['json', 'bytes'] }],
        models: [],
        variants: variants(),
      }),
    async bragg() {
      const out = join(folder, 'bragg.manifest');
      // The model's own manifest, with the image that it may run in.
      await userJson('function', 'sign', MODEL_FOLDER, '--out', out);
      const { claims } = openManifest(readFileSync(out), []);
      return sign({
        ...claims,
        variants: claims.variants.map(({ name }) => ({ ...(variants()[0] as object), name })),
      });
    },
    async submit(endpoint, manifest, more = {}, args = [{}]) {
      const { claims, digest } = openManifest(readFileSync(manifest), []);
      const terms: TicketTerms = {
        endpoint: endpoint.id,
        subject: client.subject,
        delegation: client.delegation,
        fn: { name: claims.name, version: claims.version, manifest: digest },
        models: claims.models,
        resources: { nodes: 1, cpusPerNode: 2, gpusPerNode: 0, memMiBPerNode: 1024, wallS: 600 },
        run: { maxFailures: 3, maxStarts: 8, timeoutS: 600, uncertainty: { method: 'l2', samples: 0, level: 0.95 } },
        output: { maxBytes: 64 * 1024 * 1024, to: 'return' },
        ...more,
      };
      const bragg = claims.models.length > 0;
      const file = join(MODEL_FOLDER, 'validation.h5');
      const data = (name: string, sel: string) => ({ name, type: 'hdf5', path: file, sel }) as const;
      const items = bragg
        ? [{ args: [data('patches', '/patches'), data('truth', '/true_xy')] }]
        : args.map((value) => ({
            args: [{ name: 'x', type: 'json', bytes: Buffer.from(JSON.stringify(value)) } as const],
          }));
      const { ticket } = await client.submit({ terms, manifest: readFileSync(manifest, 'utf8'), items });
      const progress: Progress[] = [];
      ticket.onProgress((one) => void progress.push(one));
      return { ticket, progress, outcome: () => ticket.item(0) };
    },
    user,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      for (const endpoint of endpoints) await endpoint.stop().catch(() => undefined);
      await operator('broker', 'stop').catch(() => undefined);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function parsed(args: readonly string[], { code, stdout, stderr }: Ran): Record<string, unknown> {
  const last = stdout.trim().split('\n').at(-1) ?? '';
  if (code !== 0)
    throw new Error(`farfield ${args.slice(0, 2).join(' ')} ended with ${code}: ${last}${stderr.slice(-2000)}`);
  return JSON.parse(last === '' ? '{}' : last) as Record<string, unknown>;
}

function runHere(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ran> {
  const token = args.find((arg) => arg.startsWith('ff1.'));
  const child = spawn(process.execPath, [program, ...args.map((arg) => (arg === token ? '-' : arg))], {
    env,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(token ?? '');
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code: code ?? 1, stdout, stderr }));
  });
}

/** The jobs that Slurm has of a user, one object each, those that ended too. */
export interface SlurmJob {
  readonly id: string;
  readonly state: string;
  readonly reason: string;
  readonly node: string;
  readonly name: string;
  readonly comment: string;
}

export async function jobsOf(cluster: Cluster, user: User): Promise<readonly SlurmJob[]> {
  const text = await cluster.sh('head', `squeue -h -t all -u ${user} -S i -o '%i|%T|%r|%N|%j|%k'`);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [id = '', state = '', reason = '', node = '', name = '', comment = ''] = line.split('|');
      return { id, state, reason, node, name, comment };
    });
}

/** The one job that runs for this user. */
export function runningJob(cluster: Cluster, user: User): Promise<SlurmJob> {
  return until(
    `a job of ${user} runs`,
    async () => (await jobsOf(cluster, user)).find(({ state }) => state === 'RUNNING'),
    { seen: () => jobsOf(cluster, user) },
  );
}
