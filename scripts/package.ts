/**
 * `npm run package [-- --arch x64|arm64|all] [--out FOLDER] [--mirror URL]`: one tarball for a site, farfield-VERSION-linux-ARCH.tar.gz, that
 * runs where it is unpacked: Node, bundles, native parts, models and examples inside.
 *
 * 1. Nothing of it asks for a registry, the internet, root or an installed Node; glibc 2.28 or newer is all that it needs.
 * 2. The same commit gives the same bytes: order, modes, owners and times are fixed, and every part is pinned by digest.
 * 3. x64 is run by its test; arm64 is made of the same bundles and that processor's binaries, whose headers are checked, and
 *    is not run.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Arch, PartMissing } from './package/parts.ts';
import { writeTarGz } from './package/tar.ts';
import { checkElf, entriesOf, writeTree } from './package/tree.ts';

const root = resolve(import.meta.dirname, '..');
const ARCHES: readonly Arch[] = ['x64', 'arm64'];

/** A part could not be fetched: nothing is wrong with what is here. */
const UNREACHABLE = 3;

/** The commit's time: rsync takes files of equal size and time for equal, so each release needs its own. */
function commitTime(): number {
  return Number(execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: root, encoding: 'utf8' }).trim());
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      arch: { type: 'string', default: process.arch },
      out: { type: 'string', default: '.' },
      mirror: { type: 'string' },
    },
  });
  const arches = ARCHES.filter((arch) => values.arch === arch || values.arch === 'all');
  if (arches.length === 0) throw new Error(`--arch is x64, arm64 or all, not ${values.arch}`);
  const out = resolve(values.out);
  mkdirSync(out, { recursive: true });
  const work = mkdtempSync(join(tmpdir(), 'farfield-package-'));
  try {
    const dist = join(work, 'dist');
    execFileSync(process.execPath, [join(root, 'scripts/build.ts'), '--out', dist], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const { version } = JSON.parse(readFileSync(join(dist, 'build.json'), 'utf8')) as { version: string };
    for (const arch of arches) {
      const name = `farfield-${version}-linux-${arch}`;
      const tree = join(work, name);
      writeTree(tree, { root, dist, arch, ...(values.mirror === undefined ? {} : { mirror: values.mirror }) });
      const aside = join(out, `${name}.tar.gz.part`);
      await writeTarGz(aside, entriesOf(tree, name), commitTime());
      const file = join(out, `${name}.tar.gz`);
      renameSync(aside, file);
      const { files, glibc, glibcxx } = checkElf(tree, arch);
      const sum = createHash('sha256').update(readFileSync(file)).digest('hex');
      const run = arch === process.arch ? '' : '; not run here: another processor';
      process.stdout.write(`${file}\n  ${(statSync(file).size / 1e6).toFixed(1)} MB, sha256 ${sum}\n`);
      process.stdout.write(
        `  ${files} ELF files for ${arch} need at most GLIBC_${glibc}; GLIBCXX_${glibcxx} is inside${run}\n`,
      );
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (reason) {
  if (!(reason instanceof PartMissing)) throw reason;
  process.stderr.write(`${reason.message}\n`);
  process.exitCode = UNREACHABLE;
}
