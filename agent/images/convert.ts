/**
 * From wherever an image is to the cache: fetched, verified, converted to a SIF once.
 *
 * Invariants
 *  V1 What Apptainer converts is our verified copy, as an archive on disk: it never asks a registry itself.
 *  V2 The converter runs with an environment and folders of our own; what it caches goes when it ends.
 *  V3 The manifest's digest is what people sign; the SIF's is what runs and is recorded. A conversion is not reproducible,
 *     so an image that is here is never converted again.
 *  V4 A SIF for another architecture is refused before it is kept.
 */
import { execFile } from 'node:child_process';
import { link, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '#base/clock.ts';
import { createFileDigests } from '#base/file-digests.ts';
import { plain } from '#base/plain.ts';
import type { Egress } from '#base/proxy.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { openArchive } from './archive.ts';
import { copyIn, type ImageCache, removeTree } from './cache.ts';
import { type BlobSource, type Fetched, fetchImage, ociArchitecture, SIF_LAYER } from './oci.ts';
import { openRegistry, parseReference } from './registry.ts';

export interface ConvertOptions {
  readonly cache: ImageCache;
  /** The site's proxy and CA, for registries; by default neither. */
  readonly egress?: Egress | undefined;
  readonly apptainer: string;
  readonly clock: Clock;
  /** Node's name of this machine's architecture. */
  readonly arch: string;
  /** The digest that was signed, if it is known: anything else is refused. */
  readonly expect?: string;
  /** A public key (PEM) whose signature a SIF must carry. */
  readonly verifyKey?: string;
}

export interface Converted {
  readonly sif: string;
  /** Undefined for an image that came as a SIF file. */
  readonly oci: string | undefined;
  /** It was here already. */
  readonly known: boolean;
}

export type ImageSource =
  | { readonly kind: 'sif'; readonly path: string }
  | { readonly kind: 'archive'; readonly path: string }
  | { readonly kind: 'registry'; readonly name: string };

/** A large image on a slow disk. */
const BUILD_TIMEOUT_MS = 30 * 60_000;
const VERIFY_TIMEOUT_MS = 120_000;
const MAX_OUTPUT_BYTES = 1024 * 1024;
/**
 * Of mksquashfs. A container of our Node starts in 0.49 s from gzip, 0.32 s from zstd and 0.26 s from lz4, in 72, 79 and
 * 101 MB; zstd is read by every squashfuse of the last years.
 */
const SQUASHFS = '-comp zstd -Xcompression-level 1';
/** Where a SIF's header has its magic and architecture, and the codes of the latter. */
const SIF_MAGIC_AT = 32;
const SIF_ARCH_AT = 45;
const SIF_ARCHES: Readonly<Record<string, string>> = { '01': 'ia32', '02': 'x64', '03': 'arm', '04': 'arm64' };

/** `oci-archive:FILE`, `docker-archive:FILE`, `docker://NAME`, `oras://NAME`, `sif:FILE`, or a FILE that ends in .sif. */
export function parseSource(text: string): ImageSource {
  const archive = /^(?:oci|docker)-archive:(.+)$/s.exec(text)?.[1];
  if (archive !== undefined) return { kind: 'archive', path: archive };
  const name = /^(?:docker|oras):\/\/(.+)$/s.exec(text)?.[1];
  if (name !== undefined) return { kind: 'registry', name };
  const path = /^sif:(.+)$/s.exec(text)?.[1] ?? (text.endsWith('.sif') ? text : undefined);
  if (path !== undefined) return { kind: 'sif', path };
  throw new FarfieldError(
    'E_USAGE',
    `"${plain(text)}" is no image source: write FILE.sif, oci-archive:FILE, docker-archive:FILE, docker://HOST/NAME:TAG or oras://HOST/NAME:TAG`,
  );
}

/** Brings the image into the cache, or finds it there. */
export async function convertImage(source: ImageSource, options: ConvertOptions): Promise<Converted> {
  const work = await options.cache.workFolder();
  try {
    if (source.kind === 'sif') return await takeSif(source.path, work, options);
    if (source.kind === 'registry') {
      const registry = openRegistry(parseReference(source.name), options.egress);
      return await convertOci(registry, source.name, work, options);
    }
    await using archive = await openArchive(source.path);
    return await convertOci(archive.source, source.path, work, options);
  } finally {
    await removeTree(work);
  }
}

async function takeSif(path: string, work: string, options: ConvertOptions): Promise<Converted> {
  const { cache, expect } = options;
  const file = join(work, 'image.sif');
  await copyIn(path, file);
  await checkSif(file, options);
  const sif = `sif:${(await createFileDigests().measure(file)).digest.slice('sha256:'.length)}`;
  if (expect !== undefined && expect !== sif) throw new FarfieldError('E_DIGEST', `the file is ${sif}, not ${expect}`);
  const known = (await cache.list()).some((image) => image.sif === sif);
  await cache.put(file);
  return { sif, oci: undefined, known };
}

async function convertOci(source: BlobSource, name: string, work: string, options: ConvertOptions): Promise<Converted> {
  const { cache, clock, arch, expect } = options;
  const wanted = expect?.startsWith('oci:') === true ? { expect } : {};
  const image = await fetchImage(source, join(work, 'layout'), { architecture: ociArchitecture(arch), ...wanted });
  const here = await cache.known(image.digest);
  if (here !== undefined) return { sif: here, oci: image.digest, known: true };
  if (image.architecture !== undefined && image.architecture !== ociArchitecture(arch))
    throw new FarfieldError(
      'E_IMAGE_INCOMPATIBLE',
      `the image is for ${image.architecture}, and this machine is ${arch}`,
    );
  const file = join(work, 'image.sif');
  const [layer] = image.manifest.layers;
  if (layer?.mediaType === SIF_LAYER) await link(blobPath(image, layer.digest), file);
  else await build(image, work, file, options);
  await checkSif(file, options);
  const sif = await cache.put(file);
  await cache.record({ v: 1, oci: image.digest, sif, source: plain(name), at: clock.now() });
  return { sif, oci: image.digest, known: false };
}

const blobPath = (image: Fetched, digest: string): string =>
  join(image.layout, 'blobs', 'sha256', digest.slice('sha256:'.length));

/** V1. An archive and not the folder: Apptainer's reading of layout folders depends on where it stands. */
async function build(image: Fetched, work: string, file: string, { apptainer }: ConvertOptions): Promise<void> {
  const archive = join(work, 'image.oci.tar');
  // By name: Apptainer takes an entry "./" for an attempt to leave the folder.
  const members = ['oci-layout', 'index.json', 'blobs'];
  const packed = await run('tar', ['-cf', archive, '-C', image.layout, ...members], work, BUILD_TIMEOUT_MS);
  if (packed.code !== 0)
    throw new FarfieldError('E_DISK_FULL', `the image could not be packed: ${plain(packed.stderr)}`);
  // Its syntax has a tag after a second colon, and a path with a colon would be read as one.
  if (archive.includes(':'))
    throw new FarfieldError('E_PATH', `the image cache lies in a path with a colon: ${archive}`);
  const args = ['--quiet', 'build', '--disable-cache', '--mksquashfs-args', SQUASHFS, file, `oci-archive:${archive}`];
  const { code, stderr } = await run(apptainer, args, work, BUILD_TIMEOUT_MS);
  if (code === 0) return;
  throw new FarfieldError(
    'E_UNAVAILABLE',
    `apptainer could not convert the image: ${plain(stderr).trim().slice(-800)}`,
  );
}

/** V4, and the signature if one is asked for. */
async function checkSif(file: string, { arch, apptainer, verifyKey }: ConvertOptions): Promise<void> {
  const header = Buffer.alloc(64);
  const handle = await open(file, 'r');
  try {
    await handle.read(header, 0, header.length, 0);
  } finally {
    await handle.close();
  }
  if (header.toString('latin1', SIF_MAGIC_AT, SIF_MAGIC_AT + 9) !== 'SIF_MAGIC')
    throw new FarfieldError('E_INPUT', 'the file is no SIF image');
  const found = SIF_ARCHES[header.toString('latin1', SIF_ARCH_AT, SIF_ARCH_AT + 2)];
  if (found !== arch)
    throw new FarfieldError(
      'E_IMAGE_INCOMPATIBLE',
      `the image is for ${found ?? 'another architecture'}, and this machine is ${arch}`,
    );
  if (verifyKey === undefined) return;
  const folder = join(file, '..');
  const { code, stderr } = await run(apptainer, ['verify', '--key', verifyKey, file], folder, VERIFY_TIMEOUT_MS);
  if (code === 0) return;
  throw new FarfieldError('E_DIGEST', `the image is not signed by that key: ${plain(stderr).trim().slice(-400)}`);
}

/** V2. */
function run(
  program: string,
  args: readonly string[],
  work: string,
  timeout: number,
): Promise<{ readonly code: number; readonly stderr: string }> {
  const env = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    LANG: 'C.UTF-8',
    HOME: work,
    TMPDIR: work,
    APPTAINER_TMPDIR: work,
    APPTAINER_CACHEDIR: join(work, 'cache'),
  };
  return new Promise((resolve, reject) => {
    execFile(program, [...args], { env, cwd: work, timeout, maxBuffer: MAX_OUTPUT_BYTES }, (error, _stdout, stderr) => {
      if (error !== null && 'code' in error && error.code === 'ENOENT')
        reject(
          new FarfieldError('E_UNAVAILABLE', `${program} is not installed here, or not on the path`, { cause: error }),
        );
      else resolve({ code: error === null ? 0 : 1, stderr: stderr === '' ? (error?.message ?? '') : stderr });
    });
  });
}
