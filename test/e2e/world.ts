/**
 * A whole Farfield on this machine, made with the verbs that a user types: broker, endpoint, user, publisher, policy.
 *
 * Every process is real and lies under one temporary folder, which goes with the world. Nothing is switched off: TLS, the
 * enrolments, the pin for an hour, a policy of 21 rules of which the last one matches.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { generateKey, signerFrom } from '#kernel/sign.ts';
import { openManifest } from '#kernel/tokens/manifest.ts';
import { type Client, createClient } from '../../client/ts/client.ts';
import { openHome } from '../../client/ts/home.ts';
import type { TicketTerms } from '../../client/ts/submission.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
export const MODEL_FOLDER = join(root, 'models', 'braggnn');
export const VALIDATION = join(MODEL_FOLDER, 'validation.h5');

export interface WorldOptions {
  /** Concurrent places of the pilot. */
  readonly slots?: number;
  /** Pilots at once; one unless it says otherwise. */
  readonly maxBlocks?: number;
  readonly link?: 'grpc' | 'ws' | 'auto';
  /** More lines of config.yaml of the endpoint. */
  readonly config?: string;
  /** Folders of models besides the shipped one. */
  readonly models?: readonly string[];
  /** Folders that the rule lets calls read. */
  readonly readable?: readonly string[];
  /** Runs the bundles of `npm run build` instead of the sources: what a site runs. */
  readonly built?: boolean;
  /** `blocks:` of config.yaml, instead of pilots on this machine. */
  readonly blocks?: string;
  /** Nodes that the rule lends to one call. */
  readonly nodes?: number;
  /** Rules before the one that matches. */
  readonly rulesBefore?: number;
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export type Role = 'operator' | 'site' | 'user';

export interface World extends AsyncDisposable {
  readonly folder: string;
  readonly endpoint: string;
  /** Runs a verb as one of the three people. */
  farfield(role: Role, ...args: string[]): Promise<Ran>;
  /** The same; throws unless it succeeds; the parsed last line of stdout. */
  json(role: Role, ...args: string[]): Promise<Record<string, unknown>>;
  /** Signed manifests, as files. */
  readonly noop: string;
  readonly fake: string;
  readonly bragg: string;
  openClient(options?: { onNotice?: (message: string) => void; submitPatienceMs?: number }): Promise<Client>;
  termsOf(client: Client, manifest: string, more?: Partial<TicketTerms>): TicketTerms;
  readonly brokerState: string;
  readonly endpointState: string;
  brokerPid(): Promise<number>;
  agentPid(): Promise<number>;
}

/** Processes of this world's pilots and runners are found by its folder, whose name is in their arguments. */
export async function startWorld(options: WorldOptions = {}): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'farfield-world-'));
  const cli = options.built === true ? join(root, 'dist', 'farfield.mjs') : join(root, 'client', 'cli', 'main.ts');
  const home = (role: Role): string => join(folder, role);
  const farfield = (role: Role, ...args: string[]): Promise<Ran> => run(cli, home(role), args);
  const json = async (role: Role, ...args: string[]): Promise<Record<string, unknown>> => {
    const ran = await farfield(role, ...args, '--json');
    if (ran.code !== 0)
      throw new Error(`farfield ${args.join(' ')} ended with ${ran.code}: ${ran.stdout}${ran.stderr}`);
    return JSON.parse(ran.stdout.trim().split('\n').at(-1) ?? '{}') as Record<string, unknown>;
  };
  const close = async (): Promise<void> => {
    await farfield('site', 'endpoint', 'stop');
    await farfield('operator', 'broker', 'stop');
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const made = await build(folder, options, json);
    const bound = {
      noop: join(folder, 'noop.manifest'),
      fake: join(folder, 'fake.manifest'),
      bragg: join(folder, 'bragg.manifest'),
    };
    return {
      folder,
      ...made,
      ...bound,
      farfield,
      json,
      async openClient(more = {}) {
        const user = openHome(home('user'));
        const session = await user.session(systemClock.now() / 1000);
        return createClient({
          broker: await user.profile(),
          session,
          clock: systemClock,
          random: systemRandom,
          ...more,
        });
      },
      termsOf: (client, manifest, more = {}) => termsOf(client, made.endpoint, manifest, more),
      brokerPid: async () => Number((await json('operator', 'broker', 'status')).pid),
      agentPid: async () => Number((await json('site', 'endpoint', 'status')).pid),
      [Symbol.asyncDispose]: close,
    };
  } catch (reason) {
    await close();
    throw reason;
  }
}

type Json = World['json'];

async function build(
  folder: string,
  options: WorldOptions,
  json: Json,
): Promise<{ endpoint: string; brokerState: string; endpointState: string }> {
  const broker = await json('operator', 'broker', 'init', '--port', '0', '--grpc-port', '0');
  await json('operator', 'broker', 'start', '--detach');
  const made = await json('site', 'endpoint', 'init', '--name', 'here');
  const endpoint = String(made.endpoint);
  const endpointState = String(made.state);
  const forEndpoint = await json('operator', 'broker', 'invite', '--endpoint', endpoint);
  await json('site', 'endpoint', 'join', String(forEndpoint.token));
  const { kid } = await json('user', 'keys', 'new');
  const forUser = await json('operator', 'broker', 'invite', '--user', String(kid));
  await json('user', 'login', String(forUser.token), '--as', 'alice', '--pin', `here=${endpoint}`);
  const publisher = await json('user', 'keys', 'new', 'publisher');
  await signManifests(folder, json);
  writePolicy(join(endpointState, 'policy.yaml'), endpoint, publisher.jwk, options);
  const config = [
    `models: ${JSON.stringify([MODEL_FOLDER, ...(options.models ?? [])])}`,
    `link: ${options.link ?? 'auto'}`,
    options.blocks ?? `blocks: { slots: ${options.slots ?? 2}, maxBlocks: ${options.maxBlocks ?? 1} }`,
    options.config ?? '',
  ];
  writeFileSync(join(endpointState, 'config.yaml'), `${config.join('\n')}\n`, { mode: 0o600 });
  await json('site', 'endpoint', 'trust', String(kid), '--sub', 'alice', '--until', '1h');
  await json('site', 'endpoint', 'start', '--detach');
  return { endpoint, endpointState, brokerState: String(broker.state) };
}

async function signManifests(folder: string, json: Json): Promise<void> {
  for (const adapter of ['noop', 'fake']) {
    const claims = {
      v: 1,
      name: adapter,
      version: '1.0.0',
      kind: 'model',
      adapter,
      ...(adapter === 'noop' ? { entry: { outBytes: 100 } } : {}),
      args: [{ name: 'x', types: ['json', 'bytes'] }],
      models: [],
      variants: [{ name: 'built-in', runtimes: ['process'] }],
    };
    const path = join(folder, `${adapter}.json`);
    writeFileSync(path, JSON.stringify(claims));
    await json('user', 'function', 'sign', path, '--out', join(folder, `${adapter}.manifest`));
  }
  await json('user', 'function', 'sign', MODEL_FOLDER, '--out', join(folder, 'bragg.manifest'));
}

function writePolicy(path: string, endpoint: string, jwk: unknown, options: WorldOptions): void {
  const others = Array.from({ length: options.rulesBefore ?? 20 }, (_, k) => ({
    name: `somebody else ${k}`,
    who: { pin: `person-${k}` },
    functions: { publisher: 'lab', names: [`group-${k}/*`] },
    runtimes: ['process'],
  }));
  // Pinned as others would be, with keys that nobody here has.
  const until = Math.floor(systemClock.now() / 1000) + 3600;
  const pinned = others.map((_, k) => ({ kid: signerFrom(generateKey()).kid, name: `person-${k}`, until }));
  const policy = {
    endpoint,
    authorities: { pinned, publishers: [{ name: 'lab', jwks: [jwk] }] },
    rules: [
      ...others,
      {
        name: 'alice runs the lab’s functions',
        who: { pin: 'alice' },
        ...(options.nodes === undefined ? {} : { kinds: ['model', 'mpi'] }),
        functions: { publisher: 'lab', names: ['*'] },
        paths: { read: [MODEL_FOLDER, ...(options.readable ?? [])], write: [] },
        runtimes: ['process'],
        resources: { nodes: options.nodes ?? 1, wallS: 3600, concurrent: 100_000 },
      },
    ],
  };
  // JSON is YAML.
  writeFileSync(path, JSON.stringify(policy, undefined, 2), { mode: 0o600 });
}

function termsOf(client: Client, endpoint: string, manifest: string, more: Partial<TicketTerms>): TicketTerms {
  const { claims, digest } = openManifest(readFileSync(manifest), []);
  return {
    endpoint,
    subject: client.subject,
    delegation: client.delegation,
    fn: { name: claims.name, version: claims.version, manifest: digest },
    models: claims.models,
    resources: { nodes: 1, cpusPerNode: 2, gpusPerNode: 0, memMiBPerNode: 1024, wallS: 600 },
    run: { maxFailures: 3, maxStarts: 8, timeoutS: 600, uncertainty: { method: 'l2', samples: 0, level: 0.95 } },
    output: { maxBytes: 64 * 1024 * 1024, to: 'return' },
    ...more,
  };
}

function run(cli: string, home: string, args: readonly string[]): Promise<Ran> {
  const env = { PATH: process.env.PATH ?? '', HOME: home, FARFIELD_HOME: home, FARFIELD_PROGRESS: '0' };
  const child = spawn(process.execPath, [cli, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
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
    child.once('close', (code) => resolve({ code: code ?? -1, stdout, stderr }));
  });
}
