/**
 * Farfield on a virtual cluster, made with the verbs that people type: a broker on `cloud`, agents of ordinary users on
 * `head` whose blocks are Slurm jobs, a scientist on `desk`. Nothing is switched off.
 *
 * 1. This process must be in the network of `desk` (main.ts starts it there): the client library runs here, and the
 *    scientist's verbs too.
 * 2. Functions run in Apptainer containers of the project's own image, unless `process` is asked for.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { openManifest } from '#kernel/tokens/manifest.ts';
import { type Client, createClient } from '../../client/ts/client.ts';
import { openHome } from '../../client/ts/home.ts';
import type { Outcome } from '../../client/ts/outcome.ts';
import type { ItemInput, TicketTerms } from '../../client/ts/submission.ts';
import type { Progress, Ticket } from '../../client/ts/tracker.ts';
import { type Cluster, type Host, type Ran, type User, until } from './cluster.ts';
import { type Endpoint, type EndpointOptions, MODEL_FOLDER, makeEndpoint, type RuntimeName } from './endpoint.ts';
import { createPeople, lastLine } from './people.ts';

/** Of `cloud` (scripts/cluster/up.sh). */
const CLOUD = '10.77.0.4';

export interface Call {
  readonly ticket: Ticket;
  /** What the caller was told meanwhile. */
  readonly progress: readonly Progress[];
  outcome(): Promise<Outcome>;
}

export interface World extends AsyncDisposable {
  readonly cluster: Cluster;
  readonly client: Client;
  addEndpoint(options: EndpointOptions): Promise<Endpoint>;
  /** Signs a function of a built-in adapter; its manifest. */
  sign(name: string, adapter: 'noop' | 'fake', entry?: Record<string, unknown>): Promise<string>;
  /** Signs a program of as many nodes, by its argv. */
  signProgram(name: string, nodes: number, program: readonly [string, ...string[]]): Promise<string>;
  bragg(): Promise<string>;
  submit(endpoint: Endpoint, manifest: string, more?: CallOptions): Promise<Call>;
  /** A verb of the scientist. */
  user(...args: string[]): Promise<Ran>;
}

export interface CallOptions {
  readonly args?: readonly unknown[];
  readonly maxStarts?: number;
  readonly wallS?: number;
  readonly nodes?: number;
}

export interface WorldOptions {
  /** Runs the bundles of `npm run build`. */
  readonly built?: boolean;
  readonly runtime?: RuntimeName;
}

export async function openWorld(cluster: Cluster, options: WorldOptions = {}): Promise<World> {
  const runtime = options.runtime ?? 'apptainer';
  const folder = mkdtempSync(join(tmpdir(), 'farfield-desk-'));
  const home = join(folder, 'scientist');
  const people = createPeople(cluster, options.built === true);
  const user = people.here(home);
  const mine = async (...args: string[]): Promise<Record<string, unknown>> =>
    lastLine(args, await user(...args, '--json'));
  const operator = people.on('cloud', 'bob', '/tmp/operator');
  await operator('broker', 'init', '--host', CLOUD, '--port', '8443', '--grpc-port', '8444');
  await operator('broker', 'start', '--detach');
  const { kid } = await mine('keys', 'new');
  const { token } = await operator('broker', 'invite', '--user', String(kid));
  await mine('login', String(token), '--as', 'sci');
  const publisher = await mine('keys', 'new', 'publisher');
  const client = await openClient(home);
  const endpoints: Endpoint[] = [];
  const variant = (name: string): unknown => {
    const [image] = endpoints.map((one) => one.image);
    return { name, runtimes: [runtime], ...(image === undefined || image === '' ? {} : { image }) };
  };
  const sign = async (name: string, claims: unknown): Promise<string> => {
    const source = join(folder, `${name}.json`);
    writeFileSync(source, JSON.stringify(claims));
    const out = join(folder, `${name}.manifest`);
    await mine('function', 'sign', source, '--out', out);
    return out;
  };
  return {
    cluster,
    client,
    user,
    async addEndpoint(each) {
      const endpoint = await makeEndpoint(
        {
          cluster,
          runtime,
          site: people.on('head', each.user, `/home/${each.user}/${each.name}`),
          invite: async (id) => String((await operator('broker', 'invite', '--endpoint', id)).token),
          scientist: String(kid),
          publisher: publisher.jwk,
        },
        each,
      );
      endpoints.push(endpoint);
      return endpoint;
    },
    sign: (name, adapter, entry) =>
      sign(name, {
        v: 1,
        name,
        version: '1.0.0',
        kind: 'model',
        adapter,
        ...(entry === undefined ? {} : { entry }),
        args: [{ name: 'x', types: ['json', 'bytes'] }],
        models: [],
        variants: [variant('built-in')],
      }),
    signProgram: (name, nodes, [program, ...args]) =>
      sign(name, {
        v: 1,
        name,
        version: '1.0.0',
        kind: 'mpi',
        adapter: 'program',
        entry: { program, args },
        args: [{ name: 'x', types: ['json'] }],
        models: [],
        variants: [variant('host')],
        needs: { nodes, ranksPerNode: 2 },
      }),
    async bragg() {
      const out = join(folder, 'model.manifest');
      await mine('function', 'sign', MODEL_FOLDER, '--out', out);
      const { claims } = openManifest(readFileSync(out), []);
      // The model's own manifest, with the image that it may run in.
      return sign('bragg', { ...claims, variants: claims.variants.map(({ name }) => variant(name)) });
    },
    submit: (endpoint, manifest, more = {}) => submit(client, endpoint, manifest, more),
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]();
      for (const endpoint of endpoints) await endpoint.stop().catch(() => undefined);
      await operator('broker', 'stop').catch(() => undefined);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function openClient(home: string): Promise<Client> {
  const scientist = openHome(home);
  return createClient({
    broker: await scientist.profile(),
    session: await scientist.session(systemClock.now() / 1000),
    clock: systemClock,
    random: systemRandom,
  });
}

async function submit(client: Client, endpoint: Endpoint, manifest: string, more: CallOptions): Promise<Call> {
  const { claims, digest } = openManifest(readFileSync(manifest), []);
  const wallS = more.wallS ?? 300;
  const terms: TicketTerms = {
    endpoint: endpoint.id,
    subject: client.subject,
    delegation: client.delegation,
    fn: { name: claims.name, version: claims.version, manifest: digest },
    models: claims.models,
    resources: { nodes: more.nodes ?? 1, cpusPerNode: 2, gpusPerNode: 0, memMiBPerNode: 1024, wallS },
    run: {
      maxFailures: 3,
      maxStarts: more.maxStarts ?? 8,
      timeoutS: wallS,
      uncertainty: { method: 'l2', samples: 0, level: 0.95 },
    },
    output: { maxBytes: 64 * 1024 * 1024, to: 'return' },
  };
  const items = claims.models.length > 0 ? [validationRows()] : (more.args ?? [{}]).map(jsonItem);
  const { ticket } = await client.submit({ terms, manifest: readFileSync(manifest, 'utf8'), items });
  const progress: Progress[] = [];
  ticket.onProgress((one) => void progress.push(one));
  return { ticket, progress, outcome: () => ticket.item(0) };
}

function validationRows(): ItemInput {
  const path = join(MODEL_FOLDER, 'validation.h5');
  const data = (name: string, sel: string) => ({ name, type: 'hdf5', path, sel }) as const;
  return { args: [data('patches', '/patches'), data('truth', '/true_xy')] };
}

function jsonItem(value: unknown): ItemInput {
  return { args: [{ name: 'x', type: 'json', bytes: Buffer.from(JSON.stringify(value)) }] };
}

/** A job as Slurm has it, also after its end. */
export interface SlurmJob {
  readonly id: string;
  readonly state: string;
  readonly reason: string;
  readonly node: string;
  readonly name: string;
  readonly account: string;
  readonly partition: string;
  readonly user: string;
}

export async function jobsOf(cluster: Cluster, user: User): Promise<readonly SlurmJob[]> {
  const text = await cluster.sh('head', `squeue -h -t all -u ${user} -S i -o '%i|%T|%r|%N|%j|%a|%P|%u'`);
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [id = '', state = '', reason = '', node = '', name = '', account = '', partition = '', owner = ''] =
        line.split('|');
      return { id, state, reason, node, name, account, partition, user: owner };
    });
}

/** The job that runs for this user, and runs no other than those named. */
export function runningJob(cluster: Cluster, user: User, not: readonly string[] = []): Promise<SlurmJob> {
  return until(
    `a job of ${user} runs`,
    async () => (await jobsOf(cluster, user)).find(({ id, state }) => state === 'RUNNING' && !not.includes(id)),
    { seen: () => jobsOf(cluster, user) },
  );
}

/** Pilots, runners and container processes on a node, as `ps` has them. */
export async function farfieldOn(cluster: Cluster, node: Host): Promise<string> {
  const all = await cluster.sh(node, 'ps -eo args');
  return all
    .split('\n')
    .filter((line) => /pilot\/main|runner\/main|squashfuse|apptainer|appinit/.test(line))
    .join('\n');
}

/** Resolves when the caller was told that the function runs. */
export function running(call: Call, times = 1): Promise<true> {
  return until(
    'the function runs',
    () => call.progress.filter(({ state }) => state === 'running').length >= times || undefined,
    { seen: () => call.progress },
  );
}
