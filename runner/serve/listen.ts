/**
 * Where `serve` listens: loopback, or a Unix socket in a folder of one's own. Nothing else: there is no login here, so whoever
 * can connect can compute.
 */
import { chmodSync, statSync } from 'node:fs';
import type { Server } from 'node:http';
import { dirname, isAbsolute, resolve } from 'node:path';
import { assertPrivate, removeStale } from '#base/link/unix.ts';
import { FarfieldError } from '#kernel/errors.ts';

/** Of sockaddr_un, less its terminating zero; a longer path would be cut off silently. */
const MAX_SOCKET_PATH = 107;

export type Place =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: '127.0.0.1' | '::1'; readonly port: number };

/** `unix:PATH`, `127.0.0.1:PORT`, `[::1]:PORT`; port 0 is any free one. Throws E_USAGE for everything else. */
export function parsePlace(text: string): Place {
  if (text.startsWith('unix:') && text.length > 'unix:'.length) {
    const given = text.slice('unix:'.length);
    const path = isAbsolute(given) ? given : resolve(given);
    if (Buffer.byteLength(path) <= MAX_SOCKET_PATH && !path.includes('\0')) return { kind: 'unix', path };
    throw new FarfieldError('E_USAGE', `--listen: a socket's path has at most ${MAX_SOCKET_PATH} bytes`);
  }
  const [, host, port] = /^(127\.0\.0\.1|localhost|\[::1\]):(\d{1,5})$/.exec(text) ?? [];
  if (host !== undefined && Number(port) <= 65535)
    return { kind: 'tcp', host: host === '[::1]' ? '::1' : '127.0.0.1', port: Number(port) };
  throw new FarfieldError(
    'E_USAGE',
    '--listen takes unix:PATH or 127.0.0.1:PORT; other addresses are refused, since callers are not asked who they are',
  );
}

/** Listens; answers the address with the real port. */
export async function listenAt(server: Server, place: Place): Promise<string> {
  if (place.kind === 'unix') {
    if (statSync(dirname(place.path), { throwIfNoEntry: false }) === undefined)
      throw new FarfieldError('E_NOT_FOUND', `${dirname(place.path)} is not there; make it with mkdir -m 700`);
    assertPrivate(dirname(place.path));
    await removeStale(place.path);
  }
  await new Promise<void>((done, reject) => {
    const failed = (reason: NodeJS.ErrnoException): void =>
      reject(new FarfieldError('E_CONFLICT', `cannot listen: ${reason.code ?? reason.message}`, { cause: reason }));
    server.once('error', failed);
    server.listen(place.kind === 'unix' ? { path: place.path } : { host: place.host, port: place.port }, () => {
      server.off('error', failed);
      done();
    });
  });
  if (place.kind === 'unix') {
    // The folder keeps others out already; this is for whoever makes the folder wider by mistake.
    chmodSync(place.path, 0o600);
    return `unix:${place.path}`;
  }
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  return `http://${place.host === '::1' ? '[::1]' : place.host}:${port}`;
}

/**
 * Why a request is not answered at all: a page in somebody's browser can reach loopback ports, by a name of its own that leads
 * there. Such a request carries its page's Origin or that name as Host.
 */
export function strangeness(
  place: Place,
  headers: { readonly host?: string | undefined; readonly origin?: string | undefined },
): string | undefined {
  if (headers.origin !== undefined) return 'requests from web pages are not answered';
  if (place.kind === 'unix') return undefined;
  if (/^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/.test(headers.host ?? '')) return undefined;
  return 'the Host of the request must be 127.0.0.1, localhost or [::1]';
}
