/** A broker that outlives its certificate. */
import '../leaks.ts';
import { X509Certificate } from 'node:crypto';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t from 'tap';
import { startTestBroker } from './setting.ts';

const DAY_MS = 24 * 3600_000;

/** What a new connection is shown. Its dates are those of a clock that has been moved, so they are not judged by this machine's. */
function shown(url: string): Promise<X509Certificate> {
  const { hostname: host, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(
      { host, port: Number(port), rejectUnauthorized: false, ALPNProtocols: ['h2', 'http/1.1'] },
      () => {
        resolve(new X509Certificate(socket.getPeerCertificate().raw));
        socket.destroy();
      },
    );
    socket.once('error', reject);
  });
}

t.test('both doors show a new certificate of the same authority before the old one ends', async (t) => {
  const { broker, clock } = await startTestBroker(t);
  const before = await shown(broker.url);
  await clock.advance(DAY_MS);
  t.equal((await shown(broker.url)).serialNumber, before.serialNumber, 'a day later it is the same');
  // Day by day: a jump would be a wrong clock to the broker.
  for (let day = 1; day < 300; day += 1) await clock.advance(DAY_MS);
  const [http, grpc] = [await shown(broker.url), await shown(broker.grpc.replace('grpcs:', 'https:'))];
  t.not(http.serialNumber, before.serialNumber);
  t.equal(grpc.serialNumber, http.serialNumber);
  t.ok(http.verify(new X509Certificate(broker.ca).publicKey), 'whoever pinned the authority notices nothing');
  t.ok(Date.parse(http.validTo) > clock.now() + 300 * DAY_MS);
});

t.test('one that cannot be made leaves the old one in use until it can', async (t) => {
  const { broker, clock, folder } = await startTestBroker(t);
  const before = await shown(broker.url);
  const [key, away] = [join(folder, 'ca', 'ca.key'), join(folder, 'ca', 'ca.key.away')];
  renameSync(key, away);
  for (let day = 0; day < 300; day += 1) await clock.advance(DAY_MS);
  t.equal((await shown(broker.url)).serialNumber, before.serialNumber);
  renameSync(away, key);
  await clock.advance(DAY_MS);
  t.not((await shown(broker.url)).serialNumber, before.serialNumber);
});
