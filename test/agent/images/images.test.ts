/** Images on their way to the cache: archives, a registry, lies of both, and the cache's limit. No Apptainer is needed. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t from 'tap';
import '../../leaks.ts';
import { systemClock } from '#base/clock.ts';
import { createFileDigests } from '#base/file-digests.ts';
import { findImage, sifPath, usedPath } from '#base/image-cache.ts';
import { openArchive } from '../../../agent/images/archive.ts';
import { type ImageCache, openImageCache } from '../../../agent/images/cache.ts';
import { type ConvertOptions, convertImage, parseSource } from '../../../agent/images/convert.ts';
import { fetchImage, ociArchitecture, SIF_LAYER } from '../../../agent/images/oci.ts';
import { openRegistry, parseReference, tokenUrl } from '../../../agent/images/registry.ts';

const HOUR_MS = 3_600_000;
const folder = mkdtempSync(join(tmpdir(), 'farfield-images-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const architecture = ociArchitecture(process.arch);
const sha = (bytes: Buffer | string): string => createHash('sha256').update(bytes).digest('hex');
let counter = 0;
const fresh = (): string => {
  counter += 1;
  return join(folder, `f${counter}`);
};

/** A SIF as far as its header goes. */
function sifBytes(text: string, arch = process.arch === 'arm64' ? '04' : '02'): Buffer {
  const bytes = Buffer.alloc(128 + text.length);
  bytes.write('SIF_MAGIC\0', 32, 'latin1');
  bytes.write(`01\0${arch}\0`, 42, 'latin1');
  bytes.write(text, 128);
  return bytes;
}

/** An OCI archive of one layer, as containers/build.sh makes it. */
function ociArchive(): { path: string; digest: string } {
  const place = fresh();
  mkdirSync(place);
  writeFileSync(join(place, 'layer.tar'), Buffer.alloc(10_240, 7));
  const path = join(place, 'a.oci.tar');
  const program = [resolve('scripts/oci-archive.ts'), 'a', join(place, 'layer.tar'), '', path];
  const printed = execFileSync(process.execPath, ['--disable-warning=ExperimentalWarning', ...program]);
  return { path, digest: printed.toString().trim() };
}

async function withCache(use: (cache: ImageCache, options: ConvertOptions) => Promise<void>): Promise<void> {
  using cache = await openImageCache({ folder: fresh(), digests: createFileDigests(), clock: systemClock });
  await use(cache, { cache, apptainer: join(folder, 'no-apptainer'), clock: systemClock, arch: process.arch });
}

t.test('an OCI archive is known by its manifest, and the same bytes give the same digest', async (t) => {
  const { path, digest } = ociArchive();
  await using archive = await openArchive(path);
  const image = await fetchImage(archive.source, fresh(), { architecture });
  t.equal(image.digest, digest);
  t.equal(ociArchive().digest, digest);
  const expect = `oci:${'0'.repeat(64)}`;
  await t.rejects(fetchImage(archive.source, fresh(), { architecture, expect }), { code: 'E_DIGEST' });
});

t.test('a byte that was changed anywhere in an archive’s blobs is found', async (t) => {
  const { path } = ociArchive();
  const bytes = readFileSync(path);
  for (const at of [bytes.indexOf(Buffer.alloc(64, 7)) + 5, bytes.indexOf('"rootfs"') + 2]) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    const other = fresh();
    writeFileSync(other, changed);
    await using archive = await openArchive(other);
    await t.rejects(fetchImage(archive.source, fresh(), { architecture }), { code: 'E_DIGEST' });
  }
  for (const text of ['', 'no tar at all'.repeat(100), bytes.subarray(0, 700)]) {
    const other = fresh();
    writeFileSync(other, text);
    await t.rejects(openArchive(other), { code: 'E_INPUT' });
  }
});

t.test(
  'a Docker archive of the old form has a digest of our making, the same each time; links in it are followed',
  async (t) => {
    const place = fresh();
    mkdirSync(join(place, 'x'), { recursive: true });
    writeFileSync(join(place, 'x', 'layer.tar'), Buffer.alloc(2048, 3));
    execFileSync('ln', ['-s', 'x/layer.tar', join(place, 'y.tar')]);
    writeFileSync(join(place, 'c.json'), JSON.stringify({ architecture, os: 'linux' }));
    const manifest = [{ Config: 'c.json', RepoTags: ['a:1'], Layers: ['x/layer.tar', 'y.tar'] }];
    writeFileSync(join(place, 'manifest.json'), JSON.stringify(manifest));
    const tar = (...more: string[]): string => {
      const path = fresh();
      execFileSync('tar', ['-cf', path, ...more, '-C', place, '.']);
      return path;
    };
    await using first = await openArchive(tar());
    await using second = await openArchive(tar('--format=pax', '--mtime=2001-01-01'));
    const one = await fetchImage(first.source, fresh(), { architecture });
    const two = await fetchImage(second.source, fresh(), { architecture });
    t.equal(one.digest, two.digest);
    t.equal(one.manifest.layers.length, 2);
    t.equal(one.manifest.layers[1]?.digest, `sha256:${sha(Buffer.alloc(2048, 3))}`);
  },
);

t.test('names of sources and of registries are read strictly', async (t) => {
  t.match(parseSource('docker://reg.example:5000/a/b:1'), { kind: 'registry', name: 'reg.example:5000/a/b:1' });
  t.match(parseSource('/x/a.sif'), { kind: 'sif', path: '/x/a.sif' });
  t.match(parseSource('docker-archive:/x:y.tar'), { kind: 'archive', path: '/x:y.tar' });
  for (const bad of ['', 'a', 'library://a', 'docker-daemon:a', 'https://a/b'])
    t.throws(() => parseSource(bad), { code: 'E_USAGE' });
  t.match(parseReference(`h.example/a@sha256:${'a'.repeat(64)}`), { reference: `sha256:${'a'.repeat(64)}` });
  t.match(parseReference('localhost:5000/a'), { host: 'localhost:5000', repository: 'a', reference: 'latest' });
  for (const bad of [
    'a/b',
    'h.example/../b',
    'h.example/a?x=1',
    'h.example/A',
    'user@h.example/a',
    'h.example/a:b:c',
    'h.example',
  ])
    t.throws(() => parseReference(bad), { code: 'E_USAGE' }, bad);
  t.equal(tokenUrl('Bearer realm="http://elsewhere.example/token"', 'a'), undefined, 'no token over plain text');
  t.equal(tokenUrl('Basic realm="x"', 'a'), undefined);
  t.match(
    tokenUrl('Bearer realm="https://auth.example/t",service="s"', 'a')?.href,
    /service=s&scope=repository%3Aa%3Apull/,
  );
});

/** A registry in this process: documents by path, and a token for those who ask. */
async function withRegistry(
  answers: Map<string, Buffer>,
  use: (host: string, seen: string[]) => Promise<void>,
): Promise<void> {
  const seen: string[] = [];
  const server: Server = createServer((request, response) => {
    const url = request.url ?? '';
    seen.push(`${url} ${request.headers.authorization ?? ''}`.trim());
    const host = request.headers.host ?? '';
    if (url.startsWith('/token')) return void response.end(JSON.stringify({ token: 'secret' }));
    if (request.headers.authorization !== 'Bearer secret')
      return void response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${host}/token"` }).end();
    const bytes = answers.get(url);
    if (bytes === undefined) return void response.writeHead(404).end();
    return void response.end(bytes);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  try {
    await use(`127.0.0.1:${(server.address() as AddressInfo).port}`, seen);
  } finally {
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
  }
}

t.test('a registry’s image is taken by its digest, for this architecture, and a lie of it is found', async (t) => {
  const layer = sifBytes('from a registry');
  const config = Buffer.from('{}');
  const describe = (mediaType: string, bytes: Buffer) => ({
    mediaType,
    digest: `sha256:${sha(bytes)}`,
    size: bytes.length,
  });
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType,
      config: describe('c', config),
      layers: [describe(SIF_LAYER, layer)],
    }),
  );
  const of = (arch: string) => ({ ...describe(mediaType, manifest), platform: { os: 'linux', architecture: arch } });
  const index = (...arches: string[]): Buffer =>
    Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: arches.map(of) }));
  const answers = new Map([
    ['/v2/a/manifests/1', index('s390x', architecture)],
    ['/v2/a/manifests/2', index('s390x', 'riscv64')],
    [`/v2/a/manifests/sha256:${sha(manifest)}`, manifest],
    [`/v2/a/blobs/sha256:${sha(layer)}`, layer],
    [`/v2/a/blobs/sha256:${sha(config)}`, config],
  ]);
  await withRegistry(answers, async (host, seen) => {
    const registry = (reference: string) => openRegistry({ host, repository: 'a', reference });
    await withCache(async (cache, options) => {
      const made = await convertImage({ kind: 'registry', name: `${host}/a:1` }, options);
      t.match(made, { oci: `oci:${sha(manifest)}`, sif: `sif:${sha(layer)}`, known: false });
      t.strictSame(readFileSync(sifPath(cache.folder, made.sif)), layer);
      const found = await findImage(cache.folder, made.oci ?? '', createFileDigests());
      t.equal(found.sif, made.sif, 'by the digest that was signed');
      t.match(await convertImage({ kind: 'registry', name: `${host}/a:1` }, options), { known: true });
    });
    t.equal(seen.filter((one) => one.startsWith('/token')).length, 2, 'a token is asked for once a visit');
    await t.rejects(fetchImage(registry('2'), fresh(), { architecture }), { code: 'E_IMAGE_INCOMPATIBLE' });
    await t.rejects(fetchImage(registry('none'), fresh(), { architecture }), { code: 'E_NOT_FOUND' });
    answers.set(`/v2/a/blobs/sha256:${sha(layer)}`, sifBytes('from a registrX'));
    await t.rejects(fetchImage(registry('1'), fresh(), { architecture }), { code: 'E_DIGEST' });
    answers.set(`/v2/a/blobs/sha256:${sha(layer)}`, Buffer.concat([layer, Buffer.alloc(100_000)]));
    await t.rejects(fetchImage(registry('1'), fresh(), { architecture }), { code: 'E_DIGEST', message: /longer/ });
    answers.set(
      `/v2/a/manifests/sha256:${sha(manifest)}`,
      Buffer.from(manifest.toString().replace('"size":2', '"size":3')),
    );
    await t.rejects(fetchImage(registry('1'), fresh(), { architecture }), { code: 'E_DIGEST' });
  });
});

t.test('a SIF file is taken by its bytes; one for another machine, and what is none, are refused', async (t) => {
  await withCache(async (cache, options) => {
    const take = (bytes: Buffer, more: Partial<ConvertOptions> = {}) => {
      const path = `${fresh()}.sif`;
      writeFileSync(path, bytes);
      return convertImage(parseSource(path), { ...options, ...more });
    };
    const made = await take(sifBytes('one'));
    t.strictSame(made, { sif: `sif:${sha(sifBytes('one'))}`, oci: undefined, known: false });
    t.match(await take(sifBytes('one')), { known: true });
    await t.rejects(take(sifBytes('x', '07')), { code: 'E_IMAGE_INCOMPATIBLE' });
    await t.rejects(take(Buffer.from('#!/bin/sh')), { code: 'E_INPUT' });
    await t.rejects(take(sifBytes('two'), { expect: made.sif }), { code: 'E_DIGEST' });
    t.equal((await cache.list()).length, 1, 'what was refused is not kept');
    await t.rejects(convertImage(parseSource('/no/such.sif'), options), { code: 'E_INPUT' });
    t.throws(() =>
      writeFileSync(sifPath(cache.folder, made.sif), 'x', { flag: process.getuid?.() === 0 ? 'wx' : 'w' }),
    );
    const digests = createFileDigests();
    t.match(await findImage(cache.folder, made.sif, digests), { sif: made.sif, digest: made.sif });
    chmodSync(sifPath(cache.folder, made.sif), 0o644);
    writeFileSync(sifPath(cache.folder, made.sif), sifBytes('other'));
    await t.rejects(findImage(cache.folder, made.sif, digests), { code: 'E_DIGEST' }, 'its name is not believed');
    await t.rejects(findImage(cache.folder, `sif:${'0'.repeat(64)}`, digests), { code: 'E_NOT_FOUND' });
    await t.rejects(findImage(cache.folder, `oci:${'0'.repeat(64)}`, digests), { code: 'E_NOT_FOUND' });
    await t.rejects(findImage(cache.folder, `sha256:${'0'.repeat(64)}`, digests), { code: 'E_BAD_REQUEST' });
    await t.rejects(findImage(cache.folder, '../../etc/passwd', digests), { code: 'E_BAD_REQUEST' });
  });
});

t.test('an image that must be converted, where there is no Apptainer, says so and leaves nothing', async (t) => {
  await withCache(async (cache, options) => {
    const source = parseSource(`oci-archive:${ociArchive().path}`);
    await t.rejects(convertImage(source, options), { code: 'E_UNAVAILABLE', message: /not installed/ });
    t.strictSame(await cache.list(), []);
    t.equal(execFileSync('ls', [join(cache.folder, 'work')]).toString(), '');
    await t.rejects(openImageCache({ folder: cache.folder, digests: createFileDigests(), clock: systemClock }), {
      code: 'E_CONFLICT',
    });
  });
});

t.test('the cache is trimmed by last use, and what was used a moment ago stays', async (t) => {
  await withCache(async (cache, options) => {
    const sifs: string[] = [];
    for (const [at, name] of ['a', 'b', 'c'].entries()) {
      const path = `${fresh()}.sif`;
      writeFileSync(path, sifBytes(name.repeat(1000)));
      const { sif } = await convertImage(parseSource(path), options);
      sifs.push(sif);
      const then = new Date(systemClock.now() - (3 - at) * HOUR_MS);
      for (const file of [sifPath(cache.folder, sif), usedPath(cache.folder, sif)]) utimesSync(file, then, then);
    }
    // The oldest was started a moment ago.
    utimesSync(usedPath(cache.folder, sifs[0] as string), new Date(systemClock.now()), new Date(systemClock.now()));
    const { removed, bytes } = await cache.trim(2500);
    t.strictSame(
      removed.map(({ sif }) => sif),
      [sifs[1]],
    );
    t.equal(bytes, 2 * 1128);
    const all = await cache.trim(0);
    t.strictSame(
      all.removed.map(({ sif }) => sif),
      [sifs[2]],
    );
    t.strictSame(
      (await cache.list()).map(({ sif }) => sif),
      [sifs[0]],
    );
  });
});
