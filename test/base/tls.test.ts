import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t from 'tap';
import { createManualClock, systemClock } from '#base/clock.ts';
import { createSeededRandom } from '#base/random.ts';
import { fingerprint, issueServerCert, makeCa, openServerTls, renewalReason, type ServerTls } from '#base/tls.ts';

const DAY_MS = 24 * 3600 * 1000;
const root = mkdtempSync(join(tmpdir(), 'farfield-tls-'));
t.teardown(() => rmSync(root, { recursive: true, force: true }));
let folders = 0;
const newFolder = (): string => join(root, String(folders++));
const random = createSeededRandom('tls');
// TLS itself looks at the machine's clock.
const nowMs = systemClock.now();
const options = { random, clock: createManualClock(nowMs) };

async function handshake(server: ServerTls, host: string, ca: string | undefined, servername = host): Promise<string> {
  const https: Server = createServer({ cert: server.cert, key: server.key }, (_, response) => response.end());
  https.listen(0, '127.0.0.1');
  await once(https, 'listening');
  try {
    const { port } = https.address() as AddressInfo;
    const socket = connect({ host: '127.0.0.1', port, servername, ...(ca === undefined ? {} : { ca }) });
    const outcome = await Promise.race([
      once(socket, 'secureConnect').then(() => `ok ${socket.getProtocol()}`),
      once(socket, 'error').then(([error]) => (error as NodeJS.ErrnoException).code ?? 'failed'),
    ]).catch((error: NodeJS.ErrnoException) => error.code ?? 'failed');
    socket.destroy();
    return outcome;
  } finally {
    https.close();
    https.closeAllConnections();
  }
}

t.test('who pins the authority is connected; who does not, and who asks for another name, is not', async (t) => {
  const server = openServerTls(newFolder(), { ...options, names: ['broker.example.org'] });
  t.equal(await handshake(server, 'localhost', server.ca), 'ok TLSv1.3');
  t.equal(await handshake(server, 'broker.example.org', server.ca), 'ok TLSv1.3');
  t.equal(await handshake(server, 'other.example.org', server.ca), 'ERR_TLS_CERT_ALTNAME_INVALID');
  t.not(await handshake(server, 'localhost', undefined), 'ok TLSv1.3');
  const other = openServerTls(newFolder(), options);
  t.notMatch(await handshake(server, 'localhost', other.ca), /^ok/, 'another broker of the same kind is not this one');
});

t.test('every certificate reads back as what was meant', async (t) => {
  const server = openServerTls(newFolder(), { ...options, names: ['10.1.2.3', 'fd00::12', '*.example.org'] });
  const [ca, cert] = [new X509Certificate(server.ca), new X509Certificate(server.cert)];
  t.ok(ca.ca);
  t.notOk(cert.ca);
  t.ok(cert.checkIssued(ca) && cert.verify(ca.publicKey) && ca.verify(ca.publicKey));
  t.equal(cert.checkIP('10.1.2.3'), '10.1.2.3');
  t.equal(cert.checkIP('127.0.0.1'), '127.0.0.1');
  t.ok(cert.checkIP('::1') && cert.checkIP('fd00::12'));
  t.equal(cert.checkHost('a.example.org'), '*.example.org');
  t.strictSame(cert.keyUsage, ['1.3.6.1.5.5.7.3.1'], 'for servers only');
  t.ok(Date.parse(cert.validFrom) < nowMs && server.notAfterMs > nowMs + 300 * DAY_MS);
  t.match(fingerprint(server.ca), /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
});

t.test('keys lie in 0600 files of a 0700 folder', async (t) => {
  const folder = newFolder();
  openServerTls(folder, options);
  const mode = (name: string): number => statSync(join(folder, name)).mode & 0o777;
  t.strictSame([mode('.'), mode('ca.key'), mode('server.key')], [0o700, 0o600, 0o600]);
});

t.test('a second start takes what is there', async (t) => {
  const folder = newFolder();
  const first = openServerTls(folder, options);
  t.strictSame(openServerTls(folder, options), first);
});

t.test('the server certificate is renewed in time, under the same authority', async (t) => {
  const folder = newFolder();
  const clock = createManualClock(nowMs);
  const first = openServerTls(folder, { random, clock });
  clock.jump(200 * DAY_MS);
  t.equal(openServerTls(folder, { random, clock }).cert, first.cert, 'not yet');
  clock.jump(70 * DAY_MS);
  const renewed = openServerTls(folder, { random, clock });
  t.not(renewed.cert, first.cert);
  t.equal(renewed.ca, first.ca);
  t.ok(renewed.notAfterMs > first.notAfterMs + 200 * DAY_MS);
});

t.test('a new name, a torn pair and a foreign certificate each lead to a new one', async (t) => {
  const folder = newFolder();
  const first = openServerTls(folder, options);
  const named = openServerTls(folder, { ...options, names: ['new.example.org'] });
  t.not(named.cert, first.cert);
  // The crash between the two files of a pair: a new key beside the old certificate.
  writeFileSync(join(folder, 'server.key'), first.key);
  const mended = openServerTls(folder, { ...options, names: ['new.example.org'] });
  t.equal(await handshake(mended, 'new.example.org', first.ca), 'ok TLSv1.3');
  const foreign = issueServerCert(makeCa({ nowMs, random }), ['localhost'], { nowMs, random });
  t.match(renewalReason(first.ca, foreign.cert, ['localhost'], nowMs), /not from this authority/);
});

t.test('an authority without its own key is refused: a new one would lock everybody out', async (t) => {
  const folder = newFolder();
  openServerTls(folder, options);
  writeFileSync(join(folder, 'ca.key'), makeCa({ nowMs, random }).key);
  t.throws(() => openServerTls(folder, options), { code: 'E_CONFLICT', message: /one backup/ });
  const halved = newFolder();
  openServerTls(halved, options);
  unlinkSync(join(halved, 'ca.key'));
  t.throws(() => openServerTls(halved, options), { code: 'E_CONFLICT' });
  t.match(readFileSync(join(halved, 'ca.pem'), 'utf8'), /BEGIN CERTIFICATE/, 'nothing was overwritten');
});

t.test('what is no host name is no name of a certificate', async (t) => {
  const ca = makeCa({ nowMs, random });
  for (const name of ['', 'a b', 'http://x', 'x\u0000y', '-', 'ümlaut.example', 'fe80::1%eth0']) {
    t.throws(() => issueServerCert(ca, [name], { nowMs, random }), { code: 'E_BAD_REQUEST' }, JSON.stringify(name));
  }
  t.throws(() => issueServerCert(ca, [], { nowMs, random }), { code: 'E_BAD_REQUEST' });
});
