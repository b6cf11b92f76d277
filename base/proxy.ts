/**
 * The way out of a site: through its HTTP proxy where there is one, trusting its certificate authority where it has one.
 *
 *     link or request ──▶ CONNECT host:port ──▶ proxy ──▶ host     TLS runs end to end inside; the proxy sees a name and bytes
 *
 * Invariants
 *  N1 The password of a proxy is never in a log, an error or an argument: `shown` is what may be said.
 *  N2 Loopback never goes through a proxy, nor what NO_PROXY names.
 *  N3 The host's name goes to the proxy as it is: behind one, a machine often cannot resolve it.
 *  N4 A site's own CA is trusted beside the pinned one, never instead. Whoever holds it can read what passes; tickets, receipts
 *     and requests stay signed by keys that it does not have.
 */
import { readFileSync } from 'node:fs';
import { request as requestPlain } from 'node:http';
import { type RequestOptions, request as requestTls } from 'node:https';
import { BlockList, isIP, type Socket } from 'node:net';
import { type ConnectionOptions, getCACertificates, type TLSSocket, connect as tlsConnect } from 'node:tls';
import { FarfieldError } from '#kernel/errors.ts';

/** As the environment or a configuration file says it. */
export interface EgressOptions {
  /** `http://[user:password@]host:port`, or https. */
  readonly proxy?: string | undefined;
  /** Hosts that are reached without it: names, `.suffixes`, addresses, `address/bits`, each with `:port` if wanted. */
  readonly noProxy?: string | undefined;
  /** File of PEM certificates. */
  readonly caFile?: string | undefined;
}

export interface SiteProxy {
  readonly host: string;
  readonly port: number;
  /** TLS to the proxy itself. */
  readonly secure: boolean;
  /** Scheme, host and port: no password. */
  readonly shown: string;
  /** PEM that its own certificate may be by, besides the well-known authorities. */
  readonly ca: string | undefined;
  /** `user:password`, if it wants one. */
  readonly credentials: () => string | undefined;
}

export interface Egress {
  /** PEM of what is trusted besides a pinned CA. */
  readonly ca: string | undefined;
  proxyFor(host: string, port: number): SiteProxy | undefined;
}

/** No proxy, no further CA. */
export const DIRECT: Egress = { ca: undefined, proxyFor: () => undefined };

/** A proxy that does not answer is as far away as the host behind it. */
const CONNECT_TIMEOUT_MS = 10_000;
const MAX_CA_BYTES = 4 * 1024 * 1024;

/** Lower case first, as curl and wget do. */
export function egressFromEnv(env: Readonly<Record<string, string | undefined>>): EgressOptions {
  return {
    proxy: env.https_proxy || env.HTTPS_PROXY || undefined,
    noProxy: env.no_proxy || env.NO_PROXY || undefined,
    caFile: env.NODE_EXTRA_CA_CERTS || undefined,
  };
}

export function openEgress(options: EgressOptions): Egress {
  const ca = options.caFile === undefined ? undefined : readCa(options.caFile);
  const proxy = options.proxy === undefined ? undefined : parseProxy(options.proxy, ca);
  const direct = parseNoProxy(options.noProxy ?? '');
  return {
    ca,
    proxyFor: (host, port) => (isLoopback(host) || direct(host, port) ? undefined : proxy),
  };
}

function parseProxy(text: string, ca: string | undefined): SiteProxy {
  // `proxy:3128` is common; a URL without a scheme would take the host for one.
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`);
  // The text itself may hold a password, so it is not said.
  if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === '')
    throw new FarfieldError('E_USAGE', 'the proxy (HTTPS_PROXY) is no address such as http://proxy.site.example:3128');
  const secure = url.protocol === 'https:';
  const credentials =
    url.username === '' ? undefined : `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  return {
    host: bareHost(url.hostname),
    port: url.port === '' ? (secure ? 443 : 80) : Number(url.port),
    secure,
    shown: `${url.protocol}//${url.host}`,
    ca,
    credentials: () => credentials,
  };
}

function bareHost(host: string): string {
  return host.replace(/^\[|\]$/g, '').toLowerCase();
}

function isLoopback(host: string): boolean {
  const bare = bareHost(host);
  return bare === 'localhost' || bare === '::1' || (isIP(bare) === 4 && bare.startsWith('127.'));
}

function parseNoProxy(text: string): (host: string, port: number) => boolean {
  const tests = text
    .split(/[\s,]+/)
    .filter((word) => word !== '')
    .map(parseException);
  return (host, port) => tests.some((test) => test(bareHost(host), port));
}

function parseException(word: string): (host: string, port: number) => boolean {
  if (word === '*') return () => true;
  const range = /^([\da-f.:]+)\/(\d{1,3})$/i.exec(word);
  const family = isIP(range?.[1] ?? '');
  if (range !== null && family !== 0) {
    const block = new BlockList();
    block.addSubnet(range[1] as string, Number(range[2]), family === 4 ? 'ipv4' : 'ipv6');
    return (host) => isIP(host) === family && block.check(host, family === 4 ? 'ipv4' : 'ipv6');
  }
  // `[::1]:8080`, `host:8080`, but not the colons of a bare IPv6 address.
  const withPort = /^(\[.*\]|[^:]*):(\d+)$/.exec(word);
  const only = withPort === null ? undefined : Number(withPort[2]);
  const name = bareHost(withPort?.[1] ?? word).replace(/^\*?\./, '');
  return (host, port) =>
    (only === undefined || only === port) && (host === name || (isIP(host) === 0 && host.endsWith(`.${name}`)));
}

function readCa(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'latin1');
  } catch (cause) {
    throw new FarfieldError('E_USAGE', `the file of the site's CA, ${path}, cannot be read`, { cause });
  }
  if (text.length > MAX_CA_BYTES || !text.includes('-----BEGIN CERTIFICATE-----'))
    throw new FarfieldError('E_USAGE', `${path} is no file of PEM certificates`);
  return text;
}

/**
 * What a connection trusts: the pinned CA, or the well-known authorities where none is pinned; and the site's if it has one.
 * Undefined: the well-known alone.
 */
export function trusted(egress: Egress, pinned: string | undefined): string | string[] | undefined {
  if (egress.ca === undefined) return pinned;
  return [...(pinned === undefined ? getCACertificates() : [pinned]), egress.ca];
}

/** A connection to host:port through the proxy. Whatever fails is E_UNAVAILABLE and says which hop. */
export function openTunnel(proxy: SiteProxy, host: string, port: number, signal?: AbortSignal): Promise<Socket> {
  const target = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
  const credentials = proxy.credentials();
  const options: RequestOptions = {
    method: 'CONNECT',
    host: proxy.host,
    port: proxy.port,
    path: target,
    agent: false,
    timeout: CONNECT_TIMEOUT_MS,
    headers: {
      host: target,
      ...(credentials === undefined
        ? {}
        : { 'proxy-authorization': `Basic ${Buffer.from(credentials).toString('base64')}` }),
    },
    // Its own name, not that of the header: node would take that one. Addresses are no names (RFC 6066).
    ...(proxy.secure ? { servername: isIP(proxy.host) === 0 ? proxy.host : '' } : {}),
    ...(proxy.secure && proxy.ca !== undefined ? { ca: [...getCACertificates(), proxy.ca] } : {}),
    ...(signal === undefined ? {} : { signal }),
  };
  return new Promise((resolve, reject) => {
    const refuse = (why: string): void =>
      reject(new FarfieldError('E_UNAVAILABLE', `the proxy ${proxy.shown} ${why}`, {}));
    const asked = (proxy.secure ? requestTls : requestPlain)(options);
    asked.once('connect', (answer, socket, head) => {
      if (answer.statusCode === 200) {
        if (head.length > 0) socket.unshift(head);
        resolve(socket as Socket);
        return;
      }
      socket.destroy();
      refuse(refusalOf(answer.statusCode ?? 0, target, credentials !== undefined));
    });
    asked.once('response', (answer) => {
      answer.resume();
      asked.destroy();
      refuse(`answered CONNECT ${target} with ${answer.statusCode ?? 0}`);
    });
    asked.once('timeout', () => asked.destroy(new Error(`no answer in ${CONNECT_TIMEOUT_MS / 1000} s`)));
    // The message of the system names the proxy's address at most.
    asked.once('error', (error) => refuse(`cannot be used: ${error.message}`));
    asked.end();
  });
}

function refusalOf(status: number, target: string, withCredentials: boolean): string {
  if (status !== 407) return `refuses a connection to ${target} (${status}); ask the site to allow it`;
  return withCredentials
    ? 'does not take this user and password (407)'
    : 'wants a user and password (407): write http://USER:PASSWORD@host:port';
}

/** TLS inside a tunnel; resolves after the handshake. */
export async function tunnelTls(
  proxy: SiteProxy,
  host: string,
  port: number,
  tls: ConnectionOptions,
  signal?: AbortSignal,
): Promise<TLSSocket> {
  const socket = await openTunnel(proxy, host, port, signal);
  const secure = tlsConnect({ ...(isIP(host) === 0 ? { servername: host } : {}), host, ...tls, socket });
  return new Promise((resolve, reject) => {
    const abort = (): void => void secure.destroy(new Error('given up'));
    signal?.addEventListener('abort', abort, { once: true });
    const failed = (error: Error): void => {
      signal?.removeEventListener('abort', abort);
      secure.destroy();
      reject(error);
    };
    secure.once('error', failed);
    secure.once('secureConnect', () => {
      signal?.removeEventListener('abort', abort);
      secure.off('error', failed);
      resolve(secure);
    });
  });
}

interface ConnectTarget {
  readonly hostname: string;
  readonly port?: string;
}

type ConnectCallback = (...result: [error: Error, socket: null] | [error: null, socket: Socket | TLSSocket]) => void;

/**
 * undici's `connect` option for requests to one origin. A function only where a proxy stands between: undici's own
 * connector keeps TLS sessions, which ours does not.
 */
export function requestConnect(
  egress: Egress,
  origin: string,
  pinned: string | undefined,
): { ca?: string | string[] } | ((target: ConnectTarget, callback: ConnectCallback) => void) {
  const url = new URL(origin);
  const ca = trusted(egress, pinned);
  const trust = ca === undefined ? {} : { ca };
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
  const proxy = egress.proxyFor(url.hostname, port);
  if (proxy === undefined) return trust;
  return ({ hostname }, callback) => {
    tunnelTls(proxy, bareHost(hostname), port, { ...trust, ALPNProtocols: ['http/1.1'] }).then(
      (socket) => callback(null, socket.setNoDelay(true)),
      (error: Error) => callback(error, null),
    );
  };
}
