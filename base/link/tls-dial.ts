/**
 * Dials a link over TLS 1.3 at whichever of several addresses answers: an agent on a login node has several interfaces, and
 * nobody knows from outside which of them a compute node can reach.
 *
 * Invariants
 *  D1 Addresses are tried side by side, each STAGGER_MS after the one before: one that swallows packets delays nobody.
 *  D2 The peer is known by the digest of its certificate, which came by a private file. Names, dates and issuers are not
 *     looked at: they could be right at a stranger's, and the digest cannot. Nothing is sent before it was compared.
 *  D3 The address that worked last goes first; the others still follow.
 *  D4 When all fail, the error names each with its own reason.
 *
 * No node:tls at the top: a pilot beside its agent never loads it.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '#base/clock.ts';
import { FarfieldError } from '#kernel/errors.ts';
import type { Dialler, Link } from './seam.ts';
import { streamLink } from './unix.ts';

export interface TlsAddresses {
  /** `host:port`, IPv6 in brackets; the most likely first. */
  readonly addresses: readonly string[];
  /** SHA-256 of the certificate, in hex. */
  readonly pin: string;
}

export interface TlsDialOptions {
  /** Asked at each dial: the agent of a later life may listen elsewhere. */
  readonly where: () => TlsAddresses;
  readonly clock: Clock;
}

/** Half of what a slow site's first round trip takes; a dead address costs the next one no more than this. */
export const STAGGER_MS = 200;
/** Of one address, TLS included; with the stagger of 16 addresses below what a supervisor allows one dial. */
export const ADDRESS_TIMEOUT_MS = 4000;
/** Interfaces of a login node and the names of an admin; more is a mistake. */
export const MAX_ADDRESSES = 16;

/** `host:port` or `[v6]:port`. */
export function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const [, v6, name, digits] = /^(?:\[([0-9a-fA-F:.%a-z]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})$/.exec(address) ?? [];
  const port = Number(digits);
  const host = v6 ?? name;
  if (host === undefined || port < 1 || port > 65_535)
    throw new FarfieldError('E_BAD_REQUEST', `"${address}" is no address: host:port, IPv6 in brackets`);
  return { host, port };
}

export function certificatePin(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('hex');
}

/** One address; rejects with an Error whose message is the reason in a few words. */
async function dialOne(address: string, pin: string, signal: AbortSignal): Promise<Link> {
  const { host, port } = splitAddress(address);
  const { connect } = await import('node:tls');
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(new Error(String(signal.reason)));
    // D2: what a certificate authority would say is not asked; `servername` would tell a name that no certificate has.
    const socket = connect({ host, port, rejectUnauthorized: false, minVersion: 'TLSv1.3', servername: '' });
    const give = (why: string): void => {
      signal.removeEventListener('abort', abort);
      socket.destroy();
      reject(new Error(why));
    };
    const abort = (): void => give(String(signal.reason));
    const failed = (error: NodeJS.ErrnoException): void => give(error.code ?? error.message);
    const closed = (): void => give('the connection was closed during the handshake');
    signal.addEventListener('abort', abort, { once: true });
    socket.once('error', failed);
    socket.once('close', closed);
    socket.once('secureConnect', () => {
      const { raw } = socket.getPeerCertificate();
      if (raw === undefined || certificatePin(raw) !== pin) return give('another certificate answers there');
      signal.removeEventListener('abort', abort);
      socket.off('error', failed);
      socket.off('close', closed);
      resolve(streamLink(socket, { remote: `tls:${address}`, transport: 'tls' }));
    });
  });
}

export function tlsDialler({ where, clock }: TlsDialOptions): Dialler {
  let last: string | undefined;
  return {
    name: 'tls',
    async dial(signal) {
      const { addresses, pin } = where();
      const order = [...new Set(addresses)]
        .sort((a, b) => Number(b === last) - Number(a === last))
        .slice(0, MAX_ADDRESSES);
      const failed = new Map<string, string>();
      const done = new AbortController();
      const all = AbortSignal.any([signal, done.signal]);
      const one = async (address: string, k: number): Promise<{ address: string; link: Link }> => {
        await clock.sleep(k * STAGGER_MS, all);
        const limit = new AbortController();
        const timer = clock.after(ADDRESS_TIMEOUT_MS, () => limit.abort(`no answer in ${ADDRESS_TIMEOUT_MS / 1000} s`));
        try {
          return { address, link: await dialOne(address, pin, AbortSignal.any([all, limit.signal])) };
        } catch (reason) {
          failed.set(address, (reason as Error).message);
          throw reason;
        } finally {
          timer.cancel();
        }
      };
      const tries = order.map(one);
      try {
        const winner = await Promise.any(tries);
        last = winner.address;
        return winner.link;
      } catch {
        throw new FarfieldError('E_UNAVAILABLE', refusalText(order, failed, signal.aborted));
      } finally {
        done.abort('another address answered first');
        // One that came second is of no use; it must not stay open.
        for (const other of tries)
          other.then(
            ({ address, link }) => address !== last && link.close(),
            () => undefined,
          );
      }
    },
  };
}

/** D4 */
function refusalText(order: readonly string[], failed: ReadonlyMap<string, string>, aborted: boolean): string {
  if (order.length === 0) return 'the block file names no address';
  return order
    .map((address) => `${address}: ${failed.get(address) ?? (aborted ? 'given up' : 'not tried')}`)
    .join(', ');
}
