import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  lockFolder,
  MAX_SECRET_BYTES,
  openPrivateFolder,
  readSecret,
  writeDurable,
  writeDurableSync,
} from '#base/files.ts';
import { openSmallDisk, smallDiskMissing } from './small-disk.ts';
import { straceMissing, trace } from './strace.ts';

const folder = mkdtempSync(join(tmpdir(), 'farfield-files-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);

for (const [name, write] of [
  ['writeDurable', writeDurable],
  ['writeDurableSync', writeDurableSync],
] as const) {
  t.test(`${name} replaces a file whole, with its mode, and leaves nothing beside it`, async (t) => {
    const home = mkdtempSync(join(folder, 'd-'));
    const path = join(home, 'x');
    await write(path, 'one', 0o644);
    await write(path, 'two', 0o600);
    t.equal(readFileSync(path, 'utf8'), 'two');
    t.equal(mode(path), '600');
    t.strictSame(readdirSync(home), ['x']);
  });

  t.test(`${name} that fails leaves the old file and nothing beside it`, async (t) => {
    const home = mkdtempSync(join(folder, 'd-'));
    mkdirSync(join(home, 'taken'));
    writeFileSync(join(home, 'taken', 'y'), 'inside');
    await t.rejects(async () => write(join(home, 'taken'), 'bytes'), 'a folder is no file to replace');
    t.strictSame(readdirSync(home), ['taken']);
    await t.rejects(async () => write(join(home, 'no', 'such'), 'bytes'), { code: 'ENOENT' });
  });

  t.test(
    `${name} syncs the file, renames it, syncs the folder, and only then returns`,
    { skip: straceMissing() },
    async (t) => {
      const home = mkdtempSync(join(folder, 'd-'));
      const script = join(home, 'script.ts');
      const files = new URL('../../base/files.ts', import.meta.url).href;
      writeFileSync(
        script,
        `import { ${name} } from '${files}'; import { writeSync } from 'node:fs';
      await ${name}('${home}/x', 'bytes'); writeSync(1, 'ack');`,
      );
      const { calls } = await trace(script, []);
      const steps = calls
        .filter((call) => call.file.startsWith(home) || call.line.includes('"ack"'))
        .map((call) => `${call.name} ${call.line.includes('"ack"') ? 'ack' : call.file === home ? 'folder' : 'file'}`)
        .map((step) =>
          step
            .replace(/^(renameat2?|rename)/, 'rename')
            .replace(/^pwrite64/, 'write')
            .replace(/^fdatasync/, 'fsync'),
        );
      t.strictSame(steps, ['write file', 'fsync file', 'rename file', 'fsync folder', 'write ack']);
    },
  );

  t.test(`${name} says that the disk is full, and keeps the old file`, { skip: smallDiskMissing() }, async (t) => {
    using disk = openSmallDisk('64k');
    const home = disk.folder;
    const path = join(home, 'x');
    await write(path, 'old');
    await t.rejects(async () => write(path, new Uint8Array(200_000)), { code: 'E_DISK_FULL' });
    t.equal(readFileSync(path, 'utf8'), 'old');
    t.strictSame(readdirSync(home), ['x']);
  });
}

t.test('a private folder is made closed, and an open one is refused with the command that mends it', async (t) => {
  const path = join(folder, 'a', 'b');
  t.equal(openPrivateFolder(path), path);
  t.equal(mode(path), '700');
  chmodSync(path, 0o750);
  t.throws(() => openPrivateFolder(path), { code: 'E_FORBIDDEN', message: /0750.*chmod 700/ });
  t.equal(mode(path), '750', 'nothing was mended in silence');
  chmodSync(path, 0o700);
  symlinkSync(path, join(folder, 'link'));
  t.throws(() => openPrivateFolder(join(folder, 'link')), { code: 'E_FORBIDDEN' });
});

t.test('a secret is read only from a regular, small file that nobody else can read', async (t) => {
  const path = join(folder, 'secret');
  writeFileSync(path, 's3cret', { mode: 0o600 });
  t.equal(Buffer.from(readSecret(path)).toString(), 's3cret');
  for (const open of [0o640, 0o604, 0o620]) {
    chmodSync(path, open);
    t.throws(() => readSecret(path), { code: 'E_FORBIDDEN', message: /chmod 600/ });
  }
  chmodSync(path, 0o600);
  writeFileSync(path, new Uint8Array(MAX_SECRET_BYTES + 1));
  t.throws(() => readSecret(path), { code: 'E_TOO_LARGE' });
  execFileSync('mkfifo', ['-m', '600', join(folder, 'fifo')]);
  t.throws(() => readSecret(join(folder, 'fifo')), { code: 'E_FORBIDDEN' }, 'a FIFO does not hang us');
  t.throws(() => readSecret(folder), { code: 'E_FORBIDDEN' });
});

t.test('a locked folder has one holder, in this process too', async (t) => {
  const home = openPrivateFolder(join(folder, 'locked'));
  const lock = lockFolder(home);
  t.throws(() => lockFolder(home), { code: 'E_CONFLICT', message: new RegExp(`process ${process.pid}`) });
  lock.release();
  lock.release();
  using again = lockFolder(home);
  t.ok(again);
});

t.test('the lock of a holder that was killed is free at once', async (t) => {
  const home = openPrivateFolder(join(folder, 'killed'));
  const files = new URL('../../base/files.ts', import.meta.url).href;
  const script = `const { lockFolder } = await import('${files}'); lockFolder('${home}'); console.log('held'); setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  t.throws(() => lockFolder(home), { code: 'E_CONFLICT', message: new RegExp(`process ${holder.pid}`) });
  holder.kill('SIGKILL');
  await once(holder, 'close');
  t.ok(existsSync(join(home, 'lock.holder')), 'its note is left behind');
  using lock = lockFolder(home);
  t.ok(lock);
});
