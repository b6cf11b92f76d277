/** The package as a site gets it: built once, and run where nothing else is. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { isElf, readElf } from '../../scripts/package/elf.ts';
import { PartMissing, unpackDebs } from '../../scripts/package/parts.ts';
import { writeTarGz } from '../../scripts/package/tar.ts';
import { checkElf, isNewer, NEWEST_GLIBC, writeTree } from '../../scripts/package/tree.ts';
import { root } from '../law/source.ts';

/** Everything here moves hundreds of megabytes; nothing waits for long. */
const LIMIT_MS = 240_000;
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'farfield-package-test-')));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

function run(program: string, args: readonly string[], options: { env?: NodeJS.ProcessEnv; cwd?: string } = {}) {
  return spawnSync(program, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT_MS,
    maxBuffer: 64 * 1024 * 1024,
    ...options,
  });
}

function filesOf(tree: string): string[] {
  return readdirSync(tree, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(tree.length + 1))
    .sort();
}

const onLinux = process.platform === 'linux' && process.arch === 'x64';
const built = onLinux ? run(process.execPath, [join(root, 'scripts/package.ts'), '--out', folder]) : undefined;
const unreachable =
  built === undefined
    ? 'the package that is run here is that of Linux on x86-64'
    : built.status === 3
      ? built.stderr.trim()
      : false;
const name = built?.stdout.match(/farfield-[\w.-]+-linux-x64(?=\.tar\.gz)/)?.[0] ?? 'farfield';
/** A path with a space, as shared folders have them. */
const shared = join(folder, 'shared soft');
const tree = join(shared, name);
if (built?.status === 0) {
  mkdirSync(shared);
  run('tar', ['-xzf', join(folder, `${name}.tar.gz`), '-C', shared]);
}

t.test('the package is made, and is what its manifest says', { skip: unreachable, timeout: LIMIT_MS }, async (t) => {
  t.equal(built?.status, 0, built?.stderr ?? '');
  const lines = readFileSync(join(tree, 'MANIFEST.sha256'), 'utf8').trim().split('\n');
  const listed = new Map(lines.map((line) => [line.slice(66), line.slice(0, 64)]));
  const files = filesOf(tree).filter((path) => path !== 'MANIFEST.sha256');
  t.strictSame([...listed.keys()].sort(), files);
  const wrong = files.filter(
    (path) =>
      createHash('sha256')
        .update(readFileSync(join(tree, path)))
        .digest('hex') !== listed.get(path),
  );
  t.strictSame(wrong, []);
  const notices = readFileSync(join(tree, 'THIRD-PARTY.txt'), 'utf8');
  for (const part of ['Node.js', 'libstdc++6', 'onnxruntime-node', 'h5wasm', 'h5wasm-plugins', 'fastify'])
    t.match(notices, new RegExp(`^${part.replaceAll('+', '\\+')} `, 'm'), part);
  for (const path of ['LICENSE', 'config/agent.example.yaml', 'models/braggnn/model.onnx', 'docs/security.md'])
    t.ok(files.includes(path), path);
  t.notOk(
    files.some((path) => /darwin|win32|arm64|\.d\.ts$|\.map$/.test(path)),
    'of other platforms nothing',
  );
});

t.test(
  `every ELF file is for this processor, and asks for glibc ${NEWEST_GLIBC} at most`,
  { skip: unreachable, timeout: LIMIT_MS },
  (t) => {
    const provided = readElf(readFileSync(join(tree, 'lib/libstdc++.so.6')));
    t.equal(provided.versions.includes('GLIBC_2.18'), true, 'what it asks for is read');
    const shipped = new Set(filesOf(tree).map((path) => path.slice(path.lastIndexOf('/') + 1)));
    const glibc = /^(ld-linux-x86-64|lib(c|m|dl|rt|pthread))\.so\.\d$/;
    let found = 0;
    for (const path of filesOf(tree)) {
      const bytes = readFileSync(join(tree, path));
      if (!isElf(bytes)) continue;
      found += 1;
      const { machine, versions, needs } = readElf(bytes);
      t.equal(machine, 'x64', path);
      const newest = versions.filter((version) => version.startsWith('GLIBC_')).map((version) => version.slice(6));
      t.strictSame(
        newest.filter((version) => isNewer(version, NEWEST_GLIBC)),
        [],
        path,
      );
      t.strictSame(
        needs.filter((need) => !glibc.test(need) && !shipped.has(need)),
        [],
        `${path} needs what is here`,
      );
    }
    t.equal(found, 5, 'Node, two libraries of GCC, two of ONNX Runtime');
    t.equal(readElf(readFileSync(join(tree, 'lib/node'))).rpath, '$ORIGIN');
    t.end();
  },
);

t.test(
  'the same sources give the same bytes, for both processors',
  { skip: unreachable, timeout: LIMIT_MS },
  async (t) => {
    const dist = join(folder, 'again', 'dist');
    t.equal(run(process.execPath, [join(root, 'scripts/build.ts'), '--out', dist]).status, 0);
    const arm64 = join(folder, 'again', 'arm64');
    try {
      writeTree(arm64, { root, dist, arch: 'arm64' });
      // What is not a binary, hence pinned by its digest, is the same for both and from both builds.
      const common = (at: string): string[] =>
        readFileSync(join(at, 'MANIFEST.sha256'), 'utf8')
          .split('\n')
          .filter((line) => !/ {2}(lib\/|THIRD-PARTY|node_modules\/onnxruntime-node\/bin\/)/.test(line));
      t.strictSame(common(arm64), common(tree));
      t.ok(common(tree).some((line) => line.endsWith('dist/pilot.mjs')));
      // Its headers are all that can be looked at here.
      t.match(checkElf(arm64, 'arm64'), { files: 5, glibc: NEWEST_GLIBC });
      t.throws(() => checkElf(arm64, 'x64'), /is for arm64, not for x64/);
      t.equal(readElf(readFileSync(join(arm64, 'lib/node'))).interpreter, '/lib/ld-linux-aarch64.so.1');
    } catch (reason) {
      if (!(reason instanceof PartMissing)) throw reason;
      t.comment(`arm64 not made: ${reason.message}`);
    }
  },
);

t.test('a tar file depends on names and contents alone', { timeout: LIMIT_MS }, async (t) => {
  const source = join(folder, 'text');
  writeFileSync(source, 'some text');
  const long = `${'long-folder/'.repeat(12)}file`;
  const entries = [
    { name: 'a/', executable: true, source: undefined },
    { name: 'a/run', executable: true, source },
    { name: long, executable: false, source },
  ];
  const [one, two] = [join(folder, 'one.tgz'), join(folder, 'two.tgz')];
  await writeTarGz(one, entries, 1_700_000_000);
  chmodSync(source, 0o600);
  await writeTarGz(two, [...entries].reverse(), 1_700_000_000);
  t.ok(readFileSync(one).equals(readFileSync(two)));
  const listed = run('tar', ['-tvzf', one], { env: { PATH: process.env.PATH, TZ: 'UTC' } });
  t.match(listed.stdout, /^-rwxr-xr-x root\/root +9 2023-11-14 22:13 a\/run$/m);
  t.match(listed.stdout, long);
});

t.test(
  'it runs where it is moved to, through links, and after a strict umask',
  { skip: unreachable, timeout: LIMIT_MS },
  async (t) => {
    const narrow = join(folder, 'narrow');
    mkdirSync(narrow);
    const unpacked = run('sh', [
      '-c',
      `umask 077; tar -xzf '${join(folder, name)}.tar.gz' --no-same-permissions -C '${narrow}'`,
    ]);
    t.equal(unpacked.status, 0, unpacked.stderr);
    t.equal(statSync(join(narrow, name, 'bin/farfield')).mode & 0o777, 0o700);
    const moved = join(folder, "moved it's here");
    renameSync(join(narrow, name), moved);
    symlinkSync(join(moved, 'bin/farfield'), join(folder, 'link'));
    mkdirSync(join(folder, 'bin'));
    symlinkSync('../link', join(folder, 'bin/farfield'));
    const env = { PATH: `${join(folder, 'bin')}:/usr/bin:/bin` };
    const said = run('farfield', ['--version'], { env, cwd: '/' });
    const build = JSON.parse(readFileSync(join(tree, 'dist/build.json'), 'utf8')) as {
      version: string;
      commit: string;
    };
    t.match(said, { status: 0, stdout: `${build.version} (${build.commit})\n` }, said.stderr);
    const broker = run(join(moved, 'bin/farfield-broker'), ['--help'], { env: { PATH: '/usr/bin:/bin' } });
    t.match(broker, { status: 0, stdout: /Usage: farfield broker/ }, broker.stderr);
    const tested = run(join(moved, 'bin/farfield-runner'), ['selftest', '--model', join(moved, 'models/spectra')], {
      // An older C++ library on the path of a module must not come in between.
      env: { PATH: '/usr/bin:/bin', LD_LIBRARY_PATH: brokenLibraries() },
    });
    t.match(tested, { status: 0, stdout: /"golden":"passed"/ }, tested.stderr);
    rmSync(moved, { recursive: true });
  },
);

/** A folder with a libstdc++ that no program can use. */
function brokenLibraries(): string {
  const place = join(folder, 'broken');
  mkdirSync(place);
  for (const file of ['libstdc++.so.6', 'libgcc_s.so.1']) writeFileSync(join(place, file), 'no library');
  return place;
}

/** The oldest glibc that Debian still serves, and a shell that needs none. */
const OLD_SYSTEM = [
  {
    name: 'libc6',
    version: '2.31-13+deb11u11',
    arch: 'amd64',
    sha256: '05f7264da867b37f4c5ce49266b558ea1e81e05a9464f623152fca70f3550282',
  },
  {
    name: 'busybox-static',
    version: '1:1.30.1-6+b3',
    arch: 'amd64',
    sha256: '8ce5bf3d1c6dbb964325e99f319e40cd8e0e995323481942080bd17d5d5acf89',
  },
];
const GLIBC = ['libc.so.6', 'libm.so.6', 'libdl.so.2', 'libpthread.so.0', 'librt.so.1', 'ld-linux-x86-64.so.2'];
const COMMANDS = ['sh', 'ls', 'readlink', 'dirname'];

/** A root folder with glibc, five commands and the package, and nothing more. */
function makeOldSystem(): string {
  const debs = join(folder, 'debs');
  mkdirSync(debs);
  unpackDebs(debs, OLD_SYSTEM);
  const old = join(folder, 'old');
  for (const path of ['lib64', 'lib/x86_64-linux-gnu', 'bin', 'proc', 'dev', 'tmp', 'shared soft'])
    mkdirSync(join(old, path), { recursive: true });
  chmodSync(join(old, 'tmp'), 0o1777);
  const libraries = join(debs, 'lib/x86_64-linux-gnu');
  for (const library of GLIBC) copyFileSync(join(libraries, library), join(old, 'lib/x86_64-linux-gnu', library));
  copyFileSync(join(libraries, 'ld-linux-x86-64.so.2'), join(old, 'lib64/ld-linux-x86-64.so.2'));
  copyFileSync(join(debs, 'bin/busybox'), join(old, 'bin/busybox'));
  for (const command of COMMANDS) symlinkSync('busybox', join(old, 'bin', command));
  for (const program of ['farfield', 'farfield-runner'])
    symlinkSync(`../shared soft/${name}/bin/${program}`, join(old, 'bin', program));
  copyFileSync(join(root, 'test/scripts/package-inside.ts'), join(old, 'inside.ts'));
  return old;
}

/** Why no other root can be entered here. */
function noOtherRoot(): string | false {
  if (unreachable !== false) return unreachable;
  const tried = run('unshare', [
    ...(process.getuid?.() === 0 ? [] : ['--map-root-user']),
    '--mount',
    '--net',
    '--pid',
    '--fork',
    'true',
  ]);
  return tried.status === 0 ? false : 'this machine lets nobody here make namespaces (unshare)';
}

t.test(
  'with glibc alone, no network, from a read-only folder of another user: the model passes its check, and a no-op goes the whole way',
  { skip: noOtherRoot(), timeout: LIMIT_MS },
  async (t) => {
    let old: string;
    try {
      old = makeOldSystem();
    } catch (reason) {
      if (!(reason instanceof PartMissing)) throw reason;
      t.comment(`not run: ${reason.message}`);
      return;
    }
    const isRoot = process.getuid?.() === 0;
    const at = `/shared soft/${name}`;
    const script = `set -eu
      mount --rbind /dev "$1/dev"
      mount -t proc proc "$1/proc"
      mount --bind "$2" "$1/shared soft"
      mount -o remount,bind,ro "$1/shared soft"
      "$1/bin/busybox" ip link set lo up
      # A test runner loads code into all that it starts, and there is none of it inside.
      unset NODE_OPTIONS
      # Not exec: the first process of a namespace inherits orphans, and Node would leave them as zombies.
      /usr/sbin/chroot ${isRoot ? '--userspec=65534:65534' : ''} "$1" "/shared soft/$3/lib/node" --disable-warning=ExperimentalWarning /inside.ts "/shared soft/$3" /tmp/home
      exit $?`;
    mkdirSync(join(old, 'tmp/home'));
    if (isRoot) run('chown', ['65534:65534', join(old, 'tmp/home')]);
    const flags = [...(isRoot ? [] : ['--map-root-user']), '--mount', '--net', '--pid', '--fork', '--kill-child'];
    const ran = run('unshare', [...flags, 'sh', '-c', script, 'sh', old, shared, name], {
      env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    });
    t.equal(ran.status, 0, `${ran.stdout}${ran.stderr}`);
    const found = JSON.parse(ran.stdout.trim().split('\n').at(-1) ?? '{}') as Record<string, unknown>;
    t.match(found, { uid: isRoot ? 65_534 : 0, writable: false });
    t.strictSame(
      found.packaged,
      ['busybox', ...COMMANDS, 'farfield', 'farfield-runner'].sort(),
      'nothing else is there',
    );
    const own = (found.libraries as string[]).filter((path) => !path.startsWith('/lib'));
    t.strictSame(own, [`${at}/lib/libgcc_s.so.1`, `${at}/lib/libstdc++.so.6`]);
    t.match(found.version, { code: 0 });
    // stderr is where ONNX Runtime would complain that it cannot send home what ran.
    t.match(found.selftest, { code: 0, out: /"golden":"passed"/, err: /^$/ });
    t.match(found.shards, [{ code: 0 }, { code: 0 }, { code: 0 }]);
    t.ok((found.merged as number) > 13_799 * 2 * 4, 'two shards of the validation set made one file');
    t.match(found.noop, { receipt: { verified: true } });
  },
);
