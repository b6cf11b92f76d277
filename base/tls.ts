/**
 * The broker's own certificate authority, and the server certificate that it issues. Clients and agents pin the
 * authority, which reaches them in the invitation, out of band; no public authority is involved and no openssl
 * program is run.
 *
 * Invariants
 *  T1 The authority's key signs server certificates for this broker and nothing else: CA:TRUE with path length 0.
 *  T2 A server certificate is issued anew when a third of its life is left, when a name is missing, or when it
 *     is not the authority's; clients notice nothing, since they pin the authority.
 *  T3 Private keys exist in 0600 files under a 0700 folder, and in memory.
 *
 * Own writer (der.ts, 80 lines) rather than a library: @peculiar/x509 brings 15 packages, among them a
 * dependency-injection container and a reflection polyfill, for a parser that we do not need; node:crypto makes
 * the keys, signs, and reads every certificate back before it is used. ECDSA P-256: every TLS stack takes it,
 * which is not yet true of Ed25519 certificates.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  X509Certificate,
} from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { isIPv4, isIPv6 } from 'node:net';
import { join } from 'node:path';
import { FarfieldError } from '#kernel/errors.ts';
import type { Clock } from './clock.ts';
import {
  bitString,
  boolean,
  explicit,
  implicit,
  integer,
  octetString,
  oid,
  sequence,
  TAG,
  time,
  tlv,
  utf8String,
} from './der.ts';
import { openPrivateFolder, readSecret, writeDurableSync } from './files.ts';
import type { Random } from './random.ts';

const DAY_MS = 24 * 3600 * 1000;
/** Replacing the authority means a new invitation for everybody: it outlives the installation. */
const CA_LIFE_MS = 3650 * DAY_MS;
/** The longest life that strict clients accept for a server certificate. */
const SERVER_LIFE_MS = 397 * DAY_MS;
/** A client whose clock is behind must not find the certificate in its future. */
const BACKDATE_MS = DAY_MS;

const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
} as const;

/** Both in PEM; the key is a secret. */
export interface Certified {
  readonly cert: string;
  readonly key: string;
}

export interface IssueOptions {
  readonly nowMs: number;
  readonly random: Random;
}

function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

function publicDer(key: KeyObject): Buffer {
  return createPublicKey(key as never).export({ type: 'spki', format: 'der' });
}

/** RFC 7093 method 1: the leftmost 160 bits of the SHA-256 of the public key. */
function keyId(key: KeyObject): Uint8Array {
  return createHash('sha256').update(publicDer(key)).digest().subarray(0, 20);
}

function named(commonName: string): Uint8Array {
  return sequence(tlv(TAG.set, sequence(oid(OID.commonName), utf8String(commonName))));
}

function extension(id: string, critical: boolean, value: Uint8Array): Uint8Array {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), octetString(value));
}

function ipBytes(address: string): Uint8Array {
  if (isIPv4(address)) return Uint8Array.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const words = (text: string | undefined): number[] =>
    text ? text.split(':').map((word) => Number.parseInt(word, 16)) : [];
  const [before, after] = [words(head), words(tail)];
  const all = [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 0xff]));
}

function alternativeName(name: string): Uint8Array {
  if (isIPv4(name) || (isIPv6(name) && !name.includes('.') && !name.includes('%'))) return implicit(7, ipBytes(name));
  if (!/^(\*\.)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$/.test(name)) {
    throw new FarfieldError('E_BAD_REQUEST', `"${name}" is no host name or IP address that a certificate can carry`);
  }
  return implicit(2, Buffer.from(name, 'ascii'));
}

interface Body {
  readonly issuer: string;
  readonly subject: string;
  readonly subjectKey: KeyObject;
  readonly signer: KeyObject;
  readonly lifeMs: number;
  readonly extensions: readonly Uint8Array[];
}

function issue(body: Body, o: IssueOptions): string {
  const algorithm = sequence(oid(OID.ecdsaWithSha256));
  const unsigned = sequence(
    explicit(0, integer(Uint8Array.of(2))),
    // 127 random bits; the leading one keeps the number positive and never zero.
    integer(Uint8Array.of(0x40, ...o.random.bytes(15))),
    algorithm,
    named(body.issuer),
    sequence(time(o.nowMs - BACKDATE_MS), time(o.nowMs + body.lifeMs)),
    named(body.subject),
    publicDer(body.subjectKey),
    explicit(3, sequence(extension(OID.subjectKeyId, false, octetString(keyId(body.subjectKey))), ...body.extensions)),
  );
  const signature = sign('sha256', unsigned, body.signer);
  const der = sequence(unsigned, algorithm, bitString(signature));
  return new X509Certificate(der).toString();
}

function pem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string;
}

/** A new authority with a name of its own, so that two of them in one trust store are told apart. */
export function makeCa(o: IssueOptions): Certified {
  const key = newKey();
  const name = `Farfield broker ${Buffer.from(o.random.bytes(6)).toString('hex')}`;
  const extensions = [
    extension(OID.basicConstraints, true, sequence(boolean(true), integer(Uint8Array.of(0)))),
    // keyCertSign and cRLSign: bits 5 and 6.
    extension(OID.keyUsage, true, bitString(Uint8Array.of(0b0000_0110), 1)),
  ];
  const cert = issue({ issuer: name, subject: name, subjectKey: key, signer: key, lifeMs: CA_LIFE_MS, extensions }, o);
  return { cert, key: pem(key) };
}

/** A server certificate for the names (host names and IP addresses). */
export function issueServerCert(ca: Certified, names: readonly string[], o: IssueOptions): Certified {
  const [first] = names;
  if (first === undefined)
    throw new FarfieldError('E_BAD_REQUEST', 'a server certificate needs a host name or address');
  const authority = new X509Certificate(ca.cert);
  const signer = createPrivateKey(ca.key);
  const key = newKey();
  const extensions = [
    extension(OID.authorityKeyId, false, sequence(implicit(0, keyId(signer)))),
    extension(OID.basicConstraints, true, sequence()),
    // digitalSignature: bit 0. TLS 1.3 asks for no more.
    extension(OID.keyUsage, true, bitString(Uint8Array.of(0b1000_0000), 7)),
    extension(OID.extendedKeyUsage, false, sequence(oid(OID.serverAuth))),
    extension(OID.subjectAltName, false, sequence(...names.map(alternativeName))),
  ];
  const issuer = commonName(authority);
  const cert = issue(
    { issuer, subject: first.slice(0, 64), subjectKey: key, signer, lifeMs: SERVER_LIFE_MS, extensions },
    o,
  );
  return { cert, key: pem(key) };
}

function commonName(cert: X509Certificate): string {
  return /^CN=(.*)$/m.exec(cert.subject)?.[1] ?? '';
}

/** Why a server certificate is to be issued anew; undefined while it will do. */
export function renewalReason(ca: string, cert: string, names: readonly string[], nowMs: number): string | undefined {
  const [server, authority] = [new X509Certificate(cert), new X509Certificate(ca)];
  if (!server.checkIssued(authority) || !server.verify(authority.publicKey)) return 'it is not from this authority';
  const [from, to] = [Date.parse(server.validFrom), Date.parse(server.validTo)];
  if (nowMs > to - (to - from) / 3) return 'less than a third of its life is left';
  for (const name of names) {
    const covered = isIPv4(name) || isIPv6(name) ? server.checkIP(name) : server.checkHost(name, { subject: 'never' });
    if (covered === undefined) return `it does not name ${name}`;
  }
  return undefined;
}

export interface ServerTls {
  /** What clients pin. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly notAfterMs: number;
}

export interface OpenTlsOptions {
  /** Reachable names of the broker beside localhost, 127.0.0.1 and ::1. */
  readonly names?: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
}

const ALWAYS = ['localhost', '127.0.0.1', '::1'];

function loadPair(folder: string, name: string): Certified | undefined {
  const [certFile, keyFile] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
  if (!existsSync(certFile)) return undefined;
  // A certificate without a key is no beginner's state (the key is written first): keyFits finds it out.
  if (!existsSync(keyFile)) return { cert: readFileSync(certFile, 'utf8'), key: '' };
  return { cert: readFileSync(certFile, 'utf8'), key: Buffer.from(readSecret(keyFile)).toString('utf8') };
}

/** The key first: a certificate without its key would be taken for a whole pair after a crash in between. */
function savePair(folder: string, name: string, pair: Certified): Certified {
  writeDurableSync(join(folder, `${name}.key`), pair.key, 0o600);
  writeDurableSync(join(folder, `${name}.pem`), pair.cert, 0o644);
  return pair;
}

function keyFits(pair: Certified): boolean {
  return pair.key !== '' && new X509Certificate(pair.cert).checkPrivateKey(createPrivateKey(pair.key));
}

/**
 * The folder's authority and server certificate: made when missing, renewed when due. A server calls it at
 * start and once a day.
 */
export function openServerTls(folder: string, o: OpenTlsOptions): ServerTls {
  openPrivateFolder(folder);
  const issueOptions = { nowMs: o.clock.now(), random: o.random };
  const names = [...new Set([...ALWAYS, ...(o.names ?? [])])];
  const ca = loadPair(folder, 'ca') ?? savePair(folder, 'ca', makeCa(issueOptions));
  if (!keyFits(ca))
    throw new FarfieldError(
      'E_CONFLICT',
      `ca.pem and ca.key in ${folder} do not belong together. Restore both from one backup`,
    );
  let server = loadPair(folder, 'server');
  // A pair torn by a crash between its two files is as good as none.
  if (
    server === undefined ||
    !keyFits(server) ||
    renewalReason(ca.cert, server.cert, names, o.clock.now()) !== undefined
  ) {
    server = savePair(folder, 'server', issueServerCert(ca, names, issueOptions));
  }
  return {
    ca: ca.cert,
    cert: server.cert,
    key: server.key,
    notAfterMs: Date.parse(new X509Certificate(server.cert).validTo),
  };
}

/** What two people compare over the telephone: SHA-256 of the certificate, in pairs of hex digits. */
export function fingerprint(cert: string): string {
  return new X509Certificate(cert).fingerprint256;
}
