/**
 * What the package takes from elsewhere: Node's binary for the other architecture, and a C++ library old enough for every
 * machine that Node itself runs on.
 *
 * 1. Everything is pinned: npm's packages by the lock file's digest, Debian's by version and SHA-256 here.
 * 2. Fetched once, by npm and apt as they are set up on this machine; what lies in the cache is checked again at each use.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export type Arch = 'x64' | 'arm64';

/**
 * GCC 10's runtime (gcc-10-base holds its copyright notice) of Debian 11: it asks for GLIBC_2.18 at most, and has GLIBCXX_3.4.28 where Node needs 3.4.21. That of
 * Debian 12 asks for GLIBC_2.36.
 */
const SUITE = 'bullseye';
const GCC = '10.2.1-6';
const DEBS: Readonly<Record<Arch, readonly { readonly name: string; readonly sha256: string }[]>> = {
  x64: [
    { name: 'libstdc++6', sha256: '5c155c58935870bf3b4bfe769116841c0d286a74f59eccfd5645693ac23f06b1' },
    { name: 'libgcc-s1', sha256: 'e478f2709d8474165bb664de42e16950c391f30eaa55bc9b3573281d83a29daf' },
    { name: 'gcc-10-base', sha256: 'be65535e94f95fbf04b104e8ab36790476f063374430f7dfc6c516cbe2d2cd1e' },
  ],
  arm64: [
    { name: 'libstdc++6', sha256: '7869aa540cc46e9f3d4267d5bde2af0e5b429a820c1d6f1a4cfccfe788c31890' },
    { name: 'libgcc-s1', sha256: 'e2fcdb378d3c1ad1bcb64d4fb6b37aab44011152beca12a4944f435a2582df1f' },
    { name: 'gcc-10-base', sha256: '7d782bece7b4a36bed045a7e17d17244cb8f7e4732466091b01412ebf215defb' },
  ],
};

const DEBIAN: Readonly<Record<Arch, string>> = { x64: 'amd64', arm64: 'arm64' };
const TRIPLET: Readonly<Record<Arch, string>> = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** A binary package of Debian, pinned. */
export interface Deb {
  readonly name: string;
  readonly version: string;
  /** Debian's word for the processor. */
  readonly arch: string;
  readonly sha256: string;
}

/** The registry of a pinned part cannot be reached, or no longer has it. */
export class PartMissing extends Error {}

export interface Part {
  /** As it is called in the notices. */
  readonly title: string;
  readonly notice: string;
  /** Names in the tree's `lib/`, and where their bytes lie. */
  readonly files: ReadonlyMap<string, string>;
}

function cacheFolder(): string {
  const folder = join(homedir(), '.cache', 'farfield', 'package');
  mkdirSync(folder, { recursive: true });
  return folder;
}

function digest(algorithm: string, path: string, encoding: 'hex' | 'base64'): string {
  return createHash(algorithm).update(readFileSync(path)).digest(encoding);
}

/** The folder of the npm package, fetched if this machine's installation left it out for another processor. */
export function npmPackage(root: string, name: string): string {
  const installed = join(root, 'node_modules', name);
  if (existsSync(join(installed, 'package.json'))) return installed;
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { version: string; integrity: string } | undefined>;
  };
  const locked = lock.packages[`node_modules/${name}`];
  if (locked === undefined) throw new Error(`${name} is not in package-lock.json`);
  const file = join(cacheFolder(), `${name}-${locked.version}.tgz`);
  const right = (): boolean => `sha512-${digest('sha512', file, 'base64')}` === locked.integrity;
  if (!existsSync(file) || !right()) {
    execFileSync('npm', ['pack', '--silent', '--pack-destination', cacheFolder(), `${name}@${locked.version}`], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    if (!right()) throw new Error(`${file} is not what package-lock.json names; remove it and try again`);
  }
  const folder = join(cacheFolder(), `${name}-${locked.version}`);
  // Unpacked aside: another run may do the same.
  const aside = mkdtempSync(`${folder}.`);
  execFileSync('tar', ['-xzf', file, '-C', aside, '--strip-components=1', '--no-same-owner']);
  rmSync(folder, { recursive: true, force: true });
  renameSync(aside, folder);
  return folder;
}

/** Where this machine's apt gets Debian from. */
function mirror(): string {
  const sources = '/etc/apt/sources.list.d/debian.sources';
  const text = existsSync(sources) ? readFileSync(sources, 'utf8') : '';
  const found = /^URIs:\s*(\S+)/m.exec(text)?.[1];
  if (found !== undefined) return found;
  const list = existsSync('/etc/apt/sources.list') ? readFileSync('/etc/apt/sources.list', 'utf8') : '';
  const old = /^deb\s+(?:\[[^\]]*\]\s+)?(\S+\/debian)\/?\s/m.exec(list)?.[1];
  if (old === undefined) throw new Error('apt is not set up for Debian here; name a mirror with --mirror URL');
  return old;
}

/** Into the cache; apt checks the archive's signature. */
function download(source: string, debs: readonly Deb[]): void {
  const folder = cacheFolder();
  const apt = mkdtempSync(join(folder, 'apt-'));
  try {
    writeFileSync(join(apt, 'sources.list'), `deb [signed-by=${KEYRING}] ${source} ${SUITE} main\n`);
    for (const name of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(apt, name), { recursive: true });
    writeFileSync(join(apt, 'status'), '');
    const options = [
      ...['-qq', '-o', 'APT::Architectures=amd64,arm64', '-o', 'APT::Sandbox::User='],
      ...['-o', `Dir::Etc::SourceList=${apt}/sources.list`, '-o', 'Dir::Etc::SourceParts=-'],
      ...['-o', `Dir::State::Lists=${apt}/lists`, '-o', `Dir::State::status=${apt}/status`],
      ...['-o', `Dir::Cache=${apt}/cache`, '-o', 'Acquire::Languages=none', '-o', 'Acquire::Check-Valid-Until=false'],
    ];
    const run = (...args: string[]): unknown =>
      execFileSync('apt-get', [...options, ...args], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
    run('update');
    run('download', ...debs.map(({ name, version, arch }) => `${name}:${arch}=${version}`));
  } catch (cause) {
    throw new PartMissing('apt-get cannot bring packages of Debian 11; is a mirror set up here? (--mirror URL)', {
      cause,
    });
  } finally {
    rmSync(apt, { recursive: true, force: true });
  }
}

function cachedDeb({ name, version, arch }: Deb): string | undefined {
  // apt writes the colon of an epoch as %3a.
  const wanted = `${name}_${version.replace(':', '%3a')}_${arch}.deb`;
  const found = readdirSync(cacheFolder()).find((file) => file === wanted);
  return found === undefined ? undefined : join(cacheFolder(), found);
}

/** Unpacks pinned Debian packages over each other into `folder`. */
export function unpackDebs(folder: string, debs: readonly Deb[], source?: string): void {
  const missing = debs.filter((deb) => cachedDeb(deb) === undefined);
  if (missing.length > 0) download(source ?? mirror(), missing);
  for (const deb of debs) {
    const file = cachedDeb(deb);
    if (file === undefined) throw new PartMissing(`apt did not bring ${deb.name} ${deb.version} for ${deb.arch}`);
    if (digest('sha256', file, 'hex') !== deb.sha256)
      throw new Error(`${file} is another file; remove it and try again`);
    execFileSync('dpkg-deb', ['-x', file, folder]);
  }
}

/** libstdc++ and libgcc_s, as Debian has them. `folder` is where they are unpacked. */
export function cxxLibraries(folder: string, arch: Arch, source?: string): Part {
  const debs = DEBS[arch].map((deb) => ({ ...deb, version: GCC, arch: DEBIAN[arch] }));
  unpackDebs(folder, debs, source);
  const libraries = join(folder, 'usr/lib', TRIPLET[arch]);
  return {
    title: `libstdc++6 and libgcc-s1 ${GCC} of Debian (GPL-3.0-or-later with the GCC Runtime Library Exception)`,
    notice: [
      `Unchanged from the Debian binary packages; their source is Debian's source package gcc-10 ${GCC}.`,
      readFileSync(join(folder, 'usr/share/doc/gcc-10-base/copyright'), 'utf8').trim(),
    ].join('\n\n'),
    files: new Map([
      ['libstdc++.so.6', join(libraries, 'libstdc++.so.6.0.28')],
      ['libgcc_s.so.1', join(folder, 'lib', TRIPLET[arch], 'libgcc_s.so.1')],
    ]),
  };
}
