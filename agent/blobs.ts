/**
 * Bytes by digest between broker and endpoint: arguments come, results go. HTTPS with the broker's pinned CA, each request
 * signed by the online key.
 *
 * Invariants
 *  B1 A fetched blob is used only when its digest is right; it is written aside and renamed, and an interrupted transfer goes
 *     on where it stopped.
 *  B2 The size that the ticket signed is the most that is taken, whatever the broker sends.
 *  B3 Fetching the same digest twice at once is one transfer.
 *  B4 What one principal uploaded is never served to another from the cache: a digest is public, and knowing it is no right.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Agent, Dispatcher } from 'undici';
import type { Clock } from '#base/clock.ts';
import { DIRECT, type Egress, requestConnect } from '#base/proxy.ts';
import type { Random } from '#base/random.ts';
import { FarfieldError, isErrorCode } from '#kernel/errors.ts';
import { uuidv7 } from '#kernel/ids.ts';
import { type Signer, signToken } from '#kernel/jws.ts';
import { REQUEST_LIFE_S } from '#kernel/limits.ts';
import { ROUTES } from '#protos/http.ts';

export interface BlobsOptions {
  readonly url: string;
  readonly ca: string;
  /** The site's proxy and CA; by default neither. */
  readonly egress?: Egress;
  readonly brokerId: string;
  readonly signer: () => Signer;
  /** Cache of arguments, and spool of results. */
  readonly cache: string;
  readonly spool: string;
  readonly cacheBytes: number;
  readonly clock: Clock;
  readonly random: Random;
}

export interface Blobs extends AsyncDisposable {
  /** Where an argument of this principal lies if it is here. */
  pathOf(principal: string, digest: string): string | undefined;
  /** Makes sure that it is here. `ticket`: whose argument it is, which is what this endpoint may read it for. */
  fetch(principal: string, digest: string, size: number, ticket: string): Promise<string>;
  /** Sends a result from the spool, from where the broker stopped. E_NOT_FOUND if neither has it. */
  upload(hex: string, ticket: string): Promise<void>;
  /** The broker has it, and its receipt: the spool's copy may go. */
  drop(hex: string): Promise<void>;
}

const hexOf = (digest: string): string => digest.slice(digest.indexOf(':') + 1);

export function createBlobs(options: BlobsOptions): Blobs {
  // Loaded by the first transfer: most agents run for hours without one, and the client is 10 MB of their memory.
  let opened: Promise<{ undici: typeof import('undici'); agent: Agent }> | undefined;
  const open = async (): Promise<{ undici: typeof import('undici'); agent: Agent }> => {
    const undici = await import('undici');
    const connect = requestConnect(options.egress ?? DIRECT, options.url, options.ca);
    return { undici, agent: new undici.Agent({ connect, connections: 4, bodyTimeout: 0 }) };
  };
  const fetching = new Map<string, Promise<string>>();
  // Thumbprints are base64url, so they are file names.
  const cached = (principal: string, digest: string): string => join(options.cache, `${principal}.${hexOf(digest)}`);

  const call = async (
    method: 'GET' | 'PUT' | 'HEAD',
    path: string,
    more: Partial<Dispatcher.RequestOptions> = {},
  ): Promise<Dispatcher.ResponseData> => {
    opened ??= open();
    const { undici, agent } = await opened;
    let answer: Dispatcher.ResponseData;
    try {
      answer = await undici.request(new URL(path, options.url), {
        ...more,
        method,
        dispatcher: agent,
        headers: {
          ...(more.headers as Record<string, string> | undefined),
          authorization: `Farfield ${sign(options, method, path)}`,
        },
      });
    } catch (cause) {
      throw new FarfieldError('E_UNAVAILABLE', `no answer from the broker at ${options.url}`, { cause });
    }
    if (answer.statusCode < 300) return answer;
    throw await refusal(answer, `${method} ${path.split('?')[0]}`);
  };

  const transfer = async (path: string, digest: string, size: number, ticket: string): Promise<string> => {
    const aside = `${path}.part`;
    const have = (await stat(aside).catch(() => undefined))?.size ?? 0;
    const hash = createHash('sha256');
    if (have > 0) for await (const chunk of createReadStream(aside)) hash.update(chunk as Uint8Array);
    const url = `${ROUTES.blobGet.url.replace(':digest', digest)}?ticket=${ticket}`;
    const answer = await call('GET', url, have > 0 ? { headers: { range: `bytes=${have}-` } } : {});
    // A broker that does not resume sends all of it again.
    const resumed = answer.statusCode === 206;
    const from = resumed ? have : 0;
    const whole = resumed ? hash : createHash('sha256');
    await pipeline(
      answer.body,
      (chunks: AsyncIterable<Uint8Array>) => counted(chunks, whole, from, size, digest),
      createWriteStream(aside, { flags: resumed ? 'a' : 'w', mode: 0o600 }),
    );
    const got = `sha256:${whole.digest('hex')}`;
    if (got !== digest) {
      await rm(aside, { force: true });
      throw new FarfieldError('E_DIGEST', `the broker sent ${got} where the ticket names ${digest}`);
    }
    await rename(aside, path);
    await trim(options.cache, options.cacheBytes, path);
    return path;
  };

  return {
    pathOf(principal, digest) {
      const path = cached(principal, digest);
      if (!existsSync(path)) return undefined;
      // The order in which the cache is trimmed is that of use.
      const now = new Date(options.clock.now());
      void utimes(path, now, now).catch(() => undefined);
      return path;
    },
    fetch(principal, digest, size, ticket) {
      const path = cached(principal, digest);
      const running = fetching.get(path) ?? transfer(path, digest, size, ticket).finally(() => fetching.delete(path));
      fetching.set(path, running);
      return running;
    },
    async upload(hex, ticket) {
      const path = join(options.spool, hex);
      const url = ROUTES.blobPut.url.replace(':digest', `sha256:${hex}`);
      const offset = await offsetOf(call, `${url}?ticket=${ticket}`);
      if (offset === undefined) return;
      // Asked for second: a restored broker may lack what was dropped here after it had said that it has it.
      const size = (await stat(path).catch(() => undefined))?.size;
      if (size === undefined) throw new FarfieldError('E_NOT_FOUND', `result sha256:${hex} is no longer here`);
      const answer = await call('PUT', `${url}?ticket=${ticket}&offset=${offset}&size=${size}`, {
        body: createReadStream(path, { start: offset }),
        headers: { 'content-type': 'application/octet-stream', 'content-length': String(size - offset) },
      });
      await answer.body.dump();
    },
    drop: (hex) => rm(join(options.spool, hex), { force: true }),
    async [Symbol.asyncDispose]() {
      await (await opened)?.agent.destroy();
    },
  };
}

function sign(options: BlobsOptions, method: string, url: string): string {
  const signer = options.signer();
  const iat = Math.floor(options.clock.now() / 1000);
  const jti = uuidv7(options.clock.now(), options.random.bytes(10));
  return signToken(
    'farfield-request+jwt',
    { v: 1, iss: signer.kid, aud: options.brokerId, method, url, jti, iat, exp: iat + REQUEST_LIFE_S },
    signer,
  );
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  hash: Hash,
  from: number,
  size: number,
  digest: string,
): AsyncGenerator<Uint8Array> {
  let total = from;
  for await (const chunk of chunks) {
    total += chunk.byteLength;
    if (total > size)
      throw new FarfieldError('E_DIGEST', `${digest} is longer than the ${size} bytes that the ticket names`);
    hash.update(chunk);
    yield chunk;
  }
}

/** Bytes that the broker has of it; undefined: all. */
async function offsetOf(
  call: (method: 'HEAD', path: string) => Promise<Dispatcher.ResponseData>,
  path: string,
): Promise<number | undefined> {
  try {
    const { headers, body } = await call('HEAD', path);
    await body.dump();
    return headers['farfield-complete'] === 'true' ? undefined : Number(headers['farfield-have'] ?? 0);
  } catch (reason) {
    if (FarfieldError.from(reason).code === 'E_NOT_FOUND') return 0;
    throw reason;
  }
}

async function refusal(answer: Dispatcher.ResponseData, what: string): Promise<FarfieldError> {
  const text = await answer.body.text();
  if (answer.statusCode === 404)
    return new FarfieldError('E_NOT_FOUND', `${what}: the broker has no such bytes for this endpoint`);
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string } };
    return new FarfieldError(isErrorCode(error.code) ? error.code : 'E_UNAVAILABLE', error.message);
  } catch {
    return new FarfieldError('E_UNAVAILABLE', `${what}: the broker answered ${answer.statusCode}`);
  }
}

/** Removes the longest unused until the cache is within its bound; never the one that was just fetched. */
async function trim(folder: string, bound: number, keep: string): Promise<void> {
  const entries: { path: string; size: number; at: number }[] = [];
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const found = await stat(path).catch(() => undefined);
    if (found?.isFile() === true) entries.push({ path, size: found.size, at: found.mtimeMs });
  }
  let total = entries.reduce((sum, { size }) => sum + size, 0);
  for (const { path, size } of entries.sort((a, b) => a.at - b.at)) {
    if (total <= bound) break;
    if (path === keep) continue;
    await rm(path, { force: true });
    total -= size;
  }
}
