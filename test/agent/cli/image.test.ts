/** `farfield image`, as an admin types it. Needs no Apptainer: a SIF is taken as it is. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { Command } from 'commander';
import t from 'tap';
import '../../leaks.ts';
import type { CliContext } from '#base/cli.ts';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { register } from '../../../agent/cli/image.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-image-cli-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const images = join(folder, 'cache');

/** What the verb printed on stdout; throws what it throws. */
async function image(...argv: string[]): Promise<string> {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const context: CliContext = {
    env: {},
    stdin: new PassThrough(),
    stdout,
    stderr,
    cwd: folder,
    home: join(folder, 'home'),
    clock: systemClock,
    random: systemRandom,
    signal: new AbortController().signal,
    self: [],
  };
  const program = new Command('farfield').option('--json').exitOverride();
  register(program, context);
  await program.parseAsync(['image', ...argv, '--images', 'cache'], { from: 'user' });
  stderr.resume();
  return String(stdout.read() ?? '');
}

const sif = Buffer.alloc(2 * 1024 * 1024);
sif.write('SIF_MAGIC\0', 32, 'latin1');
sif.write(`01\0${process.arch === 'arm64' ? '04' : '02'}\0`, 42, 'latin1');
const digest = `sif:${createHash('sha256').update(sif).digest('hex')}`;
writeFileSync(join(folder, 'a.sif'), sif);

t.test('convert prints the digest to sign, list shows it, prune makes room', async (t) => {
  t.equal(await image('list'), '', 'a cache that is not there yet is empty');
  t.equal(await image('convert', 'a.sif'), `${digest}\n`);
  t.match(JSON.parse(await image('convert', 'a.sif', '--json')), { sif: digest, known: true, removed: [] });
  t.match(await image('list'), new RegExp(`^${digest}  2 MiB  used `));
  t.match(JSON.parse(await image('list', '--json')), { images: [{ sif: digest, bytes: sif.length, oci: [] }] });
  t.match(JSON.parse(await image('prune', '--max', '1', '--json')), { removed: [] }, 'it was used a moment ago');
  const hex = digest.slice('sif:'.length);
  for (const file of [join(images, 'sif', `${hex}.sif`), join(images, 'used', hex)]) utimesSync(file, 1, 1);
  t.match(JSON.parse(await image('prune', '--json')), { removed: [] }, 'the limit of the configuration is far');
  t.match(JSON.parse(await image('prune', '--max', '1', '--json')), { removed: [digest], bytes: 0 });
  t.equal(await image('list'), '');
});

t.test('what is typed wrong is said before anything is fetched', async (t) => {
  await t.rejects(image('convert', 'library://x'), { code: 'E_USAGE' });
  await t.rejects(image('convert', 'a.sif', '--expect', `sha256:${'0'.repeat(64)}`), { code: 'E_USAGE' });
  await t.rejects(image('convert', 'a.sif', '--expect', 'sif:0'), { code: 'E_USAGE' });
  await t.rejects(image('convert', 'a.sif', '--expect', `sif:${'0'.repeat(64)}`), { code: 'E_DIGEST' });
  await t.rejects(image('prune', '--max', '-1'), { code: 'E_USAGE' });
  t.equal(await image('list'), '');
});
