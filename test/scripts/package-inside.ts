/**
 * What package.test.ts runs inside an old system that has nothing but glibc and a shell: by the package's own Node, with
 * nothing imported but Node. Prints one JSON object.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';

const [, , tree = '', home = ''] = process.argv;

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function run(program: string, role: string, ...args: string[]): Ran {
  const { status, stdout, stderr } = spawnSync(`/bin/${program}`, args, {
    env: { PATH: '/bin', HOME: home, FARFIELD_HOME: `${home}/${role}`, FARFIELD_PROGRESS: '0' },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return { code: status, out: stdout, err: stderr };
}

function json(role: string, ...args: string[]): Record<string, unknown> {
  const { code, out, err } = run('farfield', role, ...args, '--json');
  if (code !== 0) throw new Error(`farfield ${args.join(' ')} ended with ${code}: ${out}${err}`);
  return JSON.parse(out.trim().split('\n').at(-1) ?? '{}') as Record<string, unknown>;
}

function sign(): string {
  const claims = {
    ...{ v: 1, name: 'noop', version: '1.0.0', kind: 'model', adapter: 'noop', entry: { outBytes: 100 } },
    args: [{ name: 'x', types: ['json', 'bytes'] }],
    models: [],
    variants: [{ name: 'built-in', runtimes: ['process'] }],
  };
  writeFileSync(`${home}/noop.json`, JSON.stringify(claims));
  json('user', 'function', 'sign', `${home}/noop.json`, '--out', `${home}/noop.manifest`);
  return `${home}/noop.manifest`;
}

/** A broker, an endpoint and a person; a no-op goes the whole way. */
function deploy(): Record<string, unknown> {
  json('operator', 'broker', 'init', '--port', '0', '--grpc-port', '0');
  json('operator', 'broker', 'start', '--detach');
  try {
    const made = json('site', 'endpoint', 'init', '--name', 'old', '--shared', `${home}/shared`);
    const endpoint = String(made.endpoint);
    json('site', 'endpoint', 'join', String(json('operator', 'broker', 'invite', '--endpoint', endpoint).token));
    const { kid } = json('user', 'keys', 'new');
    const invited = json('operator', 'broker', 'invite', '--user', String(kid));
    json('user', 'login', String(invited.token), '--as', 'alice', '--pin', `old=${endpoint}`);
    const publisher = json('user', 'keys', 'new', 'publisher');
    const manifest = sign();
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
    json('site', 'endpoint', 'trust', String(kid), '--sub', 'alice', '--until', '1h');
    json('site', 'endpoint', 'start', '--detach');
    writeFileSync(`${home}/x.json`, '1');
    return json('user', 'run', manifest, '--endpoint', 'old', '--arg', `x=${home}/x.json`);
  } finally {
    run('farfield', 'site', 'endpoint', 'stop');
    run('farfield', 'operator', 'broker', 'stop');
  }
}

/** Libraries that this Node has loaded, by where they lie. */
function libraries(): string[] {
  const maps = readFileSync('/proc/self/maps', 'utf8');
  return [...new Set([...maps.matchAll(/\s(\/\S.*\.so[.\d]*)$/gm)].map((match) => match[1] ?? ''))].sort();
}

function writable(): boolean {
  try {
    writeFileSync(`${tree}/probe`, '');
    return true;
  } catch {
    return false;
  }
}

const model = `${tree}/models/braggnn`;

/** What a job array does: two shards, made one. */
function shards(): Ran[] {
  const job = ['--model', model, '--input', `${model}/validation.h5:/patches`, '--out', `${home}/shards`];
  return [
    run('farfield-runner', 'user', 'batch', ...job, '--shard', '0/2'),
    run('farfield-runner', 'user', 'batch', ...job, '--shard', '1/2'),
    run('farfield-runner', 'user', 'merge', `${home}/shards`, '--out', `${home}/merged.h5`),
  ];
}

process.stdout.write(
  `${JSON.stringify({
    uid: process.getuid?.(),
    writable: writable(),
    libraries: libraries(),
    packaged: execFileSync('/bin/ls', ['/bin'], { encoding: 'utf8' }).trim().split('\n'),
    version: run('farfield', 'user', '--version'),
    selftest: run('farfield-runner', 'user', 'selftest', '--model', model),
    shards: shards(),
    merged: statSync(`${home}/merged.h5`).size,
    noop: deploy(),
  })}\n`,
);
