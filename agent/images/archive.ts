/**
 * Image archives as sources of blobs: `oci-archive:` (an OCI layout in a tar) and `docker-archive:` (what `docker save` writes).
 *
 * Invariants
 *  R1 Members are read where they lie; nothing is unpacked, so no name in an archive is ever a path of ours.
 *  R2 A Docker archive of the old form has no manifest. Ours is made of its configuration and layers in a fixed form, so that
 *     the same archive has the same `oci:` digest on every machine.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { posix } from 'node:path';
import { FarfieldError } from '#kernel/errors.ts';
import { type BlobSource, type Descriptor, MAX_MANIFEST_BYTES } from './oci.ts';

interface Member {
  readonly offset: number;
  readonly size: number;
  /** Of a link inside the archive: older `docker save` links equal layers. */
  readonly target?: string;
}

const BLOCK = 512;
const MAX_MEMBERS = 100_000;
const CHUNK_BYTES = 1024 * 1024;

export interface Archive extends AsyncDisposable {
  readonly source: BlobSource;
}

function broken(path: string, why: string): FarfieldError {
  return new FarfieldError('E_INPUT', `${path} is no image archive: ${why}`);
}

/** Numbers above 8 GiB are binary, marked by the highest bit. */
function tarNumber(field: Buffer): number {
  if (((field[0] ?? 0) & 0x80) !== 0) return Number(field.readBigUInt64BE(field.length - 8));
  const text = field
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trim();
  return /^[0-7]*$/.test(text) ? Number.parseInt(text || '0', 8) : Number.NaN;
}

const textOf = (field: Buffer): string => field.toString('utf8').replace(/\0.*$/s, '');
const nameOf = (name: string): string => posix.normalize(name).replace(/^\.\//, '');

async function readAt(file: FileHandle, offset: number, size: number): Promise<Buffer> {
  const bytes = Buffer.alloc(size);
  let at = 0;
  while (at < size) {
    const { bytesRead } = await file.read(bytes, at, size - at, offset + at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return bytes.subarray(0, at);
}

/** pax records: `<length> <key>=<value>\n`. */
function paxPath(bytes: Buffer, key: string): string | undefined {
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const length = Number(bytes.subarray(at, space).toString('latin1'));
    if (space < 0 || !Number.isSafeInteger(length) || length <= 0) return undefined;
    const record = bytes.subarray(space + 1, at + length - 1).toString('utf8');
    if (record.startsWith(`${key}=`)) return record.slice(key.length + 1);
    at += length;
  }
  return undefined;
}

/** R1. */
async function indexTar(file: FileHandle, path: string): Promise<Map<string, Member>> {
  const members = new Map<string, Member>();
  let long: string | undefined;
  for (let at = 0; ; ) {
    const header = await readAt(file, at, BLOCK);
    if (header.length < BLOCK || header.every((byte) => byte === 0)) return members;
    const size = tarNumber(header.subarray(124, 136));
    if (!Number.isSafeInteger(size) || size < 0 || members.size >= MAX_MEMBERS)
      throw broken(path, 'it is no tar, or a damaged one (a compressed archive must be unpacked first)');
    const type = String.fromCharCode(header[156] ?? 0);
    const prefix = header.subarray(257, 262).toString('latin1') === 'ustar' ? textOf(header.subarray(345, 500)) : '';
    const short = textOf(header.subarray(0, 100));
    const name = nameOf(long ?? (prefix === '' ? short : `${prefix}/${short}`));
    const body = at + BLOCK;
    long = undefined;
    if (type === 'x' || type === 'L') {
      const bytes = await readAt(file, body, Math.min(size, 64 * 1024));
      long = type === 'L' ? textOf(bytes) : paxPath(bytes, 'path');
    } else if (type === '0' || type === '\0') members.set(name, { offset: body, size });
    else if (type === '1' || type === '2') {
      const to = textOf(header.subarray(157, 257));
      const target = nameOf(type === '2' ? posix.join(posix.dirname(name), to) : to);
      members.set(name, { offset: body, size: 0, target });
    }
    at = body + Math.ceil(size / BLOCK) * BLOCK;
  }
}

async function* streamOf(file: FileHandle, { offset, size }: Member): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size; ) {
    const chunk = await readAt(file, offset + at, Math.min(CHUNK_BYTES, size - at));
    if (chunk.length === 0) return;
    at += chunk.length;
    yield chunk;
  }
}

export async function openArchive(path: string): Promise<Archive> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new FarfieldError('E_INPUT', `cannot read ${path}`, { cause });
  }
  try {
    const members = await indexTar(file, path);
    const find = (name: string): Member => {
      let member = members.get(nameOf(name));
      for (let hops = 0; member?.target !== undefined && hops < 8; hops += 1) member = members.get(member.target);
      if (member === undefined || member.target !== undefined) throw broken(path, `it lacks ${JSON.stringify(name)}`);
      return member;
    };
    const small = async (name: string): Promise<Buffer> => {
      const member = find(name);
      if (member.size > MAX_MANIFEST_BYTES) throw broken(path, `${JSON.stringify(name)} is too large`);
      return readAt(file, member.offset, member.size);
    };
    const layout = members.has('index.json');
    const source = layout ? layoutSource(file, find, small) : await dockerSource(path, file, find, small);
    return { source, [Symbol.asyncDispose]: () => file.close() };
  } catch (reason) {
    await file.close();
    throw reason;
  }
}

type Find = (name: string) => Member;
type Small = (name: string) => Promise<Buffer>;

function layoutSource(file: FileHandle, find: Find, small: Small): BlobSource {
  const at = ({ digest }: Descriptor): string => `blobs/sha256/${digest.slice('sha256:'.length)}`;
  return {
    root: () => small('index.json'),
    manifest: (descriptor) => small(at(descriptor)),
    blob: async (descriptor) => streamOf(file, find(at(descriptor))),
  };
}

/** R2. */
async function dockerSource(path: string, file: FileHandle, find: Find, small: Small): Promise<BlobSource> {
  const list: unknown = JSON.parse((await small('manifest.json')).toString('utf8'));
  const [first, more] = Array.isArray(list) ? (list as { Config?: unknown; Layers?: unknown }[]) : [];
  if (typeof first?.Config !== 'string' || !Array.isArray(first.Layers))
    throw broken(path, 'manifest.json names no image');
  if (more !== undefined) throw broken(path, 'it holds several images; save one alone');
  const places = new Map<string, string>();
  const describe = async (name: string, mediaType: string): Promise<Descriptor> => {
    const hash = createHash('sha256');
    const member = find(name);
    for await (const chunk of streamOf(file, member)) hash.update(chunk);
    const digest = `sha256:${hash.digest('hex')}`;
    places.set(digest, name);
    return { mediaType, digest, size: member.size };
  };
  const config = await describe(first.Config, 'application/vnd.oci.image.config.v1+json');
  const layers: Descriptor[] = [];
  for (const layer of first.Layers)
    layers.push(await describe(String(layer), 'application/vnd.oci.image.layer.v1.tar'));
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }));
  return {
    root: async () => manifest,
    manifest: async () => manifest,
    blob: async ({ digest }) => streamOf(file, find(places.get(digest) ?? digest)),
  };
}
