/**
 * Blobs: bytes named by SHA-256, sent and fetched in a resumable way.
 *
 * Invariants
 *  B1 An upload asks first how much the broker has and goes on from there; the broker checks the digest of the whole.
 *  B2 A download is written aside and renamed only when its digest is right.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { FarfieldError } from '#kernel/errors.ts';
import { ROUTES } from '#protos/http.ts';
import type { BrokerHttp } from './http.ts';

export interface BlobRef {
  readonly digest: string;
  readonly size: number;
}

export interface BlobSource {
  readonly size: number;
  /** A fresh stream of the bytes from `start` to the end. */
  open(start: number): Readable;
}

async function digestOfStream(stream: Readable): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of stream) hash.update(chunk as Uint8Array);
  return `sha256:${hash.digest('hex')}`;
}

/** Digest and size of a file here. */
export async function measureFile(path: string): Promise<BlobRef> {
  const { size } = await stat(path);
  return { digest: await digestOfStream(createReadStream(path)), size };
}

export async function uploadBlob(
  http: BrokerHttp,
  source: BlobSource,
  onProgress?: (sent: number, size: number) => void,
): Promise<BlobRef> {
  const digest = await digestOfStream(source.open(0));
  const path = ROUTES.blobPut.url.replace(':digest', digest);
  const have = await offsetOf(http, path);
  if (have === undefined) {
    onProgress?.(source.size, source.size);
    return { digest, size: source.size };
  }
  let sent = have;
  const counted = Readable.from(
    (async function* () {
      for await (const chunk of source.open(have)) {
        sent += (chunk as Uint8Array).byteLength;
        onProgress?.(sent, source.size);
        yield chunk as Uint8Array;
      }
    })(),
  );
  const answer = await http.request({
    method: 'PUT',
    path: `${path}?offset=${have}&size=${source.size}`,
    body: counted,
    contentType: 'application/octet-stream',
    headers: { 'content-length': String(source.size - have) },
  });
  await answer.body.dump();
  return { digest, size: source.size };
}

/** How many bytes of a blob the broker already has from this principal; undefined: all of them. */
async function offsetOf(http: BrokerHttp, path: string): Promise<number | undefined> {
  try {
    const answer = await http.request({ method: 'HEAD', path });
    await answer.body.dump();
    if (answer.headers['farfield-complete'] === 'true') return undefined;
    return Number(answer.headers['farfield-have'] ?? 0);
  } catch (cause) {
    if (FarfieldError.from(cause).code === 'E_NOT_FOUND') return 0;
    throw cause;
  }
}

export async function downloadBlob(http: BrokerHttp, digest: string, path: string): Promise<void> {
  const answer = await http.request({ method: 'GET', path: ROUTES.blobGet.url.replace(':digest', digest) });
  const aside = `${path}.part`;
  const hash = createHash('sha256');
  try {
    await pipeline(
      answer.body,
      async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          hash.update(chunk);
          yield chunk;
        }
      },
      createWriteStream(aside),
    );
    const got = `sha256:${hash.digest('hex')}`;
    if (got !== digest) throw new FarfieldError('E_DIGEST', `the broker sent ${got} for ${digest}; ask again`);
    await rename(aside, path);
  } catch (cause) {
    await rm(aside, { force: true });
    throw cause;
  }
}
