import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { digestDirectory, measureDirectory } from '#base/directory-digest.ts';
import { createFileDigests } from '#base/file-digests.ts';
import { digestOf } from '#kernel/ids.ts';

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'ff-digest-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

t.test('a file’s digest and size are those of its bytes, also over many chunks', async (t) => {
  const path = join(folder(t), 'x');
  for (const size of [0, 1, 1024 * 1024, 3 * 1024 * 1024 + 17]) {
    const bytes = Buffer.alloc(size, 'abc');
    writeFileSync(path, bytes);
    t.match(await createFileDigests().measure(path), { digest: digestOf(bytes), size });
  }
});

t.test('a remembered digest is not used for a file that was rewritten, even with its old times and size', async (t) => {
  const path = join(folder(t), 'x');
  const digests = createFileDigests();
  writeFileSync(path, 'first');
  const then = new Date(1_700_000_000_000);
  utimesSync(path, then, then);
  const first = await digests.measure(path);
  t.strictSame(await digests.measure(path), first);
  writeFileSync(path, 'other');
  utimesSync(path, then, then);
  t.equal(await digests.isStill(path, first.identity), false);
  t.equal((await digests.measure(path)).digest, digestOf('other'));
});

t.test('a file that was replaced, shortened or removed is not still the one that was measured', async (t) => {
  const path = join(folder(t), 'x');
  const digests = createFileDigests();
  for (const change of [() => renameSync(`${path}.new`, path), () => truncateSync(path, 1), () => rmSync(path)]) {
    writeFileSync(path, 'bytes');
    writeFileSync(`${path}.new`, 'bytes');
    const { identity } = await digests.measure(path);
    t.equal(await digests.isStill(path, identity), true);
    change();
    t.equal(await digests.isStill(path, identity), false);
  }
});

t.test(
  'what is no regular file has no digest: a link, a folder, a FIFO (without waiting for a writer), nothing',
  async (t) => {
    const at = folder(t);
    const digests = createFileDigests();
    writeFileSync(join(at, 'file'), 'x');
    symlinkSync(join(at, 'file'), join(at, 'link'));
    mkdirSync(join(at, 'dir'));
    execFileSync('mkfifo', [join(at, 'fifo')]);
    for (const name of ['link', 'dir', 'fifo', 'none'])
      await t.rejects(digests.measure(join(at, name)), { code: 'E_INPUT' }, name);
  },
);

t.test('the memory of digests is bounded', async (t) => {
  const at = folder(t);
  const digests = createFileDigests(2);
  for (let i = 0; i < 5; i += 1) {
    writeFileSync(join(at, String(i)), String(i));
    t.equal((await digests.measure(join(at, String(i)))).digest, digestOf(String(i)));
  }
  t.equal((await digests.measure(join(at, '0'))).digest, digestOf('0'));
});

t.test('a directory’s digest is what find, sort and sha256sum say', async (t) => {
  const at = folder(t);
  mkdirSync(join(at, 'weights', 'a'), { recursive: true });
  for (const name of ['model.json', 'weights/b.bin', 'weights/a/c.bin', 'Z', 'a b', 'é', 'weights-0'])
    writeFileSync(join(at, name), name);
  mkdirSync(join(at, 'empty'));
  const command = `find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum`;
  const expected = execFileSync('/bin/sh', ['-c', command], { cwd: at, encoding: 'utf8' }).slice(0, 64);
  t.equal(await digestDirectory(at), `oms1:${expected}`);
});

t.test('renaming, altering, adding or removing a file changes the digest; touching it does not', async (t) => {
  const at = folder(t);
  const digests = createFileDigests();
  const digest = async (): Promise<string> => (await measureDirectory(at, digests)).digest;
  writeFileSync(join(at, 'a'), '1');
  writeFileSync(join(at, 'b'), '2');
  const seen = [await digest()];
  utimesSync(join(at, 'a'), 1, 1);
  t.equal(await digest(), seen[0]);
  const changes = [
    () => renameSync(join(at, 'a'), join(at, 'c')),
    () => writeFileSync(join(at, 'b'), '3'),
    () => writeFileSync(join(at, 'd'), ''),
    () => rmSync(join(at, 'c')),
  ];
  for (const change of changes) {
    change();
    seen.push(await digest());
  }
  t.equal(new Set(seen).size, 5);
});

t.test('a directory with a link, an odd name or nothing in it has no digest', async (t) => {
  for (const make of [
    (at: string) => symlinkSync('/etc', join(at, 'link')),
    (at: string) => writeFileSync(join(at, 'a\nb'), ''),
    (at: string) => writeFileSync(join(at, 'a\\b'), ''),
    () => {},
  ]) {
    const at = folder(t);
    make(at);
    await t.rejects(digestDirectory(at), { code: 'E_MODEL' });
  }
  await t.rejects(digestDirectory('/nowhere'), { code: 'E_MODEL' });
});
