/**
 * OCI images as verified blobs in a private folder, whatever they came from: an OCI archive, a Docker archive, a registry.
 *
 * Invariants
 *  O1 A blob is used only when its SHA-256 and size are those that its descriptor says; the manifest's own digest is the
 *     image's name (`oci:<hex>`), and is compared with what was asked for.
 *  O2 What a converter gets is the copy that was verified, never the source.
 *  O3 Sizes are bounded before bytes are taken: a manifest is small, a layer is as long as its descriptor says.
 *  O4 Of an index the manifest for this machine's architecture is taken; it is that manifest's digest that names the image.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { FarfieldError } from '#kernel/errors.ts';

export interface Descriptor {
  readonly mediaType?: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly architecture: string; readonly os: string };
}

export interface Manifest {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** Where blobs come from. `stream` yields at most what exists; lengths and digests are checked by the taker. */
export interface BlobSource {
  /** The document that leads to the image: an index or a manifest. Bytes as they are. */
  root(): Promise<Buffer>;
  /** By digest, of a manifest (small). */
  manifest(descriptor: Descriptor): Promise<Buffer>;
  blob(descriptor: Descriptor): Promise<AsyncIterable<Uint8Array>>;
}

export interface Fetched {
  /** `oci:<hex>` of the manifest. */
  readonly digest: string;
  readonly manifest: Manifest;
  /** An OCI layout: oci-layout, index.json, blobs/sha256/. */
  readonly layout: string;
  readonly architecture: string | undefined;
}

export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
const MAX_LAYERS = 1024;
/** Media type of an image that is a SIF already (Apptainer's registry form). */
export const SIF_LAYER = 'application/vnd.sylabs.sif.layer.v1.sif';

const hashOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

function wrong(what: string): FarfieldError {
  return new FarfieldError('E_DIGEST', `the image is not what it says: ${what}. Fetch it again, or ask who made it`);
}

function parseJson(bytes: Uint8Array, what: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw new FarfieldError('E_INPUT', `${what} of the image is no JSON object`);
}

function descriptorOf(value: unknown, what: string): Descriptor {
  const d = value as Partial<Descriptor> | null | undefined;
  if (typeof d?.digest === 'string' && DIGEST.test(d.digest) && Number.isSafeInteger(d.size) && Number(d.size) >= 0)
    return d as Descriptor;
  throw new FarfieldError('E_INPUT', `the image has no usable descriptor of its ${what} (sha256 digests only)`);
}

export function parseManifest(bytes: Uint8Array): Manifest {
  const value = parseJson(bytes, 'the manifest');
  const { layers } = value;
  if (value.schemaVersion !== 2 || !Array.isArray(layers) || layers.length > MAX_LAYERS)
    throw new FarfieldError('E_INPUT', 'the manifest of the image is of an old or unknown form; push it again as OCI');
  return {
    ...value,
    schemaVersion: 2,
    config: descriptorOf(value.config, 'configuration'),
    layers: layers.map((layer) => descriptorOf(layer, 'layers')),
  };
}

/** The name that registries have for Node's. */
export function ociArchitecture(arch: string): string {
  return arch === 'x64' ? 'amd64' : arch;
}

/** O4. The bytes of the manifest that an index leads to; a manifest leads to itself. */
async function chooseManifest(source: BlobSource, architecture: string): Promise<Buffer> {
  let bytes = await source.root();
  // An index of an index of a manifest is allowed by the format; more is a loop.
  for (let depth = 0; depth < 3; depth += 1) {
    const value = parseJson(bytes, 'the manifest');
    if (!Array.isArray(value.manifests)) return bytes;
    const all = value.manifests.map((entry) => descriptorOf(entry, 'manifests'));
    const fits = all.filter(({ platform }) => platform?.os === 'linux' && platform.architecture === architecture);
    const [chosen] = all.length === 1 ? all : fits;
    if (chosen === undefined) {
      const there = all.map(({ platform }) => platform?.architecture ?? 'unknown').join(', ');
      throw new FarfieldError('E_IMAGE_INCOMPATIBLE', `the image is for ${there}, and this machine is ${architecture}`);
    }
    bytes = await source.manifest(chosen);
    // O1.
    if (bytes.length !== chosen.size || hashOf(bytes) !== chosen.digest)
      throw wrong(`its manifest is not ${chosen.digest}`);
  }
  throw new FarfieldError('E_INPUT', 'the image is an index of indexes without a manifest');
}

/** Takes an image apart into `folder`, verified. `expect`: the digest that was signed, if the caller knows it. */
export async function fetchImage(
  source: BlobSource,
  folder: string,
  options: { readonly architecture: string; readonly expect?: string },
): Promise<Fetched> {
  const bytes = await chooseManifest(source, options.architecture);
  const hex = hashOf(bytes).slice('sha256:'.length);
  const digest = `oci:${hex}`;
  if (options.expect !== undefined && options.expect !== digest)
    throw new FarfieldError('E_DIGEST', `the image there is ${digest}, not ${options.expect}`);
  const manifest = parseManifest(bytes);
  const blobs = join(folder, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true, mode: 0o700 });
  for (const descriptor of [manifest.config, ...manifest.layers]) await takeBlob(source, descriptor, blobs);
  await writeFile(join(blobs, hex), bytes);
  await writeFile(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const mediaType = manifest.mediaType ?? 'application/vnd.oci.image.manifest.v1+json';
  const entry = { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  await writeFile(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
  return { digest, manifest, layout: folder, architecture: await architectureOf(manifest, blobs) };
}

async function architectureOf(manifest: Manifest, blobs: string): Promise<string | undefined> {
  if (manifest.config.size > MAX_MANIFEST_BYTES) return undefined;
  const { readFile } = await import('node:fs/promises');
  try {
    const config = parseJson(await readFile(join(blobs, manifest.config.digest.slice(7))), 'the configuration');
    return typeof config.architecture === 'string' ? config.architecture : undefined;
  } catch {
    // A SIF in a registry has an empty configuration.
    return undefined;
  }
}

/** O1, O3. */
async function takeBlob(source: BlobSource, descriptor: Descriptor, blobs: string): Promise<void> {
  const hash = createHash('sha256');
  let got = 0;
  const checked = async function* (chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      got += chunk.length;
      if (got > descriptor.size) throw wrong(`${descriptor.digest} is longer than its ${descriptor.size} bytes`);
      hash.update(chunk);
      yield chunk;
    }
  };
  const path = join(blobs, descriptor.digest.slice('sha256:'.length));
  await pipeline(await source.blob(descriptor), checked, createWriteStream(path, { mode: 0o600 }));
  const found = `sha256:${hash.digest('hex')}`;
  if (got !== descriptor.size || found !== descriptor.digest)
    throw wrong(`${descriptor.digest} has the bytes of ${found}`);
}
