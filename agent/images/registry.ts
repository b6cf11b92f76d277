/**
 * Registries (`docker://`, `oras://`) as sources of blobs, by the OCI distribution protocol.
 *
 * Invariants
 *  G1 HTTPS, except for a registry on this machine's loopback: bytes are verified all the same, but a name and a token are not.
 *  G2 A token is asked for only at the address that the registry names over HTTPS (or loopback), lives in memory, and is sent
 *     to that registry alone: not to where a blob's download is redirected.
 *  G3 Anonymous reading only: an endpoint's image is public, or comes as a file.
 */
import type { Dispatcher } from 'undici';
import { plainLine } from '#base/plain.ts';
import { DIRECT, type Egress, requestConnect } from '#base/proxy.ts';
import { FarfieldError } from '#kernel/errors.ts';
import { type BlobSource, type Descriptor, MAX_MANIFEST_BYTES } from './oci.ts';

export interface Reference {
  readonly host: string;
  readonly repository: string;
  /** A tag, or `sha256:<hex>`. */
  readonly reference: string;
}

const ACCEPT = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');
const MAX_REDIRECTS = 5;
const TIMEOUT_MS = 60_000;

/** `host[:port]/path/name[:tag][@sha256:...]`. The host is never guessed: a name without one says nothing about who made it. */
export function parseReference(text: string): Reference {
  const match =
    /^([a-z0-9.-]+(?::\d{1,5})?)\/([a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$/.exec(
      text,
    );
  const host = match?.[1];
  const repository = match?.[2];
  if (host === undefined || repository === undefined || !/[.:]|^localhost$/.test(host))
    throw new FarfieldError(
      'E_USAGE',
      `"${plainLine(text)}" is no image of a registry: write HOST/NAME:TAG or HOST/NAME@sha256:HEX, with the host`,
    );
  return { host, repository, reference: match?.[4] ?? match?.[3] ?? 'latest' };
}

const LOOPBACK = /^(localhost|127(?:\.\d{1,3}){3})(?::\d+)?$/;

function baseOf(host: string): string {
  return `${LOOPBACK.test(host) ? 'http' : 'https'}://${host}`;
}

/** G2. `Bearer realm="...",service="...",scope="..."` -> the address to ask. */
export function tokenUrl(challenge: string, repository: string): URL | undefined {
  const realm = /realm="([^"]+)"/i.exec(challenge)?.[1];
  if (!/^bearer /i.test(challenge) || realm === undefined || !URL.canParse(realm)) return undefined;
  const url = new URL(realm);
  if (url.protocol !== 'https:' && !LOOPBACK.test(url.host)) return undefined;
  const service = /service="([^"]+)"/i.exec(challenge)?.[1];
  if (service !== undefined) url.searchParams.set('service', service);
  url.searchParams.set('scope', `repository:${repository}:pull`);
  return url;
}

export function openRegistry(ref: Reference, egress: Egress = DIRECT): BlobSource {
  const base = `${baseOf(ref.host)}/v2/${ref.repository}`;
  let token: string | undefined;
  /** By origin: a download may be somewhere else than its manifest, and NO_PROXY speaks of hosts. */
  const ways = new Map<string, Dispatcher>();

  const request = async (url: string, headers: Record<string, string>): Promise<Dispatcher.ResponseData> => {
    const { Agent, request: send } = await import('undici');
    const { origin } = new URL(url);
    const dispatcher = ways.get(origin) ?? new Agent({ connect: requestConnect(egress, origin, undefined) });
    ways.set(origin, dispatcher);
    try {
      return await send(url, { dispatcher, headers, headersTimeout: TIMEOUT_MS, bodyTimeout: TIMEOUT_MS });
    } catch (cause) {
      const why = cause instanceof Error ? plainLine(cause.message) : '';
      throw new FarfieldError('E_UNAVAILABLE', `no answer from the registry ${ref.host}: ${why}`, { cause });
    }
  };

  const get = async (path: string, accept: string): Promise<Dispatcher.ResponseData> => {
    let url = `${base}${path}`;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
      const own = new URL(url).host === new URL(base).host;
      const auth: Record<string, string> = own && token !== undefined ? { authorization: `Bearer ${token}` } : {};
      const answer = await request(url, { accept, ...auth });
      const { statusCode } = answer;
      if (statusCode === 200) return answer;
      await answer.body.dump();
      const { location } = answer.headers;
      if ([301, 302, 303, 307, 308].includes(statusCode) && typeof location === 'string') {
        url = new URL(location, url).href;
        // G1.
        if (!url.startsWith('https://') && !LOOPBACK.test(new URL(url).host))
          throw new FarfieldError('E_UNAVAILABLE', `the registry ${ref.host} leads to an address without TLS`);
      } else if (statusCode === 401 && own && token === undefined)
        token = await askToken(answer.headers['www-authenticate']);
      else throw refusal(statusCode, path);
    }
    throw new FarfieldError('E_UNAVAILABLE', `the registry ${ref.host} leads in circles`);
  };

  const askToken = async (challenge: string | string[] | undefined): Promise<string> => {
    const url = tokenUrl(String(challenge ?? ''), ref.repository);
    if (url === undefined) throw refusal(401, '');
    const answer = await request(url.href, {});
    const body = (await answer.body.json().catch(() => ({}))) as { token?: unknown; access_token?: unknown };
    const given = body.token ?? body.access_token;
    if (answer.statusCode !== 200 || typeof given !== 'string') throw refusal(401, '');
    return given;
  };

  const refusal = (status: number, path: string): FarfieldError => {
    const name = `${ref.host}/${ref.repository}`;
    if (status === 404) return new FarfieldError('E_NOT_FOUND', `the registry has no ${name} (${path})`);
    if (status === 401 || status === 403)
      return new FarfieldError(
        'E_FORBIDDEN',
        `the registry does not let everybody read ${name}; save the image as a file and convert that`,
      );
    return new FarfieldError('E_UNAVAILABLE', `the registry answered ${status} for ${name}`);
  };

  const document = async (reference: string): Promise<Buffer> => {
    const answer = await get(`/manifests/${reference}`, ACCEPT);
    const parts: Buffer[] = [];
    let size = 0;
    for await (const chunk of answer.body) {
      size += (chunk as Buffer).length;
      if (size > MAX_MANIFEST_BYTES) throw new FarfieldError('E_TOO_LARGE', `the manifest at ${ref.host} is too large`);
      parts.push(chunk as Buffer);
    }
    return Buffer.concat(parts);
  };

  return {
    root: async () => {
      const bytes = await document(ref.reference);
      const { createHash } = await import('node:crypto');
      const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
      if (ref.reference.startsWith('sha256:') && ref.reference !== digest)
        throw new FarfieldError(
          'E_DIGEST',
          `the registry ${ref.host} sent ${digest} where ${ref.reference} was asked for`,
        );
      return bytes;
    },
    manifest: ({ digest }: Descriptor) => document(digest),
    blob: async ({ digest }: Descriptor) => (await get(`/blobs/${digest}`, '*/*')).body,
  };
}
