/**
 * A site without a way out but its proxy: the broker has a name that only the proxy resolves, and everything that an agent and
 * a scientist say to it goes through there.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type ConnectProxy, startConnectProxy } from '../fakes/connect-proxy.ts';
import { root } from '../law/source.ts';

const NAME = 'broker.invalid';
const PASSWORD = 'geheim-7F3a';
const LIMIT_MS = 180_000;
const MODEL = join(root, 'models/braggnn');

interface Site {
  readonly folder: string;
  json(role: string, ...args: string[]): Promise<Record<string, unknown>>;
}

function openSite(folder: string, environment: Readonly<Record<string, string>>): Site {
  const run = (role: string, args: readonly string[]): Promise<{ code: number; out: string }> => {
    const home = join(folder, role);
    // The operator is at the broker, and has no proxy.
    const outside = role === 'operator' ? {} : environment;
    const child = spawn(process.execPath, [join(root, 'client/cli/main.ts'), ...args, '--json'], {
      env: { PATH: process.env.PATH, HOME: home, FARFIELD_HOME: home, FARFIELD_PROGRESS: '0', ...outside },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (out += chunk.toString()));
    return new Promise((resolve) => child.once('close', (code) => resolve({ code: code ?? -1, out })));
  };
  return {
    folder,
    async json(role, ...args) {
      const { code, out } = await run(role, args);
      if (code !== 0) throw new Error(`${role}: farfield ${args.join(' ')} ended with ${code}: ${out}`);
      const last = out.split('\n').findLast((line) => line.startsWith('{')) ?? '{}';
      return JSON.parse(last) as Record<string, unknown>;
    },
  };
}

async function deploy({ folder, json }: Site, link: 'grpc' | 'ws'): Promise<string> {
  await json('operator', 'broker', 'init', '--name', NAME, '--port', '0', '--grpc-port', '0');
  await json('operator', 'broker', 'start', '--detach');
  const made = await json('site', 'endpoint', 'init', '--name', 'here', '--shared', join(folder, 'cluster'));
  const endpoint = String(made.endpoint);
  await json(
    'site',
    'endpoint',
    'join',
    String((await json('operator', 'broker', 'invite', '--endpoint', endpoint)).token),
  );
  const { kid } = await json('user', 'keys', 'new');
  const invited = await json('operator', 'broker', 'invite', '--user', String(kid));
  await json('user', 'login', String(invited.token), '--as', 'alice', '--pin', `here=${endpoint}`);
  const publisher = await json('user', 'keys', 'new', 'publisher');
  const manifest = join(folder, 'bragg.manifest');
  await json('user', 'function', 'sign', MODEL, '--out', manifest);
  const policy = {
    endpoint,
    authorities: { pinned: [], publishers: [{ name: 'lab', jwks: [publisher.jwk] }] },
    rules: [
      {
        name: 'alice',
        who: { pin: 'alice' },
        functions: { publisher: 'lab', names: ['*'] },
        runtimes: ['process'],
        resources: { nodes: 1, wallS: 3600, concurrent: 10 },
      },
    ],
  };
  writeFileSync(String(made.policy), JSON.stringify(policy));
  const config = join(String(made.state), 'config.yaml');
  writeFileSync(config, `link: ${link}\nmodels: [${JSON.stringify(MODEL)}]\n`, { mode: 0o600 });
  await json('site', 'endpoint', 'trust', String(kid), '--sub', 'alice', '--until', '1h');
  await json('site', 'endpoint', 'start', '--detach');
  return manifest;
}

/** Everything that any of them wrote down. */
function written(folder: string): string {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files.map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1')).join('\n');
}

function portsAsked(proxy: ConnectProxy): Set<string> {
  return new Set(proxy.asked);
}

for (const link of ['grpc', 'ws'] as const) {
  t.test(
    `enrolment, link (${link}), blobs and the client go through a proxy with a password, which nobody writes down`,
    { timeout: LIMIT_MS },
    async (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'farfield-proxied-'));
      await using proxy = await startConnectProxy({ hosts: { [NAME]: '127.0.0.1' }, credentials: `site:${PASSWORD}` });
      const site = openSite(folder, { HTTPS_PROXY: `http://site:${PASSWORD}@127.0.0.1:${proxy.port}` });
      try {
        const manifest = await deploy(site, link);
        const samples = join(MODEL, 'validation.h5');
        // The file goes to the broker as a blob and from there to the endpoint; so do the predictions, back.
        const args = ['--arg', `patches=${samples}:/patches`, '--out', join(folder, 'out.h5')];
        const done = await site.json('user', 'run', manifest, '--endpoint', 'here', ...args);
        t.match(done, { receipt: { verified: true } });
        const status = await site.json('site', 'endpoint', 'status');
        t.match(status, { link: { state: 'live', via: new RegExp(`^${link}:${NAME}:`) } });
        const broker = await site.json('operator', 'broker', 'status');
        t.ok(typeof broker.pid === 'number');
        const ports = portsAsked(proxy);
        t.equal(ports.size, link === 'grpc' ? 2 : 1, 'the HTTPS port, and the gRPC port where that is the link');
        for (const asked of ports) t.match(asked, `${NAME}:`);
        t.ok(proxy.bytes > 2 * 600_000, 'the data went through twice');
        t.notMatch(written(folder), PASSWORD);
        t.ok(existsSync(join(folder, 'cluster/blocks')), 'what nodes must see lies where it was said');
      } finally {
        await site.json('site', 'endpoint', 'stop').catch(() => undefined);
        await site.json('operator', 'broker', 'stop').catch(() => undefined);
        rmSync(folder, { recursive: true, force: true });
      }
    },
  );
}
