/**
 * Images from a real registry (Debian's docker-registry) on loopback: what is fetched is what was pushed, under the digest
 * that its manifest has.
 *
 *     registry.ts FOLDER      FOLDER as of checks.ts
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { systemClock } from '#base/clock.ts';
import { createFileDigests } from '#base/file-digests.ts';
import { sifPath } from '#base/image-cache.ts';
import { openArchive } from '../../../agent/images/archive.ts';
import { openImageCache } from '../../../agent/images/cache.ts';
import { convertImage, parseSource } from '../../../agent/images/convert.ts';
import { fetchImage, ociArchitecture, SIF_LAYER } from '../../../agent/images/oci.ts';

const work = resolve(process.argv[2] ?? '.');
const PORT = 5057;
const BASE = `http://127.0.0.1:${PORT}/v2`;
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const skip =
  spawnSync('docker-registry', ['--version']).status === 0 ? false : 'docker-registry is not installed on this host';

const digestOf = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** By the distribution protocol, as any client does. */
async function push(name: string, blobs: readonly Buffer[], manifest: Buffer): Promise<void> {
  const put = async (url: URL | string, type: string, bytes: Buffer): Promise<void> => {
    const answer = await fetch(url, { method: 'PUT', headers: { 'content-type': type }, body: new Uint8Array(bytes) });
    if (answer.status !== 201) throw new Error(`the registry answered ${answer.status}: ${await answer.text()}`);
  };
  for (const bytes of blobs) {
    const begun = await fetch(`${BASE}/${name}/blobs/uploads/`, { method: 'POST' });
    const where = new URL(begun.headers.get('location') ?? '', BASE);
    where.searchParams.set('digest', digestOf(bytes));
    await put(where, 'application/octet-stream', bytes);
  }
  await put(`${BASE}/${name}/manifests/1`, MANIFEST, manifest);
}

t.test('docker:// and oras:// give the image that was pushed, by its digest', { skip }, async (t) => {
  const storage = join(work, 'registry');
  rmSync(storage, { recursive: true, force: true });
  mkdirSync(storage);
  const config = join(storage, 'config.yml');
  const lines = ['version: 0.1', `storage: { filesystem: { rootdirectory: ${storage}/data } }`];
  writeFileSync(config, [...lines, `http: { addr: "127.0.0.1:${PORT}" }`, ''].join('\n'));
  const server = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
  const digests = createFileDigests();
  const cache = await openImageCache({ folder: join(work, 'registry-cache'), digests, clock: systemClock });
  const options = { cache, apptainer: 'apptainer', clock: systemClock, arch: process.arch };
  try {
    while (
      !(await fetch(`${BASE}/`)
        .then((a) => a.ok)
        .catch(() => false))
    )
      await sleep(50);
    const layout = join(storage, 'layout');
    await using archive = await openArchive(join(work, 'onnx.oci.tar'));
    const own = await fetchImage(archive.source, layout, { architecture: ociArchitecture(process.arch) });
    const blob = (digest: string): Buffer => readFileSync(join(layout, 'blobs', 'sha256', digest.replace(/^\w+:/, '')));
    const parts = [own.manifest.config, ...own.manifest.layers].map(({ digest }) => blob(digest));
    await push('onnx', parts, blob(own.digest));

    const docker = await convertImage(parseSource(`docker://127.0.0.1:${PORT}/onnx:1`), options);
    t.equal(docker.oci, own.digest, 'the digest of the archive that was pushed');
    const again = await convertImage(parseSource(`docker://127.0.0.1:${PORT}/onnx:1`), {
      ...options,
      expect: own.digest,
    });
    t.strictSame(again, { ...docker, known: true }, 'converted once');
    const other = { ...options, expect: `oci:${'0'.repeat(64)}` };
    await t.rejects(convertImage(parseSource(`docker://127.0.0.1:${PORT}/onnx:1`), other), { code: 'E_DIGEST' });

    const sif = readFileSync(sifPath(cache.folder, docker.sif));
    const empty = Buffer.from('{}');
    const describe = (mediaType: string, bytes: Buffer) => ({ mediaType, digest: digestOf(bytes), size: bytes.length });
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MANIFEST,
        config: describe('application/vnd.sylabs.sif.config.v1+json', empty),
        layers: [describe(SIF_LAYER, sif)],
      }),
    );
    await push('onnx-sif', [empty, sif], manifest);
    const oras = await convertImage(parseSource(`oras://127.0.0.1:${PORT}/onnx-sif:1`), options);
    t.equal(oras.oci, digestOf(manifest).replace('sha256', 'oci'));
    t.equal(oras.sif, docker.sif, 'a SIF in a registry is taken as it is');
  } finally {
    cache[Symbol.dispose]();
    server.kill('SIGKILL');
    await new Promise((ended) => server.once('close', ended));
    rmSync(storage, { recursive: true, force: true });
    rmSync(join(work, 'registry-cache'), { recursive: true, force: true });
  }
});

t.test('a SIF is taken only with the signature that was asked for', async (t) => {
  const folder = join(work, 'signed');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  const run = (command: string, args: string[]): number | null => spawnSync(command, args, { stdio: 'ignore' }).status;
  const digests = createFileDigests();
  const cache = await openImageCache({ folder: join(folder, 'cache'), digests, clock: systemClock });
  const options = { cache, apptainer: 'apptainer', clock: systemClock, arch: process.arch };
  try {
    const made = await convertImage(parseSource(`oci-archive:${join(work, 'onnx.oci.tar')}`), options);
    const file = join(folder, 'image.sif');
    writeFileSync(file, readFileSync(sifPath(cache.folder, made.sif)));
    for (const name of ['ours', 'other']) {
      t.equal(run('openssl', ['genrsa', '-out', join(folder, `${name}.pem`), '2048']), 0);
      t.equal(
        run('openssl', ['rsa', '-in', join(folder, `${name}.pem`), '-pubout', '-out', join(folder, `${name}.pub`)]),
        0,
      );
    }
    const asked = (name: string) =>
      convertImage(parseSource(file), { ...options, verifyKey: join(folder, `${name}.pub`) });
    await t.rejects(asked('ours'), { code: 'E_DIGEST' }, 'unsigned');
    t.equal(run('apptainer', ['sign', '--key', join(folder, 'ours.pem'), file]), 0);
    t.match((await asked('ours')).sif, /^sif:/);
    await t.rejects(asked('other'), { code: 'E_DIGEST' }, 'signed by another key');
  } finally {
    cache[Symbol.dispose]();
    rmSync(folder, { recursive: true, force: true });
  }
});
