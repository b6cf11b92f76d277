/**
 * A broker, an endpoint and a scientist on this machine, by the verbs that each of them types.
 *
 * The key id and the endpoint id go from person to person here, as they would by mail: never through the broker. The pin
 * holds for an hour; no check is turned off.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { openManifest } from '#kernel/tokens/manifest.ts';
import type { ShownModel } from './model.ts';
import type { Ground, Stage } from './stage.ts';

export interface Deployment {
  readonly endpoint: string;
  /** The model's signed manifest. */
  readonly manifest: string;
}

const short = (id: unknown): string => `${String(id).slice(0, 12)}…`;

export async function deploy(
  stage: Stage,
  model: ShownModel,
  readable: readonly string[],
  ground?: Ground,
): Promise<Deployment> {
  stage.note('1. An operator runs a broker. It holds no key that could make an endpoint run anything.');
  await stage.step(
    'operator',
    [
      'broker',
      'init',
      ...(ground === undefined ? [] : ['--host', ground.brokerHost]),
      '--port',
      '0',
      '--grpc-port',
      '0',
    ],
    (r) => `broker ${short(r.brokerId)} made its own CA`,
  );
  await stage.step('operator', ['broker', 'start', '--detach'], (r) => `listens on ${String(r.url)}`);

  stage.note('2. A site deploys an endpoint: its id is the thumbprint of its own root key.');
  const made = await stage.step(
    'site',
    ['endpoint', 'init', '--name', 'demo'],
    (r) => `endpoint ${String(r.endpoint)}`,
  );
  const endpoint = String(made.endpoint);
  const forSite = await stage.step(
    'operator',
    ['broker', 'invite', '--endpoint', endpoint],
    () => 'a one-use token, good for ten minutes',
  );
  await stage.step('site', ['endpoint', 'join', String(forSite.token)], (r) => `enrolled at ${String(r.broker)}`);

  stage.note('3. A scientist logs in: the long-term key delegates to a session key.');
  const key = await stage.step('scientist', ['keys', 'new'], (r) => `key ${String(r.kid)}`);
  const forUser = await stage.step(
    'operator',
    ['broker', 'invite', '--user', String(key.kid)],
    () => 'a one-use token for this key',
  );
  await stage.step(
    'scientist',
    ['login', String(forUser.token), '--as', 'demo', '--for', '1h', '--pin', `demo=${endpoint}`],
    (r) => `logged in as ${String(r.as)}`,
  );

  stage.note('4. A publisher signs the model; the site says who may run it, on which data.');
  const publisher = await stage.step(
    'scientist',
    ['keys', 'new', 'publisher'],
    (r) => `publisher key ${String(r.kid)}`,
  );
  const manifest = join(stage.folder, `${model.name}.manifest`);
  await stage.step(
    'scientist',
    ['function', 'sign', model.folder, '--out', manifest],
    (r) => `${String(r.name)} ${String(r.version)}, manifest ${short(r.manifest)}`,
  );
  if (ground !== undefined) await signWithImage(stage, ground, manifest);
  const state = String(made.state);
  writeSite(state, endpoint, publisher.jwk, model.folder, readable, ground);
  stage.note('            (the site writes policy.yaml and config.yaml)');
  await stage.step(
    'site',
    ['endpoint', 'trust', String(key.kid), '--sub', 'demo', '--until', '1h'],
    () => 'pinned for an hour',
  );
  await stage.step(
    'site',
    ['endpoint', 'start', '--detach'],
    (r) => `agent runs, policy of ${String((r.policy as { rules: number }).rules)} rule`,
  );
  return { endpoint, manifest };
}

/** The same manifest, with the image that it may run in. */
async function signWithImage(stage: Stage, ground: Ground, manifest: string): Promise<void> {
  const { oci } = await stage.step(
    'site',
    ['image', 'convert', `oci-archive:${ground.archive}`, '--name', 'demo'],
    (r) => `${short(r.oci)} is ${short(r.sif)} here`,
  );
  const { claims } = openManifest(readFileSync(manifest), []);
  const variants = claims.variants.map(({ name }) => ({ name, image: String(oci), runtimes: ['apptainer'] }));
  const source = `${manifest}.json`;
  writeFileSync(source, JSON.stringify({ ...claims, variants }));
  await stage.step('scientist', ['function', 'sign', source, '--out', manifest], () => 'to run in this image alone');
}

function writeSite(
  state: string,
  endpoint: string,
  jwk: unknown,
  folder: string,
  readable: readonly string[],
  ground: Ground | undefined,
): void {
  const policy = {
    endpoint,
    authorities: { pinned: [], publishers: [{ name: 'demo-lab', jwks: [jwk] }] },
    rules: [
      {
        name: 'the demo may run the lab’s models on the demo’s data',
        who: { pin: 'demo' },
        kinds: ['model'],
        functions: { publisher: 'demo-lab', names: ['*'] },
        args: ['hdf5'],
        paths: { read: readable.map((file) => dirname(file)), write: [] },
        runtimes: [ground === undefined ? 'process' : 'apptainer'],
        resources: { nodes: 1, wallS: 3600 },
      },
    ],
  };
  // JSON is YAML.
  const write = ground?.writeFile ?? ((path: string, text: string) => writeFileSync(path, text, { mode: 0o600 }));
  write(join(state, 'policy.yaml'), `${JSON.stringify(policy, undefined, 2)}\n`);
  write(join(state, 'config.yaml'), `${JSON.stringify({ models: [folder], ...ground?.config })}\n`);
}
