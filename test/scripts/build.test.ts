import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import t from 'tap';
import { BUNDLES } from '../../scripts/bundles.ts';
import { root } from '../law/source.ts';

/** Outside the repository: no node_modules lies above it, as on a node. */
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'farfield-build-')));
const dist = join(folder, 'dist');
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const built = await execa(process.execPath, ['scripts/build.ts', '--out', dist], {
  cwd: root,
  reject: false,
  all: true,
});

/** No step waits for long; a hanging one is ended, so that the test says which it was. */
const LIMIT_MS = 60_000;

/** Runs one bundle; output goes to files, as a daemon would keep a pipe open. */
async function run(name: string, ...args: string[]): Promise<{ code: number | undefined; out: string }> {
  const file = join(folder, 'out.txt');
  const done = await execa(process.execPath, [join(dist, `${name}.mjs`), ...args], {
    cwd: folder,
    env: { FARFIELD_HOME: join(folder, 'home') },
    stdin: 'ignore',
    stdout: { file },
    stderr: { file },
    reject: false,
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  return { code: done.exitCode, out: readFileSync(file, 'utf8') };
}

t.test('every program that exists is built, with the licences of what is in it', async (t) => {
  t.equal(built.exitCode, 0, built.all);
  const files = readdirSync(dist);
  for (const { name, source } of BUNDLES) t.equal(files.includes(`${name}.mjs`), existsSync(join(root, source)), name);
  const licences = readFileSync(join(dist, 'THIRD-PARTY.txt'), 'utf8');
  t.ok(/^fastify \d/m.test(licences));
  const without = [...licences.matchAll(/^(\S+) \S+ \((.*)\)\n\nNo licence file/gm)].map(
    (match) => `${match[1]}: ${match[2]}`,
  );
  t.strictSame(without, ['abstract-logging: MIT'], 'its package.json says it, and the package has no text of it');
});

t.test('a bundle that cannot be made leaves the folder that stands as it was', async (t) => {
  const failed = await execa(process.execPath, ['scripts/build.ts', '--out', dist, 'nothing'], {
    cwd: root,
    reject: false,
  });
  t.not(failed.exitCode, 0);
  t.match(failed.stderr, 'no bundle is called nothing');
  t.ok(existsSync(join(dist, 'pilot.mjs')));
});

t.test('the programs of a node start without packages beside them', async (t) => {
  t.match(await run('farfield', '--version'), { code: 0, out: '0.1.0' });
  t.match(await run('runner', '--help'), { code: 0, out: 'farfield-runner' });
  t.match(await run('pilot'), { code: 2, out: 'farfield-pilot FOLDER' });
});

t.test('a broker and an agent, started by the bundled command line, store and answer', async (t) => {
  t.match(await run('farfield', 'broker', 'init', '--port', '0', '--grpc-port', '0'), { code: 0 });
  t.match(await run('farfield', 'broker', 'start', '--detach'), { code: 0, out: 'is up' });
  try {
    const made = await run('farfield', 'endpoint', 'init', '--name', 'bundled', '--json');
    t.equal(made.code, 0, made.out);
    const { endpoint } = JSON.parse(made.out) as { endpoint: string };
    const invited = await run('farfield', 'broker', 'invite', '--endpoint', endpoint);
    t.equal(invited.code, 0, invited.out);
    t.match(await run('farfield', 'endpoint', 'join', /ff1\.\S+/.exec(invited.out)?.[0] ?? ''), { code: 0 });
    t.match(await run('farfield', 'endpoint', 'start', '--detach'), { code: 0 });
    t.match(await run('farfield', 'endpoint', 'status'), { code: 0 });
    t.match(await run('farfield', 'endpoint', 'stop'), { code: 0 });
  } finally {
    t.match(await run('farfield', 'broker', 'stop'), { code: 0, out: 'is stopped' });
  }
});
