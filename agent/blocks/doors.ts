/**
 * Where pilots dial: a Unix socket always, and TLS where blocks run on other hosts.
 *
 * Invariants
 *  R1 No port is opened unless a batch scheduler is configured, or `blocks.listen` asks for it.
 *  R2 Certificate and port outlive the process: pilots that were started by an earlier life dial the same door and know it
 *     by the same digest. Both lie in a 0600 file of the keys' folder.
 *  R3 Addresses are looked up when a block starts: an interface that came since is among them.
 *
 * The certificate is nobody's word about a name: a pilot compares its digest with that of its private block file. So it is
 * issued by an authority whose key is forgotten at once, and its dates mean nothing.
 */
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { isIP, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { readSecret, writeDurableSync } from '#base/files.ts';
import type { Acceptor } from '#base/link/seam.ts';
import { MAX_HELLO_BYTES } from '#base/link/session.ts';
import { type TlsAcceptor, tlsAcceptor } from '#base/link/tls.ts';
import { certificatePin, MAX_ADDRESSES, splitAddress } from '#base/link/tls-dial.ts';
import { unixAcceptor } from '#base/link/unix.ts';
import type { Random } from '#base/random.ts';
import { issueServerCert, makeCa } from '#base/tls.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { BlockFile } from '#protos/block-file.ts';
import type { ResolvedListen } from '../config.ts';

export type Doorplate = NonNullable<BlockFile['tls']>;

export interface Doors extends AsyncDisposable {
  readonly acceptors: readonly Acceptor[];
  /** What a block's file says of TLS; undefined where there is none. */
  plate(): Doorplate | undefined;
}

export interface DoorsOptions {
  readonly socket: string;
  /** Undefined: the socket alone (R1). */
  readonly listen: ResolvedListen | undefined;
  /** File of certificate and port. */
  readonly file: string;
  readonly hostname: string;
  readonly nowMs: number;
  readonly random: Random;
  /** Of this machine; a test names others. */
  readonly interfaces?: () => ReturnType<typeof networkInterfaces>;
}

interface Kept {
  readonly key: string;
  readonly cert: string;
  readonly port: number;
}

function load(file: string): Kept | undefined {
  if (!existsSync(file)) return undefined;
  try {
    const { key, cert, port } = JSON.parse(Buffer.from(readSecret(file)).toString()) as Partial<Kept>;
    if (typeof key === 'string' && typeof cert === 'string' && typeof port === 'number') return { key, cert, port };
  } catch (cause) {
    throw new FarfieldError('E_CONFLICT', `${file} cannot be read; remove it (pilots of running blocks then end)`, {
      cause,
    });
  }
  throw new FarfieldError('E_CONFLICT', `${file} is not whole; remove it (pilots of running blocks then end)`);
}

function issue(nowMs: number, random: Random): { key: string; cert: string } {
  return issueServerCert(makeCa({ nowMs, random }), ['pilots.farfield.invalid'], { nowMs, random });
}

export async function openDoors(options: DoorsOptions): Promise<Doors> {
  const { listen, file, random, nowMs } = options;
  const kept = listen === undefined ? undefined : load(file);
  const unix = await unixAcceptor({ path: options.socket });
  if (listen === undefined) {
    return {
      acceptors: [unix],
      plate: () => undefined,
      [Symbol.asyncDispose]: async () => unix[Symbol.asyncDispose](),
    };
  }
  const opened: TlsAcceptor[] = [];
  const close = async (): Promise<void> => {
    for (const each of [unix, ...opened]) await each[Symbol.asyncDispose]();
  };
  const pair = kept ?? issue(nowMs, random);
  const interfaces = options.interfaces ?? networkInterfaces;
  try {
    let prefer = kept?.port;
    for (const host of hostsOf(listen.on, interfaces())) {
      const common = { ...pair, host, firstBytes: MAX_HELLO_BYTES };
      // One port for all: the first interface finds it, the others must have it too.
      const [first] = opened;
      const ports = first === undefined ? listen.ports : ([first.port, first.port] as const);
      opened.push(await tlsAcceptor({ ...common, ports, ...(prefer === undefined ? {} : { prefer }) }));
      prefer = undefined;
    }
  } catch (reason) {
    await close();
    throw reason;
  }
  const port = opened[0]?.port ?? 0;
  if (kept?.port !== port) writeDurableSync(file, JSON.stringify({ ...pair, port }), 0o600);
  const pin = certificatePin(new X509Certificate(pair.cert).raw);
  return {
    acceptors: [unix, ...opened],
    plate: () => ({ pin, addresses: candidates(listen, port, options.hostname, interfaces()) }),
    [Symbol.asyncDispose]: close,
  };
}

type Interfaces = ReturnType<typeof networkInterfaces>;

/** Names of interfaces as their addresses; an address stays. */
function hostsOf(on: readonly string[], interfaces: Interfaces): string[] {
  if (on.length === 0) return ['::'];
  return on.flatMap((name) => {
    if (isIP(name) !== 0) return [name];
    const own = addressesOf({ [name]: interfaces[name] ?? [] });
    if (own.length > 0) return own;
    const known = Object.keys(interfaces).join(', ');
    throw new FarfieldError('E_USAGE', `blocks.listen.on: no interface or address ${name}; this machine has ${known}`);
  });
}

/** Addresses by which other hosts may reach this one. Link-local ones need a scope that only the dialler knows. */
function addressesOf(interfaces: Interfaces): string[] {
  const all = Object.values(interfaces).flatMap((list) => list ?? []);
  const usable = all.filter(({ internal, address }) => !internal && !/^(fe80:|169\.254\.)/i.test(address));
  // IPv4 first: compute networks that route IPv6 are the fewer.
  return [...usable].sort((a, b) => Number(isIPv6(a.address)) - Number(isIPv6(b.address))).map((each) => each.address);
}

function withPort(host: string, port: number): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The admin's word first; then the name that the site gave this machine, whose answer depends on who asks; then all it has. */
export function candidates(listen: ResolvedListen, port: number, hostname: string, interfaces: Interfaces): string[] {
  const named = listen.advertise.map((text) =>
    /\]?:\d+$/.test(text) && isIP(text) === 0 ? text : withPort(text, port),
  );
  const everywhere = listen.on.length === 0 || listen.on.some((host) => host === '::' || host === '0.0.0.0');
  const own = everywhere ? [hostname, ...addressesOf(interfaces)] : hostsOf(listen.on, interfaces);
  const all = [...new Set([...named, ...own.map((host) => withPort(host, port))])].slice(0, MAX_ADDRESSES);
  for (const address of all) splitAddress(address);
  return all;
}
